"""Shortest paths told apart with whole numbers, exactly, for sources where double precision may be wrong."""

import math
from typing import NamedTuple

import numpy

MANTISSA_BITS = 53
"""A weight in double precision is a whole number below 2^53 times a power of two."""


class Roads(NamedTuple):
    """Edges that continue paths: from a source by way of a neuron of one layer to a target in the next, a row each."""

    source: numpy.ndarray
    target: numpy.ndarray
    via: numpy.ndarray


class ExactPaths:
    """Paths of layered networks, compared as sums of the exact rationals 1/|w|; equal sums alone are ties.

    Lengths are whole numbers of a unit 2^-q, rounded down.  Of L layers of weights |w| = m 2^e with m < 2^53, a path
    takes one edge each.  The difference between the lengths of two paths is a sum of at most 2L terms +-2^-e / m.
    With E the largest e, it is 2^-E times a whole number, divided by the product of 2L factors m.  So it is 0, or at
    least 2^-(E + 106 L).  Rounding moves either length by less than L units.  With a unit below 2^-(E + 106 L) / 2L,
    two lengths are therefore equal if and only if their whole numbers differ by less than L.

    strengths: |w|, one float64 tensor [networks, out, in] per layer of connections; zero is no edge.
    tolerance: relative difference from which on two lengths in double precision are surely in the right order.
    """

    def __init__(self, strengths, tolerance):
        self.strengths = [strength.cpu().numpy() for strength in strengths]
        self.tolerance = tolerance
        self.layers = len(strengths)
        self.largest = max(strength.max() for strength in self.strengths)
        _, exponent = math.frexp(self.largest)
        largest_e = exponent - MANTISSA_BITS
        enough = largest_e + 2 * MANTISSA_BITS * self.layers + (2 * self.layers).bit_length()
        self.unit_bits = max(0, enough)  # q: the unit is 1 or smaller

    def dependencies(self, layer, network, source):
        """Brandes's dependencies of sources of one layer on the neurons between them and the last layer.

        network, source: whole numbers [sources], a network and a neuron of `layer` in it for each source.
        Returns one float64 array [sources, neurons] per layer after `layer`, but the last.
        """
        first = self.strengths[layer][network, :, source]
        reached = first > 0
        paths = reached.astype(float)
        lengths, rank = self.distinct(first)
        steps = []
        for step in range(layer + 1, self.layers):
            _, outs, ins = self.strengths[step].shape
            contenders = self.contenders(self.beyond_nearest(lengths, rank, reached), step, network)
            roads, lengths, ranks = self.shortest(contenders, lengths, rank, step, network)
            carried = paths[roads.source, roads.via]
            paths = summed(carried, roads.source, roads.target, (len(network), outs))
            steps.append((roads, carried / paths[roads.source, roads.target], ins))
            reached = paths > 0
            rank = numpy.zeros(paths.shape, numpy.int64)
            rank[roads.source, roads.target] = ranks
        dependencies = [numpy.zeros(paths.shape)]
        for roads, share, ins in reversed(steps):
            passed_on = share * (1 + dependencies[0][roads.source, roads.target])
            dependencies.insert(0, summed(passed_on, roads.source, roads.via, (len(network), ins)))
        return dependencies[:-1]

    def beyond_nearest(self, lengths, rank, reached):
        """How much further than the nearest neuron of its layer each neuron is from its source, rounded to a double.

        A part that all paths share, however long, is thus left out before it could swallow all that comes after.
        lengths: whole numbers, ascending.  rank: [sources, neurons], places in `lengths`.
        reached: boolean [sources, neurons], whether a path leads there; `rank` means nothing where none does.
        Returns [sources, neurons], infinite where no path leads.
        """
        nearest = numpy.where(reached, rank, len(lengths)).min(1)
        source, _ = reached.nonzero()
        # each difference is made once: in quantised networks, few differ
        differences = rank[reached] * len(lengths) + nearest[source]
        differences, place = numpy.unique(differences, return_inverse=True)
        far, near = numpy.divmod(differences, len(lengths))
        beyond = numpy.full(rank.shape, numpy.inf)
        beyond[reached] = ((lengths[far] - lengths[near]) / (1 << self.unit_bits))[place]
        return beyond

    def contenders(self, beyond, step, network):
        """The `Roads` that double precision cannot tell from the shortest, sorted by source and target.

        beyond: [sources, in], lengths up to the neurons from which layer `step` of connections leads on.
        network: the network of each source.
        """
        with numpy.errstate(divide="ignore"):
            distance = 1 / self.strengths[step]
        roads = distance[network]
        roads += beyond[:, None]
        nearest = roads.min(2)
        limit = numpy.where(nearest < numpy.inf, nearest * (1 + self.tolerance), -1)
        places = numpy.flatnonzero(roads <= limit[..., None])
        return Roads(*numpy.unravel_index(places, roads.shape))

    def shortest(self, contenders, lengths, rank, step, network):
        """The contenders that are shortest, exactly.

        contenders: `Roads`.  lengths: whole numbers, ascending.  rank: [sources, in], places in `lengths`.
        Returns the shortest `Roads`, lengths of roads, ascending, and the place of each shortest road among them.
        """
        source, target, via = contenders
        step_lengths, step_rank = self.distinct(self.strengths[step][network[source], target, via])
        # each sum, too, is made once
        sums = rank[source, via] * len(step_lengths) + step_rank
        sums, place = numpy.unique(sums, return_inverse=True)
        before, last = numpy.divmod(sums, len(step_lengths))
        lengths, rank_of_sum = self.ranked(lengths[before] + step_lengths[last])
        ranks = rank_of_sum[place]
        new_pair = numpy.ones(len(source), bool)
        new_pair[1:] = (numpy.diff(source) != 0) | (numpy.diff(target) != 0)
        nearest = numpy.minimum.reduceat(ranks, numpy.flatnonzero(new_pair))
        shortest = ranks == nearest[new_pair.cumsum() - 1]
        return Roads(source[shortest], target[shortest], via[shortest]), lengths, ranks[shortest]

    def distinct(self, strengths):
        """The whole lengths of edges that differ, shortest first, and the place of each edge's length among them.

        An edge of strength 0, which is none, comes last, as if it were the strongest.
        """
        distinct, rank = numpy.unique(-strengths, return_inverse=True)
        mantissa, exponent = numpy.frexp(numpy.where(distinct < 0, -distinct, self.largest))
        m = (mantissa * 2**MANTISSA_BITS).astype(numpy.int64).astype(object)
        e = (exponent - MANTISSA_BITS).astype(object)
        return numpy.left_shift(1, self.unit_bits - e) // m, rank.reshape(strengths.shape)

    def ranked(self, lengths):
        """The lengths that differ, ascending, and the place of each length among them."""
        order = lengths.argsort(kind="stable")
        ascending = lengths[order]
        larger = numpy.ones(len(lengths), bool)
        larger[1:] = numpy.diff(ascending) >= self.layers
        rank = numpy.empty(len(lengths), numpy.int64)
        rank[order] = larger.cumsum() - 1
        return ascending[larger], rank


def summed(values, source, neuron, shape):
    """Values added up by source and neuron, [sources, neurons]."""
    places = numpy.ravel_multi_index((source, neuron), shape)
    sums = numpy.bincount(places, values, math.prod(shape))
    return sums.astype(float).reshape(shape)  # of no values at all, bincount makes whole numbers
