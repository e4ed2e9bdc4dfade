import gzip
import shutil

import numpy
import pytest
import torch
from conftest import REPOSITORY
from torchvision.datasets import MNIST

from mlp import InputError
from mlp.data import load_digits

RAW = REPOSITORY / "data" / "MNIST" / "raw"


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """A data folder with the four committed files, on a machine without a network."""
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in RAW.glob("*.gz"):
        shutil.copy(file, raw)
    return tmp_path


def test_digits_equal_the_raw_files_read_by_hand(packed):
    pixels = numpy.frombuffer(gzip.decompress((RAW / "t10k-images-idx3-ubyte.gz").read_bytes()), numpy.uint8, offset=16)
    digits = numpy.frombuffer(gzip.decompress((RAW / "t10k-labels-idx1-ubyte.gz").read_bytes()), numpy.uint8, offset=8)
    chosen = numpy.isin(digits, (7, 3))
    images, labels = load_digits((7, 3), train=False, data_dir=packed)
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert images.numpy() == pytest.approx(pixels.reshape(-1, 784)[chosen] / 255, abs=1e-7)
    assert [(7, 3)[label] for label in labels] == digits[chosen].tolist()


@pytest.mark.parametrize("train, images_expected", [(True, 60_000), (False, 10_000)])
def test_all_digits_are_the_whole_split(train, images_expected):
    images, labels = load_digits(range(10), train, REPOSITORY / "data")
    assert images.shape == (images_expected, 784)
    assert (images.min(), images.max()) == (0, 1)
    assert labels.unique().tolist() == list(range(10))


@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("suffix", [".gz", ""])
def test_damaged_files_are_refused(packed, name, suffix):
    if not suffix:
        load_digits((3, 5), train=False, data_dir=packed)  # unpacks
    file = packed / "MNIST" / "raw" / (name + suffix)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="t10k"):
        load_digits((3, 5), train=False, data_dir=packed)


def test_an_empty_folder_without_a_network_is_refused(tmp_path, packed):
    with pytest.raises(InputError, match="--data-dir"):
        load_digits((3, 5), train=True, data_dir=tmp_path / "empty")
