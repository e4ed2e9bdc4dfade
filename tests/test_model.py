import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import nn

from mlp.model import MLP, hits, initial_model, propagate, stacked


def equal(model, other):
    return all(torch.equal(*pair) for pair in zip(model.parameters(), other.parameters(), strict=True))


def test_forward_equals_the_same_layers_in_a_sequential():
    model = MLP((784, 8, 4, 3)).double()
    first, second, third = model.layers
    images = torch.rand(5, 784, dtype=torch.float64)
    expected = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)(images)
    torch.testing.assert_close(model(images), expected, rtol=1e-10, atol=1e-12)
    assert [tuple(weight.shape) for weight in model.weights] == [(8, 784), (4, 8), (3, 4)]
    assert model.hidden_sizes == (8, 4)


def test_preactivations_are_what_the_relu_gets(digit_images):
    model = initial_model((784, 30, 20, 12, 3), seed=0).double()
    images = digit_images[0].double()
    values = model.preactivations(images)
    assert [value.shape[1] for value in values] == [30, 20, 12, 3]
    assert torch.equal(values[-1], model(images))
    torch.testing.assert_close(values[1], model.layers[1](values[0].relu()), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("own_images", [False, True])
def test_networks_side_by_side_are_the_networks_alone(own_images):
    """Each with factors of its own, or of all, for the activations that it passes on."""
    generator = torch.Generator().manual_seed(0)
    models = [initial_model((10, 6, 5, 3), seed).double() for seed in range(4)]
    images = torch.rand(4 if own_images else 1, 10, 7, generator=generator, dtype=torch.float64)
    factors = [torch.rand(4, 6, 1, generator=generator), torch.rand(1, 5, 7, generator=generator)]
    together = propagate(*stacked(models), images if own_images else images[0], factors)
    for k, model in enumerate(models):
        activations = images[k if own_images else 0]
        for layer, found in enumerate(together):
            values = model.weights[layer] @ activations + model.biases[layer].unsqueeze(1)
            torch.testing.assert_close(found[k], values, rtol=1e-9, atol=1e-12)
            if layer < 2:
                activations = values.relu() * factors[layer][k if layer == 0 else 0]


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 3), st.integers(0, 10**6))
def test_hits_are_where_the_argmax_is_right(outputs, images, levels, seed):
    """Of few levels many are equal: the first of the largest counts."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(levels, (2, outputs, images), generator=generator).float()
    labels = torch.randint(outputs, (2, images), generator=generator)
    expected = [[column.index(max(column)) for column in network.T.tolist()] for network in logits]
    assert hits(logits, labels).tolist() == (torch.tensor(expected) == labels).tolist()
    assert torch.equal(hits(logits, labels[0]), hits(logits, labels[0].expand(2, -1)))
    assert torch.equal(hits(logits[1], labels[1]), hits(logits, labels)[1])
    distinct = torch.rand(2, outputs, images, generator=generator)
    assert torch.equal(hits(distinct, labels), distinct.argmax(1) == labels)


def test_the_seed_alone_decides_the_initial_weights():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one, two, other = initial_model((784, 3, 2), 0), initial_model((784, 3, 2), 0), initial_model((784, 3, 2), 1)
    assert equal(one, two)
    assert not equal(one, other)
    assert torch.rand(1) == expected, "the global generator was advanced"


def test_glorot_weights_are_uniform_within_their_limits():
    model = initial_model((784, 300, 100, 10), seed=0, init="glorot")
    for weight, bias in zip(model.weights, model.biases):
        limit = (6 / sum(weight.shape)) ** 0.5
        assert kstest((weight.detach() / limit).flatten(), "uniform", (-1, 2)).pvalue > 0.01
        assert not bias.any()
    assert not torch.equal(model.weights[0], initial_model((784, 300, 100, 10), seed=1, init="glorot").weights[0])
