"""See a trained network as a weighted graph of neurons: in-degree, out-degree, betweenness.

    python network_analysis.py [CHECKPOINT]

Writes centralities.csv, .json, .png and .pdf, and network.png and .pdf to --figures-dir.
"""

from mlp.commandline import Parser, add_candidate_options, add_figures_option, add_network_options, load_network, run
from mlp.graph import centralities, neuron_graph, neuron_name
from mlp.modules import candidate_limits, indegree_nobetween_candidates
from mlp.plots import plot_centralities, plot_network
from mlp.results import print_table, run_record, save_figure, save_results, writable_folder

TOP = 5
"""Neurons of each layer in the printed table."""


def parse_args(argv):
    parser = Parser(description="See a trained network as a weighted graph of neurons.")
    add_network_options(parser)
    add_candidate_options(parser)
    add_figures_option(parser)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    model, digits, about = load_network(args)
    figures = writable_folder(args.figures_dir)

    graph = neuron_graph(model.weights)
    table = centralities(graph)
    quantiles = args.in_degree_quantile, args.betweenness_quantile
    limits = candidate_limits(table, *quantiles)
    candidates = indegree_nobetween_candidates(table, *quantiles, args.max_candidates)

    rows = [
        {"layer": node[0], "index": node[1], **row, "candidate": node in candidates} for node, row in table.items()
    ]
    save_results(figures / "centralities", rows, run_record(args, network=about))
    title = f"{'-'.join(map(str, model.sizes))} network, digits {', '.join(map(str, digits))}"
    save_figure(plot_centralities(table, candidates, limits, quantiles, title), figures / "centralities")
    receptive_fields = model.weights[0].detach().numpy()
    save_figure(plot_network(graph, table, candidates, receptive_fields, digits, title), figures / "network")

    print_table(top_neurons(rows))
    print(f"{len(candidates)} candidates: {' '.join(map(neuron_name, candidates)) or 'none'}")
    print(f"saved {figures}/centralities.{{csv,json,png,pdf}} and {figures}/network.{{png,pdf}}")


def top_neurons(rows):
    """The neurons of each layer with the highest in-degree (of the inputs, out-degree), as text."""
    lines = []
    for layer in sorted({row["layer"] for row in rows}):
        neurons = [row for row in rows if row["layer"] == layer]
        neurons.sort(key=lambda row: (-row["in_degree"], -row["out_degree"]))
        for row in neurons[:TOP]:
            lines.append({
                "layer": str(layer), "neuron": neuron_name((layer, row["index"])),
                "in-degree": f"{row['in_degree']:.2f}", "out-degree": f"{row['out_degree']:.2f}",
                "betweenness": f"{row['betweenness']:.5f}", "candidate": "yes" if row["candidate"] else "",
            })  # fmt: skip
    return lines


if __name__ == "__main__":
    run(main)
