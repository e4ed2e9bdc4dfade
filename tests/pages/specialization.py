"""What docs/specialization.md says."""

import functools
import statistics

from pages.cells import FIGURES, interval, interval_of, number, p_value, range_of, row
from runs import record, table

from modularity.rows import grouped
from modularity.specialization import KINDS, MEASURES

FOLDER = FIGURES / "specialization"


def tests():
    return table(FOLDER / "specialization_tests.csv")


@functools.cache
def parts():
    """The rows of all parts, which are megabytes."""
    return table(FOLDER / "specialization.csv")


def is_cluster_of_weights(line, condition):
    """Whether a part is one of a cluster of the weights of whole networks of a condition."""
    about = line["condition"], line["partitioning"], line["kind"]
    return about == (condition, "weights, global", "clusters")


def contrast(line, digits=2, sign=""):
    """The difference of clusters and the random partition, or their ratio, with its interval."""
    return interval(*(line[key] for key in ("low", "contrast", "high")), digits, sign)


def importance_table():
    """A line per condition and partitioning: what silencing a part costs beyond random neurons."""
    for line in tests():
        if line["measure"] == "accuracy":
            p = p_value(float(line["p" if line["role"] == "primary" else "adjusted_p"]))
            means = (number(line[kind]) for kind in KINDS)
            yield row(line["condition"], line["partitioning"], *means, contrast(line, sign="+"), p, line["role"])


FEWEST_SEEDS = 5
"""Of what is compared layer by layer, that the page shows."""


def beside(line, name):
    """How many times as unequally classes suffer as without random neurons."""
    return interval_of(line, f"{name}_", 2)


def unevenness(folder=FOLDER):
    return {
        (line["condition"], line["partitioning"], line["layer"], line["kind"]): line
        for line in table(folder / "specialization_unevenness.csv")
    }


def planted_sentence():
    """What is said of halves that are known to be there."""
    planted = unevenness(FIGURES / "recovery_specialization")
    line = planted["leak 0", "weights, global", "1", "clusters"]
    yield f"clusters of weights in their first layer have {beside(line, 'number')} and {beside(line, 'cost')}"


def unevenness_table():
    """A line per condition, partitioning and layer: how unequally classes suffer, beside as many and as costly."""
    lines = unevenness()
    for (*about, kind), line in lines.items():
        if kind == "clusters" and int(line["seeds"]) >= FEWEST_SEEDS:
            control = lines.get((*about, "random"))
            cells = [*about, line["parts"], line["seeds"], beside(line, "number"), beside(line, "cost")]
            means = [number(control[f"{name}_mean"]) for name in ("number", "cost")] if control else ["–", "–"]
            yield row(*cells, f"{' / '.join(means)} ({control['parts'] if control else 0})")


def coherence_table():
    """A line per condition and partitioning: how hard one image drives a part, and what the network makes of it."""
    for group in grouped(tests(), "condition", "partitioning"):
        of_measure = {line["measure"]: line for line in group}
        cells = [group[0]["condition"], group[0]["partitioning"]]
        for measure, sign in (("score", ""), ("entropy", "+")):
            line = of_measure[measure]
            cells += [contrast(line, 2 if measure == "score" else 3, sign), p_value(float(line["adjusted_p"]))]
        yield row(*cells)


def pooled():
    return record(FOLDER / "specialization_networks.json")["pooled"]


def paper_table():
    """A line per condition, partitioning and kind: networks with p at most .05, and mean effects, as in the paper."""
    for line in pooled():
        cells = [line["condition"], line["partitioning"], line["kind"], line["tested"]]
        for measure in MEASURES:
            significant = sum(p <= 0.05 for p in line[f"{measure}_p_conservative"])
            cells += [f"{significant} of {line['networks']}"]
            cells += [number(statistics.mean(line["accuracy_log_p"]))] if measure == "accuracy" else []
            cells += [number(line[f"{measure}_mean_effect"])]
        yield row(*cells)


def p_values(kind, *measures):
    return [
        p
        for line in pooled()
        if line["kind"] == kind
        for measure in measures
        for p in line[f"{measure}_p_conservative"]
    ]


def significant(p):
    return f"{sum(value <= 0.05 for value in p)} of {len(p)}"


def sentences():
    """What the page says in words."""
    primary, *others = tests()
    assert primary["role"] == "primary"
    points = f"{number(primary['clusters'])} points more than as many random neurons, a part of a random partition"
    yield f"{points} {number(primary['random'])}"
    yield f"difference {contrast(primary, sign='+')}, p = {p_value(float(primary['p']))}, 10 seeds"
    tested = [line for line in parts() if line["status"] == "tested"]
    costly = [line for line in tested if line["matched_n"]]
    assert all(line["matched_n"] == "19" for line in costly)
    yield f"of the {len(tested)} parts {len(costly)} cost a point or more"
    times = [
        float(line["matched_neurons"]) / float(line["neurons"])
        for line in costly
        if is_cluster_of_weights(line, "pruned")
    ]
    yield f"{number(statistics.median(times), 1)} times as many neurons"
    large = [
        100 * (float(line["random_change"]) - float(line["change"]))
        for line in tested
        if is_cluster_of_weights(line, "unpruned") and int(line["neurons"]) > 200
    ]
    yield f"costs from {number(-min(large), 1)} points less to {number(max(large), 1)} points more"


def claims():
    """The claims, as far as their numbers are ours."""
    lines = {(line["condition"], line["partitioning"], line["kind"]): line for line in pooled()}
    first = lines["pruned", "weights, global", "clusters"]
    effect = f"effect {number(first['accuracy_mean_effect'])} ± {number(first['accuracy_effect_se'])}"
    yield f"| p {range_of(first['accuracy_p'], '{:.0e}')}, {effect} | reproduced |"
    rows = [line for line in parts() if is_cluster_of_weights(line, "pruned") and line["accuracy_effect"]]
    of_layer = [
        number(statistics.mean(float(line["accuracy_effect"]) for line in group))
        for group in grouped(sorted(rows, key=lambda line: line["layer"]), "layer")
    ]
    yield "| {3} (layers 1 to 3: {0}, {1}, {2}) |".format(*of_layer)
    unpruned = lines["unpruned", "weights, global", "clusters"]
    found = range_of(unpruned["accuracy_p"], "{:.0e}")
    control = lines["unpruned", "weights, global", "random"]
    effects = (number(line["accuracy_mean_effect"]) for line in (unpruned, control))
    yield "| p {}, effect {}, of the random partition {} |".format(found, *effects)
    pairs = [
        (lines[condition, "weights, local", "clusters"], lines[condition, "weights, global", "clusters"])
        for condition in ("pruned", "unpruned")
    ]
    more = [a > b for one, other in pairs for a, b in zip(one["accuracy_log_p"], other["accuracy_log_p"])]
    yield f"| {sum(more)} of {len(more)} networks |"
    for measure in ("range", "score", "entropy"):
        yield f"| p ≤ 0.05 in {significant(p_values('clusters', measure))} |"
    yield f"| p ≤ 0.05 in {significant(p_values('random', *MEASURES))} |"
    gain = min(float(line["least_gain"]) for line in parts() if line["least_gain"])
    yield f"| at least {number(gain, 1)} |"


def lines():
    yield from (
        *sentences(),
        *importance_table(),
        *planted_sentence(),
        *unevenness_table(),
        *coherence_table(),
        *paper_table(),
        *claims(),
    )
