"""The network: layers of units with ReLU between them, and their one forward pass, in which any units can be silent."""

from itertools import repeat
from math import prod

import torch
from torch import nn

from mlp.architecture import DENSE, Architecture, dense, map_means, over_slices
from mlp.planting import clusterable_groups, plant_softly

INITS = "default", "glorot", "clusterable"
"""The ways to draw initial weights."""
BATCH_NUMBERS = 2**20
"""Activations of a layer held at once where maps are propagated: 4 MiB, which stay in a processor's cache."""


class Model(nn.Module):
    """Layers of neurons or channels with ReLU between them, of an Architecture."""

    def __init__(self, architecture):
        super().__init__()
        self.architecture = architecture
        self.sizes = architecture.sizes
        self.layers = nn.ModuleList()
        for layer, (units, *window) in zip(architecture.layers, architecture.weight_shapes):
            self.layers.append(
                nn.Conv2d(window[0], units, layer.kernel) if layer.kernel else nn.Linear(prod(window), units)
            )

    @property
    def hidden_sizes(self):
        return self.sizes[1:-1]

    @property
    def weights(self):
        """One [out, in] tensor per layer, or where maps are read [out, in, height, width]."""
        return [layer.weight.view(shape) for layer, shape in zip(self.layers, self.architecture.weight_shapes)]

    @property
    def biases(self):
        """One [out] tensor per layer."""
        return [layer.bias for layer in self.layers]

    def forward(self, images):
        """Logits [n, outputs] of images [n, inputs]."""
        return self.values(images)[-1].T

    def values(self, images, factors=None):
        """What each layer computes of images [n, inputs] before its ReLU, logits last, as of `propagate`."""
        activations = self.architecture.entered(images)
        return propagate(self.weights, self.biases, activations, factors, layers=self.architecture.layers)

    def preactivations(self, images):
        """What each layer computes before its ReLU for images [n, inputs], logits last: one [n, units] per layer.

        Of a map its mean, in batches of bounded memory.
        """
        rows = self.architecture.images_at_once(BATCH_NUMBERS) if self.architecture.convolutions else len(images) or 1
        batches = [[map_means(values).T for values in self.values(some)] for some in images.split(rows)]
        return batches[0] if len(batches) == 1 else [torch.cat(parts) for parts in zip(*batches)]


class MLP(Model):
    """A multilayer perceptron.  sizes: neurons per layer, inputs and outputs too: (784, 8, 8, 8, 3)."""

    def __init__(self, sizes):
        super().__init__(dense(sizes))


def propagate(weights, biases, activations, factors=None, in_place=False, layers=None):
    """What each layer computes before its ReLU, logits last: one [..., units, n] per layer of weights, or of a
    convolution [..., units, height, width, n].

    weights, biases: one [out, in] or [out, in, height, width] and one [out] tensor per layer; of networks side by side
    [networks, ...].
    activations: [in, n], the same for all networks, or [networks, in, n]: images, or what a hidden layer passes on; of
    maps [..., in, height, width, n].
    factors: one tensor per layer but the last, which what is read of its activations is multiplied by: 0 silences.
    in_place: faster, where only the logits are asked for: the other values are overwritten by their ReLU.
    layers: the Layer of each layer of weights; by default all are dense.
    """
    relu = torch.relu_ if in_place else torch.relu
    values = []
    for place, (layer, weight, bias) in enumerate(zip(layers or repeat(DENSE), weights, biases)):
        if place > 0:
            activations = relu(values[-1])
        activations = layer.pooled(activations)
        if place > 0 and factors is not None:
            activations = activations * factors[place - 1]
        values.append(layer.sums(weight, bias, activations))
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


def initial_model(architecture, seed, init="default"):
    """An untrained Model whose weights depend on `seed` alone.

    architecture: an Architecture, or the sizes of an MLP.
    init: "default" is PyTorch's; "glorot" draws weights uniformly within +-sqrt(6 / (in + out)) and sets biases to zero
    (Glorot & Bengio 2010, eq. 16), as Keras does; "clusterable" then plants groups (`plant_softly`).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Model(architecture) if isinstance(architecture, Architecture) else MLP(architecture)
        if init != "default":
            for layer in model.layers:
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        if init == "clusterable":
            plant_softly(model.weights, clusterable_groups(model.sizes, seed))
        for layer, its_kind in zip(model.layers, model.architecture.layers):
            if its_kind.groups > 1:
                _part(layer, its_kind.groups)
    return model


@torch.no_grad()
def _part(layer, groups):
    """Make initial weights those of a grouped convolution, as PyTorch draws them: larger where a unit reads less."""
    out, into = layer.weight.shape[:2]
    within = torch.block_diag(*torch.ones(groups, out // groups, into // groups))
    layer.weight.mul_(over_slices(within, layer.weight)).mul_(groups**0.5)
    layer.bias.mul_(groups**0.5)


def stacked(models):
    """The parameters of networks of one shape: weights [networks, out, in] and biases [networks, out] per layer."""
    weights = [torch.stack(matrices).detach() for matrices in zip(*(model.weights for model in models))]
    biases = [torch.stack(vectors).detach() for vectors in zip(*(model.biases for model in models))]
    return weights, biases
