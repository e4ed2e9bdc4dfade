"""See a trained network, or many, as weighted graphs of neurons: in-degree, out-degree, betweenness.

    python network_analysis.py [CHECKPOINT]

Writes centralities.csv, .json, .png and .pdf, and network.png and .pdf to --figures-dir.
"""

import report.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

from collections import Counter

from mlp.files import writable_folder
from mlp.network import stacked_strengths
from modularity.candidates import candidate_limits, candidate_overlap, indegree_nobetween_candidates
from modularity.centrality import centralities, layered_centralities
from modularity.graph import neuron_graph, neuron_name
from report.candidates import overlap_sentence
from report.networks import plot_centralities, plot_network
from report.notes import note_dead_units
from report.options import Parser, run, selected_networks
from report.results import print_table, run_record, save_results
from report.style import save_figure

MOST_NAMED = 50
"""Candidates that are named on the screen; of more, the files have the names."""

TOP = 5
"""Neurons of each layer in the printed table."""

NETWORKX_WORK = 3 * 10**5
"""Nodes times edges, over all networks, that networkx analyses in about a tenth of a second."""


def parse_args(argv):
    parser = Parser("See a trained network, or many, as weighted graphs of neurons.")
    parser.add_networks()
    parser.add_candidates()
    parser.add_rescaling()
    what = (
        "what computes betweenness: networkx, the equal but faster layered engine, or auto: networkx where it is quick"
    )
    parser.option("--engine", what, default="auto", choices=("auto", "networkx", "layered"))
    parser.add_folders(data=False)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    networks, about = selected_networks(args.checkpoint, args)
    figures = writable_folder(args.figures_dir)
    note_dead_units(networks)

    engine = args.engine if args.engine != "auto" else affordable_engine(networks)
    quantiles = args.in_degree_quantile, args.betweenness_quantile
    tables = centrality_tables(networks, engine)
    candidates = [indegree_nobetween_candidates(table, *quantiles, args.max_candidates) for table in tables]
    overlap = {}
    if args.rescale:
        as_they_were, networks = candidates, [network.rescaled() for network in networks]
        tables = centrality_tables(networks, engine)
        candidates = [indegree_nobetween_candidates(table, *quantiles, args.max_candidates) for table in tables]
        overlap["rescaling"] = candidate_overlap(as_they_were, candidates, networks[0].model.hidden_sizes)
    first = networks[0]

    rows = [
        {"network": network.number, "layer": node[0], "index": node[1], **row, "candidate": node in its_candidates}
        for network, table, its_candidates in zip(networks, tables, candidates)
        for node, row in table.items()
    ]
    save_results(figures / "centralities", rows, run_record(args, engine=engine, checkpoint=about, **overlap))
    title = f"{first.model.architecture} network, {first.data}" + (", rescaled" if args.rescale else "")
    limits = [candidate_limits(table, *quantiles) for table in tables]
    save_figure(plot_centralities(tables, candidates, limits, quantiles, title), figures / "centralities")
    if len(networks) > 1:
        title += f" (number {first.number} of {len(networks)})"
    names = list(map(first.data.class_name, first.data.classes))
    drawn = first.weights[0], first.strengths, first.image_shape, tables[0], candidates[0], names, title
    save_figure(plot_network(*drawn), figures / "network")

    columns = {"layer": "{layer}", "neuron": "{neuron}", "in-degree": "{in_degree:.2f}"}
    columns |= {"out-degree": "{out_degree:.2f}", "betweenness": "{betweenness:.5f}", "candidate": "{candidate}"}
    print_table(top_neurons(tables[0], candidates[0]), columns)
    print(f"{len(candidates[0])} candidates: {named(candidates[0])}")
    if len(networks) > 1:
        counts = list(map(len, candidates))
        range_of = f"{min(counts)} to {max(counts)}"
        print(f"that was network {first.number}; {len(networks)} networks have {range_of} candidates each")
    for found in overlap.values():
        print(overlap_sentence(found))
    print(f"betweenness by the {engine} engine")
    print(f"saved {figures}/centralities.{{csv,json,png,pdf}} and {figures}/network.{{png,pdf}}")


def centrality_tables(networks, engine):
    """The centralities of all neurons of each network, by node."""
    if engine == "networkx":
        return [centralities(neuron_graph(network.strengths)) for network in networks]
    return layered_centralities(stacked_strengths(networks))


def affordable_engine(networks):
    """networkx as long as it takes a fraction of a second, else the layered engine."""
    edges = [sum(int(layer.count_nonzero()) for layer in network.strengths) for network in networks]
    work = sum(sum(network.model.sizes) * its_edges for network, its_edges in zip(networks, edges))
    return "networkx" if work <= NETWORKX_WORK else "layered"


def named(candidates):
    """The names of the candidates, or of very many how many each layer has."""
    if len(candidates) > MOST_NAMED:
        counts = Counter(layer for layer, _ in candidates)
        return ", ".join(f"{count} of layer {layer}" for layer, count in counts.items())
    return " ".join(map(neuron_name, candidates)) or "none"


def top_neurons(table, candidates):
    """The neurons of each layer with the highest in-degree (of the inputs, out-degree), with their centralities."""
    rows = []
    for layer in sorted({layer for layer, _ in table}):
        neurons = [node for node in table if node[0] == layer]
        neurons.sort(key=lambda node: (-table[node]["in_degree"], -table[node]["out_degree"]))
        for node in neurons[:TOP]:
            about = {"layer": layer, "neuron": neuron_name(node), "candidate": "yes" if node in candidates else ""}
            rows.append(about | table[node])
    return rows


if __name__ == "__main__":
    run(main)
