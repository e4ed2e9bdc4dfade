"""Networks of convolutions: they are what their matrices say, train as plain PyTorch does, and pass all analyses."""

import copy
import json
import random
from dataclasses import dataclass, replace
from itertools import pairwise, product
from math import isnan, prod

import numpy
import pytest
import torch
from conftest import call, strict, succeed
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st
from runs import ABLATION, CLUSTERING, RECOVERY, SIMILARITY, SPECIALIZATION, figures_are_there, record, table
from test_architecture import in_torch
from test_data import write_collection
from torch import nn
from torch.nn.functional import cross_entropy

import mlp.model
import mlp.training
import modularity.ablation
import modularity.similarity
from mlp.architecture import Architecture, Layer, convolutional, over_slices
from mlp.data import DataSet
from mlp.model import MLP, Model, initial_model
from mlp.network import Network, load_records
from mlp.planting import planted_connections, planted_groups
from mlp.rescaling import rescaled
from mlp.training import train, train_networks
from modularity.ablation import ablated_hits, mean_activations, turned_images
from modularity.clusterability import CONVOLUTIONS, WITH_PIXELS, WITHOUT_PIXELS, clustered, gap_tests, graph_weights
from modularity.clusterability import graphs_of, hidden_labels, network_row
from modularity.clustering import n_cut, spectral_clusters
from modularity.graph import weight_adjacency
from modularity.optimal_images import optimal_images, output_entropies
from modularity.similarity import RAW_MEASURES, similarities, similarity_images

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


@torch.no_grad()
def as_matrices(model):
    """(poolings, matrix, bias of each row, shapes of maps before pooling, as they are read, as computed) per layer."""
    shape, layers = model.architecture.input_shape, []
    for layer, weight, bias in zip(model.architecture.layers, model.weights, model.biases):
        pools = nn.Sequential(*(getattr(nn, name)(**dict(arguments)) for name, arguments in layer.pools))
        before, read = shape, tuple(pools(torch.zeros(1, *shape))[0].shape)
        matrix, shape = weight.reshape(len(weight), -1), (len(weight),)
        if layer.kernel:
            matrix, shape = matrix_of_kernel(weight, read, layer)
        layers.append((pools, matrix.clone(), bias.repeat_interleave(prod(shape[1:])), before, read, shape))
    return layers


@torch.no_grad()
def equal_mlp(model):
    """The MLP whose neurons are the positions of the maps, and the shapes of these; where averages alone are pooled."""
    layers = as_matrices(model)
    equal = MLP((prod(model.architecture.input_shape), *(len(matrix) for _, matrix, *_ in layers))).double()
    for own, (pools, matrix, bias, before, *_) in zip(equal.layers, layers):
        pixels = torch.eye(prod(before), dtype=torch.double).view(-1, *before)
        own.weight.copy_(matrix @ pools(pixels).flatten(1).T)
        own.bias.copy_(bias)
    return equal, [shape for *_, shape in layers]


HALVED = (("AvgPool2d", (("kernel_size", 2),)),)
TINY = Architecture(
    (2, 5, 5),
    (Layer(3, (3, 3), padding=(1, 1)), Layer(4, (2, 2), stride=(2, 2)), Layer(3, pools=HALVED), Layer(3)),
)
PADDED = (
    ("AvgPool2d", (("kernel_size", 3), ("stride", 1), ("padding", 1))),
    ("MaxPool2d", (("kernel_size", 2),)),
)
"""After this a map that was the same everywhere is so no more."""
BORDERED = Architecture((1, 8, 8), (Layer(6, (3, 3)), Layer(5, (2, 2), pools=PADDED), Layer(4), Layer(3)))
MAXIMA = convolutional((2, 9, 8), (6, 5), (7, 3))
"""What pools by maxima, which are no matrix."""


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
def test_a_strength_is_what_one_use_of_a_weight_adds_to_the_matrix(architecture, seed):
    """Without padding each weight of a kernel appears once for each position of the map that it makes; a strength is
    the sum of |w| of the block of two units, divided by that number.  Or it is a norm of the slice."""
    layers = tuple(replace(layer, padding=(0, 0)) for layer in architecture.layers)
    try:
        model = doubled(Architecture(architecture.input_shape, layers), seed)
    except (RuntimeError, ValueError):
        reject()  # the windows do not fit without padding
    network = Network(model, DataSet(None, tuple(range(model.sizes[-1]))))
    for (_, matrix, _, _, read, shape), strength in zip(as_matrices(model), network.strengths, strict=True):
        blocks = matrix.abs().view(shape[0], prod(shape[1:]), read[0], prod(read[1:])).sum((1, 3))
        torch.testing.assert_close(strength, blocks / prod(shape[1:]), rtol=1e-9, atol=1e-12)
    for weight, strength in zip(model.weights, replace(network, norm="column").strengths, strict=True):
        expected = torch.linalg.matrix_norm(weight, ord=1) if weight.ndim == 4 else weight.abs()
        torch.testing.assert_close(strength, expected, rtol=1e-12, atol=0)


# Silence


@torch.no_grad()
def silenced_by_hand(model, module, levels, images):
    """The logits where all positions of the module's channels have their channel's level, matrix by matrix."""
    widths, values = model.hidden_sizes, images
    silent = [*zip(module.split(widths), levels.split(widths)), (None, None)]
    for (pools, matrix, bias, before, _, shape), (mask, own) in zip(as_matrices(model), silent):
        values = pools(values.view(-1, *before)).flatten(1) @ matrix.T + bias
        if mask is not None:
            mask, own = (each.repeat_interleave(prod(shape[1:])) for each in (mask, own))
            values = torch.where(mask, own, values.relu())
    return values


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
@example(architecture=MAXIMA, seed=3)
@example(architecture=BORDERED, seed=3)
def test_a_silent_channel_is_all_of_its_positions(level, architecture, seed):
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
    intact = silenced_by_hand(model, modules[0], levels, images)
    torch.testing.assert_close(model(images), intact, rtol=1e-9, atol=1e-10)


def test_the_batches_of_images_change_nothing(monkeypatch):
    model = doubled(convolutional((1, 8, 8), (5, 6), (7, 3)), 1)
    images, labels = images_for(model, 50), torch.arange(50) % 3
    modules = random_modules(model, 30, 0)
    levels = torch.rand(18, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    expected = ablated_hits(model, modules, images, labels, levels)
    assert len(expected.unique(dim=0)) > 3
    means, values = mean_activations(model, images), model.preactivations(images)
    for module, name in ((modularity.ablation, "MAP_NUMBERS"), (mlp.model, "BATCH_NUMBERS")):
        monkeypatch.setattr(module, name, 7 * widest(model))
    assert torch.equal(ablated_hits(model, modules, images, labels, levels), expected)
    torch.testing.assert_close(mean_activations(model, images), means, rtol=1e-12, atol=0)
    for found, own in zip(model.preactivations(images), values, strict=True):
        torch.testing.assert_close(found, own, rtol=1e-12, atol=1e-12)


def widest(model):
    """How many numbers the layer that computes most computes of an image."""
    return max(map(prod, model.architecture.shapes))


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
        monkeypatch.setattr(modularity.ablation, "MAP_NUMBERS", batch * widest(model))
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
def test_what_a_channel_says_of_an_image_is_the_mean_of_its_positions(architecture, seed):
    """Before its ReLU, or over images after it."""
    model = doubled(architecture, seed)
    equal, shapes = equal_mlp(model)
    assert architecture.shapes == tuple(shapes)
    images = images_for(model, 700 if seed % 2 else 5, seed)  # more than one batch, or less
    values = [own.unflatten(1, (-1, prod(shape[1:]))) for own, shape in zip(equal.preactivations(images), shapes)]
    for found, own in zip(model.preactivations(images), values, strict=True):
        torch.testing.assert_close(found, own.mean(2), rtol=1e-9, atol=1e-10)
    expected = [own.relu().mean((0, 2)) for own in values[:-1]]
    torch.testing.assert_close(mean_activations(model, images), torch.cat(expected), rtol=1e-9, atol=1e-12)


# Similarity


def signed_by_autograd(model, images):
    """The four measures of Lange et al. (2022) of the equal MLP, neuron by neuron, channels put together at the end.

    Upstream a channel is the mean of its positions, downstream the sum: all of the map is shifted alike.
    """
    equal, shapes = equal_mlp(model)
    found = {measure: [] for measure in RAW_MEASURES}

    def hidden(layer, pixels):
        return equal.values(pixels.unsqueeze(0))[layer].relu().squeeze(1)

    def logits(layer, activations):
        for following in equal.layers[layer + 1 :]:
            activations = following(activations)
            if following is not equal.layers[-1]:
                activations = activations.relu()
        return activations

    for layer, (units, *sides) in enumerate(shapes[:-1]):
        total = torch.eye(units, dtype=torch.double).repeat_interleave(prod(sides), dim=1)  # [units, positions]
        mean = total / prod(sides)
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


def test_of_many_images_a_thousand_are_compared(monkeypatch):
    """Evenly spaced, with the first and the last; and in batches, whose size changes nothing."""
    model = doubled(TINY, 1)
    images = images_for(model, 1500)
    chosen = similarity_images(model, images)
    places = torch.isin(images[:, 0], chosen[:, 0]).nonzero().flatten()
    assert torch.equal(images[places], chosen)
    assert (len(places), places[0], places[-1]) == (1000, 0, 1499)
    assert set(places.diff().tolist()) == {1, 2}
    assert torch.equal(similarity_images(model, chosen), chosen)
    found = similarities(model, images)
    monkeypatch.setattr(modularity.similarity, "GRADIENT_NUMBERS", 40 * 4 * 50)
    for measure, matrices in similarities(model, chosen).items():
        for own, expected in zip(found[measure], matrices, strict=True):
            torch.testing.assert_close(own, expected, rtol=1e-9, atol=1e-12)


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
    model = doubled(convolutional((1, 8, 8), (4, 3, 3), (5, 3)), 0)
    truth = [[0, 1, 1, 0], [1, 0, 1], [0, 1, 0]]
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

    every = [list(flat) for flat in product([0, 1], repeat=10) if 0 < sum(flat) < 10]
    best = min(every, key=cut)
    assert n_cut(adjacency, labels) == pytest.approx(cut(best), rel=1e-6)
    for flat in random.Random(0).sample(every, 50):
        assert n_cut(adjacency, numpy.array(flat)) == pytest.approx(cut(flat), rel=1e-6)
    assert best in (sum(truth, []), [1 - group for group in sum(truth, [])])
    assert hidden_labels(network, CONVOLUTIONS, labels).tolist() == [*labels, *[-1] * 5]


def test_channels_in_groups_leave_nothing_to_cut():
    """Nor does any copy that keeps zeros in their places, of which no share can be told."""
    networks = []
    for seed in (0, 1):
        model = doubled(convolutional((1, 8, 8), (6, 6), (6, 6)), seed)
        with torch.no_grad():
            for weight, present in zip(model.weights[1:], planted_connections(model.sizes, 2, 0, seed)):
                weight *= over_slices(present, weight)
        networks.append(Network(model, DataSet(None, tuple(range(6))), number=seed, seed=seed))
    for graph in (CONVOLUTIONS, WITHOUT_PIXELS):
        found = clustered(networks, 2, 2, 0, 1, graph)
        for line in gap_tests([network_row(*own, graph) for own in zip(networks, found)]):
            kept = line["shuffle"] != "layer"
            assert (line["n_cut"], line["shuffled_n_cut"] == 0) == (0, kept)
            assert isnan(line["gap_share"]) if kept else line["gap_share"] == -1


# The canonical form


@some
@given(architectures(), SEEDS)
@example(MAXIMA, 2)
def test_rescaling_changes_the_graph_of_channels_and_no_output(architecture, seed):
    """Whatever positive factors the channels had before, the form is the same."""
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
    maps = in_torch(model)[:3](images)  # the second convolution
    torch.testing.assert_close(scores, maps.mean((2, 3)).diagonal().abs(), rtol=1e-5, atol=1e-6)
    assert (scores > first).all()


# Training

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


# From data to tables: each script on small networks of generated images


OUTPUTS = 5, 7, 8, 9
NAMES = "Sandal", "Sneaker", "Bag", "Ankle boot"


@pytest.fixture(scope="module")
def wardrobe(tmp_path_factory):
    """A data folder with a few hundred generated images in the files of FashionMNIST."""
    place = tmp_path_factory.mktemp("data")
    generator = numpy.random.default_rng(0)
    splits = {}
    for split, count in (("train", 320), ("t10k", 160)):
        labels = generator.permutation(numpy.resize(OUTPUTS, count))
        splits[split] = striped(labels, generator), labels
    write_collection(place, "FashionMNIST", splits)
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


def test_centralities_are_those_of_channels(shoes, wardrobe, tmp_path):
    checkpoint, _ = shoes
    words = checkpoint, "--kernel-norm", "column"
    assert "2 networks have" in analysed("network_analysis.py", wardrobe, tmp_path, *words, data=False)
    rows = table(tmp_path / "centralities.csv")
    assert len(rows) == 2 * (1 + 4 + 4 + 4 + 8 + 4)
    network = replace(load_records(checkpoint)[0][1], norm="column")
    for layer in range(1, 6):
        own = [row for row in rows if (row["network"], row["layer"]) == ("1", str(layer))]
        expected = network.strengths[layer - 1].sum(1).tolist()
        assert [float(row["in_degree"]) for row in own] == pytest.approx(expected, rel=1e-4)
    assert figures_are_there(tmp_path, "centralities", "network")


@pytest.mark.parametrize(
    "options, figure",
    [(["--network", 0], "ablation_per_digit"), (["--ablate-to", "mean"], "ablation_networks")],
    ids=["one, silenced to zero", "two, silenced to their means"],
)
def test_candidates_are_channels_and_neurons(shoes, wardrobe, tmp_path, options, figure):
    options = *options, "--null-limit", 40, "--max-candidates", 4, "--kernel-norm", "column"
    printed = analysed(ABLATION, wardrobe, tmp_path, shoes[0], *options)
    if "--network" in options:
        assert all(name in printed for name in NAMES)
    else:
        assert "Verdict: over 2 networks" in printed
    assert table(tmp_path / f"{figure}.csv") and figures_are_there(tmp_path, figure)


@pytest.mark.parametrize("options", [[], ["--without-pixels", "--kernel-norm", "column", "--rescale"]])
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
    words = "--untrained", 2, "--restarts", 1, "--least-accuracy", 0.3
    printed = analysed(SIMILARITY, wardrobe, tmp_path, shoes[0], *words)
    assert "Verdict" in printed
    assert record(tmp_path / "upstream_downstream.json")["images"] == 160
    clusters = table(tmp_path / "upstream_downstream_clusters.csv")
    assert len(clusters) == 2 * (4 + 4 + 4 + 8)
    assert figures_are_there(tmp_path, "upstream_downstream_modularity", "upstream_downstream_matrices")


def test_planted_groups_are_found_and_elsewhere_definitions_agree_or_not(shoes, planted_shoes, wardrobe, tmp_path):
    networks, _ = load_records(planted_shoes)
    groups = planted_groups((1, 4, 4, 4, 8, 4), 2)
    for network in networks:
        assert network.groups == torch.cat(groups[:-1]).tolist()
        for weight, (before, after) in zip(network.weights[1:], pairwise(groups), strict=True):
            across = after.unsqueeze(1) != before
            assert not weight[across].any() and weight[~across].any()
    printed = analysed(RECOVERY, wardrobe, tmp_path, planted_shoes, shoes[0], "--clusters", 2)
    assert "recovery (adjusted Rand index" in printed and "agreement where nothing is planted" in printed
    rows = table(tmp_path / "recovery_networks.csv")
    free = [row for row in rows if row["definition"] == "weights, without pixels" and row["asked"] == "2"]
    assert [float(row["adjusted_rand"]) for row in free] == [pytest.approx(1)] * 2, "no weight joins the groups"
    assert {row["network"] for row in table(tmp_path / "recovery_agreement_networks.csv")} == set("01")
    assert figures_are_there(tmp_path, "recovery", "recovery_agreement")


# Bad input


def refused(folder, script, *words):
    """What is said on stderr by a script that must refuse its input in one sentence and write nothing."""
    done = call(script, *words, "--figures-dir", folder / "new")
    assert done.returncode == 2, done.stdout
    (said,) = (line for line in done.stderr.strip().splitlines() if line and "%|" not in line)  # but for the bars
    assert said.startswith(f"{script}: ")
    assert not (folder / "new").exists() or not list((folder / "new").iterdir())
    return said


def test_a_contradiction_of_the_checkpoint_is_refused(shoes, tmp_path):
    said = refused(tmp_path, CLUSTERING, shoes[0], "--dataset", "mnist")
    assert "--dataset mnist" in said and "fashion" in said
    assert "--classes 1,2" in refused(tmp_path, CLUSTERING, shoes[0], "--classes", "1,2")
    said = refused(tmp_path, CLUSTERING, shoes[0], "--dataset", "unknown")
    assert "'unknown' is none of mnist, fashion" in said
    assert "'frobenius'" in refused(tmp_path, CLUSTERING, shoes[0], "--kernel-norm", "frobenius")


def test_training_on_what_is_unknown_is_refused(wardrobe, tmp_path):
    words = "--save-dir", tmp_path / "new", "--data-dir", wardrobe
    assert "'unknown' is none of" in refused(tmp_path, "train.py", *words, "--dataset", "unknown")
    said = refused(tmp_path, "train.py", *words, "--dataset", "fashion", "--classes", "5,6")
    assert "--classes 6" in said and "choose from 5,7,8,9" in said
    words += "--dataset", "fashion", "--classes", "5,7"
    for channels in ("0", "4,", "x", "4,-1", "2,2,2,2,2,2"):  # of images of 28 x 28 nothing is left by five poolings
        assert "--channels" in refused(tmp_path, "train.py", *words, "--channels", channels)


@pytest.mark.parametrize("change", [{"kernel": "3,3"}, {"units": 3}])
def test_a_damaged_architecture_is_refused(shoes, tmp_path, change):
    """What is none, or that of other weights."""
    content = torch.load(shoes[0], weights_only=True)
    about = strict(content["about"])
    about["architecture"]["layers"][0] |= change
    torch.save(content | {"about": json.dumps(about)}, tmp_path / "damaged.pt")
    assert "damaged.pt: " in refused(tmp_path, CLUSTERING, tmp_path / "damaged.pt")
