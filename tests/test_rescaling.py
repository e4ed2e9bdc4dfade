"""The canonical form of a network: the same outputs, one form for all scales of its neurons."""

from copy import deepcopy

import numpy
import pytest
import torch
from conftest import random_weights
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from mlp.model import MLP
from mlp.rescaling import rescaled

SIZES = st.lists(st.integers(1, 6), min_size=2, max_size=5)
SEEDS = st.integers(0, 10**6)


def network(sizes, seed, pruned=0.0):
    """Random weights, some of them zero, and random biases, some of them zero."""
    model = MLP(sizes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer, weight in zip(model.layers, random_weights(sizes, seed, pruned), strict=True):
            layer.weight.copy_(weight)
            layer.bias.copy_(torch.randn(len(weight), generator=generator))
            layer.bias.mul_(torch.rand(len(weight), generator=generator) > pruned)
    return model


def with_other_scales(model, seed, spread=1.0):
    """The network with each hidden neuron's inputs multiplied by a random factor and its outputs divided by it."""
    other = deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer, following in zip(other.layers, other.layers[1:]):
            factors = torch.exp(spread * torch.randn(len(layer.bias), generator=generator))
            layer.weight.mul_(factors.unsqueeze(1))
            layer.bias.mul_(factors)
            following.weight.div_(factors)
    return other


def assert_close(model, other, tolerance=1e-5):
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(one, two, rtol=tolerance, atol=tolerance)


@given(SIZES, SEEDS, st.sampled_from([0.0, 0.3, 0.7]))
def test_outputs_stay_and_the_form_is_one(sizes, seed, pruned):
    model = network(sizes, seed, pruned)
    before = deepcopy(model.state_dict())
    images = torch.rand(20, sizes[0], generator=torch.Generator().manual_seed(seed))
    form = rescaled(model)
    scale = model(images).abs().max().clamp(min=1)
    assert ((form(images) - model(images)).abs() <= 1e-5 * scale).all()
    assert_close(rescaled(form), form)
    assert_close(rescaled(with_other_scales(model, seed + 1)), form)
    assert all(torch.equal(*pair) for pair in zip(before.values(), model.state_dict().values()))


@given(SIZES, SEEDS)
def test_neurons_read_as_much_as_they_pass_on(sizes, seed):
    form = rescaled(network(sizes, seed))
    for layer, following in zip(form.layers, form.layers[1:]):
        read = (layer.weight.square().sum(1) + layer.bias.square()).sqrt()
        assert torch.allclose(read, following.weight.norm(dim=0), rtol=1e-5)


def test_no_other_scales_have_a_smaller_sum_of_squares():
    """An independent search over the logarithms of all factors, which begins elsewhere."""
    model = network((4, 3, 3, 2), 5)
    first, second, third = (layer.weight.detach().double().numpy() for layer in model.layers)
    biases = [layer.bias.detach().double().numpy() for layer in model.layers[:2]]

    def total(logarithms):
        one, two = numpy.exp(logarithms).reshape(2, 3)
        read = (first * one[:, None], biases[0] * one, second * two[:, None] / one, biases[1] * two, third / two)
        return sum((part**2).sum() for part in read)

    found = minimize(total, numpy.ones(6), tol=1e-14).fun
    form = rescaled(model)
    own = sum(parameter.square().sum() for parameter in [*form.parameters()][:-1])
    assert own.item() == pytest.approx(found, rel=1e-6)


def test_neurons_that_do_nothing_lose_their_weights():
    """By hand: hidden neuron 1 reads nothing, 2 is not read, 3 is read by neuron 2 of the next layer alone, and nobody
    reads that; neuron 0 matters, and so does 4, by its bias alone."""
    model = MLP((2, 5, 3, 1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.weights[0][[0, 2, 3], 0] = 1.0
        model.biases[0][4] = 4.0
        model.weights[1][0, [0, 1]] = 2.0
        model.weights[1][1, 4] = 1.0
        model.weights[1][2, 3] = 1.0
        model.weights[2][0, :2] = 1.0
    form = rescaled(model)
    assert [weight.count_nonzero().item() for weight in form.weights] == [1, 2, 2]
    assert form.weights[0][0, 0].item() == pytest.approx(form.weights[1][0, 0].item())  # 1 * 2 * 1, shared out equally
    assert form.weights[0][0, 0].item() == pytest.approx(2 ** (1 / 3))
    assert form.biases[0][4].item() == pytest.approx(4 ** (1 / 3))
    images = torch.tensor([[1.0, 3.0], [2.0, 1.0]])
    assert torch.allclose(form(images), model(images))


def test_weights_that_are_no_numbers_end():
    model = network((3, 2, 2), 0)
    with torch.no_grad():
        model.weights[0][0, 0] = torch.nan
    assert rescaled(model).weights[0].isnan().any()
