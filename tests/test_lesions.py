import math
from itertools import product

import numpy
import pytest
import torch
from conftest import REPOSITORY

from mlp.data import DataSet
from mlp.model import initial_model
from mlp.network import Network
from modularity.ablation import ablated_hits
from modularity.lesions import (
    READINGS,
    category,
    lesion_row,
    lesion_summary,
    measure_lesions,
    pair_rows,
    pairs_of,
    parts_of,
    sub_module_row,
)
from modularity.significance import fisher_p_value


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


def measure(parts, hits):
    """As `measure_lesions`: adds what is right in the intact network, without each part, and without its controls."""
    for part in parts:
        nobody = torch.zeros_like(part["module"]).unsqueeze(0)
        part["hits"] = hits(torch.cat([nobody, part["module"].unsqueeze(0), part["controls"]]))


@pytest.mark.parametrize("x_needed, y_needed", list(product((False, True), repeat=2)))
def test_readings_of_pairs(x_needed, y_needed):
    """X in layer 1 and Y in layer 2 are both important; what is left without X, without Y, and without both?"""
    only_x, only_y, together = {
        (False, False): (8000, 8000, 8000),
        (False, True): (8000, 6000, 6000),
        (True, False): (6000, 8000, 6000),
        (True, True): (8000, 8000, 6000),
    }[x_needed, y_needed]
    x, y = (torch.arange(60) // 10 == place for place in (0, 3))
    images, widths = [10_000, 500], (30, 30)

    def right(modules):
        left = torch.tensor([10_000, only_y, only_x, together])  # nobody silent, Y, X, both
        silent_x, silent_y = ((modules & part).sum(1) == 10 for part in (x, y))
        hits = left[2 * silent_x.int() + silent_y.int()]
        return torch.stack([hits, hits // 20], dim=1)

    labels = torch.arange(60) // 10
    generator = torch.Generator().manual_seed(0)
    parts = parts_of(labels, widths, 50, generator)
    measure(parts, right)
    rows = [sub_module_row(part, images, 30) for part in parts]
    important = [(row["layer"], row["cluster"]) for row in rows if row["category"] == "important"]
    assert important == [(1, 0), (2, 3)]
    pairs = pairs_of(parts, rows, labels >= 0, widths, 50, generator)
    assert [part["pair"] for part in pairs] == [(0, 3), (0, 3)]
    for part, silent, given in zip(pairs, (x, y), (y, x), strict=True):
        assert torch.equal(part["module"], x | y)
        assert part["controls"].shape == (50, 60)
        assert (part["controls"] & given).sum(1).tolist() == [10] * 50
        assert ((part["controls"] & ~given).sum(1) <= 10).all()
        assert len((part["controls"] & silent).sum(1).unique()) > 1
    measure(pairs, right)
    (pair,) = pair_rows(pairs, rows, images)
    assert (pair["x_given_y_important"], pair["y_given_x_important"]) == (x_needed, y_needed)
    assert pair["reading"] == READINGS[x_needed, y_needed]
    assert pair["x_given_y_change"] == pytest.approx((together - only_y) / 10_000)
    assert pair["y_given_x_change"] == pytest.approx((together - only_x) / 10_000)
    assert (pair["x_change"], pair["y_change"]) == pytest.approx((only_x / 10_000 - 1, only_y / 10_000 - 1))
    found = [{"condition": "known", "network": 7} | row for row in rows]
    answers = [1 if reading == (x_needed, y_needed) else 0 for reading in READINGS]
    assert lesion_summary(found, [pair])["pairs"] == answers


def test_readings_say_what_they_mean():
    """X matters without Y, Y without X."""
    assert "only serve each other" in READINGS[False, False]
    assert READINGS[False, True].startswith("X acts only through Y")
    assert READINGS[True, False].startswith("Y has all it needs from X")
    assert READINGS[True, True] == ""


def test_all_lesions_of_a_small_layer_are_possibilities():
    """Of 4 neurons, those that cost 1, 2, 3 and 4 points: as many are as bad, the lesion itself among them."""
    cost = torch.tensor([100, 200, 300, 400])
    parts = parts_of(torch.arange(4), (4,), 100, None)
    measure(parts, lambda modules: (10_000 - (modules * cost).sum(1)).unsqueeze(1).expand(-1, 2))
    rows = [sub_module_row(part, [10_000, 10_000], 4) for part in parts]
    assert [row["p"] for row in rows] == [row["p_conservative"] for row in rows] == [1, 3 / 4, 2 / 4, 1 / 4]
    assert {(row["null"], row["random_n"]) for row in rows} == {("complete", 3)}
    assert [row["random_change"] for row in rows] == pytest.approx([-0.03, -0.08 / 3, -0.07 / 3, -0.02])


def test_parts_are_clusters_within_layers_and_their_controls_living_neurons():
    labels = torch.tensor([0, 0, 1, -1, 1, 0, 0, 0, -1, -1])
    parts = parts_of(labels, (6, 4), 100, None)
    names = [{"layer": 1, "cluster": 0, "neurons": 3, "living_in_layer": 5}]
    names += [{"layer": 1, "cluster": 1, "neurons": 2, "living_in_layer": 5}]
    names += [{"layer": 2, "cluster": 0, "neurons": 2, "living_in_layer": 2}]
    assert [part["row"] for part in parts] == names
    assert [part["module"].nonzero().flatten().tolist() for part in parts] == [[0, 1, 5], [2, 4], [6, 7]]
    assert [len(part["controls"]) for part in parts] == [10 - 1, 10 - 1, 0]
    for part in parts:
        assert part["complete"]
        assert not part["controls"][:, labels < 0].any()
    drawn = parts_of(labels, (6, 4), 5, torch.Generator().manual_seed(0))
    assert [(len(part["controls"]), part["complete"]) for part in drawn] == [(5, False), (5, False), (0, True)]


def test_classes_of_unequal_size_weigh_the_same():
    """Of 100 images and 10: a lost image of the small class is worth ten of the large one."""
    intact, own = [90, 9], [80, 9]  # a change of -10 % and 0
    controls = [[90, 8], [90, 10], [70, 9], [85, 9]]  # 0 and -10 %; 0 and 10 %; -20 % and 0; -5 % and 0
    part = {"complete": False, "hits": torch.tensor([intact, own, *controls])}
    row = lesion_row(part, [100, 10])
    assert row["change"] == pytest.approx(-0.05)
    assert (row["random_n"], row["null"]) == (4, "sample")
    assert row["random_change"] == pytest.approx((-0.05 + 0.05 - 0.1 - 0.025) / 4)
    low, high = numpy.quantile([-0.05, 0.05, -0.1, -0.025], [0.05, 0.95])
    assert (row["random_low"], row["random_high"]) == pytest.approx((low, high))
    assert (row["p"], row["p_conservative"]) == (2 / 5, 3 / 5)  # the first is equal, though other images are lost
    part["row"] = {"neurons": 20, "living_in_layer": 256}
    row = sub_module_row(part, [100, 10], 256)
    assert row["balanced_accuracy"] == pytest.approx(0.85)
    assert row["accuracy_ratio"] == pytest.approx((0.9 - 0.125 / 4) / 0.85)
    assert row["category"] == "large effect, not significant"


@pytest.mark.parametrize("intact, own", [([0, 0], [0, 0]), ([90, 9], [0, 0])])
def test_without_any_accuracy_there_is_no_ratio(intact, own):
    part = {"complete": False, "hits": torch.tensor([intact, own, intact]), "row": sub_module()}
    row = sub_module_row(part, [100, 10], 256)
    assert row["balanced_accuracy"] == 0
    assert math.isnan(row["accuracy_ratio"])


def test_a_lesion_without_controls_is_compared_with_nothing():
    row = lesion_row({"complete": True, "hits": torch.tensor([[90, 9], [80, 8]])}, [100, 10])
    assert (row["change"], row["random_n"], row["p"], row["p_conservative"]) == (pytest.approx(-0.1), 0, 1, 1)
    assert all(math.isnan(row[f"random_{key}"]) for key in ("change", "low", "high"))


def test_what_is_measured_is_right_without_each_part_and_its_controls():
    """Of several networks, in order."""
    networks = [Network(initial_model((784, 6, 5, 3), seed, "glorot"), DataSet("mnist", (3, 5, 7))) for seed in (0, 1)]
    labels = torch.arange(11) % 3
    parts = [parts_of(labels, (6, 5), draws, torch.Generator().manual_seed(draws)) for draws in (4, 100)]
    measure_lesions(networks, parts, REPOSITORY / "data", torch.device("cpu"), jobs=1)
    for network, its_parts in zip(networks, parts):
        measured = [part.pop("hits") for part in its_parts]
        assert len(torch.cat(measured).unique(dim=0)) > 20
        images = network.data.load(False, REPOSITORY / "data")
        measure(
            its_parts, lambda modules, network=network, images=images: ablated_hits(network.model, modules, *images)
        )
        assert all(torch.equal(part["hits"], hits) for part, hits in zip(its_parts, measured, strict=True))


def test_the_summary_of_a_network_by_hand():
    about = {"condition": "known", "network": 3, "random_n": 19, "accuracy_ratio": 1.5, "random_change": -0.001}
    rows = [
        about | {"layer": 1, "category": "important", "change": -0.02, "p": 0.05, "p_conservative": 0.05},
        about | {"layer": 1, "category": "prunable", "change": 0.0, "p": 0.5, "p_conservative": 1, "accuracy_ratio": 1},
        about | {"layer": 2, "category": "important", "change": -0.3, "p": 0.05, "p_conservative": 0.05},
        about | {"layer": 3, "category": "complete", "change": -0.9, "p": 1, "p_conservative": 1, "random_n": 0},
    ]
    found = lesion_summary(rows, [])
    assert (found["condition"], found["network"], found["sub_modules"], found["important"]) == ("known", 3, 4, 2)
    assert found["important_per_layer"] == [1, 1, 0]
    assert (found["worst_layer"], found["worst_change"], found["worst_random_change"]) == (2, -0.3, -0.001)
    assert found["fisher_p"] == fisher_p_value([0.05, 0.5, 0.05], 19)
    assert found["fisher_p_conservative"] == fisher_p_value([0.05, 1, 0.05], 19)
    assert found["accuracy_ratio"] == pytest.approx(4 / 3)
    assert found["pairs"] == [0, 0, 0, 0]
    assert lesion_summary(rows[1:2], [])["worst_layer"] is None
