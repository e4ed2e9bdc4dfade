"""Training: Adam on cross-entropy, with dropout, penalties and pruning, networks of one shape side by side."""

import os
from itertools import pairwise
from math import prod

import torch
from torch.nn.functional import cross_entropy
from torch.optim.adam import adam

from mlp import InputError
from mlp.architecture import over_slices
from mlp.model import hits, initial_model, propagate, stacked
from mlp.planting import planted_connections
from mlp.seeds import derived_seed

BATCH_NUMBERS = 2**20
"""Activations of a layer held at once while networks are evaluated: 4 MiB, which stay in a processor's cache."""

GPU_NUMBERS = 2**26
"""The same on a GPU, where small batches are slow: 256 MiB."""

PRUNING_INTERVAL = 10
"""Steps between two choices of the weights to keep."""

ROWS_AT_ONCE = 400
"""First-layer neurons that one task trains side by side, whatever the number of cores: more make no network cheaper."""

MEASURED = 10_000
"""Training images that are read after each epoch to say how good a network of convolutions is; to read all would take a
third as long as to train.  Others read all."""

MAP_DROPOUT = 0.5
"""Share of the rate of dropout that convolutions have (Filan et al. 2021: 0.25, and 0.5 for other layers)."""

PRUNED, NOISE = 1, 2
"""What a seed decides besides weights and mini-batches: the mini-batches while pruning, and which neurons drop out."""


def memory_needed(architecture, networks, images, batch_size, separate_batches):
    """Bytes that training side by side takes at its peak, measured to be at most this and at least about a sixth of it.

    Of each network: its weights 24 times (stacked, gradients, two moments of Adam, copies to save, what products and
    the allocator take in between), a batch's activations 8 times, and losses and hits of all images, twice; with
    separate batches also its own images of a batch, and the order of all images.
    """
    numbers = 24 * parameter_count(architecture) + 8 * batch_size * architecture.activations + 6 * images
    if separate_batches:
        numbers += 2 * batch_size * prod(architecture.input_shape) + 6 * images
    return 4 * networks * numbers


def parameter_count(architecture):
    """How many weights and biases a network has."""
    return sum(prod(shape) + shape[0] for shape in architecture.weight_shapes)


def refuse_more_than_memory(needed, architecture, networks, device):
    """Raise InputError if networks that take `memory_needed` would not fit in memory, before any of them is made."""
    if device.type == "cuda":
        available, _ = torch.cuda.mem_get_info(device)
    elif not hasattr(os, "sysconf"):  # on Windows nobody can be asked without a further package
        return
    else:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > 0.8 * available:
        widths = list(map(str, architecture.sizes[1:-1]))
        channels, neurons = widths[: architecture.convolutions], widths[architecture.convolutions :]
        given = f"--networks {networks}{' --channels ' * bool(channels)}{','.join(channels)}"
        given += f" --hidden-layers {','.join(neurons)}"
        memory = f"needs about {needed / 2**30:,.1f} GiB and there are {available / 2**30:,.1f}"
        raise InputError(f"{given}: {memory}; train fewer networks, or smaller ones")


def memory_kept(architecture, networks):
    """Bytes that trained networks take while others are trained: their weights three times, on their way to a file."""
    return 12 * networks * parameter_count(architecture)


def together(architecture):
    """How many networks of an architecture one task trains side by side, at most."""
    return max(1, ROWS_AT_ONCE // prod(architecture.shapes[0]))


def in_tasks(networks, architecture):
    """The networks in parts of nearly equal size, each to be trained side by side by one task."""
    parts = -(-len(networks) // together(architecture))
    bounds = [len(networks) * part // parts for part in range(parts + 1)]
    return [networks[start:end] for start, end in pairwise(bounds)]


def train_networks(
    networks, states, batch_seeds, architecture, init, data, data_dir, device, val_fraction, epochs, options, advance
):
    """Train some networks from their initial weights, or go on: a task.

    networks: {"seed", "lr", "dropout", "l1", "l2"} of each, and where groups are planted "planted_groups" and "leak",
    as `planted_connections` takes them.  states: None, or the state dicts with which to go on.
    batch_seeds: the seeds that decide the validation images, mini-batches and dropped neurons, one for all networks or
    one for each.  data: the DataSet.  options: those of `train`.  advance: called after each epoch.
    Returns the rows of `train`; the models' state dicts; and what `evaluate` says of the test images.
    """
    images, labels = data.load(True, data_dir, device)
    models = [initial_model(architecture, network["seed"], init).to(device) for network in networks]
    generators = [torch.Generator().manual_seed(seed) for seed in batch_seeds]
    splits = [split_validation(labels, val_fraction, generator) for generator in generators]
    if states:  # a start of its own, since how long the training before took may depend on other networks
        generators = [torch.Generator().manual_seed(derived_seed(seed, PRUNED)) for seed in batch_seeds]
        for model, state in zip(models, states):
            model.load_state_dict(state)
    names = {"learning_rate": "lr", "dropout": "dropout", "l1": "l1", "l2": "l2"}
    rates = {option: [network[name] for network in networks] for option, name in names.items()}
    connections = None
    if "planted_groups" in networks[0]:
        plans = [(network["planted_groups"], network["leak"], network["seed"]) for network in networks]
        each = zip(*(planted_connections(architecture.sizes, *plan) for plan in plans))
        stacks = zip((torch.stack(layer).to(device) for layer in each), models[0].weights[1:])
        connections = [over_slices(present, weight.unsqueeze(0)) for present, weight in stacks]
    rows = []
    torch.set_flush_denormal(True)  # weights that L2 has shrunk below 1e-38 take many times as long to multiply
    try:
        for state in train(
            models, images, labels, splits, generators, epochs, connections=connections, **rates, **options
        ):
            rows += state
            advance()
    finally:
        torch.set_flush_denormal(False)
    states = [{name: tensor.cpu().clone() for name, tensor in model.state_dict().items()} for model in models]
    tests = (tensor.cpu() for tensor in evaluate(*stacked(models), *data.load(False, data_dir, device), architecture))
    return rows, states, *tests


def split_validation(labels, fraction, generator):
    """Set a random share of the images apart: indices of the training images [m], of the validation images [n - m].

    Neither is empty, unless the fraction is 0.
    """
    held_out = min(max(round(fraction * len(labels)), 1), len(labels) - 1) if fraction > 0 else 0
    order = torch.randperm(len(labels), generator=generator)
    return order[held_out:], order[:held_out]


def train(
    models,
    images,
    labels,
    splits,
    generators,
    epochs,
    batch_size,
    learning_rate,
    *,
    adam_epsilon=1e-8,
    dropout=0.0,
    l1=0.0,
    l2=0.0,
    connections=None,
    pruning=None,
    lr_decay=None,
    early_stopping=None,
):
    """Train networks of one shape, in place, side by side; yield the state of each after each epoch.

    Their parameters are stacked, so each layer of all networks is one batched matrix product (torch.func's vmap over
    functional_call would come down to the same by way of more machinery); and if they share the order of mini-batches,
    the first layer, where nearly all the work is, is one plain product.  The networks do not interact: each is trained
    on its own mean cross-entropy, and Adam works parameter by parameter.

    models: Models of one architecture.  images: [n, inputs].  labels: [n].
    splits, generators: of `split_validation`, and what decides the order of mini-batches, and by its initial seed which
    activations are dropped: one for all networks, or one for each.
    learning_rate, dropout, l1, l2: a number for all networks, or a list with one for each.
    dropout: share of each hidden layer's activations that is set to zero in a step, the others growing to make up; of
    convolutions the share MAP_DROPOUT of it, after they are pooled.
    l1, l2: added to the loss are l1 sum |w| + l2 sum w^2 over all weights; biases are free.
    connections: None, or which weights exist, those from the inputs aside: a boolean tensor for each further layer that
    goes with its stacked weights.  The others are zero from the first step to the last.
    pruning: None, or the share of zeros in each weight matrix at the first and after the last step; in between,
    `polynomial_sparsity`.  Every PRUNING_INTERVAL steps the weights to keep are chosen anew, and all others are zero
    whenever the network is used (Zhu & Gupta 2017).  Biases are never pruned.
    lr_decay: None, or (factor, patience): a network's learning rate is multiplied by the factor whenever its validation
    loss has not fallen below its lowest for more than `patience` epochs in a row, as torch's ReduceLROnPlateau does.
    early_stopping: None, or a number of epochs: a network whose validation loss has not fallen below its lowest for so
    many epochs stops, while others go on; and all end with the weights of their lowest validation loss.
    Yields one row per network still in training: network, epoch (from 1), learning_rate during the epoch, and measured
    after it on all images, or of convolutions on MEASURED and those for validation, training_loss, training_accuracy,
    validation_loss, validation_accuracy (cross-entropies in nats, accuracies as fractions; NaN where there are no
    images).  Raises InputError if a loss is no longer finite.
    """
    architecture = models[0].architecture
    weights, biases = stacked(models)
    connections = connections or []
    for weight, present in zip(weights[1:], connections):
        weight.mul_(present)
    parameters = [parameter.requires_grad_() for parameter in (*weights, *biases)]
    best = [parameter.detach().clone() for parameter in parameters] if early_stopping else parameters
    per_network = (torch.tensor(value, dtype=torch.float64) for value in (learning_rate, dropout, l1, l2))
    learning_rate, dropout, l1, l2 = (value.expand(len(models)).clone() for value in per_network)
    given = {"--lr": learning_rate.clone(), "--l1": l1, "--l2": l2}
    moments = [[torch.zeros_like(parameter) for parameter in parameters] for _ in range(2)]
    step_counts = [torch.zeros((), device=images.device) for _ in parameters]
    penalties = l1.any() or l2.any()
    noise = _dropout_noise(dropout, generators, images.device) if dropout.any() else None
    measured = images, labels, splits
    if architecture.convolutions:
        measured = _some_of(images, labels, [(training[:MEASURED], validation) for training, validation in splits])
    running = torch.arange(len(models))
    lowest = torch.full([len(models)], torch.inf, dtype=torch.float64)
    stale, undecayed = torch.zeros(2, len(models), dtype=torch.int64)  # epochs since the lowest, or also since a decay
    steps = epochs * -(-len(splits[0][0]) // batch_size)
    step, kept = 0, None
    for epoch in range(1, epochs + 1):
        orders = [split[torch.randperm(len(split), generator=g)] for (split, _), g in zip(splits, generators)]
        orders = torch.stack(orders if len(orders) == 1 else [orders[k] for k in running])
        for batch in orders.to(images.device).split(batch_size, dim=1):
            if pruning:
                kept = _prune(weights, kept, step, steps, pruning)
            factors = None
            if noise:
                factors = _dropout_factors(architecture, batch.shape[1], noise, running)
            if len(batch) == 1:
                batch = batch[0]
            layers = architecture.layers
            logits = propagate(weights, biases, architecture.entered(images[batch]), factors, layers=layers)[-1]
            loss = cross_entropy(logits, labels[batch].expand(len(logits), -1), reduction="sum") / logits.shape[2]
            gradients = torch.autograd.grad(loss, parameters)
            for gradient, present in zip(gradients[1:], connections):  # a zero without a gradient stays one
                gradient.mul_(present)
            if penalties:
                _add_penalties(weights, gradients, l1[running], l2[running])
            _step(parameters, gradients, moments, step_counts, learning_rate[running], adam_epsilon)
            step += 1
        if pruning:
            kept = _prune(weights, kept, step, steps, pruning)
        losses, right = (measure.cpu() for measure in evaluate(weights, biases, *measured[:2], architecture))
        _refuse_divergence(losses, {name: rate[running].tolist() for name, rate in given.items()}, epoch)
        rows = _state(losses, right, measured[2], epoch, running, learning_rate)
        yield rows

        losses = torch.tensor([row["validation_loss"] for row in rows], dtype=torch.float64)
        falls = losses < lowest[running]
        lowest[running] = losses.minimum(lowest[running])
        for waited in (stale, undecayed):
            waited[running] = torch.where(falls, 0, waited[running] + 1)
        if lr_decay:
            factor, patience = lr_decay
            learning_rate[undecayed > patience] *= factor
            undecayed[undecayed > patience] = 0
        if early_stopping:
            for stack, parameter in zip(best, parameters):
                stack[running[falls]] = parameter.detach()[falls]
            goes_on = stale[running] < early_stopping
            if not goes_on.any():
                break
            if not goes_on.all():
                running = running[goes_on]
                goes_on = goes_on.to(images.device)
                connections = [present[goes_on] for present in connections]
                moments = [[moment[goes_on] for moment in of_order] for of_order in moments]
                parameters = [parameter.detach()[goes_on].requires_grad_() for parameter in parameters]
                weights, biases = parameters[: len(weights)], parameters[len(weights) :]
    with torch.no_grad():
        for k, model in enumerate(models):
            for stack, parameter in zip(best, (*model.weights, *model.biases), strict=True):
                parameter.copy_(stack[k])


def _like(values, parameter):
    """Numbers [networks] in the shape, type and place to be multiplied by stacked parameters."""
    return over_slices(values.to(parameter), parameter)


@torch.no_grad()
def _add_penalties(weights, gradients, l1, l2):
    """Add the gradients of l1 sum |w| + l2 sum w^2 to those of the weights, which come before those of biases."""
    for weight, gradient in zip(weights, gradients):
        if l1.any():
            gradient.addcmul_(weight.sign(), _like(l1, weight))
        if l2.any():
            gradient.addcmul_(weight, _like(2 * l2, weight))


@torch.no_grad()
def _step(parameters, gradients, moments, step_counts, learning_rate, epsilon):
    """A step of Adam with a learning rate for each network.

    `adam_step` has one rate, and its step is proportional to it: it goes at the highest one, and the networks with
    lower rates go back part of the way.
    """
    highest = learning_rate.max()
    one_rate = bool((learning_rate == highest).all())
    before = [] if one_rate else [parameter.clone() for parameter in parameters]
    adam_step(parameters, gradients, moments, step_counts, highest.item(), epsilon)
    for parameter, old in zip(parameters, before):
        torch.lerp(old, parameter, _like(learning_rate / highest, parameter).expand_as(parameter), out=parameter)


@torch.no_grad()
def adam_step(parameters, gradients, moments, step_counts, rate, epsilon=1e-8):
    """A step of Adam, in place, by torch's fused kernel.

    Its functional form is called since torch.optim.Adam would import a compiler, which takes longer than training a
    small network.  moments: two lists of tensors, of zeros at first.  step_counts: a float tensor per parameter.
    """
    # those of kernels may lie in memory with their channels last; the fused kernel reads all in the order of parameters
    gradients = [gradient.contiguous() for gradient in gradients]
    constants = {"beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "amsgrad": False, "maximize": False}
    adam(parameters, gradients, *moments, [], step_counts, fused=True, lr=rate, eps=epsilon, **constants)


def polynomial_sparsity(step, steps, initial, final):
    """Share of zeros s(t) = final + (initial - final) (1 - t/T)^3 at step t of T (Zhu & Gupta 2017, eq. 1)."""
    return final + (initial - final) * (1 - step / steps) ** 3


def largest_weights(matrices, sparsity):
    """Which weights to keep so that a share `sparsity` of each matrix is pruned: those of the largest |w|, and ties.

    matrices: [networks, out, in], or kernels [networks, out, in, height, width].  Returns a boolean tensor like that.
    """
    strength = matrices.abs().flatten(1)
    size = strength.shape[1]
    pruned = size - round(size * (1 - sparsity))
    if pruned == size:
        return torch.zeros_like(matrices, dtype=torch.bool)
    threshold = strength.kthvalue(pruned + 1).values
    return matrices.abs() >= _like(threshold, matrices)


@torch.no_grad()
def _prune(weights, kept, step, steps, pruning):
    """Zero the weights that are not kept, in place; returns which are kept, from time to time chosen anew."""
    if step % PRUNING_INTERVAL == 0 or step == steps:
        kept = [largest_weights(weight, polynomial_sparsity(step, steps, *pruning)) for weight in weights]
    for weight, keep in zip(weights, kept):
        weight.mul_(keep)
    return kept


def _dropout_noise(rates, generators, device):
    """What decides which activations are dropped: (rate, generator) pairs, and the pair that each network follows.

    Networks of one rate and generator share a pair, and each pair gives what it would give alone.
    """
    seeds = [derived_seed(generator.initial_seed(), NOISE) for generator in generators]
    sources = range(len(rates)) if len(seeds) > 1 else [0] * len(rates)
    follows = list(zip(rates.tolist(), sources))
    pairs = list(dict.fromkeys(follows))
    noise = [(rate, torch.Generator(device).manual_seed(seeds[source])) for rate, source in pairs]
    return noise, torch.tensor([pairs.index(pair) for pair in follows], device=device)


def _dropout_factors(architecture, images, noise, running):
    """What to multiply what is read of hidden layers by: 0 where dropped, else 1 / (1 - rate).

    A tensor per hidden layer, [networks, or 1 for all, *the shape of what is read, n].
    """
    pairs, follows = noise
    layers = []
    for shape in architecture.read[1:]:
        factors = []
        for rate, generator in pairs:
            maps = len(shape) == 3
            # of maps in the order in which convolutions leave them: channels last
            sizes = (images, *shape[1:], shape[0]) if maps else (*shape, images)
            kept = 1 - (MAP_DROPOUT * rate if maps else rate)
            factor = torch.empty(sizes, device=generator.device).bernoulli_(kept, generator=generator).div_(kept)
            factors.append(factor.permute(3, 1, 2, 0) if maps else factor)
        layers.append(factors[0].unsqueeze(0) if len(pairs) == 1 else torch.stack(factors)[follows[running]])
    return layers


@torch.no_grad()
def evaluate(weights, biases, images, labels, architecture):
    """Cross-entropy in nats, and whether the argmax is right, of stacked networks and all images: two [networks, n]."""
    held = BATCH_NUMBERS if images.device.type == "cpu" else GPU_NUMBERS
    rows = architecture.images_at_once(held // len(weights[0]))  # in batches of bounded memory
    losses, right = [], []
    for some, its_labels in zip(images.split(rows), labels.split(rows)):
        logits = propagate(weights, biases, architecture.entered(some), None, True, architecture.layers)[-1]
        its_labels = its_labels.expand(len(logits), -1)
        losses.append(cross_entropy(logits, its_labels, reduction="none"))
        right.append(hits(logits, its_labels))
    return torch.cat(losses, dim=1), torch.cat(right, dim=1)


def _some_of(images, labels, splits):
    """The images that are in one of the splits, their labels, and the splits as places among these."""
    chosen = torch.cat([part for split in splits for part in split]).unique()
    places = torch.full((len(labels),), -1)
    places[chosen] = torch.arange(len(chosen))
    chosen = chosen.to(images.device)
    return images[chosen], labels[chosen], [(places[training], places[validation]) for training, validation in splits]


def _refuse_divergence(losses, rates, epoch):
    """Raise InputError if a loss [networks, n] is no longer finite, naming all rates of the network that may be why."""
    for loss, *values in zip(losses, *rates.values()):
        if not loss.isfinite().all():
            named = " ".join(f"{option} {value}" for option, value in zip(rates, values) if value)
            raise InputError(f"{named}: the loss is not finite after epoch {epoch}; choose a smaller rate")


def _state(losses, right, splits, epoch, running, learning_rate):
    """The rows that `train` yields, from the losses and who is right [networks, n] of all images."""
    columns = {"network": running, "epoch": [epoch] * len(running), "learning_rate": learning_rate[running]}
    for name, chosen in zip(("training", "validation"), map(torch.stack, zip(*splits))):
        places = chosen.expand(len(running), -1) if len(chosen) == 1 else chosen[running]
        for measure, values in (("loss", losses), ("accuracy", right)):
            columns[f"{name}_{measure}"] = values.gather(1, places).double().mean(1)
    values = (torch.as_tensor(column).tolist() for column in columns.values())
    return [dict(zip(columns, row)) for row in zip(*values)]
