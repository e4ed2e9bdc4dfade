"""The record of a network: the model, and what is known about where it comes from."""

import hashlib
from dataclasses import dataclass, field, replace
from itertools import product
from math import inf, prod

import torch

from mlp import InputError
from mlp.checkpoint import load_networks
from mlp.data import DATA_SETS, DataSet
from mlp.model import INITS, Model, initial_model
from mlp.rescaling import rescaled

BASELINE, ALL, CONTROL = "random initialisation", "all trained", "control"
"""The conditions of networks that were never trained, of all others together, and of tests of which it is known that
nothing is to be found: no checkpoint can take these names."""
KERNEL_NORMS = {
    "sum": lambda kernel: kernel.abs().sum((2, 3), dtype=torch.double).to(kernel.dtype),
    "column": lambda kernel: kernel.abs().sum(2, dtype=torch.double).amax(2).to(kernel.dtype),
}
"""What a slice [height, width] of weights, from one map to one unit, is worth: the sum of |w|, as Filan et al. (2021)
say, or the largest sum of a column, the matrix norm that their code computes."""
DEFAULT_DATA_SET, DEFAULT_CLASSES = "mnist", (3, 5, 7)


@dataclass(frozen=True, eq=False)
class Network:
    """A network and what is known about it.

    condition: how it was trained, in words.  number: its place in its checkpoint, or among the untrained.
    seed: of its initial weights, None if unknown.  init: how these were drawn, as `initial_model` takes it.
    hyperparameters: whatever else the checkpoint says about it.  groups: that of each hidden neuron, where modules were
    planted, else None.  norm: of KERNEL_NORMS, that of the slice of a kernel that joins two units.
    """

    model: Model
    data: DataSet
    condition: str = "trained"
    number: int = 0
    seed: int | None = None
    init: str = "default"
    hyperparameters: dict = field(default_factory=dict)
    groups: list | None = None
    norm: str = "sum"

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
        """One [out, in] tensor per layer, or where maps are read [out, in, height, width], on the CPU."""
        return [weight.detach().cpu() for weight in self.model.weights]

    @property
    def strengths(self):
        """How strongly each two units of neighbouring layers are joined: one [out, in] tensor per layer.

        That is |w|, or of a slice [height, width] of a kernel its `norm`.
        """
        return [KERNEL_NORMS[self.norm](weight) if weight.ndim == 4 else weight.abs() for weight in self.weights]

    @property
    def image_shape(self):
        """Channels, height and width of what it reads, or (inputs,) where that is not known."""
        reads = self.model.architecture.input_shape
        return self.data.shape if self.data.name and prod(self.data.shape) == prod(reads) else reads

    def load(self, train, data_dir, device="cpu"):
        """The images and labels of its DataSet.  Raises InputError as that, or as `refuse_other_images`."""
        self.refuse_other_images()
        return self.data.load(train, data_dir, device)

    def refuse_other_images(self):
        """Raise InputError if it reads images of another size than those of its DataSet."""
        reads, given = self.model.architecture.input_shape, self.data.shape
        fits = reads == given if self.model.architecture.convolutions else prod(reads) == prod(given)
        if self.data.name and not fits:
            its, theirs = (" x ".join(map(str, shape)) for shape in (reads, given))
            wrong = f"reads images of {its} and those of {self.data.name} are {theirs}"
            raise InputError(f"{self.name}: {wrong}; name its own --dataset, or save it without one")

    def rescaled(self):
        """The same network in its canonical form."""
        return replace(self, model=rescaled(self.model))

    def untrained(self, number, seed):
        """A network like this one before any training, in which nothing is planted."""
        init = "glorot" if self.init == "clusterable" else self.init
        known = {
            "model": initial_model(self.model.architecture, seed, init),
            "number": number,
            "seed": seed,
            "init": init,
        }
        return replace(self, **known, condition=BASELINE, hyperparameters={}, groups=None)


def stacked_strengths(networks):
    """The strengths of networks of one shape: one [networks, out, in] tensor per layer."""
    return [torch.stack(layer) for layer in zip(*(network.strengths for network in networks))]


def load_records(path, classes=None, dataset=None, name="trained"):
    """The networks of a checkpoint, and what it says about them all.

    classes, dataset: what the outputs stand for, and of which images, if the checkpoint does not say.
    name: the condition of networks whose own it does not say.  Returns ([Network], about).
    Raises InputError as `load_networks`, or if what is said cannot be, or contradicts `classes` or `dataset`.
    """
    models, about = load_networks(path)
    name_of_data = _data_set(path, about, dataset)
    data = DataSet(name_of_data, _classes(path, about, name_of_data, classes, models[0].sizes[-1]))
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


def _data_set(path, about, chosen):
    """The name of the data set: what the checkpoint says, or else what was chosen; older ones are of MNIST."""
    name = about.get("dataset", chosen or DEFAULT_DATA_SET)
    if name is None:  # what its owner left open
        return chosen
    if name not in DATA_SETS:
        known = ", ".join(DATA_SETS)
        raise InputError(f"{path}: was trained on the data set {name!r}, which is unknown here; known: {known}")
    if chosen not in (None, name):
        remedy = "leave --dataset out, or name another checkpoint"
        raise InputError(f"--dataset {chosen}: {path} was trained on {name}; {remedy}")
    return name


def _classes(path, about, dataset, chosen, outputs):
    """What the outputs stand for: what the checkpoint says, or else what was chosen."""
    if "classes" in about or "digits" in about:  # as checkpoints called them once
        said = about["classes"] if "classes" in about else about["digits"]
        if not are_classes(said, dataset):
            classes = "the classes it was trained on are damaged" + f", or none of {dataset}" * bool(dataset)
            raise InputError(f"{path}: {classes}; train it again, or name another --dataset")
        if chosen not in (None, tuple(said)):
            remedy = "leave --classes out, or name another checkpoint"
            raise InputError(f"--classes {_spelled(chosen)}: {path} was trained on {_spelled(said)}; {remedy}")
        chosen = tuple(said)
    elif chosen is None:
        if dataset is None:
            return tuple(range(outputs))
        chosen = tuple(range(10)) if "dataset" in about else DEFAULT_CLASSES  # saved by an owner who left them open
        if len(chosen) != outputs:
            remedy = "name their classes in order with --classes"
            if outputs > 10:
                remedy = "save it by mlp.sequential.save_network, which can leave that open, and leave --dataset out"
            raise InputError(f"{path}: does not say what its {outputs} outputs stand for; {remedy}")
    if len(chosen) != outputs:
        remedy = "name the class that each output stands for, in order"
        raise InputError(f"--classes {_spelled(chosen)}: {path} has {outputs} outputs; {remedy}")
    return chosen


def are_classes(labels, dataset):
    """Whether these can be the classes of a data set, which have ten, or of images of which nothing is known (None)."""
    most = 10 if dataset else inf
    known = isinstance(labels, list) and all(type(label) is int and 0 <= label < most for label in labels)
    return known and len(set(labels)) >= max(2, len(labels))


def refuse_without_images(networks, data_dir, splits=(False,)):
    """Raise InputError, before any work, unless there are images that each network can read; splits: True: training."""
    for network, train in product(networks, splits):
        network.load(train, data_dir)


def refuse_twins(networks):
    """Raise InputError if two networks are the same, since they would count as two observations."""
    names = {}
    for network in networks if len(networks) > 1 else ():
        content = hashlib.sha256()
        for tensor in network.model.parameters():
            content.update(tensor.detach().cpu().numpy().tobytes())
        twin = names.setdefault(content.digest(), network.name)
        if twin != network.name:
            raise InputError(f"{twin} and {network.name} are the same and would count twice; name each network once")


def refuse_different(networks):
    """Raise InputError unless all networks can be compared with the same untrained ones, layer by layer."""
    traits = {
        "layers": lambda network: network.model.sizes,
        "images": lambda network: network.model.architecture.input_shape,
        "kernels or poolings": lambda network: network.model.architecture.layers,
        "classes": lambda network: network.data.classes,
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
