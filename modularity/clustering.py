"""Clustering: the nodes of a weighted undirected graph in k clusters, and the weight that they cut."""

import warnings
from inspect import signature

import numpy
import scipy
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from threadpoolctl import threadpool_limits

from mlp import InputError

KMEANS_STARTS = 25
RESTARTS_ARE_SEEDED = "rng" in signature(eigsh).parameters
"""Since scipy 1.17.  Before, the eigen solver goes on with random vectors of its own where its first are used up."""


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
    from sklearn.cluster import KMeans  # here, for its import takes a second, which the tasks share

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

        ncut = sum over clusters c of  cut(X_c, rest) / vol(X_c)

    vol(X) is the sum of degrees, cut(X, rest) the weight of the edges that leave X: the k-way form of Shi & Malik
    (2000), without the factor 1/2 that some add.  Nodes without edges are no cluster and add nothing.  From 0 (nothing
    leaves a cluster) to the number of clusters; about that number - 1 for a random partition; the same in whatever unit
    the weights are.  Arguments as for `cuts_and_volumes`.
    """
    cuts, volumes = cuts_and_volumes(adjacency, labels)
    clusters = volumes > 0
    return float((cuts[clusters] / volumes[clusters]).sum())


def n_cut_as_published(adjacency, labels):
    """The n-cut by the formula of the code of Filan et al. (2020), which adds 1e-8 to each volume.

    Clusters of much smaller volume then count as if nothing left them, and the unit of the weights matters.  It is here
    to be compared with published numbers alone.  Arguments as for `cuts_and_volumes`.
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
