"""Parcels: a task as bytes, by which it is known, and as which it is kept or sent to another machine."""

import io
import os
import pickle
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import torch

from mlp.data import DataSet
from modularity.versions import REPOSITORY

LARGE = 2**14
"""Bytes from which on a tensor is a part of its own, so that what several tasks share is sent once."""
DATA_DIR = "MODULARITY_DATA_DIR"
"""The variable of the environment by which a worker has a folder of images of its own."""


@dataclass
class Parcel:
    """Some values as bytes; the same values are the same bytes, in this process and in any other.

    content: a pickle.  parts: {digest: bytes} of the large tensors that it names by their digests.
    data_sets: the DataSets that are named in it, and folders: where their images are.
    """

    content: bytes = b""
    parts: dict = field(default_factory=dict)
    data_sets: dict = field(default_factory=dict)
    folders: dict = field(default_factory=dict)


class _Packer(pickle.Pickler):
    def __init__(self, file, parcel, large, shared):
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.fast = True  # what is equal has equal bytes, whether or not it is the same object
        self.parcel, self.large, self.shared = parcel, large, shared

    def persistent_id(self, value):
        if isinstance(value, DataSet):
            self.parcel.data_sets[value] = True
        if isinstance(value, Path):
            self.parcel.folders[value] = True
            return "folder", spelled_folder(value)
        if isinstance(value, torch.Tensor) and value.nbytes >= self.large:
            content = pickle.dumps(_taken_apart(value), pickle.HIGHEST_PROTOCOL)
            digest = sha256(content).hexdigest()
            self.parcel.parts[digest] = self.shared.setdefault(digest, content)
            return "part", digest

    def reducer_override(self, value):
        return (_put_together, _taken_apart(value)) if isinstance(value, torch.Tensor) else NotImplemented


class _Unpacker(pickle.Unpickler):
    def __init__(self, file, parts):
        super().__init__(file)
        self.parts = parts

    def persistent_load(self, name):
        kind, value = name
        return own_folder(value) if kind == "folder" else _put_together(*pickle.loads(self.parts[value]))


def packed(values, large=LARGE, shared=None):
    """A Parcel of values; tensors of `large` bytes are parts of their own, by None none is.

    shared: the parts of other parcels, which take no memory of their own in this one.
    """
    parcel, file = Parcel(), io.BytesIO()
    _Packer(file, parcel, float("inf") if large is None else large, {} if shared is None else shared).dump(values)
    parcel.content = file.getvalue()
    return parcel


def unpacked(content, parts=None):
    """The values of a Parcel, all tensors on the CPU.  Only for what one's own processes have packed."""
    return _Unpacker(io.BytesIO(content), parts or {}).load()


def spelled_folder(path):
    """A folder as another machine is told of it: one of this repository is looked for in the copy that it has."""
    path = Path(os.path.abspath(path))
    return path.relative_to(REPOSITORY).as_posix() if path.is_relative_to(REPOSITORY) else str(path)


def own_folder(spelled):
    """The folder of images that this process reads, where it was told of one by `spelled_folder`."""
    return Path(os.environ.get(DATA_DIR) or REPOSITORY / spelled)


def _taken_apart(tensor):
    """Its numbers alone, whatever storage it is a view of; with the strides, which decide the order of sums."""
    strides = tensor.stride() if 0 not in tensor.stride() else tensor.contiguous().stride()
    requires_grad = tensor.requires_grad if isinstance(tensor, torch.nn.Parameter) else None
    return tensor.detach().cpu().contiguous().numpy(), strides, requires_grad


def _put_together(numbers, strides, requires_grad):
    found = torch.from_numpy(numbers)
    tensor = torch.empty_strided(found.shape, strides, dtype=found.dtype).copy_(found)
    return tensor if requires_grad is None else torch.nn.Parameter(tensor, requires_grad)
