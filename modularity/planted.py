"""Planted groups: which neurons of a network they are, and whether they act as the modules they were made to be."""

import numpy
import torch

from mlp.planting import planted_groups
from modularity.ablation import against_controls
from modularity.nulls import control_modules
from modularity.rows import by_seed, defined_mean, grouped, over_seeds

RANDOM_SETS = 20


def group_count(network):
    """How many groups were planted in a network, or 0."""
    if network.groups is None:
        return 0
    return network.model.sizes[-1] if network.init == "clusterable" else max(network.groups) + 1


def leak_of(network):
    """The share of weights between planted groups that exist; NaN where that was not what was planted."""
    return float(network.hyperparameters.get("leak", numpy.nan)) if network.groups is not None else numpy.nan


def is_ordinary(network):
    """Whether nothing was planted in a network, or only in name: all weights exist."""
    return network.groups is None or leak_of(network) == 1


def described(network):
    """What tells the rows of a network from those of others, and what was planted in it."""
    return {**network.identity, "seed": network.seed, "leak": leak_of(network), "groups": group_count(network)}


def group_members(network):
    """Which hidden neurons belong to each planted group: boolean [groups, hidden neurons]."""
    return torch.tensor(network.groups) == torch.arange(group_count(network)).unsqueeze(1)


def own_share(intact, hits, images_per_class, own):
    """The part of all accuracy that is lost with a planted group that its own classes lose; NaN if none is lost.

    Half, if it serves no class more than another and has half of them.  Classes that gain lose nothing.
    intact, hits: images of each class that are read right with and without the group.  own: boolean [classes].
    """
    lost = (intact - hits).clamp(min=0).double() / torch.as_tensor(images_per_class)
    return float(lost[own].sum() / lost.sum()) if lost.sum() > 0 else numpy.nan


def function_rows(networks, seed, data_dir, device, jobs):
    """The own-share of each planted group of each network, silenced in all layers at once.

    Beside it, the mean of RANDOM_SETS of as many random neurons per layer.  `excess` is the own-share less the share of
    classes that are the group's own, divided by 1 less that: 0 if all classes lose alike, 1 if only its own do.
    `change` is that of balanced accuracy.
    """
    modules, controls = [], []
    for network in networks:
        widths = network.model.hidden_sizes
        generator = torch.Generator().manual_seed(seed + network.number)
        everyone = torch.ones(sum(widths), dtype=torch.bool)
        modules.append(group_members(network))
        controls.append([control_modules(own, widths, RANDOM_SETS, generator, everyone)[0] for own in modules[-1]])
    found = against_controls(networks, modules, controls, data_dir, device, jobs)
    rows = []
    for network, (intact, of_groups, of_controls), members in zip(networks, found, modules):
        images = network.data.test_images_per_class(data_dir)
        outputs = planted_groups(network.model.sizes, group_count(network))[-1]
        for group, (hits, others) in enumerate(zip(of_groups, of_controls)):
            own = outputs == group
            chance = float(own.double().mean())
            share = own_share(intact, hits, images, own)
            random_share = defined_mean(own_share(intact, other, images, own) for other in others)
            row = {"group": group, "neurons": int(members[group].sum()), "own_classes": int(own.sum())}
            row["change"] = float(((hits - intact).double() / torch.tensor(images)).mean())
            row |= {"own_share": share, "excess": (share - chance) / (1 - chance), "chance": chance}
            row |= {"random_own_share": random_share, "random_excess": (random_share - chance) / (1 - chance)}
            rows.append(described(network) | row)
    return rows


def pooled_function(rows):
    """What the planted groups of each condition do, beside random neurons, over seeds."""
    lines = []
    for group in grouped(rows, "condition"):
        line = {"condition": group[0]["condition"], "leak": group[0]["leak"], "seeds": len(by_seed(group))}
        for key in ("own_share", "random_own_share", "excess", "random_excess", "change"):
            line |= over_seeds(group, key, f"{key}_")
        lines.append(line)
    return lines
