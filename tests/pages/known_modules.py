"""What docs/known_modules.md says."""

import statistics

from pages.cells import FIGURES, number, published_values, row, with_deviation, with_half_interval
from pages.clusterability import clusterability_table, gap_table
from runs import record, table

from modularity.rows import grouped


def recovery_table(folder="recovery"):
    """A line per definition: the score that counts at each leak."""
    lines = table(FIGURES / folder / "recovery.csv")
    counted = [line for line in lines if line["asked"] in ("", line["groups"])]
    for group in grouped(counted, "definition"):
        score = "homogeneity" if group[0]["asked"] == "" else "adjusted_rand"
        yield row(group[0]["definition"], *(with_half_interval(line, f"{score}_") for line in group))


def curve_table():
    """A line per definition and number of clusters asked for: homogeneity at each leak."""
    lines = [line for line in table(FIGURES / "recovery" / "recovery.csv") if line["asked"]]
    for group in [group for own in grouped(lines, "definition") for group in grouped(own, "asked")]:
        yield row(
            group[0]["definition"], group[0]["asked"], *(with_half_interval(line, "homogeneity_") for line in group)
        )


def function_table(folder="recovery"):
    for line in table(FIGURES / folder / "recovery_function.csv"):
        shares = (
            f"{number(line[f'{key}_mean'])} ({number(line[f'{key}_low'])} to {number(line[f'{key}_high'])})"
            for key in ("own_share", "random_own_share")
        )
        yield row(line["condition"], *shares, f"{number(100 * float(line['change_mean']), 1)}")


def purity_table(folder):
    for line in table(FIGURES / folder / "recovery_purity.csv"):
        percentile = f"{number(line['median'], 1)} ({number(line['low'], 1)} to {number(line['high'], 1)})"
        yield row(line["condition"], line["seeds"], number(line["purity"]), percentile)


def power_table(folder):
    """A line per test: how many networks of each condition it calls modular."""
    for group in grouped(table(FIGURES / folder / "recovery_power.csv"), "study", "test"):
        order = sorted(group, key=lambda line: line["condition"] == "control")
        yield row(group[0]["study"], group[0]["test"], *(f"{line['modular']} of {line['networks']}" for line in order))


def percentile_table(folder):
    """Where the candidates of the first study lie among matched modules."""
    lines = [line for line in table(FIGURES / folder / "recovery_power.csv") if line["study"] == "candidates"]
    for group in grouped(
        [line for line in lines if "matched" in line["test"] and line["condition"] != "control"], "test"
    ):
        yield row(group[0]["test"].split(",")[0], *(with_half_interval(line, "value_", 1) for line in group))


def agreement_table(folder):
    for group in grouped(table(FIGURES / folder / "recovery_agreement.csv"), "pair"):
        means = [float(line["mean"]) for line in group]
        yield row(
            group[0]["pair"],
            len(group),
            number(sum(means) / len(means)),
            f"{number(min(means))} to {number(max(means))}",
        )


READINGS = {
    (
        "candidates",
        "importance, matched modules",
    ): "says yes of anything, of random neurons with their strongest inputs, too",
    ("candidates", "importance, the same rule around non-candidates"): "does not notice halves; its no says nothing",
    ("clusterability", "with pixels, layer"): "notices halves; and calls ordinary networks modular, too",
    ("clusterability", "with pixels, layer_nonzero"): "keeps zeros in their places, and cannot see wires that are cut",
    ("clusterability", "with pixels, strength"): "notices some halves, and calls ordinary networks modular more often",
    ("clusterability", "without pixels, layer"): "tells halves from none",
    (
        "clusterability",
        "without pixels, strength",
    ): "notices some halves, and some ordinary networks; its no says little",
    ("specialization", "accuracy, weights, global"): "notices halves; and most ordinary networks",
    (
        "specialization",
        "range, weights, global",
    ): "never notices halves of five digits each; its no says nothing",
    ("similarity", "backward_jac"): "notices halves; and some ordinary networks",
}
"""What follows for the tests of the other studies."""


def readings_table():
    lines = {
        (line["study"], line["test"], line["condition"]): line
        for line in table(FIGURES / "recovery" / "recovery_power.csv")
    }
    for (study, test), reading in READINGS.items():
        shown = (lines[study, test, condition] for condition in ("leak 0", "leak 0.2", "leak 1", "control"))
        yield row(study, test, *(f"{line['modular']} of {line['networks']}" for line in shown), reading)


def recovery_sentences():
    """What the page of known modules says of recovery in words."""
    lines = {
        (line["definition"], line["asked"], line["condition"]): line
        for line in table(FIGURES / "recovery" / "recovery.csv")
    }
    function = {line["condition"]: line for line in table(FIGURES / "recovery" / "recovery_function.csv")}

    def score(definition, leak):
        asked, kind = ("", "homogeneity") if "_" in definition else ("2", "adjusted_rand")
        return with_half_interval(lines[definition, asked, f"leak {leak}"], f"{kind}_")

    def share(leak):
        line = function[f"leak {leak}"]
        return f"{number(line['own_share_mean'])}, {number(line['own_share_low'])} to {number(line['own_share_high'])}"

    yield f"(own-share {share('0')}) and still do at 0.2 ({share('0.2')}); at 0.5 hardly ({share('0.5')})"
    yield f"its recovery is {score('weights, global', '0')} at leak 0"
    yield f"and still at 0.5 ({score('weights, without pixels', '0.5')})"
    found = score("activations, global", "0"), score("forward_cov", "0")
    yield "**Activations** find {} at leak 0, `forward_cov` {}".format(*found)
    yield f"(`forward_jac`, {score('forward_jac', '0')} at leak 0, {score('forward_jac', '0.2')} at 0.2)"
    yield f"(`backward_jac`, {score('backward_jac', '0')} and {score('backward_jac', '0.2')})"


def other_sentences():
    """What it says of the rest in words."""
    accuracies = [
        statistics.mean(test["accuracy"] for test in about["record"]["test"])
        for about in record(FIGURES / "recovery_clusterable" / "clusterability.json")["checkpoints"]
    ]
    yield "Test accuracy is {:.3f} pruned and {:.3f} before".format(*accuracies).replace("0.", ".")
    keys = "shuffled_adjusted_rand_mean", "shuffled_homogeneity_mean"
    largest = max(abs(float(line[key])) for line in table(FIGURES / "recovery" / "recovery.csv") for key in keys)
    yield f"In shuffled halves no mean of any definition at any leak is beyond {number(largest)}"
    lines = table(FIGURES / "recovery" / "recovery_power.csv")
    control = [line for line in lines if line["condition"] == "control"]
    level = sum(line["at_level"] == "True" for line in control)
    yield f"Of {len(control)} tests, {level} do not say it more often than chance allows"


def published_planting_table():
    values = published_values("Filan et al. 2021")
    for kind in ("pruned", "unpruned"):
        n_cut, shuffled, z = (
            values["clustering_factors_mlp.csv", f"MNIST, {kind}, clusterable initialisation, 12 clusters", quantity]
            for quantity in ("n-cut", "shuffled n-cut, layer", "z, layer")
        )
        shown = with_deviation(n_cut, 3), number(shuffled["value"], 3), number(z["value"], 0)
        yield row(f"published: {kind}", *shown, *4 * [""])


def lines():
    yield from (*recovery_sentences(), *other_sentences(), *recovery_table(), *curve_table(), *function_table())
    for folder in ("recovery", "recovery_16"):
        yield from (*purity_table(folder), *percentile_table(folder), *power_table(folder))
    yield from (*readings_table(), *agreement_table("recovery"), *agreement_table("agreement"))
    for graph in ("with pixels", "without pixels"):
        yield from (*clusterability_table(graph, "recovery_clusterable"), *gap_table(graph, "recovery_clusterable"))
    yield from published_planting_table()
    yield from (*recovery_table("recovery_clusterable"), *function_table("recovery_clusterable"))
