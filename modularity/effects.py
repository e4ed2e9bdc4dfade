"""Effects: how large the change is that ablation makes."""

from math import lcm, sqrt
from statistics import NormalDist

import numpy


def wilson_interval(accuracy, images):
    """95 % confidence interval of an accuracy measured on some number of images: (low, high).

    center = (p + z^2 / 2n) / (1 + z^2 / n),   half = z sqrt(p (1 - p) / n + (z / 2n)^2) / (1 + z^2 / n)   (Wilson 1927)
    """
    z = NormalDist().inv_cdf(0.975)
    center = accuracy + z**2 / (2 * images)
    half = z * sqrt(accuracy * (1 - accuracy) / images + (z / (2 * images)) ** 2)
    scale = 1 + z**2 / images
    low, high = (center - half) / scale, (center + half) / scale
    return low if accuracy > 0 else 0.0, high if accuracy < 1 else 1.0


def change_interval(gained, lost, images):
    """95 % confidence interval of a change of balanced accuracy, the mean over classes, of the same images: low, high.

        change_c = (gained_c - lost_c) / n_c,   change = mean over classes,   change +- z sqrt(sum_c var_c) / classes
        var_c = ((gained_c + lost_c) / n_c - change_c^2) / n_c

    with half an image more gained and lost of two more in the variances, so that some doubt is left where none turns
    (the differences of matched pairs of Agresti & Min 2005, class by class).
    gained, lost: [classes], images that turn right, and that turn wrong; images: [classes], how many there are.
    """
    gained, lost, images = (numpy.asarray(counts, dtype=float) for counts in (gained, lost, images))
    n = images + 2
    variances = ((gained + lost + 1) / n - ((gained - lost) / n) ** 2) / n
    half = NormalDist().inv_cdf(0.975) * numpy.sqrt(variances.sum()) / len(images)
    change = ((gained - lost) / images).mean()
    return float(change - half), float(change + half)


def log_ratio(own, other):
    """ln (own / other): 0 if both are equal; NaN unless both are positive and finite."""
    defined = 0 < own < numpy.inf and 0 < other < numpy.inf
    return float(numpy.log(own / other)) if defined else numpy.nan


def exact_drops(intact, ablated, images):
    """What ablation costs each class, in whole multiples of 1 / unit of its accuracy.

    Accuracies of classes of different sizes add up to equal means by different roundings; whole numbers tie exactly.
    intact: [classes], ablated: [modules, classes], images that are still right; images: [classes], how many there are.
    Returns [modules, classes], integers of any size (negative: ablation helped), and unit, a multiple of all `images`.
    """
    unit = lcm(*images)
    intact, ablated = (numpy.array(hits.tolist(), dtype=object) for hits in (intact, ablated))
    drops = (intact - ablated.reshape(-1, len(images))) * numpy.array([unit // n for n in images], dtype=object)
    return drops, unit


def ablation_effects(intact, ablated, images):
    """What ablation does to the accuracies of the classes, in percentage points.

        importance  = mean over classes of the drop         (negative: ablation helped)
        selectivity = largest drop - smallest drop          (0: all classes suffer alike)

    Equal effects are equal numbers, to the last bit.  intact, ablated, images: as for `exact_drops`.
    Returns {"importance": [modules], "selectivity": [modules]}, float64.
    """
    drops, unit = exact_drops(intact, ablated, images)
    importance = 100 * drops.sum(1) / (unit * len(images))
    selectivity = 100 * (drops.max(1) - drops.min(1)) / unit
    return {"importance": importance.astype(float), "selectivity": selectivity.astype(float)}


def class_range(changes):
    """How unequally a lesion hits the classes: G = (max_c change_c - min_c change_c) / |mean_c change_c|.

    The same as max(change / mean) - min(change / mean) (Casper et al. 2021).  Infinite where the mean change is 0, and
    NaN where nothing changes.  changes: [..., classes], in any unit: those of `exact_drops` tie exactly.
    Returns a float64 array [...].
    """
    changes = numpy.asarray(changes)

    def share(spread, total):
        return changes.shape[-1] * spread / total if total else numpy.inf if spread else numpy.nan

    return numpy.vectorize(share, otypes=[float])(changes.max(-1) - changes.min(-1), abs(changes.sum(-1)))


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


def class_mean_changes(intact, hits, images):
    """The change of balanced accuracy, the mean over classes of the share of images that are right.

    intact, hits, images: as `intact`, `ablated` and `images` of `exact_drops`.
    Returns [modules], integers of any size that tie exactly (negative: accuracy is lost), and the unit to divide by.
    """
    drops, unit = exact_drops(intact, hits, images)
    return -drops.sum(1), unit * len(images)
