"""Figures of what silencing parts of clusters does, and of what drives them."""

from operator import itemgetter

import numpy
from matplotlib.colors import SymLogNorm

from modularity.lesions import READINGS, UNDECIDED
from modularity.rows import grouped
from report import style
from report.panels import bare, column, figure_of, legend_below

MOST_PICTURES = 6  # pairs of images of each layer
LESION_MARKS = {
    "important": ("D", style.RED, "important sub-module"),
    "worse": ("D", style.RED, "worse than every draw"),
    "other": ("o", style.BLUE, "other sub-module"),
    "small": ("v", style.PALE, "small: at most 5 % of the layer"),
    "complete": ("s", style.YELLOW, "the whole layer"),
}
ARROWS = dict(zip(filter(None, READINGS.values()), (("-", style.BLUE), ("--", style.ORANGE), (":", style.VIOLET))))


def lesion_kind(row):
    return row["category"] if row["category"] in LESION_MARKS else "other"


def by_layer(rows):
    """The rows of each layer, from the worst change to the best."""
    return grouped(sorted(rows, key=itemgetter("layer", "change")), "layer")


@style.styled
def plot_lesions(rows, title):
    """What silencing each sub-module costs, against random neurons of its layer: a panel per hidden layer.

    rows: `layer`, `cluster`, `neurons`, `change`, `random_n`, `random_change`, `random_low`, `random_high` (changes as
    fractions), `category`.
    """
    groups = by_layer(rows)
    title = f"Silencing each cluster's part of each layer: {title}"
    shape = {"columns": len(groups), "width_ratios": [len(group) + 1 for group in groups]}
    figure, [panels] = figure_of(10, 4, title, **shape, sharey=True)
    null = f"random neurons of the layer: mean and 90 % of {max(column(rows, 'random_n'))} sets"
    kinds = [kind for kind in LESION_MARKS if kind in map(lesion_kind, rows)]
    for axes, group in zip(panels, groups):
        places = numpy.arange(len(group))
        low, high = column(group, "random_low"), column(group, "random_high")
        axes.bar(places, 100 * (high - low), 0.8, 100 * low, **style.NULL_BAR, linewidth=0.8, label=null)
        axes.hlines(100 * column(group, "random_change"), places - 0.4, places + 0.4, color="#4d4d4d", linewidth=1)
        changes, its_kinds = 100 * column(group, "change"), numpy.array(list(map(lesion_kind, group)))
        for kind in kinds:
            marker, color, name = LESION_MARKS[kind]
            mark = {"marker": marker, "s": 30, "color": color, "edgecolors": "white", "linewidths": 0.5, "zorder": 3}
            axes.scatter(places[its_kinds == kind], changes[its_kinds == kind], **mark, label=name)
        axes.axhline(0, **style.DOTTED, linewidth=0.8)
        axes.set_xticks(places, ["{cluster}\n{neurons}".format(**row) for row in group], fontsize=7)
        axes.tick_params(axis="x", length=0)
        axes.set(title=f"layer {group[0]['layer']}", xlim=(-0.8, len(group) - 0.2))
    panels[0].set_ylabel("change of balanced accuracy (points)")
    panels[0].set_xlabel("cluster, and below\nits neurons in the layer", fontsize=8)
    legend_below(figure, panels[0], columns=3)
    return figure


@style.styled
def plot_dependencies(rows, pairs, title):
    """Important sub-modules, and how pairs of different layers depend on each other: an arrow X to Y where they do.

    rows: the sub-modules, as for `plot_lesions`.  pairs: `x_layer`, `x_cluster`, `y_layer`, `y_cluster`, `reading`.
    """
    important = [row for row in rows if row["category"] == "important"]
    layers, columns = sorted({row["layer"] for row in rows}), grouped(important, "layer")
    position = {}
    for group in columns:
        for place, row in enumerate(group):
            position[row["layer"], row["cluster"]] = (row["layer"], 1 - (place + 0.5) / len(group))
    readings = [pair["reading"] for pair in pairs]
    figure, [[axes]] = figure_of(8, 1.8 + 0.4 * max(map(len, columns), default=1))
    arrow = {"arrowstyle": "-|>", "shrinkA": 9, "shrinkB": 9, "connectionstyle": "arc3,rad=0.08"}
    lines = {}
    for reading, (dashes, color) in ARROWS.items():
        lines[reading] = {"linestyle": dashes, "color": color, "linewidth": 1.4}
        if reading in readings:
            axes.plot([], [], **lines[reading], label=f"X to Y: {reading}")
    for pair, reading in zip(pairs, readings):
        if reading in lines:
            x, y = (position[pair[f"{end}_layer"], pair[f"{end}_cluster"]] for end in "xy")
            axes.annotate("", y, x, arrowprops=arrow | lines[reading])
    # beside the circles, on the side where no arrow begins or ends
    sides = dict.fromkeys(layers, ((0, -9), "center", "top"))
    sides |= {layers[-1]: ((10, 0), "left", "center"), layers[0]: ((-10, 0), "right", "center")}
    for row in important:
        place = position[row["layer"], row["cluster"]]
        offset, ha, va = sides[row["layer"]]
        axes.scatter(*place, s=160, color=style.cluster_color(row["cluster"]), edgecolors="white", zorder=3)
        name = f"{row['cluster']}: {100 * row['change']:.1f} pp"
        look = {"ha": ha, "va": va, "fontsize": 8, "color": "black", "zorder": 4}
        axes.annotate(name, place, offset, **style.OFFSET, **look, **style.HALO)
    axes.set_xticks(layers, [f"layer {layer}" for layer in layers])
    axes.set(yticks=[], ylim=(0, 1), xlim=(layers[0] - 0.6, layers[-1] + 0.6))
    bare(axes)
    axes.set_title(
        f"Important sub-modules (cluster: change of balanced accuracy alone) of {title}\n"
        f"{len(pairs)} pairs of different layers: {readings.count('')} say nothing, as each matters without the other, "
        f"and {readings.count(UNDECIDED)} are undecided"
    )
    if axes.get_legend_handles_labels()[0]:
        legend_below(figure, axes)
    return figure


@style.styled
def plot_class_changes(rows, digits, title):
    """Which digits each sub-module serves: the change of accuracy per digit when it is silenced, a panel per layer.

    rows: `layer`, `cluster`, `neurons`, `change`, `change_<digit>` (fractions), `category`.
    """
    groups = by_layer(rows)
    tallest = max(map(len, groups))
    title += "; numbers: points lost; *: every random draw costs less"
    figure, [panels] = figure_of(10, 1.4 + 0.24 * tallest, title, columns=len(groups))
    tables = [100 * numpy.transpose([column(group, f"change_{digit}") for digit in digits]) for group in groups]
    largest = max(1, *(abs(table).max() for table in tables))
    for axes, group, table in zip(panels, groups, tables):
        image = axes.imshow(table, "RdBu", SymLogNorm(1, vmin=-largest, vmax=largest), aspect="auto")
        for place, digit in zip(*numpy.nonzero(table <= -1)):
            change = table[place, digit]
            color = "white" if change < -0.3 * largest else "black"  # on a dark cell, and on a pale one
            axes.text(digit, place, f"{-change:.0f}", **style.CENTERED, fontsize=6, color=color)
        names = [f"{row['cluster']}{'*' if row['category'] == 'worse' else ''} ({row['neurons']})" for row in group]
        axes.set_yticks(range(len(group)), names, fontsize=7)
        axes.set_xticks(range(len(digits)), digits, fontsize=8)
        bare(axes)
        axes.set(title=f"layer {group[0]['layer']}", xlabel="digit", ylim=(tallest - 0.5, -0.5))
    panels[0].set_ylabel("cluster (neurons in the layer)")
    ticks = sorted({sign * step for sign in (-1, 1) for step in (0, 1, 3, 10, 30, 100) if step <= largest})
    bar = figure.colorbar(image, ax=panels, ticks=ticks, format="%g", fraction=0.03, pad=0.01)
    bar.set_label("change of accuracy (percentage points)")
    return figure


@style.styled
def plot_optimal_images(pictures, title):
    """The images that drive sub-modules hardest, each beside that of as many random neurons of the layer.

    pictures: {"layer", "cluster", "neurons", "images": [[side, side]] * 2, "scores": [2], "entropies": [2]}, the
    sub-module first.
    """
    groups = grouped(sorted(pictures, key=itemgetter("layer")), "layer")
    title += "; below each image its score, and the entropy of the output (nats)"
    figure, panels = figure_of(10, 0.5 + 1.35 * len(groups), title, len(groups), 2 * MOST_PICTURES)
    for axes in panels.flat:
        axes.axis("off")
    for line, group in zip(panels, groups):
        for pair, picture in zip(line.reshape(MOST_PICTURES, 2), group):
            names = f"cluster {picture['cluster']}", "random"
            found = picture["images"], names, picture["scores"], picture["entropies"]
            for axes, image, name, score, entropy in zip(pair, *found):
                axes.imshow(image, cmap="gray", vmin=0, vmax=1)
                axes.set_title(name, fontsize=7, pad=2)
                axes.text(14, 29, f"{score:.0f}\n{entropy:.1e}", ha="center", va="top", fontsize=6)
        line[0].text(-8, 14, f"layer {group[0]['layer']}", rotation=90, **style.CENTERED, fontsize=9)
    return figure
