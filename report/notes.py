"""Notes: what the reader should know of the networks before believing what is said about them."""

import sys

from tqdm import tqdm

from mlp.data import spelled_normalisation
from mlp.strengths import DEAD
from modularity.rows import grouped

MOST_LISTED = 10
"""Networks of a condition whose accuracies are all printed; of more, the mean and the range are."""


def note(sentence):
    """Say on stderr, at once, what should be known before hours of work."""
    tqdm.write(f"note: {sentence}", file=sys.stderr)


def note_poor_readings(networks, readings):
    """Say which networks hardly read the images that they are shown, and what may be the reason.

    networks: [Network].  readings: the Reading of each.
    """
    poor = [
        {"condition": network.condition, "other": reading.other, "network": network, "reading": reading}
        for network, reading in zip(networks, readings)
        if reading.is_poor
    ]
    for group in grouped(poor, "condition", "other"):
        first = group[0]["reading"]
        name = group[0]["network"].name
        if len(group) > 1:
            name = f"each of {len(group)} networks of {group[0]['condition']}"
        said = f"{name} reads {_range_of(line['reading'].accuracy for line in group)} of its test images right"
        if first.other:
            better = _range_of(line["reading"].other_accuracy for line in group)
            note(f"{said}, and of {first.other} it would be {better}; is that what it was trained on?")
        else:
            note(
                f"{said}, and guessing the most frequent class gives {100 * first.chance:.1f} %; was it trained on "
                "these images, on these classes in this order, and with ReLU between layers in the order of the file? "
                "docs/own_network.md says what is assumed"
            )


def _range_of(shares):
    """'97.4 %', or '95.8 to 97.4 %'"""
    shown = [f"{100 * share:.1f}" for share in sorted(shares)]
    return f"{shown[0]} %" if shown[0] == shown[-1] else f"{shown[0]} to {shown[-1]} %"


def print_readings(networks, readings):
    """Print how well each network reads its test images, and how these are prepared: a line per condition."""
    accuracies = [
        {"condition": network.condition, "network": network, "accuracy": 100 * reading.accuracy}
        for network, reading in zip(networks, readings)
    ]
    for group in grouped(accuracies, "condition"):
        data = group[0]["network"].data
        values = [line["accuracy"] for line in group]
        if len(values) <= MOST_LISTED:
            shown = " ".join(f"{value:.1f}" for value in values) + " %"
        else:
            mean = sum(values) / len(values)
            shown = f"{mean:.1f} % in the mean of {len(values)} networks ({min(values):.1f} to {max(values):.1f} %)"
        print(f"accuracy, {group[0]['condition']}: {shown} of the test images ({data}; {prepared(data)})")


def prepared(data):
    """'pixels from 0 to 1', or how the images of a DataSet are normalised."""
    if not data.normalisation:
        return "pixels from 0 to 1"
    return f"normalised by {spelled_normalisation(data.normalisation)}"


def note_dead_units(networks):
    """Say how many hidden units have no edge in the graphs of networks, where there are any."""
    for group in grouped([{"condition": network.condition, "network": network} for network in networks], "condition"):
        dead = [int((~line["network"].living).sum()) for line in group]
        if any(dead):
            hidden = sum(group[0]["network"].model.hidden_sizes)
            count = f"{dead[0]}" if len(dead) == 1 else f"{min(dead)} to {max(dead)}"
            why = f"pruned away, or without a weight of {DEAD:g} of the mean of its matrix"
            consequence = "they are in no graph of weights, and in none of its clusters, nulls and candidates"
            note(f"{count} of {hidden} hidden units of {group[0]['condition']} are dead, {why}; {consequence}")
