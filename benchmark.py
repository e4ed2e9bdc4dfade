"""Measure how fast this repository is, side by side with the obvious ways to do the same, idle and on a busy machine.

    python benchmark.py [--beside FOLDER]

Writes benchmark.csv and .json, and benchmark_engines.csv, .json, .png and .pdf to --figures-dir.
"""

import report.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import torch
from joblib import cpu_count
from tqdm import tqdm

from mlp.architecture import convolutional
from mlp.data import PIXELS, DataSet
from mlp.files import writable_folder
from mlp.model import initial_model
from mlp.training import train
from modularity.nulls import matched_modules
from report.options import REPOSITORY, Parser, integer, run
from report.results import print_table, run_record, save_results
from report.speed import ablation_times, clustering_times, convolution_training_times, definition_times
from report.speed import dropout_training_times, engine_times
from report.speed import plot_engine_times, pruned_weights, seconds_of, shuffle_times, similarity_times, training_times
from report.style import save_figure

README_NETWORK, README_DATA = (PIXELS, 8, 8, 8, 3), DataSet("mnist", (3, 5, 7))
WIDE_NETWORK, WIDE_MODULES = (PIXELS, 1024, 1024, 3), 100
GRAPHS = [README_NETWORK, (PIXELS, 64, 64, 10), (PIXELS, 256, 256, 256, 256, 10)]
WIDTHS = (4, 8, 16, 32, 64, 128, 256, 512)
"""Of two hidden layers between 784 inputs and 10 outputs: how the cost of betweenness grows."""
NETWORKS = (1, 10, 100)
FILAN_NETWORK, FILAN_DATA, FILAN_IMAGES = (PIXELS, 256, 256, 256, 256, 10), DataSet("mnist", tuple(range(10))), 6400
DROPOUT, ZEROS = 0.5, 0.9
CLUSTERS, SHUFFLES = 12, 50
LANGE_NETWORK, SIMILARITY_IMAGES = (PIXELS, 64, 64, 10), 1000
CNN, CNN_BATCH, CNN_IMAGES = convolutional((1, 28, 28), (64, 64, 64), (128, 10)), 64, 1280
CNN_LESIONS, CNN_LESION_IMAGES = 12, 500
PLANTED_NETWORK = (PIXELS, 64, 64, 64, 10)
SESSIONS = {"make: the three scripts": "figures", "make hundred: 100 networks": "hundred"}
"""What users run, and the Makefile's name for it."""


def parse_args(argv):
    parser = Parser("Measure how fast this repository is, beside the obvious ways to do the same, and when it is busy.")
    parser.option("--repeats", "take each time as the median of so many", integer(1), 3)
    what = "another version of this repository, whose scripts are timed in turn with those of this one (default: none)"
    parser.option("--beside", what, Path, metavar="FOLDER")
    parser.add_folders(data=True)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    figures = writable_folder(args.figures_dir)
    test_images, test_labels = README_DATA.load(False, args.data_dir)
    images, labels = FILAN_DATA.load(True, args.data_dir)
    weights, pruned = pruned_weights(FILAN_NETWORK, ZEROS), f"{spelled(FILAN_NETWORK)}, {100 * ZEROS:.0f} % zeros"
    rows = []
    with tqdm(desc="comparisons", unit="task") as bar:

        def compare(task, network, times, reference):
            rows.extend(compared(task, network, times, reference))
            bar.update()

        for task, target in SESSIONS.items():
            compare(task, spelled(README_NETWORK), session_times(target, args.beside), "here, idle")
        for sizes in GRAPHS:
            compare("betweenness", spelled(sizes), engine_times(sizes, args.repeats), "layered")
        times = training_times(README_NETWORK, NETWORKS, README_DATA, args.data_dir, args.repeats)
        compare("training a network, per epoch", spelled(README_NETWORK), times, f"{max(NETWORKS)} at once")
        for model, modules in ablations(args.data_dir):
            times = ablation_times(model, modules, test_images, test_labels, args.repeats)
            compare("ablating a module", spelled(model.sizes), times, "batched")
        some = images[:FILAN_IMAGES], labels[:FILAN_IMAGES]
        times = dropout_training_times(FILAN_NETWORK, DROPOUT, *some, args.repeats)
        compare("training with dropout, 10,000 images", spelled(FILAN_NETWORK), times, "one at a time")
        some = images[:CNN_IMAGES], labels[:CNN_IMAGES]
        times = convolution_training_times(CNN, CNN_BATCH, *some, args.repeats)
        compare(f"training with convolutions, {CNN_IMAGES:,} images", str(CNN), times, "here")
        model, modules = initial_model(CNN, seed=0), channel_modules(CNN)
        some = images[:CNN_LESION_IMAGES], labels[:CNN_LESION_IMAGES]
        times = ablation_times(model, modules, *some, args.repeats)
        compare(f"ablating channels, {CNN_LESION_IMAGES} images", str(CNN), times, "batched")
        times = clustering_times(weights, CLUSTERS, args.repeats)
        compare(f"{CLUSTERS} clusters and n-cut", pruned, times, list(times)[-1])
        times = shuffle_times(weights, CLUSTERS, SHUFFLES)
        compare(f"n-cut of {SHUFFLES} shuffled copies", pruned, times, list(times)[-1])
        some = images[:SIMILARITY_IMAGES], labels[:SIMILARITY_IMAGES]
        times = similarity_times(LANGE_NETWORK, *some, args.repeats)
        task = f"8 similarities of neurons, {SIMILARITY_IMAGES} images"
        compare(task, spelled(LANGE_NETWORK), times, "closed forms")
        times = definition_times(PLANTED_NETWORK, CLUSTERS, FILAN_DATA, args.data_dir)
        compare("modules by one definition", spelled(PLANTED_NETWORK), times, "all together")
    growth = []
    for width in tqdm(WIDTHS, desc="growth"):
        sizes = (PIXELS, width, width, 10)
        edges = sum(inputs * outputs for inputs, outputs in pairwise(sizes))
        times = engine_times(sizes, args.repeats).items()
        growth += [{"engine": name, "edges": edges, "seconds": time} for name, time in times if time is not None]

    machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__} on one thread"
    record = run_record(args, machine=machine)
    save_results(figures / "benchmark", [row | {"machine": machine} for row in rows], record)
    save_results(figures / "benchmark_engines", growth, record)
    save_figure(plot_engine_times(growth, f"784-w-w-10 networks; {machine}"), figures / "benchmark_engines")
    print(machine)
    columns = {"task": "{task}", "network": "{network}", "way": "{way}", "seconds": "{seconds:.3g}"}
    print_table(rows, columns | {"ratio": "{ratio:.3g}"})
    print(f"saved {figures}/benchmark.{{csv,json}} and {figures}/benchmark_engines.{{csv,json,png,pdf}}")


def spelled(sizes):
    return "-".join(map(str, sizes))


def ablations(data_dir):
    """A narrow network with all its modules of one neuron of layer 2 and four of layer 1; a wide one with some.

    Trained for an epoch: what a module can turn depends on how sure a network is.
    """
    images, labels = README_DATA.load(True, data_dir)
    everything = torch.arange(len(labels))
    for sizes, limit in ((README_NETWORK, 10_000), (WIDE_NETWORK, WIDE_MODULES)):
        model, generator = initial_model(sizes, seed=0), torch.Generator().manual_seed(0)
        list(train([model], images, labels, [(everything, everything[:0])], [generator], 1, 128, 1e-3))
        counts = (4, 1) + (0,) * (len(model.hidden_sizes) - 2)
        yield model, matched_modules(counts, model.hidden_sizes, limit, generator)[0]


def channel_modules(architecture):
    """Some modules of a sixteenth of a layer, as many of each hidden layer."""
    widths, generator = architecture.sizes[1:-1], torch.Generator().manual_seed(0)
    counts = [
        tuple(max(1, width // 16) * (place == layer) for place, width in enumerate(widths))
        for layer in range(len(widths))
    ]
    return torch.cat([matched_modules(own, widths, CNN_LESIONS, generator)[0] for own in counts])


def compared(task, size, times, reference):
    """A row per way to do a task, with its time as a multiple of the reference's; None where it would take minutes."""
    rows = []
    for way, seconds in times.items():
        ratio = None if seconds is None else seconds / times[reference]
        rows.append({"task": task, "network": size, "way": way, "seconds": seconds, "ratio": ratio})
    return rows


def session_times(target, beside):
    """Seconds that a target of the Makefile takes: here and, if asked for, in another folder, ever busier."""
    folders = {"here": REPOSITORY} | ({"beside": beside} if beside else {})
    cores = cpu_count()
    crowds = {"idle": 0, "one core busy": 1} | ({f"{cores} cores busy": cores} if cores > 1 else {})
    times = {}
    for (crowd, processes), (name, folder) in product(crowds.items(), folders.items()):
        with ExitStack() as stack, tempfile.TemporaryDirectory() as place:
            workshop = Path(place, "workshop")
            shutil.copytree(folder, workshop, ignore=shutil.ignore_patterns(".*", "*.pt"))
            command = ["make", "-o", ".venv/installed", f"BIN={Path(sys.executable).parent}", target]
            for _ in range(processes):
                spinning = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
                stack.callback(spinning.kill)
            run_it = partial(subprocess.run, cwd=workshop, check=True, capture_output=True)
            times[f"{name}, {crowd}"] = seconds_of(run_it, command)
    return times


if __name__ == "__main__":
    run(main)
