import math
from fractions import Fraction

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from modularity.effects import (
    ablation_effects,
    accuracy_effect,
    change_interval,
    class_mean_changes,
    class_range,
    exact_drops,
    log_ratio,
    range_effect,
    ratio_effect,
    wilson_interval,
)


@given(st.integers(1, 1000), st.floats(0, 1))
def test_wilson_interval_equals_its_formula(images, share):
    correct = round(share * images)
    p, z = correct / images, stats.norm.ppf(0.975)
    center = (p + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z * math.sqrt(p * (1 - p) / images + z**2 / (4 * images**2)) / (1 + z**2 / images)
    assert wilson_interval(p, images) == pytest.approx((center - half, center + half), abs=1e-9)


@pytest.mark.parametrize("correct, images", [(0, 1), (1, 1), (0, 1010), (1010, 1010), (984, 1010), (1, 892), (14, 28)])
def test_wilson_interval_equals_scipy(correct, images):
    expected = stats.binomtest(correct, images).proportion_ci(method="wilson")
    assert wilson_interval(correct / images, images) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_of_one_class_is_that_of_agresti_and_min():
    """Wald's for matched pairs with half an observation more in each of four cells, around the plain difference."""
    gained, lost, n = 7, 31, 200
    p_gained, p_lost = (gained + 0.5) / (n + 2), (lost + 0.5) / (n + 2)
    half = stats.norm.ppf(0.975) * math.sqrt((p_gained + p_lost - (p_gained - p_lost) ** 2) / (n + 2))
    expected = (gained - lost) / n - half, (gained - lost) / n + half
    assert change_interval([gained], [lost], [n]) == pytest.approx(expected)


@given(st.lists(st.integers(1, 1200), min_size=1, max_size=10), st.data())
def test_the_interval_of_a_change_holds_it(images, data):
    gained = numpy.array([data.draw(st.integers(0, n)) for n in images])
    lost = numpy.array([data.draw(st.integers(0, n - its)) for n, its in zip(images, gained.tolist())])
    low, high = change_interval(gained, lost, images)
    change = ((gained - lost) / images).mean()
    assert low < change < high, "some doubt is left, even where no image turns"
    assert change_interval(lost, gained, images) == pytest.approx((-high, -low))


@pytest.mark.parametrize("gained, lost", [((0.01, 0.0, 0.2), (0.05, 0.0, 0.01)), ((0.0, 0.02, 0.0), (0.0, 0.02, 0.4))])
def test_the_interval_of_a_change_keeps_its_level(gained, lost):
    generator = numpy.random.default_rng(0)
    images, held = [100, 50, 80], 0
    change = numpy.mean(gained) - numpy.mean(lost)
    for _ in range(2000):
        draws = [generator.multinomial(n, [up, down, 1 - up - down])[:2] for n, up, down in zip(images, gained, lost)]
        low, high = change_interval(*numpy.transpose(draws), images)
        held += low <= change <= high
    assert 0.93 < held / 2000 < 0.985


@pytest.mark.parametrize(
    "own, other, expected",
    [(2, 1, math.log(2)), (1, 2, -math.log(2)), (3, 3, 0), (0, 1, math.nan), (1, 0, math.nan), (math.inf, 1, math.nan)],
)
def test_log_ratio_by_hand(own, other, expected):
    assert log_ratio(own, other) == pytest.approx(expected, nan_ok=True)
    assert log_ratio(other, own) == pytest.approx(-expected, nan_ok=True)


def test_effects_by_hand():
    effects = ablation_effects(torch.tensor([4, 10]), torch.tensor([[0, 10], [3, 15], [4, 10]]), [4, 20])
    assert effects["importance"].tolist() == [50, 0, 0]
    assert effects["selectivity"].tolist() == [100, 50, 0]


@given(st.lists(st.integers(1, 1200), min_size=2, max_size=10), st.data())
def test_effects_are_exact(images, data):
    """The floating-point number nearest to the fraction that they are, so that equal effects tie."""
    intact, ablated = ([data.draw(st.integers(0, n)) for n in images] for _ in range(2))
    drops = [Fraction(before - after, n) for before, after, n in zip(intact, ablated, images)]
    effects = ablation_effects(torch.tensor(intact), torch.tensor([ablated]), images)
    assert effects["importance"].tolist() == [float(100 * sum(drops) / len(drops))]
    assert effects["selectivity"].tolist() == [float(100 * (max(drops) - min(drops)))]
    exact, unit = exact_drops(torch.tensor(intact), torch.tensor([ablated]), images)
    assert [Fraction(drop, unit) for drop in exact[0]] == drops
    if sum(drops):
        assert class_range(exact).tolist() == [float((max(drops) - min(drops)) * len(drops) / abs(sum(drops)))]


def test_changes_of_balanced_accuracy_by_hand():
    """Of 4, 2 and 5 images; a lost image of the class of two weighs as much as two of the class of four."""
    hits = torch.tensor([[2, 2, 5], [4, 1, 5], [4, 2, 4], [3, 1, 4], [4, 2, 5]])
    changes, unit = class_mean_changes(torch.tensor([4, 1, 5]), hits, [4, 2, 5])
    assert unit == 3 * 20
    assert changes.tolist() == [0, 0, 10 - 4, -5 - 4, 10]
    assert class_mean_changes(torch.tensor([4, 1, 5]), hits[:0], [4, 2, 5])[0].tolist() == []


@given(st.lists(st.integers(1, 1200), min_size=2, max_size=10), st.data())
def test_changes_of_balanced_accuracy_are_exact(images, data):
    intact, lesioned = ([data.draw(st.integers(0, n)) for n in images] for _ in range(2))
    (change,), unit = class_mean_changes(torch.tensor(intact), torch.tensor([lesioned]), images)
    expected = sum(Fraction(after - before, n) for before, after, n in zip(intact, lesioned, images)) / len(images)
    assert Fraction(change, unit) == expected


def test_class_range_by_hand():
    assert class_range([-0.1, -0.3, -0.2]) == pytest.approx(0.2 / 0.2)
    assert class_range([0.1, 0.3, 0.2]) == pytest.approx(1)
    assert class_range([[-0.4, 0.0], [-0.1, -0.1]]) == pytest.approx([2, 0])
    assert class_range([-0.1, 0.1]) == math.inf
    assert math.isnan(class_range([0.0, 0.0]))


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=10))
def test_class_range_is_the_range_of_changes_in_units_of_their_mean(changes):
    changes = numpy.array(changes)
    if abs(changes.mean()) > 1e-6:
        relative = changes / changes.mean()
        assert class_range(changes) == pytest.approx(relative.max() - relative.min(), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    "true, null, effect",
    [
        (-0.3, [-0.1, -0.1], 1.5),
        (-0.1, [-0.1], 1),
        (-0.1, [-0.3], 0.5),
        (0.1, [-0.1], 0),
        (-0.1, [0.1], 0),
        (0, [0], 0),
    ],
)
def test_accuracy_effect_by_hand(true, null, effect):
    assert accuracy_effect(true, null) == pytest.approx(effect)


@pytest.mark.parametrize(
    "true, nulls, effect",
    [
        (3, [1, 1], 1.5),
        (1, [1, math.nan, 1], 1),
        (math.nan, [1], 0),
        (1, [math.nan], 0),
        (1, [1, math.inf], 0),
        (math.inf, [1], 0),
        (math.inf, [math.inf], 0),
        (0, [0], 0),
    ],
)
def test_range_effect_by_hand(true, nulls, effect):
    assert range_effect(true, nulls) == pytest.approx(effect)


def test_ratio_effect_by_hand():
    assert ratio_effect(3, [1, 3]) == pytest.approx((1.5 + 1) / 2)
    assert ratio_effect(1e-30, [1e-10, 1e-30]) == pytest.approx(0.5)
    assert math.isnan(ratio_effect(0, [1]))
