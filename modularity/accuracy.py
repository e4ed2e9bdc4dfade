"""Accuracy: how well networks read the images that they are shown, and which others they may have been trained on."""

from dataclasses import dataclass, replace

import torch

from mlp.data import spelled_normalisation
from mlp.model import stacked
from mlp.training import evaluate
from modularity.tasks import mapped

BEYOND_CHANCE = 0.1
"""Accuracy that a network should have beyond that of guessing."""
MUCH_BETTER = 0.1
"""Accuracy that other images have to add, at least, to be named."""
BETTER, FEWER_ERRORS = 0.01, 1 / 3
"""Other images are named, too, where they add this accuracy and remove this share of all errors.  A network trained on
normalised images may lose only two points on others, and yet other neurons matter there.  A network that is pruned or
noisy may win a point on other images by accident, but not a third of its errors."""
TRIED = 2000
"""Test images, evenly spaced, on which other ways to prepare them are tried."""


@dataclass(frozen=True)
class Reading:
    """How well a network reads its test images.

    accuracy: the share that it reads right.  chance: the share of the most frequent class.
    other: how other images are prepared of which it reads more, in words, or None.
    other_accuracy: the share of these that it reads right, or None.
    """

    accuracy: float
    chance: float
    other: str | None = None
    other_accuracy: float | None = None

    @property
    def is_poor(self):
        """Whether it is little better than guessing, or other images would suit the network better."""
        return self.other is not None or self.accuracy < self.chance + BEYOND_CHANCE


def readings_of(networks, data_dir, device, jobs):
    """The Reading of each network, of the test images of its DataSet.  Raises InputError if these cannot be read."""
    tasks = [(network, data_dir, device) for network in networks]
    return list(mapped(reading_of, tasks, jobs, "accuracy", "network"))


@torch.no_grad()
def reading_of(network, data_dir, device):
    """The Reading of one network: a task."""
    images, labels = network.load(False, data_dir, device)
    parameters, architecture = stacked([network.model.to(device)]), network.model.architecture
    accuracy = _share_right(parameters, architecture, images, labels)
    chance = labels.bincount().max().item() / len(labels)
    pixels, _ = replace(network.data, normalisation=()).load(False, data_dir, device)
    places = torch.linspace(0, len(labels) - 1, min(TRIED, len(labels)), device=labels.device).long()
    some, of_these = pixels[places], labels[places]
    shares = {
        name: _share_right(parameters, architecture, prepare(some), of_these)
        for name, prepare in _other_images(network.data).items()
    }
    best = max(shares, key=shares.get)
    as_it_is = _share_right(parameters, architecture, images[places], of_these)
    gained, errors = shares[best] - as_it_is, 1 - as_it_is
    suits = gained >= MUCH_BETTER or (gained >= BETTER and gained >= FEWER_ERRORS * errors)
    if not suits or shares[best] < chance + BEYOND_CHANCE:
        return Reading(accuracy, chance)
    return Reading(accuracy, chance, best, shares[best])


def _other_images(data):
    """What else a network may have been trained on: {in words: a function of images [n, inputs] in 0..1}."""
    mean, sd = data.collection.mean, data.collection.sd
    normalisations = {
        "pixels from 0 to 1": (),
        "normalised images": ((mean, sd),),
        "pixels from -1 to 1": ((0.5, 0.5),),
        "pixels from 0 to 255": ((0.0, 1 / 255),),
        "inverted images": ((1.0, -1.0),),
    }
    others = {}
    for name, normalisation in normalisations.items():
        if normalisation:
            name += f" (--normalise {spelled_normalisation(normalisation)})"
        others[name] = replace(data, normalisation=normalisation).normalised
    others["transposed images"] = lambda pixels: data.normalised(pixels.unflatten(1, data.shape).mT.flatten(1))
    return others


def _share_right(parameters, architecture, images, labels):
    """The share of images [n, inputs] that are read right.  parameters: of one network, as `stacked` returns them."""
    _, right = evaluate(*parameters, images, labels, architecture)
    return right.double().mean().item()
