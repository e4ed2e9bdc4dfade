import numpy
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import modularity.damage
from mlp.data import DataSet
from mlp.model import initial_model
from mlp.network import Network
from modularity.damage import LIBRARY, PILOT, TOLERANCE, as_costly, measure_matched, sizes_that_cost
from modularity.effects import class_mean_changes
from modularity.significance import FEWEST_CONTROLS

IMAGES = [1000, 500]
INTACT = torch.tensor([1000, 500])


class Images(DataSet):
    def test_images_per_class(self, data_dir):
        return IMAGES


def hits_without(modules):
    """Neurons cost the classes what their place says: of the first class 5 images each, of the second 0 to 4."""
    each = torch.arange(modules.shape[1])
    return INTACT - (modules.long() @ torch.stack([0 * each + 5, each % 5], dim=1)).clamp(max=INTACT)


def costs(hits):
    changes, unit = class_mean_changes(INTACT, hits, IMAGES)
    return (-changes / unit).astype(float)


@pytest.fixture
def measured(monkeypatch):
    """measured(widths, parts of the second layer, alive) -> the parts, and all sets that were silenced."""
    silenced = []

    def against_controls(networks, modules, controls, *where):
        silenced.append(torch.cat(modules))
        return [(INTACT, hits_without(own), []) for own in modules]

    monkeypatch.setattr(modularity.damage, "against_controls", against_controls)

    def run(widths, members, alive, seed=0):
        silenced.clear()
        network = Network(initial_model((784, *widths, 2), 0), Images("mnist", (0, 1)))
        parts = []
        for own in members:
            module = torch.zeros(sum(widths), dtype=torch.bool)
            module[torch.tensor(own)] = True
            hits = torch.cat([INTACT.unsqueeze(0), hits_without(module.unsqueeze(0))])
            parts.append({"row": {"layer": 2}, "module": module, "hits": hits})
        measure_matched([(network, parts, alive, torch.Generator().manual_seed(seed))], None, None, 1)
        return parts, torch.cat(silenced)

    return run


def test_parts_are_matched_by_what_they_cost(measured):
    """Of all sets that were silenced, the nearest ones; living neurons of the layer only, and each set once."""
    widths, alive = (20, 100, 10), torch.arange(130) % 7 > 0
    members = [[21, 22], list(range(30, 50)), list(range(50, 115))]
    parts, sets = measured(widths, members, alive)
    assert PILOT < len(sets) <= PILOT + LIBRARY
    assert not sets[:, ~alive].any()
    assert not sets[:, :20].any() and not sets[:, 120:].any()
    sets = sets.unique(dim=0)
    for part in parts:
        own = costs(part["hits"][1:]).item()
        every = costs(hits_without(sets[(sets != part["module"]).any(1)]))
        found = costs(part["matched"])
        assert len(found) == FEWEST_CONTROLS
        assert (abs(found - own) <= TOLERANCE * own).all()
        assert sorted(abs(found - own)) == pytest.approx(sorted(abs(every - own))[:FEWEST_CONTROLS])


def test_a_part_is_not_its_own_control(measured):
    """Of three neurons there are seven sets: six others, of which those of equal size cost as much."""
    (part,), sets = measured((4, 3), [[4, 5]], torch.ones(7, dtype=torch.bool))
    assert (sets == part["module"]).all(1).any(), "it is drawn"
    found = part["matched"].tolist()
    assert len(found) == len(set(map(tuple, found))) < 6
    assert part["hits"][1].tolist() not in found


def test_a_seed_decides_the_sets(measured):
    arguments = (20, 60), [list(range(30, 50))], torch.ones(80, dtype=torch.bool)
    runs = [measured(*arguments, seed=seed)[1] for seed in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@given(st.integers(1, 10**30), st.lists(st.integers(-(10**30), 10**30), max_size=60))
def test_what_costs_as_much(cost, costs):
    """Exact, of numbers of any size."""
    costs = numpy.array(costs, dtype=object)
    places = as_costly(cost, costs)
    assert len(set(places.tolist())) == len(places) <= FEWEST_CONTROLS
    chosen = [abs(costs[place] - cost) for place in places]
    assert all(apart <= TOLERANCE * cost for apart in chosen)
    near = sorted(apart for apart in abs(costs - cost) if apart <= TOLERANCE * cost) if len(costs) else []
    assert sorted(chosen) == near[:FEWEST_CONTROLS]


def test_sizes_rise_with_what_they_should_cost():
    """Where n neurons cost n^2, costs from 4 to 400 need from 2 to 20 neurons, by even factors."""
    sizes = numpy.arange(50, 0, -1)
    wanted = sizes_that_cost(4, 400, sizes, sizes**2.0)
    assert len(wanted) == LIBRARY
    assert wanted[[0, -1]] == pytest.approx([2, 20])
    assert wanted == pytest.approx(numpy.geomspace(2, 20, LIBRARY), rel=0.03)


@given(
    st.lists(st.tuples(st.integers(1, 256), st.floats(-1, 1)), min_size=2, max_size=60),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
)
def test_sizes_lie_among_those_that_were_tried(pilots, one, other):
    sizes, its_costs = map(numpy.array, zip(*pilots))
    assume(len(set(sizes.tolist())) > 1)
    wanted = sizes_that_cost(min(one, other), max(one, other), sizes, its_costs)
    assert sizes.min() <= wanted.min() and wanted.max() <= sizes.max()
    assert (numpy.diff(wanted) >= -1e-9).all()
