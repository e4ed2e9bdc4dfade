"""Lesions: the part of a cluster in one layer, silenced, beside random neurons of the layer (Filan et al. 2020)."""

from itertools import combinations

import numpy
import torch

from modularity.ablation import against_controls, turned_images
from modularity.effects import change_interval, class_mean_changes
from modularity.nulls import control_modules, layer_counts
from modularity.partitions import sub_modules
from modularity.rows import defined_mean
from modularity.significance import FEWEST_CONTROLS, beyond_all, compare_with_controls, fisher_p_value

SMALL = 0.05
"""Sub-modules of at most this share of their layer are not judged: 12 of 256 neurons (Filan et al. 2020)."""
LEAST_LOSS = 0.01
"""Balanced accuracy that an important sub-module is worth, at least."""
EQUIVALENCE = 0.01
"""Balanced accuracy: a change whose whole 95 % interval lies within it, either way, is none."""
ROOM = 0.5
"""Of what a network reads beyond chance, the share that must be left for a lesion to have something to take away."""
MATTERS, NOTHING, UNDECIDED = "matters", "nothing", "undecided"
READINGS = {
    (NOTHING, NOTHING): "X and Y only serve each other",
    (NOTHING, MATTERS): "X acts only through Y, which has other sources",
    (MATTERS, NOTHING): "Y has all it needs from X, which also serves others",
    (MATTERS, MATTERS): "",
}
"""What it says whether X, in the earlier layer, still matters without Y, and Y without X; any other answers leave it
UNDECIDED."""


def parts_of(labels, widths, draws, generator):
    """The sub-modules of a partition, each with control modules of as many living neurons of its layer.

    labels: [hidden neurons].  draws: how many controls, where there are so many.  generator: decides which.
    Returns [{"row": its layer, cluster and size, "module": boolean [hidden neurons], "controls": [n, hidden neurons],
    "complete": whether these are all others of that size}].
    """
    alive = torch.as_tensor(labels) >= 0
    living = layer_counts(alive, widths)
    parts = []
    for (layer, cluster), module in zip(*sub_modules(labels, widths)):
        controls, complete = control_modules(module, widths, draws, generator, alive)
        row = {"layer": layer, "cluster": cluster, "neurons": int(module.sum()), "living_in_layer": living[layer - 1]}
        parts.append({"row": row, "module": module, "controls": controls, "complete": complete})
    return parts


def measure_lesions(networks, parts, data_dir, device, jobs):
    """Silence the parts of each network and their controls: adds "hits", [1 + 1 + controls, classes], to each part.

    These are the test images of each class that the intact network reads right, and those without the part, and without
    each of its controls.  networks: [Network].  parts: a list of them per network, as of `parts_of`.
    """
    modules = [torch.stack([part["module"] for part in its_parts]) for its_parts in parts]
    controls = [[part["controls"] for part in its_parts] for its_parts in parts]
    found = against_controls(networks, modules, controls, data_dir, device, jobs)
    for its_parts, (intact, own, others) in zip(parts, found):
        for part, hits, control_hits in zip(its_parts, own, others, strict=True):
            part["hits"] = torch.cat([intact.unsqueeze(0), hits.unsqueeze(0), control_hits])


def lesion_row(part, images_per_class):
    """What the lesion of a part changes, beside those of its controls; p: how many of these are as bad.

    change, random_change (the mean of the controls), random_low and random_high (which hold 90 % of them) are changes
    of balanced accuracy, the mean over classes of the share of images that are right: fractions, negative if lost.
    """
    intact, *hits = part["hits"]
    changes, unit = class_mean_changes(intact, torch.stack(hits), images_per_class)
    own, others = changes[0], changes[1:]
    shares = (others / unit).astype(float)
    mean, low, high = [shares.mean(), *numpy.quantile(shares, [0.05, 0.95])] if len(shares) else [numpy.nan] * 3
    row = {"change": float(own / unit), "random_n": len(others)}
    row |= {"random_change": float(mean), "random_low": float(low), "random_high": float(high)}
    return row | compare_with_controls(own, others, part["complete"], "left")


def sub_module_row(part, images_per_class, width):
    """The row of a part: its size, what its lesion changes, and its `category` in a layer of so many neurons."""
    row = part["row"] | lesion_row(part, images_per_class)
    intact = float((part["hits"][0].double() / torch.tensor(images_per_class)).mean())
    row["balanced_accuracy"] = intact + row["change"]
    lost = part["hits"][1].sum() == 0
    row["accuracy_ratio"] = numpy.nan if lost else (intact + row["random_change"]) / row["balanced_accuracy"]
    return row | {"category": category(row, width)}


def category(row, width):
    """What Filan et al. (2020) call a sub-module, by their rules in their order; but ties count against a finding."""
    significant = beyond_all(row["p_conservative"], row["random_n"])
    large = row["change"] <= -LEAST_LOSS
    if row["neurons"] == row["living_in_layer"]:
        return "complete"
    if row["neurons"] <= int(SMALL * width):
        return "small"
    if row["random_n"] < FEWEST_CONTROLS:
        return "too few controls"
    if significant:
        return "important" if large else "significant, small effect"
    if row["p"] == 1:  # all others were worse
        return "least important" if large else "prunable"
    return "large effect, not significant" if large else "other"


def pairs_of(parts, rows, alive, widths, draws, generator):
    """The pairs of important sub-modules X, Y of different layers, X in the earlier one: does either matter alone?

    X given Y is what is lost when X is silenced and Y is already: compared with other neurons in the place of X.
    parts, rows: of `parts_of` and `sub_module_row`.  alive: boolean [hidden neurons].
    Returns two parts per pair, X given Y and Y given X: "module" is both, "controls" others in the place of the first;
    "given" is the second, "alone" the hits without it, and "pair" the places of X and Y.
    """
    important = [place for place, row in enumerate(rows) if row["category"] == "important"]
    found = []
    for pair in combinations(important, 2):
        if rows[pair[0]]["layer"] == rows[pair[1]]["layer"]:
            continue
        for first, second in (pair, pair[::-1]):
            module, given = parts[first]["module"], parts[second]["module"]
            controls, complete = control_modules(module, widths, draws, generator, alive)
            both = {"module": module | given, "controls": controls | given, "complete": complete}
            found.append({**both, "given": given, "alone": parts[second]["hits"][1], "pair": pair})
    return found


def measure_pairs(networks, pairs, data_dir, device, jobs):
    """`measure_lesions` of pairs, as of `pairs_of`; also adds "turned", [2, classes], to each: images gained and lost
    when its first part is silenced and the other one already is."""
    measure_lesions(networks, pairs, data_dir, device, jobs)
    lesions = [torch.stack([torch.stack([pair["given"], pair["module"]]) for pair in its_pairs]) for its_pairs in pairs]
    for its_pairs, turned in zip(pairs, turned_images(networks, lesions, data_dir, device, jobs)):
        for pair, counts in zip(its_pairs, turned, strict=True):
            pair["turned"] = counts


def pair_rows(pairs, rows, images_per_class):
    """A row per pair of sub-modules: what X changes without Y and Y without X, and the reading of that.

    To the change, as of `lesion_row`, come its 95 % interval over test images, low and high, and the `answer`.
    pairs: of `pairs_of`, measured.  rows: those of the sub-modules.
    """
    table = []
    for both in zip(pairs[::2], pairs[1::2]):
        row = {}
        for letter, place in zip("xy", both[0]["pair"]):
            row |= {f"{letter}_{key}": rows[place][key] for key in ("layer", "cluster", "neurons", "change")}
        answers = []
        for direction, part in zip(("x_given_y", "y_given_x"), both):
            hits = torch.cat([part["alone"].unsqueeze(0), part["hits"][1:]])
            compared = lesion_row(part | {"hits": hits}, images_per_class)
            compared["low"], compared["high"] = change_interval(*part["turned"], images_per_class)
            compared["left"] = share_left(part["hits"][0], part["alone"], images_per_class)
            compared["answer"] = answer(compared)
            answers.append(compared["answer"])
            row |= {f"{direction}_{key}": value for key, value in compared.items()}
        table.append(row | {"reading": READINGS.get(tuple(answers), UNDECIDED)})
    return table


def answer(row):
    """Does what was silenced last matter?  An effect is nothing by its interval only, never for want of significance.

    Nor where there is little left to lose.
    row: as of `lesion_row`, with the interval of the change, low and high, and the `share_left` before.  Ties count
    against a finding.
    """
    if beyond_all(row["p_conservative"], row["random_n"]) and row["change"] <= -LEAST_LOSS:
        return MATTERS
    within = -EQUIVALENCE <= row["low"] and row["high"] <= EQUIVALENCE
    return NOTHING if within and row["left"] >= ROOM else UNDECIDED


def share_left(intact, alone, images_per_class):
    """Of the balanced accuracy beyond chance that an intact network has, the share that a lesion leaves.

    intact, alone: [classes], images that are right in the network and with the lesion.
    """
    images = torch.tensor(images_per_class)
    before, after = ((hits / images).mean().item() - 1 / len(images) for hits in (intact, alone))
    return after / before if before > 0 else 0.0


def lesion_summary(rows, pairs):
    """What the lesions of one network say together; `pairs` counts each of READINGS, and then what is undecided.

    rows, pairs: of `sub_module_row` and `pair_rows`.
    """
    judged = [row for row in rows if row["category"] not in ("complete", "small")]
    draws = [row["random_n"] for row in judged]
    important = [row for row in rows if row["category"] == "important"]
    worst = min(important, key=lambda row: row["change"], default={})
    layers = sorted({row["layer"] for row in rows})
    readings = [pair["reading"] for pair in pairs]
    line = {key: rows[0][key] for key in ("condition", "network")}
    line |= {"sub_modules": len(rows), "important": len(important)}
    line["important_per_layer"] = [sum(row["layer"] == layer for row in important) for layer in layers]
    line |= {f"worst_{key}": worst.get(key) for key in ("layer", "change", "random_change")}
    line |= {f"fisher_{p}": fisher_p_value([row[p] for row in judged], draws) for p in ("p", "p_conservative")}
    line["accuracy_ratio"] = defined_mean(row["accuracy_ratio"] for row in judged)
    return line | {"pairs": [readings.count(reading) for reading in (*READINGS.values(), UNDECIDED)]}
