"""Rows: what was measured, a dict per network or part of one; in groups, and averaged."""

import numpy
import scipy


def grouped(rows, *keys):
    """The rows in groups of equal values under the keys, in the order in which they first appear."""
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return list(groups.values())


def by_seed(rows):
    """The rows of networks in groups that count as one observation each: networks of one seed are not independent.

    They began with the same weights.  Rows have a `seed`; where it is None, each network counts.
    """
    units = {}
    for row in rows:
        unit = (row.get("condition"), row["network"]) if row["seed"] is None else row["seed"]
        units.setdefault(unit, []).append(row)
    return list(units.values())


def seed_means(rows, key):
    """One value per seed: the mean over its networks of what is defined.  rows: as for `by_seed`."""
    return [defined_mean(row[key] for row in group) for group in by_seed(rows)]


def defined_mean(values):
    """The mean of the numbers that are not NaN; NaN if there are none."""
    values = [value for value in values if not numpy.isnan(value)]
    return float(numpy.mean(values)) if values else numpy.nan


def mean_interval(values):
    """The mean of the values that are defined, and its 95 % interval by Student's t: (low, mean, high).

    Of fewer than two values the interval is NaN.
    """
    values = [value for value in values if not numpy.isnan(value)]
    mean = defined_mean(values)
    if len(values) < 2:
        return numpy.nan, mean, numpy.nan
    half = float(scipy.stats.t.ppf(0.975, len(values) - 1) * scipy.stats.sem(values))
    return mean - half, mean, mean + half


def over_seeds(rows, key, prefix=""):
    """The mean of what rows have under a key, and its `mean_interval` over seeds."""
    low, mean, high = mean_interval(seed_means(rows, key))
    return {f"{prefix}mean": mean, f"{prefix}low": low, f"{prefix}high": high}
