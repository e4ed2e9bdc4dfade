"""Do neurons see alike, or act alike?  Clusters by upstream and by downstream similarity (Lange et al. 2022).

    python are_modules_upstream_downstream.py [CHECKPOINT ...]

Writes to --figures-dir upstream_downstream.csv and .json (modularity of each network, layer and measure of similarity),
upstream_downstream_agreement.csv and .json (of each two measures), upstream_downstream_clusters.csv and .json (the
cluster of each neuron), and upstream_downstream_modularity, _matrices and _agreement (.png, .pdf).
"""

import mlp.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

from itertools import combinations, product
from operator import itemgetter

import numpy
from scipy import stats
from tqdm import tqdm

from mlp import InputError
from mlp.commandline import (
    ALL,
    BASELINE,
    MOST_DRAWS,
    Parser,
    add_figures_option,
    add_image_options,
    add_network_options,
    add_seed_option,
    integer,
    real,
    run,
    selected_conditions,
)
from mlp.data import load_digits
from mlp.model import initial_model, stacked
from mlp.modules import maximise_modularity
from mlp.results import (
    grouped,
    identity,
    network_name,
    number,
    percent,
    print_table,
    run_record,
    save_results,
    writable_folder,
)
from mlp.similarity import FAMILIES, MEASURES, pair_group, similarities
from mlp.similarity_plots import plot_agreement, plot_modularity, plot_similarities
from mlp.statistics import (
    by_seed,
    compare_partitions,
    compare_with_untrained,
    defined_mean,
    effective_clusters,
    seed_means,
    signed_rank_test,
    trend,
)
from mlp.style import save_figure
from mlp.training import evaluate

PAIRS = tuple(combinations(MEASURES, 2))
GROUPS = "UP", "DOWN", "CROSS", "NORM"
AGREEMENTS = "similarity", "shuffled", "adjusted_rand"
REGULARIZATION = "dropout", "l1", "l2"
HYPERPARAMETERS = "lr", *REGULARIZATION, "zeros"
DRAWN = "forward_cov_norm", "backward_hess_norm"


def parse_args(argv):
    parser = Parser(description="Compare clusters of neurons that see alike with clusters of neurons that act alike.")
    add_network_options(parser, many=True)
    parser.add_argument(
        "--untrained",
        type=integer(2, MOST_DRAWS),
        default=100,
        metavar="N",
        help="compare with so many untrained networks (default: %(default)s)",
    )
    parser.add_argument(
        "--restarts",
        type=integer(1, MOST_DRAWS),
        default=100,
        help="of the search for the best partition of each layer (default: %(default)s)",
    )
    parser.add_argument(
        "--least-accuracy",
        type=real(lambda share: 0 <= share <= 1, "from 0 to 1"),
        default=0.8,
        metavar="SHARE",
        help="leave out networks that read a smaller share of the test images right (default: %(default)s)",
    )
    add_seed_option(parser, "the untrained networks and the search for partitions")
    add_figures_option(parser)
    add_image_options(parser)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    networks, abouts = selected_conditions(args)
    refuse_different(networks)
    figures = writable_folder(args.figures_dir)
    images, labels = (tensor.to(args.device) for tensor in load_digits(networks[0]["digits"], False, args.data_dir))
    _, hits = evaluate(*stacked([network["model"].to(args.device) for network in networks]), images, labels)
    for network, hit in zip(networks, hits):
        network["accuracy"] = hit.double().mean().item()
        network["known"] |= {"zeros": share_of_zeros(network["model"])}
    trained = accurate(networks, args.least_accuracy)
    drawn = extremes(trained)

    rows, agreements, clusters, pictures = [], [], [], []
    untrained = untrained_networks(networks[0], args.untrained, args.seed)
    for network in tqdm([*trained, *untrained], desc="networks", unit="network"):
        similarity = similarities(network["model"].to(args.device), images)
        partitions = partitioned(similarity, args.restarts, args.seed)
        rows += [modularity_row(network, *key, *found) for key, found in partitions.items()]
        agreements += agreement_rows(network, partitions)
        if network["condition"] != BASELINE:
            clusters += cluster_rows(network, partitions)
        if identity(network) in drawn:
            pictures.append({"title": network_name(network), "similarity": similarity, "partitions": partitions})
    record = run_record(args, device=args.device, seed=args.seed, images=len(images), checkpoints=abouts)
    save_results(figures / "upstream_downstream", rows, record)
    save_results(figures / "upstream_downstream_agreement", agreements, record)
    save_results(figures / "upstream_downstream_clusters", clusters, record)

    conditions = adjusted(pooled_modularity(rows))
    trends = adjusted(regularization_trends(rows, args.seed))
    agreement, contrasts = pooled_agreement(agreements), agreement_contrasts(agreements)

    pooled = {"conditions": conditions, "trends": trends, "agreement": agreement, "contrasts": contrasts}
    save_results(figures / "upstream_downstream", rows, record | pooled)
    save_figure(plot_modularity(rows, conditions, dropouts(rows)), figures / "upstream_downstream_modularity")
    save_figure(plot_similarities(pictures, DRAWN), figures / "upstream_downstream_matrices")
    save_figure(plot_agreement(agreements, BASELINE), figures / "upstream_downstream_agreement")

    for family, measures in FAMILIES.items():
        print(f"modularity Q, {family}: mean ± sd over seeds (z: in sds of untrained networks, from their mean)")
        print_table(printed_modularity(conditions, measures))
        print()
    if trends:
        print(
            "measures whose Q rises or falls with regularisation (Kendall's tau, corrected p <= 0.05), largest change:"
        )
        print_table(printed_trends(trends))
        print()
    print("agreement of partitions: element-centric similarity (above that of shuffled labels), adjusted Rand index")
    print_table(printed_agreement(agreement))
    print(f"saved {figures}/upstream_downstream{{,_agreement,_clusters}}.{{csv,json}}")
    print(f"saved {figures}/upstream_downstream_{{modularity,matrices,agreement}}.{{png,pdf}}")
    for note in notes(networks, rows, args.least_accuracy):
        print(f"note: {note}")
    print(verdict(conditions, trends, contrasts))


def refuse_different(networks):
    """Raise InputError unless all networks can be compared with the same untrained ones, layer by layer."""
    traits = {
        "layers": lambda network: network["model"].sizes,
        "digits": itemgetter("digits"),
        "initial weights": itemgetter("init"),
    }
    first = networks[0]
    for network, (what, trait) in product(networks, traits.items()):
        if trait(network) != trait(first):
            names = f"{first['condition']} and {network['condition']}"
            values = f"{trait(first)} and {trait(network)}"
            raise InputError(f"{names} differ in their {what}, {values}; compare them in runs of their own")


def accurate(networks, least):
    """The networks that read the digits well enough.  Raises InputError if none does."""
    chosen = [network for network in networks if network["accuracy"] >= least]
    if not chosen:
        best = percent(max(network["accuracy"] for network in networks))
        raise InputError(f"--least-accuracy {least:g}: no network reads more than {best} right; name a smaller share")
    return chosen


def share_of_zeros(model):
    """The share of a network's weights that are zero, to two decimals: 0.9 of a pruned one, 0 of others."""
    zeros = sum(int((weight == 0).sum()) for weight in model.weights)
    return round(zeros / sum(weight.numel() for weight in model.weights), 2)


def untrained_networks(like, count, seed):
    """Networks of the same shape before any training."""
    models = [initial_model(like["model"].sizes, seed + k, like["init"]) for k in range(count)]
    return [
        {"condition": BASELINE, "network": k, "model": model, "known": {"seed": seed + k}}
        for k, model in enumerate(models)
    ]


def extremes(networks):
    """The first networks with the least and with the most dropout; one, if that is the same."""
    rates = [network["known"].get("dropout", 0) for network in networks]
    return [identity(networks[rates.index(rate)]) for rate in sorted({min(rates), max(rates)})]


def partitioned(similarity, restarts, seed):
    """The best partition found of each hidden layer by each measure: {(layer, measure): (labels [neurons], Q)}."""
    return {
        (layer, measure): maximise_modularity(matrix, restarts, seed)
        for measure, matrices in similarity.items()
        for layer, matrix in enumerate(matrices, 1)
    }


def modularity_row(network, layer, measure, labels, modularity):
    return {
        **identity(network),
        **{name: network["known"].get(name) for name in ("seed", *HYPERPARAMETERS)},
        "accuracy": network.get("accuracy"),
        "layer": layer,
        "measure": measure,
        "q": modularity,
        "clusters": numpy.nan if numpy.isnan(modularity) else effective_clusters(labels),
        "neurons": len(labels),
        "dead": int((labels < 0).sum()),
    }


def agreement_rows(network, partitions):
    """How well the partitions of a layer by each two measures agree; NaN where one of them is not defined."""
    rows = []
    for layer, (measure, other) in product(dict.fromkeys(layer for layer, _ in partitions), PAIRS):
        (labels, q), (other_labels, other_q) = partitions[layer, measure], partitions[layer, other]
        defined = not numpy.isnan([q, other_q]).any()
        rows.append(
            {
                **identity(network),
                "seed": network["known"].get("seed"),
                "layer": layer,
                "measure": measure,
                "other": other,
                "group": pair_group(measure, other),
                **(compare_partitions(labels, other_labels) if defined else dict.fromkeys(AGREEMENTS, numpy.nan)),
            }
        )
    return rows


def cluster_rows(network, partitions):
    """The cluster of each neuron by each measure; -1: none, since it is like no other."""
    rows = {}
    for (layer, measure), (labels, _) in partitions.items():
        for neuron, label in enumerate(labels.tolist()):
            about = {**identity(network), "layer": layer, "neuron": neuron}
            rows.setdefault((layer, neuron), about)[measure] = label
    return list(rows.values())


def pooled_modularity(rows):
    """The modularity of each condition, layer and measure against that of the untrained networks."""
    lines = []
    for of_measure in grouped(rows, "layer", "measure"):
        *conditions, untrained = grouped(of_measure, "condition")
        for group in conditions:
            line = {key: group[0][key] for key in ("condition", "layer", "measure")}
            line |= compare_with_untrained(seed_means(group, "q"), seed_means(untrained, "q"))
            lines.append(line | {"clusters": defined_mean(row["clusters"] for row in group)})
    return lines


def series(rows, rate):
    """The rows of networks that differ in one hyper-parameter alone; all others are at the least of all networks.

    Zeros are one: pruned networks and unpruned ones make no series.
    """
    known = [row for row in rows if all(row[other] is not None for other in HYPERPARAMETERS)]
    others = [other for other in HYPERPARAMETERS if other != rate]
    least = {other: min((row[other] for row in known), default=None) for other in others}
    return [row for row in known if all(row[other] == least[other] for other in others)]


def dropouts(rows):
    """{condition: dropout rate} of the networks that differ in nothing else."""
    return {row["condition"]: row["dropout"] for row in series(rows, "dropout")}


def regularization_trends(rows, seed):
    """What each kind of regularisation does to Q within the networks of a seed, and the largest change of the mean."""
    trends = []
    defined = [row for row in rows if not numpy.isnan(row["q"])]
    for rate in REGULARIZATION:
        for of_measure in grouped(series(defined, rate), "layer", "measure"):
            by_value = sorted(grouped(of_measure, rate), key=lambda group: group[0][rate])
            if len(by_value) > 1:
                first, *others = (defined_mean(row["q"] for row in group) for group in by_value)
                seeds = by_seed(of_measure)
                found = [(row["q"], row[rate], unit) for unit, own in enumerate(seeds) for row in own]
                trends.append(
                    {
                        "regularization": rate,
                        "from": by_value[0][0][rate],
                        "to": by_value[-1][0][rate],
                        "layer": of_measure[0]["layer"],
                        "measure": of_measure[0]["measure"],
                        "networks": len(of_measure),
                        "seeds": len(seeds),
                        "q": first,
                        "change": max((q - first for q in others), key=abs),
                        **trend(*zip(*found), seed),
                    }
                )
    return trends


def adjusted(lines):
    """The lines with their p-values adjusted for the number of all (Benjamini & Hochberg 1995)."""
    p_values = stats.false_discovery_control([line["p"] for line in lines]).tolist() if lines else []
    return [line | {"adjusted_p": p} for line, p in zip(lines, p_values)]


def pooled_agreement(agreements):
    """Mean agreement of the pairs of measures of each group, for each condition and layer."""
    trained = [row for row in agreements if row["condition"] != BASELINE]
    conditions = grouped(agreements, "condition")
    if len(conditions) > 2:
        conditions.insert(-1, [row | {"condition": ALL} for row in trained])
    lines = []
    for rows in conditions:
        for group in grouped(rows, "layer", "group"):
            line = {key: group[0][key] for key in ("condition", "layer", "group")}
            lines.append(line | {key: defined_mean(row[key] for row in group) for key in AGREEMENTS})
    return lines


def agreement_contrasts(agreements):
    """Do partitions agree better within a family than across?

    Networks of one seed began with the same weights and count as one, by their mean.  Returns for trained and untrained
    networks the means that are compared, and the p of a two-sided Wilcoxon signed-rank test over seeds.
    """
    lines = []
    for kind in ("trained", BASELINE):
        rows = [row for row in agreements if (row["condition"] == BASELINE) == (kind == BASELINE)]
        units = by_seed(rows)
        means = []
        for own in units:
            groups = {group: [row for row in own if row["group"] == group] for group in GROUPS}
            similarity = {
                group: defined_mean(row["similarity"] for row in its_rows) for group, its_rows in groups.items()
            }
            means.append(similarity | {"shuffled": defined_mean(row["shuffled"] for row in groups["CROSS"])})
        for one, other in (("UP", "CROSS"), ("DOWN", "CROSS"), ("CROSS", "shuffled")):
            lines.append(
                {
                    "networks": kind,
                    "seeds": len(units),
                    "one": one,
                    "other": other,
                    "mean": defined_mean(unit[one] for unit in means),
                    "other_mean": defined_mean(unit[other] for unit in means),
                    **signed_rank_test([unit[one] - unit[other] for unit in means]),
                }
            )
    return lines


def printed_modularity(conditions, measures):
    lines = []
    for group in grouped(conditions, "condition", "layer"):
        line = {"networks": group[0]["condition"], "n": str(group[0]["n"]), "layer": str(group[0]["layer"])}
        found = {row["measure"]: row for row in group}
        lines.append(line | {m: spread(found[m]) + number(found[m]["z"], " ({:+.1f})", "") for m in measures})
    first = conditions[0]["condition"]
    for group in grouped([row for row in conditions if row["condition"] == first], "layer"):
        line = {"networks": BASELINE, "n": str(group[0]["untrained_n"]), "layer": str(group[0]["layer"])}
        found = {row["measure"]: row for row in group}
        lines.append(line | {m: spread(found[m], "untrained_") for m in measures})
    return lines


def spread(row, prefix=""):
    return number(row[f"{prefix}mean"], "{:.3f}") + number(row[f"{prefix}sd"], " ± {:.3f}", "")


def printed_trends(trends):
    lines = []
    for group in grouped(trends, "regularization", "layer"):
        line = {key: f"{group[0][key]}" for key in ("regularization", "from", "to", "networks", "layer")}
        clear = [row for row in group if row["adjusted_p"] <= 0.05]
        line["rises"] = f"{sum(row['tau'] > 0 for row in clear)} of {len(group)}"
        line["falls"] = f"{sum(row['tau'] < 0 for row in clear)} of {len(group)}"
        for family, measures in FAMILIES.items():
            changes = [row["change"] for row in group if row["measure"] in measures]
            line[family] = f"{min(changes):+.3f} to {max(changes):+.3f}"
        lines.append(line)
    return lines


def printed_agreement(agreement):
    lines = []
    for rows in grouped(agreement, "condition", "layer"):
        line = {"networks": rows[0]["condition"], "layer": str(rows[0]["layer"])}
        found = {row["group"]: row for row in rows}
        for group in GROUPS:
            similarity, shuffled = found[group]["similarity"], found[group]["shuffled"]
            line[group] = number(similarity) + number(similarity - shuffled, " ({:+.2f})", "")
        lines.append(line | {f"ARI {group}": number(found[group]["adjusted_rand"]) for group in GROUPS})
    return lines


def notes(networks, rows, least):
    """What the reader should know before believing the tables."""
    poor = [network for network in networks if network["accuracy"] < least]
    if poor:
        yield f"{len(poor)} of {len(networks)} networks read less than {percent(least)} of the digits and are left out"
    dead = [row["dead"] for row in rows if row["condition"] != BASELINE and row["measure"] == MEASURES[0]]
    if any(dead):
        yield f"up to {max(dead)} neurons of a layer are dead and in no cluster; where partitions are compared, in one"
    undefined = sum(numpy.isnan(row["q"]) for row in rows)
    if undefined:
        yield f"{undefined} of {len(rows)} modularities are not defined, since no two neurons are alike at all"


def verdict(conditions, trends, contrasts):
    high = sum(row["adjusted_p"] <= 0.05 for row in conditions)
    sentences = [
        "Verdict: Q is above that of untrained networks (corrected p <= 0.05) in "
        f"{high} of {len(conditions)} conditions, layers and measures"
    ]
    for of_rate in grouped(trends, "regularization"):
        rises = sum(row["adjusted_p"] <= 0.05 and row["tau"] > 0 for row in of_rate)
        typical = numpy.median([row["change"] for row in of_rate])
        rate, to = of_rate[0]["regularization"], of_rate[0]["to"]
        sentences.append(f"{rate} up to {to:g} raises it in {rises} of {len(of_rate)}, by {typical:.3f} in the median")
    up, down, cross = (line for line in contrasts if line["networks"] == "trained")
    sentences.append(
        f"partitions agree {number(up['mean'])} within upstream, {number(down['mean'])} within downstream, "
        f"{number(cross['mean'])} across (p = {up['p']:.2g}, {down['p']:.2g}; {up['seeds']} seeds), "
        f"{number(cross['other_mean'])} if shuffled"
    )
    return "; ".join(sentences) + "."


if __name__ == "__main__":
    run(main)
