"""Specialisation: importance and coherence of the parts of clusters, beside random neurons (Casper et al. 2021)."""

from itertools import product

import numpy
import scipy
import torch

from mlp.seeds import derived_seed
from modularity.effects import accuracy_effect, class_range, exact_drops, range_effect, ratio_effect
from modularity.lesions import lesion_row, measure_lesions, parts_of
from modularity.nulls import random_partition
from modularity.optimal_images import optimal_images, output_entropies
from modularity.partitions import CASPER, activation_images
from modularity.rows import by_seed, defined_mean, grouped, seed_means
from modularity.significance import adjusted, centred, combine_networks, compare_with_controls, fisher_p_value
from modularity.tasks import mapped

MEASURES = {"accuracy": "left", "range": "right", "score": "right", "entropy": "left"}
"""What is compared with random neurons, and the side on which a special module lies: accuracy without it, how unequally
the classes suffer, how hard one image can drive it, and how undecided the network is about that image."""
FAMILIES = ("accuracy", "range"), ("score", "entropy")
"""The p-values of lesions, and those of images, are corrected for their number apart."""
KINDS = "clusters", "random"
LARGEST_SHARE = 0.99
"""Of the living neurons of a layer; there is nothing to compare a larger part with."""


def measured_parts(networks, clusters, draws, seed, data_dir, device, jobs):
    """Each cluster's part of each hidden layer, for all partitions and random ones, and what was measured of it.

    Returns for all networks together [{"row": its numbers, "picture": ...}]; what was too small or too large to be
    tested has few numbers, and no picture.
    """
    tasks = [(name, network, clusters, seed, data_dir, device) for network in networks for name in CASPER]
    labels = list(mapped(_partition, tasks, jobs, "partitions"))
    parts = []
    for place, network in enumerate(networks):
        its_labels = dict(zip(CASPER, labels[place * len(CASPER) :]))
        generator = torch.Generator().manual_seed(seed + network.number)
        parts.append(list(_parts_of_network(network, its_labels, draws, generator)))
    tested = [[part for part in its_parts if part["row"]["status"] == "tested"] for its_parts in parts]
    pairs = [(network, its_parts) for network, its_parts in zip(networks, tested) if its_parts]
    if pairs:
        measure_lesions(*map(list, zip(*pairs)), data_dir, device, jobs)
    for network, its_parts in pairs:
        images_per_class = network.data.test_images_per_class(data_dir)
        for part in its_parts:
            part["row"] |= _lesions(part, network.data.classes, images_per_class)
    _measure_images(pairs, seed, device, jobs)
    return [part for its_parts in parts for part in its_parts]


def _partition(name, network, clusters, seed, data_dir, device):
    images = activation_images(network, seed, data_dir).to(device)
    network.model.to(device)
    return CASPER[name](network, images, clusters, seed)


def _parts_of_network(network, labels, draws, generator):
    widths = network.model.hidden_sizes
    for partitioning, true in labels.items():
        for kind, its_labels in zip(KINDS, (true, random_partition(true, widths, generator))):
            about = {**network.identity, "seed": network.seed, "partitioning": partitioning, "kind": kind}
            for part in parts_of(its_labels, widths, draws, generator):
                row = part["row"]
                large = row["neurons"] > LARGEST_SHARE * row["living_in_layer"]
                status = "too small" if row["neurons"] < 2 else "the whole layer" if large else "tested"
                yield part | {"row": {**about, **row, "status": status}}


def _lesions(part, classes, images_per_class):
    """What silencing a part and its random sets changes: of balanced accuracy, of each class, and how unequally."""
    row = lesion_row(part, images_per_class)
    p_values = {f"accuracy_{key}": row.pop(key) for key in ("p", "p_conservative")}
    intact, *hits = part["hits"]
    drops, unit = exact_drops(intact, torch.stack(hits), images_per_class)
    changes, spread = -drops.sum(1) / (unit * len(classes)), class_range(drops)
    row |= {f"change_{label}": -drop / unit for label, drop in zip(classes, drops[0])} | p_values
    row["accuracy_effect"] = accuracy_effect(changes[0], changes[1:])
    row |= {"range": float(spread[0]), "not_finite": int((~numpy.isfinite(spread)).sum())}
    row |= _compared("range", spread, part["complete"])
    return row | {"range_effect": range_effect(spread[0], spread[1:])}


def _measure_images(pairs, seed, device, jobs):
    """Find the image that drives each part hardest, and each of its random sets; add to the rows how they compare.

    pairs: [(network, its parts)].
    """
    tasks, owners = [], []
    for network, parts in pairs:
        for layer, width in enumerate(network.model.hidden_sizes, 1):
            own = [part for part in parts if part["row"]["layer"] == layer and part["row"]["neurons"] > 2]
            if own:
                before = sum(network.model.hidden_sizes[: layer - 1])
                members = [torch.cat([part["module"].unsqueeze(0), part["controls"]]) for part in own]
                members = torch.cat(members)[:, before : before + width]
                tasks.append((network, layer, members, derived_seed(seed, network.number, layer), device))
                owners.append(own)
    for own, measured in zip(owners, mapped(_driven, tasks, jobs, "optimal images")):
        sizes = [1 + len(part["controls"]) for part in own]
        for part, images, first, scores, entropies in zip(own, *(values.split(sizes) for values in measured)):
            first, scores, entropies = (values.double().numpy() for values in (first, scores, entropies))
            part["picture"] = {"images": images[:2].numpy(), "scores": scores[:2]}
            part["picture"]["random_image"] = images[1:].mean(0).numpy()
            gain = {"least_gain": float((scores / first).min())}
            for measure, values, more in (("score", scores, gain), ("entropy", entropies, {})):
                part["row"] |= {measure: float(values[0]), f"random_{measure}": float(values[1:].mean()), **more}
                part["row"] |= _compared(measure, values, part["complete"])
                part["row"][f"{measure}_effect"] = ratio_effect(values[0], values[1:])


def _driven(network, layer, members, seed, device):
    model = network.model.to(device)
    generator = torch.Generator().manual_seed(seed)
    images, first, scores = optimal_images(model, layer, members.to(device), generator)
    return [values.cpu() for values in (images, first, scores, output_entropies(model, images))]


def _compared(measure, values, complete):
    """The p-values of the first value among the others, without and with ties counted against it."""
    found = compare_with_controls(values[0], values[1:], complete, MEASURES[measure])
    return {f"{measure}_{key}": found[key] for key in ("p", "p_conservative")}


def summary(rows):
    """What the parts of one partition of one network say together."""
    statuses = [row["status"] for row in rows]
    line = {key: rows[0][key] for key in ("condition", "partitioning", "kind", "network", "seed")}
    line |= {status.replace(" ", "_"): statuses.count(status) for status in ("tested", "too small", "the whole layer")}
    for measure in MEASURES:
        measured = [row for row in rows if f"{measure}_p" in row]
        draws = [row["random_n"] for row in measured]
        line[f"{measure}_n"] = len(measured)
        for p in (f"{measure}_p", f"{measure}_p_conservative"):
            line[p] = fisher_p_value([row[p] for row in measured], draws)
        shifted = centred([row[f"{measure}_p"] for row in measured], draws)
        line[f"{measure}_log_p"] = float(-numpy.log(shifted).mean()) if measured else numpy.nan
        line[f"{measure}_effect"] = defined_mean(row[f"{measure}_effect"] for row in measured)
    return line


def pooled_summary(rows):
    """What all networks of a condition say together: p-values combined over seeds, effects averaged over parts."""
    summaries = [summary(group) for group in grouped(rows, "network")]
    line = {key: rows[0][key] for key in ("condition", "partitioning", "kind")}
    line |= {"networks": len(summaries), "seeds": len(by_seed(summaries))}
    line["tested"] = sum(row["status"] == "tested" for row in rows)
    for measure in MEASURES:
        measured = [row for row in rows if not numpy.isnan(row.get(f"{measure}_effect", numpy.nan))]
        of_seeds = seed_means(measured, f"{measure}_effect")
        line |= {f"{measure}_{key}": [row[f"{measure}_{key}"] for row in summaries] for key in ("p", "log_p", "effect")}
        for p in ("p", "p_conservative"):
            line[f"{measure}_combined_{p}"] = combine_networks(seed_means(summaries, f"{measure}_{p}"))
        line[f"{measure}_n"] = len(measured)
        line[f"{measure}_mean_effect"] = defined_mean(row[f"{measure}_effect"] for row in measured)
        line[f"{measure}_effect_se"] = float(scipy.stats.sem(of_seeds)) if len(of_seeds) > 1 else numpy.nan
    return line


def corrected(pooled):
    """The lines with their combined p-values adjusted within each family of measures, kind by kind."""
    for kind in KINDS:
        lines = [line for line in pooled if line["kind"] == kind]
        for family, p in product(FAMILIES, ("p", "p_conservative")):
            pairs = list(product(lines, family))
            tests = adjusted([{"p": line[f"{measure}_combined_{p}"]} for line, measure in pairs])
            for (line, measure), test in zip(pairs, tests):
                line[f"{measure}_adjusted_{p}"] = test["adjusted_p"]
    return pooled
