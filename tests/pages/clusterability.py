"""What docs/clusterability.md says."""

import statistics
from itertools import chain

from pages.cells import (
    FIGURES,
    interval,
    interval_of,
    number,
    p_value,
    published_values,
    range_of,
    row,
    spread_of,
    with_deviation,
)
from runs import record, table

from modularity.clusterability import NULLS as WEIGHT_NULLS
from modularity.lesions import NOTHING
from modularity.rows import grouped, mean_interval
from modularity.significance import beyond_all

NOT_JUDGED = "small", "complete"
COMPUTED_AGAIN = {
    "clusterability": "clusterability_l2",
    "clusterability_fashion": "clusterability_fashion_l2",
    "clusterability_halves": "clusterability_halves_l2",
}
"""Where networks with an L2 penalty were computed again, because n-cuts once counted clusters of no weight as 0."""


def study_table(folder, name):
    """The rows of a table of a folder; those of networks with an L2 penalty as they were computed again."""
    rows = table(FIGURES / folder / name)
    if folder not in COMPUTED_AGAIN:
        return rows
    again = [line for line in table(FIGURES / COMPUTED_AGAIN[folder] / name) if has_l2(line)]
    return [line for line in rows if not has_l2(line)] + again


def has_l2(line):
    return "l2" in line["condition"].split(", ")


def below_shuffles(rows, null):
    return f"{sum(float(line[f'{null}_p']) <= 0.05 for line in rows)} of {len(rows)}"


def clusterability_table(graph, folder="clusterability"):
    """A line per condition: n-cut, what shuffled copies have, z and how many networks are clearly below them."""
    rows = [line for line in study_table(folder, "clusterability.csv") if line["graph"] == graph]
    for group in grouped(rows, "condition"):
        cells = [group[0]["condition"], spread_of(group, "n_cut", 3)]
        for null in ("layer", "layer_nonzero"):
            mean = number(statistics.mean(float(line[f"{null}_mean"]) for line in group), 3)
            cells += [mean, spread_of(group, f"{null}_z", 1), below_shuffles(group, null)]
        yield row(*cells)


def accuracies_of(folder):
    """The mean test accuracy of each condition."""
    accuracies = {}
    folders = [folder, *([COMPUTED_AGAIN[folder]] if folder in COMPUTED_AGAIN else [])]
    checkpoints = [record(FIGURES / where / "clusterability.json")["checkpoints"] for where in folders]
    for about in chain(*checkpoints):
        for network, test in zip(about["networks"], about["record"]["test"]):
            accuracies.setdefault(network["condition"], {})[test["network"]] = test["accuracy"]
    return {name: f"{number(100 * statistics.mean(values.values()))} %" for name, values in accuracies.items()}


def here_table():
    """As `published_clusterability_table`, of the networks here."""
    accuracies = accuracies_of("clusterability")
    rows = [line for line in study_table("clusterability", "clusterability.csv") if line["graph"] == "with pixels"]
    for group in grouped(rows, "condition"):
        condition = group[0]["condition"]
        mean = number(statistics.mean(float(line["layer_mean"]) for line in group), 3)
        cells = [condition, "here", accuracies.get(condition, ""), spread_of(group, "n_cut", 3), mean]
        cells += [spread_of(group, "layer_z", 1), below_shuffles(group, "layer")]
        same = condition.startswith(("unpruned", "random"))
        harder = spread_of(group, "layer_nonzero_z", 1), below_shuffles(group, "layer_nonzero")
        yield row(*cells, *(("the same", "") if same else harder))


def gap_table(graph, folder="clusterability"):
    """A line per condition: the gap between its n-cut and that of its copies, under each null."""
    lines = [line for line in study_table(folder, "clusterability_tests.csv") if line["graph"] == graph]
    for group in grouped(lines, "condition"):
        of_null = {line["shuffle"]: line for line in group}
        cells = [group[0]["condition"], group[0]["seeds"], number(group[0]["n_cut"], 3)]
        for null in WEIGHT_NULLS:
            line = of_null.get(null)  # what is the same as another null is one test
            cells.append(interval_of(line, "gap_", 3, "+") if line else "the same")
        yield row(*cells)


def clusterability_sentences():
    """What the page of clusterability says in words."""
    primary, *others = table(FIGURES / "clusterability" / "clusterability_tests.csv")
    assert primary["role"] == "primary"
    gap = interval_of(primary, "gap_", 3, "+")
    share = f"{number(-100 * float(primary['gap_share']), 0)} %"
    yield f"by {gap}, {share} of theirs (p = {p_value(float(primary['p']))}, {primary['seeds']} seeds)"
    others = [line for line in others if not has_l2(line)]
    yield f"Of {len(others)} other tests of networks without an L2 penalty, {' and '.join(sides(others))}"
    yield from clusters_of_nothing_sentences()


def sides(tests):
    """'21 lie below their copies', '9 above': by their corrected p."""
    below, above = (
        sum(float(line["adjusted_p"]) <= 0.05 and line["direction"] == side for line in tests) for side in ("-1", "1")
    )
    return f"{below} lie below their copies", f"{above} above"


def clusters_of_nothing_sentences():
    """What was computed again, and what it had been."""
    for graph in ("with pixels", "without pixels"):
        lines = {}
        for folder in ("clusterability", COMPUTED_AGAIN["clusterability"]):
            for line in table(FIGURES / folder / "clusterability_tests.csv"):
                if (line["graph"], line["condition"], line["shuffle"]) == (graph, "unpruned, l2", "layer"):
                    lines[folder] = f"{number(line['n_cut'], 3)}, {interval_of(line, 'gap_', 3, '+')}"
        yield row(graph, *lines.values())
    strength = [gap("unpruned, l2", "strength", digits=1, graph=graph) for graph in ("with pixels", "without pixels")]
    yield "the gaps of unpruned ones, {} and {}, are not".format(*(shown.split(" ")[0] for shown in strength))
    (layer,) = (
        line
        for line in study_table("clusterability", "clusterability_tests.csv")
        if (line["graph"], line["condition"], line["shuffle"]) == ("with pixels", "unpruned, l2", "layer")
    )
    assert number(float(layer["gap_share"])) == "0.01"
    yield "less* clustered than their copies, by a hundredth of the n-cut"
    copies = [
        number(line["shuffled_n_cut"], 3)
        for line in study_table("clusterability", "clusterability_tests.csv")
        if (line["condition"], line["shuffle"]) == ("unpruned, l2", "strength")
    ]
    yield "the n-cuts of such copies fall to {} and {}".format(*copies)
    by_their_formula = []
    for graph in ("with pixels", "without pixels"):
        n_cuts = [float(line["n_cut_as_published"]) for line in networks_of("unpruned, l2", graph=graph)]
        by_their_formula.append(number(statistics.mean(n_cuts), 3))
    yield "the authors' formula gives {} and {}".format(*by_their_formula)
    shares = {True: [], False: []}
    for path in FIGURES.glob("*/clusters.csv"):
        for line in table(path):
            shares[line["condition"] == "unpruned, l2"].append(float(line["volume_share"]))
    assert 2e-8 < min(shares[False]) < 3e-8
    yield "none has a cluster with less than 2e-08 of the weight of its graph"
    assert 1e-34 < min(shares[True]) < 1e-33
    yield "penalty went down to less than 1e-33"
    published = published_values("Filan et al. 2021")[FACTORS, "MNIST, pruned, L2 5e-5, 12 clusters", "n-cut"]
    shown = (number(published[key], 3) for key in ("value", "spread"))
    yield "whose n-cut of {} varies by {} from network to network".format(*shown)


PUBLISHED_KINDS = (
    "pruned, dropout",
    "pruned",
    "unpruned, dropout",
    "unpruned",
    "pruned, L1 5e-5",
    "unpruned, L1 5e-5",
    "pruned, L2 5e-5",
    "unpruned, L2 5e-5",
)


FACTORS, COHENS_D = "clustering_factors_mlp.csv", "mlp-ncut-cohens-d-k12-n50.csv"
"""Files of Filan et al. (2021), of different networks; only the second has `layer_nonzero`."""


def published_clusterability_table():
    """A line per condition: what Filan et al. (2021) have."""
    values = published_values("Filan et al. 2021")
    for kind in PUBLISHED_KINDS:
        name = f"MNIST, {kind}, 12 clusters"
        below = "networks below every shuffle, "
        shares = [
            values.get((where, name, below + null)) for where, null in ((FACTORS, "layer"), (COHENS_D, "layer_nonzero"))
        ]
        few, few_nonzero = (f"{line['value']} of {line['n']}" if line else "" for line in shares)
        z = values.get((COHENS_D, name, "z, layer_nonzero"))
        harder = (number(z["value"], 1), few_nonzero) if z and kind.startswith("pruned") else ("", "")
        yield row(
            "",
            "published",
            f"{number(100 * float(values[FACTORS, name, 'test accuracy']['value']))} %",
            with_deviation(values[FACTORS, name, "n-cut"], 3),
            number(values[FACTORS, name, "shuffled n-cut, layer"]["value"], 3),
            with_deviation(values[FACTORS, name, "z, layer"], 1),
            few,
            *harder,
        )
    untrained = values["random_init_data.pkl", "random initialisation, 12 clusters", "n-cut"]
    yield row("", "published", "", with_deviation(untrained, 3), *5 * [""])


def lesion_table():
    """A line per condition: its sub-modules, how many are important and where, and what pairs of them say."""
    for group in grouped(record(FIGURES / "lesions" / "lesions.json")["networks"], "condition"):
        cells = [group[0]["condition"], len(group), range_of(found["sub_modules"] for found in group)]
        cells.append(range_of(found["important"] for found in group))
        layers = zip(*(found["important_per_layer"] for found in group))
        cells.append(" / ".join(str(sum(counts)) for counts in layers))
        worst = [-100 * found["worst_change"] for found in group if found["important"]]
        cells.append(f"{range_of(worst, '{:.0f}')} points")
        cells.append(range_of((found["fisher_p_conservative"] for found in group), "{:.0e}"))
        cells.append(range_of((found["accuracy_ratio"] for found in group), "{:.3f}"))
        yield row(*cells, " / ".join(str(sum(counts)) for counts in zip(*(found["pairs"] for found in group))))


def published_lesions(condition, quantity):
    """What the second paper has of each network of a condition."""
    return [
        float(line["value"])
        for (_, its_condition, its_quantity), line in published_values("Filan et al. 2021").items()
        if its_condition.startswith(f"MNIST, {condition}, 12 clusters, 20 draws, network ") and its_quantity == quantity
    ]


def published_pairs(condition):
    """How many pairs of important sub-modules the first paper counts: both depend, X on Y, Y on X, says nothing."""
    return [
        line["value"]
        for (_, its_condition, quantity), line in published_values("Filan et al. 2020").items()
        if its_condition == f"MNIST, {condition}, 10 clusters, 50 draws" and quantity.startswith("pairs")
    ]


def published_lesion_table():
    """The same of one network each of the first paper, with 10 clusters; of five of the second, where there are."""
    first = published_values("Filan et al. 2020")
    for condition in ("pruned, dropout", "pruned"):
        name = f"MNIST, {condition}, 10 clusters, 100 draws"

        def value(quantity):
            return float(first["mlp-lesion-test-TEN.ipynb", name, quantity]["value"])

        important = "important sub-modules"
        cells = [f"published: {condition}", 1, f"{value('sub-modules'):g}", f"{value(important):g}"]
        cells.append(" / ".join(f"{value(f'{important}, layer {layer}'):g}" for layer in (1, 2, 3, 4)))
        cells.append(f"{value('largest loss of an important sub-module'):.0f} points")
        for quantity, template in (("Fisher p of accuracy", "{:.0e}"), ("random / lesioned accuracy", "{:.3f}")):
            values = published_lesions(condition, quantity)
            cells.append(range_of(values, template) if values else "")
        yield row(*cells, " / ".join([*published_pairs(condition), "–"]))


def lost_beyond_random(line):
    """Points of balanced accuracy."""
    return 100 * (float(line["random_change"]) - float(line["change"]))


def acts_only_through(pair):
    """Whether X is not significant without Y, and Y is without X: what the paper reads as X acting only through Y."""
    x, y = (
        beyond_all(float(pair[f"{direction}_p_conservative"]), int(pair[f"{direction}_random_n"]))
        for direction in ("x_given_y", "y_given_x")
    )
    return y and not x


def lesion_sentences():
    """What the page says of lesions in words."""
    networks = record(FIGURES / "lesions" / "lesions.json")["networks"]
    last = sum(found["worst_layer"] == len(found["important_per_layer"]) for found in networks)
    yield f"That the largest loss lies in the last hidden layer holds in {last} of {len(networks)} networks"
    judged = [line for line in table(FIGURES / "lesions" / "lesions.csv") if line["category"] not in NOT_JUDGED]
    excess = [
        interval(
            *mean_interval([statistics.mean(map(lost_beyond_random, own)) for own in grouped(group, "network")]), 2
        )
        for group in grouped(judged, "condition")
    ]
    yield "a sub-module that is judged costs {1} points more than random neurons, with dropout {0}".format(*excess)
    dropout, plain = grouped(table(FIGURES / "lesions" / "dependencies.csv"), "condition")
    through = [[pair for pair in group if acts_only_through(pair)] for group in (plain, dropout)]
    lost = [-100 * float(pair["x_given_y_change"]) for pair in through[0]]
    nothing = [sum(pair["x_given_y_answer"] == NOTHING for pair in group) for group in through]
    counts = f"{len(lost)} of {len(plain)} pairs, with dropout {len(through[1])} of {len(dropout)}"
    yield f"By the paper's rule X would act only through Y in {counts}"
    yield f"but only in {nothing[0]} and {nothing[1]} of these is what X changes without Y shown to be nothing"
    assert min(lost) >= 1
    yield f"all {len(lost)} such X still cost a point or more, and {sum(loss >= 10 for loss in lost)} of them ten"
    counts = list(map(int, published_pairs("pruned")))
    claim = f"| X acts only through Y | {counts[1]} of {sum(counts)} pairs, by want of significance | "
    yield f"{claim}by that rule {len(lost)} of {len(plain)}; shown to be nothing in {nothing[0]} | not reproduced |"
    p = range_of((found["fisher_p_conservative"] for found in networks if found["condition"] == "pruned"), "{:.0e}")
    published = range_of(published_lesions("pruned", "Fisher p of accuracy"), "{:.0e}")
    yield f"pruned | Fisher p {published} | {p} | reproduced |"


def gap(condition, null="layer", folder="clusterability", digits=3, graph="with pixels"):
    """The gap of a condition in a graph, and its interval."""
    key = (graph, condition, null)
    (line,) = (
        line
        for line in study_table(folder, "clusterability_tests.csv")
        if (line["graph"], line["condition"], line["shuffle"]) == key
    )
    return interval_of(line, "gap_", digits, "+")


def networks_of(condition, folder="clusterability", graph="with pixels"):
    rows = study_table(folder, "clusterability.csv")
    return [line for line in rows if (line["graph"], line["condition"]) == (graph, condition)]


def claims():
    """What is published and what is found here, as the last table weighs it."""
    first, second = published_values("Filan et al. 2020"), published_values("Filan et al. 2021")

    def published(condition, null="layer", file=FACTORS):
        name = f"MNIST, {condition}, 12 clusters"
        z, below = (second[file, name, key] for key in (f"z, {null}", f"networks below every shuffle, {null}"))
        return f"z {number(z['value'], 1)}, {below['value']} of {below['n']}"

    def here(condition, null="layer", folder="clusterability"):
        z = spread_of(networks_of(condition, folder), f"{null}_z", 1)
        return f"{gap(condition, null, folder)}, z {z}"

    for condition in ("pruned", "pruned, dropout"):
        yield f"| {published(condition)} | gap {here(condition)} | reproduced |"
    for condition in ("pruned, dropout", "pruned"):
        shown = published(condition, "layer_nonzero", COHENS_D)
        yield f"| {shown} | gap {here(condition, 'layer_nonzero')} |"
    others = second[COHENS_D, "MNIST, unpruned, 12 clusters", "networks below every shuffle, layer"]
    found = f"gap {here('unpruned')}; with 4 clusters {here('unpruned', folder='clusterability_4')}"
    yield f"| {published('unpruned')}; of five others {others['value']} | {found} |"
    for condition in ("pruned, dropout", "pruned"):
        name = f"MNIST, {condition}, 4 clusters"
        quantities = "n-cut", "z, layer", "networks below every shuffle, layer"
        n_cut, z, below = (first["mlp-clustering-stability.ipynb", name, quantity] for quantity in quantities)
        shown = f"n-cut {number(n_cut['value'], 3)}, z {number(z['value'], 1)}, {below['value']} of {below['n']}"
        rows = networks_of(condition, "clusterability_4")
        found = f"{spread_of(rows, 'n_cut', 3)}, gap {here(condition, folder='clusterability_4')}"
        yield f"| {shown} | {found}, {below_shuffles(rows, 'layer')} | reproduced |"
    one, both = (
        [second[FACTORS, f"MNIST, {kind} 5e-5, 12 clusters", "z, layer"] for kind in kinds]
        for kinds in (("unpruned, L1", "pruned, L1"), ("pruned, L2", "unpruned, L2"))
    )
    z = [spread_of(networks_of(condition), "layer_z", 1) for condition in ("unpruned, l1", "pruned, l1")]
    published_z = "z {} unpruned, {} pruned".format(*(number(line["value"], 1) for line in one))
    yield f"| {published_z} | z {z[0]}, {z[1]} | reproduced |"
    z = [spread_of(networks_of(condition), "layer_z", 1) for condition in ("pruned, l2", "unpruned, l2")]
    yield f"| z {with_deviation(both[0], 1)}, {with_deviation(both[1], 1)} | z {z[0]}, {z[1]} |"
    trained, untrained = (
        [spread_of(networks_of(condition, folder), "n_cut", 3) for folder in ("clusterability", "clusterability_4")]
        for condition in ("unpruned", "random initialisation")
    )
    cuts = [f"{one} trained, {other} untrained" for one, other in zip(trained, untrained)]
    yield f"untrained | {cuts[0]}; with 4 clusters {cuts[1]} | reproduced with 12 clusters, reversed with 4 |"


def rescaling_sentences():
    """What the canonical form leaves of the difference that dropout makes."""
    dropout, plain = (
        {line["seed"]: float(line["layer_gap"]) for line in networks_of(condition, "clusterability_rescaled")}
        for condition in ("pruned, dropout", "pruned")
    )
    found = mean_interval([dropout[seed] - plain[seed] for seed in dropout])
    yield f"they differ by {interval(*found, 3, '+')} in the networks of the same seeds"
    yield f"with 4 clusters, where the interval is {gap('unpruned', folder='clusterability_4').split('(')[1][:-1]}"


def lines():
    yield from (*here_table(), *published_clusterability_table(), *clusterability_sentences())
    yield from (*gap_table("with pixels"), *gap_table("without pixels"))
    yield from (*gap_table("with pixels", "clusterability_4"), *gap_table("with pixels", "clusterability_rescaled"))
    yield from (*lesion_table(), *published_lesion_table(), *lesion_sentences())
    yield from (*claims(), *rescaling_sentences(), *gap_table("without pixels", "clusterability_rescaled"))
