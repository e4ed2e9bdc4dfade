"""Clusterability: the n-cut of a network beside those of its shuffled copies (Filan et al. 2020)."""

import warnings

import numpy
import torch

from mlp import InputError
from mlp.seeds import derived_seed
from mlp.strengths import connected_units, without_dead
from modularity.clustering import cuts_and_volumes, n_cut, n_cut_as_published, spectral_clusters
from modularity.graph import inputs_reach_outputs, weight_adjacency, without_isolated
from modularity.nulls import shuffle_weights
from modularity.rows import defined_mean, grouped, over_seeds, seed_means
from modularity.significance import LEVEL, compare_with_shuffles, primary_first, signed_rank_test
from modularity.tasks import mapped

NULLS = {"layer": "all weights of a layer shuffled", "layer_nonzero": "nonzero weights shuffled in their places"}
NULLS |= {"strength": "shuffled in their places, node strengths kept"}
PRIMARY = "layer"
"""The null of the primary test, which is that of the first graph of the first condition: the claim of the paper, and
the null that is an exact permutation.  Copies of "strength" only approach what its name says, see `shuffle_weights`."""
WITH_PIXELS, WITHOUT_PIXELS, CONVOLUTIONS = "with pixels", "without pixels", "convolutions only"
"""The graphs of a network: of all its units; of hidden ones and outputs, since all hidden neurons share the pixels,
which have most of the weight and tie up whatever else lies apart; and of channels alone (Filan et al. 2021)."""
COPIES_PER_TASK = 10


def graphs_of(networks, without_pixels=False):
    """The graphs to ask for, the one that the papers have first: of MLPs that of all units, else that of channels."""
    if without_pixels:
        return [WITHOUT_PIXELS]
    if all(network.model.architecture.convolutions > 1 for network in networks):
        return [CONVOLUTIONS, WITH_PIXELS]
    return [WITH_PIXELS, WITHOUT_PIXELS]


def layers_of(network, graph):
    """The numbers of the layers of units that a graph has."""
    outputs = len(network.model.hidden_sizes) + 1
    first = 0 if graph == WITH_PIXELS else 1
    last = network.model.architecture.convolutions if graph == CONVOLUTIONS else outputs
    return range(first, last + 1)


def graph_weights(network, graph):
    """The strengths that make a graph, without units that are dead in it."""
    layers = layers_of(network, graph)
    return without_dead(network.strengths[layers[0] : layers[-1]])


def hidden_labels(network, graph, labels):
    """The labels of all hidden units, where those of the units of a graph are known; -1 for those that it lacks."""
    sizes, layers = network.model.sizes, layers_of(network, graph)
    everyone = numpy.full(sum(sizes), -1)
    everyone[sum(sizes[: layers[0]]) : sum(sizes[: layers[-1] + 1])] = labels
    return everyone[sizes[0] : -sizes[-1]]


def neurons_with_edges(network, graph):
    """How many neurons have an edge in a graph of a network."""
    return sum(int(layer.sum()) for layer in connected_units(graph_weights(network, graph)))


def refuse_unclusterable(networks, clusters, graph):
    """Raise InputError if the graph of a network has fewer neurons with edges than clusters are asked for."""
    for network in networks:
        connected = neurons_with_edges(network, graph)
        if connected == 0:
            remedy = "prune less, or leave --rescale out"
            raise InputError(f"{full_name(network)}: has no edges left, so there is nothing to cluster; {remedy}")
        if clusters > connected:
            few = f"only {connected} neurons of the {full_name(network)} have edges; choose from 2 to {connected}"
            raise InputError(f"--clusters {clusters}: {few}")


def enough_neurons(networks, clusters, graph):
    """Whether the graph of each network can be divided into so many clusters."""
    return all(neurons_with_edges(network, graph) >= clusters for network in networks)


def full_name(network):
    """'784-8-8-8-3 network 0, trained'"""
    return f"{network.model.architecture} network {network.number}, {network.condition}"


def clustered(networks, clusters, shuffles, seed, jobs, graph):
    """Cluster the `graph_weights` of each network and shuffled copies of them.

    Returns per network {"n_cut", "labels", "warnings", and per null the n-cuts of the copies}.  Without zeros the nulls
    "layer" and "layer_nonzero" are the same, and so are their n-cuts.
    """
    tasks, owners = [], []
    for place, network in enumerate(networks):
        weights = graph_weights(network, graph)
        tasks.append((weights, None, clusters, seed, [()]))
        owners.append((place, "observed"))
        reduced = without_isolated(weights)
        dense = all((weight != 0).all() for weight in reduced)
        for kind, null in enumerate(NULLS):
            if dense and null == "layer_nonzero":
                continue
            for first in range(0, shuffles, COPIES_PER_TASK):
                some = range(first, min(first + COPIES_PER_TASK, shuffles))
                tasks.append((reduced, null, clusters, seed, [(network.number, kind, shuffle) for shuffle in some]))
                owners.append((place, null))
    results = [{"warnings": [], **{null: [] for null in NULLS}} for _ in networks]
    steps = [len(keys) for *_, keys in tasks]
    for (place, null), found in zip(owners, mapped(clusterings, tasks, jobs, graph, "copy", steps)):
        n_cuts, labels, caught = zip(*found)
        results[place]["warnings"] += [warning for some in caught for warning in some]
        if null == "observed":
            results[place] |= {"n_cut": n_cuts[0], "labels": labels[0]}
        else:
            results[place][null] += n_cuts
    for result in results:
        result["layer_nonzero"] = result["layer_nonzero"] or result["layer"]
    return results


def clusterings(weights, null, clusters, seed, keys, advance=lambda: None):
    """Cluster weights as they are, or shuffled copies of them: a task.

    null: as `shuffle_weights` takes it, or None.  keys: whole numbers that with the seed decide each copy.
    Returns for each key the n-cut, the cluster of each neuron, and what the shuffle and the eigen solver had to say.
    """
    found = []
    for key in keys:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            adjacency = weight_adjacency(weights if null is None else shuffled_copy(weights, null, seed, key))
            labels = spectral_clusters(adjacency, clusters, seed)
        said = list(dict.fromkeys(str(warning.message) for warning in caught))  # once, of however many layers
        found.append((n_cut(adjacency, labels), labels, said))
        advance()
    return found


def shuffled_copy(weights, null, seed, key):
    """The copy that a seed and a key decide, as for `clusterings`, without units that are dead in it.

    Where weights of a network differ by many orders of magnitude, a neuron of a copy may get the smallest alone.
    """
    copy = shuffle_weights(weights, null, torch.Generator().manual_seed(derived_seed(seed, *key)))
    return without_dead([weight.abs() for weight in copy])


def first_copy(network, clusters, seed, graph):
    """The first shuffled copy that `clustered` compares a network with: its weights, n-cut, and cluster labels."""
    weights, null, key = without_isolated(graph_weights(network, graph)), next(iter(NULLS)), (network.number, 0, 0)
    [(cut, labels, _)] = clusterings(weights, null, clusters, seed, [key])
    return shuffled_copy(weights, null, seed, key), cut, labels


def network_row(network, result, graph):
    """How clusterable a network is.  result: what `clustered` returns for it."""
    labels, weights = result["labels"], graph_weights(network, graph)
    row = {**network.identity, "seed": network.seed, "graph": graph}
    row |= {"neurons": int((labels >= 0).sum()), "isolated": int((labels < 0).sum())}
    row["edges"] = sum(int(weight.count_nonzero()) for weight in weights)
    row |= {"clusters": len(set(labels) - {-1}), "n_cut": result["n_cut"]}
    row["n_cut_as_published"] = n_cut_as_published(weight_adjacency(weights), labels)
    for null in NULLS:
        compared = compare_with_shuffles(result["n_cut"], result[null])
        row |= {f"{null}_{key}": value for key, value in compared.items()}
        row[f"{null}_gap"] = row["n_cut"] - row[f"{null}_mean"]
    return row


def gap_tests(rows):
    """Do the networks of each condition lie below their shuffled copies, or above them, under each null?

    The gap of a network is its n-cut minus the mean of its copies': negative if it is clustered.  z would not do to
    compare conditions, since shuffles differ in their spread.
    rows: of `network_row`, of all networks.  Returns a line per graph, condition and null: how many networks and seeds,
    means of the n-cut and of that of the copies, the mean gap with its 95 % interval over seeds, that as a share of the
    copies' n-cut, how many networks lie below their copies at LEVEL, and a `signed_rank_test` over seeds; in the order
    of `primary_first`.  Where two nulls are the same, they are one test.
    """
    lines = []
    for group in grouped(rows, "graph", "condition"):
        same = all(row["layer_gap"] == row["layer_nonzero_gap"] for row in group)  # without zeros
        for null in ("layer", "strength") if same else NULLS:
            gaps = seed_means(group, f"{null}_gap")
            line = {key: group[0][key] for key in ("graph", "condition")}
            line |= {"shuffle": null, "networks": len(group), "seeds": len(gaps)}
            line |= {"n_cut": defined_mean(row["n_cut"] for row in group)}
            line["shuffled_n_cut"] = defined_mean(row[f"{null}_mean"] for row in group)
            line |= over_seeds(group, f"{null}_gap", "gap_")
            uncut = line["shuffled_n_cut"] == 0  # as of groups that share nothing
            line["gap_share"] = numpy.nan if uncut else line["gap_mean"] / line["shuffled_n_cut"]
            line["below"] = sum(row[f"{null}_p"] <= LEVEL for row in group)
            lines.append(line | signed_rank_test(gaps))
    return primary_first(lines, next(line for line in lines if line["shuffle"] == PRIMARY))


def cluster_rows(network, labels, graph):
    """Of each cluster its size, share of all volume, share of its own volume that leaves it, and neurons per layer."""
    numbers = layers_of(network, graph)
    layers = numpy.repeat(numbers, [network.model.sizes[layer] for layer in numbers])
    cuts, volumes = cuts_and_volumes(weight_adjacency(graph_weights(network, graph)), labels)
    rows = []
    for cluster, cut, volume in zip(numpy.unique(labels).tolist(), cuts.tolist(), volumes.tolist()):
        if cluster >= 0:
            members = layers[labels == cluster]
            row = {**network.identity, "graph": graph, "cluster": cluster, "neurons": len(members)}
            row |= {"volume_share": volume / float(volumes.sum()), "leaving_share": cut / volume}
            rows.append(row | {f"layer_{layer}": int((members == layer).sum()) for layer in numbers})
    return rows


def notes(network, result, graph):
    """What the reader should know about how a network was clustered."""
    if graph == WITH_PIXELS and not inputs_reach_outputs(network.strengths):
        yield f"{network.name}: no path of weights leads from an input to an output; the n-cut is that of what is left"
    for warning in sorted(set(result["warnings"])):
        yield f"{network.name}: {warning} ({result['warnings'].count(warning)} clusterings)"
