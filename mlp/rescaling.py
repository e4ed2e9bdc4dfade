"""Rescaling: one form for all networks that differ only in the scales of their neurons, which no output shows.

relu(c x) = c relu(x) for c > 0: where all that a hidden neuron reads, its bias included, is multiplied by c, and all
that it passes on divided by c, the network computes what it did, but its graph is another.
"""

import warnings
from copy import deepcopy

import torch

from mlp.architecture import over_slices

ROUNDS, BALANCED = 10_000, 1e-12
"""Rounds of balancing at most, and how much the factors change in the last."""


@torch.no_grad()
def rescaled(model):
    """The network whose hidden neurons read as much as they pass on: a canonical form, with the same outputs.

        |(w_in, b)|_2 = |w_out|_2   for each hidden neuron

    The sum of squares of all parameters but the last biases is then the least that rescaling can reach.  It is convex
    in the logarithms of the factors, and so this form is one, whatever positive factors neurons had before; it is found
    one layer after the other, again and again (as Stock et al. 2019 do for pairs of layers).  Neurons that read
    nothing, not even a bias, or are not read by any that matter, have no such form: in the limit their weights vanish,
    and so they are zero.
    Returns a new Model on the same device; the model is as it was.
    """
    weights = [weight.double().cpu() for weight in model.weights]
    biases = [bias.double().cpu() for bias in model.biases]
    alive = _that_matter(weights, biases)
    squares = []
    for weight, before, after in zip(weights, alive, alive[1:]):
        square = (weight * over_slices(after.unsqueeze(1) & before, weight)) ** 2
        squares.append(square.sum((2, 3)) if square.ndim == 4 else square)
    factors = [torch.ones(len(its_alive)).double() for its_alive in alive]  # squared; those of pixels and outputs stay
    for _ in range(ROUNDS):
        before = torch.cat(factors)
        for layer in range(1, len(factors) - 1):
            read = squares[layer - 1] @ (1 / factors[layer - 1]) + biases[layer - 1] ** 2
            passed_on = factors[layer + 1] @ squares[layer]
            factors[layer] = torch.where(alive[layer], (passed_on / read).sqrt(), 1.0)
        if not (torch.cat(factors) / before - 1).abs().max() > BALANCED:
            break
    else:
        warnings.warn("a network is not quite in its canonical form", stacklevel=2)
    balanced = deepcopy(model)
    scales = [(factor.sqrt() * its_alive, its_alive / factor.sqrt()) for factor, its_alive in zip(factors, alive)]
    parameters = zip(balanced.weights, balanced.biases, weights, biases, scales, scales[1:])
    for its_weight, its_bias, weight, bias, (_, down), (up, _) in parameters:
        its_weight.copy_(weight * over_slices(up.unsqueeze(1), weight) * over_slices(down.unsqueeze(0), weight))
        its_bias.copy_(bias * up)
    return balanced


def _that_matter(weights, biases):
    """Per layer, pixels and outputs included, the neurons that read something and are read: boolean [neurons].

    A neuron reads something if it has a bias, or a weight from one that does; it is read if it has a weight to an
    output, or to one that is read.
    """
    reads = [torch.ones(weights[0].shape[1], dtype=torch.bool)]
    present = [(weight != 0).flatten(2).any(2) if weight.ndim == 4 else weight != 0 for weight in weights]
    for edges, bias in zip(present, biases):
        reads.append(edges[:, reads[-1]].any(1) | (bias != 0))
    read = [torch.ones(len(weights[-1]), dtype=torch.bool)]
    for edges in reversed(present[1:]):
        read.insert(0, edges[read[0]].any(0))
    hidden = [some & more for some, more in zip(reads[1:-1], read)]
    return [reads[0], *hidden, read[-1]]
