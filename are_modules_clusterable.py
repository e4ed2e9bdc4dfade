"""Are the weights of a network made of clusters?  Its n-cut against shuffled weights; lesions (Filan et al. 2020).

    python are_modules_clusterable.py [CHECKPOINT ...]

Writes clusterability.* and clusters.* (.csv, .json, .png and .pdf), clusterability_tests.csv and .json, and
shuffled_n_cuts.csv and .json to --figures-dir; with --lesions also lesions.*, and dependencies.* if two important parts
of a network lie in different layers.
"""

import report.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

import torch

from mlp.files import writable_folder
from mlp.network import refuse_without_images
from modularity.accuracy import readings_of
from modularity.cluster import refuse_unfit_workers
from modularity.clusterability import NULLS, WITH_PIXELS, cluster_rows, clustered, enough_neurons, first_copy
from modularity.clusterability import full_name, gap_tests, graph_weights, graphs_of, hidden_labels, layers_of
from modularity.clusterability import network_row, notes, refuse_unclusterable
from modularity.lesions import EQUIVALENCE, lesion_summary, measure_lesions, measure_pairs, pair_rows, pairs_of
from modularity.lesions import parts_of, sub_module_row
from modularity.rows import defined_mean, grouped
from modularity.significance import LEVEL
from report.clusters import plot_clusters, plot_gaps
from report.lesions import plot_dependencies, plot_lesions
from report.notes import note_dead_units, note_poor_readings, print_readings
from report.options import MOST_DRAWS, Parser, integer, run, selected_conditions
from report.results import print_table, run_record, save_results, text, told
from report.style import save_figure


def parse_args(argv):
    parser = Parser("Compare the n-cut of networks with that of their shuffled weights; lesion their clusters.")
    draws = integer(2, MOST_DRAWS)
    parser.add_networks(many=True)
    parser.add_rescaling()
    parser.option("--clusters", "clusters of neurons", integer(2), 12)
    what = (
        "the graph of hidden neurons and outputs alone, and its clusters (default: that of all neurons, and then this; "
    )
    what += "of convolutions that of channels, and then of all)"
    parser.add_argument("--without-pixels", action="store_true", help=what)
    parser.option("--shuffles", "shuffled copies of each network, of each kind", draws, 50)
    what = "also silence each cluster's part of each hidden layer, and pairs of important parts, beside random neurons"
    parser.add_argument("--lesions", action="store_true", help=what)
    parser.option("--draws", "random lesions that each part is compared with", draws, 100)
    parser.option("--pair-draws", "random lesions that each part of a pair is compared with", draws, 50)
    parser.add_work("shuffles, random lesions, and starts of k-means")
    parser.add_folders()
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    trained, abouts = selected_conditions(args)
    networks = trained + untrained(trained, args.seed)
    if args.rescale:
        networks = [network.rescaled() for network in networks]
        trained = networks[: len(trained)]
    first_graph, *others = graphs_of(networks, args.without_pixels)
    splits = (False,) if args.lesions else ()
    refuse_without_images(trained, args.data_dir, splits)
    refuse_unclusterable(networks, args.clusters, first_graph)
    refuse_unfit_workers(args.jobs, [network.data for network in trained], args.data_dir, splits)
    graphs = [first_graph, *(graph for graph in others if enough_neurons(networks, args.clusters, graph))]
    figures = writable_folder(args.figures_dir)
    record = run_record(args, device=args.device, seed=args.seed, checkpoints=abouts)
    note_dead_units(trained)
    readings = readings_of(trained, args.data_dir, args.device, args.jobs) if args.lesions else []
    note_poor_readings(trained, readings)

    rows, shuffles, clusters, said = [], [], [], set()
    of_graph = {
        graph: clustered(networks, args.clusters, args.shuffles, args.seed, args.jobs, graph) for graph in graphs
    }
    results = of_graph[first_graph]
    for graph, found in of_graph.items():
        for network, result in zip(networks, found):
            rows.append(network_row(network, result, graph))
            clusters += cluster_rows(network, result["labels"], graph)
            said |= set(notes(network, result, graph))
            about = {**network.identity, "graph": graph}
            copies = [(null, *copy) for null in NULLS for copy in enumerate(result[null])]
            shuffles += [{**about, "null": null, "shuffle": place, "n_cut": n_cut} for null, place, n_cut in copies]
    tests = gap_tests(rows)
    save_results(figures / "clusterability", rows, record)
    save_results(figures / "clusterability_tests", tests, record)
    save_results(figures / "shuffled_n_cuts", shuffles, record)
    save_results(figures / "clusters", clusters, record)
    save_figure(plot_gaps(rows, NULLS, args.clusters), figures / "clusterability")
    first = networks[0]
    shown = {"the network": (graph_weights(first, first_graph), results[0]["n_cut"], results[0]["labels"])}
    shown["its weights shuffled"] = first_copy(first, args.clusters, args.seed, first_graph)
    layers = layer_names(first, layers_of(first, first_graph))
    save_figure(plot_clusters(shown, full_name(first), layers), figures / "clusters")

    if args.lesions:
        lesions, pairs = lesioned(trained, first_graph, results, args)
        summaries = [lesion_summary(*found) for found in zip(lesions, pairs)]
        save_lesions(first.name, lesions, pairs, figures, record | {"networks": summaries})

    print(f"clusters of {full_name(first)}:")
    columns = {"cluster": "{cluster}", "neurons": "{neurons}", "volume": "{volume_share:.1 %}"}
    columns |= {"leaving": "{leaving_share:.1 %}"}
    own = grouped(clusters, "graph", "condition", "network")[0]
    columns |= {key.replace("_", " "): f"{{{key}}}" for key in own[0] if key.startswith("layer_")}
    print_table(own, columns)
    print()
    print_tests(rows, tests)
    print(
        f"saved {figures}/{{clusterability,clusters}}.{{csv,json,png,pdf}} and "
        f"{figures}/{{clusterability_tests,shuffled_n_cuts}}.{{csv,json}}"
    )
    if args.lesions:
        print_readings(trained, readings)
        print(f"\nlesions of {first.name}, changes of balanced accuracy:")
        print_lesions(lesions[0], summaries)
        print(f"saved {figures}/{'{lesions,dependencies}' if any(pairs) else 'lesions'}.{{csv,json,png,pdf}}")
    for note in sorted(said):
        print(f"note: {note}")
    if graphs == [WITH_PIXELS]:
        print(f"note: without pixels there are too few neurons for {args.clusters} clusters")
    print(verdict(rows, tests))


def untrained(networks, seed):
    """Networks like those of the first condition as they were before any training; of unknown seed, any such."""
    group = [network for network in networks if network.condition == networks[0].condition]
    seeds = [seed + network.number if network.seed is None else network.seed for network in group]
    return [network.untrained(network.number, its_seed) for network, its_seed in zip(group, seeds)]


def layer_names(network, layers):
    """What some layers of units are called in a figure."""
    ends = {0: "input", len(network.model.sizes) - 1: "output"}
    return [ends.get(layer, f"layer {layer}") for layer in layers]


def lesioned(networks, graph, results, args):
    """Silence the sub-modules of each network, and pairs of them: for each network the rows of both kinds."""
    where = args.data_dir, args.device, args.jobs
    images = {network.data: network.data.test_images_per_class(args.data_dir) for network in networks}
    found = ((network, graph, result["labels"]) for network, result in zip(networks, results))
    labels = [torch.as_tensor(hidden_labels(*own)) for own in found]
    generators = [torch.Generator().manual_seed(args.seed + network.number) for network in networks]
    parts = [
        parts_of(its_labels, network.model.hidden_sizes, args.draws, generator)
        for network, its_labels, generator in zip(networks, labels, generators)
    ]
    measure_lesions(networks, parts, *where)
    lesions, pairs = [], []
    for network, its_parts, its_labels, generator in zip(networks, parts, labels, generators):
        widths = network.model.hidden_sizes
        rows = [sub_module_row(part, images[network.data], widths[part["row"]["layer"] - 1]) for part in its_parts]
        lesions.append([network.identity | row for row in rows])
        pairs.append(pairs_of(its_parts, rows, its_labels >= 0, widths, args.pair_draws, generator))
    paired = [(network, its_pairs) for network, its_pairs in zip(networks, pairs) if its_pairs]
    if paired:
        measure_pairs(*map(list, zip(*paired)), *where)
    found = [
        [network.identity | row for row in pair_rows(its_pairs, rows, images[network.data])]
        for network, its_pairs, rows in zip(networks, pairs, lesions)
    ]
    return lesions, found


def save_lesions(which, lesions, pairs, figures, record):
    """Save what the lesions say, and draw those of the first condition, its first network above all."""
    every = [row for rows in lesions for row in rows]
    save_results(figures / "lesions", every, record)
    save_figure(plot_lesions(every, which), figures / "lesions")
    if any(pairs):
        pairs = [row for rows in pairs for row in rows]
        save_results(figures / "dependencies", pairs, record)
        save_figure(plot_dependencies(pairs), figures / "dependencies")


def print_tests(rows, tests):
    """A line per graph, condition and null; of one network its own p, of several that of the test over seeds."""
    columns = {"graph": "{graph}", "condition": "{condition}", "n": "{networks}", "n-cut": "{n_cut:.3f}"}
    columns |= {"shuffled": "{shuffle}", "their n-cut": "{shuffled_n_cut:.3f}", "gap": "{gap_mean:+.3f}"}
    columns |= {"95 % interval": "{interval}", "z": "{z:.1f}", "p": "{p:.2g}", "corrected": "{adjusted_p:.2g}"}
    columns |= {"below at p <= 0.05": "{below} of {networks}", "test": "{role}"}
    lines = []
    for test in tests:
        group = [row for row in rows if (row["graph"], row["condition"]) == (test["graph"], test["condition"])]
        line = test | {
            "adjusted_p": test.get("adjusted_p"),
            "z": defined_mean(row[f"{test['shuffle']}_z"] for row in group),
        }
        line["interval"] = text("{gap_low:+.3f} to {gap_high:+.3f}", **test)
        if len(group) == 1:
            line |= {"p": group[0][f"{test['shuffle']}_p"], "adjusted_p": None, "role": "of one network"}
        lines.append(line)
    print_table(lines, columns)


def print_lesions(rows, summaries):
    """The lesions of one network, and what those of each network say together."""
    columns = {"layer": "{layer}", "cluster": "{cluster}", "neurons": "{neurons} of {living_in_layer}"}
    columns |= {"change": "{change:.2 pp}", "random": "{random_change:.2 pp}"}
    columns |= {"5-95 %": "{random_low:.2 pp} to {random_high:.2 pp}", "p": "{p:.2g}", "category": "{category}"}
    print_table(rows, columns)
    print()
    columns = {"condition": "{condition}", "network": "{network}", "sub-modules": "{sub_modules}"}
    columns |= {"important": "{important} ({per_layer})", "worst of them": "{worst}"}
    columns |= {"Fisher p": "{fisher_p:.2g}", "with ties": "{fisher_p_conservative:.2g}"}
    columns |= {"random/lesioned": "{accuracy_ratio:.3f}", "pairs nn/nm/mn/mm/?": "{readings}"}
    lines = []
    for found in summaries:
        worst = "{worst_change:.1 pp} in layer {worst_layer} (random {worst_random_change:.1 pp})"
        line = {"worst": text(worst, **found) if found["important"] else "none"}
        line |= {"per_layer": "/".join(map(str, found["important_per_layer"]))}
        lines.append(found | line | {"readings": "/".join(map(str, found["pairs"]))})
    print_table(lines, columns)
    print(
        "pairs: does X matter without Y, and Y without X?  m: it does, beyond all draws; n: it is nothing, the 95 % "
        f"interval of the change lies within {100 * EQUIVALENCE:g} pp; ?: either is undecided"
    )


def verdict(rows, tests):
    """The primary test in words, and how many others show something; of a single network, its own p."""
    primary, *others = tests
    said = "That weights are clustered does not say that clusters have a function."
    where = "of {condition}, {graph}".format(**primary)
    if primary["networks"] == 1:
        p_values = ", ".join(f"{rows[0][f'{null}_p']:.2g} ({null})" for null in NULLS)
        smallest = f"{1 / (1 + rows[0]['layer_n']):.2g}"
        return f"Verdict: {where}, p = {p_values}; smallest possible: {smallest}. One network is an anecdote. {said}"
    gap = text("gap {gap_mean:+.3f} ({gap_low:+.3f} to {gap_high:+.3f}), p = {p:.2g}, {seeds} seeds", **primary)
    sides = "lie below", "lie above", "cannot be told from"
    found = [sum(test["adjusted_p"] <= LEVEL and test["direction"] == sign for test in others) for sign in (-1, 1)]
    return (
        f"Verdict: n-cuts {where}, {told(primary, *sides)} those of their copies by the null "
        f"{primary['shuffle']}: {gap}. That was the primary test. Of {len(others)} others, exploratory and corrected, "
        f"{found[0]} lie below their copies and {found[1]} above. {said}"
    )


if __name__ == "__main__":
    run(main)
