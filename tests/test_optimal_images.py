import math

import numpy
import pytest
import torch

import modularity.optimal_images
from mlp.model import initial_model
from modularity.optimal_images import optimal_images, output_entropies

SIZES, SHAPE = (784, 30, 20, 3), (1, 28, 28)


@pytest.fixture(scope="module")
def model():
    return initial_model(SIZES, seed=0)


def members(layer, sets, seed=0):
    return torch.rand(sets, SIZES[layer], generator=torch.Generator().manual_seed(seed)) < 0.3


@pytest.mark.parametrize("layer", [1, 2])
def test_images_drive_their_neurons(model, layer):
    chosen = members(layer, 8)
    images, first, scores = optimal_images(model, SHAPE, layer, chosen, torch.Generator().manual_seed(0))
    assert images.shape == (8, *SHAPE)
    assert 0 <= images.min() < images.max() <= 1
    assert (scores / first).min() > 1.5
    activations = model.preactivations(images.flatten(1))[layer - 1]
    assert (activations.abs() * chosen).sum(1).tolist() == pytest.approx(scores.tolist(), rel=1e-5)


def test_a_batch_changes_nothing(model):
    chosen = members(2, 3)
    together, _, scores = optimal_images(model, SHAPE, 2, chosen, torch.Generator().manual_seed(0))
    first = 0.01 * torch.randn(2, 3, 1, 28, 15, generator=torch.Generator().manual_seed(0))
    for place in range(3):
        own = first[:, place : place + 1]

        def given(*_, own=own, **__):
            return own / 0.01

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "randn", given)
            alone, _, score = optimal_images(model, SHAPE, 2, chosen[place : place + 1], None)
        torch.testing.assert_close(alone[0], together[place], rtol=1e-3, atol=1e-3)
        assert score.item() == pytest.approx(scores[place].item(), rel=1e-3)


def test_images_are_found_in_batches_that_bound_memory(model, monkeypatch):
    chosen = members(2, 5)
    together = optimal_images(model, SHAPE, 2, chosen, torch.Generator().manual_seed(0))
    monkeypatch.setattr(modularity.optimal_images, "BATCH_NUMBERS", 2 * max(SIZES[1:]))
    parts = optimal_images(model, SHAPE, 2, chosen, torch.Generator().manual_seed(0))
    for whole, part in zip(together, parts, strict=True):
        torch.testing.assert_close(part, whole, rtol=1e-3, atol=1e-3)


def test_the_network_is_left_as_it_was(model):
    before = [parameter.clone() for parameter in model.parameters()]
    optimal_images(model, SHAPE, 1, members(1, 2), torch.Generator().manual_seed(0))
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters()))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_first_image_is_almost_grey(model, monkeypatch):
    monkeypatch.setattr(modularity.optimal_images, "STEPS", 0)
    images, first, scores = optimal_images(model, SHAPE, 1, members(1, 4), torch.Generator().manual_seed(0))
    assert torch.equal(first, scores)
    assert (images - 0.5).abs().max() < 0.2


@pytest.mark.parametrize(
    "row, column, amplitude",
    [
        (0, 1, 0.5),
        (3, 4, 0.1),  # a fifth, as the frequency is five times as high
        (25, 4, 0.1),  # 25 = -3 of 28
        (0, 0, 0.25),  # as if of frequency 1, but without a mirror image that doubles it
    ],
)
def test_a_coefficient_is_a_wave(model, monkeypatch, row, column, amplitude):
    coefficients = torch.zeros(2, 1, 1, 28, 15)
    coefficients[0, 0, 0, row, column] = 100  # times 0.01 is 1
    monkeypatch.setattr(torch, "randn", lambda *_, **__: coefficients)
    monkeypatch.setattr(modularity.optimal_images, "STEPS", 0)
    ((image,),), _, _ = optimal_images(model, SHAPE, 1, members(1, 1), None)
    y, x = torch.meshgrid(torch.arange(28), torch.arange(28), indexing="ij")
    wave = amplitude * torch.cos(2 * math.pi * (row * y + column * x) / 28)
    torch.testing.assert_close(image, 1 / (1 + torch.exp(-wave)), rtol=0, atol=1e-5)


def test_an_image_equals_a_plain_loop(model):
    (chosen,) = members(2, 1)
    images, _, scores = optimal_images(model, SHAPE, 2, chosen.unsqueeze(0), torch.Generator().manual_seed(0))
    frequencies = numpy.hypot.outer(numpy.fft.fftfreq(28), numpy.fft.rfftfreq(28))
    factors = torch.tensor(28 / numpy.maximum(frequencies, 1 / 28), dtype=torch.float32)
    start = 0.01 * torch.randn(2, 28, 15, generator=torch.Generator().manual_seed(0))
    real, imaginary = (part.clone().requires_grad_() for part in start)
    optimizer = torch.optim.Adam([real, imaginary], lr=0.05)
    for step in range(64 + 1):
        pixels = torch.fft.irfft2(factors * (real + 1j * imaginary), s=(28, 28))
        image = torch.sigmoid(pixels / 4)
        hidden = model.layers[0](image.flatten()).relu()
        score = model.layers[1](hidden)[chosen].abs().sum()
        if step < 64:
            optimizer.zero_grad()
            (-score).backward(inputs=[real, imaginary])
            optimizer.step()
    torch.testing.assert_close(images[0, 0], image.detach(), rtol=0, atol=1e-3)
    assert scores.item() == pytest.approx(score.item(), rel=1e-4)


def test_entropies_reach_where_single_precision_does_not(model):
    images = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    probabilities = model(images.flatten(1)).double().softmax(1)
    expected = -(probabilities * probabilities.log()).sum(1)
    assert output_entropies(model, images).tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    certain = initial_model(SIZES, seed=0)
    with torch.no_grad():
        certain.biases[-1].copy_(torch.tensor([100.0, 0, 0]))
    entropy = output_entropies(certain, images)
    assert (0 < entropy).all()
    assert (entropy < 1e-38 * math.e**80).all()
