"""Candidates: hidden neurons of high in-degree and low betweenness, and the modules around neurons."""

from itertools import chain, product

import numpy
import torch

from mlp import InputError
from mlp.network import stacked_strengths
from modularity.centrality import layered_centralities
from modularity.effects import ablation_effects, wilson_interval
from modularity.graph import neuron_name
from modularity.nulls import layer_counts, matched_modules
from modularity.rows import defined_mean, grouped, over_seeds, seed_means
from modularity.significance import across_networks, compare_with_null, paired_test, primary_first

EFFECTS = "importance", "selectivity"
NULLS = {"matched": "matched modules", "same_rule": "the same rule around non-candidates"}
PRIMARY = "selectivity", "same_rule"
"""The effect and the null of the one test, of candidates by the rule of BOTH, that decides: whether their centralities
find what some classes need more than others.  All other tests are exploratory."""

COMMON = "matched"
"""The null that is the same for all rules; the non-candidates of each are others, and not fit to compare rules by."""

BOTH, IN_DEGREE, BETWEENNESS = "both", "in-degree alone", "betweenness alone"
RULES = {
    BOTH: lambda in_degree, betweenness, most: (in_degree, betweenness, most),
    IN_DEGREE: lambda in_degree, betweenness, most: (in_degree, 1, most),
    BETWEENNESS: lambda in_degree, betweenness, most: (0, betweenness, None),  # the most would rank by in-degree
}
"""What makes a candidate, high in-degree and low betweenness, and its baselines, one without the other: what
`indegree_nobetween_candidates` takes after its table, of what the rule of both takes."""
TOP_INPUTS, MATCHED_MODULES = 4, 1000
"""Neurons in a module, and modules that it is compared with, unless others are asked for."""


def candidate_limits(table, in_degree_quantile, betweenness_quantile):
    """What a candidate needs in each hidden layer: {layer: (lowest in-degree, highest betweenness)}.

    The limits are quantiles of the neurons of the layer that have incoming edges (linear interpolation), NaN where none
    has.  Layers are judged apart because their scales differ: 784 inputs feed the first, a handful of neurons the
    others.
    """
    quantiles = {"in_degree": in_degree_quantile, "betweenness": betweenness_quantile}
    limits = {}
    for layer in range(1, max(layer for layer, _ in table)):
        neurons = [row for (its_layer, _), row in table.items() if its_layer == layer and row["in_degree"] != 0]
        limits[layer] = numpy.nan, numpy.nan
        if neurons:
            limits[layer] = tuple(numpy.quantile([row[key] for row in neurons], at) for key, at in quantiles.items())
    return limits


def indegree_nobetween_candidates(table, in_degree_quantile=0.5, betweenness_quantile=0.5, max_candidates=None):
    """Hidden neurons whose in-degree is at or above, and betweenness at or below, a quantile of their layer.

    Neurons without incoming edges, the dead ones among them, are no candidates and play no part in the quantiles.
    table: the centralities per node, from `modularity.centrality`.  max_candidates: keep only so many, those that rank
    highest by in-degree within their layers; of equal ranks, those of earlier layers.
    Returns nodes (layer, index) in ascending order.
    """
    limits = candidate_limits(table, in_degree_quantile, betweenness_quantile)

    def is_candidate(node):
        if node[0] not in limits or table[node]["in_degree"] == 0:
            return False
        lowest, highest = limits[node[0]]
        return table[node]["in_degree"] >= lowest and table[node]["betweenness"] <= highest

    def rank(node):
        return sum(other[0] == node[0] and table[other]["in_degree"] > table[node]["in_degree"] for other in table)

    candidates = sorted(filter(is_candidate, table))
    return sorted(sorted(candidates, key=rank)[:max_candidates])


def candidate_overlap(candidates, others, hidden_sizes):
    """How many candidates of the same networks are the same by two ways to see them.

    candidates, others: a list of (layer, index) per network.  hidden_sizes: neurons of each hidden layer.
    Returns {"before", "after", "shared": counts over all networks, "shared_by_chance": how many would be if as many
    neurons of each layer were drawn at random}.
    """
    counts = {"before": 0, "after": 0, "shared": 0, "shared_by_chance": 0.0}
    for before, after in zip(candidates, others, strict=True):
        counts["before"] += len(before)
        counts["after"] += len(after)
        counts["shared"] += len(set(before) & set(after))
        for layer, width in enumerate(hidden_sizes, 1):
            few, more = (sum(node[0] == layer for node in nodes) for nodes in (before, after))
            counts["shared_by_chance"] += few * more / width
    return counts


def candidates_by_rule(table, asked, rules=RULES):
    """{rule: candidates} for some of the RULES; asked: what `indegree_nobetween_candidates` takes after its table."""
    return {rule: indegree_nobetween_candidates(table, *RULES[rule](*asked)) for rule in rules}


def module_of(neuron, weights, top_inputs=TOP_INPUTS):
    """The module of a hidden neuron: the neuron and its strongest incoming hidden neurons by |w|.

    Input neurons are spared, so a neuron of the first hidden layer stands alone.  Pruned (zero) weights connect
    nothing; of equally strong neurons the one with the lower index comes first.
    neuron: (layer, index).  weights: one [out, in] tensor per layer of connections.
    Returns a boolean vector [hidden neurons].  Raises InputError if the neuron is not a hidden one.
    """
    layer, index = neuron
    widths = [len(matrix) for matrix in weights[:-1]]
    if not (1 <= layer <= len(widths) and 0 <= index < widths[layer - 1]):
        raise InputError(f"{neuron} is no hidden neuron of a network with hidden layers {widths}")
    module = [torch.zeros(width, dtype=torch.bool) for width in widths]
    module[layer - 1][index] = True
    if layer > 1:
        strength = weights[layer - 1][index].detach().cpu().abs()
        strongest = strength.argsort(descending=True, stable=True)[:top_inputs]
        module[layer - 2][strongest[strength[strongest] > 0]] = True
    return torch.cat(module)


def neurons_of(module, hidden_sizes):
    """The hidden neurons (layer, index) of a module, in ascending order."""
    layers = module.split(list(hidden_sizes))
    return [(layer, index) for layer, members in enumerate(layers, 1) for index in members.nonzero().flatten().tolist()]


def modules_by_rule(weights, top_inputs=TOP_INPUTS):
    """`module_of` each hidden neuron, in order: boolean [hidden neurons, hidden neurons]."""
    widths = [len(matrix) for matrix in weights[:-1]]
    neurons = neurons_of(torch.ones(sum(widths), dtype=torch.bool), widths)
    return torch.stack([module_of(neuron, weights, top_inputs) for neuron in neurons])


def default_null_modules(network, seed):
    """`null_modules` of the candidates of a network, with the defaults of everything."""
    candidates = {BOTH: indegree_nobetween_candidates(*layered_centralities(stacked_strengths([network])))}
    generator = torch.Generator().manual_seed(seed + network.number)
    return null_modules(network, candidates, TOP_INPUTS, MATCHED_MODULES, generator)[BOTH]


def null_modules(network, candidates, top_inputs, limit, generator):
    """The modules of the candidates of a network, and of the two nulls they are compared with, for each rule.

    Candidates whose modules have as many neurons in each layer share nulls: "matched", all such modules or as many as
    `limit` random ones, the same for all rules, and "same_rule", the modules around hidden neurons that are no
    candidates by the rule.  Dead neurons are in neither.
    candidates: {rule: nodes}.  Returns {rule: (the `modules_by_rule` of all hidden neurons; [(place of the candidate,
    its counts per layer)]; for the counts of all rules {counts: (matched modules, whether these are all)}; and for
    those of its own {counts: places of the same rule})}.
    """
    widths = network.model.hidden_sizes
    by_rule = modules_by_rule(network.strengths, top_inputs)
    neurons = neurons_of(torch.ones(len(by_rule), dtype=torch.bool), widths)
    counts = [layer_counts(module, widths) for module in by_rule]  # which tell the layer of the neuron, too
    chosen = {
        rule: [(neurons.index(node), counts[neurons.index(node)]) for node in candidates[rule]] for rule in candidates
    }
    shapes = {rule: sorted({count for _, count in its_chosen}) for rule, its_chosen in chosen.items()}
    every_shape = dict.fromkeys(chain(*shapes.values()))  # the first rule's first, whose draws do not depend on others
    living = network.living
    matched = {count: matched_modules(count, widths, limit, generator, living) for count in every_shape}
    found = {}
    for rule, its_chosen in chosen.items():
        others = sorted(set(living.nonzero().flatten().tolist()) - {place for place, _ in its_chosen})
        same_rule = {count: [place for place in others if counts[place] == count] for count in shapes[rule]}
        found[rule] = by_rule, its_chosen, matched, same_rule
    return found


def candidate_rows(network, candidates, modules, hits, images_per_class):
    """What ablation says of the candidates of a network: a row for the intact network, and one per candidate.

    accuracy_, low_, high_ (95 % Wilson interval), drop_ and null_low_, null_high_ (5-95 % of the matched null) per
    class and drop, their mean, are fractions; importance, selectivity and what their nulls say, percentage points.
    Where the matched null is a sample, the module of the candidate itself is left out of it.
    modules: what `null_modules` returns for a rule.  hits: what `against_controls` returns for all its modules by the
    rule, and the groups of matched ones.  images_per_class: test images of each class.
    """
    by_rule, chosen, matched, same_rule = modules
    intact, hits_by_rule, matched_hits = hits
    effects = ablation_effects(intact, hits_by_rule, images_per_class)
    nulls = {}
    for (count, (group, complete)), its_hits in zip(matched.items(), matched_hits, strict=True):
        accuracies = its_hits.double().numpy() / images_per_class
        nulls[count] = group, complete, accuracies, ablation_effects(intact, its_hits, images_per_class)

    row = {"neuron": "intact", "layer": "", "index": "", "members": 0, "module": ""}
    rows = [row | _accuracies(network, intact, intact, images_per_class)]
    for candidate, (place, count) in zip(candidates, chosen):
        group, complete, null_accuracies, null_effects = nulls[count]
        others = ~group[:, by_rule[place]].all(1)  # alone of those of its size it has all of its own members
        counted = (others | complete).numpy()
        members = neurons_of(by_rule[place], network.model.hidden_sizes)
        row = {"neuron": neuron_name(candidate), "layer": candidate[0], "index": candidate[1], "members": len(members)}
        row["module"] = " ".join(map(neuron_name, members))
        row |= _accuracies(network, intact, hits_by_rule[place], images_per_class)
        row |= _middle(network, null_accuracies[counted])
        for effect in EFFECTS:
            row[effect] = value = effects[effect][place].item()
            compared = {
                "matched": compare_with_null(value, null_effects[effect][counted], includes_observed=complete),
                "same_rule": compare_with_null(value, effects[effect][same_rule[count]], others=True),
            }
            for null in NULLS:
                row |= {f"{effect}_{null}_{key}": found for key, found in compared[null].items()}
        rows.append(row)
    return [{"network": network.number, "seed": network.seed, **row} for row in rows]


def _accuracies(network, intact, hits, images_per_class):
    row = {}
    for label, before, after, images in zip(network.data.classes, intact.tolist(), hits.tolist(), images_per_class):
        low, high = wilson_interval(after / images, images)
        row |= {f"accuracy_{label}": after / images, f"low_{label}": low, f"high_{label}": high}
        row[f"drop_{label}"] = before / images - after / images
    return row | {"drop": sum(row[f"drop_{label}"] for label in network.data.classes) / len(intact)}


def _middle(network, accuracies):
    """The middle 90 % of the accuracies [modules, classes] of a null; NaN if it is empty."""
    empty = numpy.full((2, accuracies.shape[1]), numpy.nan)
    lows, highs = numpy.quantile(accuracies, [0.05, 0.95], axis=0) if len(accuracies) else empty
    row = {}
    for label, low, high in zip(network.data.classes, lows.tolist(), highs.tolist()):
        row |= {f"null_low_{label}": low, f"null_high_{label}": high}
    return row


def mean_percentiles(rows, classes):
    """One row per network: its candidates, and where they lie among each null in each effect, on average.

    <effect>_<null>: their mean percentile.  <effect>_<null>_points: the mean of the effect less the mean of its null,
    in percentage points.  <effect>_matched_minus_same_rule: the mean difference of the two percentiles, over the
    candidates that have both.  balanced_accuracy is the mean over classes.  rows: of `candidate_rows`, of all networks.
    """
    networks = []
    for intact, *candidates in grouped(rows, "network"):
        accuracy = defined_mean(intact[f"accuracy_{label}"] for label in classes)
        row = {"network": intact["network"], "seed": intact["seed"], "balanced_accuracy": accuracy}
        row["candidates"] = len(candidates)
        for name in map("_".join, product(EFFECTS, NULLS)):
            row[name] = defined_mean(candidate[f"{name}_percentile"] for candidate in candidates)
        for effect, null in product(EFFECTS, NULLS):
            points = (candidate[effect] - candidate[f"{effect}_{null}_mean"] for candidate in candidates)
            row[f"{effect}_{null}_points"] = defined_mean(points)
        for effect in EFFECTS:
            matched, same_rule = (f"{effect}_{null}_percentile" for null in NULLS)
            differences = (candidate[matched] - candidate[same_rule] for candidate in candidates)
            row[f"{effect}_matched_minus_same_rule"] = defined_mean(differences)
        networks.append(row)
    return networks


def network_tests(networks, seed):
    """What networks say together: a test of each rule, effect and null, and contrasts of the nulls and of the rules.

    networks: rows of `mean_percentiles`, of all networks by each of the RULES, with their `rule`.
    Returns {name: test}, {name: contrast}.  The tests, <effect>_<null> by the rule of both and <effect>_<null> (<rule>)
    by others, are `across_networks`, with points_mean, points_low and points_high, the effect in percentage points
    beyond its null, over seeds.  The contrasts, <effect>_matched_minus_same_rule, and of the primary effect among the
    COMMON null (both minus <rule>), are a `paired_test` of the percentiles of the same network.  All name their rule,
    effect, and the null they are `among`; "role" is "primary" or "exploratory", and exploratory ones have an
    adjusted_p, for the number of them all.
    """
    of_rule = {rows[0]["rule"]: rows for rows in grouped(networks, "rule")}
    tests, contrasts = _tests(of_rule, seed), _contrasts(of_rule)
    named, primary = tests | contrasts, "_".join(PRIMARY)
    names = sorted(named, key=lambda name: name != primary)
    found = dict(zip(names, primary_first([named[name] for name in names], named[primary])))
    found[primary]["adjusted_p"] = numpy.nan
    return tuple({name: found[name] for name in kind} for kind in (tests, contrasts))


def _tests(of_rule, seed):
    tests = {}
    for (rule, rows), effect, null in product(of_rule.items(), EFFECTS, NULLS):
        name = f"{effect}_{null}"
        test = across_networks(seed_means(rows, name), seed) | over_seeds(rows, f"{name}_points", "points_")
        tests[name if rule == BOTH else f"{name} ({rule})"] = {"rule": rule, "effect": effect, "among": null, **test}
    return tests


def _contrasts(of_rule):
    contrasts = {}
    for effect in EFFECTS:
        name = f"{effect}_matched_minus_same_rule"
        about = {"rule": BOTH, "effect": effect, "among": "matched minus same_rule"}
        contrasts[name] = about | paired_test(seed_means(of_rule[BOTH], name))
    name = f"{PRIMARY[0]}_{COMMON}"
    for rule in (IN_DEGREE, BETWEENNESS):
        pairs = zip(of_rule[BOTH], of_rule[rule], strict=True)
        differences = [both | {"difference": both[name] - alone[name]} for both, alone in pairs]
        about = {"rule": f"both minus {rule}", "effect": PRIMARY[0], "among": COMMON}
        contrasts[f"{name} (both minus {rule})"] = about | paired_test(seed_means(differences, "difference"))
    return contrasts
