import argparse
import json
import math
import os
import pickle
import struct
import types

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, prune

from mlp import InputError
from mlp.checkpoint import load_checkpoint, load_networks, save_checkpoint
from mlp.model import initial_model, stacked


def equal(model, other):
    pairs = zip([*model.weights, *model.biases], [*other.weights, *other.biases], strict=True)
    return all(torch.equal(one, two) for one, two in pairs)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint of a network small enough to damage in many ways: (path, model, its bytes)."""
    path = tmp_path_factory.mktemp("checkpoints") / "network.pt"
    model = initial_model((784, 1, 2), seed=3)
    save_checkpoint(path, model, classes=(3, 5), seed=3)
    return path, model, path.read_bytes()


def test_a_checkpoint_gives_back_what_was_saved(saved):
    path, model, _ = saved
    loaded, about = load_checkpoint(path)
    assert equal(loaded, model)
    assert loaded.sizes == (784, 1, 2)
    assert about == {"classes": [3, 5], "seed": 3}


def test_many_networks_are_kept_together(tmp_path):
    models = [initial_model((784, 3, 2), seed) for seed in range(4)]
    save_checkpoint(tmp_path / "networks.pt", models, seed=0)
    loaded, about = load_networks(tmp_path / "networks.pt")
    assert about == {"seed": 0}
    assert all(equal(*pair) for pair in zip(loaded, models, strict=True))
    weights, biases = stacked(loaded)
    assert [tuple(weight.shape) for weight in weights] == [(4, 3, 784), (4, 2, 3)]
    assert torch.equal(biases[1][2], models[2].biases[1])
    with pytest.raises(InputError, match="holds 4 networks"):
        load_checkpoint(tmp_path / "networks.pt")


def test_a_list_of_plain_state_dicts_is_understood(tmp_path):
    models = [initial_model((784, 3, 2), seed) for seed in range(2)]
    torch.save([model.state_dict() for model in models], tmp_path / "mine.pt")
    loaded, about = load_networks(tmp_path / "mine.pt")
    assert about == {}
    assert all(equal(*pair) for pair in zip(loaded, models, strict=True))


def test_networks_of_different_shapes_are_refused(tmp_path):
    save_checkpoint(tmp_path / "networks.pt", [initial_model((784, width, 2), 0) for width in (3, 3, 4)])
    with pytest.raises(InputError, match="networks 0 and 2 have different shapes"):
        load_networks(tmp_path / "networks.pt")


def test_the_network_at_fault_is_named(tmp_path):
    models = [initial_model((784, 3, 2), seed) for seed in range(2)]
    with torch.no_grad():
        models[1].weights[0][0, 0] = float("nan")
    save_checkpoint(tmp_path / "networks.pt", models)
    with pytest.raises(InputError, match="networks.pt: network 1: layers.0.weight holds NaN"):
        load_networks(tmp_path / "networks.pt")


@given(st.data())
def test_a_damaged_checkpoint_is_refused_or_harmless(saved, tmp_path_factory, data):
    _, model, content = saved
    damaged = bytearray(content)
    if data.draw(st.booleans(), label="truncate"):
        del damaged[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
            damaged[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    path.write_bytes(damaged)
    try:
        loaded, about = load_checkpoint(path)
    except InputError as error:
        assert str(path) in str(error)
    else:  # the bytes that were hit carry no number
        assert equal(loaded, model)
        assert about == {"classes": [3, 5], "seed": 3}


class Malicious:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return os.unlink, (self.victim,)


@pytest.mark.parametrize("pack", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))])
def test_code_in_a_checkpoint_is_never_run(tmp_path, pack):
    victim = tmp_path / "victim"
    victim.touch()
    pack({"0.weight": Malicious(str(victim))}, tmp_path / "evil.pt")
    with pytest.raises(InputError, match="pickled code"):
        load_checkpoint(tmp_path / "evil.pt")
    assert victim.exists()


def test_a_plain_state_dict_is_understood(tmp_path):
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 5), nn.ReLU(), nn.Linear(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 2)
    )
    torch.save(network.double().state_dict(), tmp_path / "mine.pth")
    model, about = load_checkpoint(tmp_path / "mine.pth")
    images = torch.rand(6, 1, 28, 28)
    assert about == {}
    assert model.sizes == (784, 5, 4, 2)
    assert torch.equal(model.biases[1], torch.zeros(4))
    torch.testing.assert_close(model(images.flatten(1)), network.float()(images))


def test_an_mlp_may_read_anything(tmp_path):
    network = nn.Sequential(nn.Linear(100, 5), nn.ReLU(), nn.Linear(5, 2))
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    model, _ = load_checkpoint(tmp_path / "mine.pth")
    images = torch.rand(6, 100)
    assert model.sizes == (100, 5, 2)
    torch.testing.assert_close(model(images), network(images))


def linear(*shapes, **others):
    state = {f"{layer}.weight": torch.ones(shape) for layer, shape in enumerate(shapes)}
    return state | others


REFUSED = {
    "layers do not fit each other": (linear((5, 784), (2, 4)), r"1.weight \[2, 4\]"),
    "bias does not fit": (linear((5, 784), (2, 5), **{"0.bias": torch.ones(4)}), r"bias \[4\]"),
    "NaN": (linear((5, 784), **{"1.weight": torch.full((2, 5), float("nan"))}), "1.weight holds NaN"),
    "infinite": (
        linear((5, 784), (2, 5), **{"1.bias": torch.tensor([1, float("inf")])}),
        "1.bias holds NaN or infinite",
    ),
    "too large for float32": (
        linear((5, 784), **{"1.weight": torch.full((2, 5), 1e300, dtype=torch.float64)}),
        "infinite",
    ),
    "whole numbers": (linear((5, 784), **{"1.weight": torch.ones(2, 5, dtype=torch.int64)}), "float"),
    "a convolution": ({"conv.weight": torch.ones(4, 1, 3, 3), **linear((5, 784), (2, 5))}, "conv.weight"),
    "a normalisation": (linear((5, 784), (2, 5), **{"norm.weight": torch.ones(5)}), "norm.weight"),
    "no hidden layer": (linear((10, 784)), "hidden"),
    "a layer without neurons": (linear((0, 784), (2, 0)), "0.weight"),
    "no layers": ({}, "hidden"),
    "a list": ([torch.ones(5, 784)], "state dict"),
    "numbers": ({"weight": 3.0}, "state dict"),
}


@pytest.mark.parametrize("state, sentence", REFUSED.values(), ids=REFUSED)
def test_what_is_no_mlp_is_refused(tmp_path, state, sentence):
    path = tmp_path / "strange.pt"
    torch.save(state, path)
    with pytest.raises(InputError, match=sentence) as refusal:
        load_checkpoint(path)
    assert str(refusal.value).startswith(f"{path}: ")


def test_a_whole_pickled_model_is_refused(tmp_path):
    torch.save(nn.Linear(784, 2), tmp_path / "model.pt")
    with pytest.raises(InputError, match="state_dict"):
        load_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(InputError, match="no checkpoint"):
        load_checkpoint(tmp_path / "file.pt")


def test_a_missing_checkpoint_says_how_to_get_one(tmp_path):
    with pytest.raises(InputError, match="python train.py"):
        load_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("about", ["{", "3", "null", "[1]"])
def test_a_checkpoint_about_nothing_is_refused(tmp_path, about):
    torch.save({"networks": [initial_model((784, 2, 2), 0).state_dict()], "about": about}, tmp_path / "network.pt")
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(tmp_path / "network.pt")


def test_a_failed_save_leaves_the_old_checkpoint_whole(saved, monkeypatch):
    path, model, content = saved

    def full_disk(_, target):
        target.write_bytes(b"half")
        raise RuntimeError("unexpected pos")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(InputError, match="cannot be written"):
        save_checkpoint(path, model)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_what_is_not_defined_in_a_checkpoint_is_none(tmp_path):
    """Checkpoints are strict JSON now; those of earlier versions may hold NaN."""
    model = initial_model((784, 3, 2), 0)
    about = {"classes": [3, 5], "networks": [{"seed": math.nan, "lr": 0.1}]}
    save_checkpoint(tmp_path / "new.pt", model, **about)
    torch.save({"networks": [model.state_dict()], "about": json.dumps(about)}, tmp_path / "old.pt")
    for name in ("new.pt", "old.pt"):
        assert load_checkpoint(tmp_path / name)[1] == about | {"networks": [{"seed": None, "lr": 0.1}]}


# Files of other programs: they are read, or named, with a remedy that works


def trained(*layers, outputs=3):
    torch.manual_seed(1)
    first = nn.Linear(784, 6), *layers, nn.ReLU(), nn.Linear(6, 5)
    return nn.Sequential(*first, nn.ReLU(), nn.Linear(5, outputs)).eval()


def assert_computes(path, model, images=None):
    """That the network of a file computes what a model does, which may be of images made from those of the file."""
    loaded, _ = load_checkpoint(path)
    images = torch.rand(9, 784, generator=torch.Generator().manual_seed(0)) if images is None else images
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), model.eval()(images), rtol=1e-5, atol=1e-6)


def pruned(model):
    """A network that torch.nn.utils.prune prunes in each pass, biases too."""
    for layer in (model[0], model[4]):
        prune.l1_unstructured(layer, "weight", 0.5)
    prune.random_unstructured(model[2], "bias", 2)
    return model


def averaged(model):
    """The average of two networks."""
    average = torch.optim.swa_utils.AveragedModel(model)
    for factor in (1, 3):
        with torch.no_grad():
            model[0].weight.mul_(factor)
        average.update_parameters(model)
    assert not torch.equal(average.module[0].weight, model[0].weight)
    return average


def prefixed(prefix, model):
    return {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}


def among_others(name, prefix=""):
    return lambda model: {"epoch": 3, name: prefixed(prefix, model), "optimizer": {"state": {}}, "lr": [0.1]}


UNDERSTOOD = {
    "pruned": lambda model: pruned(model).state_dict(),
    "averaged": lambda model: averaged(model).state_dict(),
    "state_dict": among_others("state_dict"),
    "model_state_dict": among_others("model_state_dict"),
    "model": among_others("model"),
    "Lightning": among_others("state_dict", "model."),
    "DataParallel": lambda model: prefixed("module.", model),
    "compiled": lambda model: prefixed("module._orig_mod.", model),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_what_training_programs_save_is_read(tmp_path, name):
    model = trained()
    torch.save(UNDERSTOOD[name](model), tmp_path / "theirs.pt")
    expected = averaged(trained()).module if name == "averaged" else model
    assert_computes(tmp_path / "theirs.pt", expected)


def test_a_list_of_checkpoints_of_training_programs_is_read(tmp_path):
    torch.save([{"epoch": 3, "state_dict": trained().state_dict()}] * 2, tmp_path / "theirs.pt")
    assert len(load_networks(tmp_path / "theirs.pt")[0]) == 2


def save_safetensors(model, path):
    """In the format of safetensors: the length of a header, the header, and the numbers, sorted by name."""
    header, numbers = {}, b""
    for name, tensor in sorted(model.state_dict().items()):
        content = tensor.numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(numbers), len(content)]}
        numbers += content
    words = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(words)) + words + numbers)


def save_script(model, path):
    torch.jit.trace(model, torch.zeros(1, 784)).save(str(path))


def arrays_of(model):
    return {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}


class Normalising(nn.Module):
    """Normalises its images by buffers."""

    def __init__(self, model):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.1307]))
        self.register_buffer("std", torch.tensor([0.3081]))
        self.layers = model

    def forward(self, images):
        return self.layers((images - self.mean) / self.std)


class Counting(nn.Module):
    """Has a tensor that changes no output."""

    def __init__(self, model):
        super().__init__()
        self.register_buffer("steps", torch.tensor(3))
        self.layers = model

    def forward(self, images):
        return self.layers(images)


def layerwise(function):
    """A function of a network that does something to the weights of its first and its last layer."""

    def change(model):
        for layer in (model[0], model[4]):
            function(layer)
        return model

    return change


def state_of(change=lambda model: model):
    """A way to save the state dict of a network after a change."""

    def save(model, path):
        torch.save(change(model).state_dict(), path)

    return save


def the_same(model):
    return model


SAVE_STATE = 'torch.save(model.state_dict(), "mine.pt")'
PERMANENT = "for name in ['0', '4']: torch.nn.utils."
REMEDIES = {
    "safetensors": (the_same, save_safetensors, "is a safetensors file", "model.load_state_dict("),
    "TorchScript": (the_same, save_script, "is a TorchScript archive", "torch.save(torch.jit.load("),
    "npz": (the_same, lambda model, path: numpy.savez(path.open("wb"), **arrays_of(model)), "numpy arrays", "arrays ="),
    "arrays": (the_same, lambda model, path: torch.save(arrays_of(model), path), "holds numpy arrays", "torch.save({"),
    "a whole network": (the_same, torch.save, "holds a whole network as pickled code", SAVE_STATE),
    "a Namespace": (
        the_same,
        lambda model, path: torch.save({"state_dict": model.state_dict(), "args": argparse.Namespace()}, path),
        "holds 'argparse.Namespace' as pickled code, which is never run; save the state dict alone",
        SAVE_STATE,
    ),
    "a number of numpy": (
        the_same,
        lambda model, path: torch.save({"state_dict": model.state_dict(), "accuracy": numpy.float64(1)}, path),
        "as pickled code, which is never run; save the state dict alone",
        SAVE_STATE,
    ),
    "parameters": (
        the_same,
        lambda model, path: torch.save([parameter.detach() for parameter in model.parameters()], path),
        "holds a tensor without a name, as in a list of parameters",
        SAVE_STATE,
    ),
    "another name": (
        the_same,
        lambda model, path: torch.save({"epoch": 3, "net": model.state_dict()}, path),
        "holds 'epoch', 'net' and no state dict under state_dict, model_state_dict, model",
        SAVE_STATE,
    ),
    "weight_norm": (
        layerwise(parametrizations.weight_norm),
        state_of(),
        "its weights are computed anew in each pass (0.parametrizations.weight.original0)",
        f"{PERMANENT}parametrize.remove_parametrizations(",
    ),
    "old weight_norm": (
        layerwise(lambda layer: torch.nn.utils.weight_norm(layer)),
        state_of(),
        "its weights are computed anew in each pass (0.weight_g)",
        f"{PERMANENT}remove_weight_norm(",
    ),
    "spectral_norm": (
        layerwise(parametrizations.spectral_norm),
        state_of(),
        "its weights are computed anew in each pass (0.parametrizations.weight.",
        f"{PERMANENT}parametrize.remove_parametrizations(",
    ),
    "old spectral_norm": (
        layerwise(lambda layer: torch.nn.utils.spectral_norm(layer)),
        state_of(),
        "its weights are computed anew in each pass (0.weight_u)",
        f"{PERMANENT}remove_spectral_norm(",
    ),
    "a counter": (
        Counting,
        state_of(),
        "steps [] is no part of a stack of Linear layers, and networks with it are not understood; if it changes no",
        "torch.save({name: tensor",
    ),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", REMEDIES)
def test_the_remedy_for_files_of_other_programs_works(tmp_path, monkeypatch, name):
    change, save, words, start = REMEDIES[name]
    model = change(trained())
    model(torch.rand(3, 784))  # which makes the weights of old weight_norm
    save(model, tmp_path / "theirs.pt")
    monkeypatch.chdir(tmp_path)
    said = refusal_of("theirs.pt")
    assert words in said
    run(code_in(said, start), model)
    if not (tmp_path / "mine.pt").exists():
        torch.save(model.state_dict(), "mine.pt")
    assert_computes("mine.pt", model)


def refusal_of(path):
    with pytest.raises(InputError) as refusal:
        load_checkpoint(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert len(str(refusal.value).splitlines()) == 1
    return str(refusal.value)


def code_in(said, start):
    """The code at the end of a sentence, which begins with these words."""
    return said[said.index(start) :]


def run(code, model):
    """Run the code of a remedy, as a person would who has this model; safetensors is no dependency."""
    read = {"safetensors": types.SimpleNamespace(torch=types.SimpleNamespace(load_file=lambda _: model.state_dict()))}
    exec(code, {"torch": torch, "numpy": numpy, "model": model, "arrays": arrays_of(model), **read})


def test_the_remedy_for_a_network_that_normalises_its_images_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = Normalising(trained())
    torch.save(model.state_dict(), "theirs.pt")
    said = refusal_of("theirs.pt")
    assert "mean and std are of a network that normalises its images; save it without them" in said
    assert "give the scripts --normalise 0.1307/0.3081" in said
    run(code_in(said, "torch.save({"), model)
    images = torch.rand(9, 784)
    with torch.no_grad():
        torch.testing.assert_close(load_checkpoint("mine.pt")[0]((images - 0.1307) / 0.3081), model(images))


def test_the_remedy_for_batch_normalisation_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = trained(nn.BatchNorm1d(6)).train()
    model(torch.rand(9, 784))
    torch.save(model.state_dict(), "theirs.pt")
    said = refusal_of("theirs.pt")
    assert "1.running_mean is of batch normalisation, and a state dict does not say where it is" in said
    run(code_in(said, "from mlp.sequential import"), model)
    assert_computes("mine.pt", model)


def test_layer_normalisation_is_named(tmp_path):
    torch.save(trained(nn.LayerNorm(6)).state_dict(), tmp_path / "theirs.pt")
    said = refusal_of(tmp_path / "theirs.pt")
    assert "1.weight [6] is of a normalisation such as LayerNorm" in said
    assert said.endswith("; train a network without it")


def test_the_remedy_for_a_convolution_names_the_shape_of_images(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 3))
    torch.save(model.state_dict(), tmp_path / "theirs.pt")
    said = refusal_of(tmp_path / "theirs.pt")
    assert "0.weight [3, 1, 3, 3] is a convolution" in said
    assert said.endswith('save_network("mine.pt", model, input_shape=(channels, height, width))')


@pytest.mark.parametrize("change", [the_same, pruned])
@pytest.mark.parametrize("bias", [True, False])
def test_the_remedy_for_one_output_works(tmp_path, monkeypatch, change, bias):
    """Two outputs, 0 and its own, have the probabilities of the sigmoid of one output."""
    monkeypatch.chdir(tmp_path)
    model = trained(outputs=1)
    if not bias:
        model[4].bias = None
    change(model)
    torch.save(model.state_dict(), "theirs.pt")
    said = refusal_of("theirs.pt")
    assert said.startswith("theirs.pt: networks of one output are not understood; save it with two")
    run(code_in(said, "state = model"), model)
    loaded, _ = load_checkpoint("mine.pt")
    images = torch.rand(9, 784)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images).softmax(1)[:, 1:], model(images).sigmoid())


def test_masks_that_do_not_fit_are_refused(tmp_path):
    model = pruned(trained())
    state = model.state_dict() | {"0.weight_mask": torch.ones(6)}
    torch.save(state, tmp_path / "theirs.pt")
    assert "for name in ['0']: torch.nn.utils.prune.remove(" in refusal_of(tmp_path / "theirs.pt")


@pytest.mark.parametrize("name", ["a\nb.weight", "a\r\x1b[2Jb.bias", "a\u2028b.running_mean", "a\nb.weight_g"])
def test_names_in_a_file_do_not_break_the_sentence(tmp_path, name):
    state = linear((5, 784), (2, 5)) | {name: torch.ones(3), "a\nb.weight_v": torch.ones(3)}
    torch.save(state, tmp_path / "theirs.pt")
    assert refusal_of(tmp_path / "theirs.pt").isprintable()


@pytest.mark.parametrize(
    "state, sentence",
    [
        (linear((5, 784), (2, 5)) | {str(place): torch.ones(1) for place in range(9)}, "nor are 8 more; networks with"),
        (linear((5, 784), (2, 5)) | {"mean": torch.ones(784), "std": torch.ones(784)}, "no part of a stack of Linear"),
        (linear((5, 784), (2, 5)) | {"mean": torch.ones(2), "std": torch.ones(2)}, "--normalise 1/1,1/1"),
        (linear((5, 784), (2, 5)) | {"mean": torch.ones(1, device="meta"), "std": torch.ones(1)}, "no part of a stack"),
        ({3: torch.ones(2, 2)}, "holds 3 and no state dict under state_dict, model_state_dict, model"),
        ({"state_dict": {}}, "holds 'state_dict' and no state dict"),
        ({"state_dict": {"0.weight": 3}}, "holds 'state_dict' and no state dict"),
        ("weights", "holds no state dict"),
    ],
)
def test_what_else_is_found_is_named(tmp_path, state, sentence):
    torch.save(state, tmp_path / "theirs.pt")
    assert sentence in refusal_of(tmp_path / "theirs.pt")
