"""Modules: sets of hidden neurons, each a boolean vector over all hidden neurons, layer after layer."""

import random
import warnings
from inspect import signature
from itertools import combinations
from math import comb, prod

import igraph
import numpy
import scipy.linalg
import scipy.sparse
import torch
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from mlp import InputError

KMEANS_STARTS = 25
RESTARTS_ARE_SEEDED = "rng" in signature(eigsh).parameters
"""Since scipy 1.17.  Before, the eigen solver goes on with random vectors of its own where its first are used up."""


def candidate_limits(table, in_degree_quantile, betweenness_quantile):
    """What a candidate needs in each hidden layer: {layer: (lowest in-degree, highest betweenness)}.

    The limits are quantiles of the layer (linear interpolation).  Layers are judged apart because their scales differ:
    784 inputs feed the first, a handful of neurons the others.
    """
    limits = {}
    for layer in range(1, max(layer for layer, _ in table)):
        neurons = [row for (its_layer, _), row in table.items() if its_layer == layer]
        limits[layer] = (
            numpy.quantile([row["in_degree"] for row in neurons], in_degree_quantile),
            numpy.quantile([row["betweenness"] for row in neurons], betweenness_quantile),
        )
    return limits


def indegree_nobetween_candidates(table, in_degree_quantile=0.5, betweenness_quantile=0.5, max_candidates=None):
    """Hidden neurons whose in-degree is at or above, and betweenness at or below, a quantile of their layer.

    table: the centralities per node, from `mlp.graph.centralities`.
    max_candidates: keep only so many, those that rank highest by in-degree within their layers; of equal ranks, those
    of earlier layers.

    Returns nodes (layer, index) in ascending order.
    """
    limits = candidate_limits(table, in_degree_quantile, betweenness_quantile)

    def is_candidate(node):
        if node[0] not in limits:
            return False
        lowest, highest = limits[node[0]]
        return table[node]["in_degree"] >= lowest and table[node]["betweenness"] <= highest

    def rank(node):
        return sum(other[0] == node[0] and table[other]["in_degree"] > table[node]["in_degree"] for other in table)

    candidates = sorted(filter(is_candidate, table))
    return sorted(sorted(candidates, key=rank)[:max_candidates])


def module_of(neuron, weights, top_inputs=4):
    """The module of a hidden neuron: the neuron and its strongest incoming hidden neurons by |w|.

    Input neurons are spared, so a neuron of the first hidden layer stands alone.  Pruned (zero) weights connect
    nothing; of equally strong neurons the one with the lower index comes first.

    neuron: (layer, index).  weights: one [out, in] tensor per layer of connections.
    Returns a boolean vector [hidden neurons].  Raises InputError if the neuron is not a hidden one.
    """
    layer, index = neuron
    widths = [len(matrix) for matrix in weights[:-1]]
    if not (1 <= layer <= len(widths) and 0 <= index < widths[layer - 1]):
        raise InputError(f"{neuron} is no hidden neuron of a network with hidden layers {widths}")
    module = [torch.zeros(width, dtype=torch.bool) for width in widths]
    module[layer - 1][index] = True
    if layer > 1:
        strength = weights[layer - 1][index].detach().cpu().abs()
        strongest = strength.argsort(descending=True, stable=True)[:top_inputs]
        module[layer - 2][strongest[strength[strongest] > 0]] = True
    return torch.cat(module)


def neurons_of(module, hidden_sizes):
    """The hidden neurons (layer, index) of a module, in ascending order."""
    layers = module.split(list(hidden_sizes))
    return [(layer, index) for layer, members in enumerate(layers, 1) for index in members.nonzero().flatten().tolist()]


def layer_counts(module, hidden_sizes):
    """How many members a module has in each hidden layer: (4, 1, 0)."""
    return tuple(int(members.sum()) for members in module.split(list(hidden_sizes)))


def matched_modules(counts, hidden_sizes, limit, generator, eligible=None):
    """The modules that have `counts` neurons in the hidden layers: all of them, or a random sample.

    If there are at most `limit`, every one is listed once.  Otherwise `limit` are drawn uniformly and independently,
    blind to what is being tested.

    eligible: boolean [hidden neurons], those that may be members; by default all.
    Returns (boolean [modules, hidden neurons], whether these are all).
    """
    if eligible is not None:
        members, complete = matched_modules(counts, layer_counts(eligible, hidden_sizes), limit, generator)
        modules = torch.zeros(len(members), len(eligible), dtype=torch.bool)
        modules[:, eligible] = members
        return modules, complete
    if prod(map(comb, hidden_sizes, counts)) <= limit:
        layers = []
        for width, count in zip(hidden_sizes, counts):
            chosen = torch.tensor(list(combinations(range(width), count)), dtype=torch.int64)
            layers.append(torch.zeros(len(chosen), width, dtype=torch.bool).scatter_(1, chosen, True))
        rows = torch.cartesian_prod(*(torch.arange(len(layer)) for layer in layers)).view(-1, len(layers))
        return torch.cat([layer[row] for layer, row in zip(layers, rows.T)], dim=1), True
    layers = []
    for width, count in zip(hidden_sizes, counts):
        layers.append(torch.rand(limit, width, generator=generator).argsort(dim=1) < count)  # of a random permutation
    return torch.cat(layers, dim=1), False


def control_modules(module, hidden_sizes, limit, generator, eligible):
    """What a module is compared with: `matched_modules` of as many eligible neurons per layer, but not itself.

    Returns (boolean [controls, hidden neurons], whether these are all others), as many as `limit` if they are not.
    """
    controls, complete = matched_modules(layer_counts(module, hidden_sizes), hidden_sizes, limit, generator, eligible)
    return (controls[(controls != module).any(1)] if complete else controls), complete


def modules_by_rule(weights, top_inputs=4):
    """`module_of` each hidden neuron, in order: boolean [hidden neurons, hidden neurons]."""
    widths = [len(matrix) for matrix in weights[:-1]]
    neurons = neurons_of(torch.ones(sum(widths), dtype=torch.bool), widths)
    return torch.stack([module_of(neuron, weights, top_inputs) for neuron in neurons])


def spectral_clusters(adjacency, k, seed):
    """Partition the nodes of a weighted undirected graph into k clusters (Shi & Malik 2000).

    The rows of the k leading eigenvectors of the random-walk matrix D^-1 A, which are those of the k smallest
    eigenvalues of the normalised Laplacian divided by the roots of the degrees, are clustered by k-means, the best of
    KMEANS_STARTS starts by inertia.  This is scikit-learn's SpectralClustering(eigen_solver="arpack",
    assign_labels="kmeans") on a precomputed affinity, by a faster route.

    adjacency: symmetric, non-negative [n, n], dense or sparse.
    Returns integer labels [n], 0..k-1, and -1 for nodes without edges.  Warns if the sparse eigen solver failed and a
    dense one took over.  Raises InputError unless 2 <= k <= nodes with edges.
    """
    adjacency = scipy.sparse.csr_array(adjacency, dtype=float)
    degrees = adjacency.sum(1)
    connected = degrees > 0
    nodes = int(connected.sum())
    if nodes == 0:
        raise InputError("the network has no edges left, so there is nothing to cluster; prune less")
    if not 2 <= k <= nodes:
        raise InputError(f"--clusters {k}: {nodes} neurons have edges; choose from 2 to {nodes}")
    scale = 1 / numpy.sqrt(degrees[connected])
    normalised = (adjacency[connected][:, connected] * scale[:, None] * scale).tocsr()
    labels = numpy.full(len(degrees), -1)
    with threadpool_limits(1):  # sums in an order, and so labels, that do not depend on the number of cores
        embedding = _leading_eigenvectors(normalised, k, seed) * scale[:, None]
        labels[connected] = KMeans(k, n_init=KMEANS_STARTS, random_state=seed).fit_predict(embedding)
    return labels


def _leading_eigenvectors(matrix, k, seed):
    """The eigenvectors [n, k] of the k largest eigenvalues of a normalised adjacency matrix."""
    n = matrix.shape[0]
    generator = numpy.random.default_rng(seed)
    start = generator.uniform(-1, 1, n)
    ncv = min(n, 5 * k)  # about twice as fast as 2 k
    if n > 2 * k and (RESTARTS_ARE_SEEDED or krylov_dimension(matrix, start, ncv) == ncv):
        restarts = {"rng": generator} if RESTARTS_ARE_SEEDED else {}
        try:
            values, vectors = eigsh(matrix, k, which="LA", v0=start, ncv=ncv, **restarts)
            # each component has an eigenvalue of 1 to itself, and Lanczos iteration may miss copies
            if (values > 1 - 1e-9).sum() >= min(k, connected_components(matrix, directed=False)[0]):
                return vectors
        except ArpackNoConvergence:
            warnings.warn("the sparse eigen solver did not converge; a dense one was used", stacklevel=3)
    return scipy.linalg.eigh(matrix.toarray(), subset_by_index=(n - k, n - 1))[1]


def krylov_dimension(matrix, start, most):
    """How many of the vectors v, A v, A^2 v, ... are independent, at most so many.  matrix: A [n, n].  start: v [n]."""
    basis = numpy.zeros((len(start), most))
    vector = start
    for size in range(most):
        length = numpy.linalg.norm(vector)
        for _ in range(2):  # once leaves too much rounding
            vector = vector - basis[:, :size] @ (basis[:, :size].T @ vector)
        if numpy.linalg.norm(vector) <= 1e-10 * length:
            return size
        basis[:, size] = vector / numpy.linalg.norm(vector)
        vector = matrix @ basis[:, size]
    return most


def n_cut(adjacency, labels):
    """Normalised cut of a weighted undirected graph under a partition; smaller is more clusterable.

        ncut = sum over clusters c of  cut(X_c, rest) / (vol(X_c) + 1e-8)

    vol(X) is the sum of degrees, cut(X, rest) the weight of the edges that leave X: the k-way form of Shi & Malik
    (2000), without the factor 1/2 that some add, as Filan et al. (2020) compute it.  From 0 (nothing leaves a cluster)
    to the number of clusters; about that number - 1 for a random partition.

    adjacency, labels: as for `cuts_and_volumes`.
    """
    cuts, volumes = cuts_and_volumes(adjacency, labels)
    return float((cuts / (volumes + 1e-8)).sum())


def cuts_and_volumes(adjacency, labels):
    """The weight of the edges that leave each cluster, and the sum of the degrees of its nodes.

    adjacency: symmetric, non-negative [n, n], dense or sparse.  labels: [n], any integers.
    Returns two float64 arrays [clusters], in ascending order of the labels.  Raises ValueError if the shapes disagree.
    """
    edges = scipy.sparse.coo_array(adjacency)
    if edges.shape != (len(labels), len(labels)):
        raise ValueError(f"adjacency is {edges.shape} but there are {len(labels)} labels")
    names, cluster = numpy.unique(labels, return_inverse=True)
    source, target = (cluster[place] for place in edges.coords)
    volumes = numpy.bincount(source, edges.data, len(names))
    return numpy.bincount(source, edges.data * (source != target), len(names)), volumes


def sub_modules(labels, hidden_sizes):
    """The parts of clusters that lie in one hidden layer: cluster and layer intersected (Filan et al. 2020).

    labels: [hidden neurons], cluster of each, -1 for none.
    Returns ([(layer, cluster)], boolean [modules, hidden neurons]), in ascending order.
    """
    labels = torch.as_tensor(labels)
    layer_of = torch.arange(1, len(hidden_sizes) + 1).repeat_interleave(torch.tensor(hidden_sizes))
    names = sorted({(layer, label) for layer, label in zip(layer_of.tolist(), labels.tolist()) if label >= 0})
    modules = [(layer_of == layer) & (labels == label) for layer, label in names]
    return names, torch.stack(modules) if modules else torch.zeros(0, len(labels), dtype=torch.bool)


def maximise_modularity(adjacency, restarts, seed):
    """The partition of a weighted undirected graph with the highest modularity Q that Leiden's algorithm finds.

    Q = sum_ij (A_ij / S - k_i k_j / S^2) [i and j together], for row sums k and S their sum (Newman 2006); the number
    of clusters is free.  The best of many restarts (Traag et al. 2019), since a single run is not reliable.

    adjacency: symmetric (up to rounding), non-negative [n, n], as a tensor or array; the diagonal is left out.
    Returns integer labels [n], by falling size, and Q.  Nodes without edges are -1; without any edge Q is NaN.
    """
    adjacency = numpy.asarray(adjacency, dtype=float)
    adjacency = (adjacency + adjacency.T) / 2
    numpy.fill_diagonal(adjacency, 0)
    total = adjacency.sum()
    labels = numpy.full(len(adjacency), -1)
    if not total > 1e-15 * adjacency.size:
        return labels, numpy.nan
    alive = adjacency.sum(1) / total >= 1e-15
    inside = adjacency[alive][:, alive] / total
    graph = igraph.Graph.Weighted_Adjacency(inside, mode="undirected", loops=False)
    igraph.set_random_number_generator(random.Random(seed))
    options = {"objective_function": "modularity", "weights": "weight", "n_iterations": -1}
    found = [numpy.array(graph.community_leiden(**options).membership) for _ in range(restarts)]
    scores = [modularity(inside, partition) for partition in found]
    best = found[int(numpy.argmax(scores))]
    by_size = numpy.argsort(-numpy.bincount(best), kind="stable")
    labels[alive] = numpy.argsort(by_size)[best]
    return labels, round(max(scores), 12) + 0.0  # a single cluster has Q = 0, not a rounding error that may be negative


def modularity(adjacency, labels):
    """Q of a partition, as `maximise_modularity` defines it.  adjacency: [n, n].  labels: [n], any integers."""
    adjacency = numpy.asarray(adjacency, dtype=float)
    inside = numpy.equal.outer(labels, labels)
    degrees = adjacency.sum(1)
    total = adjacency.sum()
    return float((adjacency * inside).sum() / total - (numpy.outer(degrees, degrees) * inside).sum() / total**2)
