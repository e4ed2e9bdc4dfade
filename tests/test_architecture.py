"""Architectures: their shapes are those of PyTorch's own layers, and they are what JSON says of them."""

import copy
import json
from math import prod

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from mlp.architecture import POOLS, Architecture, Layer, convolutional, dense, from_description, map_means, over_slices
from mlp.model import MLP, Model, initial_model, propagate, stacked


def hand_worked():
    """(architecture, its shapes, what each layer reads, weights), all by hand."""
    maxima = (("MaxPool2d", (("kernel_size", 2), ("ceil_mode", True))),)
    averages = (
        ("AvgPool2d", (("kernel_size", (2, 3)), ("stride", (1, 2)))),
        ("AdaptiveMaxPool2d", (("output_size", 1),)),
    )
    architecture = Architecture(
        (3, 15, 12),
        (
            # (15 + 2 - 3) // 2 + 1 = 8 rows, 12 - 2 + 1 = 11 columns
            Layer(4, (3, 2), stride=(2, 1), padding=(1, 0)),
            # pooled to 4 x 6, the last column of a single one; 4 - 2 * (2 - 1) = 2 rows, 6 + 2 - 3 + 1 = 6 columns
            Layer(5, (2, 3), dilation=(2, 1), padding=(0, 1), pools=maxima),
            # pooled to (2 - 2) / 1 + 1 = 1 row, (6 - 3) // 2 + 1 = 2 columns; then to 1 x 1
            Layer(6, pools=averages),
            Layer(2),
        ),
    )
    shapes = (4, 8, 11), (5, 2, 6), (6,), (2,)
    read = (3, 15, 12), (4, 4, 6), (5, 1, 1), (6,)
    weights = (4, 3, 3, 2), (5, 4, 2, 3), (6, 5, 1, 1), (2, 6)
    return architecture, shapes, read, weights


def in_torch(model):
    """The same layers in a plain Sequential, with the same weights."""
    layers = []
    for place, (layer, own) in enumerate(zip(model.architecture.layers, model.layers)):
        layers += [nn.ReLU()] if place else []
        layers += [getattr(nn, name)(**dict(arguments)) for name, arguments in layer.pools]
        if layer.kernel:
            size = own.weight.shape[1], layer.units, layer.kernel
            layers.append(nn.Conv2d(*size, layer.stride, layer.padding, layer.dilation))
        else:
            layers += [nn.Flatten(), nn.Linear(own.weight.shape[1], layer.units)]
    plain = nn.Sequential(*layers).to(own.weight.dtype)
    ours = [layer for layer in plain if hasattr(layer, "weight")]
    with torch.no_grad():
        for layer, own in zip(ours, model.layers, strict=True):
            layer.weight.copy_(own.weight)
            layer.bias.copy_(own.bias)
    return plain


def test_a_hand_worked_network():
    architecture, shapes, read, weights = hand_worked()
    assert (architecture.shapes, architecture.read, architecture.weight_shapes) == (shapes, read, weights)
    assert architecture.sizes == (3, 4, 5, 6, 2)
    assert (architecture.convolutions, architecture.activations) == (2, 352 + 60 + 6 + 2)
    assert [architecture.images_at_once(numbers) for numbers in (3 * 352, 3 * 352 - 1, 351, 0)] == [3, 2, 1, 1]
    assert str(architecture) == "3-4-5-6-2"
    model = Model(architecture)
    assert [tuple(weight.shape) for weight in model.weights] == list(weights)
    assert [tuple(bias.shape) for bias in model.biases] == [(4,), (5,), (6,), (2,)]
    assert model.hidden_sizes == (4, 5, 6)


WINDOWS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def poolings(draw):
    """Any pooling of maps, some of them twice."""
    kinds = {
        "MaxPool2d": lambda: {
            "kernel_size": draw(st.sampled_from([2, (2, 1)])),
            "stride": draw(st.sampled_from([None, 1, (1, 2)])),
            "padding": draw(st.sampled_from([0, (1, 0)])),
            "ceil_mode": draw(st.booleans()),
        },
        "AvgPool2d": lambda: {
            "kernel_size": 2,
            "stride": draw(st.sampled_from([1, 2])),
            "padding": draw(st.integers(0, 1)),
            "ceil_mode": draw(st.booleans()),
            "count_include_pad": draw(st.booleans()),
            "divisor_override": draw(st.sampled_from([None, 3])),
        },
        "AdaptiveMaxPool2d": lambda: {"output_size": draw(st.sampled_from([2, (1, 2), (None, 1)]))},
        "AdaptiveAvgPool2d": lambda: {"output_size": draw(st.sampled_from([1, (2, None)]))},
    }
    assert set(kinds) == {kind.__name__ for kind in POOLS}
    names = draw(st.lists(st.sampled_from(sorted(kinds)), max_size=2))
    return tuple((name, tuple(kinds[name]().items())) for name in names)


@st.composite
def architectures(draw):
    """Any that fit together."""
    shape = (draw(st.integers(1, 3)), draw(st.integers(6, 12)), draw(st.integers(6, 12)))
    layers = []
    for place in range(draw(st.integers(0, 3))):
        window = {
            "stride": draw(WINDOWS),
            "padding": draw(st.tuples(*[st.integers(0, 1)] * 2)),
            "dilation": draw(WINDOWS),
        }
        layers.append(Layer(draw(st.integers(1, 4)), draw(WINDOWS), **window, pools=draw(poolings()) if place else ()))
    layers.append(Layer(draw(st.integers(1, 4)), pools=draw(poolings()) if layers else ()))
    layers += [Layer(width) for width in draw(st.lists(st.integers(1, 4), max_size=2))]
    return Architecture(shape if layers[0].kernel else (prod(shape),), tuple(layers))


def fits(architecture):
    """Whether PyTorch's own layers take it, with maps of at least one position."""
    try:
        values = torch.zeros(2, *architecture.input_shape)
        for place, layer in enumerate(architecture.layers):
            for name, arguments in layer.pools:
                values = getattr(nn, name)(**dict(arguments))(values)
            if layer.kernel:
                window = layer.kernel, layer.stride, layer.padding, layer.dilation
                values = nn.Conv2d(values.shape[1], layer.units, *window)(values)
            else:
                values = nn.Linear(values[0].numel(), layer.units)(values.flatten(1))
        return all(values.shape)
    except RuntimeError:
        return False


@settings(max_examples=80)
@given(architectures(), st.integers(0, 10**6))
def test_any_network_is_what_pytorch_makes_of_the_same_layers(architecture, seed):
    """In its shapes, its outputs, and what each layer computes; or it fits in neither."""
    if not fits(architecture):
        with pytest.raises((RuntimeError, ValueError)):
            architecture.shapes  # noqa: B018
        return
    model = initial_model(architecture, seed).double().requires_grad_(False)
    plain = in_torch(model)
    images = torch.randn(5, *architecture.input_shape, generator=torch.Generator().manual_seed(seed)).double()
    computed, values = [], images
    for layer in plain:
        values = layer(values)
        if hasattr(layer, "weight"):
            computed.append(values)
    assert architecture.shapes == tuple(tuple(own.shape[1:]) for own in computed)
    widest = max(own[0].numel() for own in computed)
    assert [architecture.images_at_once(numbers) for numbers in (7 * widest, widest - 1)] == [7, 1]
    assert architecture.activations == sum(own[0].numel() for own in computed)
    assert [weight.numel() for weight in model.weights] == [
        layer.weight.numel() for layer in plain if hasattr(layer, "weight")
    ]
    found = model.values(images.flatten(1))
    for own, expected in zip(found, computed, strict=True):
        torch.testing.assert_close(own.movedim(-1, 0), expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(model(images.flatten(1)), computed[-1], rtol=1e-9, atol=1e-10)
    again = propagate(
        model.weights, model.biases, architecture.entered(images.flatten(1)), None, True, architecture.layers
    )
    assert torch.equal(again[-1], found[-1]), "in place, the logits are the same"


@settings(max_examples=80)
@given(architectures())
def test_json_and_back_is_the_same_architecture(architecture):
    description = json.loads(json.dumps(architecture.described()))
    if not fits(architecture):
        with pytest.raises(ValueError):
            from_description(description)
        return
    again = from_description(description)
    assert again == architecture
    assert hash(again) == hash(architecture)
    assert again.weight_shapes == architecture.weight_shapes


def described():
    return json.loads(json.dumps(hand_worked()[0].described()))


def test_what_is_damaged_below_is_not_damaged():
    assert from_description(described()) == hand_worked()[0]


PLACES = [
    (),
    ("input_shape",),
    ("input_shape", 0),
    ("layers",),
    ("layers", 0),
    *(("layers", 0, key) for key in ("units", "kernel", "stride", "padding", "dilation", "pools")),
    *(("layers", 0, key, 1) for key in ("kernel", "stride", "padding", "dilation")),
    ("layers", 1, "pools", 0),
    ("layers", 1, "pools", 0, 0),
    ("layers", 1, "pools", 0, 1),
    ("layers", 1, "pools", 0, 1, 0),
    ("layers", 1, "pools", 0, 1, 0, 0),
    ("layers", 1, "pools", 0, 1, 0, 1),
    ("layers", 3, "units"),
]
VALUES = {
    "a name": "MaxPool2d",
    "nothing": None,
    "below zero": -1,
    "a fraction": 1.5,
    "true": True,
    "an object": {"kernel_size": 2},
    "much nested": [[[1]]],
    "huge": 10**30,
    "text": [["x", "y"]],
    "a list of names": ["Linear", []],
    "infinity": float("inf"),
}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)) or "all")
def test_a_damaged_description_is_a_value_error_or_another_architecture(place, value):
    """Nothing else is raised, neither when it is read nor when a network is made of it."""
    value = copy.deepcopy(VALUES[value])
    description = described()
    if place:
        *path, last = place
        part = description
        for key in path:
            part = part[key]
        part[last] = value
    else:
        description = value
    try:
        found = from_description(description)
    except ValueError:
        return
    if found == hand_worked()[0]:  # a name in place of the same name
        assert value == "MaxPool2d"
        return
    kernel_removed = place == ("layers", 0, "kernel") and value is None
    one_argument = place == ("layers", 1, "pools", 0, 1, 0, 1)
    assert one_argument or kernel_removed or place[-1] == "pools"
    model = initial_model(found, 0)
    assert model(torch.rand(2, prod(found.input_shape))).shape == (2, 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("layers"),
        lambda d: d.pop("input_shape"),
        lambda d: d["layers"].clear(),
        lambda d: d["layers"][0].pop("units"),
        lambda d: d["layers"][0].pop("pools"),
        lambda d: d["layers"][2].pop("dilation"),
        lambda d: d["layers"][0]["kernel"].append(3),
        lambda d: d["input_shape"].append(3),
        lambda d: d["input_shape"].pop(),
        lambda d: d.update(input_shape=[3, 2, 2]),
        lambda d: d["layers"][0].update(kernel=[99, 99]),
        lambda d: d["layers"][0].update(units=0),
        lambda d: d["layers"][0].update(stride=[0, 1]),
        lambda d: d["layers"].insert(3, copy.deepcopy(d["layers"][0])),  # a convolution of neurons
        lambda d: d["layers"][3].update(pools=[["MaxPool2d", [["kernel_size", 2]]]]),  # pooling of neurons
        lambda d: d["layers"][1].update(pools=[["MaxPool2d", []]]),
        lambda d: d["layers"][1].update(pools=[["MaxPool2d", [["kernel_size", 0]]]]),
        lambda d: d["layers"][1].update(pools=[["MaxPool2d", [["kernel_size", 2], ["return_indices", True]]]]),
        lambda d: d["layers"][1].update(pools=[["Linear", [["in_features", 2], ["out_features", 2]]]]),
        lambda d: d["layers"][1].update(pools=[["AvgPool2d", [["kernel_size", 2], ["divisor_override", 0]]]]),
        lambda d: d["layers"][1].update(pools=[["AdaptiveAvgPool2d", [["output_size", 0]]]]),
    ],
)
def test_what_does_not_fit_together_is_refused(change):
    description = described()
    change(description)
    with pytest.raises(ValueError):
        from_description(description)


# The small networks


def assert_computes(architecture, *layers):
    """That an architecture is what some layers of PyTorch are, whatever their weights."""
    model, plain = initial_model(architecture, 0), nn.Sequential(*layers)
    with torch.no_grad():
        for parameter, values in zip(plain.parameters(), model.parameters(), strict=True):
            parameter.copy_(values)
        images = torch.rand(3, *architecture.input_shape)
        torch.testing.assert_close(model(images.flatten(1)), plain(images), rtol=1e-4, atol=1e-5)


def test_a_small_convolutional_network_is_that_of_filan():
    """Three convolutions of windows of 3 x 3, with pooling after the second and the third, and two dense layers."""
    assert_computes(
        convolutional((1, 28, 28), (64, 64, 64), (128, 10)),
        nn.Conv2d(1, 64, 3, padding="same"),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def test_one_convolution_pools_nothing():
    layers = nn.Conv2d(2, 5, 3, padding="same"), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 7 * 6, 4), nn.ReLU()
    assert_computes(convolutional((2, 7, 6), (5,), (4, 3)), *layers, nn.Linear(4, 3))


@given(st.lists(st.integers(1, 6), min_size=2, max_size=5))
def test_a_dense_architecture_is_that_of_the_mlp(sizes):
    architecture = dense(tuple(sizes))
    assert architecture.sizes == tuple(sizes)
    assert architecture.convolutions == 0
    assert architecture == MLP(sizes).architecture == MLP(tuple(sizes)).architecture
    assert architecture.weight_shapes == tuple(zip(sizes[1:], sizes))


def test_networks_of_one_seed_have_the_weights_of_pytorch():
    """As a convolution and a Linear of those shapes begin."""
    architecture = hand_worked()[0]
    model = initial_model(architecture, 4)
    torch.manual_seed(4)
    layers = nn.Conv2d(3, 4, (3, 2)), nn.Conv2d(4, 5, (2, 3)), nn.Linear(5, 6), nn.Linear(6, 2)
    for layer, own in zip(layers, model.layers, strict=True):
        assert torch.equal(layer.weight, own.weight) and torch.equal(layer.bias, own.bias)


@pytest.mark.parametrize("architecture", [convolutional((1, 16, 16), (20, 30), (40, 10)), hand_worked()[0]])
def test_glorot_counts_the_window_of_a_kernel(architecture):
    """fan_in and fan_out are channels times the size of the window; of a layer of neurons, all that it reads."""
    model = initial_model(architecture, 3, "glorot")
    for weight, bias, layer in zip(model.weights, model.biases, architecture.layers):
        out, into, *window = weight.shape
        fans = (into + out) * prod(window) if layer.kernel else into * prod(window) + out
        limit = (6 / fans) ** 0.5
        assert weight.abs().max() <= limit
        if weight.numel() > 1000:
            assert weight.abs().max() > 0.99 * limit
            assert weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
        assert not bias.any()
    assert all(torch.equal(*pair) for pair in zip(model.weights, initial_model(architecture, 3, "glorot").weights))
    assert not torch.equal(model.weights[0], initial_model(architecture, 4, "glorot").weights[0])


# Side by side


@pytest.mark.parametrize("own_images", [False, True])
@settings(max_examples=30)
@given(architecture=architectures(), networks=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_networks_side_by_side_compute_what_each_computes_alone(own_images, architecture, networks, seed):
    """Of the same images, or each of its own; with factors of each, or of all, for what is read of hidden layers."""
    assume(fits(architecture))
    models = [initial_model(architecture, seed + k).double().requires_grad_(False) for k in range(networks)]
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(networks, 4, prod(architecture.input_shape), generator=generator, dtype=torch.double)
    images = images if own_images else images[:1]
    factors = [
        torch.rand(networks if place % 2 else 1, *shape, 4, generator=generator, dtype=torch.double)
        for place, shape in enumerate(architecture.read[1:])
    ]
    entered = architecture.entered(images if own_images else images[0])
    for given_factors in (None, factors):
        together = propagate(*stacked(models), entered, given_factors, layers=architecture.layers)
        for k, model in enumerate(models):
            own = images[k if own_images else 0]
            its_factors = given_factors and [factor[k if len(factor) > 1 else 0] for factor in factors]
            alone = by_plain_layers(model, own, its_factors)
            for found, expected in zip(together, alone, strict=True):
                torch.testing.assert_close(found[k].movedim(-1, 0), expected, rtol=1e-9, atol=1e-10)


def by_plain_layers(model, images, factors):
    """What each layer computes, by PyTorch's own, with what it reads multiplied: [n, ...] each."""
    values, computed = images.view(-1, *model.architecture.input_shape), []
    read = 0
    for layer in in_torch(model):
        if isinstance(layer, nn.Conv2d) or isinstance(layer, nn.Flatten):
            if read and factors is not None:
                values = values * factors[read - 1].movedim(-1, 0)
            read += 1
        values = layer(values)
        if hasattr(layer, "weight"):
            computed.append(values)
    return computed


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_slices_of_a_kernel_are_multiplied_by_one_number(out, into, height, width):
    matrix = torch.arange(1.0, 1 + out * into).view(out, into)
    for weight in (torch.ones(out, into), torch.ones(out, into, height, width)):
        product = weight * over_slices(matrix, weight)
        assert product.shape == weight.shape
        assert all(
            (product[unit, source] == matrix[unit, source]).all() for unit in range(out) for source in range(into)
        )
    maps = torch.rand(out, height, width, into)
    torch.testing.assert_close(map_means(maps), maps.flatten(1, 2).mean(1))
    assert map_means(matrix) is matrix
