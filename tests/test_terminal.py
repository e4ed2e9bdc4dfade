"""Terminals and locales that know little more than English."""

import io
import os
import subprocess
import sys

import pytest
import torch
from conftest import strict
from runs import SIMILARITY, table

from mlp.model import initial_model
from report.options import run

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""What has Python read and write nothing but ASCII, unless it is told otherwise."""


@pytest.mark.parametrize("encoding, shown", [("ascii", "0.3 +- 0.1, -1 x 2 ?"), ("utf-8", "0.3 ± 0.1, −1 × 2 é")])
def test_what_a_terminal_cannot_show_is_spelled(monkeypatch, encoding, shown):
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)

    def main(argv):
        for stream in streams.values():
            print("0.3 ± 0.1, −1 × 2 é", file=stream, flush=True)

    run(main)
    assert [stream.buffer.getvalue().decode(encoding) for stream in streams.values()] == [f"{shown}\n"] * 2


def test_nothing_is_lost_in_an_ascii_locale(workshop, tmp_path):
    """Neither what is printed nor what is written, of files and folders whose names are not ASCII."""
    torch.save(initial_model((784, 6, 5, 3), seed=0).state_dict(), tmp_path / "réseau.pt")
    options = "--classes 3,5,7 --untrained 3 --restarts 2 --least-accuracy 0 --jobs 1 --figures-dir é".split()
    command = [sys.executable, workshop / SIMILARITY, "réseau.pt", *options]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | ASCII, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert " +- " in done.stdout.decode("ascii")
    done.stderr.decode("ascii")
    figures = tmp_path / "é"
    assert "réseau" in {row["condition"] for row in table(figures / "upstream_downstream.csv")}
    rows = strict((figures / "upstream_downstream.json").read_text(encoding="utf-8"))["rows"]
    assert "réseau" in {row["condition"] for row in rows}
