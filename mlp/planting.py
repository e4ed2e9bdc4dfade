"""Planting: groups of neurons that are modules by construction: hard ones by wires cut, soft ones by weights scaled."""

from itertools import pairwise

import torch

from mlp import InputError
from mlp.architecture import over_slices
from mlp.seeds import derived_seed

PLANTED = 3
"""What a seed decides besides weights, mini-batches and noise: which weights between groups exist, or who is where."""


def planted_groups(sizes, count):
    """The group of each neuron of the layers after the inputs, which belong to none: contiguous, equal but for one.

    sizes: neurons per layer, inputs and outputs too.  Returns an int64 tensor [neurons] per layer, outputs last.
    """
    return [torch.arange(width) * count // width for width in sizes[1:]]


def planted_connections(sizes, count, leak, seed):
    """Which weights exist between hidden layers, and from the last to the outputs: boolean [out, in], a tensor each.

    All do within a group, and between groups each with probability `leak`, drawn once for all by the seed.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, PLANTED))
    return [
        (after.unsqueeze(1) == before) | (torch.rand(len(after), len(before), generator=generator) < leak)
        for before, after in pairwise(planted_groups(sizes, count))
    ]


def clusterable_groups(sizes, seed):
    """As `planted_groups`, but one for each output, with hidden neurons drawn at random (Filan et al. 2021)."""
    generator = torch.Generator().manual_seed(derived_seed(seed, PLANTED))
    return [
        *(torch.randint(sizes[-1], (width,), generator=generator) for width in sizes[1:-1]),
        torch.arange(sizes[-1]),
    ]


@torch.no_grad()
def plant_softly(weights, groups):
    """Scale weights in place, but for those from the inputs: within m groups by 1 + 0.4 (m - 1), between them by 0.6.

    Filan et al. (2021), "clusterable initialisation".  weights: [out, in] per layer.  groups: of the layers after the
    inputs, outputs last, of which there are m.
    """
    within = 1 + 0.4 * (len(groups[-1]) - 1)
    for weight, (before, after) in zip(weights[1:], pairwise(groups), strict=True):
        weight.mul_(over_slices(torch.where(after.unsqueeze(1) == before, within, 0.6), weight))


def true_groups(network, sizes, init):
    """What a checkpoint says of a network with planted modules, {"groups": that of each hidden neuron}; or else {}.

    network: {"seed"} and, where `planted_connections` are all there are, {"planted_groups"}.
    """
    if "planted_groups" in network:
        groups = planted_groups(sizes, network["planted_groups"])
    elif init == "clusterable":
        groups = clusterable_groups(sizes, network["seed"])
    else:
        return {}
    return {"groups": torch.cat(groups[:-1]).tolist()}


def refuse_unplantable(count, sizes, init):
    """Raise InputError if so many groups (None: no) cannot be planted in networks of these sizes."""
    if count and count > min(sizes[1:]):
        narrow = f"a layer has only {min(sizes[1:])} units, the classes counted as one"
        raise InputError(f"--planted-groups {count}: {narrow}; choose at most so many")
    if count and init == "clusterable":
        raise InputError(f"--planted-groups {count}: --init clusterable has groups of its own; give only one of them")
