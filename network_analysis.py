"""See a trained network, or many, as weighted graphs of neurons: in-degree, out-degree, betweenness.

    python network_analysis.py [CHECKPOINT]

Writes centralities.csv, .json, .png and .pdf, and network.png and .pdf to --figures-dir.
"""

import mlp.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

from mlp.commandline import (
    Parser,
    add_candidate_options,
    add_figures_option,
    add_network_options,
    run,
    selected_networks,
)
from mlp.graph import centralities, layered_centralities, neuron_graph, neuron_name
from mlp.model import stacked
from mlp.modules import candidate_limits, indegree_nobetween_candidates
from mlp.plots import plot_centralities, plot_network
from mlp.results import print_table, run_record, save_results, writable_folder
from mlp.style import save_figure

TOP = 5
"""Neurons of each layer in the printed table."""

NETWORKX_WORK = 10**7
"""Nodes times edges, over all networks, that networkx analyses in about a second."""


def parse_args(argv):
    parser = Parser(description="See a trained network, or many, as weighted graphs of neurons.")
    add_network_options(parser)
    add_candidate_options(parser)
    parser.add_argument(
        "--engine",
        choices=("auto", "networkx", "layered"),
        default="auto",
        help="what computes betweenness: networkx, the equal but much faster layered engine, or auto: "
        "networkx as long as it takes about a second (default: %(default)s)",
    )
    add_figures_option(parser)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    models, digits, about = selected_networks(args.checkpoint, args)
    figures = writable_folder(args.figures_dir)

    engine = args.engine if args.engine != "auto" else affordable_engine(models)
    if engine == "networkx":
        tables = [centralities(neuron_graph(model.weights)) for model in models.values()]
    else:
        tables = layered_centralities(stacked(models.values())[0])
    quantiles = args.in_degree_quantile, args.betweenness_quantile
    candidates = [indegree_nobetween_candidates(table, *quantiles, args.max_candidates) for table in tables]

    rows = [
        {"network": k, "layer": node[0], "index": node[1], **row, "candidate": node in its_candidates}
        for k, table, its_candidates in zip(models, tables, candidates)
        for node, row in table.items()
    ]
    save_results(figures / "centralities", rows, run_record(args, engine=engine, checkpoint=about))
    first, model = next(iter(models.items()))
    title = f"{'-'.join(map(str, model.sizes))} network, digits {', '.join(map(str, digits))}"
    limits = [candidate_limits(table, *quantiles) for table in tables]
    save_figure(plot_centralities(tables, candidates, limits, quantiles, title), figures / "centralities")
    if len(models) > 1:
        title += f" (number {first} of {len(models)})"
    save_figure(plot_network(model.weights, tables[0], candidates[0], digits, title), figures / "network")

    print_table(top_neurons(tables[0], candidates[0]))
    print(f"{len(candidates[0])} candidates: {' '.join(map(neuron_name, candidates[0])) or 'none'}")
    if len(models) > 1:
        counts = list(map(len, candidates))
        print(f"that was network {first}; {len(models)} networks have {min(counts)} to {max(counts)} candidates each")
    print(f"betweenness by the {engine} engine")
    print(f"saved {figures}/centralities.{{csv,json,png,pdf}} and {figures}/network.{{png,pdf}}")


def affordable_engine(models):
    """networkx as long as it takes about a second, else the layered engine."""
    work = 0
    for model in models.values():
        edges = sum(int(weight.count_nonzero()) for weight in model.weights)
        work += sum(model.sizes) * edges
    return "networkx" if work <= NETWORKX_WORK else "layered"


def top_neurons(table, candidates):
    """The neurons of each layer with the highest in-degree (of the inputs, out-degree), as lines of text."""
    lines = []
    for layer in sorted({layer for layer, _ in table}):
        neurons = [node for node in table if node[0] == layer]
        neurons.sort(key=lambda node: (-table[node]["in_degree"], -table[node]["out_degree"]))
        for node in neurons[:TOP]:
            lines.append(
                {
                    "layer": str(layer),
                    "neuron": neuron_name(node),
                    "in-degree": f"{table[node]['in_degree']:.2f}",
                    "out-degree": f"{table[node]['out_degree']:.2f}",
                    "betweenness": f"{table[node]['betweenness']:.5f}",
                    "candidate": "yes" if node in candidates else "",
                }
            )
    return lines


if __name__ == "__main__":
    run(main)
