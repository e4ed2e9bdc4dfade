"""Figures of clusters of neurons, and of the weight that they cut."""

from operator import itemgetter

import numpy
from matplotlib.colors import PowerNorm

from modularity.graph import strengths, weight_adjacency
from modularity.rows import grouped
from report.panels import bare, column, figure_of, white_lines
from report.style import BLUE, CENTERED, GREY, RED, cluster_color, styled

MOST_BLOCKS = 300  # rows of the picture of |w|: about as many as its pixels


@styled
def plot_n_cuts(rows, shuffles, nulls, clusters):
    """The n-cut of each network beside those of its shuffled copies, by training condition: a panel per graph.

    rows: `graph`, `condition`, `network`, `n_cut`, `<null>_p`.  shuffles: `graph`, `condition`, `network`, `null`,
    `n_cut`.  nulls: {null: what it means}.
    """
    graphs = grouped(rows, "graph")
    figure, panels = figure_of(9, 0.8 + 3.6 * len(graphs), lines=len(graphs), sharex=True)
    for axes, its_rows in zip(panels[:, 0], graphs):
        graph = its_rows[0]["graph"]
        draw_n_cuts(axes, its_rows, [row for row in shuffles if row["graph"] == graph], nulls)
        axes.set_ylabel(f"n-cut of {clusters} clusters (lower: more clustered)")
        axes.set_title(f"{graph}: n-cut of each network against its own shuffled copies", loc="left")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, markerscale=1.5)
    return figure


def draw_n_cuts(axes, rows, shuffles, nulls):
    """A column per network, those of a condition side by side; rows, shuffles: of one graph."""
    name_of = itemgetter("condition", "network")
    groups = grouped(rows, "condition")
    places, position = {}, 0.0
    for group in groups:
        for row in group:
            places[name_of(row)] = position
            position += 1
        position += 0.8
    for null, shift, color in zip(nulls, (-0.22, 0.22), (GREY, BLUE)):
        copies = [row for row in shuffles if row["null"] == null]
        at = [places[name_of(row)] + shift for row in copies]
        style = {"marker": "_", "s": (120 / position) ** 2, "linewidths": 0.8, "color": color, "alpha": 0.6}
        name = f"{nulls[null]} ({len(copies) // len(rows)} each)"
        axes.scatter(at, column(copies, "n_cut"), **style, label=name)
    style = {"marker": "D", "s": 26, "color": RED, "edgecolors": "white", "linewidths": 0.6, "zorder": 3}
    axes.scatter([places[name_of(row)] for row in rows], column(rows, "n_cut"), **style, label="the network")
    middles = [numpy.mean([places[name_of(row)] for row in group]) for group in groups]
    names = [f"{group[0]['condition']}\nn = {len(group)}".replace(", ", ",\n") for group in groups]
    axes.set_xticks(middles, names)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.8, position - 1)


@styled
def plot_clusters(weights, labels, title, pixels=True):
    """The neurons of a network layer by layer, coloured by cluster; and |w| with the neurons ordered by cluster.

    weights: one [out, in] tensor per layer.  labels: [neurons], -1 for those without edges, which are left out.
    pixels: whether the first weights are those that read the pixels.
    """
    sizes = [weights[0].shape[1], *map(len, weights)]
    layers = numpy.repeat(numpy.arange(len(sizes)), sizes)
    clusters = sorted(set(labels.tolist()) - {-1}, key=lambda cluster: layers[labels == cluster].mean())
    title += f": {len(clusters)} clusters"
    figure, [[left, right]] = figure_of(10, 4.8, title, columns=2, width_ratios=(1.25, 1))
    names = [*["input"] * pixels, *(f"layer {layer}" for layer in range(1, len(sizes) - pixels)), "output"]
    draw_layers(left, weights, [labels[layers == layer] for layer in range(len(sizes))], clusters, names)
    image = draw_matrix(right, weights, labels, clusters)
    figure.colorbar(image, ax=right, fraction=0.045, pad=0.02, label="mean |w| (0: no edge)")
    return figure


def draw_layers(axes, weights, labels, clusters, names):
    """A column per layer, made of its clusters; between layers the share of |w| per two.  labels, names: per layer."""
    middles = []
    for layer, its_labels in enumerate(labels):
        sizes = numpy.array([(its_labels == cluster).sum() for cluster in clusters])
        heights = sizes / max(1, sizes.sum())
        starts = numpy.append(0, heights.cumsum()[:-1])
        middles.append(starts + heights / 2)
        for cluster, height, start, middle in zip(clusters, heights, starts, middles[layer]):
            style = {"color": cluster_color(cluster), "edgecolor": "white", "linewidth": 0.5, "zorder": 3}
            if height:
                axes.bar(layer, height, 0.32, start, **style)
            if height > 0.03:
                axes.text(layer, middle, cluster, **CENTERED, fontsize=7, zorder=4)
    for layer, strength in enumerate(strengths(weights)):
        sources, targets = ([group == cluster for cluster in clusters] for group in labels[layer : layer + 2])
        table = numpy.array([[strength[target][:, source].sum().item() for source in sources] for target in targets])
        table /= table.sum() or 1
        for target, source in zip(*numpy.nonzero(table > 0.002)):
            inside = {"color": cluster_color(clusters[source]), "alpha": 0.9, "zorder": 2}
            style = inside if source == target else {"color": GREY, "alpha": 0.22, "zorder": 1}
            style |= {"linewidth": 60 * table[target, source], "solid_capstyle": "butt"}
            axes.plot([layer + 0.16, layer + 1 - 0.16], [middles[layer][source], middles[layer + 1][target]], **style)
    names = [f"{name}\nn = {(its_labels >= 0).sum()}" for name, its_labels in zip(names, labels)]
    axes.set_xticks(range(len(labels)), names)
    bare(axes)
    axes.set_title("neurons by cluster; lines: share of |w| between layers,\ncoloured within a cluster")
    axes.set(yticks=[], ylim=(0, 1))


def draw_matrix(axes, weights, labels, clusters):
    """|w| between all neurons in the order of clusters, averaged over blocks where these are smaller than a pixel."""
    order = numpy.concatenate([numpy.flatnonzero(labels == cluster) for cluster in clusters])
    dense = weight_adjacency(weights)[order][:, order].toarray()
    n = len(order)
    bins = numpy.linspace(0, n, min(n, MOST_BLOCKS), endpoint=False).astype(int)
    binned = numpy.add.reduceat(numpy.add.reduceat(dense, bins, 0), bins, 1)
    widths = numpy.diff(bins, append=n)
    style = {"cmap": "cividis", "norm": PowerNorm(0.4), "interpolation": "nearest"}
    image = axes.imshow(binned / numpy.outer(widths, widths), extent=(0, n, n, 0), **style)
    sizes = numpy.array([(labels == cluster).sum() for cluster in clusters])
    ends = sizes.cumsum()
    white_lines(axes, ends[:-1], 0.4)
    wide = sizes > 0.02 * n
    for set_ticks in (axes.set_xticks, axes.set_yticks):
        set_ticks((ends - sizes / 2)[wide], numpy.array(clusters)[wide], fontsize=7)
    bare(axes)
    axes.set(title=f"mean |w|, {n:,} neurons ordered by cluster", xlabel="cluster", ylabel="cluster")
    return image
