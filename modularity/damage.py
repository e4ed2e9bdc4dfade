"""Damage: random neurons as many as those of a part, that cost a network as much.

As many random neurons cost less than a part that matters, and what a small damage does to the classes is no measure for
a large one; but more of them, that cost as much, serve more classes between them.
"""

import numpy
import torch
from scipy.optimize import isotonic_regression
from scipy.stats import rankdata

from modularity.ablation import against_controls
from modularity.effects import class_mean_changes
from modularity.significance import FEWEST_CONTROLS

PILOT, LIBRARY = 50, 80
"""Random sets of neurons that are tried for each part: to learn what makes them cost as much, and then such as
should."""
STEEPEST = 20
"""Logarithm of how much likelier the neuron that costs most is drawn than the one that costs least, at most."""
TOLERANCE = 0.2
"""Share of what a part costs by which the cost of a set may differ."""


def measure_matched(groups, data_dir, device, jobs):
    """Silence random sets of neurons as large as parts: adds "matched", [sets, classes], to each part.

    These are the test images of each class that are right without sets of the part's layer, as of `as_costly`; the part
    itself is none of them.  They are drawn with a preference for neurons that cost much, or little, alone, which is as
    strong as sets need on average to cost as much.
    groups: [(network, parts, alive, generator)], parts of one layer measured by `measure_lesions`, each of which costs
    something.  alive: boolean [hidden neurons], those that may be drawn.  generator: decides which.
    """

    def measured(networks, modules):
        """What modules [modules, hidden neurons] of each network cost, and the images that are right without them."""
        found = against_controls(networks, modules, [[]] * len(networks), data_dir, device, jobs)
        images = [network.data.test_images_per_class(data_dir) for network in networks]
        return [(_costs(intact, hits, own), hits) for (intact, hits, _), own in zip(found, images)]

    neurons = [_living(network, parts, alive) for network, parts, alive, _ in groups]
    alone = [torch.eye(len(alive), dtype=torch.bool)[own] for (_, _, alive, _), own in zip(groups, neurons)]
    alone = measured([network for network, *_ in groups], alone)
    parts, owners, draws, costs = [], [], [], []
    for (network, its_parts, _, generator), its_neurons, (its_costs, _) in zip(groups, neurons, alone):
        for part in its_parts:
            parts.append(part)
            owners.append(network)
            draws.append((part["module"], its_neurons, its_costs, generator))
            costs.append(_costs(part["hits"][0], part["hits"][1:2], network.data.test_images_per_class(data_dir))[0])
    tilts = numpy.linspace(-1, 1, PILOT) ** 3 * STEEPEST  # most of them gentle
    pilots = measured(owners, [_sets(*own, tilts) for own in draws])
    wanted = [tilt_that_costs(cost, tilts, found) for cost, (found, _) in zip(costs, pilots)]
    sets = [_sets(*own, numpy.full(LIBRARY, tilt)) for own, tilt in zip(draws, wanted)]
    for part, cost, its_sets, (its_costs, hits) in zip(parts, costs, sets, measured(owners, sets)):
        others = (its_sets != part["module"]).any(1).numpy()
        part["matched"] = hits[others][as_costly(cost, its_costs[others])]


def drawn_by_cost(costs, size, tilts, generator):
    """A random set of so many neurons for each tilt: boolean [tilts, neurons].

    A neuron is drawn, without replacement, with a weight of exp(tilt * its rank by cost, from 0 to 1): the largest of
    the logarithms with Gumbel noise added (Yellott 1977).
    costs: [neurons], of each alone.  generator: a torch.Generator on the CPU.
    """
    ranks = torch.from_numpy((rankdata(costs.astype(float)) - 1) / max(1, len(costs) - 1))
    noise = -torch.empty(len(tilts), len(costs), dtype=torch.double).exponential_(generator=generator).log()
    order = (torch.as_tensor(tilts).unsqueeze(1) * ranks + noise).argsort(dim=1, descending=True)
    return torch.zeros(len(tilts), len(costs), dtype=torch.bool).scatter_(1, order[:, :size], True)


def tilt_that_costs(cost, tilts, costs):
    """The tilt of sets that are expected to cost so much; the cost rises with the tilt (isotonic regression).

    tilts: [n], ascending.  costs: [n], of a set of each.  Returns a number from the first to the last of the tilts.
    """
    return float(numpy.interp(float(cost), isotonic_regression(costs.astype(float)).x, tilts))


def as_costly(cost, costs):
    """The places of the FEWEST_CONTROLS costs nearest to a positive one; of fewer, if not all lie within TOLERANCE."""
    nearest = numpy.argsort(abs(costs - cost), kind="stable")[:FEWEST_CONTROLS]
    return nearest[abs(costs[nearest] - cost) <= TOLERANCE * cost]


def _living(network, parts, alive):
    """The places of the neurons of the parts' layer that may be drawn."""
    layer, widths = parts[0]["row"]["layer"], network.model.hidden_sizes
    places = torch.arange(sum(widths)).split(list(widths))[layer - 1]
    return places[alive[places]]


def _sets(module, neurons, costs, generator, tilts):
    """Sets of as many of the neurons as a module has, as `drawn_by_cost`: boolean [tilts, hidden neurons]."""
    sets = torch.zeros(len(tilts), len(module), dtype=torch.bool)
    sets[:, neurons] = drawn_by_cost(costs, int(module.sum()), tilts, generator)
    return sets


def _costs(intact, hits, images):
    """What is lost of balanced accuracy, in whole numbers of one unit: [modules]."""
    return -class_mean_changes(intact, hits, images)[0]
