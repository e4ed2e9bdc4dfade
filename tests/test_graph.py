import networkx
import pytest
import torch
from conftest import random_weights
from hypothesis import given
from hypothesis import strategies as st

from mlp import InputError
from mlp.strengths import connected_units
from modularity.centrality import betweenness, centralities
from modularity.graph import (
    inputs_reach_outputs,
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


def test_neurons_without_edges_stay_in_the_graph():
    graph = neuron_graph([torch.zeros(2, 3), torch.ones(1, 2)])
    assert len(graph) == 6
    assert graph.number_of_edges() == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value):
    for measure in (neuron_graph, betweenness):
        with pytest.raises(InputError, match="layer 2"):
            measure([torch.ones(2, 2), torch.tensor([[1.0, value]])])


@pytest.mark.parametrize("value", [5e-324, 1e-301, 1e301])
def test_weights_without_a_length_in_double_precision_are_refused(value):
    for measure in (neuron_graph, betweenness):
        with pytest.raises(InputError, match="layer 2 are beyond 1e-300 to 1e300"):
            measure([torch.ones(2, 2), torch.tensor([[1.0, value]], dtype=torch.double)])


def test_strongest_edges_between_some_nodes():
    weights = [torch.full((2, 3), 9.0), torch.tensor([[1.0, -3.0], [2.0, 0.0]]), torch.tensor([[0.5, 0.25]])]
    nodes = {layer: [(layer, index) for index in range(size)] for layer, size in ((1, 2), (2, 2), (3, 1))}
    assert strongest_edges(weights, nodes, per_layer=2) == [
        ((1, 1), (2, 0), 3.0),
        ((1, 0), (2, 1), 2.0),
        ((2, 0), (3, 0), 0.5),
        ((2, 1), (3, 0), 0.25),
    ]
    nodes[2] = [(2, 1)]
    assert strongest_edges(weights, nodes, per_layer=2) == [((1, 0), (2, 1), 2.0), ((2, 1), (3, 0), 0.25)]


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
    assert torch.cat(connected_units(weights)).tolist() == [graph.degree(node) > 0 for node in nodes]
    if graph.number_of_edges():
        left = expected.sum(1) > 0
        assert (weight_adjacency(without_isolated(weights)).toarray() == expected[left][:, left]).all()
    directed = neuron_graph(weights)
    reached = {node for index in range(sizes[0]) for node in networkx.descendants(directed, (0, index))}
    assert inputs_reach_outputs(weights) == any(layer == len(sizes) - 1 for layer, _ in reached)


def test_adjacency_refuses_what_is_not_finite():
    with pytest.raises(InputError, match="into layer 2"):
        weight_adjacency([torch.ones(2, 2), torch.full((1, 2), torch.nan)])
