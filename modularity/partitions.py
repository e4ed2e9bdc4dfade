"""Partitions: the hidden neurons of a network in clusters, by what they are wired to or by what they do.

Each definition is a function (network, images, k, seed) -> integer labels [hidden neurons], -1 for neurons in no
cluster, and an entry of PARTITIONS.
"""

from functools import lru_cache, partial

import numpy
import scipy
import torch

from mlp import InputError
from mlp.strengths import without_dead
from modularity.clustering import spectral_clusters
from modularity.communities import maximise_modularity
from modularity.graph import weight_adjacency
from modularity.nulls import of_layers
from modularity.similarity import FAMILIES as SIMILARITIES
from modularity.similarity import MEASURES, similarities


def by_weights(network, images, k, seed):
    """`spectral_clusters` of the whole `weight_adjacency`, pixels and outputs included (Filan et al. 2020).

    Neurons without edges are in no cluster.  Raises InputError if fewer than k neurons have edges.
    """
    return _clusters_by_weights(network, k, seed).copy()


def by_weights_without_pixels(network, images, k, seed):
    """As `by_weights`, of the graph of hidden neurons and outputs only, which pixels, that all share, cannot tie up."""
    strengths = without_dead(network.strengths[1:])
    return spectral_clusters(weight_adjacency(strengths), k, seed)[: sum(network.model.hidden_sizes)]


def by_weights_of_equal_layers(network, images, k, seed):
    """As `by_weights`, of weights that add up to the same in every layer, of which the first else has most.

    The scale of a layer means nothing: a ReLU network computes the same if one is doubled and the next halved.
    """
    sizes = network.model.sizes
    weights = [strength / strength.sum() if strength.any() else strength for strength in network.strengths]
    return spectral_clusters(weight_adjacency(weights), k, seed)[sizes[0] : sum(sizes[:-1])]


def by_weights_locally(network, images, k, seed):
    """For each hidden layer, clusters of the graph of the layer and its two neighbours (Casper et al. 2021).

    A layer is divided into as many clusters as `by_weights` has in it.
    """
    weights, widths, sizes = network.strengths, network.model.hidden_sizes, network.model.sizes
    around = [weight_adjacency(without_dead(weights[layer : layer + 2])) for layer in range(len(widths))]
    middles = [slice(before, before + width) for before, width in zip(sizes, widths)]
    return _local_clusters(around, middles, _clusters_by_weights(network, k, seed), widths, seed)


def by_activations(network, images, k, seed):
    """Clusters of hidden neurons joined by their squared rank correlation over images (Casper et al. 2021).

    images: [n, inputs], on the network's device.  Neurons that never vary are in no cluster.  Raises InputError if
    fewer than k vary.
    """
    return _clusters_by_activations(network, images, k, seed).copy()


def by_activations_locally(network, images, k, seed):
    """As `by_activations`, of each hidden layer alone, with as many clusters as that has in the layer."""
    widths = network.model.hidden_sizes
    similarity = _correlations(network, images)
    ends = numpy.cumsum(widths)
    blocks = [similarity[end - width : end, end - width : end] for end, width in zip(ends, widths)]
    globally = _clusters_by_activations(network, images, k, seed)
    return _local_clusters(blocks, [slice(None)] * len(widths), globally, widths, seed)


def by_similarity(measure, network, images, k, seed):
    """Communities of each hidden layer by one of the MEASURES of similarity (Lange et al. 2022); k plays no part.

    images: [n, inputs], on the network's device.  Neurons that are like no other are in no cluster.
    """
    labels, clusters = [], 0
    for matrix in _similarities(network, images)[measure]:
        own, _ = maximise_modularity(matrix, RESTARTS, seed)
        labels.append(numpy.where(own < 0, own, own + clusters))
        clusters += own.max() + 1
    return numpy.concatenate(labels)


CASPER = {
    "weights, global": by_weights,
    "weights, local": by_weights_locally,
    "activations, global": by_activations,
    "activations, local": by_activations_locally,
}
"""The four of Casper et al. (2021); the first is that of Filan et al. (2020), too."""
WEIGHTS = {"weights, equal layers": by_weights_of_equal_layers, "weights, without pixels": by_weights_without_pixels}
PARTITIONS = {**CASPER, **WEIGHTS, **{measure: partial(by_similarity, measure) for measure in MEASURES}}
FAMILIES = {
    "weights": ("weights, global", "weights, local", *WEIGHTS),
    "activations": ("activations, global", "activations, local"),
    **SIMILARITIES,
}
LOCAL = "weights, local", "activations, local", *MEASURES
"""Those that divide each layer on its own, so that a label means something else in the next."""
RESTARTS = 100
"""Of the search for communities."""
ACTIVATION_IMAGES = 4992
"""Training images over which activations are compared (Casper et al. 2021)."""


def activation_images(network, seed, data_dir):
    """Random training images, [ACTIVATION_IMAGES, inputs], or all if there are fewer."""
    images, _ = network.load(True, data_dir)
    generator = torch.Generator().manual_seed(seed + network.number)
    return images[torch.randperm(len(images), generator=generator)[:ACTIVATION_IMAGES]]


def squared_correlations(activations):
    """Squared Spearman rank correlations of neurons; 0 for neurons that never vary, and on the diagonal.

    activations: [images, neurons].  Returns float64 [neurons, neurons] in 0..1.
    """
    ranks = scipy.stats.rankdata(activations, axis=0)
    ranks -= ranks.mean(0)
    norm = numpy.sqrt((ranks**2).sum(0))
    ranks /= numpy.where(norm > 0, norm, 1)
    similarity = numpy.clip((ranks.T @ ranks) ** 2, 0, 1)
    numpy.fill_diagonal(similarity, 0)
    return similarity


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


# The partitions of a network are made one after the other, and share these.


@lru_cache(maxsize=1)
def _clusters_by_weights(network, k, seed):
    sizes = network.model.sizes
    return spectral_clusters(weight_adjacency(network.strengths), k, seed)[sizes[0] : sum(sizes[:-1])]


@lru_cache(maxsize=1)
def _clusters_by_activations(network, images, k, seed):
    similarity = _correlations(network, images)
    varying = int((similarity.sum(1) > 0).sum())
    if varying < k:
        few = f"only {varying} hidden neurons vary together with others"
        raise InputError(f"--clusters {k}: {few}; choose at most so many, and at least 2, or train the network")
    return spectral_clusters(similarity, k, seed)


@lru_cache(maxsize=1)
@torch.no_grad()
def _correlations(network, images):
    """`squared_correlations` of what the hidden neurons compute before the ReLU."""
    return squared_correlations(torch.cat(network.model.preactivations(images)[:-1], dim=1).cpu().numpy())


@lru_cache(maxsize=1)
def _similarities(network, images):
    return similarities(network.model, images)


def _local_clusters(adjacencies, middles, global_labels, widths, seed):
    """Cluster one graph per hidden layer, and keep the labels of the layer's own neurons."""
    labels = []
    for adjacency, middle, globally in zip(adjacencies, middles, of_layers(global_labels, widths)):
        connected = numpy.asarray(adjacency.sum(1)) > 0
        clusters = min(len(set(globally.tolist()) - {-1}), int(connected.sum()))
        if clusters > 1:
            labels.append(spectral_clusters(adjacency, clusters, seed)[middle])
        else:
            labels.append(numpy.where(connected[middle], 0, -1))
    return numpy.concatenate(labels)
