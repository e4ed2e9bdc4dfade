import copy
import math
from dataclasses import replace

import pytest
import torch
from conftest import REPOSITORY

from mlp.data import DataSet, load_images
from mlp.model import MLP
from mlp.network import Network, load_records
from modularity.planted import (
    described,
    function_rows,
    group_count,
    group_members,
    is_ordinary,
    leak_of,
    own_share,
    pooled_function,
)

PLAIN = Network(MLP((784, 4, 2, 3)), DataSet("mnist", (3, 5, 7)), seed=4)
HALVES = replace(PLAIN, groups=[0, 0, 1, 1, 0, 1], hyperparameters={"leak": 0.1, "planted_groups": 2})
SOFT = replace(PLAIN, init="clusterable", groups=[0, 0, 1, 1, 0, 1])


def test_what_was_planted():
    assert [group_count(network) for network in (PLAIN, HALVES, SOFT)] == [0, 2, 3]  # a group of no hidden neuron
    assert leak_of(HALVES) == 0.1
    assert math.isnan(leak_of(PLAIN))
    assert math.isnan(leak_of(SOFT))
    assert is_ordinary(PLAIN)
    assert not is_ordinary(HALVES)
    assert not is_ordinary(SOFT)
    assert is_ordinary(replace(HALVES, hyperparameters={"leak": 1.0}))
    assert described(HALVES) == {"condition": "trained", "network": 0, "seed": 4, "leak": 0.1, "groups": 2}
    assert group_members(SOFT).int().tolist() == [[1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 1], [0] * 6]


def test_the_share_of_what_is_lost_that_a_groups_own_classes_lose():
    intact, images = torch.tensor([90, 180, 40, 100]), [100, 200, 50, 100]
    own = torch.tensor([True, True, False, False])
    assert own_share(intact, torch.tensor([0, 0, 40, 100]), images, own) == 1
    assert own_share(intact, torch.tensor([90, 180, 0, 0]), images, own) == 0
    # lost of each class: .4, .2, .2, 0
    assert own_share(intact, torch.tensor([50, 140, 30, 100]), images, own) == pytest.approx(0.75)
    # one of the others gains
    assert own_share(intact, torch.tensor([50, 140, 50, 100]), images, own) == 1
    assert math.isnan(own_share(intact, intact, images, own))


def test_groups_are_silenced_as_in_a_copy_with_their_outgoing_weights_cut(many):
    network = load_records(many / "mlp_mnist357.pt")[0][2]
    network = replace(network, groups=[0, 0, 0, 0, 1, 1, 1, 1] * 3, hyperparameters={"leak": 1.0})
    where = REPOSITORY / "data", torch.device("cpu"), 1
    rows = function_rows([network], 0, *where)
    images, labels = load_images("mnist", (3, 5, 7), train=False, data_dir=REPOSITORY / "data")

    def accuracies(model):
        with torch.no_grad():
            right = model(images).argmax(1) == labels
        return torch.stack([right[labels == label].double().mean() for label in range(3)])

    for group, row in enumerate(rows):
        lesioned = copy.deepcopy(network.model)
        with torch.no_grad():
            for weight in lesioned.weights[1:]:
                weight[:, 4 * group : 4 * group + 4] = 0
        changes = accuracies(lesioned) - accuracies(network.model)
        lost = (-changes).clamp(min=0)
        own, chance = (lost[:2].sum(), 2 / 3) if group == 0 else (lost[2], 1 / 3)  # classes 3 and 5, and 7
        share = float(own / lost.sum())
        assert row["own_share"] == pytest.approx(share)
        assert row["excess"] == pytest.approx((share - chance) / (1 - chance))
        assert row["change"] == pytest.approx(float(changes.mean()))
        assert (row["group"], row["neurons"], row["own_classes"]) == (group, 12, 2 - group)
        assert row["chance"] == pytest.approx(chance)
        assert 0 <= row["random_own_share"] <= 1
    (pooled,) = pooled_function(rows)
    assert pooled["own_share_mean"] == pytest.approx(sum(row["own_share"] for row in rows) / 2)
    assert pooled["seeds"] == 1
    assert math.isnan(pooled["own_share_low"])
    assert function_rows([network], 0, *where) == rows
