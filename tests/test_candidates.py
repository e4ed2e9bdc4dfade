import copy
import math
from itertools import combinations

import numpy
import pytest
import torch
from conftest import random_weights
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mlp import InputError
from mlp.data import DataSet
from mlp.model import MLP, initial_model
from mlp.network import Network
from modularity.ablation import ablated_hits
from modularity.candidates import (
    EFFECTS,
    NULLS,
    PRIMARY,
    RULES,
    candidate_rows,
    candidates_by_rule,
    indegree_nobetween_candidates,
    mean_percentiles,
    module_of,
    modules_by_rule,
    network_tests,
    neurons_of,
    null_modules,
)
from modularity.effects import ablation_effects, wilson_interval
from modularity.nulls import matched_modules
from modularity.significance import compare_with_null


@st.composite
def tables(draw):
    """Centralities with whole numbers, so that quantiles are exact and ties are common."""
    widths = draw(st.lists(st.integers(1, 6), min_size=3, max_size=5))
    number = st.integers(0, 5).map(float)
    return {
        (layer, index): {"in_degree": draw(number), "out_degree": draw(number), "betweenness": draw(number)}
        for layer, width in enumerate(widths)
        for index in range(width)
    }


quantiles = st.sampled_from([0, 0.25, 0.5, 0.75, 1])


@given(tables(), quantiles, quantiles)
def test_candidates_equal_brute_force(table, in_degree_quantile, betweenness_quantile):
    last = max(layer for layer, _ in table)
    expected = []
    for (layer, index), row in table.items():
        if layer in (0, last):
            continue
        peers = [other for (its_layer, _), other in table.items() if its_layer == layer and other["in_degree"]]
        if row["in_degree"] == 0:
            continue  # it has no incoming edges
        in_degrees = torch.tensor([peer["in_degree"] for peer in peers], dtype=torch.float64)
        betweennesses = torch.tensor([peer["betweenness"] for peer in peers], dtype=torch.float64)
        high = row["in_degree"] >= in_degrees.quantile(in_degree_quantile)
        low = row["betweenness"] <= betweennesses.quantile(betweenness_quantile)
        if high and low:
            expected.append((layer, index))
    assert indegree_nobetween_candidates(table, in_degree_quantile, betweenness_quantile) == expected


@given(tables(), st.integers(1, 8))
def test_the_cap_keeps_the_highest_ranks(table, cap):
    everyone = indegree_nobetween_candidates(table, 0, 1)
    kept = indegree_nobetween_candidates(table, 0, 1, max_candidates=cap)

    def rank(node):
        return sum(other[0] == node[0] and table[other]["in_degree"] > table[node]["in_degree"] for other in table)

    assert len(kept) == min(cap, len(everyone))
    assert kept == sorted(kept)
    dropped = set(everyone) - set(kept)
    assert all(rank(node) <= rank(other) for node in kept for other in dropped)


@given(tables(), quantiles, quantiles, st.none() | st.integers(1, 5))
def test_candidates_by_rule_are_those_of_one_half_alone(table, in_degree, betweenness, cap):
    """Who has a high in-degree and who has a low betweenness: the candidates are those that have both."""
    found = candidates_by_rule(table, (in_degree, betweenness, cap))
    assert list(found) == ["both", "in-degree alone", "betweenness alone"]
    assert found["both"] == indegree_nobetween_candidates(table, in_degree, betweenness, cap)
    everyone = candidates_by_rule(table, (in_degree, betweenness, None))
    assert set(everyone["both"]) == set(everyone["in-degree alone"]) & set(everyone["betweenness alone"])
    assert found["betweenness alone"] == everyone["betweenness alone"], "no rank by in-degree, whatever the cap"
    assert len(found["in-degree alone"]) == min(len(everyone["in-degree alone"]), cap or len(table))
    ignored = {node: row | {"betweenness": -row["betweenness"]} for node, row in table.items()}
    assert candidates_by_rule(ignored, (in_degree, 0.5, cap))["in-degree alone"] == found["in-degree alone"]
    ignored = {node: row | {"in_degree": -row["in_degree"]} for node, row in table.items()}
    assert candidates_by_rule(ignored, (0.5, betweenness, cap))["betweenness alone"] == found["betweenness alone"]
    assert candidates_by_rule(table, (in_degree, betweenness, cap), ["both"]) == {"both": found["both"]}


@given(st.lists(st.integers(1, 5), min_size=3, max_size=5), st.integers(0, 10**6), st.integers(0, 6), st.data())
def test_module_equals_brute_force(sizes, seed, top_inputs, data):
    weights = random_weights(sizes, seed, pruned=0.3)
    layer = data.draw(st.integers(1, len(sizes) - 2))
    index = data.draw(st.integers(0, sizes[layer] - 1))
    incoming = [(-abs(weight), source) for source, weight in enumerate(weights[layer - 1][index].tolist()) if weight]
    inputs = [(layer - 1, source) for _, source in sorted(incoming)[:top_inputs]] if layer > 1 else []
    module = module_of((layer, index), weights, top_inputs)
    assert module.dtype == torch.bool
    assert module.shape == (sum(sizes[1:-1]),)
    assert neurons_of(module, sizes[1:-1]) == sorted([*inputs, (layer, index)])


@pytest.mark.parametrize("neuron", [(0, 0), (3, 0), (1, 2), (1, -1)])
def test_only_hidden_neurons_have_modules(neuron):
    with pytest.raises(InputError, match="hidden"):
        module_of(neuron, random_weights((4, 2, 2, 2)))


def test_modules_by_rule_are_those_of_each_neuron():
    weights = random_weights((5, 4, 3, 2))
    weights[1][0, 1:] = 0  # pruned to a single input
    expected = [
        module_of((layer, index), weights, 2).tolist() for layer, width in ((1, 4), (2, 3)) for index in range(width)
    ]
    assert modules_by_rule(weights, 2).tolist() == expected
    assert sum(expected[4]) == 2


def lively(sizes, seed):
    """An untrained network that says different things of different images, whatever is silent."""
    model = initial_model(sizes, seed, init="glorot")
    with torch.no_grad():
        for weight in model.weights:
            weight.mul_(3)
    return model


def measured(model, candidates, images, labels, top_inputs=2, limit=100):
    """The network, the modules of its candidates and nulls, and what is right without them."""
    network = Network(model, DataSet("mnist", (3, 5, 7)), number=4, seed=2)
    generator = torch.Generator().manual_seed(0)
    modules = null_modules(network, {"both": candidates}, top_inputs, limit, generator)["both"]
    parts = [modules[0][:1] & False, modules[0], *(group for group, _ in modules[2].values())]
    intact, by_rule, *groups = (ablated_hits(model, part, images, labels) for part in parts)
    return network, modules, (intact[0], by_rule, groups)


def test_the_exact_null_equals_brute_force(digit_images):
    images, labels = digit_images
    model = lively((784, 4, 3, 3), seed=0)
    candidate = (2, 1)
    counts = labels.bincount()
    network, modules, hits = measured(model, [candidate], images, labels)
    _, row = candidate_rows(network, [candidate], modules, hits, counts.tolist())
    ((matched, complete),) = modules[2].values()
    assert (complete, row["selectivity_matched_null"], row["selectivity_matched_n"]) == (True, "complete", 18)

    def accuracies(silent):
        lesioned = copy.deepcopy(model)
        with torch.no_grad():
            for layer, index in silent:
                lesioned.weights[layer][:, index] = 0
            correct = lesioned(images).argmax(1) == labels
        return [correct[labels == digit].double().mean().item() for digit in range(3)]

    intact = accuracies([])
    assert len(hits[2][0].unique(dim=0)) > 6
    silent = {
        neuron
        for neuron in [(1, i) for i in range(4)] + [(2, i) for i in range(3)]
        if module_of(candidate, model.weights, 2)[neuron[1] + 4 * (neuron[0] == 2)]
    }
    null = [accuracies([(1, a), (1, b), (2, c)]) for a, b in combinations(range(4), 2) for c in range(3)]
    assert (hits[0] / counts.double()).tolist() == intact
    assert [row[f"accuracy_{digit}"] for digit in (3, 5, 7)] == accuracies(silent)
    low, high = numpy.quantile(null, [0.05, 0.95], axis=0).tolist()
    assert [row[f"null_low_{digit}"] for digit in (3, 5, 7)] == pytest.approx(low)
    assert [row[f"null_high_{digit}"] for digit in (3, 5, 7)] == pytest.approx(high)

    def selectivity(ablated):
        drops = [before - after for before, after in zip(intact, ablated)]
        return max(drops) - min(drops)

    observed = selectivity(accuracies(silent))
    expected = sum(selectivity(ablated) >= observed - 1e-12 for ablated in null) / len(null)
    null_effects = ablation_effects(hits[0], hits[2][0], counts.tolist())["selectivity"]
    assert sorted(null_effects) == pytest.approx(sorted(100 * selectivity(ablated) for ablated in null))
    assert row["selectivity"] == pytest.approx(100 * observed)
    assert row["selectivity_matched_p"] == pytest.approx(expected)


def test_the_same_rule_null_is_that_of_the_other_neurons(digit_images):
    """Those of the candidate's layer that are no candidates; each module is measured once, however many share it."""
    images, labels = digit_images
    model = lively((784, 4, 4, 3), seed=0)
    with torch.no_grad():
        model.weights[1][3, 1:] = 0  # pruned to a single input: its module no longer matches
    candidates = [(1, 0), (2, 1), (2, 2)]
    network, modules, hits = measured(model, candidates, images, labels)
    by_rule, chosen, matched, same_rule = modules
    assert [len(by_rule), *(len(group) for group, _ in matched.values())] == [8, 4, 6 * 4]
    assert list(matched) == list(same_rule) == [(1, 0), (2, 1)]
    assert chosen == [(0, (1, 0)), (5, (2, 1)), (6, (2, 1))]

    def effects(neurons):
        modules = torch.stack([module_of(neuron, model.weights, 2) for neuron in neurons])
        counts = labels.bincount().tolist()
        return ablation_effects(hits[0], ablated_hits(model, modules, images, labels), counts)["importance"].tolist()

    _, *rows = candidate_rows(network, candidates, modules, hits, labels.bincount().tolist())
    assert len({row["importance"] for row in rows}) == 3
    others = [[(1, 1), (1, 2), (1, 3)], [(2, 0)], [(2, 0)]]
    for row, candidate, its_others in zip(rows, candidates, others, strict=True):
        (effect,) = effects([candidate])
        compared = compare_with_null(effect, effects(its_others), others=True)
        found = {key: row[f"importance_same_rule_{key}"] for key in compared}
        assert (row["importance"], found) == (effect, compared)


@pytest.mark.parametrize("limit", [100, 20])
def test_rules_share_the_matched_null_and_have_their_own_of_the_same_rule(limit):
    """And what another rule adds changes nothing for the first, not even which modules are drawn."""
    network = Network(initial_model((784, 6, 5, 3), seed=0), DataSet("mnist", (3, 5, 7)))
    candidates = {"both": [(2, 1)], "in-degree alone": [(1, 0), (2, 1), (2, 3)]}
    found = null_modules(network, candidates, 2, limit, torch.Generator().manual_seed(0))
    (alone,) = null_modules(network, {"both": [(2, 1)]}, 2, limit, torch.Generator().manual_seed(0)).values()
    by_rule, chosen, matched, same_rule = found["both"]
    assert torch.equal(by_rule, alone[0]) and (chosen, same_rule) == (alone[1], alone[3])
    assert torch.equal(matched[2, 1][0], alone[2][2, 1][0])
    assert matched[2, 1][1] == (limit == 100)
    assert found["in-degree alone"][2] is matched
    assert list(matched) == [(2, 1), (1, 0)]
    assert same_rule == {(2, 1): [6, 8, 9, 10]}
    assert found["in-degree alone"][3] == {(1, 0): [1, 2, 3, 4, 5], (2, 1): [6, 8, 10]}


@pytest.mark.parametrize("limit", [1, 3])
def test_a_sampled_null_leaves_the_module_of_the_candidate_out(digit_images, limit):
    """Of four single neurons one or three were drawn, and each is a candidate; even where nothing else was drawn."""
    images, labels = digit_images
    model = lively((784, 5, 4, 3), seed=0)
    candidates = [(2, index) for index in range(4)]
    network, modules, hits = measured(model, candidates, images, labels, top_inputs=0, limit=limit)
    ((matched, complete),) = modules[2].values()
    assert not complete
    _, *rows = candidate_rows(network, candidates, modules, hits, labels.bincount().tolist())
    drawn = matched[:, 5:].sum(0).tolist()
    assert [row["importance_matched_n"] for row in rows] == [limit - itself for itself in drawn]
    assert any(drawn)
    for row in rows:
        n = row["importance_matched_n"]
        assert row["importance_matched_smallest_p"] == 1 / (n + 1)
        assert math.isnan(row["null_low_3"]) == math.isnan(row["importance_matched_mean"]) == (n == 0)


@pytest.mark.parametrize("limit", [100, 7])
def test_rows_of_candidates_equal_modules_silenced_one_by_one(digit_images, limit):
    """Of classes of unequal size; the null of all matched modules, or of random ones."""
    images, labels = digit_images[0][:300], digit_images[1][:300]
    images, labels = images[(labels > 0) | (torch.arange(300) < 100)], labels[(labels > 0) | (torch.arange(300) < 100)]
    model = lively((784, 5, 4, 3), seed=0)
    counts = labels.bincount().tolist()
    assert len(set(counts)) == 3
    candidates = [(1, 2), (2, 0), (2, 3)]
    network, modules, hits = measured(model, candidates, images, labels, limit=limit)
    intact, *rows = candidate_rows(network, candidates, modules, hits, counts)
    assert len(hits[1].unique(dim=0)) > 4

    def accuracies(module):
        activations = images
        for layer, silent in zip(model.layers, [*module.split([5, 4]), None]):
            activations = layer(activations)
            if silent is not None:
                activations = activations.relu() * ~silent
        right = activations.argmax(1) == labels
        return [right[labels == label].double().mean().item() for label in range(3)]

    nobody = torch.zeros(9, dtype=torch.bool)
    about = {
        "network": 4,
        "seed": 2,
        "members": 0,
        "module": "",
        "neuron": "intact",
        "layer": "",
        "index": "",
        "drop": 0,
    }
    assert {key: intact[key] for key in about} == about
    assert [intact[f"accuracy_{label}"] for label in (3, 5, 7)] == accuracies(nobody)
    assert "importance" not in intact
    for row, candidate in zip(rows, candidates, strict=True):
        module = module_of(candidate, model.weights, 2)
        members = [f"L{layer}_{index}" for layer, index in neurons_of(module, (5, 4))]
        assert (row["network"], row["seed"]) == (4, 2)
        assert (row["neuron"], row["layer"], row["index"]) == ("L{}_{}".format(*candidate), *candidate)
        assert (row["members"], row["module"]) == (len(members), " ".join(members))
        without = accuracies(module)
        drops = [before - after for before, after in zip(accuracies(nobody), without)]
        for label, accuracy, drop, count in zip((3, 5, 7), without, drops, counts):
            assert (row[f"accuracy_{label}"], row[f"drop_{label}"]) == pytest.approx((accuracy, drop))
            assert (row[f"low_{label}"], row[f"high_{label}"]) == wilson_interval(row[f"accuracy_{label}"], count)
        assert row["drop"] == pytest.approx(sum(drops) / 3)
        assert row["importance"] == pytest.approx(100 * row["drop"])
        assert row["selectivity"] == pytest.approx(100 * (max(drops) - min(drops)))
        shape = (0 if candidate[0] == 1 else 2) + (candidate[0] == 1), candidate[0] - 1
        matched, complete = modules[2][shape]
        assert complete == (limit == 100 or candidate[0] == 1)
        assert len(matched) == (5 if candidate[0] == 1 else 40 if complete else 7)
        others = matched if complete else [other for other in matched if not torch.equal(other, module)]
        null = numpy.array([accuracies(other) for other in others])
        low, high = numpy.quantile(null, [0.05, 0.95], axis=0)
        assert [row[f"null_low_{label}"] for label in (3, 5, 7)] == pytest.approx(low.tolist())
        assert [row[f"null_high_{label}"] for label in (3, 5, 7)] == pytest.approx(high.tolist())
        drops = 100 * (numpy.array(accuracies(nobody)) - null)
        for effect, values in (("importance", drops.mean(1)), ("selectivity", numpy.ptp(drops, axis=1))):
            compared = compare_with_null(row[effect], values.round(9), complete)
            compared |= compare_with_null(round(row[effect], 9), values.round(9), complete)
            assert {key: row[f"{effect}_matched_{key}"] for key in compared} == pytest.approx(compared)


def test_percentiles_and_points_are_averaged_per_network():
    """Of two networks, the second of which has no candidate that can be compared with the same rule."""
    names = [f"{effect}_{null}" for effect in EFFECTS for null in NULLS]

    def candidate(network, effects, percentiles, means):
        row = {"network": network, "seed": 7} | dict(zip(EFFECTS, effects))
        row |= {f"{name}_percentile": p for name, p in zip(names, percentiles, strict=True)}
        return row | {f"{name}_mean": mean for name, mean in zip(names, means, strict=True)}

    nan = math.nan
    intact = {"seed": 7, "accuracy_3": 0.9, "accuracy_5": 0.6}
    rows = [intact | {"network": 4}, candidate(4, (5, 50), (10, 20, 30, 40), (3, 1, 70, 40))]
    rows.append(candidate(4, (9, 90), (50, nan, 100, 0), (1, nan, 70, 100)))
    rows += [intact | {"network": 2, "seed": None}, candidate(2, (1, 2), (70, nan, 80, nan), (2, nan, 2, nan))]
    rows += [intact | {"network": 9, "accuracy_3": 1.0}]
    first, second, third = mean_percentiles(rows, (3, 5))
    columns = [
        *names,
        *(f"{name}_points" for name in names),
        *(f"{effect}_matched_minus_same_rule" for effect in EFFECTS),
    ]
    about = {"network": 4, "seed": 7, "balanced_accuracy": pytest.approx(0.75), "candidates": 2}
    assert first == about | dict(zip(columns, (30, 20, 65, 20, 5, 4, 0, 0, -10, 45), strict=True))
    assert (second["network"], second["seed"], second["candidates"]) == (2, None, 1)
    assert [second[name] for name in columns] == pytest.approx(
        [70, nan, 80, nan, -1, nan, 0, nan, nan, nan], nan_ok=True
    )
    assert (third["balanced_accuracy"], third["candidates"]) == (pytest.approx(0.8), 0)
    assert all(math.isnan(third[name]) for name in columns)


def networks_by_rule(seeds, per_seed=1):
    """Rows of `mean_percentiles` with random numbers, all different."""
    draws = numpy.random.default_rng(0)
    names = [f"{effect}_{null}" for effect in EFFECTS for null in NULLS]
    columns = [*names, *(f"{effect}_matched_minus_same_rule" for effect in EFFECTS)]
    return [
        {"rule": rule, "network": network, "seed": network % seeds}
        | {name: draws.uniform(0, 100) for name in columns}
        | {f"{name}_points": draws.normal() for name in names}
        for rule in RULES
        for network in range(seeds * per_seed)
    ]


def test_networks_are_tested_by_each_rule_effect_and_null():
    rows = networks_by_rule(12, per_seed=2)
    tests, contrasts = network_tests(rows, seed=0)
    assert (len(tests), len(contrasts)) == (3 * 2 * 2, 2 + 2)
    for test in tests.values():
        name = f"{test['effect']}_{test['among']}"
        own = [row for row in rows if row["rule"] == test["rule"]]
        percentiles, points = (
            [numpy.mean([row[key] for row in own if row["seed"] == seed]) for seed in range(12)]
            for key in (name, f"{name}_points")
        )
        assert test["seeds"] == 12
        assert test["median"] == pytest.approx(numpy.median(percentiles))
        assert test["p"] == pytest.approx(stats.wilcoxon(numpy.array(percentiles) - 50).pvalue)
        assert test["points_mean"] == pytest.approx(numpy.mean(points))
        interval = stats.ttest_1samp(points, 0).confidence_interval()
        assert (test["points_low"], test["points_high"]) == pytest.approx((interval.low, interval.high))
    assert {name for name in tests if "(" not in name} == {f"{effect}_{null}" for effect in EFFECTS for null in NULLS}
    assert tests["importance_matched (betweenness alone)"]["rule"] == "betweenness alone"


def test_contrasts_are_those_of_the_same_network():
    rows = networks_by_rule(9)
    rows[3]["selectivity_matched"] = rows[5]["importance_matched_minus_same_rule"] = math.nan
    _, contrasts = network_tests(rows, seed=0)
    both, in_degree, betweenness = (
        numpy.array([row["selectivity_matched"] for row in rows[k : k + 9]]) for k in (0, 9, 18)
    )
    expected = {
        "importance_matched_minus_same_rule": [row["importance_matched_minus_same_rule"] for row in rows[:9]],
        "selectivity_matched_minus_same_rule": [row["selectivity_matched_minus_same_rule"] for row in rows[:9]],
        "selectivity_matched (both minus in-degree alone)": both - in_degree,
        "selectivity_matched (both minus betweenness alone)": both - betweenness,
    }
    assert list(contrasts) == list(expected)
    for name, differences in expected.items():
        defined = [value for value in differences if not math.isnan(value)]
        assert contrasts[name]["seeds"] == len(defined)
        assert contrasts[name]["mean"] == pytest.approx(numpy.mean(defined))
        assert contrasts[name]["p"] == pytest.approx(stats.wilcoxon(defined).pvalue)


def test_a_betweenness_that_means_nothing_takes_nothing_from_the_rule():
    """Neurons are as selective as their in-degree, up to noise, and betweenness is random: no rule is favoured."""
    rows = []
    for seed in range(60):
        draws = numpy.random.default_rng(seed)
        network = Network(MLP((784, 12, 12, 2)), DataSet("mnist", (8, 1)), number=seed, seed=seed)
        table = {
            (layer, place): {"in_degree": draws.normal(), "betweenness": draws.normal()}
            for layer in (1, 2, 3)
            for place in range(12)
        }
        candidates = candidates_by_rule(table, (0.5, 0.5, None))
        modules = null_modules(network, candidates, 0, 100, torch.Generator().manual_seed(seed))
        in_degrees = torch.tensor([table[layer, place]["in_degree"] for layer in (1, 2) for place in range(12)])
        lost = (100 * (4 + in_degrees + torch.from_numpy(draws.normal(size=24)))).long().clamp(min=0)
        right = torch.stack([1000 - lost, torch.full((24,), 1000)], dim=1)
        intact = torch.tensor([1000, 1000])
        of_groups = [right[group.int().argmax(1)] for group, _ in modules["both"][2].values()]
        for rule, chosen in candidates.items():
            found = candidate_rows(network, chosen, modules[rule], (intact, right, of_groups), [1000, 1000])
            rows += [{"rule": rule} | row for row in mean_percentiles(found, (8, 1))]
    tests, contrasts = network_tests(rows, seed=0)
    assert tests["selectivity_same_rule"]["p"] < 1e-6, "in-degree is found"
    assert abs(contrasts["selectivity_matched (both minus in-degree alone)"]["mean"]) < 3
    assert contrasts["selectivity_matched (both minus in-degree alone)"]["p"] > 0.01
    assert contrasts["selectivity_matched (both minus betweenness alone)"]["low"] > 10


def test_one_test_is_primary_and_all_others_are_corrected_for_each_other():
    tests, contrasts = network_tests(networks_by_rule(9), seed=0)
    everything = tests | contrasts
    primary = {name: test for name, test in everything.items() if test["role"] == "primary"}
    assert list(primary) == ["_".join(PRIMARY)] == ["selectivity_same_rule"]
    assert primary["selectivity_same_rule"]["rule"] == "both"
    assert math.isnan(primary["selectivity_same_rule"]["adjusted_p"])
    others = [test for name, test in everything.items() if name not in primary]
    assert {test["role"] for test in others} == {"exploratory"}
    expected = stats.false_discovery_control([test["p"] for test in others])
    assert [test["adjusted_p"] for test in others] == pytest.approx(expected.tolist())


def test_a_planted_module_is_found_and_a_random_one_is_not():
    """Class 0 is carried by neurons 0 to 3, any one of which is enough; class 1 by the other eight."""
    model = MLP((2, 12, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.weights[0][:4, 0] = model.weights[0][4:, 1] = 1
        model.weights[1][0, :4] = model.weights[1][1, 4:] = 1
        model.biases[1][1] = 0.5  # what nobody recognises is called class 1
    images, labels = torch.eye(2).repeat(20, 1), torch.arange(2).repeat(20)
    null, complete = matched_modules((4,), (12,), limit=1000, generator=None)
    assert complete
    planted = torch.arange(12) < 4
    random = torch.arange(12) % 3 == 0
    modules = torch.cat([torch.stack([planted & False, planted, random]), null])
    hits = ablated_hits(model, modules, images, labels)
    for effect, value in ablation_effects(hits[0], hits[1:], [20, 20]).items():
        found = compare_with_null(value[0].item(), value[2:], includes_observed=True)
        missed = compare_with_null(value[1].item(), value[2:], includes_observed=True)
        assert found["p"] == found["smallest_p"] == 1 / 495, effect
        assert missed["p"] == 1, effect
