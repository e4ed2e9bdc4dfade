"""Your own network: a torch.nn.Sequential of the usual layers as a Network, and as a checkpoint for the scripts."""

from math import prod

import torch
from torch import nn

from mlp import InputError
from mlp.architecture import POOLS, Architecture, Layer, over_slices
from mlp.checkpoint import save_checkpoint
from mlp.data import DATA_SETS, DataSet, are_normalisation
from mlp.model import Model
from mlp.network import Network, are_classes

UNDERSTOOD = "Linear, Conv2d, BatchNorm behind them, ReLU, pooling of maps, Dropout and Flatten"
NORMS = {nn.Linear: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d}
"""The layers that have units, and the batch normalisation that can be behind each."""
INERT = nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d
"""Layers that do nothing in a trained network."""


def network_of(module, input_shape, classes=None, dataset=None, normalise=()):
    """What a trained torch.nn.Sequential computes, as a Network that all functions here take.

    module: layers that are UNDERSTOOD, one after the other or nested; it is not changed.  Batch normalisation, as in
    evaluation, becomes part of the weights before it.
    input_shape: of an image: (channels, height, width), or (inputs,).
    classes, dataset: what the outputs stand for, and of which of DATA_SETS; by default that is left open, which is
    enough for all that asks for weights alone.  Of a data set, all ten classes are the default.
    normalise: pairs (mean, sd), one for all channels or one for each, if it was trained on (pixel - mean) / sd; by
    default it reads pixels from 0 to 1.
    Raises InputError with the name and type of a layer that is not understood, or does not fit.
    """
    model = model_of(module, input_shape)
    outputs = model.sizes[-1]
    if dataset not in (None, *DATA_SETS):
        raise InputError(f"dataset {dataset!r}: is unknown here; choose from {', '.join(DATA_SETS)}, or leave it out")
    if not are_normalisation(normalise):
        wanted = "a list of pairs (mean, standard deviation) of pixels from 0 to 1, as in [(0.1307, 0.3081)]"
        raise InputError(f"normalise {normalise}: give {wanted}, or leave it out")
    normalisation = tuple(map(tuple, normalise))
    if classes is None and dataset is None:
        return Network(model, DataSet(None, tuple(range(outputs)), normalisation))
    classes = range(10) if classes is None else classes
    if (
        not isinstance(classes, (tuple, list, range))
        or not are_classes(list(classes), dataset)
        or len(classes) != outputs
    ):
        wanted = "a list of what each of them stands for, different whole numbers, of data sets from 0 to 9"
        given = list(classes) if isinstance(classes, range) else classes
        raise InputError(f"classes {given}: the network has {outputs} outputs; give {wanted}")
    network = Network(model, DataSet(dataset, tuple(classes), normalisation))
    network.data.refuse_misfit()
    network.refuse_other_images()
    return network


def save_network(path, module, input_shape, classes=None, dataset=None, normalise=()):
    """Save a network for the scripts, in a file that holds no code.  Arguments and errors as of `network_of`."""
    network = network_of(module, input_shape, classes, dataset, normalise)
    left_open = classes is None and dataset is None
    about = {"dataset": dataset} | ({} if left_open else {"classes": network.data.classes})
    if network.data.normalisation:
        about["normalisation"] = network.data.normalisation
    save_checkpoint(path, network.model, **about, architecture=network.model.architecture.described())


@torch.no_grad()
def model_of(module, input_shape):
    """The Model that computes what a module does.  Arguments and errors as of `network_of`."""
    sides = list(input_shape) if isinstance(input_shape, (tuple, list)) else []
    if len(sides) not in (1, 3) or any(type(side) is not int or side < 1 for side in sides):
        raise InputError(f"input_shape {input_shape}: is no shape; name (channels, height, width), or (inputs,)")
    layers, parameters = [], []
    passed = []  # the layers since the last that has units
    for name, layer in _in_order(module):
        what, kinds = f"layer {name} ({type(layer).__name__})", list(map(type, passed))
        flat = nn.Flatten in kinds or (layers[-1].kernel is None if layers else len(input_shape) == 1)
        _refuse_misplaced(what, layer, kinds, not layers, flat)
        if type(layer) in NORMS:
            layers.append(_layer(layer, _pools(passed), what))
            parameters += [_weight(layer, _read_shape(input_shape, layers, what), what), _bias(layer)]
            passed = [layer]
        elif type(layer) not in INERT:
            if type(layer) in NORMS.values():
                parameters[-2:] = _folded(layer, *parameters[-2:], what)
            passed.append(layer)
            if type(layer) in POOLS:
                _refuse_unfit(input_shape, layers, _pools(passed), what)
    if len(layers) < 2 or layers[-1].kernel or layers[-1].units < 2 or nn.ReLU in map(type, passed):
        raise InputError(
            "the network needs hidden units, and at its end a Linear layer, whose values are two outputs or more"
        )
    shape = tuple(input_shape) if layers[0].kernel else (prod(input_shape),)
    model = Model(Architecture(shape, tuple(layers)))
    for parameter, values in zip(model.parameters(), parameters, strict=True):
        parameter.copy_(values.reshape(parameter.shape))
        if not parameter.isfinite().all():
            raise InputError("the network has weights that are NaN or infinite; train it again")
    return model.requires_grad_(False)


def _refuse_misplaced(what, layer, kinds, first, flat):
    """Raise InputError if a layer is not understood, or not in its place.

    kinds: of the layers since the last that has units; first: whether there was none.  flat: whether maps are no more.
    """
    kind = type(layer)
    units, norm = kind in NORMS, kind in NORMS.values()
    averaged = nn.ReLU not in kinds and {nn.AvgPool2d, nn.AdaptiveAvgPool2d} & set(kinds)
    understood = units or norm or kind in (*POOLS, *INERT, nn.ReLU, nn.Flatten)
    if not understood or "forward" in vars(layer):
        raise InputError(f"{what}: is not understood; a network is a Sequential of {UNDERSTOOD}")
    dimensions = 2 if flat else 4
    partly = kind is nn.Flatten and (layer.start_dim % dimensions, layer.end_dim % dimensions) != (1, dimensions - 1)
    hooked = layer._forward_pre_hooks or layer._forward_hooks
    parameters = list(layer.parameters())
    absent = any(parameter.is_meta for parameter in parameters)
    misplaced = (
        (partly, "flattens some dimensions only, or images together; use Flatten()"),
        (hooked or absent, "has hooks, or weights that are not there; remove hooks and make its weights permanent"),
        (any(parameter.is_complex() for parameter in parameters), "has complex weights; use real ones"),
        (
            units and not first and nn.ReLU not in kinds,
            "there is no ReLU between it and the units before it; put one in",
        ),
        (kind is nn.Conv2d and flat, "reads what is flat; a convolution has to come before Flatten and Linear"),
        (kind is nn.Linear and not flat, "reads maps; put a Flatten before it"),
        (kind is nn.Linear and first and set(POOLS) & set(kinds), "reads a pooled image; pool the images beforehand"),
        (
            norm and [NORMS.get(other) for other in kinds] != [kind],
            "fits only behind a Linear or Conv2d; move it there",
        ),
        (kind is nn.ReLU and first, "comes before all units, and is not understood there; change the images instead"),
        (kind is nn.ReLU and averaged, "an average before it is not understood; put that behind it"),
        (kind in POOLS and flat, "pools what is flat, which is not understood; leave it out"),
        (getattr(layer, "return_indices", False), "returns indices, which is not understood; leave return_indices out"),
        (
            (getattr(layer, "divisor_override", None) or 1) < 0,
            "divides by less than nothing; leave divisor_override out",
        ),
    )
    for holds, reason in misplaced:
        if holds:
            raise InputError(f"{what}: {reason}")


def _in_order(module, prefix=""):
    """The layers of a Sequential and of those in it: (name, layer)."""
    if type(module) is not nn.Sequential:
        raise InputError(
            f"a {type(module).__name__} is no torch.nn.Sequential; put its layers into one, in their order"
        )
    if module._forward_pre_hooks or module._forward_hooks:
        raise InputError("a torch.nn.Sequential has hooks, which are not understood; remove them")
    for name, layer in module._modules.items():  # named_children leaves out what is there twice
        if type(layer) is nn.Sequential:
            yield from _in_order(layer, f"{prefix}{name}.")
        else:
            yield prefix + name, layer


def _layer(layer, pools, what):
    """The Layer that a Linear or Conv2d is."""
    if type(layer) is nn.Linear:
        return Layer(int(layer.out_features), pools=pools)
    reach = [step * (size - 1) for step, size in zip(layer.dilation, layer.kernel_size)]
    paddings = {"valid": (0, 0), "same": tuple(total // 2 for total in reach)}
    padding = paddings[layer.padding] if isinstance(layer.padding, str) else layer.padding
    uneven = layer.padding == "same" and any(total % 2 for total in reach)
    if uneven or any(padding) and layer.padding_mode != "zeros":
        raise InputError(f"{what}: its maps are padded by more than the same number of zeros on all sides; change that")
    window = map(_plain, (layer.kernel_size, layer.stride, padding, layer.dilation))
    return Layer(int(layer.out_channels), *window, int(layer.groups), pools)


def _pools(passed):
    """The poolings among some layers, as a Layer has them."""
    return tuple(
        (type(pool).__name__, tuple((key, _plain(getattr(pool, key))) for key in POOLS[type(pool)]))
        for pool in passed
        if type(pool) in POOLS
    )


def _plain(argument):
    """Whole numbers of other kinds, which JSON has no word for, as Python's; lists as tuples."""
    if isinstance(argument, (tuple, list)):
        return tuple(map(_plain, argument))
    return argument if argument is None or isinstance(argument, bool) else int(argument)


def _refuse_unfit(input_shape, layers, pools, what):
    """Raise InputError if the last of some poolings does not fit the maps before it."""
    maps = Architecture(tuple(input_shape), tuple(layers)).shapes[-1] if layers else tuple(input_shape)
    try:
        fits = 0 not in Layer(0, pools=pools).pooled(torch.empty(*maps, 0)).shape[:-1]
    except (RuntimeError, ValueError, TypeError):
        fits = False
    if not fits:
        shape = " x ".join(map(str, maps[1:]))
        raise InputError(f"{what}: does not fit maps of {shape}; choose a smaller window, or name another input_shape")


def _read_shape(input_shape, layers, what):
    """The shape of what the last layer reads."""
    try:
        return Architecture(tuple(input_shape), tuple(layers)).read[-1]
    except (RuntimeError, ValueError, TypeError) as error:
        shape = " x ".join(map(str, input_shape))
        raise InputError(f"{what}: does not fit images of {shape}; name another input_shape") from error


def _weight(layer, read, what):
    """Its weights, float64 [out, in, ...], those of grouped convolutions with zeros between the groups."""
    weight = layer.weight.detach().double().cpu()
    if type(layer) is nn.Conv2d and layer.groups > 1:
        blocks = [torch.block_diag(*taps.chunk(layer.groups)) for taps in weight.flatten(2).movedim(2, 0)]
        weight = torch.stack(blocks, dim=-1).unflatten(2, layer.kernel_size)
    inputs = read[0] if type(layer) is nn.Conv2d else prod(read)
    if weight.shape[1] != inputs:
        raise InputError(f"{what}: reads {weight.shape[1]} inputs and is given {inputs}; name the right input_shape")
    return weight


def _bias(layer):
    return torch.zeros(len(layer.weight)).double() if layer.bias is None else layer.bias.detach().double().cpu()


def _folded(norm, weight, bias, what):
    """The weights and biases of a layer and the batch normalisation behind it:

    w' = w g,   b' = (b - mean) g + beta,   g = gamma / sqrt(variance + epsilon)
    """
    if norm.num_features != len(weight):
        raise InputError(f"{what}: has {norm.num_features} features for {len(weight)} units before it; give it as many")
    if norm.running_mean is None:
        raise InputError(f"{what}: has no running mean and variance; train it with track_running_stats=True")
    mean, variance = norm.running_mean.double().cpu(), norm.running_var.double().cpu()
    gain = 1 / (variance + norm.eps).sqrt()
    shift = torch.zeros_like(mean)
    if norm.affine:
        gain, shift = gain * norm.weight.detach().double().cpu(), norm.bias.detach().double().cpu()
    return weight * over_slices(gain, weight), (bias - mean) * gain + shift
