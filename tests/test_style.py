import struct

import matplotlib
from matplotlib.figure import Figure

from report.style import save_figure, styled


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
