"""Ablation: what a network still gets right while a module is silent."""

from collections import defaultdict
from functools import lru_cache
from itertools import accumulate, chain, groupby, islice
from operator import itemgetter

import torch

from mlp.architecture import map_means, over_slices
from mlp.model import hits, propagate
from modularity.tasks import mapped

BATCH_NUMBERS, BATCH_IMAGES = 2**17, 512
"""Activations of a layer held at once, and images that go through all layers before the next, so that both stay in the
core's cache; narrow layers of many modules at once, or wide ones of one."""

MAP_NUMBERS = 2**23
"""Activations of a layer held at once where there are convolutions, which small batches of images would slow down."""

ROUNDING = 1e-3
"""Share of the logits, and of a bound on their change, that rounding is taken to stay below."""

TASK_NUMBERS = 2**34
"""Activations that one task of `against_controls` computes, about: seconds, since to start a process takes two."""

LEVELS = "zero", "mean"
"""What the activation of a silent neuron can be set to: 0, or its mean over training images (`mean_levels`)."""


def ablated_accuracy(model, modules, images, labels, progress=iter):
    """`ablated_hits` as accuracies: float64 [modules, classes], fractions 0..1; NaN for a class that has no images."""
    images_per_class = labels.bincount(minlength=model.sizes[-1]).cpu().double()
    return ablated_hits(model, modules, images, labels, progress=progress) / images_per_class


@torch.no_grad()
def ablated_hits(model, modules, images, labels, levels=None, progress=iter):
    """How many images of each class are still read right while each module is silent: its activations say nothing.

    They are set to zero, or else to levels that are the same for all images.  The modules are masks in one batched
    forward pass, which changes nothing in the model: a silent neuron's column of outgoing weights is left out of the
    product, and what its level sends along them is part of the bias.  (Leaving out its incoming weights would not
    silence it: relu(bias) would stay.)  What is known is not computed again: the layers before a module's first are
    intact; where few neurons of a wide layer are silent, what they add is taken away from the intact sums of the next;
    and the images that a module cannot turn keep their reading.  Equal modules are evaluated once.

    Where there are convolutions, a silent channel's whole map says nothing, and no image is known to keep its reading.

    modules: boolean [modules, hidden neurons]; a row without members leaves the network intact.
    images: [n, inputs].  labels: [n] int64 class indices.  All on the model's device, or the modules on the CPU.
    levels: [hidden neurons], what the activation of each is set to while it is silent; by default zeros.
    progress: wraps the list of batches, as tqdm does.  Returns int64 [modules, classes] on the CPU.
    """
    weights, biases, classes = model.weights, model.biases, model.sizes[-1]
    labels, order = labels.sort(stable=True)  # the images of a class side by side
    distinct, place = torch.as_tensor(modules, dtype=torch.bool).cpu().unique(dim=0, return_inverse=True)
    levels = images.new_zeros(sum(model.hidden_sizes)) if levels is None else levels.to(images.device)
    if model.architecture.convolutions:
        return _hits_of_maps(model, distinct, images[order], labels, levels, progress)[place]
    sums = propagate(weights, biases, images[order].T)
    to_read_again = _screening(weights, sums, levels, labels)
    right = hits(sums[-1], labels)
    of_image = [values.T.contiguous() for values in sums]
    levels = levels.split(model.hidden_sizes)

    def chunks(start, places):
        """The activations of a layer and what the next one sums up, [neurons, images], for some images at a time."""
        for some in places.split(BATCH_IMAGES):
            before, after = (values[some].T.contiguous() for values in of_image[start : start + 2])
            yield before.relu_(), after

    whole = lru_cache(maxsize=1)(lambda start, places: list(chunks(start, places)))

    correct = torch.zeros(len(distinct), classes, dtype=torch.int64)
    for start, rows in progress(_batches(distinct, model.sizes)):
        silent = distinct[rows].to(images.device)
        masks = silent.split(model.hidden_sizes, dim=1)[start:]
        sent = [
            bias + (mask * level) @ weight.T
            for bias, mask, level, weight in zip(biases[start + 1 :], masks, levels[start:], weights[start + 1 :])
        ]
        own, *later = masks
        members = own.any(0).nonzero().flatten()
        # not of the last layer: a difference has the rounding of both its sums, and logits may be equal
        few = start + 3 < len(model.sizes) and 4 * (len(members) + 16) <= own.shape[1]
        if few:
            columns = weights[start + 1][:, members] * own[:, None, members]  # [modules, out, members]
        else:
            columns = weights[start + 1] * ~own.unsqueeze(1)  # [modules, out, in]
        later = [weight * ~mask.unsqueeze(1) for weight, mask in zip(weights[start + 2 :], later)]

        again = to_read_again(silent, start)
        logits = []
        for before, after in (whole if len(again) == len(labels) else chunks)(start, again):
            if few:
                lost = before[members] - levels[start][members].unsqueeze(1)
                values = torch.baddbmm(after, columns, lost.expand(len(rows), -1, -1), alpha=-1).relu_()
                logits.append(propagate(later, sent[1:], values, in_place=True)[-1])
            else:
                logits.append(propagate([columns, *later], sent, before, in_place=True)[-1])
        still_right = labels[right.index_fill(0, again, False)].bincount(minlength=classes)
        found = _correct_per_class(torch.cat(logits, dim=2), labels[again].bincount(minlength=classes).tolist())
        correct[rows] = (still_right + found).cpu()
    return correct[place]


def _hits_of_maps(model, modules, images, labels, levels, progress):
    """The `ablated_hits` of distinct modules where there are convolutions: one after the other, for a batch of images.

    They share what is intact before the first layer of each.
    """
    widths, classes = model.hidden_sizes, model.sizes[-1]
    levels = levels.split(widths)
    of_layer = defaultdict(list)
    for row, module in enumerate(modules):
        masks = [mask.to(images.device) for mask in module.split(widths)]
        of_layer[next((layer for layer, mask in enumerate(masks) if mask.any()), len(widths))].append((row, masks))
    correct = torch.zeros(len(modules), classes, dtype=torch.int64)
    rows = model.architecture.images_at_once(MAP_NUMBERS)
    for some, its_labels in progress(list(zip(images.split(rows), labels.split(rows)))):
        sums = model.values(some)
        for start, members in of_layer.items():
            for row, masks in members:
                right = hits(_logits_without(model, sums, start, masks, levels), its_labels)
                correct[row] += its_labels[right].bincount(minlength=classes).cpu()
    return correct


def _logits_without(model, sums, start, masks, levels):
    """The logits [outputs, n] where what is silent lies in hidden layer `start`, from 0, and behind it.

    Where few channels of that layer are silent, what they add to the next is taken away from its intact sums.
    sums: the intact network's, per layer.  masks, levels: per hidden layer, who is silent and what it is set to.
    """
    if start == len(masks):
        return sums[-1]
    layers, weights, biases = model.architecture.layers, model.weights, model.biases
    known, values, silent = start, sums[start], masks[start]
    # not of the last layer: a difference has the rounding of both its sums, and logits may be equal
    if start + 1 < len(masks) and 2 * silent.sum() < len(silent):
        known = start + 1
        layer, columns = layers[known], weights[known][:, silent]
        heard = values[silent].relu()
        level = over_slices(levels[start][silent], values).expand_as(heard)
        lost = layer.pooled(heard) - layer.pooled(level)
        values = sums[known] - layer.sums(columns, torch.zeros_like(biases[known]), lost)
    for place in range(known + 1, len(layers)):
        activations = values.relu()
        silent = masks[place - 1]
        activations[silent] = over_slices(levels[place - 1][silent], values)
        values = layers[place].through(weights[place], biases[place], activations)
    return values


def _screening(weights, sums, levels, labels):
    """A function that tells which images a module may turn: those with logits that differ by less than it can change.

    A silent neuron changes its own activation by as much as that was away from its level, and what reaches the next
    layer by no more than |w| times that, since |relu(a) - relu(b)| <= |a - b|.  So the difference between two logits
    changes by at most the sum, over the silent neurons, of |activation - level| times the products of |w| along all
    paths from there, the last of them |difference of the two logits' weights|.
    sums: those of the intact network, per layer [neurons, n].  levels: [hidden neurons].
    """
    *sums, logits = sums
    away = torch.cat(sums).relu_().sub_(levels.unsqueeze(1)).abs_()
    reach = [(weights[-1].unsqueeze(1) - weights[-1]).abs()]  # [label, other class, neurons]
    for weight in reversed(weights[1:-1]):
        reach.insert(0, reach[0] @ weight.abs())
    reach = torch.cat(reach, dim=2) * (1 + ROUNDING)
    margins = logits.gather(0, labels.unsqueeze(0)) - logits
    margins.scatter_(0, labels.unsqueeze(0), torch.inf)  # a label does not compete with itself
    unsure = ROUNDING * logits.abs().amax(0)
    everything = torch.arange(len(labels), device=labels.device)
    images_per_class = labels.bincount(minlength=len(logits)).tolist()
    margins, unsure = (values.split(images_per_class, dim=-1) for values in (margins, unsure))

    def to_read_again(modules, start):
        """The places of the images that any of modules [modules, hidden neurons] may turn; all, if these are many, or
        if to find them takes as long as to read all again from layer `start` on."""
        members = modules.any(0).nonzero().flatten()
        if 256 * len(members) * len(logits) > sum(weight.numel() for weight in weights[start + 1 :]):
            return everything
        turned = []
        for label, values in enumerate(away[members].split(images_per_class, dim=1)):
            paths = reach[label][:, members] * modules[:, None, members]
            change = paths @ values + unsure[label]  # [modules, other class, images]
            kept = (margins[label] > change).all(1) | (margins[label] < -change).any(1)  # right, or wrong, anyway
            turned.append(~kept.all(0))
        places = torch.cat(turned).nonzero().flatten()
        return everything if 4 * len(places) > len(labels) else places

    return to_read_again


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


def _batches(modules, sizes):
    """What to ablate at once: [(first hidden layer, from 0, that is not intact; places of the modules)]."""
    anywhere = torch.stack([layer.any(1) for layer in modules.split(sizes[1:-1], dim=1)], dim=1)
    starts = anywhere.index_fill(1, torch.tensor([len(sizes) - 3]), True).int().argmax(1)
    batches = []
    for start in starts.unique().tolist():
        together = max(1, BATCH_NUMBERS // BATCH_IMAGES // max(sizes[start + 2 :]))
        batches += [(start, rows) for rows in (starts == start).nonzero().flatten().split(together)]
    return batches


def turned_images(networks, pairs, data_dir, device, jobs):
    """How many test images turn right, and how many turn wrong, from one lesion to another.

    networks: [Network], and for each of them pairs: boolean [pairs, 2, hidden neurons], modules that are silent before
    and after.  data_dir, device, jobs: where the images are, how the work is done.
    Returns for each network int64 [pairs, 2, classes]: those gained, and those lost.
    """
    tasks = [(network, its_pairs, data_dir, device) for network, its_pairs in zip(networks, pairs)]
    return list(mapped(_turned, tasks, jobs, "pairs", "network"))


@torch.no_grad()
def _turned(network, pairs, data_dir, device):
    """The `turned_images` of one network: a task."""
    images, labels = network.load(False, data_dir, device)
    model, classes = network.model.to(device), len(network.data.classes)
    rows = model.architecture.images_at_once(MAP_NUMBERS) if model.architecture.convolutions else len(images)

    def right(module):
        heard = (~module).to(device).split(model.hidden_sizes)
        factors = [mask.view(-1, *[1] * len(read)) for mask, read in zip(heard, model.architecture.read[1:])]
        found = [
            hits(model.values(some, factors)[-1], its_labels)
            for some, its_labels in zip(images.split(rows), labels.split(rows))
        ]
        return torch.cat(found)

    modules, places = pairs.flatten(0, 1).unique(dim=0, return_inverse=True)  # what is silent before is so in many
    of_module = [right(module) for module in modules]
    counts = []
    for before, after in places.view(-1, 2).tolist():
        was, is_now = of_module[before], of_module[after]
        counts += [labels[turned].bincount(minlength=classes) for turned in (is_now & ~was, was & ~is_now)]
    return torch.stack(counts).view(len(pairs), 2, classes).cpu()


@torch.no_grad()
def mean_activations(model, images):
    """The mean activation of each hidden unit over images [n, inputs], at least one, and its map: [hidden units]."""
    totals = 0
    for some in images.split(min(BATCH_IMAGES, model.architecture.images_at_once(MAP_NUMBERS))):
        *hidden, _ = model.values(some)
        totals += torch.cat([map_means(values.relu()).sum(1, dtype=torch.double) for values in hidden])
    return (totals / len(images)).to(images.dtype)


def mean_levels(networks, data_dir, device, jobs):
    """The `mean_activations` of each network over all training images of its classes, those for validation, too."""
    tasks = [(network, data_dir, device) for network in networks]
    return list(mapped(_training_means, tasks, jobs, "mean activations", "network"))


def _training_means(network, data_dir, device):
    """The levels of one network, on the CPU: a task."""
    return mean_activations(network.model.to(device), network.load(True, data_dir, device)[0]).cpu()


def against_controls(networks, modules, controls, data_dir, device, jobs, levels=None):
    """Silence modules and their controls, and see how many test images of each class are still right.

    networks: [Network], and for each of them modules: boolean [modules, hidden neurons]; and controls: a list of
    groups, boolean [controls, hidden neurons].  data_dir, device, jobs: where the images are, how the work is done.
    levels: for each network as of `ablated_hits`; by default zeros.
    Returns for each network the hits of `ablated_hits` of the intact network [classes], of its modules
    [modules, classes], and of each group of controls [controls, classes].
    """
    pieces, work, lengths = [], [], []
    for network, own, groups, its_levels in zip(networks, modules, controls, levels or [None] * len(networks)):
        test_images = 1000 * len(network.data.classes)  # about
        each = test_images * network.model.architecture.activations
        everything = torch.cat([torch.zeros(1, own.shape[1], dtype=torch.bool), own, *groups])
        its_pieces = everything.split(max(1, TASK_NUMBERS // each))
        pieces += [(network, some, its_levels) for some in its_pieces]
        work += [each * len(some) for some in its_pieces]
        lengths.append((len(its_pieces), [1, len(own), *map(len, groups)]))
    task_of = [total // TASK_NUMBERS for total in accumulate(work)]
    tasks = [[piece for _, piece in task] for _, task in groupby(zip(task_of, pieces), key=itemgetter(0))]
    steps = list(map(len, tasks))
    done = mapped(_test_hits, [(task, data_dir, device) for task in tasks], jobs, "lesions", "piece", steps)
    hits_of_pieces = chain.from_iterable(done)
    found = []
    for count, its_lengths in lengths:
        intact, own, *groups = torch.cat(list(islice(hits_of_pieces, count))).split(its_lengths)
        found.append((intact[0], own, groups))
    return found


def _test_hits(pieces, data_dir, device, advance):
    """The hits of some modules of some networks: a task."""
    found = []
    for network, modules, levels in pieces:
        images, labels = network.load(False, data_dir, device)
        found.append(ablated_hits(network.model.to(device), modules, images, labels, levels))
        advance()
    return found
