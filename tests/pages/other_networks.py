"""What docs/other_networks.md says."""

import statistics
from itertools import product

from pages.candidates import candidate_tests, points
from pages.cells import FIGURES, interval, interval_of, number, p_value, published_values, row, spread_of
from pages.cells import with_deviation
from pages.clusterability import accuracies_of, below_shuffles, gap, gap_table, networks_of, study_table
from runs import table
from scipy.stats import ttest_ind

from modularity.candidates import NULLS as CANDIDATE_NULLS
from modularity.clusterability import CONVOLUTIONS, NULLS, WITH_PIXELS, WITHOUT_PIXELS
from modularity.rows import grouped, mean_interval
from modularity.significance import signed_rank_test

PENALTIES = {"l1": "L1 5e-5", "l2": "L2 5e-5"}
DATA = {
    "clusterability_fashion": ("Fashion-MNIST", WITH_PIXELS, "clustering_factors_mlp.csv"),
    "clusterability_halves": ("halves", WITH_PIXELS, "clustering_factors_mlp.csv"),
    "clusterability_halves_same": ("halves-same", WITH_PIXELS, "clustering_factors_mlp.csv"),
    "clusterability_cnn_column": ("CNN, MNIST", CONVOLUTIONS, "clustering_factors_cnn.csv"),
}
"""What the networks of each folder are called among published numbers, the graph of these, and where they stand."""
STUDIED = {
    "digits 3, 5, 7": ("200_networks", "primary"),
    "digits, held at their means": ("200_networks_mean", "the same, asked otherwise"),
    "Dress, Sandal, Sneaker": ("100_fashion", "primary"),
    "clothes, held at their means": ("100_fashion_mean", "the same, asked otherwise"),
}
"""The networks of the first study, where what was found in them stands, and what its first test is here."""
OTHERS = {
    "clothes": "clusterability_fashion",
    "two halves": "clusterability_halves",
    "halves of the same class": "clusterability_halves_same",
}
"""Other images than digits, and where the gaps of their networks stand."""


def beside_table(folder):
    """Two lines per condition, here and published: accuracy, n-cut, that of `layer` copies, gap, how many lie below."""
    data, graph, source = DATA[folder]
    accuracies, published = accuracies_of(folder), published_values("Filan et al. 2021")
    rows = [line for line in study_table(folder, "clusterability.csv") if line["graph"] == graph]
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


def gaps_of(condition, folder, graph, null="layer"):
    """The gap of each network of a condition in a graph."""
    return [float(line[f"{null}_gap"]) for line in networks_of(condition, folder, graph)]


def difference_table():
    """A line per kind of images and graph: gaps of pruned networks less those of networks that read digits."""
    for (name, folder), graph in product(OTHERS.items(), (WITH_PIXELS, WITHOUT_PIXELS)):
        cells = []
        for null in NULLS:
            own, digits = (gaps_of("pruned", where, graph, null) for where in (folder, "clusterability"))
            bounds = ttest_ind(own, digits, equal_var=False).confidence_interval()
            cells.append(interval(bounds.low, statistics.mean(own) - statistics.mean(digits), bounds.high, 3, "+"))
        yield row(name, graph, *cells)


def candidate_table():
    """A line per effect and null of the first study's rule: on digits, and on clothes."""
    for name, (folder, role) in STUDIED.items():
        for test in candidate_tests(folder).values():
            if test["rule"] == "both":
                percentile = interval(test["low"], test["median"], test["high"])
                p = f"{p_value(test['p'])}, {role}" if test["role"] == "primary" else p_value(test["adjusted_p"])
                about = name, test["seeds"], test["effect"], CANDIDATE_NULLS[test["among"]]
                yield row(*about, points(test), percentile, p)


def claims():
    """What is published and what is found here, as the last table weighs it: gaps to `layer` copies."""
    published = published_values("Filan et al. 2021")

    def theirs(folder, conditions):
        data, _, source = DATA[folder]
        lines = (published[source, published_name(data, each), "gap, layer"] for each in conditions)
        return "; ".join(with_deviation(line, 3) for line in lines)

    def line(folder, *conditions):
        here = (gap(each, folder=folder, graph=DATA[folder][1]) for each in conditions)
        return f"| {theirs(folder, conditions)} | {'; '.join(here)} |"

    for conditions in (["pruned, dropout"], ["pruned"], ["pruned, l1", "unpruned, l1"], ["pruned, l2", "unpruned, l2"]):
        yield line("clusterability_fashion", *conditions)
    for folder in ("clusterability_halves", "clusterability_halves_same"):
        yield line(folder, "pruned")
    for condition in ("pruned", "unpruned"):
        yield line("clusterability_cnn_column", condition)
    for conditions in (["pruned, dropout"], ["unpruned, l2", "pruned, l2"], ["unpruned, l1", "pruned, l1"]):
        yield f"| {theirs('clusterability_cnn_column', conditions)} | – | not tried |"


def sentences():
    """What the page says in words."""
    yield from sentences_on_images()
    yield from sentences_on_candidates()
    channels = {"folder": "clusterability_cnn", "graph": CONVOLUTIONS}
    primary, *_ = table(FIGURES / "clusterability_cnn" / "clusterability_tests.csv")
    assert (primary["condition"], primary["graph"], primary["role"]) == ("pruned", CONVOLUTIONS, "primary")
    gaps = gaps_of("pruned", "clusterability_cnn", CONVOLUTIONS)
    assert len(gaps) == 10 and min(gaps) > 0
    shown = f"{gap('pruned', **channels)}, p = {p_value(float(primary['p']))}"
    yield f"the gap to `layer` copies is {shown}, in the graph of channels"
    low, mean, high = mean_interval(gaps[5:])
    p = p_value(signed_rank_test(gaps[5:])["p"])
    yield f"The five that were trained then have a gap of {interval(low, mean, high, 3, '+')}, p = {p}"
    yield f"a quarter of the gap is left, {gap('pruned', 'layer_nonzero', **channels)}"
    yield f"it turns round: {gap('pruned', 'strength', **channels)}"
    yield f"lie above their `layer` copies, too, but by a tenth of that: {gap('unpruned', **channels)}"
    untrained = gap("random initialisation", "strength", "clusterability_cnn_column")
    yield f"untrained networks lie above them, too: {untrained}"


def sentences_on_images():
    """What the page says of networks that read other images than digits."""
    primary, *_ = table(FIGURES / "clusterability_fashion" / "clusterability_tests.csv")
    assert (primary["condition"], primary["shuffle"], primary["role"]) == ("pruned, dropout", "layer", "primary")
    yield f"by {interval_of(primary, 'gap_', 3, '+')} (p = {p_value(float(primary['p']))}, {primary['seeds']} seeds)"
    for images, folder in (("clothes", "clusterability_fashion"), ("two halves", "clusterability_halves")):
        for graph in (WITH_PIXELS, WITHOUT_PIXELS):
            once = [
                line
                for line in table(FIGURES / folder / "clusterability_tests.csv")
                if (line["graph"], line["condition"], line["shuffle"]) == (graph, "unpruned, l2", "layer")
            ]
            before = f"{number(once[0]['n_cut'], 3)}, {interval_of(once[0], 'gap_', 3, '+')}"
            rows = networks_of("unpruned, l2", folder, graph)
            mean = number(statistics.mean(float(line["n_cut"]) for line in rows), 3)
            yield row(images, graph, before, f"{mean}, {gap('unpruned, l2', folder=folder, graph=graph)}")
    accuracy = accuracies_of("clusterability_halves")
    yield f"read {accuracy['pruned, dropout']} of the test images right, those without {accuracy['pruned']}"


def sentences_on_candidates():
    """What the page says of the first study's rule on clothes."""
    zero, mean, digits = (
        candidate_tests(folder) for folder in ("100_fashion", "100_fashion_mean", "200_networks_mean")
    )
    first = zero["selectivity_same_rule"]
    yield f"by {points(first)} points (p = {p_value(first['p'])})"
    yield f"nothing is shown: {points(mean['selectivity_same_rule'])} points"
    matched = (points(tests["selectivity_matched"]) for tests in (digits, mean))
    yield "candidates on digits still lie {} points beyond matched modules, those on clothes {}".format(*matched)
    alone = (points(tests["selectivity_same_rule (in-degree alone)"]) for tests in (zero, mean))
    yield "{} points beyond other neurons by the same rule, held at their means {}".format(*alone)


def lines():
    """Every table row and sentence with numbers."""
    for folder in DATA:
        yield from beside_table(folder)
    for folder in (*OTHERS.values(), "clusterability_fashion_rescaled"):
        yield from gap_table(WITH_PIXELS, folder)
        yield from gap_table(WITHOUT_PIXELS, folder)
    for folder in ("clusterability_cnn", "clusterability_cnn_column"):
        yield from gap_table(CONVOLUTIONS, folder)
        yield from gap_table(WITH_PIXELS, folder)
    yield from candidate_table()
    yield from difference_table()
    yield from claims()
    yield from sentences()
