"""Every script end to end, as a user runs it, on real digits."""

import csv
import json
import signal
import subprocess
import sys

import pytest
import torch
from conftest import REPOSITORY
from torch import nn

from mlp.data import load_digits
from mlp.model import load_checkpoint

ABLATION = "are_modules_indegree_nobetween.py"


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def record(path):
    return json.loads(path.read_text())["record"]


def figures_are_there(folder, *stems):
    for stem in stems:
        assert (folder / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
    return True


@pytest.fixture(scope="module")
def analysis(workshop, readme_network, shell):
    done = shell("network_analysis.py", cwd=workshop)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def ablation(workshop, readme_network, shell):
    done = shell(ABLATION, cwd=workshop)
    assert done.returncode == 0, done.stderr
    return done


def test_the_readme_network_reads_digits(workshop, readme_network):
    checkpoint, done = readme_network
    model, about = load_checkpoint(checkpoint)
    images, labels = load_digits((3, 5, 7), train=False, data_dir=REPOSITORY / "data")
    accuracy = (model(images).argmax(1) == labels).double().mean().item()
    assert model.sizes == (784, 8, 8, 8, 3)
    assert about["digits"] == [3, 5, 7]
    assert 0.955 <= accuracy <= 0.985
    assert about["record"]["test_accuracy"] == pytest.approx(accuracy)
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


def test_bare_train_is_the_readme_network(workshop, readme_network, shell, tmp_path):
    done = shell("train.py", "--save-dir", tmp_path, "--figures-dir", tmp_path, cwd=workshop)
    assert done.returncode == 0, done.stderr
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
    assert figures_are_there(workshop / "figures", "centralities", "network")
    assert record(workshop / "figures" / "centralities.json")["network"]["record"]["seed"] == 0


def test_ablation_writes_a_row_per_candidate(workshop, readme_network, analysis, ablation):
    model, _ = load_checkpoint(readme_network[0])
    images, labels = load_digits((3, 5, 7), train=False, data_dir=REPOSITORY / "data")
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
    assert [line.split()[0] for line in ablation.stdout.splitlines()[1 : len(rows) + 2]] == [
        "intact", *(row["neuron"] for row in rows),
    ]  # fmt: skip
    assert figures_are_there(workshop / "figures", "ablation_per_digit")


def test_the_same_command_writes_the_same_bytes(workshop, analysis, ablation, shell, tmp_path):
    for script in ("network_analysis.py", ABLATION):
        done = shell(script, "--figures-dir", tmp_path, cwd=workshop)
        assert done.returncode == 0, done.stderr
    for path in tmp_path.iterdir():
        if path.suffix != ".json":  # its record holds the command, which differs
            assert path.read_bytes() == (workshop / "figures" / path.name).read_bytes(), path.name


def test_other_digits_from_another_directory(workshop, shell, tmp_path):
    places = ["--figures-dir", tmp_path]
    done = shell(workshop / "train.py", "--digits", "4,9", "--hidden-layers", "30", "--epochs", "1", "--seed", "7",
                 "--batch-size", "999999", *places, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (workshop / "mlp" / "mlp_mnist49.pt").exists()
    for script in ("network_analysis.py", ABLATION):
        done = shell(workshop / script, "--digits", "4,9", *places, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert {"accuracy_4", "accuracy_9"} <= set(table(tmp_path / "ablation_per_digit.csv")[0])


def test_your_own_network(workshop, shell, tmp_path):
    network = nn.Sequential(nn.Linear(784, 40), nn.ReLU(), nn.Linear(40, 6, bias=False), nn.ReLU(), nn.Linear(6, 2))
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    options = ["mine.pth", "--digits", "8,1", "--figures-dir", "."]
    analysed = shell(workshop / "network_analysis.py", *options, cwd=tmp_path)
    ablated = shell(workshop / ABLATION, *options, "--max-candidates", "3", "--top-inputs", "2", cwd=tmp_path)
    assert (analysed.returncode, ablated.returncode) == (0, 0), analysed.stderr + ablated.stderr
    intact, *rows = table(tmp_path / "ablation_per_digit.csv")
    images, labels = load_digits((8, 1), train=False, data_dir=REPOSITORY / "data")
    correct = network(images).argmax(1) == labels
    assert float(intact["accuracy_8"]) == pytest.approx(correct[labels == 0].double().mean().item())
    assert len(rows) == 3


def test_no_candidates_is_an_answer(workshop, readme_network, shell, tmp_path):
    options = ["--in-degree-quantile", "1", "--betweenness-quantile", "0", "--figures-dir", tmp_path]
    for script in ("network_analysis.py", ABLATION):
        done = shell(script, *options, cwd=workshop)
        assert done.returncode == 0, done.stderr
    assert "no hidden neuron is a candidate" in done.stdout
    assert [row["neuron"] for row in table(tmp_path / "ablation_per_digit.csv")] == ["intact"]
    assert figures_are_there(tmp_path, "ablation_per_digit", "network", "centralities")


def test_interrupted_training_keeps_the_previous_checkpoint(workshop, tmp_path):
    checkpoint = tmp_path / "mlp_mnist357.pt"
    checkpoint.write_bytes(b"trained before")
    command = [sys.executable, "train.py", "--epochs", "100000", "--save-dir", tmp_path, "--figures-dir", tmp_path]
    process = subprocess.Popen(command, cwd=workshop, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    seen = b""
    while b"3/100000" not in seen:
        piece = process.stderr.read1()
        assert piece, seen
        seen += piece
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert rest.decode().splitlines()[-1].startswith("train.py: interrupted")
    assert b"Traceback" not in seen + rest
    assert checkpoint.read_bytes() == b"trained before"
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_every_script_explains_itself(workshop, shell):
    for script, option in (("train.py", "--val-fraction"), ("network_analysis.py", "CHECKPOINT"), (ABLATION, "--top-inputs")):
        done = shell(script, "--help", cwd=workshop)
        assert done.returncode == 0
        assert option in done.stdout
        assert "default" in done.stdout
