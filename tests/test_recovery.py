import math
from itertools import permutations

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import homogeneity_score

from modularity.recovery import adjusted_rand_index, by_layer, corrected_homogeneity, purities

GROUPS = [0, 0, 0, 1, 1, 1]
neurons = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 2)), min_size=2, max_size=30)


def pairs_that_agree(labels, groups):
    """The adjusted Rand index from the pairs of neurons, one by one."""
    places = [place for place, label in enumerate(labels) if label >= 0]
    pairs = [(i, j) for i in places for j in places if i < j]
    together = [labels[i] == labels[j] for i, j in pairs]
    alike = [groups[i] == groups[j] for i, j in pairs]
    both = sum(a and b for a, b in zip(together, alike))
    chance = sum(together) * sum(alike) / len(pairs)
    most = (sum(together) + sum(alike)) / 2
    return 1 if most == chance else (both - chance) / (most - chance)


@given(neurons)
def test_the_adjusted_rand_index_counts_pairs(some):
    labels, groups = zip(*some)
    if sum(label >= 0 for label in labels) >= 2:
        assert adjusted_rand_index(labels, groups) == pytest.approx(pairs_that_agree(labels, groups), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=3, max_size=5))
def test_chance_is_the_mean_over_all_exchanges_of_the_groups(some):
    labels, groups = zip(*some)
    found = corrected_homogeneity(labels, groups)
    chance = numpy.mean([homogeneity_score(order, labels) for order in permutations(groups)])
    if math.isnan(found):
        assert chance == pytest.approx(1) or len(set(groups)) == 1
    else:
        expected = (homogeneity_score(groups, labels) - chance) / (1 - chance)
        assert found == pytest.approx(expected, abs=1e-9)


@given(neurons, st.randoms(use_true_random=False))
def test_no_score_depends_on_the_names_of_clusters_or_the_order_of_neurons(some, random):
    names = {-1: -1} | dict(zip(range(4), random.sample(range(4), 4)))
    shuffled = random.sample(some, len(some))
    for score in (adjusted_rand_index, corrected_homogeneity):
        before, after = score(*zip(*some)), score(*zip(*((names[label], group) for label, group in shuffled)))
        assert before == pytest.approx(after, abs=1e-9, nan_ok=True)


def test_known_scores():
    assert adjusted_rand_index([5, 5, 5, 2, 2, 2], GROUPS) == corrected_homogeneity([5, 5, 5, 2, 2, 2], GROUPS) == 1
    assert corrected_homogeneity([0, 0, 1, 2, 2, 2], GROUPS) == pytest.approx(1)  # more clusters, all of them pure
    assert adjusted_rand_index([0, 0, 1, 2, 2, 2], GROUPS) < 1
    assert adjusted_rand_index([0] * 6, GROUPS) == corrected_homogeneity([0] * 6, GROUPS) == 0
    assert adjusted_rand_index([-1, 0, 0, 1, 1, -1], GROUPS) == 1
    assert math.isnan(corrected_homogeneity(range(6), GROUPS))  # each neuron its own cluster: pure, and says nothing
    assert math.isnan(corrected_homogeneity([0, 0, 1, 1, 1, 1], [2] * 6))
    assert math.isnan(adjusted_rand_index([-1] * 6, GROUPS))
    assert math.isnan(corrected_homogeneity([-1] * 6, GROUPS))


def test_random_clusters_recover_nothing():
    generator = numpy.random.default_rng(0)
    groups = numpy.arange(100) % 2
    for score, clusters in ((adjusted_rand_index, 2), (corrected_homogeneity, 2), (corrected_homogeneity, 12)):
        scores = [score(generator.integers(clusters, size=100), groups) for _ in range(300)]
        assert abs(numpy.mean(scores)) < 4 * numpy.std(scores) / 300**0.5


def test_layers_are_scored_one_by_one():
    """Clusters of one layer have no counterpart in the next."""
    labels, groups = [0, 0, 1, 1, 3, 3, 2, 2, -1, -1], [0, 0, 1, 1, 0, 1, 0, 1, 0, 1]
    found = by_layer(adjusted_rand_index, labels, groups, (4, 4, 2))
    assert found == pytest.approx((1 + adjusted_rand_index([3, 3, 2, 2], [0, 1, 0, 1])) / 2)


def test_purity_is_the_largest_share():
    modules = torch.tensor([[1, 1, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0], [0, 0, 1, 1, 0, 0], [0] * 6]).bool()
    assert purities(modules, GROUPS).tolist() == pytest.approx([1, 2 / 3, 1 / 2, 0])
