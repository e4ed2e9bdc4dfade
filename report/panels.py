"""What many figures do alike."""

import numpy
from matplotlib.figure import Figure

from report.style import CENTERED, ink


def figure_of(width, height, title=None, lines=1, columns=1, **options):
    """A figure of so many inches, and its panels [lines, columns]."""
    figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(title)
    return figure, figure.subplots(lines, columns, squeeze=False, **options)


def legend_below(figure, axes, columns=1):
    """What the marks of a panel mean, each once, below all panels."""
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=columns)


def bare(axes):
    """Take away the frame and the marks of the ticks."""
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def white_lines(axes, places, width):
    """Part the rows, and likewise the columns, of a matrix."""
    for place in places:
        axes.axhline(place, color="white", linewidth=width)
        axes.axvline(place, color="white", linewidth=width)


def draw_table(axes, table, names, blocks, limits, fontsize=None):
    """A table of numbers as an image, each number in its place, but for NaN; white lines between blocks of such sizes.

    table: [n, n].  names: of its lines.  limits: the numbers of the darkest and of the lightest colour.
    """
    image = axes.imshow(table, "cividis", vmin=limits[0], vmax=limits[1])
    for place, value in numpy.ndenumerate(table):
        if not numpy.isnan(value):
            shown = f"{value:.2f}".replace("-0.00", "0.00")
            axes.text(*place[::-1], shown, **CENTERED, fontsize=fontsize, color=ink(image.to_rgba(value)))
    white_lines(axes, numpy.cumsum(blocks)[:-1] - 0.5, 3)
    axes.set_yticks(range(len(names)), names)
    bare(axes)
    return image


def column(rows, key):
    """What the rows have under a key, as an array."""
    return numpy.array([row[key] for row in rows])
