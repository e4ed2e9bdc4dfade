"""Training with convolutions: what a plain loop of PyTorch does, many networks at once, and planted groups."""

import copy
from itertools import pairwise

import numpy
import pytest
import torch
from test_architecture import in_torch
from test_convolutions import HALVED, Given
from torch.nn.functional import cross_entropy

import mlp.model
import mlp.training
from mlp.architecture import Architecture, Layer, convolutional
from mlp.model import Model, initial_model
from mlp.planting import planted_connections, planted_groups
from mlp.training import train, train_networks


NET = convolutional((1, 8, 8), (4, 6), (5, 3))


def striped(labels, generator, side=28):
    """Noise, and a bright stripe at a place that the class decides."""
    images = generator.integers(0, 90, (len(labels), side, side))
    for image, label in zip(images, labels):
        image[:, 2 * label + 3 : 2 * label + 6] += 150
    return images


def squares():
    """150 images [n, 64] of three classes."""
    labels = torch.arange(150) % 3
    return torch.from_numpy(striped(labels, numpy.random.default_rng(0), 8)).flatten(1).double() / 255, labels


def trained(seeds, separate=False, **options):
    """As in test_training: networks of some seeds, trained and validated on all images, in double precision."""
    images, labels = squares()
    models = [initial_model(NET, seed).double() for seed in seeds]
    generators = [torch.Generator().manual_seed(5 + seed) for seed in (seeds if separate else [0])]
    everything = torch.arange(len(labels))
    splits = [(everything, everything)] * len(generators)
    options = {"epochs": 2, "batch_size": 32, "learning_rate": 1e-2} | options
    return models, list(train(models, images, labels, splits, generators, **options))


def plain_loop(l1=0, l2=0, epochs=2):
    """As `trained` of seed 0, by torch.optim.Adam."""
    images, labels = squares()
    plain = in_torch(initial_model(NET, 0).double())
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(5)
    for _ in range(epochs):
        for batch in torch.randperm(len(labels), generator=generator).split(32):
            weights = [layer.weight for layer in plain if hasattr(layer, "weight")]
            penalty = sum(l1 * weight.abs().sum() + l2 * (weight**2).sum() for weight in weights)
            optimizer.zero_grad()
            (cross_entropy(plain(images[batch].view(-1, 1, 8, 8)), labels[batch]) + penalty).backward()
            optimizer.step()
    return plain


def same_numbers(model, other, tolerance=1e-6):
    for parameter, expected in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, rtol=tolerance, atol=1e-7)
    return True


@pytest.mark.parametrize("l1, l2", [(0, 0), (0, 0.01), (0.002, 0.003)])
def test_training_equals_a_plain_loop(l1, l2):
    images, labels = squares()
    (model,), history = trained([0], l1=l1, l2=l2)
    plain = plain_loop(l1, l2)
    assert same_numbers(model, plain)
    assert not torch.allclose(plain[0].weight, initial_model(NET, 0).double().layers[0].weight, atol=1e-3)
    ((last,)) = history[-1]
    logits = plain(images.view(-1, 1, 8, 8))
    assert last["training_loss"] == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-6)
    assert last["training_accuracy"] == pytest.approx((logits.argmax(1) == labels).double().mean().item())


MAPS = Layer(6, (3, 3), padding=(1, 1))


@pytest.mark.parametrize(
    "layers, rates",
    [((MAPS, Layer(200, (20, 20)), Layer(3)), (0.3, 0.3)), ((MAPS, Layer(300, pools=HALVED), Layer(3)), (0.3, 0.6))],
    ids=["maps", "pooled maps, and neurons"],
)
def test_in_maps_half_as_many_activations_are_dropped(layers, rates):
    """Of those that are read, each for itself, and the others grow to make up.

    A step of one image leaves weights that read what was dropped as they are; the others change as in a plain step.
    """
    models = [initial_model(Architecture((1, 20, 20), layers), 0).double() for _ in range(2)]
    with torch.no_grad():
        for parameter in (*models[0].parameters(), *models[1].parameters()):
            parameter.abs_()  # so that no ReLU is silent
    untouched = copy.deepcopy(models)
    image, label, only = torch.full((1, 400), 0.1).double(), torch.tensor([1]), torch.tensor([0])
    generators = [torch.Generator().manual_seed(seed) for seed in range(2)]
    options = {"epochs": 1, "batch_size": 1, "learning_rate": 0.1, "adam_epsilon": 1.0, "dropout": 0.6}
    list(train(models, image, label, [(only, only)] * 2, generators, **options))
    dropped = []
    for model, plain in zip(models, untouched):
        kept = [(weight != before).any(0) for weight, before in zip(model.weights[1:], plain.weights[1:])]
        for own, rate in zip(kept, rates):
            assert (~own).double().mean().item() == pytest.approx(rate, abs=0.1)
            if own.ndim == 3 and own[0].numel() > 1:
                assert ((~own).double().mean((1, 2)) - rate).abs().max() < 0.2, "a channel is dropped as a whole"
        factors = [own.double().unsqueeze(-1) / (1 - rate) for own, rate in zip(kept, rates)]
        cross_entropy(plain.values(image, factors)[-1].T, label).backward()
        for parameter, before in zip(model.parameters(), plain.parameters(), strict=True):
            expected = before - 0.1 * before.grad / (before.grad.abs() + 1)
            torch.testing.assert_close(parameter, expected, rtol=1e-6, atol=1e-9)
        dropped.append(kept)
    assert not any(torch.equal(*pair) for pair in zip(*dropped)), "noise is that of a network's own batches"


OPTIONS = {
    "plain": {},
    "separate": {"separate": True},
    "noise": {"dropout": 0.4, "pruning": (0.3, 0.8)},
    "sweep": {"learning_rate": [1e-2, 3e-3, 5e-3], "dropout": [0.4, 0, 0.2], "l2": [0, 1e-2, 1e-3], "separate": True},
    "stops": {"epochs": 12, "early_stopping": 1, "lr_decay": (0.5, 0), "learning_rate": [0.1, 0.002, 0.3]},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_networks_side_by_side_train_as_alone(name):
    options = OPTIONS[name]
    together, history = trained([0, 1, 2], **options)
    for seed, model in enumerate(together):
        own = {key: value[seed] if isinstance(value, list) else value for key, value in options.items()}
        (alone,), its_history = trained([seed], **own)
        assert same_numbers(model, alone, 1e-5)
        rows = [row for state in history for row in state if row["network"] == seed]
        assert [row["epoch"] for row in rows] == [row["epoch"] for (row,) in its_history]
        assert rows[-1]["validation_loss"] == pytest.approx(its_history[-1][0]["validation_loss"], rel=1e-5)
    if name == "stops":
        assert len({sum(row["network"] == k for state in history for row in state) for k in range(3)}) > 1


def test_of_many_training_images_some_are_measured(monkeypatch):
    """The first of the split, and all that are for validation."""
    images, labels = squares()
    monkeypatch.setattr(mlp.training, "MEASURED", 40)
    model = initial_model(NET, 0).double()
    order = torch.randperm(150, generator=torch.Generator().manual_seed(3))
    splits = [(order[:110], order[110:])]
    generator = torch.Generator().manual_seed(0)
    ((row,),) = train([model], images, labels, splits, [generator], 1, 32, 1e-2)
    logits = in_torch(model)(images.view(-1, 1, 8, 8))
    for name, own in (("training", order[:40]), ("validation", order[110:])):
        assert row[f"{name}_loss"] == pytest.approx(cross_entropy(logits[own], labels[own]).item(), rel=1e-6)
        right = (logits[own].argmax(1) == labels[own]).double().mean().item()
        assert row[f"{name}_accuracy"] == pytest.approx(right)


def test_pruning_leaves_the_largest_weights_of_each_kernel():
    """Of all weights of a layer together; by a rate that leaves them nearly as they were."""
    models, _ = trained([0, 1], pruning=(0.3, 0.8), epochs=3, learning_rate=1e-9)
    for seed, model in enumerate(models):
        for weight, full in zip(model.weights, initial_model(NET, seed).double().weights, strict=True):
            pruned = weight == 0
            assert pruned.sum() == weight.numel() - round(weight.numel() * (1 - 0.8))
            assert full[~pruned].abs().min() > full[pruned].abs().max()
        assert all(bias.all() for bias in model.biases)
        assert any(0 < count < 9 for count in (model.weights[1] != 0).sum((2, 3)).flatten().tolist())


@pytest.mark.parametrize("options", [{}, {"pruning": (0.2, 0.6)}, {"dropout": 0.3, "l1": 1e-3, "l2": 1e-3}])
def test_planted_groups_of_channels_exchange_nothing(options):
    """Forbidden slices are zero, others are not, and the logits of a group are the same without the other."""
    images, labels = squares()
    epochs = {"early_stopping": None, "pruning": None} | options
    rates = {key: epochs.pop(key, 0) for key in ("dropout", "l1", "l2")}
    networks = [{"seed": seed, "lr": 1e-2, "planted_groups": 2, "leak": 0.0, **rates} for seed in (0, 1)]
    data = Given((images.float(), labels), (1, 8, 8), (0, 1, 2))
    where = data, "nowhere", torch.device("cpu"), 0.1
    _, states, *_ = train_networks(
        networks, None, [0], NET, "default", *where, 2, epochs | {"batch_size": 32}, lambda: None
    )
    groups = planted_groups(NET.sizes, 2)
    for network, state in zip(networks, states):
        model = Model(NET)
        model.load_state_dict(state)
        present = planted_connections(NET.sizes, 2, 0.0, network["seed"])
        for weight, (before, after), exist in zip(model.weights[1:], pairwise(groups), present, strict=True):
            across = after.unsqueeze(1) != before
            assert torch.equal(exist, ~across)
            assert (weight[across] == 0).all() and across.any()
            assert (weight[~across] != 0).any()
        for group in range(2):
            alone = copy.deepcopy(model)
            with torch.no_grad():
                for weight, here in zip(alone.weights[1:], groups):
                    weight[:, here != group] = 0
            kept = groups[-1] == group
            single = images.float()
            torch.testing.assert_close(model(single)[:, kept], alone(single)[:, kept], rtol=1e-5, atol=1e-6)


def test_soft_groups_scale_whole_slices():
    """The clusterable start is the one of Glorot, with slices of a kernel larger within groups and smaller between."""
    planted, plain = initial_model(NET, 6, "clusterable"), initial_model(NET, 6, "glorot")
    assert torch.equal(planted.weights[0], plain.weights[0])
    for weight, before in zip(planted.weights[1:], plain.weights[1:]):
        ratio = (weight / before).detach()
        within, between = (torch.isclose(ratio, torch.tensor(value)) for value in (1.8, 0.6))
        assert (within | between).all() and within.any() and between.any()
        if ratio.ndim == 4:
            assert (within.flatten(2).all(2) | between.flatten(2).all(2)).all()
