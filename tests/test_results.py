import csv
import json

import pytest

from mlp import InputError
from mlp.results import percent, points, print_table, replacing, save_results, writable_folder


def test_results_are_written_as_csv_and_as_json_with_their_record(tmp_path):
    rows = [{"neuron": "L1_0", "drop": 0.25}, {"neuron": "L2_1", "drop": 1 / 3}]
    save_results(tmp_path / "results", rows, {"seed": 0})
    with open(tmp_path / "results.csv") as file:
        assert [{**row, "drop": float(row["drop"])} for row in csv.DictReader(file)] == rows
    assert json.loads((tmp_path / "results.json").read_text()) == {"record": {"seed": 0}, "rows": rows}
    assert len(list(tmp_path.iterdir())) == 2


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
