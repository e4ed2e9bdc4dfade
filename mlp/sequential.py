"""Your own network: a torch.nn.Sequential of the usual layers as a Network, and as a checkpoint for the scripts."""

from math import prod

import torch
from torch import nn

from mlp import InputError
from mlp.architecture import POOLS, Architecture, Layer, over_slices
from mlp.checkpoint import save_checkpoint
from mlp.data import DATA_SETS, DataSet, are_normalisation
from mlp.model import Model
from mlp.network import MOST_CLASSES, Network, are_classes
from mlp.refusals import ONE_OUTPUT, permanent_weights

UNDERSTOOD = "Linear, Conv2d, BatchNorm behind them, ReLU, pooling of maps, Dropout and Flatten"
NORMS = {nn.Linear: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d}
"""The layers that have units, and the batch normalisation that can be behind each."""
INERT = nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d
"""Layers that do nothing in a trained network."""
MONOTONIC = nn.Softmax, nn.LogSoftmax, nn.Sigmoid, nn.LogSigmoid, nn.Tanh
"""Activations that leave the largest output the largest, so that a network without them reads images as with them."""


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
        if dataset and outputs > MOST_CLASSES:
            wanted = "no dataset, because those that are known here have ten classes, and different whole numbers"
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
    name_of_units = ""  # that of the last layer that has units
    ordered = list(_in_order(module))
    computed = permanent_weights(module.state_dict())
    if computed:
        raise InputError(computed)
    for place, (name, layer) in enumerate(ordered):
        what, kinds = f"layer {name} ({type(layer).__name__})", list(map(type, passed))
        flat = nn.Flatten in kinds or (layers[-1].kernel is None if layers else len(input_shape) == 1)
        at_end = all(type(later) in INERT for _, later in ordered[place + 1 :])
        reason = _not_understood(layer, at_end) or _misplaced(layer, kinds, flat)
        if reason:
            raise InputError(f"{what}: {reason}")
        if type(layer) in NORMS:
            name_of_units = name
            layers.append(_layer(layer, _pools(passed), what))
            parameters += [_weight(layer, _read_shape(input_shape, layers, what), what), _bias(layer)]
            passed = [layer]
        elif type(layer) not in INERT:
            if type(layer) in NORMS.values():
                parameters[-2:] = _folded(layer, *parameters[-2:], what)
            passed.append(layer)
            if type(layer) in POOLS:
                _refuse_unfit(input_shape, layers, _pools(passed), what)
    reason = _not_an_end(layers, passed, name_of_units)
    if reason:
        raise InputError(reason)
    shape = tuple(input_shape) if layers[0].kernel else (prod(input_shape),)
    model = Model(Architecture(shape, tuple(layers)))
    for parameter, values in zip(model.parameters(), parameters, strict=True):
        parameter.copy_(values.reshape(parameter.shape))
        if not parameter.isfinite().all():
            raise InputError("the network has weights that are NaN or infinite; train it again")
    return model.requires_grad_(False)


def _not_understood(layer, at_end):
    """Why a layer is not understood wherever it is, and a remedy; None if it is.

    at_end: whether only INERT layers follow.
    """
    kind = type(layer)
    if at_end and kind in MONOTONIC and getattr(layer, "dim", 1) in (None, 1, -1):
        return "is not understood; leave it out, which changes no reading: the largest output stays the largest"
    if kind.__module__ == nn.ReLU.__module__ and kind not in (nn.ReLU, nn.MultiheadAttention):
        return "is not understood; the one activation that is, ReLU, makes another network, so train one with it"
    if kind not in (*NORMS, *NORMS.values(), *POOLS, *INERT, nn.ReLU, nn.Flatten):
        return f"is not understood; a network is a Sequential of {UNDERSTOOD}"
    if "forward" in vars(layer):
        return "has a forward of its own, which is not understood; remove it if it changes no output"
    if layer._forward_pre_hooks or layer._forward_hooks:
        return "has hooks, which are not understood; remove them if they change no output"
    parameters = list(layer.parameters())
    if any(parameter.is_meta for parameter in parameters):
        return "has no numbers (it is on the device meta); load its trained weights"
    if any(parameter.is_complex() for parameter in parameters):
        return "has complex weights, which are not understood; train a network of real ones"
    if getattr(layer, "return_indices", False):
        return "returns indices, which is not understood; leave return_indices out"
    if (getattr(layer, "divisor_override", None) or 1) < 0:
        return "divides by a negative number, which is not understood; train a network without divisor_override"
    return None


def _misplaced(layer, kinds, flat):
    """Why a layer of a kind that is understood is not understood in its place, and a remedy; None if it is.

    kinds: of the last layer that has units and of those behind it, but for INERT ones; or of all, if none has units.
    flat: whether the layer is given neurons, or images of one dimension, and not maps.
    """
    kind = type(layer)
    first = not kinds or kinds[0] not in NORMS  # no layer before it has units
    if kind is nn.Flatten:
        dimensions = 2 if flat else 4
        if (layer.start_dim % dimensions, layer.end_dim % dimensions) != (1, dimensions - 1):
            what = "flattens some dimensions only, or images together, which is not understood"
            return f"{what}; use Flatten() if each image is to be flattened"
    if kind in NORMS and not first and nn.ReLU not in kinds:
        if kind is nn.Linear and kinds[0] is nn.Linear and set(kinds[1:]) <= {nn.Flatten}:
            cause = "has no ReLU between it and the Linear before it; both are one Linear: put that there"
            return f"{cause}, of weight second.weight @ first.weight, bias second.weight @ first.bias + second.bias"
        why = "and one put in would make another network"
        return f"has no ReLU between it and the units before it, {why}; train a network that has one there"
    if flat and (kind is nn.Conv2d or kind in POOLS):
        if not kinds:
            return "reads maps, and input_shape is flat; name the (channels, height, width) of an image"
        return "reads maps, and is given flat values, on which it cannot run; put it before Flatten and Linear"
    if kind is nn.Linear and not flat:
        return "reads maps, row by row, which is not understood; put Flatten before it if your program flattens them"
    if kind is nn.Linear and first and set(POOLS) & set(kinds):
        remedy = "leave pooling out and name the input_shape of pooled images, for scripts that read no images"
        return f"reads a pooled image, which is not understood; {remedy}"
    if kind in NORMS.values() and [NORMS.get(other) for other in kinds] != [kind]:
        where = "is understood only right behind a Linear or Conv2d, whose weights take it up"
        return f"{where}; moving it there makes another network, so train one that has it there"
    if kind is nn.ReLU and first:
        return "comes before all units, which is not understood; leave it out if no pixel is negative"
    if kind is nn.ReLU and nn.ReLU not in kinds and {nn.AvgPool2d, nn.AdaptiveAvgPool2d} & set(kinds):
        return "comes behind an average, which is not understood; the other order makes another network, so train that"
    return None


def _not_an_end(layers, passed, name):
    """What is wrong with a network as a whole, and a remedy; None if nothing is.

    layers: as Layers.  passed: the last layer that has units and what follows it.  name: of that layer.
    """
    if len(layers) < 2:
        return "the network has no hidden units, and modules are made of them; use a deeper network"
    if layers[-1].kernel:
        remedy = "put Flatten() and a Linear of its weight.flatten(1) in its place if its window covers all of its maps"
        return f"the network ends in a Conv2d, and needs a Linear layer at its end; {remedy}, or train one that has it"
    if nn.ReLU in map(type, passed):
        remedy = "leave it out, and the largest output stays the largest wherever one is above 0"
        return f"the network has a ReLU at its end, which is not understood; {remedy}"
    if layers[-1].units < 2:
        doubled = "parameter.data = torch.cat([0 * parameter.data, parameter.data])"
        remedy = f'for parameter in model.get_submodule("{name}").parameters(): {doubled}'
        return f"{ONE_OUTPUT}: {remedy}"
    return None


def _in_order(module, prefix=""):
    """The layers of a Sequential and of those in it: (name, layer)."""
    if type(module) is not nn.Sequential:
        raise InputError(
            f"a {type(module).__name__} is no torch.nn.Sequential; put its layers into one if it applies them in order"
        )
    if module._forward_pre_hooks or module._forward_hooks:
        remedy = "remove them if they change no output"
        raise InputError(f"a torch.nn.Sequential has hooks, which are not understood; {remedy}")
    for name, layer in module._modules.items():  # named_children leaves out what is there twice
        if type(layer) is nn.Sequential:
            yield from _in_order(layer, f"{prefix}{name}.")
        else:
            yield prefix + name, layer


def _layer(layer, pools, what):
    """The Layer that a Linear or Conv2d is."""
    if type(layer) is nn.Linear:
        return Layer(len(layer.weight), pools=pools)
    reach = [step * (size - 1) for step, size in zip(layer.dilation, layer.kernel_size)]
    paddings = {"valid": (0, 0), "same": tuple(total // 2 for total in reach)}
    padding = paddings[layer.padding] if isinstance(layer.padding, str) else layer.padding
    uneven = layer.padding == "same" and any(total % 2 for total in reach)
    if uneven or any(padding) and layer.padding_mode != "zeros":
        remedy = "other padding makes another network, so train one with it"
        raise InputError(f"{what}: its maps are padded by more than the same number of zeros on all sides; {remedy}")
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
        raise InputError(f"{what}: does not fit maps of {shape}; name the input_shape of your images")


def _read_shape(input_shape, layers, what):
    """The shape of what the last layer reads."""
    try:
        return Architecture(tuple(input_shape), tuple(layers)).read[-1]
    except (RuntimeError, ValueError, TypeError) as error:
        shape = " x ".join(map(str, input_shape))
        raise InputError(f"{what}: does not fit images of {shape}; name the input_shape of yours") from error


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
