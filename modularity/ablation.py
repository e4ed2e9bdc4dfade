"""Ablation: what a network still gets right while a module is silent."""

import torch

from mlp.model import hits, propagate
from modularity.tasks import mapped

BATCH_NUMBERS = 2**21
"""Activations of a layer held at once: 8 MiB stay near the processor and are faster than more."""

IMAGES_AT_ONCE, FEW_IMAGES_AT_ONCE = 2048, 256
"""Images that go through all layers before the next ones do, for the same reason: the fewer where the layers are wide and
few of their neurons silent, since then there is less to compute than to read and write."""

TASK_NUMBERS = 2**32
"""Activations that one task of `against_controls` computes, about: a few seconds."""


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
    it: relu(bias) would stay.)  The layers before a module's first are intact and computed once for all; and where few
    neurons of a wide layer are silent, what they add is taken away from the intact sums.  Modules that occur more than
    once are evaluated once.

    modules: boolean [modules, hidden neurons]; a row without members leaves the network intact.
    images: [n, inputs].  labels: [n] int64 class indices.  All on the model's device, or the modules on the CPU.
    progress: wraps the list of batches, as tqdm does.
    Returns int64 [modules, classes] on the CPU.
    """
    weights, biases, widths = model.weights, model.biases, model.hidden_sizes
    order = labels.argsort(stable=True)  # the images of a class side by side
    labels = labels[order]
    images_per_class = labels.bincount(minlength=model.sizes[-1]).tolist()
    sums = propagate(weights, biases, images[order].T)

    distinct, place = torch.as_tensor(modules, dtype=torch.bool).cpu().unique(dim=0, return_inverse=True)
    silent = distinct.to(images.device).split(widths, dim=1)
    correct = torch.zeros(len(distinct), model.sizes[-1], dtype=torch.int64)
    for start, count, rows in progress(_batches(distinct, model.sizes)):
        images_at_once = IMAGES_AT_ONCE if count is None else FEW_IMAGES_AT_ONCE
        later = [weight * ~layer[rows].unsqueeze(1) for weight, layer in zip(weights[start + 2 :], silent[start + 1 :])]
        if count is None:
            first = weights[start + 1] * ~silent[start][rows].unsqueeze(1)  # [modules, out, in]
        else:
            members = silent[start][rows].nonzero()[:, 1].view(len(rows), count)
            first = weights[start + 1].T[members].mT  # [modules, out, members]
        right = []
        for first_image in range(0, len(images), images_at_once):
            some = slice(first_image, first_image + images_at_once)
            active = sums[start][:, some].relu()
            if count is None:
                bias = biases[start + 1].expand(len(rows), -1)
                own = propagate([first], [bias], active)[0]
            else:
                own = torch.baddbmm(sums[start + 1][:, some], first, active[members], alpha=-1)
            if later:
                own = propagate(later, [bias.expand(len(rows), -1) for bias in biases[start + 2 :]], own.relu_())[-1]
            right.append(hits(own, labels[some]))
        by_class = torch.cat(right, dim=1).split(images_per_class, dim=1)
        correct[rows] = torch.stack([its_images.sum(1) for its_images in by_class], dim=1).cpu()
    return correct[place]


def _batches(modules, sizes):
    """What to ablate at once: [(first hidden layer, from 0, that is not intact; how many of its neurons are silent, or
    None if it is cheaper to leave them out of the product; places of the modules)]."""
    counts = torch.stack([layer.sum(1) for layer in modules.split(sizes[1:-1], dim=1)], dim=1)
    first = torch.cat([counts[:, :-1] > 0, torch.ones(len(counts), 1, dtype=torch.bool)], dim=1).int().argmax(1)
    batches = []
    for start in first.unique().tolist():
        own = counts[:, start].masked_fill(4 * (counts[:, start] + 16) > sizes[start + 1], -1)
        for count in own[first == start].unique().tolist():
            rows = ((first == start) & (own == count)).nonzero().flatten()
            images = IMAGES_AT_ONCE if count < 0 else FEW_IMAGES_AT_ONCE
            together = max(1, BATCH_NUMBERS // (images * max(sizes[start + 2 :])))
            batches += [(start, None if count < 0 else count, some) for some in rows.split(together)]
    return batches


def against_controls(networks, modules, controls, data_dir, device, jobs):
    """Silence modules and their controls, and see how many test images of each class are still right.

    networks: [Network], and for each of them modules: boolean [modules, hidden neurons]; and controls: a list of groups,
    boolean [controls, hidden neurons].  data_dir, device, jobs: where the images are, and how the work is done.
    Returns for each network the hits of `ablated_hits` of the intact network [classes], of its modules
    [modules, classes], and of each group of controls [controls, classes].
    """
    tasks, parts = [], []
    for network, own, groups in zip(networks, modules, controls):
        together = max(1, TASK_NUMBERS // (10_000 * sum(network.model.sizes[1:])))
        everything = torch.cat([torch.zeros(1, own.shape[1], dtype=torch.bool), own, *groups])
        tasks += [(network, some, data_dir, device) for some in everything.split(together)]
        parts.append([1, len(own), *map(len, groups)])
    hits_of_tasks = torch.cat(list(mapped(_test_hits, tasks, 1 if device.type == "cuda" else jobs, "lesions")))
    found = []
    for lengths, its_hits in zip(parts, hits_of_tasks.split([sum(lengths) for lengths in parts])):
        intact, own, *groups = its_hits.split(lengths)
        found.append((intact[0], own, groups))
    return found


def _test_hits(network, modules, data_dir, device):
    return ablated_hits(network.model.to(device), modules, *network.data.load(False, data_dir, device))
