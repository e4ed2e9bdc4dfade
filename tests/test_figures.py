"""What the figures show: the numbers that they are given, in places and words where they can be found."""

import numpy
import pytest
import scipy
import torch
from conftest import random_weights
from matplotlib.collections import PathCollection

from mlp.data import DataSet
from modularity.agreement import agreement_rows, pooled_modularity
from modularity.centrality import centralities
from modularity.graph import neuron_graph, neuron_name
from modularity.similarity import MEASURES
from report.candidates import plot_ablation
from report.clusters import plot_clusters, plot_gaps
from report.lesions import plot_class_changes, plot_lesions, plot_optimal_images
from report.networks import plot_centralities, plot_network
from report.similarity import plot_agreement, plot_modularity

NULLS = {"layer": "all shuffled", "layer_nonzero": "in their places", "strength": "strengths kept"}


def words(axes):
    return [text.get_text() for text in axes.texts]


def dots(axes):
    """All points of all scatters of a panel."""
    scatters = [marks for marks in axes.collections if isinstance(marks, PathCollection)]
    return [tuple(place) for marks in scatters for place in marks.get_offsets().tolist()]


def gap_rows(condition, gaps, dense):
    rows = []
    for network, gap in enumerate(gaps):
        row = {"graph": "with pixels", "condition": condition, "network": network, "seed": network, "n_cut": 9.0 + gap}
        means = {"layer": 9, "layer_nonzero": 9 if dense else 9.1, "strength": 8.5}
        rows.append(row | {f"{null}_gap": row["n_cut"] - mean for null, mean in means.items()})
    return rows


def test_gaps_are_means_with_their_intervals_and_equal_nulls_are_drawn_once():
    gaps = [-0.5, -0.3, -0.1, 0.2]
    rows = gap_rows("pruned", gaps, dense=False) + gap_rows("dense", gaps, dense=True)
    figure = plot_gaps(rows, NULLS, 12)
    [axes] = figure.axes
    assert words(axes).count("the same") == 1
    drawn = {
        (round(line.get_xdata()[0], 9), round(line.get_ydata()[0], 9)): bars[0].get_segments()[0]
        for line, _, bars in axes.containers
        if numpy.isfinite(line.get_xdata().astype(float)).all()
    }
    assert len(drawn) == 3 + 2
    middle, half = numpy.mean(gaps), scipy.stats.t.ppf(0.975, 3) * scipy.stats.sem(gaps)
    shifts = {0: [0, -0.1, 0.5], 1: [0, None, 0.5]}
    for condition, of_nulls in shifts.items():
        for shift, step in zip(of_nulls, (-0.8 / 3, 0, 0.8 / 3)):
            if shift is not None:
                (low, _), (high, _) = drawn[round(middle + shift, 9), round(condition + step, 9)]
                assert (low, high) == pytest.approx((middle + shift - half, middle + shift + half))
    at_first = sorted(x for x, y in dots(axes) if y == pytest.approx(-0.8 / 3))
    assert at_first == pytest.approx(sorted(gaps))
    assert any(list(line.get_xdata()) == [0, 0] for line in axes.lines)


def test_equal_nulls_both_stand_in_the_legend():
    figure = plot_gaps(gap_rows("dense", [-0.1, 0.2], dense=True), NULLS, 3)
    assert set(NULLS.values()) < {text.get_text() for text in figure.legends[0].get_texts()}


def test_a_single_network_has_gaps_without_an_interval():
    [axes] = plot_gaps(gap_rows("trained", [0.25], dense=False), NULLS, 4).axes
    assert sorted(x for x, _ in dots(axes)) == pytest.approx([0.15, 0.25, 0.75])
    assert not any(len(segment) for _, _, bars in axes.containers for segment in bars[0].get_segments())


def test_clusters_are_drawn_beside_those_of_a_shuffled_copy_on_one_scale():
    graphs = {}
    for place, name in enumerate(("the network", "its weights shuffled")):
        weights = [(1 + place) * weight for weight in random_weights((20, 9, 8, 3), seed=place, pruned=0.5)]
        labels = numpy.arange(40) % 3
        graphs[name] = weights, 1.5 + place, labels
    figure = plot_clusters(graphs, "a network", ["input", "layer 1", "layer 2", "output"])
    titles = [axes.get_title() for axes in figure.axes]
    assert "the network: n-cut 1.50 of 3 clusters" in titles
    assert "its weights shuffled: n-cut 2.50 of 3 clusters" in titles
    images = [image for axes in figure.axes for image in axes.images]
    scales = [image.get_clim() for image in images]
    assert len(images) == 2
    assert scales[0] == scales[1] == (0, max(float(image.get_array().max()) for image in images))


def ablation_row(neuron, members, share, digits=(3, 5)):
    row = {"neuron": neuron, "layer": 1, "members": members}
    for digit in digits:
        row |= {f"accuracy_{digit}": share, f"low_{digit}": max(0, share - 0.1), f"high_{digit}": share + 0.02}
        row |= {f"null_low_{digit}": 0.0, f"null_high_{digit}": 1.0}
    return row


def test_an_accuracy_of_nothing_is_seen_and_a_lone_candidate_is_called_alone():
    rows = [ablation_row("intact", 0, 0.97), ablation_row("L1_0", 1, 0.0), ablation_row("L2_1", 5, 0.9)]
    axes = plot_ablation(rows, DataSet("mnist", (3, 5)), "title").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["L1_0\nalone", "L2_1\nwith 4 others"]
    assert words(axes).count("0.0") == words(axes).count("90.0") == 2
    zero = [(x, y) for x, y in dots(axes) if y == 0]
    assert len(zero) == 2
    widths = [bar.get_width() for bars in axes.containers for bar in getattr(bars, "patches", ())]
    assert len(widths) == 4  # bars of accuracy only: the null is a line beside each
    lines = [segment for marks in axes.collections for segment in getattr(marks, "get_segments", list)()]
    assert sum(numpy.allclose(numpy.transpose(line)[1], [0, 100]) for line in lines) == 4


def lesion(network, layer, cluster, change, kind="clusters", condition="trained"):
    row = {"condition": condition, "network": network, "kind": kind, "layer": layer, "cluster": cluster, "neurons": 5}
    row |= {"change": change, "random_n": 19, "random_change": -0.01, "random_low": -0.02, "random_high": 0.0}
    return row | {"category": "other"} | {f"change_{digit}": change * digit for digit in range(3)}


def test_lesions_of_all_networks_of_a_condition_stand_below_those_of_the_first():
    rows = [lesion(network, layer, 0, -0.1 * layer - 0.01 * network) for network in (0, 1, 2) for layer in (1, 2)]
    elsewhere = [lesion(0, layer, 0, -0.7, condition="other") for layer in (1, 2)]
    figure = plot_lesions(rows + elsewhere, "the first")
    assert len(figure.axes) == 4
    for layer, upper, lower in zip((1, 2), figure.axes[:2], figure.axes[2:]):
        assert [y for _, y in dots(upper)] == pytest.approx([-10 * layer])
        assert numpy.allclose(sorted(dots(lower)), [(number, -10 * layer - number) for number in range(3)])
    assert {axes.get_yscale() for axes in figure.axes} == {"symlog"}
    assert len(plot_lesions(rows[:2], "alone").axes) == 2


def test_marks_of_lesions_lie_within_their_panels():
    for change in (-0.9, -0.02, -1e-4, 0.3):  # random_low is -0.02
        [axes] = plot_lesions([lesion(0, 1, 0, change), lesion(0, 1, 1, 0.0)], "one").axes
        low, high = axes.get_ylim()
        assert low < min(100 * change, 0) <= max(100 * change, 0) < high


def test_the_random_partition_is_drawn_beside_the_clusters_on_one_scale():
    rows = [lesion(0, layer, 0, -0.2) for layer in (1, 2)] + [lesion(0, 2, 0, -0.01, kind="random")]
    figure = plot_class_changes(rows, DataSet("mnist", (0, 1, 2)), "title")
    shown = {axes.get_title(): axes for axes in figure.axes if axes.get_visible() and axes.images}
    assert list(shown) == ["clusters, layer 1", "clusters, layer 2", "random, layer 2"]
    assert len({axes.images[0].norm for axes in shown.values()}) == 1
    assert words(shown["clusters, layer 1"]) == ["20", "40"]
    assert words(shown["random, layer 2"]) == ["1", "2"]


def test_optimal_images_are_shown_as_what_they_have_beyond_random_ones():
    generator = numpy.random.default_rng(0)
    pictures = []
    for neurons in (3, 9, 5, 4, 7):
        images = generator.uniform(size=(2, 28, 28))
        picture = {"layer": 1, "cluster": neurons, "neurons": neurons, "images": images, "scores": [30.0, 20.0]}
        pictures.append(picture | {"random_image": images[1], "random_score": 20.0})
    figure = plot_optimal_images(pictures, "title")
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown[::2]] == [f"cluster {n} ({n})" for n in (9, 7, 5, 4)]
    assert [words(axes)[0] for axes in shown] == ["1.50 ×", "1.00 ×"] * 4
    largest = pictures[1]
    assert numpy.allclose(shown[0].images[0].get_array(), largest["images"][0] - largest["images"][1])
    assert not shown[1].images[0].get_array().any()


def test_candidates_are_named_and_their_names_keep_apart():
    """Two candidates in one place, and one above; a neuron that is none has no name."""
    places = {(1, 0): (5.0, 0.2), (1, 1): (5.0, 0.2), (1, 2): (9.0, 0.21), (1, 3): (1.0, 1.0)}
    table = {node: {"in_degree": x, "betweenness": y} for node, (x, y) in places.items()}
    candidates, limits = [(1, 0), (1, 1), (1, 2)], {1: (5.0, 0.3)}
    [axes] = plot_centralities([table], [candidates], [limits], (0.5, 0.5), "title").axes
    heights = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert set(heights) == {"L1_0", "L1_1", "L1_2"}
    assert numpy.diff(sorted(heights.values())).min() >= 0.05 * 0.8
    assert min(heights.values()) == 0.2
    [axes] = plot_centralities([table] * 2, [candidates] * 2, [limits] * 2, (0.5, 0.5), "title").axes
    assert not axes.texts


def test_a_wide_and_deep_network_stays_readable():
    """Of wide layers those of the highest in-degree are drawn, and layers that do not fit into a line begin another."""
    sizes = 4, 60, 70, *7 * [3], 30
    generator = torch.Generator().manual_seed(0)
    strengths = [torch.rand(after, before, generator=generator) for before, after in zip(sizes, sizes[1:])]
    table = centralities(neuron_graph(strengths))
    chosen = sorted((node for node in table if node[0] == 1), key=lambda node: table[node]["in_degree"])[-2:]
    names = [str(output) for output in range(30)]
    axes = plot_network(strengths[0], strengths, (1, 2, 2), table, chosen, names, "title").axes[0]
    written = [text.get_text() for text in axes.texts]
    assert {"layer 1\n48 of\n60 neurons", "layer 2\n48 of\n70 neurons", "layer 3\n3 neurons"} < set(written)
    assert {neuron_name(node) for node in chosen} < set(written)
    drawn = axes.collections[1].get_offsets()
    assert len(drawn) == 48 + 48 + 7 * 3 + 24
    outputs = sorted(range(30), key=lambda index: table[10, index]["in_degree"])
    assert set(map(str, outputs[-24:])) < set(written) and not set(map(str, outputs[:6])) & set(written)
    limits = {layer: (0.0, 1.0) for layer in range(1, 10)}
    figure = plot_centralities([table], [[]], [limits], (0.5, 0.5), "title")
    assert [axes.get_title().split(" (")[0] for axes in figure.axes] == [f"layer {layer}" for layer in limits]
    assert figure.get_figwidth() <= 15


def modularity_rows():
    generator = numpy.random.default_rng(1)
    return [
        {"condition": condition, "network": seed, "seed": seed, "layer": 1, "measure": measure, "clusters": 3.0}
        | {"q": generator.uniform(0.1, 0.2) + 0.3 * measure.startswith("forward")}
        for condition in ("dropout 0", "l2 1", "random initialisation")
        for measure in MEASURES
        for seed in range(4)
    ]


def test_modularities_are_means_with_intervals_on_a_scale_per_family():
    rows = modularity_rows()
    figure = plot_modularity(rows, pooled_modularity(rows), {"dropout 0": 0.0})
    upstream, downstream = figure.axes[:2], figure.axes[2:4]
    tops = [axes.get_ylim()[1] for axes in figure.axes[:4]]
    assert tops[0] == tops[1] > 0.4 > 0.25 > tops[2] == tops[3]
    for axes, measure in zip([*upstream, *downstream], MEASURES[::2]):
        for condition in ("dropout 0", "l2 1"):
            values = [row["q"] for row in rows if (row["condition"], row["measure"]) == (condition, measure)]
            half = scipy.stats.t.ppf(0.975, 3) * scipy.stats.sem(values)
            wanted = numpy.mean(values) + numpy.array([-half, half])
            bars = [bars[0].get_segments() for _, _, bars in axes.containers]
            ends = [numpy.transpose(segment)[1] for segments in bars for segment in segments]
            assert any(numpy.allclose(end, wanted) for end in ends if len(end))


def test_agreement_says_what_chance_is():
    torch.manual_seed(0)
    generator = numpy.random.default_rng(0)

    class Trained:
        identity, seed = {"condition": "trained", "network": 0}, 0

    class Untrained:
        identity, seed = {"condition": "untrained", "network": 0}, 0

    rows = []
    for network in (Trained, Untrained):
        partitions = {(1, measure): (generator.integers(0, 4, 40), 0.1) for measure in MEASURES}
        rows += agreement_rows(network, partitions)
    figure = plot_agreement(rows, "untrained")
    labels = [label.get_text() for label in figure.axes[-1].get_yticklabels()]
    chance = numpy.mean([row["shuffled"] for row in rows])
    assert labels[0] == f"chance: {chance:.2f}"
    for axes, kind in zip(figure.axes, ("trained", "untrained")):
        own = numpy.mean([row["shuffled"] for row in rows if row["condition"] == kind])
        assert axes.get_title().endswith(f"if labels are shuffled: {own:.2f}")
