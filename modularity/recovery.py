"""Recovery: how well the modules that each definition finds agree with those that were planted, and with each other."""

from itertools import combinations, product

import numpy
import torch

from modularity.candidates import default_null_modules
from modularity.nulls import of_layers, random_partition
from modularity.partitions import FAMILIES, LOCAL, PARTITIONS, activation_images
from modularity.planted import described, group_count
from modularity.rows import by_seed, defined_mean, grouped, over_seeds, seed_means
from modularity.significance import across_networks, percentiles_among
from modularity.similarity import MEASURES
from modularity.tasks import mapped

SCORES = "adjusted_rand", "homogeneity"
FAMILY_OF = {name: family for family, names in FAMILIES.items() for name in names}
DEFINITIONS = tuple(FAMILY_OF)
"""All PARTITIONS, family by family."""


# Scores


def adjusted_rand_index(labels, groups):
    """Agreement of clusters with groups: 1 if they are the same, 0 by chance (Hubert & Arabie 1985).

    labels, groups: [neurons], -1 for those in none, which are left out.  NaN if no neuron is left.
    """
    from sklearn.metrics import adjusted_rand_score  # here, for most scripts do without

    labels, groups = _in_both(labels, groups)
    return float(adjusted_rand_score(groups, labels)) if len(labels) else numpy.nan


def corrected_homogeneity(labels, groups):
    """Whether clusters keep to one group each, however many there are: 1 if all do, 0 by chance.

    Homogeneity is the mutual information of clusters and groups over the entropy of the groups (Rosenberg & Hirschberg
    2007); its mean over all exchanges of the neurons' groups is known (Vinh et al. 2010), and taken from it and from 1.
    labels, groups: as of `adjusted_rand_index`.  NaN where nothing could be told: of one group, or clusters of one.
    """
    from sklearn.metrics import mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

    labels, groups = _in_both(labels, groups)
    if len(labels) == 0:
        return numpy.nan
    table = contingency_matrix(groups, labels, sparse=True).astype(numpy.int64)
    by_chance = expected_mutual_information(table, len(labels))
    most = mutual_info_score(groups, groups) - by_chance  # the entropy of the groups, less that
    if most < 1e-12:
        return numpy.nan
    return float((mutual_info_score(None, None, contingency=table) - by_chance) / most)


def by_layer(score, labels, groups, widths):
    """The mean over layers of a score of labels and groups [hidden neurons], where it is defined."""
    return defined_mean(score(*part) for part in zip(of_layers(labels, widths), of_layers(groups, widths)))


def purities(modules, groups):
    """The largest share of each module's members that are of one group: [modules], 0 of a module without members.

    modules: boolean [modules, hidden neurons].  groups: integers from 0 [hidden neurons].
    """
    member_of = torch.nn.functional.one_hot(torch.as_tensor(groups)).double()
    counts = modules.double() @ member_of
    return counts.amax(1) / counts.sum(1).clamp(min=1)


def _in_both(labels, groups):
    labels, groups = numpy.asarray(labels), numpy.asarray(groups)
    both = (labels >= 0) & (groups >= 0)
    return labels[both], groups[both]


# What is found in a network


def found_partitions(networks, families, clusters, seed, data_dir, device, jobs):
    """The clusters of the hidden neurons of each network by all DEFINITIONS of some families.

    clusters: how many to ask for, besides as many as there are groups.
    Yields for each network {(definition, clusters asked for, or None where their number is found): labels}.
    """
    names = [name for name in DEFINITIONS if FAMILY_OF[name] in families]
    tasks = [(network, names, clusters, seed, data_dir, device) for network in networks]
    return mapped(partitions_of, tasks, jobs, "definitions", "network")


def partitions_of(network, names, clusters, seed, data_dir, device):
    """The partitions of one network, as of `found_partitions`: a task.  names: of DEFINITIONS."""
    network.model.to(device)
    training_images = test_images = None
    if any(FAMILY_OF[name] != "weights" for name in names):
        training_images = activation_images(network, seed, data_dir).to(device)
        test_images, _ = network.load(False, data_dir, device)
    asked = sorted({*clusters, group_count(network)} - {0})
    labels = {}
    for k, name in product([*asked, None], names):  # one k after the other, which local and global partitions share
        if (k is None) == (name in MEASURES):
            images = test_images if k is None else training_images
            labels[name, k] = PARTITIONS[name](network, images, k, seed)
    return labels


def recovery_rows(network, partitions, seed):
    """How well each partition agrees with the groups of a network, and with these dealt out anew in each layer."""
    widths = network.model.hidden_sizes
    groups = numpy.array(network.groups)
    generator = torch.Generator().manual_seed(seed + network.number)
    truths = {"": groups, "shuffled_": random_partition(groups, widths, generator)}
    rows = []
    for (definition, asked), labels in partitions.items():
        row = {**described(network), "definition": definition, "family": FAMILY_OF[definition], "asked": asked}
        row["found"] = _clusters_found(definition, labels, widths)
        row["in_none"] = int((labels < 0).sum())
        for prefix, truth in truths.items():
            for name, score in zip(SCORES, (adjusted_rand_index, corrected_homogeneity)):
                local = definition in LOCAL
                row[prefix + name] = by_layer(score, labels, truth, widths) if local else score(labels, truth)
        rows.append(row)
    return rows


def _clusters_found(definition, labels, widths):
    """How many clusters there are, of local partitions in the mean layer."""
    local = definition in LOCAL
    return float(numpy.mean(list(map(_count, of_layers(labels, widths))))) if local else _count(labels)


def _count(labels):
    return len(set(labels.tolist()) - {-1})


def agreement_rows(network, partitions, clusters):
    """The adjusted Rand index of the partitions by each two definitions, mean over layers.

    Layers that one of the two leaves in one piece say nothing.  clusters: how many were asked for, where one asks.
    """
    labels = {definition: found for (definition, asked), found in partitions.items() if asked in (None, clusters)}
    rows = []
    for one, other in combinations(labels, 2):
        score = by_layer(_agreement_if_divided, labels[one], labels[other], network.model.hidden_sizes)
        row = {**described(network), "definition": one, "other": other}
        rows.append(row | {"pair": _kind_of_pair(one, other), "adjusted_rand": score})
    return rows


def _agreement_if_divided(labels, others):
    return adjusted_rand_index(labels, others) if min(_count(labels), _count(others)) > 1 else numpy.nan


def _kind_of_pair(one, other):
    families = [FAMILY_OF[one], FAMILY_OF[other]]
    return families[0] if families[0] == families[1] else " and ".join(families)


def purity_row(network, seed):
    """Where the modules of a network's candidates lie among matched modules in their purity: the mean percentile.

    Modules of a single neuron, which cannot be impure, are left out.
    """
    by_rule, chosen, matched, _ = default_null_modules(network, seed)
    found, percentiles = [], []
    for place, counts in chosen:
        if sum(counts) > 1:
            found.append(float(purities(by_rule[[place]], network.groups)))
            percentiles.append(percentiles_among(purities(matched[counts][0], network.groups), found[-1:])[0])
    row = {"candidates": len(found), "purity": defined_mean(found), "percentile": defined_mean(percentiles)}
    return described(network) | row


# What networks say together


def pooled_recovery(rows):
    """Each condition, definition and number of clusters asked for: both scores over seeds, and those by chance."""
    lines = []
    for group in grouped(rows, "condition", "definition", "asked"):
        line = {key: group[0][key] for key in ("condition", "leak", "groups", "definition", "family", "asked")}
        line |= {"seeds": len(by_seed(group)), "found": defined_mean(row["found"] for row in group)}
        for score in SCORES:
            line |= over_seeds(group, score, f"{score}_") | over_seeds(group, f"shuffled_{score}", f"shuffled_{score}_")
        lines.append(line)
    return lines


def headlines(pooled):
    """The one score that counts, of each condition and definition.

    The adjusted Rand index where as many clusters as groups are asked for, homogeneity where their number is found.
    """
    lines = []
    for line in pooled:
        if line["asked"] in (None, line["groups"]):
            score = SCORES[line["asked"] is None]
            shown = {key: line[key] for key in ("condition", "leak", "definition", "family", "seeds")}
            shown["score"] = score
            for prefix, kind in (("", score), ("shuffled_", f"shuffled_{score}")):
                shown |= {f"{prefix}{key}": line[f"{kind}_{key}"] for key in ("mean", "low", "high")}
            lines.append(shown)
    return lines


def pooled_purity(rows, seed):
    """The percentile of the candidates' modules in purity, over the seeds of each condition."""
    return [
        {
            "condition": group[0]["condition"],
            "leak": group[0]["leak"],
            "purity": defined_mean(row["purity"] for row in group),
        }
        | across_networks(seed_means(group, "percentile"), seed)
        for group in grouped(rows, "condition")
    ]


def pooled_agreement(rows):
    """The agreement of each two definitions over all networks of a seed, and then over seeds."""
    return [
        {key: group[0][key] for key in ("definition", "other", "pair")} | over_seeds(group, "adjusted_rand")
        for group in grouped(rows, "definition", "other")
    ]
