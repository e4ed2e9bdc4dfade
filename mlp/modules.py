"""Modules: sets of hidden neurons, each a boolean vector over all hidden neurons, layer after layer."""

from itertools import combinations
from math import comb, prod

import numpy
import torch

from mlp import InputError


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


def matched_modules(counts, hidden_sizes, limit, generator):
    """The modules that have `counts` neurons in the hidden layers: all of them, or a random sample.

    If there are at most `limit`, every one is listed once.  Otherwise `limit` are drawn uniformly and independently,
    blind to what is being tested.

    Returns (boolean [modules, hidden neurons], whether these are all).
    """
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


def same_rule_modules(candidate, candidates, weights, top_inputs=4):
    """The modules of the other neurons of the candidate's layer, by the same rule, that are no candidates themselves.

    Those whose pruned inputs leave them with other numbers of neurons per layer do not match and are left out.
    Returns boolean [modules, hidden neurons].
    """
    layer, _ = candidate
    widths = [len(matrix) for matrix in weights[:-1]]
    counts = layer_counts(module_of(candidate, weights, top_inputs), widths)
    others = [(layer, index) for index in range(widths[layer - 1]) if (layer, index) not in candidates]
    modules = [module_of(other, weights, top_inputs) for other in others]
    matched = [module for module in modules if layer_counts(module, widths) == counts]
    return torch.stack(matched) if matched else torch.zeros(0, sum(widths), dtype=torch.bool)
