"""The record of a network: the model, and what is known about where it comes from."""

import hashlib
from dataclasses import dataclass, field, replace
from itertools import product

from mlp import InputError
from mlp.checkpoint import load_networks
from mlp.data import COLLECTIONS, DataSet
from mlp.model import INITS, MLP, initial_model
from mlp.rescaling import rescaled

BASELINE, ALL, CONTROL = "random initialisation", "all trained", "control"
"""The conditions of networks that were never trained, of all others together, and of tests of which it is known that
nothing is to be found: no checkpoint can take these names."""
DEFAULT_CLASSES = (3, 5, 7)


@dataclass(frozen=True, eq=False)
class Network:
    """A network and what is known about it.

    condition: how it was trained, in words.  number: its place in its checkpoint, or among the untrained.
    seed: of its initial weights, None if unknown.  init: how these were drawn, as `initial_model` takes it.
    hyperparameters: whatever else the checkpoint says about it.  groups: that of each hidden neuron, where modules were
    planted, else None.
    """

    model: MLP
    data: DataSet
    condition: str = "trained"
    number: int = 0
    seed: int | None = None
    init: str = "default"
    hyperparameters: dict = field(default_factory=dict)
    groups: list | None = None

    @property
    def name(self):
        """'dropout 0.5, network 3'"""
        return f"{self.condition}, network {self.number}"

    @property
    def identity(self):
        """What tells it from the others, as the first columns of its rows."""
        return {"condition": self.condition, "network": self.number}

    @property
    def weights(self):
        """One [out, in] tensor per layer, on the CPU."""
        return [weight.detach().cpu() for weight in self.model.weights]

    @property
    def strengths(self):
        """How strongly each two units of neighbouring layers are joined: one [out, in] tensor of |w| per layer."""
        return [weight.abs() for weight in self.weights]

    def rescaled(self):
        """The same network in its canonical form."""
        return replace(self, model=rescaled(self.model))

    def untrained(self, number, seed):
        """A network like this one before any training, in which nothing is planted."""
        init = "glorot" if self.init == "clusterable" else self.init
        known = {"model": initial_model(self.model.sizes, seed, init), "number": number, "seed": seed, "init": init}
        return replace(self, **known, condition=BASELINE, hyperparameters={}, groups=None)


def load_records(path, classes=None, name="trained"):
    """The networks of a checkpoint, and what it says about them all.

    classes: what the outputs stand for, if the checkpoint does not say.  name: the condition of networks whose own it
    does not say.  Returns ([Network], about).
    Raises InputError as `load_networks`, or if what is said cannot be, or contradicts `classes`.
    """
    models, about = load_networks(path)
    data = DataSet(_collection(path, about), _classes(path, about, classes, models[0].sizes[-1]))
    said, init = about.get("networks", [{}] * len(models)), about.get("init", "default")
    described = isinstance(said, list) and len(said) >= len(models) and all(isinstance(one, dict) for one in said)
    seeds = [one["seed"] for one in said if one.get("seed") is not None] if described else []
    described = described and all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds)
    planted = [one["groups"] for one in said if one.get("groups") is not None] if described else []
    described = described and all(_are_groups(groups, models[0], init) for groups in planted)
    leaks = [one["leak"] for one in said if "leak" in one] if described else []
    described = described and all(type(leak) in (int, float) and 0 <= leak <= 1 for leak in leaks)
    if not described or init not in INITS:
        raise InputError(f"{path}: what it says about its networks is damaged; train them again")
    networks = []
    for number, (model, one) in enumerate(zip(models, said)):
        others = {key: value for key, value in one.items() if key not in ("condition", "seed", "groups")}
        condition = str(one.get("condition") or name)
        networks.append(Network(model, data, condition, number, one.get("seed"), init, others, one.get("groups")))
    return networks, about


def _are_groups(groups, model, init):
    """Whether these can be the groups of the hidden neurons: several, though drawn at random they may be any."""
    known = isinstance(groups, list) and len(groups) == sum(model.hidden_sizes)
    known = known and all(type(group) is int and 0 <= group < model.sizes[-1] for group in groups)
    return known and (max(groups) > 0 or init == "clusterable")


def _collection(path, about):
    """The name of the data set; checkpoints that do not say are older than the question, and MNIST's."""
    name = about.get("dataset", "mnist")
    if not isinstance(name, str) or name not in COLLECTIONS:
        known = ", ".join(COLLECTIONS)
        raise InputError(f"{path}: was trained on the data set {name!r}, which is unknown here; known: {known}")
    return name


def _classes(path, about, chosen, outputs):
    """What the outputs stand for: what the checkpoint says, or else what was chosen."""
    if "digits" in about:
        said = about["digits"]
        known = isinstance(said, list) and all(type(label) is int and 0 <= label < 10 for label in said)
        if not known or len(set(said)) < max(2, len(said)):
            raise InputError(f"{path}: the digits it was trained on are damaged; train it again")
        if chosen not in (None, tuple(said)):
            remedy = "leave --digits out, or name another checkpoint"
            raise InputError(f"--digits {_spelled(chosen)}: {path} was trained on {_spelled(said)}; {remedy}")
        chosen = tuple(said)
    chosen = chosen or DEFAULT_CLASSES
    if len(chosen) != outputs:
        remedy = "name the digit that each output stands for, in order"
        raise InputError(f"--digits {_spelled(chosen)}: {path} has {outputs} outputs; {remedy}")
    return chosen


def refuse_twins(networks):
    """Raise InputError if two networks are the same, since they would count as two observations."""
    names = {}
    for network in networks:
        tensors = network.model.parameters()
        content = hashlib.sha256(b"".join(tensor.detach().cpu().numpy().tobytes() for tensor in tensors))
        twin = names.setdefault(content.digest(), network.name)
        if twin != network.name:
            raise InputError(f"{twin} and {network.name} are the same and would count twice; name each network once")


def refuse_different(networks):
    """Raise InputError unless all networks can be compared with the same untrained ones, layer by layer."""
    traits = {
        "layers": lambda network: network.model.sizes,
        "digits": lambda network: network.data.classes,
        "data sets": lambda network: network.data.name,
        "initial weights": lambda network: network.init,
    }
    first = networks[0]
    for network, (what, trait) in product(networks, traits.items()):
        if trait(network) != trait(first):
            names = f"{first.condition} and {network.condition}"
            values = f"{trait(first)} and {trait(network)}"
            raise InputError(f"{names} differ in their {what}, {values}; compare them in runs of their own")


def _spelled(classes):
    return ",".join(map(str, classes))
