"""Do neurons see alike, or act alike?  Upstream and downstream similarity of the neurons of a layer (Lange et al. 2022).

    python are_modules_upstream_downstream.py [CHECKPOINT ...]

Writes to --figures-dir upstream_downstream.csv and .json (modularity of each network, layer and measure of similarity),
upstream_downstream_agreement.csv and .json (of each two measures), upstream_downstream_clusters.csv and .json (the
cluster of each neuron), and upstream_downstream_modularity, _matrices and _agreement (.png, .pdf).
"""

from itertools import combinations

import numpy
from scipy import stats
from tqdm import tqdm

from mlp import InputError
from mlp.commandline import (
    Parser,
    add_figures_option,
    add_image_options,
    add_network_options,
    integer,
    real,
    run,
    selected_conditions,
)
from mlp.data import load_digits
from mlp.model import initial_model
from mlp.modules import maximise_modularity
from mlp.results import grouped, percent, print_table, run_record, save_figure, save_results, writable_folder
from mlp.similarity import FAMILIES, MEASURES, pair_group, similarities
from mlp.similarity_plots import plot_agreement, plot_modularity, plot_similarities
from mlp.statistics import compare_partitions, compare_with_untrained, effective_clusters

BASELINE = "untrained"
PAIRS = tuple(combinations(MEASURES, 2))
GROUPS = {
    "UP": "upstream: covariance, input Jacobian",
    "DOWN": "downstream: output Jacobian, Hessian",
    "CROSS": "one upstream, one downstream",
    "NORM": "a measure, and the same normalised",
}
REGULARIZATION = "dropout", "l1", "l2"
SHOWN = "forward_cov_norm", "backward_hess_norm"
"""The measures whose matrices are drawn."""


def parse_args(argv):
    parser = Parser(description="Compare clusters of neurons that see alike with clusters of neurons that act alike.")
    add_network_options(parser, many=True)
    parser.add_argument(
        "--untrained",
        type=integer(2),
        default=24,
        metavar="N",
        help="compare with so many untrained networks (default: %(default)s)",
    )
    parser.add_argument(
        "--restarts",
        type=integer(1),
        default=100,
        help="of the search for the best partition of each layer (default: %(default)s)",
    )
    parser.add_argument(
        "--least-accuracy",
        type=real(lambda share: 0 <= share <= 1, "from 0 to 1"),
        default=0.8,
        metavar="SHARE",
        help="leave out networks that read a smaller share of the test images right (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=integer(0),
        default=0,
        help="decides the untrained networks and the search for partitions (default: %(default)s)",
    )
    add_figures_option(parser)
    add_image_options(parser)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    networks, abouts = selected_conditions(args)
    refuse_different(networks)
    figures = writable_folder(args.figures_dir)
    images, labels = (tensor.to(args.device) for tensor in load_digits(networks[0]["digits"], False, args.data_dir))
    for network in networks:
        network["accuracy"] = accuracy(network["model"].to(args.device), images, labels)
    trained = accurate(networks, args.least_accuracy)
    untrained = untrained_networks(networks[0], args.untrained, args.seed)
    drawn = extremes(trained)

    rows, agreements, clusters, matrices = [], [], [], []
    for network in tqdm([*trained, *untrained], desc="networks", unit="network"):
        similarity = similarities(network["model"].to(args.device), images)
        partitions = partitioned(similarity, args.restarts, args.seed)
        rows += [modularity_row(network, *key, *partition) for key, partition in partitions.items()]
        agreements += agreement_rows(network, partitions)
        if network["condition"] != BASELINE:
            clusters += cluster_rows(network, partitions)
        if network in drawn:
            matrices.append(drawn_matrices(network, similarity, partitions))
    conditions = adjusted(pooled_modularity(rows))
    trends = adjusted(regularization_trends(trained, rows))
    agreement = pooled_agreement(agreements)

    record = run_record(args, device=args.device, seed=args.seed, checkpoints=abouts)
    pooled = {"conditions": conditions, "trends": trends, "agreement": agreement}
    save_results(figures / "upstream_downstream", rows, record | pooled)
    save_results(figures / "upstream_downstream_agreement", agreements, record)
    save_results(figures / "upstream_downstream_clusters", clusters, record)
    save_figure(plot_modularity(rows), figures / "upstream_downstream_modularity")
    save_figure(plot_similarities(matrices, SHOWN), figures / "upstream_downstream_matrices")
    save_figure(plot_agreement(agreements, MEASURES, BASELINE), figures / "upstream_downstream_agreement")

    for family, measures in FAMILIES.items():
        print(f"modularity Q, {family}: mean ± sd over networks (z: sds of untrained networks above their mean)")
        print_table(printed_modularity(conditions, measures))
        print()
    if trends:
        print("what regularisation does to Q: largest change of the mean (Kendall's tau; *: corrected p <= 0.05)")
        print_table(printed_trends(trends))
        print()
    print("agreement of partitions: element-centric similarity (excess over shuffled labels), and adjusted Rand index")
    print_table(printed_agreement(agreement))
    print(f"saved {figures}/upstream_downstream{{,_agreement,_clusters}}.{{csv,json}}")
    print(f"saved {figures}/upstream_downstream_{{modularity,matrices,agreement}}.{{png,pdf}}")
    for note in notes(networks, rows, args.least_accuracy):
        print(f"note: {note}")
    print(verdict(conditions, trends, agreement))


def refuse_different(networks):
    """Raise InputError unless all networks can be compared with the same untrained ones, layer by layer."""
    for network in networks:
        for what, value in (
            ("layers", network["model"].sizes),
            ("digits", network["digits"]),
            ("init", network["init"]),
        ):
            first = networks[0]["model"].sizes if what == "layers" else networks[0][what]
            if value != first:
                names = f"{networks[0]['condition']} and {network['condition']}"
                raise InputError(f"{names} differ in {what}, {first} and {value}; compare them in runs of their own")


def accuracy(model, images, labels):
    return float((model(images).argmax(1) == labels).double().mean())


def accurate(networks, least):
    """The networks that read the digits well enough.  Raises InputError if there is none."""
    chosen = [network for network in networks if network["accuracy"] >= least]
    if not chosen:
        best = percent(max(network["accuracy"] for network in networks))
        raise InputError(
            f"--least-accuracy {least:g}: the best network reads {best} of the digits; name a smaller share"
        )
    return chosen


def untrained_networks(like, count, seed):
    """Networks as they are before training."""
    models = [initial_model(like["model"].sizes, seed + k, like["init"]) for k in range(count)]
    return [{"condition": BASELINE, "network": k, "model": model, "known": {}} for k, model in enumerate(models)]


def extremes(networks):
    """The names of the first network with the least, and of the first with the most dropout."""
    by_dropout = sorted(networks, key=lambda network: network["known"].get("dropout", 0))
    most = next(other for other in by_dropout if known_dropout(other) == known_dropout(by_dropout[-1]))
    return {name(by_dropout[0]), name(most)}


def name(network):
    return network["condition"], network["network"]


def partitioned(similarity, restarts, seed):
    """The best partition found of each layer by each measure: {(layer, measure): (labels [neurons], Q)}."""
    return {
        (layer, measure): maximise_modularity(matrix, restarts, seed)
        for measure, matrices in similarity.items()
        for layer, matrix in enumerate(matrices, 1)
    }
