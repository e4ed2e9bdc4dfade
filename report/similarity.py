"""Figures of the similarity of neurons, in the style of `report.networks`."""

from itertools import product

import numpy
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from modularity.rows import defined_mean, grouped
from modularity.similarity import FAMILIES, MEASURES, RAW_MEASURES
from report.results import text
from report.style import GREY, cluster_color, styled

STYLES = {
    "": (-0.008, "#3f90da", "o", "-", "raw"),
    "_norm": (0.008, "#e76300", "s", "--", "normalised (_norm)"),
}
"""Of the raw measures and of the normalised: shift to the side, colour, marker, line, and name."""


@styled
def plot_modularity(rows, conditions, dropouts):
    """Q of each network by each measure, a row of panels per layer, above the band of the untrained networks.

    rows: `condition`, `layer`, `measure`, `q` of each network.  conditions: `condition`, `layer`, `measure`, `mean`,
    `untrained_mean`, `untrained_sd`, `untrained_n`.
    dropouts: {condition: rate}, those that stand on an axis of dropout; all others stand to the right of it.
    """
    others = [row["condition"] for row in conditions if row["condition"] not in dropouts]
    end = max(dropouts.values(), default=-0.15)
    positions = dropouts | {
        condition: end + 0.15 + 0.1 * place for place, condition in enumerate(dict.fromkeys(others))
    }
    networks, pooled = (
        {(group[0]["layer"], group[0]["measure"]): group for group in grouped(lines, "layer", "measure")}
        for lines in (rows, conditions)
    )
    layers = sorted({layer for layer, _ in pooled})
    figure = Figure(figsize=(10, 1.3 + 2.1 * len(layers)), layout="constrained")
    panels = figure.subplots(len(layers), len(RAW_MEASURES), sharex=True, sharey=True, squeeze=False)
    for (axes, (layer, raw)), (norm, style) in product(zip(panels.flat, product(layers, RAW_MEASURES)), STYLES.items()):
        shift, color, marker, dashes, label = style
        key = (layer, raw + norm)
        dots = [
            (positions[row["condition"]] + shift, row["q"]) for row in networks[key] if row["condition"] in positions
        ]
        axes.scatter(*zip(*dots), s=5, color=color, alpha=0.6, linewidths=0)
        means = {row["condition"]: row for row in pooled[key]}
        line = {"color": color, "marker": marker, "markersize": 4, "linewidth": 1.2}
        for group, dash in ((sorted(dropouts, key=dropouts.get), dashes), (dict.fromkeys(others), "")):
            places = [positions[condition] + shift for condition in group]
            q = [means[condition]["mean"] for condition in group]
            axes.plot(places, q, linestyle=dash, **line)
        untrained = next(iter(means.values()))
        middle, sd = untrained["untrained_mean"], untrained["untrained_sd"]
        band = f"untrained, {label}: mean ± 2 sd (n = {untrained['untrained_n']})"
        axes.axhspan(middle - 2 * sd, middle + 2 * sd, color=color, alpha=0.2, linewidth=0, label=band)
        axes.plot([], [], linestyle=dashes, label=f"{label}: mean; dots: networks", **line)
    panels[0, 0].set(xlim=(min(positions.values()) - 0.06, max(positions.values()) + 0.06), ylim=(0, None))
    for axes, raw in zip(panels[0], RAW_MEASURES):
        axes.set_title(raw)
    for axes in panels[-1]:
        names = [f"{dropouts[condition]:g}" if condition in dropouts else condition for condition in positions]
        axes.set_xticks(list(positions.values()), names, rotation=90, fontsize=7)
        axes.set_xlabel("dropout rate" + (", and other networks" if others else "") if dropouts else "")
    for axes, layer in zip(panels[:, 0], layers):
        axes.set_ylabel(f"modularity Q, layer {layer}")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


@styled
def plot_similarities(pictures, shown):
    """Similarity matrices sorted by cluster, a row per layer; side by side an upstream and a downstream measure.

    A strip on top of each matrix shows the clusters of the same neurons by the other measure: if the two agreed, it
    would be as blocked as the matrix below it.

    pictures: a {"title", "similarity": {measure: matrices}, "partitions": {(layer, measure): (labels, Q)}} per network.
    shown: the two measures.
    """
    layers = len(pictures[0]["similarity"][shown[0]])
    figure = Figure(figsize=(0.8 + 4.6 * len(pictures), 0.9 + 2.6 * layers), layout="constrained")
    panels = figure.subplots(layers, len(shown) * len(pictures), squeeze=False)
    columns = [(picture, *measures) for picture in pictures for measures in (shown, shown[::-1])]
    for layer, line in enumerate(panels, 1):
        for axes, (picture, measure, other) in zip(line, columns):
            labels, q = picture["partitions"][layer, measure]
            others, _ = picture["partitions"][layer, other]
            order = numpy.lexsort((others, labels, labels < 0))  # those in no cluster come last
            matrix = picture["similarity"][measure][layer - 1].numpy()[order][:, order]
            image = axes.imshow(matrix, cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
            for place in numpy.flatnonzero(numpy.diff(labels[order])):
                axes.axhline(place + 0.5, color="white", linewidth=0.7)
                axes.axvline(place + 0.5, color="white", linewidth=0.7)
            strip = axes.inset_axes((0, 1.02, 1, 0.06))
            colors = [cluster_color(label) if label >= 0 else to_rgb("white") for label in others[order]]
            strip.imshow([colors], aspect="auto", interpolation="nearest")
            for part in (axes, strip):
                part.set(xticks=[], yticks=[])
                part.spines[:].set_visible(False)
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
    figure = Figure(figsize=(10, 4.9), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    size = len(MEASURES)
    for axes, kind in zip(panels, ("trained", "untrained")):
        chosen = [row for row in rows if (row["condition"] == baseline) == (kind == "untrained")]
        table = numpy.full((size, size), numpy.nan)
        for pair in grouped(chosen, "measure", "other"):
            place = [MEASURES.index(pair[0][key]) for key in ("measure", "other")]
            table[tuple(place)] = table[tuple(place[::-1])] = defined_mean(row["similarity"] for row in pair)
        image = axes.imshow(table, cmap="cividis", vmin=0.2, vmax=0.85)
        for row, column in zip(*numpy.nonzero(~numpy.isnan(table))):
            value = table[row, column]
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if value < 0.5 else "black")
        for between_families in (axes.axhline, axes.axvline):
            between_families(size / 2 - 0.5, color="white", linewidth=3)
        axes.set_xticks(range(size), MEASURES, rotation=90)
        axes.set_yticks(range(size), MEASURES)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        networks = len(grouped(chosen, "condition", "network"))
        axes.set_title(f"{kind} (n = {networks} networks, mean over layers)")
        for place, family in enumerate(FAMILIES):
            axes.annotate(
                family, (1.02, 0.75 - 0.5 * place), xycoords="axes fraction", rotation=90, va="center", color=GREY
            )
    figure.colorbar(
        image, ax=panels, label="element-centric similarity of partitions (1: equal)", fraction=0.03, pad=0.03
    )
    return figure
