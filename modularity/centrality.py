"""Centrality: in-degree, out-degree and betweenness of every neuron, by networkx or many networks at once."""

from fractions import Fraction

import torch

from modularity.exact_paths import ExactPaths
from modularity.graph import edge_lengths, strengths

BATCH_NUMBERS = 2**20
"""Path lengths held at once by `betweenness`: 8 MiB, which stay in a processor's cache."""


def centralities(graph):
    """Weighted in-degree, out-degree and betweenness of every neuron of a `neuron_graph`, by networkx.

    in_degree, out_degree: sum of |w| over incoming, outgoing edges.
    betweenness: fraction of the ordered pairs of other nodes whose shortest path runs through the node, equally short
    paths sharing the pair (Freeman 1977; Brandes 2001), divided by (n-1)(n-2) for n nodes.  The length of a path is the
    sum of 1/|w| as exact fractions, because in double precision a long edge hides all shorter ones.
    Returns {node: {"in_degree": ..., "out_degree": ..., "betweenness": ...}}.
    """
    import networkx  # here, for most scripts do without

    lengths = {(source, target): 1 / Fraction(weight) for source, target, weight in graph.edges(data="weight")}
    degrees = {"in_degree": graph.in_degree, "out_degree": graph.out_degree}
    measures = {name: dict(degree(weight="weight")) for name, degree in degrees.items()}
    measures["betweenness"] = networkx.betweenness_centrality(graph, weight=lambda *edge: lengths[edge[:2]])
    return {node: {name: values[node] for name, values in measures.items()} for node in graph}


def layered_centralities(weights):
    """The table of `centralities` for each of many networks at once, by the layered engine.

    weights: one [networks, out, in] tensor per layer of connections.  Returns a list of tables.
    """
    per_layer = betweenness(weights)
    layers = [strength.cpu() for strength in strengths(weights)]
    tables = []
    for k in range(len(weights[0])):
        # summed one by one, as networkx does, so that both engines agree to the last bit
        in_degrees = [[0] * layers[0].shape[2], *([sum(row) for row in layer[k].tolist()] for layer in layers)]
        out_degrees = [*([sum(row) for row in layer[k].T.tolist()] for layer in layers), [0] * layers[-1].shape[1]]
        tables.append({})
        for layer, columns in enumerate(zip(in_degrees, out_degrees, (b[k].tolist() for b in per_layer))):
            for index, (into, out, between) in enumerate(zip(*columns)):
                tables[k][layer, index] = {"in_degree": into, "out_degree": out, "betweenness": between}
    return tables


@torch.no_grad()
def betweenness(weights):
    """Shortest-path betweenness of every neuron, with lengths compared exactly.

    In a layered DAG the shortest distances from a layer to all later ones are min-plus matrix products, layer by layer.
    Walking back, the dependency of a source on a neuron is, summed over the neurons of the next layer that it leads to,
    the share of their shortest paths it carries times (1 + their own dependency): Brandes (2001), theorem 6.  Sources
    are handled in batches of bounded memory.  Where shortest paths are unique, their number is 1 and the sum a scatter.
    A source is done again by `ExactPaths` where double precision cannot tell which of its paths are shortest, be it
    that they tie or that a long edge hides the rest; only paths of exactly equal length share a pair.
    weights: one [out, in] or [networks, out, in] tensor per layer of connections, on one device; zero is no edge.
    Returns one float64 tensor [neurons] or [networks, neurons] per layer, inputs and outputs (always 0) included.
    Raises InputError as `edge_lengths` does.
    """
    if weights[0].dim() == 2:
        return [layer[0] for layer in betweenness([matrix.unsqueeze(0) for matrix in weights])]
    distances = edge_lengths(weights)  # no edge: infinitely long
    networks, _, inputs = distances[0].shape
    sizes = [inputs, *(distance.shape[1] for distance in distances)]
    total = [distances[0].new_zeros(networks, size) for size in sizes]
    roads_per_source = max((distance.numel() for distance in distances[1:]), default=1)
    if networks > 1 and roads_per_source > BATCH_NUMBERS:  # large networks one by one
        alone = [betweenness([matrix[k] for matrix in weights]) for k in range(networks)]
        return [torch.stack(layer) for layer in zip(*alone)]
    sources_at_once = min(max(1, BATCH_NUMBERS // roads_per_source), max(sizes))
    room = max(BATCH_NUMBERS, sources_at_once * networks * max(sizes))
    buffer = distances[0].new_empty(room)  # made once: fresh memory costs more than sums
    # rounding moves a sum of L terms by at most L eps / 2 of it, so a difference of L eps is real; the rest is margin
    tolerance = 4 * len(distances) * torch.finfo(torch.double).eps
    exact = None
    for layer in range(len(distances) - 1):
        for start in range(0, sizes[layer], sources_at_once):
            lengths = distances[layer].mT[:, start : start + sources_at_once]
            dependencies, unsure = _dependencies(lengths, distances[layer + 1 :], tolerance, buffer)
            if unsure.any():
                if exact is None:
                    exact = ExactPaths(strengths(weights), tolerance)
                network, source = unsure.cpu().numpy().nonzero()
                corrected = exact.dependencies(layer, network, start + source)
                for dependency, values in zip(dependencies, corrected):
                    dependency[unsure] = torch.from_numpy(values).to(dependency.device)
            for inner, dependency in enumerate(dependencies, layer + 1):
                total[inner] += dependency.sum(-2)
    n = sum(sizes)
    scale = 1 / ((n - 1) * (n - 2)) if n > 2 else 1
    return [pairs * scale for pairs in total]


def _dependencies(lengths, distances, tolerance, buffer):
    """Brandes's dependencies of sources on the neurons between them and the last layer, where paths are unique.

    lengths: [networks, sources, neurons], distances from the sources to the first of these layers.
    distances: [networks, out, in] of each step from there on.
    tolerance: relative difference from which on two lengths are surely in the right order.
    buffer: room for [networks, sources, in], and more to be faster.
    Returns dependencies, [networks, sources, neurons] for each layer but the last, and `unsure`, a boolean
    [networks, sources]: a second path may be as short as the shortest, and the dependencies of this source be wrong.
    """
    steps = []
    unsure = torch.zeros(lengths.shape[:-1], dtype=torch.bool, device=lengths.device)
    for distance in distances:
        shortest, by_way_of = [], []
        for part in distance.split(max(1, len(buffer) // lengths.numel()), dim=-2):
            shape = (*lengths.shape[:-1], *part.shape[-2:])
            roads = buffer[: torch.Size(shape).numel()].view(shape)
            torch.add(lengths.unsqueeze(-2), part.unsqueeze(-3), out=roads)
            nearest, previous = roads.min(-1)
            roads.scatter_(-1, previous.unsqueeze(-1), torch.inf)
            close = (roads.amin(-1) <= nearest * (1 + tolerance)) & nearest.isfinite()
            unsure |= close.any(-1)
            shortest.append(nearest)
            by_way_of.append(previous)
        lengths, previous = torch.cat(shortest, -1), torch.cat(by_way_of, -1)
        steps.append((lengths.isfinite(), previous, distance.shape[-1]))
    dependencies = [torch.zeros_like(lengths)]
    for reached, previous, size in reversed(steps):
        passed_on = reached * (1 + dependencies[0])
        dependencies.insert(0, passed_on.new_zeros(*passed_on.shape[:-1], size).scatter_add_(-1, previous, passed_on))
    return dependencies[:-1], unsure
