"""Power: how often a test of each study calls a network modular, and how often where nothing is to be found.

Each test gives a row per network with its `p`.  Rows of the condition CONTROL are of what nobody selected, trained or
found: random neurons in the candidates' place, networks that were never trained, random partitions.  The share of these
with p <= LEVEL should be LEVEL, or less where few values of p are possible.
"""

from dataclasses import replace
from itertools import product

import numpy
import scipy

from mlp import InputError
from mlp.network import CONTROL, refuse_different
from modularity.ablation import against_controls
from modularity.agreement import measured_partitions
from modularity.candidates import EFFECTS, NULLS, default_null_modules
from modularity.clusterability import NULLS as WEIGHT_NULLS
from modularity.clusterability import clustered, enough_neurons, graphs_of
from modularity.effects import ablation_effects, wilson_interval
from modularity.partitions import RESTARTS
from modularity.planted import described
from modularity.rows import defined_mean, grouped, over_seeds
from modularity.significance import DIGITS, LEVEL, compare_with_shuffles, percentiles_among, rank_p_value
from modularity.similarity import MEASURES
from modularity.specialization import MEASURES as SPECIALITIES
from modularity.specialization import measured_parts, summary

CONTROLS = 20
"""Untrained networks that are controls."""
CHOICES = 999
"""Of random candidates."""
FILAN_CLUSTERS, SHUFFLES = 12, 19
CASPER_CLUSTERS, CASPER_DRAWS = 16, 19
"""As the papers have them, but for the shuffles, of which so many are the fewest that can reach LEVEL."""


def candidate_tests(networks, untrained, seed, data_dir, device, jobs):
    """Do the modules of a network's candidates lie higher among matched modules than chance (study 1)?

    The statistic is the mean percentile of the candidates among matched modules.  It is compared with
    that of CHOICES choices of random modules, a matched one for each candidate, and of as many random neurons of the
    same layers, treated by the same rule.  The control is a choice of the latter kind.  A network without candidates
    is not modular.
    """
    chosen = [default_null_modules(network, seed) for network in networks]
    by_rule = [modules for modules, *_ in chosen]
    matched = [[group for group, _ in groups.values()] for _, _, groups, _ in chosen]
    hits = against_controls(networks, by_rule, matched, data_dir, device, jobs)
    rows = []
    for network, (_, places, groups, others), (intact, own, of_groups) in zip(networks, chosen, hits):
        images = network.data.test_images_per_class(data_dir)
        effects = ablation_effects(intact, own, images)
        nulls = [ablation_effects(intact, group, images) for group in of_groups]
        generator = numpy.random.default_rng(seed + network.number)
        for effect in EFFECTS:
            observed, draws = [], {null: [numpy.empty((1 + CHOICES, 0))] for null in NULLS}
            for counts, null in zip(groups, nulls):
                candidates = [place for place, its_counts in places if its_counts == counts]
                everyone = percentiles_among(null[effect], null[effect])
                of_rule = percentiles_among(null[effect], effects[effect][candidates + others[counts]])
                observed += of_rule[: len(candidates)].tolist()
                draws["matched"].append(generator.choice(everyone, (1 + CHOICES, len(candidates))))
                ranks = generator.random((1 + CHOICES, len(of_rule))).argsort(1)[:, : len(candidates)]
                draws["same_rule"].append(of_rule[ranks])
            draws = {null: numpy.concatenate(parts, axis=1) for null, parts in draws.items()}
            values = {network.condition: observed, CONTROL: draws["same_rule"][0]}
            for (null, its_draws), (condition, percentiles) in product(draws.items(), values.items()):
                row = {"study": "candidates", "test": f"{effect}, {NULLS[null]}", **described(network)}
                row |= {"condition": condition, "value": defined_mean(percentiles), "p": 1.0}
                if places:
                    random = numpy.round(its_draws[1:].mean(1), DIGITS)
                    row["p"] = rank_p_value(round(row["value"], DIGITS), random, "right", strict=False)
                rows.append(row)
    return rows


def clusterability_tests(networks, untrained, seed, data_dir, device, jobs):
    """Is the n-cut of a network below that of its shuffled copies (study 2)?  In each of `graphs_of` networks.

    The controls are untrained networks, whose weights are in random order to begin with.
    """
    rows = []
    for graph in graphs_of(networks):
        everyone = networks + untrained[:CONTROLS]
        results = clustered(everyone, FILAN_CLUSTERS, SHUFFLES, seed, jobs, graph)
        for network, result in zip(everyone, results):
            for null in WEIGHT_NULLS:
                compared = compare_with_shuffles(result["n_cut"], result[null])
                row = {"study": "clusterability", "test": f"{graph}, {null}", **described(network)}
                rows.append(row | {"value": result["n_cut"] / compared["mean"], "p": compared["p"]})
    return rows


def specialization_tests(networks, untrained, seed, data_dir, device, jobs):
    """Are the clusters of a network important, are they coherent (study 3)?  Fisher's p over the parts of a partition.

    Ties count against it.  The controls are random partitions with parts of the same sizes.
    """
    parts = measured_parts(networks, CASPER_CLUSTERS, CASPER_DRAWS, seed, data_dir, device, jobs)
    rows = [part["row"] for part in parts]
    which = {(network.condition, network.number): network for network in networks}
    tests = []
    for group in grouped(rows, "condition", "network", "partitioning", "kind"):
        found = summary(group)
        about = described(which[found["condition"], found["network"]])
        condition = {"condition": CONTROL} if found["kind"] == "random" else {}
        for measure in SPECIALITIES:
            row = {"study": "specialization", "test": f"{measure}, {found['partitioning']}", **about, **condition}
            tests.append(row | {"value": found[f"{measure}_effect"], "p": found[f"{measure}_p_conservative"]})
    return tests


def similarity_tests(networks, untrained, seed, data_dir, device, jobs):
    """Is the modularity Q of a network, mean over its layers, above that of untrained ones (study 4)?

    The controls are the first CONTROLS of the untrained networks, compared with the others like the trained ones.
    """
    everyone = networks + untrained
    measured = list(measured_partitions(everyone, [], RESTARTS, seed, data_dir, device, jobs))
    tested = len(networks) + CONTROLS
    rows = []
    for measure in MEASURES:
        values = [defined_mean(q for (_, its), (_, q) in found.items() if its == measure) for found, _ in measured]
        for network, value in zip(everyone, values[:tested]):
            p = rank_p_value(value, values[tested:], "right", strict=False)
            rows.append({"study": "similarity", "test": measure, **described(network), "value": value, "p": p})
    return rows


STUDIES = {
    "candidates": candidate_tests,
    "clusterability": clusterability_tests,
    "specialization": specialization_tests,
    "similarity": similarity_tests,
}


def refuse_untestable(networks, studies):
    """Raise InputError if networks are too small for the tests of some studies, or cannot be compared."""
    needs = {"specialization": CASPER_CLUSTERS, "clusterability": FILAN_CLUSTERS}
    for study, network in product(studies, networks):
        hidden = sum(network.model.hidden_sizes)
        few = study == "specialization" and hidden < CASPER_CLUSTERS
        few |= study == "clusterability" and not all(
            enough_neurons([network], FILAN_CLUSTERS, graph) for graph in graphs_of([network])
        )
        if few:
            small = f"the networks of {network.condition} have too few neurons for {needs[study]} clusters"
            raise InputError(f"--power {study}: {small}; leave it out")
    if "similarity" in studies:
        refuse_different(networks)


def power_rows(studies, networks, untrained, seed, data_dir, device, jobs):
    """The tests of some STUDIES, one after the other.  untrained: how many networks of that kind to compare with."""
    first, baseline = networks[0], []
    if {"clusterability", "similarity"} & set(studies):
        baseline = [replace(first.untrained(k, seed + k), condition=CONTROL) for k in range(CONTROLS + untrained)]
    return [row for study in studies for row in STUDIES[study](networks, baseline, seed, data_dir, device, jobs)]


def pooled_power(rows):
    """The share of networks of each condition, and of the controls, that each test calls modular.

    With its 95 % Wilson interval; `value` is the mean of the statistic, with its interval over seeds.  at_level:
    whether there are no more than the upper end of a 99 % binomial interval allows at LEVEL.
    """
    lines = []
    for group in grouped(rows, "study", "test", "condition"):
        modular = sum(row["p"] <= LEVEL for row in group)
        share = modular / len(group)
        low, high = wilson_interval(share, len(group))
        line = {key: group[0][key] for key in ("study", "test", "condition")}
        line["leak"] = numpy.nan if line["condition"] == CONTROL else group[0]["leak"]
        line |= {"networks": len(group), "modular": modular, "share": share, "low": low, "high": high}
        line["at_level"] = bool(modular <= scipy.stats.binom.ppf(0.995, len(group), LEVEL))
        lines.append(line | over_seeds(group, "value", "value_"))
    return lines
