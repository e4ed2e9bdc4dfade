"""Data sets: images of some classes, held once as a float tensor."""

import contextlib
import gzip
import zlib
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from http.client import HTTPException
from itertools import product
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy
import torch

from mlp import InputError
from mlp.seeds import derived_seed

IMAGE_SIDE = 28
PIXELS = IMAGE_SIDE**2
DIGITS = tuple(f"digit {digit}" for digit in range(10))
CLOTHES = "T-shirt", "Trousers", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"


class Collection(NamedTuple):
    """A collection of images that torchvision knows.

    folder: what torchvision calls it.  classes: what is seen on the images of each.
    mean, sd: of all pixels of its training images, by which others often normalise them.
    """

    folder: str
    classes: tuple
    mean: float
    sd: float


COLLECTIONS = {
    "mnist": Collection("MNIST", DIGITS, 0.1307, 0.3081),
    "fashion": Collection("FashionMNIST", CLOTHES, 0.2860, 0.3530),
    "kmnist": Collection("KMNIST", ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"), 0.1918, 0.3483),
}

PAIRINGS = "halves", "halves-same", "stacked", "stacked-same"
"""Ways to make one image of two (Filan et al. 2021): squeezed side by side, or each in a channel of its own; of any
classes, whose sum modulo 10 is the class of both, or of the same one."""
PAIRING_SEED = 0
"""Decides who is paired with whom, and not --seed, so that a data set is one data set."""
PAIRED = {
    pairing if collection == "mnist" else f"{pairing}-{collection}": (pairing, collection)
    for collection, pairing in product(COLLECTIONS, PAIRINGS)
}
DATA_SETS = (*COLLECTIONS, *PAIRED)


@dataclass(frozen=True)
class DataSet:
    """Some classes of a data set, in the order of a network's outputs, and how its images are normalised.

    name: one of DATA_SETS, or None where it is not known on what a network was trained.  classes: distinct integers,
    from 0.  normalisation: pairs (mean, sd), one for all channels or one for each: (pixel - mean) / sd is what networks
    read.  Without any, they read pixels in 0..1.
    """

    name: str | None
    classes: tuple
    normalisation: tuple = ()

    def __str__(self):
        if self.name == "mnist":
            return f"digits {', '.join(map(str, self.classes))}"
        if self.name is None:
            return f"{len(self.classes)} outputs"
        return f"{self.name}: {', '.join(map(self.class_name, self.classes))}"

    @property
    def shape(self):
        """Channels, height and width of its images."""
        return (2 if self._pairing.startswith("stacked") else 1, IMAGE_SIDE, IMAGE_SIDE)

    @property
    def _pairing(self):
        return PAIRED[self.name][0] if self.name in PAIRED else ""

    def class_name(self, label):
        """What is seen on the images of one of the classes: 'digit 3', 'Sneaker', or of two images 'sum 3'."""
        if self.name is None:
            return f"output {label}"
        if self._pairing in ("halves", "stacked"):
            return f"sum {label}"
        return self.collection.classes[label]

    @property
    def collection(self):
        """The Collection that its images are made of."""
        _, collection = PAIRED.get(self.name, (None, self.name))
        return COLLECTIONS[collection]

    def short_name(self, label):
        """What there is room for on an axis: '3', 'Sneaker'."""
        return self.class_name(label).removeprefix("digit ").removeprefix("sum ").removeprefix("output ")

    def load(self, train, data_dir, device="cpu"):
        """Images, `normalised`, and labels as of `load_images`, on a device.

        They are read once by each process, and not to be changed.
        Raises InputError as `load_images`, and if it is not known which images these are.
        """
        if self.name is None:
            raise InputError("the checkpoint does not say on which images it was trained; name them with --dataset")
        return tuple(tensor.to(device) for tensor in _loaded(self, train, str(data_dir)))

    def refuse_misfit(self):
        """Raise InputError unless it is normalised by one pair, or by one for each channel of its images."""
        channels = self.shape[0]
        if self.name and len(self.normalisation) not in (0, 1, channels):
            given = spelled_normalisation(self.normalisation)
            remedy = f"give one MEAN/SD, or {channels} with commas between them" if channels > 1 else "give one MEAN/SD"
            raise InputError(f"--normalise {given}: the images of {self.name} have {channels} channel(s); {remedy}")

    def normalised(self, images):
        """Images as networks read them: (pixel - mean) / sd, by channel.

        images: [n, channels * height * width] in 0..1; they stay as they are.  Returns a tensor of the same shape.
        """
        if not self.normalisation:
            return images
        means, sds = torch.tensor(self.normalisation, dtype=images.dtype, device=images.device).T
        by_channel = images.unflatten(1, (self.shape[0], -1))
        return ((by_channel - means.unsqueeze(1)) / sds.unsqueeze(1)).flatten(1)

    def test_images_per_class(self, data_dir):
        """How many test images there are of each class."""
        return self.load(False, data_dir)[1].bincount(minlength=len(self.classes)).tolist()


def spelled_normalisation(normalisation):
    """((0.1307, 0.3081),) -> '0.1307/0.3081', as --normalise takes it, without rounding."""
    return ",".join("/".join(repr(number).removesuffix(".0") for number in pair) for pair in normalisation)


def are_normalisation(pairs):
    """Whether these are pairs of finite numbers (mean, sd), no sd being 0."""
    if not isinstance(pairs, (list, tuple)):
        return False
    return all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 and all(map(_is_finite, pair)) and pair[1] != 0
        for pair in pairs
    )


def _is_finite(value):
    return type(value) in (int, float) and isfinite(value)


def load_images(name, classes, train, data_dir):
    """Load the training or test images of some classes of a data set.

    name: one of DATA_SETS.  classes: distinct integers in 0..9; their order is the order of the labels.
    train: True for the 60,000-image split, False for the 10,000-image split.
    data_dir: folder that holds, or will hold, the collection's own, as in MNIST/raw/; missing files are downloaded
    there.
    Returns images [n, channels * height * width] float32 in 0..1 and labels [n] int64, each an index into `classes`.
    Raises InputError if the files are damaged, or absent and out of reach, or hold no image of one of the classes.
    """
    pairing, collection = PAIRED.get(name, (None, name))
    images, targets = _read_collection(COLLECTIONS[collection].folder, train, data_dir)
    if pairing:
        images, targets = _paired(pairing, images, targets, train)
    missing = sorted(set(classes) - set(targets.unique().tolist()))
    if missing:
        there = "in the training images" if train else "in the test images"
        remedy = f"choose from {','.join(map(str, targets.unique().tolist()))}"
        raise InputError(f"--classes {','.join(map(str, missing))}: not to be found {there} of {name}; {remedy}")
    chosen = torch.isin(targets, torch.tensor(classes))
    place_of_class = torch.full((256,), -1)
    place_of_class[list(classes)] = torch.arange(len(classes))
    return images[chosen].flatten(1).float() / 255, place_of_class[targets[chosen].int()]


def files_of(name, train, data_dir):
    """The two files that `load_images` reads, of images and of labels, whether or not they are there."""
    _, collection = PAIRED.get(name, (None, name))
    return _collection_files(COLLECTIONS[collection].folder, train, data_dir)


def images_digest(name, train, data_dir):
    """A digest of the two files that `load_images` reads; of one that is not there, of nothing."""
    contents = (path.read_bytes() if path.exists() else b"" for path in files_of(name, train, data_dir))
    return sha256(b"".join(sha256(content).digest() for content in contents)).hexdigest()


@lru_cache(maxsize=2)
def _loaded(data, train, data_dir):
    images, labels = load_images(data.name, data.classes, train, data_dir)
    return data.normalised(images), labels


forget_images = _loaded.cache_clear
"""To be called where files may have changed."""


def _read_collection(name, train, data_dir):
    """All images [n, 28, 28] of a split of a collection, as torchvision names it, and their classes [n], as bytes."""
    try:
        if not all(path.exists() for path in _collection_files(name, train, data_dir)):
            import torchvision  # takes longer than reading, and is needed for downloads alone

            with contextlib.redirect_stdout(None):  # torchvision chats on stdout, which is kept for results
                getattr(torchvision.datasets, name)(data_dir, train=train, download=True)
        images, targets = map(_read, _collection_files(name, train, data_dir))
        if images.shape != (len(targets), IMAGE_SIDE, IMAGE_SIDE) or targets.ndim != 1:
            raise ValueError(f"images {list(images.shape)} and labels {list(targets.shape)}")
    except (RuntimeError, ValueError, EOFError, OSError, zlib.error, HTTPException) as error:
        failed = f"could not be read or downloaded ({' '.join(str(error).split()) or type(error).__name__})"
        remedy = "delete damaged files there, or copy the four .gz files in, or name another --data-dir"
        raise InputError(f"{data_dir}/{name}/raw/{_split(train)}-*: {name} {failed}; {remedy}") from error
    return images, targets


def _paired(pairing, images, targets, train):
    """As many pairs of images as there are images, drawn with replacement: [n, channels, 28, 28], and their classes."""
    generator = torch.Generator().manual_seed(derived_seed(PAIRING_SEED, int(train)))
    if pairing.endswith("same"):
        first = torch.arange(len(targets))
        second = torch.empty_like(first)
        for label in targets.unique():
            places = (targets == label).nonzero().flatten()
            second[places] = places[torch.randint(len(places), (len(places),), generator=generator)]
        classes = targets
    else:
        first, second = torch.randint(len(targets), (2, len(targets)), generator=generator)
        classes = (targets[first] + targets[second]) % 10  # at most 18, of bytes
    if pairing.startswith("stacked"):
        return torch.stack([images[first], images[second]], dim=1), classes
    squeezed = images.float().unflatten(2, (-1, 2)).mean(3)  # pairs of columns
    return torch.cat([squeezed[first], squeezed[second]], dim=2), classes


def _split(train):
    return "train" if train else "t10k"


def _collection_files(name, train, data_dir):
    """Where the images and the labels of a split of a collection are, or should be: packed files go first."""
    stems = [Path(data_dir, name, "raw", f"{_split(train)}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
    packed = [stem.with_name(f"{stem.name}.gz") for stem in stems]
    return [path if path.exists() else stem for path, stem in zip(packed, stems)]


def _read(path):
    """The bytes of an IDX file, packed or not, as a tensor: a header of magic number and sizes, then the data."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    dimensions = content[3] if content[:3] == b"\0\0\x08" and len(content) > 4 else 0  # 8: unsigned bytes
    shape = numpy.frombuffer(content, ">i4", dimensions, offset=4)
    if dimensions == 0 or len(content) != 4 + 4 * dimensions + shape.prod(dtype=int):
        raise ValueError(f"{path.name} is damaged")
    return torch.from_numpy(numpy.frombuffer(content, numpy.uint8, offset=4 + 4 * dimensions).reshape(shape).copy())
