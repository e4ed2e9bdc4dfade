"""What docs/candidates.md says."""

import statistics

from pages.cells import FIGURES, interval, interval_of, number, p_value, row
from runs import record, table

from modularity.candidates import EFFECTS, PRIMARY
from modularity.candidates import NULLS as CANDIDATE_NULLS
from modularity.rows import mean_interval
from modularity.significance import signed_rank_test


def points(test):
    return interval_of(test, "points_", sign="+")


WAYS = {"200_networks": "zero", "200_networks_mean": "mean", "200_networks_rescaled": "zero, canonical form"}
"""What was made of the fresh networks of the first study."""


def candidate_tests(folder):
    return record(FIGURES / folder / "ablation_networks.json")["tests"]


def candidate_table():
    """A line per way to silence candidates, effect and null: where those by the rule of both lie."""
    for folder, way in WAYS.items():
        for test in candidate_tests(folder).values():
            if test["rule"] == "both":
                percentile = interval(test["low"], test["median"], test["high"])
                role = "primary" if way == "zero" else "the same, asked otherwise"
                p_values = p_value(test["p"]), role if test["role"] == "primary" else p_value(test["adjusted_p"])
                yield row(way, test["effect"], CANDIDATE_NULLS[test["among"]], points(test), percentile, *p_values)


def rule_table():
    """A line per rule: selectivity beyond matched modules, silenced in each way."""
    tests = [candidate_tests(folder) for folder in WAYS]
    for name in ("", " (in-degree alone)", " (betweenness alone)"):
        shown = [own[f"selectivity_matched{name}"] for own in tests]
        yield row(shown[0]["rule"], *map(points, shown), *(number(test["median"], 1) for test in shown))


def contrast_table():
    """A line per difference of percentiles within networks, silenced in each way."""
    contrasts = [record(FIGURES / folder / "ablation_networks.json")["contrasts"] for folder in WAYS]
    for name, first in contrasts[0].items():
        what = "matched − same rule" if first["rule"] == "both" else first["rule"].replace("minus", "−")
        shown = [interval_of(own[name], sign="+") for own in contrasts]
        yield row(what, first["effect"], *shown, p_value(max(own[name]["adjusted_p"] for own in contrasts)))


def earlier_table():
    """A line per effect and null: the two sets of networks that suggested the primary test."""
    sets = [candidate_tests(folder) for folder in ("100_networks", "100_networks_separate_batches")]
    for name, first in sets[0].items():
        if first["rule"] == "both":
            shown = [
                (
                    points(own[name]),
                    interval(own[name]["low"], own[name]["median"], own[name]["high"]),
                    p_value(own[name]["p"]),
                )
                for own in sets
            ]
            yield row(first["effect"], CANDIDATE_NULLS[first["among"]], *shown[0], *shown[1])


def candidate_sentences():
    """What the page of candidates says in words."""
    found = record(FIGURES / "200_networks_rescaled" / "ablation_networks.json")["rescaling"]
    yield f"of {found['before']} candidates before and {found['after']} after, {found['shared']} are the same"
    yield f"(by chance {number(found['shared_by_chance'], 0)} would be)"
    of_seed = {}
    for folder in ("100_networks", "100_networks_separate_batches"):
        for line in both_rules(folder):
            of_seed.setdefault(line["seed"], []).append(float(line["selectivity_same_rule"]))
    p = signed_rank_test([statistics.mean(values) - 50 for values in of_seed.values()])["p"]
    yield f"Averaged per seed over both, selectivity among the same rule had p = {p:.2g}"
    key = "selectivity_same_rule_points"
    zero, mean = (
        {line["seed"]: float(line[key]) for line in both_rules(folder)}
        for folder in ("200_networks", "200_networks_mean")
    )
    found = mean_interval([zero[seed] - mean[seed] for seed in zero])
    yield f"{interval(*found, sign='+')} points in the same networks"
    tests = candidate_tests("200_networks_rescaled")
    yield f"of the {tests['_'.join(PRIMARY)]['seeds']} networks that have candidates then"


def both_rules(folder):
    """The rows of networks by the rule of both, of which something is known."""
    rows = table(FIGURES / folder / "ablation_networks.csv")
    return [line for line in rows if line["rule"] == "both" and line["selectivity_same_rule"]]


def one_network_table():
    """A line per candidate of the network of the first figure, after the intact network."""
    for line in table(FIGURES / "ablation_per_digit.csv"):
        cells = [f"{number(100 * float(line[f'accuracy_{digit}']), 1)} %" for digit in (3, 5, 7)]
        for effect in EFFECTS:
            if line[effect] == "":
                cells += 3 * [""]
            else:
                among = f"{effect}_matched"
                percentile, p = number(line[f"{among}_percentile"], 0), p_value(float(line[f"{among}_p"]))
                cells += [number(line[effect], 1), percentile, p]
        yield row(line["neuron"], line["module"] or "–", *cells)


def claims():
    """The claims, as far as their numbers are ours."""
    of_neuron = {line["neuron"]: line for line in table(FIGURES / "ablation_per_digit.csv")}
    for digit in (3, 7):
        shares = (number(100 * float(of_neuron[name][f"accuracy_{digit}"]), 1) for name in ("intact", "L2_2"))
        yield "| L2_2: digit {} from {} to {} % | reproduced |".format(digit, *shares)
    tests = candidate_tests("200_networks")
    rules = "selectivity_same_rule", "selectivity_matched", "selectivity_matched (in-degree alone)"
    words = "{} points of selectivity beyond the same rule around other neurons; beyond matched modules {}, but by "
    yield (words + "in-degree alone {} |").format(*(points(tests[name]) for name in rules))


def lines():
    yield from (*candidate_table(), *rule_table(), *contrast_table(), *earlier_table(), *candidate_sentences())
    yield from (*one_network_table(), *claims())
