"""Nulls: modules, partitions and weights that nobody selected, alike in all that is not being tested."""

from itertools import combinations
from math import comb, prod

import numpy
import torch


def layer_counts(module, hidden_sizes):
    """How many members a module has in each hidden layer: (4, 1, 0)."""
    return tuple(int(members.sum()) for members in module.split(list(hidden_sizes)))


def of_layers(values, widths):
    """The values of all hidden neurons, in an array for each layer."""
    return numpy.split(numpy.asarray(values), numpy.cumsum(widths)[:-1])


def matched_modules(counts, hidden_sizes, limit, generator, eligible=None):
    """The modules that have `counts` neurons in the hidden layers: all of them, or a random sample.

    If there are at most `limit`, every one is listed once.  Otherwise `limit` are drawn uniformly and independently,
    blind to what is being tested.  eligible: boolean [hidden neurons], those that may be members; by default all.
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
        order = torch.rand(limit, width, generator=generator)
        layers.append(order.argsort(dim=1) < count if count else torch.zeros(limit, width, dtype=torch.bool))
    return torch.cat(layers, dim=1), False


def control_modules(module, hidden_sizes, limit, generator, eligible):
    """What a module is compared with: `matched_modules` of as many eligible neurons per layer, but not itself.

    Returns (boolean [controls, hidden neurons], whether these are all others), as many as `limit` if they are not.
    """
    controls, complete = matched_modules(layer_counts(module, hidden_sizes), hidden_sizes, limit, generator, eligible)
    return (controls[(controls != module).any(1)] if complete else controls), complete


def random_partition(labels, widths, generator):
    """A partition with parts as large in every layer: the labels of its living neurons, shuffled."""
    shuffled = labels.copy()
    for layer in of_layers(range(len(labels)), widths):
        living = layer[labels[layer] >= 0]
        shuffled[living] = labels[living[torch.randperm(len(living), generator=generator).numpy()]]
    return shuffled


def shuffle_weights(weights, null, generator):
    """Copies of weight matrices whose entries are permuted, each matrix on its own (Filan et al. 2020).

    null: "layer" permutes all entries, zeros included: a layer keeps its weights and sparsity, and loses its pattern.
    "layer_nonzero" permutes the nonzero entries among their places: the pattern of zeros stays.
    weights: one [out, in] tensor per layer, without isolated neurons.  generator: a torch.Generator on the CPU.
    Returns tensors of the same shapes.  Raises ValueError for another null.
    """
    if null not in ("layer", "layer_nonzero"):
        raise ValueError(f"null is {null!r}; choose layer or layer_nonzero")
    shuffled = []
    for weight in weights:
        entries = weight.detach().flatten().clone()
        places = entries.nonzero().flatten() if null == "layer_nonzero" else torch.arange(len(entries))
        order = torch.randperm(len(places), generator=generator)
        entries[places] = entries[places[order]]
        shuffled.append(entries.view(weight.shape))
    return shuffled
