"""Figures of clusters of neurons, and of the weight that they cut."""

import numpy
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from modularity.graph import strengths, weight_adjacency
from report.style import CANDIDATE_COLOR, GREY, cluster_color, styled

MOST_BLOCKS = 300  # rows of the picture of |w|: about as many as its pixels


def layer_name(layer, layers):
    return "input" if layer == 0 else "output" if layer == layers - 1 else f"layer {layer}"


@styled
def plot_n_cuts(rows, shuffles, nulls, clusters):
    """The n-cut of each network beside those of its shuffled copies, grouped by training condition.

    rows: `condition`, `network`, `n_cut`, `<null>_p`.  shuffles: `condition`, `network`, `null`, `n_cut`.
    nulls: {null: what it means}.
    """
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    places, position = {}, 0.0
    for condition in conditions:
        for row in rows:
            if row["condition"] == condition:
                places[condition, row["network"]] = position
                position += 1
        position += 0.8
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    axes = figure.subplots()
    for null, shift, color in zip(nulls, (-0.22, 0.22), (GREY, "#3f90da")):
        at = [places[row["condition"], row["network"]] + shift for row in shuffles if row["null"] == null]
        values = [row["n_cut"] for row in shuffles if row["null"] == null]
        copies = len(values) // len(rows)
        axes.scatter(
            at,
            values,
            marker="_",
            s=(120 / position) ** 2,
            linewidths=0.8,
            color=color,
            alpha=0.6,
            label=f"{nulls[null]} ({copies} each)",
        )
    axes.scatter(
        [places[row["condition"], row["network"]] for row in rows],
        [row["n_cut"] for row in rows],
        marker="D",
        s=26,
        color=CANDIDATE_COLOR,
        edgecolors="white",
        linewidths=0.6,
        zorder=3,
        label="the network",
    )
    middles = []
    for condition in conditions:
        group = [row for row in rows if row["condition"] == condition]
        middles.append(numpy.mean([places[condition, row["network"]] for row in group]))
    counts = [sum(row["condition"] == condition for row in rows) for condition in conditions]
    axes.set_xticks(
        middles,
        [f"{condition}\nn = {n}".replace(", ", ",\n") for condition, n in zip(conditions, counts)],
    )
    axes.tick_params(axis="x", length=0)
    axes.set(ylabel=f"n-cut of {clusters} clusters (lower: more clustered)", xlim=(-0.8, position - 1))
    figure.legend(loc="outside lower center", ncols=3, markerscale=1.5)
    title = "n-cut of each network against its own shuffled copies (compare within a column only)"
    axes.set_title(title, loc="left")
    return figure


@styled
def plot_clusters(weights, labels, title):
    """The neurons of a network layer by layer, coloured by cluster; and |w| with the neurons ordered by cluster.

    weights: one [out, in] tensor per layer.  labels: [neurons], -1 for those without edges, which are left out.
    """
    sizes = [weights[0].shape[1], *map(len, weights)]
    layers = numpy.repeat(numpy.arange(len(sizes)), sizes)
    clusters = sorted(set(labels.tolist()) - {-1}, key=lambda cluster: layers[labels == cluster].mean())
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    columns, matrix = figure.subplots(1, 2, width_ratios=(1.25, 1))

    middle = {}
    for layer in range(len(sizes)):
        living = [labels[(layers == layer)] == cluster for cluster in clusters]
        bottom, total = 0.0, max(1, sum(int(members.sum()) for members in living))
        for cluster, members in zip(clusters, living):
            height = members.sum() / total
            if height:
                columns.bar(
                    layer,
                    height,
                    0.32,
                    bottom,
                    color=cluster_color(cluster),
                    edgecolor="white",
                    linewidth=0.5,
                    zorder=3,
                )
                middle[layer, cluster] = bottom + height / 2
                if height > 0.03:
                    columns.text(layer, bottom + height / 2, cluster, ha="center", va="center", fontsize=7, zorder=4)
            bottom += height
    for layer, strength in enumerate(strengths(weights)):
        before, after = labels[layers == layer], labels[layers == layer + 1]
        table = numpy.array(
            [
                [strength[after == target][:, before == source].sum().item() for source in clusters]
                for target in clusters
            ]
        )
        table /= table.sum() or 1
        for row, target in enumerate(clusters):
            for column, source in enumerate(clusters):
                if table[row, column] > 0.002:
                    inside = source == target
                    columns.plot(
                        [layer + 0.16, layer + 1 - 0.16],
                        [middle[layer, source], middle[layer + 1, target]],
                        color=cluster_color(source) if inside else GREY,
                        alpha=0.9 if inside else 0.22,
                        linewidth=60 * table[row, column],
                        solid_capstyle="butt",
                        zorder=2 if inside else 1,
                    )
    names = [layer_name(layer, len(sizes)) for layer in range(len(sizes))]
    living = [int((labels[layers == layer] >= 0).sum()) for layer in range(len(sizes))]
    columns.set_xticks(range(len(sizes)), [f"{name}\nn = {n}" for name, n in zip(names, living)])
    columns.tick_params(length=0)
    columns.set(
        yticks=[],
        ylim=(0, 1),
        title="neurons by cluster; lines: share of |w| between layers,\ncoloured within a cluster",
    )
    columns.spines["left"].set_visible(False)
    columns.spines["bottom"].set_visible(False)

    order = numpy.concatenate([numpy.flatnonzero(labels == cluster) for cluster in clusters])
    dense = weight_adjacency(weights)[order][:, order].toarray()
    bins = numpy.linspace(0, len(order), min(len(order), MOST_BLOCKS), endpoint=False).astype(int)
    binned = numpy.add.reduceat(numpy.add.reduceat(dense, bins, 0), bins, 1)
    area = numpy.outer(*[numpy.diff([*bins, len(order)])] * 2)
    image = matrix.imshow(
        binned / area,
        cmap="cividis",
        norm=PowerNorm(0.4),
        extent=(0, len(order), len(order), 0),
        interpolation="nearest",
    )
    ends = numpy.cumsum([(labels == cluster).sum() for cluster in clusters])
    starts = numpy.concatenate([[0], ends[:-1]])
    for end in ends[:-1]:
        matrix.axhline(end, color="white", linewidth=0.4)
        matrix.axvline(end, color="white", linewidth=0.4)
    wide = [place for place in range(len(clusters)) if ends[place] - starts[place] > 0.02 * len(order)]
    ticks = [(starts[place] + ends[place]) / 2 for place in wide]
    matrix.set_xticks(ticks, [clusters[place] for place in wide], fontsize=7)
    matrix.set_yticks(ticks, [clusters[place] for place in wide], fontsize=7)
    matrix.tick_params(length=0)
    matrix.spines[:].set_visible(False)
    matrix.set(title=f"mean |w|, {len(order):,} neurons ordered by cluster", xlabel="cluster", ylabel="cluster")
    figure.colorbar(image, ax=matrix, fraction=0.045, pad=0.02, label="mean |w| (0: no edge)")
    figure.suptitle(f"{title}: {len(clusters)} clusters", fontsize=10)
    return figure
