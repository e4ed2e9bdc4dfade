"""Statistics: accuracies and how far to trust them."""

import torch
from scipy.stats import binomtest


def class_accuracy(predictions, labels, classes):
    """Share of each class's images that is predicted correctly.

    predictions: [..., n] int64.  labels: [n] int64 in 0..classes-1.
    Returns float64 [..., classes], fractions 0..1; NaN for a class that has no images.
    """
    membership = torch.nn.functional.one_hot(labels, classes).double()
    return (predictions == labels).double() @ membership / membership.sum(0)


def wilson_interval(accuracy, images):
    """95 % confidence interval of an accuracy measured on some number of images (Wilson 1927): (low, high)."""
    interval = binomtest(round(accuracy * images), images).proportion_ci(method="wilson")
    return interval.low, interval.high
