"""The architecture: what the layers of a network are, apart from their weights.

Every layer is a layer of units.  The units of a convolution are its channels, each with a map of activations; all
others are neurons, with one activation each.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from math import prod

import torch
from torch import nn
from torch.nn.functional import conv2d

from mlp import InputError

POOLS = {
    nn.MaxPool2d: ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    nn.AvgPool2d: ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    nn.AdaptiveMaxPool2d: ("output_size",),
    nn.AdaptiveAvgPool2d: ("output_size",),
}
"""The poolings of maps, which keep channels apart, and what decides how they do."""
WINDOW = {"stride": 1, "padding": 0, "dilation": 1}
"""What is known of a convolution's window besides its size, and the least that it can be."""


@dataclass(frozen=True)
class Layer:
    """A layer of units, and how they read the layer before.

    units: how many neurons or channels.  kernel: height and width of a convolution's window; None where each unit reads
    all there is.  stride, padding, dilation: those of the window, down and across.  groups: into how many parts the
    channels fall, each of which reads only its own part of those before; weights between them are zero.
    pools: poolings of the maps before, after their ReLU: the names in torch.nn of some of POOLS, with their arguments.
    """

    units: int
    kernel: tuple | None = None
    stride: tuple = (1, 1)
    padding: tuple = (0, 0)
    dilation: tuple = (1, 1)
    groups: int = 1
    pools: tuple = ()

    def pooled(self, maps):
        """What the layer reads of activations [channels, height, width, n], or side by side [networks, ...]."""
        for name, arguments in self.pools:
            images = maps.movedim(-1, 0)
            pooled = getattr(nn, name)(**dict(arguments))(images.flatten(0, -4))
            maps = pooled.unflatten(0, images.shape[:-3]).movedim(0, -1)
        return maps

    def through(self, weight, bias, activations):
        """`sums` of activations that are `pooled`."""
        return self.sums(weight, bias, self.pooled(activations))

    def sums(self, weight, bias, activations):
        """What the units compute of what they read, before their ReLU.

        weight: [units, in], or [units, in, height, width] of what reads maps; bias: [units]; of networks side by side
        [networks, ...].  activations: [in, n] or [in, height, width, n], the same for all networks, or [networks, ...].
        Returns [..., units, n], or of a convolution [..., units, height, width, n].
        """
        if self.kernel:
            return self._convolved(weight, bias, activations)
        if weight.ndim - bias.ndim > 1:
            weight, activations = weight.flatten(-3), activations.flatten(-4, -2)
        if activations.ndim == 2:  # one product, whether of one network or of many
            products = torch.addmm(bias.reshape(-1, 1), weight.flatten(0, -2), activations)
            return products.unflatten(0, bias.shape)
        return torch.bmm(weight, activations).add_(bias.unsqueeze(2))

    def _convolved(self, weight, bias, maps):
        """Networks side by side are the groups of one convolution."""
        groups = len(maps) if maps.ndim == 5 else 1
        images = maps.movedim(-1, 0).flatten(1, -3).contiguous(memory_format=torch.channels_last)  # a fifth faster
        window = self.stride, self.padding, self.dilation
        values = conv2d(images, weight.flatten(0, -4), bias.flatten(), *window, groups)
        return values.unflatten(1, bias.shape).movedim(0, -1)


@dataclass(frozen=True)
class Architecture:
    """Layers of units with ReLU between them, the last of which are the outputs.

    input_shape: of an image: channels, height and width, or (inputs,).  layers: a Layer each.
    """

    input_shape: tuple
    layers: tuple

    def __getstate__(self):
        """The fields alone: equal architectures are equal bytes, whatever they have been asked before."""
        return {"input_shape": self.input_shape, "layers": self.layers}

    @cached_property
    def read(self):
        """The shape of what each layer reads of one image: (in,), or (in, height, width) where it reads maps."""
        return self._shapes[0]

    @cached_property
    def shapes(self):
        """The shape of what each layer computes of one image: (units,), or (units, height, width)."""
        return self._shapes[1]

    @cached_property
    def _shapes(self):
        """Found by one unit of each layer that reads no images.

        Raises RuntimeError or ValueError if the layers do not fit together.
        """
        units, *sides = self.input_shape if self.layers[0].kernel else (prod(self.input_shape),)
        read, computed = [], []
        for layer in self.layers:
            activations = layer.pooled(torch.empty(1, *sides, 0))
            sides = activations.shape[1:-1]
            read.append((units, *sides))
            values = layer.sums(torch.empty(1, *self._window(layer, (1, *sides))), torch.empty(1), activations)
            units, sides = layer.units, values.shape[1:-1]
            if 0 in (units, *sides):
                raise ValueError(f"a layer has the shape {(units, *sides)}")
            computed.append((units, *sides))
        return tuple(read), tuple(computed)

    @staticmethod
    def _window(layer, read):
        return (read[0], *layer.kernel) if layer.kernel else read

    @property
    def weight_shapes(self):
        """The shape of the weights of each layer: (out, in), or (out, in, height, width)."""
        return tuple((layer.units, *self._window(layer, read)) for layer, read in zip(self.layers, self.read))

    @property
    def sizes(self):
        """Units of each layer, those of the inputs first: pixels, or the channels of an image that is convolved."""
        return (self.read[0][0], *(layer.units for layer in self.layers))

    @property
    def convolutions(self):
        """How many layers are convolutions; these come first."""
        return sum(layer.kernel is not None for layer in self.layers)

    @property
    def activations(self):
        """How many numbers the layers compute of an image."""
        return sum(map(prod, self.shapes))

    def images_at_once(self, numbers):
        """Of how many images the layer that computes most computes so many numbers, at least one."""
        return max(1, numbers // max(map(prod, self.shapes)))

    def entered(self, images):
        """Images [..., n, inputs] as the first layer reads them: [..., *its shape, n]."""
        shape = self.input_shape if self.layers[0].kernel else self.read[0]
        return images.mT.unflatten(-2, shape)

    def described(self):
        """What JSON can say of it."""
        return asdict(self)

    def __str__(self):
        return "-".join(map(str, self.sizes))


DENSE = Layer(units=0)
"""Any layer that is no convolution and pools nothing, whose weights say how many units it has."""


def dense(sizes):
    """The architecture of a multilayer perceptron.  sizes: neurons per layer, inputs and outputs too."""
    return Architecture((sizes[0],), tuple(map(Layer, sizes[1:])))


def convolutional(input_shape, channels, neurons):
    """The small network of Filan et al. (2021), of any widths: channels, and then neurons, outputs last.

    Convolutions with windows of 3 x 3 and zeros around the maps, which are pooled by 2 x 2 after each but the first.
    Raises InputError if nothing is left of the images.
    """
    pools = (("MaxPool2d", (("kernel_size", 2),)),)
    window = {"kernel": (3, 3), "padding": (1, 1)}
    maps = [Layer(units, **window, pools=pools if place > 1 else ()) for place, units in enumerate(channels)]
    first, *others = neurons
    last = Layer(first, pools=pools if len(channels) > 1 else ())
    architecture = Architecture(tuple(input_shape), (*maps, last, *map(Layer, others)))
    try:
        architecture.shapes  # which tells
    except (RuntimeError, ValueError):
        many, shape = ",".join(map(str, channels)), " x ".join(map(str, input_shape))
        nothing = f"nothing is left of images of {shape} that are pooled so often; choose fewer convolutions"
        raise InputError(f"--channels {many}: {nothing}") from None
    return architecture


def from_description(description):
    """The architecture that `described` described.  Raises ValueError if it is none."""

    def numbers(values, least, count=None):
        if not isinstance(values, list) or len(values) != (count or len(values)):
            raise ValueError("no list of numbers")
        if not values or any(type(value) is not int or not least <= value < 2**31 for value in values):
            raise ValueError("no whole numbers")
        return tuple(values)

    try:
        layers = []
        for layer in description["layers"]:
            kernel = numbers(layer["kernel"], 1, 2) if layer["kernel"] else None
            window = {key: numbers(layer[key], least, 2) for key, least in WINDOW.items()}
            pools = tuple((name, tuple((key, tupled(value)) for key, value in given)) for name, given in layer["pools"])
            known = {kind.__name__: names for kind, names in POOLS.items()}
            if not all(set(dict(arguments)) <= set(known[name]) for name, arguments in pools):
                raise ValueError("unknown pooling")
            units, groups = numbers([layer["units"], layer.get("groups", 1)], 1)
            layers.append(Layer(units, kernel, **window, groups=groups, pools=pools))
        architecture = Architecture(numbers(description["input_shape"], 1), tuple(layers))
        for layer, (_, inputs, *_) in zip(layers, architecture.weight_shapes):  # which tell whether layers fit together
            if layer.units % layer.groups or inputs % layer.groups:
                raise ValueError("no groups")
        return architecture
    except (KeyError, TypeError, IndexError, RuntimeError, AttributeError, OverflowError) as error:
        raise ValueError("no architecture") from error


def tupled(value):
    """Lists, which is what JSON makes of tuples, as tuples."""
    return tuple(map(tupled, value)) if isinstance(value, list) else value


def over_slices(numbers, tensor):
    """Numbers for the first dimensions of a tensor, in the shape to be multiplied by it.

    So that of weights [..., out, in, height, width] all of a slice are by one number of a matrix [..., out, in], or of
    maps [units, height, width, n] all of a unit by one of a vector [units].
    """
    return numbers.reshape(*numbers.shape, *[1] * (tensor.ndim - numbers.ndim))


def map_means(values):
    """One number for each unit and image, of a map its mean.  values: [units, n] or [units, height, width, n]."""
    return values.mean((1, 2)) if values.ndim == 4 else values
