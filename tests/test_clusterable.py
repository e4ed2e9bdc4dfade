"""What are_modules_clusterable.py makes of numbers whose answer is known."""

import csv
from itertools import product

import numpy
import pytest
import torch
from conftest import random_weights, strict

import are_modules_clusterable
from are_modules_clusterable import READINGS, category, lesion_rows, pair_rows, untrained
from mlp.model import MLP, initial_model, save_checkpoint


def sub_module(**values):
    """A row of a sub-module of 20 of 256 neurons that none of 100 random lesions matches, at a loss of 2 points."""
    row = {"neurons": 20, "living_in_layer": 256, "change": -0.02, "random_n": 100}
    return row | {"p": 1 / 101, "p_conservative": 1 / 101} | values


@pytest.mark.parametrize(
    "values, name",
    [
        ({}, "important"),
        ({"change": -0.01}, "important"),
        ({"change": -0.009}, "significant, small effect"),
        ({"p_conservative": 2 / 101}, "large effect, not significant"),  # a tie
        ({"p": 2 / 101, "p_conservative": 2 / 101, "change": -0.001}, "other"),
        ({"neurons": 256}, "complete"),
        ({"neurons": 12}, "small"),
        ({"neurons": 13}, "important"),
        ({"p": 1, "p_conservative": 1}, "least important"),
        ({"p": 1, "p_conservative": 1, "change": 0.0}, "prunable"),
        ({"p": 1 / 56, "p_conservative": 1 / 56, "random_n": 55}, "important"),  # all 56 there are
        ({"p": 1, "p_conservative": 1, "random_n": 55, "change": 0.0}, "prunable"),
    ],
)
def test_categories(values, name):
    assert category(sub_module(**values), width=256) == name


@pytest.mark.parametrize("x_needed, y_needed", list(product((False, True), repeat=2)))
def test_readings_of_pairs(x_needed, y_needed):
    """X in layer 1 and Y in layer 2 are both important; what is left without X, without Y, and without both?"""
    only_x, only_y, together = {
        (False, False): (8000, 8000, 8000),
        (False, True): (8000, 6000, 6000),
        (True, False): (6000, 8000, 6000),
        (True, True): (8000, 8000, 6000),
    }[x_needed, y_needed]
    network = {"condition": "known", "network": 0, "model": MLP((784, 30, 30, 2))}
    x, y = (torch.arange(60) // 10 == place for place in (0, 3))

    def right(modules):
        left = torch.tensor([10_000, only_y, only_x, together])  # nobody silent, Y, X, both
        silent_x, silent_y = ((modules & part).sum(1) == 10 for part in (x, y))
        return left[2 * silent_x.int() + silent_y.int()]

    labels = torch.arange(60) // 10
    generator = torch.Generator().manual_seed(0)
    rows, modules, hits = lesion_rows(network, labels, right, 10_000, 50, generator)
    important = [(row["layer"], row["cluster"]) for row in rows if row["category"] == "important"]
    assert important == [(1, 0), (2, 3)]
    (pair,) = pair_rows(network, labels >= 0, rows, modules, hits, right, 10_000, 50, generator)
    assert (pair["x_given_y_important"], pair["y_given_x_important"]) == (x_needed, y_needed)
    assert pair["reading"] == READINGS[x_needed, y_needed]
    assert pair["x_given_y_change"] == pytest.approx((together - only_y) / 10_000)
    assert pair["y_given_x_change"] == pytest.approx((together - only_x) / 10_000)
    assert (pair["x_change"], pair["y_change"]) == pytest.approx((only_x / 10_000 - 1, only_y / 10_000 - 1))


def test_readings_say_what_they_mean():
    """X matters without Y, Y without X."""
    assert "only serve each other" in READINGS[False, False]
    assert READINGS[False, True].startswith("X acts only through Y")
    assert READINGS[True, False].startswith("Y has all it needs from X")
    assert READINGS[True, True] == ""


def test_all_lesions_of_a_small_layer_are_possibilities():
    """Of 4 neurons, those that cost 1, 2, 3 and 4 points: as many are as bad, the lesion itself among them."""
    network = {"condition": "known", "network": 0, "model": MLP((784, 4, 2))}
    cost = torch.tensor([100, 200, 300, 400])
    rows, *_ = lesion_rows(network, torch.arange(4), lambda m: 10_000 - (m * cost).sum(1), 10_000, 100, None)
    assert [row["p"] for row in rows] == [row["p_conservative"] for row in rows] == [1, 3 / 4, 2 / 4, 1 / 4]
    assert {(row["null"], row["random_n"]) for row in rows} == {("complete", 3)}
    assert [row["random_change"] for row in rows] == pytest.approx([-0.03, -0.08 / 3, -0.07 / 3, -0.02])


def test_untrained_networks_have_the_seeds_of_the_trained_ones():
    known = {"condition": "trained", "init": "glorot", "model": MLP((784, 4, 2))}
    networks = [
        known | {"network": 0, "known": {"seed": 7}},
        known | {"network": 1, "known": {}},
        known | {"network": 2, "known": {"seed": 9}, "condition": "other"},
    ]
    for found, seed in zip(untrained(networks, seed=3), (7, 3 + 1), strict=True):
        expected = initial_model((784, 4, 2), seed, "glorot")
        assert all(torch.equal(*pair) for pair in zip(found["model"].parameters(), expected.parameters()))
        assert found["condition"] == "random initialisation"


def test_shuffles_that_change_nothing_are_no_finding(tmp_path, capsys):
    """Weights of one size: each shuffle is the network itself, up to signs, and to rounding where some are isolated."""
    model = MLP((784, 6, 5, 2))
    with torch.no_grad():
        for weight, signs in zip(model.weights, random_weights((784, 6, 5, 2))):
            weight.copy_(0.1 * signs.sign())
    save_checkpoint(tmp_path / "run$1_$2.pt", model, digits=(8, 1))
    options = ["--clusters", "3", "--shuffles", "20", "--jobs", "1", "--figures-dir", str(tmp_path)]
    are_modules_clusterable.main([str(tmp_path / "run$1_$2.pt"), *options])
    printed = capsys.readouterr().out
    assert "run$1_$2, of 1: 0 (layer) and 0 (layer_nonzero)" in printed.splitlines()[-1]
    assert "nan" not in printed
    with open(tmp_path / "clusterability.csv", newline="") as file:
        network = next(csv.DictReader(file))
    assert (network["layer_p"], network["layer_z"], network["layer_null"]) == ("1.0", "", "permutations")
    rows = strict((tmp_path / "clusterability.json").read_text())["rows"]
    assert rows[0]["layer_nonzero_z"] is None
    assert numpy.isclose(rows[0]["n_cut"], rows[0]["layer_mean"])
