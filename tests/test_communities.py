from itertools import permutations

import igraph
import networkx
import numpy
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st

from modularity.communities import maximise_modularity, modularity


def random_similarity(nodes, seed):
    matrix = numpy.random.default_rng(seed).random((nodes, nodes)) ** 3
    matrix += matrix.T
    numpy.fill_diagonal(matrix, 0)
    return matrix


def test_two_triangles_joined_by_an_edge():
    triangles = networkx.to_numpy_array(networkx.barbell_graph(3, 0))
    labels, q = maximise_modularity(triangles, 5, seed=0)
    assert q == pytest.approx(5 / 14)
    assert labels.tolist() in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])


@pytest.mark.parametrize("scale", [1, 1 / 3, 0.1])
@pytest.mark.parametrize("nodes", [2, 3, 6])
def test_a_complete_graph_has_no_modules(nodes, scale):
    """Its Q is 0, and no rounding error that could be told from the rounding error of another network."""
    labels, q = maximise_modularity(scale * numpy.ones((nodes, nodes)), 5, seed=0)
    assert str(q) == "0.0"
    assert set(labels) == {0}


@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 10**6))
def test_modularity_equals_networkx(nodes, k, seed):
    matrix = random_similarity(nodes, seed)
    labels = numpy.random.default_rng(seed).permutation(numpy.arange(nodes) % k)
    graph = networkx.from_numpy_array(matrix)
    communities = [set(numpy.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())]
    assert modularity(matrix, labels) == pytest.approx(networkx.community.modularity(graph, communities), abs=1e-12)


def set_partitions(nodes, labels=()):
    """All partitions, each once: a node joins a cluster that is there, or begins the next."""
    if len(labels) == nodes:
        yield labels
    else:
        for label in range(max(labels, default=-1) + 2):
            yield from set_partitions(nodes, (*labels, label))


@pytest.mark.parametrize("seed", range(3))
def test_no_partition_of_a_small_graph_is_better(seed):
    matrix = random_similarity(8, seed)
    best = max(modularity(matrix, labels) for labels in set_partitions(8))
    labels, q = maximise_modularity(matrix, 30, seed=0)
    assert q == pytest.approx(modularity(matrix, labels), abs=1e-12)
    assert q == pytest.approx(best, abs=1e-12)


def test_restarts_never_hurt_and_a_seed_decides():
    matrix = random_similarity(40, 0)
    few, many = maximise_modularity(matrix, 2, seed=0)[1], maximise_modularity(matrix, 30, seed=0)[1]
    assert many >= few
    assert maximise_modularity(matrix, 30, seed=1)[1] == pytest.approx(many, abs=0.002)
    assert maximise_modularity(matrix, 5, 3)[0].tolist() == maximise_modularity(matrix, 5, 3)[0].tolist()


def test_the_best_of_the_restarts_is_kept(monkeypatch):
    runs = iter([[0] * 6, [0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 0, 1]])  # neither the first is best nor the last

    def scripted(graph, **_):
        return igraph.VertexClustering(graph, next(runs))

    monkeypatch.setattr(igraph.Graph, "community_leiden", scripted)
    labels, q = maximise_modularity(networkx.to_numpy_array(networkx.barbell_graph(3, 0)), 3, seed=0)
    assert labels.tolist() in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])
    assert q == pytest.approx(5 / 14)
    assert not list(runs), "fewer runs than were asked for"


@pytest.mark.parametrize("sizes", list(permutations((5, 3, 2))))
def test_clusters_are_numbered_by_falling_size(sizes):
    cliques = scipy.sparse.block_diag([numpy.ones((size, size)) for size in sizes]).toarray()
    labels, q = maximise_modularity(cliques, 5, seed=0)
    assert labels.tolist() == numpy.repeat([(5, 3, 2).index(size) for size in sizes], sizes).tolist()
    assert q == pytest.approx(1 - (20**2 + 6**2 + 2**2) / 28**2)


def test_the_diagonal_and_dead_nodes_play_no_part():
    matrix = random_similarity(12, 0)
    matrix[:, 5] = matrix[5] = 0
    expected = maximise_modularity(matrix, 10, seed=0)
    labels, q = maximise_modularity(torch.tensor(matrix + 7 * numpy.eye(12)), 10, seed=0)
    assert q == pytest.approx(expected[1])
    assert labels.tolist() == expected[0].tolist()
    assert numpy.flatnonzero(labels == -1).tolist() == [5]
    alone, q = maximise_modularity(numpy.eye(3), 10, seed=0)
    assert alone.tolist() == [-1, -1, -1]
    assert numpy.isnan(q)


def test_rounding_may_break_the_symmetry():
    matrix = random_similarity(12, 0)
    labels, q = maximise_modularity(matrix, 10, seed=0)
    matrix[2, 5] *= 1 + 1e-12
    others, its_q = maximise_modularity(matrix, 10, seed=0)
    assert its_q == pytest.approx(q)
    assert others.tolist() == labels.tolist()


@pytest.mark.parametrize("exponent", [-900, -60, 60, 900])
def test_communities_are_the_same_in_whatever_unit_edges_are(exponent):
    adjacency = numpy.kron(numpy.eye(2), numpy.ones((4, 4))) + 0.1
    labels, q = maximise_modularity(adjacency, 3, 0)
    others, other_q = maximise_modularity(adjacency * 2.0**exponent, 3, 0)
    assert others.tolist() == labels.tolist() and set(labels) == {0, 1}
    assert other_q == q > 0
