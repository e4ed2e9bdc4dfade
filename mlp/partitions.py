"""Partitionings: the hidden neurons of a network in clusters, by what they are wired to or by what they do."""

import numpy
import torch
from scipy.stats import rankdata

from mlp import InputError
from mlp.graph import weight_adjacency
from mlp.modules import spectral_clusters

PARTITIONINGS = "weights, global", "weights, local", "activations, global", "activations, local"


def partitions(model, images, k, seed):
    """The four partitionings of Casper et al. (2021): of the whole network at once, or of each hidden layer on its own.

    Weights, global: `spectral_clusters` of the whole `weight_adjacency`, pixels and outputs included.
    Weights, local: for each hidden layer those of the graph of the layer and its two neighbours.
    Activations: those of hidden neurons joined by their squared rank correlation, of all, or of each layer.
    Locally a layer is divided into as many clusters as the global partitioning of the same kind has in it.

    images: [n, inputs], what the activations are measured on.
    Returns {name: integer labels [hidden neurons]}; -1 for neurons that have no edges, or never vary.  Raises
    InputError if fewer than k neurons have edges, or vary.
    """
    weights = [weight.detach().cpu() for weight in model.weights]
    widths = model.hidden_sizes
    by_weights = spectral_clusters(weight_adjacency(weights), k, seed)[model.sizes[0] : sum(model.sizes[:-1])]
    around = [weight_adjacency(weights[layer : layer + 2]) for layer in range(len(widths))]
    middles = [slice(before, before + width) for before, width in zip(model.sizes, widths)]

    similarity = squared_correlations(torch.cat(model.preactivations(images)[:-1], dim=1).detach().cpu().numpy())
    varying = int((similarity.sum(1) > 0).sum())
    if varying < k:
        raise InputError(
            f"--clusters {k}: only {varying} hidden neurons vary together with others; choose at most so many, and at "
            "least 2, or train the network"
        )
    by_activations = spectral_clusters(similarity, k, seed)
    ends = numpy.cumsum(widths)
    blocks = [similarity[end - width : end, end - width : end] for end, width in zip(ends, widths)]
    everything = [slice(None)] * len(widths)
    labels = (
        by_weights,
        _local_clusters(around, middles, by_weights, widths, seed),
        by_activations,
        _local_clusters(blocks, everything, by_activations, widths, seed),
    )
    return dict(zip(PARTITIONINGS, labels))


def squared_correlations(activations):
    """Squared Spearman rank correlations of neurons; 0 for neurons that never vary, and on the diagonal.

    activations: [images, neurons].  Returns float64 [neurons, neurons] in 0..1.
    """
    ranks = rankdata(activations, axis=0)
    ranks -= ranks.mean(0)
    norm = numpy.sqrt((ranks**2).sum(0))
    ranks /= numpy.where(norm > 0, norm, 1)
    similarity = numpy.clip((ranks.T @ ranks) ** 2, 0, 1)
    numpy.fill_diagonal(similarity, 0)
    return similarity


def random_partition(labels, widths, generator):
    """A partition with parts as large in every layer: the labels of its living neurons, shuffled."""
    shuffled = labels.copy()
    for layer in numpy.split(numpy.arange(len(labels)), numpy.cumsum(widths)[:-1]):
        living = layer[labels[layer] >= 0]
        shuffled[living] = labels[living[torch.randperm(len(living), generator=generator).numpy()]]
    return shuffled


def _local_clusters(adjacencies, middles, global_labels, widths, seed):
    """Cluster one graph per hidden layer, and keep the labels of the layer's own neurons."""
    labels = []
    for adjacency, middle, globally in zip(adjacencies, middles, numpy.split(global_labels, numpy.cumsum(widths)[:-1])):
        connected = numpy.asarray(adjacency.sum(1)) > 0
        clusters = min(len(set(globally.tolist()) - {-1}), int(connected.sum()))
        if clusters > 1:
            labels.append(spectral_clusters(adjacency, clusters, seed)[middle])
        else:
            labels.append(numpy.where(connected[middle], 0, -1))
    return numpy.concatenate(labels)
