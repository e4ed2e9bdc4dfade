"""Figures of known modules: what finds them, which test notices them, and who agrees with whom."""

import matplotlib
import numpy

from mlp.network import CONTROL
from modularity.partitions import FAMILIES
from modularity.significance import LEVEL
from modularity.recovery import FAMILY_OF
from modularity.rows import grouped
from report.panels import column, draw_table, figure_of
from report.style import BLUE, DASHED, GREY, ORANGE, RED, VIOLET, YELLOW, styled

LOOKS = ((BLUE, "o", "-"), (ORANGE, "s", "--"), (VIOLET, "^", "-."), (YELLOW, "D", ":"))
"""Colour, marker and line of the first, second ... of what shares a panel."""
NARROWEST = 7.5
"""Inches of a figure, whatever its panels, lest its title be cut."""
MOST_LETTERS = 30
"""Below an axis, side by side."""
SCORE_NAMES = {"adjusted_rand": "adjusted Rand index", "homogeneity": "homogeneity, chance-corrected"}
POWER_PANELS = {
    "candidates": ("candidates", ""),
    "n-cut, with pixels": ("clusterability", "with pixels, "),
    "n-cut, without pixels": ("clusterability", "without pixels, "),
    "importance": ("specialization", "accuracy, "),
    "coherence": ("specialization", "score, "),
    "similarity, upstream": ("similarity", "forward_"),
    "similarity, downstream": ("similarity", "backward_"),
}


def places_of(lines):
    """{condition: place on the axis}: first those with a leak, by their leak, then others, and the controls last."""
    leaks = {line["condition"]: line["leak"] for line in lines}
    order = sorted(leaks, key=lambda name: (name == CONTROL, numpy.isnan(leaks[name]), numpy.nan_to_num(leaks[name])))
    return {name: place + 0.6 * (name == CONTROL) for place, name in enumerate(order)}


def draw_conditions(axes, places, lines, key, look, shift, label):
    """What some lines have under a key, with their interval, above their conditions; joined where there are leaks."""
    color, marker, dashes = look
    lines = sorted(lines, key=lambda line: places[line["condition"]])
    at = numpy.array([places[line["condition"]] + shift for line in lines])
    middle, low, high = (column(lines, name).astype(float) for name in (key, "low", "high"))
    style = {"color": color, "marker": marker, "markersize": 4, "elinewidth": 0.9, "linewidth": 1.3}
    leaks = known_leaks(lines)
    known = numpy.array([line["condition"] in leaks for line in lines])
    for some, dash, name in ((known, dashes, label), (~known, "", None if known.any() else label)):
        if some.any():
            reach = numpy.abs([middle[some] - low[some], high[some] - middle[some]])
            axes.errorbar(at[some], middle[some], reach, linestyle=dash, label=name, **style)


def label_conditions(axes, places, lines):
    """The names of the conditions below an axis; their leaks, where these tell them apart."""
    leaks = known_leaks(lines)
    named = [f"{leaks[name]:g}" if name in leaks else name for name in places]
    crowded = sum(map(len, named)) > MOST_LETTERS
    axes.set_xticks(list(places.values()), named, **({"rotation": 30, "ha": "right"} if crowded else {}))
    if leaks:
        axes.set_xlabel("leak between planted groups")
    axes.set_xlim(-0.4, max(places.values()) + 0.4)


def known_leaks(lines):
    """{condition: leak} of those that have one, if no two are the same."""
    leaks = {line["condition"]: line["leak"] for line in lines if not numpy.isnan(line["leak"])}
    return leaks if len(set(leaks.values())) == len(leaks) else {}


@styled
def plot_recovery(lines, functions, title):
    """How well each definition finds the planted groups, and whether these act as modules: a panel per family.

    lines: `condition`, `leak`, `definition`, `family`, `score`, `mean`, `low`, `high`.  functions: `condition`,
    `excess_mean`, `excess_low`, `excess_high`.
    """
    families = [family for family in FAMILIES if any(line["family"] == family for line in lines)]
    places = places_of(lines)
    figure, [panels] = figure_of(max(NARROWEST, 2.6 * len(families)), 4.2, title, columns=len(families), sharey=True)
    functions = sorted(functions, key=lambda line: places[line["condition"]])
    at = [places[line["condition"]] for line in functions]
    for axes, family in zip(panels, families):
        axes.axhline(0, **DASHED, label="chance")
        middle, low, high = (column(functions, f"excess_{key}") for key in ("mean", "low", "high"))
        look = {"color": GREY, "alpha": 0.5, "label": "function: own-share above chance"}
        if known_leaks(lines):
            axes.fill_between(at, low, high, color=GREY, alpha=0.25, linewidth=0)
            axes.plot(at, middle, linewidth=5, solid_capstyle="round", **look)
        else:
            axes.errorbar(at, middle, (middle - low, high - middle), marker="_", markersize=24, linestyle="", **look)
        own = [line for line in lines if line["family"] == family]
        for place, (group, look) in enumerate(zip(grouped(own, "definition"), LOOKS)):
            draw_conditions(axes, places, group, "mean", look, 0.06 * (place - 1.5), group[0]["definition"])
        label_conditions(axes, places, lines)
        axes.set_title(f"{family}\n({SCORE_NAMES[own[0]['score']]})", fontsize=9)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=8)
    panels[0].set(ylabel="recovery (1: found exactly)", ylim=(-0.3, 1.05))
    return figure


@styled
def plot_clusters_asked(lines, title):
    """Homogeneity against the number of clusters asked for: a panel per definition, a line per condition.

    lines: `condition`, `leak`, `definition`, `asked`, `homogeneity_mean`, `_low` and `_high`.
    """
    places = places_of(lines)
    groups = grouped(lines, "definition")
    figure, panels = figure_of(9, 6, title, 2, -(-len(groups) // 2), sharex=True, sharey=True)
    shades = numpy.linspace(0, 0.92, len(places))
    for axes, group in zip(panels.flat, groups):
        axes.axhline(0, **DASHED)
        for name, shade in zip(places, shades):
            own = sorted((line for line in group if line["condition"] == name), key=lambda line: line["asked"])
            low, high = (column(own, f"homogeneity_{key}").astype(float) for key in ("low", "high"))
            color = matplotlib.colormaps["cividis"](shade)
            axes.fill_between(column(own, "asked"), low, high, color=color, alpha=0.2, linewidth=0)
            style = {"color": color, "marker": "o", "markersize": 3, "label": name}
            axes.plot(column(own, "asked"), column(own, "homogeneity_mean"), **style)
        axes.set_title(group[0]["definition"])
        axes.set_xticks(sorted({line["asked"] for line in lines}))
        axes.set_ylim(-0.08, 1.05)
    for axes in panels[-1]:
        axes.set_xlabel("clusters asked for")
    for axes in panels[:, 0]:
        axes.set_ylabel("homogeneity (chance: 0)")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside right center")
    return figure


@styled
def plot_power(lines, title):
    """The share of networks that tests call modular: a panel per study, a line per test of POWER_PANELS.

    lines: `study`, `test`, `condition`, `leak`, `share`, `low`, `high`; the condition CONTROL is set apart.
    """
    drawn = {}
    for name, (study, start) in POWER_PANELS.items():
        own = [line for line in lines if line["study"] == study and line["test"].startswith(start)]
        tests = grouped([line for line in own if not line["test"].endswith("_norm")], "test")
        if tests:
            drawn[name] = start, tests
    places = places_of(lines)
    lines_of_panels, columns = -(-len(drawn) // 3), min(3, len(drawn))
    size = max(NARROWEST, 9.5 * columns / 3), 3.6 * lines_of_panels
    figure, panels = figure_of(*size, title, lines_of_panels, columns, sharey=True)
    for axes, (name, (start, tests)) in zip(panels.flat, drawn.items()):
        axes.axhline(100 * LEVEL, **DASHED | {"color": RED}, label=f"level: {100 * LEVEL:g} %")
        for place, (group, look) in enumerate(zip(tests, LOOKS[: len(tests)], strict=True)):
            group = [line | {key: 100 * line[key] for key in ("share", "low", "high")} for line in group]
            test = group[0]["test"]
            label = test.removeprefix(start) if start.endswith(" ") else test
            draw_conditions(axes, places, group, "share", look, 0.08 * (place - 1.5), label)
        label_conditions(axes, places, lines)
        axes.set_title(name)
        axes.set_ylim(-4, 104)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=8)
    for axes in panels[:, 0]:
        axes.set_ylabel("networks called modular (%)")
    for axes in panels.flat[len(drawn) :]:
        axes.set_visible(False)
    return figure


@styled
def plot_definitions(lines, title):
    """How well the partitions by each two definitions agree: one table, families blocked.

    lines: `definition`, `other`, `mean`, the adjusted Rand index.
    """
    names = list(dict.fromkeys(line[key] for key in ("definition", "other") for line in lines))
    size = len(names)
    table = numpy.full((size, size), numpy.nan)
    for line in lines:
        one, other = (names.index(line[key]) for key in ("definition", "other"))
        table[one, other] = table[other, one] = line["mean"]
    figure, [[axes]] = figure_of(8, 6.8, title)
    families = grouped([{"family": FAMILY_OF[name]} for name in names], "family")
    image = draw_table(axes, table, names, list(map(len, families)), (0, 1), fontsize=7)
    axes.set_xticks(range(size), names, rotation=60, ha="right")
    bar = figure.colorbar(image, ax=axes, label="adjusted Rand index, mean over layers", fraction=0.04, pad=0.02)
    bar.set_ticks([0, 0.2, 0.4, 0.6, 0.8, 1], labels=["chance: 0", "0.2", "0.4", "0.6", "0.8", "equal: 1"])
    return figure
