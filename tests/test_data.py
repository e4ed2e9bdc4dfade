import gzip
import shutil

import numpy
import pytest
import torch
from conftest import REPOSITORY
from torchvision.datasets import MNIST

from mlp import InputError
from mlp.data import DataSet, load_digits

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
    numpy.testing.assert_allclose(images.numpy(), pixels.reshape(-1, 784)[chosen] / 255, rtol=0, atol=1e-7)
    assert [(7, 3)[label] for label in labels] == digits[chosen].tolist()


@pytest.mark.parametrize("train, images_expected", [(True, 60_000), (False, 10_000)])
def test_all_digits_are_the_whole_split(train, images_expected):
    images, labels = load_digits(range(10), train, REPOSITORY / "data")
    assert images.shape == (images_expected, 784)
    assert (images.min(), images.max()) == (0, 1)
    assert labels.unique().tolist() == list(range(10))


def unpack(file):
    file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
    file.unlink()
    return file.with_suffix("")


def test_unpacked_files_are_as_good(packed):
    expected = load_digits((3, 5), train=False, data_dir=packed)
    for file in (packed / "MNIST" / "raw").glob("*.gz"):
        unpack(file)
    assert all(torch.equal(*pair) for pair in zip(load_digits((3, 5), train=False, data_dir=packed), expected))


DAMAGES = {
    "cut": lambda content: content[:-100],
    "empty": lambda content: b"",
    "cut within the header": lambda content: content[:6],
    "longer": lambda content: content + b"0",
    "another kind of numbers": lambda content: content[:2] + b"\x0d" + content[3:],
    "other sizes": lambda content: content[:7] + bytes([content[7] ^ 1]) + content[8:],
    "other dimensions": lambda content: content[:3] + b"\x02" + content[4:],
}


@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("suffix", [".gz", ""])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_refused(packed, name, suffix, damage):
    file = packed / "MNIST" / "raw" / f"{name}.gz"
    if not suffix:
        file = unpack(file)
    whole, damaged = file.read_bytes(), DAMAGES[damage]
    if suffix and damage not in ("cut", "empty"):  # these are done to what is packed
        file.write_bytes(gzip.compress(damaged(gzip.decompress(whole)), 1))
    else:
        file.write_bytes(damaged(whole))
    with pytest.raises(InputError, match="t10k"):
        load_digits((3, 5), train=False, data_dir=packed)


def test_an_empty_folder_without_a_network_is_refused(tmp_path, packed):
    with pytest.raises(InputError, match="--data-dir"):
        load_digits((3, 5), train=True, data_dir=tmp_path / "empty")


def test_a_data_set_is_the_images_of_its_classes_in_their_order():
    """Read once by each process."""
    data = DataSet("mnist", (7, 3))
    images, labels = data.load(False, REPOSITORY / "data")
    expected = load_digits((7, 3), False, REPOSITORY / "data")
    assert torch.equal(images, expected[0]) and torch.equal(labels, expected[1])
    assert DataSet("mnist", (7, 3)).load(False, str(REPOSITORY / "data"), torch.device("cpu"))[0] is images
    assert not torch.equal(DataSet("mnist", (3, 7)).load(False, REPOSITORY / "data")[1], labels)
    assert (str(data), data.class_name(7)) == ("digits 7, 3", "digit 7")
