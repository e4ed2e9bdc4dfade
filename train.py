"""Train a multilayer perceptron on a few MNIST digits.

    python train.py --epochs 30 --batch-size 128 --lr 0.001 --hidden-layers 8,8,8 --save-dir ./mlp

Writes the checkpoint mlp_mnist<digits>.pt to --save-dir, and training_history.csv, .json, .png and .pdf to --figures-dir.
"""

from pathlib import Path

import torch
from tqdm import tqdm

from mlp.commandline import (
    DEFAULT_DIGITS, REPOSITORY, Parser, add_figures_option, add_image_options, checkpoint_name, digits, hidden_layers,
    integer, real, run,
)  # fmt: skip
from mlp.data import load_digits
from mlp.model import PIXELS, initial_model, save_checkpoint
from mlp.plots import plot_history
from mlp.results import percent, print_table, run_record, save_figure, save_results, writable_folder
from mlp.statistics import class_accuracy
from mlp.training import mean_cross_entropy, split_validation, train


def parse_args(argv):
    parser = Parser(description="Train a multilayer perceptron on a few MNIST digits.")
    parser.add_argument("--digits", type=digits, default=DEFAULT_DIGITS,
                        help="digits to tell apart, one output each (default: %(default)s)")
    parser.add_argument("--hidden-layers", type=hidden_layers, default="8,8,8",
                        help="neurons of each hidden layer (default: %(default)s)")
    parser.add_argument("--epochs", type=integer(1), default=30,
                        help="passes over the training images (default: %(default)s)")
    parser.add_argument("--batch-size", type=integer(1), default=128,
                        help="images per step of Adam (default: %(default)s)")
    parser.add_argument("--lr", type=real(lambda rate: rate > 0, "above 0"), default=1e-3,
                        help="learning rate of Adam (default: %(default)s)")
    parser.add_argument("--val-fraction", type=real(lambda share: 0 < share < 1, "between 0 and 1"), default=0.1,
                        help="share of the training images set apart for validation (default: %(default)s)")
    parser.add_argument("--seed", type=integer(0), default=0,
                        help="decides initial weights, validation images and their order (default: %(default)s)")
    parser.add_argument("--save-dir", type=Path, default=REPOSITORY / "mlp",
                        help="folder that the checkpoint is written to (default: %(default)s)")
    add_figures_option(parser)
    add_image_options(parser)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    checkpoint = writable_folder(args.save_dir) / checkpoint_name(args.digits)
    figures = writable_folder(args.figures_dir)
    images, labels = (tensor.to(args.device) for tensor in load_digits(args.digits, train=True, data_dir=args.data_dir))
    test_images, test_labels = (tensor.to(args.device) for tensor in load_digits(args.digits, False, args.data_dir))

    sizes = (PIXELS, *args.hidden_layers, len(args.digits))
    model = initial_model(sizes, args.seed).to(args.device)
    generator = torch.Generator().manual_seed(args.seed)
    training, validation = split_validation(images, labels, args.val_fraction, generator)
    epochs = train([model], training, validation, args.epochs, args.batch_size, args.lr, generator)
    history = [row for rows in tqdm(epochs, total=args.epochs, desc="training", unit="epoch") for row in rows]

    with torch.no_grad():
        logits = model(test_images)
    correct = logits.argmax(-1) == test_labels
    test_loss = mean_cross_entropy(logits.unsqueeze(0), test_labels).item()
    test_accuracy = correct.double().mean().item()
    per_digit = class_accuracy(logits.argmax(-1), test_labels, len(args.digits)).tolist()

    record = run_record(args, device=args.device, seed=args.seed, sizes=sizes, test_loss=test_loss,
                        test_accuracy=test_accuracy, test_accuracy_per_digit=dict(zip(args.digits, per_digit)))
    save_checkpoint(checkpoint, model, digits=args.digits, record=record)
    save_results(figures / "training_history", history, record)
    images_used = f"{len(training[1]):,} training, {len(validation[1]):,} validation images"
    save_figure(plot_history(history, test_accuracy, len(args.digits), images_used), figures / "training_history")

    counts = test_labels.bincount().tolist()
    rows = [{"test images": f"digit {digit}", "n": str(n), "loss": "", "accuracy": percent(accuracy)}
            for digit, n, accuracy in zip(args.digits, counts, per_digit)]
    print_table([{"test images": "all", "n": str(len(test_labels)), "loss": f"{test_loss:.4f}",
                  "accuracy": percent(test_accuracy)}, *rows])
    print(f"saved {checkpoint} and {figures}/training_history.{{csv,json,png,pdf}}")


if __name__ == "__main__":
    run(main)
