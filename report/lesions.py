"""Figures of what silencing parts of clusters does, and of what drives them."""

from operator import itemgetter

import numpy
from matplotlib.colors import SymLogNorm
from matplotlib.ticker import MaxNLocator

from modularity.lesions import EQUIVALENCE, READINGS, UNDECIDED
from modularity.rows import grouped
from report import style
from report.panels import bare, column, figure_of, legend_below

MOST_PICTURES = 4  # pairs of images of each layer
LINEAR_POINTS = 0.1  # within which changes are rounding, to the eye
LESION_MARKS = {
    "important": ("D", style.RED, "important sub-module"),
    "worse": ("D", style.RED, "worse than every draw"),
    "other": ("o", style.BLUE, "other sub-module"),
    "small": ("v", style.PALE, "small: at most 5 % of the layer"),
    "complete": ("s", style.YELLOW, "the whole layer"),
}
READING_LOOKS = ("v", style.VIOLET), ("<", style.BLUE), (">", style.ORANGE), ("o", style.GREY)
READING_MARKS = {
    reading: (*look, reading or "each matters without the other")
    for reading, look in zip(READINGS.values(), READING_LOOKS)
} | {UNDECIDED: ("X", "#b8a98f", "undecided")}


def lesion_kind(row):
    return row["category"] if row["category"] in LESION_MARKS else "other"


def by_layer(rows):
    """The rows of each layer, from the worst change to the best."""
    return grouped(sorted(rows, key=itemgetter("layer", "change")), "layer")


@style.styled
def plot_lesions(rows, title):
    """What silencing each sub-module costs, against random neurons of its layer: a panel per hidden layer.

    Below them, of several networks of the same condition: all their sub-modules, a column per network.

    rows: `condition`, `network`, `layer`, `cluster`, `neurons`, `change`, `random_n`, `random_change`, `random_low`,
    `random_high` (changes as fractions), `category`; the first network is the one that is shown in detail.
    """
    shown = [row for row in rows if row["condition"] == rows[0]["condition"]]
    networks = grouped(shown, "network")
    several = len(networks) > 1
    groups = by_layer(networks[0])
    title = f"Silencing each cluster's part of each layer: {title}"
    shape = {"width_ratios": [len(group) + 1 for group in groups], "sharey": True}
    shape |= {"height_ratios": (3, 2)} if several else {}
    figure, panels = figure_of(10, 4 + 2 * several, title, 1 + several, len(groups), **shape)
    null = f"random neurons of the layer: mean and 90 % of {max(column(networks[0], 'random_n'))} sets"
    kinds = [kind for kind in LESION_MARKS if kind in map(lesion_kind, shown)]
    panels[0, 0].set_yscale("symlog", linthresh=LINEAR_POINTS, linscale=0.5)  # of all panels, which share it
    panels[0, 0].yaxis.set_major_formatter("{x:g}")
    for axes, group in zip(panels[0], groups):
        axes.use_sticky_edges = False  # a mark on the lower edge of a bar lies within the panel, too
        places = numpy.arange(len(group))
        low, high = column(group, "random_low"), column(group, "random_high")
        axes.bar(places, 100 * (high - low), 0.8, 100 * low, **style.NULL_BAR, linewidth=0.8, label=null)
        axes.hlines(100 * column(group, "random_change"), places - 0.4, places + 0.4, color="#4d4d4d", linewidth=1)
        mark_lesions(axes, places, group, kinds, 30)
        axes.set_xticks(places, ["{cluster}\n{neurons}".format(**row) for row in group], fontsize=7)
        axes.tick_params(axis="x", length=0)
        axes.set(title=f"layer {group[0]['layer']}", xlim=(-0.8, len(group) - 0.2))
    panels[0, 0].set_ylabel(f"change of balanced accuracy\n(points; log beyond ±{LINEAR_POINTS:g})")
    panels[0, 0].set_xlabel("cluster, and below\nits neurons in the layer", fontsize=8)
    if several:
        for axes, group in zip(panels[1], groups):
            own = [row for row in shown if row["layer"] == group[0]["layer"]]
            mark_lesions(axes, column(own, "network"), own, kinds, 12)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.set_xlabel("network")
            axes.margins(x=0.1)
        panels[1, 0].set_ylabel(f"all {len(networks)} networks")
    legend_below(figure, panels[0, 0], columns=3)
    return figure


def mark_lesions(axes, places, rows, kinds, size):
    """A mark per lesion, of one of the kinds of LESION_MARKS, at its place and change."""
    changes, its_kinds = 100 * column(rows, "change"), numpy.array(list(map(lesion_kind, rows)))
    for kind in kinds:
        marker, color, name = LESION_MARKS[kind]
        mark = {
            "marker": marker,
            "s": size,
            "color": color,
            "edgecolors": "white",
            "linewidths": size / 60,
            "zorder": 3,
        }
        axes.scatter(places[its_kinds == kind], changes[its_kinds == kind], **mark, label=name)
    axes.axhline(0, **style.DOTTED, linewidth=0.8)


@style.styled
def plot_dependencies(pairs):
    """What important sub-modules of different layers, X and Y, matter without each other: a panel per condition.

    pairs: `condition`, `network`, `reading`, and of `x_given_y_` and `y_given_x_` the `change` and its interval, `low`
    and `high` (fractions); a mark for each.
    """
    title = "Important sub-modules X and Y of different layers, X in the earlier one:\n"
    title += "change of balanced accuracy when one is silenced and the other already is\n"
    title += "(points, 95 % interval over test images; log beyond ±1, the pale bands: nothing)"
    groups = grouped(pairs, "condition")
    figure, [panels] = figure_of(2 + 4 * len(groups), 5.4, title, columns=len(groups), sharex=True, sharey=True)
    equivalence = {"color": style.PALE, "alpha": 0.3, "linewidth": 0, "zorder": 0}
    for axes, group in zip(panels, groups):
        axes.axvspan(-100 * EQUIVALENCE, 100 * EQUIVALENCE, **equivalence)
        axes.axhspan(-100 * EQUIVALENCE, 100 * EQUIVALENCE, **equivalence)
        for reading, (marker, color, name) in READING_MARKS.items():
            own = [pair for pair in group if pair["reading"] == reading]
            look = {"color": color, "markersize": 5, "elinewidth": 0.6, "markeredgecolor": "white"}
            (x, x_bars), (y, y_bars) = (with_bars(own, direction) for direction in ("x_given_y", "y_given_x"))
            axes.errorbar(x, y, y_bars, x_bars, fmt=marker, **look, markeredgewidth=0.4, label=name)
        n = len(group), len(grouped(group, "network"))
        axes.set_title("{}; pairs: {}, of networks: {}".format(group[0]["condition"], *n))
        axes.set_xlabel("X, without Y")
        axes.set_xscale("symlog", linthresh=100 * EQUIVALENCE, linscale=0.3)
        axes.set_yscale("symlog", linthresh=100 * EQUIVALENCE, linscale=0.3)
    for axis in (panels[0].xaxis, panels[0].yaxis):  # of all panels, which share them
        axis.set_major_formatter("{x:g}")
    panels[0].set_ylabel("Y, without X")
    legend_below(figure, panels[0], columns=min(2, len(groups)))
    return figure


def with_bars(pairs, direction):
    """The changes of pairs in a direction, and how far their intervals reach to either side [2, pairs], in points."""
    change, low, high = (100 * column(pairs, f"{direction}_{key}") for key in ("change", "low", "high"))
    return change, numpy.stack([change - low, high - change])


@style.styled
def plot_class_changes(rows, data, title):
    """Which classes each sub-module serves: the change of accuracy per class when it is silenced, a panel per layer.

    rows: `kind`, `layer`, `cluster`, `neurons`, `change`, `change_<class>` (fractions), `category`; a line of panels
    for each kind of partition.  data: the DataSet of these classes.
    """
    kinds = [by_layer(group) for group in grouped(rows, "kind")]
    tallest = [max(map(len, groups)) for groups in kinds]
    layers = sorted({row["layer"] for row in rows})
    title += "; numbers: points lost; *: every random draw costs less"
    height = 1 + sum(0.5 + 0.24 * most for most in tallest)
    figure, panels = figure_of(10, height, title, len(kinds), len(layers), height_ratios=tallest)
    largest = max(1.0, *(100 * abs(column(rows, f"change_{label}")).max() for label in data.classes))
    norm = SymLogNorm(1, vmin=-largest, vmax=largest)
    for axes in panels.flat:
        axes.set_visible(False)  # a partition may have nothing to show of a layer
    for line, groups, most in zip(panels, kinds, tallest):
        for group in groups:
            axes = line[layers.index(group[0]["layer"])]
            axes.set_visible(True)
            image = draw_class_changes(axes, group, data, norm)
            axes.set(ylim=(most - 0.5, -0.5), title=f"{group[0]['kind']}, layer {group[0]['layer']}")
    figure.supxlabel("digit" if data.name == "mnist" else "class", fontsize=9)
    figure.supylabel("part of the partition (its neurons in the layer)", fontsize=9)
    ticks = sorted({sign * step for sign in (-1, 1) for step in (0, 1, 3, 10, 30, 100) if step <= largest})
    bar = figure.colorbar(image, ax=panels, ticks=ticks, format="%g", fraction=0.03, pad=0.01)
    bar.set_label("change of accuracy (percentage points)")
    return figure


def draw_class_changes(axes, rows, data, norm):
    """A line per sub-module, a column per class; the points that are lost are written in."""
    table = 100 * numpy.transpose([column(rows, f"change_{label}") for label in data.classes])
    image = axes.imshow(table, "RdBu", norm, aspect="auto")
    for place, position in zip(*numpy.nonzero(table <= -1)):
        change = table[place, position]
        color = style.ink(image.to_rgba(change))
        axes.text(position, place, f"{-change:.0f}", **style.CENTERED, fontsize=6, color=color)
    names = [f"{row['cluster']}{'*' if row['category'] == 'worse' else ''} ({row['neurons']})" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=7)
    names = list(map(data.short_name, data.classes))
    axes.set_xticks(range(len(names)), names, fontsize=8, rotation=90 if max(map(len, names)) > 1 else 0)
    bare(axes)
    return image


@style.styled
def plot_optimal_images(pictures, title):
    """What drives sub-modules more than random neurons: the image of each, minus the mean image of its random sets.

    Beside each one of the random sets, minus the same mean: as much would be seen if neurons were nothing special.

    pictures: {"layer", "cluster", "neurons", "images": [[side, side]] * 2, "random_image": [side, side], "scores": [2],
    "random_score"}, the sub-module first, then a random set; random_: the mean of all sets.
    """
    groups = grouped(sorted(pictures, key=lambda picture: (picture["layer"], -picture["neurons"])), "layer")
    title += "\nimages that drive the largest parts of each layer hardest, minus the mean of those for random neurons"
    title += " (smoothed);\nbelow: how hard, relative to that mean"
    figure, panels = figure_of(10, 0.9 + 1.6 * len(groups), title, len(groups), 2 * MOST_PICTURES)
    for axes in panels.flat:
        axes.axis("off")
    for line, group in zip(panels, groups):
        for pair, picture in zip(line.reshape(MOST_PICTURES, 2), group):
            names = "cluster {cluster} ({neurons})".format(**picture), "random"
            for axes, image, name, score in zip(pair, picture["images"], names, picture["scores"]):
                look = {"cmap": "RdBu_r", "vmin": -0.6, "vmax": 0.6, "interpolation": "gaussian"}
                shown = axes.imshow(image - picture["random_image"], **look)
                axes.set_title(name, fontsize=8, pad=2)
                axes.text(14, 29, f"{score / picture['random_score']:.2f} ×", ha="center", va="top", fontsize=8)
        line[0].text(-5, 14, f"layer {group[0]['layer']}", rotation=90, **style.CENTERED, fontsize=9)
    figure.colorbar(shown, ax=panels, label="difference in brightness", fraction=0.03, pad=0.01, aspect=40)
    return figure
