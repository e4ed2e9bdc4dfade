import math
import subprocess
import sys

import pytest
import torch
from conftest import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st

import mlp.training
from mlp import InputError
from mlp.architecture import dense
from mlp.model import initial_model
from mlp.training import (
    in_tasks,
    largest_weights,
    memory_needed,
    polynomial_sparsity,
    refuse_more_than_memory,
    split_validation,
    train,
    train_networks,
)


def trained(seeds, images, labels, separate=False, precision=torch.float64, **options):
    """Networks with the weights of some seeds, trained and validated on all images.

    In double precision: training magnifies rounding, and in single precision other products of the same numbers would
    soon lead to other networks.
    """
    models = [initial_model((784, 6, 4, 3), seed).to(precision) for seed in seeds]
    images = images.to(precision)
    generators = [torch.Generator().manual_seed(5 + seed) for seed in (seeds if separate else [0])]
    everything = torch.arange(len(labels))
    options = {"epochs": 2, "batch_size": 64, "learning_rate": 1e-2} | options
    splits = [(everything, everything)] * len(generators)
    return models, list(train(models, images, labels, splits, generators, **options))


def assert_equal_networks(model, other):
    for parameter, expected in zip([*model.weights, *model.biases], [*other.weights, *other.biases], strict=True):
        torch.testing.assert_close(parameter, expected, rtol=1e-6, atol=1e-8)


def plain_loop(
    images,
    labels,
    epochs=2,
    penalty=lambda weights: 0,
    before_step=lambda model, step: None,
    factors=None,
    eps=1e-8,
):
    """As `trained`, with autograd on a module: the network of seed 0, and hooks for what a test adds."""
    plain, images = initial_model((784, 6, 4, 3), 0).double(), images.double()
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-2, eps=eps)
    generator = torch.Generator().manual_seed(5)
    step = 0
    for _ in range(epochs):
        for batch in torch.randperm(len(images), generator=generator).split(64):
            before_step(plain, step)
            activations = images[batch]
            for layer in plain.layers[:-1]:
                activations = layer(activations).relu()
                if factors:
                    activations = activations * factors(activations.T).T
            loss = torch.nn.functional.cross_entropy(plain.layers[-1](activations), labels[batch])
            optimizer.zero_grad()
            (loss + penalty(plain.weights)).backward()
            optimizer.step()
            step += 1
    before_step(plain, step)
    return plain


def test_equals_a_plain_loop_with_autograd_on_a_module(digit_images):
    images, labels = digit_images
    (model,), history = trained([0], images, labels)
    plain = plain_loop(images, labels)
    assert_equal_networks(model, plain)
    (last,) = history[-1]
    assert last["epoch"] == 2
    assert last["training_loss"] == pytest.approx(
        torch.nn.functional.cross_entropy(plain(images.double()), labels).item(), rel=1e-6
    )
    assert last["training_accuracy"] == pytest.approx(
        (plain(images.double()).argmax(1) == labels).double().mean().item(), abs=0.01
    )


def test_the_epsilon_of_adam_equals_a_plain_loop(digit_images):
    """One so large that it slows learning down."""
    (model,), _ = trained([0], *digit_images, adam_epsilon=0.1)
    assert_equal_networks(model, plain_loop(*digit_images, eps=0.1))


def test_networks_trained_together_are_the_networks_trained_alone(digit_images):
    together, rows = trained([0, 1, 2], *digit_images)
    for k, model in enumerate(together):
        (alone,), history = trained([k], *digit_images)
        assert_equal_networks(model, alone)
        assert rows[-1][k]["network"] == k
        assert rows[-1][k]["validation_loss"] == pytest.approx(history[-1][0]["validation_loss"], rel=1e-6)


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


@pytest.mark.parametrize("l1, l2", [(0.003, 0), (0, 0.01), (0.002, 0.005)])
def test_penalties_equal_a_plain_loop(digit_images, l1, l2):
    models, _ = trained([0, 1], *digit_images, l1=l1, l2=l2)
    plain = plain_loop(*digit_images, penalty=lambda ws: sum(l1 * w.abs().sum() + l2 * (w**2).sum() for w in ws))
    assert_equal_networks(models[0], plain)
    unpenalised, _ = trained([0], *digit_images)
    for weight, free in zip(plain.weights, unpenalised[0].weights):
        assert weight.norm() < free.norm()


def test_dropout_multiplies_hidden_activations(digit_images, monkeypatch):
    """With factors that can be foretold, training equals a plain loop; inputs and outputs are left alone."""

    def factors(activations):
        return 2 * ((torch.arange(activations.numel()).view(activations.shape) * 7) % 3 > 0)

    monkeypatch.setattr(
        mlp.training,
        "_dropout_factors",
        lambda architecture, n, *_: [factors(torch.empty(*shape, n)).unsqueeze(0) for shape in architecture.read[1:]],
    )
    models, rows = trained([0, 1], *digit_images, dropout=0.5)
    plain = plain_loop(*digit_images, factors=factors)
    assert_equal_networks(models[0], plain)
    loss = torch.nn.functional.cross_entropy(plain(digit_images[0].double()), digit_images[1]).item()
    assert rows[-1][0]["training_loss"] == pytest.approx(loss, rel=1e-6), "measured with dropout on"


def test_dropped_activations_are_a_random_share():
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    noise = mlp.training._dropout_noise(torch.tensor([0.3, 0.3]), generators, torch.device("cpu"))
    (factors,) = mlp.training._dropout_factors(dense((784, 100, 3)), 1000, noise, torch.arange(2))
    assert factors.shape == (2, 100, 1000)
    values, counts = factors.unique(return_counts=True)
    assert values.tolist() == pytest.approx([0, 1 / 0.7])
    assert counts[0] / factors.numel() == pytest.approx(0.3, abs=0.005)
    assert not torch.equal(*factors)


@pytest.mark.parametrize("separate", [False, True])
def test_dropout_and_pruning_of_a_network_do_not_depend_on_the_others(digit_images, separate):
    options = {"dropout": 0.4, "pruning": (0.3, 0.8), "separate": separate}
    together, _ = trained([0, 1, 2], *digit_images, **options)
    for k, model in enumerate(together):
        (alone,), _ = trained([k], *digit_images, **options)
        assert_equal_networks(model, alone)


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("rates", [[0.3, 0.0], [0.0, 0.3], [0.0, 0.5, 0.3]])
def test_noise_is_that_of_a_networks_own_rate(digit_images, rates, separate):
    """Also beside networks without dropout, which draw none; and these are as if nobody had any."""
    together, _ = trained(range(len(rates)), *digit_images, dropout=rates, separate=separate)
    for seed, (rate, model) in enumerate(zip(rates, together)):
        (alone,), _ = trained([seed], *digit_images, dropout=rate, separate=separate)
        assert_equal_networks(model, alone)
        (without,), _ = trained([seed], *digit_images, separate=separate)
        same = [torch.allclose(*pair) for pair in zip(model.parameters(), without.parameters())]
        assert all(same) if rate == 0 else not any(same)


SWEEP = {
    "learning_rate": [1e-2, 3e-3, 1e-2, 5e-3],
    "dropout": [0.4, 0.4, 0.1, 0.2],
    "l1": [0, 1e-3, 0, 2e-3],
    "l2": [0, 0, 1e-2, 1e-3],
}


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("schedule", [{}, {"lr_decay": (0.5, 0), "early_stopping": 2}])
def test_each_network_of_a_sweep_is_the_one_trained_alone(digit_images, separate, schedule):
    """Also after others have stopped, and with learning rates that fall one by one."""
    images, labels = digit_images
    options = {"separate": separate, "epochs": 25, **schedule}
    together, history = trained([0, 1, 2, 3], *digit_images, **SWEEP, **options)
    lengths = []
    for k, model in enumerate(together):
        its_options = {name: values[k] for name, values in SWEEP.items()}
        (alone,), its_history = trained([k], images, labels, **its_options, **options)
        torch.testing.assert_close(model(images.double()), alone(images.double()), rtol=1e-6, atol=1e-6)
        rows = [row for state in history for row in state if row["network"] == k]
        assert [row["learning_rate"] for row in rows] == pytest.approx([row["learning_rate"] for (row,) in its_history])
        lengths.append(len(rows))
    if schedule:
        assert len(set(lengths)) > 1, "all stop together, which tests little"


def test_early_stopping_and_decay_follow_the_validation_loss(digit_images):
    """The learning rates are those of torch's scheduler, and the weights those of the lowest validation loss."""
    images, labels = digit_images
    models = [initial_model((784, 6, 4, 3), seed) for seed in (0, 1, 2)]
    generator = torch.Generator().manual_seed(0)
    splits = [(torch.arange(150), torch.arange(150, 400))]  # few images, soon known by heart
    options = {"learning_rate": [0.03, 0.01, 0.02], "lr_decay": (0.3, 2), "early_stopping": 5}
    history = list(train(models, images, labels, splits, [generator], 200, 50, **options))
    ends = []
    for k, model in enumerate(models):
        rows = [row for state in history for row in state if row["network"] == k]
        losses = [row["validation_loss"] for row in rows]
        best = losses.index(min(losses))
        assert len(losses) == best + 1 + 5
        ends.append(len(losses))
        loss = torch.nn.functional.cross_entropy(model(images[150:]), labels[150:]).item()
        assert loss == pytest.approx(losses[best], rel=1e-4)
        optimizer = torch.optim.SGD(model.parameters(), lr=options["learning_rate"][k])
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=2, threshold=0)
        for row in rows:
            assert row["learning_rate"] == pytest.approx(optimizer.param_groups[0]["lr"])
            scheduler.step(row["validation_loss"])
        assert rows[-1]["learning_rate"] < rows[0]["learning_rate"]
    assert len(set(ends)) > 1
    assert len(history) == max(ends) < 200


def test_pruning_equals_a_plain_loop(digit_images):
    """Every tenth step the weights beyond a rank are chosen by sorting; biases stay."""
    steps, kept = 5 * 7, []

    def prune(model, step):
        if step % 10 == 0 or step == steps:
            sparsity = 0.8 + (0.2 - 0.8) * (1 - step / steps) ** 3
            kept.clear()
            for weight in model.weights:
                strengths = sorted(weight.detach().abs().flatten().tolist(), reverse=True)
                kept.append(weight.detach().abs() >= strengths[round(len(strengths) * (1 - sparsity)) - 1])
        with torch.no_grad():
            for weight, keep in zip(model.weights, kept):
                weight *= keep

    models, _ = trained([0, 1], *digit_images, epochs=5, pruning=(0.2, 0.8))
    plain = plain_loop(*digit_images, epochs=5, before_step=prune)
    assert_equal_networks(models[0], plain)
    for model in models:
        for weight in model.weights:
            assert (weight == 0).sum() == weight.numel() - round(weight.numel() * (1 - 0.8))
        assert all(bias.all() for bias in model.biases)


def test_the_schedule_of_pruning():
    steps = 20 * math.ceil(60_000 / 128)
    assert steps == 9380
    for step, sparsity in ((0, 0.5), (4690, 0.85), (9380, 0.9)):
        assert polynomial_sparsity(step, steps, 0.5, 0.9) == pytest.approx(sparsity)


@given(st.integers(1, 6), st.integers(1, 6), st.floats(0, 1), st.integers(0, 10**6))
def test_the_largest_weights_are_kept(rows, columns, sparsity, seed):
    matrices = torch.randn(2, rows, columns, generator=torch.Generator().manual_seed(seed))
    for matrix, keep in zip(matrices, largest_weights(matrices, sparsity)):
        assert keep.sum() == round(rows * columns * (1 - sparsity))
        assert matrix[keep].abs().min() > matrix[~keep].abs().max() if 0 < keep.sum() < keep.numel() else True


def test_training_that_diverges_is_refused(digit_images):
    with pytest.raises(InputError, match="--lr 1e[+]30"):
        trained([0], *digit_images, precision=torch.float32, learning_rate=1e30)


@pytest.mark.parametrize("fraction, held_out", [(0.1, 40), (1e-9, 1), (1 - 1e-9, 399), (0, 0)])
def test_validation_images_are_set_apart(digit_images, fraction, held_out):
    training, validation = split_validation(digit_images[1], fraction, torch.Generator().manual_seed(0))
    assert len(validation) == held_out
    assert sorted([*training.tolist(), *validation.tolist()]) == list(range(400))


def test_more_than_memory_is_refused_before_it_is_taken():
    with pytest.raises(InputError, match="--networks 1000000000 --hidden-layers 8: needs about 1,024.0 GiB"):
        refuse_more_than_memory(2**40, dense((784, 8, 3)), 10**9, torch.device("cpu"))
    refuse_more_than_memory(2**20, dense((784, 8, 3)), 100, torch.device("cpu"))


def test_fifty_thousand_networks_need_more_than_a_laptop_has():
    sizes, work = (784, 8, 8, 8, 3), {"images": 17_817, "batch_size": 128, "separate_batches": False}
    assert memory_needed(dense(sizes), 50_000, **work) > 32 * 2**30


PEAK_OF_TRAINING = """
import os, resource, sys
if os.fork():  # a process remembers the peak of the one that called it; a child of this small one starts anew
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
import torch
from mlp.architecture import dense
from mlp.model import initial_model
from mlp.training import memory_needed, split_validation, train

sizes, networks, images = (784, *map(int, sys.argv[2:]), 10), int(sys.argv[1]), 20_000
separate = networks < 0
networks = abs(networks)
pixels, labels = torch.rand(images, 784), torch.arange(images) % 10
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
models = [initial_model(sizes, seed) for seed in range(networks)]
generators = [torch.Generator().manual_seed(seed) for seed in range(networks if separate else 1)]
splits = [split_validation(labels, 0.1, generator) for generator in generators]
for _ in train(models, pixels, labels, splits, generators, 1, 2000, 1e-3):
    pass
unit = 1 if sys.platform == "darwin" else 1024
taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
print(taken / memory_needed(dense(sizes), networks, images, 2000, separate))
"""


LONG = pytest.mark.long


@pytest.mark.parametrize(
    "networks, widths",
    [(250, [8, 8]), pytest.param(100, [64, 64], marks=LONG), pytest.param(-60, [16], marks=LONG)],
)
def test_the_memory_that_is_needed_is_what_training_takes(networks, widths):
    """In a process of its own; a negative number of networks stands for separate batches."""
    command = [sys.executable, "-c", PEAK_OF_TRAINING, *map(str, (networks, *widths))]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert 1 / 6 < float(done.stdout) < 1


@pytest.mark.parametrize(
    "options, named", [({"l1": 1e39}, "--lr 0.01 --l1 1e[+]39: "), ({"l2": [0, 1e39]}, "--lr 0.01 --l2 1e[+]39: ")]
)
def test_all_rates_that_may_have_made_it_diverge_are_named(digit_images, options, named):
    with pytest.raises(InputError, match=named):
        trained([0, 1], *digit_images, precision=torch.float32, **options)


@given(st.integers(1, 300), st.integers(1, 900))
def test_tasks_are_as_many_as_are_needed_and_nearly_equal(count, width):
    """Whatever the number of cores: of no more first-layer neurons than are held at once, or of one network."""
    networks = list(range(count))
    parts = in_tasks(networks, dense((784, width, 3)))
    assert [network for part in parts for network in part] == networks
    lengths = [len(part) for part in parts]
    most = max(400 // width, 1)
    assert max(lengths) <= most
    assert max(lengths) - min(lengths) <= 1
    assert len(parts) == math.ceil(count / most)


class Digits:
    """A data set of the same images for training and tests."""

    def __init__(self, images, labels):
        self.tensors = images, labels

    def load(self, train, data_dir, device):
        return [tensor if train else tensor[:90] for tensor in self.tensors]


@pytest.mark.parametrize("separate", [False, True])
def test_networks_of_a_task_do_not_depend_on_the_others(digit_images, separate):
    """Nor does what comes after they were trained, when they are pruned."""
    rates = {"lr": [1e-3, 2e-3, 1e-3], "dropout": [0, 0.3, 0.3], "l1": [0, 0, 1e-4], "l2": [1e-3, 0, 0]}
    networks = [{"seed": seed} | {name: values[seed] for name, values in rates.items()} for seed in range(3)]
    stages = [(3, {"early_stopping": 1}), (2, {"pruning": (0.3, 0.8)})]
    moves = []

    def run(some):
        seeds = [network["seed"] + 5 for network in some] if separate else [5]
        where = Digits(*digit_images), "nowhere", torch.device("cpu"), 0.25
        results, states = [], None
        for epochs, options in stages:
            stage = epochs, options | {"batch_size": 50}, lambda: moves.append(1)
            results.append(train_networks(some, states, seeds, dense((784, 6, 3)), "glorot", *where, *stage))
            states = results[-1][1]
        return results

    together = run(networks)
    assert 3 <= len(moves) <= 5
    for k, network in enumerate(networks):
        for (rows, states, losses, right), (its_rows, (its_state,), its_losses, its_right) in zip(
            together, run([network]), strict=True
        ):
            rows = [row | {"network": 0} for row in rows if row["network"] == k]
            assert rows == [pytest.approx(row, rel=1e-4) for row in its_rows]
            for name, tensor in its_state.items():
                torch.testing.assert_close(states[k][name], tensor, rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(losses[k], its_losses[0], rtol=1e-3, atol=1e-4)
            assert right[k].shape == its_right[0].shape == (90,)
    trained_states, pruned = together[0][1], together[1][1]
    for before, after in zip(trained_states, pruned):
        assert all(weight.all() for name, weight in before.items() if name.endswith("weight"))
        for name, weight in after.items():
            if name.endswith("weight"):
                assert (weight == 0).sum() == weight.numel() - round(weight.numel() * (1 - 0.8))
