"""Train a multilayer perceptron on a few MNIST digits, or many at once.

    python train.py --epochs 30 --batch-size 128 --lr 0.001 --hidden-layers 8,8,8 --save-dir ./mlp

Writes mlp_mnist<digits>.pt to --save-dir, and training_history.csv, .json, .png and .pdf to --figures-dir.
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
)
from mlp.data import load_digits
from mlp.model import PIXELS, initial_model, save_checkpoint, stacked
from mlp.plots import plot_history
from mlp.results import percent, print_table, run_record, save_figure, save_results, writable_folder
from mlp.training import evaluate, refuse_more_than_memory, split_validation, train


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
        "--val-fraction",
        type=real(lambda share: 0 < share < 1, "between 0 and 1"),
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
    add_figures_option(parser)
    add_image_options(parser)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    sizes = (PIXELS, *args.hidden_layers, len(args.digits))
    refuse_more_than_memory(sizes, args.networks, args.device)
    checkpoint = writable_folder(args.save_dir) / checkpoint_name(args.digits)
    figures = writable_folder(args.figures_dir)
    images, labels = (tensor.to(args.device) for tensor in load_digits(args.digits, True, args.data_dir))
    test_images, test_labels = (tensor.to(args.device) for tensor in load_digits(args.digits, False, args.data_dir))

    seeds = range(args.seed, args.seed + args.networks)
    models = [initial_model(sizes, seed).to(args.device) for seed in seeds]
    generators = [torch.Generator().manual_seed(seed) for seed in (seeds if args.separate_batches else seeds[:1])]
    splits = [split_validation(labels, args.val_fraction, generator) for generator in generators]
    epochs = train(models, images, labels, splits, generators, args.epochs, args.batch_size, args.lr)
    history = [row for rows in tqdm(epochs, total=args.epochs, desc="training", unit="epoch") for row in rows]

    losses, hits = evaluate(*stacked(models), test_images, test_labels)
    tests = results_per_network(losses, hits, test_labels, args.digits)
    record = run_record(args, device=args.device, seed=args.seed, sizes=sizes, test=tests)
    save_checkpoint(checkpoint, models, digits=args.digits, record=record)
    save_results(figures / "training_history", history, record)
    counts = {"training": len(splits[0][0]), "validation": len(splits[0][1]), "test": len(test_labels)}
    save_figure(plot_history(history, tests, len(args.digits), counts), figures / "training_history")

    print_table(printed(tests, args.digits, test_labels.bincount().tolist()))
    print(f"saved {checkpoint} and {figures}/training_history.{{csv,json,png,pdf}}")


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
