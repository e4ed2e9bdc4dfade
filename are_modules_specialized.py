"""Are clusters of neurons specialised?  Importance and coherence against random neurons (Casper et al. 2021).

    python are_modules_specialized.py [CHECKPOINT ...]

Writes to --figures-dir specialization.csv and .json (each cluster's part of each layer), specialization_networks.csv
and .json (what they say together), specialization_tests.csv and .json (clusters against random partitions),
specialization_unevenness.csv and .json (how unequally classes suffer, if any part costs a point), and
specialization_lesions, _digits and _images (.png, .pdf) of the first network.
"""

import report.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

from mlp import InputError
from mlp.files import writable_folder
from mlp.network import refuse_without_images
from modularity.accuracy import readings_of
from modularity.cluster import refuse_unfit_workers
from modularity.damage import TOLERANCE
from modularity.partitions import CASPER
from modularity.rows import defined_mean, grouped
from modularity.significance import FEWEST_CONTROLS, beyond_all
from modularity.specialization import KINDS, MEASURES, corrected, measured_parts, paired_tests, pooled_summary
from modularity.specialization import summary, unevenness
from report.lesions import plot_class_changes, plot_lesions, plot_optimal_images
from report.notes import note_dead_units, note_poor_readings, print_readings
from report.options import MOST_DRAWS, Parser, integer, run, selected_conditions
from report.results import print_table, run_record, save_results, text
from report.style import save_figure


def parse_args(argv):
    parser = Parser("Compare clusters of neurons with random neurons: importance and coherence.")
    parser.add_networks(many=True)
    parser.option("--clusters", "clusters of neurons", integer(2), 16)
    what = "sets of random neurons that each cluster's part of a layer is compared with"
    parser.option("--draws", what, integer(2, MOST_DRAWS), 19)
    parser.add_work("random neurons, first images, and starts of k-means")
    parser.add_folders()
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    networks, abouts = selected_conditions(args)
    refuse_without_images(networks, args.data_dir, (False, True))
    for network in networks:
        hidden = sum(network.model.hidden_sizes)
        if args.clusters > hidden:
            raise InputError(
                f"--clusters {args.clusters}: the networks of {network.condition} have {hidden} hidden neurons; "
                f"choose from 2 to {hidden}"
            )
    refuse_unfit_workers(args.jobs, [network.data for network in networks], args.data_dir)
    figures = writable_folder(args.figures_dir)
    readings = readings_of(networks, args.data_dir, args.device, args.jobs)
    note_poor_readings(networks, readings)
    note_dead_units(networks)

    parts = measured_parts(networks, args.clusters, args.draws, args.seed, args.data_dir, args.device, args.jobs)
    rows = [part["row"] for part in parts]
    summaries = [summary(group) for group in grouped(rows, "condition", "partitioning", "kind", "network")]
    record = run_record(args, device=args.device, seed=args.seed, checkpoints=abouts)
    save_results(figures / "specialization", rows, record)
    pooled = corrected([pooled_summary(group) for group in grouped(rows, "condition", "partitioning", "kind")])
    tests = paired_tests(summaries)
    save_results(figures / "specialization_networks", summaries, record | {"pooled": pooled, "tests": tests})
    save_results(figures / "specialization_tests", tests, record)
    uneven = unevenness(rows)
    if uneven:
        save_results(figures / "specialization_unevenness", uneven, record)
    drawn = draw(networks, parts, figures)

    print_readings(networks, readings)
    print("p of each network (Fisher), and mean effects (1: like random neurons):")
    about = {"condition": "{condition}", "partitioning": "{partitioning}", "kind": "{kind}"}
    columns = about | {"tested": "{tested}"}
    for measure in MEASURES:
        columns[f"p {measure}"] = f"{{{measure}_each}}"
        columns |= {"-ln p": "{mean_log_p:.2f}"} if measure == "accuracy" else {}
        columns[f"e {measure}"] = f"{{{measure}_mean_effect:.2f}}"
    print_table([line | each_network(line) for line in pooled], columns)
    print(
        "\nall networks together: p (Bates) -> corrected for many tests (Benjamini-Hochberg), effect ± standard error "
        "over seeds:"
    )
    columns = about | {"networks": "{networks}"}
    for measure in MEASURES:
        columns[f"p {measure}"] = f"{{{measure}_all}}"
        columns[f"e {measure}"] = f"{{{measure}_mean_effect:.2f}} ± {{{measure}_effect_se:.2f}}"
    print_table([line | all_networks(line) for line in pooled], columns)
    print_tests(tests)
    print_unevenness(uneven)
    print(
        f"saved {figures}/specialization{{,_networks,_tests{',_unevenness' if uneven else ''}}}.{{csv,json}}"
        + "".join(f" and {name}.{{png,pdf}}" for name in drawn)
    )
    for note in notes(rows):
        print(f"note: {note}")
    print(primary_result(tests[0]))
    print(verdict(pooled))


def draw(networks, parts, figures):
    """The pictures of the first condition, its first network above all, and first partitioning; returns their names."""
    wanted = {"condition": networks[0].condition, "partitioning": next(iter(CASPER)), "status": "tested"}
    parts = [part for part in parts if wanted.items() <= part["row"].items()]
    rows = [part["row"] for part in parts]
    worse = [row["change"] < 0 and beyond_all(row["accuracy_p_conservative"], row["random_n"]) for row in rows]
    rows = [row | {"category": "worse" if is_worse else "other"} for row, is_worse in zip(rows, worse)]
    clusters = [row for row in rows if row["kind"] == KINDS[0]]
    if not clusters:
        return []
    first = {key: clusters[0][key] for key in ("condition", "network", "partitioning")}
    title = "{condition}, network {network}, {partitioning}".format(**first)
    save_figure(plot_lesions(clusters, title), figures / "specialization_lesions")
    title += f" (1 of {len(grouped(clusters, 'network'))} networks)"
    own = [row for row in rows if first.items() <= row.items()]
    save_figure(plot_class_changes(own, networks[0].data, title), figures / "specialization_digits")
    drawn = ["specialization_lesions", "specialization_digits"]
    first["kind"] = KINDS[0]
    pictures = [part["row"] | part["picture"] for part in parts if "picture" in part]
    pictures = [picture for picture in pictures if first.items() <= picture.items()]
    if pictures:
        save_figure(plot_optimal_images(pictures, title), figures / "specialization_images")
        drawn.append("specialization_images")
    return drawn


def each_network(line):
    """The p-values of the networks one by one, where parts were measured."""
    cells = {"mean_log_p": defined_mean(line["accuracy_log_p"])}
    for measure in MEASURES:
        p_values = [f"{p:.0e}" if p < 0.01 else f"{p:.2f}" for p in line[f"{measure}_p"]]
        cells[f"{measure}_each"] = " ".join(p_values) if line[f"{measure}_n"] else "-"
    return cells


def all_networks(line):
    """The p-values of all networks together, before and after correction."""
    template = "{{{0}_combined_p:.1g}} -> {{{0}_adjusted_p:.1g}}"
    return {f"{m}_all": text(template.format(m), **line) if line[f"{m}_n"] else "-" for m in MEASURES}


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
    costly = [row["matched_n"] for row in rows if "matched_n" in row]
    alone = sum(count < FEWEST_CONTROLS for count in costly)
    if alone:
        yield (
            f"{alone} of {len(costly)} parts that cost a point or more are not compared with what costs as much: fewer "
            f"than {FEWEST_CONTROLS} random sets of their layer cost as much, within {100 * TOLERANCE:g} %"
        )
    endless = sum(row.get("not_finite", 0) for row in rows)
    if endless:
        yield f"the range of {endless} lesions is not finite, since they leave the mean accuracy as it was"


def print_tests(tests):
    """The primary test and the exploratory ones, in one table."""
    print(
        "\nclusters, beside the random partition of the same network; means over seeds, of how much more than of random"
    )
    print(
        "neurons (points of balanced accuracy lost, nats), or how many times as much (ratio); contrast: the difference,"
    )
    print("or the ratio, of both; p (Wilcoxon), and corrected for all exploratory tests (Benjamini-Hochberg):")
    columns = {key: f"{{{key}}}" for key in ("role", "condition", "partitioning", "measure", "seeds", "unit")}
    columns |= {key: f"{{{key}:.3g}}" for key in (*KINDS, "contrast")}
    columns |= {"95 %": "{low:.3g} to {high:.3g}", "p": "{p:.2g}", "corrected": "{adjusted_p:.2g}"}
    print_table([{"adjusted_p": None} | line for line in tests], columns)


def print_unevenness(lines):
    """How unequally classes suffer, beside as many and as costly neurons."""
    if not lines:
        return
    print("\nhow many times as unequally classes suffer without parts that cost a point or more as without random")
    print("neurons: as many, which cost less and make it too low, or as costly ones, which are more (95 % intervals):")
    columns = {key: f"{{{key}}}" for key in ("condition", "partitioning", "layer", "kind", "parts", "seeds")}
    for name, header in (("number", "as many"), ("cost", "as costly")):
        columns |= {header: f"{{{name}_mean:.2f}}", f"95 % of {name}": f"{{{name}_low:.2f}} to {{{name}_high:.2f}}"}
    print_table(lines, columns)


def primary_result(test):
    return text(
        "Primary test, {condition}, clusters of {partitioning}: silencing a part costs {clusters:.2f} points more than "
        "silencing as many random neurons; a part of a random partition, {random:.2f}. Difference {contrast:.2f}, 95 % "
        "interval {low:.2f} to {high:.2f}, p {p:.2g}; seeds: {seeds}, which can reach {smallest_p:.2g}. All other "
        "comparisons are exploratory.",
        **test,
    )


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
