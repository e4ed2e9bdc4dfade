"""The studies' own tests: they notice what is there, and are no louder than their level where nothing is."""

from dataclasses import replace

import numpy
import pytest
import torch
from conftest import REPOSITORY
from scipy.stats import binom

import modularity.power
from mlp import InputError
from mlp.data import DataSet
from mlp.model import initial_model
from mlp.network import BASELINE, Network, load_records
from modularity.power import CONTROL, LEVEL, STUDIES, pooled_power, power_rows
from modularity.rows import grouped
from test_recovery import halves

WHERE = REPOSITORY / "data", torch.device("cpu"), 1


def ordinary(number):
    model = initial_model((784, 12, 10, 4), number)
    return Network(model, DataSet("mnist", (0, 1, 3, 4)), "ordinary", number, number)


def at_level(rows):
    """Whether no more of the tests say modular than the upper end of a binomial interval of 99 %."""
    return all(
        sum(row["p"] <= LEVEL for row in group) <= binom.ppf(0.995, len(group), LEVEL)
        for group in grouped(rows, "study", "test")
    )


@pytest.mark.parametrize("study", ["clusterability", "similarity"])
def test_halves_are_noticed_and_untrained_networks_are_not(study, monkeypatch):
    monkeypatch.setattr(modularity.power, "FILAN_CLUSTERS", 4)
    monkeypatch.setattr(modularity.power, "CONTROLS", 8)
    rows = power_rows([study], [halves(seed) for seed in range(2)], 39, 0, *WHERE)
    control = [row for row in rows if row["condition"] == CONTROL]
    found = [row for row in rows if row["condition"] == "halves"]
    assert at_level(control)
    for group in grouped(control, "test"):
        assert len(group) == 8
        assert len({row["p"] for row in group}) > 3  # all over
    test, smallest = {"clusterability": ("without pixels, layer", 1 / 20), "similarity": ("backward_jac", 1 / 40)}[
        study
    ]
    assert [row["p"] for row in found if row["test"] == test] == pytest.approx([smallest, smallest])
    assert all(smallest <= row["p"] + 1e-12 <= 1 + 1e-12 for row in rows)


def test_the_same_rule_around_random_neurons_is_no_finding(many):
    """Forty networks, of which random neurons are the candidates."""
    networks = load_records(many / "mlp_mnist357.pt")[0]
    shown = []
    for seed in range(10):
        shown += power_rows(["candidates"], networks, 0, seed, *WHERE)
    control = [row for row in shown if row["condition"] == CONTROL]
    assert at_level(control)
    for group in grouped(control, "test"):
        assert len(group) == 40
    matched = [row for row in control if "matched" in row["test"]]
    assert numpy.mean([row["value"] for row in matched]) == pytest.approx(50, abs=8)
    tests = {row["test"] for row in shown}
    assert len(tests) == 4
    assert all(1 / 1000 <= row["p"] <= 1 for row in shown)


def test_parts_of_random_partitions_are_the_controls_of_specialisation(monkeypatch):
    monkeypatch.setattr(modularity.power, "CASPER_CLUSTERS", 4)
    rows = power_rows(["specialization"], [ordinary(0)], 0, 0, *WHERE)
    conditions = grouped(rows, "condition")
    assert [group[0]["condition"] for group in conditions] == ["ordinary", CONTROL]
    for group in conditions:
        measures = [row["test"].split(",")[0] for row in group]
        assert set(measures) == {"accuracy", "range", "score", "entropy"}
        assert all(0 <= row["p"] <= 1 for row in group)


def test_networks_that_untrained_ones_cannot_stand_for():
    other = replace(ordinary(1), init="glorot")
    with pytest.raises(InputError, match="differ in their initial weights"):
        power_rows(["similarity"], [ordinary(0), other], 19, 0, *WHERE)


def test_shares_of_networks():
    about = {"study": "s", "test": "t", "condition": "c", "leak": 0.0}
    rows = [{**about, "network": k, "seed": k, "value": float(k), "p": p} for k, p in enumerate((0.05, 0.01, 0.2, 1.0))]
    rows += [row | {"condition": CONTROL, "p": 0.01} for row in rows]
    line, control = pooled_power(rows)
    assert (line["modular"], line["networks"], line["share"]) == (2, 4, 0.5)
    assert line["low"] == pytest.approx(0.150, abs=1e-3)  # Wilson
    assert line["high"] == pytest.approx(0.850, abs=1e-3)
    assert line["value_mean"] == 1.5
    assert line["at_level"], "two of four: by chance once in 70"
    assert not control["at_level"]
    assert set(STUDIES) == {"candidates", "clusterability", "specialization", "similarity"}
    assert BASELINE != CONTROL
