"""Each script on small convolutional networks of generated images, as a user runs it, and what it refuses."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy
import pytest
import torch
from conftest import call, strict, succeed
from runs import ABLATION, CLUSTERING, RECOVERY, SIMILARITY, SPECIALIZATION, figures_are_there, record, table
from test_data import write_collection
from test_training_convolutions import striped

from mlp.architecture import convolutional
from mlp.data import DataSet
from mlp.network import load_records
from mlp.planting import planted_groups
from modularity.ablation import ablated_hits
from modularity.clusterability import CONVOLUTIONS, WITHOUT_PIXELS, hidden_labels
from modularity.clustering import n_cut, spectral_clusters
from modularity.graph import weight_adjacency


OUTPUTS = 5, 7, 8, 9
NAMES = "Sandal", "Sneaker", "Bag", "Ankle boot"


@pytest.fixture(scope="module")
def wardrobe(tmp_path_factory):
    """A data folder with a few hundred generated images in the files of FashionMNIST."""
    place = tmp_path_factory.mktemp("data")
    generator = numpy.random.default_rng(0)
    splits = {}
    for split, count in (("train", 320), ("t10k", 160)):
        labels = generator.permutation(numpy.resize(OUTPUTS, count))
        splits[split] = striped(labels, generator), labels
    write_collection(place, "FashionMNIST", splits)
    return place


def trained_networks(wardrobe, place, *options):
    """Two small networks, trained and pruned: where their checkpoint and figures are, and what was printed."""
    words = "--dataset fashion --classes 5,7-9 --channels 4,4,4 --hidden-layers 8 --epochs 5 --batch-size 16 --lr 0.003"
    words += " --networks 2 --pruning 0.2,0.5 --pruning-epochs 3"
    where = "--data-dir", wardrobe, "--save-dir", place, "--figures-dir", place, "--jobs", 1
    done = succeed("train.py", *words.split(), *where, *options)
    return place / "cnn_fashion5789.pt", done.stdout


@pytest.fixture(scope="module")
def shoes(wardrobe, tmp_path_factory):
    return trained_networks(wardrobe, tmp_path_factory.mktemp("shoes"))


@pytest.fixture(scope="module")
def planted_shoes(wardrobe, tmp_path_factory):
    return trained_networks(wardrobe, tmp_path_factory.mktemp("planted"), "--planted-groups", 2)[0]


def test_training_saves_networks_that_read_the_images(shoes, wardrobe):
    checkpoint, printed = shoes
    assert all(name in printed for name in NAMES)
    assert "digit" not in printed
    networks, about = load_records(checkpoint)
    assert (about["dataset"], about["classes"]) == ("fashion", list(OUTPUTS))
    unpruned, _ = load_records(checkpoint.with_name("cnn_fashion5789_unpruned.pt"))
    images, labels = DataSet("fashion", OUTPUTS).load(False, wardrobe)
    for network, before in zip(networks, unpruned, strict=True):
        assert network.data == DataSet("fashion", OUTPUTS)
        assert network.model.architecture == convolutional((1, 28, 28), (4, 4, 4), (8, 4))
        for weight, full in zip(network.weights, before.weights):
            assert (weight == 0).sum() == weight.numel() - round(weight.numel() * (1 - 0.5))
            assert full.all()
    for network, test in zip(networks, about["record"]["test"], strict=True):
        right = (network.model(images).argmax(1) == labels).double()
        assert test["accuracy"] == pytest.approx(right.mean().item())
        assert test["accuracy"] > 0.9, "stripes are easily told apart"
        for place, label in enumerate(OUTPUTS):
            assert test[f"accuracy_{label}"] == pytest.approx(right[labels == place].mean().item())
    assert figures_are_there(checkpoint.parent, "training_history")


def analysed(script, wardrobe, folder, *words, data=True):
    where = ["--figures-dir", folder, *(["--data-dir", wardrobe, "--jobs", 1] if data else [])]
    return succeed(script, *words, *where).stdout


def test_centralities_are_those_of_channels(shoes, wardrobe, tmp_path):
    checkpoint, _ = shoes
    words = checkpoint, "--kernel-norm", "column"
    assert "2 networks have" in analysed("network_analysis.py", wardrobe, tmp_path, *words, data=False)
    rows = table(tmp_path / "centralities.csv")
    assert len(rows) == 2 * (1 + 4 + 4 + 4 + 8 + 4)
    network = replace(load_records(checkpoint)[0][1], norm="column")
    for layer in range(1, 6):
        own = [row for row in rows if (row["network"], row["layer"]) == ("1", str(layer))]
        expected = network.strengths[layer - 1].sum(1).tolist()
        assert [float(row["in_degree"]) for row in own] == pytest.approx(expected, rel=1e-4)
    assert figures_are_there(tmp_path, "centralities", "network")


@pytest.mark.parametrize(
    "options, figure",
    [(["--network", 0], "ablation_per_digit"), (["--ablate-to", "mean"], "ablation_networks")],
    ids=["one, silenced to zero", "two, silenced to their means"],
)
def test_candidates_are_channels_and_neurons(shoes, wardrobe, tmp_path, options, figure):
    options = *options, "--null-limit", 40, "--max-candidates", 4, "--kernel-norm", "column"
    printed = analysed(ABLATION, wardrobe, tmp_path, shoes[0], *options)
    if "--network" in options:
        assert all(name in printed for name in NAMES)
    else:
        assert "Verdict: over 2 networks" in printed
    assert table(tmp_path / f"{figure}.csv") and figures_are_there(tmp_path, figure)


@pytest.mark.parametrize("options", [[], ["--without-pixels", "--kernel-norm", "column", "--rescale"]])
def test_clusters_and_lesions_of_channels(shoes, wardrobe, tmp_path, options):
    words = "--clusters", 2, "--shuffles", 2, "--lesions", "--draws", 3, "--pair-draws", 2, "--network", 0
    printed = analysed(CLUSTERING, wardrobe, tmp_path, shoes[0], *words, *options)
    assert "lesions of" in printed and "Verdict" in printed
    rows = table(tmp_path / "clusterability.csv")
    graph = WITHOUT_PIXELS if "--without-pixels" in options else CONVOLUTIONS
    assert rows[0]["graph"] == graph
    network = load_records(shoes[0])[0][0]
    network = replace(network, norm="column") if "column" in options else network
    network = network.rescaled() if "--rescale" in options else network
    kernels = network.strengths[1:3] if graph == CONVOLUTIONS else network.strengths[1:]
    joined = [bool(edge) for kernel in kernels for edge in kernel.flatten()]
    assert int(rows[0]["edges"]) == sum(joined)
    adjacency = weight_adjacency(kernels)
    labels = spectral_clusters(adjacency, 2, 0)
    assert float(rows[0]["n_cut"]) == pytest.approx(n_cut(adjacency, labels), rel=1e-6)
    assert figures_are_there(tmp_path, "clusterability", "clusters", "lesions")
    lesions = table(tmp_path / "lesions.csv")
    last = 3 if graph == CONVOLUTIONS else 4
    assert {row["layer"] for row in lesions} == set(map(str, range(1, last + 1)))
    images, labels_of_images = network.data.load(False, wardrobe)
    alive = hidden_labels(network, graph, labels)
    counts = torch.bincount(labels_of_images)
    for row in lesions:
        assert (row["condition"], row["network"]) == (network.condition, "0")
        of_layer = numpy.repeat([1, 2, 3, 4], network.model.hidden_sizes) == int(row["layer"])
        module = torch.from_numpy(of_layer & (alive == int(row["cluster"])))
        hits = ablated_hits(network.model, torch.stack([module, module & False]), images, labels_of_images) / counts
        change = (hits[0].mean() - hits[1].mean()).item()
        assert float(row["change"]) == pytest.approx(change, abs=1e-6)


def test_parts_of_channels_are_measured(shoes, wardrobe, tmp_path):
    words = "--clusters", 3, "--draws", 3
    printed = analysed(SPECIALIZATION, wardrobe, tmp_path, shoes[0], *words)
    assert "Primary test" in printed
    assert "digit " not in printed
    rows = table(tmp_path / "specialization.csv")
    assert {row["layer"] for row in rows} == set("1234")
    assert {row["network"] for row in rows} == set("01")
    assert figures_are_there(tmp_path, "specialization_lesions", "specialization_digits")


def test_similarities_of_channels_are_compared_with_untrained_networks(shoes, wardrobe, tmp_path):
    words = "--untrained", 2, "--restarts", 1, "--least-accuracy", 0.3
    printed = analysed(SIMILARITY, wardrobe, tmp_path, shoes[0], *words)
    assert "Verdict" in printed
    assert record(tmp_path / "upstream_downstream.json")["images"] == 160
    clusters = table(tmp_path / "upstream_downstream_clusters.csv")
    assert len(clusters) == 2 * (4 + 4 + 4 + 8)
    assert figures_are_there(tmp_path, "upstream_downstream_modularity", "upstream_downstream_matrices")


def test_planted_groups_are_found_and_elsewhere_definitions_agree_or_not(shoes, planted_shoes, wardrobe, tmp_path):
    networks, _ = load_records(planted_shoes)
    groups = planted_groups((1, 4, 4, 4, 8, 4), 2)
    for network in networks:
        assert network.groups == torch.cat(groups[:-1]).tolist()
        for weight, (before, after) in zip(network.weights[1:], pairwise(groups), strict=True):
            across = after.unsqueeze(1) != before
            assert not weight[across].any() and weight[~across].any()
    printed = analysed(RECOVERY, wardrobe, tmp_path, planted_shoes, shoes[0], "--clusters", 2)
    assert "recovery (adjusted Rand index" in printed and "agreement where nothing is planted" in printed
    rows = table(tmp_path / "recovery_networks.csv")
    free = [row for row in rows if row["definition"] == "weights, without pixels" and row["asked"] == "2"]
    assert [float(row["adjusted_rand"]) for row in free] == [pytest.approx(1)] * 2, "no weight joins the groups"
    assert {row["network"] for row in table(tmp_path / "recovery_agreement_networks.csv")} == set("01")
    assert figures_are_there(tmp_path, "recovery", "recovery_agreement")


# Bad input


def refused(folder, script, *words):
    """What is said on stderr by a script that must refuse its input in one sentence and write nothing."""
    done = call(script, *words, "--figures-dir", folder / "new")
    assert done.returncode == 2, done.stdout
    (said,) = (line for line in done.stderr.strip().splitlines() if line and "%|" not in line)  # but for the bars
    assert said.startswith(f"{script}: ")
    assert not (folder / "new").exists() or not list((folder / "new").iterdir())
    return said


def test_a_contradiction_of_the_checkpoint_is_refused(shoes, tmp_path):
    said = refused(tmp_path, CLUSTERING, shoes[0], "--dataset", "mnist")
    assert "--dataset mnist" in said and "fashion" in said
    assert "--classes 1,2" in refused(tmp_path, CLUSTERING, shoes[0], "--classes", "1,2")
    said = refused(tmp_path, CLUSTERING, shoes[0], "--dataset", "unknown")
    assert "'unknown' is none of mnist, fashion" in said
    assert "'frobenius'" in refused(tmp_path, CLUSTERING, shoes[0], "--kernel-norm", "frobenius")


def test_training_on_what_is_unknown_is_refused(wardrobe, tmp_path):
    words = "--save-dir", tmp_path / "new", "--data-dir", wardrobe
    assert "'unknown' is none of" in refused(tmp_path, "train.py", *words, "--dataset", "unknown")
    said = refused(tmp_path, "train.py", *words, "--dataset", "fashion", "--classes", "5,6")
    assert "--classes 6" in said and "choose from 5,7,8,9" in said
    words += "--dataset", "fashion", "--classes", "5,7"
    for channels in ("0", "4,", "x", "4,-1", "2,2,2,2,2,2"):  # of images of 28 x 28 nothing is left by five poolings
        assert "--channels" in refused(tmp_path, "train.py", *words, "--channels", channels)


@pytest.mark.parametrize("change", [{"kernel": "3,3"}, {"units": 3}])
def test_a_damaged_architecture_is_refused(shoes, tmp_path, change):
    """What is none, or that of other weights."""
    content = torch.load(shoes[0], weights_only=True)
    about = strict(content["about"])
    about["architecture"]["layers"][0] |= change
    torch.save(content | {"about": json.dumps(about)}, tmp_path / "damaged.pt")
    assert "damaged.pt: " in refused(tmp_path, CLUSTERING, tmp_path / "damaged.pt")
