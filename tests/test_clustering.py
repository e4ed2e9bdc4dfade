import warnings
from itertools import product

import networkx
import numpy
import pytest
import scipy.sparse
import torch
from conftest import random_weights
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.linalg import ArpackNoConvergence
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

import modularity.clustering
from mlp import InputError
from modularity.clustering import cuts_and_volumes, krylov_dimension, n_cut, n_cut_as_published, spectral_clusters
from modularity.graph import weight_adjacency


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


@pytest.mark.parametrize("decay", [1, 1e-4, 1e-8, 1e-12, 1e-30, 1e-100])
def test_clusters_whose_weight_has_decayed_count_as_they_did(decay):
    """Two groups of pixels that nothing joins inside: all of their weight leaves them, which is a share of 1 each."""
    generator = torch.Generator().manual_seed(0)
    strong, weak, out = (torch.rand(shape, generator=generator).double() + 0.1 for shape in ((8, 20), (8, 10), (3, 8)))
    labels = numpy.array([0] * 20 + [1] * 5 + [2] * 5 + [0] * 11)
    adjacency = weight_adjacency([torch.cat([strong, weak * decay], 1), out])
    leaving, rest = decay * weak.sum().item(), 2 * (strong.sum() + out.sum()).item()
    assert n_cut(adjacency, labels) == pytest.approx(2 + leaving / (leaving + rest), rel=1e-12)


def test_only_a_volume_of_nothing_is_no_cluster():
    adjacency = numpy.zeros((5, 5))
    adjacency[0, 1] = adjacency[1, 0] = 1e-300
    assert n_cut(adjacency, [0, 1, 2, 2, -1]) == 2
    assert n_cut(adjacency, [0, 0, 1, 1, -1]) == 0


@given(st.integers(-30, 30), st.integers(0, 10**6))
def test_n_cuts_and_clusters_are_the_same_in_whatever_unit_weights_are(exponent, seed):
    weights, _ = planted(seed)
    expected = weight_adjacency(weights)
    adjacency = weight_adjacency([weight.double() * 10.0**exponent for weight in weights])
    labels = spectral_clusters(expected, 3, seed)
    assert (spectral_clusters(adjacency, 3, seed) == labels).all()
    assert n_cut(adjacency, labels) == pytest.approx(n_cut(expected, labels), rel=1e-12)


def test_the_published_formula_depends_on_the_unit():
    adjacency = weight_adjacency(random_weights((5, 4, 3, 2)))
    labels = numpy.repeat([0, 1, 2, 3], [5, 4, 3, 2])
    assert n_cut_as_published(adjacency, labels) == pytest.approx(4, abs=1e-7)
    _, volumes = cuts_and_volumes(adjacency, labels)
    assert n_cut_as_published(adjacency * 1e-8, labels) == pytest.approx((volumes / (volumes + 1)).sum())
    assert n_cut_as_published(adjacency * 1e-30, labels) < 1e-18


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

    monkeypatch.setattr(modularity.clustering, "eigsh", missing_a_copy)
    assert adjusted_rand_score(spectral_clusters(adjacency, 2, seed=0), numpy.repeat(range(2), 30)) == 1


def test_a_solver_that_fails_is_replaced(monkeypatch):
    adjacency = weight_adjacency(planted(0, (60, 30, 12), 6)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = spectral_clusters(adjacency, 6, seed=0)

    def failing(*_, **__):
        raise ArpackNoConvergence("no convergence", [], [])

    monkeypatch.setattr(modularity.clustering, "eigsh", failing)
    with pytest.warns(UserWarning, match="did not converge; a dense one was used"):
        labels = spectral_clusters(adjacency, 6, seed=0)
    assert adjusted_rand_score(labels, expected) == 1


@pytest.mark.parametrize("restarts_are_seeded", [modularity.clustering.RESTARTS_ARE_SEEDED, False])
@pytest.mark.parametrize("sizes, k", [((784, 8, 8, 3), 4), ((60, 30, 30, 10), 6)])
def test_a_seed_decides_where_the_solver_runs_out_of_directions(sizes, k, restarts_are_seeded, monkeypatch):
    """Of weights of -1 and 1 most eigenvalues are zero; which of their vectors come out must not be left to chance."""
    monkeypatch.setattr(modularity.clustering, "RESTARTS_ARE_SEEDED", restarts_are_seeded)
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
