"""Recovery: how well the modules that are found agree with those that were planted, and whether these act as such."""

import numpy
import torch

from modularity.rows import defined_mean


def adjusted_rand_index(labels, groups):
    """Agreement of clusters with groups: 1 if they are the same, 0 by chance (Hubert & Arabie 1985).

    labels: [neurons], -1 for those in no cluster, which are left out.  groups: [neurons].  NaN if no neuron is left.
    """
    from sklearn.metrics import adjusted_rand_score  # here, for most scripts do without

    labels, groups = _living(labels, groups)
    return float(adjusted_rand_score(groups, labels)) if len(labels) else numpy.nan


def corrected_homogeneity(labels, groups):
    """Whether clusters keep to one group each, however many there are: 1 if all do, 0 by chance.

    Homogeneity is the mutual information of clusters and groups over the entropy of the groups (Rosenberg & Hirschberg
    2007); its mean over all exchanges of the neurons' groups is known (Vinh et al. 2010), and taken from it and from 1.
    labels, groups: as of `adjusted_rand_index`.  NaN where nothing could be told: of one group, or clusters of one.
    """
    from sklearn.metrics import mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

    labels, groups = _living(labels, groups)
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
    ends = numpy.cumsum(widths)[:-1]
    parts = zip(numpy.split(numpy.asarray(labels), ends), numpy.split(numpy.asarray(groups), ends))
    return defined_mean(score(*part) for part in parts)


def purities(modules, groups):
    """The largest share of each module's members that are of one group: [modules], 0 of a module without members.

    modules: boolean [modules, hidden neurons].  groups: integers from 0 [hidden neurons].
    """
    member_of = torch.nn.functional.one_hot(torch.as_tensor(groups)).double()
    counts = modules.double() @ member_of
    return counts.amax(1) / counts.sum(1).clamp(min=1)


def own_share(intact, hits, images_per_class, own):
    """The part of all accuracy that is lost with a planted group that its own classes lose; NaN if none is lost.

    Half, if it serves no class more than another and has half of them.
    intact, hits: images of each class that are read right with and without the group.  own: boolean [classes].
    """
    lost = (intact - hits).double() / torch.as_tensor(images_per_class)
    return float(lost[own].sum() / lost.sum()) if lost.sum() > 0 else numpy.nan


def _living(labels, groups):
    labels, groups = numpy.asarray(labels), numpy.asarray(groups)
    return labels[labels >= 0], groups[labels >= 0]
