"""Figures.  Each function takes numbers and returns a matplotlib figure; nothing is shown or saved here."""

import functools

import matplotlib
import numpy
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from mlp.graph import neuron_name, strongest_edges
from mlp.model import IMAGE_SIDE

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
}
# petroff10 (Petroff 2021), arranged so that the default digits are the easiest to tell apart
DIGIT_COLORS = ("#94a4a2", "#b9ac70", "#92dadd", "#3f90da", "#e76300", "#ffa90e", "#717581", "#832db6", "#a96b59", "#bd1f01")
MOST_LABELS = 24  # names of more neurons than this in one column or panel would lie on top of each other
MOST_RECEPTIVE_FIELDS = 8
EDGES_PER_LAYER = 32
MOST_GROUPS = 8
CANDIDATE_COLOR = "#bd1f01"
GREY = "#717581"


def styled(plot):
    """Draw in the style of this repository, whatever the user's own matplotlib settings are."""

    @functools.wraps(plot)
    def wrapper(*args, **kwargs):
        with matplotlib.rc_context(matplotlib.rcParamsDefault | STYLE):
            return plot(*args, **kwargs)

    return wrapper


@styled
def plot_history(history, test_accuracy, classes, images_used):
    """Loss and accuracy per epoch on training and validation images, with test accuracy and chance."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for name, color, marker in (("training", "#3f90da", "o"), ("validation", "#ffa90e", "s")):
        style = {"color": color, "marker": marker, "markersize": 3, "label": name}
        loss_axes.plot(epochs, [row[f"{name}_loss"] for row in history], **style)
        accuracy_axes.plot(epochs, [100 * row[f"{name}_accuracy"] for row in history], **style)
    accuracy_axes.axhline(100 * test_accuracy, color=CANDIDATE_COLOR, linestyle="--", linewidth=1,
                          label=f"test, at the end: {100 * test_accuracy:.1f} %")
    accuracy_axes.axhline(100 / classes, color=GREY, linestyle=":", linewidth=1, label=f"chance: {100 / classes:.1f} %")
    loss_axes.set(xlabel="epoch", ylabel="cross-entropy (nats)", ylim=(0, None))
    accuracy_axes.set(xlabel="epoch", ylabel="accuracy (%)", ylim=(0, 102))
    for axes in (loss_axes, accuracy_axes):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    loss_axes.legend()
    accuracy_axes.legend(loc="center right")
    figure.suptitle(f"Training history ({images_used})", fontsize=10)
    return figure


@styled
def plot_centralities(table, candidates, limits, quantiles, title):
    """In-degree against betweenness, a panel per hidden layer, with the limits that make a candidate.

    table: centralities per node.  limits: {layer: (lowest in-degree, highest betweenness)}, the two `quantiles`.
    """
    figure = Figure(figsize=(max(7, 3 * len(limits)), 3.6), layout="constrained")
    for axes, (layer, (lowest, highest)) in zip(figure.subplots(1, len(limits), squeeze=False)[0], limits.items()):
        neurons = [node for node in table if node[0] == layer]
        for chosen, style in (
            (False, {"color": GREY, "marker": "o", "s": 28, "label": "hidden neuron"}),
            (True, {"color": CANDIDATE_COLOR, "marker": "D", "s": 34, "label": "candidate"}),
        ):
            group = [node for node in neurons if (node in candidates) == chosen]
            axes.scatter([table[node]["in_degree"] for node in group], [table[node]["betweenness"] for node in group],
                         zorder=3, **style)
        axes.axvline(lowest, color=GREY, linestyle="--", linewidth=1, label=f"in-degree, quantile {quantiles[0]:g}")
        axes.axhline(highest, color=GREY, linestyle=":", linewidth=1.4, label=f"betweenness, quantile {quantiles[1]:g}")
        for node in neurons if len(neurons) <= MOST_LABELS else ():
            axes.annotate(str(node[1]), (table[node]["in_degree"], table[node]["betweenness"]),
                          xytext=(5, -10 if node in candidates else 4), textcoords="offset points", fontsize=8)
        axes.set(title=f"layer {layer} (n = {len(neurons)} neurons)", xlabel="weighted in-degree (sum of |w|)")
        axes.margins(0.12)
    figure.axes[0].set_ylabel("betweenness (share of shortest paths)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle(title, fontsize=10)
    return figure


@styled
def plot_network(weights, table, candidates, digits, title):
    """The network from left to right: receptive fields, hidden neurons, outputs.

    Nodes: area by in-degree relative to the largest of the layer, colour by betweenness, candidates ringed.  Edges: the
    strongest between two layers, width by |w|.  The inputs are shown as the first-layer weights that read them, one
    28 x 28 image per neuron; of a wide layer, those of the neurons with the highest in-degree.

    weights: [out, in] per layer.  table: centralities per node.  digits: what the outputs stand for.
    """
    width, height = 10, 5.2  # inches, and the unit of all positions below
    layers = range(1, max(layer for layer, _ in table) + 1)
    neurons = {layer: [node for node in table if node[0] == layer] for layer in layers}
    left_to_right = dict(zip(layers, numpy.linspace(3, width - 1.2, len(layers))))
    position = {}
    for layer, nodes in neurons.items():
        lanes = -(-len(nodes) // MOST_LABELS)  # a wide layer is staggered over several lanes
        for index, node in enumerate(nodes):
            lane = (index % lanes - (lanes - 1) / 2) * min(0.2, 1.2 / lanes)
            position[node] = (left_to_right[layer] + lane, height * (1 - (index + 0.5) / len(nodes)))
    figure = Figure(figsize=(width, height + 0.7), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, width), ylim=(0, height + 0.5), aspect="equal")
    axes.axis("off")

    edges = strongest_edges(weights, EDGES_PER_LAYER)
    strength = numpy.array([weight for _, _, weight in edges])
    axes.add_collection(LineCollection([(position[source], position[target]) for source, target, _ in edges],
                                       linewidths=4 * strength / strength.max(initial=1), colors=GREY, alpha=0.6))

    widest = max(map(len, neurons.values()))
    largest_area = 450 if widest <= MOST_LABELS else 40  # square points
    largest = {layer: max(table[node]["in_degree"] for node in neurons[layer]) or 1 for layer in layers}
    nodes = axes.scatter(
        *zip(*position.values()),
        s=[largest_area * table[node]["in_degree"] / largest[node[0]] for node in position],
        c=[table[node]["betweenness"] for node in position],
        edgecolors=[CANDIDATE_COLOR if node in candidates else "white" for node in position],
        linewidths=[largest_area**0.5 / 30 + 1.2 if node in candidates else 0.3 for node in position],
        cmap="cividis", zorder=3,
    )  # fmt: skip
    figure.colorbar(nodes, ax=axes, label="betweenness (share of shortest paths)", fraction=0.025, pad=0.01)

    shown = sorted(sorted(neurons[1], key=lambda node: -table[node]["in_degree"])[:MOST_RECEPTIVE_FIELDS])
    side = 0.9 * height / max(len(shown), MOST_RECEPTIVE_FIELDS)
    receptive_fields = weights[0].detach().cpu().numpy()
    limit = numpy.quantile(abs(receptive_fields), 0.995)  # the few largest weights would fade all others
    for slot, node in enumerate(shown):
        middle = height * (1 - (slot + 0.5) / len(shown))
        axes.imshow(receptive_fields[node[1]].reshape(IMAGE_SIDE, IMAGE_SIDE), cmap="RdBu_r", vmin=-limit, vmax=limit,
                    extent=(1 - side / 2, 1 + side / 2, middle - side / 2, middle + side / 2))
        axes.plot([1 + side / 2, position[node][0]], [middle, position[node][1]], color=GREY, linewidth=0.6, zorder=0)
        axes.annotate(neuron_name(node), (1 - side / 2 - 0.08, middle), ha="right", va="center")
    axes.set(xlim=(0, width), ylim=(0, height + 0.5))  # imshow has fitted them to the last image

    which = "" if len(shown) == len(neurons[1]) else f", {len(shown)} of {len(neurons[1])}"
    axes.text(1, height + 0.1, f"receptive fields{which}\n(blue < 0 < red)", ha="center")
    for layer in layers[:-1]:
        axes.text(left_to_right[layer], height + 0.1, f"layer {layer}\n{len(neurons[layer])} neurons", ha="center")
    axes.text(left_to_right[layers[-1]], height + 0.1, "output", ha="center")
    for node in neurons[layers[-1]]:
        axes.annotate(f"digit {digits[node[1]]}", position[node], xytext=(16, 0), textcoords="offset points", va="center")
    for layer in layers[:-1]:
        wide = len(neurons[layer]) > MOST_LABELS
        for node in set(neurons[layer]) & set(candidates) if wide else neurons[layer]:
            axes.annotate(neuron_name(node), position[node], xytext=(0, 5 if wide else 13), textcoords="offset points",
                          ha="center", fontsize=6 if wide else 8, path_effects=[withStroke(linewidth=2, foreground="white")])
    axes.scatter([], [], s=80, facecolors="none", edgecolors=CANDIDATE_COLOR, linewidths=2, label="candidate")
    axes.scatter([], [], s=80, color=GREY, label="area: in-degree, relative to the layer's largest")
    axes.plot([], [], color=GREY, linewidth=4, alpha=0.6,
              label=f"the {EDGES_PER_LAYER} strongest edges between two layers, width: |w| (widest: {strength.max(initial=0):.2f})")
    figure.legend(loc="outside lower center", ncols=3)
    figure.suptitle(title, fontsize=10)
    return figure


@styled
def plot_ablation(rows, digits, title):
    """Accuracy per digit with each module ablated: a group of bars per candidate, a bar per digit.

    rows: the intact network first, then a row per candidate, with `neuron`, `layer`, `members` and for each digit
    `accuracy_<digit>` and its 95 % interval `low_<digit>`, `high_<digit>`, as fractions.
    """
    intact, *candidates = rows
    groups = [candidates[start:start + MOST_GROUPS] for start in range(0, len(candidates), MOST_GROUPS)] or [[]]
    figure = Figure(figsize=(9, 0.5 + 3 * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    bar = 0.8 / len(digits)
    for axes, group in zip(panels, groups):
        for place, digit in enumerate(digits):
            center = [number - 0.4 + (place + 0.5) * bar for number in range(len(group))]
            accuracy, low, high = ([100 * row[f"{name}_{digit}"] for row in group] for name in ("accuracy", "low", "high"))
            axes.bar(center, accuracy, bar * 0.92, color=DIGIT_COLORS[digit], label=f"digit {digit}")
            axes.vlines(center, low, high, color="black", linewidth=1)
            for x in center:
                axes.annotate(str(digit), (x, 0), xytext=(0, -10), textcoords="offset points", ha="center", fontsize=8)
        for digit in digits:
            axes.axhline(100 * intact[f"accuracy_{digit}"], color=DIGIT_COLORS[digit], linestyle="--", linewidth=1.2,
                         label=f"intact, digit {digit}: {100 * intact[f'accuracy_{digit}']:.1f} %")
        axes.plot([], [], color="black", linewidth=1, label="95 % interval, test images")
        axes.set(ylim=(0, 100), xlim=(-0.6, max(MOST_GROUPS * (len(groups) > 1), len(group), 1) - 0.4),
                 ylabel="test accuracy (%)")
        axes.set_xticks(range(len(group)), [f"{row['neuron']}\nlayer {row['layer']}\nn = {row['members']}" for row in group])
        axes.tick_params(axis="x", length=0, pad=13)
    if not candidates:
        axes.text(0, 50, "no candidates", ha="center")
    panels[0].set_title(title, loc="left")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
    return figure
