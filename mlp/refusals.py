"""Sentences about files and networks that cannot be read: the cause, and a remedy that works.

Code in a sentence runs as it is written, where `model` is the network of the person who reads it, and the libraries
are imported that the code names.
"""

import zipfile

import torch

SAVE_STATE = 'torch.save(model.state_dict(), "mine.pt")'
STATE_DICTS = "state_dict", "model_state_dict", "model"
"""The names under which training programs keep the state dict of a network among other things."""
COMPUTED = {
    "_mask": ("_orig", "torch.nn.utils.prune.remove"),
    "_g": ("_v", "torch.nn.utils.remove_weight_norm"),
    "_u": ("_orig", "torch.nn.utils.remove_spectral_norm"),
}
"""How the names of tensors end from which torch computes a weight in each pass: the one, the other, and what makes the
weight an ordinary one again."""
ONE_OUTPUT = (
    "networks of one output are not understood; save it with two, 0 and its own, which have the probabilities of its"
    " sigmoid, and name them with --classes 0,1"
)


# Files


def refused_file(path, content):
    """The sentence about a file that torch.load refuses.

    content: its bytes, as a BytesIO.  Nothing in it is run: formats are told by their first bytes, or by the names in
    their archive.
    """
    start, length = content.getvalue()[:9], len(content.getvalue())
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") < length:
        # not torch.save(load_file(...)): the file keeps tensors by name, not in the order of the layers
        load = f"model.load_state_dict(safetensors.torch.load_file({str(path)!r}))"
        return f"is a safetensors file; load it into your network and save that: {load}; {SAVE_STATE}"
    names = _archived(content)
    if names and all(name.endswith(".npy") for name in names):
        arrays = f"arrays = numpy.load({str(path)!r})"
        return f"is a file of numpy arrays; save it as tensors: {arrays}; {_saved_arrays()}"
    if any(name.endswith("/constants.pkl") for name in names):
        state = f"torch.jit.load({str(path)!r}).state_dict()"
        return f'is a TorchScript archive, which holds code; save its weights alone: torch.save({state}, "mine.pt")'
    classes = _pickled_classes(content)
    if any(name.startswith("torch.nn.modules.") for name in classes):
        return f"holds a whole network as pickled code, which is never run; save its state dict alone: {SAVE_STATE}"
    if any(name.endswith("_reconstruct") for name in classes):
        return f"holds numpy arrays; save them as tensors, where arrays is their dict: {_saved_arrays()}"
    if classes:
        named = ", ".join(map(ascii, classes[:3]))  # ascii: a name in a file can hold anything
        return f"holds {named} as pickled code, which is never run; save the state dict alone: {SAVE_STATE}"
    refused = "no checkpoint, a damaged one, or one with pickled code, which is never run"
    return f"{refused}; train one with: python train.py, or save yours with: {SAVE_STATE}"


def _saved_arrays():
    return 'torch.save({name: torch.tensor(array) for name, array in arrays.items()}, "mine.pt")'


def _archived(content):
    """The names of the files in a zip archive; none if it is no archive, or a damaged one."""
    try:
        return zipfile.ZipFile(content).namelist()
    except Exception:  # damaged bytes make it raise almost anything
        return []


def _pickled_classes(content):
    """The names of the classes and functions in a file of torch.save that torch.load does not trust, without a call."""
    try:
        content.seek(0)
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(content))
    except Exception:  # of a damaged file, or one in the format of torch before 1.6
        return []


def one_line(said):
    """A sentence whose names come from a file, with escapes for all that would break its line."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in said)


# State dicts


def no_state_dict(state):
    """The sentence about an object that is no state dict."""
    if isinstance(state, torch.Tensor):
        return f"holds a tensor without a name, as in a list of parameters; save the state dict: {SAVE_STATE}"
    if isinstance(state, dict) and state:
        found = ", ".join(ascii(name) for name in list(state)[:5])
        return f"holds {found} and no state dict under {', '.join(STATE_DICTS)}; save the network alone: {SAVE_STATE}"
    return f"holds no state dict; save the network with: {SAVE_STATE}"


def permanent_weights(state):
    """The sentence about weights that a network computes from other tensors in each pass, or None if there are none.

    state: a state dict.  Removed are those of one kind, by one line of code; those of another are named the next time.
    """
    layers = {}
    for key in state:
        layer, weight, function = _computed(key, state)
        if function:
            layers.setdefault((function, weight), {}).setdefault(layer, key)
    for (function, weight), keys in layers.items():
        line = f'for name in {list(keys)}: {function}(model.eval().get_submodule(name), "{weight}")'
        cause = f"its weights are computed anew in each pass ({next(iter(keys.values()))})"
        return f"{cause}; make them permanent and save it again: {line}"
    return None


def _computed(key, state):
    """The layer and the name of the weight that torch computes from this tensor, and the function that ends it."""
    if "parametrizations." in key:
        layer, _, rest = key.partition("parametrizations.")
        return layer.removesuffix("."), rest.split(".")[0], "torch.nn.utils.parametrize.remove_parametrizations"
    for ending, (other, function) in COMPUTED.items():
        if key.endswith(ending) and key.removesuffix(ending) + other in state:
            layer, _, weight = key.removesuffix(ending).rpartition(".")
            return layer, weight, function
    return None, None, None


def part_of_no_mlp(state, strange):
    """The sentence about tensors that no stack of Linear layers has.

    state: the state dict.  strange: the names of these tensors in it, at least one.
    """
    matrices = [tensor for name, tensor in state.items() if name.endswith("weight") and tensor.ndim == 2]
    inputs = matrices[0].shape[1] if matrices else 784
    convolutions = [name for name in strange if name.endswith("weight") and state[name].ndim == 4]
    shape = "(channels, height, width)" if convolutions else f"({inputs},)"
    save = f'from mlp.sequential import save_network; save_network("mine.pt", model, input_shape={shape})'
    for name in convolutions:
        where = "a state dict does not say how its maps are read"
        return f"{_shaped(name, state)} is a convolution, and {where}; save the network, as a Sequential, with: {save}"
    for name in strange:
        if name.endswith("running_mean"):
            where = "a state dict does not say where it is"
            return f"{name} is of batch normalisation, and {where}; save the network, as a Sequential, with: {save}"
    for name in strange:
        if name.endswith("weight") and state[name].ndim == 1:
            kind = "of a normalisation such as LayerNorm, or of another layer that is not understood"
            return f"{_shaped(name, state)} is {kind}; train a network without it"
    without = "{name: tensor for name, tensor in model.state_dict().items() if name not in " + f"{strange}}}"
    save = f'torch.save({without}, "mine.pt")'
    mean, deviation = _mean_and_deviation(state, strange)
    if mean:
        pairs = zip(state[mean].flatten().tolist(), state[deviation].flatten().tolist())
        option = "--normalise " + ",".join(f"{one:.6g}/{other:.6g}" for one, other in pairs)
        cause = f"{mean} and {deviation} are of a network that normalises its images"
        return f"{cause}; save it without them, and give the scripts {option}: {save}"
    cause = f"{_shaped(strange[0], state)} is no part of a stack of Linear layers"
    if len(strange) > 4:
        return f"{cause}, nor are {len(strange) - 1} more; networks with other layers are not understood as state dicts"
    return f"{cause}, and networks with it are not understood; if it changes no output, save yours without it: {save}"


def _shaped(name, state):
    return f"{name} {list(state[name].shape)}"


def _mean_and_deviation(state, names):
    """The names of the mean and the standard deviation of all channels, or of each, or (None, None)."""
    floats = [name for name in names if state[name].is_floating_point() and not state[name].is_meta]
    small = [name for name in floats if state[name].numel() <= 4]
    means = [name for name in small if name.rpartition(".")[2] in ("mean", "mu")]
    deviations = [name for name in small if name.rpartition(".")[2] in ("std", "sd", "sigma")]
    if means and deviations and state[means[0]].numel() == state[deviations[0]].numel():
        return means[0], deviations[0]
    return None, None


def one_output(names):
    """The sentence about a state dict of a network of one output.

    names: of all tensors of its last layer.
    """
    doubled = f"state |= {{name: torch.cat([0 * state[name], state[name]]) for name in {names}}}"
    save = f'state = model.state_dict(); {doubled}; torch.save(state, "mine.pt")'
    return f"{ONE_OUTPUT}: {save}"
