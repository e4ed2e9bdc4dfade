"""Ablate neurons of high in-degree and low betweenness with their strongest inputs; compare with matched modules.

    python are_modules_indegree_nobetween.py [CHECKPOINT]

Writes ablation_per_digit.csv, .json, .png and .pdf to --figures-dir; of several networks, also ablation_networks.*.
"""

import report.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

from itertools import product

import torch

from mlp.files import writable_folder
from mlp.network import refuse_twins, refuse_without_images, stacked_strengths
from modularity.ablation import LEVELS, against_controls, mean_levels
from modularity.accuracy import readings_of
from modularity.candidates import BOTH, EFFECTS, NULLS, PRIMARY, RULES, TOP_INPUTS, candidate_overlap, candidate_rows
from modularity.candidates import candidates_by_rule, mean_percentiles, network_tests, null_modules
from modularity.centrality import layered_centralities
from modularity.cluster import refuse_unfit_workers
from modularity.rows import by_seed, defined_mean
from report.candidates import overlap_sentence, plot_ablation, plot_percentiles
from report.notes import note_dead_units, note_poor_readings, print_readings
from report.options import Parser, chosen, integer, run, selected_networks
from report.results import print_table, run_record, save_results, text, told
from report.style import save_figure

LARGEST_NULL = 100_000


def parse_args(argv):
    parser = Parser("Ablate neurons of high in-degree and low betweenness with their strongest inputs, beside others.")
    parser.add_networks()
    parser.add_candidates()
    parser.add_rescaling()
    what = "strongest incoming hidden neurons ablated with each candidate"
    parser.option("--top-inputs", what, integer(0), TOP_INPUTS)
    what = "compare each module with all matched modules if there are at most so many, or else with so many random ones"
    parser.option("--null-limit", what, integer(1, LARGEST_NULL), 10_000)
    what = "what a silent neuron's activation is set to: zero, or its mean over the training images of its classes"
    parser.option("--ablate-to", what, chosen(LEVELS), "zero")
    parser.add_work("which random modules are drawn, and the bootstrap")
    parser.add_folders()
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    networks, about = selected_networks(args.checkpoint, args)
    refuse_twins(networks)
    data, splits = networks[0].data, (False, True) if args.ablate_to == "mean" else (False,)
    refuse_without_images(networks, args.data_dir, splits)
    refuse_unfit_workers(args.jobs, [data], args.data_dir, splits)
    figures = writable_folder(args.figures_dir)
    images_per_class = data.test_images_per_class(args.data_dir)
    readings = readings_of(networks, args.data_dir, args.device, args.jobs)
    note_poor_readings(networks, readings)
    note_dead_units(networks)

    rules = RULES if len(networks) > 1 else [BOTH]  # the others are baselines of a test of many
    asked = args.in_degree_quantile, args.betweenness_quantile, args.max_candidates
    candidates, overlap = candidates_of(networks, asked, rules), {}
    if args.rescale:
        as_they_were, networks = candidates, [network.rescaled() for network in networks]
        candidates = candidates_of(networks, asked, rules)
        pairs = ([found[BOTH] for found in its_candidates] for its_candidates in (as_they_were, candidates))
        overlap["rescaling"] = candidate_overlap(*pairs, networks[0].model.hidden_sizes)
    modules = []
    for network, its_candidates in zip(networks, candidates):
        generator = torch.Generator().manual_seed(args.seed + network.number)
        modules.append(null_modules(network, its_candidates, args.top_inputs, args.null_limit, generator))
    by_rule = [found[BOTH][0] for found in modules]
    matched = [[group for group, _ in found[BOTH][2].values()] for found in modules]
    work = args.data_dir, args.device, args.jobs
    levels = mean_levels(networks, *work) if args.ablate_to == "mean" else None
    hits = against_controls(networks, by_rule, matched, *work, levels)
    measured = list(zip(networks, candidates, modules, hits))
    rows = {rule: [] for rule in rules}
    for rule, (network, its_candidates, its_modules, its_hits) in product(rules, measured):
        rows[rule] += candidate_rows(network, its_candidates[rule], its_modules[rule], its_hits, images_per_class)

    record = run_record(args, device=args.device, seed=args.seed, checkpoint=about, **overlap)
    save_results(figures / "ablation_per_digit", rows[BOTH], record)
    shown = [row for row in rows[BOTH] if row["network"] == networks[0].number]
    which = "" if len(networks) == 1 else f"Network {networks[0].number}. "
    ablated = "ablated" if levels is None else "set to its mean activation"
    n = sum(images_per_class)
    title = f"{which}Each candidate {ablated} with its strongest hidden inputs, of which layer 1 has none"
    title += f" ({n:,} test images)"
    save_figure(plot_ablation(shown, data, title), figures / "ablation_per_digit")
    note = "" if levels is None else "\nsilent neurons are at their mean activations over training images, not at zero"
    note += "".join(f"\n{overlap_sentence(found)}" for found in overlap.values())

    print_readings(networks, readings)
    if len(networks) == 1:
        print(f"saved {figures}/ablation_per_digit.{{csv,json,png,pdf}}{note}")
        report_one(rows[BOTH], data)
    else:
        pooled = [{"rule": rule} | row for rule in rules for row in mean_percentiles(rows[rule], data.classes)]
        tests, contrasts = network_tests(pooled, args.seed)
        save_results(figures / "ablation_networks", pooled, record | {"tests": tests, "contrasts": contrasts})
        by_both = [row for row in pooled if row["rule"] == BOTH]
        save_figure(plot_percentiles(by_both, tests, EFFECTS, NULLS), figures / "ablation_networks")
        print(f"saved {figures}/ablation_{{per_digit,networks}}.{{csv,json,png,pdf}}{note}")
        report_many(by_both, tests, contrasts)


def candidates_of(networks, asked, rules):
    """The candidates of each network by some rules."""
    tables = layered_centralities(stacked_strengths(networks))
    return [candidates_by_rule(table, asked, rules) for table in tables]


def report_one(rows, data):
    """Print the accuracies of one network, how they compare with the nulls, and the verdict."""
    intact, *candidates = rows
    columns = {"neuron": "{neuron}", "module": "{module}"}
    columns |= {data.class_name(label): f"{{accuracy_{label}:.1 %}}" for label in data.classes}
    print_table([row | {"module": row["module"] or "-"} for row in rows], columns | {"mean drop": "{drop:.1 pp}"})
    if not candidates:
        print("no hidden neuron is a candidate at these quantiles; lower --in-degree-quantile or raise the other")
        return
    print()
    columns = {"neuron": "{neuron}", "effect": "{effect}", "candidate": "{value:.1f}", "null n": "{n}"}
    columns |= {"median": "{median:.1f}", "5-95 %": "{low:.1f} to {high:.1f}", "percentile": "{percentile:.0f}"}
    columns |= {"p": "{p:.2g} ({smallest_p:.2g})"}
    for null, meaning in NULLS.items():
        print(f"Among {meaning}, in percentage points (in brackets the smallest p that can be reached):")
        lines = []
        for row, effect in product(candidates, EFFECTS):
            prefix = f"{effect}_{null}_"
            compared = {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}
            lines.append({"neuron": row["neuron"], "effect": effect, "value": row[effect], **compared})
        print_table(lines, columns)
        print()
    shares = [sum(row[f"{effect}_matched_p"] <= 0.05 for row in candidates) for effect in EFFECTS]
    averages = [defined_mean(row[f"{effect}_matched_percentile"] for row in candidates) for effect in EFFECTS]
    print(
        f"Verdict: of {len(candidates)} candidates, {shares[0]} are more important and {shares[1]} more selective than "
        "matched modules at p <= 0.05; on average they lie at percentile "
        + text("{:.0f} and {:.0f} ", *averages)
        + "(chance: 50). One network is one observation: for a test, train many with train.py --networks."
    )


def report_many(networks, tests, contrasts):
    """Print what the networks say together, and the verdict."""
    about = {key: f"{{{key}}}" for key in ("rule", "effect", "among", "seeds")}
    p_values = {"Wilcoxon p": "{p:.2g}", "corrected p": "{adjusted_p:.2g}"}
    print("Candidates among modules that nobody selected, in percentiles, and in percentage points beyond their mean:")
    columns = about | {"median percentile": "{median:.1f}", "95 % interval": "{low:.1f} to {high:.1f}"} | p_values
    columns |= {"mean points": "{points_mean:+.1f}", "95 % of it": "{points_low:+.1f} to {points_high:+.1f}"}
    print_table([test | {"among": NULLS[test["among"]]} for test in tests.values()], columns)
    print("\nDifferences between percentiles of the same network:")
    columns = about | {"mean": "{mean:+.1f}", "95 % interval": "{low:+.1f} to {high:+.1f}"} | p_values
    print_table(list(contrasts.values()), columns)
    print()

    def compared(effect, null, p="adjusted_p"):
        test = tests[f"{effect}_{null}"]
        if test["seeds"] == 0:
            return f"not compared in {effect} with {NULLS[null]}: there are none, or no candidates"
        more = told(test, "less", "more", "not shown to be more or less", p)
        adjective = {"importance": "important", "selectivity": "selective"}[effect]
        size = "{points_mean:+.1f} percentage points, 95 % interval {points_low:+.1f} to {points_high:+.1f}"
        found = text(f"({size}; median percentile {{median:.0f}}, p = {{{p}:.2g}})", **test)
        return f"{more} {adjective} compared with {NULLS[null]} {found}"

    seeds = len(by_seed(networks))
    over = f"{len(networks)} networks" + (f" of {seeds} seeds" if seeds < len(networks) else "")
    others = "; ".join(compared(*kind) for kind in product(EFFECTS, NULLS) if kind != PRIMARY)
    print(
        f"Verdict: over {over}, candidates are {compared(*PRIMARY, 'p')}. That was the primary test. All "
        f"{len(tests) + len(contrasts) - 1} others are exploratory, and their p corrected for that number; by these, "
        f"candidates are {others}."
    )


if __name__ == "__main__":
    run(main)
