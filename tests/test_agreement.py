import math
from itertools import combinations, permutations, product

import numpy
import pytest
import torch
from conftest import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from mlp.data import DataSet
from mlp.model import MLP, initial_model
from mlp.network import Network
from modularity.agreement import (
    agreement_contrasts,
    agreement_rows,
    averaged,
    cluster_rows,
    compare_partitions,
    dropouts,
    effective_clusters,
    element_centric_similarity,
    hyperparameters,
    measured_partitions,
    modularity_row,
    pooled_agreement,
    pooled_modularity,
    regularization_trends,
    series,
    shuffled_similarity,
)
from modularity.communities import maximise_modularity
from modularity.similarity import MEASURES, pair_group, similarities


def test_effective_clusters_by_hand():
    assert effective_clusters([0, 0, 1, 1, 2, 2]) == pytest.approx(3)
    assert effective_clusters([4, 4, 4]) == pytest.approx(1)
    expected = math.exp(-(0.5 * math.log(0.5) + 0.25 * math.log(0.25)))
    assert effective_clusters([0, 0, 1, -1]) == pytest.approx(expected)


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=20), st.integers(0, 10**6))
def test_element_centric_similarity_equals_brute_force(labels, seed):
    others = numpy.random.default_rng(seed).integers(0, 3, len(labels)).tolist()
    total = 0
    for i in range(len(labels)):
        a = {j for j in range(len(labels)) if labels[j] == labels[i]}
        b = {j for j in range(len(labels)) if others[j] == others[i]}
        total += len(a & b) / max(len(a), len(b))
    assert element_centric_similarity(labels, others) == pytest.approx(total / len(labels))
    assert element_centric_similarity(others, labels) == pytest.approx(element_centric_similarity(labels, others))
    assert element_centric_similarity(labels, labels) == 1


def test_random_partitions_agree_by_chance():
    draws = numpy.random.default_rng(0)
    found = [element_centric_similarity(*draws.integers(0, 4, (2, 64))) for _ in range(300)]
    assert numpy.mean(found) == pytest.approx(0.263, abs=0.005)


@given(st.lists(st.integers(-1, 2), min_size=1, max_size=6), st.integers(0, 10**6))
def test_shuffled_similarity_is_the_mean_of_all_permutations(labels, seed):
    others = numpy.random.default_rng(seed).integers(0, 3, len(labels)).tolist()
    every = [element_centric_similarity(labels, order) for order in permutations(others)]
    assert shuffled_similarity(labels, others) == pytest.approx(numpy.mean(every))
    assert shuffled_similarity(others, labels) == pytest.approx(numpy.mean(every))


def test_partitions_are_compared_with_chance():
    draws = numpy.random.default_rng(0)
    labels = draws.integers(0, 4, 64)
    same = compare_partitions(labels, (labels + 1) % 4)
    assert (same["similarity"], same["adjusted_rand"]) == (1, 1)
    shuffled = [compare_partitions(labels, draws.permutation(labels)) for _ in range(300)]
    assert numpy.mean([row["similarity"] for row in shuffled]) == pytest.approx(same["shuffled"], abs=0.003)
    assert numpy.mean([row["adjusted_rand"] for row in shuffled]) == pytest.approx(0, abs=0.005)


def network(model=None, **about):
    return Network(model or MLP((784, 4, 3, 2)), DataSet("mnist", (8, 1)), **about)


@pytest.mark.parametrize("pruned, zeros", [(0, 0), (3, 0), (2842, 0.9), (3158, 1)])
def test_hyperparameters_are_what_is_known_and_the_share_of_zeros(pruned, zeros):
    """Of 4 x 784 + 3 x 4 + 2 x 3 weights, to two decimals; nothing is known of untrained networks."""
    model = MLP((784, 4, 3, 2))
    left = torch.arange(3154) >= pruned
    with torch.no_grad():
        for weight, some in zip(model.weights, left.split([3136, 12, 6])):
            weight.copy_(some.view(weight.shape))
    known = {"lr": 0.1, "l2": 0, "dropout": None, "epochs": 3}
    expected = {"lr": 0.1, "dropout": None, "l1": None, "l2": 0, "zeros": zeros}
    assert hyperparameters(network(model, hyperparameters=known)) == expected
    untrained = network(model, condition="random initialisation", hyperparameters=known)
    assert hyperparameters(untrained) == dict.fromkeys(expected)


def trained_with(seed=0, q=0.5, condition="some", number=0, layer=1, **rates):
    rates = {"lr": 0.1, "dropout": 0, "l1": 0, "l2": 0, "zeros": 0.0} | rates
    about = {"condition": condition, "network": number, "seed": seed, "layer": layer, "measure": "forward_cov"}
    return about | rates | {"q": q}


def test_a_series_differs_in_one_thing_alone():
    rows = [
        trained_with(condition="none"),
        trained_with(dropout=0.5, condition="half"),
        trained_with(dropout=0.5, l1=0.01),
        trained_with(dropout=0.2, zeros=0.9),
        trained_with(dropout=None),
        trained_with(l1=0.01),
        trained_with(lr=0.2),
        trained_with(zeros=0.9),
        dict.fromkeys(trained_with()),
    ]
    assert series(rows, "dropout") == rows[:2]
    assert series(rows, "l1") == [rows[0], rows[5]]
    assert series(rows, "l2") == rows[:1]
    assert series(rows, "lr") == [rows[0], rows[6]]
    assert dropouts(rows) == {"none": 0, "half": 0.5}
    assert series(rows[-1:], "dropout") == []
    assert dropouts([]) == {}


def test_trends_of_regularisation_by_hand():
    """Dropout at three rates of two seeds, one of which rises and one that mostly falls; L1 at two, falling."""
    q = {0: (0.1, 0.2, 0.3), 1: (0.2, 0.4, 0.1)}
    rows = [trained_with(seed, q[seed][place], dropout=rate) for seed in q for place, rate in enumerate((0, 0.2, 0.5))]
    rows += [trained_with(seed, 0.05, l1=0.01) for seed in q]
    rows += [trained_with(7, math.nan, dropout=0.9), trained_with(7, 0.9, dropout=0.9, l2=0.1)]
    rows += [trained_with(layer=2), trained_with(layer=2, q=math.nan, dropout=0.5)]
    dropout, l1 = regularization_trends(rows, seed=0)
    about = {"regularization": "dropout", "from": 0, "to": 0.5, "layer": 1, "measure": "forward_cov"}
    assert {key: dropout[key] for key in about} == about
    assert (dropout["networks"], dropout["seeds"]) == (6, 2)
    assert (dropout["q"], dropout["q_change"]) == (pytest.approx(0.15), pytest.approx(0.15))  # 0.15, 0.3, 0.2
    assert dropout["tau"] == pytest.approx((1 - 1 / 3) / 2)
    taus = [1, 1 / 3, 1 / 3, -1 / 3, -1 / 3, -1]
    exact = numpy.mean([abs(one + other) / 2 > 0.33 for one, other in product(taus, taus)])
    assert dropout["p"] == pytest.approx(exact, abs=0.02)
    assert (l1["regularization"], l1["from"], l1["to"], l1["networks"], l1["seeds"]) == ("l1", 0, 0.01, 4, 2)
    assert (l1["q"], l1["q_change"], l1["tau"]) == (pytest.approx(0.15), pytest.approx(-0.1), -1)
    assert l1["p"] == pytest.approx(1 / 2, abs=0.02)
    assert regularization_trends([], seed=0) == []


def test_the_largest_change_may_be_a_fall():
    rows = [trained_with(0, q, dropout=rate) for rate, q in ((0.5, 0.45), (0, 0.4), (0.2, 0.1))]
    (found,) = regularization_trends(rows, seed=0)
    assert (found["from"], found["to"], found["q"]) == (0, 0.5, 0.4)
    assert found["q_change"] == pytest.approx(-0.3)


def test_the_mean_of_all_measures_with_dropout_is_the_primary_test():
    q = {0: {0: (0.1, 0.3), 0.5: (0.4, 0.4)}, 1: {0: (0.2, 0.2), 0.5: (0.5, 0.9)}}
    rows = []
    for seed, of_rate in q.items():
        for rate, values in of_rate.items():
            for measure, value in zip(("forward_cov", "backward_jac"), values):
                row = trained_with(seed, value, dropout=rate)
                rows.append(row | {"condition": f"dropout {rate}", "network": seed, "measure": measure})
    means = averaged(rows)
    assert [(row["measure"], row["layer"], row["dropout"]) for row in means] == [
        ("all", "all", 0),
        ("all", "all", 0.5),
    ] * 2
    assert [row["q"] for row in means] == pytest.approx([0.2, 0.4, 0.2, 0.7])
    primary, *others = regularization_trends(means + rows, seed=0)
    assert (primary["measure"], primary["role"], "adjusted_p" in primary) == ("all", "primary", False)
    assert {line["role"] for line in others} == {"exploratory"}
    half = t.ppf(0.975, 1) * 0.3 / 2
    interval = [primary[f"change_{end}"] for end in ("low", "mean", "high")]
    assert interval == pytest.approx([0.35 - half, 0.35, 0.35 + half])
    assert math.isnan(averaged([rows[0], rows[1] | {"q": math.nan}])[0]["q"])
    without = regularization_trends(rows, seed=0)
    assert [line["measure"] for line in without] == ["forward_cov", "backward_jac"]
    assert all("adjusted_p" in line and "role" not in line for line in without)


def agreement(condition, network, seed, group, similarity, shuffled=0.2, layer=1):
    row = {"condition": condition, "network": network, "seed": seed, "layer": layer, "group": group}
    return row | {"similarity": similarity, "shuffled": shuffled, "adjusted_rand": similarity - 0.1}


def agreements_by_hand():
    """Two conditions of the seeds 0 and 1, of which what is measured once counts once; and an untrained network."""
    rows = []
    for condition, seed, up, down, cross in (
        ("a", 0, (0.9, 0.7), 0.4, 0.5),
        ("a", 1, (0.6, math.nan), 0.5, 0.3),
        ("b", 0, (0.8, 0.8), 0.4, 0.1),
        ("random initialisation", 0, (0.5, 0.5), 0.3, 0.6),
    ):
        rows += [agreement(condition, seed, seed, "UP", value) for value in up]
        rows += [agreement(condition, seed, seed, "DOWN", down), agreement(condition, seed, seed, "NORM", 1.0)]
        rows += [agreement(condition, seed, seed, "CROSS", cross, shuffled) for shuffled in (0.2, 0.3)]
    return rows


def test_contrasts_of_agreement_by_hand():
    *trained, up, down, cross = agreement_contrasts(agreements_by_hand())
    names = ("networks", "seeds", "one", "other")
    assert [tuple(line[name] for name in names) for line in trained] == [
        ("trained", 2, "UP", "CROSS"),
        ("trained", 2, "DOWN", "CROSS"),
        ("trained", 2, "CROSS", "shuffled"),
    ]
    # seed 0: 0.8, 0.4, 0.3 and 0.25; seed 1: 0.6, 0.5, 0.3 and 0.25
    assert [line["mean"] for line in trained] == pytest.approx([0.7, 0.45, 0.3])
    assert [line["other_mean"] for line in trained] == pytest.approx([0.3, 0.3, 0.25])
    assert [(line["p"], line["adjusted_p"], line["direction"]) for line in trained] == [(0.5, 1, 1)] * 3
    assert [line["difference"] for line in trained] == pytest.approx([0.4, 0.15, 0.05])
    half = t.ppf(0.975, 1) * (0.5 - 0.3) / 2
    assert (trained[0]["difference_low"], trained[0]["difference_high"]) == pytest.approx((0.4 - half, 0.4 + half))
    for line, (mean, other, direction) in zip((up, down, cross), ((0.5, 0.6, -1), (0.3, 0.6, -1), (0.6, 0.25, 1))):
        assert (line["networks"], line["seeds"], line["p"]) == ("random initialisation", 1, 1)
        assert (line["mean"], line["other_mean"]) == pytest.approx((mean, other))
        assert line["direction"] == direction
    *_, nobody = agreement_contrasts(agreements_by_hand()[:4])
    assert (nobody["seeds"], nobody["p"], nobody["direction"]) == (0, 1, 0)
    assert math.isnan(nobody["mean"])


def test_agreement_is_pooled_by_condition():
    lines = pooled_agreement(agreements_by_hand())
    found = {(line["condition"], line["group"]): line for line in lines}
    assert list(dict.fromkeys(line["condition"] for line in lines)) == [
        "a",
        "b",
        "all trained",
        "random initialisation",
    ]
    assert len(lines) == len(found) == 4 * 4
    expected = {"a": 2.2 / 3, "b": 0.8, "all trained": 3.8 / 5, "random initialisation": 0.5}
    for condition, mean in expected.items():
        line = found[condition, "UP"]
        assert (line["similarity"], line["adjusted_rand"]) == pytest.approx((mean, mean - 0.1))
        assert (line["layer"], line["shuffled"]) == (1, pytest.approx(0.2))
    assert found["all trained", "CROSS"]["shuffled"] == pytest.approx(0.25)
    one = [row for row in agreements_by_hand() if row["condition"] != "b"]
    assert {line["condition"] for line in pooled_agreement(one)} == {"a", "random initialisation"}


def test_each_two_measures_are_compared_where_both_are_defined():
    draws = numpy.random.default_rng(0)
    partitions = {(layer, measure): (draws.integers(0, 3, 6), 0.1) for measure in MEASURES for layer in (1, 2)}
    partitions[2, "backward_jac"] = (numpy.full(6, -1), math.nan)
    rows = agreement_rows(network(condition="known", number=3, seed=8), partitions)
    pairs = [(layer, *pair) for layer in (1, 2) for pair in combinations(MEASURES, 2)]
    assert [(row["layer"], row["measure"], row["other"]) for row in rows] == pairs
    for row, (layer, measure, other) in zip(rows, pairs):
        assert (row["condition"], row["network"], row["seed"]) == ("known", 3, 8)
        assert row["group"] == pair_group(measure, other)
        found = {key: row[key] for key in ("similarity", "shuffled", "adjusted_rand")}
        if layer == 2 and "backward_jac" in (measure, other):
            assert all(math.isnan(value) for value in found.values())
        else:
            assert found == compare_partitions(partitions[layer, measure][0], partitions[layer, other][0])


def test_rows_of_modularity_and_clusters_by_hand():
    known = network(condition="known", number=3, seed=8, hyperparameters={"lr": 0.1, "dropout": 0.5})
    row = modularity_row(known, 0.75, 2, "forward_cov", numpy.array([0, 0, 1, -1]), 0.25)
    assert row == {
        **{"condition": "known", "network": 3, "seed": 8, "lr": 0.1, "dropout": 0.5, "l1": None, "l2": None},
        **{"zeros": 0, "accuracy": 0.75, "layer": 2, "measure": "forward_cov", "q": 0.25},
        **{"clusters": effective_clusters([0, 0, 1, -1]), "neurons": 4, "dead": 1},
    }
    alone = modularity_row(known, None, 1, "forward_cov", numpy.array([-1, -1]), math.nan)
    assert math.isnan(alone["clusters"])
    partitions = {(1, "forward_cov"): (numpy.array([1, 0]), 0.1), (1, "backward_jac"): (numpy.array([-1, 0]), 0.1)}
    assert cluster_rows(known, partitions | {(2, "forward_cov"): (numpy.array([0]), 0.0)}) == [
        {"condition": "known", "network": 3, "layer": 1, "neuron": 0, "forward_cov": 1, "backward_jac": -1},
        {"condition": "known", "network": 3, "layer": 1, "neuron": 1, "forward_cov": 0, "backward_jac": 0},
        {"condition": "known", "network": 3, "layer": 2, "neuron": 0, "forward_cov": 0},
    ]


def test_modularity_is_pooled_over_seeds():
    """Two networks of seed 0 and one of seed 1, against three that are untrained."""
    rows = [trained_with(seed, q, "a", number) for number, (seed, q) in enumerate(((0, 0.5), (0, 0.3), (1, 0.6)))]
    rows += [trained_with(0, math.nan, "b")]
    rows += [trained_with(k, q, "random initialisation", k) for k, q in enumerate((0.1, 0.2, 0.3))]
    a, b = pooled_modularity([row | {"clusters": 10 * row["q"]} for row in rows])
    assert (a["condition"], a["layer"], a["measure"], a["n"], a["untrained_n"]) == ("a", 1, "forward_cov", 2, 3)
    assert (a["mean"], a["untrained_mean"]) == pytest.approx((0.5, 0.2))
    assert (a["z"], a["p"]) == pytest.approx((3, 1 / math.comb(5, 2)))
    assert a["clusters"] == pytest.approx(14 / 3)
    assert (b["condition"], b["n"], b["p"]) == ("b", 0, 1)


def test_partitions_are_the_best_of_the_similarities():
    networks = [network(initial_model((784, 6, 5, 2), seed), number=seed) for seed in (0, 1)]
    where = REPOSITORY / "data", torch.device("cpu"), 1
    found = list(measured_partitions(networks, networks[1:], 3, 0, *where))
    images, _ = networks[0].data.load(False, REPOSITORY / "data")
    for own, (partitions, drawn) in zip(networks, found, strict=True):
        similarity = similarities(own.model, images)
        assert list(partitions) == [(layer, measure) for measure in MEASURES for layer in (1, 2)]
        for (layer, measure), (labels, q) in partitions.items():
            expected, its_q = maximise_modularity(similarity[measure][layer - 1], 3, 0)
            assert (labels.tolist(), q) == (expected.tolist(), its_q)
        if own is networks[0]:
            assert drawn is None
        else:
            assert list(drawn) == ["forward_cov_norm", "backward_hess_norm"]
            assert all(torch.equal(*pair) for name in drawn for pair in zip(drawn[name], similarity[name]))
