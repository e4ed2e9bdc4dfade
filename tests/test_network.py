from dataclasses import replace

import pytest
import torch

from mlp import InputError
from mlp.architecture import Architecture, Layer
from mlp.checkpoint import save_checkpoint
from mlp.data import DataSet
from mlp.model import MLP, initial_model
from mlp.network import Network, load_records, refuse_different, refuse_twins

SIZES = (784, 3, 2)


def saved(path, count=1, **about):
    models = [initial_model(SIZES, seed) for seed in range(count)]
    save_checkpoint(path, models, **about)
    return models


def equal(model, other):
    return all(torch.equal(*pair) for pair in zip(model.parameters(), other.parameters(), strict=True))


def test_what_a_checkpoint_says_about_its_networks_survives(tmp_path):
    known = {"lr": 0.1, "dropout": 0, "note": "own", "stages": [3, {"pruned": None}], "best": True, "l1": None}
    said = [
        {"condition": "with dropout", "seed": 7, "groups": [0, 0, 1], **known},
        {"condition": None, "seed": None, "groups": None},
        {},
        {"condition": 12, "seed": 0, "lr": "auto"},
    ]
    about = {"dataset": "mnist", "classes": [8, 1], "init": "glorot", "networks": said, "epochs": 3}
    models = saved(tmp_path / "networks.pt", 4, **about)
    networks, found = load_records(tmp_path / "networks.pt", name="mine")
    assert found == about
    for number, (network, model) in enumerate(zip(networks, models, strict=True)):
        assert equal(network.model, model)
        assert (network.number, network.data, network.init) == (number, DataSet("mnist", (8, 1)), "glorot")
    assert [network.condition for network in networks] == ["with dropout", "mine", "mine", "12"]
    assert [network.seed for network in networks] == [7, None, None, 0]
    assert [network.hyperparameters for network in networks] == [known, {}, {}, {"lr": "auto"}]
    assert list(networks[0].groups) == [0, 0, 1]
    assert {network.groups for network in networks[1:]} == {None}


def test_checkpoints_older_than_the_question_are_of_mnist(tmp_path):
    saved(tmp_path / "old.pt", 2, digits=(3, 5), seed=3)
    torch.save(initial_model((784, 3, 3), 0).state_dict(), tmp_path / "plain.pt")
    networks, _ = load_records(tmp_path / "old.pt")
    assert [network.data for network in networks] == [DataSet("mnist", (3, 5))] * 2
    assert [network.name for network in networks] == ["trained, network 0", "trained, network 1"]
    assert {(network.seed, network.init, network.groups) for network in networks} == {(None, "default", None)}
    ((plain,), about) = load_records(tmp_path / "plain.pt")
    assert (plain.data, plain.hyperparameters, about) == (DataSet(None, (0, 1, 2)), {}, {})


@pytest.mark.parametrize("name", ["cifar10", "", 3, ["mnist"], {"mnist": 1}])
def test_an_unknown_data_set_is_refused_by_name(tmp_path, name):
    saved(tmp_path / "network.pt", classes=(3, 5), dataset=name)
    with pytest.raises(InputError) as refusal:
        load_records(tmp_path / "network.pt")
    start = f"{tmp_path / 'network.pt'}: was trained on the data set {name!r}, which is unknown here; known: mnist"
    assert str(refusal.value).startswith(start)


def test_images_that_the_owner_of_a_network_did_not_name_may_be_named_later(tmp_path):
    saved(tmp_path / "network.pt", classes=(0, 1), dataset=None)
    ((network,), _) = load_records(tmp_path / "network.pt")
    assert network.data == DataSet(None, (0, 1))
    with pytest.raises(InputError, match="does not say on which images .* --dataset mnist, .* --classes$"):
        network.load(False, tmp_path / "nowhere")
    ((network,), _) = load_records(tmp_path / "network.pt", dataset="mnist")
    assert network.data == DataSet("mnist", (0, 1))


@pytest.mark.parametrize("inputs", [784, 4, 3072])
@pytest.mark.parametrize("outputs", [2, 3, 10, 11])
def test_a_file_that_says_nothing_stands_for_nothing(tmp_path, inputs, outputs):
    """Neither are three outputs the digits 3, 5 and 7, nor are other inputs than 784 images of digits."""
    torch.save(initial_model((inputs, 4, outputs), 0).state_dict(), tmp_path / "plain.pt")
    ((network,), _) = load_records(tmp_path / "plain.pt")
    assert network.data == DataSet(None, tuple(range(outputs)))
    assert network.data.class_name(1) == "output 1"
    with pytest.raises(InputError) as refusal:
        network.load(False, tmp_path / "nowhere")
    if inputs == 784 and outputs <= 10:
        assert "with --classes" in str(refusal.value)
    else:
        assert "network_analysis.py" in str(refusal.value)
    if outputs <= 10:
        classes = tuple(reversed(range(outputs)))
        ((named,), _) = load_records(tmp_path / "plain.pt", classes)
        assert named.data == DataSet("mnist" if inputs == 784 else None, classes)
        ((named,), _) = load_records(tmp_path / "plain.pt", classes, "fashion")
        assert named.data == DataSet("fashion", classes)


def test_all_classes_of_a_data_set_are_in_its_order(tmp_path):
    torch.save(initial_model((784, 4, 10), 0).state_dict(), tmp_path / "plain.pt")
    ((network,), _) = load_records(tmp_path / "plain.pt", dataset="fashion")
    assert network.data == DataSet("fashion", tuple(range(10)))


def test_how_images_are_normalised_is_what_the_checkpoint_says_or_what_is_given(tmp_path):
    usual, other = ((0.1307, 0.3081),), ((0.5, 0.5),)
    saved(tmp_path / "says.pt", classes=(3, 5), normalisation=usual)
    saved(tmp_path / "silent.pt", classes=(3, 5))
    for name, given, expected in (
        ("says.pt", (), usual),
        ("says.pt", usual, usual),
        ("silent.pt", (), ()),
        ("silent.pt", other, other),
    ):
        ((network,), _) = load_records(tmp_path / name, normalisation=given)
        assert network.data == DataSet("mnist", (3, 5), expected)
        assert network.untrained(0, 0).data == network.data
    with pytest.raises(InputError, match="--normalise 0.5/0.5: .* normalised by 0.1307/0.3081; leave --normalise out"):
        load_records(tmp_path / "says.pt", normalisation=other)
    saved(tmp_path / "trained.pt", classes=(3, 5), networks=[{}])  # as train.py does, of images that are as they are
    with pytest.raises(InputError, match="--normalise 0.5/0.5: .* were not normalised; leave --normalise out"):
        load_records(tmp_path / "trained.pt", normalisation=other)
    with pytest.raises(InputError, match="--normalise 0.1307/0.3081,0.5/0.5: the images of mnist have 1 channel"):
        load_records(tmp_path / "silent.pt", normalisation=usual + other)
    for damaged in (3, "0.5/0.5", [3], [[0.5, 0]], [[0.5]], [["a", 1]], [[None, 1]], [[True, 1]], {"mean": 1}):
        saved(tmp_path / "damaged.pt", classes=(3, 5), normalisation=damaged)
        with pytest.raises(InputError, match="damaged.pt: what it says about its images is damaged"):
            load_records(tmp_path / "damaged.pt")


@pytest.mark.parametrize(
    "about, chosen, sentence",
    [
        ({"classes": [3, 5]}, (3, 7), "--classes 3,7: .* was trained on 3,5; leave --classes out"),
        ({"classes": [3, 5]}, (5, 3), "--classes 5,3: .* was trained on 3,5"),
        ({"digits": [3, 5]}, (3, 7), "--classes 3,7: .* was trained on 3,5; leave --classes out"),
        ({}, (3, 5, 7), "--classes 3,5,7: .* has 2 outputs"),
        ({"dataset": "mnist"}, None, "does not say what its 2 outputs stand for; name their classes in order with"),
        ({"classes": [3, 5, 7]}, None, "has 2 outputs"),
        ({"classes": [3, 12]}, None, "the classes it was trained on are damaged"),
        ({"classes": [3, 3]}, None, "damaged"),
        ({"classes": [3]}, None, "damaged"),
        ({"classes": "35"}, None, "damaged"),
        ({"classes": None}, None, "damaged"),
        ({"digits": [3, 12]}, None, "the classes it was trained on are damaged"),
        ({"digits": None}, None, "damaged"),
        ({"networks": [{"seed": -1}]}, (3, 5), "what it says about its networks is damaged"),
        ({"networks": [{"seed": 2**63}]}, (3, 5), "its networks is damaged"),
        ({"networks": [{"seed": "0"}]}, (3, 5), "its networks is damaged"),
        ({"networks": [{"seed": 0.5}]}, (3, 5), "its networks is damaged"),
        ({"networks": []}, (3, 5), "its networks is damaged"),
        ({"networks": ["dropout"]}, (3, 5), "its networks is damaged"),
        ({"networks": {}}, (3, 5), "its networks is damaged"),
        ({"networks": None}, (3, 5), "its networks is damaged"),
        ({"init": ["glorot"]}, (3, 5), "its networks is damaged"),
        ({"init": "zeros"}, (3, 5), "its networks is damaged"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, about, chosen, sentence):
    saved(tmp_path / "network.pt", **about)
    with pytest.raises(InputError, match=sentence) as refusal:
        load_records(tmp_path / "network.pt", chosen)
    assert str(tmp_path / "network.pt") in str(refusal.value)


def test_images_of_another_size_are_refused_before_they_are_read(tmp_path):
    save_checkpoint(tmp_path / "network.pt", initial_model((100, 3, 2), 0), dataset="mnist", classes=(3, 5))
    ((network,), _) = load_records(tmp_path / "network.pt")
    wrong = "trained, network 0: reads images of 100 and those of mnist are 1 x 28 x 28"
    remedy = "leave the data set out, because none here has such images; network_analysis.py, "
    with pytest.raises(InputError, match=f"^{wrong}; {remedy}"):
        network.load(False, tmp_path / "nowhere")
    save_checkpoint(tmp_path / "network.pt", initial_model((2 * 784, 3, 2), 0), dataset="mnist", classes=(3, 5))
    ((network,), _) = load_records(tmp_path / "network.pt")
    wrong = "trained, network 0: reads images of 1568 and those of mnist are 1 x 28 x 28"
    with pytest.raises(InputError, match=f"^{wrong}; name its own --dataset, or save it without one$"):
        network.load(False, tmp_path / "nowhere")


def test_a_record_tells_what_is_derived_from_it():
    network = Network(
        initial_model(SIZES, 0), DataSet("mnist", (8, 1)), "dropout 0.5", 3, 7, "glorot", {"lr": 0.1}, (0,)
    )
    assert (network.name, network.identity) == ("dropout 0.5, network 3", {"condition": "dropout 0.5", "network": 3})
    for weight, strength, own in zip(network.weights, network.strengths, network.model.weights, strict=True):
        assert torch.equal(weight, own) and torch.equal(strength, own.abs())
        assert not weight.requires_grad and not strength.requires_grad
    before = network.untrained(5, 11)
    assert equal(before.model, initial_model(SIZES, 11, "glorot"))
    assert (before.condition, before.number, before.seed, before.init) == ("random initialisation", 5, 11, "glorot")
    assert (before.data, before.hyperparameters, before.groups) == (network.data, {}, None)
    assert equal(network.model, initial_model(SIZES, 0))


def test_networks_that_are_the_same_are_refused_by_name():
    data = DataSet("mnist", (8, 1))
    networks = [Network(initial_model(SIZES, seed), data, number=seed) for seed in (0, 1)]
    refuse_twins(networks)
    bias = Network(initial_model(SIZES, 0), data, number=2)
    bias.model.biases[1].data[0] += 1e-3
    refuse_twins([*networks, bias])
    twin = Network(initial_model(SIZES, 1), data, condition="other", number=4)
    with pytest.raises(InputError, match="trained, network 1 and other, network 4 are the same and would count twice"):
        refuse_twins([*networks, twin])
    assert equal(MLP(SIZES), networks[0].model) is False


def convolved(*layers):
    return initial_model(Architecture((1, 28, 28), layers), 0)


POOLED = (("MaxPool2d", (("kernel_size", 2),)),)
DIFFERENCES = [
    ({"model": convolved(Layer(3, (3, 3)), Layer(2))}, "layers"),
    ({"model": convolved(Layer(4, (3, 2)), Layer(2))}, "kernels or poolings"),
    ({"model": convolved(Layer(4, (3, 3), padding=(1, 1)), Layer(2))}, "kernels or poolings"),
    ({"model": convolved(Layer(4, (3, 3)), Layer(2, pools=POOLED))}, "kernels or poolings"),
    ({"data": DataSet("mnist", (1, 8))}, "classes"),
    ({"data": DataSet("fashion", (8, 1))}, "data sets"),
    ({"data": DataSet("mnist", (8, 1), ((0.5, 0.5),))}, "normalisation of images"),
    ({"init": "glorot"}, "initial weights"),
]


@pytest.mark.parametrize("change, what", DIFFERENCES)
def test_what_networks_differ_in_is_named(change, what):
    network = Network(convolved(Layer(4, (3, 3)), Layer(2)), DataSet("mnist", (8, 1)))
    alike = replace(network, condition="other", number=4, seed=7, hyperparameters={"lr": 1})
    refuse_different([network, alike])
    with pytest.raises(InputError, match=f"^trained and new differ in their {what}, .*; compare them in runs of their"):
        refuse_different([network, alike, replace(network, condition="new", **change)])
