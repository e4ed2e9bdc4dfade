import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score

from mlp import InputError
from mlp.data import DataSet
from mlp.model import initial_model
from mlp.network import Network
from modularity.candidates import neurons_of
from modularity.clustering import spectral_clusters
from modularity.communities import maximise_modularity
from modularity.graph import weight_adjacency
from modularity.partitions import CASPER, PARTITIONS, WEIGHTS, squared_correlations, sub_modules
from modularity.similarity import MEASURES, similarities


SIZES = (784, 30, 20, 12, 3)


def partitions(model, images, k):
    network = Network(model, DataSet("mnist", (3, 5, 7)))
    return {name: partition(network, images, k, 0) for name, partition in PARTITIONS.items()}


@pytest.fixture(scope="module")
def divided(digit_images):
    model = initial_model(SIZES, seed=0)
    return model, partitions(model, digit_images[0], k=5)


def test_correlations_equal_scipy():
    activations = numpy.random.default_rng(0).normal(size=(50, 6)).round(1)  # with ties
    activations[:, 4] = 3
    similarity = squared_correlations(activations)
    others = [0, 1, 2, 3, 5]
    expected = spearmanr(activations[:, others]).statistic ** 2
    numpy.fill_diagonal(expected, 0)
    assert similarity[numpy.ix_(others, others)] == pytest.approx(expected)
    assert not similarity[4].any()
    assert not similarity[:, 4].any()


def test_the_four_partitionings(divided, digit_images):
    model, labels = divided
    assert tuple(labels) == (*CASPER, "weights, equal layers", "weights, without pixels", *MEASURES)
    assert tuple(CASPER) == ("weights, global", "weights, local", "activations, global", "activations, local")
    assert all(its_labels.shape == (62,) for its_labels in labels.values())
    whole = spectral_clusters(weight_adjacency(model.weights), 5, seed=0)
    assert labels["weights, global"].tolist() == whole[784:-3].tolist()
    inner = spectral_clusters(weight_adjacency(model.weights[1:]), 5, seed=0)
    assert labels["weights, without pixels"].tolist() == inner[:-3].tolist()

    equal = spectral_clusters(weight_adjacency([w / w.abs().sum() for w in model.weights]), 5, seed=0)
    assert labels["weights, equal layers"].tolist() == equal[784:-3].tolist()

    activations = model.preactivations(digit_images[0])[:-1]
    similarity = squared_correlations(torch.cat(activations, 1).detach().numpy())
    assert labels["activations, global"].tolist() == spectral_clusters(similarity, 5, seed=0).tolist()


@pytest.mark.parametrize("exponent", [-90, 60])
def test_the_unit_of_weights_changes_no_clusters_of_weights(exponent):
    """Multiplied by 1e-27 to 1e18, by powers of 2, which round nothing away."""
    models = [initial_model((60, 12, 10, 3), seed=1) for _ in range(2)]
    with torch.no_grad():
        for weight in models[1].weights:
            weight.mul_(2.0**exponent)
    networks = [Network(model, DataSet(None, (0, 1, 2))) for model in models]
    for name in ("weights, global", "weights, local", *WEIGHTS):
        labels, others = (PARTITIONS[name](network, None, 4, 0).tolist() for network in networks)
        assert labels == others, name


def test_communities_by_similarity_are_those_of_each_layer(divided, digit_images):
    model, labels = divided
    for measure, matrices in similarities(model, digit_images[0]).items():
        parts = numpy.split(labels[measure], [30, 50])
        for part, matrix in zip(parts, matrices, strict=True):
            expected, _ = maximise_modularity(matrix, 100, seed=0)
            assert adjusted_rand_score(part, expected) == 1
            assert ((part < 0) == (expected < 0)).all()
        assert len(set(labels[measure]) - {-1}) == sum(len(set(part) - {-1}) for part in parts)


@pytest.mark.parametrize("kind", ["weights", "activations"])
def test_a_layer_has_as_many_clusters_locally_as_globally(divided, kind):
    _, labels = divided
    ends = [30, 50]
    for globally, locally in zip(
        numpy.split(labels[f"{kind}, global"], ends), numpy.split(labels[f"{kind}, local"], ends)
    ):
        assert len(set(globally)) == len(set(locally))


def test_local_partitionings_see_one_layer(divided, digit_images):
    """Another network beyond the neighbours of a layer changes nothing for it."""
    model, labels = divided
    activations = model.preactivations(digit_images[0])[1].detach().numpy()
    middle = labels["activations, local"][30:50]
    expected = spectral_clusters(squared_correlations(activations), len(set(middle)), seed=0)
    assert middle.tolist() == expected.tolist()
    neighbours = spectral_clusters(weight_adjacency(model.weights[1:3]), len(set(labels["weights, local"][30:50])), 0)
    assert labels["weights, local"][30:50].tolist() == neighbours[30:50].tolist()


def test_dead_neurons_belong_nowhere(digit_images):
    model = initial_model(SIZES, seed=0)
    with torch.no_grad():
        model.weights[0][7] = 0  # constant: no activation to correlate with, though its outgoing weights are edges
        model.weights[1][:, 8] = model.weights[0][8] = 0
    labels = partitions(model, digit_images[0], k=4)
    for name, dead in (("weights", [8]), ("activations", [7, 8])):
        for reach in ("global", "local"):
            assert numpy.flatnonzero(labels[f"{name}, {reach}"] < 0).tolist() == dead


def test_activations_that_never_vary_are_refused(digit_images):
    model = initial_model((784, 6, 5, 3), seed=0)
    with torch.no_grad():
        model.weights[0].fill_(0.001)  # all neurons alike, but for the second layer, which is deaf
        model.weights[1][:, 1:] = 0
        model.weights[1][1:] = 0
    network = Network(model, DataSet("mnist", (3, 5, 7)))
    for name in ("activations, global", "activations, local"):
        with pytest.raises(InputError, match="--clusters 8: only 7 hidden neurons vary"):
            PARTITIONS[name](network, digit_images[0], k=8, seed=0)


@given(st.lists(st.integers(1, 4), min_size=3, max_size=5), st.integers(0, 10**6))
def test_sub_modules_equal_brute_force(sizes, seed):
    labels = numpy.random.default_rng(seed).integers(-1, 3, sum(sizes))
    names, modules = sub_modules(labels[sizes[0] : -sizes[-1]], sizes[1:-1])
    nodes = [(layer, index) for layer, size in enumerate(sizes) for index in range(size)]
    expected = {}
    for node, label in zip(nodes, labels.tolist()):
        if label >= 0 and 0 < node[0] < len(sizes) - 1:
            expected.setdefault((node[0], label), []).append(node)
    assert names == sorted(expected)
    assert [neurons_of(module, sizes[1:-1]) for module in modules] == [expected[name] for name in names]
