"""Ablate neurons of high in-degree and low betweenness with their strongest inputs; compare with matched modules.

    python are_modules_indegree_nobetween.py [CHECKPOINT]

Writes ablation_per_digit.csv, .json, .png and .pdf to --figures-dir; of several networks, also ablation_networks.*.
"""

import report.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

from itertools import product

import torch

from mlp.files import writable_folder
from mlp.model import stacked
from mlp.network import refuse_twins
from modularity.ablation import against_controls
from modularity.candidates import EFFECTS, NULLS, TOP_INPUTS, candidate_rows, indegree_nobetween_candidates
from modularity.candidates import mean_percentiles, null_modules
from modularity.centrality import layered_centralities
from modularity.rows import by_seed, defined_mean, seed_means
from modularity.significance import across_networks
from report.candidates import plot_ablation, plot_percentiles
from report.options import Parser, integer, run, selected_networks
from report.results import print_table, run_record, save_results, text
from report.style import save_figure

LARGEST_NULL = 100_000


def parse_args(argv):
    parser = Parser("Ablate neurons of high in-degree and low betweenness with their strongest inputs, beside others.")
    parser.add_networks()
    parser.add_candidates()
    what = "strongest incoming hidden neurons ablated with each candidate"
    parser.option("--top-inputs", what, integer(0), TOP_INPUTS)
    what = "compare each module with all matched modules if there are at most so many, or else with so many random ones"
    parser.option("--null-limit", what, integer(1, LARGEST_NULL), 10_000)
    parser.add_work("which random modules are drawn, and the bootstrap")
    parser.add_folders()
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    networks, about = selected_networks(args.checkpoint, args)
    refuse_twins(networks)
    data = networks[0].data
    figures = writable_folder(args.figures_dir)
    images_per_class = data.test_images_per_class(args.data_dir)

    quantiles = args.in_degree_quantile, args.betweenness_quantile
    tables = layered_centralities(stacked([network.model for network in networks])[0])
    candidates = [indegree_nobetween_candidates(table, *quantiles, args.max_candidates) for table in tables]
    modules = []
    for network, its_candidates in zip(networks, candidates):
        generator = torch.Generator().manual_seed(args.seed + network.number)
        modules.append(null_modules(network, its_candidates, args.top_inputs, args.null_limit, generator))
    by_rule = [own for own, *_ in modules]
    matched = [[group for group, _ in groups.values()] for _, _, groups, _ in modules]
    hits = against_controls(networks, by_rule, matched, args.data_dir, args.device, args.jobs)
    measured = zip(networks, candidates, modules, hits)
    rows = [row for found in measured for row in candidate_rows(*found, images_per_class)]

    record = run_record(args, device=args.device, seed=args.seed, checkpoint=about)
    save_results(figures / "ablation_per_digit", rows, record)
    shown = [row for row in rows if row["network"] == rows[0]["network"]]
    which = "" if len(networks) == 1 else f"Network {rows[0]['network']}. "
    n = sum(images_per_class)
    title = (
        f"{which}Each candidate ablated with its strongest hidden inputs, of which layer 1 has none ({n:,} test images)"
    )
    save_figure(plot_ablation(shown, data.classes, title), figures / "ablation_per_digit")

    if len(networks) == 1:
        print(f"saved {figures}/ablation_per_digit.{{csv,json,png,pdf}}")
        report_one(rows, data)
    else:
        pooled = mean_percentiles(rows, data.classes)
        names = [f"{effect}_{null}" for effect, null in product(EFFECTS, NULLS)]
        tests = {name: across_networks(seed_means(pooled, name), args.seed) for name in names}
        save_results(figures / "ablation_networks", pooled, record | {"tests": tests})
        save_figure(plot_percentiles(pooled, tests, EFFECTS, NULLS), figures / "ablation_networks")
        print(f"saved {figures}/ablation_{{per_digit,networks}}.{{csv,json,png,pdf}}")
        report_many(pooled, tests)


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


def report_many(networks, tests):
    """Print what the networks say together, and the verdict."""
    columns = {"effect": "{effect}", "among": "{among}", "seeds": "{seeds}", "median percentile": "{median:.1f}"}
    columns |= {"95 % interval": "{low:.1f} to {high:.1f}", "Wilcoxon p": "{p:.2g}"}
    kinds = product(EFFECTS, NULLS)
    print_table([tests[f"{e}_{null}"] | {"effect": e, "among": NULLS[null]} for e, null in kinds], columns)

    def compared(effect, null):
        test = tests[f"{effect}_{null}"]
        more = "neither more nor less" if test["p"] > 0.05 else "more" if test["direction"] > 0 else "less"
        adjective = {"importance": "important", "selectivity": "selective"}[effect]
        return f"{more} {adjective} " + text("(median percentile {median:.0f}, p = {p:.2g})", **test)

    seeds = len(by_seed(networks))
    over = f"{len(networks)} networks" + (f" of {seeds} seeds" if seeds < len(networks) else "")
    print(
        f"Verdict: over {over}, candidates are {compared('importance', 'matched')} and "
        f"{compared('selectivity', 'matched')} than {NULLS['matched']}. Compared with {NULLS['same_rule']}, they are "
        f"{compared('importance', 'same_rule')} and {compared('selectivity', 'same_rule')}."
    )


if __name__ == "__main__":
    run(main)
