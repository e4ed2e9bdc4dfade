"""Ablate neurons of high in-degree and low betweenness with their strongest inputs; compare with matched modules.

    python are_modules_indegree_nobetween.py [CHECKPOINT]

Writes ablation_per_digit.csv, .json, .png and .pdf to --figures-dir; of several networks, also ablation_networks.*.
"""

import mlp.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

from functools import partial
from itertools import product

import numpy
import torch
from tqdm import tqdm

from mlp.ablation import ablated_hits
from mlp.commandline import (
    Parser,
    add_candidate_options,
    add_figures_option,
    add_image_options,
    add_network_options,
    add_seed_option,
    integer,
    known_networks,
    refuse_twins,
    run,
    selected_networks,
)
from mlp.data import load_digits
from mlp.graph import layered_centralities, neuron_name
from mlp.model import stacked
from mlp.modules import (
    indegree_nobetween_candidates,
    layer_counts,
    matched_modules,
    modules_by_rule,
    neurons_of,
)
from mlp.plots import plot_ablation, plot_percentiles
from mlp.results import (
    grouped,
    number,
    percent,
    points,
    print_table,
    run_record,
    save_results,
    writable_folder,
)
from mlp.statistics import (
    ablation_effects,
    across_networks,
    by_seed,
    compare_with_null,
    defined_mean,
    seed_means,
    wilson_interval,
)
from mlp.style import save_figure

EFFECTS = ("importance", "selectivity")
LARGEST_NULL = 100_000
NULLS = {"matched": "matched modules", "same_rule": "the same rule around non-candidates"}


def parse_args(argv):
    parser = Parser(
        description="Ablate neurons of high in-degree and low betweenness with their strongest inputs; "
        "compare with matched modules."
    )
    add_network_options(parser)
    add_candidate_options(parser)
    parser.add_argument(
        "--top-inputs",
        type=integer(0),
        default=4,
        help="strongest incoming hidden neurons ablated with each candidate (default: %(default)s)",
    )
    parser.add_argument(
        "--null-limit",
        type=integer(1, LARGEST_NULL),
        default=10_000,
        help="compare each module with all modules of as many neurons per layer if there are at most so "
        "many, or else with so many random ones (default: %(default)s)",
    )
    add_seed_option(parser, "which random modules are drawn, and the bootstrap")
    add_figures_option(parser)
    add_image_options(parser)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    models, digits, about = selected_networks(args.checkpoint, args)
    known, _ = known_networks(args.checkpoint, about, models)
    refuse_twins({f"network {k}": model for k, model in models.items()})
    figures = writable_folder(args.figures_dir)
    images, labels = (tensor.to(args.device) for tensor in load_digits(digits, False, args.data_dir))
    images_per_digit = labels.bincount().tolist()

    rows = []
    tables = layered_centralities(stacked(models.values())[0])
    networks = tqdm(models.items(), desc="networks", unit="network", delay=2, disable=len(models) == 1)
    for (k, model), table in zip(networks, tables):
        candidates = indegree_nobetween_candidates(
            table, args.in_degree_quantile, args.betweenness_quantile, args.max_candidates
        )
        generator = torch.Generator().manual_seed(args.seed + k)
        modules, hits, nulls = ablate(
            model.to(args.device), candidates, images, labels, args.top_inputs, args.null_limit, generator
        )
        found = table_rows(candidates, modules, hits, nulls, model.hidden_sizes, digits, images_per_digit)
        rows += [{"network": k, "seed": known[k].get("seed"), **row} for row in found]

    record = run_record(args, device=args.device, seed=args.seed, checkpoint=about)
    save_results(figures / "ablation_per_digit", rows, record)
    shown = [row for row in rows if row["network"] == rows[0]["network"]]
    which = "" if len(models) == 1 else f"Network {rows[0]['network']}. "
    title = f"{which}Each candidate and its {args.top_inputs} strongest inputs ablated ({len(labels):,} test images)"
    save_figure(plot_ablation(shown, digits, title), figures / "ablation_per_digit")

    if len(models) == 1:
        print(f"saved {figures}/ablation_per_digit.{{csv,json,png,pdf}}")
        report_one(rows, digits)
    else:
        networks = mean_percentiles(rows, digits)
        names = [f"{effect}_{null}" for effect, null in product(EFFECTS, NULLS)]
        tests = {name: across_networks(seed_means(networks, name), args.seed) for name in names}
        save_results(figures / "ablation_networks", networks, record | {"tests": tests})
        save_figure(plot_percentiles(networks, tests, EFFECTS, NULLS), figures / "ablation_networks")
        print(f"saved {figures}/ablation_{{per_digit,networks}}.{{csv,json,png,pdf}}")
        report_many(networks, tests)


def ablate(model, candidates, images, labels, top_inputs, null_limit, generator):
    """Silence each candidate's module, and the modules of its two nulls.

    Returns the modules, the empty one first, then one per candidate; how many images of each digit are still right,
    [modules, digits]; and per candidate its nulls, which those with as many neurons per layer share: {"matched",
    "same_rule": effects, "complete": whether all matched modules are there, "limits": 5 and 95 % of their accuracies}.
    """
    widths = model.hidden_sizes
    by_rule = modules_by_rule(model.weights, top_inputs)
    neurons = neurons_of(torch.ones(len(by_rule), dtype=torch.bool), widths)
    counts = [layer_counts(module, widths) for module in by_rule]  # which tell the layer of the neuron, too
    chosen = [neurons.index(candidate) for candidate in candidates]
    matched = {
        count: matched_modules(count, widths, null_limit, generator)
        for count in sorted({counts[place] for place in chosen})
    }
    same_rule = {count: [] for count in counts}
    for place in sorted(set(range(len(neurons))) - set(chosen)):
        same_rule[counts[place]].append(place)

    parts = [torch.zeros(1, len(by_rule), dtype=torch.bool), by_rule, *(modules for modules, _ in matched.values())]
    progress = partial(tqdm, desc="modules", unit="batch", delay=2, leave=False)
    hits = ablated_hits(model, torch.cat(parts), images, labels, progress).split([len(part) for part in parts])
    intact, hits_by_rule, matched_hits = hits[0], hits[1], dict(zip(matched, hits[2:]))
    images_per_digit = labels.bincount(minlength=len(intact[0])).cpu()
    nulls = {}
    for count, (_, complete) in matched.items():
        groups = {"matched": matched_hits[count], "same_rule": hits_by_rule[same_rule[count]]}
        nulls[count] = {
            **{null: ablation_effects(intact[0], group, images_per_digit.tolist()) for null, group in groups.items()},
            "complete": complete,
            "limits": numpy.quantile(groups["matched"] / images_per_digit.double(), [0.05, 0.95], axis=0),
        }
    modules = torch.cat([parts[0], by_rule[chosen]])
    return modules, torch.cat([intact, hits_by_rule[chosen]]), [nulls[counts[place]] for place in chosen]


def table_rows(candidates, modules, hits, nulls, hidden_sizes, digits, images_per_digit):
    """One row per ablation, the intact network first.

    accuracy_, low_, high_ (95 % Wilson interval), drop_ and null_low_, null_high_ (5-95 % of the matched null) per
    digit and drop, their mean, are fractions; importance, selectivity and what their nulls say, percentage points.
    modules, hits, nulls: what `ablate` returns.
    """
    names = [("intact", "", ""), *((neuron_name(candidate), *candidate) for candidate in candidates)]
    accuracy = (hits / torch.tensor(images_per_digit, dtype=torch.float64)).tolist()
    rows = []
    for (name, layer, index), module, its_accuracy in zip(names, modules, accuracy):
        members = neurons_of(module, hidden_sizes)
        row = {
            "neuron": name,
            "layer": layer,
            "index": index,
            "members": len(members),
            "module": " ".join(map(neuron_name, members)),
        }
        for digit, fraction, intact, images in zip(digits, its_accuracy, accuracy[0], images_per_digit):
            low, high = wilson_interval(fraction, images)
            row |= {
                f"accuracy_{digit}": fraction,
                f"low_{digit}": low,
                f"high_{digit}": high,
                f"drop_{digit}": intact - fraction,
            }
        row["drop"] = sum(row[f"drop_{digit}"] for digit in digits) / len(digits)
        rows.append(row)

    effects = ablation_effects(hits[0], hits[1:], images_per_digit)
    for place, (row, its_nulls) in enumerate(zip(rows[1:], nulls)):
        for digit, null_low, null_high in zip(digits, *its_nulls["limits"].tolist()):
            row |= {f"null_low_{digit}": null_low, f"null_high_{digit}": null_high}
        for effect in EFFECTS:
            row[effect] = effects[effect][place].item()
            kinds = {"matched": {"includes_observed": its_nulls["complete"]}, "same_rule": {"others": True}}
            for name, kind in kinds.items():
                compared = compare_with_null(row[effect], its_nulls[name][effect], **kind)
                row |= {f"{effect}_{name}_{key}": value for key, value in compared.items()}
    return rows


def mean_percentiles(rows, digits):
    """One row per network: its accuracy, its candidates, and their mean percentile in each effect among each null."""
    networks = []
    for intact, *candidates in grouped(rows, "network"):
        row = {
            "network": intact["network"],
            "seed": intact["seed"],
            "accuracy": defined_mean(intact[f"accuracy_{digit}"] for digit in digits),
            "candidates": len(candidates),
        }
        for effect, null in product(EFFECTS, NULLS):
            row[f"{effect}_{null}"] = defined_mean(candidate[f"{effect}_{null}_percentile"] for candidate in candidates)
        networks.append(row)
    return networks


def report_one(rows, digits):
    """Print the accuracies of one network, how they compare with the nulls, and the verdict."""
    intact, *candidates = rows
    print_table(
        [
            {
                "neuron": row["neuron"],
                "module": row["module"] or "-",
                **{f"digit {digit}": percent(row[f"accuracy_{digit}"]) for digit in digits},
                "mean drop": points(row["drop"]),
            }
            for row in rows
        ]
    )
    if not candidates:
        print("no hidden neuron is a candidate at these quantiles; lower --in-degree-quantile or raise the other")
        return
    print()
    for null, meaning in NULLS.items():
        print(f"Among {meaning}, in percentage points (in brackets the smallest p that can be reached):")
        print_table([null_line(row, effect, null) for row in candidates for effect in EFFECTS])
        print()
    shares = [sum(row[f"{effect}_matched_p"] <= 0.05 for row in candidates) for effect in EFFECTS]
    averages = [defined_mean(row[f"{effect}_matched_percentile"] for row in candidates) for effect in EFFECTS]
    print(
        f"Verdict: of {len(candidates)} candidates, {shares[0]} are more important and {shares[1]} more selective than "
        f"matched modules at p <= 0.05; on average they lie at percentile {number(averages[0], '{:.0f}')} and "
        f"{number(averages[1], '{:.0f}')} "
        "(chance: 50). One network is one observation: for a test, train many with train.py --networks."
    )


def null_line(row, effect, null):
    """A line of the printed table: where an effect of a candidate lies among one of its nulls."""
    value = {
        key: row[f"{effect}_{null}_{key}"] for key in ("n", "median", "low", "high", "percentile", "p", "smallest_p")
    }
    return {
        "neuron": row["neuron"],
        "effect": effect,
        "candidate": f"{row[effect]:.1f}",
        "null n": str(value["n"]),
        "median": number(value["median"], "{:.1f}"),
        "5-95 %": interval(value),
        "percentile": number(value["percentile"], "{:.0f}"),
        "p": "{p:.2g} ({smallest_p:.2g})".format(**value),
    }


def interval(row):
    """'55.4 to 62.1'"""
    return "-" if numpy.isnan(row["low"]) else "{low:.1f} to {high:.1f}".format(**row)


def report_many(networks, tests):
    """Print what the networks say together, and the verdict."""
    lines = []
    for effect, null in product(EFFECTS, NULLS):
        test = tests[f"{effect}_{null}"]
        lines.append(
            {
                "effect": effect,
                "among": NULLS[null],
                "seeds": str(test["seeds"]),
                "median percentile": number(test["median"], "{:.1f}"),
                "95 % interval": interval(test),
                "Wilcoxon p": f"{test['p']:.2g}",
            }
        )
    print_table(lines)

    def compared(effect, null):
        test = tests[f"{effect}_{null}"]
        more = "neither more nor less" if test["p"] > 0.05 else "more" if test["direction"] > 0 else "less"
        adjective = {"importance": "important", "selectivity": "selective"}[effect]
        return f"{more} {adjective} (median percentile {number(test['median'], '{:.0f}')}, p = {test['p']:.2g})"

    seeds = len(by_seed(networks))
    over = f"{len(networks)} networks" + (f" of {seeds} seeds" if seeds < len(networks) else "")
    print(
        f"Verdict: over {over}, candidates are {compared('importance', 'matched')} and "
        f"{compared('selectivity', 'matched')} than {NULLS['matched']}. Compared with {NULLS['same_rule']}, they are "
        f"{compared('importance', 'same_rule')} and {compared('selectivity', 'same_rule')}."
    )


if __name__ == "__main__":
    run(main)
