"""The network: a ReLU multilayer perceptron, and its one forward pass, in which any neurons can be silent."""

from itertools import pairwise

import torch
from torch import nn

from mlp.planting import clusterable_groups, plant_softly

INITS = "default", "glorot", "clusterable"
"""The ways to draw initial weights."""
IMAGE_SIDE = 28
PIXELS = IMAGE_SIDE**2


class MLP(nn.Module):
    """Linear layers with ReLU between them.  sizes: neurons per layer, inputs and outputs too: (784, 8, 8, 8, 3)."""

    def __init__(self, sizes):
        super().__init__()
        self.sizes = tuple(sizes)
        self.layers = nn.ModuleList(nn.Linear(*ends) for ends in pairwise(self.sizes))

    @property
    def hidden_sizes(self):
        return self.sizes[1:-1]

    @property
    def weights(self):
        """One [out, in] tensor per layer."""
        return [layer.weight for layer in self.layers]

    @property
    def biases(self):
        """One [out] tensor per layer."""
        return [layer.bias for layer in self.layers]

    def forward(self, images):
        """Logits [n, outputs] of images [n, inputs]."""
        return self.preactivations(images)[-1]

    def preactivations(self, images):
        """What each layer computes before its ReLU for images [n, inputs], logits last: one [n, neurons] per layer."""
        return [values.T for values in propagate(self.weights, self.biases, images.T)]


def propagate(weights, biases, activations, factors=None, in_place=False):
    """What each layer computes before its ReLU, logits last: one [..., neurons, n] per layer of weights.

    weights, biases: one [out, in] and one [out] tensor per layer; of networks side by side [networks, ...].
    activations: [in, n], the same for all networks, or [networks, in, n]: images, or what a hidden layer passes on.
    factors: one tensor per layer but the last, which its activations are multiplied by: 0 silences a neuron.
    in_place: faster, where only the logits are asked for: the other values are overwritten by their ReLU.
    """
    relu = torch.relu_ if in_place else torch.relu
    values = []
    for layer, (weight, bias) in enumerate(zip(weights, biases)):
        if layer > 0:
            activations = relu(values[-1])
            if factors is not None:
                activations = activations * factors[layer - 1]
        if activations.ndim == 2:  # one product, whether of one network or of many
            products = torch.addmm(bias.reshape(-1, 1), weight.flatten(0, -2), activations)
            values.append(products.unflatten(0, bias.shape))
        else:
            values.append(torch.bmm(weight, activations).add_(bias.unsqueeze(2)))
    return values


def hits(logits, labels):
    """Whether a label [n] or [..., n] has the largest of logits [..., outputs, n], or the first of these: [..., n]."""
    labels = labels.expand(*logits.shape[:-2], -1)
    largest = logits.amax(-2)
    found = logits.gather(-2, labels.unsqueeze(-2)).squeeze(-2) == largest
    undefined = largest.isnan()
    if undefined.any() or (logits == largest.unsqueeze(-2)).sum() > found.numel():
        return (logits.argmax(-2) == labels) & ~undefined  # ten times as long, and right where logits are equal
    return found


def initial_model(sizes, seed, init="default"):
    """An untrained MLP whose weights depend on `seed` alone.

    init: "default" is PyTorch's; "glorot" draws weights uniformly within +-sqrt(6 / (in + out)) and sets biases to zero
    (Glorot & Bengio 2010, eq. 16), as Keras does; "clusterable" then plants groups (`plant_softly`).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MLP(sizes)
        if init != "default":
            for layer in model.layers:
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        if init == "clusterable":
            plant_softly(model.weights, clusterable_groups(model.sizes, seed))
    return model


def stacked(models):
    """The parameters of networks of one shape: weights [networks, out, in] and biases [networks, out] per layer."""
    weights = [torch.stack(matrices).detach() for matrices in zip(*(model.weights for model in models))]
    biases = [torch.stack(vectors).detach() for vectors in zip(*(model.biases for model in models))]
    return weights, biases
