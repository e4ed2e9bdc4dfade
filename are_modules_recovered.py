"""Does each definition of a module find the modules that are known to be there?  Recovery, power, agreement.

    python are_modules_recovered.py [CHECKPOINT ...]

Of networks with planted groups (train.py --planted-groups or --init clusterable) it writes to --figures-dir: recovery
(how well each partition agrees with the groups), recovery_function (what the groups do), recovery_purity (modules of
the first study); of networks without groups: recovery_agreement (of each two definitions); and with --power:
recovery_power.  Each is a .csv and .json of what networks say together, with another of every network, <name>_networks;
and recovery, recovery_clusters, recovery_power and recovery_agreement are figures (.png, .pdf).
"""

import report.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

from mlp import InputError
from mlp.files import writable_folder
from mlp.network import CONTROL, refuse_without_images
from modularity.accuracy import readings_of
from modularity.cluster import refuse_unfit_workers
from modularity.partitions import FAMILIES
from modularity.planted import function_rows, group_count, is_ordinary, pooled_function
from modularity.power import CONTROLS, STUDIES, pooled_power, power_rows, refuse_untestable
from modularity.recovery import agreement_rows, found_partitions, headlines, pooled_agreement, pooled_purity
from modularity.recovery import pooled_recovery, purity_row, recovery_rows
from modularity.rows import defined_mean, grouped
from modularity.significance import LEVEL
from report.notes import note_dead_units, note_poor_readings, print_readings
from report.options import MOST_DRAWS, Parser, chosen, integer, run, selected_conditions, several
from report.recovery import places_of, plot_clusters_asked, plot_definitions, plot_power, plot_recovery
from report.results import print_table, run_record, save_results, text
from report.style import save_figure

FOUND = 0.95


def parse_args(argv):
    parser = Parser("Do definitions of a module find planted modules?  Do tests notice them?  Do definitions agree?")
    parser.add_networks(many=True)
    what = f"families of definitions, of {', '.join(FAMILIES)} (default: all)"
    parser.option("--definitions", what, several(chosen(FAMILIES)), tuple(FAMILIES), metavar="FAMILY[,FAMILY...]")
    what = "numbers of clusters to ask for, besides that of the planted groups; agreement is measured at the last"
    parser.option("--clusters", what, several(integer(2)), "2,4,8,12,16", metavar="K[,K...]")
    what = f"studies whose own tests are run on every network, of {', '.join(STUDIES)} (default: none)"
    parser.option("--power", what, several(chosen(STUDIES)), (), metavar="STUDY[,STUDY...]")
    what = f"untrained networks that --power similarity compares with, besides {CONTROLS} controls"
    parser.option("--untrained", what, integer(19, MOST_DRAWS), 99, metavar="N")
    parser.add_work("random sets, untrained networks and the search for clusters")
    parser.add_folders()
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    networks, abouts = selected_conditions(args)
    refuse_few_neurons(networks, args.clusters if {"weights", "activations"} & set(args.definitions) else ())
    refuse_untestable(networks, args.power)
    planted = [network for network in networks if network.groups is not None]
    splits = (False, True) if planted or args.power or set(args.definitions) != {"weights"} else ()
    refuse_without_images(networks, args.data_dir, splits)
    refuse_unfit_workers(args.jobs, [network.data for network in networks], args.data_dir, splits)
    figures = writable_folder(args.figures_dir)
    record = run_record(args, device=args.device, seed=args.seed, checkpoints=abouts)
    where = args.data_dir, args.device, args.jobs
    ordinary = [network for network in networks if is_ordinary(network)]
    readings = readings_of(networks, *where) if splits else []
    note_poor_readings(networks, readings)
    note_dead_units(networks)

    rows, agreements = [], []
    found = found_partitions(networks, args.definitions, args.clusters, args.seed, *where)
    for network, partitions in zip(networks, found, strict=True):  # to the end, where its bar is closed
        if network in planted:
            rows += recovery_rows(network, partitions, args.seed)
        if network in ordinary:
            agreements += agreement_rows(network, partitions, args.clusters[-1])
    findings, saved = [], []
    if planted:
        recovery = pooled_recovery(rows)
        shown = headlines(recovery)
        functions = function_rows(planted, args.seed, *where)
        purities = [purity_row(network, args.seed) for network in planted]
        function, purity = pooled_function(functions), pooled_purity(purities, args.seed)
        save_both(figures / "recovery", recovery, rows, record)
        save_both(figures / "recovery_function", function, functions, record)
        save_both(figures / "recovery_purity", purity, purities, record)
        title = f"Do definitions find planted modules? (n = {networks_of(planted)}; 95 % intervals)"
        save_figure(plot_recovery(shown, function, title), figures / "recovery")
        saved += [f"recovery{what}{{,_networks}}.{{csv,json}}" for what in ("", "_function", "_purity")]
        saved.append("recovery.{png,pdf}")
        if asking := [line for line in recovery if line["asked"] is not None]:
            save_figure(plot_clusters_asked(asking, title), figures / "recovery_clusters")
            saved.append("recovery_clusters.{png,pdf}")
    if args.power:
        tests = power_rows(args.power, networks, args.untrained, args.seed, *where)
        power = pooled_power(tests)
        save_both(figures / "recovery_power", power, tests, record)
        title = (
            f"How often do tests of each study call a network modular? (n = {networks_of(networks)}; 95 % intervals)"
        )
        save_figure(plot_power(power, title), figures / "recovery_power")
        saved += ["recovery_power{,_networks}.{csv,json}", "recovery_power.{png,pdf}"]
    if ordinary:
        agreement = pooled_agreement(agreements)
        save_both(figures / "recovery_agreement", agreement, agreements, record)
        title = f"Agreement of definitions where nothing is planted (n = {len(ordinary)} networks)"
        save_figure(plot_definitions(agreement, title), figures / "recovery_agreement")
        saved += ["recovery_agreement{,_networks}.{csv,json}", "recovery_agreement.{png,pdf}"]

    print_readings(networks, readings)
    if planted:
        print("planted groups, silenced, beside random neurons; and the purity of the candidates' modules:")
        print_function(function, purity)
        print("\nrecovery (adjusted Rand index, or homogeneity where clusters are found), ± half a 95 % interval:")
        print_conditions(shown, ["definition"], interval)
        findings.append(recovered(shown, function))
    if args.power:
        print(f"\nnetworks that tests of each study call modular (p <= {LEVEL}):")
        print_conditions(power, ["study", "test"], "{modular} of {networks}".format_map)
        findings.append(noticed(power))
    if ordinary:
        print("\nagreement where nothing is planted: adjusted Rand index, mean over pairs of definitions:")
        print_agreement(agreement)
        findings.append(agreed(agreement))
    for names in saved:
        print(f"saved {figures}/{names}")
    print(f"Verdict: {'; '.join(findings)}.")


def save_both(stem, lines, rows, record):
    """Save what networks say together under a name, and each of them under the same with _networks."""
    save_results(stem, lines, record)
    save_results(stem.with_name(f"{stem.name}_networks"), rows, record)


def refuse_few_neurons(networks, clusters):
    """Raise InputError if a network has fewer hidden neurons than planted groups, or than clusters are asked for."""
    for network in networks:
        hidden = sum(network.model.hidden_sizes)
        few = f"the networks of {network.condition} have {hidden} hidden neurons"
        if group_count(network) > hidden:
            raise InputError(f"{few}, fewer than planted groups; train wider ones")
        if max(clusters, default=0) > hidden:
            raise InputError(f"--clusters {max(clusters)}: {few}; choose from 2 to {hidden}")


def networks_of(networks):
    """'10 networks each', or how many there are of the condition with the fewest to that with the most."""
    counts = sorted({len(group) for group in grouped([network.identity for network in networks], "condition")})
    return f"{' to '.join(map(str, counts))} networks each"


def in_order(lines):
    """The conditions of some lines, by leak."""
    places = places_of(lines)
    return sorted(grouped(lines, "condition"), key=lambda group: places[group[0]["condition"]])


def print_function(function, purity):
    """A line per condition."""
    lines = [
        group[0] | {f"purity_{key}": value for key, value in group[1].items()} for group in in_order(function + purity)
    ]
    columns = {"condition": "{condition}", "networks": "{seeds}", "lost accuracy": "{change_mean:.1 pp}"}
    for name, key in (("own share", "own_share"), ("of random neurons", "random_own_share")):
        columns[name] = f"{{{key}_mean:.2f}} ({{{key}_low:.2f}} to {{{key}_high:.2f}})"
    columns |= {"purity": "{purity_purity:.2f}"}
    columns |= {"percentile": "{purity_median:.0f} ({purity_low:.0f} to {purity_high:.0f})", "p": "{purity_p:.2g}"}
    print_table(lines, columns)


def print_conditions(lines, keys, cell):
    """A line per value of the keys, a column per condition; cell: what to print of one of the lines."""
    names = [group[0]["condition"] for group in in_order(lines)]
    table = []
    for group in grouped(lines, *keys):
        cells = {line["condition"]: cell(line) for line in group}
        table.append({key: group[0][key] for key in keys} | {name: cells.get(name, "-") for name in names})
    print_table(table)


def interval(line):
    """'0.31 ± 0.04'"""
    half = (line["high"] - line["low"]) / 2
    return text("{:.2f}", line["mean"]) + ("" if half != half else f" ± {half:.2f}")


def print_agreement(lines):
    """A line per kind of pair."""
    pairs = grouped(lines, "pair")
    table = [
        {"families": group[0]["pair"], "pairs": len(group), "mean": defined_mean(line["mean"] for line in group)}
        for group in pairs
    ]
    print_table(table, {"families": "{families}", "pairs": "{pairs}", "mean": "{mean:.2f}"})


def recovered(lines, function):
    """What is found of the groups of the condition that is planted most firmly."""
    first = in_order(lines)[0]
    acting = next(line for line in function if line["condition"] == first[0]["condition"])
    kinds = f"find them (recovery {FOUND} or more)", "find something (interval above 0)", "not told from chance"
    kind_of = {}
    for line in first:
        exact, some = line["mean"] >= FOUND, line["low"] > 0  # NaN is neither
        kind_of[line["definition"]] = kinds[0] if exact else kinds[1] if some else kinds[2]
    share = "at {condition}, {own_share_mean:.0 %} of what silencing a planted group costs is lost by its own classes"
    parts = [text(share, **acting)]
    for kind in kinds:
        parts.append(f"{kind}: {', '.join(name for name in kind_of if kind_of[name] == kind) or 'none'}")
    return "; ".join(parts)


def noticed(lines):
    """How many tests notice the modules that are planted most firmly, and how many cry wolf."""
    first, *_ = in_order([line for line in lines if line["condition"] != CONTROL])
    control = [line for line in lines if line["condition"] == CONTROL]
    often, loud = (sum(not line["at_level"] for line in group) for group in (first, control))
    return (
        f"{often} of {len(first)} tests call more networks of {first[0]['condition']} modular than chance, "
        f"{100 * LEVEL:g} %, allows (99 % binomial interval), and {loud} of {len(control)} more of the controls"
    )


def agreed(lines):
    """How well definitions agree within families and across."""
    within = defined_mean(line["mean"] for line in lines if line["pair"] in FAMILIES)
    across = defined_mean(line["mean"] for line in lines if line["pair"] not in FAMILIES)
    return text(
        "where nothing is planted, definitions agree {:.2f} within families and {:.2f} across (chance: 0)",
        within,
        across,
    )


if __name__ == "__main__":
    run(main)
