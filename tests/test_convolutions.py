"""Networks of convolutions: they are what their matrices say, train as plain PyTorch does, and pass all analyses."""

import copy
import json
import random
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise, product
from math import prod

import numpy
import pytest
import torch
from conftest import call, strict, succeed
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import ABLATION, CLUSTERING, RECOVERY, SIMILARITY, SPECIALIZATION, figures_are_there, record, table
from test_data import write_collection
from torch import nn
from torch.nn.functional import cross_entropy

import mlp.training
import modularity.ablation
from mlp.architecture import Architecture, Layer, convolutional, dense
from mlp.checkpoint import save_checkpoint
from mlp.data import DataSet
from mlp.model import MLP, Model, initial_model
from mlp.network import Network, load_records
from mlp.planting import planted_connections, planted_groups
from mlp.rescaling import rescaled
from mlp.sequential import save_network
from mlp.training import train, train_networks
from modularity.ablation import ablated_hits, mean_activations, turned_images
from modularity.clusterability import CONVOLUTIONS, WITH_PIXELS, WITHOUT_PIXELS, graph_weights, graphs_of, hidden_labels
from modularity.clustering import n_cut, spectral_clusters
from modularity.graph import weight_adjacency
from modularity.optimal_images import optimal_images, output_entropies
from modularity.similarity import RAW_MEASURES, _sums_by_gradients, _sums_by_products, similarities

# A convolutional network as the matrices that it is: position by position, by the definition of a convolution.


def matrix_of_kernel(kernel, shape, layer):
    """[out * height * width, in * height * width] of a convolution of maps [in, height, width]."""
    out, into, *window = kernel.shape
    sides = [
        (side + 2 * pad - step * (size - 1) - 1) // stride + 1
        for side, size, stride, pad, step in zip(shape[1:], window, layer.stride, layer.padding, layer.dilation)
    ]
    matrix = torch.zeros(out, *sides, *shape, dtype=kernel.dtype)
    for y, x, dy, dx in product(*map(range, (*sides, *window))):
        row = y * layer.stride[0] + dy * layer.dilation[0] - layer.padding[0]
        column = x * layer.stride[1] + dx * layer.dilation[1] - layer.padding[1]
        if 0 <= row < shape[1] and 0 <= column < shape[2]:
            matrix[:, y, x, :, row, column] += kernel[:, :, dy, dx]
    return matrix.reshape(out * prod(sides), prod(shape)), (out, *sides)


def matrix_of_average(shape, size):
    """[channels * less, channels * height * width] of averages over squares, without what is left at the edges."""
    channels, *sides = shape
    less = [side // size for side in sides]
    matrix = torch.zeros(channels, *less, channels, *sides, dtype=torch.double)
    for channel, y, x, dy, dx in product(range(channels), *map(range, less), range(size), range(size)):
        matrix[channel, y, x, channel, y * size + dy, x * size + dx] = 1 / size**2
    return matrix.reshape(channels * prod(less), prod(shape)), (channels, *less)


@torch.no_grad()
def as_matrices(model):
    """(pooling matrix or None, matrix, bias of each row, shape of what it computes) of each layer; no MaxPool2d."""
    shape, layers = model.architecture.input_shape, []
    for layer, weight, bias in zip(model.architecture.layers, model.weights, model.biases):
        pooling = None
        for name, arguments in layer.pools:
            assert name == "AvgPool2d"
            pooling, shape = matrix_of_average(shape, dict(arguments)["kernel_size"])
        if layer.kernel:
            matrix, shape = matrix_of_kernel(weight, shape, layer)
        else:
            matrix, shape = weight.reshape(len(weight), -1), (len(weight),)
        layers.append((pooling, matrix.clone(), bias.repeat_interleave(prod(shape[1:])), shape))
    return layers


@torch.no_grad()
def equal_mlp(model):
    """The MLP whose neurons are the positions of the maps, and the shapes of these."""
    layers = as_matrices(model)
    equal = MLP((prod(model.architecture.input_shape), *(len(matrix) for _, matrix, _, _ in layers))).double()
    for own, (pooling, matrix, bias, _) in zip(equal.layers, layers):
        own.weight.copy_(matrix if pooling is None else matrix @ pooling)
        own.bias.copy_(bias)
    return equal, [shape for *_, shape in layers]


def positions(shapes):
    """How many positions each hidden unit has, and a matrix [units, positions] of zeros and ones per hidden layer."""
    counts = [prod(shape[1:]) for shape in shapes[:-1]]
    belongs = [
        torch.eye(shape[0], dtype=torch.double).repeat_interleave(count, dim=1) for shape, count in zip(shapes, counts)
    ]
    return counts, belongs


HALVED = (("AvgPool2d", (("kernel_size", 2),)),)
TINY = Architecture(
    (2, 5, 5),
    (
        Layer(3, (3, 3), padding=(1, 1)),
        Layer(4, (2, 2), stride=(2, 2)),
        Layer(3, pools=HALVED),
        Layer(3),
    ),
)


def doubled(architecture, seed):
    """A network in double precision whose biases matter, and that says different things of different images."""
    model = initial_model(architecture, seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight, bias in zip(model.weights, model.biases):
            weight.mul_(2)
            bias.copy_(torch.randn(bias.shape, generator=generator) / 5)
    return model.requires_grad_(False)


def images_for(model, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, prod(model.architecture.input_shape), generator=generator, dtype=torch.double)


@st.composite
def architectures(draw):
    """Small ones: any strides, paddings, dilations and windows that fit, with averages between layers."""
    shape = tuple(draw(st.tuples(st.integers(1, 2), st.integers(4, 7), st.integers(4, 7))))
    _, *sides = shape
    layers = []
    for place in range(draw(st.integers(1, 3))):
        pools = ()
        if place > 0 and min(sides) > 1 and draw(st.booleans()):
            pools, sides = HALVED, [side // 2 for side in sides]
        window = {"stride": [], "padding": [], "dilation": []}
        kernel, computed = [], []
        for side in sides:
            kernel.append(size := draw(st.integers(1, min(3, side))))
            window["padding"].append(pad := draw(st.integers(0, size // 2)))
            fits = size == 1 or side + 2 * pad > 2 * (size - 1)
            window["dilation"].append(step := draw(st.integers(1, 2 if fits else 1)))
            window["stride"].append(stride := draw(st.integers(1, 3)))
            computed.append((side + 2 * pad - step * (size - 1) - 1) // stride + 1)
        sides = computed
        window = {name: tuple(values) for name, values in window.items()}
        layers.append(Layer(draw(st.integers(1, 4)), tuple(kernel), **window, pools=pools))
    pools = HALVED if min(sides) > 1 and draw(st.booleans()) else ()
    layers.append(Layer(draw(st.integers(2, 4)), pools=pools))
    if draw(st.booleans()):
        layers.append(Layer(draw(st.integers(2, 4))))
    return Architecture(shape, tuple(layers))


SEEDS = st.integers(0, 10**6)
some = settings(max_examples=25)


@some
@given(architectures(), SEEDS)
def test_a_convolutional_network_is_an_mlp_of_all_positions(architecture, seed):
    model = doubled(architecture, seed)
    equal, shapes = equal_mlp(model)
    assert architecture.shapes == tuple(shapes)
    images = images_for(model, 6, seed)
    torch.testing.assert_close(model(images), equal(images), rtol=1e-9, atol=1e-10)
    for values, expected in zip(model.values(images), equal.values(images), strict=True):
        torch.testing.assert_close(values.flatten(0, -2), expected, rtol=1e-9, atol=1e-10)
    means = [
        values.unflatten(1, shape).flatten(2).mean(2) if len(shape) == 3 else values
        for values, shape in zip(equal.preactivations(images), shapes)
    ]
    for found, expected in zip(model.preactivations(images), means, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


@some
@given(architectures(), SEEDS)
def test_a_strength_is_what_one_use_of_a_weight_adds_to_the_matrix(architecture, seed):
    """Without padding each weight of a kernel appears once for each position of the map that it makes; a strength is
    the sum of |w| of the block of two units, divided by that number."""
    layers = tuple(replace(layer, padding=(0, 0)) for layer in architecture.layers)
    try:
        model = doubled(Architecture(architecture.input_shape, layers), seed)
    except (RuntimeError, ValueError):  # the windows do not fit without padding
        return
    network = Network(model, DataSet(None, tuple(range(model.sizes[-1]))))
    own_shape = architecture.input_shape if layers[0].kernel else (prod(architecture.input_shape),)
    for layer, (pooling, matrix, _, shape), strength in zip(layers, as_matrices(model), network.strengths, strict=True):
        if pooling is not None:
            own_shape = own_shape[0], *(side // 2 for side in own_shape[1:])
        blocks = matrix.abs().view(shape[0], prod(shape[1:]), own_shape[0], prod(own_shape[1:])).sum((1, 3))
        torch.testing.assert_close(strength, blocks / prod(shape[1:]), rtol=1e-9, atol=1e-12)
        own_shape = shape


@some
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), SEEDS)
def test_the_column_norm_of_a_slice_is_the_matrix_norm(out, into, height, width, seed):
    layers = Layer(out, (height, width)), Layer(2)
    model = doubled(Architecture((into, height, width), layers), seed)
    network = Network(model, DataSet(None, (0, 1)), norm="column")
    expected = torch.linalg.matrix_norm(model.weights[0], ord=1)
    torch.testing.assert_close(network.strengths[0], expected, rtol=1e-12, atol=0)
    by_hand = [
        [max(sum(map(abs, column)) for column in zip(*slice_)) for slice_ in unit] for unit in model.weights[0].tolist()
    ]
    torch.testing.assert_close(network.strengths[0], torch.tensor(by_hand, dtype=torch.double), rtol=1e-12, atol=0)


# Silence


def silenced_by_hand(model, module, levels, images):
    """The logits of the equal MLP in which all positions of the module's channels have their channel's level."""
    equal, shapes = equal_mlp(model)
    counts, _ = positions(shapes)
    activations = images.T
    widths = model.hidden_sizes
    masks, own_levels = module.split(widths), levels.split(widths)
    for place, (weight, bias) in enumerate(zip(equal.weights, equal.biases)):
        values = weight @ activations + bias.unsqueeze(1)
        if place < len(widths):
            activations = values.relu()
            mask = masks[place].repeat_interleave(counts[place])
            activations[mask] = own_levels[place].repeat_interleave(counts[place])[mask].unsqueeze(1)
    return values.T


def random_modules(model, count, seed):
    """Of any density, and one without members."""
    generator = torch.Generator().manual_seed(seed)
    density = torch.rand(count, 1, generator=generator)
    modules = torch.rand(count, sum(model.hidden_sizes), generator=generator) < density
    modules[0] = False
    return modules


@pytest.mark.parametrize("level", ["zero", "given"])
@settings(max_examples=20)
@given(architecture=architectures(), seed=SEEDS)
def test_a_silent_channel_is_all_of_its_positions(level, architecture, seed):
    if len(architecture.layers) < 2:
        return
    model = doubled(architecture, seed)
    images, classes = images_for(model, 23, seed), model.sizes[-1]
    labels = torch.randint(classes, (23,), generator=torch.Generator().manual_seed(seed))
    levels = torch.zeros(sum(model.hidden_sizes), dtype=torch.double)
    if level == "given":
        levels = torch.rand(levels.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    modules = random_modules(model, 8, seed)
    expected = []
    for module in modules:
        right = silenced_by_hand(model, module, levels, images).argmax(1) == labels
        expected.append([int(right[labels == label].sum()) for label in range(classes)])
    given_levels = None if level == "zero" else levels
    assert ablated_hits(model, modules, images, labels, given_levels).tolist() == expected


def test_lesions_do_not_depend_on_the_batches_of_images(monkeypatch):
    model = doubled(convolutional((1, 8, 8), (5, 6), (7, 3)), 1)
    images, labels = images_for(model, 50), torch.arange(50) % 3
    modules = random_modules(model, 30, 0)
    levels = torch.rand(18, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    expected = ablated_hits(model, modules, images, labels, levels)
    assert len(expected.unique(dim=0)) > 3
    monkeypatch.setattr(modularity.ablation, "MAP_NUMBERS", 7 * model.architecture.widest)
    assert torch.equal(ablated_hits(model, modules, images, labels, levels), expected)


def test_lesions_of_pooled_maps_equal_plain_layers():
    """Of maxima, which are no matrix."""
    model = doubled(convolutional((1, 8, 8), (6, 5), (7, 3)), 3)
    images, labels = images_for(model, 60), torch.arange(60) % 3
    first, second, third, last = model.layers
    levels = torch.rand(18, dtype=torch.double, generator=torch.Generator().manual_seed(2))
    modules = random_modules(model, 25, 5)

    def right(module):
        silent = list(zip(module.split((6, 5, 7)), levels.split((6, 5, 7))))

        def passed_on(values, place):
            mask, own = silent[place]
            shape = -1, *[1] * (values.ndim - 2)
            return torch.where(mask.view(shape), own.view(shape), values.relu())

        maps = passed_on(nn.functional.conv2d(images.view(-1, 1, 8, 8), first.weight, first.bias, padding=1), 0)
        maps = passed_on(nn.functional.conv2d(maps, second.weight, second.bias, padding=1), 1)
        logits = last(passed_on(third(nn.functional.max_pool2d(maps, 2).flatten(1)), 2))
        return logits.argmax(1) == labels

    expected = [right(module).view(20, 3).sum(0).tolist() for module in modules]
    assert ablated_hits(model, modules, images, labels, levels).tolist() == expected
    assert len(set(map(tuple, expected))) > 3


@dataclass(frozen=True)
class Given:
    """A data set of given images and labels, the same for training and tests."""

    tensors: tuple
    shape: tuple
    classes: tuple
    name: str = "given"

    def load(self, train, data_dir, device="cpu"):
        return self.tensors


@pytest.mark.parametrize("batch", [None, 9])
def test_turned_images_are_those_of_both_lesions(monkeypatch, batch):
    model = doubled(TINY, 4)
    images, labels = images_for(model, 80), torch.arange(80) % 3
    if batch:
        monkeypatch.setattr(modularity.ablation, "MAP_NUMBERS", batch * model.architecture.widest)
    network = Network(model, Given((images, labels), (2, 5, 5), (0, 1, 2)))
    pairs = random_modules(model, 12, 7).view(6, 2, -1)
    zeros = torch.zeros(10, dtype=torch.double)
    (found,) = turned_images([network], [pairs], "nowhere", torch.device("cpu"), 1)
    for pair, (gained, lost) in zip(pairs, found, strict=True):
        was, is_now = (silenced_by_hand(model, module, zeros, images).argmax(1) == labels for module in pair)
        assert gained.tolist() == [int((is_now & ~was)[labels == label].sum()) for label in range(3)]
        assert lost.tolist() == [int((was & ~is_now)[labels == label].sum()) for label in range(3)]
    assert found[:, 0].sum() > 0 and found[:, 1].sum() > 0


@some
@given(architectures(), SEEDS)
def test_the_mean_activation_of_a_channel_is_that_of_its_positions(architecture, seed):
    model = doubled(architecture, seed)
    equal, shapes = equal_mlp(model)
    images = images_for(model, 700 if seed % 2 else 5, seed)  # more than one batch, or less
    counts, _ = positions(shapes)
    expected = [own.relu().mean(0).view(-1, count).mean(1) for own, count in zip(equal.preactivations(images), counts)]
    torch.testing.assert_close(mean_activations(model, images), torch.cat(expected), rtol=1e-9, atol=1e-12)


# Similarity


def signed_by_autograd(model, images):
    """The four measures of Lange et al. (2022) of the equal MLP, neuron by neuron, channels put together at the end.

    Upstream a channel is the mean of its positions, downstream the sum: all of the map is shifted alike.
    """
    equal, shapes = equal_mlp(model)
    counts, belongs = positions(shapes)
    found = {measure: [] for measure in RAW_MEASURES}

    def hidden(layer, pixels):
        return equal.values(pixels.unsqueeze(0))[layer].relu().squeeze(1)

    def logits(layer, activations):
        for following in equal.layers[layer + 1 :]:
            activations = following(activations)
            if following is not equal.layers[-1]:
                activations = activations.relu()
        return activations

    for layer, (count, members) in enumerate(zip(counts, belongs)):
        mean, total = members / count, members
        activations = torch.stack([hidden(layer, image) for image in images])
        centred = (activations - activations.mean(0)) @ mean.T
        found["forward_cov"].append(centred.T @ centred / len(images))
        jacobian = torch.autograd.functional.jacobian
        seen = [mean @ jacobian(lambda image: hidden(layer, image), image) for image in images]
        found["forward_jac"].append(sum(one @ one.T for one in seen) / len(images))
        done = [jacobian(lambda values: logits(layer, values), own) @ total.T for own in activations]
        found["backward_jac"].append(sum(one.T @ one for one in done) / len(images))
        hessians = []
        for own, one in zip(activations, done):
            p = logits(layer, own).softmax(0)
            hessians.append(one.T @ (torch.diag(p) - torch.outer(p, p)) @ one)
        found["backward_hess"].append(sum(hessians) / len(images))
    return found


@settings(max_examples=15)
@given(architectures(), SEEDS)
def test_similarities_of_channels_are_those_of_their_positions_put_together(architecture, seed):
    model = doubled(architecture, seed)
    images = images_for(model, 5, seed)
    signed = signed_by_autograd(model, images)
    found = similarities(model, images)
    for measure, matrices in signed.items():
        for layer, matrix in enumerate(matrices):
            scale = matrix.diagonal().clamp(min=0).sqrt()
            torch.testing.assert_close(found[measure][layer], matrix.abs(), rtol=1e-7, atol=1e-9)
            if (scale > 1e-3).all():
                normed = (matrix / scale / scale.unsqueeze(1)).abs()
                torch.testing.assert_close(found[f"{measure}_norm"][layer], normed, rtol=1e-5, atol=1e-6)


@some
@given(st.lists(st.integers(2, 6), min_size=3, max_size=5), SEEDS)
def test_gradients_and_products_say_the_same_of_dense_networks(sizes, seed):
    model = doubled(dense(tuple(sizes)), seed)
    images = images_for(model, 70, seed)  # two batches of gradients
    by_gradients = _sums_by_gradients(model, images)
    with torch.no_grad():
        by_products = _sums_by_products(model, images)
    assert by_gradients.keys() == by_products.keys()
    for measure, matrices in by_products.items():
        for found, expected in zip(by_gradients[measure], matrices, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_similarities_leave_the_network_and_its_gradients_alone():
    model = initial_model(TINY, 0)
    before = copy.deepcopy(model.state_dict())
    similarities(model, images_for(model, 5).float())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


# The graph of channels


def cut_by_hand(kernels, groups):
    """The n-cut of channels that kernels join: weight by weight.  groups: of the channels, a list per layer."""
    volume, leaving = {}, {}
    for kernel, before, after in zip(kernels, groups, groups[1:]):
        for unit, source in product(range(len(after)), range(len(before))):
            weight = sum(abs(w) for line in kernel[unit][source] for w in line)
            for own, other in ((after[unit], before[source]), (before[source], after[unit])):
                volume[own] = volume.get(own, 0) + weight
                leaving[own] = leaving.get(own, 0) + weight * (own != other)
    return sum(leaving[group] / (volume[group] + 1e-8) for group in volume)


def test_the_n_cut_of_channels_is_the_least_of_all_partitions():
    """Of a network with two groups of channels and little between them; alone, the first layer has no part in it."""
    model = doubled(convolutional((1, 8, 8), (4, 3, 4), (5, 3)), 0)
    truth = [[0, 1, 1, 0], [1, 0, 1], [0, 1, 0, 0]]
    with torch.no_grad():
        for weight, before, after in zip(model.weights[1:], truth, truth[1:]):
            weight *= torch.where(torch.tensor(after).unsqueeze(1) == torch.tensor(before), 1, 0.02)[..., None, None]
    network = Network(model, DataSet("mnist", (0, 1, 2)))
    assert graphs_of([network]) == [CONVOLUTIONS, WITH_PIXELS]
    assert graphs_of([network], without_pixels=True) == [WITHOUT_PIXELS]
    adjacency = weight_adjacency(graph_weights(network, CONVOLUTIONS))
    labels = spectral_clusters(adjacency, 2, 0)
    kernels = [weight.tolist() for weight in model.weights[1:3]]

    def cut(flat):
        return cut_by_hand(kernels, [flat[:4], flat[4:7], flat[7:]])

    every = [list(flat) for flat in product([0, 1], repeat=11) if 0 < sum(flat) < 11]
    best = min(every, key=cut)
    assert n_cut(adjacency, labels) == pytest.approx(cut(best), rel=1e-6)
    for flat in random.Random(0).sample(every, 50):
        assert n_cut(adjacency, numpy.array(flat)) == pytest.approx(cut(flat), rel=1e-6)
    assert best in (sum(truth, []), [1 - group for group in sum(truth, [])])
    assert hidden_labels(network, CONVOLUTIONS, labels).tolist() == [*labels, *[-1] * 5]


# The canonical form


@some
@given(architectures(), SEEDS)
def test_rescaling_changes_the_graph_of_channels_and_no_output(architecture, seed):
    """Whatever positive factors the channels had before, the form is the same."""
    if len(architecture.layers) < 2:
        return
    model = doubled(architecture, seed)
    scaled = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for place, (one, following) in enumerate(pairwise(scaled.layers)):
            factors = torch.exp(torch.randn(len(one.bias), generator=generator, dtype=torch.double))
            one.weight.mul_(factors.view(-1, *[1] * (one.weight.ndim - 1)))
            one.bias.mul_(factors)
            scaled.weights[place + 1].div_(factors.view(1, -1, *[1] * (scaled.weights[place + 1].ndim - 2)))
    images = images_for(model, 10, seed)
    torch.testing.assert_close(scaled(images), model(images), rtol=1e-8, atol=1e-8)
    form, other = rescaled(model), rescaled(scaled)
    torch.testing.assert_close(form(images), model(images), rtol=1e-8, atol=1e-8)
    for found, expected in zip(other.parameters(), form.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    for place, (into, bias, out) in enumerate(zip(form.weights, form.biases, form.weights[1:])):
        read = (into**2).flatten(1).sum(1) + bias**2
        passed_on = (out**2).transpose(0, 1).flatten(1).sum(1)
        torch.testing.assert_close(read, passed_on, rtol=1e-4, atol=1e-8)


def test_rescaling_keeps_what_is_pooled_by_maxima():
    model = doubled(convolutional((2, 9, 8), (4, 3), (5, 3)), 2)
    images = images_for(model, 20)
    form = rescaled(model)
    torch.testing.assert_close(form(images), model(images), rtol=1e-9, atol=1e-10)
    assert not torch.allclose(form.weights[0], model.weights[0])


# Images that drive channels


POINTS = Architecture((2, 5, 6), (Layer(6, (5, 6)), Layer(5, (1, 1)), Layer(4), Layer(3)))
"""Its maps have one position each."""


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_images_of_channels_with_one_position_are_those_of_neurons(layer):
    model = initial_model(POINTS, 0)
    equal = MLP((60, 6, 5, 4, 3))
    with torch.no_grad():
        for own, weight, bias in zip(equal.layers, model.weights, model.biases):
            own.weight.copy_(weight.flatten(1))
            own.bias.copy_(bias)
    generator = torch.Generator().manual_seed(1)
    members = torch.rand(5, model.sizes[layer], generator=generator) < 0.5
    members[:, 0] = True
    found, expected = (
        optimal_images(one, (2, 5, 6), layer, members, torch.Generator().manual_seed(2)) for one in (model, equal)
    )
    assert found[0].shape == (5, 2, 5, 6)
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert (found[2] > found[1]).all()
    entropies = [output_entropies(one, found[0]) for one in (model, equal)]
    torch.testing.assert_close(*entropies, rtol=1e-6, atol=1e-9)


def test_an_image_drives_the_mean_of_a_map():
    """Its score is the sum of |mean of the map before ReLU|."""
    model = initial_model(convolutional((1, 8, 8), (4, 3), (5, 3)), 1)
    members = torch.eye(3, dtype=torch.bool)
    images, first, scores = optimal_images(model, (1, 8, 8), 2, members, torch.Generator().manual_seed(0))
    one, two, *_ = model.layers
    with torch.no_grad():
        maps = nn.functional.conv2d(images, one.weight, one.bias, padding=1).relu()
        maps = nn.functional.conv2d(maps, two.weight, two.bias, padding=1)
    torch.testing.assert_close(scores, maps.mean((2, 3)).diagonal().abs(), rtol=1e-5, atol=1e-6)
    assert (scores > first).all()


# Initial weights


@pytest.mark.parametrize("architecture", [convolutional((1, 16, 16), (20, 30), (40, 10)), TINY])
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


# Training

NET = convolutional((1, 8, 8), (4, 6), (5, 3))


def plain_sequential(model):
    """The network in torch's own layers, with the same weights."""
    plain = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(96, 5),
        nn.ReLU(),
        nn.Linear(5, 3),
    ).double()
    with torch.no_grad():
        for parameter, values in zip(plain.parameters(), model.parameters(), strict=True):
            parameter.copy_(values)
    return plain


@lru_cache(maxsize=1)
def squares():
    """150 images [n, 64] of a bright line at one of three places, and noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (150,), generator=generator)
    images = torch.rand(150, 8, 8, generator=generator, dtype=torch.double)
    for image, label in zip(images, labels.tolist()):
        image[:, 2 * label + 1] += 0.7
    return images.flatten(1), labels


def trained(seeds, separate=False, **options):
    """As in test_training: networks of some seeds, trained and validated on all images, in double precision."""
    images, labels = squares()
    models = [initial_model(NET, seed).double() for seed in seeds]
    generators = [torch.Generator().manual_seed(5 + seed) for seed in (seeds if separate else [0])]
    everything = torch.arange(len(labels))
    splits = [(everything, everything)] * len(generators)
    options = {"epochs": 2, "batch_size": 32, "learning_rate": 1e-2} | options
    return models, list(train(models, images, labels, splits, generators, **options))


def plain_loop(l1=0, l2=0, factors=None, epochs=2):
    """As `trained` of seed 0, by torch.optim.Adam.  factors: what to multiply what is read of each hidden layer by."""
    images, labels = squares()
    plain = plain_sequential(initial_model(NET, 0))
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(5)
    read_by = 2, 6, 8  # the layers that read hidden ones, of which the second flattens
    for _ in range(epochs):
        for batch in torch.randperm(len(labels), generator=generator).split(32):
            values = images[batch].view(-1, 1, 8, 8)
            for place, layer in enumerate(plain):
                if factors and place in read_by:
                    own = factors(read_by.index(place), len(batch))
                    values = values * (own.movedim(-1, 0).reshape(values.shape))
                values = layer(values)
            penalty = sum(
                l1 * layer.weight.abs().sum() + l2 * (layer.weight**2).sum()
                for layer in plain
                if hasattr(layer, "weight")
            )
            optimizer.zero_grad()
            (cross_entropy(values, labels[batch]) + penalty).backward()
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


def test_dropped_are_the_maps_that_are_read(monkeypatch):
    """With factors that can be foretold, for each position of the pooled maps, training equals a plain loop."""
    shapes = (4, 8, 8), (6, 4, 4), (5,)

    def foretold(place, images):
        count = prod(shapes[place]) * images
        return (2.0 * ((torch.arange(count) * 7 + place) % 3 > 0)).double().view(*shapes[place], images)

    def factors(architecture, images, *_):
        assert architecture.read[1:] == shapes
        return [foretold(place, images).unsqueeze(0) for place in range(3)]

    monkeypatch.setattr(mlp.training, "_dropout_factors", factors)
    (model,), _ = trained([0], dropout=0.5)
    assert same_numbers(model, plain_loop(factors=foretold))


def test_in_maps_half_as_many_activations_are_dropped():
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    noise = mlp.training._dropout_noise(torch.tensor([0.6, 0.6]), generators, torch.device("cpu"))
    layers = mlp.training._dropout_factors(NET, 500, noise, torch.arange(2))
    assert [tuple(factors.shape) for factors in layers] == [(2, 4, 8, 8, 500), (2, 6, 4, 4, 500), (2, 5, 500)]
    for factors, rate in zip(layers, (0.3, 0.3, 0.6)):
        values, counts = factors.unique(return_counts=True)
        assert values.tolist() == pytest.approx([0, 1 / (1 - rate)])
        assert counts[0] / factors.numel() == pytest.approx(rate, abs=0.015)
        assert not torch.equal(*factors)
        within = (factors == 0).flatten(2).double().mean(2)  # a channel is not dropped as a whole
        assert (within - rate).abs().max() < 0.1


OPTIONS = {
    "plain": {},
    "separate": {"separate": True},
    "noise": {"dropout": 0.4, "pruning": (0.3, 0.8)},
    "sweep": {"learning_rate": [1e-2, 3e-3, 5e-3], "dropout": [0.4, 0, 0.2], "l2": [0, 1e-2, 1e-3], "separate": True},
    "stops": {"epochs": 12, "early_stopping": 1, "lr_decay": (0.5, 0), "learning_rate": [0.05, 0.002, 0.1]},
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
    logits = plain_sequential(model)(images.view(-1, 1, 8, 8))
    for name, own in (("training", order[:40]), ("validation", order[110:])):
        assert row[f"{name}_loss"] == pytest.approx(cross_entropy(logits[own], labels[own]).item(), rel=1e-6)
        right = (logits[own].argmax(1) == labels[own]).double().mean().item()
        assert row[f"{name}_accuracy"] == pytest.approx(right)


def test_pruning_leaves_the_share_of_zeros_in_each_kernel():
    """Those of the smallest |w|, of all weights of a layer together."""
    models, _ = trained([0, 1], pruning=(0.3, 0.8), epochs=3)
    dense_models, _ = trained([0, 1], epochs=3)
    for model, other in zip(models, dense_models):
        for weight, full in zip(model.weights, other.weights, strict=True):
            assert (weight == 0).sum() == weight.numel() - round(weight.numel() * (1 - 0.8))
            assert (full != 0).all()
        assert all(bias.all() for bias in model.biases)
        assert any(0 < count < 9 for count in (model.weights[1] != 0).sum((2, 3)).flatten().tolist())


def test_weights_to_keep_are_the_largest_of_a_kernel():
    generator = torch.Generator().manual_seed(0)
    kernels = torch.randn(3, 4, 2, 3, 3, generator=generator)
    kept = mlp.training.largest_weights(kernels, 0.75)
    for kernel, its_kept in zip(kernels, kept):
        assert its_kept.sum() == 18
        assert kernel[its_kept].abs().min() > kernel[~its_kept].abs().max()


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


# From data to tables: each script on small networks of generated images


OUTPUTS = 5, 7, 8, 9
NAMES = "Sandal", "Sneaker", "Bag", "Ankle boot"


def striped(labels, generator, side=28):
    """Noise, and a bright stripe at a place that the class decides."""
    images = generator.integers(0, 90, (len(labels), side, side))
    for image, label in zip(images, labels):
        image[:, 2 * label + 3 : 2 * label + 6] += 150
    return images


@pytest.fixture(scope="module")
def wardrobe(tmp_path_factory):
    """A data folder with a few hundred generated images in the files of FashionMNIST and MNIST."""
    place = tmp_path_factory.mktemp("data")
    generator = numpy.random.default_rng(0)
    for name, classes in (("FashionMNIST", OUTPUTS), ("MNIST", range(4))):
        splits = {}
        for split, count in (("train", 320), ("t10k", 160)):
            labels = generator.permutation(numpy.resize(classes, count))
            splits[split] = striped(labels, generator), labels
        write_collection(place, name, splits)
    return place


def trained_networks(wardrobe, place, *options):
    """Two small networks, trained and pruned: where their checkpoint and figures are, and what was printed."""
    words = "--dataset fashion --classes 5,7-9 --channels 4,4,4 --hidden-layers 8 --epochs 5 --batch-size 16 --lr 0.003"
    words += " --networks 2 --pruning 0.2,0.5 --pruning-epochs 3"
    where = "--data-dir", wardrobe, "--save-dir", place, "--figures-dir", place, "--jobs", 1
    done = succeed("train.py", *words.split(), *where, *options)
    return place / "cnn_fashion5789.pt", done.stdout


@pytest.fixture(scope="module")
def shoes(wardrobe, tmp_path_factory):
    return trained_networks(wardrobe, tmp_path_factory.mktemp("shoes"))


@pytest.fixture(scope="module")
def planted_shoes(wardrobe, tmp_path_factory):
    return trained_networks(wardrobe, tmp_path_factory.mktemp("planted"), "--planted-groups", 2)[0]


def test_training_saves_networks_that_read_the_images(shoes, wardrobe):
    checkpoint, printed = shoes
    assert all(name in printed for name in NAMES)
    assert "digit" not in printed
    networks, about = load_records(checkpoint)
    assert (about["dataset"], about["classes"]) == ("fashion", list(OUTPUTS))
    unpruned, _ = load_records(checkpoint.with_name("cnn_fashion5789_unpruned.pt"))
    images, labels = DataSet("fashion", OUTPUTS).load(False, wardrobe)
    for network, before in zip(networks, unpruned, strict=True):
        assert network.data == DataSet("fashion", OUTPUTS)
        assert network.model.architecture == convolutional((1, 28, 28), (4, 4, 4), (8, 4))
        for weight, full in zip(network.weights, before.weights):
            assert (weight == 0).sum() == weight.numel() - round(weight.numel() * (1 - 0.5))
            assert full.all()
    for network, test in zip(networks, about["record"]["test"], strict=True):
        right = (network.model(images).argmax(1) == labels).double()
        assert test["accuracy"] == pytest.approx(right.mean().item())
        assert test["accuracy"] > 0.9, "stripes are easily told apart"
        for place, label in enumerate(OUTPUTS):
            assert test[f"accuracy_{label}"] == pytest.approx(right[labels == place].mean().item())
    assert figures_are_there(checkpoint.parent, "training_history")


def analysed(script, wardrobe, folder, *words, data=True):
    where = ["--figures-dir", folder, *(["--data-dir", wardrobe, "--jobs", 1] if data else [])]
    return succeed(script, *words, *where).stdout


@pytest.mark.parametrize("norm", ["sum", "column"])
def test_centralities_are_those_of_channels(shoes, wardrobe, tmp_path, norm):
    checkpoint, _ = shoes
    words = checkpoint, "--kernel-norm", norm
    assert "2 networks have" in analysed("network_analysis.py", wardrobe, tmp_path, *words, data=False)
    rows = table(tmp_path / "centralities.csv")
    assert len(rows) == 2 * (1 + 4 + 4 + 4 + 8 + 4)
    network = replace(load_records(checkpoint)[0][1], norm=norm)
    for layer in range(1, 6):
        own = [row for row in rows if (row["network"], row["layer"]) == ("1", str(layer))]
        expected = network.strengths[layer - 1].sum(1).tolist()
        assert [float(row["in_degree"]) for row in own] == pytest.approx(expected, rel=1e-4)
    assert figures_are_there(tmp_path, "centralities", "network")


def test_rescaled_centralities_are_those_of_the_canonical_form(shoes, wardrobe, tmp_path):
    analysed("network_analysis.py", wardrobe, tmp_path, shoes[0], "--rescale", "--network", 0, data=False)
    own = [row for row in table(tmp_path / "centralities.csv") if row["layer"] == "2"]
    expected = load_records(shoes[0])[0][0].rescaled().strengths[1].sum(1).tolist()
    assert [float(row["in_degree"]) for row in own] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("level", ["zero", "mean"])
def test_candidates_are_channels_and_neurons(shoes, wardrobe, tmp_path, level):
    options = "--ablate-to", level, "--null-limit", 40, "--max-candidates", 4, "--kernel-norm", "column"
    printed = analysed(ABLATION, wardrobe, tmp_path, shoes[0], "--network", 0, *options)
    assert all(name in printed for name in NAMES)
    rows = table(tmp_path / "ablation_per_digit.csv")
    assert rows and figures_are_there(tmp_path, "ablation_per_digit")
    assert "Verdict: over 2 networks" in analysed(ABLATION, wardrobe, tmp_path, shoes[0], *options)
    assert figures_are_there(tmp_path, "ablation_networks")


@pytest.mark.parametrize("options", [[], ["--without-pixels"], ["--kernel-norm", "column"], ["--rescale"]])
def test_clusters_and_lesions_of_channels(shoes, wardrobe, tmp_path, options):
    words = "--clusters", 2, "--shuffles", 2, "--lesions", "--draws", 3, "--pair-draws", 2, "--network", 0
    printed = analysed(CLUSTERING, wardrobe, tmp_path, shoes[0], *words, *options)
    assert "lesions of" in printed and "Verdict" in printed
    rows = table(tmp_path / "clusterability.csv")
    graph = WITHOUT_PIXELS if "--without-pixels" in options else CONVOLUTIONS
    assert rows[0]["graph"] == graph
    network = load_records(shoes[0])[0][0]
    network = replace(network, norm="column") if "column" in options else network
    network = network.rescaled() if "--rescale" in options else network
    kernels = network.strengths[1:3] if graph == CONVOLUTIONS else network.strengths[1:]
    joined = [bool(edge) for kernel in kernels for edge in kernel.flatten()]
    assert int(rows[0]["edges"]) == sum(joined)
    adjacency = weight_adjacency(kernels)
    labels = spectral_clusters(adjacency, 2, 0)
    assert float(rows[0]["n_cut"]) == pytest.approx(n_cut(adjacency, labels), rel=1e-6)
    assert figures_are_there(tmp_path, "clusterability", "clusters", "lesions")
    lesions = table(tmp_path / "lesions.csv")
    last = 3 if graph == CONVOLUTIONS else 4
    assert {row["layer"] for row in lesions} == set(map(str, range(1, last + 1)))
    images, labels_of_images = network.data.load(False, wardrobe)
    alive = hidden_labels(network, graph, labels)
    counts = torch.bincount(labels_of_images)
    for row in lesions:
        assert (row["condition"], row["network"]) == (network.condition, "0")
        of_layer = numpy.repeat([1, 2, 3, 4], network.model.hidden_sizes) == int(row["layer"])
        module = torch.from_numpy(of_layer & (alive == int(row["cluster"])))
        hits = ablated_hits(network.model, torch.stack([module, module & False]), images, labels_of_images) / counts
        change = (hits[0].mean() - hits[1].mean()).item()
        assert float(row["change"]) == pytest.approx(change, abs=1e-6)


def test_parts_of_channels_are_measured(shoes, wardrobe, tmp_path):
    words = "--clusters", 3, "--draws", 3
    printed = analysed(SPECIALIZATION, wardrobe, tmp_path, shoes[0], *words)
    assert "Primary test" in printed
    assert "digit " not in printed
    rows = table(tmp_path / "specialization.csv")
    assert {row["layer"] for row in rows} == set("1234")
    assert {row["network"] for row in rows} == set("01")
    assert figures_are_there(tmp_path, "specialization_lesions", "specialization_digits")


def test_similarities_of_channels_are_compared_with_untrained_networks(shoes, wardrobe, tmp_path):
    words = "--untrained", 3, "--restarts", 2, "--least-accuracy", 0.3
    printed = analysed(SIMILARITY, wardrobe, tmp_path, shoes[0], *words)
    assert "Verdict" in printed
    assert record(tmp_path / "upstream_downstream.json")["images"] == 160
    clusters = table(tmp_path / "upstream_downstream_clusters.csv")
    assert len(clusters) == 2 * (4 + 4 + 4 + 8)
    assert figures_are_there(tmp_path, "upstream_downstream_modularity", "upstream_downstream_matrices")


def test_definitions_agree_or_not_on_channels(shoes, wardrobe, tmp_path):
    printed = analysed(RECOVERY, wardrobe, tmp_path, shoes[0], "--clusters", 2)
    assert "agreement where nothing is planted" in printed
    assert {row["condition"] for row in table(tmp_path / "recovery_agreement_networks.csv")}
    assert figures_are_there(tmp_path, "recovery_agreement")


def test_planted_groups_of_channels_are_looked_for(planted_shoes, wardrobe, tmp_path):
    networks, _ = load_records(planted_shoes)
    groups = planted_groups((1, 4, 4, 4, 8, 4), 2)
    for network in networks:
        assert network.groups == torch.cat(groups[:-1]).tolist()
        for weight, (before, after) in zip(network.weights[1:], pairwise(groups), strict=True):
            across = after.unsqueeze(1) != before
            assert not weight[across].any() and weight[~across].any()
    printed = analysed(RECOVERY, wardrobe, tmp_path, planted_shoes, "--clusters", 2)
    assert "recovery (adjusted Rand index" in printed
    rows = table(tmp_path / "recovery_networks.csv")
    free = [row for row in rows if row["definition"] == "weights, without pixels" and row["asked"] == "2"]
    assert [float(row["adjusted_rand"]) for row in free] == [pytest.approx(1)] * 2, "no weight joins the groups"
    assert figures_are_there(tmp_path, "recovery")


def test_channels_in_groups_leave_nothing_to_cut(planted_shoes, wardrobe, tmp_path):
    """Nor does any copy that keeps zeros in their places."""
    words = "--clusters", 2, "--shuffles", 2, "--network", 0
    assert "Verdict" in analysed(CLUSTERING, wardrobe, tmp_path, planted_shoes, *words)
    row, *_ = table(tmp_path / "clusterability.csv")
    assert row["graph"] == CONVOLUTIONS
    assert float(row["n_cut"]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("dataset, channels", [("halves", 1), ("stacked-same", 2), ("stacked-fashion", 2)])
def test_pairs_of_images_can_be_trained_on_and_analysed(wardrobe, tmp_path, dataset, channels):
    classes = "0,2,4" if dataset == "stacked-fashion" else "1-3"  # sums of 5, 7, 8, 9 modulo 10, or of 0 to 3
    chosen = "--dataset", dataset, "--classes", classes
    words = "--channels", "2,3", "--hidden-layers", 4, "--epochs", 1, "--data-dir", wardrobe, "--jobs", 1
    done = succeed("train.py", *chosen, *words, "--save-dir", tmp_path, "--figures-dir", tmp_path)
    assert ("sum 2" in done.stdout) == (dataset != "stacked-same")
    (checkpoint,) = tmp_path.glob("cnn_*.pt")
    assert checkpoint.name == f"cnn_{dataset}{'024' if dataset == 'stacked-fashion' else '123'}.pt"
    (network,), _ = load_records(checkpoint)
    assert network.model.architecture.input_shape == (channels, 28, 28)
    assert network.model.sizes == (channels, 2, 3, 4, 3)
    assert analysed("network_analysis.py", wardrobe, tmp_path, checkpoint, data=False)
    assert analysed(ABLATION, wardrobe, tmp_path, checkpoint, "--null-limit", 10)


# Bad input


def refused(folder, script, *words):
    """What is said on stderr by a script that must refuse its input in one sentence and write nothing."""
    done = call(script, *words, "--figures-dir", folder / "new")
    assert done.returncode == 2, done.stdout
    (said,) = (line for line in done.stderr.strip().splitlines() if line and "%|" not in line)  # but for the bars
    assert said.startswith(f"{script}: ")
    assert not (folder / "new").exists() or not list((folder / "new").iterdir())
    return said


ON_IMAGES = {
    ABLATION: (),
    CLUSTERING: ("--lesions", "--clusters", 2, "--shuffles", 2),
    SPECIALIZATION: ("--clusters", 2),
    SIMILARITY: (),
    RECOVERY: ("--clusters", 2),
}


@pytest.mark.parametrize("script", ["network_analysis.py", ABLATION, CLUSTERING, SPECIALIZATION, SIMILARITY, RECOVERY])
def test_a_contradiction_of_the_checkpoint_is_refused(shoes, tmp_path, script):
    said = refused(tmp_path, script, shoes[0], "--dataset", "mnist")
    assert "--dataset mnist" in said and "fashion" in said
    assert "--classes 1,2" in refused(tmp_path, script, shoes[0], "--classes", "1,2")
    said = refused(tmp_path, script, shoes[0], "--dataset", "unknown")
    assert "'unknown' is none of mnist, fashion" in said
    assert "'frobenius'" in refused(tmp_path, script, shoes[0], "--kernel-norm", "frobenius") or script == SIMILARITY


def test_training_on_what_is_unknown_is_refused(wardrobe, tmp_path):
    words = "--save-dir", tmp_path / "new", "--data-dir", wardrobe
    assert "'unknown' is none of" in refused(tmp_path, "train.py", *words, "--dataset", "unknown")
    said = refused(tmp_path, "train.py", *words, "--dataset", "fashion", "--classes", "5,6")
    assert "--classes 6" in said and "choose from 5,7,8,9" in said
    for channels in ("0", "4,", "x", "4,-1"):
        assert "--channels" in refused(tmp_path, "train.py", *words, "--channels", channels)


def test_more_poolings_than_the_images_have_room_for_are_refused(wardrobe, tmp_path):
    words = "--save-dir", tmp_path / "new", "--data-dir", wardrobe, "--dataset", "fashion", "--classes", "5,7"
    assert "--channels 2,2,2,2,2,2" in refused(tmp_path, "train.py", *words, "--channels", "2,2,2,2,2,2")


DAMAGES = {
    "none": lambda architecture: None,
    "no layers": lambda architecture: architecture | {"layers": []},
    "other units": lambda architecture: (
        architecture | {"layers": [one | {"units": 3} for one in architecture["layers"]]}
    ),
    "a window of text": lambda architecture: (
        architecture | {"layers": [architecture["layers"][0] | {"kernel": "3,3"}, *architecture["layers"][1:]]}
    ),
    "another image": lambda architecture: architecture | {"input_shape": [1, 40, 28]},
    "a pooling of its own": lambda architecture: (
        architecture
        | {"layers": [architecture["layers"][0] | {"pools": [["Linear", []]]}, *architecture["layers"][1:]]}
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_architecture_is_refused(shoes, tmp_path, damage):
    content = torch.load(shoes[0], weights_only=True)
    about = strict(content["about"])
    about["architecture"] = DAMAGES[damage](about["architecture"])
    torch.save(content | {"about": json.dumps(about)}, tmp_path / "damaged.pt")
    for script in ("network_analysis.py", CLUSTERING):
        said = refused(tmp_path, script, tmp_path / "damaged.pt")
        assert "damaged.pt: " in said


@pytest.fixture(scope="module")
def large_images(tmp_path_factory):
    """A network of another's, of images of 3 x 32 x 32 that are not known here."""
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
    path = tmp_path_factory.mktemp("own") / "mine.pt"
    save_network(path, module.eval(), (3, 32, 32))
    return path


def test_an_own_network_of_unknown_images_can_be_seen_as_a_graph(large_images, wardrobe, tmp_path):
    printed = analysed("network_analysis.py", wardrobe, tmp_path / "a", large_images, data=False)
    assert "candidates" in printed
    assert len(table(tmp_path / "a" / "centralities.csv")) == 3 + 4 + 6 + 5 + 3
    printed = analysed(CLUSTERING, tmp_path, tmp_path / "b", large_images, "--clusters", 2, "--shuffles", 2)
    assert "Verdict" in printed
    assert {row["graph"] for row in table(tmp_path / "b" / "clusterability.csv")} == {CONVOLUTIONS, WITH_PIXELS}


@pytest.mark.parametrize("script", ON_IMAGES)
def test_an_own_network_of_unknown_images_is_refused_where_images_are_read(large_images, wardrobe, tmp_path, script):
    where = "--data-dir", wardrobe, "--jobs", 1
    said = refused(tmp_path, script, large_images, *ON_IMAGES[script], *where)
    assert "name them with --dataset" in said


@pytest.mark.parametrize("script", ON_IMAGES)
def test_images_of_another_size_than_a_network_reads_are_refused(wardrobe, tmp_path, script):
    """Of a network that is said to be of a data set, which cannot be."""
    model = initial_model(convolutional((3, 32, 32), (4, 4), (5, 4)), 0)
    described = model.architecture.described()
    save_checkpoint(tmp_path / "mine.pt", model, dataset="fashion", classes=OUTPUTS, architecture=described)
    where = "--data-dir", wardrobe, "--jobs", 1
    said = refused(tmp_path, script, tmp_path / "mine.pt", *ON_IMAGES[script], *where)
    assert "3 x 32 x 32" in said and "1 x 28 x 28" in said and "fashion" in said
