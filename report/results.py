"""What a run leaves behind: tables, numbers and the record of how they came about."""

import csv
import platform
import shlex
import string
import sys
from importlib.metadata import version
from pathlib import Path

import torch

from mlp.files import replacing, strict_json
from modularity.significance import LEVEL

PACKAGES = ("torch", "torchvision", "networkx", "numpy", "scipy", "scikit-learn", "igraph", "matplotlib")


def run_record(args, device="cpu", **about):
    """How to get the same numbers again: the command, versions and device, and what else is worth knowing."""
    if str(device) != "cpu":
        device = torch.cuda.get_device_name(device)
    return {
        "command": shlex.join(["python", Path(sys.argv[0]).name, *args.argv]),
        **about,
        "device": str(device),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }


def save_results(stem, rows, record):
    """Write rows (dicts) to STEM.csv, and with the run's record to STEM.json.

    In the CSV, what a row lacks, and NaN for what is not defined, are empty cells.  In the JSON all that is not a
    finite number is null, since strict JSON has no word for it.
    """
    with replacing(stem.with_suffix(".csv")) as temporary:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            columns = dict.fromkeys(key for row in rows for key in row)
            writer = csv.DictWriter(file, fieldnames=columns, lineterminator="\n")
            writer.writeheader()
            for row in rows:
                writer.writerow({key: None if value != value else value for key, value in row.items()})
    with replacing(stem.with_suffix(".json")) as temporary:
        lines = ",\n".join(map(strict_json, rows))  # a row per line
        content = f'{{"record": {strict_json(record, indent=1)},\n"rows": [\n{lines}\n]}}\n'
        temporary.write_text(content, encoding="utf-8")


class Cells(string.Formatter):
    """`str.format`, with "-" for what is not defined (NaN, None), and " %" and " pp" for fractions in such units.

    "{n}: {share:.1 %}, {change:+.2 pp}" -> "3: 97.5 %, -1.25 pp"
    """

    def __init__(self):
        self.defined = []

    def format_field(self, value, spec):
        self.defined.append(value is not None and value == value)
        if not self.defined[-1]:
            return "-"
        for unit in (" %", " pp"):
            if spec.endswith(unit):
                shown = f"{100 * value:{spec.removesuffix(unit)}f}"
                return (shown if float(shown) else shown.replace("-", "")) + unit
        return super().format_field(value, spec)


def text(template, *values, **named):
    """A template of `Cells` with values; a single "-" if none of them is defined."""
    cells = Cells()
    shown = cells.vformat(template, values, named)
    return shown if any(cells.defined) or not cells.defined else "-"


def told(test, less, more, unsure, p="p"):
    """What a two-sided test says in words.  test: with a `direction` and, under the name p, a p-value."""
    if not test[p] <= LEVEL or test["direction"] == 0:
        return unsure
    return more if test["direction"] > 0 else less


def print_table(rows, columns=None):
    """Print a table, a line per row (dict), numbers to the right.

    columns: {header: template of `text`}; or None for rows of text, whose keys are the headers.
    """
    if columns:
        rows = [{header: text(template, **row) for header, template in columns.items()} for row in rows]
    columns = [[key, *(row[key] for row in rows)] for key in rows[0]]
    widths = [max(map(len, column)) for column in columns]
    for line in zip(*columns):
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths)))
