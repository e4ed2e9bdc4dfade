"""Training: Adam on cross-entropy, with dropout, penalties and pruning, networks of one shape side by side."""

import os
from itertools import pairwise

import torch
from torch.nn.functional import cross_entropy

from mlp import InputError
from mlp.model import stacked

BATCH_NUMBERS = 2**20
"""First-layer activations held at once while networks are evaluated: 4 MiB, which stay in a processor's cache."""

PRUNING_INTERVAL = 10
"""Steps between two choices of the weights to keep."""


def refuse_more_than_memory(sizes, networks, device):
    """Raise InputError if networks of these layer sizes would not fit in memory, before anything is allocated."""
    numbers = sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))
    needed = networks * numbers * 6 * 4  # float32 weights twice, gradients, two moments of Adam, and one to spare
    if device.type == "cuda":
        available, _ = torch.cuda.mem_get_info(device)
    else:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > 0.8 * available:
        widths = ",".join(map(str, sizes[1:-1]))
        raise InputError(
            f"--networks {networks} --hidden-layers {widths}: needs about {needed / 2**30:,.1f} GiB and there are "
            f"{available / 2**30:,.1f}; train fewer networks at once, or smaller ones"
        )


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
    pruning=None,
):
    """Train networks of one shape, in place, side by side; yield the state of each after each epoch.

    Their parameters are stacked, so each layer of all networks is one batched matrix product.  (torch.func's vmap over
    functional_call would come down to the same products, by way of more machinery.)  If all networks share the order of
    mini-batches, the images are the same for all and the first layer, where nearly all the work is, is one plain matrix
    product.  The networks do not interact: each is trained on its own mean cross-entropy, and Adam works parameter by
    parameter.

    models: MLPs of equal sizes.  images: [n, inputs].  labels: [n].
    splits, generators: what to train on and validate with, as `split_validation` returns, and what decides the order of
    mini-batches and which activations are dropped: one for all networks, or one for each.
    dropout: share of each hidden layer's activations that is set to zero in a step, the others growing to make up.
    l1, l2: added to the loss are l1 sum |w| + l2 sum w^2 over all weights; biases are free.
    pruning: None, or the share of zeros in each weight matrix at the first and after the last step; in between,
    `polynomial_sparsity`.  Every PRUNING_INTERVAL steps the weights to keep are chosen anew, and all others are zero
    whenever the network is used (Zhu & Gupta 2017).  Biases are never pruned.
    Yields one row per network: network, epoch (from 1), and measured after the epoch on all images training_loss,
    training_accuracy, validation_loss, validation_accuracy (cross-entropies in nats, accuracies as fractions; NaN where
    there are no images).
    Raises InputError if a loss is no longer finite.
    """
    weights, biases = stacked(models)
    parameters = [parameter.requires_grad_() for parameter in (*weights, *biases)]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, eps=adam_epsilon, fused=True)
    noise = [_twin(generator, images.device) for generator in generators] if dropout else []
    steps = epochs * -(-len(splits[0][0]) // batch_size)
    step, kept = 0, None
    for epoch in range(1, epochs + 1):
        orders = [split[torch.randperm(len(split), generator=g)] for (split, _), g in zip(splits, generators)]
        for batch in torch.stack(orders).to(images.device).split(batch_size, dim=1):
            if pruning:
                kept = _prune(weights, kept, step, steps, pruning)
            factors = None
            if dropout:
                factors = [_dropout_factors(layer.shape[1], batch.shape[1], dropout, noise) for layer in biases[:-1]]
            if len(batch) == 1:
                batch = batch[0]
            logits = stacked_logits(weights, biases, images[batch], factors)
            loss = cross_entropy(logits, labels[batch].expand(len(logits), -1), reduction="sum") / logits.shape[2]
            if l1:
                loss = loss + l1 * sum(weight.abs().sum() for weight in weights)
            if l2:
                loss = loss + l2 * sum(weight.square().sum() for weight in weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        if pruning:
            kept = _prune(weights, kept, step, steps, pruning)
        yield _state(weights, biases, images, labels, splits, epoch, learning_rate)
    with torch.no_grad():
        for k, model in enumerate(models):
            for stack, own in ((weights, model.weights), (biases, model.biases)):
                for stacked_parameter, parameter in zip(stack, own):
                    parameter.copy_(stacked_parameter[k])


def polynomial_sparsity(step, steps, initial, final):
    """Share of zeros s(t) = final + (initial - final) (1 - t/T)^3 at step t of T (Zhu & Gupta 2017, eq. 1)."""
    return final + (initial - final) * (1 - step / steps) ** 3


def largest_weights(matrices, sparsity):
    """Which weights to keep so that a share `sparsity` of each matrix is pruned: those of the largest |w|, and ties.

    matrices: [networks, out, in].  Returns a boolean tensor of that shape.
    """
    strength = matrices.abs().flatten(1)
    size = strength.shape[1]
    pruned = size - round(size * (1 - sparsity))
    if pruned == size:
        return torch.zeros_like(matrices, dtype=torch.bool)
    threshold = strength.kthvalue(pruned + 1).values
    return matrices.abs() >= threshold.view(-1, 1, 1)


@torch.no_grad()
def _prune(weights, kept, step, steps, pruning):
    """Zero the weights that are not kept, in place; returns which are kept, from time to time chosen anew."""
    if step % PRUNING_INTERVAL == 0 or step == steps:
        kept = [largest_weights(weight, polynomial_sparsity(step, steps, *pruning)) for weight in weights]
    for weight, keep in zip(weights, kept):
        weight.mul_(keep)
    return kept


def _twin(generator, device):
    """A generator on a device that depends on the state of another."""
    seed = torch.randint(2**62, (), generator=generator)
    return torch.Generator(device).manual_seed(int(seed))


def _dropout_factors(neurons, images, rate, generators):
    """What to multiply activations by: 0 where they are dropped, else 1 / (1 - rate): [generators, neurons, images]."""
    factors = [torch.empty(neurons, images, device=g.device).bernoulli_(1 - rate, generator=g) for g in generators]
    return torch.stack(factors).div_(1 - rate)


def stacked_logits(weights, biases, images, factors=None):
    """Logits [networks, outputs, n] of networks whose parameters are stacked along a first axis.

    weights: one [networks, out, in] tensor per layer.  biases: one [networks, out] per layer.
    images: [n, inputs], the same for all networks, or [networks, n, inputs].
    factors: one [networks or 1, neurons, n] per hidden layer that its activations are multiplied by, or None.
    """
    if images.ndim == 2:
        activations = torch.addmm(biases[0].view(-1, 1), weights[0].flatten(0, 1), images.T)
        activations = activations.unflatten(0, biases[0].shape)
    else:
        activations = weights[0] @ images.mT + biases[0].unsqueeze(2)
    for layer, (weight, bias) in enumerate(zip(weights[1:], biases[1:])):
        hidden = activations.relu()
        if factors:
            hidden = hidden * factors[layer]
        activations = torch.bmm(weight, hidden).add_(bias.unsqueeze(2))
    return activations


def losses_and_hits(logits, labels):
    """Cross-entropy in nats, and whether the argmax is right, of each network and image: two [networks, n].

    logits: [networks, outputs, n].  labels: [n] or [networks, n].
    """
    labels = labels.expand(len(logits), -1)
    return cross_entropy(logits, labels, reduction="none"), logits.argmax(1) == labels


@torch.no_grad()
def evaluate(weights, biases, images, labels):
    """`losses_and_hits` of stacked networks on all images, in batches of bounded memory."""
    rows = max(1, BATCH_NUMBERS // weights[0].shape[:2].numel())
    parts = [
        losses_and_hits(stacked_logits(weights, biases, some), their_labels)
        for some, their_labels in zip(images.split(rows), labels.split(rows))
    ]
    losses, hits = zip(*parts)
    return torch.cat(losses, dim=1), torch.cat(hits, dim=1)


def _state(weights, biases, images, labels, splits, epoch, learning_rate):
    """The rows that `train` yields."""
    losses, hits = (measure.cpu() for measure in evaluate(weights, biases, images, labels))
    if not losses.isfinite().all():
        raise InputError(f"--lr {learning_rate}: the loss is not finite after epoch {epoch}; choose a smaller one")
    rows = []
    for k, (loss, hit) in enumerate(zip(losses, hits)):
        row = {"network": k, "epoch": epoch}
        for name, chosen in zip(("training", "validation"), splits[min(k, len(splits) - 1)]):
            row[f"{name}_loss"] = loss[chosen].double().mean().item()
            row[f"{name}_accuracy"] = hit[chosen].double().mean().item()
        rows.append(row)
    return rows
