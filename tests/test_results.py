import csv
import json
import math

import pytest
from conftest import REPOSITORY, strict

from report.results import print_table, save_results, text


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


@pytest.mark.parametrize("columns", [None, {"neuron": "{neuron}", "drop": "{drop}"}])
def test_tables_are_aligned(capsys, columns):
    print_table([{"neuron": "intact", "drop": "0.0 pp"}, {"neuron": "L1_0", "drop": "12.5 pp"}], columns)
    assert capsys.readouterr().out == "neuron     drop\nintact   0.0 pp\n  L1_0  12.5 pp\n"


def test_the_cells_of_a_table_are_templates(capsys):
    rows = [{"layer": 1, "share": 0.25, "p": math.nan}, {"layer": 12, "share": 1.0, "p": 0.012}]
    print_table(rows, {"in layer": "L{layer}", "share": "{share:.1 %}", "p": "{p:.2g}"})
    assert capsys.readouterr().out == "in layer    share      p\n      L1   25.0 %      -\n     L12  100.0 %  0.012\n"


@pytest.mark.parametrize(
    "template, value, shown",
    [
        ("{:.1 %}", 0.9746, "97.5 %"),
        ("{:.1 pp}", -0.0004, "0.0 pp"),
        ("{:.1 pp}", 0.125, "12.5 pp"),
        ("{:+.2 pp}", 0.031, "+3.10 pp"),
        ("{:+.2 pp}", -0.031, "-3.10 pp"),
        ("{:.2f}", 0.1234, "0.12"),
        ("{:.2f}", math.nan, "-"),
        ("{:.1 %}", math.nan, "-"),
        ("{}", None, "-"),
        ("n = {}", 3, "n = 3"),
    ],
)
def test_numbers_for_people(template, value, shown):
    assert text(template, value) == shown
    assert text(template.replace("{", "{number"), number=value) == shown
