"""Ablation: what a network still gets right while a module is silent."""

from itertools import islice

import torch

from mlp.model import propagate
from modularity.tasks import mapped

MANY_NUMBERS, MANY_IMAGES = 2**21, 2048
"""Activations of a layer held at once, and images that go through all layers before the next: 8 MiB; more is slower."""

FEW_NUMBERS, FEW_IMAGES = 2**18, 256
"""The same where few neurons of a wide layer are silent: with little to compute, all must stay in the core's cache."""

TASK_NUMBERS = 2**34
"""Activations that one task of `against_controls` computes, about: a few seconds."""


def ablated_accuracy(model, modules, images, labels, progress=iter):
    """`ablated_hits` as accuracies: float64 [modules, classes], fractions 0..1; NaN for a class that has no images."""
    images_per_class = labels.bincount(minlength=model.sizes[-1]).cpu().double()
    return ablated_hits(model, modules, images, labels, progress) / images_per_class


@torch.no_grad()
def ablated_hits(model, modules, images, labels, progress=iter):
    """How many images of each class are still read right while the activations of each module are set to zero.

    The modules are masks in one batched forward pass, which changes nothing in the model: a silent neuron's column of
    outgoing weights is left out of the product.  (Leaving out its incoming weights would not silence it: relu(bias)
    would stay.)  The layers before a module's first are intact and computed once for all; and where few neurons of a
    wide layer are silent, what they add is taken away from the intact sums.  Equal modules are evaluated once.

    modules: boolean [modules, hidden neurons]; a row without members leaves the network intact.
    images: [n, inputs].  labels: [n] int64 class indices.  All on the model's device, or the modules on the CPU.
    progress: wraps the list of batches, as tqdm does.  Returns int64 [modules, classes] on the CPU.
    """
    weights, biases = model.weights, model.biases
    order = labels.argsort(stable=True)  # the images of a class side by side
    images_per_class = labels.bincount(minlength=model.sizes[-1]).tolist()
    sums = propagate(weights, biases, images[order].T)
    active = [values.relu() for values in sums[:-1]]

    distinct, place = torch.as_tensor(modules, dtype=torch.bool).cpu().unique(dim=0, return_inverse=True)
    silent = distinct.to(images.device).split(model.hidden_sizes, dim=1)
    correct = torch.zeros(len(distinct), model.sizes[-1], dtype=torch.int64)
    chunked = None
    for start, few, rows in progress(_batches(distinct, model.sizes, images.is_cuda)):
        if chunked != (start, few):
            chunked, size = (start, few), FEW_IMAGES if few else MANY_IMAGES
            values_before_and_after = active[start].split(size, dim=1), sums[start + 1].split(size, dim=1)
            chunks = [[part.contiguous() for part in values] for values in values_before_and_after]
        own, *later = (layer[rows].unsqueeze(1) for layer in silent[start:])
        if few:
            members = own.squeeze(1).nonzero()[:, 1].view(len(rows), -1)
            columns = weights[start + 1].T[members].mT  # [modules, out, members]
        else:
            columns, bias = weights[start + 1] * ~own, biases[start + 1].expand(len(rows), -1)  # [modules, out, in]
        later = [weight * ~layer for weight, layer in zip(weights[start + 2 :], later)]
        later_biases = [bias.expand(len(rows), -1) for bias in biases[start + 2 :]]
        logits = []
        for before, after in zip(*chunks):
            if few:
                values = torch.baddbmm(after, columns, before[members], alpha=-1)
            else:
                values = propagate([columns], [bias], before)[0]
            for step in zip(later, later_biases):
                values = propagate(step[:1], step[1:], values.relu_())[0]
            logits.append(values)
        correct[rows] = _correct_per_class(torch.cat(logits, dim=2), images_per_class).cpu()
    return correct[place]


def _correct_per_class(logits, images_per_class):
    """How many images of each class have its logit as the argmax, the first of equal ones: [modules, classes].

    As `hits`, of logits [modules, classes, n] with the images of a class side by side, which is faster.
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


def _batches(modules, sizes, is_cuda=False):
    """What to ablate at once: [(first hidden layer, from 0, that is not intact; whether it is wide and few of its
    neurons are silent, as many in each of the modules; places of the modules)].

    Sums from which something is taken away keep its rounding, so that logits, which may be equal, are always summed up;
    and a GPU has no cache of its own to stay in.
    """
    counts = torch.stack([layer.sum(1) for layer in modules.split(sizes[1:-1], dim=1)], dim=1)
    starts = torch.cat([counts[:, :-1] > 0, torch.ones(len(counts), 1, dtype=torch.bool)], dim=1).int().argmax(1)
    batches = []
    for start in starts.unique().tolist():
        many = 4 * (counts[:, start] + 16) > sizes[start + 1]
        own = counts[:, start].masked_fill(many | (start + 3 == len(sizes)) | is_cuda, 0)
        for count in own[starts == start].unique().tolist():
            numbers = FEW_NUMBERS // FEW_IMAGES if count else MANY_NUMBERS // MANY_IMAGES
            rows = ((starts == start) & (own == count)).nonzero().flatten()
            together = max(1, numbers // max(count, *sizes[start + 2 :]))
            batches += [(start, count > 0, some) for some in rows.split(together)]
    return batches


def against_controls(networks, modules, controls, data_dir, device, jobs):
    """Silence modules and their controls, and see how many test images of each class are still right.

    networks: [Network], and for each of them modules: boolean [modules, hidden neurons]; and controls: a list of
    groups, boolean [controls, hidden neurons].  data_dir, device, jobs: where the images are, how the work is done.
    Returns for each network the hits of `ablated_hits` of the intact network [classes], of its modules
    [modules, classes], and of each group of controls [controls, classes].
    """
    tasks, parts = [], []
    for network, own, groups in zip(networks, modules, controls):
        together = max(1, TASK_NUMBERS // (10_000 * sum(network.model.sizes[1:])))
        everything = torch.cat([torch.zeros(1, own.shape[1], dtype=torch.bool), own, *groups])
        pieces = everything.split(together)
        tasks += [(network, some, data_dir, device) for some in pieces]
        parts.append((len(pieces), [1, len(own), *map(len, groups)]))
    done = mapped(_test_hits, tasks, jobs, "lesions")
    found = []
    for count, lengths in parts:
        intact, own, *groups = torch.cat(list(islice(done, count))).split(lengths)
        found.append((intact[0], own, groups))
    return found


def _test_hits(network, modules, data_dir, device):
    return ablated_hits(network.model.to(device), modules, *network.data.load(False, data_dir, device))
