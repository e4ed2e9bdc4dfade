"""Do neurons see alike, or act alike?  Clusters by upstream and by downstream similarity (Lange et al. 2022).

    python are_modules_upstream_downstream.py [CHECKPOINT ...]

Writes to --figures-dir upstream_downstream.csv and .json (modularity of each network, layer and measure of similarity),
upstream_downstream_agreement.csv and .json (of each two measures), upstream_downstream_clusters.csv and .json (the
cluster of each neuron), and upstream_downstream_modularity, _matrices and _agreement (.png, .pdf).
"""

import report.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

import numpy

from mlp import InputError
from mlp.files import writable_folder
from mlp.network import BASELINE, refuse_different, refuse_without_images
from modularity.accuracy import readings_of
from modularity.agreement import ALL_MEASURES, DRAWN, GROUPS, agreement_contrasts, agreement_rows, averaged
from modularity.agreement import cluster_rows, dropouts, hyperparameters, measured_partitions, modularity_row
from modularity.agreement import pooled_agreement, pooled_modularity, regularization_trends
from modularity.cluster import refuse_unfit_workers
from modularity.rows import grouped
from modularity.significance import LEVEL, adjusted
from modularity.similarity import FAMILIES, MEASURES, similarity_images
from report.notes import note_poor_readings, print_readings
from report.options import MOST_DRAWS, Parser, integer, run, selected_conditions, share
from report.results import print_table, run_record, save_results, text, told
from report.similarity import plot_agreement, plot_modularity, plot_similarities
from report.style import save_figure


def parse_args(argv):
    parser = Parser("Compare clusters of neurons that see alike with clusters of neurons that act alike.")
    parser.add_networks(many=True, graph=False)
    parser.option("--untrained", "compare with so many untrained networks", integer(2, MOST_DRAWS), 100, metavar="N")
    what = "of the search for the best partition of each layer"
    parser.option("--restarts", what, integer(1, MOST_DRAWS), 100)
    what = "leave out networks that read a smaller share of the test images right"
    parser.option("--least-accuracy", what, share, 0.8, metavar="SHARE")
    parser.add_work("the untrained networks and the search for partitions")
    parser.add_folders()
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    networks, abouts = selected_conditions(args)
    refuse_without_images(networks, args.data_dir)
    refuse_different(networks)
    refuse_unfit_workers(args.jobs, [networks[0].data], args.data_dir, (False,))
    figures = writable_folder(args.figures_dir)
    readings = readings_of(networks, args.data_dir, args.device, args.jobs)
    note_poor_readings(networks, readings)
    accuracies = [reading.accuracy for reading in readings]
    images, _ = networks[0].load(False, args.data_dir)
    compared = len(similarity_images(networks[0].model, images))
    trained, accuracies = accurate(networks, accuracies, args.least_accuracy)
    drawn = extremes(trained)
    untrained = [networks[0].untrained(k, args.seed + k) for k in range(args.untrained)]

    rows, agreements, clusters, pictures = [], [], [], []
    everyone = trained + untrained
    accuracies += [None] * len(untrained)
    where = args.data_dir, args.device, args.jobs
    measured = measured_partitions(everyone, drawn, args.restarts, args.seed, *where)
    for network, accuracy, (partitions, similarity) in zip(everyone, accuracies, measured, strict=True):
        rows += [modularity_row(network, accuracy, *key, *found) for key, found in partitions.items()]
        agreements += agreement_rows(network, partitions)
        if network in trained:
            clusters += cluster_rows(network, partitions)
        if similarity:
            pictures.append({"title": network.name, "similarity": similarity, "partitions": partitions})
    record = run_record(args, device=args.device, seed=args.seed, images=compared, checkpoints=abouts)
    save_results(figures / "upstream_downstream", rows, record)
    save_results(figures / "upstream_downstream_agreement", agreements, record)
    save_results(figures / "upstream_downstream_clusters", clusters, record)

    conditions = adjusted(pooled_modularity(rows))
    trends = regularization_trends(averaged(rows) + rows, args.seed)
    agreement, contrasts = pooled_agreement(agreements), agreement_contrasts(agreements)

    pooled = {"conditions": conditions, "trends": trends, "agreement": agreement, "contrasts": contrasts}
    save_results(figures / "upstream_downstream", rows, record | pooled)
    save_figure(plot_modularity(rows, conditions, dropouts(rows)), figures / "upstream_downstream_modularity")
    save_figure(plot_similarities(pictures, DRAWN), figures / "upstream_downstream_matrices")
    save_figure(plot_agreement(agreements, BASELINE), figures / "upstream_downstream_agreement")

    print_readings(networks, readings)
    for family, measures in FAMILIES.items():
        print(f"modularity Q, {family}: mean ± sd over seeds (z: in sds of untrained networks, from their mean)")
        print_modularity(conditions, measures)
        print()
    if trends:
        print(
            "measures whose Q rises or falls with regularisation (Kendall's tau, corrected p <= 0.05), largest change:"
        )
        print_trends(of_measures(trends))
        print()
    print("agreement of partitions: element-centric similarity (above that of shuffled labels), adjusted Rand index")
    print_agreement(agreement)
    print(f"saved {figures}/upstream_downstream{{,_agreement,_clusters}}.{{csv,json}}")
    print(f"saved {figures}/upstream_downstream_{{modularity,matrices,agreement}}.{{png,pdf}}")
    for note in notes(len(networks) - len(trained), len(networks), rows, args.least_accuracy):
        print(f"note: {note}")
    print(verdict(conditions, trends, contrasts))


def accurate(networks, accuracies, least):
    """The networks that read the images well enough, and their accuracies.  Raises InputError if none does."""
    chosen = [pair for pair in zip(networks, accuracies) if pair[1] >= least]
    if not chosen:
        best = f"{100 * max(accuracies):.1f} %"
        raise InputError(f"--least-accuracy {least:g}: no network reads more than {best} right; name a smaller share")
    return map(list, zip(*chosen))


def extremes(networks):
    """The first networks with the least and with the most dropout; one, if that is the same."""
    rates = [hyperparameters(network)["dropout"] or 0 for network in networks]
    return [networks[rates.index(rate)] for rate in sorted({min(rates), max(rates)})]


def print_modularity(conditions, measures):
    """A line per condition and layer, a column per measure; the untrained networks last."""
    lines = []
    columns = {"networks": "{networks}", "n": "{n}", "layer": "{layer}"}
    for group in grouped(conditions, "condition", "layer"):
        line = {"networks": group[0]["condition"], "n": group[0]["n"], "layer": group[0]["layer"]}
        lines.append(line | {row["measure"]: spread(row) + undefined(" ({:+.1f})", row["z"]) for row in group})
    first = conditions[0]["condition"]
    for group in grouped([row for row in conditions if row["condition"] == first], "layer"):
        line = {"networks": BASELINE, "n": group[0]["untrained_n"], "layer": group[0]["layer"]}
        lines.append(line | {row["measure"]: spread(row, "untrained_") for row in group})
    print_table(lines, columns | {measure: f"{{{measure}}}" for measure in measures})


def spread(row, prefix=""):
    """'0.312 ± 0.010'"""
    return text("{:.3f}", row[f"{prefix}mean"]) + undefined(" ± {:.3f}", row[f"{prefix}sd"])


def undefined(template, value):
    """A template of one value, or nothing where the value is not defined."""
    return "" if numpy.isnan(value) else template.format(value)


def of_measures(trends):
    """The trends of each layer and measure, without those of their mean."""
    return [line for line in trends if line["measure"] != ALL_MEASURES]


def print_trends(trends):
    """A line per kind of regularisation and layer."""
    columns = {key: f"{{{key}}}" for key in ("regularization", "from", "to", "networks", "layer", "rises", "falls")}
    lines = []
    for group in grouped(trends, "regularization", "layer"):
        clear = [row for row in group if row["adjusted_p"] <= 0.05]
        rises, falls = (sum(sign * row["tau"] > 0 for row in clear) for sign in (1, -1))
        line = group[0] | {"rises": f"{rises} of {len(group)}", "falls": f"{falls} of {len(group)}"}
        for family, measures in FAMILIES.items():
            changes = [row["q_change"] for row in group if row["measure"] in measures]
            line[family] = f"{min(changes):+.3f} to {max(changes):+.3f}"
        lines.append(line)
    print_table(lines, columns | {family: f"{{{family}}}" for family in FAMILIES})


def print_agreement(agreement):
    """A line per condition and layer, columns for each group of pairs of measures."""
    lines = []
    for rows in grouped(agreement, "condition", "layer"):
        line = {"networks": rows[0]["condition"], "layer": str(rows[0]["layer"])}
        found = {row["group"]: row for row in rows}
        for group in GROUPS:
            similarity, shuffled = found[group]["similarity"], found[group]["shuffled"]
            line[group] = text("{:.2f}", similarity) + undefined(" ({:+.2f})", similarity - shuffled)
        lines.append(line | {f"ARI {group}": text("{:.2f}", found[group]["adjusted_rand"]) for group in GROUPS})
    print_table(lines)


def notes(poor, networks, rows, least):
    """What the reader should know before believing the tables."""
    if poor:
        yield f"{poor} of {networks} networks read less than {100 * least:.1f} % of the images right and are left out"
    dead = [row["dead"] for row in rows if row["condition"] != BASELINE and row["measure"] == MEASURES[0]]
    if any(dead):
        yield f"up to {max(dead)} neurons of a layer are dead and in no cluster; where partitions are compared, in one"
    undefined = sum(numpy.isnan(row["q"]) for row in rows)
    if undefined:
        yield f"{undefined} of {len(rows)} modularities are not defined, since no two neurons are alike at all"


def verdict(conditions, trends, contrasts):
    sentences = []
    for primary in (line for line in trends if line.get("role") == "primary"):
        signed = primary | {"direction": numpy.sign(primary["tau"])}
        said = told(signed, "falls", "rises", "is not shown to rise or fall")
        change = text(
            "{change_mean:+.3f} (95 % interval {change_low:+.3f} to {change_high:+.3f}) up to {to:g}", **primary
        )
        p = text("tau = {tau:.2f}, p = {p:.2g}, {seeds} seeds", **primary)
        sentences.append(f"mean Q of all layers and measures {said} with dropout, by {change}; {p}; the primary test")
    high = sum(row["adjusted_p"] <= LEVEL for row in conditions)
    sentences.append(
        f"exploratory, corrected p <= {LEVEL}: Q is above that of untrained networks in {high} of {len(conditions)} "
        "conditions, layers and measures"
    )
    for of_rate in grouped(of_measures(trends), "regularization"):
        rises = sum(row["adjusted_p"] <= LEVEL and row["tau"] > 0 for row in of_rate)
        typical = numpy.median([row["q_change"] for row in of_rate])
        rate, to = of_rate[0]["regularization"], of_rate[0]["to"]
        sentences.append(f"{rate} up to {to:g} raises it in {rises} of {len(of_rate)}, by {typical:.3f} in the median")
    up, down, cross = (line for line in contrasts if line["networks"] == "trained")
    means = [line["mean"] for line in (up, down, cross)]
    sentences.append(
        text("partitions agree {:.2f} within upstream, {:.2f} within downstream, {:.2f} across ", *means)
        + text("(p = {:.2g}, {:.2g}; {} seeds), ", up["adjusted_p"], down["adjusted_p"], up["seeds"])
        + text("{:.2f} if shuffled", cross["other_mean"])
    )
    return f"Verdict: {'; '.join(sentences)}."


if __name__ == "__main__":
    run(main)
