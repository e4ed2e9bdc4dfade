import csv
import json
import math
import struct

import matplotlib
import pytest
from conftest import REPOSITORY, strict
from matplotlib.figure import Figure

from mlp import InputError
from mlp.results import percent, points, print_table, replacing, save_results, writable_folder
from mlp.style import save_figure, styled


def test_results_are_written_as_csv_and_as_json_with_their_record(tmp_path):
    rows = [{"neuron": "L1_0", "drop": 0.25}, {"neuron": "L2_1", "drop": 1 / 3}]
    save_results(tmp_path / "results", rows, {"seed": 0})
    with open(tmp_path / "results.csv") as file:
        assert [{**row, "drop": float(row["drop"])} for row in csv.DictReader(file)] == rows
    assert json.loads((tmp_path / "results.json").read_text()) == {"record": {"seed": 0}, "rows": rows}
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_not_defined_is_null_in_json_and_empty_in_csv(tmp_path):
    """Wherever it stands.  CSV has a word for infinity, strict JSON has none."""
    rows = [{"q": math.nan, "range": math.inf, "n": 3}]
    save_results(tmp_path / "results", rows, {"pooled": [{"tau": math.nan, "limits": (-math.inf, 1.5)}]})
    content = strict((tmp_path / "results.json").read_text())
    assert content["rows"] == [{"q": None, "range": None, "n": 3}]
    assert content["record"] == {"pooled": [{"tau": None, "limits": [None, 1.5]}]}
    assert (tmp_path / "results.csv").read_text() == "q,range,n\n,inf,3\n"


def test_all_results_of_this_repository_are_strict_json():
    paths = sorted((REPOSITORY / "figures").rglob("*.json"))
    assert paths
    for path in paths:
        assert strict(path.read_text())["record"]["versions"], path


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


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_is_interrupted_is_not_half_written(tmp_path, failure):
    path = tmp_path / "results.csv"
    path.write_text("old")
    with pytest.raises((InputError, KeyboardInterrupt)), replacing(path) as temporary:
        temporary.write_text("half")
        raise failure
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="choose another"):
        writable_folder(tmp_path / "file" / "figures")
    assert writable_folder(tmp_path / "a" / "b").is_dir()


def test_tables_are_aligned(capsys):
    print_table([{"neuron": "intact", "drop": "0.0 pp"}, {"neuron": "L1_0", "drop": "12.5 pp"}])
    assert capsys.readouterr().out == "neuron     drop\nintact   0.0 pp\n  L1_0  12.5 pp\n"


def test_numbers_for_people():
    assert percent(0.9746) == "97.5 %"
    assert points(-0.0004) == "0.0 pp"
    assert points(0.125) == "12.5 pp"
