"""Statistics: effects of ablation, their nulls, and what many networks say together."""

import numpy
import torch
from scipy import stats
from sklearn.metrics import adjusted_rand_score


def wilson_interval(accuracy, images):
    """95 % confidence interval of an accuracy measured on some number of images (Wilson 1927): (low, high)."""
    interval = stats.binomtest(round(accuracy * images), images).proportion_ci(method="wilson")
    return interval.low, interval.high


def ablation_effects(intact, ablated):
    """What ablation does to the accuracies of the classes, in percentage points.

        importance  = mean over classes of the drop         (negative: ablation helped)
        selectivity = largest drop - smallest drop          (0: all classes suffer alike)

    intact: [classes], ablated: [modules, classes], fractions 0..1.
    Returns {"importance": [modules], "selectivity": [modules]}.
    """
    drop = 100 * (intact - ablated)
    return {"importance": drop.mean(-1), "selectivity": drop.amax(-1) - drop.amin(-1)}


def compare_with_null(observed, null, includes_observed=False):
    """Where an observed effect lies among those of modules that nobody selected.

    p is one-sided: large effects are unusual.  Of a complete null, which includes the observed module itself, it is the
    share of modules with as large an effect; of a sample it is (1 + #{null >= observed}) / (1 + n), which counts the
    observed module as one of the draws (Davison & Hinkley 1997, eq. 4.11).  Its smallest possible value follows from n.
    The percentile counts equal effects half, so its expectation under the null is 50.

    observed: a number.  null: [n] numbers; n may be 0, which leaves p at 1 and all else undefined (NaN).
    Returns {"n", "p", "smallest_p", "percentile", "median", "low", "high"}; low..high holds 90 % of the null.
    """
    null = numpy.asarray(null, dtype=float)
    itself = 0 if includes_observed else 1
    low, median, high = numpy.quantile(null, [0.05, 0.5, 0.95]) if len(null) else [numpy.nan] * 3
    return {
        "n": len(null),
        "p": (itself + int((null >= observed).sum())) / (itself + len(null)),
        "smallest_p": 1 / (itself + len(null)),
        "percentile": float(stats.percentileofscore(null, observed, kind="mean")) if len(null) else numpy.nan,
        "median": float(median),
        "low": float(low),
        "high": float(high),
    }


def across_networks(percentiles, seed):
    """Do the candidates of independent networks lie higher or lower among their nulls than chance, which is 50 %?

    percentiles: [networks], the mean percentile of each network's candidates; NaN where there is none.
    Returns {"networks", "median", "low", "high", "p"}: how many networks count, their median percentile with a 95 %
    bootstrap interval, and the two-sided p of a Wilcoxon signed-rank test against 50.
    """
    percentiles = numpy.asarray(percentiles, dtype=float)
    percentiles = percentiles[~numpy.isnan(percentiles)]
    if len(percentiles) < 2:
        median = float(percentiles[0]) if len(percentiles) else numpy.nan
        return {"networks": len(percentiles), "median": median, "low": numpy.nan, "high": numpy.nan, "p": 1.0}
    interval = stats.bootstrap((percentiles,), numpy.median, method="percentile", rng=seed).confidence_interval
    unequal = percentiles[percentiles != 50]
    return {
        "networks": len(percentiles),
        "median": float(numpy.median(percentiles)),
        "low": float(interval.low),
        "high": float(interval.high),
        "p": float(stats.wilcoxon(unequal - 50).pvalue) if len(unequal) else 1.0,
    }


def rank_p_value(observed, null, tail, strict=True):
    """One-sided Monte Carlo p-value: the rank of an observation among draws (North et al. 2002).

        p = (1 + #{draws more extreme than observed}) / (1 + n)

    tail: "left" if small observations are extreme, "right" if large ones are.
    strict: whether a draw must be more extreme to count, so that ties favour significance, as the papers on clusters of
    neurons have it; otherwise ties, and NaN on either side, count against it.
    null: [n] numbers.  Returns a number from 1 / (n + 1) to 1.
    """
    null = numpy.asarray(null, dtype=float)
    compared = {
        ("left", True): null < observed,
        ("left", False): ~(null > observed),
        ("right", True): null > observed,
        ("right", False): ~(null < observed),
    }
    return (1 + int(compared[tail, strict].sum())) / (1 + len(null))


def fisher_p_value(p_values, draws):
    """Fisher's combination of `rank_p_value`s: chi^2 with 2 S degrees of freedom at -2 sum ln p', p' as `centred`.

    p_values: [S].  draws: n of each, [S] or one for all.  Returns a number; 1 if there are no p-values.
    """
    shifted = centred(p_values, draws)
    return float(stats.combine_pvalues(shifted, method="fisher").pvalue) if len(shifted) else 1.0


def centred(p_values, draws):
    """p' = p - 1 / (2 (n + 1)): a rank p-value from n draws takes n + 1 values, and so their mean is 1/2."""
    return numpy.asarray(p_values, dtype=float) - 0.5 / (numpy.asarray(draws) + 1)


def compare_with_shuffles(n_cut, shuffled):
    """Where the n-cut of a network lies among those of its shuffled copies; negative z and small p: more clusterable.

        z = (n-cut - mean) / sd,   with the population standard deviation;   p = `rank_p_value`, left tail

    shuffled: [n] numbers.  Returns {"n", "mean", "sd", "z", "p"}; z is NaN if all shuffles are equal.
    """
    mean, sd = float(numpy.mean(shuffled)), float(numpy.std(shuffled))
    z = (n_cut - mean) / sd if sd > 0 else numpy.nan
    return {"n": len(shuffled), "mean": mean, "sd": sd, "z": z, "p": rank_p_value(n_cut, shuffled, "left")}


def shuffle_weights(weights, null, generator):
    """Copies of weight matrices whose entries are permuted, each matrix on its own (Filan et al. 2020).

    null: "layer" permutes all entries, zeros included: a layer keeps its weights and sparsity, and loses its pattern.
    "layer_nonzero" permutes the nonzero entries among their places: the pattern of zeros stays.
    weights: one [out, in] tensor per layer, without isolated neurons.  generator: a torch.Generator on the CPU.
    Returns tensors of the same shapes.  Raises ValueError for another null.
    """
    if null not in ("layer", "layer_nonzero"):
        raise ValueError(f"null is {null!r}; choose layer or layer_nonzero")
    shuffled = []
    for weight in weights:
        entries = weight.detach().flatten().clone()
        places = entries.nonzero().flatten() if null == "layer_nonzero" else torch.arange(len(entries))
        order = torch.randperm(len(places), generator=generator)
        entries[places] = entries[places[order]]
        shuffled.append(entries.view(weight.shape))
    return shuffled


def class_range(changes):
    """How unequally a lesion hits the classes: G = (max_c change_c - min_c change_c) / |mean_c change_c|.

    The same as max(change / mean) - min(change / mean) (Casper et al. 2021).  Infinite where the mean change is 0, and
    NaN where nothing changes.  changes: [..., classes].  Returns a float64 array [...].
    """
    changes = numpy.asarray(changes, dtype=float)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        return (changes.max(-1) - changes.min(-1)) / abs(changes.mean(-1))


def accuracy_effect(true_change, null_changes):
    """How much more a lesion costs than random ones: e = 2 t / (t + mean of the null), from 0 to 2; 1: as much.

    0 unless both the true change of accuracy and the mean of the null are losses (Casper et al. 2021).
    """
    mean = float(numpy.mean(null_changes))
    return 2 * float(true_change) / (float(true_change) + mean) if true_change < 0 and mean < 0 else 0.0


def range_effect(true, nulls):
    """How much more unequal a lesion is than random ones: e = 2 G / (G + mean of the null G), from 0 to 2; 1: as much.

    true, nulls: `class_range`s.  NaN among the nulls are left out; an effect that is not defined, or whose null mean is
    infinite, is 0 (Casper et al. 2021).
    """
    nulls = numpy.asarray(nulls, dtype=float)
    nulls = nulls[~numpy.isnan(nulls)]
    if len(nulls) == 0:
        return 0.0
    with numpy.errstate(invalid="ignore"):
        effect = 2 * numpy.float64(true) / (numpy.float64(true) + nulls.mean())
    return float(effect) if numpy.isfinite(effect) else 0.0


def ratio_effect(true, nulls):
    """A true value against each random one: e = mean_i 2 t / (t + r_i), from 0 to 2; 1: as large (Casper et al. 2021).

    Returns NaN, which is left out of averages, if the true value is exactly 0.
    """
    if true == 0:
        return numpy.nan
    return float(numpy.mean(2 * true / (true + numpy.asarray(nulls, dtype=float))))


def combine_networks(p_values):
    """One p-value from those of N independent networks: how small their mean is among means of N uniform numbers.

        P = (1 / N!) sum_{j = 0}^{floor(s)} (-1)^j C(N, j) (s - j)^N,   s = sum p

    That is the Irwin-Hall distribution at s, or Bates's at the mean (Casper et al. 2021).
    """
    return float(stats.irwinhall(len(p_values)).cdf(sum(p_values)))


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
    return {
        "similarity": element_centric_similarity(labels, others),
        "shuffled": shuffled_similarity(labels, others),
        "adjusted_rand": float(adjusted_rand_score(labels, others)),
    }


def defined_mean(values):
    """The mean of the numbers that are not NaN; NaN if there are none."""
    values = [value for value in values if not numpy.isnan(value)]
    return float(numpy.mean(values)) if values else numpy.nan


def compare_with_untrained(modularities, untrained):
    """How the modularities Q of some networks compare with those of untrained ones; NaN are left out.

    Returns {"n", "mean", "sd", "untrained_n", "untrained_mean", "untrained_sd", "z", "p"}: z says how many standard
    deviations of the untrained ones lie between the means, p is that of the one-sided Mann-Whitney test that trained
    networks have a higher Q.  Standard deviations are those of samples; what is not defined is NaN, and p then 1.
    """
    trained, untrained = (
        numpy.array([q for q in values if not numpy.isnan(q)]) for values in (modularities, untrained)
    )
    comparison = {}
    for name, values in (("", trained), ("untrained_", untrained)):
        comparison[f"{name}n"] = len(values)
        comparison[f"{name}mean"] = defined_mean(values)
        comparison[f"{name}sd"] = float(values.std(ddof=1)) if len(values) > 1 else numpy.nan
    sd = comparison["untrained_sd"]
    comparison["z"] = (comparison["mean"] - comparison["untrained_mean"]) / sd if sd > 0 else numpy.nan
    tested = len(trained) > 0 and len(untrained) > 0
    comparison["p"] = float(stats.mannwhitneyu(trained, untrained, alternative="greater").pvalue) if tested else 1.0
    return comparison
