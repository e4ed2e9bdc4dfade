import pytest
import torch

from mlp import InputError
from mlp.model import initial_model
from mlp.training import split_validation, train


def trained(seeds, images, labels, **options):
    models = [initial_model((784, 6, 4, 3), seed) for seed in seeds]
    options = {"epochs": 2, "batch_size": 64, "learning_rate": 1e-2} | options
    history = list(train(models, (images, labels), (images, labels), **options,
                         generator=torch.Generator().manual_seed(5)))  # fmt: skip
    return models, history


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
    for parameter, expected in zip([*model.weights, *model.biases], [*plain.weights, *plain.biases]):
        torch.testing.assert_close(parameter, expected, rtol=1e-3, atol=1e-4)
    (last,) = history[-1]
    assert last["epoch"] == 2
    assert last["training_loss"] == pytest.approx(torch.nn.functional.cross_entropy(plain(images), labels).item(), rel=1e-3)
    assert last["training_accuracy"] == pytest.approx((plain(images).argmax(1) == labels).double().mean().item(), abs=0.01)


def test_networks_trained_together_are_the_networks_trained_alone(digit_images):
    together, rows = trained([0, 1, 2], *digit_images)
    for k, model in enumerate(together):
        (alone,), history = trained([k], *digit_images)
        for parameter, expected in zip(model.parameters(), alone.parameters()):
            torch.testing.assert_close(parameter, expected, rtol=1e-3, atol=1e-4)
        assert rows[-1][k]["validation_loss"] == pytest.approx(history[-1][0]["validation_loss"], rel=1e-3)


def test_the_same_seed_gives_the_same_weights(digit_images):
    (one,), _ = trained([0], *digit_images)
    (two,), _ = trained([0], *digit_images)
    assert all(torch.equal(*pair) for pair in zip(one.parameters(), two.parameters()))


def test_training_that_diverges_is_refused(digit_images):
    with pytest.raises(InputError, match="--lr 1e[+]30"):
        trained([0], *digit_images, learning_rate=1e30)


@pytest.mark.parametrize("fraction, held_out", [(0.1, 40), (1e-9, 1), (1 - 1e-9, 399)])
def test_validation_images_are_set_apart(digit_images, fraction, held_out):
    images, labels = digit_images
    number = torch.arange(len(images)).unsqueeze(1)
    (training, training_labels), (validation, validation_labels) = split_validation(
        number, labels, fraction, torch.Generator().manual_seed(0)
    )
    assert len(validation) == held_out
    assert sorted([*training.flatten().tolist(), *validation.flatten().tolist()]) == list(range(400))
    assert torch.equal(training_labels, labels[training.flatten()])
    assert torch.equal(validation_labels, labels[validation.flatten()])
