import math

import numpy
import pytest
import torch
from conftest import REPOSITORY

from mlp.data import DataSet
from mlp.model import initial_model
from mlp.network import Network
from modularity.ablation import ablated_hits
from modularity.effects import change_interval
from modularity.lesions import (
    MATTERS,
    NOTHING,
    READINGS,
    UNDECIDED,
    answer,
    category,
    lesion_row,
    lesion_summary,
    measure_lesions,
    pair_rows,
    pairs_of,
    share_left,
    parts_of,
    sub_module_row,
)
from modularity.significance import fisher_p_value
from report.lesions import plot_dependencies


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
        ({"p": 1 / 20, "p_conservative": 1 / 20, "random_n": 19}, "important"),
        ({"p": 1 / 19, "p_conservative": 1 / 19, "random_n": 18}, "too few controls"),
        ({"p": 1 / 2, "p_conservative": 1 / 2, "random_n": 1}, "too few controls"),
        ({"p": 1, "p_conservative": 1, "random_n": 1, "change": 0.0}, "too few controls"),
        ({"neurons": 256, "random_n": 0, "p": 1, "p_conservative": 1}, "complete"),
    ],
)
def test_categories(values, name):
    assert category(sub_module(**values), width=256) == name


def measure(parts, hits):
    """As `measure_lesions`: adds what is right in the intact network, without each part, and without its controls."""
    for part in parts:
        nobody = torch.zeros_like(part["module"]).unsqueeze(0)
        part["hits"] = hits(torch.cat([nobody, part["module"].unsqueeze(0), part["controls"]]))


def lesioned_pair(counts, images):
    """X in layer 1 and Y in layer 2 are both important; what is right without Y, without X, and without both?

    counts: of 100,000 images of the first class, and as large a share of the second.  Returns its parts, their rows,
    the places of X and Y in them, and the pair, measured.
    """
    only_y, only_x, together = counts
    x, y = (torch.arange(60) // 10 == place for place in (0, 3))
    widths = (30, 30)
    left = torch.tensor([100_000, only_y, only_x, together])  # nobody silent, Y, X, both

    def right(modules):
        silent_x, silent_y = ((modules & part).sum(1) == 10 for part in (x, y))
        share = left[2 * silent_x.int() + silent_y.int()] / 100_000
        return torch.stack([(share * n).round().long() for n in images], dim=1)

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
    for part in pairs:  # what is right with both silent is right with one, too, or else the other way round
        change = part["hits"][1] - part["alone"]
        part["turned"] = torch.stack([change.clamp(min=0), (-change).clamp(min=0)])
    (pair,) = pair_rows(pairs, rows, images)
    return rows, pair


@pytest.mark.parametrize("answers", READINGS)
def test_readings_of_pairs(answers):
    only_y, only_x, together = {
        (NOTHING, NOTHING): (80_000, 80_000, 80_000),
        (NOTHING, MATTERS): (80_000, 95_000, 80_000),
        (MATTERS, NOTHING): (95_000, 80_000, 80_000),
        (MATTERS, MATTERS): (80_000, 80_000, 60_000),
    }[answers]
    images = [100_000, 50_000]
    rows, pair = lesioned_pair((only_y, only_x, together), images)
    assert (pair["x_given_y_answer"], pair["y_given_x_answer"]) == answers
    assert pair["reading"] == READINGS[answers]
    for direction, before in (("x_given_y", only_y), ("y_given_x", only_x)):
        assert pair[f"{direction}_change"] == pytest.approx((together - before) / 100_000)
        gained = max(together - before, 0)
        turned = [[count, count // 2] for count in (gained, gained - (together - before))]
        interval = pair[f"{direction}_low"], pair[f"{direction}_high"]
        assert interval == pytest.approx(change_interval(*turned, images))
    assert (pair["x_change"], pair["y_change"]) == pytest.approx((only_x / 100_000 - 1, only_y / 100_000 - 1))
    found = [{"condition": "known", "network": 7} | row for row in rows]
    assert lesion_summary(found, [pair])["pairs"] == [*(int(answers == other) for other in READINGS), 0]


def test_too_few_images_leave_a_pair_undecided():
    """Without an effect, too: its absence cannot be told from the lack of images."""
    rows, pair = lesioned_pair((80_000, 95_000, 80_000), [200, 100])
    assert (pair["x_given_y_answer"], pair["y_given_x_answer"]) == (UNDECIDED, MATTERS)
    assert pair["x_given_y_change"] == 0
    assert pair["reading"] == UNDECIDED
    found = [{"condition": "known", "network": 7} | row for row in rows]
    assert lesion_summary(found, [pair])["pairs"] == [0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    "values, expected",
    [
        ({"change": -0.3, "low": -0.32, "high": -0.28}, MATTERS),
        ({"change": -0.3, "low": -0.32, "high": -0.28, "p_conservative": 2 / 51}, UNDECIDED),  # another is as bad
        ({"change": -0.005, "low": -0.01, "high": 0.0}, NOTHING),  # though beyond all others
        ({"change": -0.005, "low": -0.01, "high": 0.0, "p_conservative": 1}, NOTHING),
        ({"change": -0.005, "low": -0.0101, "high": 0.0, "p_conservative": 1}, UNDECIDED),
        ({"change": 0.005, "low": 0.0, "high": 0.0101, "p_conservative": 1}, UNDECIDED),
        ({"change": 0.3, "low": 0.28, "high": 0.32, "p_conservative": 1}, UNDECIDED),
        ({"change": -0.3, "low": -0.32, "high": -0.28, "random_n": 18, "p_conservative": 1 / 19}, UNDECIDED),
    ],
)
def test_answers(values, expected):
    assert answer({"random_n": 50, "p_conservative": 1 / 51, "left": 0.5} | values) == expected


def test_where_little_is_left_nothing_can_be_lost():
    """Of two classes, chance reads half right; without Y there is hardly more, and X cannot cost anything then."""
    images = [100, 50]
    assert share_left(torch.tensor([100, 50]), torch.tensor([75, 25]), images) == pytest.approx(0.25)
    assert share_left(torch.tensor([50, 25]), torch.tensor([75, 25]), images) == 0
    row = {"change": 0.0, "low": -0.002, "high": 0.002, "random_n": 50, "p_conservative": 1}
    assert [answer(row | {"left": left}) for left in (0.49, 0.5)] == [UNDECIDED, NOTHING]


def test_readings_say_what_they_mean():
    """X matters without Y, Y without X."""
    assert "only serve each other" in READINGS[NOTHING, NOTHING]
    assert READINGS[NOTHING, MATTERS].startswith("X acts only through Y")
    assert READINGS[MATTERS, NOTHING].startswith("Y has all it needs from X")
    assert READINGS[MATTERS, MATTERS] == ""


def test_pairs_of_all_networks_are_drawn_where_their_changes_lie():
    readings = [*READINGS.values(), UNDECIDED]
    changes = {"x_given_y_change": -0.3, "x_given_y_low": -0.32, "x_given_y_high": -0.27}
    changes |= {"y_given_x_change": 0.001, "y_given_x_low": -0.002, "y_given_x_high": 0.005}
    pairs = [{"condition": "pruned", "network": n, "reading": own, **changes} for n, own in enumerate(readings)]
    pairs += [pair | {"condition": "trained"} for pair in pairs[:2]]
    figure = plot_dependencies(pairs)
    assert [axes.get_title() for axes in figure.axes] == [
        "pruned; pairs: 5, of networks: 5",
        "trained; pairs: 2, of networks: 2",
    ]
    for axes, count in zip(figure.axes, (5, 2)):
        drawn = [marks for marks in axes.containers if len(marks[0].get_xdata())]
        assert len(drawn) == count
        for marks, _, (x_bars, y_bars) in drawn:
            assert marks.get_xydata().tolist() == [pytest.approx([-30, 0.1])]
            assert x_bars.get_segments()[0].tolist() == [pytest.approx([-32, 0.1]), pytest.approx([-27, 0.1])]
            assert y_bars.get_segments()[0].tolist() == [pytest.approx([-30, -0.2]), pytest.approx([-30, 0.5])]
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(shown) == 5
    assert set(filter(None, readings[:4])) < set(shown)


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
    assert row["category"] == "too few controls"


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
    assert found["pairs"] == [0, 0, 0, 0, 0]
    assert lesion_summary(rows[1:2], [])["worst_layer"] is None
