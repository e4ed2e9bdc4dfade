"""Which units are dead, and what that changes: nothing but that they are gone, in whatever unit the weights are."""

import pytest
import torch
from conftest import random_weights
from hypothesis import given
from hypothesis import strategies as st

from mlp.architecture import convolutional
from mlp.data import DataSet
from mlp.model import MLP, initial_model
from mlp.network import Network, stacked_strengths
from mlp.strengths import DEAD, connected_units, strengths_of
from modularity.candidates import indegree_nobetween_candidates, null_modules
from modularity.centrality import layered_centralities
from modularity.clusterability import WITHOUT_PIXELS, graph_weights, shuffled_copy


def network_with(weights):
    """A Network of these weights."""
    model = MLP([weights[0].shape[1], *map(len, weights)])
    with torch.no_grad():
        for own, weight in zip(model.weights, weights, strict=True):
            own.copy_(weight)
    return Network(model, DataSet(None, tuple(range(len(weights[-1])))))


def decayed(factor):
    """Weights of 6-5-4-3 units of which pixel 2 and neuron 3 of layer 1 have decayed by a factor, in and out."""
    weights = [weight.abs() + 0.5 for weight in random_weights((6, 5, 4, 3))]
    weights[0][:, 2] *= factor
    weights[0][3] *= factor
    weights[1][:, 3] *= factor
    return weights


@pytest.mark.parametrize("factor, dead", [(1e-38, True), (1e-12, True), (1e-7, True), (1e-5, False), (1, False)])
def test_units_of_next_to_no_weight_are_dead(factor, dead):
    weights = decayed(factor)
    living = connected_units(strengths_of(weights, "sum"))
    assert [layer.tolist() for layer in living] == [
        [place != 2 or not dead for place in range(6)],
        [place != 3 or not dead for place in range(5)],
        [True] * 4,
        [True] * 3,
    ]
    assert network_with(weights).living.tolist() == [place != 3 or not dead for place in range(9)]
    gone = [weight.clone() for weight in weights]
    if dead:
        gone[0][:, 2] = gone[0][3] = gone[1][:, 3] = 0
    for strength, expected in zip(strengths_of(weights, "sum"), gone, strict=True):
        assert torch.equal(strength, expected)


def test_the_mean_counts_zeros():
    """Of 12 weights, 6 pruned, the mean is a half: a unit of 0.6e-6 lives, and one of 0.4e-6 is dead."""
    weights = [torch.tensor([[1.0, 0, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]]), torch.ones(2, 3)]
    weights[1][:, 2] = 0
    for strength, lives in ((0.6e-6, True), (0.4e-6, False)):
        weights[0][2, 0] = strength
        assert connected_units(strengths_of(weights, "sum"))[1].tolist() == [True, True, lives]


def test_a_unit_may_be_dead_in_a_part_of_a_network():
    """Without pixels, neurons that only read pixels are in no graph, be it that they pass on nothing or next to it."""
    weights = [weight.abs() + 0.5 for weight in random_weights((6, 5, 4, 3))]
    weights[1][:, 3] *= 1e-20
    network = network_with(weights)
    assert network.living.all()
    assert connected_units(graph_weights(network, WITHOUT_PIXELS))[0].tolist() == [True, True, True, False, True]


def test_copies_are_without_units_that_are_dead_in_them():
    """A third of the weights is next to nothing, and shuffled copies have neurons of such weights alone."""
    weights = [weight.abs() + 0.5 for weight in random_weights((40, 4, 40))]
    weights[0][:, ::2] *= 1e-12
    found = [connected_units(shuffled_copy(weights[::-1], "layer", 0, (seed,))) for seed in range(3)]
    assert all(layer.all() for layers in found for layer in layers), "no such neurons where all have many weights"
    narrow = [weights[0][:1], weights[1][:, :1]]
    strengths = shuffled_copy(narrow, "layer", 0, (0,))
    assert connected_units(strengths)[0].sum() == 20


def test_of_living_units_the_smallest_weights_count():
    weights = [weight.abs() + 0.5 for weight in random_weights((6, 5, 4, 3))]
    weights[0][:, 2] = 1e-38
    weights[0][1, 2] = 1  # one strong edge is enough
    for strength, weight in zip(strengths_of(weights, "sum"), weights, strict=True):
        assert torch.equal(strength, weight)


def test_one_side_is_enough_to_live():
    weights = [weight.abs() + 0.5 for weight in random_weights((6, 5, 4, 3))]
    weights[1][:, 3] *= 1e-20  # it passes nothing on, but reads
    weights[1][2] *= 1e-20  # it reads nothing, but passes on
    assert network_with(weights).living.all()


def test_nothing_is_gone_of_ordinary_networks():
    """Of weights drawn at random some are next to zero, but not all of a unit."""
    for model in (initial_model((784, 256, 256, 10), 0), initial_model((784, 256, 10), 0, "glorot")):
        for strength, weight in zip(strengths_of(model.weights, "sum"), model.weights, strict=True):
            assert torch.equal(strength, weight.abs())


@given(st.integers(-30, 30), st.sampled_from([1e-12, 1e-8, 1e-3]), st.integers(0, 10**6))
def test_who_is_dead_does_not_depend_on_the_unit(exponent, factor, seed):
    weights = [weight.double() for weight in random_weights((6, 5, 4, 3), seed, pruned=0.3)]
    weights[0][3] *= factor
    weights[1][:, 3] *= factor
    for scaled in ([weight * 10.0**exponent for weight in weights], [weights[0] * 10.0**exponent, *weights[1:]]):
        living, expected = (connected_units(strengths_of(some, "sum")) for some in (scaled, weights))
        assert all(torch.equal(*pair) for pair in zip(living, expected, strict=True))


def test_who_is_dead_is_decided_once():
    """The strengths of strengths are these strengths."""
    once = strengths_of(decayed(0.9 * DEAD), "sum")
    assert all(torch.equal(*pair) for pair in zip(once, strengths_of(once, "sum"), strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_left_for_the_graph_to_refuse(value):
    weights = decayed(1e-20)
    weights[0][3, 2] = value
    assert not strengths_of(weights, "sum")[0].isfinite().all()


def test_a_channel_that_has_decayed_is_dead():
    network = Network(initial_model(convolutional((1, 8, 8), (4, 3), (5, 3)), 1), DataSet(None, (0, 1, 2)))
    assert network.living.all()
    with torch.no_grad():
        network.model.weights[0][2].mul_(1e-20)
        network.model.weights[1][:, 2].mul_(1e-20)
    assert network.living.tolist() == [place != 2 for place in range(12)]


def without_unit(weights, layer, place):
    """The weights of the network that never had a hidden unit."""
    weights = list(weights)
    keep = [other for other in range(len(weights[layer - 1])) if other != place]
    weights[layer - 1] = weights[layer - 1][keep]
    weights[layer] = weights[layer][:, keep]
    return weights


@pytest.mark.parametrize("seed", range(5))
def test_dead_neurons_are_neither_candidates_nor_in_nulls(seed):
    """Candidates and nulls are those of the network that never had the dead neuron."""
    weights = [weight.abs() + 0.01 for weight in random_weights((6, 5, 4, 3), seed)]
    whole = network_with(without_unit(weights, 1, 3))
    weights[0][3] *= 1e-20
    weights[1][:, 3] *= 1e-20
    found = {}
    for network in (whole, network_with(weights)):
        table = layered_centralities(stacked_strengths([network]))[0]
        candidates = {"both": indegree_nobetween_candidates(table)}
        _, _, matched, same_rule = null_modules(network, candidates, 2, 1000, torch.Generator())["both"]
        hidden = [(layer, place) for layer, width in ((1, network.model.sizes[1]), (2, 4)) for place in range(width)]
        dead = [] if network is whole else [(1, 3)]
        names = dict(zip([node for node in hidden if node not in dead], range(8)))
        found[network] = (
            [names[node] for node in candidates["both"]],
            {
                counts: {tuple(names[hidden[place]] for place in module.nonzero().flatten()) for module in group}
                for counts, (group, _) in matched.items()
            },
            {counts: [names[hidden[place]] for place in places] for counts, places in same_rule.items()},
        )
    expected, decayed_one = found.values()
    assert decayed_one == expected
    assert len(expected[0]) > 0
