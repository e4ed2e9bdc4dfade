import pytest
import torch

import mlp.training
from mlp import InputError
from mlp.model import initial_model
from mlp.training import refuse_more_than_memory, split_validation, train


def trained(seeds, images, labels, separate=False, **options):
    """Networks with the weights of some seeds, trained and validated on all images."""
    models = [initial_model((784, 6, 4, 3), seed) for seed in seeds]
    generators = [torch.Generator().manual_seed(5 + seed) for seed in (seeds if separate else [0])]
    everything = torch.arange(len(labels))
    options = {"epochs": 2, "batch_size": 64, "learning_rate": 1e-2} | options
    splits = [(everything, everything)] * len(generators)
    return models, list(train(models, images, labels, splits, generators, **options))


def assert_equal_networks(model, other):
    for parameter, expected in zip([*model.weights, *model.biases], [*other.weights, *other.biases], strict=True):
        torch.testing.assert_close(parameter, expected, rtol=1e-3, atol=1e-4)


def test_equals_a_plain_loop_with_autograd_on_a_module(digit_images):
    images, labels = digit_images
    (model,), history = trained([0], images, labels)

    plain = initial_model((784, 6, 4, 3), 0)
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(5)
    for _ in range(2):
        for batch in torch.randperm(len(images), generator=generator).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(plain(images[batch]), labels[batch]).backward()
            optimizer.step()
    assert_equal_networks(model, plain)
    (last,) = history[-1]
    assert last["epoch"] == 2
    assert last["training_loss"] == pytest.approx(
        torch.nn.functional.cross_entropy(plain(images), labels).item(), rel=1e-3
    )
    assert last["training_accuracy"] == pytest.approx(
        (plain(images).argmax(1) == labels).double().mean().item(), abs=0.01
    )


def test_networks_trained_together_are_the_networks_trained_alone(digit_images):
    together, rows = trained([0, 1, 2], *digit_images)
    for k, model in enumerate(together):
        (alone,), history = trained([k], *digit_images)
        assert_equal_networks(model, alone)
        assert rows[-1][k]["network"] == k
        assert rows[-1][k]["validation_loss"] == pytest.approx(history[-1][0]["validation_loss"], rel=1e-3)


def test_separate_batches_are_those_of_each_networks_own_seed(digit_images):
    together, _ = trained([0, 1, 2], *digit_images, separate=True)
    for k, model in enumerate(together):
        (alone,), _ = trained([k], *digit_images, separate=True)
        assert_equal_networks(model, alone)


def test_each_network_is_measured_on_its_own_images(digit_images):
    images, labels = digit_images
    models = [initial_model((784, 6, 4, 3), seed) for seed in (0, 1)]
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    splits = [split_validation(labels, 0.25, generator) for generator in generators]
    (rows,) = train(models, images, labels, splits, generators, epochs=1, batch_size=50, learning_rate=1e-3)
    for model, (training, validation), row in zip(models, splits, rows):
        for name, part in (("training", training), ("validation", validation)):
            loss = torch.nn.functional.cross_entropy(model(images[part]), labels[part]).item()
            assert row[f"{name}_loss"] == pytest.approx(loss, rel=1e-4)


def test_the_size_of_an_evaluation_batch_changes_nothing(digit_images, monkeypatch):
    _, rows = trained([0, 1], *digit_images)
    monkeypatch.setattr(mlp.training, "BATCH_NUMBERS", 100)
    _, others = trained([0, 1], *digit_images)
    for row, other in zip(rows[-1], others[-1]):
        assert row == pytest.approx(other, rel=1e-5)


def test_the_same_seed_gives_the_same_weights(digit_images):
    (one,), _ = trained([0], *digit_images)
    (two,), _ = trained([0], *digit_images)
    assert all(torch.equal(*pair) for pair in zip(one.parameters(), two.parameters()))


def test_training_that_diverges_is_refused(digit_images):
    with pytest.raises(InputError, match="--lr 1e[+]30"):
        trained([0], *digit_images, learning_rate=1e30)


@pytest.mark.parametrize("fraction, held_out", [(0.1, 40), (1e-9, 1), (1 - 1e-9, 399)])
def test_validation_images_are_set_apart(digit_images, fraction, held_out):
    training, validation = split_validation(digit_images[1], fraction, torch.Generator().manual_seed(0))
    assert len(validation) == held_out
    assert sorted([*training.tolist(), *validation.tolist()]) == list(range(400))


def test_more_than_memory_is_refused_before_it_is_taken():
    with pytest.raises(InputError, match="--networks 1000000000 --hidden-layers 8: needs about"):
        refuse_more_than_memory((784, 8, 3), 10**9, torch.device("cpu"))
    refuse_more_than_memory((784, 8, 3), 100, torch.device("cpu"))
