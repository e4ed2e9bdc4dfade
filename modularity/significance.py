"""Significance: p-values and their nulls, and what many networks say together.

Every p-value has one of three nulls, and a function for each.  "complete": all possibilities, the observed one among
them (`complete_p_value`).  "sample": random ones, to which the observed is added (`rank_p_value`).  "permutations": the
same data with their parts exchanged (`permutation_p_value`, and the tests of scipy.stats).  Results name theirs;
p-values that combine or correct others have the nulls of those.
"""

import numpy
import scipy

from modularity.rows import defined_mean, mean_interval

ROUNDING = 1e-9
"""Sums of the same numbers in another order differ by less than this share; so much apart, numbers count as equal."""
DIGITS = 9
"""Decimal places that averages of percentiles, or of rank correlations, are told apart by, for the same reason."""
PERMUTATIONS = 9999
LEVEL = 0.05
"""Of a p-value at or below which a network or a study is said to show something."""
FEWEST_CONTROLS = 19
"""Among fewer, no p-value reaches LEVEL."""


def compare_with_null(observed, null, includes_observed=False, others=False):
    """Where an observed effect lies among those of modules that nobody selected.

    p is one-sided: large effects are unusual, and equal ones count against it.  The smallest p that can be reached
    follows from n.  The percentile counts equal effects half, so its expectation under the null is 50.

    observed: a number.  null: [n] numbers; n may be 0, which leaves p at 1 and all else undefined (NaN).  They are all
    possibilities if includes_observed, all but the observed one if others, else a sample.
    Returns {"null", "n", "p", "smallest_p", "percentile", "mean", "median", "low", "high"}; low..high holds 90 % of the
    null.
    """
    null = numpy.asarray(null, dtype=float)
    n = len(null)
    if includes_observed or others:
        kind, p = "complete", complete_p_value(observed, null if includes_observed else [observed, *null])
    else:
        kind, p = "sample", rank_p_value(observed, null, "right", strict=False)
    percentile = float(percentiles_among(null, observed)) if n else numpy.nan
    low, median, high = map(float, numpy.quantile(null, [0.05, 0.5, 0.95]) if n else [numpy.nan] * 3)
    found = {"null": kind, "n": n, "p": p, "smallest_p": 1 / (n + (not includes_observed))}
    return found | {"percentile": percentile, "mean": defined_mean(null), "median": median, "low": low, "high": high}


def percentiles_among(null, observed):
    """How many of a hundred numbers of a null are smaller than each observed one, those that are equal counting half.

    null: [n], at least one.  observed: a number, or an array of any shape.  Returns as many, from 0 to 100.
    """
    null = numpy.sort(numpy.asarray(null, dtype=float))
    return (numpy.searchsorted(null, observed, "left") + numpy.searchsorted(null, observed, "right")) * 50 / len(null)


def across_networks(percentiles, seed):
    """Do the candidates of independent networks lie higher or lower among their nulls than chance, which is 50 %?

    percentiles: [seeds], the mean percentile of the candidates of a network; NaN where there is none.  Networks of one
    seed are not independent: give their mean.
    Returns {"seeds", "median", "low", "high", "null", "p", "direction"}: how many count, their median percentile
    with a 95 % bootstrap interval, and a `signed_rank_test` against 50.
    """
    percentiles = numpy.asarray(percentiles, dtype=float)
    percentiles = percentiles[~numpy.isnan(percentiles)]
    several = len(percentiles) > 1
    low = high = numpy.nan
    if several:
        drawn = scipy.stats.bootstrap((percentiles,), numpy.median, method="percentile", rng=seed)
        low, high = map(float, drawn.confidence_interval)
    median = float(numpy.median(percentiles)) if len(percentiles) else numpy.nan
    tested = signed_rank_test(percentiles - 50 if several else [])
    return {"seeds": len(percentiles), "median": median, "low": low, "high": high, **tested}


def paired_test(differences):
    """Do two measures of the same seeds differ?

    differences: [seeds], one measure minus the other; NaN where one is not defined.
    Returns {"seeds", "mean", "low", "high", "null", "p", "direction"}: how many count, their mean difference with its
    95 % t interval, and a `signed_rank_test`.
    """
    low, mean, high = mean_interval(differences)
    seeds = int((~numpy.isnan(differences)).sum())
    return {"seeds": seeds, "mean": mean, "low": low, "high": high, **signed_rank_test(differences)}


def signed_rank_test(differences):
    """Are differences of pairs, or from what is expected, positive or negative?  Wilcoxon's test (1945), two-sided.

    The permutations are changes of sign, so that differences of 0 say nothing; NaN are left out.  Differences that
    agree in DIGITS decimal places are equal.
    Returns {"null", "p", "smallest_p", "direction"}: smallest_p is that which so many differences can reach; the
    direction is the sign of the sum of signed ranks: 1, -1, or 0 for neither.
    """
    differences = numpy.round(numpy.asarray(differences, dtype=float), DIGITS)
    differences = differences[~numpy.isnan(differences) & (differences != 0)]
    signed_ranks = numpy.sign(differences) * scipy.stats.rankdata(abs(differences))
    p = float(scipy.stats.wilcoxon(differences).pvalue) if len(differences) else 1.0
    smallest = min(1.0, 2 / 2 ** len(differences))
    return {"null": "permutations", "p": p, "smallest_p": smallest, "direction": int(numpy.sign(signed_ranks.sum()))}


def complete_p_value(observed, null, tail="right", strict=False):
    """One-sided p-value among all possibilities: the share of them that are as extreme.

    tail: "left" if small observations are extreme, "right" if large ones are.
    strict: whether equal ones, but for the observed itself, count for significance, as `rank_p_value` has it.
    null: [n] numbers, the observed among them.  Returns a number from 1 / n to 1.
    """
    return (strict + as_extreme(observed, null, tail, strict)) / len(null)


def rank_p_value(observed, null, tail, strict=True):
    """One-sided Monte Carlo p-value: the rank of an observation among random draws (North et al. 2002).

        p = (1 + #{draws more extreme than observed}) / (1 + n)

    tail: "left" if small observations are extreme, "right" if large ones are.
    strict: whether a draw must be more extreme to count, so that ties favour significance, as the papers on clusters of
    neurons have it; otherwise ties, and NaN on either side, count against it.
    null: [n] numbers.  Returns a number from 1 / (n + 1) to 1.
    """
    return (1 + as_extreme(observed, null, tail, strict)) / (1 + len(null))


def permutation_p_value(observed, permuted, tail):
    """One-sided p-value of data among random permutations of themselves (Phipson & Smyth 2010).

        p = (1 + #{permutations as extreme}) / (1 + n),   the data as they are being one permutation, too

    What differs by no more than rounding is as extreme, and so is what is not defined.
    tail: "left" if small observations are extreme, "right" if large ones are.  permuted: [n] numbers.
    """
    permuted = numpy.asarray(permuted, dtype=float)
    equal = numpy.isclose(permuted, observed, rtol=ROUNDING, atol=0)
    return rank_p_value(observed, numpy.where(equal, observed, permuted), tail, strict=False)


def compare_with_controls(observed, controls, complete, tail):
    """Where a lesion lies among those of its control modules, as the papers on clusters of neurons have it.

    controls: [n] numbers; if complete, of all other modules there are, else of random ones.
    Returns {"null", "p", "p_conservative"}: p counts ties for significance, and p_conservative against it.
    """
    p_value, null = (complete_p_value, [observed, *controls]) if complete else (rank_p_value, controls)
    p, p_conservative = (p_value(observed, null, tail, strict) for strict in (True, False))
    return {"null": "complete" if complete else "sample", "p": p, "p_conservative": p_conservative}


def beyond_all(p_conservative, controls):
    """Whether none of so many controls was as extreme: the p-value is the smallest that they can give.

    To be beyond fewer than FEWEST_CONTROLS says nothing.
    """
    return controls >= FEWEST_CONTROLS and p_conservative <= 1 / (1 + controls)


def as_extreme(observed, null, tail, strict):
    """How many numbers of a null are as extreme as the observed one, or if strict more extreme; see `rank_p_value`."""
    observed, null = float(observed), numpy.asarray(null, dtype=float)
    beyond, short_of = {"left": (numpy.less, numpy.greater), "right": (numpy.greater, numpy.less)}[tail]
    return int((beyond(null, observed) if strict else ~short_of(null, observed)).sum())


def fisher_p_value(p_values, draws):
    """Fisher's combination of p-values: chi^2 with 2 S degrees of freedom at -2 sum ln p', p' as `centred`.

    p_values: [S].  draws: the controls of each, [S] or one for all.  Returns a number; 1 if there are no p-values.
    """
    shifted = centred(p_values, draws)
    return float(scipy.stats.combine_pvalues(shifted, method="fisher").pvalue) if len(shifted) else 1.0


def centred(p_values, draws):
    """p' = p - 1 / (2 (n + 1)): a p-value among n controls takes n + 1 values, and so their mean is 1/2."""
    return numpy.asarray(p_values, dtype=float) - 0.5 / (numpy.asarray(draws) + 1)


def compare_with_shuffles(n_cut, shuffled):
    """Where the n-cut of a network lies among those of its shuffled copies; negative z and small p: more clusterable.

        z = (n-cut - mean) / sd,   with the population standard deviation;   p = `permutation_p_value`, left tail

    shuffled: [n].  Returns {"null", "n", "mean", "sd", "z", "p"}; z is NaN if the shuffles are equal up to rounding.
    """
    mean, sd = float(numpy.mean(shuffled)), float(numpy.std(shuffled))
    z = (n_cut - mean) / sd if sd > ROUNDING * abs(mean) else numpy.nan
    p = permutation_p_value(n_cut, shuffled, "left")
    return {"null": "permutations", "n": len(shuffled), "mean": mean, "sd": sd, "z": z, "p": p}


def combine_networks(p_values):
    """One p-value from those of N independent networks: how small their mean is among means of N uniform numbers.

        P = (1 / N!) sum_{j = 0}^{floor(s)} (-1)^j C(N, j) (s - j)^N,   s = sum p

    That is the Irwin-Hall distribution at s, or Bates's at the mean (Casper et al. 2021).
    """
    return min(1.0, float(scipy.stats.irwinhall(len(p_values)).cdf(sum(p_values))))  # which exceeds 1 by rounding


def compare_with_untrained(modularities, untrained):
    """How the modularities Q of some networks compare with those of untrained ones; NaN are left out.

    Returns {"n", "mean", "sd", "untrained_n", "untrained_mean", "untrained_sd", "z", "null", "p"}: z says how many
    standard deviations of the untrained ones lie between the means, p is that of the one-sided Mann-Whitney test that
    trained networks have a higher Q: a permutation of who was trained.  Standard deviations are those of samples; what
    is not defined is NaN, and p then 1.
    """
    comparison, samples = {}, []
    for name, values in (("", modularities), ("untrained_", untrained)):
        values = numpy.array([q for q in values if not numpy.isnan(q)])
        sd = float(values.std(ddof=1)) if len(values) > 1 else numpy.nan
        comparison |= {f"{name}n": len(values), f"{name}mean": defined_mean(values), f"{name}sd": sd}
        samples.append(values)
    z = (comparison["mean"] - comparison["untrained_mean"]) / sd if sd > 0 else numpy.nan  # sd of the untrained
    p = float(scipy.stats.mannwhitneyu(*samples, alternative="greater").pvalue) if all(map(len, samples)) else 1.0
    return comparison | {"z": z, "null": "permutations", "p": p}


def trend(values, rates, blocks, seed):
    """Do values rise or fall with a rate?  Kendall's rank correlation within blocks, such as the networks of a seed.

        tau = mean over blocks of tau_b,   p = `permutation_p_value`, both tails: PERMUTATIONS within blocks

    values, rates, blocks: [n].  Blocks in which nothing varies say nothing.
    Returns {"tau", "null", "p"}; without a block that says something, tau is NaN and p is 1.
    """
    values, rates, blocks = map(numpy.asarray, (values, rates, blocks))
    generator = numpy.random.default_rng(seed)
    taus = []
    for block in numpy.unique(blocks):
        own, its_rates = values[blocks == block], rates[blocks == block]
        orders = numpy.tile(own, (1 + PERMUTATIONS, 1))
        orders[1:] = generator.permuted(orders[1:], axis=1)  # as they are, and permuted
        one, other = numpy.triu_indices(len(own), 1)
        signs = numpy.sign(orders[:, one] - orders[:, other])  # [orders, pairs]
        directions = numpy.sign(its_rates[one] - its_rates[other])
        norm = numpy.sqrt(abs(signs[0]).sum() * abs(directions).sum())
        if norm > 0:
            taus.append(signs @ directions / norm)
    if not taus:
        return {"tau": numpy.nan, "null": "permutations", "p": 1.0}
    tau, *permuted = numpy.round(numpy.mean(taus, axis=0), DIGITS)
    return {"tau": float(tau), "null": "permutations", "p": permutation_p_value(abs(tau), numpy.abs(permuted), "right")}


def adjusted(rows, p="p", name="adjusted_p"):
    """The rows with their p-values adjusted for the number of all (Benjamini & Hochberg 1995)."""
    p_values = scipy.stats.false_discovery_control([row[p] for row in rows]).tolist() if rows else []
    return [row | {name: value} for row, value in zip(rows, p_values)]


def primary_first(tests, primary):
    """The tests of a study: the one that was named before its numbers, and then the others, which only explore.

    tests: rows with `p`, of which `primary` is one.  All get a `role`, "primary" or "exploratory", and the latter an
    `adjusted_p`, as `adjusted` for their number.
    """
    others = [test | {"role": "exploratory"} for test in tests if test is not primary]
    return [primary | {"role": "primary"}, *adjusted(others)]
