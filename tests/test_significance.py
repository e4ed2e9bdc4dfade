import math
from itertools import product

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from modularity.effects import ablation_effects
from modularity.nulls import matched_modules
from modularity.significance import (
    across_networks,
    adjusted,
    beyond_all,
    centred,
    combine_networks,
    compare_with_controls,
    compare_with_null,
    compare_with_shuffles,
    compare_with_untrained,
    complete_p_value,
    fisher_p_value,
    paired_test,
    permutation_p_value,
    rank_p_value,
    signed_rank_test,
    trend,
)


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
    assert (compared["n"], compared["mean"], compared["median"]) == (5, 3, 3)
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
    assert all(math.isnan(compared[key]) for key in ("percentile", "mean", "median", "low", "high"))


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


def test_pairs_are_compared_by_their_differences():
    """Against scipy's interval of the mean and test of ranks; what is not defined is left out."""
    differences = [1.5, -0.5, 2.0, 3.5, math.nan, 4.0, 0.25]
    defined = [value for value in differences if not math.isnan(value)]
    interval = stats.ttest_1samp(defined, 0).confidence_interval()
    found = paired_test(differences)
    assert found == {
        "seeds": 6,
        "mean": pytest.approx(numpy.mean(defined)),
        "low": pytest.approx(interval.low),
        "high": pytest.approx(interval.high),
        "null": "permutations",
        "p": pytest.approx(stats.wilcoxon(defined).pvalue),
        "smallest_p": 2 / 2**6,
        "direction": 1,
    }
    mirrored = paired_test([-value for value in differences])
    assert (mirrored["p"], mirrored["direction"]) == (found["p"], -1)
    assert (mirrored["low"], mirrored["high"]) == pytest.approx((-found["high"], -found["low"]))
    nothing = paired_test([math.nan])
    assert (nothing["seeds"], nothing["p"]) == (0, 1)
    assert math.isnan(nothing["mean"]) and math.isnan(nothing["low"])


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
    assert beyond_all(1 / 20, 19)
    assert not beyond_all(1 / 19, 18), "the best of so few is no finding at 0.05"
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


@pytest.mark.parametrize(
    "p_values, expected",
    [
        ([0.01, 0.04, 0.03, 0.5], [0.04, 0.16 / 3, 0.16 / 3, 0.5]),  # n / rank, and never above that of a larger one
        ([0.9], [0.9]),
        ([0.04, 0.045], [0.045, 0.045]),
        ([], []),
    ],
)
def test_adjusted_p_values_are_those_of_benjamini_and_hochberg(p_values, expected):
    rows = [{"layer": place, "q": p} for place, p in enumerate(p_values)]
    found = adjusted(rows, "q", "corrected")
    assert [row["corrected"] for row in found] == pytest.approx(expected)
    assert [{key: row[key] for key in ("layer", "q")} for row in found] == rows
