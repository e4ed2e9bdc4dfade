import json
import math
import os
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

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
