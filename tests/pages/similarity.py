"""What docs/similarity.md says."""

import statistics
from itertools import product

from pages.cells import FIGURES, PUBLISHED, bare, interval, interval_of, number, p_value, row
from runs import record, table

from modularity.rows import grouped


def similarity_record(folder):
    return record(FIGURES / folder / "upstream_downstream.json")


def q_table():
    """A line per layer and measure: Q here and published, untrained and at rates of dropout."""
    values = {
        (line["condition"], line["quantity"]): line for line in table(PUBLISHED) if line["work"] == "Lange et al. 2022"
    }
    lines = similarity_record("similarity")["conditions"]
    for layer, measure in product((1, 2), ("forward_cov", "forward_jac", "backward_jac", "backward_hess")):
        own = {line["condition"]: line for line in lines if (line["layer"], line["measure"]) == (layer, measure)}
        here = {"untrained": next(iter(own.values()))["untrained_mean"]}
        here |= {f"dropout {rate}": own[f"dropout {rate}, l2"]["mean"] for rate in ("0", "0.2", "0.5", "0.7")}
        cells = []
        for condition, mean in here.items():
            line = values.get((f"{condition}, layer {layer}", f"Q of {measure}"))
            if line is None:
                published = "–"
            elif line["formula"].startswith("at least"):
                published = f">{bare(line['value'], 2)}"
            else:
                published = bare(line["value"])
            cells.append(f"{bare(mean)} / {published}")
        yield row(f"{measure}, layer {layer}", *cells)


def trend_table(folder):
    """A line per kind of regularisation: what it does to the mean Q of all layers and measures, and to each."""
    lines = similarity_record(folder)["trends"]
    for group in grouped(lines, "regularization"):
        (everything,) = (line for line in group if line["measure"] == "all")
        each = [line for line in group if line["measure"] != "all"]
        clear = [line for line in each if line["adjusted_p"] <= 0.05]
        rises = sum(line["tau"] > 0 for line in clear)
        change = interval_of(everything, "change_", 3, sign="+")
        role = p_value(everything.get("adjusted_p"))
        if everything.get("role") == "primary":
            role = "primary" if folder == "similarity" else "the same, asked otherwise"
        rates = f"{everything['from']:g} to {everything['to']:g}"
        p_values = number(everything["tau"]), p_value(everything["p"]), role
        yield row(
            everything["regularization"],
            rates,
            everything["seeds"],
            change,
            *p_values,
            f"{rises} of {len(each)}",
            f"{len(clear) - rises} of {len(each)}",
        )


def families_table(folder):
    """A line per condition: agreement within families and across, mean over layers."""
    for group in grouped(similarity_record(folder)["agreement"], "condition"):
        cells = []
        for name in ("UP", "DOWN", "CROSS"):
            own = [line for line in group if line["group"] == name]
            similarity, rand = (statistics.mean(line[key] for line in own) for key in ("similarity", "adjusted_rand"))
            cells.append(f"{number(similarity)} ({number(rand)})")
        shuffled = statistics.mean(line["shuffled"] for line in group if line["group"] == "CROSS")
        yield row(group[0]["condition"], *cells, number(shuffled))


def family_contrast_table(folder):
    """A line per contrast: how much better partitions agree."""
    for line in similarity_record(folder)["contrasts"]:
        difference = interval(line["difference_low"], line["difference"], line["difference_high"], 2, sign="+")
        what = f"{line['one']} − {line['other']}"
        yield row(line["networks"], line["seeds"], what, difference, p_value(line["adjusted_p"]))


def similarity_claims():
    """The lines of the page of similarity that weigh a claim, as far as their numbers are ours."""
    found, rows = similarity_record("similarity"), table(FIGURES / "similarity" / "upstream_downstream.csv")
    q = {(line["condition"], line["layer"], line["measure"]): line for line in found["conditions"]}
    none = "dropout 0, l2"

    def changes(condition, **kind):
        wanted = kind.items()
        lines = [line for line in found["conditions"] if line["condition"] == condition and wanted <= line.items()]
        return [line["mean"] - q[none, line["layer"], line["measure"]]["mean"] for line in lines]

    def accuracy(condition):
        of_networks = {line["network"]: float(line["accuracy"]) for line in rows if line["condition"] == condition}
        return bare(statistics.mean(of_networks.values()))

    published = {
        (line["condition"], line["quantity"]): float(line["value"])
        for line in table(PUBLISHED)
        if line["work"] == "Lange et al. 2022"
    }
    apart = [
        abs(line["untrained_mean"] - published[f"untrained, layer {layer}", f"Q of {measure}"])
        for (condition, layer, measure), line in q.items()
        if condition == none
    ]
    assert len(apart) == 16
    yield f"| Untrained networks: mean Q | 16 layers and measures, 500 networks | within {max(apart):.4f} of each |"
    accuracies = " / ".join(accuracy(f"dropout {rate}, l2") for rate in ("0", "0.5", "0.7"))
    yield f"| Test accuracy at dropout 0 / 0.5 / 0.7 | – | {accuracies} |"
    jac = [bare(q[condition, 1, "forward_jac"]["mean"]) for condition in (none, "dropout 0.5, l2")]
    yield f"from 0 to 0.5 | .090 to .426 | {jac[0]} to {jac[1]} |"
    each = [line for line in found["trends"] if line["regularization"] == "dropout" and line["measure"] != "all"]
    rises = sum(line["adjusted_p"] <= 0.05 and line["tau"] > 0 for line in each)
    times = q["dropout 0.5, l2", 1, "forward_cov"]["mean"] / q[none, 1, "forward_cov"]["mean"]
    least = min(line["tau"] for line in each)
    yield f"× {times:.1f}; rises in {rises} of {len(each)}, Kendall's tau {least:.2f} to 1 |"
    modest = changes("l2 0.001") + changes("l1 0.0001, l2")
    yield f"by {bare(min(modest))} to {bare(max(modest))} |"
    strong = changes("l2 0.01")
    yield f"| L2 of 1e−2 (accuracy {accuracy('l2 0.01')}) | – | by {bare(min(strong))} to {bare(max(strong))} |"
    dead = max(int(line["dead"]) for line in rows if line["condition"] == "l1 0.001, l2")
    yield f"| L1 of 1e−3 (accuracy {accuracy('l1 0.001, l2')}, up to {dead} of 64 neurons dead) |"
    keys = ((2, "forward_jac"), (1, "backward_jac"), (2, "backward_jac"))
    values = [bare(q["l1 0.001, l2", *key]["mean"]) for key in keys]
    downstream = [
        change
        for measure in ("backward_jac", "backward_jac_norm", "backward_hess", "backward_hess_norm")
        for change in changes("l1 0.001, l2", layer=2, measure=measure)
    ]
    yield (
        "| at {}, {} and {}; ".format(*values)
        + f"downstream in layer 2 by {bare(min(downstream))} to {bare(max(downstream))} |"
    )
    for condition, name in (("all trained", "all trained"), ("random initialisation", "untrained")):
        lines = [line for line in found["agreement"] if line["condition"] == condition]
        means = [
            statistics.mean(line["similarity"] for line in lines if line["group"] == group)
            for group in ("UP", "DOWN", "CROSS")
        ]
        shuffled = statistics.mean(line["shuffled"] for line in lines if line["group"] == "CROSS")
        yield "| {} / {} / {}; ".format(*(bare(mean, 2) for mean in means)) + f"shuffled {bare(shuffled, 2)} |"
    clusters = [
        statistics.mean(
            line["clusters"]
            for (name, its_layer, measure), line in q.items()
            if name == condition and its_layer == layer and measure.startswith("backward")
        )
        for condition in (none, "dropout 0.7, l2")
        for layer in (1, 2)
    ]
    shown = "{:.1f} / {:.1f} to {:.1f} / {:.1f}".format(*clusters)
    yield (
        "| Dropout of 0.7 merges downstream clusters: effective number, layers 1 / 2 | from about 4 to 3 | "
        + f"{shown} |"
    )


def similarity_sentences():
    """What the page says in words."""
    agreement = similarity_record("similarity")["agreement"]
    above = [
        statistics.mean(
            line["similarity"] - line["shuffled"]
            for line in agreement
            if (line["condition"], line["group"]) == (f"dropout {rate}, l2", "CROSS")
        )
        for rate in ("0", "0.7")
    ]
    yield "by {} of 1 without dropout, by {} at 0.7".format(*map(number, above))


def lines():
    yield from (*trend_table("similarity"), *trend_table("similarity_fixed"), *q_table())
    yield from (*families_table("similarity"), *family_contrast_table("similarity"), *similarity_claims())
    yield from similarity_sentences()
