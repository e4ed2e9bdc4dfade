import numpy
import pytest
import torch
from scipy.stats import spearmanr

from mlp import InputError
from mlp.graph import weight_adjacency
from mlp.model import initial_model
from mlp.modules import spectral_clusters
from mlp.partitions import PARTITIONINGS, partitions, random_partition, squared_correlations

SIZES = (784, 30, 20, 12, 3)


@pytest.fixture(scope="module")
def divided(digit_images):
    model = initial_model(SIZES, seed=0)
    return model, partitions(model, digit_images[0], k=5, seed=0)


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
    assert tuple(labels) == PARTITIONINGS
    assert all(its_labels.shape == (62,) for its_labels in labels.values())
    whole = spectral_clusters(weight_adjacency(model.weights), 5, seed=0)
    assert labels["weights, global"].tolist() == whole[784:-3].tolist()

    activations = model.preactivations(digit_images[0])[:-1]
    similarity = squared_correlations(torch.cat(activations, 1).detach().numpy())
    assert labels["activations, global"].tolist() == spectral_clusters(similarity, 5, seed=0).tolist()


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
    labels = partitions(model, digit_images[0], k=4, seed=0)
    for name, dead in (("weights", [8]), ("activations", [7, 8])):
        for reach in ("global", "local"):
            assert numpy.flatnonzero(labels[f"{name}, {reach}"] < 0).tolist() == dead


def test_activations_that_never_vary_are_refused(digit_images):
    model = initial_model((784, 6, 5, 3), seed=0)
    with torch.no_grad():
        model.weights[0].fill_(0.001)  # all neurons alike, but for the second layer, which is deaf
        model.weights[1][:, 1:] = 0
        model.weights[1][1:] = 0
    with pytest.raises(InputError, match="--clusters 8: only 7 hidden neurons vary"):
        partitions(model, digit_images[0], k=8, seed=0)


def test_preactivations_are_what_the_relu_gets(digit_images):
    model = initial_model(SIZES, seed=0)
    images = digit_images[0]
    values = model.preactivations(images)
    assert [value.shape[1] for value in values] == [30, 20, 12, 3]
    assert torch.equal(values[-1], model(images))
    assert torch.equal(values[1], model.layers[1](values[0].relu()))


def test_a_random_partition_has_parts_of_the_same_sizes():
    labels = numpy.random.default_rng(0).integers(-1, 4, 50)
    shuffled = random_partition(labels, (20, 30), torch.Generator().manual_seed(0))
    assert ((shuffled < 0) == (labels < 0)).all()
    for layer in (slice(0, 20), slice(20, 50)):
        assert sorted(shuffled[layer]) == sorted(labels[layer])
    assert (shuffled != labels).any()
