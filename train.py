"""Train a network to tell a few classes of images apart, or many at once.

    python train.py --epochs 30 --batch-size 128 --lr 0.001 --hidden-layers 8,8,8 --save-dir ./mlp

Writes mlp_<dataset><classes>.pt to --save-dir, and training_history.csv, .json, .png and .pdf to --figures-dir.  With
--pruning, mlp_<dataset><classes>_unpruned.pt is the network as it was before.  Several values of --lr, --dropout, --l1,
--l2 or --leak are a sweep: all their combinations are trained at once.
"""

import report.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

from itertools import accumulate, product
from math import prod
from operator import itemgetter
from pathlib import Path

import torch

from mlp.architecture import convolutional, dense
from mlp.checkpoint import save_checkpoint
from mlp.data import DATA_SETS, DataSet
from mlp.files import writable_folder
from mlp.model import INITS
from mlp.network import DEFAULT_DATA_SET
from mlp.planting import refuse_unplantable, true_groups
from mlp.training import MEASURED, in_tasks, memory_kept, memory_needed, refuse_more_than_memory, split_validation
from mlp.training import together, train_networks
from modularity.cluster import refuse_unfit_workers
from modularity.rows import grouped
from modularity.tasks import mapped
from report.networks import plot_history
from report.options import SPELLED_CLASSES, REPOSITORY, Parser, checkpoint_name, chosen, decay, integer
from report.options import non_negative, positive, proper_share, run, several, share, sparsities, widths
from report.results import print_table, run_record, save_results, text
from report.style import save_figure

RECIPES = {
    # Filan et al. (2020); the defaults of Keras are spelled out
    "filan": "--classes 0-9 --hidden-layers 256,256,256,256 --init glorot --epochs 20 --batch-size 128 --lr 0.001 "
    "--adam-epsilon 1e-7 --val-fraction 0 --dropout 0.5 --pruning 0.5,0.9 --pruning-epochs 20",
    # Casper et al. (2021), whose MLPs are those of Filan et al. without dropout
    "casper": "--classes 0-9 --hidden-layers 256,256,256,256 --init glorot --epochs 20 --batch-size 128 --lr 0.001 "
    "--adam-epsilon 1e-7 --val-fraction 0 --pruning 0.5,0.9 --pruning-epochs 20",
    # The small CNN of Filan et al. (2021)
    "filan-cnn": "--classes 0-9 --channels 64,64,64 --hidden-layers 128 --init glorot --epochs 10 --batch-size 64 "
    "--lr 0.001 --adam-epsilon 1e-7 --val-fraction 0 --pruning 0.5,0.9 --pruning-epochs 10",
    # Lange et al. (2022), whose grid varies one of --dropout, --l1 and --l2 at a time
    "lange": "--classes 0-9 --hidden-layers 64,64 --epochs 500 --batch-size 200 --lr 0.001 --val-fraction 0.1 "
    "--l2 1e-5 --early-stopping 6 --lr-decay 0.25,3",
}
SWEPT = "lr", "dropout", "l1", "l2"
"""Options that take several values."""


def parse_args(argv):
    parser = Parser("Train a network to tell a few classes of images apart, or many at once.")
    option, swept = parser.option, {"metavar": "RATE[,RATE...]"}
    what = f"the images, of {', '.join(DATA_SETS)}"
    option("--dataset", what, chosen(DATA_SETS), DEFAULT_DATA_SET, metavar="NAME")
    parser.add_classes("classes to tell apart, one output each", SPELLED_CLASSES)
    parser.add_normalisation("the network is trained on (default: pixels from 0 to 1)")
    what = (
        "channels of convolutions before the hidden layers, of windows of 3 x 3, with pooling after all but the first"
    )
    option("--channels", f"{what} (default: none)", widths, ())
    option("--hidden-layers", "neurons of each hidden layer", widths, "8,8,8")
    option("--epochs", "passes over the training images", integer(1), 30)
    option("--batch-size", "images per step of Adam", integer(1), 128)
    what = "learning rate of Adam; several rates, here and in other options that take them, are a sweep"
    option("--lr", what, several(positive), "0.001", **swept)
    option("--adam-epsilon", "what Adam adds to the root of the second moment", positive, 1e-8)
    what = (
        "initial weights: PyTorch's default; Glorot-uniform with biases of zero; or, after that, larger within as many "
        "random groups of neurons as there are classes and smaller between them"
    )
    option("--init", what, default="default", choices=INITS)
    what = "plant modules: neurons of each hidden layer, and classes, in so many groups, weights between which are cut"
    option("--planted-groups", what, integer(2), metavar="GROUPS")
    what = "share of the weights between planted groups that exist nevertheless (default: 0, none)"
    option("--leak", what, several(share), metavar="SHARE[,SHARE...]")
    what = "share of each hidden layer's activations set to zero in each step; of convolutions half of it"
    option("--dropout", what, several(proper_share), "0", **swept)
    for norm, term in (("l1", "|w|"), ("l2", "w^2")):
        what = f"add RATE times the sum of {term} over all weights to the loss"
        option(f"--{norm}", what, several(non_negative), "0", **swept)
    what = (
        "multiply a network's learning rate by FACTOR when its validation loss has not reached a new low for more than "
        "PATIENCE epochs, as in 0.25,3; before pruning (default: no decay)"
    )
    option("--lr-decay", what, decay, metavar="FACTOR,PATIENCE")
    what = (
        "stop a network when its validation loss has not reached a new low for PATIENCE epochs, and keep the weights "
        "of the lowest; before pruning, which goes on to its end (default: train for all --epochs)"
    )
    option("--early-stopping", what, integer(1), metavar="PATIENCE")
    what = (
        "then train on, with a fresh optimiser, while the smallest weights of each matrix are set to zero: at first an "
        "INITIAL share of them, at the end a FINAL one, as in 0.5,0.9 (default: no pruning)"
    )
    option("--pruning", what, sparsities, metavar="INITIAL,FINAL")
    option("--pruning-epochs", "passes with --pruning, after --epochs without", integer(1), 20)
    option("--val-fraction", "share of the training images set apart for validation", proper_share, 0.1)
    parser.add_work("initial weights, validation images and their order")
    what = "train so many networks, or so many of each combination; number k starts from the weights of seed SEED + k"
    option("--networks", what, integer(1), 1)
    what = "give each network the validation images, mini-batches and dropout of seed SEED + k, not of SEED; slower"
    parser.add_argument("--separate-batches", action="store_true", help=what)
    option("--save-dir", "folder that the checkpoint is written to", Path, REPOSITORY / "mlp")
    what = "the options of a published experiment, before all others on the command line: "
    what += "; ".join(f"{name} is {options}" for name, options in RECIPES.items())
    option("--recipe", what, choices=RECIPES)
    parser.add_folders()
    args = parser.parse_args(argv)
    if args.recipe:
        typed = args.argv
        args = parser.parse_args([*RECIPES[args.recipe].split(), *typed])
        args.argv = typed
    if args.leak and not args.planted_groups:
        parser.error("argument --leak: goes with --planted-groups; give that, too")
    args.leak = args.leak or (0.0,)
    for option, value in (("--early-stopping", args.early_stopping), ("--lr-decay", args.lr_decay)):
        if value and not args.val_fraction:
            parser.error(f"argument {option}: goes by validation images; choose a --val-fraction above 0")
    return args


def main(argv=None):
    args = parse_args(argv)
    data = DataSet(args.dataset, args.classes, args.normalise)
    data.refuse_misfit()
    neurons = *args.hidden_layers, len(data.classes)
    inputs = prod(data.shape)
    architecture = convolutional(data.shape, args.channels, neurons) if args.channels else dense((inputs, *neurons))
    sizes = architecture.sizes
    refuse_unplantable(args.planted_groups, sizes, args.init)
    folder = writable_folder(args.save_dir)
    figures = writable_folder(args.figures_dir)
    test_labels = data.load(False, args.data_dir)[1]
    labels = data.load(True, args.data_dir)[1]
    refuse_unfit_workers(args.jobs, [data], args.data_dir)
    images = len(labels)
    count = args.networks * prod(len(getattr(args, name)) for name in swept_options(args))
    if args.device.type == "cuda":
        at_once = count
    else:  # with a scheduler, here none
        at_once = min(count, 0 if args.scheduler else args.jobs * together(architecture))
    needed = memory_needed(architecture, at_once, images, min(args.batch_size, images), args.separate_batches)
    needed += memory_kept(architecture, count)
    refuse_more_than_memory(needed, architecture, count, args.device)
    networks = [network | true_groups(network, sizes, args.init) for network in hyperparameters(args)]

    history, words = [], []
    recipe = {"recipe": f"{args.recipe}: {RECIPES[args.recipe]}"} if args.recipe else {}
    for (stage, _, options), (rows, models, losses, right) in zip(
        stages(args), trained(args, data, architecture, networks)
    ):
        before = history[-1]["epoch"] if history else 0
        history += [row | {"epoch": before + row["epoch"]} for row in rows]
        described = [{"condition": condition(args, options["pruning"], network), **network} for network in networks]
        its_rows = grouped([row for row in history if row["epoch"] > before], "network")
        epochs_kept = [kept_epoch(group, options["early_stopping"]) for group in its_rows]
        tests = results_per_network(losses, right, test_labels, data.classes, epochs_kept)
        record = run_record(args, **recipe, device=args.device, seed=args.seed, sizes=sizes, test=tests)
        about = {"dataset": data.name, "classes": data.classes, "networks": described, "init": args.init}
        about |= {"architecture": architecture.described()} if args.channels else {}
        about |= {"normalisation": data.normalisation} if data.normalisation else {}
        checkpoint = folder / checkpoint_name(data, stage, "cnn" if args.channels else "mlp")
        save_checkpoint(checkpoint, models, **about, record=record)
        conditions = grouped([network | test for network, test in zip(described, tests)], "condition")
        if len(conditions) > 1:
            table = [printed_condition(group) for group in conditions]
        else:
            table = printed(tests, data, test_labels)
        words.append((table, checkpoint))

    save_results(figures / "training_history", history, record)
    sizes_of_splits = map(len, split_validation(labels, args.val_fraction, torch.Generator()))
    counts = dict(zip(("training", "validation"), sizes_of_splits)) | {"test": len(test_labels)}
    if architecture.convolutions:
        counts["training"] = min(counts["training"], MEASURED)
    pruned_from = before if args.pruning else None
    save_figure(plot_history(history, tests, len(data.classes), counts, pruned_from), figures / "training_history")
    for table, checkpoint in words:  # when all files are written, lest a closed pipe end the work
        print_table(table)
        print(f"saved {checkpoint}")
    print(f"saved {figures}/training_history.{{csv,json,png,pdf}}")


def trained(args, data, architecture, networks):
    """Train the networks in tasks; yields of each stage its history, models, and what `evaluate` says of the tests."""
    # on a GPU, one task takes all networks at once
    parts = [networks] if args.device.type == "cuda" else in_tasks(networks, architecture)
    seeds = [[network["seed"] for network in part] if args.separate_batches else [args.seed] for part in parts]
    states = [None] * len(parts)
    for _, epochs, options in stages(args):
        options |= {"batch_size": args.batch_size, "adam_epsilon": args.adam_epsilon}
        shared = architecture, args.init, data, args.data_dir, args.device, args.val_fraction, epochs, options
        tasks = [(*own, *shared) for own in zip(parts, states, seeds)]
        stage = "pruning" if options["pruning"] else "training"
        done = mapped(train_networks, tasks, args.jobs, stage, "epoch", [epochs] * len(tasks))
        rows, states, losses, right = zip(*done)
        firsts = accumulate(map(len, parts), initial=0)
        history = [row | {"network": first + row["network"]} for first, own in zip(firsts, rows) for row in own]
        history.sort(key=itemgetter("epoch", "network"))
        yield history, [state for own in states for state in own], torch.cat(losses), torch.cat(right)


def hyperparameters(args):
    """What tells the networks apart: all seeds with the first combination of swept values, then with the next ..."""
    names = swept_options(args)
    planted = {"planted_groups": args.planted_groups} if args.planted_groups else {}
    combinations = [dict(zip(names, values)) for values in product(*(getattr(args, name) for name in names))]
    return [{"seed": args.seed + k, **values, **planted} for values in combinations for k in range(args.networks)]


def swept_options(args):
    """The options that take several values, and say something about this training."""
    return (*SWEPT, "leak") if args.planted_groups else SWEPT


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
    swept = [name for name in swept_options(args) if name == "leak" or len(getattr(args, name)) > 1]
    regularized = [name for name in SWEPT[1:] if network[name]]
    names = ["pruned" if pruned else "unpruned"] if args.pruning or not swept else []
    names += [f"{name} {network[name]:g}" for name in swept]
    return ", ".join(names + [name for name in regularized if name not in swept])


def kept_epoch(rows, early_stopping):
    """The epoch after which a network had the weights that it ended with."""
    kept = min(rows, key=lambda row: row["validation_loss"]) if early_stopping else rows[-1]
    return kept["epoch"]


def results_per_network(losses, right, labels, classes, epochs):
    """Test loss, accuracy, and accuracy per class of each network, after so many epochs."""
    rows = []
    for k, (epoch, loss, hit) in enumerate(zip(epochs, losses.double(), right)):
        row = {"network": k, "epoch": epoch, "loss": loss.mean().item(), "accuracy": hit.double().mean().item()}
        rows.append(row | {f"accuracy_{d}": hit[labels == c].double().mean().item() for c, d in enumerate(classes)})
    return rows


def summary(tests, key, template):
    """The mean over networks, and the range if there are several, each in a template of one value."""
    values = [row[key] for row in tests]
    shown = [text(template, value) for value in (sum(values) / len(values), min(values), max(values))]
    return shown[0] if len(values) == 1 else "{} ({} to {})".format(*shown)


def printed(tests, data, labels):
    """The table of one condition: all test images, then those of each class."""
    whole = {"test images": "all", "n": str(len(labels)), "loss": summary(tests, "loss", "{:.4f}")}
    lines = [whole | {"accuracy": summary(tests, "accuracy", "{:.1 %}")}]
    for label, n in zip(data.classes, labels.bincount().tolist()):
        accuracy = summary(tests, f"accuracy_{label}", "{:.1 %}")
        lines.append({"test images": data.class_name(label), "n": str(n), "loss": "", "accuracy": accuracy})
    return lines


def printed_condition(tests):
    """A line of the table of a sweep."""
    about = {"networks": tests[0]["condition"], "n": str(len(tests)), "epochs": summary(tests, "epoch", "{:.0f}")}
    return about | {
        "test loss": summary(tests, "loss", "{:.4f}"),
        "test accuracy": summary(tests, "accuracy", "{:.1 %}"),
    }


if __name__ == "__main__":
    run(main)
