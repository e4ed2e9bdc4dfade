"""What runs of scripts write, and how to look at it."""

import csv
import statistics

import pytest
import torch
from conftest import strict

from mlp.checkpoint import load_networks

ABLATION = "are_modules_indegree_nobetween.py"
CLUSTERING = "are_modules_clusterable.py"
SPECIALIZATION = "are_modules_specialized.py"
SIMILARITY = "are_modules_upstream_downstream.py"
RECOVERY = "are_modules_recovered.py"
SCRIPTS = "train.py", "network_analysis.py", ABLATION, CLUSTERING, SPECIALIZATION, SIMILARITY, RECOVERY
SCRIPTS += "benchmark.py", "benchmark_cluster.py"

SIZES = ["small", pytest.param("full", marks=pytest.mark.long)]
"""What is published is published of networks of full size; whatever else is so, is so of small ones."""


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def record(path):
    return strict(path.read_text())["record"]


def figures_are_there(folder, *stems):
    for stem in stems:
        assert (folder / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
    return True


def same_files(one, two):
    """Whether two folders hold the same bytes, but for the commands in the records, which differ."""
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    for path in one.iterdir():
        if path.suffix == ".json":
            contents = [strict((folder / path.name).read_text()) for folder in (one, two)]
            for content in contents:
                del content["record"]["command"]
            assert contents[0] == contents[1], path.name
        elif path.suffix == ".pt":
            models, others = (load_networks(folder / path.name)[0] for folder in (one, two))
            for model, other in zip(models, others, strict=True):
                assert all(torch.equal(*pair) for pair in zip(model.parameters(), other.parameters(), strict=True))
        else:
            assert path.read_bytes() == (two / path.name).read_bytes(), path.name
    return True


def balanced_accuracy(model, images, labels):
    """The mean over digits of the share of their images that are right."""
    right = model(images).argmax(1) == labels
    return statistics.mean(right[labels == label].double().mean().item() for label in range(model.sizes[-1]))
