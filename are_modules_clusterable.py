"""Are the weights of a network made of clusters?  Its n-cut against shuffled weights; lesions (Filan et al. 2020).

    python are_modules_clusterable.py [CHECKPOINT ...]

Writes clusterability.* and clusters.* (.csv, .json, .png and .pdf) and shuffled_n_cuts.csv and .json to --figures-dir;
with --lesions also lesions.*, and dependencies.* if two important parts of a network lie in different layers.
"""

import mlp.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

import warnings
from functools import partial
from itertools import combinations

import numpy
import torch
from joblib import Parallel, cpu_count, delayed
from tqdm import tqdm

from mlp import InputError
from mlp.ablation import ablated_hits
from mlp.cluster_plots import plot_clusters, plot_dependencies, plot_lesions, plot_n_cuts
from mlp.commandline import (
    BASELINE,
    MOST_DRAWS,
    MOST_JOBS,
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
from mlp.graph import connected_neurons, inputs_reach_outputs, weight_adjacency, without_isolated
from mlp.model import initial_model
from mlp.modules import control_modules, cuts_and_volumes, layer_counts, n_cut, spectral_clusters, sub_modules
from mlp.results import (
    grouped,
    identity,
    network_name,
    number,
    percent,
    points,
    print_table,
    run_record,
    save_results,
    writable_folder,
)
from mlp.statistics import (
    beyond_all,
    compare_with_controls,
    compare_with_shuffles,
    defined_mean,
    fisher_p_value,
    shuffle_weights,
)
from mlp.style import save_figure

NULLS = {"layer": "all weights of a layer shuffled", "layer_nonzero": "nonzero weights shuffled in their places"}
SMALL = 0.05
"""Sub-modules of at most this share of their layer are not judged: 12 of 256 neurons (Filan et al. 2020)."""
LEAST_LOSS = 0.01
"""Accuracy that an important sub-module is worth, at least."""
READINGS = {
    (False, False): "X and Y only serve each other",
    (False, True): "X acts only through Y, which has other sources",
    (True, False): "Y has all it needs from X, which also serves others",
    (True, True): "",
}
"""What it says whether X, in the earlier layer, still matters without Y, and Y without X."""


def parse_args(argv):
    parser = Parser(
        description="Compare the n-cut of networks with that of their shuffled weights; lesion their clusters."
    )
    add_network_options(parser, many=True)
    parser.add_argument("--clusters", type=integer(2), default=12, help="clusters of neurons (default: %(default)s)")
    parser.add_argument(
        "--shuffles",
        type=integer(2, MOST_DRAWS),
        default=50,
        help="shuffled copies of each network, of each kind (default: %(default)s)",
    )
    parser.add_argument(
        "--lesions",
        action="store_true",
        help="also silence each cluster's part of each hidden layer, and pairs of important parts; compare with random "
        "neurons of the same layers",
    )
    parser.add_argument(
        "--draws",
        type=integer(2, MOST_DRAWS),
        default=100,
        help="random lesions that each part is compared with (default: %(default)s)",
    )
    parser.add_argument(
        "--pair-draws",
        type=integer(2, MOST_DRAWS),
        default=50,
        help="random lesions that each part of a pair is compared with (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=integer(1, MOST_JOBS),
        default=cpu_count(),
        help="processes that cluster at the same time, at most one per core; changes no result (default: %(default)s)",
    )
    add_seed_option(parser, "shuffles, random lesions, and starts of k-means")
    add_figures_option(parser)
    add_image_options(parser)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    networks, abouts = selected_conditions(args)
    networks += untrained(networks, args.seed)
    refuse_unclusterable(networks, args.clusters)
    figures = writable_folder(args.figures_dir)
    record = run_record(args, device=args.device, seed=args.seed, checkpoints=abouts)

    results = clustered(networks, args.clusters, args.shuffles, args.seed, args.jobs)
    rows = [network_row(network, result) for network, result in zip(networks, results)]
    shuffles = [
        {**identity(network), "null": null, "shuffle": place, "n_cut": value}
        for network, result in zip(networks, results)
        for null in NULLS
        for place, value in enumerate(result[null])
    ]
    clusters = [row for network, result in zip(networks, results) for row in cluster_rows(network, result["labels"])]
    save_results(figures / "clusterability", rows, record)
    save_results(figures / "shuffled_n_cuts", shuffles, record)
    save_results(figures / "clusters", clusters, record)
    save_figure(plot_n_cuts(rows, shuffles, NULLS, args.clusters), figures / "clusterability")
    weights = weights_of(networks[0]["model"])
    save_figure(plot_clusters(weights, results[0]["labels"], full_name(networks[0])), figures / "clusters")

    if args.lesions:
        trained = [pair for pair in zip(networks, results) if pair[0]["condition"] != BASELINE]
        lesions, pairs = lesioned(trained, args)
        lesions_of = grouped(lesions, "condition", "network")
        summaries = [lesion_summary(group, pairs) for group in lesions_of]
        save_lesions(lesions, pairs, figures, record | {"networks": summaries})

    print(f"clusters of {full_name(networks[0])}:")
    print_table([printed_cluster(row) for row in clusters if identity(row) == identity(networks[0])])
    print()
    print_table(printed_conditions(rows))
    print(
        f"saved {figures}/{{clusterability,clusters}}.{{csv,json,png,pdf}} and {figures}/shuffled_n_cuts.{{csv,json}}"
    )
    if args.lesions:
        print(f"\nlesions of {network_name(lesions[0])}, changes of test accuracy in percentage points:")
        print_table([printed_lesion(row) for row in lesions_of[0]])
        print()
        print_table([printed_summary(summary) for summary in summaries])
        print(f"saved {figures}/{'{lesions,dependencies}' if pairs else 'lesions'}.{{csv,json,png,pdf}}")
    for note in sorted({note for network, result in zip(networks, results) for note in notes(network, result)}):
        print(f"note: {note}")
    print(verdict(rows))


def untrained(networks, seed):
    """Networks like those of the first condition as they were before any training; of unknown seed, any such."""
    group = [network for network in networks if network["condition"] == networks[0]["condition"]]

    def before(network):
        its_seed = network["known"].get("seed", seed + network["network"])
        return initial_model(network["model"].sizes, its_seed, network["init"])

    return [network | {"condition": BASELINE, "model": before(network)} for network in group]


def refuse_unclusterable(networks, clusters):
    """Raise InputError if a network has fewer neurons with edges than clusters are asked for."""
    for network in networks:
        connected = sum(int(layer.sum()) for layer in connected_neurons(weights_of(network["model"])))
        if connected == 0:
            raise InputError(f"{full_name(network)}: has no edges left, so there is nothing to cluster; prune less")
        if clusters > connected:
            raise InputError(
                f"--clusters {clusters}: only {connected} neurons of the {full_name(network)} have edges; "
                f"choose from 2 to {connected}"
            )


def weights_of(model):
    return [weight.detach().cpu() for weight in model.weights]


def full_name(network):
    sizes = "-".join(map(str, network["model"].sizes))
    return f"{sizes} network {network['network']}, {network['condition']}"


def clustered(networks, clusters, shuffles, seed, jobs):
    """Cluster each network and its shuffled copies.

    Returns per network {"n_cut", "labels", "warnings", and per null the n-cuts of the copies}.  Without zeros the two
    nulls are the same, and so are their n-cuts.
    """
    tasks = []
    for place, network in enumerate(networks):
        weights = weights_of(network["model"])
        tasks.append((place, "observed", delayed(partitioned)(weights, clusters, seed)))
        reduced = without_isolated(weights)
        dense = all((weight != 0).all() for weight in reduced)
        for kind, null in enumerate(NULLS):
            for shuffle in range(shuffles if kind == 0 or not dense else 0):
                key = (network["network"], kind, shuffle)
                tasks.append((place, null, delayed(shuffled)(reduced, null, clusters, seed, key)))
    done = Parallel(n_jobs=min(jobs, cpu_count()), return_as="generator")(task for _, _, task in tasks)
    results = [{"warnings": [], **{null: [] for null in NULLS}} for _ in networks]
    for (place, null, _), (value, labels, caught) in zip(tasks, tqdm(done, total=len(tasks), desc="clusterings")):
        results[place]["warnings"] += caught
        if null == "observed":
            results[place] |= {"n_cut": value, "labels": labels}
        else:
            results[place][null].append(value)
    for result in results:
        result["layer_nonzero"] = result["layer_nonzero"] or result["layer"]
    return results


def partitioned(weights, clusters, seed):
    """The n-cut of weights, the cluster of each neuron, and what the eigen solver had to say."""
    adjacency = weight_adjacency(weights)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        labels = spectral_clusters(adjacency, clusters, seed)
    return n_cut(adjacency, labels), labels, [str(warning.message) for warning in caught]


def shuffled(weights, null, clusters, seed, key):
    """As `partitioned`, of a shuffled copy that `seed` and `key` decide."""
    state = numpy.random.SeedSequence(seed, spawn_key=key).generate_state(1, numpy.uint64)
    generator = torch.Generator().manual_seed(int(state[0]))
    value, _, caught = partitioned(shuffle_weights(weights, null, generator), clusters, seed)
    return value, None, caught


def network_row(network, result):
    """How clusterable a network is."""
    weights = weights_of(network["model"])
    row = {
        **identity(network),
        "neurons": int((result["labels"] >= 0).sum()),
        "isolated": int((result["labels"] < 0).sum()),
        "edges": sum(int(weight.count_nonzero()) for weight in weights),
        "clusters": len(set(result["labels"]) - {-1}),
        "n_cut": result["n_cut"],
    }
    for null in NULLS:
        compared = compare_with_shuffles(result["n_cut"], result[null])
        row |= {f"{null}_{key}": value for key, value in compared.items()}
    return row


def cluster_rows(network, labels):
    """Of each cluster its size, share of all volume, share of its own volume that leaves it, and neurons per layer."""
    sizes = network["model"].sizes
    layers = numpy.repeat(numpy.arange(len(sizes)), sizes)
    cuts, volumes = cuts_and_volumes(weight_adjacency(weights_of(network["model"])), labels)
    rows = []
    for cluster, cut, volume in zip(numpy.unique(labels).tolist(), cuts.tolist(), volumes.tolist()):
        if cluster >= 0:
            members = layers[labels == cluster]
            rows.append(
                {
                    **identity(network),
                    "cluster": cluster,
                    "neurons": len(members),
                    "volume_share": volume / float(volumes.sum()),
                    "leaving_share": cut / volume,
                    **{f"layer_{layer}": int((members == layer).sum()) for layer in range(len(sizes))},
                }
            )
    return rows


def printed_cluster(row):
    layers = {key.replace("_", " "): str(value) for key, value in row.items() if key.startswith("layer_")}
    return {
        "cluster": str(row["cluster"]),
        "neurons": str(row["neurons"]),
        "volume": percent(row["volume_share"]),
        "leaving": percent(row["leaving_share"]),
        **layers,
    }


def printed_conditions(rows):
    """The printed table: of one network the numbers, of several mean ± sd, and how many have p <= 0.05."""
    lines = []
    for group in grouped(rows, "condition"):

        def summary(key, form):
            values = [row[key] for row in group if not numpy.isnan(row[key])]
            few = f" ({len(values)} of {len(group)})" if 0 < len(values) < len(group) else ""
            sd = f" ± {form.format(numpy.std(values, ddof=1))}" if len(values) > 1 else ""
            return number(defined_mean(values), form) + sd + few

        for null in NULLS:
            few = sum(row[f"{null}_p"] <= 0.05 for row in group)
            lines.append(
                {
                    "condition": group[0]["condition"],
                    "networks": str(len(group)),
                    "n-cut": summary("n_cut", "{:.3f}"),
                    "shuffled": null,
                    "their n-cut": summary(f"{null}_mean", "{:.3f}"),
                    "sd": f"{numpy.mean([row[f'{null}_sd'] for row in group]):.3f}",
                    "z": summary(f"{null}_z", "{:.1f}"),
                    "p": f"{group[0][f'{null}_p']:.2g}" if len(group) == 1 else f"<= 0.05 in {few}",
                }
            )
    return lines


def notes(network, result):
    """What the reader should know about how a network was clustered."""
    which = network_name(network)
    if not inputs_reach_outputs(weights_of(network["model"])):
        yield f"{which}: no path of weights leads from an input to an output; the n-cut is that of what is left"
    for warning in sorted(set(result["warnings"])):
        yield f"{which}: {warning} ({result['warnings'].count(warning)} clusterings)"


def verdict(rows):
    found = []
    for group in grouped(rows, "condition"):
        counts = [f"{sum(row[f'{null}_p'] <= 0.05 for row in group)} ({null})" for null in NULLS]
        found.append(f"{group[0]['condition']}, of {len(group)}: {' and '.join(counts)}")
    return (
        "Verdict: networks more clusterable than their shuffled copies at p <= 0.05, ties counted against "
        f"(chance: 1 in 20; smallest p here: {1 / (1 + rows[0]['layer_n']):.2g}): {'; '.join(found)}. "
        "That weights are clustered does not say that clusters have a function."
    )


# Lesions


def lesioned(trained, args):
    """Silence the sub-modules of each network, and pairs of them: rows of both kinds."""
    images = {}
    single, pairs = [], []
    for network, result in tqdm(trained, desc="lesions", unit="network"):
        digits = network["digits"]
        if digits not in images:
            images[digits] = [tensor.to(args.device) for tensor in load_digits(digits, False, args.data_dir)]
        generator = torch.Generator().manual_seed(args.seed + network["network"])
        right = partial(images_right, network["model"].to(args.device), *images[digits])
        count = len(images[digits][1])
        labels = hidden_labels(network, result)
        rows, modules, hits = lesion_rows(network, labels, right, count, args.draws, generator)
        single += rows
        pairs += pair_rows(network, labels >= 0, rows, modules, hits, right, count, args.pair_draws, generator)
    return single, pairs


def images_right(model, images, labels, modules):
    """How many of the test images are right while each module is silent: whole numbers [modules]."""
    progress = partial(tqdm, desc="modules", unit="batch", delay=2, leave=False)
    return ablated_hits(model, modules, images, labels, progress).sum(1)


def hidden_labels(network, result):
    """The clusters of the hidden neurons."""
    sizes = network["model"].sizes
    return torch.as_tensor(result["labels"])[sizes[0] : sum(sizes[:-1])]


def lesion_rows(network, labels, right, images, draws, generator):
    """A row per sub-module, against other living neurons of its layer; the sub-modules; and what is right without each.

    right: how many of so many images are right while modules are silent.
    """
    widths = network["model"].hidden_sizes
    names, modules = sub_modules(labels, widths)
    alive = labels >= 0
    controls = [control_modules(module, widths, draws, generator, alive) for module in modules]
    parts = [torch.zeros(1, len(alive), dtype=torch.bool), modules, *(others for others, _ in controls)]
    intact, own, *others = right(torch.cat(parts)).split([len(part) for part in parts])
    rows = []
    for (layer, cluster), module, hits, its_others, (_, complete) in zip(names, modules, own, others, controls):
        row = {
            **identity(network),
            "layer": layer,
            "cluster": cluster,
            "neurons": int(module.sum()),
            "living_in_layer": layer_counts(alive, widths)[layer - 1],
            "accuracy": hits.item() / images,
            "change": (hits - intact).item() / images,
            **random_changes((its_others - intact).double() / images),
            **compare_with_controls(hits, its_others, complete, "left"),
            "accuracy_ratio": its_others.double().mean().item() / hits.item() if hits else numpy.nan,
        }
        rows.append(row | {"category": category(row, widths[layer - 1])})
    return rows, modules, own


def random_changes(changes):
    """How many control modules there are, the mean change of accuracy by them, and what 90 % of them lie between."""
    low, high = numpy.quantile(changes, [0.05, 0.95]).tolist() if len(changes) else [numpy.nan] * 2
    mean = changes.mean().item() if len(changes) else numpy.nan
    return {"random_n": len(changes), "random_change": mean, "random_low": low, "random_high": high}


def category(row, width):
    """What Filan et al. (2020) call a sub-module, by their rules in their order; but ties count against a finding."""
    significant = beyond_all(row["p_conservative"], row["random_n"])
    large = row["change"] <= -LEAST_LOSS
    if row["neurons"] == row["living_in_layer"]:
        return "complete"
    if row["neurons"] <= int(SMALL * width):
        return "small"
    if significant:
        return "important" if large else "significant, small effect"
    if row["p"] == 1:  # all others were worse
        return "least important" if large else "prunable"
    return "large effect, not significant" if large else "other"


def pair_rows(network, alive, rows, modules, hits, right, images, draws, generator):
    """A row per pair of important sub-modules X, Y of different layers, X in the earlier one: does either matter alone?

    X given Y is what is lost when X is silenced and Y is already: compared with other neurons in the place of X.
    rows, modules, hits: what `lesion_rows` returns.
    """
    widths = network["model"].hidden_sizes
    important = [place for place, row in enumerate(rows) if row["category"] == "important"]
    pairs = [pair for pair in combinations(important, 2) if rows[pair[0]]["layer"] < rows[pair[1]]["layer"]]
    if not pairs:
        return []
    parts, completes = [], []
    for x, y in pairs:
        (for_x, x_complete), (for_y, y_complete) = (
            control_modules(modules[own], widths, draws, generator, alive) for own in (x, y)
        )
        parts += [(modules[x] | modules[y]).unsqueeze(0), for_x | modules[y], for_y | modules[x]]
        completes.append((x_complete, y_complete))
    measured = right(torch.cat(parts)).split([len(part) for part in parts])
    table = []
    for order, (pair, complete) in enumerate(zip(pairs, completes)):
        both, *nulls = measured[3 * order : 3 * order + 3]
        row = identity(network)
        for letter, place in zip("xy", pair):
            row |= {f"{letter}_{key}": rows[place][key] for key in ("layer", "cluster", "neurons", "change")}
        for direction, alone, null, is_all in zip(("x_given_y", "y_given_x"), hits[[*pair[::-1]]], nulls, complete):
            change = (both - alone).item() / images
            compared = compare_with_controls(both[0], null, is_all, "left")
            row |= {
                f"{direction}_change": change,
                f"{direction}_random_change": ((null - alone).double() / images).mean().item(),
                f"{direction}_n": len(null),
                **{f"{direction}_{key}": value for key, value in compared.items()},
                f"{direction}_important": beyond_all(compared["p_conservative"], len(null)) and change <= -LEAST_LOSS,
            }
        row["reading"] = READINGS[row["x_given_y_important"], row["y_given_x_important"]]
        table.append(row)
    return table


def save_lesions(rows, pairs, figures, record):
    """Save what the lesions say, and draw those of the first network."""
    its_rows, its_pairs = ([row for row in table if identity(row) == identity(rows[0])] for table in (rows, pairs))
    which = network_name(rows[0])
    save_results(figures / "lesions", rows, record)
    save_figure(plot_lesions(its_rows, which), figures / "lesions")
    if pairs:
        save_results(figures / "dependencies", pairs, record)
        save_figure(plot_dependencies(its_rows, its_pairs, which), figures / "dependencies")


def lesion_summary(rows, pairs):
    """What the lesions of one network say together."""
    judged = [row for row in rows if row["category"] != "complete"]  # nothing to compare a whole layer with
    draws = [row["random_n"] for row in judged]
    important = [row for row in rows if row["category"] == "important"]
    worst = min(important, key=lambda row: row["change"], default={})
    layers = sorted({row["layer"] for row in rows})
    its_pairs = [pair for pair in pairs if identity(pair) == identity(rows[0])]
    answers = [(pair["x_given_y_important"], pair["y_given_x_important"]) for pair in its_pairs]
    return {
        **identity(rows[0]),
        "sub_modules": len(rows),
        "important": len(important),
        "important_per_layer": [sum(row["layer"] == layer for row in important) for layer in layers],
        **{f"worst_{key}": worst.get(key) for key in ("layer", "change", "random_change")},
        "fisher_p": fisher_p_value([row["p"] for row in judged], draws),
        "fisher_p_conservative": fisher_p_value([row["p_conservative"] for row in judged], draws),
        "accuracy_ratio": defined_mean(row["accuracy_ratio"] for row in judged),
        "pairs": [answers.count(answer) for answer in READINGS],
    }


def printed_summary(summary):
    worst = "none"
    if summary["worst_layer"]:
        change, random = (points(summary[f"worst_{key}"]) for key in ("change", "random_change"))
        worst = f"{change} in layer {summary['worst_layer']} (random {random})"
    return {
        "condition": summary["condition"],
        "network": str(summary["network"]),
        "sub-modules": str(summary["sub_modules"]),
        "important": f"{summary['important']} ({'/'.join(map(str, summary['important_per_layer']))})",
        "worst of them": worst,
        "Fisher p": f"{summary['fisher_p']:.2g}",
        "with ties": f"{summary['fisher_p_conservative']:.2g}",
        "random/lesioned": number(summary["accuracy_ratio"], "{:.3f}"),
        "pairs nn/ny/yn/yy": "/".join(map(str, summary["pairs"])),
    }


def printed_lesion(row):
    low, change, high, random = (
        number(100 * row[key] + 0) for key in ("random_low", "change", "random_high", "random_change")
    )
    return {
        "layer": str(row["layer"]),
        "cluster": str(row["cluster"]),
        "neurons": f"{row['neurons']} of {row['living_in_layer']}",
        "change": change,
        "random": random,
        "5-95 %": f"{low} to {high}" if row["random_n"] else "-",
        "p": f"{row['p']:.2g}",
        "category": row["category"],
    }


if __name__ == "__main__":
    run(main)
