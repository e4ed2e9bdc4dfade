"""Figures of the similarity of neurons."""

from itertools import product

import numpy
from matplotlib.colors import to_rgb

from modularity.rows import defined_mean, grouped, over_seeds
from modularity.similarity import FAMILIES, MEASURES, RAW_MEASURES
from report.panels import bare, column, draw_table, figure_of, legend_below, white_lines
from report.results import text
from report.style import BLUE, GREY, ORANGE, RED, cluster_color, styled

STYLES = {
    "": (-0.018, BLUE, "o", "-", "raw"),
    "_norm": (0.018, ORANGE, "s", "--", "normalised (_norm)"),
}
"""Of the raw measures and of the normalised: shift to the side, colour, marker, line, and name."""


@styled
def plot_modularity(rows, conditions, dropouts):
    """Q of each condition by each measure, a row of panels per layer, each family of measures on a scale of its own.

    Marks are means over seeds with their 95 % t intervals; for the untrained networks, on the left, the bars hold the
    mean ± 2 standard deviations, which is where single networks lie.

    rows: `condition`, `network`, `seed`, `layer`, `measure`, `q`.  conditions: `condition`, `layer`, `measure`,
    `untrained_mean`, `untrained_sd`, `untrained_n`.
    dropouts: {condition: rate}, those that stand on an axis of dropout; all others stand to the right of it.
    """
    others = [name for name in dict.fromkeys(row["condition"] for row in conditions) if name not in dropouts]
    end = max(dropouts.values(), default=-0.1)
    positions = dropouts | {name: end + 0.15 + 0.1 * place for place, name in enumerate(others)}
    left = min(positions.values()) - 0.15
    layers = sorted({row["layer"] for row in conditions})
    size = 10, 1.6 + 2.2 * len(layers)
    figure, panels = figure_of(*size, None, len(layers), len(RAW_MEASURES), sharex=True)
    for (axes, (layer, raw)), norm in product(zip(panels.flat, product(layers, RAW_MEASURES)), STYLES):
        shift, color, marker, dashes, label = STYLES[norm]
        here = {"layer": layer, "measure": raw + norm}.items()
        groups = grouped([row for row in rows if here <= row.items()], "condition")
        means = {group[0]["condition"]: over_seeds(group, "q") for group in groups}
        look = {"color": color, "marker": marker, "markersize": 3.5, "elinewidth": 1, "capsize": 1.5, "linewidth": 1}
        for names, dash in ((sorted(dropouts, key=dropouts.get), dashes), (others, "")):
            mean, low, high = (column([means[name] for name in names], key) for key in ("mean", "low", "high"))
            places = [positions[name] + shift for name in names]
            axes.errorbar(places, mean, (mean - low, high - mean), linestyle=dash, **look)
        axes.errorbar([], [], [], linestyle=dashes, **look, label=f"{label}: mean over seeds, 95 % t interval")
        pooled = next(row for row in conditions if here <= row.items())
        middle, sd = pooled["untrained_mean"], pooled["untrained_sd"]
        name = f"untrained, {label}: mean ± 2 sd (n = {pooled['untrained_n']})"
        axes.errorbar(left + shift, middle, 2 * sd, linestyle="", **look | {"markerfacecolor": "white"}, label=name)
        axes.axhline(middle, color=color, linestyle=":", linewidth=0.8)
    positions = {"untrained": left} | positions
    panels[0, 0].set_xlim(left - 0.06, max(positions.values()) + 0.06)
    family_of = {measure: family for family, measures in FAMILIES.items() for measure in measures}
    for family in FAMILIES:
        own = panels[:, [family_of[raw] == family for raw in RAW_MEASURES]].ravel()
        top = max(axes.get_ylim()[1] for axes in own)
        for axes in own:
            axes.set_ylim(0, top)
    names = [f"{dropouts[name]:g}" if name in dropouts else name for name in positions]
    for first, last, raw in zip(panels[0], panels[-1], RAW_MEASURES):
        first.set_title(f"{raw} ({family_of[raw]})", fontsize=9)
        last.set_xticks(list(positions.values()), names, rotation=90, fontsize=7)
        last.set_xlabel("dropout rate" + (", and other networks" if others else "") if dropouts else "")
    for axes, layer in zip(panels[:, 0], layers):
        axes.set_ylabel(f"modularity Q, layer {layer}")
    legend_below(figure, panels[0, 0], columns=2)
    return figure


@styled
def plot_similarities(pictures, shown):
    """Similarity matrices sorted by cluster, a row per layer; side by side an upstream and a downstream measure.

    A strip on top of each matrix: the clusters of its neurons by the other measure; if both agreed, as blocked as it.

    pictures: a {"title", "similarity": {measure: matrices}, "partitions": {(layer, measure): (labels, Q)}} per network.
    shown: the two measures.
    """
    layers = len(pictures[0]["similarity"][shown[0]])
    columns = [(picture, *measures) for picture in pictures for measures in (shown, shown[::-1])]
    figure, panels = figure_of(0.8 + 2.3 * len(columns), 0.9 + 2.6 * layers, None, layers, len(columns))
    for layer, line in enumerate(panels, 1):
        for axes, (picture, measure, other) in zip(line, columns):
            labels, q = picture["partitions"][layer, measure]
            others, _ = picture["partitions"][layer, other]
            order = numpy.lexsort((others, labels, labels < 0))  # those in no cluster come last
            matrix = picture["similarity"][measure][layer - 1].numpy()[order][:, order]
            image = axes.imshow(matrix, cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
            white_lines(axes, numpy.flatnonzero(numpy.diff(labels[order])) + 0.5, 0.7)
            strip = axes.inset_axes((0, 1.02, 1, 0.06))
            colors = [cluster_color(label) if label >= 0 else to_rgb("white") for label in others[order]]
            strip.imshow([colors], aspect="auto", interpolation="nearest")
            for part in (axes, strip):
                part.set(xticks=[], yticks=[])
                bare(part)
            clusters = len(set(labels.tolist()) - {-1})
            axes.set_xlabel(text("{} clusters, Q = {:.2f}", clusters, q), fontsize=8)
            if layer == 1:
                axes.set_title(f"{picture['title']}\n{measure}", pad=14)
        line[0].set_ylabel(f"layer {layer}, n = {len(labels)} neurons")
    figure.colorbar(image, ax=panels, label="similarity (1: equal)", fraction=0.02, pad=0.01)
    figure.suptitle("neurons sorted by cluster; strips: their clusters by the other measure", fontsize=9)
    return figure


@styled
def plot_agreement(rows, baseline):
    """How well the partitions by each two measures agree: one 8 x 8 table of trained networks, one of untrained ones.

    rows: `condition`, `network`, `measure`, `other`, `similarity`, `shuffled`, its chance; untrained networks have the
    condition `baseline`.
    """
    figure, [panels] = figure_of(10, 5.1, columns=2, sharey=True)
    size, limits = len(MEASURES), (0.2, 0.85)
    chance = defined_mean(row["shuffled"] for row in rows)
    for axes, kind in zip(panels, ("trained", "untrained")):
        chosen = [row for row in rows if (row["condition"] == baseline) == (kind == "untrained")]
        table = numpy.full((size, size), numpy.nan)
        for pair in grouped(chosen, "measure", "other"):
            one, other = (MEASURES.index(pair[0][key]) for key in ("measure", "other"))
            table[one, other] = table[other, one] = defined_mean(row["similarity"] for row in pair)
        image = draw_table(axes, table, MEASURES, list(map(len, FAMILIES.values())), limits)
        axes.set_xticks(range(size), MEASURES, rotation=90)
        networks = len(grouped(chosen, "condition", "network"))
        shuffled = defined_mean(row["shuffled"] for row in chosen)
        title = f"{kind} (n = {networks} networks, mean over layers)\n" + text(
            "if labels are shuffled: {:.2f}", shuffled
        )
        axes.set_title(title)
        side = {"xycoords": "axes fraction", "rotation": 90, "va": "center", "color": GREY}
        for place, family in enumerate(FAMILIES):
            axes.annotate(family, (1.02, 0.75 - 0.5 * place), **side)
    name = "element-centric similarity of partitions (1: equal)"
    bar = figure.colorbar(image, ax=panels, label=name, fraction=0.03, pad=0.03)
    bar.set_ticks([chance, 0.4, 0.6, 0.8], labels=[f"chance: {chance:.2f}", "0.4", "0.6", "0.8"])
    bar.ax.axhline(chance, color=RED, linewidth=2)
    bar.ax.set_ylim(limits)
    return figure
