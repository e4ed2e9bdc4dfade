"""Every script end to end, as a user runs it, on real digits."""

import importlib
import math
import os
import re
import statistics
import subprocess
import sys

import pytest
import torch
from conftest import REPOSITORY, call, shell, succeed
from runs import (
    ABLATION,
    CLUSTERING,
    RECOVERY,
    SCRIPTS,
    SIMILARITY,
    SPECIALIZATION,
    figures_are_there,
    record,
    same_files,
    table,
)
from scipy.stats import ks_2samp
from torch import nn

import are_modules_indegree_nobetween
import report.speed
from mlp.architecture import convolutional
from mlp.checkpoint import load_checkpoint, load_networks, save_checkpoint
from mlp.data import load_images
from mlp.model import initial_model

# The commands of the README


@pytest.fixture(scope="module")
def analysis(workshop, readme_network):
    done = shell("network_analysis.py", cwd=workshop)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def ablation(workshop, readme_network):
    done = shell(ABLATION, cwd=workshop)
    assert done.returncode == 0, done.stderr
    return done


def test_the_readme_network_reads_digits(workshop, readme_network):
    checkpoint, done = readme_network
    model, about = load_checkpoint(checkpoint)
    images, labels = load_images("mnist", (3, 5, 7), train=False, data_dir=REPOSITORY / "data")
    accuracy = (model(images).argmax(1) == labels).double().mean().item()
    assert model.sizes == (784, 8, 8, 8, 3)
    assert about["classes"] == [3, 5, 7]
    assert about["dataset"] == "mnist"
    assert 0.955 <= accuracy <= 0.985
    assert about["record"]["test"][0]["accuracy"] == pytest.approx(accuracy)
    assert f"{100 * accuracy:.1f} %" in done.stdout
    assert "training" in done.stderr, "no progress bar"

    history = table(workshop / "figures" / "training_history.csv")
    assert [int(row["epoch"]) for row in history] == list(range(1, 31))
    assert float(history[-1]["training_loss"]) < float(history[0]["training_loss"]) / 3
    assert 0.95 < float(history[-1]["validation_accuracy"]) < 1
    assert figures_are_there(workshop / "figures", "training_history")

    its_record = record(workshop / "figures" / "training_history.json")
    assert its_record["command"].startswith("python train.py --epochs 30 --batch-size 128")
    assert its_record["seed"] == 0
    assert its_record["device"]
    assert torch.__version__.startswith(its_record["versions"]["torch"])


def test_bare_train_is_the_readme_network(readme_network, tmp_path):
    succeed("train.py", "--save-dir", tmp_path, "--figures-dir", tmp_path)
    one, _ = load_checkpoint(readme_network[0])
    two, _ = load_checkpoint(tmp_path / "mlp_mnist357.pt")
    assert all(torch.equal(*pair) for pair in zip(one.parameters(), two.parameters(), strict=True))


def test_network_analysis_writes_a_row_per_neuron(workshop, readme_network, analysis):
    model, _ = load_checkpoint(readme_network[0])
    rows = table(workshop / "figures" / "centralities.csv")
    assert [(int(row["layer"]), int(row["index"])) for row in rows] == [
        (layer, index) for layer, width in enumerate(model.sizes) for index in range(width)
    ]
    for layer, weight in enumerate(model.weights, 1):
        expected = weight.detach().abs().sum(1).tolist()
        assert [float(r["in_degree"]) for r in rows if r["layer"] == str(layer)] == pytest.approx(expected, rel=1e-5)
    candidates = [f"L{row['layer']}_{row['index']}" for row in rows if row["candidate"] == "True"]
    assert candidates
    assert f"{len(candidates)} candidates: {' '.join(candidates)}" in analysis.stdout
    assert "betweenness by the layered engine" in analysis.stdout
    assert figures_are_there(workshop / "figures", "centralities", "network")
    assert record(workshop / "figures" / "centralities.json")["checkpoint"]["record"]["seed"] == 0


def test_ablation_writes_a_row_per_candidate(workshop, readme_network, analysis, ablation):
    model, _ = load_checkpoint(readme_network[0])
    images, labels = load_images("mnist", (3, 5, 7), train=False, data_dir=REPOSITORY / "data")
    correct = model(images).argmax(1) == labels
    intact, *rows = table(workshop / "figures" / "ablation_per_digit.csv")
    assert intact["neuron"] == "intact"
    for place, digit in enumerate((3, 5, 7)):
        assert float(intact[f"accuracy_{digit}"]) == pytest.approx(correct[labels == place].double().mean().item())
    marked = [row for row in table(workshop / "figures" / "centralities.csv") if row["candidate"] == "True"]
    assert [(row["layer"], row["index"]) for row in rows] == [(row["layer"], row["index"]) for row in marked]
    for row in rows:
        assert row["neuron"] in row["module"].split()
        assert int(row["members"]) == len(row["module"].split()) == (1 if row["layer"] == "1" else 5)
        drops = [float(intact[f"accuracy_{digit}"]) - float(row[f"accuracy_{digit}"]) for digit in (3, 5, 7)]
        assert float(row["drop"]) == pytest.approx(sum(drops) / 3)
        assert all(float(row[f"low_{d}"]) <= float(row[f"accuracy_{d}"]) <= float(row[f"high_{d}"]) for d in (3, 5, 7))
    printed = ablation.stdout.splitlines()
    accuracy, _saved, _header, *lines = printed
    assert accuracy.startswith("accuracy, unpruned: ")
    assert [line.split()[0] for line in lines[: len(rows) + 1]] == ["intact", *(row["neuron"] for row in rows)]
    assert printed[-1].startswith(f"Verdict: of {len(rows)} candidates")
    assert figures_are_there(workshop / "figures", "ablation_per_digit")


def test_every_candidate_stands_beside_its_nulls(workshop, readme_network, ablation):
    _, *rows = table(workshop / "figures" / "ablation_per_digit.csv")
    for row in rows:
        drops = [100 * float(row[f"drop_{digit}"]) for digit in (3, 5, 7)]
        assert float(row["importance"]) == pytest.approx(sum(drops) / 3)
        assert float(row["selectivity"]) == pytest.approx(max(drops) - min(drops))
        its_layer = [other for other in rows if other["layer"] == row["layer"]]
        for effect in ("importance", "selectivity"):
            # 8 modules of one neuron; 8 times 70 of one neuron and four of the layer before
            assert int(row[f"{effect}_matched_n"]) == (8 if row["layer"] == "1" else 560)
            assert int(row[f"{effect}_same_rule_n"]) == 8 - len(its_layer)
            for null, itself in (("matched", 0), ("same_rule", 1)):
                n, p = int(row[f"{effect}_{null}_n"]), float(row[f"{effect}_{null}_p"])
                assert float(row[f"{effect}_{null}_smallest_p"]) == pytest.approx(1 / (n + itself))
                assert p * (n + itself) == pytest.approx(round(p * (n + itself)))
                low, median, high = (float(row[f"{effect}_{null}_{key}"]) for key in ("low", "median", "high"))
                assert low <= median <= high
    assert "(0.12)" in ablation.stdout, "the smallest p of a layer of 8 is not said"


def test_random_modules_stand_in_where_there_are_too_many(readme_network, tmp_path):
    options = [readme_network[0], "--jobs", "1", "--null-limit", "50", "--figures-dir", tmp_path]
    first, second = (succeed(ABLATION, *options, "--seed", seed) for seed in (0, 1))
    _, *rows = table(tmp_path / "ablation_per_digit.csv")
    for row in rows:
        n = int(row["importance_matched_n"])  # as many as were drawn, unless the module itself was
        assert n == 8 if row["layer"] == "1" else 45 <= n <= 50
        assert float(row["importance_matched_smallest_p"]) == pytest.approx(
            1 / 8 if row["layer"] == "1" else 1 / (n + 1)
        )
    assert first.stdout != second.stdout


def test_many_networks_are_pooled(many, tmp_path):
    options = [many / "mlp_mnist357.pt", "--jobs", "1", "--figures-dir"]
    done = succeed(ABLATION, *options, tmp_path)
    assert done.stdout.splitlines()[-1].startswith("Verdict: over 4 networks")
    pooled = table(tmp_path / "ablation_per_digit.csv")
    networks = table(tmp_path / "ablation_networks.csv")
    assert [row["network"] for row in networks] == 3 * ["0", "1", "2", "3"]
    assert [row["rule"] for row in networks[::4]] == ["both", "in-degree alone", "betweenness alone"]
    for network in networks[:4]:
        candidates = [r for r in pooled if r["network"] == network["network"] and r["neuron"] != "intact"]
        assert int(network["candidates"]) == len(candidates)
        for name in ("importance_matched", "selectivity_matched", "importance_same_rule", "selectivity_same_rule"):
            percentiles = [float(row[f"{name}_percentile"]) for row in candidates if row[f"{name}_percentile"]]
            assert float(network[name]) == pytest.approx(sum(percentiles) / len(percentiles))
            beyond = [float(r[name.split("_")[0]]) - float(r[f"{name}_mean"]) for r in candidates if r[f"{name}_mean"]]
            assert float(network[f"{name}_points"]) == pytest.approx(sum(beyond) / len(beyond))
    for alone in (networks[4:8], networks[8:]):
        assert all(int(one["candidates"]) >= int(both["candidates"]) for one, both in zip(alone, networks[:4]))
        assert [row["selectivity_matched"] for row in alone] != [row["selectivity_matched"] for row in networks[:4]]
    about = record(tmp_path / "ablation_networks.json")
    assert {test["seeds"] for test in (about["tests"] | about["contrasts"]).values()} == {4}
    assert figures_are_there(tmp_path, "ablation_networks", "ablation_per_digit")

    succeed(ABLATION, *options, tmp_path / "alone", "--network", "2")
    assert table(tmp_path / "alone" / "ablation_per_digit.csv") == [row for row in pooled if row["network"] == "2"]


def test_both_engines_write_the_same_centralities(many, tmp_path):
    for engine in ("networkx", "layered"):
        options = [many / "mlp_mnist357.pt", "--engine", engine, "--figures-dir", tmp_path / engine]
        done = succeed("network_analysis.py", *options)
        assert f"the {engine} engine" in done.stdout
        assert figures_are_there(tmp_path / engine, "centralities", "network")
    one, two = ((tmp_path / engine / "centralities.csv").read_bytes() for engine in ("networkx", "layered"))
    assert one == two
    assert one.count(b"\n") == 1 + 4 * (784 + 24 + 3)


def test_a_network_of_many_is_a_network_of_its_own_seed(tmp_path):
    """Network 2 of seed 3, trained with its own batches, is the network of seed 5 trained alone."""
    together = ["--networks", "3", "--separate-batches", "--epochs", "1", "--seed", "3"]
    for name, options in (("together", together), ("alone", ["--epochs", "1", "--seed", "5"])):
        succeed("train.py", *options, "--save-dir", tmp_path / name, "--figures-dir", tmp_path / name)
    models, _ = load_networks(tmp_path / "together" / "mlp_mnist357.pt")
    alone, _ = load_checkpoint(tmp_path / "alone" / "mlp_mnist357.pt")
    for parameter, expected in zip(models[2].parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("networks, epochs", [(12, 1), pytest.param(30, 3, marks=pytest.mark.long)])
def test_networks_trained_together_are_as_good_as_those_trained_alone(tmp_path, networks, epochs):
    """The distribution of test accuracy does not tell shared mini-batches from separate ones."""
    accuracies = []
    for options in ([], ["--separate-batches"]):
        options += ["--networks", networks, "--epochs", epochs, "--save-dir", tmp_path, "--figures-dir", tmp_path]
        succeed("train.py", *options)
        accuracies.append([row["accuracy"] for row in record(tmp_path / "training_history.json")["test"]])
    assert all(len(found) == networks and len(set(found)) > networks / 2 for found in accuracies)
    assert ks_2samp(*accuracies).pvalue > 0.01


def test_benchmark_measures_every_way(monkeypatch, tmp_path, capsys):
    benchmark = importlib.import_module("benchmark")
    monkeypatch.setattr(benchmark, "GRAPHS", [(784, 3, 3, 2)])
    monkeypatch.setattr(benchmark, "WIDTHS", (2, 4))
    monkeypatch.setattr(report.speed, "NETWORKX_WORK", 10**7 // 2)
    monkeypatch.setattr(benchmark, "NETWORKS", (1, 3))
    monkeypatch.setattr(report.speed, "SLOW_MODULES", 1)
    monkeypatch.setattr(benchmark, "WIDE_NETWORK", (784, 70, 70, 3))
    monkeypatch.setattr(benchmark, "WIDE_MODULES", 2)
    monkeypatch.setattr(benchmark, "FILAN_NETWORK", (784, 20, 20, 10))
    monkeypatch.setattr(benchmark, "FILAN_IMAGES", 256)
    monkeypatch.setattr(benchmark, "SHUFFLES", 2)
    monkeypatch.setattr(benchmark, "CNN", convolutional((1, 28, 28), (3, 3, 3), (16, 10)))
    monkeypatch.setattr(benchmark, "CNN_IMAGES", 20)
    monkeypatch.setattr(benchmark, "CNN_LESIONS", 1)
    monkeypatch.setattr(benchmark, "CNN_LESION_IMAGES", 20)
    monkeypatch.setattr(benchmark, "LANGE_NETWORK", (784, 5, 4, 10))
    monkeypatch.setattr(benchmark, "SIMILARITY_IMAGES", 20)
    monkeypatch.setattr(benchmark, "PLANTED_NETWORK", (784, 8, 8, 10))
    monkeypatch.setattr(benchmark, "SESSIONS", {"make clean": "clean"})  # of a copy
    benchmark.main(["--repeats", "1", "--beside", str(REPOSITORY), "--figures-dir", str(tmp_path)])
    rows = table(tmp_path / "benchmark.csv")
    ways = {
        "networkx",
        "igraph",
        "layered",
        "DataLoader, torchvision",
        "DataLoader, tensors",
        "1 at once",
        "3 at once",
        "copied model, DataLoader",
        "batched",
        "plain loop, images in memory",
        "one at a time",
        "here, idle",
        "beside, one core busy",
        "on 1 core",
        "torch.func",
        "closed forms",
        "backward_jac",
        "all together",
    }
    n_cuts = {row["way"] for row in rows if "n-cut" in row["way"]}
    assert len(n_cuts) == 2
    assert {row["way"] for row in rows} - n_cuts >= ways
    for row in rows:
        rivals = [r for r in rows if (r["task"], r["network"]) == (row["task"], row["network"])]
        reference = next(r for r in rivals if float(r["ratio"]) == 1)
        assert float(row["ratio"]) == pytest.approx(float(row["seconds"]) / float(reference["seconds"]))
    assert "cores" in capsys.readouterr().out
    assert figures_are_there(tmp_path, "benchmark_engines")


def test_the_same_command_writes_the_same_bytes(workshop, readme_network, analysis, ablation, tmp_path):
    """In this process, where other work was done before, as in processes of their own."""
    for script in ("network_analysis.py", ABLATION):
        succeed(script, readme_network[0], "--figures-dir", tmp_path)
    for path in tmp_path.iterdir():
        if path.suffix != ".json":  # its record holds the command, which differs
            assert path.read_bytes() == (workshop / "figures" / path.name).read_bytes(), path.name


def test_other_digits_from_another_directory(workshop, tmp_path):
    options = "--digits 4,9 --hidden-layers 30 --epochs 1 --seed 7 --batch-size 999999 --figures-dir".split()
    done = shell(workshop / "train.py", *options, tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (workshop / "mlp" / "mlp_mnist49.pt").exists()
    for script in ("network_analysis.py", ABLATION):
        done = shell(workshop / script, "--digits", "4,9", "--figures-dir", tmp_path, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert {"accuracy_4", "accuracy_9"} <= set(table(tmp_path / "ablation_per_digit.csv")[0])


def test_your_own_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = nn.Sequential(nn.Linear(784, 40), nn.ReLU(), nn.Linear(40, 6, bias=False), nn.ReLU(), nn.Linear(6, 2))
    torch.save(network.state_dict(), "mine.pth")
    options = ["mine.pth", "--digits", "8,1", "--figures-dir", "."]
    succeed("network_analysis.py", *options)
    succeed(ABLATION, *options, "--max-candidates", "3", "--top-inputs", "2")
    intact, *rows = table(tmp_path / "ablation_per_digit.csv")
    images, labels = load_images("mnist", (8, 1), train=False, data_dir=REPOSITORY / "data")
    correct = network(images).argmax(1) == labels
    assert float(intact["accuracy_8"]) == pytest.approx(correct[labels == 0].double().mean().item())
    assert len(rows) == 3


def test_networks_of_one_seed_are_one_observation(tmp_path):
    """A sweep of four combinations of two seeds is no evidence from eight networks."""
    models = [initial_model((784, 5, 4, 3), seed) for seed in range(8)]
    save_checkpoint(tmp_path / "sweep.pt", models, classes=(3, 5, 7), networks=[{"seed": k % 2} for k in range(8)])
    done = succeed(ABLATION, tmp_path / "sweep.pt", "--jobs", "1", "--figures-dir", tmp_path)
    verdict = done.stdout.splitlines()[-1]
    assert verdict.startswith(
        "Verdict: over 8 networks of 2 seeds, candidates are not shown to be more or less selective"
    )
    networks = table(tmp_path / "ablation_networks.csv")
    assert [row["seed"] for row in networks] == ["0", "1"] * 12
    for test in record(tmp_path / "ablation_networks.json")["tests"].values():
        name = f"{test['effect']}_{test['among']}"
        of_seeds = [
            [row for row in networks if (row["rule"], row["seed"]) == (test["rule"], seed) and row[name]]
            for seed in "01"
        ]
        means = [statistics.mean(float(row[name]) for row in own) for own in of_seeds]
        assert test["median"] == pytest.approx(statistics.mean(means))
        assert (test["seeds"], test["null"]) == (2, "permutations")
        assert test["p"] in (0.5, 1)


@pytest.mark.parametrize("median, direction, word", [(50, 1, "more"), (50, -1, "less"), (61, -1, "less")])
def test_the_verdict_follows_the_ranks(capsys, median, direction, word):
    """And counts what is exploratory only if it is so when corrected."""
    test = {"rule": "both", "seeds": 9, "median": median, "low": 40, "high": 60, "p": 0.01, "direction": direction}
    test |= {"points_mean": 1.5, "points_low": -2, "points_high": 4, "adjusted_p": 0.04}
    tests = {
        f"{effect}_{null}": test | {"effect": effect, "among": null}
        for effect in ("importance", "selectivity")
        for null in ("matched", "same_rule")
    }
    tests["selectivity_same_rule"]["adjusted_p"] = math.nan
    tests["selectivity_matched"]["adjusted_p"] = 0.06
    contrast = {"rule": "both", "effect": "importance", "among": "both", "seeds": 9, "mean": 2, "low": -1, "high": 5}
    contrasts = {"importance_matched_minus_same_rule": contrast | {"p": 0.03, "adjusted_p": 0.05}}
    networks = [{"network": k, "seed": k} for k in range(9)]
    are_modules_indegree_nobetween.report_many(networks, tests, contrasts)
    verdict = capsys.readouterr().out.splitlines()[-1]
    primary, exploratory = verdict.split(" That was the primary test. ")
    size = "+1.5 percentage points, 95 % interval -2.0 to +4.0; median percentile"
    same_rule = f"compared with the same rule around non-candidates ({size} {median}, p ="
    assert primary == f"Verdict: over 9 networks, candidates are {word} selective {same_rule} 0.01)."
    assert exploratory.startswith("All 4 others are exploratory")
    assert f"{word} important {same_rule} 0.04)" in exploratory
    assert "not shown to be more or less selective compared with matched modules" in exploratory
    assert exploratory.count("compared with") == 3


@pytest.mark.parametrize("network", [[], ["--network", "1"]])
def test_silent_neurons_at_their_means(many, tmp_path, network):
    options = [many / "mlp_mnist357.pt", "--jobs", "1", *network, "--figures-dir"]
    zero, mean = (succeed(ABLATION, *options, tmp_path / to, "--ablate-to", to) for to in ("zero", "mean"))
    assert "mean activations over training images" in mean.stdout
    assert "mean activations" not in zero.stdout
    rows, others = (table(tmp_path / to / "ablation_per_digit.csv") for to in ("zero", "mean"))
    assert [row["module"] for row in rows] == [row["module"] for row in others]
    intact = [row for row in rows if row["neuron"] == "intact"]
    assert intact == [row for row in others if row["neuron"] == "intact"]
    importance, other = (sum(float(row["importance"] or 0) for row in its) for its in (rows, others))
    assert other < importance, "zero is farther away from what later layers have seen"


def test_no_other_level_to_ablate_to(tmp_path):
    done = call(ABLATION, "--ablate-to", "median", "--figures-dir", tmp_path)
    assert done.returncode == 2
    assert "--ablate-to: 'median' is none of zero, mean" in done.stderr


def test_what_is_not_defined_is_a_dash(tmp_path):
    """Of two neurons the one with the higher in-degree lies on all shortest paths: there is no candidate."""
    models = [initial_model((784, 2, 2), seed) for seed in (0, 1)]
    with torch.no_grad():
        for model in models:
            model.weights[0].copy_(torch.tensor([[2.0], [1.0]]))
            model.weights[1].fill_(0.5)
    save_checkpoint(tmp_path / "nets.pt", models, classes=(3, 5))
    options = [tmp_path / "nets.pt", "--jobs", "1", "--figures-dir", tmp_path]
    printed = succeed(ABLATION, *options, "--in-degree-quantile", "1", "--betweenness-quantile", "0").stdout
    assert "nan" not in printed
    assert printed.count("not compared in") == printed.count("there are none, or no candidates") == 4
    everyone = ["--network", "0", "--in-degree-quantile", "0", "--betweenness-quantile", "1"]
    printed = succeed(ABLATION, *options, *everyone).stdout
    assert "nan" not in printed
    assert re.search(r"L1_0 +importance +[-0-9.]+ +0 +- +- +- +1 \(1\)", printed), "no neuron is left for the same rule"


def test_no_candidates_is_an_answer(readme_network, tmp_path):
    options = ["--in-degree-quantile", "1", "--betweenness-quantile", "0", "--figures-dir", tmp_path]
    for script in ("network_analysis.py", ABLATION):
        done = succeed(script, readme_network[0], *options)
    assert "no hidden neuron is a candidate" in done.stdout
    assert [row["neuron"] for row in table(tmp_path / "ablation_per_digit.csv")] == ["intact"]
    assert figures_are_there(tmp_path, "ablation_per_digit", "network", "centralities")


def test_very_many_candidates_are_counted(tmp_path):
    save_checkpoint(tmp_path / "wide.pt", initial_model((784, 100, 100, 3), seed=0), classes=(3, 5, 7))
    printed = succeed("network_analysis.py", tmp_path / "wide.pt", "--figures-dir", tmp_path).stdout
    layers = [row["layer"] for row in table(tmp_path / "centralities.csv") if row["candidate"] == "True"]
    first, second = layers.count("1"), layers.count("2")
    assert 50 < first + second == len(layers)
    assert f"{first + second} candidates: {first} of layer 1, {second} of layer 2" in printed.splitlines()


# What a user does to a process


PRUNING = "train.py --digits 3,5 --hidden-layers 4 --epochs 1 --pruning 0,0.5 --pruning-epochs 1"
LESIONS = f"{CLUSTERING} --clusters 3 --shuffles 2 --jobs 1 --lesions"


@pytest.mark.parametrize(
    "command, files",
    [
        (f"{PRUNING} --save-dir .", {"mlp_mnist35.pt", "mlp_mnist35_unpruned.pt", "training_history.csv"}),
        (LESIONS, {"clusterability.csv", "lesions.csv", "lesions.json", "lesions.pdf"}),
    ],
)
def test_a_closed_pipe_loses_nothing(workshop, readme_network, tmp_path, command, files):
    """Files first, words last: who reads the first line only, as head does, has all results."""
    script, *options = command.split()
    words = [sys.executable, workshop / script, *options, "--figures-dir", "."]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(words, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr
    assert files <= {path.name for path in tmp_path.iterdir()}


def test_a_reader_that_stops_early_is_no_error(workshop, readme_network, tmp_path):
    command = f"'{sys.executable}' network_analysis.py --figures-dir '{tmp_path}' | true"
    done = subprocess.run(command, shell=True, cwd=workshop, capture_output=True, text=True)
    assert done.stderr == ""
    assert figures_are_there(tmp_path, "centralities", "network")


@pytest.mark.parametrize(
    "script, option",
    [
        ("train.py", "--val-fraction"),
        ("network_analysis.py", "CHECKPOINT"),
        (ABLATION, "--top-inputs"),
        (CLUSTERING, "--shuffles"),
        (SPECIALIZATION, "--draws"),
        (SIMILARITY, "--untrained"),
        (RECOVERY, "--power"),
        ("benchmark.py", "--repeats"),
    ],
)
def test_every_script_explains_itself(script, option):
    done = call(script, "--help")
    assert done.returncode == 0
    assert option in done.stdout
    assert "default" in done.stdout
    assert done.stderr == ""


def test_scripts_run_where_python_knows_neither_memory_nor_users(tmp_path, monkeypatch):
    """As on Windows."""
    for name in ("sysconf", "getuid", "geteuid"):
        monkeypatch.delattr(os, name)
    options = "--jobs", "1", "--figures-dir", tmp_path
    succeed("train.py", "--epochs", "1", "--save-dir", tmp_path, *options)
    for script in (ABLATION, CLUSTERING):
        few = "--shuffles 2 --clusters 3".split() if script == CLUSTERING else []
        assert "note:" not in succeed(script, tmp_path / "mlp_mnist357.pt", *few, *options).stderr


TASKS = {
    "train.py": "--digits 4,9 --hidden-layers 210,4 --epochs 1 --networks 2 --dropout 0.2 --pruning 0,0.5 "
    "--pruning-epochs 1",
    ABLATION: "",
    CLUSTERING: "--shuffles 3 --clusters 5 --lesions",
    SPECIALIZATION: "--clusters 4 --draws 3",
    SIMILARITY: "--untrained 3 --restarts 3 --seed 2",
    RECOVERY: "--clusters 4",
}
"""Options of each script, the work of which is then of several tasks."""


@pytest.mark.parametrize("script", TASKS)
def test_the_number_of_jobs_changes_nothing(many, tmp_path, script):
    models, about = load_networks(many / "mlp_mnist357.pt")
    save_checkpoint(tmp_path / "two.pt", models[:2], **about)
    printed = []
    for jobs in ("1", "2"):
        place = tmp_path / jobs
        networks = ["--save-dir", place] if script == "train.py" else [tmp_path / "two.pt"]
        done = succeed(script, *networks, *TASKS[script].split(), "--jobs", jobs, "--figures-dir", place)
        printed.append(done.stdout.replace(str(place), ""))
    assert printed[0] == printed[1]
    assert same_files(tmp_path / "1", tmp_path / "2")
