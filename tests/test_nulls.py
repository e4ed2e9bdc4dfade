from itertools import pairwise, product

import numpy
import pytest
import torch
from conftest import random_weights
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import chisquare

from modularity.clusterability import clusterings
from modularity.nulls import control_modules, fitted_strengths, layer_counts, matched_modules, random_partition
from modularity.nulls import shuffle_weights
from modularity.rows import mean_interval


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data())
def test_all_matched_modules_equal_brute_force(widths, data):
    counts = tuple(data.draw(st.integers(0, width)) for width in widths)
    subsets = [torch.tensor(bits).bool() for bits in product([0, 1], repeat=sum(widths))]
    expected = [module.tolist() for module in subsets if layer_counts(module, widths) == counts]
    modules, complete = matched_modules(counts, widths, limit=len(expected), generator=None)
    assert complete
    assert sorted(modules.tolist()) == sorted(expected)


def test_sampled_modules_match_and_are_uniform():
    generator = torch.Generator().manual_seed(0)
    modules, complete = matched_modules((2, 1), (4, 3), limit=17, generator=generator)
    assert not complete  # there are 18
    assert modules.shape == (17, 7)
    draws = torch.cat([matched_modules((2, 1), (4, 3), 17, generator)[0] for _ in range(1000)])
    assert all(layer_counts(module, (4, 3)) == (2, 1) for module in draws)
    distinct, frequency = draws.unique(dim=0, return_counts=True)
    assert len(distinct) == 18
    assert chisquare(frequency).pvalue > 0.01


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data())
def test_controls_are_all_others_or_a_sample(widths, data):
    module = torch.tensor(data.draw(st.lists(st.booleans(), min_size=sum(widths), max_size=sum(widths))))
    everyone = torch.ones(sum(widths), dtype=torch.bool)
    expected, _ = matched_modules(layer_counts(module, widths), widths, 1000, None)
    controls, complete = control_modules(module, widths, 1000, None, everyone)
    assert complete
    assert len(controls) == len(expected) - 1
    assert sorted([*controls.tolist(), module.tolist()]) == sorted(expected.tolist())
    for limit in range(1, len(expected) - 1):
        sample, complete = control_modules(module, widths, limit, torch.Generator(), everyone)
        assert not complete
        assert len(sample) <= limit
        assert not (sample == module).all(1).any()
    limit = len(expected) - 1
    if limit:
        assert control_modules(module, widths, limit, None, everyone)[1], "so many are all others"


def test_only_eligible_neurons_are_drawn():
    eligible = torch.tensor([1, 1, 0, 1, 0, 1, 1]).bool()
    modules, complete = matched_modules((2, 1), (4, 3), 100, None, eligible)
    assert complete
    everything, _ = matched_modules((2, 1), (4, 3), 100, None)
    expected = [module.tolist() for module in everything if not (module & ~eligible).any()]
    assert sorted(modules.tolist()) == sorted(expected)
    sampled, complete = matched_modules((2, 1), (4, 3), 5, torch.Generator().manual_seed(0), eligible)
    assert not complete
    assert sampled.shape == (5, 7)
    assert not (sampled & ~eligible).any()


def test_a_random_partition_has_parts_of_the_same_sizes():
    labels = numpy.random.default_rng(0).integers(-1, 4, 50)
    shuffled = random_partition(labels, (20, 30), torch.Generator().manual_seed(0))
    assert ((shuffled < 0) == (labels < 0)).all()
    for layer in (slice(0, 20), slice(20, 50)):
        assert sorted(shuffled[layer]) == sorted(labels[layer])
    assert (shuffled != labels).any()


@given(st.integers(0, 10**6), st.sampled_from(["layer", "layer_nonzero", "strength"]))
def test_shuffles_keep_what_they_should(seed, null):
    weights = random_weights((6, 5, 4), seed, pruned=0.4)
    before = [weight.clone() for weight in weights]
    shuffled = shuffle_weights(weights, null, torch.Generator().manual_seed(seed))
    for weight, same, copy_ in zip(weights, before, shuffled, strict=True):
        assert torch.equal(weight, same)
        if null == "strength":
            for side in (0, 1):
                sums = [matrix.double().abs().sum(side) for matrix in (copy_, weight)]
                assert torch.allclose(*sums, rtol=1e-6, atol=0)
        else:
            assert torch.equal(weight.flatten().sort().values, copy_.flatten().sort().values)
        if null != "layer":
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


def test_strengths_are_fitted_by_factors_of_rows_and_columns():
    """What fitting may do, and no more: where nothing is zero, ratios of ratios stay as they were shuffled."""
    weight, shuffled = random_weights((7, 5, 3), 1)[0].abs(), random_weights((7, 5, 3), 2)[0]
    fitted = fitted_strengths(shuffled, weight)
    factors = fitted / shuffled.double()
    assert (factors > 0).all()
    assert torch.allclose(factors * factors[0, 0], factors[:1] * factors[:, :1], rtol=1e-5)
    for side in (0, 1):
        assert torch.allclose(fitted.abs().sum(side), weight.double().sum(side), rtol=1e-6)


def test_strengths_that_cannot_be_fitted_are_said():
    """The only place of the first row is that of the first column, whose sums differ."""
    with pytest.warns(UserWarning, match="did not reach the strengths"):
        fitted_strengths(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 2.0], [1.0, 1.0]]))


def gaps_without_clusters(null, strengths, tails=0.5):
    """n-cuts minus those of copies, of networks whose weights are random but for the strengths of their neurons."""
    gaps = []
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        factors = [torch.exp(strengths * torch.randn(width, generator=generator)) for width in (50, 40, 40)]
        weights = []
        for before, after in pairwise(factors):
            noise = torch.exp(tails * torch.randn(len(after), len(before), generator=generator))
            weights.append(after.unsqueeze(1) * before * noise)
        ((own, *_),) = clusterings(weights, None, 5, 0, [()])
        copies = clusterings(weights, null, 5, 0, [(seed, shuffle) for shuffle in range(6)])
        gaps.append(own - numpy.mean([cut for cut, *_ in copies]))
    return mean_interval(gaps)


def test_strengths_are_not_taken_for_clusters():
    """n-cuts of five clusters; a null that loses the strengths finds something where there are no clusters."""
    low, gap, high = gaps_without_clusters("strength", strengths=0.7)
    assert abs(gap) < 0.06
    assert -0.1 < low <= high < 0.1
    _, gap, _ = gaps_without_clusters("layer_nonzero", strengths=0.7)
    assert abs(gap) > 0.3
    _, gap, _ = gaps_without_clusters("strength", strengths=0)
    assert abs(gap) < 0.05


def test_single_weights_that_make_strengths_are_a_limit_of_the_null():
    """What the documentation warns of: without any structure the gap is not 0."""
    _, gap, high = gaps_without_clusters("strength", strengths=0, tails=1)
    assert -0.4 < gap < high < -0.1


def test_clusters_are_gone_from_copies_with_strengths():
    weight = torch.full((8, 8), 0.01)
    weight[:4, :4] = weight[4:, 4:] = 1.0
    shares = []
    for seed in range(20):
        (copy_,) = shuffle_weights([weight], "strength", torch.Generator().manual_seed(seed))
        shares.append((copy_[:4, :4].sum() + copy_[4:, 4:].sum()) / copy_.sum())
    assert 0.4 < numpy.mean(shares) < 0.6


def test_an_unknown_null():
    with pytest.raises(ValueError, match="layer_nonzero"):
        shuffle_weights([torch.ones(2, 2)], "everything", torch.Generator())
