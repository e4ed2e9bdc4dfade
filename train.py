"""Train a multilayer perceptron on a few MNIST digits, or many at once.

    python train.py --epochs 30 --batch-size 128 --lr 0.001 --hidden-layers 8,8,8 --save-dir ./mlp

Writes mlp_mnist<digits>.pt to --save-dir, and training_history.csv, .json, .png and .pdf to --figures-dir.  With
--pruning, mlp_mnist<digits>_unpruned.pt is the network as it was before.
"""

from pathlib import Path

import torch
from tqdm import tqdm

from mlp.commandline import (
    DEFAULT_DIGITS,
    REPOSITORY,
    Parser,
    add_figures_option,
    add_image_options,
    checkpoint_name,
    digits,
    hidden_layers,
    integer,
    real,
    run,
    sparsities,
)
from mlp.data import load_digits
from mlp.model import PIXELS, initial_model, save_checkpoint, stacked
from mlp.plots import plot_history
from mlp.results import percent, print_table, run_record, save_figure, save_results, writable_folder
from mlp.training import evaluate, refuse_more_than_memory, split_validation, train

RECIPES = {
    # Filan et al. (2020); the defaults of Keras are spelled out
    "filan": "--digits 0-9 --hidden-layers 256,256,256,256 --init glorot --epochs 20 --batch-size 128 --lr 0.001 "
    "--adam-epsilon 1e-7 --val-fraction 0 --dropout 0.5 --pruning 0.5,0.9 --pruning-epochs 20",
    # Casper et al. (2021), whose MLPs are those of Filan et al. without dropout
    "casper": "--digits 0-9 --hidden-layers 256,256,256,256 --init glorot --epochs 20 --batch-size 128 --lr 0.001 "
    "--adam-epsilon 1e-7 --val-fraction 0 --pruning 0.5,0.9 --pruning-epochs 20",
}


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
        type=real(lambda rate: rate > 0, "above 0"),
        default=1e-3,
        help="learning rate of Adam (default: %(default)s)",
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
        type=real(lambda rate: 0 <= rate < 1, "from 0 to below 1"),
        default=0.0,
        help="share of each hidden layer's activations set to zero in each step (default: %(default)s)",
    )
    for norm, term in (("l1", "|w|"), ("l2", "w^2")):
        parser.add_argument(
            f"--{norm}",
            type=real(lambda rate: rate >= 0, "of at least 0"),
            default=0.0,
            metavar="RATE",
            help=f"add RATE times the sum of {term} over all weights to the loss (default: %(default)s)",
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
    parser.add_argument(
        "--seed",
        type=integer(0),
        default=0,
        help="decides initial weights, validation images and their order (default: %(default)s)",
    )
    parser.add_argument(
        "--networks",
        type=integer(1),
        default=1,
        help="train so many networks at once; network k starts from the weights of seed SEED + k "
        "(default: %(default)s)",
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
    return args


def main(argv=None):
    args = parse_args(argv)
    sizes = (PIXELS, *args.hidden_layers, len(args.digits))
    refuse_more_than_memory(sizes, args.networks, args.device)
    folder = writable_folder(args.save_dir)
    figures = writable_folder(args.figures_dir)
    images, labels = (tensor.to(args.device) for tensor in load_digits(args.digits, True, args.data_dir))
    test_images, test_labels = (tensor.to(args.device) for tensor in load_digits(args.digits, False, args.data_dir))

    seeds = range(args.seed, args.seed + args.networks)
    models = [initial_model(sizes, seed, args.init).to(args.device) for seed in seeds]
    generators = [torch.Generator().manual_seed(seed) for seed in (seeds if args.separate_batches else seeds[:1])]
    splits = [split_validation(labels, args.val_fraction, generator) for generator in generators]
    regularization = {"dropout": args.dropout, "l1": args.l1, "l2": args.l2}

    history = []
    for stage, epochs, pruning in stages(args):
        settings = {"adam_epsilon": args.adam_epsilon, "pruning": pruning, **regularization}
        rows = train(models, images, labels, splits, generators, epochs, args.batch_size, args.lr, **settings)
        before = history[-1]["epoch"] if history else 0
        for state in tqdm(rows, total=epochs, desc="pruning" if pruning else "training", unit="epoch"):
            history += [row | {"epoch": before + row["epoch"]} for row in state]
        losses, hits = evaluate(*stacked(models), test_images, test_labels)
        tests = results_per_network(losses, hits, test_labels, args.digits)
        recipe = {"recipe": f"{args.recipe}: {RECIPES[args.recipe]}"} if args.recipe else {}
        record = run_record(args, **recipe, device=args.device, seed=args.seed, sizes=sizes, test=tests)
        checkpoint = folder / checkpoint_name(args.digits, stage)
        condition = ["pruned" if pruning else "unpruned", *(name for name, rate in regularization.items() if rate)]
        about = {"digits": args.digits, "condition": ", ".join(condition), "init": args.init, "record": record}
        save_checkpoint(checkpoint, models, **about)
        print_table(printed(tests, args.digits, test_labels.bincount().tolist()))
        print(f"saved {checkpoint}")

    save_results(figures / "training_history", history, record)
    counts = {"training": len(splits[0][0]), "validation": len(splits[0][1]), "test": len(test_labels)}
    pruned_from = args.epochs if args.pruning else None
    save_figure(plot_history(history, tests, len(args.digits), counts, pruned_from), figures / "training_history")
    print(f"saved {figures}/training_history.{{csv,json,png,pdf}}")


def stages(args):
    """What to train, one after the other: (ending of the checkpoint's name, epochs, sparsities)."""
    if args.pruning is None:
        return [("", args.epochs, None)]
    return [("_unpruned", args.epochs, None), ("", args.pruning_epochs, args.pruning)]


def results_per_network(losses, hits, labels, digits):
    """Test loss, accuracy, and accuracy per digit of each network."""
    rows = []
    for k, (loss, hit) in enumerate(zip(losses.double(), hits)):
        per_digit = {f"accuracy_{digit}": hit[labels == c].double().mean().item() for c, digit in enumerate(digits)}
        rows.append({"network": k, "loss": loss.mean().item(), "accuracy": hit.double().mean().item(), **per_digit})
    return rows


def printed(tests, digits, images_per_digit):
    """The printed table: overall, then per digit; of several networks the mean and the range."""

    def summary(key, form):
        values = [row[key] for row in tests]
        mean = form(sum(values) / len(values))
        return mean if len(values) == 1 else f"{mean} ({form(min(values))} to {form(max(values))})"

    lines = [
        {
            "test images": "all",
            "n": str(sum(images_per_digit)),
            "loss": summary("loss", "{:.4f}".format),
            "accuracy": summary("accuracy", percent),
        }
    ]
    for digit, n in zip(digits, images_per_digit):
        lines.append(
            {
                "test images": f"digit {digit}",
                "n": str(n),
                "loss": "",
                "accuracy": summary(f"accuracy_{digit}", percent),
            }
        )
    return lines


if __name__ == "__main__":
    run(main)
