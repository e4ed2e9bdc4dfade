"""Figures of networks: how they were trained, how central their neurons are, and what they look like.

Each function, as in the modules beside it, takes numbers and returns a matplotlib figure; nothing is shown or saved.
"""

from math import prod

import numpy
import torch
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator

from mlp.data import IMAGE_SIDE, PIXELS
from modularity.graph import neuron_name, strongest_edges
from modularity.rows import grouped
from report.panels import column, figure_of, legend_below
from report.style import BLUE, DASHED, DOTTED, GREY, HALO, OFFSET, RED, YELLOW, styled

MOST_LABELS = 24  # names of more neurons than this in one column or panel would lie on top of each other
MOST_RECEPTIVE_FIELDS = 8
MOST_DRAWN = 2 * MOST_LABELS  # units of a layer
MOST_PANELS = 5  # side by side
EDGES_PER_LAYER = 32


@styled
def plot_history(history, tests, classes, counts, pruned_from=None):
    """Loss and accuracy per epoch on training and validation images, with test accuracy and chance.

    history: rows of `mlp.training.train`; of several networks the median and range of those in training are drawn.
    tests: a row per network with its test `accuracy`.  counts: images per split that were measured.
    pruned_from: the last epoch before pruning, or None.
    """
    states = grouped(history, "epoch")
    epochs = [state[0]["epoch"] for state in states]
    shown = "median and range" + (" of those still in training" if len(states[-1]) < len(tests) else "")
    networks = "" if len(tests) == 1 else f"{len(tests)} networks, {shown}; "
    images = ", ".join(f"{n:,} {split}" for split, n in counts.items() if n)
    title = f"Training history ({networks}{images} images)"
    figure, [[loss_axes, accuracy_axes]] = figure_of(8, 3.2, title, columns=2)
    drawn = (loss_axes, "loss", 1), (accuracy_axes, "accuracy", 100)
    for name, color, marker in (("training", BLUE, "o"), ("validation", YELLOW, "s")):
        for axes, measure, scale in drawn if counts[name] else ():
            values = [scale * column(state, f"{name}_{measure}") for state in states]
            lowest, medians, highest = ([pick(some) for some in values] for pick in (min, numpy.median, max))
            axes.plot(epochs, medians, color=color, marker=marker, markersize=3, label=name)
            if len(tests) > 1:
                axes.fill_between(epochs, lowest, highest, color=color, alpha=0.2, linewidth=0)
    accuracy, chance = 100 * numpy.median(column(tests, "accuracy")), 100 / classes
    accuracy_axes.axhline(accuracy, **DASHED | {"color": RED}, label=f"test, at the end: {accuracy:.1f} %")
    accuracy_axes.axhline(chance, **DOTTED, linewidth=1, label=f"chance: {chance:.1f} %")
    loss_axes.set(xlabel="epoch", ylabel="cross-entropy (nats)", ylim=(0, None))
    accuracy_axes.set(xlabel="epoch", ylabel="accuracy (%)", ylim=(0, 102))
    for axes in (loss_axes, accuracy_axes):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if pruned_from:
            axes.axvline(pruned_from + 0.5, color="black", linestyle="-.", linewidth=1, label="pruning begins")
    loss_axes.legend()
    accuracy_axes.legend(loc="center right")
    return figure


@styled
def plot_centralities(tables, candidates, limits, quantiles, title):
    """In-degree against betweenness, a panel per hidden layer, candidates and the limits that make them marked.

    tables: centralities per node, candidates, and limits {layer: (lowest in-degree, highest betweenness)}, the two
    `quantiles`: each a list with one entry per network.  Many networks are drawn together, without their own limits.
    """
    alone = len(tables) == 1
    labelled = alone and len(candidates[0]) <= MOST_LABELS
    title += "" if alone else f", {len(tables)} networks"
    columns = min(MOST_PANELS, len(limits[0]))
    lines = -(-len(limits[0]) // columns)
    figure, panels = figure_of(max(7, 3 * columns), 0.6 + 3 * lines, title, lines, columns)
    for axes in panels.flat[len(limits[0]) :]:
        axes.remove()
    for axes, layer in zip(panels.flat, limits[0]):
        points = []
        for table, chosen in zip(tables, candidates):
            nodes = [node for node in table if node[0] == layer]
            points += [
                (table[node]["in_degree"], table[node]["betweenness"], node[1], node in chosen) for node in nodes
            ]
        x, y, indices, is_candidate = numpy.transpose(points)
        for kind, color, marker, name in ((0, GREY, "o", "hidden unit"), (1, RED, "D", "candidate")):
            some = is_candidate == kind
            axes.scatter(x[some], y[some], 30 if alone else 5, color, marker=marker, label=name, zorder=3)
        if alone:
            lowest, highest = limits[0][layer]
            axes.axvline(lowest, **DASHED, label=f"in-degree, quantile {quantiles[0]:g}")
            axes.axhline(highest, **DOTTED, linewidth=1.4, label=f"betweenness, quantile {quantiles[1]:g}")
        right, line = x + 0.04 * numpy.ptp(x), 0.07 * numpy.ptp(y)  # where names begin, and how high they are
        height = -numpy.inf
        for place in sorted(numpy.flatnonzero(is_candidate), key=lambda place: y[place]) if labelled else ():
            height = max(y[place], height + line)  # lest one name lies on top of another
            name = neuron_name((layer, int(indices[place])))
            axes.text(right[place], height, name, va="center", fontsize=8, zorder=4, **HALO)
        axes.set(title=f"layer {layer} (n = {len(points)} units)", xlabel="weighted in-degree (sum of |w|)")
        axes.margins(0.12)
    for line in panels:
        line[0].set_ylabel("betweenness (share of shortest paths)")
    legend_below(figure, panels[0, 0], columns=4)
    return figure


@styled
def plot_network(weights, strengths, shape, table, candidates, classes, title):
    """The network from left to right: receptive fields, hidden neurons, outputs.

    Nodes: area by in-degree relative to the largest of the layer, colour by betweenness, candidates ringed; of wide
    layers those of high in-degree.  Edges: the strongest between two layers.  Inputs: an image of the weights that read
    them per neuron of the first layer, or per neuron of high in-degree.  weights: of the first layer, [out, in, ...].
    strengths: [out, in] per layer.  shape: of an image.  table: centralities per node.  classes: of the outputs.
    """
    *hidden, output = range(1, max(layer for layer, _ in table) + 1)
    width, height = max(10, 5 + output), 5.2  # inches, and the unit of all positions below
    sizes = dict(enumerate(map(len, strengths), 1))
    most = dict.fromkeys(hidden, MOST_DRAWN) | {output: MOST_LABELS}

    def in_degree(node):
        return table[node]["in_degree"]

    neurons = {layer: [(layer, index) for index in range(size)] for layer, size in sizes.items()}
    neurons = {layer: sorted(sorted(nodes, key=in_degree)[-most[layer] :]) for layer, nodes in neurons.items()}
    left_to_right = dict(zip(neurons, numpy.linspace(3, width - 1.2, len(neurons))))
    position = {}
    for layer, nodes in neurons.items():
        lanes = -(-len(nodes) // MOST_LABELS)  # a wide layer is staggered over several lanes
        for index, node in enumerate(nodes):
            lane = (index % lanes - (lanes - 1) / 2) * min(0.2, 1.2 / lanes)
            position[node] = (left_to_right[layer] + lane, height * (1 - (index + 0.5) / len(nodes)))
    figure, [[axes]] = figure_of(width, height + 0.7, title)
    axes.axis("off")

    edges = strongest_edges(strengths, neurons, EDGES_PER_LAYER)
    lines = [(position[source], position[target]) for source, target, _ in edges]
    strength = numpy.array([weight for _, _, weight in edges])
    edge = {"color": GREY, "alpha": 0.6}
    axes.add_collection(LineCollection(lines, linewidths=4 * strength / strength.max(initial=1), **edge))

    crowded = max(map(len, neurons.values())) > MOST_LABELS
    largest_area = 40 if crowded else 450  # square points
    largest = {layer: max(map(in_degree, nodes)) or 1 for layer, nodes in neurons.items()}
    areas = [largest_area * in_degree(node) / largest[node[0]] for node in position]
    colors = [table[node]["betweenness"] for node in position]
    ring, rim = (RED, largest_area**0.5 / 30 + 1.2), ("white", 0.3)
    edgecolors, linewidths = zip(*(ring if node in candidates else rim for node in position))
    look = {"edgecolors": edgecolors, "linewidths": linewidths, "cmap": "cividis", "zorder": 3}
    nodes = axes.scatter(*zip(*position.values()), areas, colors, **look)
    figure.colorbar(nodes, ax=axes, label="betweenness (share of shortest paths)", fraction=0.025, pad=0.01)

    shown = sorted(sorted(neurons[1], key=in_degree)[-MOST_RECEPTIVE_FIELDS:])
    half = 0.45 * height / max(len(shown), MOST_RECEPTIVE_FIELDS)  # of the side of an image
    kinds = ("units", "kernels") if weights.ndim == 4 else ("neurons", "receptive fields")
    receptive_fields = as_images(weights.detach().cpu(), shape).numpy()
    limit = numpy.quantile(abs(receptive_fields), 0.995)  # the few largest weights would fade all others
    for slot, node in enumerate(shown):
        middle = height * (1 - (slot + 0.5) / len(shown))
        extent = (1 - half, 1 + half, middle - half, middle + half)
        axes.imshow(receptive_fields[node[1]], cmap="RdBu_r", vmin=-limit, vmax=limit, extent=extent)
        x, y = position[node]
        axes.plot([1 + half, x], [middle, y], color=GREY, linewidth=0.6, zorder=0)
        axes.annotate(neuron_name(node), (1 - half - 0.08, middle), ha="right", va="center")
    top = height + (0.25 if crowded else 0.1)
    axes.set(xlim=(0, width), ylim=(0, top + (0.6 if crowded else 0.4)))  # last, for imshow fits them to its image

    which = "" if len(shown) == sizes[1] else f", {len(shown)} of {sizes[1]}"
    axes.text(1, top, f"{kinds[1]}{which}\n(blue < 0 < red)", ha="center")
    for layer, nodes in neurons.items():
        drawn = "" if len(nodes) == sizes[layer] else f"{len(nodes)} of\n"
        name = f"layer {layer}" if layer < output else "output"
        axes.text(left_to_right[layer], top, f"{name}\n{drawn}{sizes[layer]} {kinds[0]}", ha="center")
    for node in neurons[output]:
        axes.annotate(classes[node[1]], position[node], (16, 0), va="center", **OFFSET)
    for layer in hidden:
        wide = len(neurons[layer]) > MOST_LABELS
        above, size = (5, 6) if crowded else (13, 8)
        look = {"ha": "center", "fontsize": size, **OFFSET, **HALO}
        named = neurons[layer] if not wide else [node for node in neurons[layer] if node in candidates]
        for node in named if len(named) <= MOST_LABELS else ():
            axes.annotate(neuron_name(node), position[node], (0, above), **look)
    axes.scatter([], [], s=80, facecolors="none", edgecolors=RED, linewidths=2, label="candidate")
    everyone = len(position) == sum(sizes.values())
    left_out = "" if everyone else "; of wide layers the units of highest in-degree are drawn"
    axes.scatter([], [], s=80, color=GREY, label=f"area: in-degree, relative to the layer's largest{left_out}")
    between = "layers" if everyone else "units drawn"
    name = f"the {EDGES_PER_LAYER} strongest edges between {between}, width: |w| (to {strength.max(initial=0):.2f})"
    axes.plot([], [], **edge, linewidth=4, label=name)
    legend_below(figure, axes, columns=3 if everyone else 2)
    return figure


def as_images(weights, shape):
    """Weights of units that read images, as pictures [units, height, width], channels side by side.

    weights: [units, inputs], or kernels [units, channels, height, width].  shape: of an image, where it is known.  Else
    the inputs stand in one line, unless they are as many as the pixels of a digit.
    """
    if weights.ndim == 2:
        inputs = weights.shape[1]
        if prod(shape) != inputs or len(shape) != 3:
            shape = (1, IMAGE_SIDE, IMAGE_SIDE) if inputs == PIXELS else (1, 1, inputs)
        weights = weights.unflatten(1, shape)
    return torch.cat(weights.unbind(1), dim=2)
