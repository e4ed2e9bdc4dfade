"""Measure how fast this repository is, side by side with the obvious ways to do the same.

    python benchmark.py

Writes benchmark.csv and .json, and benchmark_engines.csv, .json, .png and .pdf to --figures-dir.
"""

import report.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

import copy
import os
import platform
import time
from itertools import pairwise
from statistics import median

import igraph
import networkx
import torch
from joblib import Parallel, cpu_count, delayed
from sklearn.cluster import SpectralClustering
from torch import nn
from torch.func import hessian, jacrev, vmap
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor
from tqdm import tqdm

from are_modules_clusterable import shuffled
from mlp.ablation import ablated_accuracy
from mlp.commandline import Parser, add_data_option, add_figures_option, integer, run
from mlp.data import load_digits
from mlp.graph import betweenness, neuron_graph, weight_adjacency, without_isolated
from mlp.model import PIXELS, initial_model
from mlp.modules import KMEANS_STARTS, matched_modules, n_cut, spectral_clusters
from mlp.plots import plot_engine_times
from mlp.results import print_table, run_record, save_results, writable_folder
from mlp.similarity import similarities
from mlp.style import save_figure
from mlp.training import largest_weights, split_validation, train

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


def parse_args(argv):
    parser = Parser(
        description="Measure how fast this repository is, side by side with the obvious ways to do the same."
    )
    parser.add_argument(
        "--repeats", type=integer(1), default=3, help="take each time as the median of so many (default: %(default)s)"
    )
    add_data_option(parser)
    add_figures_option(parser)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    figures = writable_folder(args.figures_dir)
    images, labels = load_digits(DIGITS, train=True, data_dir=args.data_dir)
    test_images, test_labels = load_digits(DIGITS, train=False, data_dir=args.data_dir)

    readme = spelled(README_NETWORK)
    rows = []
    for sizes in tqdm(GRAPHS, desc="betweenness"):
        rows += compared("betweenness", spelled(sizes), engine_times(sizes, args.repeats), reference="layered")
    seconds = training_times(args.data_dir, images, labels, args.repeats)
    rows += compared("training a network, per epoch", readme, seconds, reference=f"{max(NETWORKS)} at once")
    seconds = ablation_times(test_images, test_labels, args.repeats)
    rows += compared("ablating a module", readme, seconds, reference="batched")
    seconds = dropout_training_times(args.data_dir, args.repeats)
    rows += compared("training with dropout, 10,000 images", spelled(FILAN_NETWORK), seconds, reference="5 at once")
    pruned = f"{spelled(FILAN_NETWORK)}, 90 % zeros"
    weights = pruned_weights()
    seconds, reference = clustering_times(weights, args.repeats)
    rows += compared(f"{CLUSTERS} clusters and n-cut", pruned, seconds, reference)
    seconds = shuffle_times(weights, args.repeats)
    rows += compared(f"n-cut of {SHUFFLES} shuffled copies", pruned, seconds, reference=list(seconds)[-1])
    seconds = similarity_times(test_images[:SIMILARITY_IMAGES], test_labels, args.repeats)
    task = f"8 similarities of neurons, {SIMILARITY_IMAGES} images"
    rows += compared(task, spelled(LANGE_NETWORK), seconds, reference="closed forms")
    growth = []
    for width in tqdm(WIDTHS, desc="growth"):
        sizes = (PIXELS, width, width, 10)
        edges = sum(inputs * outputs for inputs, outputs in pairwise(sizes))
        times = engine_times(sizes, args.repeats)
        growth += [
            {"engine": name, "edges": edges, "seconds": time} for name, time in times.items() if time is not None
        ]

    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__} on {torch.get_num_threads()} threads"
    )
    record = run_record(args, machine=machine)
    save_results(figures / "benchmark", [row | {"machine": machine} for row in rows], record)
    save_results(figures / "benchmark_engines", growth, record)
    save_figure(plot_engine_times(growth, f"784-w-w-10 networks; {machine}"), figures / "benchmark_engines")
    print(machine)
    print_table([printed(row) for row in rows])
    print(f"saved {figures}/benchmark.{{csv,json}} and {figures}/benchmark_engines.{{csv,json,png,pdf}}")


def spelled(sizes):
    return "-".join(map(str, sizes))


def timed(repeats, function, *arguments):
    """Median of the seconds that calls take, after one that warms up."""
    function(*arguments)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(*arguments)
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def compared(task, size, times, reference):
    """A row per way to do a task, with its time as a multiple of the reference's; None where it was skipped."""
    return [
        {
            "task": task,
            "network": size,
            "way": way,
            "seconds": seconds,
            "ratio": None if seconds is None else seconds / times[reference],
        }
        for way, seconds in times.items()
    ]


def printed(row):
    skipped = row["seconds"] is None
    return {
        "task": row["task"],
        "network": row["network"],
        "way": row["way"],
        "seconds": "skipped: would take minutes" if skipped else f"{row['seconds']:.3g}",
        "ratio": "" if skipped else f"{row['ratio']:.3g}",
    }


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
    mnist = MNIST(data_dir, train=True, **transforms)  # as the tutorials read it: one image at a time
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
    """Seconds per network for 10,000 images, evaluation after the epoch included."""
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

    def together(networks):
        models = [initial_model(FILAN_NETWORK, seed) for seed in range(networks)]
        splits, generators = [(everything, everything[:0])], [torch.Generator().manual_seed(0)]
        list(train(models, images, labels, splits, generators, 1, BATCH_SIZE, 1e-3, dropout=DROPOUT))

    scale = 10_000 / FILAN_IMAGES
    times = {"plain loop, images in memory": timed(repeats, plain) * scale}
    return times | {f"{n} at once": timed(repeats, together, n) * scale / n for n in (1, 5)}


def pruned_weights():
    """Random weights with as many zeros as pruning leaves."""
    model = initial_model(FILAN_NETWORK, seed=0, init="glorot")
    weights = [weight.detach() for weight in model.weights]
    return without_isolated([weight * largest_weights(weight.unsqueeze(0), 0.9)[0] for weight in weights])


def clustering_times(weights, repeats):
    """Seconds for one clustering and its n-cut, which is part of the name; and the name of ours."""
    adjacency = weight_adjacency(weights)
    settings = {"affinity": "precomputed", "n_init": KMEANS_STARTS, "random_state": 0}

    def theirs():
        clustering = SpectralClustering(CLUSTERS, eigen_solver="arpack", **settings).fit(adjacency)
        return n_cut(adjacency, clustering.labels_)

    def ours():
        return n_cut(adjacency, spectral_clusters(adjacency, CLUSTERS, seed=0))

    names = f"SpectralClustering (n-cut {theirs():.2f})", f"spectral_clusters (n-cut {ours():.2f})"
    return dict(zip(names, (timed(repeats, theirs), timed(repeats, ours)))), names[1]


def shuffle_times(weights, repeats):
    """Seconds to shuffle, cluster and cut, from one process to as many as there are cores."""

    def copies(jobs):
        tasks = (delayed(shuffled)(weights, "layer", CLUSTERS, 0, (0, 0, place)) for place in range(SHUFFLES))
        Parallel(n_jobs=jobs)(tasks)

    return {f"on {jobs} cores": timed(repeats, copies, jobs) for jobs in sorted({1, cpu_count()})}


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
