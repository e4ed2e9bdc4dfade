"""Candidates: hidden neurons of high in-degree and low betweenness, and the modules around neurons."""

from itertools import product

import numpy
import torch

from mlp import InputError
from mlp.model import stacked
from modularity.centrality import layered_centralities
from modularity.effects import ablation_effects, wilson_interval
from modularity.graph import neuron_name
from modularity.nulls import layer_counts, matched_modules
from modularity.rows import defined_mean, grouped
from modularity.significance import compare_with_null

EFFECTS = "importance", "selectivity"
NULLS = {"matched": "matched modules", "same_rule": "the same rule around non-candidates"}
TOP_INPUTS, MATCHED_MODULES = 4, 1000
"""Neurons in a module, and modules that it is compared with, unless others are asked for."""


def candidate_limits(table, in_degree_quantile, betweenness_quantile):
    """What a candidate needs in each hidden layer: {layer: (lowest in-degree, highest betweenness)}.

    The limits are quantiles of the layer (linear interpolation).  Layers are judged apart because their scales differ:
    784 inputs feed the first, a handful of neurons the others.
    """
    quantiles = {"in_degree": in_degree_quantile, "betweenness": betweenness_quantile}
    limits = {}
    for layer in range(1, max(layer for layer, _ in table)):
        neurons = [row for (its_layer, _), row in table.items() if its_layer == layer]
        limits[layer] = tuple(numpy.quantile([row[key] for row in neurons], at) for key, at in quantiles.items())
    return limits


def indegree_nobetween_candidates(table, in_degree_quantile=0.5, betweenness_quantile=0.5, max_candidates=None):
    """Hidden neurons whose in-degree is at or above, and betweenness at or below, a quantile of their layer.

    table: the centralities per node, from `modularity.centrality`.  max_candidates: keep only so many, those that rank
    highest by in-degree within their layers; of equal ranks, those of earlier layers.
    Returns nodes (layer, index) in ascending order.
    """
    limits = candidate_limits(table, in_degree_quantile, betweenness_quantile)

    def is_candidate(node):
        if node[0] not in limits:
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
    candidates = indegree_nobetween_candidates(*layered_centralities(stacked([network.model])[0]))
    generator = torch.Generator().manual_seed(seed + network.number)
    return null_modules(network, candidates, TOP_INPUTS, MATCHED_MODULES, generator)


def null_modules(network, candidates, top_inputs, limit, generator):
    """The modules of the candidates of a network, and of the two nulls they are compared with.

    Candidates whose modules have as many neurons in each layer share nulls: "matched", all such modules or as many as
    `limit` random ones, and "same_rule", the modules around hidden neurons that are no candidates.
    Returns the `modules_by_rule` of all hidden neurons; [(place of the candidate, its counts per layer)]; and for all
    counts {counts: (matched modules, whether these are all)} and {counts: places of the same rule}.
    """
    widths = network.model.hidden_sizes
    by_rule = modules_by_rule(network.strengths, top_inputs)
    neurons = neurons_of(torch.ones(len(by_rule), dtype=torch.bool), widths)
    counts = [layer_counts(module, widths) for module in by_rule]  # which tell the layer of the neuron, too
    chosen = [(neurons.index(candidate), counts[neurons.index(candidate)]) for candidate in candidates]
    shapes = sorted({count for _, count in chosen})
    matched = {count: matched_modules(count, widths, limit, generator) for count in shapes}
    others = sorted(set(range(len(neurons))) - {place for place, _ in chosen})
    same_rule = {count: [place for place in others if counts[place] == count] for count in shapes}
    return by_rule, chosen, matched, same_rule


def candidate_rows(network, candidates, modules, hits, images_per_class):
    """What ablation says of the candidates of a network: a row for the intact network, and one per candidate.

    accuracy_, low_, high_ (95 % Wilson interval), drop_ and null_low_, null_high_ (5-95 % of the matched null) per
    class and drop, their mean, are fractions; importance, selectivity and what their nulls say, percentage points.
    modules: what `null_modules` returns.  hits: what `against_controls` returns for all its modules by the rule, and
    the groups of matched ones.  images_per_class: test images of each class.
    """
    by_rule, chosen, matched, same_rule = modules
    intact, hits_by_rule, matched_hits = hits
    matched_hits = dict(zip(matched, matched_hits))
    nulls = {}
    for count, (_, complete) in matched.items():
        groups = {"matched": matched_hits[count], "same_rule": hits_by_rule[same_rule[count]]}
        limits = numpy.quantile(groups["matched"].double() / torch.tensor(images_per_class), [0.05, 0.95], axis=0)
        effects = {null: ablation_effects(intact, group, images_per_class) for null, group in groups.items()}
        kinds = {"matched": {"includes_observed": complete}, "same_rule": {"others": True}}
        nulls[count] = limits.tolist(), effects, kinds

    row = {"neuron": "intact", "layer": "", "index": "", "members": 0, "module": ""}
    rows = [row | _accuracies(network, intact, intact, images_per_class)]
    effects = ablation_effects(intact, hits_by_rule, images_per_class)
    for candidate, (place, count) in zip(candidates, chosen):
        (lows, highs), null_effects, kinds = nulls[count]
        members = neurons_of(by_rule[place], network.model.hidden_sizes)
        row = {"neuron": neuron_name(candidate), "layer": candidate[0], "index": candidate[1], "members": len(members)}
        row["module"] = " ".join(map(neuron_name, members))
        row |= _accuracies(network, intact, hits_by_rule[place], images_per_class)
        for label, low, high in zip(network.data.classes, lows, highs):
            row |= {f"null_low_{label}": low, f"null_high_{label}": high}
        for effect in EFFECTS:
            row[effect] = effects[effect][place].item()
            for null, kind in kinds.items():
                compared = compare_with_null(row[effect], null_effects[null][effect], **kind)
                row |= {f"{effect}_{null}_{key}": value for key, value in compared.items()}
        rows.append(row)
    return [{"network": network.number, "seed": network.seed, **row} for row in rows]


def _accuracies(network, intact, hits, images_per_class):
    row = {}
    for label, before, after, images in zip(network.data.classes, intact.tolist(), hits.tolist(), images_per_class):
        low, high = wilson_interval(after / images, images)
        row |= {f"accuracy_{label}": after / images, f"low_{label}": low, f"high_{label}": high}
        row[f"drop_{label}"] = before / images - after / images
    return row | {"drop": sum(row[f"drop_{label}"] for label in network.data.classes) / len(intact)}


def mean_percentiles(rows, classes):
    """One row per network: its candidates, and their mean percentile in each effect among each null.

    rows: of `candidate_rows`, of all networks.  balanced_accuracy is the mean over classes.
    """
    networks = []
    for intact, *candidates in grouped(rows, "network"):
        accuracy = defined_mean(intact[f"accuracy_{label}"] for label in classes)
        row = {"network": intact["network"], "seed": intact["seed"], "balanced_accuracy": accuracy}
        row["candidates"] = len(candidates)
        for effect, null in product(EFFECTS, NULLS):
            row[f"{effect}_{null}"] = defined_mean(candidate[f"{effect}_{null}_percentile"] for candidate in candidates)
        networks.append(row)
    return networks
