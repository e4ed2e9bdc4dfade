"""The checkpoint: a file that keeps networks and what is known about them."""

import io
import json
import warnings
import zipfile
from pathlib import Path

import torch
from torch import nn

from mlp import InputError
from mlp.architecture import dense, from_description
from mlp.files import replacing, strict_json
from mlp.model import Model
from mlp.refusals import STATE_DICTS, no_state_dict, one_line, one_output, part_of_no_mlp, permanent_weights
from mlp.refusals import refused_file


def save_checkpoint(path, models, **about):
    """Save one network, or a list of them, and what is worth knowing `about` it (JSON values: digits, seed ...).

    models: MLPs, or their state dicts.  The file appears whole or, if it cannot be written, not at all: an InputError.
    """
    models = [models] if isinstance(models, nn.Module) else models
    states = [model.state_dict() if isinstance(model, nn.Module) else model for model in models]
    states = [{name: tensor.detach().cpu() for name, tensor in state.items()} for state in states]
    with replacing(path) as temporary:
        torch.save({"networks": states, "about": strict_json(about)}, temporary)


def load_checkpoint(path):
    """Load the one network of a checkpoint: (model, about).  As `load_networks`, but several networks are refused."""
    models, about = load_networks(path)
    if len(models) > 1:
        raise InputError(f"{path}: holds {len(models)} networks; load them with load_networks")
    return models[0], about


def load_networks(path):
    """Load networks saved by `save_checkpoint`, or the plain state dict of an MLP, or a list of such.

    A state dict may be one entry among others of a training program's checkpoint, under one of STATE_DICTS.

    Where `about` has an architecture, the states are those of a Model of it.  Else the layers of a state dict are its
    2-D tensors named `...weight`, in order, each with the `...bias` of the same prefix, or with none.  Numbers become
    float32.
    Returns (models of the same architecture, about), on the CPU; `about` is {} for plain state dicts.  Raises
    InputError if the file is missing, damaged, holds code, or describes no finite networks of one shape.
    """
    content = _read(path)
    about, architecture = {}, None
    if isinstance(content, dict) and set(content) == {"networks", "about"}:
        try:
            content, about = content["networks"], dict(json.loads(content["about"], parse_constant=lambda _: None))
            if "architecture" in about:
                architecture = from_description(about["architecture"])
        except (TypeError, ValueError, RecursionError) as error:
            remedy = "save it again, or train one with: python train.py"
            raise InputError(f"{path}: the checkpoint is damaged; {remedy}") from error
    states = content if isinstance(content, list) and content else [content]
    models = []
    for k, state in enumerate(map(_unwrapped, states)):
        try:
            models.append(_model(architecture, state) if architecture else _multilayer_perceptron(state))
        except InputError as error:
            where = f"{path}: network {k}" if len(states) > 1 else path
            raise InputError(f"{where}: {one_line(str(error))}") from None
        if models[k].architecture != models[0].architecture:
            shapes = f"{models[0].sizes} and {models[k].sizes}; save those of one shape together"
            raise InputError(f"{path}: networks 0 and {k} have different shapes, {shapes}")
    return models, about


def _model(architecture, state):
    """The Model of an architecture with these parameters, by the names that it gives them."""
    _refuse_others(state)
    with torch.device("meta"):  # no initialisation that the next lines would overwrite
        model = Model(architecture)
    wanted, found = ({name: tuple(tensor.shape) for name, tensor in own.items()} for own in (model.state_dict(), state))
    if wanted != found:
        raise InputError("its weights are not those of its architecture; save it again")
    for name, tensor in state.items():
        _refuse_unusable(name, tensor)
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return model


def _read(path):
    """The objects in a .pt file, without running any code it may hold."""
    try:
        content = io.BytesIO(Path(path).read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: no such checkpoint; train one with: python train.py") from None
    except OSError as error:
        raise InputError(f"{path}: the checkpoint cannot be read ({error.strerror}); name another file") from error
    try:
        # torch does not verify the checksums of the archive, and a flipped bit in a weight would pass unnoticed
        if zipfile.is_zipfile(content) and zipfile.ZipFile(content).testzip():
            raise ValueError("wrong checksum")
        content.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle protocol; what matters is refused below
            return torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler raise almost anything
        raise InputError(f"{path}: {refused_file(path, content)}") from error


def _unwrapped(content):
    """The state dict among what a training program has saved; the content as it is where there is none."""
    entries = content if isinstance(content, dict) else {}
    for name in STATE_DICTS:
        if entries.get(name) and _is_state_dict(entries[name]):
            return entries[name]
    return content


def _is_state_dict(content):
    return isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in content.items()
    )


def _multilayer_perceptron(state):
    """The MLP whose Linear layers are those of a state dict, or of the average that AveragedModel keeps."""
    _refuse_others(state)
    saved = {name: tensor for name, tensor in state.items() if not _counts_averages(name, tensor)}
    state = _pruned(saved)
    computed = permanent_weights(state)
    if computed:
        raise InputError(computed)
    names = [name for name, tensor in state.items() if name.endswith("weight") and tensor.ndim == 2]
    bias_names = [name.removesuffix("weight") + "bias" for name in names]
    strange = [name for name in state if name not in names + bias_names]
    if strange:
        raise InputError(part_of_no_mlp(state, strange))
    for name, tensor in state.items():
        _refuse_unusable(name, tensor)
    if len(names) < 2:
        raise InputError("has no hidden layer, and modules are made of hidden neurons; use a deeper network")

    weights = [state[name].float() for name in names]
    biases = [state[name].float() if name in state else torch.zeros(len(w)) for name, w in zip(bias_names, weights)]
    inputs = weights[0].shape[1]
    for name, weight, bias in zip(names, weights, biases):
        if 0 in weight.shape or weight.shape[1] != inputs or bias.shape != weight.shape[:1]:
            shapes = f"{list(weight.shape)} with bias {list(bias.shape)}"
            remedy = "save only layers each of which reads the one before it"
            raise InputError(f"{name} {shapes} does not fit {inputs} neurons before it; {remedy}")
        inputs = len(weight)
    if inputs == 1:
        raise InputError(one_output([name for name in saved if name.startswith(names[-1].removesuffix("weight"))]))
    parameters = [parameter for layer in zip(weights, biases) for parameter in layer]
    architecture = dense([weights[0].shape[1], *map(len, weights)])
    names = (f"layers.{layer}.{kind}" for layer in range(len(weights)) for kind in ("weight", "bias"))
    return _model(architecture, dict(zip(names, parameters)))


def _counts_averages(name, tensor):
    """Whether this is the counter of torch.optim.swa_utils.AveragedModel, which is no parameter."""
    return name.rpartition(".")[2] == "n_averaged" and tensor.numel() == 1


def _pruned(state):
    """The state dict with the weights that torch.nn.utils.prune makes in each pass.

    weight = weight_orig * weight_mask
    """
    weights = {}
    for name, tensor in state.items():
        pruned = name.removesuffix("_orig").removesuffix("_mask")
        kept = [state.get(pruned + ending) for ending in ("_orig", "_mask")]
        if pruned == name or not all(map(_is_ordinary, kept)) or kept[0].shape != kept[1].shape:
            weights[name] = tensor
        else:
            weights[pruned] = kept[0] * kept[1]
    return weights


def _refuse_others(state):
    """Raise InputError unless this is a state dict."""
    if not _is_state_dict(state):
        raise InputError(no_state_dict(state))


def _is_ordinary(tensor):
    return tensor is not None and tensor.is_floating_point() and tensor.layout == torch.strided


def _refuse_unusable(name, tensor):
    """Raise InputError unless a tensor holds ordinary numbers."""
    if tensor.is_meta:
        raise InputError(f"{name} has a shape but no numbers (it is on the device meta); save the trained network")
    if not _is_ordinary(tensor):
        raise InputError(f"{name} holds no ordinary floating-point numbers; save it as a dense tensor of float32")
    if not tensor.float().isfinite().all():
        raise InputError(f"{name} holds NaN or infinite values; train the network again with a smaller learning rate")
