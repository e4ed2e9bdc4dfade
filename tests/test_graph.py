from itertools import combinations, product

import networkx
import pytest
import torch
from conftest import random_weights
from hypothesis import given, settings
from hypothesis import strategies as st

import mlp.graph
from mlp import InputError
from mlp.graph import (
    betweenness,
    centralities,
    connected_neurons,
    inputs_reach_outputs,
    layered_centralities,
    neuron_graph,
    strongest_edges,
    weight_adjacency,
    without_isolated,
)


def test_a_network_worked_out_by_hand():
    # inputs a, b; hidden c, d; output e.  a-d is pruned, so a reaches e through c; b prefers the strong road through d.
    weights = [torch.tensor([[1.0, -2.0], [0.0, 4.0]]), torch.tensor([[-0.5, 1.0]])]
    graph = neuron_graph(weights)
    a, b, c, d, e = (0, 0), (0, 1), (1, 0), (1, 1), (2, 0)
    assert set(graph) == {a, b, c, d, e}
    assert set(graph.edges) == {(a, c), (b, c), (b, d), (c, e), (d, e)}
    assert graph.edges[b, c] == {"weight": 2.0, "distance": 0.5}
    assert [graph.nodes[node]["layer"] for node in (a, c, e)] == [0, 1, 2]
    assert centralities(graph) == {
        a: {"in_degree": 0, "out_degree": 1, "betweenness": 0},
        b: {"in_degree": 0, "out_degree": 6, "betweenness": 0},
        c: {"in_degree": 3, "out_degree": 0.5, "betweenness": 1 / 12},
        d: {"in_degree": 4, "out_degree": 1, "betweenness": 1 / 12},
        e: {"in_degree": 1.5, "out_degree": 0, "betweenness": 0},
    }


def test_equally_short_paths_share_the_pair():
    table = centralities(neuron_graph([torch.ones(2, 1), torch.ones(1, 2)]))
    assert table[1, 0]["betweenness"] == table[1, 1]["betweenness"] == 0.5 / 6


def betweenness_by_enumeration(weights):
    """Every path of every pair of neurons, written out."""
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
                paths[tuple(path)] = sum(1 / abs(step) for step in steps)
        shortest = [path for path, length in paths.items() if length <= min(paths.values()) * (1 + 1e-12)]
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
    weights[1] = weights[1].round()  # some ties
    expected = betweenness(weights)
    monkeypatch.setattr(mlp.graph, "BATCH_NUMBERS", numbers)
    assert all(torch.equal(*pair) for pair in zip(betweenness(weights), expected, strict=True))


def test_memory_is_capped(monkeypatch):
    largest = []
    monkeypatch.setattr(mlp.graph, "BATCH_NUMBERS", 1000)
    original = mlp.graph._dependencies
    monkeypatch.setattr(
        mlp.graph,
        "_dependencies",
        lambda lengths, distances, buffer: largest.append(buffer.numel()) or original(lengths, distances, buffer),
    )
    betweenness(random_weights((50, 10, 10, 3)))
    assert len(largest) > 5, "everything was done at once"
    assert max(largest) <= 1000


@pytest.mark.parametrize("numbers", [1, 30, 2**20])
def test_networks_side_by_side_are_the_networks_alone(monkeypatch, numbers):
    monkeypatch.setattr(mlp.graph, "BATCH_NUMBERS", numbers)
    networks = [random_weights((6, 5, 4, 3), seed, pruned=0.3) for seed in range(4)]
    networks[2] = [weight.sign() for weight in networks[2]]  # ties in one network only
    together = betweenness([torch.stack(matrices) for matrices in zip(*networks)])
    for k, weights in enumerate(networks):
        for ours, alone in zip(together, betweenness(weights), strict=True):
            assert ours[k].tolist() == pytest.approx(alone.tolist(), rel=0, abs=1e-15)


def test_both_engines_give_the_same_table_to_the_last_bit(small_model):
    (ours,) = layered_centralities([weight.unsqueeze(0) for weight in small_model.weights])
    assert ours == centralities(neuron_graph(small_model.weights))


def test_neurons_without_edges_stay_in_the_graph():
    graph = neuron_graph([torch.zeros(2, 3), torch.ones(1, 2)])
    assert len(graph) == 6
    assert graph.number_of_edges() == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value):
    for measure in (neuron_graph, betweenness):
        with pytest.raises(InputError, match="layer 2"):
            measure([torch.ones(2, 2), torch.tensor([[1.0, value]])])


def test_strongest_edges_leave_the_inputs_out():
    weights = [torch.full((2, 3), 9.0), torch.tensor([[1.0, -3.0], [2.0, 0.0]]), torch.tensor([[0.5, 0.25]])]
    assert strongest_edges(weights, per_layer=2) == [
        ((1, 1), (2, 0), 3.0),
        ((1, 0), (2, 1), 2.0),
        ((2, 0), (3, 0), 0.5),
        ((2, 1), (3, 0), 0.25),
    ]


shapes = st.lists(st.integers(1, 5), min_size=2, max_size=5)


@given(shapes, st.integers(0, 10**6), st.sampled_from([0, 0.5, 0.9, 1]))
def test_adjacency_equals_the_neuron_graph_without_directions(sizes, seed, pruned):
    weights = random_weights(sizes, seed, pruned)
    graph = neuron_graph(weights).to_undirected()
    adjacency = weight_adjacency(weights)
    nodes = [(layer, index) for layer, size in enumerate(sizes) for index in range(size)]
    expected = networkx.to_numpy_array(graph, nodes, weight="weight")
    assert adjacency.dtype == float
    assert (adjacency.toarray() == expected).all()
    assert adjacency.nnz == 2 * graph.number_of_edges()
    assert torch.cat(connected_neurons(weights)).tolist() == [graph.degree(node) > 0 for node in nodes]
    if graph.number_of_edges():
        left = expected.sum(1) > 0
        assert (weight_adjacency(without_isolated(weights)).toarray() == expected[left][:, left]).all()
    directed = neuron_graph(weights)
    reached = {node for index in range(sizes[0]) for node in networkx.descendants(directed, (0, index))}
    assert inputs_reach_outputs(weights) == any(layer == len(sizes) - 1 for layer, _ in reached)


def test_adjacency_refuses_what_is_not_finite():
    with pytest.raises(InputError, match="into layer 2"):
        weight_adjacency([torch.ones(2, 2), torch.full((1, 2), torch.nan)])
