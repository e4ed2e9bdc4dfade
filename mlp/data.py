"""MNIST images of a few digits, held once as a float tensor."""

import contextlib

import torch
from torchvision.datasets import MNIST

from mlp import InputError


def load_digits(digits, train, data_dir):
    """Load the training or test images of some MNIST digits.

    digits: distinct integers in 0..9; their order is the order of the classes.
    train: True for the 60,000-image split, False for the 10,000-image split.
    data_dir: folder that holds, or will hold, MNIST/raw/; missing files are downloaded there.

    Returns images [n, 784] float32 in 0..1 and labels [n] int64, each an index into `digits`.
    Raises InputError if the files are damaged, or absent and out of reach.
    """
    try:
        with contextlib.redirect_stdout(None):  # torchvision chats on stdout, which is kept for results
            split = MNIST(data_dir, train=train, download=True)
    except (RuntimeError, AssertionError, ValueError, EOFError, OSError) as error:
        files = f"{data_dir}/MNIST/raw/{'train' if train else 't10k'}-*"
        raise InputError(
            f"{files}: MNIST could not be read or downloaded ({' '.join(str(error).split()) or type(error).__name__}); "
            "delete damaged files there, or copy the four .gz files in, or name another --data-dir"
        ) from error

    chosen = torch.isin(split.targets, torch.tensor(digits))
    images = split.data[chosen].flatten(1).float() / 255
    class_of_digit = torch.full((10,), -1)
    class_of_digit[list(digits)] = torch.arange(len(digits))
    return images, class_of_digit[split.targets[chosen]]
