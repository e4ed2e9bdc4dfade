"""Feature visualisation: the image that drives the neurons of a module hardest."""

import torch

from mlp.model import propagate
from mlp.training import adam_step

STEPS = 64
LEARNING_RATE = 0.05


def optimal_images(model, layer, members, generator, progress=iter):
    """Images that maximise the sum of |pre-activation| over sets of neurons of one hidden layer, all at once.

    The images are parametrised as Lucid does (Olah et al. 2017): by the coefficients of a Fourier transform, each
    scaled by the inverse of its frequency so that all frequencies learn alike, and a sigmoid; Adam takes STEPS steps.
    No regulariser, no jitter (Casper et al. 2021).  Each image has its own parameters and Adam works parameter by
    parameter, so that batching changes nothing.

    layer: from 1.  members: boolean [images, neurons of the layer].  generator: decides the first coefficients.
    Returns images [images, side, side] in 0..1, and their scores at first and at the end, two [images].
    """
    side = round(model.sizes[0] ** 0.5)
    frequencies = torch.hypot(torch.fft.fftfreq(side).unsqueeze(1), torch.fft.rfftfreq(side)).clamp(min=1 / side)
    scale = (side / frequencies).to(members.device)
    first = 0.01 * torch.randn(2, len(members), *scale.shape, generator=generator)
    spectrum = first.to(members.device).requires_grad_()
    moments = [[torch.zeros_like(spectrum)], [torch.zeros_like(spectrum)]]
    steps = [torch.zeros((), device=spectrum.device)]
    front = [[parameter.detach() for parameter in own[:layer]] for own in (model.weights, model.biases)]

    def picture():
        return torch.sigmoid(torch.fft.irfft2(torch.complex(*(spectrum * scale)), s=(side, side)) / 4)

    def scores():
        return (propagate(*front, picture().flatten(1).T)[-1].T.abs() * members).sum(1)

    initial = scores().detach()
    for _ in progress(range(STEPS)):
        gradients = torch.autograd.grad(-scores().sum(), [spectrum])
        adam_step([spectrum], gradients, moments, steps, LEARNING_RATE)
    with torch.no_grad():
        return picture(), initial, scores()


@torch.no_grad()
def output_entropies(model, images):
    """Entropy of the softmax of the outputs, in nats: 0 if the network is certain what it sees.

    images: [n, side, side].  Returns float64 [n], since optimised images leave as little doubt as 1e-30.
    """
    doubles = [[parameter.double() for parameter in own] for own in (model.weights, model.biases)]
    logarithms = propagate(*doubles, images.flatten(1).double().T)[-1].log_softmax(0)
    return -(logarithms.exp() * logarithms).sum(0)
