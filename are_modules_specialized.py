"""Are clusters of neurons specialised?  Importance and coherence against random neurons (Casper et al. 2021).

    python are_modules_specialized.py [CHECKPOINT ...]

Writes to --figures-dir specialization.csv and .json (each cluster's part of each layer), specialization_networks.csv
and .json (what they say together), and specialization_lesions, _digits and _images (.png, .pdf) of the first network.
"""

import mlp.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

from functools import partial
from itertools import product

import numpy
import torch
from scipy import stats
from tqdm import tqdm

from mlp import InputError
from mlp.ablation import ablated_hits
from mlp.cluster_plots import plot_digit_changes, plot_lesions, plot_optimal_images
from mlp.commandline import (
    MOST_DRAWS,
    Parser,
    add_figures_option,
    add_image_options,
    add_network_options,
    add_seed_option,
    integer,
    run,
    selected_conditions,
)
from mlp.data import load_digits
from mlp.modules import control_modules, layer_counts, sub_modules
from mlp.partitions import PARTITIONINGS, partitions, random_partition
from mlp.results import (
    grouped,
    identity,
    network_name,
    number,
    print_table,
    run_record,
    save_results,
    writable_folder,
)
from mlp.statistics import (
    accuracy_effect,
    beyond_all,
    by_seed,
    centred,
    class_range,
    combine_networks,
    compare_with_controls,
    defined_mean,
    exact_drops,
    fisher_p_value,
    range_effect,
    ratio_effect,
    seed_means,
)
from mlp.style import save_figure
from mlp.visualization import optimal_images, output_entropies

MEASURES = {"accuracy": "left", "range": "right", "score": "right", "entropy": "left"}
"""What is compared with random neurons, and the side on which a special module lies: accuracy without it, how unequally
the digits suffer, how hard one image can drive it, and how undecided the network is about that image."""
FAMILIES = ("accuracy", "range"), ("score", "entropy")
"""The p-values of lesions, and those of images, are corrected for their number apart."""
KINDS = "clusters", "random"
ACTIVATION_IMAGES = 4992
LARGEST_SHARE = 0.99
"""Of the living neurons of a layer; there is nothing to compare a larger part with."""


def parse_args(argv):
    parser = Parser(description="Compare clusters of neurons with random neurons: importance and coherence.")
    add_network_options(parser, many=True)
    parser.add_argument("--clusters", type=integer(2), default=16, help="clusters of neurons (default: %(default)s)")
    parser.add_argument(
        "--draws",
        type=integer(2, MOST_DRAWS),
        default=19,
        help="sets of random neurons that each cluster's part of a layer is compared with (default: %(default)s)",
    )
    add_seed_option(parser, "random neurons, first images, and starts of k-means")
    add_figures_option(parser)
    add_image_options(parser)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    networks, abouts = selected_conditions(args)
    for network in networks:
        hidden = sum(network["model"].hidden_sizes)
        if args.clusters > hidden:
            raise InputError(
                f"--clusters {args.clusters}: the networks of {network['condition']} have {hidden} hidden neurons; "
                f"choose from 2 to {hidden}"
            )
    figures = writable_folder(args.figures_dir)

    splits, parts = {}, []
    for network in tqdm(networks, desc="networks", unit="network"):
        digits = network["digits"]
        if digits not in splits:
            splits[digits] = [load_digits(digits, train, args.data_dir) for train in (True, False)]
        parts += measured_parts(network, *splits[digits], args)
    rows = [part["row"] for part in parts]
    summaries = [summary(group) for group in grouped(rows, "condition", "partitioning", "kind", "network")]
    record = run_record(args, device=args.device, seed=args.seed, checkpoints=abouts)
    save_results(figures / "specialization", rows, record)
    pooled = adjusted([pooled_summary(group) for group in grouped(rows, "condition", "partitioning", "kind")])
    save_results(figures / "specialization_networks", summaries, record | {"pooled": pooled})
    drawn = draw(networks[0], parts, figures)

    print("p of each network (Fisher), and mean effects (1: like random neurons):")
    print_table([printed_networks(line) for line in pooled])
    print(
        "\nall networks together: p (Bates) -> corrected for many tests (Benjamini-Hochberg), effect ± standard error "
        "over seeds:"
    )
    print_table([printed_pooled(line) for line in pooled])
    print(
        f"saved {figures}/specialization{{,_networks}}.{{csv,json}}"
        + "".join(f" and {name}.{{png,pdf}}" for name in drawn)
    )
    for note in notes(rows):
        print(f"note: {note}")
    print(verdict(pooled))


def measured_parts(network, training, test, args):
    """Each cluster's part of each hidden layer, for all partitionings and random ones, and what was measured of it.

    Returns [{"row": its numbers, "sets": boolean [1 + controls, hidden neurons], itself and its controls, "complete":
    whether these are all others of that size, "picture"}]; what was too small or too large to be tested has few
    numbers, and no picture.
    """
    model = network["model"].to(args.device)
    generator = torch.Generator().manual_seed(args.seed + network["network"])
    chosen = torch.randperm(len(training[0]), generator=generator)[:ACTIVATION_IMAGES]
    labels = partitions(model, training[0][chosen].to(args.device), args.clusters, args.seed)
    parts = []
    for partitioning in PARTITIONINGS:
        true = labels[partitioning]
        for kind, its_labels in zip(KINDS, (true, random_partition(true, model.hidden_sizes, generator))):
            about = identity(network) | {"seed": network["known"].get("seed")}
            about |= {"partitioning": partitioning, "kind": kind}
            parts += parts_of(about, its_labels, model.hidden_sizes, args.draws, generator)
    tested = [part for part in parts if part["row"]["status"] == "tested"]
    if tested:
        measure_lesions(model, tested, *(tensor.to(args.device) for tensor in test), network["digits"])
        measure_images(model, [part for part in tested if part["row"]["neurons"] > 2], generator)
    return parts


def parts_of(about, labels, widths, draws, generator):
    """The sub-modules of a partitioning, each with random sets of as many living neurons of its layer."""
    alive = torch.as_tensor(labels >= 0)
    living = layer_counts(alive, widths)
    names, modules = sub_modules(labels, widths)
    parts = []
    for (layer, cluster), module in zip(names, modules):
        neurons = int(module.sum())
        large = neurons > LARGEST_SHARE * living[layer - 1]
        row = {
            **about,
            "layer": layer,
            "cluster": cluster,
            "neurons": neurons,
            "living_in_layer": living[layer - 1],
            "status": "too small" if neurons < 2 else "the whole layer" if large else "tested",
        }
        controls, complete = control_modules(module, widths, draws, generator, alive)
        parts.append({"row": row, "sets": torch.cat([module.unsqueeze(0), controls]), "complete": complete})
    return parts


def measure_lesions(model, parts, images, labels, digits):
    """Silence each part and its random sets; add to its row the changes of accuracy, and how they compare."""
    intact = torch.zeros(1, sum(model.hidden_sizes), dtype=torch.bool)
    progress = partial(tqdm, desc="lesions", unit="batch", delay=2, leave=False)
    hits = ablated_hits(model, torch.cat([intact, *(part["sets"] for part in parts)]), images, labels, progress)
    counts = labels.bincount(minlength=len(digits)).tolist()
    for part, its_hits in zip(parts, hits[1:].split([len(part["sets"]) for part in parts])):
        drops, unit = exact_drops(hits[0], its_hits, counts)
        mean, spread = (-drops.sum(1) / (unit * len(digits))).astype(float), class_range(drops)
        low, high = numpy.quantile(mean[1:], [0.05, 0.95]).tolist()
        part["row"] |= {
            "random_n": len(mean) - 1,
            "null": "complete" if part["complete"] else "sample",
            "change": float(mean[0]),
            "random_change": float(mean[1:].mean()),
            "random_low": low,
            "random_high": high,
            **{f"change_{digit}": -drop / unit for digit, drop in zip(digits, drops[0])},
            **compared("accuracy", mean, part["complete"]),
            "accuracy_effect": accuracy_effect(mean[0], mean[1:]),
            "range": float(spread[0]),
            "not_finite": int((~numpy.isfinite(spread)).sum()),
            **compared("range", spread, part["complete"]),
            "range_effect": range_effect(spread[0], spread[1:]),
        }


def measure_images(model, parts, generator):
    """Find the image that drives each part hardest, and each of its random sets; add how they compare."""
    for layer, width in enumerate(model.hidden_sizes, 1):
        its_parts = [part for part in parts if part["row"]["layer"] == layer]
        if not its_parts:
            continue
        before = sum(model.hidden_sizes[: layer - 1])
        members = torch.cat([part["sets"] for part in its_parts])[:, before : before + width]
        progress = partial(tqdm, desc=f"images of layer {layer}", unit="step", delay=2, leave=False)
        images, first, scores = optimal_images(model, layer, members.to(model.weights[0].device), generator, progress)
        entropies = output_entropies(model, images)
        sizes = [len(part["sets"]) for part in its_parts]
        for part, *values in zip(
            its_parts, *(tensor.cpu().split(sizes) for tensor in (images, first, scores, entropies))
        ):
            its_images, its_first, its_scores, its_entropies = (tensor.double().numpy() for tensor in values)
            part["picture"] = {"images": its_images[:2], "scores": its_scores[:2], "entropies": its_entropies[:2]}
            part["row"] |= {
                "score": float(its_scores[0]),
                "random_score": float(its_scores[1:].mean()),
                "least_gain": float((its_scores / its_first).min()),
                **compared("score", its_scores, part["complete"]),
                "score_effect": ratio_effect(its_scores[0], its_scores[1:]),
                "entropy": float(its_entropies[0]),
                "random_entropy": float(its_entropies[1:].mean()),
                **compared("entropy", its_entropies, part["complete"]),
                "entropy_effect": ratio_effect(its_entropies[0], its_entropies[1:]),
            }


def compared(measure, values, complete):
    """The p-values of the first value among the others, without and with ties counted against it."""
    found = compare_with_controls(values[0], values[1:], complete, MEASURES[measure])
    return {f"{measure}_{key}": found[key] for key in ("p", "p_conservative")}


def summary(rows):
    """What the parts of one partitioning of one network say together."""
    statuses = [row["status"] for row in rows]
    line = {key: rows[0][key] for key in ("condition", "partitioning", "kind", "network", "seed")}
    line |= {status.replace(" ", "_"): statuses.count(status) for status in ("tested", "too small", "the whole layer")}
    for measure in MEASURES:
        measured = [row for row in rows if f"{measure}_p" in row]
        draws = [row["random_n"] for row in measured]
        p_values = [row[f"{measure}_p"] for row in measured]
        effects = [row[f"{measure}_effect"] for row in measured]
        line |= {
            f"{measure}_n": len(measured),
            f"{measure}_p": fisher_p_value(p_values, draws),
            f"{measure}_p_conservative": fisher_p_value([row[f"{measure}_p_conservative"] for row in measured], draws),
            f"{measure}_log_p": float(-numpy.log(centred(p_values, draws)).mean()) if measured else numpy.nan,
            f"{measure}_effect": defined_mean(effects),
        }
    return line


def pooled_summary(rows):
    """What all networks of a condition say together: p-values combined over seeds, effects averaged over parts."""
    summaries = [summary(group) for group in grouped(rows, "network")]
    line = {key: rows[0][key] for key in ("condition", "partitioning", "kind")}
    line |= {
        "networks": len(summaries),
        "seeds": len(by_seed(summaries)),
        "tested": sum(row["status"] == "tested" for row in rows),
    }
    for measure in MEASURES:
        measured = [row for row in rows if not numpy.isnan(row.get(f"{measure}_effect", numpy.nan))]
        effects = [row[f"{measure}_effect"] for row in measured]
        of_seeds = seed_means(measured, f"{measure}_effect")
        line |= {
            f"{measure}_n": len(effects),
            **{f"{measure}_{key}": [row[f"{measure}_{key}"] for row in summaries] for key in ("p", "log_p", "effect")},
            **{
                f"{measure}_combined_{p}": combine_networks(seed_means(summaries, f"{measure}_{p}"))
                for p in ("p", "p_conservative")
            },
            f"{measure}_mean_effect": defined_mean(effects),
            f"{measure}_effect_se": float(stats.sem(of_seeds)) if len(of_seeds) > 1 else numpy.nan,
        }
    return line


def adjusted(pooled):
    """The lines with their combined p-values adjusted within each family (Benjamini & Hochberg 1995), kind by kind."""
    for kind in KINDS:
        lines = [line for line in pooled if line["kind"] == kind]
        for family, p in product(FAMILIES, ("p", "p_conservative")):
            keys = [(line, measure) for line in lines for measure in family]
            p_values = stats.false_discovery_control([line[f"{measure}_combined_{p}"] for line, measure in keys])
            for (line, measure), value in zip(keys, p_values.tolist()):
                line[f"{measure}_adjusted_{p}"] = value
    return pooled


def draw(network, parts, figures):
    """The pictures of the first network, its first partitioning; returns the names of the files."""
    wanted = identity(network) | {"partitioning": PARTITIONINGS[0], "kind": KINDS[0]}
    parts = [part for part in parts if wanted.items() <= part["row"].items() and part["row"]["status"] == "tested"]
    title = f"{network_name(network)}, {PARTITIONINGS[0]}"
    rows = [part["row"] for part in parts]
    worse = [row["change"] < 0 and beyond_all(row["accuracy_p_conservative"], row["random_n"]) for row in rows]
    rows = [row | {"category": "worse" if is_worse else "other"} for row, is_worse in zip(rows, worse)]
    drawn = []
    if rows:
        save_figure(plot_lesions(rows, title), figures / "specialization_lesions")
        save_figure(plot_digit_changes(rows, network["digits"], title), figures / "specialization_digits")
        drawn += ["specialization_lesions", "specialization_digits"]
    pictures = [part["row"] | part["picture"] for part in parts if "picture" in part]
    if pictures:
        save_figure(plot_optimal_images(pictures, title), figures / "specialization_images")
        drawn.append("specialization_images")
    return drawn


def printed_networks(line):
    """A line of the first printed table: p-values network by network, mean effects."""

    text = {"condition": line["condition"], "partitioning": line["partitioning"], "kind": line["kind"]}
    text["tested"] = str(line["tested"])
    for measure in MEASURES:
        p_values = [f"{p:.0e}" if p < 0.01 else f"{p:.2f}" for p in line[f"{measure}_p"]]
        text[f"p {measure}"] = " ".join(p_values) if line[f"{measure}_n"] else "-"
        if measure == "accuracy":
            text["-ln p"] = number(defined_mean(line["accuracy_log_p"]))
        text[f"e {measure}"] = number(line[f"{measure}_mean_effect"])
    return text


def printed_pooled(line):
    text = {"condition": line["condition"], "partitioning": line["partitioning"], "kind": line["kind"]}
    text["networks"] = str(line["networks"])
    for measure in MEASURES:
        p_values = [f"{line[f'{measure}_{key}_p']:.1g}" for key in ("combined", "adjusted")]
        text[f"p {measure}"] = " -> ".join(p_values) if line[f"{measure}_n"] else "-"
        effect = [number(line[f"{measure}_{key}"]) for key in ("mean_effect", "effect_se")]
        text[f"e {measure}"] = " ± ".join(effect)
    return text


def notes(rows):
    """What the reader should know before believing the tables."""
    for status in ("too small", "the whole layer"):
        count = sum(row["status"] == status for row in rows)
        if count:
            yield f"{count} of {len(rows)} parts of clusters are {status} and not tested; the CSV lists them"
    for measure in MEASURES:
        tested = [row for row in rows if f"{measure}_p" in row]
        ties = sum(row[f"{measure}_p"] != row[f"{measure}_p_conservative"] for row in tested)
        if ties:
            yield (
                f"ties: in {ties} of {len(tested)} parts the p of {measure} is larger if draws that are equal count "
                "against significance"
            )
    imaged = [row for row in rows if "least_gain" in row]
    stuck = sum(row["least_gain"] <= 1 for row in imaged)
    if stuck:
        yield (
            f"in {stuck} of {len(imaged)} parts an image could not be improved, its own or that of random neurons: all "
            "neurons that feed them are silent at the first, grey one"
        )
    endless = sum(row.get("not_finite", 0) for row in rows)
    if endless:
        yield f"the range of {endless} lesions is not finite, since they leave the mean accuracy as it was"


def verdict(pooled):
    sentences = []
    for measure in MEASURES:
        counts = []
        for kind in KINDS:
            lines = [line for line in pooled if line["kind"] == kind]
            # the larger of the two, lest ties alone make a finding
            count = sum(line[f"{measure}_adjusted_p_conservative"] <= 0.05 for line in lines)
            counts.append(f"{count} of {len(lines)} {kind}")
        sentences.append(f"{measure}: {', '.join(counts)}")
    return (
        "Verdict: partitionings unlike random neurons (corrected p <= 0.05, ties counted against) in "
        f"{'; '.join(sentences)}."
    )


if __name__ == "__main__":
    run(main)
