"""Data sets: images of some classes, held once as a float tensor."""

import contextlib
import gzip
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy
import torch

from mlp import InputError
from mlp.model import IMAGE_SIDE


@dataclass(frozen=True)
class DataSet:
    """Some classes of a collection of images, in the order of a network's outputs.

    name: of the collection, one of COLLECTIONS.  classes: distinct integers, from 0.
    """

    name: str
    classes: tuple

    def __str__(self):
        return f"digits {', '.join(map(str, self.classes))}"

    def class_name(self, label):
        """What is seen on the images of one of the classes: 'digit 3'."""
        return f"digit {label}"

    def load(self, train, data_dir, device="cpu"):
        """Images and labels as of `load_digits`, on a device; read once by each process, and not to be changed."""
        return tuple(tensor.to(device) for tensor in _loaded(self.name, self.classes, train, str(data_dir)))

    def test_images_per_class(self, data_dir):
        """How many test images there are of each class."""
        return self.load(False, data_dir)[1].bincount(minlength=len(self.classes)).tolist()


def load_digits(digits, train, data_dir):
    """Load the training or test images of some MNIST digits.

    digits: distinct integers in 0..9; their order is the order of the classes.
    train: True for the 60,000-image split, False for the 10,000-image split.
    data_dir: folder that holds, or will hold, MNIST/raw/; missing files are downloaded there.
    Returns images [n, 784] float32 in 0..1 and labels [n] int64, each an index into `digits`.
    Raises InputError if the files are damaged, or absent and out of reach.
    """
    split = "train" if train else "t10k"
    stems = [Path(data_dir, "MNIST", "raw", f"{split}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
    try:
        if not all(stem.with_name(f"{stem.name}.gz").exists() or stem.exists() for stem in stems):
            from torchvision.datasets import MNIST  # takes longer than reading, and is needed for downloads alone

            with contextlib.redirect_stdout(None):  # torchvision chats on stdout, which is kept for results
                MNIST(data_dir, train=train, download=True)
        images, targets = map(_read, stems)
        if images.shape != (len(targets), IMAGE_SIDE, IMAGE_SIDE) or targets.ndim != 1:
            raise ValueError(f"images {list(images.shape)} and labels {list(targets.shape)}")
    except (RuntimeError, ValueError, EOFError, OSError, zlib.error) as error:
        failed = f"could not be read or downloaded ({' '.join(str(error).split()) or type(error).__name__})"
        remedy = "delete damaged files there, or copy the four .gz files in, or name another --data-dir"
        raise InputError(f"{data_dir}/MNIST/raw/{split}-*: MNIST {failed}; {remedy}") from error

    chosen = torch.isin(targets, torch.tensor(digits))
    class_of_digit = torch.full((256,), -1)
    class_of_digit[list(digits)] = torch.arange(len(digits))
    return images[chosen].flatten(1).float() / 255, class_of_digit[targets[chosen].int()]


COLLECTIONS = {"mnist": load_digits}
"""What loads some classes of each data set that is known here."""


@lru_cache(maxsize=2)
def _loaded(name, classes, train, data_dir):
    return COLLECTIONS[name](classes, train, data_dir)


def _read(stem):
    """The bytes of an IDX file, packed or not, as a tensor: a header of magic number and sizes, then the data."""
    packed = stem.with_name(f"{stem.name}.gz")
    content = gzip.decompress(packed.read_bytes()) if packed.exists() else stem.read_bytes()
    dimensions = content[3] if content[:3] == b"\0\0\x08" and len(content) > 4 else 0  # 8: unsigned bytes
    shape = numpy.frombuffer(content, ">i4", dimensions, offset=4)
    if dimensions == 0 or len(content) != 4 + 4 * dimensions + shape.prod(dtype=int):
        raise ValueError(f"{stem.name} is damaged")
    return torch.from_numpy(numpy.frombuffer(content, numpy.uint8, offset=4 + 4 * dimensions).reshape(shape).copy())
