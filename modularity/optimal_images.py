"""Feature visualisation: the image that drives the neurons of a module hardest."""

import torch

from mlp.architecture import map_means
from mlp.model import propagate
from mlp.training import adam_step

STEPS = 64
LEARNING_RATE = 0.05
BATCH_NUMBERS = 2**23
"""Activations of a layer held at once: 32 MiB, and as much again for its gradients."""


def optimal_images(model, shape, layer, members, generator, normalised=lambda images: images):
    """Images that maximise the sum of |pre-activation| over sets of neurons of one hidden layer, all at once.

    Of a channel, the pre-activation is the mean over its map (Casper et al. 2021).

    The images are parametrised as Lucid does (Olah et al. 2017): by the coefficients of a Fourier transform, each
    scaled by the inverse of its frequency so that all frequencies learn alike, and a sigmoid; Adam takes STEPS steps.
    No regulariser, no jitter (Casper et al. 2021).  Each image has its own parameters and Adam works parameter by
    parameter, so that batching, which bounds memory, changes nothing.

    shape: of an image: channels, height and width.  layer: from 1.  members: boolean [images, neurons of the layer].
    generator: decides the first coefficients.  normalised: a function that makes of images [n, inputs] in 0..1 those
    that the model reads; by default these are the same.
    Returns images [images, channels, height, width] in 0..1, and their scores at first and at the end, two [images].
    """
    channels, *sides = shape
    side = max(sides)
    down, across = torch.fft.fftfreq(sides[0]).unsqueeze(1), torch.fft.rfftfreq(sides[1])
    scale = (side / torch.hypot(down, across).clamp(min=1 / side)).to(members.device)
    first = 0.01 * torch.randn(2, len(members), channels, *scale.shape, generator=generator)
    rows = model.architecture.images_at_once(BATCH_NUMBERS)
    batches = zip(members.split(rows), first.to(members.device).split(rows, dim=1))
    front = [[parameter.detach() for parameter in own[:layer]] for own in (model.weights, model.biases)]
    found = [_optimised(model.architecture, front, sides, scale, *batch, normalised) for batch in batches]
    return tuple(map(torch.cat, zip(*found)))


def _optimised(architecture, front, sides, scale, members, first, normalised):
    """The `optimal_images` of some sets, with their scores.

    front: weights and biases of the layers up to theirs.  scale: of each frequency.  first: their first coefficients.
    normalised: as for `optimal_images`.
    """
    spectrum = first.clone().requires_grad_()
    moments = [[torch.zeros_like(spectrum)], [torch.zeros_like(spectrum)]]
    steps = [torch.zeros((), device=spectrum.device)]

    def picture():
        return torch.sigmoid(torch.fft.irfft2(torch.complex(*(spectrum * scale)), s=sides) / 4)

    def scores():
        entered = architecture.entered(normalised(picture().flatten(1)))
        return (map_means(propagate(*front, entered, layers=architecture.layers)[-1]).T.abs() * members).sum(1)

    initial = scores().detach()
    for _ in range(STEPS):
        gradients = torch.autograd.grad(-scores().sum(), [spectrum])
        adam_step([spectrum], gradients, moments, steps, LEARNING_RATE)
    with torch.no_grad():
        return picture(), initial, scores()


@torch.no_grad()
def output_entropies(model, images):
    """Entropy of the softmax of the outputs, in nats: 0 if the network is certain what it sees.

    images: [n, inputs], as the network reads them.
    Returns float64 [n], since optimised images leave as little doubt as 1e-30.
    """
    doubles = [[parameter.double() for parameter in own] for own in (model.weights, model.biases)]
    entered = model.architecture.entered(images.flatten(1).double())
    logarithms = propagate(*doubles, entered, layers=model.architecture.layers)[-1].log_softmax(0)
    return -(logarithms.exp() * logarithms).sum(0)
