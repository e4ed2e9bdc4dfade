import copy
import math
from fractions import Fraction
from itertools import combinations, permutations, product

import numpy
import pytest
import torch
from conftest import random_weights
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import are_modules_indegree_nobetween
from are_modules_indegree_nobetween import ablate
from mlp.ablation import ablated_hits
from mlp.model import MLP, initial_model
from mlp.modules import matched_modules, module_of
from mlp.statistics import (
    ablation_effects,
    accuracy_effect,
    across_networks,
    beyond_all,
    by_seed,
    centred,
    class_range,
    combine_networks,
    compare_partitions,
    compare_with_controls,
    compare_with_null,
    compare_with_shuffles,
    compare_with_untrained,
    complete_p_value,
    effective_clusters,
    element_centric_similarity,
    exact_drops,
    fisher_p_value,
    permutation_p_value,
    range_effect,
    rank_p_value,
    ratio_effect,
    seed_means,
    shuffle_weights,
    shuffled_similarity,
    signed_rank_test,
    trend,
    wilson_interval,
)


def test_networks_of_one_seed_count_as_one():
    rows = [
        {"condition": condition, "network": network, "seed": seed}
        for condition, network, seed in (("a", 0, 7), ("b", 0, 7), ("a", 1, 8), ("a", 2, None), ("b", 2, None))
    ]
    assert by_seed(rows) == [rows[:2], rows[2:3], rows[3:4], rows[4:]]
    values = [row | {"q": q} for row, q in zip(rows, (1.0, 3.0, math.nan, 4.0, 5.0))]
    assert seed_means(values, "q") == pytest.approx([2, math.nan, 4, 5], nan_ok=True)


@given(st.integers(1, 1000), st.floats(0, 1))
def test_wilson_interval_equals_its_formula(images, share):
    correct = round(share * images)
    p, z = correct / images, stats.norm.ppf(0.975)
    center = (p + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z * math.sqrt(p * (1 - p) / images + z**2 / (4 * images**2)) / (1 + z**2 / images)
    assert wilson_interval(p, images) == pytest.approx((center - half, center + half), abs=1e-9)


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


def test_lesions_that_collapse_onto_one_digit_are_equally_important():
    """Whichever digit it is.  Sums of rounded accuracies differ in the last place, and would decide."""
    images = [1010, 892, 1028]
    ablated = torch.tensor([[1010, 0, 0], [0, 892, 0], [0, 0, 1028]])
    importance = ablation_effects(torch.tensor([984, 859, 1011]), ablated, images)["importance"]
    assert len(set(importance.tolist())) == 1
    compared = compare_with_null(importance[0], importance, includes_observed=True)
    assert (compared["p"], compared["percentile"]) == (1, 50)


@pytest.mark.parametrize(
    "observed, includes_observed, p, percentile",
    [
        (5, True, 1 / 5, 90),
        (1, True, 1, 10),
        (3, True, 3 / 5, 50),
        (5, False, 2 / 6, 90),
        (6, False, 1 / 6, 100),
        (0, False, 1, 0),
    ],
)
def test_a_null_of_five_by_hand(observed, includes_observed, p, percentile):
    compared = compare_with_null(observed, [1, 2, 3, 4, 5], includes_observed)
    assert compared["p"] == pytest.approx(p)
    assert compared["percentile"] == pytest.approx(percentile)
    assert (compared["n"], compared["median"]) == (5, 3)
    assert (compared["low"], compared["high"]) == pytest.approx((1.2, 4.8))
    assert compared["smallest_p"] == pytest.approx(1 / 5 if includes_observed else 1 / 6)


def test_ties_count_against_the_candidate():
    compared = compare_with_null(2, [1, 2, 2, 3], includes_observed=False)
    assert compared["p"] == pytest.approx(4 / 5)
    assert compared["percentile"] == pytest.approx(50)


def test_all_others_and_the_observed_are_a_complete_null():
    compared = compare_with_null(3, [1, 2, 3], others=True)
    assert (compared["null"], compared["p"], compared["smallest_p"], compared["n"]) == ("complete", 2 / 4, 1 / 4, 3)
    assert compared | {"null": "sample"} == compare_with_null(3, [1, 2, 3])
    assert compare_with_null(3, [1, 2, 3], includes_observed=True)["p"] == 1 / 3


def test_an_empty_null_says_nothing():
    compared = compare_with_null(2, [], includes_observed=False)
    assert (compared["n"], compared["p"], compared["smallest_p"]) == (0, 1, 1)
    assert all(math.isnan(compared[key]) for key in ("percentile", "median", "low", "high"))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_under_a_complete_null_the_mean_percentile_is_50(null):
    percentiles = [compare_with_null(value, null, includes_observed=True)["percentile"] for value in null]
    assert numpy.mean(percentiles) == pytest.approx(50)


def test_monte_carlo_p_is_uniform_under_the_null():
    generator = torch.Generator().manual_seed(0)
    effect_of_neuron = torch.rand(24, generator=generator)
    p = []
    for _ in range(400):
        modules, complete = matched_modules((4, 3), (12, 12), limit=200, generator=generator)
        assert not complete
        effects = modules.float() @ effect_of_neuron
        p.append(compare_with_null(effects[0].item(), effects[1:], includes_observed=False)["p"])
    assert stats.kstest(p, "uniform").pvalue > 0.05
    assert 0.02 < numpy.mean(numpy.array(p) <= 0.05) < 0.08


def test_the_exact_null_equals_brute_force(digit_images):
    images, labels = digit_images
    model = initial_model((784, 4, 3, 3), seed=2)
    candidate = (2, 1)
    modules, hits, nulls = ablate(
        model, [candidate], images, labels, top_inputs=2, null_limit=100, generator=torch.Generator()
    )
    null_effects = nulls[0]["matched"]
    assert nulls[0]["complete"]
    counts = labels.bincount()

    def accuracies(silent):
        lesioned = copy.deepcopy(model)
        with torch.no_grad():
            for layer, index in silent:
                lesioned.weights[layer][:, index] = 0
            correct = lesioned(images).argmax(1) == labels
        return [correct[labels == digit].double().mean().item() for digit in range(3)]

    intact = accuracies([])
    silent = {
        neuron
        for neuron in [(1, i) for i in range(4)] + [(2, i) for i in range(3)]
        if module_of(candidate, model.weights, 2)[neuron[1] + 4 * (neuron[0] == 2)]
    }
    null = [accuracies([(1, a), (1, b), (2, c)]) for a, b in combinations(range(4), 2) for c in range(3)]
    assert (hits / counts.double()).tolist() == [intact, accuracies(silent)]
    low, high = numpy.quantile(null, [0.05, 0.95], axis=0).tolist()
    assert nulls[0]["limits"].tolist() == [pytest.approx(low), pytest.approx(high)]

    def selectivity(ablated):
        drops = [before - after for before, after in zip(intact, ablated)]
        return max(drops) - min(drops)

    observed = selectivity(accuracies(silent))
    expected = sum(selectivity(ablated) >= observed - 1e-12 for ablated in null) / len(null)
    (effect,) = ablation_effects(hits[0], hits[1:], counts.tolist())["selectivity"]
    assert sorted(null_effects["selectivity"]) == pytest.approx(sorted(100 * selectivity(ablated) for ablated in null))
    assert compare_with_null(effect, null_effects["selectivity"], True)["p"] == pytest.approx(expected)


def test_the_same_rule_null_is_that_of_the_other_neurons(digit_images):
    """Those of the candidate's layer that are no candidates; each module is measured once, however many share it."""
    images, labels = digit_images
    model = initial_model((784, 4, 4, 3), seed=2)
    with torch.no_grad():
        model.weights[1][3, 1:] = 0  # pruned to a single input: its module no longer matches
    candidates = [(1, 0), (2, 1), (2, 2)]
    with pytest.MonkeyPatch.context() as patch:
        measured = []
        patch.setattr(
            are_modules_indegree_nobetween,
            "ablated_hits",
            lambda model, modules, *rest: measured.append(len(modules)) or ablated_hits(model, modules, *rest),
        )
        _, hits, nulls = ablate(model, candidates, images, labels, 2, 100, torch.Generator())
    assert measured == [1 + 8 + 4 + 6 * 4]
    assert nulls[1] is nulls[2]

    def effects(neurons):
        modules = torch.stack([module_of(neuron, model.weights, 2) for neuron in neurons])
        counts = labels.bincount().tolist()
        return ablation_effects(hits[0], ablated_hits(model, modules, images, labels), counts)["importance"].tolist()

    assert nulls[0]["same_rule"]["importance"].tolist() == effects([(1, 1), (1, 2), (1, 3)])
    assert nulls[1]["same_rule"]["importance"].tolist() == effects([(2, 0)])


def test_a_planted_module_is_found_and_a_random_one_is_not():
    """Class 0 is carried by neurons 0 to 3, any one of which is enough; class 1 by the other eight."""
    model = MLP((2, 12, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.weights[0][:4, 0] = model.weights[0][4:, 1] = 1
        model.weights[1][0, :4] = model.weights[1][1, 4:] = 1
        model.biases[1][1] = 0.5  # what nobody recognises is called class 1
    images, labels = torch.eye(2).repeat(20, 1), torch.arange(2).repeat(20)
    null, complete = matched_modules((4,), (12,), limit=1000, generator=None)
    assert complete
    planted = torch.arange(12) < 4
    random = torch.arange(12) % 3 == 0
    modules = torch.cat([torch.stack([planted & False, planted, random]), null])
    hits = ablated_hits(model, modules, images, labels)
    for effect, value in ablation_effects(hits[0], hits[1:], [20, 20]).items():
        found = compare_with_null(value[0].item(), value[2:], includes_observed=True)
        missed = compare_with_null(value[1].item(), value[2:], includes_observed=True)
        assert found["p"] == found["smallest_p"] == 1 / 495, effect
        assert missed["p"] == 1, effect


def test_the_direction_is_that_of_the_ranks_not_of_the_median():
    """9 networks lie a little below 50, one at it, and 9 far above; then 9 lie far below, and 11 a little above."""
    higher = across_networks([*numpy.linspace(49, 49.5, 9), 50, *numpy.linspace(80, 95, 9)], seed=0)
    assert (higher["median"], higher["direction"]) == (50, 1)
    lower = across_networks([*numpy.linspace(5, 20, 9), *numpy.linspace(50.5, 51, 11)], seed=0)
    assert lower["median"] > 50
    assert lower["direction"] == -1
    assert across_networks([40, 60], seed=0)["direction"] == 0


def test_rounding_makes_no_ranks():
    """Means of two of the percentiles that 56 modules give: twice the same distance from 50 is one rank."""
    percentiles = [100 * (k + 0.5) / 56 for k in range(56)]
    pairs = [(0, 9), (3, 6), (20, 40), (25, 35), (55, 46), (52, 49), (10, 45), (27, 28)]
    means = [(percentiles[one] + percentiles[other]) / 2 for one, other in pairs]
    exact = [one + other - 55 for one, other in pairs]
    assert signed_rank_test(numpy.array(means) - 50) == signed_rank_test(exact)
    assert exact.count(0) == 2


@given(st.lists(st.integers(-6, 6), max_size=8))
def test_signed_ranks_equal_all_changes_of_sign(differences):
    changed = numpy.array([difference for difference in differences if difference])
    ranks = stats.rankdata(abs(changed))
    if len(changed) and len(set(ranks)) == len(ranks):
        sums = [(ranks * signs).sum() for signs in product([-1, 1], repeat=len(ranks))]
        observed = (ranks * numpy.sign(changed)).sum()
        test = signed_rank_test([*differences, math.nan])
        assert test["p"] == pytest.approx(numpy.mean(numpy.abs(sums) >= abs(observed)))
        assert test["direction"] == numpy.sign(observed)


def test_networks_that_agree_are_told_from_chance():
    draws = numpy.random.default_rng(0)
    chance = across_networks(draws.uniform(0, 100, 60), seed=0)
    assert chance["p"] > 0.05
    assert chance["low"] < 50 < chance["high"]
    high = across_networks([*draws.uniform(40, 100, 60), math.nan], seed=0)
    assert high["seeds"] == 60
    assert high["p"] < 1e-4
    assert 50 < high["low"] < high["median"] < high["high"]


@pytest.mark.parametrize(
    "differences, p",
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], 2 / 2**8),  # of the 2^8 choices of signs only this and its mirror image
        ([1, -2, 3, 4, 5, 6, 7, 8], 6 / 2**8),  # also none or 1 in place of the -2, and the mirror images
        ([1, -2, -3, 4], 1),
    ],
)
def test_signed_ranks_are_counted_on_both_sides(differences, p):
    differences = numpy.array(differences)
    assert across_networks(50 + differences, seed=0)["p"] == pytest.approx(p)
    assert across_networks(50 - differences, seed=0)["p"] == pytest.approx(p)


@pytest.mark.parametrize("percentiles, networks", [([], 0), ([math.nan], 0), ([80], 1), ([50, 50, 50], 3)])
def test_too_few_networks_prove_nothing(percentiles, networks):
    test = across_networks(percentiles, seed=0)
    assert (test["seeds"], test["p"]) == (networks, 1)


@pytest.mark.parametrize(
    "observed, tail, strict, p",
    [
        (3, "left", True, 3 / 6),
        (3, "left", False, 4 / 6),
        (3, "right", True, 3 / 6),
        (3, "right", False, 4 / 6),
        (0, "left", True, 1 / 6),
        (0, "right", False, 1),
        (9, "left", True, 1),
        (9, "right", True, 1 / 6),
    ],
)
def test_rank_p_value_by_hand(observed, tail, strict, p):
    assert rank_p_value(observed, [1, 2, 3, 4, 5], tail, strict) == pytest.approx(p)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), st.integers(0, 4), st.sampled_from(["left", "right"]))
def test_rank_p_value_lies_between_its_limits(null, observed, tail):
    strict, conservative = rank_p_value(observed, null, tail), rank_p_value(observed, null, tail, strict=False)
    assert 1 / (len(null) + 1) <= strict <= conservative <= 1
    ties = null.count(observed) / (len(null) + 1)
    assert conservative - strict == pytest.approx(ties)


@pytest.mark.parametrize("tail", ["left", "right"])
@pytest.mark.parametrize("value", [0, math.nan])
def test_ties_and_what_is_not_defined_favour_significance_only_when_strict(tail, value):
    assert rank_p_value(value, [value] * 19, tail) == 1 / 20
    assert rank_p_value(value, [value] * 19, tail, strict=False) == 1


@pytest.mark.parametrize(
    "observed, tail, strict, p",
    [
        (3, "left", False, 4 / 6),
        (3, "left", True, 2 / 6),
        (3, "right", False, 5 / 6),
        (1, "left", True, 1 / 6),
        (1, "right", False, 1),
        (9, "right", True, 1 / 6),
    ],
)
def test_complete_p_value_by_hand(observed, tail, strict, p):
    """The observed is one of the possibilities, and is not counted again."""
    assert complete_p_value(observed, [1, 3, 3, 3, 7, 9], tail, strict) == pytest.approx(p)


def test_what_differs_by_rounding_is_no_finding():
    weights = numpy.random.default_rng(0).random(30)
    sums = [sum(numpy.random.default_rng(seed).permutation(weights)) for seed in range(50)]
    assert len(set(sums)) > 1
    for tail in ("left", "right"):
        assert permutation_p_value(sums[0], sums[1:], tail) == 1
    assert permutation_p_value(0.9, [1.0, 2.0, 0.5], "left") == 2 / 4
    assert permutation_p_value(0.9, [1.0, 2.0, 0.5], "right") == 3 / 4
    compared = compare_with_shuffles(sums[0], sums[1:])
    assert math.isnan(compared["z"])
    assert (compared["p"], compared["null"]) == (1, "permutations")


def test_one_of_56_possible_lesions_is_worse():
    """Whether ties count or not, 2 of all 56 are as bad, the lesion itself among them; of a sample 1 + 1 of 1 + 55."""
    others = [0.5, *[0.9] * 54]
    complete = compare_with_controls(0.6, others, complete=True, tail="left")
    assert complete == {"null": "complete", "p": 2 / 56, "p_conservative": 2 / 56}
    assert compare_with_controls(0.6, others, complete=False, tail="left") == complete | {"null": "sample"}
    tied = compare_with_controls(0.5, others, complete=True, tail="left")
    assert (tied["p"], tied["p_conservative"]) == (1 / 56, 2 / 56)
    assert beyond_all(tied["p"], 55)
    assert not beyond_all(tied["p_conservative"], 55)
    assert compare_with_controls(1.0, others, complete=True, tail="left")["p"] == 1
    assert compare_with_controls(1.0, [], complete=True, tail="left")["p"] == 1


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), st.sampled_from(["left", "right"]), st.booleans())
def test_a_complete_null_is_the_observed_and_all_others(values, tail, strict):
    p = complete_p_value(values[0], values, tail, strict)
    assert p == pytest.approx(rank_p_value(values[0], values[1:], tail, strict))
    assert 1 / len(values) <= p <= 1


def test_fisher_equals_its_formula_and_is_calibrated():
    shifted = [0.1 - 1 / 40, 0.5 - 1 / 40, 1 - 1 / 40]
    expected = stats.chi2.sf(-2 * sum(map(math.log, shifted)), df=6)
    assert fisher_p_value([0.1, 0.5, 1.0], 19) == pytest.approx(expected, rel=1e-9)
    assert fisher_p_value([], 19) == 1
    ranks = numpy.random.default_rng(0).integers(1, 21, (2000, 25)) / 20
    combined = numpy.array([fisher_p_value(row, 19) for row in ranks])
    assert 0.02 < (combined < 0.05).mean() < 0.06
    assert numpy.mean([-math.log(i / 20 - 1 / 40) for i in range(1, 21)]) == pytest.approx(0.98278, abs=1e-5)


def test_comparison_with_shuffles_by_hand():
    assert compare_with_shuffles(1.0, [2.0, 4.0, 6.0]) == {
        "null": "permutations",
        "n": 3,
        "mean": 4.0,
        "sd": pytest.approx(math.sqrt(8 / 3)),
        "z": pytest.approx(-3 / math.sqrt(8 / 3)),
        "p": 0.25,
    }
    assert math.isnan(compare_with_shuffles(1.0, [2.0, 2.0])["z"])


@given(st.integers(0, 10**6), st.sampled_from(["layer", "layer_nonzero"]))
def test_shuffles_keep_what_they_should(seed, null):
    weights = random_weights((6, 5, 4), seed, pruned=0.4)
    before = [weight.clone() for weight in weights]
    shuffled = shuffle_weights(weights, null, torch.Generator().manual_seed(seed))
    for weight, same, copy_ in zip(weights, before, shuffled, strict=True):
        assert torch.equal(weight, same)
        assert torch.equal(weight.flatten().sort().values, copy_.flatten().sort().values)
        if null == "layer_nonzero":
            assert torch.equal(weight == 0, copy_ == 0)
    again = shuffle_weights(weights, null, torch.Generator().manual_seed(seed))
    assert all(torch.equal(*pair) for pair in zip(shuffled, again))
    other = shuffle_weights(weights, null, torch.Generator().manual_seed(seed + 1))
    assert not all(torch.equal(*pair) for pair in zip(shuffled, other))


def test_every_place_is_as_likely():
    weight = [torch.tensor([[1.0, 2.0, 0.0, 0.0]])]
    generator = torch.Generator().manual_seed(0)
    places = torch.stack([shuffle_weights(weight, "layer", generator)[0][0] for _ in range(2000)]).argmax(1)
    assert stats.chisquare(places.bincount()).pvalue > 0.01
    swapped = [shuffle_weights(weight, "layer_nonzero", generator)[0][0].tolist() for _ in range(2000)]
    assert {tuple(row) for row in swapped} == {(1, 2, 0, 0), (2, 1, 0, 0)}
    assert 900 < swapped.count([2, 1, 0, 0]) < 1100


def test_an_unknown_null():
    with pytest.raises(ValueError, match="layer_nonzero"):
        shuffle_weights([torch.ones(2, 2)], "everything", torch.Generator())


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


@pytest.mark.parametrize("p_values", [[0.2], [0.1, 0.3], [0.5] * 5, [0.9, 0.8, 0.95], [1.0, 1.0]])
def test_networks_combine_by_the_formula_of_irwin_and_hall(p_values):
    n, s = len(p_values), sum(p_values)
    terms = ((-1) ** j * math.comb(n, j) * (s - j) ** n for j in range(math.floor(s) + 1))
    assert combine_networks(p_values) == pytest.approx(sum(terms) / math.factorial(n), abs=1e-9)


@pytest.mark.parametrize("networks", [*range(1, 41), 100])
def test_combined_p_values_are_never_above_one(networks):
    combined = combine_networks([1.0] * networks)
    assert combined <= 1
    assert stats.false_discovery_control([combined, 0.5]).max() == pytest.approx(1)


def test_combined_networks_are_calibrated():
    draws = numpy.random.default_rng(0).uniform(size=(400, 3))
    assert stats.kstest([combine_networks(row) for row in draws], "uniform").pvalue > 0.05


def test_centred_p_values_average_one_half():
    grid = numpy.arange(1, 21) / 20
    assert centred(grid, 19).mean() == pytest.approx(0.5)
    assert centred(grid, 19)[[0, -1]] == pytest.approx([0.025, 0.975])
    assert -numpy.log(centred(grid, 19)).mean() == pytest.approx(0.98278, abs=1e-5)
    assert centred([0.1, 0.5], [9, 1]) == pytest.approx([0.05, 0.25])


def test_effective_clusters_by_hand():
    assert effective_clusters([0, 0, 1, 1, 2, 2]) == pytest.approx(3)
    assert effective_clusters([4, 4, 4]) == pytest.approx(1)
    expected = math.exp(-(0.5 * math.log(0.5) + 0.25 * math.log(0.25)))
    assert effective_clusters([0, 0, 1, -1]) == pytest.approx(expected)


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=20), st.integers(0, 10**6))
def test_element_centric_similarity_equals_brute_force(labels, seed):
    others = numpy.random.default_rng(seed).integers(0, 3, len(labels)).tolist()
    total = 0
    for i in range(len(labels)):
        a = {j for j in range(len(labels)) if labels[j] == labels[i]}
        b = {j for j in range(len(labels)) if others[j] == others[i]}
        total += len(a & b) / max(len(a), len(b))
    assert element_centric_similarity(labels, others) == pytest.approx(total / len(labels))
    assert element_centric_similarity(others, labels) == pytest.approx(element_centric_similarity(labels, others))
    assert element_centric_similarity(labels, labels) == 1


def test_random_partitions_agree_by_chance():
    draws = numpy.random.default_rng(0)
    found = [element_centric_similarity(*draws.integers(0, 4, (2, 64))) for _ in range(300)]
    assert numpy.mean(found) == pytest.approx(0.263, abs=0.005)


@given(st.lists(st.integers(-1, 2), min_size=1, max_size=6), st.integers(0, 10**6))
def test_shuffled_similarity_is_the_mean_of_all_permutations(labels, seed):
    others = numpy.random.default_rng(seed).integers(0, 3, len(labels)).tolist()
    every = [element_centric_similarity(labels, order) for order in permutations(others)]
    assert shuffled_similarity(labels, others) == pytest.approx(numpy.mean(every))
    assert shuffled_similarity(others, labels) == pytest.approx(numpy.mean(every))


def test_partitions_are_compared_with_chance():
    draws = numpy.random.default_rng(0)
    labels = draws.integers(0, 4, 64)
    same = compare_partitions(labels, (labels + 1) % 4)
    assert (same["similarity"], same["adjusted_rand"]) == (1, 1)
    shuffled = [compare_partitions(labels, draws.permutation(labels)) for _ in range(300)]
    assert numpy.mean([row["similarity"] for row in shuffled]) == pytest.approx(same["shuffled"], abs=0.003)
    assert numpy.mean([row["adjusted_rand"] for row in shuffled]) == pytest.approx(0, abs=0.005)


def test_comparison_with_untrained_networks_by_hand():
    comparison = compare_with_untrained([0.5, math.nan, 0.7], [0.1, 0.2, 0.3, math.nan])
    assert (comparison["n"], comparison["untrained_n"]) == (2, 3)
    assert comparison["mean"] == pytest.approx(0.6)
    assert comparison["sd"] == pytest.approx(0.1 * math.sqrt(2))
    assert comparison["untrained_mean"] == pytest.approx(0.2)
    assert comparison["z"] == pytest.approx(0.4 / 0.1)
    assert comparison["p"] == pytest.approx(1 / math.comb(5, 2))
    alone = compare_with_untrained([0.25], [0.1, 0.2, 0.3])
    assert math.isnan(alone["sd"])
    assert alone["p"] == pytest.approx(2 / 4), "one of the others lies above"
    nothing = compare_with_untrained([math.nan], [0.1, 0.1])
    assert (nothing["n"], nothing["p"]) == (0, 1)
    assert math.isnan(nothing["mean"]) and math.isnan(nothing["z"])


def test_trend_of_one_seed_is_that_of_kendall():
    rates = [0, 0.1, 0.2, 0.3, 0.5]
    for values in ([1, 2, 3, 4, 5], [5, 4, 2, 3, 1], [1, 3, 2, 5, 5]):
        found = trend(values, rates, [0] * 5, seed=0)
        expected = stats.kendalltau(rates, values)
        assert found["tau"] == pytest.approx(expected.statistic)
    assert trend([1, 2, 3, 4, 5], rates, [0] * 5, seed=0)["p"] == pytest.approx(2 / 120, abs=0.004)


def test_trend_counts_seeds_not_networks():
    """Two networks of each of three seeds: all rise by chance once in eight times, all fall as often."""
    seeds = [4, 4, 5, 5, 6, 6]
    found = trend([1, 2, 10, 20, 101, 102], [0, 0.5] * 3, seeds, seed=0)
    assert found["tau"] == 1
    assert found["p"] == pytest.approx(2 / 8, abs=0.02)
    assert found["null"] == "permutations"
    falling = trend([2, 1, 20, 10, 102, 101], [0, 0.5] * 3, seeds, seed=0)
    assert (falling["tau"], falling["p"]) == (-1, pytest.approx(2 / 8, abs=0.02))
    neither = trend([1, 2, 2, 1], [0, 0.5] * 2, [0, 0, 1, 1], seed=0)
    assert (neither["tau"], neither["p"]) == (0, 1)
    thirds = trend([1, 2, 3, 3, 1, 2, 1, 3, 2], [0, 1, 2] * 3, [0, 0, 0, 1, 1, 1, 2, 2, 2], seed=0)
    assert thirds["tau"] == pytest.approx((1 - 1 / 3 + 1 / 3) / 3)
    cancelled = trend([1, 3, 2, 3, 1, 2], [0, 1, 2] * 2, [0, 0, 0, 1, 1, 1], seed=0)
    assert (cancelled["tau"], cancelled["p"]) == (0, 1)


@pytest.mark.parametrize("values, rates, seeds", [([1, 2], [0, 1], [0, 1]), ([1, 1], [0, 1], [0, 0]), ([], [], [])])
def test_no_seed_with_several_values_has_no_trend(values, rates, seeds):
    found = trend(values, rates, seeds, seed=0)
    assert math.isnan(found["tau"])
    assert found["p"] == 1
