"""The command line: what the scripts' options mean, and how bad input is refused."""

import argparse
import hashlib
import math
import os
import re
import sys
from pathlib import Path

import torch

from mlp import InputError
from mlp.interruption import say_interrupted
from mlp.model import load_networks
from mlp.results import network_name

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_DIGITS = "3,5,7"
BASELINE, ALL = "random initialisation", "all trained"
"""The conditions of networks that were never trained, and of all others together, which no checkpoint can take."""
LARGEST_SEED = 2**32 - 1
"""The largest that scikit-learn takes."""
MOST_DRAWS = 10_000
"""Random modules, shuffles or restarts that an option can ask for; more would outgrow time and memory."""
MOST_JOBS = 1024


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses bad input in one sentence, and remembers the words it was given."""

    def parse_args(self, argv=None):
        argv = sys.argv[1:] if argv is None else argv
        words = []
        for word in argv:
            # argparse would take the value in "--hidden-layers -8,8" for an option and complain that there is none
            if re.match(r"-[\d.]", word) and words and words[-1].startswith("--"):
                words[-1] += f"={word}"
            else:
                words.append(word)
        return super().parse_args(words, argparse.Namespace(argv=argv))

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def run(main, argv=None):
    """Call a script's main; bad input becomes one sentence on stderr and exit status 2."""
    script = Path(sys.argv[0]).name
    try:
        main(argv)
        sys.stdout.flush()
    except InputError as error:
        print(f"{script}: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of stdout has seen enough, as head does; all files are written by then
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        say_interrupted()
        sys.exit(130)


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


def several(value):
    """A type for one value, or for many with commas between them; each is of the type `value`."""

    def parse(text):
        values = tuple(map(value, text.split(",")))
        if len(set(values)) < len(values):
            raise argparse.ArgumentTypeError(f"'{text}' repeats a value; name each once")
        return values

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
    share = real(lambda share: 0 <= share < 1, "from 0 to below 1")
    initial, final = pair(text, (share, share), "an initial and a final share of zeros, as in 0.5,0.9")
    if initial > final:
        raise argparse.ArgumentTypeError(f"'{text}' begins above its end; name the smaller share first, as in 0.5,0.9")
    return initial, final


def digits(text):
    """'3,5,7' -> (3, 5, 7), '0-2,9' -> (0, 1, 2, 9)"""
    chosen = []
    for part in text.split(","):
        if not re.fullmatch("[0-9](-[0-9])?", part):
            raise argparse.ArgumentTypeError(
                f"'{part}' in '{text}' is no digit; choose from 0 to 9, as in 3,5,7 or 0-9"
            )
        span = range(int(part[0]), int(part[-1]) + 1)
        if not span:
            raise argparse.ArgumentTypeError(f"'{part}' in '{text}' runs backwards; name the smaller digit first")
        chosen += span
    if len(set(chosen)) < len(chosen):
        raise argparse.ArgumentTypeError(f"'{text}' repeats a digit; name each once, as in 3,5,7")
    if len(chosen) < 2:
        raise argparse.ArgumentTypeError(f"'{text}' is a single digit; name two or more, as in 3,5,7")
    return tuple(chosen)


def hidden_layers(text):
    """'128,64' -> (128, 64)"""
    try:
        return tuple(integer(1)(width) for width in text.split(","))
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"'{text}': {error}; give the width of each layer, as in 128,64") from None


def device(text):
    """'auto', 'cpu' or 'cuda' -> the torch device"""
    if text not in ("auto", "cpu", "cuda"):
        raise argparse.ArgumentTypeError(f"'{text}' is no device; choose auto, cpu or cuda")
    if text == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError("'cuda' is not available on this machine; choose auto or cpu")
    return torch.device("cuda" if text != "cpu" and torch.cuda.is_available() else "cpu")


# The options that scripts share.


def add_figures_option(parser):
    parser.add_argument(
        "--figures-dir",
        type=Path,
        default=REPOSITORY / "figures",
        help="folder that figures and numbers are written to (default: %(default)s)",
    )


def add_data_option(parser):
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=REPOSITORY / "data",
        help="folder that holds MNIST/raw/; what is missing there is downloaded (default: %(default)s)",
    )


def add_image_options(parser):
    add_data_option(parser)
    parser.add_argument(
        "--device",
        type=device,
        default="auto",
        help="cpu, cuda, or auto: cuda where there is one (default: %(default)s)",
    )


def add_seed_option(parser, decides):
    parser.add_argument(
        "--seed", type=integer(0, LARGEST_SEED), default=0, help=f"decides {decides} (default: %(default)s)"
    )


def add_network_options(parser, many=False):
    parser.add_argument(
        "checkpoints" if many else "checkpoint",
        type=Path,
        nargs="*" if many else "?",
        metavar="CHECKPOINT",
        help="a file saved by train.py, or a plain state dict of an MLP "
        "(default: the one that train.py saves for --digits)",
    )
    parser.add_argument(
        "--network",
        type=integer(0),
        metavar="K",
        help="of a checkpoint with many networks, take only number K, from 0 (default: all)",
    )
    parser.add_argument(
        "--digits",
        type=digits,
        help=f"what the outputs of the network stand for (default: what the checkpoint says, or else {DEFAULT_DIGITS})",
    )


def add_candidate_options(parser):
    quantile = real(lambda q: 0 <= q <= 1, "from 0 to 1")
    parser.add_argument(
        "--in-degree-quantile",
        type=quantile,
        default=0.5,
        help="a candidate's in-degree reaches at least this quantile of its layer (default: %(default)s)",
    )
    parser.add_argument(
        "--betweenness-quantile",
        type=quantile,
        default=0.5,
        help="a candidate's betweenness is at most this quantile of its layer (default: %(default)s)",
    )
    parser.add_argument(
        "--max-candidates",
        type=integer(1),
        help="keep only so many candidates, those that rank highest by in-degree in their layers (default: all)",
    )


def checkpoint_name(digits, stage=""):
    """The file that train.py saves for some digits: mlp_mnist357.pt."""
    return f"mlp_mnist{''.join(map(str, digits))}{stage}.pt"


def selected_networks(path, args):
    """The networks of a checkpoint that the command line selects.

    path: the checkpoint, or None for the one that train.py saves for --digits.
    Returns ({number: model}, digits of their outputs, what is known about them).  Raises InputError if they cannot be
    loaded, if there is no such --network, or if the digits are in doubt.
    """
    path = path or REPOSITORY / "mlp" / checkpoint_name(args.digits or digits(DEFAULT_DIGITS))
    models, about = load_networks(path)
    outputs = models[0].sizes[-1]
    chosen = args.digits or digits(DEFAULT_DIGITS)
    if "digits" in about:
        try:
            remembered = digits(",".join(map(str, about["digits"])))
        except (argparse.ArgumentTypeError, TypeError):
            raise InputError(f"{path}: the digits it was trained on are damaged; train it again") from None
        if args.digits not in (None, remembered):
            raise InputError(
                f"--digits {_spelled(args.digits)}: {path} was trained on {_spelled(remembered)}; "
                "leave --digits out, or name another checkpoint"
            )
        chosen = remembered
    if len(chosen) != outputs:
        raise InputError(
            f"--digits {_spelled(chosen)}: {path} has {outputs} outputs; "
            "name the digit that each output stands for, in order"
        )
    if args.network is None:
        return dict(enumerate(models)), chosen, about
    if args.network >= len(models):
        raise InputError(f"--network {args.network}: {path} holds {len(models)}; choose from 0 to {len(models) - 1}")
    return {args.network: models[args.network]}, chosen, about


def known_networks(path, about, models):
    """What a checkpoint says of each of its networks in numbers: {number: {"seed": ..., "dropout": ...}}, and names.

    models: {number: model}, those that are asked about.  Returns that, and {number: condition or None}.
    Raises InputError if what is said cannot be.
    """
    said = about.get("networks", [{}] * (max(models) + 1))
    described = isinstance(said, list) and len(said) > max(models) and all(isinstance(one, dict) for one in said)
    seeds = [one["seed"] for one in said if one.get("seed") is not None] if described else []
    described = described and all(isinstance(seed, int) and 0 <= seed < 2**63 for seed in seeds)
    if not described or about.get("init", "default") not in ("default", "glorot"):
        raise InputError(f"{path or 'the checkpoint'}: what it says about its networks is damaged; train them again")
    numbers = {k: {name: value for name, value in said[k].items() if is_number(value)} for k in models}
    return numbers, {k: said[k].get("condition") for k in models}


def is_number(value):
    """Whether something from a file is a number to reckon with: finite, and no whole number beyond all floats."""
    return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max


def selected_conditions(args):
    """The networks of all checkpoints that the command line names, by training condition, and what is known about them.

    Returns [{"condition", "network" (its number), "model", "digits", "init", "known" (hyper-parameters)}] and a list of
    the checkpoints' `about`.  Raises InputError as `selected_networks`, if what is said about a network cannot be, or
    if a network is there twice, since it would count twice.
    """
    networks, abouts = [], []
    for path in args.checkpoints or [None]:
        models, digits, about = selected_networks(path, args)
        known, conditions = known_networks(path, about, models)
        taken = {BASELINE, ALL, *(network["condition"] for network in networks)}
        for k, model in models.items():
            condition = str(conditions[k] or (path.stem if path else "trained"))
            condition += f" ({path})" if condition in taken else ""
            network = {"condition": condition, "network": k, "model": model, "digits": digits}
            networks.append(network | {"init": about.get("init", "default"), "known": known[k]})
        abouts.append(about)
    refuse_twins({network_name(network): network["model"] for network in networks})
    return networks, abouts


def refuse_twins(models):
    """Raise InputError if two networks are the same, since they would count as two observations.  models: by name."""
    names = {}
    for name, model in models.items():
        content = hashlib.sha256(b"".join(tensor.detach().cpu().numpy().tobytes() for tensor in model.parameters()))
        twin = names.setdefault(content.digest(), name)
        if twin != name:
            raise InputError(f"{twin} and {name} are the same and would count twice; name each network once")


def _spelled(digits):
    return ",".join(map(str, digits))
