"""What a run leaves behind: tables, numbers and the record of how they came about."""

import contextlib
import csv
import json
import math
import os
import platform
import shlex
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch

from mlp import InputError

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


def writable_folder(path):
    """Make a folder and prove that it can be written to, before hours of work depend on it."""
    with _named_failure(path):
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    return path


@contextlib.contextmanager
def replacing(path):
    """A temporary path beside `path` that takes its place if the block succeeds, and vanishes if it does not."""
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")  # keeps the suffix, which tells savefig the format
    try:
        with _named_failure(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # most often it is not there any more
            temporary.unlink()


@contextlib.contextmanager
def _named_failure(path):
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be written ({reason}); choose another output folder") from error


def save_results(stem, rows, record):
    """Write rows (dicts) to STEM.csv, and with the run's record to STEM.json.

    In the CSV, what a row lacks, and NaN for what is not defined, are empty cells.  In the JSON all that is not a
    finite number is null, since strict JSON has no word for it.
    """
    with replacing(stem.with_suffix(".csv")) as temporary, open(temporary, "w", newline="") as file:
        columns = dict.fromkeys(key for row in rows for key in row)
        writer = csv.DictWriter(file, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: None if value != value else value for key, value in row.items()} for row in rows)
    with replacing(stem.with_suffix(".json")) as temporary:
        lines = ",\n".join(map(strict_json, rows))  # a row per line
        temporary.write_text(f'{{"record": {strict_json(record, indent=1)},\n"rows": [\n{lines}\n]}}\n')


def strict_json(value, **options):
    """JSON that every reader understands: null in place of NaN and infinity."""

    def finite(part):
        if isinstance(part, dict):
            return {key: finite(inner) for key, inner in part.items()}
        if isinstance(part, (list, tuple)):
            return [finite(inner) for inner in part]
        return None if isinstance(part, float) and not math.isfinite(part) else part

    return json.dumps(finite(value), allow_nan=False, **options)


def grouped(rows, *keys):
    """The rows in groups of equal values under the keys, in the order in which they first appear."""
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return list(groups.values())


def print_table(rows):
    """Print rows (dicts of strings with the same keys) under their keys, numbers to the right."""
    columns = [[key, *(row[key] for row in rows)] for key in rows[0]]
    widths = [max(map(len, column)) for column in columns]
    for line in zip(*columns):
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths)))


def identity(row):
    """What tells a network from the others, as the first columns of its rows."""
    return {"condition": row["condition"], "network": row["network"]}


def network_name(row):
    """'dropout 0.5, network 3'"""
    return f"{row['condition']}, network {row['network']}"


def number(value, form="{:.2f}", undefined="-"):
    """0.1234 -> '0.12', and NaN -> '-'"""
    return undefined if math.isnan(value) else form.format(value)


def percent(fraction):
    """0.975 -> '97.5 %'"""
    return f"{100 * fraction:.1f} %"


def points(difference):
    """A difference of fractions in percentage points: 0.031 -> '3.1 pp'"""
    return f"{round(100 * difference, 1) + 0:.1f} pp"  # + 0 turns -0.0 into 0.0
