"""Training: Adam on cross-entropy, networks of one shape side by side."""

import torch
from torch.nn.functional import cross_entropy, linear

from mlp import InputError


def split_validation(images, labels, fraction, generator):
    """Set a random share of the images apart.

    Returns (images, labels) to train on and (images, labels) to validate with, neither empty.
    """
    held_out = min(max(round(fraction * len(images)), 1), len(images) - 1)
    order = torch.randperm(len(images), generator=generator).to(images.device)
    validation, training = order[:held_out], order[held_out:]
    return (images[training], labels[training]), (images[validation], labels[validation])


def train(models, training, validation, epochs, batch_size, learning_rate, generator):
    """Train networks of one shape, in place, on the same mini-batches; yield the state of each after each epoch.

    Their parameters are stacked, so one matrix product serves the first layer of all networks and a batched product
    each later layer.  The networks do not interact: each is trained on its own mean cross-entropy, and Adam works
    parameter by parameter.

    models: MLPs of equal sizes.  training, validation: (images [n, inputs], labels [n]).
    Yields one row per network: network, epoch (from 1), and measured after the epoch on all images training_loss,
    training_accuracy, validation_loss, validation_accuracy (losses in nats, accuracies as fractions).
    Raises InputError if a loss is no longer finite.
    """
    weights = [torch.stack(matrices).detach().requires_grad_() for matrices in zip(*(m.weights for m in models))]
    biases = [torch.stack(vectors).detach().requires_grad_() for vectors in zip(*(m.biases for m in models))]
    optimizer = torch.optim.Adam([*weights, *biases], lr=learning_rate, fused=True)
    images, labels = training
    for epoch in range(1, epochs + 1):
        order = torch.randperm(len(images), generator=generator).to(images.device)
        for batch in order.split(batch_size):
            loss = mean_cross_entropy(stacked_logits(weights, biases, images[batch]), labels[batch]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        rows = [{"network": k, "epoch": epoch} for k in range(len(models))]
        for name, part in (("training", training), ("validation", validation)):
            loss, accuracy = evaluate(weights, biases, *part)
            if not loss.isfinite().all():
                raise InputError(f"--lr {learning_rate}: the loss is not finite after epoch {epoch}; choose a smaller one")
            for row, its_loss, its_accuracy in zip(rows, loss.tolist(), accuracy.tolist()):
                row |= {f"{name}_loss": its_loss, f"{name}_accuracy": its_accuracy}
        yield rows
    with torch.no_grad():
        for k, model in enumerate(models):
            for stack, parameters in ((weights, model.weights), (biases, model.biases)):
                for stacked, parameter in zip(stack, parameters):
                    parameter.copy_(stacked[k])


def stacked_logits(weights, biases, images):
    """Logits [networks, n, outputs] of networks whose parameters are stacked along a first axis.

    weights: one [networks, out, in] tensor per layer.  biases: one [networks, out] per layer.  images: [n, inputs].
    """
    networks = len(weights[0])
    activations = linear(images, weights[0].flatten(0, 1), biases[0].flatten())  # one product for all networks
    activations = activations.unflatten(1, (networks, -1)).transpose(0, 1)
    for weight, bias in zip(weights[1:], biases[1:]):
        activations = torch.baddbmm(bias.unsqueeze(1), torch.relu(activations), weight.transpose(1, 2))
    return activations


def mean_cross_entropy(logits, labels):
    """Mean cross-entropy in nats of each network: logits [networks, n, outputs], labels [n] -> [networks]."""
    networks, n, _ = logits.shape
    return cross_entropy(logits.flatten(0, 1), labels.repeat(networks), reduction="none").view(networks, n).mean(1)


@torch.no_grad()
def evaluate(weights, biases, images, labels):
    """Mean cross-entropy [networks] and accuracy [networks] of stacked networks."""
    logits = stacked_logits(weights, biases, images)
    return mean_cross_entropy(logits, labels), (logits.argmax(-1) == labels).double().mean(1)
