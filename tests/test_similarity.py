from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import hessian, jacrev, vmap
from torch.nn.functional import cross_entropy

import modularity.similarity
from mlp.model import MLP, initial_model
from modularity.communities import maximise_modularity
from modularity.similarity import MEASURES, RAW_MEASURES, pair_group, similarities


def brute_force(model, images, labels):
    """The definitions, by autograd: {measure: one signed matrix per hidden layer}."""
    layers = list(zip(model.weights, model.biases))

    def through(first, last):
        def run(activations):
            for layer in range(first, last):
                weight, bias = layers[layer]
                activations = weight @ activations + bias
                if layer < len(layers) - 1:
                    activations = activations.relu()
            return activations

        return run

    matrices = {measure: [] for measure in RAW_MEASURES}
    for layer in range(1, len(layers)):
        rest = through(layer, len(layers))
        hidden = vmap(through(0, layer))(images)
        seen = vmap(jacrev(through(0, layer)))(images)
        done = vmap(jacrev(rest))(hidden)
        curvature = vmap(hessian(lambda h, label, rest=rest: cross_entropy(rest(h), label)))(hidden, labels)
        centred = hidden - hidden.mean(0)
        matrices["forward_cov"].append(centred.T @ centred / len(images))
        matrices["forward_jac"].append((seen @ seen.mT).mean(0))
        matrices["backward_jac"].append((done.mT @ done).mean(0))
        matrices["backward_hess"].append(curvature.mean(0))
    return matrices


@settings(max_examples=10)
@given(st.lists(st.integers(1, 6), min_size=3, max_size=5), st.integers(0, 10**6))
def test_equal_autograd(sizes, seed):
    model = initial_model(sizes, seed).double()
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(7, sizes[0], generator=generator, dtype=torch.float64)
    labels = torch.randint(sizes[-1], (7,), generator=generator)
    found = similarities(model, images)
    for measure, matrices in brute_force(model, images, labels).items():
        for matrix, norm, expected in zip(found[measure], found[f"{measure}_norm"], matrices, strict=True):
            torch.testing.assert_close(matrix, expected.abs(), rtol=1e-9, atol=1e-12)
            assert torch.linalg.eigvalsh(expected).min() > -1e-9, "positive semidefinite until signs are dropped"
            scale = expected.diagonal().clamp(min=0).sqrt()
            alive = scale > 1e-7
            expected = (expected / scale / scale.unsqueeze(1)).abs()[alive][:, alive]
            torch.testing.assert_close(norm[alive][:, alive], expected, rtol=1e-6, atol=1e-6)


def test_real_digits_in_single_precision(digit_images):
    model = initial_model((784, 20, 12, 3), seed=0)
    images, labels = digit_images
    found = similarities(model, images[:60])
    for measure, matrices in brute_force(model.double(), images[:60].double(), labels[:60]).items():
        for matrix, expected in zip(found[measure], matrices):
            torch.testing.assert_close(matrix, expected.abs(), rtol=1e-9, atol=1e-12)


def test_what_follows_from_the_definitions(digit_images):
    model = initial_model((784, 20, 12, 3), seed=0)
    found = similarities(model, digit_images[0])
    with torch.no_grad():
        last = (model.weights[-1].double().T @ model.weights[-1].double()).abs()
    torch.testing.assert_close(found["backward_jac"][-1], last)
    assert tuple(found) == MEASURES
    assert set(found) == {f"{measure}{norm}" for measure in RAW_MEASURES for norm in ("", "_norm")}
    for measure, matrices in found.items():
        assert [matrix.shape for matrix in matrices] == [(20, 20), (12, 12)]
        for matrix in matrices:
            assert matrix.dtype == torch.float64
            torch.testing.assert_close(matrix, matrix.T)
            if measure.endswith("_norm"):
                diagonal = matrix.diagonal()
                assert ((diagonal - 1).abs() < 1e-9).logical_or(diagonal == 0).all()
                assert 0 <= matrix.min() <= matrix.max() <= 1 + 1e-9


@pytest.mark.parametrize("factor", [2.0**-17, 2.0**17])  # roots of diagonals of about 1e-5, forward or backward
def test_weak_neurons_are_normalised_like_strong_ones(digit_images, factor):
    """What hidden neurons do is multiplied, and what hears them divides: the network computes the same."""
    model = initial_model((784, 6, 3), seed=0)
    expected = similarities(model, digit_images[0])
    with torch.no_grad():
        model.weights[0].mul_(factor)
        model.biases[0].mul_(factor)
        model.weights[1].div_(factor)
    found = similarities(model, digit_images[0])
    for measure in RAW_MEASURES:
        change = factor**2 if measure.startswith("forward") else factor**-2
        torch.testing.assert_close(found[measure][0], change * expected[measure][0], rtol=1e-9, atol=0)
        (norm,) = found[f"{measure}_norm"]
        torch.testing.assert_close(norm, expected[f"{measure}_norm"][0], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(norm.diagonal(), torch.ones(6).double(), rtol=1e-9, atol=0)


def test_dead_neurons_see_nothing(digit_images):
    model = initial_model((784, 20, 12, 3), seed=0)
    with torch.no_grad():
        model.biases[0][4] = -1000
    found = similarities(model, digit_images[0])
    for measure in ("forward_cov", "forward_jac", "forward_cov_norm", "forward_jac_norm"):
        assert not found[measure][0][4].any()
    assert found["backward_jac"][0][4].any(), "what it would do is another question"


def test_the_size_of_a_batch_changes_nothing(digit_images, monkeypatch):
    model = MLP((784, 6, 5, 3))
    expected = similarities(model, digit_images[0])
    monkeypatch.setattr(modularity.similarity, "BATCH_NUMBERS", 1000)
    for measure, matrices in similarities(model, digit_images[0]).items():
        for matrix, other in zip(matrices, expected[measure]):
            torch.testing.assert_close(matrix, other, rtol=1e-9, atol=1e-12)


def test_the_network_is_left_as_it_was(digit_images):
    model = MLP((784, 6, 3))
    before = [parameter.clone() for parameter in model.parameters()]
    similarities(model, digit_images[0])
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters()))


def test_pairs_of_measures():
    groups = [pair_group(*pair) for pair in combinations(MEASURES, 2)]
    assert {group: groups.count(group) for group in groups} == {"NORM": 4, "UP": 4, "DOWN": 4, "CROSS": 16}
    assert pair_group("forward_jac_norm", "forward_cov") == "UP"
    assert pair_group("backward_hess", "backward_jac_norm") == "DOWN"
    assert pair_group("forward_cov", "forward_cov_norm") == "NORM"
    assert pair_group("forward_jac", "backward_jac") == "CROSS"


@pytest.mark.parametrize("exponent", [-60, -30, 40])
def test_what_one_layer_gains_and_the_next_loses_changes_no_communities(exponent):
    """The network computes the same, in neurons whose activations are 1e-18 to 1e12 times as large."""
    images = torch.rand(200, 12, generator=torch.Generator().manual_seed(0))
    found = []
    for factor in (1.0, 2.0**exponent):
        model = initial_model((12, 9, 8, 3), seed=1)
        with torch.no_grad():
            model.layers[0].weight.mul_(factor)
            model.layers[0].bias.mul_(factor)
            model.layers[1].weight.div_(factor)
            model.biases[0][4] = -100 * factor  # dead
            model.layers[0].weight[5] = 0
            model.biases[0][5] = factor / 3  # never varies
        matrices = similarities(model, images)
        found.append({name: [maximise_modularity(one, 5, 0) for one in both] for name, both in matrices.items()})
    for name in MEASURES:
        for (labels, q), (others, other_q) in zip(found[0][name], found[1][name], strict=True):
            assert others.tolist() == labels.tolist(), name
            assert other_q == pytest.approx(q), name
    assert found[1]["forward_jac"][0][0][4] == found[1]["forward_cov"][0][0][4] == -1
    assert found[1]["forward_cov"][0][0][5] == -1


def test_a_layer_that_never_varies_has_no_covariance_but_rounding():
    model = initial_model((12, 9, 3), seed=1)
    with torch.no_grad():
        model.layers[0].weight.zero_()
        model.biases[0].copy_(torch.arange(1, 10) / 7)
    images = torch.rand(1000, 12, generator=torch.Generator().manual_seed(0))
    found = similarities(model, images)
    for measure in ("forward_cov", "forward_cov_norm"):
        assert not found[measure][0].any()


def test_a_network_that_is_certain_has_no_hessian_but_rounding():
    """The softmax is 1 for one class: both terms of the Hessian are equal."""
    model = initial_model((12, 9, 3), seed=1)
    with torch.no_grad():
        model.biases[1].copy_(torch.tensor([1000.0, 0, 0]))
    images = torch.rand(1000, 12, generator=torch.Generator().manual_seed(0))
    found = similarities(model, images)
    for measure in ("backward_hess", "backward_hess_norm"):
        assert not found[measure][0].any()
    assert found["backward_jac"][0].any()
