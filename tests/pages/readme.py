"""What the table of studies in README.md says."""

from pages.candidates import candidate_tests, points
from pages.cells import FIGURES, interval, with_half_interval
from pages.similarity import similarity_record
from runs import table


def lines():
    """The effects in the README's table of studies."""
    fresh, mean = map(candidate_tests, ("200_networks", "200_networks_mean"))
    yield f"{points(fresh['selectivity_same_rule'])} beyond the same rule around other neurons"
    yield f"held at the mean {points(mean['selectivity_same_rule'])}"
    yield f"beyond matched modules {points(fresh['selectivity_matched'])}"
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
    for rate, words in (("dropout", "mean Q with dropout from 0 to 0.7:"), ("l1", "with L1")):
        (line,) = (
            line
            for line in similarity_record("similarity")["trends"]
            if (line["regularization"], line["measure"]) == (rate, "all")
        )
        yield f"{words} {interval(*(line[f'change_{end}'] for end in ('low', 'mean', 'high')), 3, '+')}"
    cross = next(line for line in similarity_record("similarity")["contrasts"] if line["other"] == "shuffled")
    difference = interval(cross["difference_low"], cross["difference"], cross["difference_high"], 2, "+")
    yield f"above that of shuffled labels: {difference}"
    gaps = {
        (line["condition"], line["shuffle"]): interval(*(line[f"gap_{end}"] for end in ("low", "mean", "high")), 2, "+")
        for line in table(FIGURES / "clusterability" / "clusterability_tests.csv")
        if line["graph"] == "with pixels"
    }
    yield f"pruned with dropout {gaps['pruned, dropout', 'layer']}, beside copies that keep zeros and strengths"
    yield f"zeros and strengths {gaps['pruned, dropout', 'strength']}"
    yield f"pruned {gaps['pruned', 'layer']} and {gaps['pruned', 'strength']}"
    yield f"pruned with L1 {gaps['pruned, l1', 'layer']}"
