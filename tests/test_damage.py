"""Random neurons that cost as much: of simulated networks, in which it is known what each neuron does."""

from types import SimpleNamespace

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import modularity.damage
from modularity.damage import LIBRARY, PILOT, TOLERANCE, as_costly, drawn_by_cost, measure_matched, tilt_that_costs
from modularity.effects import class_mean_changes, class_range, exact_drops
from modularity.rows import mean_interval
from modularity.significance import FEWEST_CONTROLS

IMAGES = [1000] * 10
INTACT = torch.tensor(IMAGES)


def hits_without(serves, modules):
    """serves: [neurons, classes], images that are lost without each neuron."""
    return (1000 - modules.double() @ serves).clamp(min=0).long()


def costs(hits):
    changes, unit = class_mean_changes(INTACT, hits, IMAGES)
    return (-changes / unit).astype(float)


@pytest.fixture
def measured(monkeypatch):
    """measured(serves, places of the members of a part in the last of two layers) -> the part, and all lesions."""
    silenced = []

    def run(serves, members, first=0, alive=None, seed=0):
        silenced.clear()

        def against_controls(networks, modules, controls, *where):
            silenced.extend(modules)
            return [(INTACT, hits_without(serves, own), []) for own in modules]

        monkeypatch.setattr(modularity.damage, "against_controls", against_controls)
        data = SimpleNamespace(test_images_per_class=lambda data_dir: IMAGES)
        model = SimpleNamespace(hidden_sizes=(first, len(serves) - first))
        module = torch.zeros(len(serves), dtype=torch.bool)
        module[members] = True
        hits = torch.cat([INTACT.unsqueeze(0), hits_without(serves, module.unsqueeze(0))])
        part = {"row": {"layer": 2}, "module": module, "hits": hits}
        alive = torch.ones(len(serves), dtype=torch.bool) if alive is None else alive
        network = SimpleNamespace(model=model, data=data)
        measure_matched([(network, [part], alive, torch.Generator().manual_seed(seed))], None, None, 1)
        return part, torch.cat(silenced)

    return run


def random_network(seed):
    """100 neurons, some of which matter much more than others, each to classes of its own."""
    generator = torch.Generator().manual_seed(seed)
    strengths = torch.exp(0.8 * torch.randn(100, 1, generator=generator))
    return (8 * strengths * torch.rand(100, 10, generator=generator) ** 3).double()


def test_parts_are_matched_in_number_and_cost(measured):
    serves, alive = random_network(0), torch.arange(100) % 7 > 0
    members = torch.arange(30, 60)[alive[30:60]]
    part, sets = measured(serves, members, first=20, alive=alive)
    assert len(sets) == int(alive[20:].sum()) + PILOT + LIBRARY
    assert not sets[:, ~alive].any() and not sets[:, :20].any()
    assert set(sets.sum(1).tolist()) == {1, len(members)}
    own, found = costs(part["hits"][1:]).item(), costs(part["matched"])
    assert len(found) == FEWEST_CONTROLS
    assert (abs(found - own) <= TOLERANCE * own).all()
    nearest = sorted(abs(costs(hits_without(serves, sets[-LIBRARY:])) - own))[:FEWEST_CONTROLS]
    assert sorted(abs(found - own)) == pytest.approx(nearest)


def test_a_part_is_not_its_own_control(measured):
    """Of four neurons there are six pairs: five others."""
    part, sets = measured(100.0 * torch.eye(10)[:4].double(), [2, 3])
    assert (sets == part["module"]).all(1).any(), "it is drawn"
    assert len(part["matched"]) == FEWEST_CONTROLS
    assert part["hits"][1].tolist() not in part["matched"].tolist()


def test_what_no_others_cost_is_not_matched(measured):
    serves = torch.ones(50, 10).double()
    serves[:5] = 100
    part, _ = measured(serves, list(range(5)))
    assert len(part["matched"]) == 0


def test_a_seed_decides_the_sets(measured):
    runs = [measured(random_network(0), list(range(12)), seed=seed)[1] for seed in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("kind, low, high", [("strongest", 0.95, 1.05), ("random", 0.92, 1.12), ("specialists", 2, 4)])
def test_only_specialists_hit_classes_more_unequally_than_what_costs_as_much(measured, kind, low, high):
    """Neurons that matter most, or any, are no specialists; those that serve three classes are."""
    ratios = []
    for seed in range(30):
        serves = random_network(seed)
        members = list(range(12))
        if kind == "strongest":
            members = serves.sum(1).argsort(descending=True)[:12]
        if kind == "specialists":
            serves[:12] *= torch.tensor([4.0] * 3 + [0.2] * 7)
        part, _ = measured(serves, members, seed=seed)
        if len(part["matched"]) == FEWEST_CONTROLS:
            own, *others = class_range(exact_drops(INTACT, torch.cat([part["hits"][1:], part["matched"]]), IMAGES)[0])
            ratios.append(numpy.log(own / numpy.mean(others)))
    assert len(ratios) >= 20
    assert low < numpy.exp(mean_interval(ratios)[1]) < high


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


def test_a_tilt_prefers_what_costs_much_and_none_prefers_nothing():
    costs = numpy.arange(40)
    tilts = numpy.repeat([-20.0, 0.0, 20.0], 200)
    sets = drawn_by_cost(costs, 10, tilts, torch.Generator().manual_seed(0)).view(3, 200, 40)
    assert (sets.sum(2) == 10).all()
    cheap, any_, dear = (sets.double() @ torch.arange(40).double()).mean(1) / 10
    assert cheap < 7 and dear > 32
    assert any_ == pytest.approx(19.5, abs=1)
    assert sets[1].double().mean(0) == pytest.approx(torch.full((40,), 0.25), abs=0.12)


def test_the_tilt_for_a_cost_lies_between_those_of_its_neighbours():
    tilts, its_costs = numpy.array([-2.0, 0.0, 1.0, 4.0]), numpy.array([1, 3, 2, 9])
    assert tilt_that_costs(9, tilts, its_costs) == 4
    assert tilt_that_costs(100, tilts, its_costs) == 4
    assert tilt_that_costs(0, tilts, its_costs) == -2
    assert 1 < tilt_that_costs(5, tilts, its_costs) < 4
