"""What docs/other_networks.md says."""

import statistics

from pages.candidates import candidate_tests, points
from pages.cells import FIGURES, interval, number, p_value, published_values, row, spread_of
from pages.cells import with_deviation
from pages.clusterability import accuracies_of, below_shuffles, gap, gap_table, networks_of
from runs import table

from modularity.candidates import NULLS as CANDIDATE_NULLS
from modularity.rows import grouped

PENALTIES = {"l1": "L1 5e-5", "l2": "L2 5e-5"}
DATA = {
    "clusterability_fashion": ("Fashion-MNIST", "with pixels", "clustering_factors_mlp.csv"),
    "clusterability_halves": ("halves", "with pixels", "clustering_factors_mlp.csv"),
    "clusterability_halves_same": ("halves-same", "with pixels", "clustering_factors_mlp.csv"),
    "clusterability_cnn_column": ("CNN, MNIST", "convolutions only", "clustering_factors_cnn.csv"),
}
"""What the networks of each folder are called among published numbers, the graph of these, and where they stand."""


STUDIED = {
    "digits 3, 5, 7": "200_networks",
    "digits, held at their means": "200_networks_mean",
    "Dress, Sandal, Sneaker": "100_fashion",
    "clothes, held at their means": "100_fashion_mean",
}
"""The networks of the first study, and where what was found in them stands."""


def beside_table(folder):
    """Two lines per condition, here and published: accuracy, n-cut, that of `layer` copies, gap, how many lie below."""
    data, graph, source = DATA[folder]
    accuracies, published = accuracies_of(folder), published_values("Filan et al. 2021")
    rows = [line for line in table(FIGURES / folder / "clusterability.csv") if line["graph"] == graph]
    for group in grouped(rows, "condition"):
        condition = group[0]["condition"]
        shuffled = number(statistics.mean(float(line["layer_mean"]) for line in group), 3)
        cells = [condition, "here", accuracies.get(condition, ""), spread_of(group, "n_cut", 3), shuffled]
        yield row(*cells, spread_of(group, "layer_gap", 3), below_shuffles(group, "layer"))
        name = published_name(data, condition)
        values = {what: line for (where, its, what), line in published.items() if (where, its) == (source, name)}
        if values:
            below = values["networks below every shuffle, layer"]
            cells = ["", "published", f"{number(100 * float(values['test accuracy']['value']))} %"]
            cells += [with_deviation(values["n-cut"], 3), number(values["shuffled n-cut, layer"]["value"], 3)]
            yield row(*cells, with_deviation(values["gap, layer"], 3), f"{below['value']} of {below['n']}")


def published_name(data, condition):
    """'Fashion-MNIST, pruned, L1 5e-5, 12 clusters'"""
    return ", ".join([data, *(PENALTIES.get(word, word) for word in condition.split(", ")), "12 clusters"])


def candidate_table():
    """A line per effect and null of the first study's rule: on digits, and on clothes."""
    for name, folder in STUDIED.items():
        for test in candidate_tests(folder).values():
            if test["rule"] == "both":
                percentile = interval(test["low"], test["median"], test["high"])
                primary = test["role"] == "primary"
                p = f"{p_value(test['p'])}, primary" if primary else p_value(test["adjusted_p"])
                about = name, test["seeds"], test["effect"], CANDIDATE_NULLS[test["among"]]
                yield row(*about, points(test), percentile, p)


def claims():
    """What is published and what is found here, as the last table weighs it: gaps to `layer` copies."""
    published = published_values("Filan et al. 2021")

    def line(folder, *conditions):
        data, graph, source = DATA[folder]
        theirs = (published[source, published_name(data, each), "gap, layer"] for each in conditions)
        here = (gap(each, folder=folder, graph=graph) for each in conditions)
        return f"| {'; '.join(with_deviation(each, 3) for each in theirs)} | {'; '.join(here)} |"

    for conditions in (["pruned, dropout"], ["pruned"], ["pruned, l1", "unpruned, l1"], ["pruned, l2", "unpruned, l2"]):
        yield line("clusterability_fashion", *conditions)
    for folder in ("clusterability_halves", "clusterability_halves_same"):
        yield line(folder, "pruned")
    for condition in ("pruned", "unpruned"):
        yield line("clusterability_cnn_column", condition)


def sentences():
    """What the page says in words."""
    channels = {"folder": "clusterability_cnn", "graph": "convolutions only"}
    primary, *_ = table(FIGURES / "clusterability_cnn" / "clusterability_tests.csv")
    assert (primary["condition"], primary["graph"], primary["role"]) == ("pruned", "convolutions only", "primary")
    rows = table(FIGURES / "clusterability_cnn" / "clusterability.csv")
    pruned = [line for line in rows if (line["condition"], line["graph"]) == ("pruned", "convolutions only")]
    assert len(pruned) == 10 and all(float(line["layer_gap"]) > 0 for line in pruned)
    shown = f"{gap('pruned', **channels)}, p = {p_value(float(primary['p']))}"
    yield f"the gap to `layer` copies is {shown}, in the graph of channels"
    yield f"a quarter of the gap is left, {gap('pruned', 'layer_nonzero', **channels)}"
    yield f"it turns round: {gap('pruned', 'strength', **channels)}"
    yield f"lie above their `layer` copies, too, but by a tenth of that: {gap('unpruned', **channels)}"
    zero, mean = (candidate_tests(folder)["selectivity_same_rule"] for folder in ("100_fashion", "100_fashion_mean"))
    yield f"on clothes, too: by {points(zero)} points (p = {p_value(zero['p'])})"
    yield f"nothing is shown: {points(mean)} points (p = {p_value(mean['p'])})"
    yield f"without dropout the gap of networks that read digits is {gap('pruned')}"
    digits, clothes, halves, same = (
        statistics.mean(float(line["layer_gap"]) for line in networks_of("pruned", "clusterability" + folder))
        for folder in ("", "_fashion", "_halves", "_halves_same")
    )
    assert halves < 2 * digits and clothes < digits < same, "what the page says in words"


def lines():
    """Every table row and sentence with numbers."""
    for folder in DATA:
        yield from beside_table(folder)
    for folder in ("clusterability_fashion", "clusterability_halves", "clusterability_halves_same"):
        yield from gap_table("with pixels", folder)
        yield from gap_table("without pixels", folder)
    for folder in ("clusterability_cnn", "clusterability_cnn_column"):
        yield from gap_table("convolutions only", folder)
    yield from gap_table("with pixels", "clusterability_cnn")
    yield from candidate_table()
    yield from claims()
    yield from sentences()
