import gzip
import io
import shutil
from http.client import IncompleteRead

import numpy
import pytest
import torch
from conftest import REPOSITORY, succeed
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import ABLATION
from torchvision.datasets import KMNIST, MNIST, FashionMNIST

from mlp import InputError
from mlp.data import COLLECTIONS, DATA_SETS, PAIRED, DataSet, load_images
from mlp.network import load_records

RAW = REPOSITORY / "data" / "MNIST" / "raw"


def idx(values):
    """The bytes of an IDX file: a magic number, sizes, then whole numbers from 0 to 255."""
    values = numpy.asarray(values)
    return bytes([0, 0, 8, values.ndim]) + numpy.array(values.shape, ">i4").tobytes() + values.astype("u1").tobytes()


def write_collection(place, name, splits, packed=True):
    """The files of a collection as torchvision names it.  splits: {"train" or "t10k": (images [n, 28, 28], labels)}."""
    raw = place / name / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for split, contents in splits.items():
        for kind, values in zip(("images-idx3", "labels-idx1"), contents):
            content = idx(values)
            stem = raw / f"{split}-{kind}-ubyte"
            if packed:
                stem.with_name(f"{stem.name}.gz").write_bytes(gzip.compress(content, 1))
            else:
                stem.write_bytes(content)
    return raw


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
    images, labels = load_images("mnist", (7, 3), train=False, data_dir=packed)
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    numpy.testing.assert_allclose(images.numpy(), pixels.reshape(-1, 784)[chosen] / 255, rtol=0, atol=1e-7)
    assert [(7, 3)[label] for label in labels] == digits[chosen].tolist()


@pytest.mark.parametrize("train, images_expected", [(True, 60_000), (False, 10_000)])
def test_all_digits_are_the_whole_split(train, images_expected):
    images, labels = load_images("mnist", range(10), train, REPOSITORY / "data")
    assert images.shape == (images_expected, 784)
    assert (images.min(), images.max()) == (0, 1)
    assert labels.unique().tolist() == list(range(10))


def unpack(file):
    file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
    file.unlink()
    return file.with_suffix("")


def test_unpacked_files_are_as_good(packed):
    expected = load_images("mnist", (3, 5), train=False, data_dir=packed)
    for file in (packed / "MNIST" / "raw").glob("*.gz"):
        unpack(file)
    assert all(torch.equal(*pair) for pair in zip(load_images("mnist", (3, 5), train=False, data_dir=packed), expected))


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
        load_images("mnist", (3, 5), train=False, data_dir=packed)


def test_an_empty_folder_without_a_network_is_refused(tmp_path, packed):
    with pytest.raises(InputError, match="--data-dir"):
        load_images("mnist", (3, 5), train=True, data_dir=tmp_path / "empty")


def test_a_data_set_is_the_images_of_its_classes_in_their_order():
    """Read once by each process."""
    data = DataSet("mnist", (7, 3))
    images, labels = data.load(False, REPOSITORY / "data")
    expected = load_images("mnist", (7, 3), False, REPOSITORY / "data")
    assert torch.equal(images, expected[0]) and torch.equal(labels, expected[1])
    assert DataSet("mnist", (7, 3)).load(False, str(REPOSITORY / "data"), torch.device("cpu"))[0] is images
    assert not torch.equal(DataSet("mnist", (3, 7)).load(False, REPOSITORY / "data")[1], labels)
    assert (str(data), data.class_name(7)) == ("digits 7, 3", "digit 7")


# Other collections, from generated files


KINDS = {"mnist": MNIST, "fashion": FashionMNIST, "kmnist": KMNIST}


def generated(count, classes, seed):
    """Images of any bytes, and labels of which each class has several."""
    generator = numpy.random.default_rng(seed)
    return generator.integers(0, 256, (count, 28, 28)), generator.permutation(numpy.resize(classes, count))


def write_generated(place, name, classes=range(10), packed=True):
    """60 training images and 40 for tests; returns {train or not: (images, labels)}."""
    splits = {"train": generated(60, classes, 1), "t10k": generated(40, classes, 2)}
    write_collection(place, COLLECTIONS[name][0], splits, packed)
    return {True: splits["train"], False: splits["t10k"]}


@pytest.fixture
def offline(monkeypatch):
    """Not that the tests would load down what they forgot to write."""
    for kind in KINDS.values():
        monkeypatch.setattr(kind, "mirrors", ["http://127.0.0.1:9/"])


@pytest.fixture(params=KINDS)
def collection(request, tmp_path, offline):
    """(name, data folder, {train or not: (images, labels)}) of each collection."""
    return request.param, tmp_path, write_generated(tmp_path, request.param)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("classes", [tuple(range(10)), (8, 0, 3)])
def test_a_collection_is_read_from_its_own_folder(collection, train, classes):
    name, place, splits = collection
    pixels, labels = splits[train]
    chosen = numpy.isin(labels, classes)
    images, found = load_images(name, classes, train, place)
    numpy.testing.assert_allclose(images.numpy(), pixels[chosen].reshape(-1, 784) / 255, rtol=0, atol=1e-7)
    assert [classes[place] for place in found] == labels[chosen].tolist()
    assert (images.dtype, found.dtype) == (torch.float32, torch.int64)
    assert DataSet(name, classes).shape == (1, 28, 28)


def test_plain_files_are_as_good_as_packed_ones(collection, tmp_path):
    name, place, _ = collection
    write_generated(tmp_path / "plain", name, packed=False)
    assert not list((tmp_path / "plain").rglob("*.gz"))
    expected = load_images(name, (1, 2), True, place)
    assert all(torch.equal(*pair) for pair in zip(load_images(name, (1, 2), True, tmp_path / "plain"), expected))


def test_collections_do_not_mix(tmp_path, offline):
    write_generated(tmp_path, "fashion")
    for name in ("mnist", "kmnist", "halves", "stacked-kmnist"):
        with pytest.raises(InputError, match="MNIST/raw"):
            load_images(name, (1, 2), True, tmp_path)


# Pairs


WAYS = "halves", "halves-same", "stacked", "stacked-same"
PAIRS = [
    (f"{way}{suffix}", way, collection)
    for way in WAYS
    for suffix, collection in (("", "mnist"), ("-fashion", "fashion"), ("-kmnist", "kmnist"))
]


def parts_of(images, way):
    """The two pictures in each image, [n, 28 * 28] or squeezed [n, 28 * 14], by hand."""
    if way.startswith("stacked"):
        return images.view(-1, 2, 784).unbind(1)
    whole = images.view(-1, 28, 28)
    return whole[:, :, :14].flatten(1), whole[:, :, 14:].flatten(1)


def pictures(pixels, way):
    """What a part of an image can be: all pictures of a split, where they are squeezed column pairs averaged."""
    pixels = torch.from_numpy(pixels).double() / 255
    if way.startswith("stacked"):
        return pixels.flatten(1)
    return ((pixels[:, :, 0::2] + pixels[:, :, 1::2]) / 2).flatten(1)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name, way, own", PAIRS)
def test_each_image_is_two_of_its_split_and_their_classes_tell_its_own(tmp_path, offline, name, way, own, train):
    pixels, labels = write_generated(tmp_path, own)[train]
    classes = tuple(range(10))
    images, found = load_images(name, classes, train, tmp_path)
    assert images.shape == (len(labels), 1568 if way.startswith("stacked") else 784)
    candidates, places = pictures(pixels, way), []
    for part in parts_of(images.double(), way):
        apart = torch.cdist(part, candidates)
        nearest = apart.argmin(1)
        assert (apart.gather(1, nearest.unsqueeze(1)) < 1e-4).all(), "a part is no picture of the split"
        assert apart.topk(2, largest=False).values[:, 1].min() > 1, "pictures look too much alike to tell"
        places.append(nearest.numpy())
    first, second = (labels[place] for place in places)
    if way.endswith("same"):
        assert (first == second).all()
        assert found.tolist() == first.tolist()
        assert sorted(places[0]) == list(range(len(labels))), "each is there once, with another beside it"
    else:
        assert found.tolist() == ((first + second) % 10).tolist()
        assert (first != second).any()
    assert (places[0] != places[1]).any()


@pytest.mark.parametrize("name", ["halves", "halves-same", "stacked", "stacked-same"])
def test_pairs_are_the_same_whatever_was_drawn_before(tmp_path, offline, name):
    write_generated(tmp_path, "mnist")
    torch.manual_seed(1)
    one = load_images(name, (0, 1, 2), True, tmp_path)
    torch.manual_seed(2)
    expected = torch.rand(1)
    torch.manual_seed(2)
    other = load_images(name, (0, 1, 2), True, tmp_path)
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
    assert torch.equal(torch.rand(1), expected), "the global generator was advanced"


def test_training_and_test_images_are_paired_apart(tmp_path, offline):
    """Where both splits hold the same pictures, the pairs differ."""
    same = generated(60, range(10), 1)
    write_collection(tmp_path, "MNIST", {"train": same, "t10k": same})
    for name in WAYS:
        one, other = (load_images(name, range(10), train, tmp_path)[0] for train in (True, False))
        assert one.shape == other.shape and not torch.equal(one, other)


@settings(max_examples=20)
@given(st.permutations(range(10)), st.integers(2, 10), st.sampled_from(WAYS))
def test_classes_choose_among_all_pairs(tmp_path_factory, order, count, name):
    """In the order of the outputs, as if all had been loaded and some were kept."""
    place = tmp_path_factory.getbasetemp() / "chosen"
    if not place.exists():
        write_generated(place, "mnist")
    classes = tuple(order[:count])
    images, labels = load_images(name, range(10), False, place)
    kept = torch.isin(labels, torch.tensor(classes))
    some, found = load_images(name, classes, False, place)
    assert torch.equal(some, images[kept])
    assert [classes[label] for label in found] == labels[kept].tolist()


def test_data_sets_have_shapes_and_names():
    shapes = {name: DataSet(name, (0, 1)).shape for name in DATA_SETS}
    assert len(DATA_SETS) == 15 and set(PAIRED) < set(DATA_SETS)
    for name, shape in shapes.items():
        assert shape == (2 if name.startswith("stacked") else 1, 28, 28)
    names = {
        "mnist": ("digit 3", "3"),
        "fashion": ("Dress", "Dress"),
        "kmnist": ("tsu", "tsu"),
        "halves": ("sum 3", "3"),
        "stacked-fashion": ("sum 3", "3"),
        "halves-same": ("digit 3", "3"),
        "stacked-same": ("digit 3", "3"),
        "halves-same-fashion": ("Dress", "Dress"),
        "stacked-same-kmnist": ("tsu", "tsu"),
        None: ("output 3", "3"),
    }
    for name, expected in names.items():
        data = DataSet(name, (3, 0))
        assert (data.class_name(3), data.short_name(3)) == expected
    assert str(DataSet("mnist", (3, 0))) == "digits 3, 0"
    assert str(DataSet("fashion", (7, 0))) == "fashion: Sneaker, T-shirt"
    assert str(DataSet(None, (0, 1))) == "2 outputs"


@pytest.mark.parametrize(
    "dataset, channels, script, options",
    [
        ("halves", 1, ABLATION, ["--null-limit", 10]),
        ("stacked-same", 2, "network_analysis.py", []),
        ("stacked-fashion", 2, ABLATION, ["--null-limit", 10]),
    ],
)
def test_pairs_of_images_can_be_trained_on_and_analysed(tmp_path, offline, dataset, channels, script, options):
    write_generated(tmp_path, "fashion" if "fashion" in dataset else "mnist")
    where = "--data-dir", tmp_path, "--figures-dir", tmp_path / "figures"
    words = "--dataset", dataset, "--classes", "1-3", "--channels", "2,3", "--hidden-layers", 4, "--epochs", 1
    done = succeed("train.py", *words, *where, "--save-dir", tmp_path, "--jobs", 1)
    assert ("sum 2" in done.stdout) == (dataset != "stacked-same")
    checkpoint = tmp_path / f"cnn_{dataset}123.pt"
    ((network,), _) = load_records(checkpoint)
    assert network.model.architecture.input_shape == (channels, 28, 28)
    assert network.model.sizes == (channels, 2, 3, 4, 3)
    assert succeed(script, checkpoint, *options, *(where if options else where[2:])).stdout


# What is missing or damaged


@pytest.mark.parametrize("train, where", [(True, "training"), (False, "test")])
def test_classes_that_the_files_lack_are_refused(tmp_path, offline, train, where):
    write_generated(tmp_path, "fashion", classes=(2, 4, 7))
    with pytest.raises(InputError) as error:
        load_images("fashion", (2, 9, 5), train, tmp_path)
    said = str(error.value)
    assert "--classes 5,9:" in said and where in said and "choose from 2,4,7" in said
    with pytest.raises(InputError) as error:
        load_images("halves-fashion", (4, 0, 5), train, tmp_path)  # 2 + 2, but 0 and 5 are no sums of two of these
    assert "--classes 0,5:" in str(error.value) and "choose from 1,4,6,8,9" in str(error.value)


@pytest.mark.parametrize("name", KINDS)
def test_absent_files_go_through_torchvision_and_are_refused_without_a_network(tmp_path, monkeypatch, name):
    asked = []
    monkeypatch.setattr(KINDS[name], "mirrors", ["http://127.0.0.1:9/here/"])

    def refuse(url, *_, **__):
        asked.append(url)
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", refuse)
    folder = COLLECTIONS[name][0]
    with pytest.raises(InputError) as error:
        load_images(name, (1, 2), True, tmp_path / "empty")
    said = str(error.value)
    assert len(said.splitlines()) == 1
    assert f"empty/{folder}/raw/train-" in said and folder in said
    assert "--data-dir" in said and "copy the four .gz files in" in said
    assert asked and asked[0].startswith("http://127.0.0.1:9/here/")


class Broken(io.BytesIO):
    """An answer of a server that ends before its time."""

    url, length = None, 100

    def read(self, *_):
        raise IncompleteRead(b"half", 96)


def test_a_download_that_breaks_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: Broken())
    with pytest.raises(InputError) as error:
        load_images("kmnist", (1, 2), True, tmp_path)
    said = str(error.value)
    assert said.startswith(f"{tmp_path}/KMNIST/raw/train-*: KMNIST could not be read or downloaded (IncompleteRead(")
    assert len(said.splitlines()) == 1 and "--data-dir" in said


def test_one_of_two_files_is_not_enough(collection):
    name, place, _ = collection
    (missing,) = place.rglob("t10k-labels*")
    missing.unlink()
    load_images(name, (1, 2), True, place)
    with pytest.raises(InputError, match="t10k-.*--data-dir"):
        load_images(name, (1, 2), False, place)


WRONG = {
    "32 x 32": (lambda images, labels: (numpy.zeros((len(labels), 32, 32)), labels), "32, 32"),
    "colours": (lambda images, labels: (numpy.zeros((len(labels), 28, 28, 3)), labels), "28, 28, 3"),
    "flat": (lambda images, labels: (images.reshape(-1, 784), labels), "784"),
    "too few labels": (lambda images, labels: (images, labels[1:]), "39"),
    "square labels": (lambda images, labels: (images, labels[:, None]), "40, 1"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", ["fashion", "stacked-same-kmnist"])
def test_images_of_other_shapes_are_refused(tmp_path, offline, wrong, name):
    _, own = PAIRED.get(name, (None, name))
    change, words = WRONG[wrong]
    write_collection(tmp_path, COLLECTIONS[own][0], {"t10k": change(*generated(40, range(10), 0))})
    with pytest.raises(InputError) as error:
        load_images(name, (1, 2), False, tmp_path)
    said = str(error.value)
    assert len(said.splitlines()) == 1
    assert f"{COLLECTIONS[own][0]}/raw/t10k-" in said and words in said and "delete damaged files" in said


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_of_other_collections_are_refused(collection, damage):
    name, place, _ = collection
    (file,) = place.rglob("train-images*")
    content = DAMAGES[damage](gzip.decompress(file.read_bytes()))
    file.write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match="train-.*delete damaged files there"):
        load_images(name, (3, 5), True, place)
    file.write_bytes(b"no gzip")
    with pytest.raises(InputError, match="train-.*delete damaged files there"):
        load_images(name, (3, 5), True, place)


def test_labels_beyond_the_classes_are_refused_or_left_out(tmp_path, offline):
    """A label of 200 is no class that can be asked for, and those of others are as if it were not there."""
    images, labels = generated(40, [0, 1, 200], 0)
    write_collection(tmp_path, "FashionMNIST", {"t10k": (images, labels)})
    found, classes = load_images("fashion", (1, 0), False, tmp_path)
    assert classes.tolist() == [1 - label for label in labels[labels < 2]]
    assert len(found) == len(classes)


def test_images_of_unknown_networks_cannot_be_loaded(tmp_path):
    with pytest.raises(InputError, match="--dataset"):
        DataSet(None, (0, 1)).load(False, tmp_path)
