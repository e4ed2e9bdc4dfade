"""are_modules_upstream_downstream.py (Lange et al. 2022) end to end: on small networks, and at published sizes."""

import functools
import re
import statistics
from itertools import product

import networkx
import pytest
import torch
from conftest import REPOSITORY, succeed
from runs import SIMILARITY, SIZES, figures_are_there, record, table
from sklearn.metrics import adjusted_rand_score

from mlp.checkpoint import load_networks, save_checkpoint
from mlp.data import load_images
from mlp.model import initial_model
from modularity.similarity import MEASURES, similarities

LANGE = {"small": "--hidden-layers 16,16 --epochs 1", "full": "--epochs 4"}
SEARCH = {
    "small": "--untrained 4 --restarts 5 --least-accuracy 0.2 --jobs 1",
    "full": "--untrained 20 --restarts 30",
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """What the recipe for a few epochs, with and without dropout, and its analysis write: sweep(size)."""

    @functools.cache
    def run(size):
        place = tmp_path_factory.mktemp("sweep")
        options = f"--recipe lange {LANGE[size]} --dropout 0,0.5 --networks 2".split()
        done = succeed("train.py", *options, "--save-dir", place, "--figures-dir", place)
        epochs = LANGE[size].split()[-1]
        assert re.search(rf"dropout 0\.5, l2 +2 +{epochs} \({epochs} to {epochs}\)", done.stdout)
        checkpoint = place / "mlp_mnist0123456789.pt"
        return place, succeed(SIMILARITY, checkpoint, *SEARCH[size].split(), "--figures-dir", place)

    return run


@pytest.mark.parametrize("size", SIZES)
def test_a_sweep_is_one_training(sweep, size):
    place, _ = sweep(size)
    models, about = load_networks(place / "mlp_mnist0123456789.pt")
    assert len(models) == 4
    rates = [(network["dropout"], network["seed"], network["l2"]) for network in about["networks"]]
    assert rates == [(0, 0, 1e-5), (0, 1, 1e-5), (0.5, 0, 1e-5), (0.5, 1, 1e-5)]
    conditions = [network["condition"] for network in about["networks"]]
    assert conditions == ["dropout 0, l2"] * 2 + ["dropout 0.5, l2"] * 2
    accuracies = [test["accuracy"] for test in about["record"]["test"]]
    assert min(accuracies[:2]) > (0.94 if size == "full" else 0.8)
    assert min(accuracies[2:]) > (0.91 if size == "full" else 0.4)
    rows = table(place / "upstream_downstream.csv")
    for row in rows:
        if row["condition"] != "random initialisation":
            assert float(row["accuracy"]) == pytest.approx(accuracies[int(row["network"])])


@pytest.mark.long
def test_untrained_networks_are_as_published(sweep):
    """Means of 40 networks, measured before this code was written; of 20, the mean Q has a standard error of 0.002."""
    place, _ = sweep("full")
    expected = {
        "forward_cov": (0.103, 0.101),
        "forward_cov_norm": (0.098, 0.100),
        "forward_jac": (0.080, 0.091),
        "forward_jac_norm": (0.078, 0.090),
        "backward_jac": (0.109, 0.102),
        "backward_jac_norm": (0.107, 0.101),
        "backward_hess": (0.111, 0.105),
        "backward_hess_norm": (0.109, 0.104),
    }
    rows = [row for row in table(place / "upstream_downstream.csv") if row["condition"] == "random initialisation"]
    for measure, layers in expected.items():
        for layer, q in enumerate(layers, 1):
            found = [float(row["q"]) for row in rows if (row["measure"], row["layer"]) == (measure, str(layer))]
            assert len(found) == 20
            assert statistics.mean(found) == pytest.approx(q, abs=0.01), (measure, layer)
    clusters = [float(row["clusters"]) for row in rows]
    assert 3.3 < statistics.mean(clusters) < 4.6
    agreement = {
        (line["layer"], line["group"]): line["similarity"]
        for line in record(place / "upstream_downstream.json")["agreement"]
        if line["condition"] == "random initialisation"
    }
    for layer in (1, 2):
        assert agreement[layer, "CROSS"] == pytest.approx(0.26, abs=0.02)
    assert agreement[1, "UP"] == pytest.approx(0.26, abs=0.02)
    assert agreement[1, "DOWN"] == pytest.approx(0.60, abs=0.05)
    down, cross = record(place / "upstream_downstream.json")["contrasts"][4:]
    assert down["p"] == pytest.approx(2 / 2**20)
    assert cross["mean"] == pytest.approx(cross["other_mean"], abs=0.01)


@pytest.mark.parametrize("size", SIZES)
def test_trained_networks_stand_beside_untrained_ones(sweep, size):
    place, done = sweep(size)
    untrained = 4 if size == "small" else 20
    rows = table(place / "upstream_downstream.csv")
    pooled = record(place / "upstream_downstream.json")
    contrasts = pooled["contrasts"]
    assert [line["seeds"] for line in contrasts] == [2] * 3 + [untrained] * 3, (
        "networks of one seed are not independent"
    )
    assert [(line["one"], line["other"]) for line in contrasts[3:]] == [
        ("UP", "CROSS"),
        ("DOWN", "CROSS"),
        ("CROSS", "shuffled"),
    ]
    assert all(2 / 2 ** line["seeds"] <= line["p"] <= 1 for line in contrasts)

    q = {(line["condition"], line["layer"], line["measure"]): line for line in pooled["conditions"]}
    assert len(q) == 2 * 16
    for (condition, layer, measure), line in q.items():
        assert (line["n"], line["untrained_n"]) == (2, untrained)
        for name, mean in ((condition, "mean"), ("random initialisation", "untrained_mean")):
            wanted = {"condition": name, "layer": str(layer), "measure": measure}
            found = [float(row["q"]) for row in rows if wanted.items() <= row.items()]
            assert line[mean] == pytest.approx(statistics.mean(found))
    trends = {(line["layer"], line["measure"]): line for line in pooled["trends"]}
    primary = trends.pop(("all", "all"))
    everything = statistics.mean(line["q_change"] for line in trends.values())
    assert primary["role"] == "primary"
    assert primary["change_mean"] == pytest.approx(everything)
    assert primary["change_low"] < primary["change_mean"] < primary["change_high"]
    assert len(trends) == 16
    for (layer, measure), trend in trends.items():
        assert trend["role"] == "exploratory"
        assert trend["p"] <= trend["adjusted_p"] <= 1
        assert (trend["regularization"], trend["from"], trend["to"], trend["networks"]) == ("dropout", 0, 0.5, 4)
        with_dropout, without = (q[f"dropout {rate}, l2", layer, measure]["mean"] for rate in ("0.5", "0"))
        assert trend["q_change"] == pytest.approx(with_dropout - without)
    verdict = done.stdout.splitlines()[-1]
    clear = sum(line["adjusted_p"] <= 0.05 for line in pooled["conditions"])
    assert f"corrected p <= 0.05: Q is above that of untrained networks in {clear} of 32 conditions" in verdict
    assert f"with dropout, by {primary['change_mean']:+.3f} (95 % interval" in verdict
    assert "dropout up to 0.5 raises it in" in verdict
    stems = ("modularity", "matrices", "agreement")
    assert figures_are_there(place, *(f"upstream_downstream_{stem}" for stem in stems))


@pytest.mark.long
def test_dropout_raises_modularity(sweep):
    """After four epochs already, most of all as seen from the pixels."""
    place, _ = sweep("full")
    pooled = record(place / "upstream_downstream.json")
    q = {(line["condition"], line["layer"], line["measure"]): line for line in pooled["conditions"]}
    for measure in ("forward_jac", "forward_jac_norm"):
        without, with_dropout = (q[f"dropout {rate}, l2", 1, measure] for rate in ("0", "0.5"))
        assert 0.09 < without["mean"] < 0.15
        assert 0.22 < with_dropout["mean"] < 0.36
        assert with_dropout["z"] > 20


@pytest.mark.parametrize("size", SIZES)
def test_the_numbers_follow_from_the_clusters(sweep, size):
    """Q and agreement, computed again from the clusters that were written, by networkx and scikit-learn."""
    place, _ = sweep(size)
    models, _ = load_networks(place / "mlp_mnist0123456789.pt")
    images, _ = load_images("mnist", range(10), train=False, data_dir=REPOSITORY / "data")
    clusters = [row for row in table(place / "upstream_downstream_clusters.csv") if row["network"] == "2"]
    assert len(clusters) == (128 if size == "full" else 32)
    matrices = similarities(models[2], images)
    labels = {
        (layer, measure): [int(row[measure]) for row in clusters if row["layer"] == str(layer)]
        for layer in (1, 2)
        for measure in MEASURES
    }
    for row in table(place / "upstream_downstream.csv"):
        if row["condition"] == "dropout 0.5, l2" and row["network"] == "2":
            its_labels = labels[int(row["layer"]), row["measure"]]
            matrix = matrices[row["measure"]][int(row["layer"]) - 1].clone().fill_diagonal_(0)
            graph = networkx.from_numpy_array(matrix.numpy())
            communities = [{i for i, own in enumerate(its_labels) if own == label} for label in set(its_labels)]
            assert networkx.community.modularity(graph, communities) == pytest.approx(float(row["q"]), abs=1e-6)
            assert its_labels.count(-1) == int(row["dead"])
    groups = []
    for row in table(place / "upstream_downstream_agreement.csv"):
        if row["condition"] == "dropout 0.5, l2" and row["network"] == "2":
            pair = [labels[int(row["layer"]), row[key]] for key in ("measure", "other")]
            assert float(row["adjusted_rand"]) == pytest.approx(adjusted_rand_score(*pair))
            groups.append((row["layer"], row["group"]))
    assert {key: groups.count(key) for key in groups} == {
        (layer, group): n for layer in "12" for group, n in (("UP", 4), ("DOWN", 4), ("CROSS", 16), ("NORM", 4))
    }


def test_networks_that_read_badly_are_left_out(readme_network, tmp_path):
    """What is left is the network of the README, whose three layers are small."""
    torch.save(initial_model((784, 8, 8, 8, 3), seed=0).state_dict(), tmp_path / "mine.pt")
    options = "--classes 3,5,7 --untrained 3 --restarts 5 --jobs 1 --figures-dir".split()
    done = succeed(SIMILARITY, readme_network[0], tmp_path / "mine.pt", *options, tmp_path)
    assert "note: 1 of 2 networks read less than 80.0 % of the images right and are left out" in done.stdout
    rows = table(tmp_path / "upstream_downstream.csv")
    assert len(rows) == 4 * 3 * 8
    assert {row["condition"] for row in rows} == {"unpruned", "random initialisation"}
    assert done.stdout.splitlines()[-1].startswith("Verdict: exploratory, corrected p <= 0.05: Q is above")
    assert "rises or falls with regularisation" not in done.stdout, "one network has no trend"


def test_layers_too_small_for_clusters(tmp_path):
    """A single neuron is like no other: what is not defined is said, and the rest is there."""
    rates = [{"lr": 0.1, "dropout": rate, "l1": 0, "l2": 0} for rate in (0.5, 0, 0.25)]
    models = [initial_model((784, 6, 1, 2), seed) for seed in range(3)]
    save_checkpoint(tmp_path / "mine.pt", models, classes=(8, 1), networks=rates)
    options = "--least-accuracy 0 --untrained 2 --jobs 1 --figures-dir".split()
    done = succeed(SIMILARITY, tmp_path / "mine.pt", *options, tmp_path)
    assert re.search("note: [0-9]+ of 80 modularities are not defined", done.stdout)
    assert "nan" not in done.stdout
    assert "Warning" not in done.stderr
    rows = table(tmp_path / "upstream_downstream.csv")
    assert all(row["q"] == row["clusters"] == "" for row in rows if row["layer"] == "2")
    assert any(row["q"] for row in rows if row["layer"] == "1")
    trends = record(tmp_path / "upstream_downstream.json")["trends"]
    assert {(line["layer"], line["from"]) for line in trends} == {(1, 0)}, "what is not defined has no trend"
    assert all(line["to"] == (0.5 if line["networks"] == 3 else 0.25) for line in trends)


def test_trends_do_not_mix_pruned_networks_with_others(tmp_path):
    """Three rates of two seeds, each before and after pruning: six networks make the series, not twelve."""
    rates, models = [], []
    for rate, seed in product((0, 0.2, 0.5), (0, 1)):
        models.append(initial_model((784, 6, 5, 2), 10 * seed + int(10 * rate)))
        rates.append({"seed": seed, "lr": 0.1, "dropout": rate, "l1": 0, "l2": 0, "condition": f"dropout {rate}"})
    save_checkpoint(tmp_path / "before.pt", models, classes=(8, 1), networks=rates)
    with torch.no_grad():
        for weight in (weight for model in models for weight in model.weights):
            weight.mul_(weight.abs() > weight.abs().median())
    save_checkpoint(tmp_path / "after.pt", models, classes=(8, 1), networks=rates)
    options = "--least-accuracy 0 --untrained 2 --restarts 2 --jobs 1 --figures-dir".split()
    succeed(SIMILARITY, tmp_path / "before.pt", tmp_path / "after.pt", *options, tmp_path)
    rows = table(tmp_path / "upstream_downstream.csv")
    assert {row["zeros"] for row in rows} == {"0.0", "0.5", ""}
    trends = record(tmp_path / "upstream_downstream.json")["trends"]
    assert trends
    for line in trends:
        assert (line["networks"], line["seeds"], line["null"]) == (6, 2, "permutations")
        of_all = line["measure"] == "all"
        wanted = {"zeros": "0.0"} | ({} if of_all else {"layer": str(line["layer"]), "measure": line["measure"]})
        series = [row for row in rows if wanted.items() <= row.items()]
        first = statistics.mean(float(row["q"]) for row in series if row["dropout"] == "0")
        assert line["q"] == pytest.approx(first)


def test_a_network_cannot_pass_for_the_baseline_or_for_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = "random initialisation", "all trained"
    for seed, name in enumerate(names):
        torch.save(initial_model((784, 8, 8, 3), seed).state_dict(), f"{name}.pt")
    options = "--classes 3,5,7 --least-accuracy 0 --untrained 2 --restarts 2 --seed 2 --jobs 1 --figures-dir .".split()
    succeed(SIMILARITY, *(f"{name}.pt" for name in names), *options)
    conditions = [row["condition"] for row in table(tmp_path / "upstream_downstream.csv")]
    for name in names:
        assert conditions.count(f"{name} ({name}.pt)") == 16
    assert conditions.count("random initialisation") == 2 * 16
    agreement = record(tmp_path / "upstream_downstream.json")["agreement"]
    own = {f"{name} ({name}.pt)" for name in names}
    assert {line["condition"] for line in agreement} == own | set(names), "each beside what it is not"
