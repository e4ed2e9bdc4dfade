"""How every figure of this repository looks, whatever the user's own matplotlib settings are."""

import functools

import matplotlib
import numpy
from matplotlib.colors import to_rgb

from mlp.files import replacing

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # TrueType, which other programs can edit and search
    "text.parse_math": False,  # a name with two $ in it is a name
}


# petroff10 (Petroff 2021), arranged so that the default digits are the easiest to tell apart
DIGIT_COLORS = "#94a4a2 #b9ac70 #92dadd #3f90da #e76300 #ffa90e #717581 #832db6 #a96b59 #bd1f01".split()
CANDIDATE_COLOR = "#bd1f01"
GREY = "#717581"


def cluster_color(cluster):
    """A colour per cluster: ten, and then the same ten paler."""
    color = numpy.array(to_rgb(DIGIT_COLORS[cluster % 10]))
    return tuple(1 - (1 - color) * 0.5 ** (cluster // 10))


def styled(function):
    """Draw, or save, in this style."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        with matplotlib.rc_context(matplotlib.rcParamsDefault | STYLE):
            return function(*args, **kwargs)

    return wrapper


@styled
def save_figure(figure, stem):
    """Write a matplotlib figure to STEM.png and STEM.pdf."""
    for suffix, metadata in ((".png", {}), (".pdf", {"CreationDate": None})):  # no date: same numbers, same bytes
        with replacing(stem.with_suffix(suffix)) as temporary:
            figure.savefig(temporary, metadata=metadata)
