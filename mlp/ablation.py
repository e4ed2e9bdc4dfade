"""Ablation: what a network still gets right while a module is silent."""

import torch

BATCH_NUMBERS = 2**21
"""Activations of a layer held at once: 8 MiB stay near the processor and are faster than more."""

IMAGES_AT_ONCE = 2048
"""Images that go through all layers before the next ones do, for the same reason."""


def ablated_accuracy(model, modules, images, labels, progress=iter):
    """Accuracy per class while the activations of each module are set to zero.

    As `ablated_hits`.  Returns float64 [modules, classes], fractions 0..1; NaN for a class that has no images.
    """
    images_per_class = labels.bincount(minlength=model.sizes[-1]).cpu().double()
    return ablated_hits(model, modules, images, labels, progress) / images_per_class


@torch.no_grad()
def ablated_hits(model, modules, images, labels, progress=iter):
    """How many images of each class are still read right while the activations of each module are set to zero.

    The modules are masks in one batched forward pass, which reads the model's weights and changes nothing: a silent
    neuron's column of outgoing weights is left out of the product.  (Leaving out its incoming weights would not silence
    it: relu(bias) would stay.)  The layers before a module's first are intact and computed once for all.  Modules that
    occur more than once are evaluated once.

    modules: boolean [modules, hidden neurons]; a row without members leaves the network intact.
    images: [n, inputs].  labels: [n] int64 class indices.  All on the model's device, or the modules on the CPU.
    progress: wraps the list of batches, as tqdm does.
    Returns int64 [modules, classes] on the CPU.
    """
    hidden = [torch.relu(torch.nn.functional.linear(images, model.weights[0], model.biases[0]))]
    hidden[0] = hidden[0][labels.argsort(stable=True)].T.contiguous()  # the images of a class side by side
    for weight, bias in zip(model.weights[1:-1], model.biases[1:-1]):
        hidden.append(torch.relu(torch.addmm(bias.unsqueeze(1), weight, hidden[-1])))
    images_per_class = labels.bincount(minlength=model.sizes[-1]).tolist()

    distinct, place = torch.as_tensor(modules, dtype=torch.bool).cpu().unique(dim=0, return_inverse=True)
    alive = (~distinct).to(hidden[0]).split(model.hidden_sizes, dim=1)
    batches = _batches(distinct, model.sizes, len(images))
    largest = max((len(rows) * max(model.sizes[start + 2 :]) for start, rows in batches), default=0)
    # made once: fresh memory costs more than the products
    buffers = hidden[0].new_empty(2, largest * min(len(images), IMAGES_AT_ONCE))
    correct = torch.zeros(len(distinct), model.sizes[-1], dtype=torch.int64)
    for start, rows in progress(batches):
        logits = _ablated_logits(model, start, hidden[start], [layer[rows] for layer in alive[start:]], buffers)
        correct[rows] = _correct_per_class(logits, images_per_class).cpu()
    return correct[place]


def _batches(modules, sizes, images):
    """What to ablate at once: [(first hidden layer, from 0, that is not intact, places of the modules)]."""
    images = min(images, IMAGES_AT_ONCE)
    silent = torch.stack([layer.any(1) for layer in modules.split(sizes[1:-1], dim=1)], dim=1)
    silent[:, -1] = True  # a module without members may start anywhere
    first = silent.int().argmax(1)
    batches = []
    for start in first.unique().tolist():
        rows = (first == start).nonzero().flatten()
        batches += [(start, some) for some in rows.split(max(1, BATCH_NUMBERS // (images * max(sizes[start + 2 :]))))]
    return batches


def _ablated_logits(model, start, first, alive, buffers):
    """Logits [modules, outputs, n] from the intact activations [neurons, n] of hidden layer `start`, counted from 0.

    alive: who is not silent, one [modules, neurons] per hidden layer from there on.  The layers write to the two
    buffers in turn.
    """
    weights = [weight * mask.unsqueeze(1) for weight, mask in zip(model.weights[start + 1 :], alive)]  # [m, out, in]
    biases = [bias.unsqueeze(1) for bias in model.biases[start + 1 :]]
    logits = first.new_empty(*weights[-1].shape[:2], first.shape[1])
    for some, its_logits in zip(first.split(IMAGES_AT_ONCE, dim=1), logits.split(IMAGES_AT_ONCE, dim=2)):
        for layer, (weight, bias) in enumerate(zip(weights, biases)):
            shape = (*weight.shape[:2], some.shape[1])
            out = buffers[layer % 2, : torch.Size(shape).numel()].view(shape)
            if layer == 0:  # all modules read the same activations: one product
                torch.mm(weight.flatten(0, 1), some, out=out.flatten(0, 1))
                activations = out.add_(bias)
            else:
                activations = torch.baddbmm(bias, weight, activations.relu_(), out=out)
        its_logits.copy_(activations)
    return logits


def _correct_per_class(logits, images_per_class):
    """How many images of each class have its logit as the argmax, the first of equal ones: [modules, classes].

    logits: [modules, classes, n], the images of a class side by side.
    """
    correct = []
    for label, its_logits in enumerate(logits.split(images_per_class, dim=2)):
        own = its_logits[:, label]
        wins = torch.ones_like(own, dtype=torch.bool)
        if label > 0:
            wins &= own > its_logits[:, :label].amax(1)
        if label + 1 < len(images_per_class):
            wins &= own >= its_logits[:, label + 1 :].amax(1)
        correct.append(wins.sum(1))
    return torch.stack(correct, dim=1)
