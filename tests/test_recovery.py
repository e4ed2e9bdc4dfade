import math
from dataclasses import replace
from itertools import permutations

import numpy
import pytest
import torch
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import homogeneity_score

from mlp.data import DataSet
from mlp.model import MLP, initial_model
from mlp.network import Network
from modularity.partitions import PARTITIONS
from modularity.recovery import (
    DEFINITIONS,
    adjusted_rand_index,
    agreement_rows,
    by_layer,
    corrected_homogeneity,
    found_partitions,
    headlines,
    pooled_agreement,
    pooled_purity,
    pooled_recovery,
    purities,
    purity_row,
    recovery_rows,
)

GROUPS = [0, 0, 0, 1, 1, 1]
neurons = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 2)), min_size=2, max_size=30)


def pairs_that_agree(labels, groups):
    """The adjusted Rand index from the pairs of neurons, one by one."""
    places = [place for place, label in enumerate(labels) if label >= 0]
    pairs = [(i, j) for i in places for j in places if i < j]
    together = [labels[i] == labels[j] for i, j in pairs]
    alike = [groups[i] == groups[j] for i, j in pairs]
    both = sum(a and b for a, b in zip(together, alike))
    chance = sum(together) * sum(alike) / len(pairs)
    most = (sum(together) + sum(alike)) / 2
    return 1 if most == chance else (both - chance) / (most - chance)


@given(neurons)
def test_the_adjusted_rand_index_counts_pairs(some):
    labels, groups = zip(*some)
    if sum(label >= 0 for label in labels) >= 2:
        assert adjusted_rand_index(labels, groups) == pytest.approx(pairs_that_agree(labels, groups), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=3, max_size=5))
def test_chance_is_the_mean_over_all_exchanges_of_the_groups(some):
    labels, groups = zip(*some)
    found = corrected_homogeneity(labels, groups)
    chance = numpy.mean([homogeneity_score(order, labels) for order in permutations(groups)])
    if math.isnan(found):
        assert chance == pytest.approx(1) or len(set(groups)) == 1
    else:
        expected = (homogeneity_score(groups, labels) - chance) / (1 - chance)
        assert found == pytest.approx(expected, abs=1e-9)


@given(neurons, st.randoms(use_true_random=False))
def test_no_score_depends_on_the_names_of_clusters_or_the_order_of_neurons(some, random):
    names = {-1: -1} | dict(zip(range(4), random.sample(range(4), 4)))
    shuffled = random.sample(some, len(some))
    for score in (adjusted_rand_index, corrected_homogeneity):
        before, after = score(*zip(*some)), score(*zip(*((names[label], group) for label, group in shuffled)))
        assert before == pytest.approx(after, abs=1e-9, nan_ok=True)


def test_known_scores():
    assert adjusted_rand_index([5, 5, 5, 2, 2, 2], GROUPS) == corrected_homogeneity([5, 5, 5, 2, 2, 2], GROUPS) == 1
    assert corrected_homogeneity([0, 0, 1, 2, 2, 2], GROUPS) == pytest.approx(1)  # more clusters, all of them pure
    assert adjusted_rand_index([0, 0, 1, 2, 2, 2], GROUPS) < 1
    assert adjusted_rand_index([0] * 6, GROUPS) == corrected_homogeneity([0] * 6, GROUPS) == 0
    assert adjusted_rand_index([-1, 0, 0, 1, 1, -1], GROUPS) == 1
    assert math.isnan(corrected_homogeneity(range(6), GROUPS))  # each neuron its own cluster: pure, and says nothing
    assert math.isnan(corrected_homogeneity([0, 0, 1, 1, 1, 1], [2] * 6))
    assert math.isnan(adjusted_rand_index([-1] * 6, GROUPS))
    assert math.isnan(corrected_homogeneity([-1] * 6, GROUPS))


def test_random_clusters_recover_nothing():
    generator = numpy.random.default_rng(0)
    groups = numpy.arange(100) % 2
    for score, clusters in ((adjusted_rand_index, 2), (corrected_homogeneity, 2), (corrected_homogeneity, 12)):
        scores = [score(generator.integers(clusters, size=100), groups) for _ in range(300)]
        assert abs(numpy.mean(scores)) < 4 * numpy.std(scores) / 300**0.5


def test_layers_are_scored_one_by_one():
    """Clusters of one layer have no counterpart in the next."""
    labels, groups = [0, 0, 1, 1, 3, 3, 2, 2, -1, -1], [0, 0, 1, 1, 0, 1, 0, 1, 0, 1]
    found = by_layer(adjusted_rand_index, labels, groups, (4, 4, 2))
    assert found == pytest.approx((1 + adjusted_rand_index([3, 3, 2, 2], [0, 1, 0, 1])) / 2)


def test_purity_is_the_largest_share():
    modules = torch.tensor([[1, 1, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0], [0, 0, 1, 1, 0, 0], [0] * 6]).bool()
    assert purities(modules, GROUPS).tolist() == pytest.approx([1, 2 / 3, 1 / 2, 0])


# Networks of two halves

HALVES = [0] * 6 + [1] * 6 + [0] * 5 + [1] * 5


def halves(seed=0, leak=0.0):
    """Two networks side by side, untrained, but with weights within a group that are worth something."""
    model = initial_model((784, 12, 10, 4), seed)
    groups = [torch.tensor(HALVES[:12]), torch.tensor(HALVES[12:]), torch.tensor([0, 0, 1, 1])]
    with torch.no_grad():
        for weight, before, after in zip(model.weights[1:], groups, groups[1:]):
            weight.mul_(torch.where(after.unsqueeze(1) == before, 3.0, leak))
    data = DataSet("mnist", (0, 1, 3, 4))
    return Network(model, data, "halves", seed, seed, groups=HALVES, hyperparameters={"leak": leak})


def partitions_of(network, families=("weights", "activations", "upstream", "downstream"), clusters=(2, 4)):
    where = REPOSITORY / "data", torch.device("cpu"), 1
    return next(iter(found_partitions([network], families, clusters, 0, *where)))


@pytest.fixture(scope="module")
def divided():
    return partitions_of(halves())


def test_every_definition_divides_the_network(divided):
    assert set(DEFINITIONS) == set(PARTITIONS)
    asking = {name for name in DEFINITIONS if "weights" in name or "activations" in name}
    assert set(divided) == {(name, k) for name in asking for k in (2, 4)} | {
        (name, None) for name in set(DEFINITIONS) - asking
    }
    assert all(labels.shape == (22,) for labels in divided.values())
    chosen = partitions_of(halves(), ("downstream",), (3,))
    assert {name for name, _ in chosen} == {"backward_jac", "backward_jac_norm", "backward_hess", "backward_hess_norm"}
    assert all((labels == divided[key]).all() for key, labels in chosen.items())


def test_as_many_clusters_as_groups_are_asked_for_in_any_case():
    assert {k for _, k in partitions_of(halves(), ("weights",), (5,))} == {2, 5}
    assert {k for _, k in partitions_of(replace(halves(), groups=None), ("weights",), (5,))} == {5}


def test_halves_are_found_by_their_wires_and_by_what_they_do(divided):
    rows = {(row["definition"], row["asked"]): row for row in recovery_rows(halves(), divided, 0)}
    for definition in ("weights, without pixels", "backward_jac"):
        row = rows[definition, 2 if "weights" in definition else None]
        assert row["homogeneity"] == pytest.approx(1)
        assert row["shuffled_homogeneity"] < 0.6
        assert row["in_none"] == 0
    row = rows["weights, without pixels", 2]
    assert (row["adjusted_rand"], row["found"], row["family"], row["leak"], row["groups"]) == (1, 2, "weights", 0, 2)
    assert rows["weights, without pixels", 4]["found"] == 4


def permuted(network, seed):
    """The same network with the hidden neurons of each layer, and their groups, in another order."""
    generator = torch.Generator().manual_seed(seed)
    sizes = network.model.sizes
    orders = [torch.randperm(width, generator=generator) for width in sizes[1:-1]]
    ends = [torch.arange(sizes[0]), *orders, torch.arange(sizes[-1])]
    model = MLP(sizes)
    with torch.no_grad():
        for layer, (weight, bias) in enumerate(zip(model.weights, model.biases)):
            weight.copy_(network.model.weights[layer][ends[layer + 1]][:, ends[layer]])
            bias.copy_(network.model.biases[layer][ends[layer + 1]])
    groups = torch.tensor(network.groups).split(sizes[1:-1])
    return replace(network, model=model, groups=torch.cat([own[order] for own, order in zip(groups, orders)]).tolist())


@pytest.mark.parametrize("leak", [0, 0.5])
def test_the_order_of_neurons_changes_no_score(leak):
    network = halves(1, leak)
    other = permuted(network, 5)
    pairs = [recovery_rows(one, partitions_of(one, clusters=(2,)), 0) for one in (network, other)]
    for row, twin in zip(*pairs, strict=True):
        for key in ("adjusted_rand", "homogeneity", "found"):
            assert row[key] == pytest.approx(twin[key], abs=1e-9), row["definition"]
    assert purity_row(network, 0)["purity"] == pytest.approx(purity_row(other, 0)["purity"])
    one, two = (agreement_rows(network, partitions_of(network, clusters=(2,)), 2) for network in (network, other))
    assert [row["adjusted_rand"] for row in one] == pytest.approx([row["adjusted_rand"] for row in two], abs=1e-9)


def test_a_shuffled_truth_is_not_recovered():
    """The mean over many shuffles is chance, which is 0."""
    partitions = {("weights, global", 2): numpy.array(HALVES), ("backward_jac", None): numpy.array(HALVES)}
    rows = [row for seed in range(300) for row in recovery_rows(halves(), partitions, seed)]
    assert all(row["adjusted_rand"] == row["homogeneity"] == 1 for row in rows)
    for name in ("adjusted_rand", "homogeneity"):
        for definition, _ in partitions:
            scores = [row[f"shuffled_{name}"] for row in rows if row["definition"] == definition]
            assert abs(numpy.mean(scores)) < 4 * numpy.std(scores) / 300**0.5


def test_definitions_that_agree(divided):
    labels = {("weights, global", 4): HALVES, ("weights, global", 2): [0] * 22, ("forward_cov", None): HALVES}
    labels = {key: numpy.array(values) for key, values in labels.items()}
    labels["backward_jac", None] = 1 - numpy.array(HALVES)
    rows = agreement_rows(halves(), labels, 4)
    assert [row["adjusted_rand"] for row in rows] == [1, 1, 1]
    assert [row["pair"] for row in rows] == [
        "weights and upstream",
        "weights and downstream",
        "upstream and downstream",
    ]
    rows = agreement_rows(halves(), labels | {("weights, global", 4): numpy.array([0] * 22)}, 4)
    assert math.isnan(rows[0]["adjusted_rand"]), "who does not divide a layer agrees with nobody"
    labels["weights, global", 4] = numpy.array([3] * 12 + HALVES[12:])  # the first layer is in one piece
    assert agreement_rows(halves(), labels, 4)[0]["adjusted_rand"] == 1
    labels["backward_jac", None] = numpy.array([0, 1] * 11)
    assert agreement_rows(halves(), labels, 4)[1]["adjusted_rand"] < 0.3
    assert len(agreement_rows(halves(), divided, 4)) == len(DEFINITIONS) * (len(DEFINITIONS) - 1) / 2


def test_modules_of_candidates_in_halves_are_pure():
    row = purity_row(halves(), 0)
    assert row["candidates"] > 0
    assert row["purity"] == 1
    assert 90 < row["percentile"] < 100
    mixed = purity_row(replace(halves(), groups=[0, 1] * 11), 0)
    assert 0.5 <= mixed["purity"] < 1


def test_what_networks_say_together():
    about = {"condition": "c", "leak": 0.5, "groups": 2, "definition": "d", "family": "weights", "asked": 2}
    rows = []
    for seed, score in enumerate((0.2, 0.4, 0.6)):
        scores = {"adjusted_rand": score, "homogeneity": 1 - score}
        rows.append({**about, "network": seed, "seed": seed, "found": 2, **scores})
        rows[-1] |= {f"shuffled_{name}": 0.0 for name in scores}
    rows += [row | {"asked": 4} for row in rows] + [row | {"asked": None, "definition": "e"} for row in rows]
    pooled = pooled_recovery(rows)
    assert [(line["definition"], line["asked"], line["seeds"]) for line in pooled] == [
        ("d", 2, 3),
        ("d", 4, 3),
        ("e", None, 3),
    ]
    half = 4.302652729911275 * 0.2 / 3**0.5  # Student's t of two degrees of freedom
    assert pooled[0]["adjusted_rand_mean"] == pytest.approx(0.4)
    assert pooled[0]["adjusted_rand_low"] == pytest.approx(0.4 - half)
    assert pooled[0]["adjusted_rand_high"] == pytest.approx(0.4 + half)
    shown = headlines(pooled)
    assert [(line["definition"], line["score"]) for line in shown] == [("d", "adjusted_rand"), ("e", "homogeneity")]
    assert [line["mean"] for line in shown] == pytest.approx([0.4, 0.6])
    pairs = [
        {"condition": "c", "network": k, "seed": k, "definition": "d", "other": "e", "pair": "p", "adjusted_rand": k}
        for k in (0, 1)
    ]
    (line,) = pooled_agreement(pairs)
    assert (line["definition"], line["other"], line["mean"]) == ("d", "e", 0.5)
    purities_found = [row | {"purity": 0.5, "percentile": 50.0 + row["network"]} for row in rows[:3]]
    (line,) = pooled_purity(purities_found, 0)
    assert (line["median"], line["seeds"], line["purity"]) == (51, 3, 0.5)
