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


@pytest.mark.parametrize(
    "after, before, images, expected",
    [(9, 3, 10, (0.1705, 0.8090)), (6, 2, 7, (0.0582, 0.8062)), (10, 0, 10, (0.6075, 1.0))],
)
def test_the_interval_of_one_class_is_that_of_newcombe(after, before, images, expected):
    """Method 10 in table II of Newcombe (1998)."""
    assert change_interval([before], [after], [images]) == pytest.approx(expected, abs=5e-5)
    assert change_interval([after], [before], [images]) == pytest.approx((-expected[1], -expected[0]), abs=5e-5)


@given(st.lists(st.integers(1, 1200), min_size=1, max_size=10), st.data())
def test_the_interval_of_a_change_holds_it(images, data):
    before, after = ([data.draw(st.integers(0, n)) for n in images] for _ in range(2))
    ((change,), unit) = class_mean_changes(torch.tensor(before), torch.tensor([after]), images)
    low, high = change_interval(before, after, images)
    assert -1 - 1e-9 <= low <= change / unit + 1e-9
    assert change / unit - 1e-9 <= high <= 1 + 1e-9
    assert high - low > 0, "some doubt is left, even where all images are right, or none"
    assert change_interval(after, before, images) == pytest.approx((-high, -low))
    assert change_interval(3 * before, 3 * after, 3 * images) == pytest.approx(
        (change / unit - (change / unit - low) / math.sqrt(3), change / unit + (high - change / unit) / math.sqrt(3)),
        abs=1e-9,
    )


@pytest.mark.parametrize("before, after", [((0.95, 0.9, 0.99), (0.94, 0.9, 1.0)), ((0.5, 0.02, 0.3), (0.4, 0.0, 0.99))])
def test_the_interval_of_a_change_keeps_its_level(before, after):
    """Of independent images it holds the change in 95 draws of a hundred or more; of the same images, in more still."""
    generator = numpy.random.default_rng(0)
    images = [100, 50, 80]
    change = numpy.mean(after) - numpy.mean(before)
    held = {"independent": 0, "the same": 0}
    for _ in range(2000):
        chances = [[generator.random(n) for n in images] for _ in range(2)]
        for name, second in (("independent", chances[1]), ("the same", chances[0])):
            hits = [
                [int((chance < share).sum()) for chance, share in zip(its, shares)]
                for its, shares in ((chances[0], before), (second, after))
            ]
            low, high = change_interval(*hits, images)
            held[name] += low <= change <= high
    assert 0.935 < held["independent"] / 2000 < 0.985
    assert held["the same"] > held["independent"]


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
