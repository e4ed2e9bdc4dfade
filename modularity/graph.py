"""The graph: a trained network as a weighted graph of neurons, directed for paths and undirected for clusters."""

import scipy
import torch

from mlp import InputError
from mlp.strengths import connected_units

LONGEST = 1e300
"""Length 1/|w| of the longest edge: of a path of millions, the length is still finite in double precision."""


def neuron_graph(weights):
    """The layered DAG of all input, hidden and output neurons.

    weights: one [out, in] tensor per layer of connections; a weight of exactly zero (pruned) is no edge.
    Returns a DiGraph with nodes (layer, index), layer 0 being the inputs.  Nodes carry `layer`; edges carry
    `weight` = |w|, a strength, and `distance` = 1/|w|, a length.  Raises InputError as `edge_lengths` does.
    """
    import networkx  # here, for most scripts do without

    graph = networkx.DiGraph()
    widths = [weights[0].shape[1], *map(len, weights)]
    for layer, width in enumerate(widths):
        graph.add_nodes_from(((layer, index) for index in range(width)), layer=layer)
    for layer, (strength, distance) in enumerate(zip(strengths(weights), edge_lengths(weights))):
        present = strength.nonzero(as_tuple=True)
        targets, sources = (places.tolist() for places in present)  # torch stores [out, in]
        edges = zip(sources, targets, strength[present].tolist(), distance[present].tolist())
        for source, target, weight, length in edges:
            graph.add_edge((layer, source), (layer + 1, target), weight=weight, distance=length)
    return graph


def weight_adjacency(weights):
    """The undirected graph of all neurons: consecutive layers joined by |w| (Filan et al. 2020).

    weights: one [out, in] tensor per layer of connections; a weight of exactly zero is no edge.  Biases play no part.
    Returns a symmetric float64 scipy.sparse.csr_array [neurons, neurons] with an empty diagonal; the neurons are those
    of layer 0, 1, ... in order.  A neuron without edges keeps its empty row; `connected_units` tells which are left.
    Raises InputError if a weight is NaN or infinite.
    """
    blocks = [[None] * (len(weights) + 1) for _ in range(len(weights) + 1)]
    for layer, strength in enumerate(strengths(weights)):
        block = scipy.sparse.csr_array(strength.cpu().numpy())
        blocks[layer][layer + 1], blocks[layer + 1][layer] = block.T, block
    return scipy.sparse.block_array(blocks, format="csr")


def without_isolated(weights):
    """The weight matrices without the rows and columns of neurons that have no edge."""
    connected = connected_units(weights)
    return [weight[after][:, before] for weight, before, after in zip(weights, connected, connected[1:])]


def inputs_reach_outputs(weights):
    """Whether a path of nonzero weights leads from an input to an output."""
    reached = torch.ones(weights[0].shape[1], dtype=torch.bool, device=weights[0].device)
    for weight in weights:
        reached = (weight[:, reached] != 0).any(1)
    return bool(reached.any())


def strengths(weights):
    """|w| in double precision, per layer.  Raises InputError if a weight is NaN or infinite."""
    for layer, matrix in enumerate(weights, 1):
        if not matrix.isfinite().all():
            raise InputError(f"the weights into layer {layer} hold NaN or infinite values; train the network again")
    return [matrix.detach().double().abs() for matrix in weights]


def edge_lengths(weights):
    """1/|w| in double precision, per layer; infinite where there is no edge.

    Raises InputError if a weight is NaN, infinite, or of a size beyond 1e-300 to 1e300 (zero is fine): sums of 1/|w|
    would leave the range of double precision, and edges would be missing.
    """
    lengths = []
    for layer, strength in enumerate(strengths(weights), 1):
        length = 1 / strength
        if ((length > LONGEST) & (strength > 0)).any() or (length < 1 / LONGEST).any():
            raise InputError(f"weights into layer {layer} are beyond 1e-300 to 1e300; set tiny ones to 0, or scale all")
        lengths.append(length)
    return lengths


def strongest_edges(weights, nodes, per_layer):
    """The heaviest edges between nodes of two layers, at most `per_layer` of each two: (source, target, |w|).

    nodes: {layer: [(layer, index)]}, of consecutive layers.
    """
    edges = []
    for layer, targets in list(nodes.items())[1:]:
        sources = nodes[layer - 1]
        rows, columns = (torch.tensor([index for _, index in some]) for some in (targets, sources))
        [strength] = strengths([weights[layer - 1].cpu()[rows][:, columns]])
        for place in strength.flatten().argsort(descending=True, stable=True)[:per_layer].tolist():
            target, source = divmod(place, len(sources))
            if strength[target, source] > 0:
                edges.append((sources[source], targets[target], strength[target, source].item()))
    return edges


def neuron_name(node):
    """(2, 5) -> 'L2_5'"""
    return "L{}_{}".format(*node)
