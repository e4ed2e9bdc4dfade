import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from conftest import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st

from mlp.data import DataSet
from mlp.model import initial_model
from mlp.network import Network
from modularity.parcels import DATA_DIR, LARGE, packed, unpacked

DTYPES = torch.float32, torch.float64, torch.int64, torch.bool, torch.uint8


@st.composite
def tensors(draw):
    """Of any few dimensions, some of them views: turned, or a part of a larger one, or one number many times."""
    shape = draw(st.lists(st.integers(0, 4), min_size=0, max_size=3))
    tensor = torch.arange(torch.Size(shape).numel()).reshape(shape).to(draw(st.sampled_from(DTYPES)))
    view = draw(st.sampled_from(["itself", "turned", "part", "repeated"]))
    if tensor.ndim and view == "turned":
        tensor = tensor.transpose(0, -1)
    if tensor.ndim and view == "part":
        tensor = tensor[..., : tensor.shape[-1] // 2]
    return tensor.expand(3, *tensor.shape) if view == "repeated" else tensor


@given(tensors(), st.sampled_from([0, None]))
def test_what_is_unpacked_is_what_was_packed(tensor, large):
    parcel = packed({"values": [tensor]}, large)
    assert bool(parcel.parts) == (large == 0)
    (found,) = unpacked(parcel.content, parcel.parts)["values"]
    assert found.dtype == tensor.dtype
    assert torch.equal(found, tensor)
    if 0 not in tensor.stride() and tensor.numel():
        assert found.stride() == tensor.stride()


@given(st.recursive(st.none() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists))
def test_plain_values_come_back(values):
    assert unpacked(packed(values).content) == values


def test_a_view_does_not_take_what_it_is_a_view_of_along():
    everything = torch.zeros(1000, 1000)
    assert len(packed(everything[:2, :3]).content) < 1000
    parcel = packed((torch.ones(LARGE), everything[0]))
    assert list(map(len, parcel.parts.values())) == [pytest.approx(4 * LARGE, rel=0.05)]


def test_what_was_asked_of_a_network_is_not_packed():
    asked = initial_model((784, 20, 10, 3), seed=2)
    asked.architecture.shapes
    assert packed(asked).content == packed(initial_model((784, 20, 10, 3), seed=2)).content


def test_a_network_comes_back_and_its_large_layers_are_parts():
    network = Network(initial_model((784, 20, 10, 3), seed=2), DataSet("mnist", (3, 5, 7)), groups=[0, 1])
    parcel = packed((network, 5))
    assert len(parcel.parts) == 1
    assert len(parcel.content) < LARGE
    assert list(parcel.data_sets) == [network.data]
    found, five = unpacked(parcel.content, parcel.parts)
    assert five == 5
    assert (found.data, found.groups) == (network.data, [0, 1])
    images = torch.rand(7, 784, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found.model(images), network.model(images))
    assert [parameter.requires_grad for parameter in found.model.parameters()] == [True] * 6


def test_what_tasks_share_is_one_part():
    weights = [torch.randn(200, 300)]
    parts = [packed((weights, shuffle)).parts for shuffle in range(3)]
    assert parts[0] == parts[1] == parts[2]
    equal = [weights[0].clone()]
    assert packed(equal).parts.keys() == parts[0].keys()


SCRIPT = """
import sys; sys.path[:0] = [{repository!r}]
import hashlib, torch
from mlp.data import DataSet
from mlp.model import initial_model
from mlp.network import Network
from modularity.clusterability import clusterings
from modularity.parcels import packed
network = Network(initial_model((784, 8, 3), seed=2), DataSet("mnist", (3, 5, 7)), "a condition", seed=2)
word = "".join(["lay", "er"])  # equal, and another object
parcel = packed((clusterings, ([network.weights, network], word, "layer", {{"l1": 0.5, "l2": 0.5}}, (1, 2))))
print(hashlib.sha256(parcel.content).hexdigest(), *parcel.parts)
"""


def test_equal_values_are_equal_bytes_in_every_process():
    script = SCRIPT.format(repository=str(REPOSITORY))
    found = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_folders_of_images_are_those_of_who_unpacks(monkeypatch, tmp_path):
    """One of this repository is that of the worker's own copy, another one is the same there; unless it has its own."""
    monkeypatch.delenv(DATA_DIR, raising=False)
    ours, elsewhere = packed(REPOSITORY / "data"), packed(tmp_path)
    assert list(elsewhere.folders) == [tmp_path]
    assert str(REPOSITORY).encode() not in ours.content
    assert unpacked(ours.content) == REPOSITORY / "data"
    assert unpacked(elsewhere.content) == tmp_path
    monkeypatch.setenv(DATA_DIR, "/scratch/images")
    assert unpacked(ours.content) == unpacked(elsewhere.content) == Path("/scratch/images")


def test_arrays_and_errors_come_back():
    values = {"q": numpy.float64(0.5), "labels": numpy.arange(4), "error": ValueError("two: choose another")}
    found = unpacked(packed(values, large=None).content)
    assert found["q"] == 0.5
    assert found["labels"].tolist() == [0, 1, 2, 3]
    assert str(found["error"]) == "two: choose another"
