import warnings
from itertools import permutations, product

import igraph
import networkx
import numpy
import pytest
import scipy.sparse
import torch
from conftest import random_weights
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.linalg import ArpackNoConvergence
from scipy.stats import chisquare
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

import mlp.modules
from mlp import InputError
from mlp.graph import weight_adjacency
from mlp.modules import (
    control_modules,
    cuts_and_volumes,
    indegree_nobetween_candidates,
    krylov_dimension,
    layer_counts,
    matched_modules,
    maximise_modularity,
    modularity,
    module_of,
    modules_by_rule,
    n_cut,
    neurons_of,
    spectral_clusters,
    sub_modules,
)


@st.composite
def tables(draw):
    """Centralities with whole numbers, so that quantiles are exact and ties are common."""
    widths = draw(st.lists(st.integers(1, 6), min_size=3, max_size=5))
    number = st.integers(0, 5).map(float)
    return {
        (layer, index): {"in_degree": draw(number), "out_degree": draw(number), "betweenness": draw(number)}
        for layer, width in enumerate(widths)
        for index in range(width)
    }


quantiles = st.sampled_from([0, 0.25, 0.5, 0.75, 1])


@given(tables(), quantiles, quantiles)
def test_candidates_equal_brute_force(table, in_degree_quantile, betweenness_quantile):
    last = max(layer for layer, _ in table)
    expected = []
    for (layer, index), row in table.items():
        if layer in (0, last):
            continue
        peers = [other for (its_layer, _), other in table.items() if its_layer == layer]
        in_degrees = torch.tensor([peer["in_degree"] for peer in peers], dtype=torch.float64)
        betweennesses = torch.tensor([peer["betweenness"] for peer in peers], dtype=torch.float64)
        high = row["in_degree"] >= in_degrees.quantile(in_degree_quantile)
        low = row["betweenness"] <= betweennesses.quantile(betweenness_quantile)
        if high and low:
            expected.append((layer, index))
    assert indegree_nobetween_candidates(table, in_degree_quantile, betweenness_quantile) == expected


@given(tables(), st.integers(1, 8))
def test_the_cap_keeps_the_highest_ranks(table, cap):
    everyone = indegree_nobetween_candidates(table, 0, 1)
    kept = indegree_nobetween_candidates(table, 0, 1, max_candidates=cap)

    def rank(node):
        return sum(other[0] == node[0] and table[other]["in_degree"] > table[node]["in_degree"] for other in table)

    assert len(kept) == min(cap, len(everyone))
    assert kept == sorted(kept)
    dropped = set(everyone) - set(kept)
    assert all(rank(node) <= rank(other) for node in kept for other in dropped)


@given(st.lists(st.integers(1, 5), min_size=3, max_size=5), st.integers(0, 10**6), st.integers(0, 6), st.data())
def test_module_equals_brute_force(sizes, seed, top_inputs, data):
    weights = random_weights(sizes, seed, pruned=0.3)
    layer = data.draw(st.integers(1, len(sizes) - 2))
    index = data.draw(st.integers(0, sizes[layer] - 1))
    incoming = [(-abs(weight), source) for source, weight in enumerate(weights[layer - 1][index].tolist()) if weight]
    inputs = [(layer - 1, source) for _, source in sorted(incoming)[:top_inputs]] if layer > 1 else []
    module = module_of((layer, index), weights, top_inputs)
    assert module.dtype == torch.bool
    assert module.shape == (sum(sizes[1:-1]),)
    assert neurons_of(module, sizes[1:-1]) == sorted([*inputs, (layer, index)])


@pytest.mark.parametrize("neuron", [(0, 0), (3, 0), (1, 2), (1, -1)])
def test_only_hidden_neurons_have_modules(neuron):
    with pytest.raises(InputError, match="hidden"):
        module_of(neuron, random_weights((4, 2, 2, 2)))


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


def test_modules_by_rule_are_those_of_each_neuron():
    weights = random_weights((5, 4, 3, 2))
    weights[1][0, 1:] = 0  # pruned to a single input
    expected = [
        module_of((layer, index), weights, 2).tolist() for layer, width in ((1, 4), (2, 3)) for index in range(width)
    ]
    assert modules_by_rule(weights, 2).tolist() == expected
    assert sum(expected[4]) == 2


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data())
def test_controls_are_all_others_or_a_sample(widths, data):
    module = torch.tensor(data.draw(st.lists(st.booleans(), min_size=sum(widths), max_size=sum(widths))))
    everyone = torch.ones(sum(widths), dtype=torch.bool)
    expected, _ = matched_modules(layer_counts(module, widths), widths, 1000, None)
    controls, complete = control_modules(module, widths, 1000, None, everyone)
    assert complete
    assert len(controls) == len(expected) - 1
    assert sorted([*controls.tolist(), module.tolist()]) == sorted(expected.tolist())
    if len(expected) > 1:
        sample, complete = control_modules(module, widths, len(expected) - 1, torch.Generator(), everyone)
        assert not complete
        assert len(sample) == len(expected) - 1


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


# Clusters


def random_partition(nodes, k, seed):
    return numpy.random.default_rng(seed).permutation(numpy.arange(nodes) % k)


@given(st.lists(st.integers(2, 6), min_size=2, max_size=4), st.integers(2, 4), st.integers(0, 10**6))
def test_n_cut_equals_a_count_edge_by_edge(sizes, k, seed):
    adjacency = weight_adjacency(random_weights(sizes, seed, pruned=0.3)).toarray()
    labels = random_partition(len(adjacency), k, seed)
    total = 0
    for cluster in range(k):
        volume = cut = 0
        for i, j in product(range(len(adjacency)), repeat=2):
            if labels[i] == cluster:
                volume += adjacency[i, j]
                if labels[j] != cluster:
                    cut += adjacency[i, j]
        total += cut / volume if volume else 0
    assert n_cut(adjacency, labels) == pytest.approx(total, abs=1e-6)
    assert n_cut(scipy.sparse.csr_array(adjacency), labels) == pytest.approx(total, abs=1e-6)
    cuts, volumes = cuts_and_volumes(adjacency, labels)
    assert volumes.sum() == pytest.approx(adjacency.sum())
    assert (cuts <= volumes + 1e-9).all()


@given(st.integers(0, 10**6))
def test_two_clusters_equal_networkx(seed):
    adjacency = weight_adjacency(random_weights((6, 5, 4), seed))
    labels = random_partition(15, 2, seed)
    graph = networkx.from_scipy_sparse_array(adjacency)
    cut = networkx.normalized_cut_size(graph, numpy.flatnonzero(labels == 0), weight="weight")
    assert n_cut(adjacency, labels) == pytest.approx(cut, abs=1e-6)


@pytest.mark.parametrize("k", [2, 4, 12])
def test_a_random_partition_cuts_about_all_but_one(k):
    adjacency = weight_adjacency(random_weights((700, 200, 100, 10), pruned=0.8))
    assert n_cut(adjacency, random_partition(1010, k, seed=0)) == pytest.approx(k - 1, abs=0.1)


def test_extreme_partitions():
    adjacency = weight_adjacency(random_weights((5, 4, 3, 2)))
    assert n_cut(adjacency, numpy.repeat([0, 1, 2, 3], [5, 4, 3, 2])) == pytest.approx(4)  # nothing inside a layer
    blocks = scipy.sparse.block_diag([weight_adjacency(random_weights((3, 2), seed)) for seed in (0, 1)])
    assert n_cut(blocks, numpy.repeat([7, -3], [5, 5])) == 0


@given(st.integers(2, 6), st.integers(0, 10**6))
def test_n_cut_is_bounded_by_the_smallest_eigenvalues(k, seed):
    adjacency = weight_adjacency(random_weights((12, 8, 5), seed))
    dense = adjacency.toarray()
    scale = 1 / numpy.sqrt(dense.sum(1))
    eigenvalues = numpy.linalg.eigvalsh(numpy.eye(25) - scale[:, None] * dense * scale)
    bound = eigenvalues[:k].sum() - 1e-6
    assert n_cut(adjacency, spectral_clusters(adjacency, k, seed)) >= bound
    assert n_cut(adjacency, random_partition(25, k, seed)) >= bound


def planted(seed, sizes=(9, 6, 6, 3), groups=3):
    """Weights of 0.5 to 1 inside groups and below 0.1 across, with random signs: (weights, group of each neuron)."""
    generator = torch.Generator().manual_seed(seed)
    group = [torch.arange(size) % groups for size in sizes]
    weights = []
    for before, after in zip(group, group[1:]):
        inside = after[:, None] == before
        strength = torch.rand(inside.shape, generator=generator)
        sign = torch.randint(2, inside.shape, generator=generator) * 2 - 1
        weights.append(torch.where(inside, 0.5 + strength / 2, 0.1 * strength) * sign)
    return weights, torch.cat(group).numpy()


@pytest.mark.parametrize("sizes, groups", [((9, 6, 6, 3), 3), ((60, 30, 12), 6)])  # solved dense, and sparse
@pytest.mark.parametrize("seed", range(10))
def test_planted_modules_are_found(seed, sizes, groups):
    weights, group = planted(seed, sizes, groups)
    adjacency = weight_adjacency(weights)
    labels = spectral_clusters(adjacency, groups, seed)
    assert adjusted_rand_score(labels, group) == 1
    assert set(labels) == set(range(groups))
    assert spectral_clusters(adjacency, groups, seed).tolist() == labels.tolist()
    assert n_cut(adjacency, labels) < n_cut(adjacency, random_partition(len(group), groups, seed))


@given(st.integers(0, 100), st.floats(0.01, 100))
def test_what_must_not_matter(seed, factor):
    """Names of clusters, order of neurons within a layer, signs, and a common factor."""
    weights, group = planted(seed)
    value = n_cut(weight_adjacency(weights), group)
    assert n_cut(weight_adjacency(weights), 5 - group) == pytest.approx(value, abs=1e-6)
    assert n_cut(weight_adjacency([-factor * weight for weight in weights]), group) == pytest.approx(value, abs=1e-5)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    moved = [weights[0], weights[1][order], weights[2][:, order]]
    its_group = numpy.concatenate([group[:15], group[15:21][order.numpy()], group[21:]])
    assert n_cut(weight_adjacency(moved), its_group) == pytest.approx(value, abs=1e-6)
    assert adjusted_rand_score(spectral_clusters(weight_adjacency(moved), 3, seed), its_group) == 1


def test_clusters_are_as_good_as_those_of_scikit_learn():
    for seed in range(3):
        adjacency = weight_adjacency(random_weights((300, 60, 60, 10), seed, pruned=0.9))
        connected = adjacency.sum(1) > 0
        inside = adjacency[connected][:, connected]
        theirs = SpectralClustering(8, eigen_solver="arpack", affinity="precomputed", n_init=25, random_state=seed)
        expected = n_cut(inside, theirs.fit(inside).labels_)
        assert n_cut(adjacency, spectral_clusters(adjacency, 8, seed)) == pytest.approx(expected, rel=0.02)


def test_isolated_neurons_belong_to_no_cluster():
    weights, group = planted(0)
    weights[0][:, 4] = 0
    weights[1][2] = weights[2][:, 2] = 0
    labels = spectral_clusters(weight_adjacency(weights), 3, seed=0)
    isolated = numpy.isin(numpy.arange(24), [4, 9 + 6 + 2])
    assert (labels[isolated] == -1).all()
    assert adjusted_rand_score(labels[~isolated], group[~isolated]) == 1


def test_separate_components_are_found():
    parts = [weight_adjacency(random_weights((20, 10), seed)) for seed in range(4)]
    labels = spectral_clusters(scipy.sparse.block_diag(parts), 4, seed=0)
    assert adjusted_rand_score(labels, numpy.repeat(range(4), 30)) == 1


def test_components_that_the_sparse_solver_misses_are_found(monkeypatch):
    """Each has an eigenvalue of 1 to itself.  The solver finds one copy, for both together, and what comes next."""
    parts = [weight_adjacency(random_weights((20, 10), seed)) for seed in range(2)]
    adjacency = scipy.sparse.block_diag(parts)

    def missing_a_copy(matrix, *_, **__):
        values, vectors = numpy.linalg.eigh(matrix.toarray())
        assert values[-2:] == pytest.approx(1)
        both = numpy.sqrt(adjacency.sum(1) / adjacency.sum())
        return numpy.array([values[-3], 1]), numpy.column_stack([vectors[:, -3], both])

    monkeypatch.setattr(mlp.modules, "eigsh", missing_a_copy)
    assert adjusted_rand_score(spectral_clusters(adjacency, 2, seed=0), numpy.repeat(range(2), 30)) == 1


def test_a_solver_that_fails_is_replaced(monkeypatch):
    adjacency = weight_adjacency(planted(0, (60, 30, 12), 6)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = spectral_clusters(adjacency, 6, seed=0)

    def failing(*_, **__):
        raise ArpackNoConvergence("no convergence", [], [])

    monkeypatch.setattr(mlp.modules, "eigsh", failing)
    with pytest.warns(UserWarning, match="did not converge; a dense one was used"):
        labels = spectral_clusters(adjacency, 6, seed=0)
    assert adjusted_rand_score(labels, expected) == 1


@pytest.mark.parametrize("restarts_are_seeded", [mlp.modules.RESTARTS_ARE_SEEDED, False])
@pytest.mark.parametrize("sizes, k", [((784, 8, 8, 3), 4), ((60, 30, 30, 10), 6)])
def test_a_seed_decides_where_the_solver_runs_out_of_directions(sizes, k, restarts_are_seeded, monkeypatch):
    """Of weights of -1 and 1 most eigenvalues are zero; which of their vectors come out must not be left to chance."""
    monkeypatch.setattr(mlp.modules, "RESTARTS_ARE_SEEDED", restarts_are_seeded)
    weights = [weight.sign() for weight in random_weights(sizes)]
    first = spectral_clusters(weight_adjacency(weights), k, seed=0).tolist()
    spectral_clusters(weight_adjacency(random_weights(sizes)), k, seed=1)  # which would move on a state of the solver's
    assert all(spectral_clusters(weight_adjacency(weights), k, seed=0).tolist() == first for _ in range(3))


@pytest.mark.parametrize("eigenvalues, dimension", [((1, 1, 1, 1), 1), ((1, 0, 0, -1), 3), ((1, 2, 3, 4), 4)])
def test_krylov_dimension_is_the_number_of_distinct_eigenvalues(eigenvalues, dimension):
    rotation = numpy.linalg.qr(numpy.random.default_rng(0).normal(size=(4, 4)))[0]
    matrix = rotation @ numpy.diag(eigenvalues) @ rotation.T
    assert krylov_dimension(matrix, numpy.ones(4), 4) == dimension
    assert krylov_dimension(matrix, numpy.ones(4), 2) == min(dimension, 2)


@pytest.mark.parametrize("k", [-1, 0, 1, 24])
def test_impossible_numbers_of_clusters(k):
    weights, _ = planted(0)
    weights[0][:, 0] = 0
    with pytest.raises(InputError, match=f"{k}: 23 neurons have edges; choose from 2 to 23"):
        spectral_clusters(weight_adjacency(weights), k, seed=0)
    assert len(set(spectral_clusters(weight_adjacency(weights), 23, seed=0)) - {-1}) == 23


def test_nothing_to_cluster():
    with pytest.raises(InputError, match="no edges"):
        spectral_clusters(weight_adjacency([torch.zeros(3, 4), torch.zeros(2, 3)]), 2, seed=0)


def test_labels_that_do_not_fit():
    with pytest.raises(ValueError, match="4 labels"):
        n_cut(weight_adjacency([torch.ones(2, 3)]), [0, 1, 0, 1])


@given(st.lists(st.integers(1, 4), min_size=3, max_size=5), st.integers(0, 10**6))
def test_sub_modules_equal_brute_force(sizes, seed):
    labels = numpy.random.default_rng(seed).integers(-1, 3, sum(sizes))
    names, modules = sub_modules(labels[sizes[0] : -sizes[-1]], sizes[1:-1])
    nodes = [(layer, index) for layer, size in enumerate(sizes) for index in range(size)]
    expected = {}
    for node, label in zip(nodes, labels.tolist()):
        if label >= 0 and 0 < node[0] < len(sizes) - 1:
            expected.setdefault((node[0], label), []).append(node)
    assert names == sorted(expected)
    assert [neurons_of(module, sizes[1:-1]) for module in modules] == [expected[name] for name in names]


# Modularity


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
    labels = random_partition(nodes, k, seed)
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
