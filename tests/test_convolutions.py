"""Networks of convolutions: they are what their matrices say, in all that is measured of them."""

import copy
import random
from dataclasses import dataclass, replace
from itertools import pairwise, product
from math import isnan, prod

import numpy
import pytest
import torch
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st
from test_architecture import in_torch
from torch import nn

import mlp.model
import mlp.training
import modularity.ablation
import modularity.similarity
from mlp.architecture import Architecture, Layer, convolutional, over_slices
from mlp.data import DataSet
from mlp.model import MLP, initial_model
from mlp.network import Network
from mlp.planting import planted_connections
from mlp.rescaling import rescaled
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
