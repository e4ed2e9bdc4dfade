"""Figures.  Each function takes numbers and returns a matplotlib figure; nothing is shown or saved here."""

import numpy
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, NullFormatter

from modularity.graph import neuron_name, strongest_edges
from mlp.model import IMAGE_SIDE
from modularity.rows import grouped
from report.style import CANDIDATE_COLOR, DIGIT_COLORS, GREY, styled

MOST_LABELS = 24  # names of more neurons than this in one column or panel would lie on top of each other
MOST_RECEPTIVE_FIELDS = 8
EDGES_PER_LAYER = 32
MOST_GROUPS = 8


@styled
def plot_history(history, tests, classes, counts, pruned_from=None):
    """Loss and accuracy per epoch on training and validation images, with test accuracy and chance.

    history: rows of `mlp.training.train`; of several networks the median and range of those in training are drawn.
    tests: a row per network with its test `accuracy`.  counts: images per split.
    pruned_from: the last epoch before pruning, or None.
    """
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    states = grouped(history, "epoch")
    epochs = [state[0]["epoch"] for state in states]
    for name, color, marker in (("training", "#3f90da", "o"), ("validation", "#ffa90e", "s")):
        if counts[name] == 0:
            continue
        for axes, measure, scale in ((loss_axes, "loss", 1), (accuracy_axes, "accuracy", 100)):
            values = [[scale * row[f"{name}_{measure}"] for row in state] for state in states]
            medians = [numpy.median(state) for state in values]
            axes.plot(epochs, medians, color=color, marker=marker, markersize=3, label=name)
            if len(tests) > 1:
                lowest, highest = (list(map(extreme, values)) for extreme in (min, max))
                axes.fill_between(epochs, lowest, highest, color=color, alpha=0.2, linewidth=0)
    accuracy = 100 * numpy.median([row["accuracy"] for row in tests])
    accuracy_axes.axhline(
        accuracy, color=CANDIDATE_COLOR, linestyle="--", linewidth=1, label=f"test, at the end: {accuracy:.1f} %"
    )
    accuracy_axes.axhline(100 / classes, color=GREY, linestyle=":", linewidth=1, label=f"chance: {100 / classes:.1f} %")
    loss_axes.set(xlabel="epoch", ylabel="cross-entropy (nats)", ylim=(0, None))
    accuracy_axes.set(xlabel="epoch", ylabel="accuracy (%)", ylim=(0, 102))
    for axes in (loss_axes, accuracy_axes):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if pruned_from:
            axes.axvline(pruned_from + 0.5, color="black", linestyle="-.", linewidth=1, label="pruning begins")
    loss_axes.legend()
    accuracy_axes.legend(loc="center right")
    shown = "median and range" + (" of those still in training" if len(states[-1]) < len(tests) else "")
    networks = "" if len(tests) == 1 else f"{len(tests)} networks, {shown}; "
    images = ", ".join(f"{n:,} {split}" for split, n in counts.items() if n)
    figure.suptitle(f"Training history ({networks}{images} images)", fontsize=10)
    return figure


@styled
def plot_centralities(tables, candidates, limits, quantiles, title):
    """In-degree against betweenness, a panel per hidden layer, candidates and the limits that make them marked.

    tables: centralities per node, candidates, and limits {layer: (lowest in-degree, highest betweenness)}, the two
    `quantiles`: each a list with one entry per network.  Many networks are drawn together, without their own limits.
    """
    alone = len(tables) == 1
    figure = Figure(figsize=(max(7, 3 * len(limits[0])), 3.6), layout="constrained")
    panels = figure.subplots(1, len(limits[0]), squeeze=False)[0]
    for axes, layer in zip(panels, limits[0]):
        points = [
            (row["in_degree"], row["betweenness"], node[1], node in chosen)
            for table, chosen in zip(tables, candidates)
            for node, row in table.items()
            if node[0] == layer
        ]
        for is_candidate, style in (
            (False, {"color": GREY, "marker": "o", "label": "hidden neuron"}),
            (True, {"color": CANDIDATE_COLOR, "marker": "D", "label": "candidate"}),
        ):
            group = [point for point in points if point[3] == is_candidate]
            axes.scatter(
                [point[0] for point in group], [point[1] for point in group], s=30 if alone else 5, zorder=3, **style
            )
        if alone:
            lowest, highest = limits[0][layer]
            axes.axvline(lowest, color=GREY, linestyle="--", linewidth=1, label=f"in-degree, quantile {quantiles[0]:g}")
            axes.axhline(
                highest, color=GREY, linestyle=":", linewidth=1.4, label=f"betweenness, quantile {quantiles[1]:g}"
            )
        for x, y, index, is_candidate in points if len(points) <= MOST_LABELS else ():
            axes.annotate(
                str(index), (x, y), xytext=(5, -10 if is_candidate else 4), textcoords="offset points", fontsize=8
            )
        axes.set(title=f"layer {layer} (n = {len(points)} neurons)", xlabel="weighted in-degree (sum of |w|)")
        axes.margins(0.12)
    panels[0].set_ylabel("betweenness (share of shortest paths)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle(title if alone else f"{title}, {len(tables)} networks", fontsize=10)
    return figure


@styled
def plot_network(weights, table, candidates, classes, title):
    """The network from left to right: receptive fields, hidden neurons, outputs.

    Nodes: area by in-degree relative to the largest of the layer, colour by betweenness, candidates ringed.  Edges: the
    strongest between two layers, width by |w|.  The inputs are shown as the first-layer weights that read them, one
    28 x 28 image per neuron; of a wide layer, those of the neurons with the highest in-degree.

    weights: [out, in] per layer.  table: centralities per node.  classes: what the outputs stand for.
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
    axes.add_collection(
        LineCollection(
            [(position[source], position[target]) for source, target, _ in edges],
            linewidths=4 * strength / strength.max(initial=1),
            colors=GREY,
            alpha=0.6,
        )
    )

    widest = max(map(len, neurons.values()))
    largest_area = 450 if widest <= MOST_LABELS else 40  # square points
    largest = {layer: max(table[node]["in_degree"] for node in neurons[layer]) or 1 for layer in layers}
    nodes = axes.scatter(
        *zip(*position.values()),
        s=[largest_area * table[node]["in_degree"] / largest[node[0]] for node in position],
        c=[table[node]["betweenness"] for node in position],
        edgecolors=[CANDIDATE_COLOR if node in candidates else "white" for node in position],
        linewidths=[largest_area**0.5 / 30 + 1.2 if node in candidates else 0.3 for node in position],
        cmap="cividis",
        zorder=3,
    )
    figure.colorbar(nodes, ax=axes, label="betweenness (share of shortest paths)", fraction=0.025, pad=0.01)

    shown = sorted(sorted(neurons[1], key=lambda node: -table[node]["in_degree"])[:MOST_RECEPTIVE_FIELDS])
    side = 0.9 * height / max(len(shown), MOST_RECEPTIVE_FIELDS)
    receptive_fields = weights[0].detach().cpu().numpy()
    limit = numpy.quantile(abs(receptive_fields), 0.995)  # the few largest weights would fade all others
    for slot, node in enumerate(shown):
        middle = height * (1 - (slot + 0.5) / len(shown))
        axes.imshow(
            receptive_fields[node[1]].reshape(IMAGE_SIDE, IMAGE_SIDE),
            cmap="RdBu_r",
            vmin=-limit,
            vmax=limit,
            extent=(1 - side / 2, 1 + side / 2, middle - side / 2, middle + side / 2),
        )
        axes.plot([1 + side / 2, position[node][0]], [middle, position[node][1]], color=GREY, linewidth=0.6, zorder=0)
        axes.annotate(neuron_name(node), (1 - side / 2 - 0.08, middle), ha="right", va="center")
    axes.set(xlim=(0, width), ylim=(0, height + 0.5))  # imshow has fitted them to the last image

    which = "" if len(shown) == len(neurons[1]) else f", {len(shown)} of {len(neurons[1])}"
    axes.text(1, height + 0.1, f"receptive fields{which}\n(blue < 0 < red)", ha="center")
    for layer in layers[:-1]:
        axes.text(left_to_right[layer], height + 0.1, f"layer {layer}\n{len(neurons[layer])} neurons", ha="center")
    axes.text(left_to_right[layers[-1]], height + 0.1, "output", ha="center")
    for node in neurons[layers[-1]]:
        axes.annotate(classes[node[1]], position[node], xytext=(16, 0), textcoords="offset points", va="center")
    for layer in layers[:-1]:
        wide = len(neurons[layer]) > MOST_LABELS
        for node in set(neurons[layer]) & set(candidates) if wide else neurons[layer]:
            axes.annotate(
                neuron_name(node),
                position[node],
                xytext=(0, 5 if wide else 13),
                textcoords="offset points",
                ha="center",
                fontsize=6 if wide else 8,
                path_effects=[withStroke(linewidth=2, foreground="white")],
            )
    axes.scatter([], [], s=80, facecolors="none", edgecolors=CANDIDATE_COLOR, linewidths=2, label="candidate")
    axes.scatter([], [], s=80, color=GREY, label="area: in-degree, relative to the layer's largest")
    axes.plot(
        [],
        [],
        color=GREY,
        linewidth=4,
        alpha=0.6,
        label=f"the {EDGES_PER_LAYER} strongest edges between layers, width: |w| (to {strength.max(initial=0):.2f})",
    )
    figure.legend(loc="outside lower center", ncols=3)
    figure.suptitle(title, fontsize=10)
    return figure


@styled
def plot_ablation(rows, digits, title):
    """Accuracy per digit with each module ablated: a group of bars per candidate, a bar per digit.

    rows: the intact network first, then a row per candidate, with `neuron`, `layer`, `members` and for each digit
    `accuracy_<digit>`, its 95 % interval `low_<digit>`, `high_<digit>`, and of candidates the middle 90 % of the
    matched null, `null_low_<digit>`, `null_high_<digit>`, as fractions.
    """
    intact, *candidates = rows
    groups = [candidates[start : start + MOST_GROUPS] for start in range(0, len(candidates), MOST_GROUPS)] or [[]]
    figure = Figure(figsize=(9, 0.5 + 3 * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    bar = 0.8 / len(digits)
    for axes, group in zip(panels, groups):
        for place, digit in enumerate(digits):
            center = [number - 0.4 + (place + 0.5) * bar for number in range(len(group))]
            accuracy, low, high = (
                [100 * row[f"{name}_{digit}"] for row in group] for name in ("accuracy", "low", "high")
            )
            null = [100 * (row[f"null_high_{digit}"] - row[f"null_low_{digit}"]) for row in group]
            null_low = [100 * row[f"null_low_{digit}"] for row in group]
            axes.bar(
                center,
                null,
                bar * 0.96,
                null_low,
                color="#d9d9d9",
                edgecolor="#9c9c9c",
                linewidth=0.6,
                label="90 % of matched modules" if place == len(digits) - 1 else None,
                zorder=1,
            )
            axes.bar(center, accuracy, bar * 0.62, color=DIGIT_COLORS[digit], label=f"digit {digit}", zorder=2)
            axes.vlines(center, low, high, color="black", linewidth=1, zorder=3)
            for x in center:
                axes.annotate(str(digit), (x, 0), xytext=(0, -10), textcoords="offset points", ha="center", fontsize=8)
        for digit in digits:
            axes.axhline(
                100 * intact[f"accuracy_{digit}"],
                color=DIGIT_COLORS[digit],
                linestyle="--",
                linewidth=1.2,
                label=f"intact, digit {digit}: {100 * intact[f'accuracy_{digit}']:.1f} %",
            )
        axes.plot([], [], color="black", linewidth=1, label="95 % interval, test images")
        axes.set(
            ylim=(0, 100),
            xlim=(-0.6, max(MOST_GROUPS * (len(groups) > 1), len(group), 1) - 0.4),
            ylabel="test accuracy (%)",
        )
        axes.set_xticks(
            range(len(group)), [f"{row['neuron']}\nlayer {row['layer']}\nn = {row['members']}" for row in group]
        )
        axes.tick_params(axis="x", length=0, pad=13)
    if not candidates:
        axes.text(0, 50, "no candidates", ha="center")
    panels[0].set_title(title, loc="left")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
    return figure


@styled
def plot_percentiles(networks, tests, effects, nulls):
    """Where the candidates of many networks lie among their nulls: a panel per effect, a column per null.

    networks: a row per network with the mean percentile of its candidates, `<effect>_<null>`.
    tests: {"<effect>_<null>": what `modularity.effects.across_networks` returns}.  nulls: {null: what it means}.
    """
    figure = Figure(figsize=(8, 3.8), layout="constrained")
    panels = figure.subplots(1, len(effects), sharey=True)
    jitter = numpy.random.default_rng(0).uniform(-0.28, 0.28, len(networks))
    for axes, effect in zip(panels, effects):
        for place, null in enumerate(nulls):
            test = tests[f"{effect}_{null}"]
            axes.scatter(
                place + jitter,
                [row[f"{effect}_{null}"] for row in networks],
                s=9,
                color="#3f90da",
                alpha=0.6,
                linewidths=0,
                label="a network: mean of its candidates",
            )
            axes.errorbar(
                place,
                test["median"],
                [[test["median"] - test["low"]], [test["high"] - test["median"]]],
                color="black",
                marker="D",
                markersize=5,
                capsize=5,
                linewidth=1.6,
                linestyle="",
                label="median with 95 % bootstrap interval",
            )
            axes.annotate(f"p = {test['p']:.2g}", (place, 101), ha="center", fontsize=8)
        axes.axhline(50, color=GREY, linestyle="--", linewidth=1, label="chance")
        axes.set(title=effect, ylim=(0, 107), xlim=(-0.5, len(nulls) - 0.5))
        axes.set_xticks(
            range(len(nulls)), [f"among {meaning}".replace(" around", "\naround") for meaning in nulls.values()]
        )
    panels[0].set_ylabel("percentile of candidates")
    handles, labels = panels[0].get_legend_handles_labels()
    unique = dict(zip(labels, handles))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=3)
    seeds = max(test["seeds"] for test in tests.values())
    figure.suptitle(
        f"Candidates among modules that nobody selected (n = {seeds} seeds, Wilcoxon signed-rank)",
        fontsize=10,
    )
    return figure


@styled
def plot_engine_times(rows, title):
    """Seconds against edges, a line per engine: rows with `engine`, `edges`, `seconds`."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for engine, color, marker in (
        ("networkx", "#bd1f01", "s"),
        ("igraph", "#ffa90e", "^"),
        ("layered", "#3f90da", "o"),
    ):
        points = sorted((row["edges"], row["seconds"]) for row in rows if row["engine"] == engine)
        axes.plot(*zip(*points), color=color, marker=marker, label=engine)
    axes.set(xscale="log", yscale="log", xlabel="edges", ylabel="seconds for the betweenness of all neurons")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")  # a power of ten would be mathematics, which is not parsed
        axis.set_minor_formatter(NullFormatter())
    axes.set_title(title, fontsize=9)
    axes.legend()
    return figure
