"""Communities: the partition of a weighted undirected graph with the highest modularity, in any number of parts."""

import random

import numpy


def maximise_modularity(adjacency, restarts, seed):
    """The partition of a weighted undirected graph with the highest modularity Q that Leiden's algorithm finds.

    Q = sum_ij (A_ij / S - k_i k_j / S^2) [i and j together], for row sums k and S their sum (Newman 2006); the number
    of clusters is free.  The best of many restarts (Traag et al. 2019), since a single run is not reliable.

    adjacency: symmetric (up to rounding), non-negative [n, n], as a tensor or array; the diagonal is left out.
    Returns integer labels [n], by falling size, and Q.  Nodes without edges are -1; without any edge Q is NaN.
    """
    import igraph  # here, for only tasks use it

    adjacency = numpy.asarray(adjacency, dtype=float)
    adjacency = (adjacency + adjacency.T) / 2
    numpy.fill_diagonal(adjacency, 0)
    total = adjacency.sum()
    labels = numpy.full(len(adjacency), -1)
    if not total > 0:
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
