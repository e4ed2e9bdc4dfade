"""Figures of candidates, neurons of high in-degree and low betweenness: ablated, and among their nulls."""

import numpy

from report.panels import column, figure_of, legend_below
from report.results import text
from report.style import BLUE, DASHED, DIGIT_COLORS, GREY, OFFSET, PALE, styled

MOST_GROUPS, MOST_PANELS = 8, 5  # of candidates; those of a wide network would fill a wall
MOST_NUMBERS = 24  # beside bars, before they lie on top of each other


def overlap_sentence(overlap):
    """What `modularity.candidates.candidate_overlap` found, in words."""
    counts = "rescaling: {before} candidates before and {after} after, {shared} of them the same"
    return text(f"{counts}; {{shared_by_chance:.1f}} would be by chance", **overlap)


@styled
def plot_ablation(rows, data, title):
    """Accuracy per class with each module ablated: a group of bars per candidate, a bar per class.

    rows: the intact network, then a row per candidate, with `neuron`, `layer`, `members`, and as fractions per class
    `accuracy_<class>`, its 95 % interval `low_`, `high_`, and of candidates the middle 90 % of the null, `null_low_`
    and `null_high_`.  data: the DataSet of these classes.
    """
    intact, *candidates = rows
    shown = candidates[: MOST_GROUPS * MOST_PANELS]
    title += f"; the first {len(shown)} of {len(candidates)} candidates" if len(shown) < len(candidates) else ""
    groups = [shown[start : start + MOST_GROUPS] for start in range(0, len(shown), MOST_GROUPS)] or [[]]
    figure, panels = figure_of(9, 0.8 + 3 * len(groups), lines=len(groups))
    slot = 0.8 / len(data.classes)
    beside = {"ha": "center", **OFFSET}
    longest = max(len(data.short_name(label)) for label in data.classes)
    below = {"rotation": 90, "va": "top"} if longest > 1 else {"va": "baseline"}
    for axes, group in zip(panels[:, 0], groups):
        places = numpy.arange(len(group))
        for place, label in enumerate(data.classes):
            color, level = DIGIT_COLORS[label], 100 * intact[f"accuracy_{label}"]
            edges = places - 0.4 + place * slot
            centers = edges + 0.4 * slot
            accuracy, low, high = (100 * column(group, f"{what}_{label}") for what in ("accuracy", "low", "high"))
            name = f"{data.class_name(label)} (intact: {level:.1f} %)"
            axes.bar(centers, accuracy, 0.56 * slot, color=color, label=name)
            axes.vlines(centers, low, high, color="black", linewidth=1, label="95 % interval, test images", zorder=3)
            # a bar of nothing has still its dot
            axes.scatter(centers, accuracy, 14, color, edgecolors="black", linewidths=0.6, clip_on=False, zorder=4)
            levels = numpy.full(len(group), level)
            axes.hlines(levels, edges, edges + 0.8 * slot, color="black", label="intact network", zorder=3)
            low, high = (100 * column(group, f"null_{end}_{label}") for end in ("low", "high"))
            middle, name = (low + high) / 2, "90 % of matched modules"
            null = {"color": GREY, "linestyle": "", "elinewidth": 1.6, "capsize": slot * 12, "clip_on": False}
            axes.errorbar(edges + 0.84 * slot, middle, (middle - low, high - middle), **null, label=name)
            for x, share in zip(centers, accuracy):
                offset = 0, -12 if longest == 1 else -3
                axes.annotate(
                    data.short_name(label), (x, 0), offset, fontsize=8 if longest == 1 else 7, **beside, **below
                )
                if len(group) * len(data.classes) <= MOST_NUMBERS:
                    axes.annotate(f"{share:.1f}", (x, 100), (0, 4), fontsize=7, **beside)
        widest = MOST_GROUPS if len(groups) > 1 else max(len(group), 1)
        axes.set(ylim=(0, 107), xlim=(-0.5, widest - 0.5), ylabel="test accuracy (%)")
        axes.set_xticks(places, [f"{row['neuron']}\n{company(row)}" for row in group])
        axes.tick_params(axis="x", length=0, pad=15 if longest == 1 else 4 + 4 * longest)
    first = panels[0, 0]
    if not candidates:
        first.text(0, 50, "no candidates", ha="center")
    first.set_title(title, loc="left")
    legend_below(figure, first, columns=3)
    return figure


def company(row):
    """How many neurons are ablated together with a candidate: 'with 4 others'."""
    others = row["members"] - 1
    return "alone" if others == 0 else f"with {others} other{'s' * (others > 1)}"


@styled
def plot_percentiles(networks, tests, effects, nulls):
    """Where the candidates of many networks lie among their nulls: a panel per effect, a column per null.

    networks: a row per network with the mean percentile of its candidates, `<effect>_<null>`.
    tests: {"<effect>_<null>": a test as of `modularity.candidates.network_tests`}.  nulls: {null: its meaning}.
    """
    seeds = max(tests[f"{effect}_{null}"]["seeds"] for effect in effects for null in nulls)
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
