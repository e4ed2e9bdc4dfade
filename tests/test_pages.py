"""The numbers of the pages are those of the committed files: new results cannot leave the prose behind."""

import math

from conftest import REPOSITORY
from runs import table

from modularity.rows import grouped

FIGURES = REPOSITORY / "figures"


def number(value, digits=2):
    """'0.44'; a dash for what is not defined, and no negative zero."""
    if value == "" or math.isnan(float(value)):
        return "–"
    shown = f"{float(value):.{digits}f}"
    return (shown if float(shown) else shown.replace("-", "")).replace("-", "−")


def with_half_interval(line, prefix="", digits=2):
    middle, low, high = (line[f"{prefix}{key}"] for key in ("mean", "low", "high"))
    half = "" if low == "" else f" ± {number((float(high) - float(low)) / 2, digits)}"
    return number(middle, digits) + half


def row(*cells):
    return f"| {' | '.join(map(str, cells))} |"


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
    for group in grouped(lines, "definition", "asked"):
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


TABLES = {
    "docs/known_modules.md": [
        *recovery_table(),
        *curve_table(),
        *function_table(),
        *purity_table("recovery"),
        *purity_table("recovery_16"),
        *percentile_table("recovery"),
        *percentile_table("recovery_16"),
        *power_table("recovery"),
        *power_table("recovery_16"),
        *agreement_table("recovery"),
    ],
}
