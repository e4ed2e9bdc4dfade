"""Damage: random neurons that cost a network as much as those of a part do.

As many random neurons cost less than a part that matters, and what a small damage does to the classes is no measure for
a large one.  More of them cost as much; but more neurons mix their classes.
"""

import torch

from modularity.ablation import against_controls
from modularity.effects import class_mean_changes
from modularity.significance import FEWEST_CONTROLS

DRAWS = 8
"""Random sets of each number of neurons."""
TOLERANCE = 0.2
"""Share of what a part costs by which the cost of a set may differ."""


def measure_matched(groups, data_dir, device, jobs):
    """Silence random neurons of a layer, as many as there are of parts and fewer and more.

    Adds to each part, of the random sets that cost as much as it (`as_costly`), "matched", the test images of each
    class that are right without them, [sets, classes], and "matched_neurons", how many each silences, [sets].  The part
    itself is none of them.
    groups: [(network, parts, alive, generator)], parts of one layer measured by `measure_lesions`, each of which costs
    something.  alive: boolean [hidden neurons], those that may be drawn.  generator: decides which.
    """
    networks = [network for network, *_ in groups]
    sets = [_sets_of_layer(network, parts[0]["row"]["layer"], *own) for network, parts, *own in groups]
    found = against_controls(networks, sets, [[]] * len(groups), data_dir, device, jobs)
    for (network, parts, *_), its_sets, (intact, hits, _) in zip(groups, sets, found):
        images = network.data.test_images_per_class(data_dir)
        costs = _costs(intact, hits, images)
        for part in parts:
            others = (its_sets != part["module"]).any(1).numpy().nonzero()[0]
            cost = _costs(intact, part["hits"][1:2], images)[0]
            places = others[as_costly(cost, costs[others])]
            part |= {"matched": hits[places], "matched_neurons": its_sets[places].sum(1)}


def as_costly(cost, costs):
    """The places of the FEWEST_CONTROLS costs nearest to a positive one; of fewer, if not all lie within TOLERANCE."""
    nearest = abs(costs - cost).argsort(kind="stable")[:FEWEST_CONTROLS]
    return nearest[abs(costs[nearest] - cost) <= TOLERANCE * cost]


def _sets_of_layer(network, layer, alive, generator):
    """DRAWS random sets of one neuron of a layer, of two, ..., of all but one: boolean [sets, hidden neurons]."""
    widths = list(network.model.hidden_sizes)
    places = torch.arange(sum(widths)).split(widths)[layer - 1]
    places = places[alive[places]]
    numbers = torch.arange(1, len(places)).repeat_interleave(DRAWS)
    ranks = torch.rand(len(numbers), len(places), generator=generator).argsort(dim=1).argsort(dim=1)
    sets = torch.zeros(len(numbers), sum(widths), dtype=torch.bool)
    sets[:, places] = ranks < numbers.unsqueeze(1)
    return sets


def _costs(intact, hits, images):
    """What is lost of balanced accuracy, in whole numbers of one unit: [modules]."""
    return -class_mean_changes(intact, hits, images)[0]
