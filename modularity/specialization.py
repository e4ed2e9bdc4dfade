"""Specialisation: importance and coherence of the parts of clusters, beside random neurons (Casper et al. 2021)."""

from itertools import chain, product
from operator import itemgetter

import numpy
import scipy
import torch

from mlp.seeds import derived_seed
from modularity.damage import measure_matched
from modularity.effects import accuracy_effect, class_range, exact_drops, log_ratio, range_effect, ratio_effect
from modularity.lesions import LEAST_LOSS, lesion_row, measure_lesions, parts_of
from modularity.nulls import random_partition
from modularity.optimal_images import optimal_images, output_entropies
from modularity.partitions import CASPER, activation_images
from modularity.rows import by_seed, defined_mean, grouped, over_seeds, seed_means
from modularity.significance import FEWEST_CONTROLS, adjusted, centred, combine_networks, compare_with_controls
from modularity.significance import fisher_p_value, paired_test, primary_first
from modularity.tasks import mapped

MEASURES = {"accuracy": "left", "range": "right", "score": "right", "entropy": "left"}
"""What is compared with random neurons, and the side on which a special module lies: accuracy without it, how unequally
the classes suffer, how hard one image can drive it, and how undecided the network is about that image."""
FAMILIES = ("accuracy", "range"), ("score", "entropy")
"""The p-values of lesions, and those of images, are corrected for their number apart."""
KEPT = "p", "p_conservative", "log_p", "effect"
"""What is said of each network where many are pooled."""
KINDS = "clusters", "random"
LARGEST_SHARE = 0.99
"""Of the living neurons of a layer; there is nothing to compare a larger part with."""
EXCESS = {
    "accuracy": ("points", lambda row: 100 * (row["random_change"] - row["change"])),
    "range": ("ratio", lambda row: log_ratio(row["range"], row["random_range"])),
    "score": ("ratio", lambda row: log_ratio(row["score"], row["random_score"])),
    "entropy": ("nats", lambda row: row["entropy"] - row["random_entropy"]),
}
"""How much more each measure is in a part than in its random sets, in plain units: points of balanced accuracy lost,
nats of entropy, and logarithms of ratios."""
BESIDE = {
    "number": EXCESS["range"][1],
    "cost": lambda row: log_ratio(row["range"], row["matched_range"]),
}
"""How many times as unequally the classes suffer as without random neurons, as logarithms: as many, or as costly ones.

The range falls with the mean drop, whatever is silenced, so that beside as many neurons, which cost less, parts that
matter look more general than they are.  Beside as costly ones, which are more and of mixed classes, they tend to look
more special."""
PRIMARY = {"measure": "accuracy", "partitioning": "weights, global"}
"""The one comparison, in the first condition, that a conclusion may rest on; all others are exploratory."""


def measured_parts(networks, clusters, draws, seed, data_dir, device, jobs):
    """Each cluster's part of each hidden layer, for all partitions and random ones, and what was measured of it.

    Returns for all networks together [{"row": its numbers, "picture": ...}]; what was too small or too large to be
    tested has few numbers, and no picture.
    """
    tasks = [(name, network, clusters, seed, data_dir, device) for network in networks for name in CASPER]
    labels = list(mapped(_partition, tasks, jobs, "partitions"))
    parts, tested = [], []
    for place, network in enumerate(networks):
        its_labels = dict(zip(CASPER, labels[place * len(CASPER) :]))
        generator = torch.Generator().manual_seed(seed + network.number)
        its_parts = list(_parts_of_network(network, its_labels, draws, generator))
        parts += its_parts
        its_parts = [part for part in its_parts if part["row"]["status"] == "tested"]
        if its_parts:
            # in a cluster of any partitioning
            alive = torch.from_numpy(numpy.any([own >= 0 for own in its_labels.values()], axis=0))
            tested.append((network, its_parts, alive, generator))
    pairs = [(network, its_parts) for network, its_parts, *_ in tested]
    if pairs:
        measure_lesions(*map(list, zip(*pairs)), data_dir, device, jobs)
    for network, its_parts in pairs:
        images_per_class = network.data.test_images_per_class(data_dir)
        for part in its_parts:
            part["row"] |= _lesions(part, network.data.classes, images_per_class)
    _measure_matched(tested, data_dir, device, jobs)
    _measure_images(pairs, seed, device, jobs)
    return parts


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
    changes, ranges = -drops.sum(1) / (unit * len(classes)), class_range(drops)
    row |= {f"change_{label}": -drop / unit for label, drop in zip(classes, drops[0])} | p_values
    row["accuracy_effect"] = accuracy_effect(changes[0], changes[1:])
    finite = numpy.isfinite(ranges)
    row |= {"range": float(ranges[0]), "random_range": defined_mean(ranges[1:][finite[1:]])}
    row["not_finite"] = int((~finite).sum())
    row |= _compared("range", ranges, part["complete"])
    row["range_effect"] = range_effect(ranges[0], ranges[1:])
    return row


def _measure_matched(tested, data_dir, device, jobs):
    """Silence random neurons that cost as much as parts that cost at least LEAST_LOSS; add to the rows what these say.

    tested: [(network, its parts, alive, generator)], as for `measure_matched`, but of all layers.
    """
    groups = []
    for network, parts, *others in tested:
        for layer in range(1, 1 + len(network.model.hidden_sizes)):
            costly = [part for part in parts if part["row"]["layer"] == layer and part["row"]["change"] <= -LEAST_LOSS]
            groups += [(network, costly, *others)] if costly else []
    if groups:
        measure_matched(groups, data_dir, device, jobs)
    for network, parts, *_ in groups:
        for part in parts:
            part["row"] |= _matched_row(part, network.data.test_images_per_class(data_dir))


def _matched_row(part, images_per_class):
    """matched_n, how many sets of random neurons cost as much as a part; of FEWEST_CONTROLS also their means:
    matched_neurons, matched_loss and matched_range."""
    row = {"matched_n": len(part["matched"])}
    if row["matched_n"] < FEWEST_CONTROLS:
        return row
    drops, unit = exact_drops(part["hits"][0], part["matched"], images_per_class)
    row |= {"matched_neurons": float(part["matched_neurons"].double().mean())}
    return row | {"matched_loss": float(drops.mean() / unit), "matched_range": float(class_range(drops).mean())}


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
            images = torch.cat(images.unbind(1), dim=2)  # channels side by side
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
    normalised, members = network.data.normalised, members.to(device)
    images, first, scores = optimal_images(model, network.data.shape, layer, members, generator, normalised)
    entropies = output_entropies(model, normalised(images.flatten(1)))
    return [values.cpu() for values in (images, first, scores, entropies)]


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
        line[f"{measure}_excess"] = defined_mean(EXCESS[measure][1](row) for row in measured)
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
        line |= {f"{measure}_{key}": [row[f"{measure}_{key}"] for row in summaries] for key in KEPT}
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


def paired_tests(summaries):
    """Are clusters more special than the random partition of the same network?  A row per test, the primary one first.

    The statistic of a network is the mean EXCESS of its parts, of clusters minus that of the random partition: the
    contrast.  Over seeds: the means of both and of the contrast, its 95 % interval, low and high, and the two-sided
    `signed_rank_test`, of which smallest_p is the least that so many seeds can reach.  Means of ratios are geometric,
    and their contrast is a ratio, too.  The p-values of exploratory comparisons are adjusted for the number of all of
    these; the primary one stands alone.
    summaries: of `summary`, of all networks.
    """
    tests = []
    for group, (measure, (unit, _)) in product(grouped(summaries, "condition", "partitioning"), EXCESS.items()):
        row = {key: group[0][key] for key in ("condition", "partitioning")} | {"measure": measure}
        networks = [_contrast(lines, f"{measure}_excess") for lines in grouped(group, "network")]
        clusters, random, contrasts = (seed_means(networks, key) for key in (*KINDS, "contrast"))
        test = paired_test(contrasts)
        found = {"clusters": defined_mean(clusters), "random": defined_mean(random), "contrast": test.pop("mean")}
        found |= {end: test.pop(end) for end in ("low", "high")}
        if unit == "ratio":
            found = {key: float(numpy.exp(value)) for key, value in found.items()}
        tests.append(row | {"unit": unit, "seeds": test.pop("seeds"), **found, **test})
    first = PRIMARY | {"condition": summaries[0]["condition"]}
    return primary_first(tests, next(row for row in tests if first.items() <= row.items()))


def unevenness(rows):
    """How many times as unequally classes suffer without parts that cost enough as without random neurons.

    A row per condition, partitioning, layer and kind, of parts that have a matched_range: number_mean and cost_mean,
    what is BESIDE them, geometric means over seeds, with 95 % intervals, _low and _high, that are not corrected for
    their number.
    rows: of `measured_parts`.
    """
    lines, keys = [], ("condition", "partitioning", "layer", "kind")
    compared = grouped([row for row in rows if "matched_range" in row], "condition", "partitioning")
    for group in chain.from_iterable(grouped(sorted(own, key=itemgetter("layer")), *keys) for own in compared):
        line = {key: group[0][key] for key in keys} | {"parts": len(group), "seeds": len(by_seed(group))}
        for name, excess in BESIDE.items():
            found = over_seeds([row | {name: excess(row)} for row in group], name, f"{name}_")
            line |= {key: float(numpy.exp(value)) for key, value in found.items()}
        lines.append(line)
    return lines


def _contrast(lines, key):
    """What a network's clusters have under a key, and its random partition; NaN unless both have it."""
    values = {line["kind"]: line[key] for line in lines}
    clusters, random = (values[kind] for kind in KINDS)
    if numpy.isnan(clusters - random):
        clusters = random = numpy.nan
    return lines[0] | {"clusters": clusters, "random": random, "contrast": clusters - random}
