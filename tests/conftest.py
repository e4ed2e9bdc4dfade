import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import settings

import report.options
from mlp.data import load_images
from mlp.model import initial_model
from report.options import run

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
torch.set_num_threads(1)  # sums on one core have one order

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """A copy of the repository whose scripts run with their defaults and leave the original alone."""
    place = tmp_path_factory.mktemp("workshop")
    for script in REPOSITORY.glob("*.py"):
        shutil.copy(script, place)
    for package in ("mlp", "modularity", "report"):
        shutil.copytree(REPOSITORY / package, place / package, ignore=shutil.ignore_patterns("*.pt", "__pycache__"))
    (place / "data").symlink_to(REPOSITORY / "data")
    return place


def shell(script, *arguments, cwd, **options):
    """Runs a script as a user would, in a process of its own: shell("train.py", "--epochs", "1", cwd=...)."""
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, **options)


def call(script, *arguments):
    """Runs a script in this process, where nothing is imported again: what `shell` returns, as far as tests ask."""
    main = importlib.import_module(script.removesuffix(".py")).main
    words = list(map(str, arguments))
    printed, complaints = io.StringIO(), io.StringIO()
    with (
        tempfile.TemporaryDirectory() as place,
        patch.object(report.options, "UNFINISHED", Path(place, "unfinished")),
        patch.object(sys, "argv", [script]),
        redirect_stdout(printed),
        redirect_stderr(complaints),
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", DeprecationWarning)  # as Python does
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        status = 0
        try:
            run(main, words)
        except SystemExit as stop:
            status = stop.code or 0
    said = "".join(f"{warning.category.__name__}: {warning.message}\n" for warning in warned)
    return subprocess.CompletedProcess([script, *words], status, printed.getvalue(), complaints.getvalue() + said)


def succeed(script, *arguments):
    """`call`, of what must succeed.  Where to write has to be named, for the defaults lie in the repository."""
    assert "--figures-dir" in arguments
    assert script != "train.py" or "--save-dir" in arguments
    done = call(script, *arguments)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="session")
def readme_network(workshop):
    """The network of the README, trained by the command of the README, verbatim: (checkpoint, what was printed)."""
    command = "train.py --epochs 30 --batch-size 128 --lr 0.001 --hidden-layers 8,8,8 --save-dir ./mlp"
    done = shell(*command.split(), cwd=workshop)
    assert done.returncode == 0, done.stderr
    return workshop / "mlp" / "mlp_mnist357.pt", done


@pytest.fixture(scope="session")
def digit_images():
    """A few hundred real test images of 3, 5 and 7, with their labels."""
    images, labels = load_images("mnist", (3, 5, 7), train=False, data_dir=REPOSITORY / "data")
    return images[:400], labels[:400]


@pytest.fixture
def small_model():
    return initial_model((784, 6, 5, 4, 3), seed=1)


def random_weights(sizes, seed=0, pruned=0.0):
    """Random [out, in] matrices, a share of their entries exactly zero."""
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(out, into, generator=generator) for into, out in zip(sizes, sizes[1:])]
    return [weight * (torch.rand(weight.shape, generator=generator) >= pruned) for weight in weights]


def strict(text):
    """JSON, read by the letter: NaN and Infinity are none."""

    def refuse(word):
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="session")
def many(tmp_path_factory):
    """Four networks trained together for two epochs: where their checkpoint and figures are."""
    place = tmp_path_factory.mktemp("many")
    options = "--networks 4 --epochs 2 --seed 3".split()
    succeed("train.py", *options, "--save-dir", place, "--figures-dir", place)
    return place
