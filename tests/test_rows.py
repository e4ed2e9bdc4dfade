import math

import pytest

from modularity.rows import by_seed, defined_mean, grouped, seed_means


def test_networks_of_one_seed_count_as_one():
    rows = [
        {"condition": condition, "network": network, "seed": seed}
        for condition, network, seed in (("a", 0, 7), ("b", 0, 7), ("a", 1, 8), ("a", 2, None), ("b", 2, None))
    ]
    assert by_seed(rows) == [rows[:2], rows[2:3], rows[3:4], rows[4:]]
    values = [row | {"q": q} for row, q in zip(rows, (1.0, 3.0, math.nan, 4.0, 5.0))]
    assert seed_means(values, "q") == pytest.approx([2, math.nan, 4, 5], nan_ok=True)


def test_groups_stand_in_the_order_of_their_first_rows():
    rows = [{"layer": layer, "measure": measure} for layer, measure in ((2, "q"), (1, "q"), (2, "r"), (2, "q"))]
    assert grouped(rows, "layer") == [[rows[0], rows[2], rows[3]], [rows[1]]]
    assert grouped(rows, "layer", "measure") == [[rows[0], rows[3]], [rows[1]], [rows[2]]]
    assert grouped(rows) == [rows]
    assert grouped([], "layer") == []


@pytest.mark.parametrize("values, mean", [([1, math.nan, 2.5], 1.75), ([math.nan], math.nan), ([], math.nan), ([3], 3)])
def test_the_mean_of_what_is_defined(values, mean):
    assert defined_mean(value for value in values) == pytest.approx(mean, nan_ok=True)
    assert isinstance(defined_mean(values), float)
