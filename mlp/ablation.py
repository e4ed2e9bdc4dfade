"""Ablation: what a network still gets right while a module is silent."""

import torch

from mlp.statistics import class_accuracy

BATCH_BYTES = 2**28


@torch.no_grad()
def ablated_accuracy(model, modules, images, labels):
    """Accuracy per class while the activations of each module are set to zero.

    The modules are masks in one batched forward pass, which reads the model's weights and changes nothing.  Silencing
    the activations is not the same as zeroing the incoming weights, which would leave relu(bias) alive.

    modules: boolean [modules, hidden neurons]; a row without members leaves the network intact.
    images: [n, inputs].  labels: [n] int64 class indices.
    Returns float64 [modules, classes], fractions 0..1; NaN for a class that has no images.
    """
    weights, biases = model.weights, model.biases
    first = torch.relu(torch.nn.functional.linear(images, weights[0], biases[0]))  # shared by all modules
    bytes_per_module = 3 * len(images) * max(model.sizes[1:]) * first.element_size()
    modules = torch.as_tensor(modules, dtype=torch.bool)
    accuracy = []
    for batch in modules.split(max(1, BATCH_BYTES // bytes_per_module)):
        alive = (~batch).to(first).unsqueeze(1).split(model.hidden_sizes, dim=2)  # per layer [batch, 1, neurons]
        activations = first * alive[0]
        for weight, bias, mask in zip(weights[1:-1], biases[1:-1], alive[1:]):
            activations = torch.relu(torch.nn.functional.linear(activations, weight, bias)) * mask
        logits = torch.nn.functional.linear(activations, weights[-1], biases[-1])
        accuracy.append(class_accuracy(logits.argmax(-1), labels, classes=model.sizes[-1]))
    return torch.cat(accuracy).cpu()
