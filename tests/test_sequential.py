"""Own networks: what a Sequential of PyTorch computes, its Network computes; what is not understood is refused."""

import copy
from collections import OrderedDict
from dataclasses import replace

import numpy
import pytest
import torch
from conftest import call, succeed
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import ABLATION, CLUSTERING, RECOVERY, table
from test_bad_input import sentence_of
from torch import nn
from torch.nn.utils import prune
from torchvision.models.vgg import cfgs, make_layers

from mlp import InputError
from mlp.architecture import dense
from mlp.data import DataSet
from mlp.network import load_records, refuse_different
from mlp.sequential import network_of, save_network
from modularity.centrality import betweenness
from modularity.clusterability import CONVOLUTIONS, WITH_PIXELS
from modularity.clustering import n_cut, spectral_clusters
from modularity.graph import weight_adjacency


def lively(module, input_shape, seed=0):
    """Random weights, and where there is batch normalisation, statistics of a few batches and random affine maps."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / max(1, parameter[0].numel()) ** 0.5)
        module.train()
        for _ in range(3):
            module(1 + 2 * torch.randn(16, *input_shape, generator=generator))
    return module


def assert_equal_outputs(module, input_shape, seed=0):
    """Also of images with negative pixels; and the module is as it was, in its mode, too."""
    lively(module, input_shape, seed)
    before = copy.deepcopy(module)
    network = network_of(module, input_shape)
    assert module.training
    states = module.state_dict(), before.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert all(parameter.requires_grad and parameter.grad is None for parameter in module.parameters())
    images = torch.randn(9, *input_shape, generator=torch.Generator().manual_seed(seed + 1))
    with torch.no_grad():
        expected = before.eval()(images)
    torch.testing.assert_close(network.model(images.flatten(1)), expected, rtol=1e-5, atol=1e-5)
    assert network.data == DataSet(None, tuple(range(expected.shape[1])))
    return network


def test_torchvision_s_vgg_is_understood():
    """The convolutions of VGG-11 with batch normalisation, as torchvision makes them, with one layer behind them."""
    features = make_layers(cfgs["A"], batch_norm=True)
    module = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))
    network = assert_equal_outputs(module, (3, 64, 64))
    assert network.model.sizes == (3, 64, 128, 256, 256, *4 * [512], 10)
    first, *_, last = betweenness(network.strengths)
    assert not first.any() and not last.any()
    adjacency = weight_adjacency(network.strengths)
    assert 1 < n_cut(adjacency, spectral_clusters(adjacency, k=12, seed=0)) < 12


SHARED = nn.ReLU()
MODULES = {
    "neurons": ((6,), lambda: [nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 3)]),
    "flattened": ((2, 3, 4), lambda: [nn.Flatten(), nn.Linear(24, 5), nn.ReLU(), nn.Linear(5, 3)]),
    "nested": (
        (1, 9, 8),
        lambda: [
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())),
            nn.Sequential(nn.MaxPool2d(2), nn.Identity()),
            nn.Sequential(nn.Sequential(nn.Flatten(), nn.Dropout(0.5)), nn.Linear(36, 3)),
        ],
    ),
    "strides": (
        (3, 11, 10),
        lambda: [
            nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0)),
            nn.ReLU(),
            nn.Conv2d(4, 5, 3, stride=2, bias=False),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(40, 4),
        ],
    ),
    "same and valid": (
        (2, 8, 9),
        lambda: [
            nn.Conv2d(2, 3, (3, 5), padding="same", dilation=(2, 1)),
            nn.ReLU(),
            nn.Conv2d(3, 3, 2, padding="valid"),
            nn.ReLU(),
            nn.Conv2d(3, 2, 2, padding="same", dilation=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(112, 3),
        ],
    ),
    "groups": (
        (4, 7, 7),
        lambda: [
            nn.Conv2d(4, 6, 3, groups=2, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, groups=6, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(54, 2),
        ],
    ),
    "maxima before ReLU": (
        (1, 10, 10),
        lambda: [
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4, affine=False),
            nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
            nn.ReLU(),
            nn.Conv2d(4, 3, 3),
            nn.AdaptiveMaxPool2d((2, 1)),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(6, 3),
        ],
    ),
    "averages": (
        (1, 12, 11),
        lambda: [
            nn.Conv2d(1, 3, 3),
            nn.ReLU(),
            nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False, ceil_mode=True),
            nn.Conv2d(3, 4, 2),
            nn.ReLU(),
            nn.AvgPool2d(2, stride=1, divisor_override=3),
            nn.AdaptiveAvgPool2d((None, 2)),
            nn.Flatten(),
            nn.Linear(32, 3),
        ],
    ),
    "two poolings and two ReLUs": (
        (1, 12, 12),
        lambda: [
            nn.Conv2d(1, 3, 3),
            nn.MaxPool2d(2, dilation=2, stride=1),
            nn.ReLU(),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Dropout2d(),
            nn.Flatten(),
            nn.Linear(48, 5),
            nn.ReLU(),
            nn.Linear(5, 3),
        ],
    ),
    "pooled images": (
        (2, 8, 8),
        lambda: [nn.AvgPool2d(2), nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)],
    ),
    "other ways to say the same": (
        (1, 8, 8),
        lambda: [
            nn.Conv2d(1, 4, numpy.int64(3), padding="valid", padding_mode="reflect"),
            nn.ReLU(),
            nn.MaxPool2d([numpy.int64(2), 2]),
            nn.Flatten(1, 3),
            nn.Flatten(-1, 1),
            nn.Linear(36, numpy.int64(3)),
        ],
    ),
    "norms of neurons": (
        (6,),
        lambda: [
            nn.Linear(6, 5, bias=False),
            nn.Dropout(),
            nn.BatchNorm1d(5, eps=0.1),
            nn.ReLU(),
            nn.Linear(5, 4),
            nn.BatchNorm1d(4, affine=False, momentum=None),
            nn.ReLU(),
            nn.Linear(4, 3),
            nn.BatchNorm1d(3),
        ],
    ),
    "one ReLU in two places": (
        (6,),
        lambda: [nn.Linear(6, 5), SHARED, nn.Linear(5, 4), SHARED, nn.Linear(4, 3)],
    ),
}


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_sequential_computes_what_its_network_does(name, seed):
    input_shape, layers = MODULES[name]
    assert_equal_outputs(nn.Sequential(*layers()), input_shape, seed)


def test_a_layer_in_two_places_is_two_layers():
    """`named_children` names it once."""
    linear, pool = nn.Linear(5, 5), nn.MaxPool2d(3, 1, 1)
    assert_equal_outputs(nn.Sequential(linear, nn.ReLU(), linear, nn.ReLU(), nn.Linear(5, 3)), (5,))
    shared = nn.Conv2d(1, 3, 3), nn.ReLU(), pool, nn.Conv2d(3, 3, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(48, 3)
    assert_equal_outputs(nn.Sequential(*shared), (1, 8, 8))


@st.composite
def sequentials(draw):
    """Random stacks of what is understood: (layers, input_shape)."""
    shape = channels, height, width = draw(st.tuples(st.integers(1, 3), st.integers(5, 9), st.integers(5, 9)))
    layers, sides = [], [height, width]
    for _ in range(draw(st.integers(0, 2))):
        groups = draw(st.sampled_from([one for one in (1, channels) if channels % one == 0]))
        units = groups * draw(st.integers(1, 3))
        kernel = [draw(st.integers(1, min(3, side))) for side in sides]
        kind = draw(st.sampled_from(["ints", "valid", "same"]))
        if kind == "same":
            kernel, stride, padding = (
                [2 * (size // 2) + 1 if side > 2 else 1 for size, side in zip(kernel, sides)],
                1,
                kind,
            )
        else:
            stride = draw(st.integers(1, 2))
            padding = draw(st.integers(0, min(kernel) // 2)) if kind == "ints" else kind
        bias = draw(st.booleans())
        layers.append(nn.Conv2d(channels, units, tuple(kernel), stride, padding, groups=groups, bias=bias))
        if draw(st.booleans()):
            layers.append(nn.BatchNorm2d(units, affine=draw(st.booleans())))
        sides = sides_after(layers, shape)
        pool = draw(st.sampled_from(["none", "max first", "max", "average", "adaptive"]))
        if min(sides) < 2:
            pool = "none"
        layers += [nn.MaxPool2d(2)] if pool == "max first" else []
        layers.append(nn.ReLU())
        layers += {
            "max": [nn.MaxPool2d(2, 1)],
            "average": [nn.AvgPool2d(2)],
            "adaptive": [nn.AdaptiveAvgPool2d(2)],
        }.get(pool, [])
        channels = units
        sides = sides_after(layers, shape)
        layers += [nn.Dropout2d()] if draw(st.booleans()) else []
    layers += [nn.Flatten()]
    inputs = channels * sides[0] * sides[1]
    for _ in range(draw(st.integers(0 if len(layers) > 1 else 1, 2))):
        units = draw(st.integers(1, 5))
        layers.append(nn.Linear(inputs, units, bias=draw(st.booleans())))
        layers += [nn.BatchNorm1d(units, affine=draw(st.booleans()))] if draw(st.booleans()) else []
        layers += [nn.ReLU(), nn.Dropout()]
        inputs = units
    layers.append(nn.Linear(inputs, draw(st.integers(2, 4))))
    if draw(st.booleans()):  # some of them nested
        cut = draw(st.integers(0, len(layers)))
        layers = [nn.Sequential(*layers[:cut]), *layers[cut:]] if cut else layers
    return layers, shape


def sides_after(layers, shape):
    """The height and width of what some layers make of images."""
    return list(nn.Sequential(*layers).eval()(torch.zeros(1, *shape)).shape[2:])


@settings(max_examples=60)
@given(sequentials(), st.integers(0, 10**6))
def test_any_sequential_computes_what_its_network_does(drawn, seed):
    layers, shape = drawn
    assert_equal_outputs(nn.Sequential(*layers), shape, seed)


# What joins units


def test_strengths_of_hand_worked_kernels():
    """A kernel of two slices in each norm; then a flattened channel, whose edge is the sum over its positions."""
    module = nn.Sequential(nn.Conv2d(2, 1, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[[[1.0, -2.0], [3.0, 0.5]], [[0.0, 4.0], [-1.0, -1.0]]]]))
        module[3].weight.copy_(torch.tensor([[1.0, -2.0, 3.0, -4.0], [0.0, 0.5, 0.0, 0.0]]))
        module[5].weight.copy_(torch.tensor([[1.0, -1.0], [-0.25, 0.0]]))
    network = network_of(module, (2, 3, 3))
    expected = {
        "sum": ([[6.5, 6.0]], [[10.0], [0.5]], [[1.0, 1.0], [0.25, 0.0]]),
        # columns of the 2 x 2 slices: 1 + 3 and 2 + 0.5; 0 + 1 and 4 + 1; of the map (1, -2; 3, -4): 1 + 3 and 2 + 4
        "column": ([[4.0, 5.0]], [[6.0], [0.5]], [[1.0, 1.0], [0.25, 0.0]]),
    }
    for norm, strengths in expected.items():
        assert [strength.tolist() for strength in replace(network, norm=norm).strengths] == list(strengths)


def test_strengths_of_a_normalised_layer_are_those_of_what_it_multiplies():
    """Of a variance of 4 and a gamma of -3, weights are 1.5 times as strong."""
    module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        module[0].weight.fill_(5.0)
        module[1].weight.fill_(-3.0)
        module[1].running_var.fill_(4.0)
    assert network_of(module, (1, 2, 2)).strengths[0].item() == pytest.approx(7.5)


def test_groups_of_a_convolution_share_no_edge():
    layers = nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2)
    network = network_of(nn.Sequential(*layers), (4, 4, 4))
    weight = network.weights[0]
    assert weight.shape == (6, 4, 3, 3)
    assert not weight[:3, 2:].any() and not weight[3:, :2].any()
    assert torch.equal(weight[:3, :2], layers[0].weight[:3].detach())
    assert torch.equal(weight[3:, 2:], layers[0].weight[3:].detach())


# Files


OWN = nn.Sequential(
    nn.Conv2d(1, 4, 3, stride=2),
    nn.BatchNorm2d(4),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(4, 3, 3, padding=1),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d((3, None)),
    nn.Flatten(),
    nn.Linear(54, 5),
    nn.ReLU(),
    nn.Linear(5, 3),
)


@pytest.mark.parametrize(
    "known", [{}, {"classes": (7, 0, 5), "dataset": "fashion"}, {"classes": [1, 2, 3], "dataset": "mnist"}]
)
def test_a_saved_network_is_loaded_as_it_is(tmp_path, known):
    module = lively(OWN, (1, 28, 28))
    network = network_of(module, (1, 28, 28), **known)
    save_network(tmp_path / "mine.pt", module, (1, 28, 28), **known)
    ((loaded,), about) = load_records(tmp_path / "mine.pt")
    assert loaded.data == network.data == DataSet(known.get("dataset"), tuple(known.get("classes", range(3))))
    assert loaded.model.architecture == network.model.architecture
    assert all(torch.equal(*pair) for pair in zip(loaded.model.parameters(), network.model.parameters(), strict=True))
    images = torch.rand(4, 784)
    assert torch.equal(loaded.model(images), network.model(images))
    content = torch.load(tmp_path / "mine.pt", weights_only=True)
    assert set(content) == {"networks", "about"} and type(content["about"]) is str
    assert "groups" not in about


@pytest.mark.parametrize("name", MODULES)
def test_what_is_understood_can_be_saved(tmp_path, name):
    input_shape, layers = MODULES[name]
    module = lively(nn.Sequential(*layers()), input_shape)
    save_network(tmp_path / "mine.pt", module, input_shape)
    assert only(tmp_path / "mine.pt").model.architecture == network_of(module, input_shape).model.architecture


def test_networks_before_training_have_the_groups_of_a_convolution():
    """And weights of the size that PyTorch gives those of its grouped convolutions."""
    groups, channels = 3, 24
    grouped = nn.Conv2d(channels, 2 * channels, 3, groups=groups)
    module = nn.Sequential(grouped, nn.ReLU(), nn.Flatten(), nn.Linear(2 * channels * 36, 3))
    network = network_of(module, (channels, 8, 8))
    before = network.untrained(0, seed=7)
    assert (network.strengths[0] > 0).equal(before.strengths[0] > 0)
    assert int((before.strengths[0] > 0).sum()) == channels * 2 * channels // groups
    for own, drawn in zip(module[0].parameters(), before.model.layers[0].parameters()):
        assert drawn.abs().max().item() == pytest.approx(own.abs().max().item(), rel=0.05)
    assert not torch.equal(before.weights[0], network.weights[0])


def only(path, **known):
    """The one network of a file, as it is loaded where so much is said of it."""
    ((network,), _) = load_records(path, **known)
    return network


def test_what_is_not_known_of_a_network_can_be_said_later(tmp_path):
    """Of images that are named, all ten classes are meant unless they are named, too."""
    path = tmp_path / "mine.pt"
    save_network(path, OWN, (1, 28, 28))
    assert only(path).data == DataSet(None, (0, 1, 2))
    assert only(path, classes=(3, 5, 7), dataset="mnist").data == DataSet("mnist", (3, 5, 7))
    assert only(path, classes=(6, 0, 1)).data == DataSet(None, (6, 0, 1))
    with pytest.raises(InputError, match="mine.pt: does not say what its 3 outputs stand for; .* with --classes"):
        load_records(path, dataset="kmnist")
    with pytest.raises(InputError, match="--classes 1,2: .*mine.pt has 3 outputs"):
        load_records(path, classes=(1, 2), dataset="kmnist")


def test_what_is_said_of_a_network_cannot_be_denied_later(tmp_path):
    path = tmp_path / "mine.pt"
    save_network(path, OWN, (1, 28, 28), classes=(7, 0, 5))
    assert only(path, dataset="fashion").data == DataSet("fashion", (7, 0, 5))
    with pytest.raises(InputError, match="--classes 1,2,3: .*mine.pt was trained on 7,0,5"):
        load_records(path, classes=(1, 2, 3))
    save_network(path, OWN, (1, 28, 28), classes=(7, 0, 5), dataset="fashion")
    with pytest.raises(InputError, match="--dataset mnist: .*mine.pt was trained on fashion"):
        load_records(path, dataset="mnist")


def wide(outputs):
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, outputs))


def test_a_network_of_many_outputs_can_be_saved(tmp_path):
    """More than ten, of images that are not known here; classes of those that are have to be named."""
    path = tmp_path / "mine.pt"
    save_network(path, wide(12), (5,))
    network = only(path)
    assert (network.model.sizes, network.data) == ((5, 4, 12), DataSet(None, tuple(range(12))))
    with pytest.raises(
        InputError, match="mine.pt: does not say what its 12 outputs stand for; leave --dataset out, because"
    ):
        load_records(path, dataset="kmnist")
    with pytest.raises(InputError, match="--classes 0,1,.*mine.pt has 12 outputs; leave --classes and --dataset out"):
        load_records(path, classes=tuple(range(10)))
    with pytest.raises(InputError, match="reads images of 5, which no --dataset has; network_analysis.py"):
        network.load(False, tmp_path)
    with pytest.raises(InputError, match="the network has 12 outputs; give no dataset, because"):
        save_network(path, wide(12), (5,), dataset="mnist")


def test_of_a_data_set_all_ten_classes_are_meant(tmp_path):
    module = nn.Sequential(nn.Linear(784, 4), nn.ReLU(), nn.Linear(4, 10))
    save_network(tmp_path / "mine.pt", module, (784,), dataset="mnist")
    assert only(tmp_path / "mine.pt").data == DataSet("mnist", tuple(range(10)))


def test_images_that_are_flattened_are_those_of_a_dense_network(tmp_path):
    layers = nn.Linear(784, 4), nn.ReLU(), nn.Linear(4, 3)
    save_network(tmp_path / "flat.pt", nn.Sequential(*layers), (784,))
    save_network(tmp_path / "square.pt", nn.Sequential(nn.Flatten(), *layers), (1, 28, 28))
    flat, square = (only(tmp_path / name) for name in ("flat.pt", "square.pt"))
    assert flat.model.architecture == square.model.architecture == dense((784, 4, 3))
    refuse_different([flat, square])


def spoiled(change):
    """The network OWN after a change."""
    module = copy.deepcopy(OWN)
    with torch.no_grad():
        change(module)
    return module


@pytest.mark.parametrize(
    "module, words",
    [
        (nn.Sequential(*OWN[:-2], nn.ReLU(), nn.Linear(5, 1)), "networks of one output are not understood"),
        (spoiled(lambda module: module[0].weight[0, 0, 0, 0].fill_(torch.nan)), "NaN or infinite"),
        (spoiled(lambda module: module[4].bias[2].fill_(torch.inf)), "NaN or infinite"),
        (spoiled(lambda module: module[1].running_var[1].fill_(-1)), "NaN or infinite"),
    ],
    ids=["one output", "a weight", "a bias", "a variance"],
)
def test_nothing_is_saved_of_what_is_refused(tmp_path, module, words):
    with pytest.raises(InputError) as error:
        save_network(tmp_path / "mine.pt", module, (1, 28, 28))
    assert words in sentence(error)
    assert not list(tmp_path.iterdir())


# Scripts


@pytest.fixture
def large(tmp_path):
    """A function that saves a network of images of 3 x 32 x 32: the path of its file."""

    def saved(**known):
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, bias=False),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(24, 5),
            nn.ReLU(),
            nn.Linear(5, 3),
        )
        save_network(tmp_path / "mine.pt", module, (3, 32, 32), **known)
        return tmp_path / "mine.pt"

    return saved


def test_a_network_of_unknown_images_can_be_seen_as_a_graph(large, tmp_path):
    path, where = large(), ("--figures-dir", tmp_path)
    assert "candidates" in succeed("network_analysis.py", path, *where).stdout
    assert len(table(tmp_path / "centralities.csv")) == 3 + 4 + 6 + 5 + 3
    done = succeed(CLUSTERING, path, "--clusters", 2, "--shuffles", 2, "--jobs", 1, *where)
    assert "Verdict" in done.stdout
    assert {row["graph"] for row in table(tmp_path / "clusterability.csv")} == {CONVOLUTIONS, WITH_PIXELS}
    done = succeed(RECOVERY, path, "--definitions", "weights", "--clusters", "2,3", "--jobs", 1, *where)
    assert "agreement where nothing is planted" in done.stdout
    assert {"weights, global", "weights, local"} < {
        row["definition"] for row in table(tmp_path / "recovery_agreement.csv")
    }


def test_a_network_is_refused_where_images_are_read_that_it_cannot_read(large, tmp_path):
    """And no remedy is named that leads to the next refusal: no data set has such images."""
    where = "--figures-dir", tmp_path / "new", "--jobs", 1
    remedy = "network_analysis.py, are_modules_clusterable.py without --lesions"
    said = sentence_of(call(ABLATION, large(), *where))
    assert f"reads images of 3 x 32 x 32, which no --dataset has; {remedy}" in said
    said = sentence_of(call(ABLATION, large(classes=(3, 5, 7)), "--dataset", "mnist", *where))
    assert "reads images of 3 x 32 x 32 and those of mnist are 1 x 28 x 28; leave the data set out, " in said
    assert f"because none here has such images; {remedy}" in said
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="those of mnist are 1 x 28 x 28; leave the data set out"):
        large(dataset="mnist", classes=(3, 5, 7))


# What is not understood


class VGG(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
        self.classifier = nn.Linear(108, 3)

    def forward(self, images):
        return self.classifier(self.features(images).flatten(1))


class Own(nn.Linear):
    """Looks like a Linear and computes something else."""

    def forward(self, values):
        return super().forward(values) ** 2


IMAGE = (1, 8, 8)


def convolved(*layers, flat=108):
    """Layers behind a convolution that makes maps of 3 x 6 x 6, and what comes last."""
    return nn.Sequential(nn.Conv2d(1, 3, 3), *layers, nn.Flatten(), nn.Linear(flat, 3))


def within(*layers):
    """Layers behind one of 4 neurons, and what comes last."""
    return nn.Sequential(nn.Linear(64, 4), *layers, nn.ReLU(), nn.Linear(4, 3))


def pruned():
    """Weights that are made on the way, as pruning does, which keeps a mask and applies it before each pass."""
    module = within()
    prune.l1_unstructured(module[0], "weight", 0.5)
    return module


def imaginary():
    module = within()
    module[0].weight = nn.Parameter(module[0].weight.detach().to(torch.complex64))
    return module


def replaced():
    """A ReLU that does something else."""
    module = within()
    module[1].forward = torch.sigmoid
    return module


REFUSED = {
    "no Sequential": (VGG(), IMAGE, "VGG"),
    "nested no Sequential": (nn.Sequential(VGG(), nn.ReLU(), nn.Linear(3, 2)), IMAGE, "layer 0 (VGG)"),
    "a list": (nn.ModuleList([nn.Linear(5, 3)]), (5,), "ModuleList"),
    "Sigmoid": (within(nn.Sigmoid()), (64,), "layer 1 (Sigmoid): is not understood"),
    "LeakyReLU": (convolved(nn.LeakyReLU()), IMAGE, "layer 1 (LeakyReLU)"),
    "Sigmoid in between": (within(nn.Sigmoid()), (64,), "the one activation that is, ReLU, makes another network"),
    "GELU": (within(nn.GELU()), (64,), "layer 1 (GELU): is not understood; the one activation that is"),
    "ELU at the end": (nn.Sequential(*within(), nn.ELU()), (64,), "the one activation that is"),
    "Softmax over images": (nn.Sequential(*within(), nn.Softmax(0)), (64,), "the one activation that is"),
    "Softmax": (nn.Sequential(*within(), nn.Softmax(1)), (64,), "layer 3 (Softmax)"),
    "a subclass": (nn.Sequential(nn.Linear(64, 4), nn.ReLU(), Own(4, 3)), (64,), "layer 2 (Own)"),
    "a nested subclass": (
        nn.Sequential(nn.Sequential(nn.Linear(64, 4), nn.ReLU()), nn.Sequential(Own(4, 3))),
        (64,),
        "layer 1.0 (Own)",
    ),
    "no ReLU": (
        nn.Sequential(nn.Linear(64, 4), nn.Dropout(), nn.Linear(4, 3)),
        (64,),
        "layer 2 (Linear): has no ReLU between it and the Linear before it; both are one",
    ),
    "no ReLU behind maps": (convolved(nn.MaxPool2d(2), flat=27), IMAGE, "layer 3 (Linear): has no ReLU between"),
    "no Flatten": (
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Linear(6, 3)),
        IMAGE,
        "layer 2 (Linear): reads maps",
    ),
    "no Flatten of images": (
        nn.Sequential(nn.Linear(8, 3), nn.ReLU(), nn.Linear(3, 2)),
        IMAGE,
        "layer 0 (Linear): reads maps",
    ),
    "half a Flatten": (convolved(nn.ReLU(), nn.Flatten(2)), IMAGE, "layer 2 (Flatten): flattens some dimensions only"),
    "a Flatten of two sides": (
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(1, 2), nn.Linear(6, 3)),
        IMAGE,
        "layer 2 (Flatten): flattens some dimensions only",
    ),
    "a convolution behind Flatten": (
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Conv2d(108, 3, 1), nn.ReLU(), nn.Linear(3, 3)),
        IMAGE,
        "layer 3 (Conv2d): reads maps, and is given flat values",
    ),
    "a convolution of what is flat": (convolved(nn.ReLU()), (64,), "layer 0 (Conv2d): reads maps, and input_shape is"),
    "a norm behind ReLU": (
        convolved(nn.ReLU(), nn.BatchNorm2d(3)),
        IMAGE,
        "layer 2 (BatchNorm2d): is understood only right behind",
    ),
    "a norm of images": (
        nn.Sequential(nn.BatchNorm2d(1), *convolved(nn.ReLU())),
        IMAGE,
        "layer 0 (BatchNorm2d): is understood only right behind",
    ),
    "a norm behind pooling": (
        convolved(nn.MaxPool2d(2), nn.BatchNorm2d(3), nn.ReLU()),
        IMAGE,
        "layer 2 (BatchNorm2d): is understood only right behind",
    ),
    "two norms": (
        convolved(nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.ReLU()),
        IMAGE,
        "layer 2 (BatchNorm2d): is understood only right behind",
    ),
    "a norm of each batch": (
        convolved(nn.BatchNorm2d(3, track_running_stats=False), nn.ReLU()),
        IMAGE,
        "layer 1 (BatchNorm2d): has no running mean",
    ),
    "another norm": (convolved(nn.GroupNorm(1, 3), nn.ReLU()), IMAGE, "layer 1 (GroupNorm)"),
    "a ReLU on the images": (nn.Sequential(nn.ReLU(), *within()), (64,), "layer 0 (ReLU): comes before all units"),
    "a pooled image of neurons": (
        nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3), nn.ReLU(), nn.Linear(3, 2)),
        IMAGE,
        "layer 2 (Linear): reads a pooled image",
    ),
    "an average before ReLU": (
        convolved(nn.AvgPool2d(2), nn.ReLU(), flat=27),
        IMAGE,
        "layer 2 (ReLU): comes behind an average",
    ),
    "averages before ReLU": (
        convolved(nn.AdaptiveAvgPool2d(1), nn.Dropout(), nn.ReLU(), flat=3),
        IMAGE,
        "layer 3 (ReLU): comes behind an average",
    ),
    "circular padding": (
        nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1, padding_mode="circular"), nn.ReLU(), nn.Flatten(), nn.Linear(192, 3)
        ),
        IMAGE,
        "layer 0 (Conv2d)",
    ),
    "uneven padding": (
        nn.Sequential(nn.Conv2d(1, 3, (3, 2), padding="same"), nn.ReLU(), nn.Flatten(), nn.Linear(192, 3)),
        IMAGE,
        "layer 0 (Conv2d)",
    ),
    "small images": (convolved(nn.ReLU()), (1, 2, 8), "layer 0 (Conv2d): does not fit images of 1 x 2 x 8"),
    "small maps": (
        convolved(nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 3, 5), nn.ReLU(), flat=3),
        IMAGE,
        "layer 3 (Conv2d)",
    ),
    "small pools": (convolved(nn.ReLU(), nn.MaxPool2d(7), flat=3), IMAGE, "layer 2 (MaxPool2d): does not fit maps of"),
    "wide pools": (
        convolved(nn.ReLU(), nn.MaxPool2d((2, 2), padding=(0, 5)), flat=3),
        IMAGE,
        "layer 2 (MaxPool2d): does not fit maps of",
    ),
    "other images": (convolved(nn.ReLU()), (1, 9, 8), "layer 3 (Linear): reads 108 inputs and is given 126"),
    "other channels": (convolved(nn.ReLU()), (3, 8, 8), "layer 0 (Conv2d): reads 1 inputs and is given 3"),
    "other features": (
        nn.Sequential(nn.Linear(64, 4), nn.ReLU(), nn.Linear(5, 3)),
        (64,),
        "layer 2 (Linear): reads 5 inputs",
    ),
    "other inputs": (within(), (63,), "layer 0 (Linear): reads 64 inputs"),
    "places of maxima": (
        convolved(nn.ReLU(), nn.MaxPool2d(2, return_indices=True), flat=27),
        IMAGE,
        "layer 2 (MaxPool2d): returns indices",
    ),
    "pooling of neurons": (within(nn.MaxPool2d(2)), (64,), "layer 1 (MaxPool2d): reads maps, and is given flat values"),
    "pooling behind Flatten": (
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.MaxPool2d(2), nn.Linear(27, 3)),
        IMAGE,
        "layer 3 (MaxPool2d): reads maps, and is given flat values",
    ),
    "pooling of the outputs": (
        nn.Sequential(*within(), nn.MaxPool2d(2)),
        (64,),
        "layer 3 (MaxPool2d): reads maps, and is given flat values",
    ),
    "an unknown size": (nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, 3)), (64,), "layer 0 (LazyLinear)"),
    "a transposed one": (convolved(nn.ReLU(), nn.ConvTranspose2d(3, 3, 1)), IMAGE, "layer 2 (ConvTranspose2d)"),
    "weights that are pruned": (pruned(), (64,), "prune.remove(model.eval().get_submodule(name), \"weight\")"),
    "no numbers": (within().to("meta"), (64,), "layer 0 (Linear): has no numbers (it is on the device meta)"),
    "nothing at a place": (nn.Sequential(OrderedDict(z=None)), (64,), "layer z (NoneType): is not understood"),
    "complex weights": (imaginary(), (64,), "layer 0 (Linear): has complex weights"),
    "a division by less than nothing": (
        convolved(nn.ReLU(), nn.AvgPool2d(2, divisor_override=-1), flat=27),
        IMAGE,
        "layer 2 (AvgPool2d): divides by a negative number",
    ),
    "a forward pass of its own": (replaced(), (64,), "layer 1 (ReLU): has a forward of its own"),
    # of the network as a whole
    "nothing": (nn.Sequential(), (64,), "hidden units"),
    "no hidden units": (nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), IMAGE, "hidden units"),
    "ReLU at the end": (nn.Sequential(*within(), nn.ReLU()), (64,), "at its end"),
    "Conv2d at the end": (nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 6)), IMAGE, "at its end"),
}


def sentence(error):
    """What an InputError says: what is wrong and, after a semicolon, what to do; or what is needed."""
    said = str(error.value)
    assert len(said.splitlines()) == 1 and ". " not in said and not said.endswith(".")
    assert "; " in said or "needs" in said
    return said


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_refused(name):
    module, input_shape, words = REFUSED[name]
    with pytest.raises(InputError) as error:
        network_of(module, input_shape)
    assert words in sentence(error)


def remedies(module, input_shape):
    """What is said of a network that is refused, and where it is code, the code."""
    with pytest.raises(InputError) as error:
        network_of(module, input_shape)
    said = sentence(error)
    starts = [said.index(start) for start in ("for name in", "for parameter in") if start in said]
    return said, said[min(starts, default=len(said)) :]


def outputs_of(module, count=9):
    with torch.no_grad():
        return module.eval()(torch.rand(count, 64, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("kind", [nn.Softmax(1), nn.Softmax(-1), nn.LogSoftmax(1), nn.Sigmoid(), nn.Tanh()])
@pytest.mark.parametrize("behind", [(), (nn.Dropout(), nn.Identity())])
def test_what_changes_no_reading_at_the_end_can_be_left_out(kind, behind):
    module = nn.Sequential(*within(), kind, *behind)
    said, _ = remedies(module, (64,))
    assert "leave it out, which changes no reading: the largest output stays the largest" in said
    assert torch.equal(outputs_of(module).argmax(1), outputs_of(module[:3]).argmax(1))
    assert network_of(module[:3], (64,)).model.sizes == (64, 4, 3)


def test_a_relu_at_the_end_can_be_left_out_where_an_output_is_above_0():
    module = nn.Sequential(*within(), nn.ReLU())
    said, _ = remedies(module, (64,))
    assert "leave it out, and the largest output stays the largest wherever one is above 0" in said
    above = outputs_of(module).amax(1) > 0
    assert above.any()
    assert torch.equal(outputs_of(module)[above].argmax(1), outputs_of(module[:3])[above].argmax(1))


@pytest.mark.parametrize("between", [(), (nn.Dropout(),)])
def test_two_linear_layers_with_nothing_between_are_one(between):
    module = nn.Sequential(nn.Linear(64, 7), *between, nn.Linear(7, 4), nn.ReLU(), nn.Linear(4, 3))
    said, _ = remedies(module, (64,))
    assert "of weight second.weight @ first.weight, bias second.weight @ first.bias + second.bias" in said
    first, second = module[0], module[1 + len(between)]
    one = nn.Linear(64, 4)
    with torch.no_grad():
        one.weight.copy_(second.weight @ first.weight)
        one.bias.copy_(second.weight @ first.bias + second.bias)
    module, expected = nn.Sequential(one, *module[2 + len(between) :]), outputs_of(module)
    torch.testing.assert_close(outputs_of(module), expected)
    assert network_of(module, (64,)).model.sizes == (64, 4, 3)


def test_a_convolution_of_whole_maps_at_the_end_is_a_linear_layer():
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 6))
    said, _ = remedies(module, IMAGE)
    assert "put Flatten() and a Linear of its weight.flatten(1) in its place" in said
    last = nn.Linear(108, 2)
    with torch.no_grad():
        last.weight.copy_(module[2].weight.flatten(1))
        last.bias.copy_(module[2].bias)
    images = torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(
        network_of(nn.Sequential(*module[:2], nn.Flatten(), last), IMAGE).model(images.flatten(1)),
        module(images).flatten(1).detach(),
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_the_remedy_for_one_output_works(bias, nested):
    last = nn.Sequential(nn.Linear(4, 1, bias=bias)) if nested else nn.Linear(4, 1, bias=bias)
    module = nn.Sequential(nn.Linear(64, 4), nn.ReLU(), last)
    said, code = remedies(module, (64,))
    assert said.startswith("networks of one output are not understood")
    expected = outputs_of(module).sigmoid()
    exec(code, {"torch": torch, "model": module})
    assert network_of(module, (64,), (0, 1)).model.sizes == (64, 4, 2)
    torch.testing.assert_close(outputs_of(module).softmax(1)[:, 1:], expected)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "change",
    [
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
        lambda layer: torch.nn.utils.weight_norm(layer),
        lambda layer: torch.nn.utils.spectral_norm(layer),
        torch.nn.utils.parametrizations.weight_norm,
        torch.nn.utils.parametrizations.spectral_norm,
    ],
    ids=["pruning", "old weight_norm", "old spectral_norm", "weight_norm", "spectral_norm"],
)
def test_the_remedy_for_weights_that_are_computed_works(change):
    module = nn.Sequential(nn.Sequential(nn.Linear(64, 4), nn.ReLU()), nn.Linear(4, 3))
    change(module[0][0])
    change(module[1])
    said, code = remedies(module, (64,))
    assert said.startswith("its weights are computed anew in each pass (0.0.")
    expected = outputs_of(module)
    exec(code, {"torch": torch, "model": module})
    images = torch.rand(9, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network_of(module, (64,)).model(images), expected)


@pytest.mark.parametrize("name", ["no ReLU behind maps", "a norm behind ReLU", "an average before ReLU", "GELU"])
def test_no_remedy_is_named_that_makes_another_network(name):
    """Without the words that it does."""
    module, input_shape, _ = REFUSED[name]
    said, _ = remedies(module, input_shape)
    assert "another network" in said and "train" in said
    assert "move it" not in said and "put one in" not in said


def test_a_norm_of_another_width_is_refused():
    module = convolved(nn.BatchNorm2d(4), nn.ReLU())
    with pytest.raises(
        InputError, match="^layer 1 \\(BatchNorm2d\\): has 4 features for 3 units before it; give it as many"
    ):
        network_of(module, IMAGE)


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
@pytest.mark.parametrize(
    "place, words",
    [
        ("", "a torch.nn.Sequential has hooks"),
        ("1", "a torch.nn.Sequential has hooks"),
        ("1.0", "layer 1.0 (ReLU): has hooks"),
        ("2", "layer 2 (Linear): has hooks"),
    ],
)
def test_hooks_are_refused(register, place, words):
    """For they may change what is computed."""
    module = nn.Sequential(nn.Linear(64, 4), nn.Sequential(nn.ReLU(), nn.Dropout()), nn.Linear(4, 3))
    hook = getattr(module.get_submodule(place), register)(lambda *_: None)
    with pytest.raises(InputError) as error:
        network_of(module, (64,))
    assert words in sentence(error)
    hook.remove()
    assert network_of(module, (64,)).model.sizes == (64, 4, 3)


@pytest.mark.parametrize(
    "shape", [None, True, 64, 64.0, "64", (64.0,), ("64",), (True,), (0,), (-64,), (), (8, 8), (1, 8.0, 8), {64}]
)
def test_what_is_no_shape_is_refused(shape):
    with pytest.raises(InputError) as error:
        network_of(within(), shape)
    assert sentence(error).startswith(f"input_shape {shape}: is no shape")


@pytest.mark.parametrize(
    "known, words",
    [
        ({"classes": (1, 2)}, "3 outputs"),
        ({"classes": range(4), "dataset": "mnist"}, "3 outputs"),
        ({"classes": 3}, "classes 3: the network has 3 outputs"),
        ({"classes": "357"}, "classes 357: the network has 3 outputs"),
        ({"classes": (1.0, 2.0, 3.0)}, "different whole numbers"),
        ({"dataset": "mnist"}, "the network has 3 outputs"),
        ({"dataset": "cifar10"}, "'cifar10'"),
        ({"dataset": ""}, "''"),
    ],
)
def test_what_cannot_be_said_of_a_network_is_refused(tmp_path, known, words):
    with pytest.raises(InputError) as error:
        network_of(within(), (64,), **known)
    assert words in sentence(error)
    with pytest.raises(InputError):
        save_network(tmp_path / "mine.pt", within(), (64,), **known)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("classes", [(3, 3, 5), (3, 30, 5), (-1, 0, 1), ("a", "b", "c")])
def test_classes_that_a_data_set_does_not_have_are_refused_when_they_are_said(tmp_path, classes):
    """And not only when the file is read."""
    with pytest.raises(InputError, match="classes"):
        save_network(tmp_path / "mine.pt", within(), (64,), classes, "mnist")
    assert not list(tmp_path.iterdir())
