"""What networks read of the images that they are shown, and whether it is noticed that these are the wrong ones."""

import csv
import re
from dataclasses import replace
from math import prod

import pytest
import torch
from conftest import REPOSITORY, call, succeed
from torch import nn

import modularity.accuracy
import network_analysis
from mlp import InputError
from mlp.checkpoint import load_networks
from mlp.data import DataSet
from mlp.model import MLP, initial_model
from mlp.network import Network, load_records
from mlp.sequential import save_network
from modularity.accuracy import Reading, reading_of, readings_of
from report.networks import as_images
from report.notes import note_dead_units, note_poor_readings, print_readings

ABLATION = "are_modules_indegree_nobetween.py"
DIGITS = DataSet("mnist", (3, 5, 7))
DATA = REPOSITORY / "data"
BACKWARDS = torch.arange(784).view(28, 28).T.flatten()
"""Where the pixels of an image are in the transposed one."""


@pytest.fixture(scope="module")
def plain(many):
    """A trained network of 784-8-8-8-3 that reads pixels from 0 to 1."""
    models, _ = load_networks(many / "mlp_mnist357.pt")
    return models[0].requires_grad_(False)


def trained_on(plain, normalisation=(), transposed=False):
    """A state dict that says of images, prepared otherwise, what another network says of them as they are: exactly."""
    state = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    weight, bias = state["layers.0.weight"], state["layers.0.bias"]
    for mean, sd in normalisation:
        bias += weight.sum(1) * mean
        weight *= sd
    if transposed:
        weight.copy_(weight[:, BACKWARDS])
    return state


def reading(state, data=DIGITS):
    model = initial_model((784, 8, 8, 8, 3), 0)
    model.load_state_dict(state)
    return reading_of(Network(model, data), DATA, "cpu")


def test_the_accuracy_is_that_of_the_test_images(plain):
    images, labels = DIGITS.load(False, DATA)
    expected = (plain(images).argmax(1) == labels).double().mean().item()
    found = reading(plain.state_dict())
    assert found.accuracy == expected > 0.9
    assert found.chance == pytest.approx(labels.bincount().max().item() / len(labels))
    assert not found.is_poor
    several = [Network(initial_model((784, 4, 3), seed), DIGITS, number=seed) for seed in range(3)]
    alone = [reading_of(network, DATA, "cpu") for network in several]
    assert readings_of(several, DATA, "cpu", 1) == alone


USUAL, INVERTED = (0.1307, 0.3081), (1.0, -1.0)


@pytest.mark.parametrize(
    "normalisation, transposed, words",
    [
        ([USUAL], False, "normalised images (--normalise 0.1307/0.3081)"),
        ([INVERTED], False, "inverted images (--normalise 1/-1)"),
        ((), True, "transposed images"),
        ([(0.0, 1 / 255)], False, f"pixels from 0 to 255 (--normalise 0/{1 / 255!r})"),
    ],
)
def test_images_that_a_network_never_saw_are_noticed(plain, normalisation, transposed, words, capsys):
    state = trained_on(plain, normalisation, transposed)
    right = reading(plain.state_dict()).accuracy
    found = reading(state)
    assert found.accuracy < right - 0.01
    assert found.other == words
    assert found.other_accuracy == pytest.approx(right, abs=0.02)  # of some of the images
    if normalisation:
        assert reading(state, replace(DIGITS, normalisation=tuple(normalisation))).accuracy == pytest.approx(right)
    network = Network(initial_model((784, 8, 8, 8, 3), 0), DIGITS)
    note_poor_readings([network], [found])
    said = capsys.readouterr().err
    assert said.startswith(f"note: trained, network 0 reads {100 * found.accuracy:.1f} % of its test images right")
    assert f"of {words} it would be {100 * found.other_accuracy:.1f} %; is that what it was trained on?" in said


def test_transposed_images_are_normalised_as_the_others_are(plain):
    state = trained_on(plain, [(0.5, 0.1)], transposed=True)
    found = reading(state, replace(DIGITS, normalisation=((0.5, 0.1),)))
    assert found.other == "transposed images" and found.other_accuracy > 0.9


def test_a_point_won_by_accident_is_no_reason_for_a_note():
    """Of networks with many errors, other images have to remove a third of them, or add ten points."""
    images, labels = DIGITS.load(False, DATA)
    for right_as_they_are, right_of_others, noted in ((60, 66, False), (60, 71, True), (90, 92, False), (90, 94, True)):
        model = Network(MLP((784, 2, 3)), DIGITS)
        shares = iter([right_as_they_are / 100, *[0.0] * 4, right_of_others / 100, 0.0, right_as_they_are / 100])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(modularity.accuracy, "_share_right", lambda *_: next(shares))
            found = reading_of(model, DATA, "cpu")
        assert (found.other is not None) == noted
        assert found.accuracy == right_as_they_are / 100


def test_notes_are_said_for_each_condition_and_each_kind_of_images(capsys):
    poor = Reading(0.5, 0.45), Reading(0.6, 0.35, "inverted images", 0.9), Reading(0.7, 0.35, "inverted images", 0.8)
    networks = [Network(initial_model((784, 4, 3), 0), DIGITS, name, place) for place, name in enumerate("aaab")]
    note_poor_readings(networks, [*poor, poor[0]])
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith("note: a, network 0 reads 50.0 % ")
    assert second.startswith("note: each of 2 networks of a reads 60.0 to 70.0 % of its test images right, and of")
    assert "of inverted images it would be 80.0 to 90.0 %" in second
    assert third.startswith("note: b, network 3 reads 50.0 %")


def test_a_normalisation_that_is_wrong_is_noticed(plain):
    """The network reads pixels from 0 to 1; the images are said to be normalised so that they are far away."""
    found = reading(plain.state_dict(), replace(DIGITS, normalisation=((2.0, -0.1),)))
    assert found.other == "pixels from 0 to 1" and found.other_accuracy > 0.9


def test_little_more_than_guessing_is_noticed(plain, capsys):
    state = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    for kind in ("weight", "bias"):  # its outputs stand for the classes in another order
        state[f"layers.3.{kind}"] = state[f"layers.3.{kind}"].roll(1, 0)
    found = reading(state)
    assert found.accuracy < 0.1 and found.is_poor
    note_poor_readings([Network(plain, DIGITS, number=k) for k in range(3)], [found] * 3)
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert said.startswith(f"note: each of 3 networks of trained reads {100 * found.accuracy:.1f} % of its test images")
    assert "guessing the most frequent class gives 35.1 %" in said and "docs/own_network.md" in said


def test_readings_are_printed_by_condition(capsys):
    networks = [Network(initial_model((784, 4, 3), 0), DIGITS, "few", number) for number in range(2)]
    usual = replace(DIGITS, normalisation=(USUAL,))
    networks += [Network(initial_model((784, 4, 3), 0), usual, "many", number) for number in range(11)]
    found = readings_of(networks[:1], DATA, "cpu", 1)[0]
    shares = [0.5, 0.25, *(place / 10 for place in range(11))]
    print_readings(networks, [replace(found, accuracy=share) for share in shares])
    few, many = capsys.readouterr().out.splitlines()
    assert few == "accuracy, few: 50.0 25.0 % of the test images (digits 3, 5, 7; pixels from 0 to 1)"
    assert many.startswith("accuracy, many: 50.0 % in the mean of 11 networks (0.0 to 100.0 %)")
    assert many.endswith("(digits 3, 5, 7; normalised by 0.1307/0.3081)")


def test_dead_units_are_counted(capsys):
    networks = [Network(initial_model((784, 6, 5, 3), seed), DIGITS, number=seed) for seed in range(2)]
    note_dead_units(networks)
    assert capsys.readouterr().err == ""
    with torch.no_grad():
        for weight in networks[1].model.weights[1], networks[1].model.weights[0].T:
            weight[:, 4] = 1e-20
    note_dead_units(networks)
    said = capsys.readouterr().err
    start = "note: 0 to 1 of 11 hidden units of trained are dead, pruned away, or without a weight of 1e-06 of the mean"
    assert said.startswith(start)


@pytest.fixture(scope="module")
def inverted(plain, tmp_path_factory):
    path = tmp_path_factory.mktemp("inverted") / "inverted.pt"
    torch.save(trained_on(plain, [INVERTED]), path)
    return path


def intact_accuracies(folder):
    with open(folder / "ablation_per_digit.csv", newline="") as file:
        row = next(csv.DictReader(file))
    return [float(row[f"accuracy_{digit}"]) for digit in (3, 5, 7)]


def test_following_the_note_gives_the_right_numbers(plain, inverted, many, tmp_path):
    places = ["--classes", "3,5,7", "--figures-dir", tmp_path]
    wrong = succeed(ABLATION, inverted, *places)
    (remedy,) = re.findall(r"\((--normalise \S+)\)", wrong.stderr)
    assert min(intact_accuracies(tmp_path)) < 0.5 < min(intact_accuracies_of(plain))
    mended = succeed(ABLATION, inverted, *places, *remedy.split())
    assert "note:" not in mended.stderr
    assert "normalised by 1/-1" in mended.stdout
    assert intact_accuracies(tmp_path) == pytest.approx(intact_accuracies_of(plain), abs=2e-3)


def intact_accuracies_of(model):
    images, labels = DIGITS.load(False, DATA)
    right = model(images).argmax(1) == labels
    return [right[labels == place].double().mean().item() for place in range(3)]


@pytest.mark.parametrize(
    "script, options",
    [
        (ABLATION, ()),
        ("are_modules_clusterable.py", ("--lesions", "--clusters", "3", "--shuffles", "2", "--draws", "2")),
        ("are_modules_specialized.py", ("--clusters", "3", "--draws", "2")),
        ("are_modules_upstream_downstream.py", ("--untrained", "2", "--restarts", "1", "--least-accuracy", "0")),
        ("are_modules_recovered.py", ("--definitions", "activations", "--clusters", "2")),
    ],
)
def test_every_script_that_reads_images_says_what_it_sees(inverted, tmp_path, script, options):
    done = succeed(script, inverted, "--classes", "3,5,7", "--jobs", "1", *options, "--figures-dir", tmp_path)
    noted = r"^note: inverted, network 0 reads \d+\.\d % of its test images right, and of inverted"
    printed = r"^accuracy, inverted: \d+\.\d % of the test images \(digits 3, 5, 7; pixels"
    assert re.search(noted, done.stderr, re.M)
    assert re.search(printed, done.stdout, re.M)


def test_three_outputs_are_not_digits_unless_somebody_says_so(tmp_path, monkeypatch):
    torch.save(initial_model((4, 16, 3), 0).state_dict(), tmp_path / "iris.pt")
    torch.save(initial_model((784, 6, 3), 0).state_dict(), tmp_path / "mnist012.pt")
    drawn, draw = [], network_analysis.plot_network

    def plotted(weights, strengths, shape, table, candidates, classes, title):
        drawn.append((classes, title, as_images(weights, shape)))
        return draw(weights, strengths, shape, table, candidates, classes, title)

    monkeypatch.setattr(network_analysis, "plot_network", plotted)
    for name, size in (("iris", "4-16-3"), ("mnist012", "784-6-3")):
        done = succeed("network_analysis.py", tmp_path / f"{name}.pt", "--figures-dir", tmp_path)
        assert done.stdout.startswith("layer")
        names, title, fields = drawn[-1]
        assert tuple(fields.shape) == ((16, 1, 4) if name == "iris" else (6, 28, 28))
        assert names == ["output 0", "output 1", "output 2"]
        assert title == f"{size} network, 3 outputs"
    for script in (ABLATION, "are_modules_specialized.py", "are_modules_upstream_downstream.py"):
        refused = call(script, tmp_path / "mnist012.pt", "--figures-dir", tmp_path)
        assert refused.returncode == 2
        assert "--dataset mnist, and unless it says what its 3 outputs stand for, their classes" in refused.stderr
        refused = call(script, tmp_path / "iris.pt", "--classes", "0-2", "--figures-dir", tmp_path)
        assert refused.returncode == 2
        assert "images of 4" in refused.stderr and "network_analysis.py" in refused.stderr


def test_normalised_images_go_through_padded_convolutions_as_their_owner_sent_them(tmp_path):
    """Zeros around normalised images are not those around images: the weights alone could not make up for that."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(784, 3)
    )
    save_network(tmp_path / "cnn.pt", module, (1, 28, 28), (3, 5, 7), "mnist", [USUAL])
    ((network,), about) = load_records(tmp_path / "cnn.pt")
    assert about["normalisation"] == [list(USUAL)]
    images, _ = network.load(False, DATA)
    pixels, _ = DIGITS.load(False, DATA)
    own = module((pixels[:50].view(-1, 1, 28, 28) - USUAL[0]) / USUAL[1])
    torch.testing.assert_close(network.model(images[:50]), own, rtol=1e-4, atol=1e-5)


def test_each_channel_is_normalised_by_its_own_pair():
    data = DataSet("stacked", (1, 2), ((0.1, 0.5), (0.2, -2.0)))
    images = torch.rand(3, prod(data.shape), generator=torch.Generator().manual_seed(0))
    before = images.clone()
    found = data.normalised(images).view(3, *data.shape)
    expected = images.view(3, *data.shape)
    torch.testing.assert_close(found[:, 0], (expected[:, 0] - 0.1) / 0.5)
    torch.testing.assert_close(found[:, 1], (expected[:, 1] - 0.2) / -2)
    assert torch.equal(images, before)
    both = DataSet("stacked", (1, 2), ((0.1, 0.5),)).normalised(images)
    torch.testing.assert_close(both, (images - 0.1) / 0.5)


def test_a_network_that_is_trained_on_normalised_images_says_so(tmp_path):
    places = ["--save-dir", tmp_path, "--figures-dir", tmp_path]
    trained = succeed("train.py", "--epochs", "1", "--normalise", "0.1307/0.3081", *places)
    (shown,) = re.findall(r"^ *all +\d+ +\S+ +(\S+ %)", trained.stdout, re.M)
    done = succeed(ABLATION, tmp_path / "mlp_mnist357.pt", "--figures-dir", tmp_path)
    assert f"{shown} of the test images (digits 3, 5, 7; normalised by 0.1307/0.3081)" in done.stdout
    assert "note:" not in done.stderr


@pytest.mark.parametrize("text", ["0.5", "0.5/0", "a/b", "0.5/0.5,", "1/2/3", "nan/1", "0.1/inf", ""])
def test_what_is_no_normalisation_is_refused(tmp_path, text):
    for script in ("train.py", "network_analysis.py"):
        refused = call(script, "--normalise", text)
        assert refused.returncode == 2
        assert len(refused.stderr.splitlines()) == 1 and "argument --normalise" in refused.stderr


@pytest.mark.parametrize("normalise", [(0.5, 0.5), [(0.5, 0)], [("a", 1)], 3, None, [(0.5, 0.5)] * 2])
def test_save_network_refuses_what_is_no_normalisation(tmp_path, normalise):
    module = nn.Sequential(nn.Linear(784, 4), nn.ReLU(), nn.Linear(4, 3))
    with pytest.raises(InputError, match="normalise"):
        save_network(tmp_path / "mine.pt", module, (784,), (3, 5, 7), "mnist", normalise)
    assert not (tmp_path / "mine.pt").exists()
