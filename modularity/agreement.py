"""Agreement: whether neurons that see alike are those that act alike, and who trained them so (Lange et al. 2022)."""

import sys
from itertools import combinations, product

import numpy

from mlp.network import ALL, BASELINE
from modularity.communities import maximise_modularity
from modularity.rows import by_seed, defined_mean, grouped, mean_interval, seed_means
from modularity.significance import adjusted, compare_with_untrained, primary_first, signed_rank_test, trend
from modularity.similarity import MEASURES, pair_group, similarities
from modularity.tasks import mapped

PAIRS = tuple(combinations(MEASURES, 2))
GROUPS = "UP", "DOWN", "CROSS", "NORM"
AGREEMENTS = "similarity", "shuffled", "adjusted_rand"
REGULARIZATION = "dropout", "l1", "l2"
HYPERPARAMETERS = "lr", *REGULARIZATION, "zeros"
ALL_MEASURES = "all"
PRIMARY = "dropout", ALL_MEASURES
"""The trend that is the primary test: of the mean Q with dropout; named before its numbers."""
DRAWN = "forward_cov_norm", "backward_hess_norm"


def measured_partitions(networks, drawn, restarts, seed, data_dir, device, jobs):
    """The similarities of the neurons of each network, and the best partitions that they make.

    drawn: the networks whose similarities are wanted.  Yields for each network {(layer, measure): (labels [neurons],
    Q)} and, where wanted, {measure: matrices} of DRAWN.
    """
    tasks = [(network, network in drawn, restarts, seed, data_dir, device) for network in networks]
    return mapped(_partitions, tasks, jobs, "networks", "network")


def _partitions(network, drawn, restarts, seed, data_dir, device):
    images, _ = network.load(False, data_dir, device)
    similarity = similarities(network.model.to(device), images)
    partitions = {
        (layer, measure): maximise_modularity(matrix, restarts, seed)
        for measure, matrices in similarity.items()
        for layer, matrix in enumerate(matrices, 1)
    }
    return partitions, {measure: similarity[measure] for measure in DRAWN} if drawn else None


def effective_clusters(labels):
    """How many clusters of equal size would be as diverse: exp(-sum_c f_c ln f_c), f_c the share of nodes in cluster c.

    labels: [n]; nodes labelled -1 are in no cluster, but count among the n.
    """
    labels = numpy.asarray(labels)
    shares = numpy.unique(labels[labels >= 0], return_counts=True)[1] / len(labels)
    return float(numpy.exp(-(shares * numpy.log(shares)).sum()))


def element_centric_similarity(labels, others):
    """Agreement of two partitions, from above 0 to 1: the mean over nodes of |A n B| / max(|A|, |B|).

    A and B are the clusters that hold the node.  For partitions without overlap this is the measure of Gates et al.
    (2019), whatever its alpha.  Not corrected for chance.  labels, others: [n], any integers.
    """
    same, same_others = numpy.equal.outer(labels, labels), numpy.equal.outer(others, others)
    shared = (same & same_others).sum(1)
    return float((shared / numpy.maximum(same.sum(1), same_others.sum(1))).mean())


def shuffled_similarity(labels, others):
    """What `element_centric_similarity` is on average if one of the partitions is dealt out anew at random.

    Exact: of n nodes, clusters of a and of b then share a hypergeometric number, with mean a b / n and variance
    a b (n - a) (n - b) / (n^2 (n - 1)).  labels, others: [n], any integers.
    """
    n = len(labels)
    sizes, other_sizes = (numpy.unique(partition, return_counts=True)[1] for partition in (labels, others))
    sizes = sizes[:, None]
    mean = sizes * other_sizes / n
    variance = mean * (n - sizes) * (n - other_sizes) / (n * max(n - 1, 1))
    return float(((mean**2 + variance) / numpy.maximum(sizes, other_sizes)).sum() / n)


def compare_partitions(labels, others):
    """Agreement of two partitions, by two measures, and what the first would be for shuffled labels.

    Returns {"similarity": `element_centric_similarity`, "shuffled": `shuffled_similarity`, "adjusted_rand": the Rand
    index adjusted for chance (Hubert & Arabie 1985), 0 for shuffled labels on average}.  labels, others: [n].
    """
    from sklearn.metrics import adjusted_rand_score  # here, for its import takes a second, while tasks are at work

    return {
        "similarity": element_centric_similarity(labels, others),
        "shuffled": shuffled_similarity(labels, others),
        "adjusted_rand": float(adjusted_rand_score(labels, others)),
    }


def hyperparameters(network):
    """The numbers that describe its training, None where one is not known, and its share of zeros to two decimals."""
    zeros = sum(int((weight == 0).sum()) for weight in network.weights)
    share = round(zeros / sum(weight.numel() for weight in network.weights), 2)  # 0.9 of a pruned one, 0 of others
    known = {name: _number(network.hyperparameters.get(name)) for name in HYPERPARAMETERS} | {"zeros": share}
    return known if network.condition != BASELINE else dict.fromkeys(known)


def _number(value):
    """What a file says, if it is a number to reckon with: finite, and no whole number beyond all floats."""
    return value if isinstance(value, (int, float)) and abs(value) <= sys.float_info.max else None


def modularity_row(network, accuracy, layer, measure, labels, modularity):
    row = {**network.identity, "seed": network.seed, **hyperparameters(network), "accuracy": accuracy}
    row |= {"layer": layer, "measure": measure, "q": modularity}
    row["clusters"] = numpy.nan if numpy.isnan(modularity) else effective_clusters(labels)
    return row | {"neurons": len(labels), "dead": int((labels < 0).sum())}


def agreement_rows(network, partitions):
    """How well the partitions of a layer by each two measures agree; NaN where one of them is not defined."""
    rows = []
    for layer, (measure, other) in product(dict.fromkeys(layer for layer, _ in partitions), PAIRS):
        (labels, q), (other_labels, other_q) = partitions[layer, measure], partitions[layer, other]
        defined = not numpy.isnan([q, other_q]).any()
        row = {**network.identity, "seed": network.seed, "layer": layer, "measure": measure, "other": other}
        found = compare_partitions(labels, other_labels) if defined else dict.fromkeys(AGREEMENTS, numpy.nan)
        rows.append({**row, "group": pair_group(measure, other), **found})
    return rows


def cluster_rows(network, partitions):
    """The cluster of each neuron by each measure; -1: none, since it is like no other."""
    rows = {}
    for (layer, measure), (labels, _) in partitions.items():
        for neuron, label in enumerate(labels.tolist()):
            about = {**network.identity, "layer": layer, "neuron": neuron}
            rows.setdefault((layer, neuron), about)[measure] = label
    return list(rows.values())


def pooled_modularity(rows):
    """The modularity of each condition, layer and measure against that of the untrained networks."""
    lines = []
    for of_measure in grouped(rows, "layer", "measure"):
        *conditions, untrained = grouped(of_measure, "condition")
        for group in conditions:
            line = {key: group[0][key] for key in ("condition", "layer", "measure")}
            line |= compare_with_untrained(seed_means(group, "q"), seed_means(untrained, "q"))
            lines.append(line | {"clusters": defined_mean(row["clusters"] for row in group)})
    return lines


def series(rows, rate):
    """The rows of networks that differ in one hyper-parameter alone; all others are at the least of all networks.

    Zeros are one: pruned networks and unpruned ones make no series.
    """
    known = [row for row in rows if all(row[other] is not None for other in HYPERPARAMETERS)]
    least = {other: min((row[other] for row in known), default=None) for other in HYPERPARAMETERS if other != rate}
    return [row for row in known if all(row[other] == value for other, value in least.items())]


def dropouts(rows):
    """{condition: dropout rate} of the networks that differ in nothing else."""
    return {row["condition"]: row["dropout"] for row in series(rows, "dropout")}


def averaged(rows):
    """A row per network: its mean Q over layers and measures, called ALL_MEASURES; NaN if one is not defined."""
    everything = {"layer": ALL_MEASURES, "measure": ALL_MEASURES}
    groups = grouped(rows, "condition", "network")
    return [group[0] | everything | {"q": float(numpy.mean([row["q"] for row in group]))} for group in groups]


def regularization_trends(rows, seed):
    """What each kind of regularisation does to Q within the networks of a seed: a line per kind, layer and measure.

    q_change is the largest change of the mean over networks; change_mean, change_low and change_high are that from the
    lowest rate to the highest, with its 95 % interval over seeds.  Where rows `averaged` are among them, and a series
    of dropout rates, their trend is the primary test, and the lines are in the order of `primary_first`; else all are
    `adjusted`.
    """
    trends = []
    defined = [row for row in rows if not numpy.isnan(row["q"])]
    for rate in REGULARIZATION:
        for of_measure in grouped(series(defined, rate), "layer", "measure"):
            by_value = sorted(grouped(of_measure, rate), key=lambda group: group[0][rate])
            if len(by_value) > 1:
                first, *others = (defined_mean(row["q"] for row in group) for group in by_value)
                seeds = by_seed(of_measure)
                found = [(row["q"], row[rate], unit) for unit, own in enumerate(seeds) for row in own]
                line = {"regularization": rate, "from": by_value[0][0][rate], "to": by_value[-1][0][rate]}
                line |= {key: of_measure[0][key] for key in ("layer", "measure")}
                line |= {"networks": len(of_measure), "seeds": len(seeds), "q": first}
                line["q_change"] = max((q - first for q in others), key=abs)
                lowest, highest = ({row["seed"]: row["q"] for row in by_value[end]} for end in (0, -1))
                pairs = (lowest.keys() & highest.keys()) - {None}
                changes = [highest[its_seed] - lowest[its_seed] for its_seed in pairs]
                line |= dict(zip(("change_low", "change_mean", "change_high"), mean_interval(changes)))
                trends.append(line | trend(*zip(*found), seed))
    primary = [line for line in trends if (line["regularization"], line["measure"]) == PRIMARY]
    return primary_first(trends, *primary) if primary else adjusted(trends)


def pooled_agreement(agreements):
    """Mean agreement of the pairs of measures of each group, for each condition and layer."""
    trained = [row for row in agreements if row["condition"] != BASELINE]
    conditions = grouped(agreements, "condition")
    if len(conditions) > 2:
        conditions.insert(-1, [row | {"condition": ALL} for row in trained])
    lines = []
    for rows in conditions:
        for group in grouped(rows, "layer", "group"):
            line = {key: group[0][key] for key in ("condition", "layer", "group")}
            lines.append(line | {key: defined_mean(row[key] for row in group) for key in AGREEMENTS})
    return lines


def agreement_contrasts(agreements):
    """Do partitions agree better within a family than across?

    Networks of one seed began with the same weights and count as one, by their mean.  Returns for trained and untrained
    networks the means that are compared, their difference with its 95 % interval, and the `signed_rank_test` over
    seeds, `adjusted`.
    """
    lines = []
    for kind in ("trained", BASELINE):
        rows = [row for row in agreements if (row["condition"] == BASELINE) == (kind == BASELINE)]
        units = by_seed(rows)
        means = []
        for own in units:
            unit = {group: defined_mean(row["similarity"] for row in own if row["group"] == group) for group in GROUPS}
            means.append(unit | {"shuffled": defined_mean(row["shuffled"] for row in own if row["group"] == "CROSS")})
        for one, other in (("UP", "CROSS"), ("DOWN", "CROSS"), ("CROSS", "shuffled")):
            line = {"networks": kind, "seeds": len(units), "one": one, "other": other}
            line["mean"], line["other_mean"] = (defined_mean(unit[name] for unit in means) for name in (one, other))
            differences = [unit[one] - unit[other] for unit in means]
            line |= dict(zip(("difference_low", "difference", "difference_high"), mean_interval(differences)))
            lines.append(line | signed_rank_test(differences))
    return adjusted(lines)
