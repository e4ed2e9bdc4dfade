"""Figures of the similarity of neurons."""

from itertools import product

import numpy
from matplotlib.colors import to_rgb

from modularity.rows import defined_mean, grouped
from modularity.similarity import FAMILIES, MEASURES, RAW_MEASURES
from report.panels import bare, column, draw_table, figure_of, legend_below, white_lines
from report.results import text
from report.style import BLUE, GREY, ORANGE, cluster_color, styled

STYLES = {
    "": (-0.008, BLUE, "o", "-", "raw"),
    "_norm": (0.008, ORANGE, "s", "--", "normalised (_norm)"),
}
"""Of the raw measures and of the normalised: shift to the side, colour, marker, line, and name."""


@styled
def plot_modularity(rows, conditions, dropouts):
    """Q of each network by each measure, a row of panels per layer, above the band of the untrained networks.

    rows: `condition`, `layer`, `measure`, `q` of each network.  conditions: `condition`, `layer`, `measure`, `mean`,
    `untrained_mean`, `untrained_sd`, `untrained_n`.
    dropouts: {condition: rate}, those that stand on an axis of dropout; all others stand to the right of it.
    """
    others = [name for name in dict.fromkeys(row["condition"] for row in conditions) if name not in dropouts]
    end = max(dropouts.values(), default=-0.15)
    positions = dropouts | {name: end + 0.15 + 0.1 * place for place, name in enumerate(others)}
    layers = sorted({row["layer"] for row in conditions})
    size = 10, 1.3 + 2.1 * len(layers)
    figure, panels = figure_of(*size, None, len(layers), len(RAW_MEASURES), sharex=True, sharey=True)
    for (axes, (layer, raw)), norm in product(zip(panels.flat, product(layers, RAW_MEASURES)), STYLES):
        shift, color, marker, dashes, label = STYLES[norm]
        here = {"layer": layer, "measure": raw + norm}.items()
        pooled = [row for row in conditions if here <= row.items()]
        dots = [row for row in rows if here <= row.items() and row["condition"] in positions]
        places = [positions[row["condition"]] + shift for row in dots]
        axes.scatter(places, column(dots, "q"), s=5, color=color, alpha=0.6, linewidths=0)
        means = {row["condition"]: row["mean"] for row in pooled}
        line = {"color": color, "marker": marker, "markersize": 4, "linewidth": 1.2}
        for group, dash in ((sorted(dropouts, key=dropouts.get), dashes), (others, "")):
            places = [positions[name] + shift for name in group]
            axes.plot(places, [means[name] for name in group], linestyle=dash, **line)
        middle, sd = pooled[0]["untrained_mean"], pooled[0]["untrained_sd"]
        band = f"untrained, {label}: mean ± 2 sd (n = {pooled[0]['untrained_n']})"
        axes.axhspan(middle - 2 * sd, middle + 2 * sd, color=color, alpha=0.2, linewidth=0, label=band)
        axes.plot([], [], linestyle=dashes, label=f"{label}: mean; dots: networks", **line)
    panels[0, 0].set(xlim=(min(positions.values()) - 0.06, max(positions.values()) + 0.06), ylim=(0, None))
    names = [f"{dropouts[name]:g}" if name in dropouts else name for name in positions]
    for first, last, raw in zip(panels[0], panels[-1], RAW_MEASURES):
        first.set_title(raw)
        last.set_xticks(list(positions.values()), names, rotation=90, fontsize=7)
        last.set_xlabel("dropout rate" + (", and other networks" if others else "") if dropouts else "")
    for axes, layer in zip(panels[:, 0], layers):
        axes.set_ylabel(f"modularity Q, layer {layer}")
    legend_below(figure, panels[0, 0], columns=2)
    return figure


@styled
def plot_similarities(pictures, shown):
    """Similarity matrices sorted by cluster, a row per layer; side by side an upstream and a downstream measure.

    A strip on top of each matrix: the clusters of its neurons by the other measure; if the two agreed, as blocked as it.

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

    rows: `condition`, `network`, `measure`, `other`, `similarity`; untrained networks have the condition `baseline`.
    """
    figure, [panels] = figure_of(10, 4.9, columns=2, sharey=True)
    size = len(MEASURES)
    for axes, kind in zip(panels, ("trained", "untrained")):
        chosen = [row for row in rows if (row["condition"] == baseline) == (kind == "untrained")]
        table = numpy.full((size, size), numpy.nan)
        for pair in grouped(chosen, "measure", "other"):
            one, other = (MEASURES.index(pair[0][key]) for key in ("measure", "other"))
            table[one, other] = table[other, one] = defined_mean(row["similarity"] for row in pair)
        image = draw_table(axes, table, MEASURES, list(map(len, FAMILIES.values())), (0.2, 0.85))
        axes.set_xticks(range(size), MEASURES, rotation=90)
        networks = len(grouped(chosen, "condition", "network"))
        axes.set_title(f"{kind} (n = {networks} networks, mean over layers)")
        side = {"xycoords": "axes fraction", "rotation": 90, "va": "center", "color": GREY}
        for place, family in enumerate(FAMILIES):
            axes.annotate(family, (1.02, 0.75 - 0.5 * place), **side)
    name = "element-centric similarity of partitions (1: equal)"
    figure.colorbar(image, ax=panels, label=name, fraction=0.03, pad=0.03)
    return figure
