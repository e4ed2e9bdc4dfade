"""Figures of clusters of neurons, and of the weight that they cut."""

import numpy
from matplotlib.colors import PowerNorm

from modularity.graph import strengths, weight_adjacency
from modularity.rows import defined_mean, grouped, over_seeds
from report.panels import bare, column, figure_of, legend_below, white_lines
from report.style import BLUE, CENTERED, GREY, OFFSET, ORANGE, cluster_color, ink, styled

GAP_MARKS = ("o", GREY), ("s", BLUE), ("D", ORANGE)
LINEAR_GAPS = 0.1  # in n-cut
SMALL_GAPS = 0.1, 0.2, 0.5  # of which the scale has marks where all are small
MOST_BLOCKS = 300  # rows of the picture of |w|: about as many as its pixels


@styled
def plot_gaps(rows, nulls, clusters):
    """How much less networks cut than their own shuffled copies: a panel per graph, a line per condition and null.

    A gap is the n-cut of a network minus the mean n-cut of its copies, negative if it is more clustered than they are.
    rows: `graph`, `condition`, `network`, `seed`, `n_cut`, `<null>_gap`.  nulls: {null: what it means}.
    """
    graphs = grouped(rows, "graph")
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    title = f"n-cut of {clusters} clusters, beside that of shuffled copies (left of 0: more clustered)\n"
    title += f"the scale is linear within ±{LINEAR_GAPS}, logarithmic beyond"
    size = 9, 1.5 + 0.21 * len(conditions) * len(nulls)
    figure, [panels] = figure_of(*size, title, columns=len(graphs), sharex=True, sharey=True)
    for axes, its_rows in zip(panels, graphs):
        draw_gaps(axes, its_rows, nulls)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(title=its_rows[0]["graph"], xlabel="n-cut of the network minus mean n-cut of its copies")
        axes.set_xscale("symlog", linthresh=LINEAR_GAPS, linscale=0.5)
        if all(abs(row[f"{null}_gap"]) < 1 for row in rows for null in nulls):
            axes.set_xticks([side * gap for side in (-1, 1) for gap in SMALL_GAPS] + [0])
        axes.xaxis.set_major_formatter("{x:g}")
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(conditions)), [name.replace(", ", ",\n") for name in conditions])
    panels[0].set_ylim(len(conditions) - 0.5, -0.5)
    legend_below(figure, panels[0], columns=2)
    return figure


def draw_gaps(axes, rows, nulls):
    """The gaps of a graph: a dot per network, their mean with its interval, and beside them the mean n-cut."""
    step = 0.8 / len(nulls)
    faint = {"s": 12, "alpha": 0.35, "linewidths": 0}
    beside = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 8}
    axes.text(1.02, -0.55, "mean\nn-cut", **beside | {"va": "bottom"})
    for place, group in enumerate(grouped(rows, "condition")):
        if place % 2 == 0:
            axes.axhspan(place - 0.5, place + 0.5, color="#f3f3f3", linewidth=0, zorder=0)
        n_cut = defined_mean(row["n_cut"] for row in group)
        axes.text(1.02, place, f"{n_cut:.2f}\nn = {len(group)}", **beside)
        drawn = []
        for number, (null, (marker, color)) in enumerate(zip(nulls, GAP_MARKS)):
            height = place + (number - (len(nulls) - 1) / 2) * step
            gaps = column(group, f"{null}_gap").tolist()
            mean, low, high = (over_seeds(group, f"{null}_gap")[key] for key in ("mean", "low", "high"))
            if gaps in drawn:  # without zeros there are no places to keep
                inwards, side, end = (-6, "right", low) if mean > 0 else (6, "left", high)
                place_of = mean if numpy.isnan(end) else end, height
                axes.annotate("the same", place_of, (inwards, 0), ha=side, va="center", fontsize=7, **OFFSET)
                gaps, mean = [], numpy.nan  # nothing but the name in the legend
            drawn.append(gaps)
            axes.scatter(gaps, [height] * len(gaps), marker=marker, color=color, **faint)
            look = {"marker": marker, "color": color, "markersize": 5.5, "markeredgecolor": "black", "linestyle": ""}
            look |= {"markeredgewidth": 0.6, "ecolor": "black", "elinewidth": 1.2, "capsize": 2.5}
            axes.errorbar(mean, height, xerr=[[mean - low], [high - mean]], **look, label=nulls[null])
    name = "a network; with black rim their mean, 95 % t interval over seeds"
    axes.scatter([], [], color="black", label=name, **faint)


@styled
def plot_clusters(graphs, title, names):
    """The neurons of graphs layer by layer, coloured by cluster; and |w| with the neurons ordered by cluster.

    graphs: {name: (weights, n-cut, labels)}, a line of panels each: weights, one [out, in] tensor per layer; labels
    [neurons], -1 for those without edges, which are left out.
    names: of the layers.
    """
    title += "; lines: share of |w| between layers, coloured within a cluster"
    size = 10, 0.6 + 4.1 * len(graphs)
    figure, panels = figure_of(*size, title, len(graphs), 2, width_ratios=(1.25, 1))
    images = []
    for (left, right), (name, (weights, n_cut, labels)) in zip(panels, graphs.items()):
        sizes = [weights[0].shape[1], *map(len, weights)]
        layers = numpy.repeat(numpy.arange(len(sizes)), sizes)
        clusters = sorted(set(labels.tolist()) - {-1}, key=lambda cluster: layers[labels == cluster].mean())
        draw_layers(left, weights, [labels[layers == layer] for layer in range(len(sizes))], clusters, names)
        left.set_title(f"{name}: n-cut {n_cut:.2f} of {len(clusters)} clusters")
        images.append(draw_matrix(right, weights, labels, clusters))
    largest = max(image.get_clim()[1] for image in images)
    for image in images:
        image.set_clim(0, largest)
    figure.colorbar(image, ax=panels[:, 1], fraction=0.045, pad=0.02, label="mean |w| (0: no edge)")
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
                color = ink(cluster_color(cluster))
                axes.text(layer, middle, cluster, **CENTERED, fontsize=7, color=color, zorder=4)
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
    axes.set(title=f"mean |w|, {n:,} units ordered by cluster", xlabel="cluster", ylabel="cluster")
    return image
