from itertools import product

import pytest
import torch
from conftest import random_weights
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from mlp import InputError
from mlp.modules import (
    indegree_nobetween_candidates,
    layer_counts,
    matched_modules,
    module_of,
    neurons_of,
    same_rule_modules,
)


@st.composite
def tables(draw):
    """Centralities with whole numbers, so that quantiles are exact and ties are common."""
    widths = draw(st.lists(st.integers(1, 6), min_size=3, max_size=5))
    number = st.integers(0, 5).map(float)
    return {
        (layer, index): {"in_degree": draw(number), "out_degree": draw(number), "betweenness": draw(number)}
        for layer, width in enumerate(widths)
        for index in range(width)
    }


quantiles = st.sampled_from([0, 0.25, 0.5, 0.75, 1])


@given(tables(), quantiles, quantiles)
def test_candidates_equal_brute_force(table, in_degree_quantile, betweenness_quantile):
    last = max(layer for layer, _ in table)
    expected = []
    for (layer, index), row in table.items():
        if layer in (0, last):
            continue
        peers = [other for (its_layer, _), other in table.items() if its_layer == layer]
        in_degrees = torch.tensor([peer["in_degree"] for peer in peers], dtype=torch.float64)
        betweennesses = torch.tensor([peer["betweenness"] for peer in peers], dtype=torch.float64)
        high = row["in_degree"] >= in_degrees.quantile(in_degree_quantile)
        low = row["betweenness"] <= betweennesses.quantile(betweenness_quantile)
        if high and low:
            expected.append((layer, index))
    assert indegree_nobetween_candidates(table, in_degree_quantile, betweenness_quantile) == expected


@given(tables(), st.integers(1, 8))
def test_the_cap_keeps_the_highest_ranks(table, cap):
    everyone = indegree_nobetween_candidates(table, 0, 1)
    kept = indegree_nobetween_candidates(table, 0, 1, max_candidates=cap)

    def rank(node):
        return sum(other[0] == node[0] and table[other]["in_degree"] > table[node]["in_degree"] for other in table)

    assert len(kept) == min(cap, len(everyone))
    assert kept == sorted(kept)
    dropped = set(everyone) - set(kept)
    assert all(rank(node) <= rank(other) for node in kept for other in dropped)


@given(st.lists(st.integers(1, 5), min_size=3, max_size=5), st.integers(0, 10**6), st.integers(0, 6), st.data())
def test_module_equals_brute_force(sizes, seed, top_inputs, data):
    weights = random_weights(sizes, seed, pruned=0.3)
    layer = data.draw(st.integers(1, len(sizes) - 2))
    index = data.draw(st.integers(0, sizes[layer] - 1))
    incoming = [(-abs(weight), source) for source, weight in enumerate(weights[layer - 1][index].tolist()) if weight]
    inputs = [(layer - 1, source) for _, source in sorted(incoming)[:top_inputs]] if layer > 1 else []
    module = module_of((layer, index), weights, top_inputs)
    assert module.dtype == torch.bool
    assert module.shape == (sum(sizes[1:-1]),)
    assert neurons_of(module, sizes[1:-1]) == sorted([*inputs, (layer, index)])


@pytest.mark.parametrize("neuron", [(0, 0), (3, 0), (1, 2), (1, -1)])
def test_only_hidden_neurons_have_modules(neuron):
    with pytest.raises(InputError, match="hidden"):
        module_of(neuron, random_weights((4, 2, 2, 2)))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data())
def test_all_matched_modules_equal_brute_force(widths, data):
    counts = tuple(data.draw(st.integers(0, width)) for width in widths)
    subsets = [torch.tensor(bits).bool() for bits in product([0, 1], repeat=sum(widths))]
    expected = [module.tolist() for module in subsets if layer_counts(module, widths) == counts]
    modules, complete = matched_modules(counts, widths, limit=len(expected), generator=None)
    assert complete
    assert sorted(modules.tolist()) == sorted(expected)


def test_sampled_modules_match_and_are_uniform():
    generator = torch.Generator().manual_seed(0)
    modules, complete = matched_modules((2, 1), (4, 3), limit=17, generator=generator)
    assert not complete  # there are 18
    assert modules.shape == (17, 7)
    draws = torch.cat([matched_modules((2, 1), (4, 3), 17, generator)[0] for _ in range(1000)])
    assert all(layer_counts(module, (4, 3)) == (2, 1) for module in draws)
    distinct, frequency = draws.unique(dim=0, return_counts=True)
    assert len(distinct) == 18
    assert chisquare(frequency).pvalue > 0.01


def test_same_rule_modules_are_those_of_the_other_neurons():
    weights = random_weights((5, 4, 4, 4, 2))
    candidates = [(1, 0), (2, 1), (2, 3)]
    modules = same_rule_modules((2, 1), candidates, weights, top_inputs=2)
    assert modules.tolist() == [module_of((2, index), weights, 2).tolist() for index in (0, 2)]
    weights[1][0, 1:] = 0  # pruned to a single input: its module no longer matches
    assert same_rule_modules((2, 1), candidates, weights, 2).tolist() == [module_of((2, 2), weights, 2).tolist()]
    everyone = [(2, index) for index in range(4)]
    assert same_rule_modules((2, 1), everyone, weights, 2).shape == (0, 12)
