import csv
import math
from dataclasses import replace

import numpy
import pytest
import torch
from conftest import random_weights, strict
from scipy import stats
from scipy.sparse.linalg import ArpackNoConvergence

import are_modules_clusterable
import modularity.clusterability
import modularity.clustering
import modularity.nulls
from are_modules_clusterable import untrained
from mlp.checkpoint import save_checkpoint
from mlp.data import DataSet
from mlp.model import MLP, initial_model
from mlp.network import Network
from mlp.seeds import derived_seed
from modularity.clusterability import NULLS, WITH_PIXELS, WITHOUT_PIXELS, cluster_rows, clustered, clusterings
from modularity.clusterability import first_copy, gap_tests, network_row, notes
from modularity.clustering import n_cut, n_cut_as_published, spectral_clusters
from modularity.graph import weight_adjacency, without_isolated
from modularity.nulls import shuffle_weights


def test_untrained_networks_have_the_seeds_of_the_trained_ones():
    known = Network(MLP((784, 4, 2)), DataSet("mnist", (8, 1)), init="glorot", hyperparameters={"lr": 0.1}, groups=(0,))
    networks = [
        replace(known, number=0, seed=7),
        replace(known, number=1),
        replace(known, number=2, seed=9, condition="other"),
    ]
    for number, (found, seed) in enumerate(zip(untrained(networks, seed=3), (7, 3 + 1), strict=True)):
        expected = initial_model((784, 4, 2), seed, "glorot")
        assert all(torch.equal(*pair) for pair in zip(found.model.parameters(), expected.parameters()))
        assert found.condition == "random initialisation"
        assert (found.number, found.seed, found.data, found.init) == (number, seed, known.data, "glorot")
        assert (found.hyperparameters, found.groups) == ({}, None)


def test_shuffles_that_change_nothing_are_no_finding(tmp_path, capsys):
    """Weights of one size: each shuffle is the network itself, up to signs, and to rounding where some are isolated."""
    model = MLP((784, 6, 5, 2))
    with torch.no_grad():
        for weight, signs in zip(model.weights, random_weights((784, 6, 5, 2))):
            weight.copy_(0.1 * signs.sign())
    save_checkpoint(tmp_path / "run$1_$2.pt", model, classes=(8, 1))
    options = ["--clusters", "3", "--shuffles", "20", "--jobs", "1", "--figures-dir", str(tmp_path)]
    are_modules_clusterable.main([str(tmp_path / "run$1_$2.pt"), *options])
    printed = capsys.readouterr().out
    assert "of run$1_$2, with pixels, p = 1 (layer), 1 (layer_nonzero), 1 (strength)" in printed.splitlines()[-1]
    assert "nan" not in printed
    with open(tmp_path / "clusterability.csv", newline="") as file:
        network = next(csv.DictReader(file))
    assert (network["layer_p"], network["layer_z"], network["layer_null"]) == ("1.0", "", "permutations")
    rows = strict((tmp_path / "clusterability.json").read_text())["rows"]
    assert rows[0]["layer_nonzero_z"] is None
    assert numpy.isclose(rows[0]["n_cut"], rows[0]["layer_mean"])


@pytest.mark.parametrize("exponent", [-100, -27, 100])
def test_a_study_is_the_same_in_whatever_unit_weights_are(exponent):
    """Multiplied by 1e-30 to 1e30: n-cuts, clusters and z.  By powers of 2, which round nothing away."""
    model = initial_model((20, 12, 8, 4), 3)
    other = initial_model((20, 12, 8, 4), 3)
    with torch.no_grad():
        model.weights[0][:, 5] *= 1e-9  # a dead input
        model.weights[1][2:4] *= 0
        for weight, own in zip(other.weights, model.weights):
            weight.copy_(own * 2.0**exponent)
    networks = [Network(one, DataSet(None, (0, 1, 2, 3))) for one in (model, other)]
    expected, found = clustered(networks, 4, 5, 0, 1, WITH_PIXELS)
    assert found["labels"].tolist() == expected["labels"].tolist()
    assert found["labels"][5] == -1
    for network, result in zip(networks, (expected, found)):
        by_formula = n_cut_as_published(weight_adjacency(network.strengths), result["labels"])
        assert network_row(network, result, WITH_PIXELS)["n_cut_as_published"] == by_formula
    rows = [network_row(*pair, WITH_PIXELS) for pair in zip(networks, (expected, found))]
    for key, value in rows[0].items():
        if key != "n_cut_as_published":  # which the unit changes
            same = pytest.approx(value, rel=1e-6, nan_ok=True) if isinstance(value, float) else value
            assert rows[1][key] == same, key


@pytest.mark.parametrize("null", ["layer", "layer_nonzero", "strength"])
def test_each_copy_is_that_of_its_key(null):
    """However keys are grouped; and each is a shuffle that is clustered."""
    weights = random_weights((12, 8, 5), pruned=0.3)
    keys = [(4, 0, shuffle) for shuffle in range(4)]
    together = clusterings(weights, null, 3, 7, keys)
    for key, (cut, labels, caught) in zip(keys, together, strict=True):
        ((its_cut, its_labels, its_caught),) = clusterings(weights, null, 3, 7, [key])
        assert (cut, labels.tolist(), caught) == (its_cut, its_labels.tolist(), its_caught)
        copy = shuffle_weights(weights, null, torch.Generator().manual_seed(derived_seed(7, *key)))
        adjacency = weight_adjacency(copy)
        assert labels.tolist() == spectral_clusters(adjacency, 3, 7).tolist()
        assert cut == n_cut(adjacency, labels)
    backwards = clusterings(weights, null, 3, 7, keys[::-1])
    assert [cut for cut, *_ in backwards[::-1]] == [cut for cut, *_ in together]
    assert len({cut for cut, *_ in together}) == 4
    assert len({cut for cut, *_ in [*clusterings(weights, null, 3, 8, keys), *together]}) == 8


def test_weights_as_they_are_and_what_the_solver_had_to_say(monkeypatch):
    weights = random_weights((60, 30, 12))
    moves = []
    ((cut, labels, caught),) = clusterings(weights, None, 6, 0, [()], lambda: moves.append(1))
    assert labels.tolist() == spectral_clusters(weight_adjacency(weights), 6, 0).tolist()
    assert cut == n_cut(weight_adjacency(weights), labels)
    assert (caught, moves) == ([], [1])

    def failing(*_, **__):
        raise ArpackNoConvergence("no convergence", [], [])

    monkeypatch.setattr(modularity.clustering, "eigsh", failing)
    ((_, _, caught),) = clusterings(weights, None, 6, 0, [()])
    assert caught == ["the sparse eigen solver did not converge; a dense one was used"]
    monkeypatch.undo()
    monkeypatch.setattr(modularity.nulls, "ROUNDS", 1)
    ((_, _, unfitted),) = clusterings(weights, "strength", 6, 0, [()])
    assert unfitted == ["shuffled weights did not reach the strengths that their neurons had"]
    network = Network(MLP((784, 4, 2)), DataSet("mnist", (8, 1)), number=3)
    noted = list(notes(network, {"warnings": caught * 2}, WITH_PIXELS))
    assert noted == [f"trained, network 3: {caught[0]} (2 clusterings)"]


@pytest.mark.parametrize(
    "graph, together", [(WITH_PIXELS, 1), (WITH_PIXELS, 2), (WITH_PIXELS, 10), (WITHOUT_PIXELS, 10)]
)
def test_networks_are_clustered_beside_their_own_copies(graph, together, monkeypatch):
    """Of two networks one is pruned; what is dense has one null for both."""
    monkeypatch.setattr(modularity.clusterability, "COPIES_PER_TASK", together)
    networks = [
        network_of(random_weights((784, 6, 5, 2), seed, pruned), seed + 3) for seed, pruned in enumerate((0.5, 0))
    ]
    pruned, dense = clustered(networks, 3, 3, 0, 1, graph)
    for network, result in zip(networks, (pruned, dense)):
        weights = network.weights[0 if graph == WITH_PIXELS else 1 :]
        ((cut, labels, _),) = clusterings(weights, None, 3, 0, [()])
        assert (result["n_cut"], result["labels"].tolist()) == (cut, labels.tolist())
        reduced = without_isolated(weights)
        for kind, null in enumerate(("layer", "layer_nonzero", "strength")):
            same = null == "layer_nonzero" and network is networks[1]
            keys = [(network.number, 0 if same else kind, shuffle) for shuffle in range(3)]
            assert result[null] == [its_cut for its_cut, *_ in clusterings(reduced, null, 3, 0, keys)]
    assert pruned["layer"] != pruned["layer_nonzero"]


def test_gaps_over_networks_by_hand():
    """Four seeds, one of them twice; the second condition lies above its copies, and two of its nulls are the same."""
    rows = []
    for condition, cuts in (("pruned", (1.0, 1.2, 1.4, 1.6, 1.1)), ("dense", (3.0, 3.1, 3.3))):
        for network, (seed, cut) in enumerate(zip((0, 1, 2, 2, 3), cuts)):
            row = {"graph": "with pixels", "condition": condition, "network": network, "seed": seed, "n_cut": cut}
            for place, null in enumerate(NULLS):
                shift = 0 if condition == "dense" and null != "strength" else place * 0.9
                row |= {f"{null}_mean": 2.0, f"{null}_gap": cut - 2.0 + shift, f"{null}_p": 0.05 if seed else 0.06}
            rows.append(row)
    primary, nonzero, strength, dense, dense_strength = gap_tests(rows)
    assert [(line["condition"], line["shuffle"]) for line in (primary, nonzero, strength, dense, dense_strength)] == [
        *(("pruned", null) for null in NULLS),
        ("dense", "layer"),
        ("dense", "strength"),
    ]
    assert (primary["role"], "adjusted_p" in primary) == ("primary", False)
    assert (primary["networks"], primary["seeds"], primary["below"]) == (5, 4, 4)
    assert (primary["n_cut"], primary["shuffled_n_cut"]) == (pytest.approx(1.26), 2.0)
    gaps = [-1, -0.8, -0.5, -0.9]
    assert primary["gap_mean"] == pytest.approx(-0.8)
    assert primary["gap_share"] == pytest.approx(-0.4)
    half = stats.t.ppf(0.975, 3) * numpy.std(gaps, ddof=1) / 2
    assert (primary["gap_low"], primary["gap_high"]) == pytest.approx((-0.8 - half, -0.8 + half))
    assert (primary["p"], primary["direction"]) == (0.125, -1)
    assert nonzero["gap_mean"] == pytest.approx(0.1)
    assert (dense["networks"], dense["direction"], dense["p"]) == (3, 1, 0.25)
    p_values = [line["p"] for line in (nonzero, strength, dense, dense_strength)]
    corrected = [line["adjusted_p"] for line in (nonzero, strength, dense, dense_strength)]
    assert len(set(p_values)) > 1
    assert corrected == pytest.approx(stats.false_discovery_control(p_values))
    assert corrected != p_values
    (alone,) = (line for line in gap_tests(rows[:1]) if line["role"] == "primary")
    assert math.isnan(alone["gap_low"])


def network_of(weights, number=0):
    model = MLP((weights[0].shape[1], *map(len, weights)))
    with torch.no_grad():
        for own, weight in zip(model.weights, weights):
            own.copy_(weight)
    return Network(model, DataSet("mnist", (8, 1)), number=number)


def test_rows_of_networks_and_clusters_by_hand():
    """Two inputs, two hidden neurons and an output; one hidden neuron is isolated, and so is one input."""
    network = network_of([torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.tensor([[-1.0, 0.0]])], number=5)
    labels = numpy.array([0, -1, 0, -1, 1])  # joined by 3 and by 1
    rows = cluster_rows(network, labels, WITH_PIXELS)
    about = {"condition": "trained", "network": 5, "graph": "with pixels"}
    first = {"cluster": 0, "neurons": 2, "volume_share": 7 / 8, "leaving_share": 1 / 7}
    second = {"cluster": 1, "neurons": 1, "volume_share": 1 / 8, "leaving_share": 1.0}
    assert rows == [
        about | first | {"layer_0": 1, "layer_1": 1, "layer_2": 0},
        about | second | {"layer_0": 0, "layer_1": 0, "layer_2": 1},
    ]
    without = about | {"graph": "without pixels", "neurons": 1, "volume_share": 0.5, "leaving_share": 1.0}
    assert cluster_rows(network, numpy.array([0, -1, 1]), WITHOUT_PIXELS) == [
        without | {"cluster": 0, "layer_1": 1, "layer_2": 0},
        without | {"cluster": 1, "layer_1": 0, "layer_2": 1},
    ]
    result = {"labels": labels, "n_cut": 8 / 7, "layer": [1.0, 2.0], "layer_nonzero": [1.0, 1.0], "warnings": []}
    result["strength"] = [8 / 7, 2.0]
    row = network_row(network, result, WITH_PIXELS)
    counts = {"neurons": 3, "isolated": 2, "edges": 2, "clusters": 2, "n_cut": 8 / 7}
    assert {key: row[key] for key in (*about, *counts)} == about | counts
    assert (row["layer_p"], row["layer_nonzero_p"]) == (2 / 3, 1)
    assert row["layer_z"] == pytest.approx((8 / 7 - 1.5) / 0.5)
    assert math.isnan(row["layer_nonzero_z"])
    assert [row[f"{null}_gap"] for null in ("layer", "strength")] == pytest.approx([8 / 7 - 1.5, (8 / 7 - 2) / 2])
    assert list(notes(network, result, WITH_PIXELS)) == []
    network.model.weights[1].data.zero_()
    assert "no path of weights leads from an input to an output" in next(notes(network, result, WITH_PIXELS))


@pytest.mark.parametrize("graph", [WITH_PIXELS, WITHOUT_PIXELS])
def test_the_copy_that_is_shown_is_one_of_those_that_are_compared(graph):
    model = MLP((30, 12, 12, 4))
    with torch.no_grad():
        for weight, pruned in zip(model.weights, random_weights((30, 12, 12, 4), seed=5, pruned=0.6)):
            weight.copy_(pruned)
    network = Network(model, DataSet("mnist", (0, 1, 2, 3)), number=3)
    [result] = clustered([network], 3, 2, 7, 1, graph)
    weights, cut, labels = first_copy(network, 3, 7, graph)
    assert cut == result["layer"][0] != result["n_cut"]
    assert n_cut(weight_adjacency(weights), labels) == pytest.approx(cut)
    kept = without_isolated(network.strengths[0 if graph == WITH_PIXELS else 1 :])
    for weight, own in zip(weights, kept, strict=True):
        assert torch.equal(weight.flatten().sort().values, own.flatten().sort().values)
