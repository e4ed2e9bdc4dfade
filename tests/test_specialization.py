import math
from dataclasses import replace

import numpy
import pytest
import torch
from conftest import REPOSITORY
from scipy import stats

import are_modules_specialized
from mlp.checkpoint import save_checkpoint
from mlp.data import DataSet
from mlp.model import initial_model
from mlp.network import Network
from modularity.ablation import ablated_hits
from modularity.effects import accuracy_effect, class_range, range_effect
from modularity.nulls import layer_counts
from modularity.optimal_images import output_entropies
from modularity.partitions import CASPER
from modularity.specialization import (
    EXCESS,
    MEASURES,
    PRIMARY,
    _driven,
    corrected,
    measured_parts,
    paired_tests,
    pooled_summary,
    unevenness,
    summary,
)


MEASURED = {"change": -0.02, "random_change": -0.01, "range": 3.0, "random_range": 2.0, "matched_n": 19}
MEASURED |= {"score": 6.0, "random_score": 4.0, "entropy": 0.5, "random_entropy": 0.75}


def parts(network, seed, p):
    """A row for each of two parts of a network, whose p-values are all the same."""
    numbers = {f"{measure}_{key}": p for measure in MEASURES for key in ("p", "p_conservative")}
    numbers |= {f"{measure}_effect": 1.0 for measure in MEASURES}
    return [part(network, seed, **MEASURED, **numbers)] * 2


def test_networks_of_one_seed_are_combined_as_one():
    one, other = pooled_summary(parts(0, 5, 0.1)), pooled_summary([*parts(0, 5, 0.1), *parts(1, 5, 0.1)])
    assert (other["networks"], other["seeds"]) == (2, 1)
    assert other["accuracy_combined_p"] == pytest.approx(one["accuracy_combined_p"])
    assert other["accuracy_combined_p"] == pytest.approx(one["accuracy_p"][0])
    independent = pooled_summary([*parts(0, 5, 0.1), *parts(1, 6, 0.1)])
    assert (independent["networks"], independent["seeds"]) == (2, 2)
    assert independent["accuracy_combined_p"] == pytest.approx(2 * one["accuracy_p"][0] ** 2)


@pytest.mark.parametrize("networks", [4, 11, 30])
def test_networks_without_any_effect_can_be_corrected(networks):
    line = pooled_summary([row for k in range(networks) for row in parts(k, k, 1.0)])
    assert corrected([line])[0]["accuracy_adjusted_p"] == pytest.approx(1)


def test_what_was_measured_is_saved_before_it_is_judged(tmp_path, monkeypatch):
    def failing(_):
        raise RuntimeError("a judgement that fails")

    monkeypatch.setattr(are_modules_specialized, "corrected", failing)
    save_checkpoint(tmp_path / "network.pt", initial_model((784, 6, 2), 0), classes=(8, 1))
    with pytest.raises(RuntimeError, match="fails"):
        are_modules_specialized.main(
            [
                str(tmp_path / "network.pt"),
                "--clusters",
                "2",
                "--draws",
                "2",
                "--jobs",
                "1",
                "--figures-dir",
                str(tmp_path),
            ]
        )
    assert (tmp_path / "specialization.csv").read_text().count("\n") > 4


def part(network=0, seed=5, status="tested", random_n=19, **numbers):
    about = {"condition": "pruned", "partitioning": "weights", "kind": "clusters", "network": network, "seed": seed}
    return about | {"status": status, "random_n": random_n} | numbers


def test_the_summary_of_a_network_by_hand():
    """Of 19 random sets and of 4; images were made of the first part only, and no range was measured."""
    lesions = [
        {"accuracy_p": 0.05, "accuracy_p_conservative": 0.1, "accuracy_effect": 1.5},
        {"accuracy_p": 0.2, "accuracy_p_conservative": 0.4, "accuracy_effect": 0.5},
    ]
    images = {"score_p": 0.3, "score_p_conservative": 0.35, "score_effect": 1.25}
    images |= {"entropy_p": 1, "entropy_p_conservative": 1, "entropy_effect": math.nan}
    rows = [part(**MEASURED, **lesions[0], **images)]
    rows += [part(random_n=4, **MEASURED | {"random_change": 0.01}, **lesions[1])]
    rows += [part(status="too small"), part(status="the whole layer"), part(status="too small")]
    line = summary(rows)
    about = {"condition": "pruned", "partitioning": "weights", "kind": "clusters", "network": 0, "seed": 5}
    about |= {"tested": 2, "too_small": 2, "the_whole_layer": 1}
    assert {key: line[key] for key in about} == about
    assert [line[f"{measure}_n"] for measure in MEASURES] == [2, 0, 1, 1]
    for name, shifted in (("p", (0.025, 0.1)), ("p_conservative", (0.075, 0.3))):
        expected = stats.chi2.sf(-2 * sum(map(math.log, shifted)), df=4)
        assert line[f"accuracy_{name}"] == pytest.approx(expected, rel=1e-9)
    assert line["accuracy_log_p"] == pytest.approx(-(math.log(0.025) + math.log(0.1)) / 2)
    assert (line["accuracy_effect"], line["score_effect"]) == (1, 1.25)
    assert line["accuracy_excess"] == pytest.approx((1 + 3) / 2)  # points
    assert line["score_excess"] == pytest.approx(math.log(6 / 4))
    assert line["entropy_excess"] == pytest.approx(-0.25)
    assert math.isnan(line["range_excess"])
    assert (line["score_p"], line["score_p_conservative"]) == pytest.approx((0.275, 0.325))
    assert (line["range_p"], line["range_p_conservative"]) == (1, 1)
    assert all(math.isnan(line[key]) for key in ("range_log_p", "range_effect", "entropy_effect"))


def test_the_summary_of_many_networks_by_hand():
    """Two networks of one seed and one of another; p-values of 19 random sets, of which one part says what it says."""
    found = [(0, 5, 0.1, 1.0), (0, 5, None, None), (1, 5, 0.3, 0.5), (2, 6, 0.2, 2.0), (2, 6, 1, math.nan)]
    rows = []
    for network, seed, p, effect in found:
        numbers = MEASURED | {"score_p": p, "score_p_conservative": p, "score_effect": effect} if p else {}
        rows.append(part(network, seed, "tested" if p else "too small", **numbers))
    line = pooled_summary(rows)
    assert (line["networks"], line["seeds"], line["tested"]) == (3, 2, 4)
    last = stats.chi2.sf(-2 * (math.log(0.175) + math.log(0.975)), df=4)
    assert line["score_p"] == pytest.approx([0.075, 0.275, last])
    assert line["score_combined_p"] == pytest.approx(((0.075 + 0.275) / 2 + last) ** 2 / 2)
    assert line["score_effect"] == pytest.approx([1, 0.5, 2])
    assert line["score_n"] == 3
    assert line["score_mean_effect"] == pytest.approx(3.5 / 3)
    assert line["score_effect_se"] == pytest.approx((2 - 0.75) / 2)  # of 0.75 and 2, the means of the seeds
    assert line["accuracy_combined_p"] == 1
    assert (line["accuracy_n"], line["accuracy_p"]) == (0, [1, 1, 1])
    assert math.isnan(line["accuracy_mean_effect"]) and math.isnan(line["accuracy_effect_se"])


def test_p_values_are_corrected_within_families_and_kinds():
    """Of two partitionings: lesions by 2 x 2 tests, images by 2 x 2; random clusters on their own."""
    names = ("accuracy", "range", "score", "entropy")
    p_values = {
        "clusters": [(0.01, 0.04, 0.02, 1), (0.03, 0.5, 1, 1)],
        "random": [(0.04, 0.8, 1, 1), (0.9, 1, 1, 0.2)],
    }
    lines = [
        {"kind": kind, "place": place}
        | {f"{name}_combined_p": p for name, p in zip(names, own)}
        | {f"{name}_combined_p_conservative": 1.0 for name in names}
        for kind, both in p_values.items()
        for place, own in enumerate(both)
    ]
    found = corrected(lines)
    assert [(line["kind"], line["place"]) for line in found] == [
        ("clusters", 0),
        ("clusters", 1),
        ("random", 0),
        ("random", 1),
    ]
    adjusted = [[line[f"{name}_adjusted_p"] for name in names] for line in found]
    assert adjusted[0] == pytest.approx([0.04, 0.16 / 3, 0.08, 1])
    assert adjusted[1] == pytest.approx([0.16 / 3, 0.5, 1, 1])
    assert adjusted[2] == pytest.approx([0.16, 1, 1, 1])
    assert adjusted[3] == pytest.approx([1, 1, 1, 0.8])
    assert {line[f"{name}_adjusted_p_conservative"] for line in found for name in names} == {1}


def summaries(values, condition="pruned", **about):
    """Lines of `summary`: {(network, seed): (clusters, random)}, the same in every measure."""
    lines = []
    for (network, seed), pair in values.items():
        for kind, value in zip(("clusters", "random"), pair):
            line = {"condition": condition, "partitioning": "weights, global", "kind": kind} | about
            excess = {f"{measure}_excess": value for measure in EXCESS}
            lines.append(line | {"network": network, "seed": seed} | excess)
    return lines


def test_clusters_against_random_partitions_by_hand():
    """Two networks of one seed are one; what one kind lacks is not compared; ratios are those of geometric means."""
    values = {(0, 5): (3.0, 1.0), (1, 5): (5.0, 1.0), (2, 6): (2.0, 1.0), (3, 7): (9.0, math.nan)}
    tests = paired_tests(summaries(values))
    assert [row["measure"] for row in tests] == ["accuracy", "range", "score", "entropy"]
    for row in tests:
        plain = numpy.log if row["unit"] == "ratio" else float
        assert row["seeds"] == 2
        assert plain(row["clusters"]) == pytest.approx((4 + 2) / 2)
        assert plain(row["random"]) == pytest.approx(1)
        assert plain(row["contrast"]) == pytest.approx((3 + 1) / 2)
        interval = stats.ttest_1samp([3, 1], 0).confidence_interval()
        assert (plain(row["low"]), plain(row["high"])) == pytest.approx(interval)
        assert (row["p"], row["smallest_p"], row["direction"]) == (0.5, 0.5, 1)
    units = {row["measure"]: row["unit"] for row in tests}
    assert units == {"accuracy": "points", "range": "ratio", "score": "ratio", "entropy": "nats"}


def test_unevenness_by_hand():
    """Layer by layer; parts of one seed are one; those that are not matched do not count."""
    about = {"condition": "pruned", "partitioning": "weights, global", "kind": "clusters", "range": 8}
    rows = [
        about
        | {"network": n, "layer": layer, "seed": seed, "random_range": 8 / by_number, "matched_range": 8 / by_cost}
        for n, (layer, seed, by_number, by_cost) in enumerate([(2, 5, 2, 4), (2, 5, 8, 16), (1, 6, 3, 1), (2, 6, 2, 4)])
    ]
    not_matched = about | {"network": 9, "layer": 2, "seed": 9, "random_range": 1}
    single, line = unevenness([*rows, not_matched])
    assert (single["layer"], single["parts"], single["number_mean"]) == (1, 1, pytest.approx(3))
    assert math.isnan(single["number_low"])
    assert (line["layer"], line["kind"], line["parts"], line["seeds"]) == (2, "clusters", 3, 2)
    for name, logs in (("number", [math.log(4), math.log(2)]), ("cost", [math.log(8), math.log(4)])):
        assert line[f"{name}_mean"] == pytest.approx(math.exp(numpy.mean(logs)))
        interval = stats.ttest_1samp(logs, 0).confidence_interval()
        assert (line[f"{name}_low"], line[f"{name}_high"]) == pytest.approx(tuple(map(math.exp, interval)))
    assert unevenness([not_matched]) == []


def test_one_comparison_is_primary_and_the_others_are_corrected():
    far = {(k, k): (1.0 + k, 0.0) for k in range(6)}
    near = {(k, k): ((-1.0) ** k * (1 + k), 0.0) for k in range(6)}
    lines = summaries(near, partitioning="activations, local") + summaries(far) + summaries(near, "unpruned")
    first, *others = paired_tests(lines)
    assert PRIMARY == {"measure": "accuracy", "partitioning": "weights, global"}
    assert PRIMARY.items() <= first.items()
    assert (first["condition"], first["role"], first["p"]) == ("pruned", "primary", 2 / 2**6)
    assert "adjusted_p" not in first
    assert {row["role"] for row in others} == {"exploratory"}
    assert len(others) == 3 * 4 - 1
    expected = stats.false_discovery_control([row["p"] for row in others])
    assert [row["adjusted_p"] for row in others] == pytest.approx(expected)
    assert len(set(expected)) > 1
    last, *_ = paired_tests(lines[::-1])
    assert last["condition"] == "unpruned", "the first condition that is named"


def test_what_was_not_measured_is_compared_with_nothing():
    for row in paired_tests(summaries({(0, 5): (math.nan, math.nan)})):
        assert (row["seeds"], row["p"], row["smallest_p"]) == (0, 1, 1)
        assert all(math.isnan(row[key]) for key in ("clusters", "random", "contrast", "low", "high"))


def test_what_is_measured_of_parts_follows_from_their_lesions_and_images():
    network = Network(initial_model((784, 40, 10, 3), 0, "glorot"), DataSet("mnist", (3, 5, 7)), number=2, seed=9)
    parts = measured_parts([network], 8, 6, 0, REPOSITORY / "data", torch.device("cpu"), 1)
    images, labels = network.data.load(False, REPOSITORY / "data")
    assert {part["row"]["partitioning"] for part in parts} == set(CASPER)
    statuses = {"tested": 0, "too small": 0, "the whole layer": 0}
    for part in parts:
        row = part["row"]
        (neurons,) = (count for count in layer_counts(part["module"], (40, 10)) if count)
        assert (row["condition"], row["network"], row["seed"], row["neurons"]) == ("trained", 2, 9, neurons)
        whole = neurons == row["living_in_layer"]
        assert row["status"] == ("too small" if neurons < 2 else "the whole layer" if whole else "tested")
        statuses[row["status"]] += 1
        assert ("change" in row) == (row["status"] == "tested")
        assert ("picture" in part) == ("score" in row) == (row["status"] == "tested" and neurons > 2)
        if row["status"] != "tested":
            continue
        modules = torch.cat([(part["module"] & False).unsqueeze(0), part["module"].unsqueeze(0), part["controls"]])
        shares = ablated_hits(network.model, modules, images, labels).double() / labels.bincount()
        changes = (shares[1:] - shares[0]).numpy()
        assert [row[f"change_{label}"] for label in (3, 5, 7)] == pytest.approx(changes[0].tolist())
        assert row["change"] == pytest.approx(changes[0].mean())
        assert row["random_change"] == pytest.approx(changes[1:].mean())
        means, spread = changes.mean(1), class_range(changes)
        assert row["accuracy_effect"] == pytest.approx(accuracy_effect(means[0], means[1:]))
        if numpy.isfinite(spread).all():
            assert row["range"] == pytest.approx(spread[0], rel=1e-6)
            assert row["range_effect"] == pytest.approx(range_effect(spread[0], spread[1:]), rel=1e-6)
        assert row["range_effect"] >= 0 and row["not_finite"] == (~numpy.isfinite(spread)).sum()
        if numpy.isfinite(spread[1:]).any():
            assert row["random_range"] == pytest.approx(spread[1:][numpy.isfinite(spread[1:])].mean(), rel=1e-6)
        assert ("matched" in part) == ("matched_n" in row) == (row["change"] <= -0.01)
        if "matched" in part:
            matched = (shares[0] - part["matched"].double() / labels.bincount()).numpy()
            assert row["matched_n"] == len(matched) <= 19
            assert abs(matched.mean(1) + row["change"]) == pytest.approx(0, abs=-0.2 * row["change"] + 1e-9)
            assert ("matched_range" in row) == (len(matched) == 19)
        if "matched_range" in row:
            assert row["matched_loss"] == pytest.approx(matched.mean())
            assert row["matched_range"] == pytest.approx(class_range(matched).mean())
            assert row["matched_neurons"] == part["matched_neurons"].double().mean()
        if "picture" in part:
            own, other = torch.from_numpy(part["picture"]["images"])
            layer = row["layer"] - 1
            for image, module, score in zip((own, other), modules[1:], part["picture"]["scores"]):
                driven = network.model.preactivations(image.reshape(1, 784))[layer][0].abs()
                assert driven[module.split([40, 10])[layer]].sum().item() == pytest.approx(float(score), rel=1e-4)
            assert row["score"] == float(part["picture"]["scores"][0])
            assert row["entropy"] == pytest.approx(output_entropies(network.model, own.unsqueeze(0)).item(), rel=1e-3)
    assert {part["row"].get("matched_n", 0) for part in parts} >= {0, 19}
    assert statuses["tested"] > 10 and statuses["too small"] > 0
    assert len({part["row"]["change"] for part in parts if "change" in part["row"]}) > 40


def test_images_that_drive_neurons_are_of_pixels_and_networks_read_them_normalised():
    """A network that reads normalised images and one that reads pixels, which compute the same, like the same ones."""
    mean, sd = 0.3, 0.2
    plain = initial_model((784, 6, 5, 3), seed=2)
    normalised = initial_model((784, 6, 5, 3), seed=2)
    with torch.no_grad():
        normalised.biases[0].copy_(plain.biases[0] + plain.weights[0].sum(1) * mean)
        normalised.layers[0].weight.copy_(plain.weights[0] * sd)
    members = torch.eye(5, dtype=torch.bool)
    data = DataSet("mnist", (3, 5, 7))
    expected = _driven(Network(plain, data), 2, members, 0, "cpu")
    found = _driven(Network(normalised, replace(data, normalisation=((mean, sd),))), 2, members, 0, "cpu")
    for values, others in zip(found, expected, strict=True):
        torch.testing.assert_close(values, others, rtol=2e-2, atol=2e-2)
    assert not torch.allclose(found[2], _driven(Network(normalised, data), 2, members, 0, "cpu")[2], rtol=2e-2)
