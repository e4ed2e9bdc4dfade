"""What the table of studies in README.md says."""

from pages.candidates import candidate_tests, points
from pages.cells import FIGURES, interval, interval_of, with_half_interval
from pages.clusterability import gap
from pages.similarity import similarity_record
from pages.specialization import beside, contrast, unevenness
from runs import table

OTHER_NETWORKS = [
    FIGURES / f"clusterability_{name}" / "clusterability.csv" for name in ("fashion", "halves", "halves_same", "cnn")
]
SPECIALIZATION = FIGURES / "specialization" / "specialization_tests.csv"


def other_networks():
    """The effects of other images, and of convolutions."""
    folder = "clusterability_fashion"
    clothes = gap("pruned", folder=folder, digits=2), gap("pruned", "strength", folder, digits=2)
    yield "clothes {}, beside copies that keep zeros and strengths {}".format(*clothes)
    yield f"with L1 {gap('pruned, l1', folder=folder, digits=2)}"
    yield f"two halves {gap('pruned', folder='clusterability_halves', digits=2)}"
    channels = (
        gap("pruned", null, "clusterability_cnn", digits=2, graph="convolutions only") for null in ("layer", "strength")
    )
    yield "channels of convolutions {}, beside copies that keep zeros and strengths {}".format(*channels)
    folders = "100_fashion", "100_fashion_mean"
    zero, mean = (points(candidate_tests(folder)["selectivity_same_rule"]) for folder in folders)
    yield f"on clothes {zero}, held at the mean {mean}"
    counts = (len({(line["condition"], line["network"]) for line in table(path)}) for path in OTHER_NETWORKS)
    seeds = candidate_tests("100_fashion")["selectivity_same_rule"]["seeds"]
    yield f"| {sum(counts)}, 5 or 10 seeds; first study {seeds} |"


def lines():
    """The effects in the README's table of studies."""
    fresh, mean = map(candidate_tests, ("200_networks", "200_networks_mean"))
    yield f"{points(fresh['selectivity_same_rule'])} more than other neurons with their strongest inputs"
    yield f"held at the mean {points(mean['selectivity_same_rule'])}"
    yield f"{points(fresh['selectivity_matched'])} more than matched random modules"
    yield f"by in-degree alone {points(fresh['selectivity_matched (in-degree alone)'])}"
    scores_of = {
        line["definition"]: line
        for line in table(FIGURES / "recovery" / "recovery.csv")
        if line["condition"] == "leak 0.2" and line["asked"] in ("", "2")
    }
    names = "weights, global", "weights, without pixels", "activations, global"
    scores = [with_half_interval(scores_of[name], "adjusted_rand_") for name in names]
    scores.append(with_half_interval(scores_of["backward_jac"], "homogeneity_"))
    yield "weights {}, without pixels {}; activations {}; downstream gradients {}".format(*scores)
    for rate, words in (("dropout", "(modularity Q), dropout 0 to 0.7:"), ("l1", "with L1")):
        (line,) = (
            line
            for line in similarity_record("similarity")["trends"]
            if (line["regularization"], line["measure"]) == (rate, "all")
        )
        yield f"{words} {interval_of(line, 'change_', 3, '+')}"
    cross = next(line for line in similarity_record("similarity")["contrasts"] if line["other"] == "shuffled")
    difference = interval(cross["difference_low"], cross["difference"], cross["difference_high"], 2, "+")
    yield f"above that of shuffled labels: {difference}"
    dropout, plain = (
        (gap(kind, digits=2), gap(kind, "strength", digits=2), gap(kind, folder="clusterability_rescaled", digits=2))
        for kind in ("pruned, dropout", "pruned")
    )
    words = "pruned with dropout {}, beside copies that keep zeros and strengths {}, after rescaling neurons {}"
    yield words.format(*dropout)
    yield "pruned {} and {}, {}".format(*plain)
    yield f"pruned with L1 {gap('pruned, l1', digits=2)}"
    yield from other_networks()
    tests = {(line["condition"], line["partitioning"], line["measure"]): line for line in table(SPECIALIZATION)}
    cost = [contrast(tests[condition, "weights, global", "accuracy"], sign="+") for condition in ("pruned", "unpruned")]
    yield "pruned {}, unpruned {}".format(*cost)
    first, last = (unevenness()["pruned", "weights, global", layer, "clusters"] for layer in ("1", "4"))
    yield f"layer 1 {beside(first, 'cost')}, layer 4 {beside(last, 'cost')}"
