"""Nulls: modules, partitions and weights that nobody selected, alike in all that is not being tested."""

import warnings
from itertools import combinations
from math import comb, prod

import numpy
import torch

FITTED, ROUNDS = 1e-7, 10_000
"""How closely shuffled weights keep the strengths of their neurons, relative, and in how many rounds at most."""


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

    Returns (boolean [controls, hidden neurons], whether these are all others), as many as `limit` if they are not, or
    fewer if the module itself was drawn more than once.
    """
    counts = layer_counts(module, hidden_sizes)
    controls, complete = matched_modules(counts, hidden_sizes, limit + 1, generator, eligible)
    return controls[(controls != module).any(1)][:limit], complete


def random_partition(labels, widths, generator):
    """A partition with parts as large in every layer: the labels of its living neurons, shuffled."""
    shuffled = labels.copy()
    for layer in of_layers(range(len(labels)), widths):
        living = layer[labels[layer] >= 0]
        shuffled[living] = labels[living[torch.randperm(len(living), generator=generator).numpy()]]
    return shuffled


def shuffle_weights(weights, null, generator):
    """Copies of weight matrices whose entries are permuted, each matrix on its own.

    null: "layer" permutes all entries, zeros included: a layer keeps its weights and sparsity, and loses its pattern
    (Filan et al. 2020).  "layer_nonzero" permutes the nonzero entries among their places: the pattern of zeros stays
    (ibid.).  "strength" does that to what is left of each entry beside what the strengths of its two neurons lead one
    to expect, and then makes up for the strengths: |w| = E e, where E has one factor for each row and column and their
    sums; the residuals e are permuted, and E e' is fitted to the same sums.  (Were |w| permuted, and then fitted, a
    copy would have the factors twice, once at random, and be less even than the network.)  Where single weights are so
    large that they make the strengths of their neurons, copies have larger n-cuts than they should.
    weights: one [out, in] tensor per layer, without isolated neurons.  generator: a torch.Generator on the CPU.
    Returns tensors of the same shapes.  Warns as `fitted_strengths`.  Raises ValueError for another null.
    """
    if null not in ("layer", "layer_nonzero", "strength"):
        raise ValueError(f"null is {null!r}; choose layer, layer_nonzero or strength")
    shuffled = []
    for weight in weights:
        present = weight != 0
        expected = fitted_strengths(present.double(), weight) if null == "strength" else 1
        entries = (weight.detach() / expected).flatten()
        places = torch.arange(len(entries)) if null == "layer" else present.flatten().nonzero().flatten()
        order = torch.randperm(len(places), generator=generator)
        entries[places] = entries[places[order]]
        copy = entries.view(weight.shape)
        if null == "strength":
            copy = fitted_strengths((copy * expected).where(present, 0), weight).to(weight.dtype)
        shuffled.append(copy)
    return shuffled


def fitted_strengths(matrix, weight):
    """A matrix whose rows and columns are scaled until its |entries| add up to what those of another do.

    Iterative proportional fitting (Deming & Stephan 1940).  It has a solution where zeros are in the same places, since
    the other matrix is one with these sums; signs and zeros stay.
    matrix, weight: [out, in].  Returns a float64 tensor [out, in], with sums along rows and columns within FITTED of
    those of the second.  Warns if ROUNDS do not bring it there.
    """
    strength, wanted = matrix.double().abs(), weight.detach().double().abs()
    wanted_rows, wanted_columns = wanted.sum(1), wanted.sum(0)
    columns = torch.ones_like(wanted_columns)
    for _ in range(ROUNDS):
        rows = wanted_rows / (strength @ columns)
        sums = rows.nan_to_num_(0) @ strength  # nothing is to be shared out in an empty row: 0 / 0
        if ((columns * sums - wanted_columns).abs() <= FITTED * wanted_columns).all():
            break
        columns = (wanted_columns / sums).nan_to_num_(0)
    else:
        warnings.warn("shuffled weights did not reach the strengths that their neurons had", stacklevel=3)
    return matrix.double() * rows.unsqueeze(1) * columns
