"""Statistics: effects of ablation, their nulls, and what many networks say together."""

import numpy
from scipy import stats


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
