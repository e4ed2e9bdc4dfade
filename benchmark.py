"""Measure how fast this repository is, side by side with the obvious ways to do the same, idle and on a busy machine.

    python benchmark.py [--beside FOLDER]

Writes benchmark.csv and .json, and benchmark_engines.csv, .json, .png and .pdf to --figures-dir.
"""

import report.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

import copy
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, redirect_stdout
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from statistics import median

import igraph
import networkx
import torch
from joblib import cpu_count
from sklearn.cluster import SpectralClustering
from torch import nn
from torch.func import hessian, jacrev, vmap
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor
from tqdm import tqdm

from mlp.data import load_digits
from mlp.files import writable_folder
from mlp.model import PIXELS, initial_model
from mlp.training import largest_weights, split_validation, train
from modularity.ablation import ablated_accuracy
from modularity.centrality import betweenness
from modularity.clusterability import COPIES_PER_TASK, clusterings
from modularity.clustering import KMEANS_STARTS, n_cut, spectral_clusters
from modularity.graph import neuron_graph, weight_adjacency, without_isolated
from modularity.nulls import matched_modules
from modularity.similarity import similarities
from modularity.tasks import mapped, on_one_core
from report.options import REPOSITORY, Parser, integer, run
from report.results import print_table, run_record, save_results
from report.speed import plot_engine_times
from report.style import save_figure

DIGITS = (3, 5, 7)
README_NETWORK = (PIXELS, 8, 8, 8, 3)
GRAPHS = [README_NETWORK, (PIXELS, 64, 64, 10), (PIXELS, 256, 256, 256, 256, 10)]
WIDTHS = (4, 8, 16, 32, 64, 128, 256, 512)
"""Of two hidden layers between 784 inputs and 10 outputs: how the cost of betweenness grows."""
NETWORKX_WORK = 2 * 10**8
"""Nodes times edges beyond which networkx would take minutes and is skipped."""
NETWORKS = (1, 10, 100)
BATCH_SIZE = 128
SLOW_MODULES = 10
FILAN_NETWORK = (PIXELS, 256, 256, 256, 256, 10)
FILAN_IMAGES = 6400
DROPOUT = 0.5
CLUSTERS = 12
SHUFFLES = 50
LANGE_NETWORK = (PIXELS, 64, 64, 10)
SIMILARITY_IMAGES = 1000
SESSIONS = {"make: the three scripts": "figures", "make evidence: 100 networks": "evidence"}
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
    images, labels = load_digits(DIGITS, train=True, data_dir=args.data_dir)
    test_images, test_labels = load_digits(DIGITS, train=False, data_dir=args.data_dir)

    readme, filan = spelled(README_NETWORK), spelled(FILAN_NETWORK)
    weights = pruned_weights()
    with tqdm(desc="comparisons", unit="task") as bar:
        rows = []

        def compare(task, network, times, reference):
            rows.extend(compared(task, network, times, reference))
            bar.update()

        for task, target in SESSIONS.items():
            compare(task, readme, session_times(target, args.beside), "here, idle")
        for sizes in GRAPHS:
            compare("betweenness", spelled(sizes), engine_times(sizes, args.repeats), "layered")
        times = training_times(args.data_dir, images, labels, args.repeats)
        compare("training a network, per epoch", readme, times, f"{max(NETWORKS)} at once")
        compare("ablating a module", readme, ablation_times(test_images, test_labels, args.repeats), "batched")
        times = dropout_training_times(args.data_dir, args.repeats)
        compare("training with dropout, 10,000 images", filan, times, "one at a time")
        times = clustering_times(weights, args.repeats)
        compare(f"{CLUSTERS} clusters and n-cut", f"{filan}, 90 % zeros", times, list(times)[-1])
        times = shuffle_times(weights, args.repeats)
        compare(f"n-cut of {SHUFFLES} shuffled copies", f"{filan}, 90 % zeros", times, list(times)[-1])
        times = similarity_times(test_images[:SIMILARITY_IMAGES], test_labels, args.repeats)
        task = f"8 similarities of neurons, {SIMILARITY_IMAGES} images"
        compare(task, spelled(LANGE_NETWORK), times, "closed forms")
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


def timed(repeats, function, *arguments):
    """Median of the seconds that calls take on one core, after one that warms up."""
    on_one_core(function, *arguments)
    return median(on_one_core(seconds_of, function, *arguments) for _ in range(repeats))


def seconds_of(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


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


def engine_times(sizes, repeats):
    """Seconds for the betweenness of every neuron.  networkx and igraph are handed finished graphs, we only weights."""
    weights = initial_model(sizes, seed=0).weights
    work = sum(sizes) * sum(weight.numel() for weight in weights)
    graph = neuron_graph(weights)
    number = {node: place for place, node in enumerate(graph)}
    edges = [(number[source], number[target]) for source, target in graph.edges]
    distances = [distance for _, _, distance in graph.edges(data="distance")]
    twin = igraph.Graph(len(graph), edges, directed=True)
    affordable = work <= NETWORKX_WORK
    return {
        "networkx": timed(1, networkx.betweenness_centrality, graph, None, True, "distance") if affordable else None,
        "igraph": timed(repeats, lambda: twin.betweenness(weights=distances)),
        "layered": timed(repeats, betweenness, weights),
    }


def training_times(data_dir, images, labels, repeats):
    """Seconds per network and epoch, validation included."""
    training, validation = split_validation(labels, 0.1, torch.Generator().manual_seed(0))
    transforms = {"transform": ToTensor(), "target_transform": DIGITS.index}
    with redirect_stdout(None):  # where torchvision chats
        mnist = MNIST(data_dir, train=True, download=True, **transforms)  # as tutorials read it: one image at a time
    chosen = torch.isin(mnist.targets, torch.tensor(DIGITS)).nonzero().flatten()
    ways = {
        "DataLoader, torchvision": lambda part: Subset(mnist, chosen[part].tolist()),
        "DataLoader, tensors": lambda part: TensorDataset(images[part], labels[part]),
    }
    times = {}
    for way, dataset in ways.items():
        loaders = [DataLoader(dataset(part), BATCH_SIZE, shuffle=True) for part in (training, validation)]
        times[way] = timed(repeats, dataloader_epoch, *loaders)
    for networks in NETWORKS:
        models = [initial_model(README_NETWORK, seed) for seed in range(networks)]

        def epoch():
            generators = [torch.Generator().manual_seed(0)]
            list(train(models, images, labels, [(training, validation)], generators, 1, BATCH_SIZE, 1e-3))

        times[f"{networks} at once"] = timed(repeats, epoch) / networks
    return times


def dataloader_epoch(training, validation):
    """An epoch as tutorials write it."""
    layers = [layer for ends in pairwise(README_NETWORK) for layer in (nn.Linear(*ends), nn.ReLU())]
    model = nn.Sequential(nn.Flatten(), *layers[:-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    model.train()
    for images, labels in training:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
    dataloader_accuracy(model, validation)


@torch.no_grad()
def dataloader_accuracy(model, loader):
    model.eval()
    correct = 0
    for images, labels in loader:
        correct += (model(images).argmax(1) == labels).sum().item()
    return correct / len(loader.dataset)


def ablation_times(images, labels, repeats):
    """Seconds per module: every module of one neuron of layer 2 and four of layer 1, or a copied model for each."""
    model = initial_model(README_NETWORK, seed=0)
    modules, _ = matched_modules((4, 1, 0), model.hidden_sizes, limit=10_000, generator=None)
    loader = DataLoader(TensorDataset(images, labels), batch_size=BATCH_SIZE)

    def copies():
        for module in modules[:SLOW_MODULES]:
            lesioned = copy.deepcopy(model)
            with torch.no_grad():
                for weight, silent in zip(lesioned.weights[1:], module.split(model.hidden_sizes)):
                    weight[:, silent] = 0
            dataloader_accuracy(lesioned, loader)

    return {
        "copied model, DataLoader": timed(repeats, copies) / SLOW_MODULES,
        "batched": timed(repeats, ablated_accuracy, model, modules, images, labels) / len(modules),
    }


def dropout_training_times(data_dir, repeats):
    """Seconds for 10,000 images, evaluation after the epoch included."""
    images, labels = load_digits(range(10), train=True, data_dir=data_dir)
    images, labels = images[:FILAN_IMAGES], labels[:FILAN_IMAGES]
    everything = torch.arange(len(labels))

    def plain():
        hidden = [(nn.Linear(*ends), nn.ReLU(), nn.Dropout(DROPOUT)) for ends in pairwise(FILAN_NETWORK[:-1])]
        model = nn.Sequential(*(layer for group in hidden for layer in group), nn.Linear(*FILAN_NETWORK[-2:]))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for batch in torch.randperm(len(images)).split(BATCH_SIZE):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            return (model(images).argmax(1) == labels).sum().item()

    def ours():
        splits, generators = [(everything, everything[:0])], [torch.Generator().manual_seed(0)]
        models = [initial_model(FILAN_NETWORK, seed=0)]
        list(train(models, images, labels, splits, generators, 1, BATCH_SIZE, 1e-3, dropout=DROPOUT))

    ways = {"plain loop, images in memory": plain, "one at a time": ours}
    return {way: timed(repeats, function) * 10_000 / FILAN_IMAGES for way, function in ways.items()}


def pruned_weights():
    """Random weights with as many zeros as pruning leaves."""
    model = initial_model(FILAN_NETWORK, seed=0, init="glorot")
    weights = [weight.detach() for weight in model.weights]
    return without_isolated([weight * largest_weights(weight.unsqueeze(0), 0.9)[0] for weight in weights])


def clustering_times(weights, repeats):
    """Seconds for one clustering and its n-cut, which is part of the name; the last is ours."""
    adjacency = weight_adjacency(weights)
    settings = {"affinity": "precomputed", "n_init": KMEANS_STARTS, "random_state": 0}

    def theirs():
        clustering = SpectralClustering(CLUSTERS, eigen_solver="arpack", **settings).fit(adjacency)
        return n_cut(adjacency, clustering.labels_)

    def ours():
        return n_cut(adjacency, spectral_clusters(adjacency, CLUSTERS, seed=0))

    names = f"SpectralClustering (n-cut {theirs():.2f})", f"spectral_clusters (n-cut {ours():.2f})"
    return dict(zip(names, (timed(repeats, theirs), timed(repeats, ours))))


def shuffle_times(weights, repeats):
    """Seconds to shuffle, cluster and cut, from one process to as many as there are cores."""

    def copies(jobs):
        keys = [[(0, 0, place + k) for k in range(COPIES_PER_TASK)] for place in range(0, SHUFFLES, COPIES_PER_TASK)]
        list(mapped(clusterings, [(weights, "layer", CLUSTERS, 0, some) for some in keys], jobs, "clusterings"))

    copies(cpu_count())  # starts the other processes
    return {f"on {jobs} cores": seconds_of(copies, jobs) for jobs in sorted({1, cpu_count()})}


def similarity_times(images, labels, repeats):
    """Seconds for all measures of both hidden layers, in double precision."""
    model = initial_model(LANGE_NETWORK, seed=0).double()
    images, labels = images.double(), labels[: len(images)]
    modules = [module for layer in model.layers for module in (layer, nn.ReLU())][:-1]

    def differentiated():
        for end in range(2, len(modules), 2):
            before, after = nn.Sequential(*modules[:end]), nn.Sequential(*modules[end:])
            hidden = before(images).detach()
            torch.cov(hidden.T, correction=0)
            seen = vmap(jacrev(before), chunk_size=100)(images)
            (seen @ seen.mT).mean(0)
            done = vmap(jacrev(after))(hidden)
            (done.mT @ done).mean(0)
            vmap(hessian(lambda h, label, after=after: nn.functional.cross_entropy(after(h), label)))(
                hidden, labels
            ).mean(0)

    return {
        "torch.func": timed(repeats, differentiated),
        "closed forms": timed(repeats, similarities, model, images),
    }


if __name__ == "__main__":
    run(main)
