"""Train a multilayer perceptron on a few MNIST digits, or many at once.

    python train.py --epochs 30 --batch-size 128 --lr 0.001 --hidden-layers 8,8,8 --save-dir ./mlp

Writes mlp_mnist<digits>.pt to --save-dir, and training_history.csv, .json, .png and .pdf to --figures-dir.  With
--pruning, mlp_mnist<digits>_unpruned.pt is the network as it was before.  Several values of --lr, --dropout, --l1 or
--l2 are a sweep: all their combinations are trained at once.
"""

import mlp.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

from itertools import product
from math import prod
from pathlib import Path

import torch
from tqdm import tqdm

from mlp.commandline import (
    DEFAULT_DIGITS,
    REPOSITORY,
    Parser,
    add_figures_option,
    add_image_options,
    add_seed_option,
    checkpoint_name,
    decay,
    digits,
    hidden_layers,
    integer,
    real,
    run,
    several,
    sparsities,
)
from mlp.data import load_digits
from mlp.model import PIXELS, initial_model, save_checkpoint, stacked
from mlp.plots import plot_history
from mlp.results import grouped, percent, print_table, run_record, save_results, writable_folder
from mlp.style import save_figure
from mlp.training import evaluate, memory_needed, refuse_more_than_memory, split_validation, train

RECIPES = {
    # Filan et al. (2020); the defaults of Keras are spelled out
    "filan": "--digits 0-9 --hidden-layers 256,256,256,256 --init glorot --epochs 20 --batch-size 128 --lr 0.001 "
    "--adam-epsilon 1e-7 --val-fraction 0 --dropout 0.5 --pruning 0.5,0.9 --pruning-epochs 20",
    # Casper et al. (2021), whose MLPs are those of Filan et al. without dropout
    "casper": "--digits 0-9 --hidden-layers 256,256,256,256 --init glorot --epochs 20 --batch-size 128 --lr 0.001 "
    "--adam-epsilon 1e-7 --val-fraction 0 --pruning 0.5,0.9 --pruning-epochs 20",
    # Lange et al. (2022), whose grid varies one of --dropout, --l1 and --l2 at a time
    "lange": "--digits 0-9 --hidden-layers 64,64 --epochs 500 --batch-size 200 --lr 0.001 --val-fraction 0.1 --l2 1e-5 "
    "--early-stopping 6 --lr-decay 0.25,3",
}
SWEPT = "lr", "dropout", "l1", "l2"
"""Options that take several values."""


def parse_args(argv):
    parser = Parser(description="Train a multilayer perceptron on a few MNIST digits, or many at once.")
    parser.add_argument(
        "--digits",
        type=digits,
        default=DEFAULT_DIGITS,
        help="digits to tell apart, one output each (default: %(default)s)",
    )
    parser.add_argument(
        "--hidden-layers",
        type=hidden_layers,
        default="8,8,8",
        help="neurons of each hidden layer (default: %(default)s)",
    )
    parser.add_argument(
        "--epochs", type=integer(1), default=30, help="passes over the training images (default: %(default)s)"
    )
    parser.add_argument(
        "--batch-size", type=integer(1), default=128, help="images per step of Adam (default: %(default)s)"
    )
    parser.add_argument(
        "--lr",
        type=several(real(lambda rate: rate > 0, "above 0")),
        default="0.001",
        metavar="RATE[,RATE...]",
        help="learning rate of Adam; several rates, here and in the other options that take them, are trained at once, "
        "in all combinations (default: %(default)s)",
    )
    parser.add_argument(
        "--adam-epsilon",
        type=real(lambda epsilon: epsilon > 0, "above 0"),
        default=1e-8,
        help="what Adam adds to the root of the second moment (default: %(default)s)",
    )
    parser.add_argument(
        "--init",
        choices=("default", "glorot"),
        default="default",
        help="initial weights: PyTorch's default, or Glorot-uniform with biases of zero (default: %(default)s)",
    )
    parser.add_argument(
        "--dropout",
        type=several(real(lambda rate: 0 <= rate < 1, "from 0 to below 1")),
        default="0",
        metavar="RATE[,RATE...]",
        help="share of each hidden layer's activations set to zero in each step (default: %(default)s)",
    )
    for norm, term in (("l1", "|w|"), ("l2", "w^2")):
        parser.add_argument(
            f"--{norm}",
            type=several(real(lambda rate: rate >= 0, "of at least 0")),
            default="0",
            metavar="RATE[,RATE...]",
            help=f"add RATE times the sum of {term} over all weights to the loss (default: %(default)s)",
        )
    parser.add_argument(
        "--lr-decay",
        type=decay,
        metavar="FACTOR,PATIENCE",
        help="multiply a network's learning rate by FACTOR when its validation loss has not reached a new low for more "
        "than PATIENCE epochs, as in 0.25,3; before pruning (default: no decay)",
    )
    parser.add_argument(
        "--early-stopping",
        type=integer(1),
        metavar="PATIENCE",
        help="stop a network when its validation loss has not reached a new low for PATIENCE epochs, and keep the "
        "weights of the lowest; before pruning, which goes on to its end (default: train for all --epochs)",
    )
    parser.add_argument(
        "--pruning",
        type=sparsities,
        metavar="INITIAL,FINAL",
        help="then train on, with a fresh optimiser, while the smallest weights of each matrix are set to zero: at "
        "first an INITIAL share of them, at the end a FINAL one, as in 0.5,0.9 (default: no pruning)",
    )
    parser.add_argument(
        "--pruning-epochs",
        type=integer(1),
        default=20,
        help="passes over the training images with --pruning, after --epochs without (default: %(default)s)",
    )
    parser.add_argument(
        "--val-fraction",
        type=real(lambda share: 0 <= share < 1, "from 0 to below 1"),
        default=0.1,
        help="share of the training images set apart for validation (default: %(default)s)",
    )
    add_seed_option(parser, "initial weights, validation images and their order")
    parser.add_argument(
        "--networks",
        type=integer(1),
        default=1,
        help="train so many networks at once, or so many of each combination; number k starts from the weights of seed "
        "SEED + k (default: %(default)s)",
    )
    parser.add_argument(
        "--separate-batches",
        action="store_true",
        help="give each network its own validation images and order of mini-batches, those of seed "
        "SEED + k, instead of sharing those of SEED; slower",
    )
    parser.add_argument(
        "--save-dir",
        type=Path,
        default=REPOSITORY / "mlp",
        help="folder that the checkpoint is written to (default: %(default)s)",
    )
    expansions = "; ".join(f"{name} is {options}" for name, options in RECIPES.items())
    parser.add_argument(
        "--recipe",
        choices=RECIPES,
        help=f"the options of a published experiment, before all others on the command line: {expansions}",
    )
    add_figures_option(parser)
    add_image_options(parser)
    args = parser.parse_args(argv)
    if args.recipe:
        typed = args.argv
        args = parser.parse_args([*RECIPES[args.recipe].split(), *typed])
        args.argv = typed
    for option, value in (("--early-stopping", args.early_stopping), ("--lr-decay", args.lr_decay)):
        if value and not args.val_fraction:
            parser.error(f"argument {option}: goes by validation images; choose a --val-fraction above 0")
    return args


def main(argv=None):
    args = parse_args(argv)
    sizes = (PIXELS, *args.hidden_layers, len(args.digits))
    folder = writable_folder(args.save_dir)
    figures = writable_folder(args.figures_dir)
    images, labels = (tensor.to(args.device) for tensor in load_digits(args.digits, True, args.data_dir))
    test_images, test_labels = (tensor.to(args.device) for tensor in load_digits(args.digits, False, args.data_dir))
    count = args.networks * prod(len(getattr(args, name)) for name in SWEPT)
    needed = memory_needed(sizes, count, len(images), min(args.batch_size, len(images)), args.separate_batches)
    refuse_more_than_memory(needed, sizes, count, args.device)

    networks = hyperparameters(args)
    models = [initial_model(sizes, network["seed"], args.init).to(args.device) for network in networks]
    sources = networks if args.separate_batches else networks[:1]
    generators = [torch.Generator().manual_seed(network["seed"]) for network in sources]
    splits = [split_validation(labels, args.val_fraction, generator) for generator in generators]
    rates, *regularization = ([network[name] for network in networks] for name in SWEPT)

    history, words = [], []
    for stage, epochs, options in stages(args):
        options |= dict(zip(SWEPT[1:], regularization), adam_epsilon=args.adam_epsilon)
        states = train(models, images, labels, splits, generators, epochs, args.batch_size, rates, **options)
        before = history[-1]["epoch"] if history else 0
        rows = []
        for state in tqdm(states, total=epochs, desc="pruning" if options["pruning"] else "training", unit="epoch"):
            rows += [row | {"epoch": before + row["epoch"]} for row in state]
        history += rows
        losses, hits = evaluate(*stacked(models), test_images, test_labels)
        described = [{"condition": condition(args, options["pruning"], network), **network} for network in networks]
        epochs_kept = [kept_epoch(group, options["early_stopping"]) for group in grouped(rows, "network")]
        tests = results_per_network(losses, hits, test_labels, args.digits, epochs_kept)
        recipe = {"recipe": f"{args.recipe}: {RECIPES[args.recipe]}"} if args.recipe else {}
        record = run_record(args, **recipe, device=args.device, seed=args.seed, sizes=sizes, test=tests)
        about = {"digits": args.digits, "networks": described, "init": args.init, "record": record}
        checkpoint = folder / checkpoint_name(args.digits, stage)
        save_checkpoint(checkpoint, models, **about)
        conditions = grouped([network | test for network, test in zip(described, tests)], "condition")
        if len(conditions) > 1:
            table = [printed_condition(group) for group in conditions]
        else:
            table = printed(tests, args.digits, test_labels)
        words.append((table, checkpoint))

    save_results(figures / "training_history", history, record)
    counts = {"training": len(splits[0][0]), "validation": len(splits[0][1]), "test": len(test_labels)}
    pruned_from = before if args.pruning else None
    save_figure(plot_history(history, tests, len(args.digits), counts, pruned_from), figures / "training_history")
    for table, checkpoint in words:  # when all files are written, lest a closed pipe end the work
        print_table(table)
        print(f"saved {checkpoint}")
    print(f"saved {figures}/training_history.{{csv,json,png,pdf}}")


def hyperparameters(args):
    """What tells the networks apart: all seeds with the first combination of swept values, then with the next ..."""
    combinations = [dict(zip(SWEPT, values)) for values in product(*(getattr(args, name) for name in SWEPT))]
    return [{"seed": args.seed + k, **values} for values in combinations for k in range(args.networks)]


def stages(args):
    """What to train, one after the other: (ending of the checkpoint's name, epochs, options)."""
    trained = {"pruning": None, "lr_decay": args.lr_decay, "early_stopping": args.early_stopping}
    if args.pruning is None:
        return [("", args.epochs, trained)]
    # the validation loss follows the schedule of pruning, and says nothing about when to stop
    pruned = {"pruning": args.pruning, "lr_decay": None, "early_stopping": None}
    return [("_unpruned", args.epochs, trained), ("", args.pruning_epochs, pruned)]


def condition(args, pruned, network):
    """What a network is called in tables: "pruned, dropout", or with the values of a sweep "dropout 0.2, l2"."""
    swept = [name for name in SWEPT if len(getattr(args, name)) > 1]
    regularized = [name for name in SWEPT[1:] if network[name]]
    names = ["pruned" if pruned else "unpruned"] if args.pruning or not swept else []
    names += [f"{name} {network[name]:g}" for name in swept]
    return ", ".join(names + [name for name in regularized if name not in swept])


def kept_epoch(rows, early_stopping):
    """The epoch after which a network had the weights that it ended with."""
    kept = min(rows, key=lambda row: row["validation_loss"]) if early_stopping else rows[-1]
    return kept["epoch"]


def results_per_network(losses, hits, labels, digits, epochs):
    """Test loss, accuracy, and accuracy per digit of each network, after so many epochs."""
    rows = []
    for k, (epoch, loss, hit) in enumerate(zip(epochs, losses.double(), hits)):
        row = {"network": k, "epoch": epoch, "loss": loss.mean().item(), "accuracy": hit.double().mean().item()}
        rows.append(row | {f"accuracy_{d}": hit[labels == c].double().mean().item() for c, d in enumerate(digits)})
    return rows


def summary(tests, key, form):
    """The mean over networks, and the range if there are several."""
    values = [row[key] for row in tests]
    mean = form(sum(values) / len(values))
    return mean if len(values) == 1 else f"{mean} ({form(min(values))} to {form(max(values))})"


def printed(tests, digits, labels):
    """The printed table: overall, then per digit."""
    images_per_digit = labels.bincount().tolist()
    lines = [
        {
            "test images": "all",
            "n": str(sum(images_per_digit)),
            "loss": summary(tests, "loss", "{:.4f}".format),
            "accuracy": summary(tests, "accuracy", percent),
        }
    ]
    for digit, n in zip(digits, images_per_digit):
        accuracy = summary(tests, f"accuracy_{digit}", percent)
        lines.append({"test images": f"digit {digit}", "n": str(n), "loss": "", "accuracy": accuracy})
    return lines


def printed_condition(tests):
    """A line of the table of a sweep."""
    return {
        "networks": tests[0]["condition"],
        "n": str(len(tests)),
        "epochs": summary(tests, "epoch", "{:.0f}".format),
        "test loss": summary(tests, "loss", "{:.4f}".format),
        "test accuracy": summary(tests, "accuracy", percent),
    }


if __name__ == "__main__":
    run(main)
