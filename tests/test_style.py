import math
import struct
from itertools import combinations

import matplotlib
import pytest
from matplotlib.figure import Figure

from report.style import CLUSTER_COLORS, cluster_color, ink, save_figure, styled


def test_figures_do_not_depend_on_the_users_settings(tmp_path):
    """200 dots an inch, fonts that other programs can edit, and a dollar sign is one."""

    @styled
    def plot():
        figure = Figure(figsize=(3, 2))
        figure.subplots().set_title("run$1_$2")
        return figure

    for name, settings in (
        ("plain", {}),
        ("own", {"savefig.dpi": 50, "pdf.fonttype": 3, "font.size": 20, "text.parse_math": True}),
    ):
        with matplotlib.rc_context(settings):
            save_figure(plot(), tmp_path / name)
    content = (tmp_path / "plain.png").read_bytes()
    assert struct.unpack(">II", content[16:24]) == (600, 400)
    assert content == (tmp_path / "own.png").read_bytes()
    printed = (tmp_path / "plain.pdf").read_bytes()
    assert b"/Type3" not in printed
    assert b"/CIDFontType2" in printed
    assert printed == (tmp_path / "own.pdf").read_bytes()


def contrast(one, other):
    """The contrast ratio of two sRGB colours, from 1 to 21 (WCAG 2.2)."""
    luminances = []
    for color in (one, other):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in matplotlib.colors.to_rgb(color)]
        luminances.append(sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear)) + 0.05)
    return max(luminances) / min(luminances)


def test_twelve_clusters_have_colours_of_their_own_and_numbers_that_can_be_read_on_them():
    colors = [cluster_color(cluster) for cluster in range(12)]
    assert all(math.dist(*pair) > 0.13 for pair in combinations(colors, 2))
    assert cluster_color(12) == colors[0]
    assert all(contrast(color, ink(color)) >= 4.5 for color in colors)


@pytest.mark.parametrize("color", ["black", "white", "#767676", "#777777", "#00f", "#0f0", *CLUSTER_COLORS])
def test_ink_is_the_better_of_black_and_white(color):
    other = {"black": "white", "white": "black"}[ink(color)]
    assert contrast(color, ink(color)) >= contrast(color, other)
