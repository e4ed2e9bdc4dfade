"""The record of a network: the model, and what is known about where it comes from."""

import hashlib
from dataclasses import dataclass, field, replace
from itertools import product
from math import inf, prod

import torch

from mlp import InputError
from mlp.checkpoint import load_networks
from mlp.data import DATA_SETS, DataSet, are_normalisation, spelled_normalisation
from mlp.model import INITS, Model, initial_model
from mlp.rescaling import rescaled
from mlp.strengths import connected_units, strengths_of

BASELINE, ALL, CONTROL = "random initialisation", "all trained", "control"
"""The conditions of networks that were never trained, of all others together, and of tests of which it is known that
nothing is to be found: no checkpoint can take these names."""
DEFAULT_DATA_SET, DEFAULT_CLASSES = "mnist", (3, 5, 7)
"""What train.py trains on unless told otherwise."""
MOST_CLASSES = 10
"""Classes of a data set."""
NO_IMAGES = (
    "network_analysis.py, are_modules_clusterable.py without --lesions, and are_modules_recovered.py --definitions "
    "weights need no images"
)
"""What can be asked of a network without images."""


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
        """How strongly each two units of neighbouring layers are joined, by `strengths_of`: [out, in] per layer."""
        return strengths_of(self.weights, self.norm)

    @property
    def living(self):
        """Which hidden units have an edge: a boolean vector [hidden units]; the others are dead."""
        return torch.cat(connected_units(self.strengths)[1:-1])

    @property
    def image_shape(self):
        """Channels, height and width of what it reads, or (inputs,) where that is not known."""
        reads = self.model.architecture.input_shape
        return self.data.shape if self.data.name and prod(self.data.shape) == prod(reads) else reads

    def load(self, train, data_dir, device="cpu"):
        """The images and labels of its DataSet.  Raises InputError as that, or if it cannot read such images."""
        self.refuse_unknown_images()
        self.refuse_other_images()
        return self.data.load(train, data_dir, device)

    def refuse_unknown_images(self):
        """Raise InputError if it is not known which images it reads, with what can be done about it."""
        if self.data.name is not None:
            return
        reads, outputs = self.model.architecture.input_shape, len(self.data.classes)
        if not self._reads_a_data_set():
            shape = " x ".join(map(str, reads))
            raise InputError(f"{self.name}: reads images of {shape}, which no --dataset has; {NO_IMAGES}")
        if outputs > MOST_CLASSES:
            raise InputError(f"{self.name}: has {outputs} outputs, and no --dataset so many classes; {NO_IMAGES}")
        remedy = "name them with --dataset, as in --dataset mnist"
        remedy += f", and unless it says what its {outputs} outputs stand for, their classes in order with --classes"
        raise InputError(f"{self.name}: does not say on which images it was trained; {remedy}")

    def refuse_other_images(self):
        """Raise InputError if it reads images of another size than those of its DataSet."""
        if self.data.name and not self._reads(self.data):
            shapes = self.model.architecture.input_shape, self.data.shape
            its, theirs = (" x ".join(map(str, shape)) for shape in shapes)
            wrong = f"reads images of {its} and those of {self.data.name} are {theirs}"
            remedy = "name its own --dataset, or save it without one"
            if not self._reads_a_data_set():
                remedy = f"leave the data set out, because none here has such images; {NO_IMAGES}"
            raise InputError(f"{self.name}: {wrong}; {remedy}")

    def _reads(self, data):
        """Whether the images of a DataSet have the size that it reads."""
        reads, given = self.model.architecture.input_shape, data.shape
        return reads == given if self.model.architecture.convolutions else prod(reads) == prod(given)

    def _reads_a_data_set(self):
        """Whether the images of any data set have the size that it reads."""
        return any(self._reads(DataSet(name, ())) for name in DATA_SETS)

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


def load_records(path, classes=None, dataset=None, name="trained", normalisation=()):
    """The networks of a checkpoint, and what it says about them all.

    classes, dataset, normalisation: what the outputs stand for, of which images, and how a DataSet normalises them, if
    the checkpoint does not say.  A file that says nothing is of MNIST if classes are given for a network that reads
    images as large; without classes and a data set its outputs stand for nothing that is known.
    name: the condition of networks whose own it does not say.  Returns ([Network], about).
    Raises InputError as `load_networks`, or if what is said cannot be, or contradicts what is given.
    """
    models, about = load_networks(path)
    data = _data(path, about, models[0], classes, dataset, normalisation)
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


def _data(path, about, model, classes, dataset, normalisation):
    """The DataSet of a checkpoint: what it says itself, or else what is given, as for `load_records`."""
    reads_digits = prod(model.architecture.input_shape) == prod(DataSet(DEFAULT_DATA_SET, ()).shape)
    says_classes = "classes" in about or "digits" in about
    # checkpoints that name classes alone are older than other data sets; what an owner left open is not guessed
    if dataset is None and "dataset" not in about and (says_classes or classes and reads_digits):
        dataset = DEFAULT_DATA_SET
    name = _data_set(path, about, dataset)
    given = _normalisation(path, about, normalisation)
    data = DataSet(name, _classes(path, about, name, classes, model.sizes[-1]), given)
    data.refuse_misfit()
    return data


def _data_set(path, about, chosen):
    """The name of the data set: what the checkpoint says, or else what was chosen, or None."""
    name = about.get("dataset")
    if name is None:  # what its owner left open
        return chosen
    if name not in DATA_SETS:
        known = ", ".join(DATA_SETS)
        remedy = "save it with one of these, or with none"
        unknown = f"was trained on the data set {name!r}, which is unknown here; known: {known}"
        raise InputError(f"{path}: {unknown}; {remedy}")
    if chosen not in (None, name):
        remedy = "leave --dataset out, or name another checkpoint"
        raise InputError(f"--dataset {chosen}: {path} was trained on {name}; {remedy}")
    return name


def _normalisation(path, about, chosen):
    """How its images are normalised: what the checkpoint says, or else what was chosen."""
    is_of_training = "networks" in about  # which says how images were normalised, if they were
    if "normalisation" not in about and not is_of_training:
        return chosen
    said = about.get("normalisation", [])
    if not are_normalisation(said):
        raise InputError(f"{path}: what it says about its images is damaged; save it again")
    said = tuple(map(tuple, said))
    if chosen not in ((), said):
        remedy = "leave --normalise out, or name another checkpoint"
        own = f"normalised by {spelled_normalisation(said)}" if said else "not normalised"
        raise InputError(f"--normalise {spelled_normalisation(chosen)}: images of {path} were {own}; {remedy}")
    return said


def _classes(path, about, dataset, chosen, outputs):
    """What the outputs stand for: what the checkpoint says, or else what was chosen."""
    if "classes" in about or "digits" in about:  # as checkpoints called them once
        said = about["classes"] if "classes" in about else about["digits"]
        if not are_classes(said, dataset):
            classes = "the classes it was trained on are damaged"
            if dataset:
                classes += f", or none of {dataset}"
            raise InputError(f"{path}: {classes}; train it again, or leave --dataset out")
        if chosen not in (None, tuple(said)):
            remedy = "leave --classes out, or name another checkpoint"
            raise InputError(f"--classes {_spelled(chosen)}: {path} was trained on {_spelled(said)}; {remedy}")
        chosen = tuple(said)
    elif chosen is None and dataset is None:
        return tuple(range(outputs))
    elif chosen is None:
        chosen = tuple(range(MOST_CLASSES))  # all, in the order of the data set
        if len(chosen) != outputs:
            remedy = "name their classes in order with --classes"
            if outputs > MOST_CLASSES:
                remedy = f"leave --dataset out, because data sets here have {MOST_CLASSES} classes"
            raise InputError(f"{path}: does not say what its {outputs} outputs stand for; {remedy}")
    if len(chosen) != outputs:
        remedy = "name the class that each output stands for, in order"
        if outputs > MOST_CLASSES:
            remedy = f"leave --classes and --dataset out, because data sets here have {MOST_CLASSES} classes"
        raise InputError(f"--classes {_spelled(chosen)}: {path} has {outputs} outputs; {remedy}")
    return chosen


def are_classes(labels, dataset):
    """Whether these can be the classes of a data set, which have ten, or of images of which nothing is known (None)."""
    most = MOST_CLASSES if dataset else inf
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
            remedy = "name each network once, and keep it once in its file"
            raise InputError(f"{twin} and {network.name} are the same and would count twice; {remedy}")


def refuse_different(networks):
    """Raise InputError unless all networks can be compared with the same untrained ones, layer by layer."""
    traits = {
        "layers": lambda network: network.model.sizes,
        "images": lambda network: network.model.architecture.input_shape,
        "kernels or poolings": lambda network: network.model.architecture.layers,
        "classes": lambda network: network.data.classes,
        "data sets": lambda network: network.data.name,
        "normalisation of images": lambda network: network.data.normalisation,
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
