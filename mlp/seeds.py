"""Seeds: one number decides everything, each part of the work by a seed of its own."""

import numpy


def derived_seed(seed, *key):
    """A seed for one part of what `seed` decides.  key: whole numbers that name the part, from 0."""
    return int(numpy.random.SeedSequence(seed, spawn_key=key).generate_state(1, numpy.uint64)[0])
