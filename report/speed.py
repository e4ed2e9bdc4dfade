"""Speed: seconds that our ways take beside the obvious ways to do the same, and the figure of how they grow."""

import copy
import time
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import prod
from statistics import median

import igraph
import networkx
import torch
from joblib import cpu_count
from matplotlib.ticker import NullFormatter
from sklearn.cluster import SpectralClustering
from torch import nn
from torch.func import hessian, jacrev, vmap
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

from mlp.model import initial_model
from mlp.network import Network
from mlp.training import largest_weights, split_validation, train
from modularity.ablation import ablated_accuracy
from modularity.centrality import betweenness
from modularity.clusterability import COPIES_PER_TASK, clusterings
from modularity.clustering import KMEANS_STARTS, n_cut, spectral_clusters
from modularity.graph import neuron_graph, weight_adjacency, without_isolated
from modularity.recovery import DEFINITIONS, partitions_of
from modularity.similarity import similarities
from modularity.tasks import mapped, on_one_core
from report.panels import figure_of
from report.style import BLUE, RED, YELLOW, styled

BATCH_SIZE = 128
NETWORKX_WORK = 2 * 10**8
"""Nodes times edges beyond which networkx would take minutes and is skipped."""
SLOW_MODULES = 10
"""Modules for which a model is copied."""


def timed(repeats, function, *arguments):
    """Median of the seconds that calls take on one core, after one that warms up."""
    on_one_core(function, *arguments)
    return median(on_one_core(seconds_of, function, *arguments) for _ in range(repeats))


def seconds_of(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


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


def training_times(sizes, counts, data, data_dir, repeats):
    """Seconds per network and epoch, validation included: as tutorials do it, and so many networks side by side."""
    images, labels = data.load(True, data_dir)
    training, validation = split_validation(labels, 0.1, torch.Generator().manual_seed(0))
    transforms = {"transform": ToTensor(), "target_transform": data.classes.index}
    with redirect_stdout(None):  # where torchvision chats
        mnist = MNIST(data_dir, train=True, download=True, **transforms)  # as tutorials read it: one image at a time
    chosen = torch.isin(mnist.targets, torch.tensor(data.classes)).nonzero().flatten()
    ways = {
        "DataLoader, torchvision": lambda part: Subset(mnist, chosen[part].tolist()),
        "DataLoader, tensors": lambda part: TensorDataset(images[part], labels[part]),
    }
    times = {}
    for way, dataset in ways.items():
        loaders = [DataLoader(dataset(part), BATCH_SIZE, shuffle=True) for part in (training, validation)]
        times[way] = timed(repeats, dataloader_epoch, sizes, *loaders)
    for networks in counts:
        models = [initial_model(sizes, seed) for seed in range(networks)]

        def epoch():
            generators = [torch.Generator().manual_seed(0)]
            list(train(models, images, labels, [(training, validation)], generators, 1, BATCH_SIZE, 1e-3))

        times[f"{networks} at once"] = timed(repeats, epoch) / networks
    return times


def dataloader_epoch(sizes, training, validation):
    """An epoch as tutorials write it."""
    layers = [layer for ends in pairwise(sizes) for layer in (nn.Linear(*ends), nn.ReLU())]
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


def ablation_times(model, modules, images, labels, repeats):
    """Seconds per module, with a copied model for each or all by masks."""
    loader = DataLoader(TensorDataset(images, labels), batch_size=BATCH_SIZE)

    def copies():
        for module in modules[:SLOW_MODULES]:
            lesioned = copy.deepcopy(model)
            with torch.no_grad():
                for weight, silent in zip(lesioned.weights[1:], module.split(model.hidden_sizes)):
                    weight[:, silent] = 0
            dataloader_accuracy(lesioned, loader)

    times = {"copied model, DataLoader": timed(repeats, copies) / SLOW_MODULES}
    for way, device in devices().items():
        its_model, *its_images = (part.to(device) for part in (copy.deepcopy(model), images, labels))
        seconds = timed(repeats, ablated_accuracy, its_model, modules, *its_images)
        times[way.replace("here", "batched")] = seconds / len(modules)
    return times


def dropout_training_times(sizes, dropout, images, labels, repeats):
    """Seconds for 10,000 images, evaluation after the epoch included."""
    everything = torch.arange(len(labels))

    def plain():
        hidden = [(nn.Linear(*ends), nn.ReLU(), nn.Dropout(dropout)) for ends in pairwise(sizes[:-1])]
        model = nn.Sequential(*(layer for group in hidden for layer in group), nn.Linear(*sizes[-2:]))
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
        models = [initial_model(sizes, seed=0)]
        list(train(models, images, labels, splits, generators, 1, BATCH_SIZE, 1e-3, dropout=dropout))

    ways = {"plain loop, images in memory": plain, "one at a time": ours}
    return {way: timed(repeats, function) * 10_000 / len(images) for way, function in ways.items()}


def convolution_training_times(architecture, batch_size, images, labels, repeats):
    """Seconds for an epoch of a `convolutional` network, and to read all images, as tutorials do it and here."""
    everything = torch.arange(len(labels))

    def plain():
        layers = []
        for layer, window in zip(architecture.layers, architecture.weight_shapes):
            layers += [nn.MaxPool2d(2) for _ in layer.pools]
            if layer.kernel:
                layers += [nn.Conv2d(window[1], layer.units, layer.kernel, padding=layer.padding), nn.ReLU()]
            else:
                layers += [nn.Flatten(), nn.Linear(prod(window[1:]), layer.units), nn.ReLU()]
        model = nn.Sequential(*layers[:-1])
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        maps = images.unflatten(1, architecture.input_shape)
        for batch in torch.randperm(len(maps)).split(batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(maps[batch]), labels[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            return sum(
                (model(some).argmax(1) == own).sum().item()
                for some, own in zip(maps.split(batch_size), labels.split(batch_size))
            )

    def ours(device):
        splits, generators = [(everything, everything[:0])], [torch.Generator().manual_seed(0)]
        models = [initial_model(architecture, seed=0).to(device)]
        list(train(models, images.to(device), labels.to(device), splits, generators, 1, batch_size, 1e-3))

    ways = {"plain loop, images in memory": plain} | {way: partial(ours, device) for way, device in devices().items()}
    return {way: timed(repeats, function) for way, function in ways.items()}


def devices():
    """Where a way of ours runs."""
    return {"here": "cpu"} | ({"here, on a GPU": "cuda"} if torch.cuda.is_available() else {})


def pruned_weights(sizes, zeros):
    """Random weights with this share of zeros."""
    model = initial_model(sizes, seed=0, init="glorot")
    weights = [weight.detach() for weight in model.weights]
    return without_isolated([weight * largest_weights(weight.unsqueeze(0), zeros)[0] for weight in weights])


def clustering_times(weights, clusters, repeats):
    """Seconds for one clustering and its n-cut, which is part of the name; the last is ours."""
    adjacency = weight_adjacency(weights)
    settings = {"affinity": "precomputed", "n_init": KMEANS_STARTS, "random_state": 0}

    def theirs():
        clustering = SpectralClustering(clusters, eigen_solver="arpack", **settings).fit(adjacency)
        return n_cut(adjacency, clustering.labels_)

    def ours():
        return n_cut(adjacency, spectral_clusters(adjacency, clusters, seed=0))

    names = f"SpectralClustering (n-cut {theirs():.2f})", f"spectral_clusters (n-cut {ours():.2f})"
    return dict(zip(names, (timed(repeats, theirs), timed(repeats, ours))))


def shuffle_times(weights, clusters, shuffles):
    """Seconds to shuffle, cluster and cut, from one process to as many as there are cores."""

    def copies(jobs):
        keys = [[(0, 0, place + k) for k in range(COPIES_PER_TASK)] for place in range(0, shuffles, COPIES_PER_TASK)]
        list(mapped(clusterings, [(weights, "layer", clusters, 0, some) for some in keys], jobs, "clusterings"))

    copies(cpu_count())  # starts the other processes
    return {f"on {jobs} core{'s' * (jobs > 1)}": seconds_of(copies, jobs) for jobs in sorted({1, cpu_count()})}


def similarity_times(sizes, images, labels, repeats):
    """Seconds for all measures of both hidden layers, in double precision."""
    model = initial_model(sizes, seed=0).double()
    images = images.double()
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


def definition_times(sizes, clusters, data, data_dir):
    """Seconds to divide the hidden neurons by each definition of a module alone, and by all, which share much."""
    network = Network(initial_model(sizes, seed=0), data)

    def divided(names):  # a new record, since what is computed of a network is kept
        partitions_of(replace(network), names, (clusters,), 0, data_dir, torch.device("cpu"))

    divided(DEFINITIONS[:1])  # warms up
    ways = {name: [name] for name in DEFINITIONS} | {"all together": DEFINITIONS}
    return {way: on_one_core(seconds_of, divided, names) for way, names in ways.items()}


@styled
def plot_engine_times(rows, title):
    """Seconds against edges, a line per engine: rows with `engine`, `edges`, `seconds`."""
    figure, [[axes]] = figure_of(6, 4)
    for engine, color, marker in (("networkx", RED, "s"), ("igraph", YELLOW, "^"), ("layered", BLUE, "o")):
        points = sorted((row["edges"], row["seconds"]) for row in rows if row["engine"] == engine)
        axes.plot(*zip(*points), color=color, marker=marker, label=engine)
    axes.set(xscale="log", yscale="log", xlabel="edges", ylabel="seconds for the betweenness of all neurons")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")  # a power of ten would be mathematics, which is not parsed
        axis.set_minor_formatter(NullFormatter())
    axes.set_title(title, fontsize=9)
    axes.legend()
    return figure
