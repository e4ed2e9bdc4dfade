"""Figures of candidates, neurons of high in-degree and low betweenness: ablated, and among their nulls."""

import numpy

from report.panels import column, figure_of, legend_below
from report.results import text
from report.style import BLUE, DASHED, DIGIT_COLORS, NULL_BAR, OFFSET, PALE, styled

MOST_GROUPS, MOST_PANELS = 8, 5  # of candidates; those of a wide network would fill a wall


@styled
def plot_ablation(rows, digits, title):
    """Accuracy per digit with each module ablated: a group of bars per candidate, a bar per digit.

    rows: the intact network, then a row per candidate, with `neuron`, `layer`, `members`, and as fractions per digit
    `accuracy_<digit>`, its 95 % interval `low_`, `high_`, and of candidates the middle 90 % of the null `null_low_`, ...
    """
    intact, *candidates = rows
    shown = candidates[: MOST_GROUPS * MOST_PANELS]
    title += f"; the first {len(shown)} of {len(candidates)} candidates" if len(shown) < len(candidates) else ""
    groups = [shown[start : start + MOST_GROUPS] for start in range(0, len(shown), MOST_GROUPS)] or [[]]
    figure, panels = figure_of(9, 0.5 + 3 * len(groups), lines=len(groups))
    bar = 0.8 / len(digits)
    for axes, group in zip(panels[:, 0], groups):
        places = numpy.arange(len(group))
        for number, digit in enumerate(digits):
            centers = places - 0.4 + (number + 0.5) * bar
            low, high = column(group, f"null_low_{digit}"), column(group, f"null_high_{digit}")
            name = "90 % of matched modules" if digit == digits[-1] else None
            axes.bar(centers, 100 * (high - low), bar * 0.96, 100 * low, **NULL_BAR, linewidth=0.6, label=name)
            accuracy, low, high = (100 * column(group, f"{what}_{digit}") for what in ("accuracy", "low", "high"))
            axes.bar(centers, accuracy, bar * 0.62, color=DIGIT_COLORS[digit], label=f"digit {digit}", zorder=2)
            axes.vlines(centers, low, high, color="black", linewidth=1, zorder=3)
            for x in centers:
                axes.annotate(str(digit), (x, 0), (0, -10), ha="center", fontsize=8, **OFFSET)
        for digit in digits:
            level = 100 * intact[f"accuracy_{digit}"]
            name = f"intact, digit {digit}: {level:.1f} %"
            axes.axhline(level, **DASHED | {"color": DIGIT_COLORS[digit], "linewidth": 1.2}, label=name)
        axes.plot([], [], color="black", linewidth=1, label="95 % interval, test images")
        widest = MOST_GROUPS if len(groups) > 1 else max(len(group), 1)
        axes.set(ylim=(0, 100), xlim=(-0.6, widest - 0.4), ylabel="test accuracy (%)")
        axes.set_xticks(places, ["{neuron}\nlayer {layer}\nn = {members}".format(**row) for row in group])
        axes.tick_params(axis="x", length=0, pad=13)
    first = panels[0, 0]
    if not candidates:
        first.text(0, 50, "no candidates", ha="center")
    first.set_title(title, loc="left")
    figure.legend(*first.get_legend_handles_labels(), loc="outside right upper")
    return figure


@styled
def plot_percentiles(networks, tests, effects, nulls):
    """Where the candidates of many networks lie among their nulls: a panel per effect, a column per null.

    networks: a row per network with the mean percentile of its candidates, `<effect>_<null>`.
    tests: {"<effect>_<null>": a test as of `modularity.candidates.network_tests`}.  nulls: {null: its meaning}.
    """
    seeds = max(test["seeds"] for test in tests.values())
    title = f"Candidates among modules that nobody selected (n = {seeds} seeds, Wilcoxon signed-rank)\n"
    title += "pp: percentage points beyond the mean of those, mean over seeds with 95 % t interval"
    figure, [panels] = figure_of(8, 4.4, title, columns=len(effects), sharey=True)
    jitter = numpy.random.default_rng(0).uniform(-0.28, 0.28, len(networks))
    places = numpy.add.outer(range(len(nulls)), jitter)
    dots = {"s": 9, "color": BLUE, "alpha": 0.6, "linewidths": 0, "label": "a network: mean of its candidates"}
    interval = {"color": "black", "marker": "D", "markersize": 5, "capsize": 5, "linewidth": 1.6, "linestyle": ""}
    interval |= {"label": "median with 95 % bootstrap interval"}
    for axes, effect in zip(panels, effects):
        percentiles = numpy.array([column(networks, f"{effect}_{null}") for null in nulls])
        axes.plot(places, percentiles, color=PALE, alpha=0.4, linewidth=0.5, zorder=0)
        axes.scatter(places, percentiles, **dots)
        names = []
        for place, (null, meaning) in enumerate(nulls.items()):
            test = tests[f"{effect}_{null}"]
            median = test["median"]
            axes.errorbar(place, median, [[median - test["low"]], [test["high"] - median]], **interval)
            p = "primary: p = {p:.2g}" if test["role"] == "primary" else "corrected p = {adjusted_p:.2g}"
            axes.annotate(text(p, **test), (place, 101), ha="center", fontsize=8)
            points = text("{points_mean:+.1f} pp ({points_low:+.1f} to {points_high:+.1f})", **test)
            names.append(f"{points}\namong {meaning}".replace(" around", "\naround"))
        axes.axhline(50, **DASHED, label="chance")
        axes.set(title=effect, ylim=(0, 107), xlim=(-0.5, len(nulls) - 0.5))
        axes.set_xticks(range(len(nulls)), names)
    panels[0].set_ylabel("percentile of candidates")
    legend_below(figure, panels[0], columns=3)
    return figure
