import copy
from itertools import pairwise

import pytest
import torch
from conftest import REPOSITORY, call, succeed
from hypothesis import given
from hypothesis import strategies as st

from mlp import InputError
from mlp.checkpoint import save_checkpoint
from mlp.data import load_images
from mlp.model import MLP, initial_model
from mlp.network import load_records
from mlp.planting import clusterable_groups, plant_softly, planted_connections, planted_groups, true_groups

SIZES = (784, 12, 10, 3)
SHORT = "--epochs 1 --hidden-layers 12,10".split()


@given(st.lists(st.integers(1, 40), min_size=2, max_size=5), st.integers(1, 12))
def test_groups_are_contiguous_and_as_equal_as_can_be(widths, count):
    for width, groups in zip(widths[1:], planted_groups(widths, count), strict=True):
        sizes = groups.bincount(minlength=count)
        assert groups.tolist() == sorted(groups.tolist())
        assert (len(groups), len(sizes)) == (width, count)
        assert sizes.max() - sizes.min() <= 1


@given(st.integers(0, 2**62), st.floats(0, 1))
def test_all_weights_within_a_group_exist_and_a_share_of_the_others(seed, leak):
    sizes, count = (5, 40, 60, 40), 3
    groups = planted_groups(sizes, count)
    connections = planted_connections(sizes, count, leak, seed)
    for present, (before, after) in zip(connections, pairwise(groups), strict=True):
        same = after.unsqueeze(1) == before
        assert present.shape == (len(after), len(before))
        assert present[same].all()
        between = present[~same].double()
        assert abs(between.mean() - leak) < 5 * (0.25 / len(between)) ** 0.5
    assert not any(torch.equal(*pair) for pair in zip(connections, planted_connections(sizes, count, 0.5, seed + 1)))


def test_no_leak_and_all_of_it():
    assert all(present.all() for present in planted_connections(SIZES, 2, 1.0, 0))
    for present, (before, after) in zip(planted_connections(SIZES, 2, 0.0, 0), pairwise(planted_groups(SIZES, 2))):
        assert torch.equal(present, after.unsqueeze(1) == before)


def test_soft_planting_scales_weights_within_and_between_groups():
    """By 4.6 and 0.6 for ten groups (Filan et al. 2021)."""
    sizes = (784, 30, 20, 10)
    before, after = initial_model(sizes, 5, "glorot"), initial_model(sizes, 5, "clusterable")
    groups = clusterable_groups(sizes, 5)
    assert torch.equal(before.weights[0], after.weights[0])
    for old, new, (here, there) in zip(before.weights[1:], after.weights[1:], pairwise(groups), strict=True):
        for j in range(len(there)):
            for i in range(len(here)):
                factor = 4.6 if here[i] == there[j] else 0.6
                assert new[j, i].item() == pytest.approx(factor * old[j, i].item(), rel=1e-6)
    assert groups[-1].tolist() == list(range(10))
    assert len(set(torch.cat(groups[:-1]).tolist())) == 10
    assert true_groups({"seed": 5}, sizes, "clusterable") == {"groups": torch.cat(groups[:-1]).tolist()}
    assert true_groups({"seed": 5}, sizes, "glorot") == {}
    assert not torch.equal(torch.cat(clusterable_groups(sizes, 6)), torch.cat(groups))
    unscaled = copy.deepcopy(after)
    plant_softly(unscaled.weights, [torch.zeros(30), torch.zeros(20), torch.zeros(1)])  # one group of all: as it was
    assert all(torch.equal(*pair) for pair in zip(unscaled.parameters(), after.parameters()))


def trained(folder, *options):
    succeed("train.py", *SHORT, *options, "--save-dir", folder, "--figures-dir", folder)
    return load_records(folder / "mlp_mnist357.pt")


def absent(network, count=2):
    """Where a network without leak can have no weight."""
    groups = planted_groups(network.model.sizes, count)
    return [after.unsqueeze(1) != before for before, after in pairwise(groups)]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--dropout", "0.3", "--l1", "1e-4", "--l2", "1e-3"],
        ["--networks", "3", "--separate-batches", "--lr", "0.001,0.01"],
        ["--pruning", "0.5,0.9", "--pruning-epochs", "1"],
        ["--epochs", "3", "--early-stopping", "1", "--networks", "4", "--lr-decay", "0.5,1"],
    ],
)
def test_planted_groups_exchange_nothing_but_pixels(tmp_path, options):
    """Forbidden weights are exactly zero, and the logits of a group are the same to the bit without the other."""
    networks, _ = trained(tmp_path, *options, "--planted-groups", "2")
    if "--pruning" in options:
        networks += load_records(tmp_path / "mlp_mnist357_unpruned.pt")[0]
    images, _ = load_images("mnist", (3, 5, 7), train=False, data_dir=REPOSITORY / "data")
    for network in networks:
        groups = planted_groups(SIZES, 2)
        assert network.groups == torch.cat(groups[:-1]).tolist()
        assert (network.hyperparameters["leak"], network.hyperparameters["planted_groups"]) == (0, 2)
        for weight, none in zip(network.weights[1:], absent(network), strict=True):
            assert (weight[none] == 0).all()
            assert (weight[~none] != 0).any()
        for group in range(2):
            alone = copy.deepcopy(network.model)
            with torch.no_grad():
                for weight, here in zip(alone.weights[1:], groups):
                    weight[:, here != group] = 0
            kept = groups[-1] == group
            assert torch.equal(network.model(images)[:, kept], alone(images)[:, kept])


@pytest.mark.parametrize("options", [[], ["--dropout", "0.3"], ["--networks", "2", "--separate-batches"]])
def test_a_full_leak_is_the_ordinary_network(tmp_path, options):
    ordinary, about = trained(tmp_path, *options)
    leaking, _ = trained(tmp_path, *options, "--planted-groups", "3", "--leak", "1")
    for network, other in zip(ordinary, leaking, strict=True):
        assert all(torch.equal(*pair) for pair in zip(network.model.parameters(), other.model.parameters()))
        assert network.groups is None
    assert "groups" not in about["networks"][0]
    assert "leak" not in about["networks"][0]


def test_a_sweep_over_leaks_trains_what_each_would_alone(tmp_path):
    options = ["--planted-groups", "2", "--networks", "2"]
    swept, _ = trained(tmp_path, *options, "--leak", "0,0.3,1")
    assert [network.condition for network in swept] == [f"leak {leak}" for leak in ("0", "0", "0.3", "0.3", "1", "1")]
    alone, _ = trained(tmp_path, *options, "--leak", "0.3")
    assert [network.condition for network in alone] == ["leak 0.3"] * 2
    for network, other in zip(swept[2:4], alone, strict=True):
        for weight, again in zip(network.model.parameters(), other.model.parameters()):
            assert torch.allclose(weight, again, rtol=0, atol=1e-6)
    shares = [
        (weight[none] != 0).double().mean().item() for weight, none in zip(alone[0].weights[1:], absent(alone[0]))
    ]
    assert 0.1 < shares[0] < 0.5
    assert not torch.equal(alone[0].weights[1] != 0, alone[1].weights[1] != 0)  # each network has its own


def test_a_clusterable_start_is_known_to_the_checkpoint(tmp_path):
    networks, about = trained(tmp_path, "--init", "clusterable", "--networks", "2", "--seed", "4")
    assert about["init"] == "clusterable"
    for network, seed in zip(networks, (4, 5)):
        assert network.groups == true_groups({"seed": seed}, SIZES, "clusterable")["groups"]
        assert network.init == "clusterable"
        start = network.untrained(0, seed)  # in which nothing is planted
        assert start.init == "glorot"
        assert torch.equal(start.model.weights[1], initial_model(SIZES, seed, "glorot").weights[1])
    assert networks[0].groups != networks[1].groups


@pytest.mark.parametrize(
    "options, words",
    [
        (["--leak", "0.5"], "--planted-groups"),
        (["--planted-groups", "2", "--leak", "1.5"], "'1.5'"),
        (["--planted-groups", "2", "--leak", "-0.1"], "-0.1"),
        (["--planted-groups", "2", "--leak", "0,0"], "repeats"),
        (["--planted-groups", "1"], "'1'"),
        (["--planted-groups", "4"], "--planted-groups 4"),  # of three digits
        (["--planted-groups", "6", "--digits", "0-9", "--hidden-layers", "20,5"], "--planted-groups 6"),
        (["--planted-groups", "2", "--init", "clusterable"], "clusterable"),
    ],
)
def test_what_cannot_be_planted_is_refused_in_a_sentence(tmp_path, options, words):
    done = call("train.py", *options, "--save-dir", tmp_path / "new", "--figures-dir", tmp_path / "new")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert words in done.stderr
    assert not (tmp_path / "new").exists()


def test_damaged_groups_are_refused(tmp_path):
    for groups in ([0], [0, 1, "2"], "012", [0, -1, 1], [0, 1.0, 1]):
        save_checkpoint(tmp_path / "n.pt", MLP((784, 3, 2)), classes=[3, 5], networks=[{"groups": groups}])
        with pytest.raises(InputError, match="damaged"):
            load_records(tmp_path / "n.pt")
