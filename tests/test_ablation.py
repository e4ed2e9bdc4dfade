import copy
import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mlp.ablation
from mlp.ablation import ablated_accuracy
from mlp.model import MLP, initial_model

HIDDEN = 15  # hidden neurons of small_model


def random_modules(count, seed=0):
    return torch.rand(count, HIDDEN, generator=torch.Generator().manual_seed(seed)) < 0.3


def accuracy_by_hand(model, module, images, labels):
    """One image, one layer, one neuron at a time."""
    right, seen = [0] * 3, [0] * 3
    weights = [weight.tolist() for weight in model.weights]
    biases = [bias.tolist() for bias in model.biases]
    for image, label in zip(images.tolist(), labels.tolist()):
        activations, hidden = image, 0
        for weight, bias in zip(weights[:-1], biases[:-1]):
            outputs = []
            for row, offset in zip(weight, bias):
                total = sum(w * a for w, a in zip(row, activations)) + offset
                outputs.append(0.0 if module[hidden] else max(0.0, total))
                hidden += 1
            activations = outputs
        logits = [sum(w * a for w, a in zip(row, activations)) + b for row, b in zip(weights[-1], biases[-1])]
        seen[label] += 1
        right[label] += logits.index(max(logits)) == label
    return [r / s for r, s in zip(right, seen)]


def test_equals_a_python_loop_over_images(small_model, digit_images):
    images, labels = digit_images[0][:60], digit_images[1][:60]
    modules = random_modules(4)
    expected = [accuracy_by_hand(small_model, module, images, labels) for module in modules]
    assert ablated_accuracy(small_model, modules, images, labels).tolist() == expected


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_equals_zeroing_the_outgoing_weights_of_a_copy(seed):
    model = initial_model((10, 6, 5, 4, 3), seed)
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.rand(50, 10, generator=generator), torch.arange(50) % 3
    modules = random_modules(5, seed)
    for module, accuracy in zip(modules, ablated_accuracy(model, modules, images, labels)):
        lesioned = copy.deepcopy(model)
        with torch.no_grad():
            for layer, silent in enumerate(module.split(model.hidden_sizes)):
                lesioned.weights[layer + 1][:, silent] = 0
            correct = lesioned(images).argmax(1) == labels
        assert accuracy.tolist() == [correct[labels == digit].double().mean().item() for digit in range(3)]


def test_the_empty_module_is_the_intact_network_and_others_are_not(small_model, digit_images):
    images, labels = digit_images
    with torch.no_grad():
        correct = small_model(images).argmax(1) == labels
    intact = [correct[labels == digit].double().mean().item() for digit in range(3)]
    modules = torch.zeros(2, HIDDEN, dtype=torch.bool)
    modules[1] = True  # all silent: the output biases decide, so one digit is always right
    accuracy = ablated_accuracy(small_model, modules, images, labels).tolist()
    assert accuracy[0] == intact
    assert sorted(accuracy[1]) == [0, 0, 1]


def test_the_model_is_left_as_it_was(small_model, digit_images):
    before = copy.deepcopy(small_model.state_dict())
    ablated_accuracy(small_model, random_modules(3), *digit_images)
    after = small_model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in small_model.parameters())


def test_the_size_of_a_batch_changes_nothing(small_model, digit_images, monkeypatch):
    modules = random_modules(20)
    expected = ablated_accuracy(small_model, modules, *digit_images)
    monkeypatch.setattr(mlp.ablation, "BATCH_NUMBERS", 1)
    assert torch.equal(ablated_accuracy(small_model, modules, *digit_images), expected)


def test_a_class_without_images_has_no_accuracy(small_model, digit_images):
    images, labels = digit_images
    accuracy = ablated_accuracy(small_model, random_modules(1), images[labels < 2], labels[labels < 2])
    assert math.isnan(accuracy[0, 2])
    assert accuracy[0, :2].isfinite().all()


def test_memory_is_capped_and_batches_are_reported(small_model, digit_images, monkeypatch):
    batches = []
    monkeypatch.setattr(
        mlp.ablation, "BATCH_NUMBERS", 7 * 400 * 5
    )  # 7 modules, 400 images, at most 5 neurons in a layer
    ablated_accuracy(small_model, random_modules(20), *digit_images, progress=lambda rows: batches.extend(rows) or rows)
    assert [len(rows) for _, rows in batches] == [7, 7, 3, 3]  # 17 begin in layer 1, 3 in layer 2


def test_equal_modules_are_evaluated_once(small_model, digit_images):
    modules = random_modules(4)[[0, 1, 0, 2, 3, 1]]
    rows = []
    accuracy = ablated_accuracy(
        small_model, modules, *digit_images, progress=lambda batches: rows.extend(batches) or batches
    )
    assert sum(len(some) for _, some in rows) == 4
    assert torch.equal(accuracy[0], accuracy[2])
    assert torch.equal(accuracy[1], accuracy[5])


def test_equal_logits_go_to_the_first_class(digit_images):
    images, labels = digit_images
    model = MLP((784, 2, 3))
    with torch.no_grad():
        model.biases[1].zero_()
    silent = torch.ones(1, 2, dtype=torch.bool)
    assert ablated_accuracy(model, silent, images, labels).tolist() == [[1, 0, 0]]


def test_no_modules_give_no_rows(small_model, digit_images):
    assert ablated_accuracy(small_model, random_modules(0), *digit_images).shape == (0, 3)
