"""Similarity of the neurons of a layer: whether they see alike, or act alike."""

import torch

from mlp.architecture import map_means
from mlp.model import propagate

RAW_MEASURES = "forward_cov", "forward_jac", "backward_jac", "backward_hess"
MEASURES = tuple(f"{measure}{norm}" for measure in RAW_MEASURES for norm in ("", "_norm"))
FAMILIES = {"upstream": MEASURES[:4], "downstream": MEASURES[4:]}

CONSTANT, CANCELLED = 1e-12, 1e-14
"""What is nothing but rounding: a difference of an activation from its mean of less than this share of the mean, and a
difference of two sums of less than this share of the first."""
BATCH_NUMBERS = 2**20
"""Products of Jacobians held at once: 8 MiB, which stay in a processor's cache."""
GRADIENT_IMAGES, GRADIENT_BATCH, GRADIENT_NUMBERS = 1000, 64, 2**24
"""Images, evenly spaced, over which networks with convolutions are compared, whose Jacobians take a pass backward for
each unit; and how many are passed at once, so that the Jacobian of a layer by the pixels has no more numbers."""


@torch.no_grad()
def similarities(model, images):
    """How alike the neurons of each hidden layer are, by eight measures (Lange et al. 2022).

    Upstream, what they see: forward_cov, the covariance of activations over images; forward_jac, the mean of J J^T for
    the Jacobian J of the layer by the pixels.  Downstream, what they do: backward_jac, the mean of J^T J for the
    Jacobian J of the logits by the layer; backward_hess, the mean Hessian of the cross-entropy by the layer, which is
    J^T (diag(p) - p p^T) J for softmax outputs p, whatever the labels.  Activations are those after the ReLU.
    <measure>_norm is divided by the roots of the two neurons' diagonal elements; rows of dead neurons are 0.  The
    absolute value comes last.

    Exact unless a pre-activation is exactly 0, since around an image a ReLU network is linear; there the derivative of
    ReLU is taken as 0.  In double precision, by products of whole layers, without autograd.

    Where there are convolutions, a channel is seen as one number, the mean m of its map: J is that of m by the pixels,
    or of the logits by m, all of the map being shifted alike.  By autograd, in the precision of the model, over
    `similarity_images`.

    images: [n, inputs], on the model's device.
    Returns {measure: one float64 [neurons, neurons] per hidden layer}, on the CPU, diagonals included.
    """
    images = similarity_images(model, images)
    sums = _sums_by_gradients(model, images) if model.architecture.convolutions else _sums_by_products(model, images)
    signed = {measure: [total / len(images) for total in totals] for measure, totals in sums.items()}
    signed |= {f"{measure}_norm": list(map(_normalised, matrices)) for measure, matrices in signed.items()}
    return {measure: [matrix.abs().cpu() for matrix in signed[measure]] for measure in MEASURES}


def similarity_images(model, images):
    """Those of the images [n, inputs] over which the units of a network are compared: all, or GRADIENT_IMAGES."""
    if not model.architecture.convolutions or len(images) <= GRADIENT_IMAGES:
        return images
    return images[torch.linspace(0, len(images) - 1, GRADIENT_IMAGES).long()]


def _zeros(model):
    """Sums of nothing, float64: for each of RAW_MEASURES a matrix per hidden layer; and two vectors per layer."""
    new = {"dtype": torch.double, "device": model.biases[0].device}
    sums = {measure: [torch.zeros(width, width, **new) for width in model.hidden_sizes] for measure in RAW_MEASURES}
    return sums, *([torch.zeros(width, **new) for width in model.hidden_sizes] for _ in range(2))


def _sums_by_products(model, images):
    """The signed measures, not normalised, summed over images."""
    weights = [weight.double() for weight in model.weights]
    biases = [bias.double() for bias in model.biases]
    sums, means, weighted = _zeros(model)
    batches = images.split(max(1, BATCH_NUMBERS // max(model.sizes[1:]) ** 2))
    for batch in batches:  # means first: the mean of products minus the product of means would lose digits
        for mean, values in zip(means, propagate(weights, biases, batch.double().T)):
            mean += values.relu().sum(1) / len(images)
    for batch in batches:
        *hidden, logits = (values.T for values in propagate(weights, biases, batch.double().T))
        hidden = [values.relu() for values in hidden]
        masks = [(activations > 0).double() for activations in hidden]
        for total, activations, mean in zip(sums["forward_cov"], hidden, means):
            centred = _centred(activations, mean)
            total += centred.T @ centred
        for total, gram in zip(sums["forward_jac"], _input_grams(weights, masks)):
            total += gram
        softmax = logits.softmax(1)
        for layer, jacobian in _output_jacobians(weights, masks):
            rooted = (jacobian * softmax.sqrt().unsqueeze(2)).flatten(0, 1)
            average = torch.bmm(softmax.unsqueeze(1), jacobian).squeeze(1)
            sums["backward_jac"][layer] += jacobian.flatten(0, 1).T @ jacobian.flatten(0, 1)
            sums["backward_hess"][layer] += rooted.T @ rooted - average.T @ average
            weighted[layer] += (rooted**2).sum(0)
    return _without_rounding(sums, weighted)


@torch.enable_grad()
def _sums_by_gradients(model, images):
    """As `_sums_by_products`, by a pass backward for each hidden unit and each output."""
    sums, means, weighted = _zeros(model)
    weights, biases = ([parameter.detach() for parameter in own] for own in (model.weights, model.biases))
    at_once = GRADIENT_NUMBERS // (max(model.hidden_sizes) * images.shape[1])
    batches = images.to(weights[0].dtype).split(min(GRADIENT_BATCH, max(1, at_once)))
    for batch in batches:
        with torch.no_grad():
            *hidden, _ = model.values(batch)
        for mean, values in zip(means, hidden):
            mean += map_means(values.relu()).double().sum(1) / len(images)
    for batch in batches:
        pixels = model.architecture.entered(batch).detach().requires_grad_()
        layers, read = [], pixels
        for layer, weight, bias in zip(model.architecture.layers, weights, biases):
            values = layer.through(weight, bias, read)
            layers.append(read := values.relu())
        *layers, _ = layers
        units = [map_means(activations) for activations in layers]  # [units, n]
        for layer, (own, mean) in enumerate(zip(units, means)):
            centred = _centred(own.detach().double(), mean.unsqueeze(1))
            sums["forward_cov"][layer] += centred @ centred.T
            jacobian = [torch.autograd.grad(unit.sum(), pixels, retain_graph=True)[0] for unit in own]
            jacobian = torch.stack(jacobian).flatten(1).double()
            sums["forward_jac"][layer] += jacobian @ jacobian.T
        outputs = [torch.autograd.grad(logit.sum(), layers, retain_graph=True) for logit in values]
        softmax = values.detach().double().softmax(0)
        for layer, gradients in enumerate(zip(*outputs)):
            shifted = [gradient.sum((1, 2)) if gradient.ndim == 4 else gradient for gradient in gradients]
            jacobian = torch.stack(shifted).double()
            rooted = (jacobian * softmax.sqrt().unsqueeze(1)).movedim(1, 0).flatten(1)
            average = (jacobian * softmax.unsqueeze(1)).sum(0)
            jacobian = jacobian.movedim(1, 0).flatten(1)
            sums["backward_jac"][layer] += jacobian @ jacobian.T
            sums["backward_hess"][layer] += rooted @ rooted.T - average @ average.T
            weighted[layer] += (rooted**2).sum(1)
    return _without_rounding(sums, weighted)


def _centred(activations, mean):
    """Activations less their mean; exactly 0 of a neuron that never varies, whatever its activations are."""
    difference = activations - mean
    return torch.where(difference.abs() > CONSTANT * mean, difference, 0)


def _without_rounding(sums, weighted):
    """The sums, with 0 for elements of the Hessian of which two equal terms left nothing but rounding.

    weighted: the diagonal of the first term, [neurons], per hidden layer.
    """
    hessians = []
    for hessian, diagonal in zip(sums["backward_hess"], weighted):
        size = (diagonal.unsqueeze(1) * diagonal).sqrt()
        hessians.append(torch.where(hessian.abs() > CANCELLED * size, hessian, 0))
    return sums | {"backward_hess": hessians}


def pair_group(measure, other):
    """What two measures have in common: NORM, one being the other normalised; UP or DOWN, the family; else CROSS."""
    if measure.removesuffix("_norm") == other.removesuffix("_norm"):
        return "NORM"
    families = {family for family, measures in FAMILIES.items() if {measure, other} & set(measures)}
    return {"upstream": "UP", "downstream": "DOWN"}[families.pop()] if len(families) == 1 else "CROSS"


def _input_grams(weights, masks):
    """Sum over images of J J^T, J being the Jacobian of a hidden layer by the pixels: one [neurons, neurons] per layer.

    Only the Gram matrices of the images go from layer to layer, never the Jacobians, which are as wide as an image.
    """
    gram = weights[0] @ weights[0].T
    yield gram * (masks[0].T @ masks[0])
    gram = (gram * masks[0].unsqueeze(2)).mul_(masks[0].unsqueeze(1))  # [n, neurons, neurons]
    for weight, mask in zip(weights[1:-1], masks[1:]):
        gram = torch.bmm(weight.expand(len(mask), -1, -1), gram @ weight.T)
        gram.mul_(mask.unsqueeze(2)).mul_(mask.unsqueeze(1))
        yield gram.sum(0)


def _output_jacobians(weights, masks):
    """The Jacobian of the logits by each hidden layer, from the last to the first: (layer, [n, outputs, neurons])."""
    jacobian = weights[-1].expand(len(masks[0]), -1, -1)
    yield len(masks) - 1, jacobian
    for layer in range(len(masks) - 1, 0, -1):
        jacobian = (jacobian * masks[layer].unsqueeze(1)) @ weights[layer]
        yield layer - 1, jacobian


def _normalised(matrix):
    scale = matrix.diagonal().clamp(min=0).sqrt()
    scale = torch.where(scale > 0, scale, torch.inf)  # rows of dead neurons become 0
    return matrix / scale / scale.unsqueeze(1)
