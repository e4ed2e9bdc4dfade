"""Random neurons that cost as much: of simulated networks, in which it is known what each neuron does."""

from types import SimpleNamespace

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import modularity.damage
from modularity.damage import DRAWS, TOLERANCE, as_costly, measure_matched
from modularity.effects import class_mean_changes, class_range, exact_drops
from modularity.rows import mean_interval
from modularity.significance import FEWEST_CONTROLS

IMAGES = [1000] * 10
INTACT = torch.tensor(IMAGES)


def hits_without(serves, modules, threshold=False):
    """serves: [neurons, classes], images that are lost without each neuron; with a threshold, few before half are."""
    left = 1000 - modules.double() @ serves
    return (
        (1000 * (12 * (left / 1000 - 0.5)).sigmoid() / torch.tensor(6.0).sigmoid() if threshold else left)
        .clamp(min=0)
        .long()
    )


def costs(hits):
    changes, unit = class_mean_changes(INTACT, hits, IMAGES)
    return (-changes / unit).astype(float)


@pytest.fixture
def measured(monkeypatch):
    """measured(serves, places of the members of a part in the last of two layers) -> the part, and all lesions."""
    silenced = []

    def run(serves, members, first=0, alive=None, seed=0, threshold=False):
        silenced.clear()

        def against_controls(networks, modules, controls, *where):
            silenced.extend(modules)
            return [(INTACT, hits_without(serves, own, threshold), []) for own in modules]

        monkeypatch.setattr(modularity.damage, "against_controls", against_controls)
        data = SimpleNamespace(test_images_per_class=lambda data_dir: IMAGES)
        model = SimpleNamespace(hidden_sizes=(first, len(serves) - first))
        module = torch.zeros(len(serves), dtype=torch.bool)
        module[members] = True
        hits = torch.cat([INTACT.unsqueeze(0), hits_without(serves, module.unsqueeze(0), threshold)])
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


def test_parts_are_matched_in_cost(measured):
    serves, alive = random_network(0), torch.arange(100) % 7 > 0
    members = torch.arange(30, 60)[alive[30:60]]
    part, sets = measured(serves, members, first=20, alive=alive)
    living = int(alive[20:].sum())
    assert not sets[:, ~alive].any() and not sets[:, :20].any()
    assert sets.sum(1).bincount().tolist() == [0] + [DRAWS] * (living - 1)
    own, found = costs(part["hits"][1:]).item(), costs(part["matched"])
    assert len(found) == len(part["matched_neurons"]) == FEWEST_CONTROLS
    assert (abs(found - own) <= TOLERANCE * own).all()
    hits = hits_without(serves, sets)
    nearest = sorted(abs(costs(hits) - own))[:FEWEST_CONTROLS]
    assert sorted(abs(found - own)) == pytest.approx(nearest)
    silenced = set(zip(map(tuple, hits.tolist()), sets.sum(1).tolist()))
    assert set(zip(map(tuple, part["matched"].tolist()), part["matched_neurons"].tolist())) <= silenced


def test_a_part_is_not_its_own_control(measured):
    """Of four neurons there are six pairs: five others."""
    part, sets = measured(100.0 * torch.eye(10)[:4].double(), [2, 3])
    assert (sets == part["module"]).all(1).any(), "it is drawn"
    assert part["hits"][1].tolist() not in part["matched"].tolist()
    assert len(part["matched"]) == (sets.sum(1) == 2).sum() - (sets == part["module"]).all(1).sum()


def test_what_no_others_cost_is_not_matched(measured):
    """Without the last neuron of two that stand in for each other nearly all is lost; without others hardly any."""
    serves = torch.full((50, 10), 0.01).double()
    serves[:2] = 300
    part, _ = measured(serves, [0, 1], alive=torch.arange(50) != 1)
    assert len(part["matched"]) == len(part["matched_neurons"]) == 0


def test_a_seed_decides_the_sets(measured):
    runs = [measured(random_network(0), list(range(12)), seed=seed)[1] for seed in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


UNEVENNESS = {
    "random": ((0.85, 1.12), (0.82, 1.12)),
    "strongest": ((0.7, 0.95), (1.2, 1.5)),
    "specialists": ((2.2, 2.8), (2.4, 3)),
    "generalists": ((0.25, 0.45), (0.25, 0.45)),
    "random, threshold": ((0.75, 1.12), (0.8, 1.12)),
    "strongest, threshold": ((1.3, 1.9), (1.1, 1.5)),
    "specialists, threshold": ((2.1, 2.9), (1.7, 2.2)),
}
"""How many times as unequally classes suffer as without random neurons, as many and as costly: within which limits."""


@pytest.mark.parametrize("kind", UNEVENNESS)
def test_what_as_many_and_as_costly_neurons_say(measured, kind):
    """Random neurons are like others by both; specialists, that serve three classes, are less even, generalists more.

    Neurons that merely matter most lie between, but where little is lost before a threshold, they look special by both.
    """
    who, *threshold = kind.split(", ")
    by_number, by_cost = [], []
    for seed in range(40):
        serves = random_network(seed) * (2 if threshold else 1)
        members = serves.sum(1).argsort(descending=True)[:12] if who == "strongest" else list(range(12))
        if who == "specialists":
            serves[:12] *= torch.tensor([4.0] * 3 + [0.2] * 7)
        if who == "generalists":
            serves[:12] = (serves[:12] + 2 * serves[:12].mean(1, keepdim=True)) / 3
        part, sets = measured(serves, members, seed=seed, threshold=bool(threshold))
        same_number = hits_without(serves, sets[sets.sum(1) == 12], bool(threshold))
        for found, others in ((by_number, same_number), (by_cost, part["matched"])):
            own, *others = class_range(exact_drops(INTACT, torch.cat([part["hits"][1:], others]), IMAGES)[0])
            found.append(numpy.log(own / numpy.mean(others)))
    for found, (least, most) in zip((by_number, by_cost), UNEVENNESS[kind]):
        low, _, high = numpy.exp(mean_interval(found))
        assert least < low < high < most


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
