"""The numbers of the pages are those of the committed files: new results cannot leave the prose behind."""

import math
import re
import statistics
from collections import Counter
from itertools import product

import pytest
from conftest import REPOSITORY
from runs import record, table

from mlp.checkpoint import save_checkpoint
from mlp.model import initial_model
from modularity.candidates import NULLS as CANDIDATE_NULLS
from modularity.candidates import PRIMARY
from modularity.clusterability import NULLS as WEIGHT_NULLS
from modularity.rows import grouped, mean_interval
from modularity.significance import signed_rank_test

FIGURES = REPOSITORY / "figures"
PUBLISHED = REPOSITORY / "docs" / "published.csv"


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


def spread_of(rows, key, digits):
    values = [float(line[key]) for line in rows]
    return f"{number(statistics.mean(values), digits)} ± {number(statistics.stdev(values), digits)}"


def below_shuffles(rows, null):
    return f"{sum(float(line[f'{null}_p']) <= 0.05 for line in rows)} of {len(rows)}"


def clusterability_table(graph, folder="clusterability"):
    """A line per condition: n-cut, what shuffled copies have, z and how many networks are clearly below them."""
    rows = [line for line in table(FIGURES / folder / "clusterability.csv") if line["graph"] == graph]
    for group in grouped(rows, "condition"):
        cells = [group[0]["condition"], spread_of(group, "n_cut", 3)]
        for null in ("layer", "layer_nonzero"):
            mean = number(statistics.mean(float(line[f"{null}_mean"]) for line in group), 3)
            cells += [mean, spread_of(group, f"{null}_z", 1), below_shuffles(group, null)]
        yield row(*cells)


def here_table():
    """As `published_clusterability_table`, of the networks here."""
    folder = FIGURES / "clusterability"
    accuracies = {}
    for about in record(folder / "clusterability.json")["checkpoints"]:
        of_networks = [test["accuracy"] for test in about["record"]["test"]]
        accuracies[about["networks"][0]["condition"]] = f"{number(100 * statistics.mean(of_networks))} %"
    rows = [line for line in table(folder / "clusterability.csv") if line["graph"] == "with pixels"]
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
    lines = [line for line in table(FIGURES / folder / "clusterability_tests.csv") if line["graph"] == graph]
    for group in grouped(lines, "condition"):
        of_null = {line["shuffle"]: line for line in group}
        cells = [group[0]["condition"], group[0]["seeds"], number(group[0]["n_cut"], 3)]
        for null in WEIGHT_NULLS:
            line = of_null.get(null)  # what is the same as another null is one test
            cells.append(
                interval(*(line[f"gap_{end}"] for end in ("low", "mean", "high")), 3, "+") if line else "the same"
            )
        yield row(*cells)


def clusterability_sentences():
    """What the page of clusterability says in words."""
    primary, *others = table(FIGURES / "clusterability" / "clusterability_tests.csv")
    assert primary["role"] == "primary"
    gap = interval(*(primary[f"gap_{end}"] for end in ("low", "mean", "high")), 3, "+")
    share = f"{number(-100 * float(primary['gap_share']), 0)} %"
    yield f"by {gap}, {share} of theirs (p = {p_value(float(primary['p']))}, {primary['seeds']} seeds)"
    sides = [
        sum(float(line["adjusted_p"]) <= 0.05 and line["direction"] == side for line in others) for side in ("-1", "1")
    ]
    yield f"Of {len(others)} other tests, {sides[0]} lie below their copies and {sides[1]} above"


def interval(low, middle, high, digits=1, sign=""):
    """'+3.5 (+1.3 to +5.8)'"""
    shown = [number(value, digits) for value in (middle, low, high)]
    shown = [sign + value if sign and not value.startswith(("−", "–")) else value for value in shown]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def p_value(p):
    return "–" if p is None else f"{p:.2g}"


def points(test):
    return interval(test["points_low"], test["points_mean"], test["points_high"], sign="+")


WAYS = {"200_networks": "zero", "200_networks_mean": "mean", "200_networks_rescaled": "zero, canonical form"}
"""What was made of the fresh networks of the first study."""


def candidate_tests(folder):
    return record(FIGURES / folder / "ablation_networks.json")["tests"]


def candidate_table():
    """A line per way to silence candidates, effect and null: where those by the rule of both lie."""
    for folder, way in WAYS.items():
        for test in candidate_tests(folder).values():
            if test["rule"] == "both":
                percentile = interval(test["low"], test["median"], test["high"])
                role = "primary" if way == "zero" else "the same, asked otherwise"
                p_values = p_value(test["p"]), role if test["role"] == "primary" else p_value(test["adjusted_p"])
                yield row(way, test["effect"], CANDIDATE_NULLS[test["among"]], points(test), percentile, *p_values)


def rule_table():
    """A line per rule: selectivity beyond matched modules, silenced in each way."""
    tests = [candidate_tests(folder) for folder in WAYS]
    for name in ("", " (in-degree alone)", " (betweenness alone)"):
        shown = [own[f"selectivity_matched{name}"] for own in tests]
        yield row(shown[0]["rule"], *map(points, shown), *(number(test["median"], 1) for test in shown))


def contrast_table():
    """A line per difference of percentiles within networks, silenced in each way."""
    contrasts = [record(FIGURES / folder / "ablation_networks.json")["contrasts"] for folder in WAYS]
    for name, first in contrasts[0].items():
        what = "matched − same rule" if first["rule"] == "both" else first["rule"].replace("minus", "−")
        shown = [interval(*(own[name][key] for key in ("low", "mean", "high")), sign="+") for own in contrasts]
        yield row(what, first["effect"], *shown, p_value(max(own[name]["adjusted_p"] for own in contrasts)))


def earlier_table():
    """A line per effect and null: the two sets of networks that suggested the primary test."""
    sets = [candidate_tests(folder) for folder in ("100_networks", "100_networks_separate_batches")]
    for name, first in sets[0].items():
        if first["rule"] == "both":
            shown = [
                (
                    points(own[name]),
                    interval(own[name]["low"], own[name]["median"], own[name]["high"]),
                    p_value(own[name]["p"]),
                )
                for own in sets
            ]
            yield row(first["effect"], CANDIDATE_NULLS[first["among"]], *shown[0], *shown[1])


def candidate_sentences():
    """What the page of candidates says in words."""
    found = record(FIGURES / "200_networks_rescaled" / "ablation_networks.json")["rescaling"]
    yield f"of {found['before']} candidates before and {found['after']} after, {found['shared']} are the same"
    yield f"(by chance {number(found['shared_by_chance'], 0)} would be)"
    of_seed = {}
    for folder in ("100_networks", "100_networks_separate_batches"):
        for line in both_rules(folder):
            of_seed.setdefault(line["seed"], []).append(float(line["selectivity_same_rule"]))
    p = signed_rank_test([statistics.mean(values) - 50 for values in of_seed.values()])["p"]
    yield f"Averaged per seed over both, selectivity among the same rule had p = {p:.2g}"
    key = "selectivity_same_rule_points"
    zero, mean = (
        {line["seed"]: float(line[key]) for line in both_rules(folder)}
        for folder in ("200_networks", "200_networks_mean")
    )
    found = mean_interval([zero[seed] - mean[seed] for seed in zero])
    yield f"{interval(*found, sign='+')} points in the same networks"
    tests = candidate_tests("200_networks_rescaled")
    yield f"of the {tests['_'.join(PRIMARY)]['seeds']} networks that have candidates then"


def both_rules(folder):
    """The rows of networks by the rule of both, of which something is known."""
    rows = table(FIGURES / folder / "ablation_networks.csv")
    return [line for line in rows if line["rule"] == "both" and line["selectivity_same_rule"]]


READINGS = {
    (
        "candidates",
        "importance, matched modules",
    ): "says yes of anything, of random neurons with their strongest inputs, too",
    ("candidates", "importance, the same rule around non-candidates"): "does not notice halves; its no says nothing",
    ("clusterability", "with pixels, layer"): "notices halves; and calls ordinary networks modular, too",
    ("clusterability", "with pixels, layer_nonzero"): "keeps zeros in their places, and cannot see wires that are cut",
    ("clusterability", "without pixels, layer"): "tells halves from none",
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


def published_values(work):
    """{(file, condition, quantity): line} of what a work's own files say."""
    return {
        (line["source"].split("/")[-1], line["condition"], line["quantity"]): line
        for line in table(PUBLISHED)
        if line["work"] == work
    }


def with_deviation(line, digits):
    return f"{number(line['value'], digits)} ± {number(line['spread'], digits)}"


PUBLISHED_KINDS = {
    "pruned, dropout": "pruned, dropout",
    "pruned": "pruned",
    "unpruned, dropout": "unpruned, dropout",
    "unpruned": "unpruned",
    "pruned, l1": "pruned, L1 5e-5",
    "unpruned, l1": "unpruned, L1 5e-5",
    "pruned, l2": "pruned, L2 5e-5",
    "unpruned, l2": "unpruned, L2 5e-5",
}
"""{condition here: its name among the published values}"""


def published_clusterability_table():
    """{condition: its line}: what Filan et al. (2021) have, of other networks where `layer_nonzero` is asked."""
    values = published_values("Filan et al. 2021")
    file, other = "clustering_factors_mlp.csv", "mlp-ncut-cohens-d-k12-n50.csv"
    lines = {}
    for condition, kind in PUBLISHED_KINDS.items():
        name = f"MNIST, {kind}, 12 clusters"
        below = "networks below every shuffle, "
        shares = [
            values.get((where, name, below + null)) for where, null in ((file, "layer"), (other, "layer_nonzero"))
        ]
        few, few_nonzero = (f"{line['value']} of {line['n']}" if line else "" for line in shares)
        z = values.get((other, name, "z, layer_nonzero"))
        harder = (number(z["value"], 1), few_nonzero) if z and kind.startswith("pruned") else ("", "")
        lines[condition] = row(
            "",
            "published",
            f"{number(100 * float(values[file, name, 'test accuracy']['value']))} %",
            with_deviation(values[file, name, "n-cut"], 3),
            number(values[file, name, "shuffled n-cut, layer"]["value"], 3),
            with_deviation(values[file, name, "z, layer"], 1),
            few,
            *harder,
        )
    untrained = values["random_init_data.pkl", "random initialisation, 12 clusters", "n-cut"]
    lines["random initialisation"] = row("", "published", "", with_deviation(untrained, 3), *5 * [""])
    return lines


def published_planting_table():
    values = published_values("Filan et al. 2021")
    for kind in ("pruned", "unpruned"):
        n_cut, shuffled, z = (
            values["clustering_factors_mlp.csv", f"MNIST, {kind}, clusterable initialisation, 12 clusters", quantity]
            for quantity in ("n-cut", "shuffled n-cut, layer", "z, layer")
        )
        shown = with_deviation(n_cut, 3), number(shuffled["value"], 3), number(z["value"], 0)
        yield row(f"published: {kind}", *shown, *4 * [""])


def bare(value, digits=3):
    """'.102'"""
    return number(value, digits).replace("0.", ".", 1)


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
        change = interval(*(everything[f"change_{end}"] for end in ("low", "mean", "high")), 3, sign="+")
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


def readme_effects():
    """The effects in the README's table of studies."""
    fresh, mean = map(candidate_tests, ("200_networks", "200_networks_mean"))
    yield f"{points(fresh['selectivity_same_rule'])} beyond the same rule around other neurons"
    yield f"held at the mean {points(mean['selectivity_same_rule'])}"
    yield f"beyond matched modules {points(fresh['selectivity_matched'])}"
    yield f"by in-degree alone {points(fresh['selectivity_matched (in-degree alone)'])}"
    lines = {
        line["definition"]: line
        for line in table(FIGURES / "recovery" / "recovery.csv")
        if line["condition"] == "leak 0.2" and line["asked"] in ("", "2")
    }
    names = "weights, global", "weights, without pixels", "activations, global"
    scores = [with_half_interval(lines[name], "adjusted_rand_") for name in names]
    scores.append(with_half_interval(lines["backward_jac"], "homogeneity_"))
    yield "weights {}, without pixels {}; activations {}; downstream gradients {}".format(*scores)
    for rate, words in (("dropout", "mean Q with dropout from 0 to 0.7:"), ("l1", "with L1")):
        (line,) = (
            line
            for line in similarity_record("similarity")["trends"]
            if (line["regularization"], line["measure"]) == (rate, "all")
        )
        yield f"{words} {interval(*(line[f'change_{end}'] for end in ('low', 'mean', 'high')), 3, '+')}"
    cross = next(line for line in similarity_record("similarity")["contrasts"] if line["other"] == "shuffled")
    difference = interval(cross["difference_low"], cross["difference"], cross["difference_high"], 2, "+")
    yield f"above that of shuffled labels: {difference}"
    gaps = {
        (line["condition"], line["shuffle"]): interval(*(line[f"gap_{end}"] for end in ("low", "mean", "high")), 2, "+")
        for line in table(FIGURES / "clusterability" / "clusterability_tests.csv")
        if line["graph"] == "with pixels"
    }
    yield f"pruned with dropout {gaps['pruned, dropout', 'layer']}, beside copies that keep zeros and strengths"
    yield f"zeros and strengths {gaps['pruned, dropout', 'strength']}"
    yield f"pruned {gaps['pruned', 'layer']} and {gaps['pruned', 'strength']}"
    yield f"pruned with L1 {gaps['pruned, l1', 'layer']}"


TABLES = {
    "README.md": readme_effects,
    "docs/known_modules.md": lambda: [
        *recovery_sentences(),
        *other_sentences(),
        *recovery_table(),
        *curve_table(),
        *function_table(),
        *purity_table("recovery"),
        *purity_table("recovery_16"),
        *percentile_table("recovery"),
        *percentile_table("recovery_16"),
        *power_table("recovery"),
        *power_table("recovery_16"),
        *readings_table(),
        *agreement_table("recovery"),
        *clusterability_table("with pixels", "recovery_clusterable"),
        *clusterability_table("without pixels", "recovery_clusterable"),
        *published_planting_table(),
        *recovery_table("recovery_clusterable"),
        *function_table("recovery_clusterable"),
        *agreement_table("agreement"),
    ],
    "docs/candidates.md": lambda: [
        *candidate_table(),
        *rule_table(),
        *contrast_table(),
        *earlier_table(),
        *candidate_sentences(),
    ],
    "docs/similarity.md": lambda: [
        *trend_table("similarity"),
        *trend_table("similarity_fixed"),
        *q_table(),
        *families_table("similarity"),
        *family_contrast_table("similarity"),
        *similarity_claims(),
    ],
    "docs/clusterability.md": lambda: [
        *here_table(),
        *published_clusterability_table().values(),
        *clusterability_sentences(),
        *gap_table("with pixels"),
        *gap_table("without pixels"),
        *gap_table("with pixels", "clusterability_4"),
        *gap_table("with pixels", "clusterability_rescaled"),
    ],
}


@pytest.mark.parametrize("page", TABLES)
def test_pages_say_what_the_files_say(page):
    said = " ".join((REPOSITORY / page).read_text().split())
    missing = [line for line in TABLES[page]() if " ".join(line.split()) not in said]
    assert not missing, "\n".join(missing)


def test_the_front_door_is_short_and_no_page_is_unfinished():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 200
    for page in (REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")):
        assert "TODO" not in page.read_text(), page.name


def examples(page):
    """The Python that a page shows, block by block."""
    return re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(), re.DOTALL)


def test_examples_of_own_networks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    (tmp_path / "mlp").mkdir()
    save_checkpoint("mlp/mlp_mnist357.pt", initial_model((784, 8, 8, 8, 3), seed=0), digits=[3, 5, 7])
    names = {}
    printed = []
    for block in examples("docs/own_network.md"):
        exec(block, names)
        printed.append(capsys.readouterr().out)
    accuracies, cut, communities = printed
    assert len(re.findall(r"\d\.\d*", accuracies)) == 3
    assert 0 < float(cut) < 4
    assert len(re.findall(r"-?\d+", communities.split("]")[0])) == 8


def test_example_of_methods_prints_the_page_s_p_values(monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    (block,) = examples("docs/methods.md")
    exec(block, {})
    printed = [number(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    lines = (REPOSITORY / "docs" / "methods.md").read_text().splitlines()
    start = lines.index("| measure | shared | separate | KS p |") + 2
    assert printed == [line.split("|")[-2].strip() for line in lines[start : start + len(printed)]]


def test_published_checks_of_known_modules():
    """Of the run of the README: what must be found, what must not, and that tests keep their level."""
    for line in table(FIGURES / "recovery" / "recovery.csv"):
        if line["asked"] in ("", "2"):
            score = float(line["homogeneity_mean" if line["asked"] == "" else "adjusted_rand_mean"])
            if line["condition"] == "leak 0" and line["definition"] in ("backward_jac", "weights, without pixels"):
                assert score >= 0.95
            if line["condition"] == "leak 1":
                assert abs(score) <= 0.05, line["definition"]
            for name in ("adjusted_rand", "homogeneity"):
                assert abs(float(line[f"shuffled_{name}_mean"])) <= 0.05
    for folder in ("recovery", "recovery_16"):
        for line in table(FIGURES / folder / "recovery_power.csv"):
            if line["condition"] == "control" and "matched" not in line["test"]:
                assert line["at_level"] == "True", line["test"]


def test_published_values_say_where_they_come_from():
    rows = table(PUBLISHED)
    for row in rows:
        assert None not in row and None not in row.values(), f"too many or too few columns: {row}"
        assert all(row[column].strip() for column in ("work", "condition", "quantity", "formula")), row
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{7}: \S.*", row["source"]), row
        assert (REPOSITORY / "docs" / f"{row['study']}.md").exists(), row
        assert math.isfinite(float(row["value"])), row
        assert row["spread"] == "" or float(row["spread"]) >= 0, row
        assert row["n"] == "" or int(row["n"]) > 0, row
    keys = Counter((row["source"], row["condition"], row["quantity"]) for row in rows)
    assert [key for key, times in keys.items() if times > 1] == []
