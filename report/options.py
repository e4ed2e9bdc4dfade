"""The command line: what the scripts' options mean, and how bad input is refused."""

import argparse
import json
import math
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import torch
from joblib import cpu_count

from mlp import InputError
from mlp.checkpoint import load_networks
from mlp.data import DATA_SETS, DataSet
from mlp.network import ALL, BASELINE, CONTROL, DEFAULT_CLASSES, DEFAULT_DATA_SET, load_records
from mlp.network import refuse_twins
from mlp.strengths import KERNEL_NORMS
from modularity.cluster import Cluster
from modularity.unfinished import begin, until_success
from modularity.versions import REPOSITORY
from report.interruption import end_interrupted, ignore_signals
from report.terminal import print_what_can_be_shown

SPELLED_CLASSES = ",".join(map(str, DEFAULT_CLASSES))
UNFINISHED = REPOSITORY / "unfinished"
"""Where results of finished tasks are kept until their run has succeeded."""
LARGEST_SEED = 2**32 - 1
"""The largest that scikit-learn takes."""
MOST_DRAWS = 10_000
"""Random modules, shuffles or restarts that an option can ask for; more would outgrow time and memory."""
MOST_JOBS = 1024
SMALLEST_DEVIATION = 1e-6
"""Of pixels, which have 256 values from 0 to 1."""
WAIT = 60
"""Seconds for a worker to come, where none is."""
SINGLE_CLASS = "is a single class; name two or more, as in 3,5,7"
ADDRESS = r"(tcp|tls)://\S+:[0-9]+"
"""Of a scheduler."""


class Help(argparse.HelpFormatter):
    """Help that names each default, once."""

    def _get_help_string(self, action):
        said = "(default" in action.help or any(action.default is none for none in (None, False, argparse.SUPPRESS))
        return action.help if said else f"{action.help} (default: %(default)s)"


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses bad input in one sentence, and remembers the words it was given."""

    def __init__(self, description):
        super().__init__(description=description, formatter_class=Help)

    def parse_args(self, argv=None):
        argv = sys.argv[1:] if argv is None else argv
        words = []
        for word in argv:
            # argparse would take the value in "--hidden-layers -8,8" for an option and complain that there is none
            if re.match(r"-[\d.]", word) and words and words[-1].startswith("--"):
                words[-1] += f"={word}"
            else:
                words.append(word)
        args = super().parse_args(words, argparse.Namespace(argv=argv))
        if "jobs" in args:
            self._finish_work(args)
        return args

    def _finish_work(self, args):
        """Who does the work: args.jobs becomes a number, or a Cluster."""
        if args.scheduler:
            if args.jobs:
                self.error("argument --scheduler: its workers are the jobs; leave --jobs out")
            if args.device and args.device.type == "cuda":
                self.error("argument --scheduler: its workers compute on processors; leave --device out, or name cpu")
            wait = WAIT if args.wait is None else args.wait
            args.jobs, args.device = Cluster(args.scheduler, wait), torch.device("cpu")
        elif args.wait is not None:
            self.error("argument --wait: is for workers of a --scheduler; name one, or leave --wait out")
        args.device = args.device or device("auto")
        if args.device.type == "cuda":
            args.jobs = 1  # one task holds the device
        args.jobs = args.jobs or cpu_count()
        begin(args.fresh)

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")

    def option(self, flag, what, kind=str, default=None, **others):
        """An option, what it means, the type of its value, and its default."""
        self.add_argument(flag, help=what, type=kind, default=default, **others)

    # The options that scripts share.

    def add_networks(self, many=False, graph=True):
        """What to analyse: a checkpoint or, into args.checkpoints, `many`; which network of it; of which classes."""
        name, count = ("checkpoints", "*") if many else ("checkpoint", "?")
        what = "a file saved by train.py, or a plain state dict of an MLP"
        what += " (default: the one that train.py saves for --dataset and --classes)"
        self.add_argument(name, type=Path, nargs=count, metavar="CHECKPOINT", help=what)
        what = "of a checkpoint with many networks, take only number K, from 0 (default: all)"
        self.option("--network", what, integer(0), metavar="K")
        what = "what the outputs of the network stand for, in order (default: what the checkpoint says)"
        self.add_classes(what, kind=listed_classes)  # `selected_networks` refuses a single one
        what = f"the images that it was trained on, of {', '.join(DATA_SETS)} (default: what the checkpoint says, or "
        self.option("--dataset", f"{what}mnist where --classes names digits)", chosen(DATA_SETS), metavar="NAME")
        self.add_normalisation("the network was trained on (default: what the checkpoint says, or pixels from 0 to 1)")
        if graph:
            what = (
                "what joins two units by many weights, as channels are: the sum of |w|, or the largest sum of a column"
            )
            self.option("--kernel-norm", what, chosen(KERNEL_NORMS), "sum")

    def add_classes(self, what, default=None, kind=None):
        """Which classes of a data set; those of MNIST are digits.  kind: the type of the value (default: `classes`)."""
        what += "; of digits, --digits says the same"
        self.add_argument("--classes", "--digits", help=what, type=kind or classes, default=default)

    def add_normalisation(self, which):
        """How the images that a network reads are normalised; `which` images."""
        what = f"(pixel - MEAN) / SD, of pixels from 0 to 1, is what {which}; a pair for all channels or for each"
        self.option("--normalise", what, normalisation, (), metavar="MEAN/SD[,MEAN/SD...]")

    def add_candidates(self):
        """What makes a neuron a candidate."""
        what = "a candidate's in-degree reaches at least this quantile of its layer"
        self.option("--in-degree-quantile", what, share, 0.5)
        what = "a candidate's betweenness is at most this quantile of its layer"
        self.option("--betweenness-quantile", what, share, 0.5)
        what = "keep only so many candidates, those that rank highest by in-degree in their layers (default: all)"
        self.option("--max-candidates", what, integer(1))

    def add_rescaling(self):
        """Whether the graph is that of the network as it is."""
        what = "analyse the canonical form of each network, whose neurons read as much as they pass on; its outputs are"
        self.add_argument("--rescale", action="store_true", help=f"{what} the same")

    def add_work(self, decides):
        """How the work is done: --seed, which `decides` much, and --device and --jobs, which decide nothing."""
        self.option("--seed", f"decides {decides}", integer(0, LARGEST_SEED), 0)
        what = "processes that work at the same time, at most one per core; changes no number (default: all cores)"
        self.option("--jobs", what, integer(1, MOST_JOBS))
        self.option("--device", "cpu, cuda, or auto: cuda where there is one (default: auto)", device)
        what = "let the workers of this Dask scheduler do the work, and not this machine: its address, as in "
        what += "tcp://HOST:PORT, or the file that it has written, as in scheduler.json (default: none)"
        self.option("--scheduler", what, scheduler, metavar="ADDRESS")
        what = "seconds to wait, with --scheduler, for a worker that can do the work when there is none"
        self.option("--wait", f"{what} (default: {WAIT})", non_negative)
        what = "do all tasks again, also those that a run before this one has done, which was interrupted"
        self.add_argument("--fresh", action="store_true", help=what)

    def add_folders(self, data=True):
        """Where results go, and where the images of the `data` sets are."""
        self.option("--figures-dir", "folder for figures and numbers", Path, REPOSITORY / "figures")
        if data:
            what = "folder that holds MNIST/raw/, FashionMNIST/raw/ ...; what is missing there is downloaded"
            self.option("--data-dir", what, Path, REPOSITORY / "data")


def run(main, argv=None):
    """Call a script's main; bad input becomes one sentence on stderr and exit status 2."""
    script = Path(sys.argv[0]).name
    print_what_can_be_shown()
    torch.set_num_threads(1)  # what can use more cores is divided into tasks
    torch.backends.cudnn.allow_tf32 = False  # a GPU rounds as a processor does
    torch.backends.cudnn.deterministic = True
    unfinished = None
    try:
        with until_success(UNFINISHED) as unfinished:
            main(argv)
        sys.stdout.flush()
    except InputError as error:
        print(f"{script}: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of stdout has seen enough, as head does; all files are written by then
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt as error:
        sys.exit(end_interrupted(error, unfinished.how_to_go_on() if unfinished else ""))
    finally:
        ignore_signals()  # all is done or said; one that comes now would make a traceback of Python's last steps


# The types of the options' values: each takes the text of the option and says what is wrong with it.


def integer(low, high=None):
    """A type for whole numbers from low to high."""

    def parse(text):
        if not re.fullmatch("-?[0-9]{1,18}", text) or int(text) < low or (high is not None and int(text) > high):
            wanted = f"of at least {low}" if high is None else f"from {low} to {high}"
            raise argparse.ArgumentTypeError(f"'{text}' is no whole number {wanted}")
        return int(text)

    return parse


def real(accepts, wanted):
    """A type for the finite numbers that a condition accepts; `wanted` says which."""

    def parse(text):
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or not accepts(number):
            raise argparse.ArgumentTypeError(f"'{text}' is no number {wanted}")
        return number

    return parse


positive = real(lambda value: value > 0, "above 0")
non_negative = real(lambda value: value >= 0, "of at least 0")
share = real(lambda value: 0 <= value <= 1, "from 0 to 1")
proper_share = real(lambda value: 0 <= value < 1, "from 0 to below 1")


def several(value):
    """A type for one value, or for many with commas between them; each is of the type `value`."""

    def parse(text):
        values = tuple(map(value, text.split(",")))
        if len(set(values)) < len(values):
            raise argparse.ArgumentTypeError(f"'{text}' repeats a value; name each once")
        return values

    return parse


def chosen(names):
    """A type for one of some names."""

    def parse(text):
        if text not in names:
            raise argparse.ArgumentTypeError(f"'{text}' is none of {', '.join(names)}")
        return text

    return parse


def pair(text, types, wanted):
    """The two values of an option, each of its type, with a comma between them."""
    parts = text.split(",")
    if len(parts) != 2:
        raise argparse.ArgumentTypeError(f"'{text}' is not {wanted}")
    try:
        return tuple(parse(part) for parse, part in zip(types, parts))
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"'{text}': {error}; name {wanted}") from None


def decay(text):
    """'0.25,3' -> (0.25, 3)"""
    factor = real(lambda factor: 0 < factor < 1, "between 0 and 1")
    return pair(text, (factor, integer(0)), "a factor and a number of epochs, as in 0.25,3")


def sparsities(text):
    """'0.5,0.9' -> (0.5, 0.9)"""
    initial, final = pair(text, (proper_share, proper_share), "an initial and a final share of zeros, as in 0.5,0.9")
    if initial > final:
        raise argparse.ArgumentTypeError(f"'{text}' begins above its end; name the smaller share first, as in 0.5,0.9")
    return initial, final


def classes(text):
    """'3,5,7' -> (3, 5, 7), '0-2,9' -> (0, 1, 2, 9)"""
    found = listed_classes(text)
    if len(found) < 2:
        raise argparse.ArgumentTypeError(f"'{text}' {SINGLE_CLASS}")
    return found


def listed_classes(text):
    """As `classes`, but there may be only one: '3' -> (3,)"""
    found = []
    for part in text.split(","):
        if not re.fullmatch("[0-9](-[0-9])?", part):
            raise argparse.ArgumentTypeError(
                f"'{part}' in '{text}' is no class; choose from 0 to 9, as in 3,5,7 or 0-9"
            )
        span = range(int(part[0]), int(part[-1]) + 1)
        if not span:
            raise argparse.ArgumentTypeError(f"'{part}' in '{text}' runs backwards; name the smaller class first")
        found += span
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"'{text}' repeats a class; name each once, as in 3,5,7")
    return tuple(found)


def normalisation(text):
    """'0.1307/0.3081' -> ((0.1307, 0.3081),), and more pairs with commas between them."""
    pairs = []
    for part in text.split(","):
        try:
            mean, sd = map(real(lambda value: True, "at all"), part.split("/"))
        except (ValueError, argparse.ArgumentTypeError):
            wanted = "a mean and a standard deviation, as in 0.1307/0.3081"
            raise argparse.ArgumentTypeError(f"'{part}' in '{text}' is not {wanted}") from None
        if abs(sd) < SMALLEST_DEVIATION:
            raise argparse.ArgumentTypeError(f"'{part}' in '{text}' divides by next to 0; give the deviation of pixels")
        pairs.append((mean, sd))
    return tuple(pairs)


def widths(text):
    """'128,64' -> (128, 64)"""
    try:
        return tuple(integer(1)(width) for width in text.split(","))
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"'{text}': {error}; give the width of each layer, as in 128,64") from None


def scheduler(text):
    """'tcp://10.0.0.1:8786', or a file that says so -> the address"""
    if re.fullmatch(ADDRESS, text):
        return text
    try:
        address = json.loads(Path(text).read_text(encoding="utf-8"))["address"]
        if not re.fullmatch(ADDRESS, address):
            raise ValueError
    except OSError:
        wanted = "the address of a Dask scheduler, as in tcp://HOST:PORT, or the file that it has written"
        raise argparse.ArgumentTypeError(f"'{text}' is no file; give {wanted}") from None
    except (ValueError, KeyError, TypeError):
        wanted = "the one that the Dask scheduler writes with --scheduler-file"
        raise argparse.ArgumentTypeError(f"'{text}' names no address; give {wanted}") from None
    return address


def device(text):
    """'auto', 'cpu' or 'cuda' -> the torch device"""
    if text not in ("auto", "cpu", "cuda"):
        raise argparse.ArgumentTypeError(f"'{text}' is no device; choose auto, cpu or cuda")
    if text == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError("'cuda' is not available on this machine; choose auto or cpu")
    return torch.device("cuda" if text != "cpu" and torch.cuda.is_available() else "cpu")


# The networks that the command line names.


def checkpoint_name(data, stage="", kind="mlp"):
    """The file that train.py saves for a DataSet: mlp_mnist357.pt."""
    return f"{kind}_{data.name}{''.join(map(str, data.classes))}{stage}.pt"


def as_text(path):
    """A path or a part of one as text that can be written anywhere, which Python's own is not in an ASCII locale."""
    return os.fsencode(path).decode("utf-8", errors="replace")


def selected_networks(path, args):
    """The networks of a checkpoint that the command line selects, and what the checkpoint says about them all.

    path: the checkpoint, or None for the one that train.py saves for --dataset and --classes.
    Returns ([Network], about).  Raises InputError if they cannot be loaded, if there is no such --network, or if the
    data set or the classes are in doubt.
    """
    if args.classes and len(args.classes) == 1:
        if path:
            load_networks(path)  # a network of one output has a sentence of its own
        raise InputError(f"argument --classes/--digits: '{args.classes[0]}' {SINGLE_CLASS}")
    default = checkpoint_name(DataSet(args.dataset or DEFAULT_DATA_SET, args.classes or DEFAULT_CLASSES))
    path, name = path or REPOSITORY / "mlp" / default, as_text(path.stem) if path else "trained"
    networks, about = load_records(path, args.classes, args.dataset, name, args.normalise)
    networks = [replace(network, norm=getattr(args, "kernel_norm", "sum")) for network in networks]
    if args.network is not None:
        if args.network >= len(networks):
            there = f"{path} holds {len(networks)}; choose from 0 to {len(networks) - 1}"
            raise InputError(f"--network {args.network}: {there}")
        networks = [networks[args.network]]
    return networks, about


def selected_conditions(args):
    """The networks of all checkpoints that the command line names, and a list of the checkpoints' `about`.

    Conditions of the same name in different checkpoints are told apart.  Raises InputError as `selected_networks`, or
    if a network is there twice.
    """
    networks, abouts = [], []
    for path in args.checkpoints or [None]:
        found, about = selected_networks(path, args)
        taken = {BASELINE, ALL, CONTROL, *(network.condition for network in networks)}
        for network in found:
            clash = network.condition in taken
            networks.append(replace(network, condition=f"{network.condition} ({as_text(path)})") if clash else network)
        abouts.append(about)
    refuse_twins(networks)
    return networks, abouts
