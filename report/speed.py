"""The figure of how long betweenness takes."""

from matplotlib.ticker import NullFormatter

from report.panels import figure_of
from report.style import BLUE, RED, YELLOW, styled


@styled
def plot_engine_times(rows, title):
    """Seconds against edges, a line per engine: rows with `engine`, `edges`, `seconds`."""
    figure, [[axes]] = figure_of(6, 4)
    for engine, color, marker in (("networkx", RED, "s"), ("igraph", YELLOW, "^"), ("layered", BLUE, "o")):
        points = sorted((row["edges"], row["seconds"]) for row in rows if row["engine"] == engine)
        axes.plot(*zip(*points), color=color, marker=marker, label=engine)
    axes.set(xscale="log", yscale="log", xlabel="edges", ylabel="seconds for the betweenness of all neurons")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")  # a power of ten would be mathematics, which is not parsed
        axis.set_minor_formatter(NullFormatter())
    axes.set_title(title, fontsize=9)
    axes.legend()
    return figure
