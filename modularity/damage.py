"""Damage: random neurons that cost a network as much as a part does, however many these are.

As many random neurons cost less than a part that matters, and what a small damage does to the classes is no measure
for a large one.
"""

import numpy
import torch
from scipy.optimize import isotonic_regression

from modularity.ablation import against_controls
from modularity.effects import class_mean_changes
from modularity.nulls import layer_counts, matched_modules
from modularity.significance import FEWEST_CONTROLS

PILOT, LIBRARY = 50, 400
"""Random sets of neurons of a layer: of all sizes, to learn how many neurons cost how much; and then of such sizes that
cost about as much as its parts."""
TOLERANCE = 0.2
"""Share of what a part costs by which the cost of a set may differ."""


def measure_matched(groups, data_dir, device, jobs):
    """Silence random neurons that cost as much as parts: adds "matched", [sets, classes], to each part.

    These are the test images of each class that are right without sets of neurons of the part's layer, as of
    `as_costly`; the part itself is none of them.  Parts of a layer share sets, so that what they say together is not
    quite independent.
    groups: [(network, parts, alive, generator)], parts of one layer measured by `measure_lesions`, each of which costs
    something.  alive: boolean [hidden neurons], those that may be drawn.  generator: decides which.
    """
    sizes = [numpy.linspace(1, _living(parts, alive, network), PILOT) for network, parts, alive, _ in groups]
    pilots = _measured(groups, sizes, data_dir, device, jobs)
    images = [network.data.test_images_per_class(data_dir) for network, *_ in groups]
    sizes = []
    for (_, parts, *_), (sets, hits), its_images in zip(groups, pilots, images):
        every_cost, unit = _costs(parts[0], hits, its_images)
        own = [_costs(part, part["hits"][1:2], its_images)[0][0] / unit for part in parts]
        sizes.append(sizes_that_cost(min(own), max(own), sets.sum(1).numpy(), (every_cost / unit).astype(float)))
    libraries = _measured(groups, sizes, data_dir, device, jobs)
    for (_, parts, *_), *both, its_images in zip(groups, pilots, libraries, images):
        sets, hits = map(torch.cat, zip(*both))
        _, first = numpy.unique(sets.numpy(), axis=0, return_index=True)  # each set once
        sets, hits = sets[first], hits[first]
        for part in parts:
            others = hits[(sets != part["module"]).any(1)]
            own = _costs(part, part["hits"][1:2], its_images)[0][0]
            part["matched"] = others[as_costly(own, _costs(part, others, its_images)[0])]


def sizes_that_cost(least, most, sizes, costs):
    """How many random neurons cost from `least` to `most`: LIBRARY sizes whose costs rise evenly, by the same factors.

    sizes, costs: [n], of random sets.  The expected cost rises with the size (isotonic regression).
    Returns [LIBRARY] numbers between the smallest and the largest of the sizes.
    """
    order = numpy.argsort(sizes, kind="stable")
    expected = isotonic_regression(costs[order]).x
    return numpy.interp(numpy.geomspace(least, most, LIBRARY), expected, sizes[order])


def as_costly(cost, costs):
    """The places of the FEWEST_CONTROLS costs nearest to a positive one; of fewer, if not all lie within TOLERANCE."""
    nearest = numpy.argsort(abs(costs - cost), kind="stable")[:FEWEST_CONTROLS]
    return nearest[abs(costs[nearest] - cost) <= TOLERANCE * cost]


def _living(parts, alive, network):
    return layer_counts(alive, network.model.hidden_sizes)[parts[0]["row"]["layer"] - 1]


def _costs(part, hits, images):
    """What is lost of balanced accuracy: whole numbers, and the unit to divide them by."""
    changes, unit = class_mean_changes(part["hits"][0], hits, images)
    return -changes, unit


def _measured(groups, sizes, data_dir, device, jobs):
    """For each group random sets of neurons of its layer, of such sizes, and their hits: [(sets, hits)]."""
    drawn = []
    for (network, parts, alive, generator), its_sizes in zip(groups, sizes):
        widths = network.model.hidden_sizes
        sets = []
        for size, limit in zip(*numpy.unique(numpy.round(its_sizes).astype(int), return_counts=True)):
            counts = [0] * len(widths)
            counts[parts[0]["row"]["layer"] - 1] = int(size)
            sets.append(matched_modules(counts, widths, int(limit), generator, alive)[0])
        drawn.append(torch.cat(sets))
    found = against_controls([network for network, *_ in groups], drawn, [[]] * len(drawn), data_dir, device, jobs)
    return [(sets, hits) for sets, (_, hits, _) in zip(drawn, found)]
