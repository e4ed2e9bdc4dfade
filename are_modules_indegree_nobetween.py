"""Ablate hidden neurons of high in-degree and low betweenness with their strongest inputs: accuracy per digit.

    python are_modules_indegree_nobetween.py [CHECKPOINT]

Writes ablation_per_digit.csv, .json, .png and .pdf to --figures-dir.
"""

import torch

from mlp.ablation import ablated_accuracy
from mlp.commandline import (
    Parser, add_candidate_options, add_figures_option, add_image_options, add_network_options, integer, load_network,
    run,
)  # fmt: skip
from mlp.data import load_digits
from mlp.graph import centralities, neuron_graph, neuron_name
from mlp.modules import indegree_nobetween_candidates, module_of, neurons_of
from mlp.plots import plot_ablation
from mlp.results import percent, points, print_table, run_record, save_figure, save_results, writable_folder
from mlp.statistics import wilson_interval


def parse_args(argv):
    parser = Parser(description="Ablate hidden neurons of high in-degree and low betweenness with their strongest inputs.")
    add_network_options(parser)
    add_candidate_options(parser)
    parser.add_argument("--top-inputs", type=integer(0), default=4,
                        help="strongest incoming hidden neurons ablated with each candidate (default: %(default)s)")
    add_figures_option(parser)
    add_image_options(parser)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    model, digits, about = load_network(args)
    figures = writable_folder(args.figures_dir)
    images, labels = (tensor.to(args.device) for tensor in load_digits(digits, train=False, data_dir=args.data_dir))

    table = centralities(neuron_graph(model.weights))
    candidates = indegree_nobetween_candidates(
        table, args.in_degree_quantile, args.betweenness_quantile, args.max_candidates
    )
    intact = torch.zeros(sum(model.hidden_sizes), dtype=torch.bool)
    modules = torch.stack([intact, *(module_of(candidate, model.weights, args.top_inputs) for candidate in candidates)])
    accuracy = ablated_accuracy(model.to(args.device), modules.to(args.device), images, labels)

    rows = ablation_rows(candidates, modules, model.hidden_sizes, accuracy.tolist(), digits, labels.bincount().tolist())
    save_results(figures / "ablation_per_digit", rows, run_record(args, device=args.device, network=about))
    title = f"Accuracy with each candidate and its {args.top_inputs} strongest inputs ablated ({len(labels):,} test images)"
    save_figure(plot_ablation(rows, digits, title), figures / "ablation_per_digit")

    print_table([printed(row, digits) for row in rows])
    if not candidates:
        print("no hidden neuron is a candidate at these quantiles; lower --in-degree-quantile or raise the other")
    print(f"saved {figures}/ablation_per_digit.{{csv,json,png,pdf}}")


def ablation_rows(candidates, modules, hidden_sizes, accuracy, digits, images_per_digit):
    """One row per ablation, the intact network first: who is silent, and what is left (fractions)."""
    names = [("intact", "", ""), *((neuron_name(candidate), *candidate) for candidate in candidates)]
    rows = []
    for (name, layer, index), module, its_accuracy in zip(names, modules, accuracy):
        members = neurons_of(module, hidden_sizes)
        row = {"neuron": name, "layer": layer, "index": index, "members": len(members),
               "module": " ".join(map(neuron_name, members))}
        for digit, fraction, intact, images in zip(digits, its_accuracy, accuracy[0], images_per_digit):
            low, high = wilson_interval(fraction, images)
            row |= {f"accuracy_{digit}": fraction, f"low_{digit}": low, f"high_{digit}": high,
                    f"drop_{digit}": intact - fraction}
        row["drop"] = sum(row[f"drop_{digit}"] for digit in digits) / len(digits)
        rows.append(row)
    return rows


def printed(row, digits):
    """A row of the printed table, in percent and percentage points."""
    return {
        "neuron": row["neuron"], "module": row["module"] or "-",
        **{f"digit {digit}": percent(row[f"accuracy_{digit}"]) for digit in digits},
        "mean drop": points(row["drop"]),
    }  # fmt: skip


if __name__ == "__main__":
    run(main)
