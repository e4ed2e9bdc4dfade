"""Figures of what silencing parts of clusters does, and of what drives them."""

import numpy
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from report.style import GREY, cluster_color, styled

MOST_PICTURES = 6  # pairs of images of each layer
LESION_MARKS = {
    "important": ("D", "#bd1f01", "important sub-module"),
    "worse": ("D", "#bd1f01", "worse than every draw"),
    "other": ("o", "#3f90da", "other sub-module"),
    "small": ("v", "#94a4a2", "small: at most 5 % of the layer"),
    "complete": ("s", "#ffa90e", "the whole layer"),
}


def lesion_kind(row):
    return row["category"] if row["category"] in LESION_MARKS else "other"


@styled
def plot_lesions(rows, title):
    """What silencing each sub-module costs, against random neurons of its layer: a panel per hidden layer.

    rows: `layer`, `cluster`, `neurons`, `change`, `random_change`, `random_low`, `random_high` (fractions), `category`.
    """
    layers = sorted({row["layer"] for row in rows})
    groups = [sorted((row for row in rows if row["layer"] == layer), key=lambda row: row["change"]) for layer in layers]
    kinds = [kind for kind in LESION_MARKS if kind in map(lesion_kind, rows)]
    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, len(layers), sharey=True, squeeze=False, width_ratios=[len(g) + 1 for g in groups])[0]
    for axes, layer, group in zip(panels, layers, groups):
        places = numpy.arange(len(group))
        axes.bar(
            places,
            [100 * (row["random_high"] - row["random_low"]) for row in group],
            0.8,
            [100 * row["random_low"] for row in group],
            color="#d9d9d9",
            edgecolor="#9c9c9c",
            linewidth=0.8,
            label=f"random neurons of the layer: mean and 90 % of {max(row['random_n'] for row in rows)} sets",
        )
        axes.hlines(
            [100 * row["random_change"] for row in group], places - 0.4, places + 0.4, color="#4d4d4d", linewidth=1
        )
        for kind in kinds:
            marker, color, label = LESION_MARKS[kind]
            chosen = [place for place, row in enumerate(group) if lesion_kind(row) == kind]
            changes = [100 * group[place]["change"] for place in chosen]
            style = {"marker": marker, "s": 30, "color": color, "edgecolors": "white", "linewidths": 0.5}
            axes.scatter(chosen, changes, **style, zorder=3, label=label)
        axes.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_xticks(places, [f"{row['cluster']}\n{row['neurons']}" for row in group], fontsize=7)
        axes.tick_params(axis="x", length=0)
        axes.set(title=f"layer {layer}", xlim=(-0.8, len(group) - 0.2))
    panels[0].set_ylabel("change of test accuracy (percentage points)")
    panels[0].set_xlabel("cluster, and below\nits neurons in the layer", fontsize=8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle(f"Silencing each cluster's part of each layer: {title}", fontsize=10)
    return figure


@styled
def plot_dependencies(rows, pairs, title):
    """Important sub-modules, and how pairs of different layers depend on each other: an arrow X to Y where they do.

    rows: the sub-modules, as for `plot_lesions`.  pairs: `x_layer`, `x_cluster`, `y_layer`, `y_cluster`, `reading`.
    """
    important = [row for row in rows if row["category"] == "important"]
    layers = sorted({row["layer"] for row in rows})
    position = {}
    for layer in layers:
        group = [row for row in important if row["layer"] == layer]
        for place, row in enumerate(group):
            position[layer, row["cluster"]] = (layer, 1 - (place + 0.5) / len(group))
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    styles = dict(zip(dict.fromkeys(pair["reading"] for pair in pairs if pair["reading"]), ("-", "--", ":")))
    colors = dict(zip(styles, ("#3f90da", "#e76300", "#832db6")))
    for pair in pairs:
        if pair["reading"]:
            axes.annotate(
                "",
                position[pair["y_layer"], pair["y_cluster"]],
                position[pair["x_layer"], pair["x_cluster"]],
                arrowprops={
                    "arrowstyle": "-|>",
                    "linestyle": styles[pair["reading"]],
                    "color": colors[pair["reading"]],
                    "linewidth": 1.4,
                    "shrinkA": 15,
                    "shrinkB": 15,
                    "connectionstyle": "arc3,rad=0.08",
                },
            )
    for reading in styles:
        axes.plot([], [], color=colors[reading], linestyle=styles[reading], linewidth=1.4, label=f"X to Y: {reading}")
    for row in important:
        x, y = position[row["layer"], row["cluster"]]
        axes.scatter(x, y, s=650, color=cluster_color(row["cluster"]), edgecolors="white", zorder=3)
        axes.annotate(
            f"{row['cluster']}\n{100 * row['change']:.1f} pp",
            (x, y),
            ha="center",
            va="center",
            fontsize=8,
            zorder=4,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )
    axes.set_xticks(layers, [f"layer {layer}" for layer in layers])
    axes.set(yticks=[], ylim=(0, 1), xlim=(layers[0] - 0.5, layers[-1] + 0.5))
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    silent = sum(not pair["reading"] for pair in pairs)
    axes.set_title(
        f"Important sub-modules (cluster, change of accuracy alone) of {title}\n"
        f"{len(pairs)} pairs of different layers; for {silent} of them silencing both says nothing",
        fontsize=10,
    )
    if styles:
        figure.legend(loc="outside lower center")
    return figure


@styled
def plot_class_changes(rows, digits, title):
    """Which digits each sub-module serves: the change of accuracy per digit when it is silenced, a panel per layer.

    rows: `layer`, `cluster`, `neurons`, `change`, `change_<digit>` (fractions), `category`.
    """
    layers = sorted({row["layer"] for row in rows})
    groups = [sorted((row for row in rows if row["layer"] == layer), key=lambda row: row["change"]) for layer in layers]
    tallest = max(map(len, groups))
    figure = Figure(figsize=(10, 1.4 + 0.24 * tallest), layout="constrained")
    panels = figure.subplots(1, len(layers), squeeze=False)[0]
    largest = max(1, 100 * max(abs(row[f"change_{digit}"]) for row in rows for digit in digits))
    for axes, layer, group in zip(panels, layers, groups):
        table = 100 * numpy.array([[row[f"change_{digit}"] for digit in digits] for row in group])
        image = axes.imshow(
            table, cmap="RdBu", norm=SymLogNorm(linthresh=1, vmin=-largest, vmax=largest), aspect="auto"
        )
        for place, column in zip(*numpy.nonzero(table <= -1)):
            dark = table[place, column] < -0.3 * largest
            axes.text(
                column,
                place,
                f"{-table[place, column]:.0f}",
                ha="center",
                va="center",
                fontsize=6,
                color="white" if dark else "black",
            )
        names = [f"{row['cluster']}{'*' if row['category'] == 'worse' else ''} ({row['neurons']})" for row in group]
        axes.set_yticks(range(len(group)), names, fontsize=7)
        axes.set_xticks(range(len(digits)), digits, fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set(title=f"layer {layer}", xlabel="digit", ylim=(tallest - 0.5, -0.5))
    panels[0].set_ylabel("cluster (neurons in the layer)")
    ticks = sorted({sign * step for sign in (-1, 1) for step in (0, 1, 3, 10, 30, 100) if step <= largest})
    label = "change of accuracy (percentage points)"
    figure.colorbar(image, ax=panels, label=label, ticks=ticks, format="%g", fraction=0.03, pad=0.01)
    figure.suptitle(f"{title}; numbers: points lost; *: every random draw costs less", fontsize=10)
    return figure


@styled
def plot_optimal_images(pictures, title):
    """The images that drive sub-modules hardest, each beside that of as many random neurons of the layer.

    pictures: {"layer", "cluster", "neurons", "images": [[side, side]] * 2, "scores": [2], "entropies": [2]}, the
    sub-module first.
    """
    layers = sorted({picture["layer"] for picture in pictures})
    groups = [[picture for picture in pictures if picture["layer"] == layer][:MOST_PICTURES] for layer in layers]
    figure = Figure(figsize=(10, 0.5 + 1.35 * len(layers)), layout="constrained")
    panels = figure.subplots(len(layers), 2 * MOST_PICTURES, squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    for line, layer, group in zip(panels, layers, groups):
        for place, picture in enumerate(group):
            for side, kind in enumerate(("cluster {cluster}", "random")):
                axes = line[2 * place + side]
                axes.imshow(picture["images"][side], cmap="gray", vmin=0, vmax=1)
                axes.set_title(kind.format(**picture), fontsize=7, pad=2)
                score, entropy = picture["scores"][side], picture["entropies"][side]
                axes.text(14, 29, f"{score:.0f}\n{entropy:.1e}", ha="center", va="top", fontsize=6)
        line[0].text(-8, 14, f"layer {layer}", rotation=90, ha="center", va="center", fontsize=9)
    figure.suptitle(f"{title}; below each image its score, and the entropy of the output (nats)", fontsize=10)
    return figure
