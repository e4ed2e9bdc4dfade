"""Ablation: what a network still gets right while a module is silent."""

import torch

BATCH_NUMBERS = 2**21
"""Activations of a layer held at once: 8 MiB stay near the processor and are faster than more."""


@torch.no_grad()
def ablated_accuracy(model, modules, images, labels, progress=iter):
    """Accuracy per class while the activations of each module are set to zero.

    The modules are masks in one batched forward pass, which reads the model's weights and changes nothing: a silent
    neuron's column of outgoing weights is left out of the product.  (Leaving out its incoming weights would not silence
    it: relu(bias) would stay.)  Modules that occur more than once are evaluated once.

    modules: boolean [modules, hidden neurons]; a row without members leaves the network intact.
    images: [n, inputs].  labels: [n] int64 class indices.  All on the model's device, or the modules on the CPU.
    progress: wraps the list of batches, as tqdm does.
    Returns float64 [modules, classes] on the CPU, fractions 0..1; NaN for a class that has no images.
    """
    first = torch.relu(torch.nn.functional.linear(images, model.weights[0], model.biases[0]))
    first = first[labels.argsort(stable=True)].T.contiguous()  # the images of a class side by side
    images_per_class = labels.bincount(minlength=model.sizes[-1]).tolist()

    distinct, place = torch.as_tensor(modules, dtype=torch.bool).cpu().unique(dim=0, return_inverse=True)
    numbers_per_module = len(images) * max(model.sizes[2:])
    batch_size = min(max(1, BATCH_NUMBERS // numbers_per_module), max(1, len(distinct)))
    buffers = first.new_empty(
        2, batch_size * numbers_per_module
    )  # made once: fresh memory costs more than the products
    correct = torch.zeros(len(distinct), model.sizes[-1], dtype=torch.int64)
    for rows in progress(torch.arange(len(distinct)).split(batch_size)):
        alive = (~distinct[rows]).to(first).split(model.hidden_sizes, dim=1)
        logits = _ablated_logits(model, first, alive, buffers)
        correct[rows] = _correct_per_class(logits, images_per_class).cpu()
    return correct[place] / torch.tensor(images_per_class, dtype=torch.float64)


def _ablated_logits(model, first, alive, buffers):
    """Logits [modules, outputs, n] from the intact first activations [neurons, n] and the masks of who is alive.

    alive: one [modules, neurons] per hidden layer.  The layers write to the two buffers in turn.
    """
    activations = None
    for layer, (weight, bias, mask) in enumerate(zip(model.weights[1:], model.biases[1:], alive)):
        shape = (len(mask), len(weight), first.shape[1])
        out = buffers[layer % 2, : torch.Size(shape).numel()].view(shape)
        masked = weight * mask.unsqueeze(1)  # [modules, out, in]
        if layer == 0:  # all modules read the same activations: one product
            torch.mm(masked.flatten(0, 1), first, out=out.flatten(0, 1))
        else:
            torch.bmm(masked, activations.relu_(), out=out)
        activations = out.add_(bias.unsqueeze(1))
    return activations


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
