"""The cells of tables: numbers, intervals, and what the files hold."""

import math
import statistics

from conftest import REPOSITORY
from runs import table

FIGURES = REPOSITORY / "figures"
PUBLISHED = REPOSITORY / "docs" / "published.csv"


def number(value, digits=2):
    """'0.44'; a dash for what is not defined, and no negative zero."""
    if value == "" or math.isnan(float(value)):
        return "–"
    shown = f"{float(value):.{digits}f}"
    return (shown if float(shown) else shown.replace("-", "")).replace("-", "−")


def bare(value, digits=3):
    """'.102'"""
    return number(value, digits).replace("0.", ".", 1)


def interval(low, middle, high, digits=1, sign=""):
    """'+3.5 (+1.3 to +5.8)'"""
    values = middle, low, high
    shown = [number(value, digits) for value in values]
    if sign:  # of a bound that rounds to zero, too: it tells whether zero lies inside
        signs = ["−" if value != "" and float(value) < 0 else sign for value in values]
        shown = [one if one.startswith(("−", "–")) else its_sign + one for one, its_sign in zip(shown, signs)]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def interval_of(line, prefix="", digits=1, sign=""):
    """`interval` of what a line has under mean, low and high, with a prefix."""
    return interval(*(line[f"{prefix}{key}"] for key in ("low", "mean", "high")), digits, sign)


def with_half_interval(line, prefix="", digits=2):
    middle, low, high = (line[f"{prefix}{key}"] for key in ("mean", "low", "high"))
    half = "" if low == "" else f" ± {number((float(high) - float(low)) / 2, digits)}"
    return number(middle, digits) + half


def with_deviation(line, digits):
    return f"{number(line['value'], digits)} ± {number(line['spread'], digits)}"


def spread_of(rows, key, digits):
    values = [float(line[key]) for line in rows]
    return f"{number(statistics.mean(values), digits)} ± {number(statistics.stdev(values), digits)}"


def p_value(p):
    return "–" if p is None else f"{p:.2g}"


def row(*cells):
    return f"| {' | '.join(map(str, cells))} |"


def published_values(work):
    """{(file, condition, quantity): line} of what a work's own files say."""
    return {
        (line["source"].split("/")[-1], line["condition"], line["quantity"]): line
        for line in table(PUBLISHED)
        if line["work"] == work
    }


def range_of(values, template="{:g}"):
    values = sorted(values)
    shown = [template.format(value) for value in (values[0], values[-1])]
    return shown[0] if shown[0] == shown[1] else " to ".join(shown)
