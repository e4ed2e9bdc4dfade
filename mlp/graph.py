"""The graph: a trained network as a weighted directed acyclic graph of neurons."""

import networkx

from mlp import InputError


def neuron_graph(weights):
    """The layered DAG of all input, hidden and output neurons.

    weights: one [out, in] tensor per layer of connections; a weight of exactly zero (pruned) is no edge.

    Returns a DiGraph with nodes (layer, index), layer 0 being the inputs.  Nodes carry `layer`; edges carry
    `weight` = |w|, a strength, and `distance` = 1/|w|, a length.  Raises InputError if a weight is NaN or infinite.
    """
    graph = networkx.DiGraph()
    widths = [weights[0].shape[1], *map(len, weights)]
    for layer, width in enumerate(widths):
        graph.add_nodes_from(((layer, index) for index in range(width)), layer=layer)
    for layer, matrix in enumerate(weights):
        strength = matrix.detach().cpu().double().abs()
        if not strength.isfinite().all():
            raise InputError(f"the weights into layer {layer + 1} hold NaN or infinite values")
        targets, sources = strength.nonzero(as_tuple=True)  # torch stores [out, in]
        graph.add_edges_from(
            ((layer, source), (layer + 1, target), {"weight": weight, "distance": 1 / weight})
            for source, target, weight in zip(sources.tolist(), targets.tolist(), strength[targets, sources].tolist())
        )
    return graph


def centralities(graph):
    """Weighted in-degree, out-degree and betweenness of every neuron of a `neuron_graph`.

    in_degree, out_degree: sum of |w| over incoming, outgoing edges.
    betweenness: fraction of the ordered pairs of other nodes whose shortest path by `distance` runs through the node,
    equally short paths sharing the pair (Freeman 1977; Brandes 2001), divided by (n-1)(n-2) for n nodes.

    Returns {node: {"in_degree": ..., "out_degree": ..., "betweenness": ...}}.
    """
    in_degree = dict(graph.in_degree(weight="weight"))
    out_degree = dict(graph.out_degree(weight="weight"))
    betweenness = networkx.betweenness_centrality(graph, weight="distance", normalized=True)
    return {
        node: {"in_degree": in_degree[node], "out_degree": out_degree[node], "betweenness": betweenness[node]}
        for node in graph
    }


def strongest_edges(graph, per_layer):
    """The heaviest edges out of each layer but the inputs: (source, target, weight), at most `per_layer` of each."""
    edges = sorted(graph.edges(data="weight"), key=lambda edge: -edge[2])
    outgoing = {}
    for source, target, weight in edges:
        outgoing.setdefault(source[0], []).append((source, target, weight))
    return [edge for layer, its_edges in sorted(outgoing.items()) if layer > 0 for edge in its_edges[:per_layer]]


def neuron_name(node):
    """(2, 5) -> 'L2_5'"""
    return "L{}_{}".format(*node)
