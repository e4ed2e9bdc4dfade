"""Strengths: how strongly each two units of neighbouring layers are joined, and which units are joined to none."""

import torch

KERNEL_NORMS = {
    "sum": lambda kernel: kernel.abs().sum((2, 3), dtype=torch.double).to(kernel.dtype),
    "column": lambda kernel: kernel.abs().sum(2, dtype=torch.double).amax(2).to(kernel.dtype),
}
"""What a slice [height, width] of weights, from one map to one unit, is worth: the sum of |w|, as Filan et al. (2021)
say, or the largest sum of a column, the matrix norm that their code computes."""
DEAD = 1e-6
"""A unit is dead if none of its strengths, on either side, reaches this share of the mean of its matrix, with zeros.

Penalties on weights leave neurons that never fire, and pixels that are always black, with weights of 1e-7 down to 1e-45
that no output shows.  Of living units even the smallest weights count."""


def strengths_of(weights, norm):
    """How strongly each two units of neighbouring layers are joined, `without_dead` units.

    weights: one [out, in] tensor per layer, or [out, in, height, width] where maps are read.
    norm: the one of KERNEL_NORMS that a slice [height, width] is worth; of a single weight it is |w|.
    Returns one [out, in] tensor per layer, of the dtype of the weights.
    """
    return without_dead([KERNEL_NORMS[norm](weight) if weight.ndim == 4 else weight.abs() for weight in weights])


def without_dead(strengths):
    """The strengths of a graph, with 0 for each pair with a unit that is dead in it.

    strengths: one [out, in] tensor per layer of a network, of some of its layers, or of a shuffled copy; not negative.
    Returns tensors of the same shapes.
    """
    strong = []
    for matrix in strengths:
        relative = matrix.double() / matrix.mean(dtype=torch.double)
        weak = relative < DEAD  # false of what is not finite, which stays for the graph to refuse
        strong.append((matrix != 0) & ~weak)
    living = connected_units(strong)
    return [
        torch.where(after.unsqueeze(1) & before, matrix, 0)
        for matrix, before, after in zip(strengths, living, living[1:])
    ]


def connected_units(strengths):
    """Which units have an edge at all: one boolean vector [units] per layer, inputs and outputs included.

    strengths: one [out, in] tensor per layer, of numbers or booleans; zero is no edge.
    """
    present = [matrix != 0 for matrix in strengths]
    before = [present[0].new_zeros(present[0].shape[1]), *(edges.any(1) for edges in present)]
    after = [*(edges.any(0) for edges in present), present[-1].new_zeros(len(present[-1]))]
    return [some | more for some, more in zip(before, after)]
