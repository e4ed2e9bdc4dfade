import copy
import math

import pytest
import torch
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st

import modularity.ablation
from mlp.data import DataSet
from mlp.model import MLP, initial_model, propagate
from mlp.network import Network
from modularity.ablation import ablated_accuracy, ablated_hits, against_controls, mean_activations, mean_levels
from modularity.ablation import turned_images

HIDDEN = 15  # hidden neurons of small_model


def lively(model):
    """An untrained network that says different things of different images, whatever is silent."""
    with torch.no_grad():
        for weight, bias in zip(model.weights, model.biases):
            weight.mul_(3)
            bias.mul_(0.5)
    return model


@pytest.fixture
def small_model(small_model):
    return lively(small_model)


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
    assert len(set(map(tuple, expected))) > 2


def hits_of_a_copy(model, module, images, labels):
    """With the outgoing weights of the module at zero."""
    lesioned = copy.deepcopy(model)
    with torch.no_grad():
        for layer, silent in enumerate(module.split(model.hidden_sizes)):
            lesioned.weights[layer + 1][:, silent] = 0
        correct = lesioned(images).argmax(1) == labels
    return [correct[labels == digit].sum().item() for digit in range(3)]


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_equals_zeroing_the_outgoing_weights_of_a_copy(seed):
    model = lively(initial_model((10, 6, 5, 4, 3), seed))
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.randn(50, 10, generator=generator), torch.arange(50) % 3
    modules = random_modules(5, seed)
    for module, accuracy in zip(modules, ablated_accuracy(model, modules, images, labels)):
        counts = hits_of_a_copy(model, module, images, labels)
        assert accuracy.tolist() == [count / (labels == digit).sum().item() for digit, count in enumerate(counts)]


@pytest.mark.parametrize("images_at_once", [37, 512])
@pytest.mark.parametrize("sizes", [(10, 300, 3), (10, 300, 200, 3), (10, 300, 300, 20, 3)])
def test_few_silent_neurons_of_wide_layers(sizes, images_at_once, monkeypatch):
    """From none to as many as are not few any more, in the first layer, the last, or all."""
    monkeypatch.setattr(modularity.ablation, "BATCH_IMAGES", images_at_once)
    model = lively(initial_model(sizes, seed=0))
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(200, 10, generator=generator), torch.arange(200) % 3
    hidden = torch.arange(sum(sizes[1:-1]))
    shares = torch.tensor([0, 1 / 300, 0.02, 0.02, 0.1, 0.19, 0.3, 0.9]).repeat(3)
    modules = torch.rand(24, len(hidden), generator=generator) < shares.unsqueeze(1)
    modules[8:16, : -sizes[-2]] = False
    modules[16:, sizes[1] :] = False
    found = ablated_hits(model, modules, images, labels)
    assert found.tolist() == [hits_of_a_copy(model, module, images, labels) for module in modules]
    assert len(found.unique(dim=0)) > 14


def clamped_hits(model, module, levels, images, labels):
    """With the activations of the module at their levels, layer by layer, by matrix products that share no code."""
    activations, first = images, 0
    with torch.no_grad():
        for weight, bias in zip(model.weights, model.biases):
            values = activations @ weight.T + bias
            activations, last = values.clamp(min=0), first + len(bias)
            its_own = slice(first, last)
            activations = torch.where(module[its_own], levels[its_own], activations) if last <= len(levels) else None
            first = last
    correct = values.argmax(1) == labels
    return [correct[labels == digit].sum().item() for digit in range(3)]


@settings(max_examples=40)
@given(st.lists(st.sampled_from([1, 4, 90, 150]), min_size=1, max_size=4), st.integers(0, 10**6))
def test_levels_equal_clamped_activations(hidden, seed):
    """In one layer or several, narrow or so wide that few are silent; of levels that no activation has, too."""
    model = lively(initial_model((10, *hidden, 3), seed))
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.randn(60, 10, generator=generator), torch.arange(60) % 3
    shares = torch.tensor([0, 0.02, 0.05, 0.3, 0.9]).unsqueeze(1)
    modules = torch.rand(5, sum(hidden), generator=generator) < shares
    levels = 2 * torch.randn(sum(hidden), generator=generator)
    found = ablated_hits(model, modules, images, labels, levels)
    assert found.tolist() == [clamped_hits(model, module, levels, images, labels) for module in modules]


@pytest.mark.parametrize("sizes", [(10, 300, 3), (10, 300, 200, 3), (10, 50, 2000, 3)])
def test_levels_matter(sizes):
    """Whichever way is taken: the last layer's, that of few silent neurons, that of images that cannot be turned."""
    model = lively(initial_model(sizes, seed=0))
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(200, 10, generator=generator), torch.arange(200) % 3
    modules = torch.rand(12, sum(sizes[1:-1]), generator=generator) < 0.01
    for levels in (mean_activations(model, images), torch.full((sum(sizes[1:-1]),), 20.0)):
        found = ablated_hits(model, modules, images, labels, levels)
        assert found.tolist() == [clamped_hits(model, module, levels, images, labels) for module in modules]
        assert not torch.equal(found, ablated_hits(model, modules, images, labels))


def test_levels_of_zero_are_the_default(small_model, digit_images):
    modules = random_modules(20)
    assert torch.equal(
        ablated_hits(small_model, modules, *digit_images),
        ablated_hits(small_model, modules, *digit_images, torch.zeros(HIDDEN)),
    )


def test_a_neuron_that_never_changes_can_be_set_to_its_mean():
    """Not to zero, though."""
    model = lively(initial_model((10, 6, 5, 3), seed=0))
    with torch.no_grad():
        model.weights[0][2], model.biases[0][2] = 0, 5
    images, labels = torch.randn(90, 10, generator=torch.Generator().manual_seed(0)), torch.arange(90) % 3
    modules = torch.zeros(2, 11, dtype=torch.bool)
    modules[1, 2] = True
    levels = mean_activations(model, images)
    assert levels[2] == 5
    kept = ablated_hits(model, modules, images, labels, levels)
    lost = ablated_hits(model, modules, images, labels)
    assert torch.equal(kept[0], kept[1])
    assert not torch.equal(lost[0], lost[1])


def test_mean_activations_by_hand():
    """Of more images than go through the network at once."""
    model = MLP((1, 2, 1, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.weights[0][:, 0] = torch.tensor([1.0, -1.0])
        model.weights[1][0, 0] = 2
        model.biases[1][0] = 1
    images = torch.tensor([[-3.0], [1.0], [5.0], [1.0]]).repeat(300, 1)
    assert mean_activations(model, images).tolist() == [7 / 4, 3 / 4, 2 * 7 / 4 + 1]


def test_mean_levels_are_those_of_the_training_images_of_each_network():
    networks = [
        Network(lively(initial_model((784, 6, 5, 2), k)), DataSet("mnist", digits))
        for k, digits in ((0, (8, 1)), (1, (4, 9)))
    ]
    found = mean_levels(networks, REPOSITORY / "data", torch.device("cpu"), 1)
    for network, levels in zip(networks, found, strict=True):
        images, _ = network.data.load(True, REPOSITORY / "data")
        *hidden, _ = network.model.preactivations(images)
        expected = torch.cat([values.relu().mean(0) for values in hidden])
        torch.testing.assert_close(levels, expected, rtol=1e-4, atol=1e-6)


def right_without(model, module, images, labels):
    """Which images a copy of the network still reads right, in which the silent neurons pass nothing on."""
    silent = copy.deepcopy(model)
    with torch.no_grad():
        for layer, mask in zip(silent.layers[1:], module.split(model.hidden_sizes)):
            layer.weight[:, mask] = 0
        return silent(images).argmax(1) == labels


def test_images_that_turn_from_one_lesion_to_another():
    networks = [
        Network(lively(initial_model((784, 6, 5, 2), k)), DataSet("mnist", digits))
        for k, digits in ((0, (8, 1)), (1, (4, 9)))
    ]
    pairs = [torch.rand(count, 2, 11, generator=torch.Generator().manual_seed(count)) < 0.3 for count in (3, 2)]
    found = turned_images(networks, pairs, REPOSITORY / "data", torch.device("cpu"), 1)
    for network, its_pairs, turned in zip(networks, pairs, found, strict=True):
        images, labels = network.data.load(False, REPOSITORY / "data")
        for (before, after), (gained, lost) in zip(its_pairs, turned, strict=True):
            was, is_now = (right_without(network.model, module, images, labels) for module in (before, after))
            assert gained.tolist() == [int((is_now & ~was)[labels == label].sum()) for label in range(2)]
            assert lost.tolist() == [int((was & ~is_now)[labels == label].sum()) for label in range(2)]
            hits = ablated_hits(network.model, torch.stack([before, after]), images, labels)
            assert (gained - lost).tolist() == (hits[1] - hits[0]).tolist()
    assert sum(turned.sum() for turned in found) > 0


def read_again(model, module, images, labels, levels=None):
    """The hits of a network without a module, and how many images it was shown for that, the intact network aside."""
    shown = []

    def watched(weights, biases, activations, **options):
        shown.append(activations.shape[-1])
        return propagate(weights, biases, activations, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modularity.ablation, "propagate", watched)
        found = ablated_hits(model, module.unsqueeze(0), images, labels, levels)
    return found[0].tolist(), sum(shown[1:])


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 1, 10]))
def test_images_that_a_module_cannot_turn_are_known(seed, scale):
    """And those that it can are not missed, even if it acts on the logits alone, where the bound is reached."""
    model = initial_model((10, 50, 2000, 3), seed)
    generator = torch.Generator().manual_seed(seed)
    images = scale * torch.randn(2000, 10, generator=generator)
    with torch.no_grad():
        labels = torch.where(torch.rand(2000, generator=generator) < 0.8, model(images).argmax(1), 0)
    modules = torch.rand(10, 2050, generator=generator) < 0.001
    modules[::2, :50] = False
    modules[::2, 50] = True
    found = [read_again(model, module, images, labels) for module in modules]
    assert [hits for hits, _ in found] == [hits_of_a_copy(model, module, images, labels) for module in modules]
    assert min(count for _, count in found) < 1000


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.sampled_from([0, 1, 3]))
def test_images_that_levels_cannot_turn_are_known(seed, times):
    """Levels at the mean activations, or away from them, on either side."""
    model = initial_model((10, 20, 1500, 3), seed)
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(1000, 10, generator=generator)
    with torch.no_grad():
        labels = torch.where(torch.rand(1000, generator=generator) < 0.8, model(images).argmax(1), 0)
    modules = torch.rand(10, 1520, generator=generator) < 0.001
    modules[:5, 20] = True
    levels = times * mean_activations(model, images)
    found = [read_again(model, module, images, labels, levels) for module in modules]
    assert [hits for hits, _ in found] == [clamped_hits(model, module, levels, images, labels) for module in modules]
    assert min(count for _, count in found) < 500


def test_dead_neurons_change_nothing():
    """Exactly: not even where two logits are equal."""
    model = initial_model((10, 300, 200, 3), seed=0)
    dead = torch.arange(500) % 10 == 0
    with torch.no_grad():
        for bias, silent in zip(model.biases, dead.split([300, 200])):
            bias[silent] = -100
        model.weights[-1][1], model.biases[-1][1] = model.weights[-1][0], model.biases[-1][0]
    images, labels = torch.randn(200, 10, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 3
    modules = torch.zeros(4, 500, dtype=torch.bool)
    modules[1], modules[2, :300], modules[3, 300:] = dead, dead[:300], dead[300:]
    found = ablated_hits(model, modules, images, labels).tolist()
    assert found == [hits_of_a_copy(model, dead & False, images, labels)] * 4
    assert found[0][0] > found[0][1] == 0


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
    monkeypatch.setattr(modularity.ablation, "BATCH_NUMBERS", 1)
    assert torch.equal(ablated_accuracy(small_model, modules, *digit_images), expected)


def test_a_class_without_images_has_no_accuracy(small_model, digit_images):
    images, labels = digit_images
    accuracy = ablated_accuracy(small_model, random_modules(1), images[labels < 2], labels[labels < 2])
    assert math.isnan(accuracy[0, 2])
    assert accuracy[0, :2].isfinite().all()


def test_memory_is_capped_and_batches_are_reported(small_model, digit_images, monkeypatch):
    batches = []
    # 7 modules, images, at most 5 neurons in a layer
    monkeypatch.setattr(modularity.ablation, "BATCH_NUMBERS", 7 * modularity.ablation.BATCH_IMAGES * 5)
    ablated_accuracy(small_model, random_modules(20), *digit_images, progress=lambda rows: batches.extend(rows) or rows)
    assert [len(rows) for *_, rows in batches] == [7, 7, 3, 3]  # 17 begin in layer 1, 3 in layer 2


def test_equal_modules_are_evaluated_once(small_model, digit_images):
    modules = random_modules(4)[[0, 1, 0, 2, 3, 1]]
    rows = []
    accuracy = ablated_accuracy(
        small_model, modules, *digit_images, progress=lambda batches: rows.extend(batches) or batches
    )
    assert sum(len(some) for *_, some in rows) == 4
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


@pytest.mark.parametrize("numbers, jobs, classes", [(1, 1, (8, 1)), (2**32, 1, (7, 1, 4)), (10**7, 2, (9, 0, 3))])
def test_modules_and_controls_are_all_measured_whatever_the_tasks(numbers, jobs, classes, monkeypatch):
    """On the test images of the classes of each network."""
    monkeypatch.setattr(modularity.ablation, "TASK_NUMBERS", numbers)
    networks = [
        Network(lively(initial_model((784, 9, 6, 3), 0)), DataSet("mnist", (3, 5, 7))),
        Network(lively(initial_model((784, 15, len(classes)), 1)), DataSet("mnist", classes)),
    ]
    modules = [random_modules(2, seed=0), random_modules(3, seed=1)]
    controls = [[random_modules(4, seed=2), random_modules(0)], [random_modules(1, seed=count) for count in range(3)]]
    found = against_controls(networks, modules, controls, REPOSITORY / "data", torch.device("cpu"), jobs)
    for network, own, groups, (intact, hits, control_hits) in zip(networks, modules, controls, found, strict=True):
        images, labels = network.data.load(False, REPOSITORY / "data")
        assert len(torch.cat([hits, *control_hits]).unique(dim=0)) > 3
        assert torch.equal(intact, ablated_hits(network.model, own[:1] & False, images, labels)[0])
        for expected, measured in zip([own, *groups], [hits, *control_hits], strict=True):
            assert torch.equal(measured, ablated_hits(network.model, expected, images, labels))


def test_modules_and_controls_of_each_network_are_set_to_its_levels():
    data = DataSet("mnist", (3, 5, 7))
    networks = [Network(lively(initial_model((784, 9, 6, 3), seed)), data) for seed in (0, 3)]
    images, labels = data.load(False, REPOSITORY / "data")
    levels = [mean_activations(network.model, images) for network in networks]
    modules, controls = [random_modules(2, seed=0)] * 2, [[random_modules(4, seed=2)]] * 2
    found = against_controls(networks, modules, controls, REPOSITORY / "data", torch.device("cpu"), 1, levels)
    for network, its_levels, (_, hits, (others,)) in zip(networks, levels, found, strict=True):
        assert torch.equal(hits, ablated_hits(network.model, modules[0], images, labels, its_levels))
        assert torch.equal(others, ablated_hits(network.model, controls[0][0], images, labels, its_levels))
        assert not torch.equal(others, ablated_hits(network.model, controls[0][0], images, labels))
