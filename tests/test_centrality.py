from fractions import Fraction
from itertools import combinations, product

import networkx
import pytest
import torch
from conftest import random_weights
from hypothesis import given, settings
from hypothesis import strategies as st

import modularity.centrality
from modularity.centrality import betweenness, centralities, layered_centralities
from modularity.graph import neuron_graph


def test_equally_short_paths_share_the_pair():
    table = centralities(neuron_graph([torch.ones(2, 1), torch.ones(1, 2)]))
    assert table[1, 0]["betweenness"] == table[1, 1]["betweenness"] == 0.5 / 6


def betweenness_by_enumeration(weights):
    """Every path of every pair of neurons, written out, with lengths as exact fractions."""
    sizes = [weights[0].shape[1], *map(len, weights)]
    nodes = [(layer, index) for layer, width in enumerate(sizes) for index in range(width)]
    total = dict.fromkeys(nodes, 0.0)
    for first, last in combinations(nodes, 2):
        if first[0] == last[0]:
            continue
        paths = {}
        for middle in product(*(range(sizes[layer]) for layer in range(first[0] + 1, last[0]))):
            path = [first, *enumerate(middle, first[0] + 1), last]
            steps = [weights[layer][there][here].item() for (layer, here), (_, there) in zip(path, path[1:])]
            if all(steps):
                paths[tuple(path)] = sum(1 / abs(Fraction(step)) for step in steps)
        shortest = [path for path, length in paths.items() if length == min(paths.values())]
        for path in shortest:
            for node in path[1:-1]:
                total[node] += 1 / len(shortest)
    n = len(nodes)
    return {node: value / ((n - 1) * (n - 2)) for node, value in total.items()}


@given(st.lists(st.integers(1, 4), min_size=3, max_size=5), st.integers(0, 10**6), st.sampled_from([0, 0.4]))
def test_centralities_equal_brute_force(sizes, seed, pruned):
    weights = random_weights(sizes, seed, pruned)
    table = centralities(neuron_graph(weights))
    expected = betweenness_by_enumeration(weights)
    for (layer, index), row in table.items():
        incoming = weights[layer - 1][index].double().abs().sum() if layer else 0
        outgoing = weights[layer][:, index].double().abs().sum() if layer < len(weights) else 0
        assert row["in_degree"] == pytest.approx(incoming)
        assert row["out_degree"] == pytest.approx(outgoing)
        assert row["betweenness"] == pytest.approx(expected[layer, index], abs=1e-12)


def test_centralities_equal_networkx_on_an_edge_list_of_the_same_weights(small_model):
    edges = [
        ((layer, source), (layer + 1, target), 1 / abs(weight[target, source].item()))
        for layer, weight in enumerate(small_model.weights)
        for target, source in product(*map(range, weight.shape))
    ]
    graph = networkx.DiGraph()
    graph.add_weighted_edges_from(edges)
    expected = networkx.betweenness_centrality(graph, weight="weight")
    table = centralities(neuron_graph(small_model.weights))
    assert {node: row["betweenness"] for node, row in table.items()} == pytest.approx(expected, abs=1e-12)


def betweenness_by_fractions(weights):
    """networkx, on an edge list whose lengths are exact fractions: one list per layer."""
    graph = networkx.DiGraph()
    for layer, size in enumerate([weights[0].shape[1], *map(len, weights)]):
        graph.add_nodes_from((layer, index) for index in range(size))
    for layer, weight in enumerate(weights):
        for target, source in weight.nonzero().tolist():
            length = 1 / abs(Fraction(weight[target, source].item()))
            graph.add_edge((layer, source), (layer + 1, target), length=length)
    found = networkx.betweenness_centrality(graph, weight="length")
    return [[found[node] for node in graph if node[0] == layer] for layer in range(len(weights) + 1)]


def assert_both_engines_give(expected, weights):
    for found in (betweenness(weights), by_networkx(weights)):
        for layer, values in zip(found, expected, strict=True):
            assert list(layer) == pytest.approx(values, rel=0, abs=1e-14)


@pytest.mark.parametrize("pixel", [1.0, 1e-10, 1e-20, 1e-38, 1e-45])
def test_a_long_edge_does_not_hide_the_edges_after_it(pixel):
    # in -> a -> {b: strong, c: weak} -> out: every shortest path takes b
    weights = [torch.tensor([[pixel]]), torch.tensor([[10.0], [0.1]]), torch.tensor([[1.0, 1.0]])]
    assert_both_engines_give([[0], [3 / 12], [2 / 12, 0], [0]], weights)


def test_paths_that_differ_by_less_than_rounding_do_not_tie():
    # 1 / (1 + e) is convex in e, so that the way through the middle is shorter, by 2e^2 in 2
    e = 2.0**-40
    weights = [torch.tensor([[1 + 2 * e], [1 + e]], dtype=torch.double), torch.tensor([[1, 1 + e]], dtype=torch.double)]
    assert_both_engines_give([[0], [0, 1 / 6], [0]], weights)


def test_layers_of_any_scale_are_compared_in_units_that_are_fine_enough():
    """The same near tie behind a first layer of far smaller weights, which decides about nothing."""
    e, scale = 2.0**-40, 2.0**400
    first = torch.tensor([[1.0]], dtype=torch.double)
    weights = [torch.tensor([[1 + 2 * e], [1 + e]], dtype=torch.double), torch.tensor([[1, 1 + e]], dtype=torch.double)]
    expected = [[0], [3 / 12], [0, 2 / 12], [0]]
    assert_both_engines_give(expected, [first, *(weight * scale for weight in weights)])
    assert_both_engines_give(expected, [first * scale, *weights])


@pytest.mark.parametrize("unit", [1 / 8, 0.0123, 1e-30, 1e30])
def test_paths_of_equal_length_tie_whatever_the_unit(unit):
    # 1/3 + 1/6 = 1/4 + 1/4 = 1/6 + 1/3, exactly, since a multiple of a number in single precision is a double
    unit = torch.tensor(unit).double()
    weights = [unit * torch.tensor([[3], [4], [6]]), unit * torch.tensor([[6, 4, 3]])]
    assert_both_engines_give([[0], [1 / 36] * 3, [0]], weights)


def test_equal_denormal_weights_tie():
    denormal = 2.0**-149
    weights = [torch.tensor([[denormal], [denormal], [2 * denormal]]), torch.tensor([[1.0, 1.0, denormal]])]
    assert (weights[0] > 0).all()
    assert_both_engines_give([[0], [1 / 24, 1 / 24, 0], [0]], weights)


PALETTES = {
    "4 bits": [*range(-8, 8)],
    "4 bits, odd unit": [k * 0.0123 for k in range(-8, 8)],
    "scales": [0, 1e-38, 2e-38, 1e-20, 1e-10, 0.3, 1.0, 1e10, 1e38],
    "denormals": [0, 2.0**-149, 3 * 2.0**-149, 6 * 2.0**-149, 0.7, 1.0, 2.0],
}


@settings(max_examples=300)
@given(
    st.lists(st.integers(1, 4), min_size=3, max_size=5),
    st.sampled_from(list(PALETTES)),
    st.lists(st.sampled_from([1, 1e-30, 1e30]), min_size=4, max_size=4),
    st.integers(0, 10**6),
)
def test_both_engines_equal_exact_fractions(sizes, palette, layer_scales, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.tensor(PALETTES[palette], dtype=torch.double)
    weights = []
    for into, out, scale in zip(sizes, sizes[1:], layer_scales):
        weights.append(scale * values[torch.randint(len(values), (out, into), generator=generator)])
    table = betweenness_by_enumeration(weights)
    expected = [[table[layer, index] for index in range(size)] for layer, size in enumerate(sizes)]
    assert_both_engines_give(expected, weights)


def test_pixels_whose_weights_have_decayed_as_those_of_the_border_of_mnist():
    weights = random_weights((40, 12, 10, 8, 3))
    weights[0][:, :3] *= 1e-38
    weights[0][:, 3] = 2.0**-149  # all equal
    assert_both_engines_give(betweenness_by_fractions(weights), weights)


@pytest.mark.parametrize("exponent", [-900, -200, 200, 900])
def test_the_unit_of_all_weights_changes_nothing(exponent):
    weights = [weight.double() for weight in random_weights((20, 12, 8, 6, 3), pruned=0.1)]
    weights[0][:, ::3] *= 1e-20
    weights[2] = weights[2].round()  # some ties
    scaled = betweenness([weight * 2.0**exponent for weight in weights])
    assert all(torch.equal(*pair) for pair in zip(scaled, betweenness(weights), strict=True))


layered_sizes = st.lists(st.integers(1, 7), min_size=2, max_size=5)


def by_networkx(weights):
    table = centralities(neuron_graph(weights))
    return [
        [row["betweenness"] for (its_layer, _), row in table.items() if its_layer == layer]
        for layer in range(len(weights) + 1)
    ]


def assert_betweenness_equals_networkx(weights):
    for ours, theirs in zip(betweenness(weights), by_networkx(weights), strict=True):
        assert ours.tolist() == pytest.approx(theirs, rel=0, abs=1e-12)


@settings(max_examples=300)
@given(layered_sizes, st.integers(0, 10**6), st.sampled_from([0, 0.3, 0.7]))
def test_layered_engine_equals_networkx(sizes, seed, pruned):
    assert_betweenness_equals_networkx(random_weights(sizes, seed, pruned))


@settings(max_examples=300)
@given(layered_sizes, st.integers(0, 10**6), st.sampled_from([0, 0.3, 0.7]), st.sampled_from([1, 2, 5]))
def test_layered_engine_splits_ties_as_networkx_does(sizes, seed, pruned, levels):
    weights = [(weight * levels / 3).clamp(-levels, levels).round() for weight in random_weights(sizes, seed, pruned)]
    assert_betweenness_equals_networkx(weights)


@pytest.mark.parametrize("numbers", [1, 64, 1000])
def test_batches_of_sources_change_nothing(monkeypatch, numbers):
    weights = random_weights((20, 6, 5, 4), pruned=0.2)
    weights[0][:, ::3] *= 1e-38
    weights[1] = weights[1].round()  # some ties
    expected = betweenness(weights)
    monkeypatch.setattr(modularity.centrality, "BATCH_NUMBERS", numbers)
    assert all(torch.equal(*pair) for pair in zip(betweenness(weights), expected, strict=True))


def test_memory_is_capped(monkeypatch):
    largest = []
    monkeypatch.setattr(modularity.centrality, "BATCH_NUMBERS", 1000)
    original = modularity.centrality._dependencies
    monkeypatch.setattr(
        modularity.centrality,
        "_dependencies",
        lambda *arguments: largest.append(arguments[-1].numel()) or original(*arguments),
    )
    betweenness(random_weights((50, 10, 10, 3)))
    assert len(largest) > 5, "everything was done at once"
    assert max(largest) <= 1000


@pytest.mark.parametrize("numbers", [1, 30, 2**20])
def test_networks_side_by_side_are_the_networks_alone(monkeypatch, numbers):
    monkeypatch.setattr(modularity.centrality, "BATCH_NUMBERS", numbers)
    networks = [random_weights((6, 5, 4, 3), seed, pruned=0.3) for seed in range(4)]
    networks[1][0][:, 2] *= 1e-38
    networks[2] = [weight.sign() for weight in networks[2]]  # ties in one network only
    together = betweenness([torch.stack(matrices) for matrices in zip(*networks)])
    for k, weights in enumerate(networks):
        for ours, alone in zip(together, betweenness(weights), strict=True):
            assert ours[k].tolist() == pytest.approx(alone.tolist(), rel=0, abs=1e-15)


def test_both_engines_give_the_same_table_to_the_last_bit(small_model):
    (ours,) = layered_centralities([weight.unsqueeze(0) for weight in small_model.weights])
    assert ours == centralities(neuron_graph(small_model.weights))
