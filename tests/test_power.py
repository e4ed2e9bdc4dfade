"""The studies' own tests: they notice what is there, and are no louder than their level where nothing is."""

from dataclasses import replace

import numpy
import pytest
import torch
from conftest import REPOSITORY
from scipy.stats import binom

import modularity.candidates
import modularity.power
from mlp import InputError
from mlp.data import DataSet
from mlp.model import initial_model, stacked
from mlp.network import BASELINE, CONTROL, Network, load_records
from modularity.ablation import against_controls
from modularity.candidates import candidate_rows, indegree_nobetween_candidates, mean_percentiles, null_modules
from modularity.centrality import layered_centralities
from modularity.power import STUDIES, pooled_power, power_rows, refuse_untestable
from modularity.rows import grouped
from modularity.significance import LEVEL
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


def test_random_neurons_in_the_place_of_candidates(many):
    """Forty choices of them.  Among neurons treated by the same rule they are no finding."""
    networks = load_records(many / "mlp_mnist357.pt")[0]
    rows = [row for seed in range(10) for row in power_rows(["candidates"], networks, 0, seed, *WHERE)]
    tests = grouped(rows, "test")
    assert len(tests) == 4
    for test in tests:
        found, control = grouped(test, "condition")
        assert (len(found), len(control)) == (40, 40)
        assert control[0]["condition"] == CONTROL
        assert len({row["value"] for row in control}) > 20
        assert all(1 / 1000 <= row["p"] <= 1 for row in test)
        if "the same rule" in test[0]["test"]:
            assert at_level(control)
            assert 0.3 < numpy.mean([row["p"] for row in control]) < 0.7


def test_the_percentile_of_candidates_is_that_of_the_first_study(many):
    networks = load_records(many / "mlp_mnist357.pt")[0][:1]
    rows = power_rows(["candidates"], networks, 0, 0, *WHERE)
    candidates = indegree_nobetween_candidates(*layered_centralities(stacked([networks[0].model])[0]))
    modules = null_modules(networks[0], {"both": candidates}, 4, 1000, torch.Generator().manual_seed(0))["both"]
    ((intact, *hits),) = against_controls(networks, [modules[0]], [[group for group, _ in modules[2].values()]], *WHERE)
    images_per_class = networks[0].data.test_images_per_class(WHERE[0])
    found = candidate_rows(networks[0], candidates, modules, (intact, *hits), images_per_class)
    (pooled,) = mean_percentiles(found, (3, 5, 7))
    for effect in ("importance", "selectivity"):
        values = {row["value"] for row in rows if row["condition"] != CONTROL and row["test"].startswith(effect)}
        assert list(values) == pytest.approx([pooled[f"{effect}_matched"]])


def test_a_network_without_candidates_is_not_modular(monkeypatch):
    monkeypatch.setattr(modularity.candidates, "indegree_nobetween_candidates", lambda table: [])
    rows = power_rows(["candidates"], [ordinary(0)], 0, 0, *WHERE)
    assert len(rows) == 8
    assert {row["p"] for row in rows} == {1.0}
    assert all(numpy.isnan(row["value"]) for row in rows)
    assert all(line["modular"] == 0 for line in pooled_power(rows))


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
        refuse_untestable([ordinary(0), other], ["similarity"])
    refuse_untestable([ordinary(0), other], ["candidates", "specialization", "clusterability"])


@pytest.mark.parametrize("study, hidden", [("specialization", 15), ("clusterability", 7)])
def test_networks_too_small_for_a_test(study, hidden):
    small = replace(ordinary(0), model=initial_model((784, hidden, 4), 0))
    with pytest.raises(
        InputError, match=f"--power {study}: the networks of ordinary have too few neurons.*leave it out"
    ):
        refuse_untestable([small], [study])
    refuse_untestable([replace(small, model=initial_model((784, hidden + 1, 4), 0))], [study])


def test_nothing_is_planted_in_the_networks_to_compare_with():
    soft = replace(ordinary(0), init="clusterable", groups=[0] * 22)
    untrained = soft.untrained(3, 7)
    assert torch.equal(untrained.model.weights[1], initial_model((784, 12, 10, 4), 7, "glorot").weights[1])
    assert (untrained.init, untrained.groups, untrained.condition) == ("glorot", None, BASELINE)


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
