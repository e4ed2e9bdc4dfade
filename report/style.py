"""How every figure of this repository looks, whatever the user's own matplotlib settings are."""

import matplotlib
import numpy
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke

from mlp.files import replacing

STYLE = {"font.size": 9, "axes.titlesize": 10, "figure.titlesize": 10, "savefig.dpi": 200, "legend.frameon": False}
STYLE |= {"axes.spines.top": False, "axes.spines.right": False}
STYLE |= {"pdf.fonttype": 42}  # TrueType, which other programs can edit and search
STYLE |= {"text.parse_math": False}  # a name with two $ in it is a name

# petroff10 (Petroff 2021), arranged so that the default digits are the easiest to tell apart
DIGIT_COLORS = "#94a4a2 #b9ac70 #92dadd #3f90da #e76300 #ffa90e #717581 #832db6 #a96b59 #bd1f01".split()
PALE, _, _, BLUE, ORANGE, YELLOW, GREY, VIOLET, _, RED = DIGIT_COLORS
CLUSTER_COLORS = (
    "#0080ff #b30000 #cce6b3 #e66600 #800066 #e6e600 #664d4d #00ccff #998099 #001ae6 #999980 #b3cccc".split()
)
"""Found by a search for twelve whose least difference is large, both as they are and as people see them who lack the
red or the green cones (Machado et al. 2009): 16.8 by CIEDE2000.  Of the ten above it is 11.9."""

DASHED = {"color": GREY, "linestyle": "--", "linewidth": 1}
DOTTED = {"color": GREY, "linestyle": ":"}
NULL_BAR = {"color": "#d9d9d9", "edgecolor": "#9c9c9c"}  # the interval that a null fills
CENTERED = {"ha": "center", "va": "center"}
OFFSET = {"textcoords": "offset points"}  # of text beside what it names
HALO = {"path_effects": [withStroke(linewidth=2, foreground="white")]}  # text over marks

styled = matplotlib.rc_context(matplotlib.rcParamsDefault | STYLE)
"""Decorates what draws, or saves, in this style."""


def cluster_color(cluster):
    """The colour of a cluster: twelve, and then the same again, so that its number belongs beside it."""
    return to_rgb(CLUSTER_COLORS[cluster % len(CLUSTER_COLORS)])


def ink(color):
    """Black or white, whichever is easier to read on a colour: the larger contrast ratio (WCAG 2.2)."""
    channels = numpy.array(to_rgb(color))
    linear = numpy.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"


@styled
def save_figure(figure, stem):
    """Write a matplotlib figure to STEM.png and STEM.pdf."""
    for suffix, metadata in ((".png", {}), (".pdf", {"CreationDate": None})):  # no date: same numbers, same bytes
        with replacing(stem.with_suffix(suffix)) as temporary:
            figure.savefig(temporary, metadata=metadata)
        figure.set_layout_engine("none")  # the panels lie where the first file has them
