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
    networks[2] = [weight.sign() for weight in networks[2]]  # ties in one network only
    together = betweenness([torch.stack(matrices) for matrices in zip(*networks)])
    for k, weights in enumerate(networks):
        for ours, alone in zip(together, betweenness(weights), strict=True):
            assert ours[k].tolist() == pytest.approx(alone.tolist(), rel=0, abs=1e-15)


def test_both_engines_give_the_same_table_to_the_last_bit(small_model):
    (ours,) = layered_centralities([weight.unsqueeze(0) for weight in small_model.weights])
    assert ours == centralities(neuron_graph(small_model.weights))
