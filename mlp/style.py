"""How every figure of this repository looks, whatever the user's own matplotlib settings are."""

import functools

import matplotlib

from mlp.results import replacing

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
