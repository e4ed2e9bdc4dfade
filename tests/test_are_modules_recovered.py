"""Known modules end to end, on real digits."""

import statistics

import pytest
from conftest import succeed
from runs import RECOVERY, figures_are_there, table

import modularity.power
from mlp.checkpoint import load_networks, save_checkpoint
from mlp.network import CONTROL, load_records
from modularity.recovery import DEFINITIONS

STUDIES = "candidates,clusterability,specialization,similarity"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two networks of two halves, and the same two with all weights: (place, what the analysis printed)."""
    place = tmp_path_factory.mktemp("planted")
    options = "--digits 3,5,7,8 --hidden-layers 12,10 --epochs 4 --planted-groups 2 --leak 0,1 --networks 2".split()
    succeed("train.py", *options, "--save-dir", place, "--figures-dir", place)
    options = ["--clusters", "2,4", "--power", STUDIES, "--untrained", "19", "--figures-dir", place]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modularity.power, "CONTROLS", 3)
        return place, succeed(RECOVERY, place / "mlp_mnist3578.pt", *options)


def test_halves_are_found_and_ordinary_networks_have_none(small):
    place, done = small
    rows = table(place / "recovery_networks.csv")
    assert {row["definition"] for row in rows} == set(DEFINITIONS)
    for row in rows:
        assert row["condition"] == f"leak {float(row['leak']):g}"
        assert row["asked"] in ("2", "4") if row["family"] in ("weights", "activations") else row["asked"] == ""
        for score in ("adjusted_rand", "homogeneity"):
            assert row[score] == "" or -1 <= float(row[score]) <= 1 + 1e-9
    for network in "01":
        (cut,) = (
            row
            for row in rows
            if (row["definition"], row["asked"], row["network"]) == ("weights, without pixels", "2", network)
        )
        assert float(cut["adjusted_rand"]) == 1
    lines = {(line["definition"], line["asked"], line["condition"]): line for line in table(place / "recovery.csv")}
    assert len(lines) == 2 * (2 * 6 + 8)
    assert float(lines["backward_jac", "", "leak 0"]["homogeneity_mean"]) > 0.9
    assert float(lines["weights, without pixels", "2", "leak 1"]["adjusted_rand_mean"]) < 0.5
    for (definition, asked, condition), line in lines.items():
        own = [
            row
            for row in rows
            if [row[key] for key in ("definition", "asked", "condition")] == [definition, asked, condition]
        ]
        assert len(own) == int(line["seeds"]) == 2
        mean = sum(float(row["homogeneity"]) for row in own) / 2
        assert float(line["homogeneity_mean"]) == pytest.approx(mean)
    lines = [line for line in done.stdout.splitlines() if line.strip().startswith("weights, without pixels")]
    assert lines[0].split() == ["weights,", "without", "pixels", "1.00", "±", "0.00", *lines[0].split()[6:]]
    assert figures_are_there(place, "recovery", "recovery_clusters", "recovery_power", "recovery_agreement")


def test_halves_serve_their_own_classes(small):
    place, done = small
    rows = table(place / "recovery_function_networks.csv")
    assert len(rows) == 4 * 2
    for row in rows:
        assert 0 <= float(row["own_share"]) <= 1
        assert float(row["excess"]) == pytest.approx(2 * float(row["own_share"]) - 1)
    halves, ordinary = table(place / "recovery_function.csv")
    assert float(halves["own_share_mean"]) > 0.75 > float(ordinary["own_share_mean"])
    assert float(halves["random_own_share_mean"]) < 0.7
    share = f"{100 * float(halves['own_share_mean']):.0f} %"
    assert f"at leak 0, {share} of what silencing a planted group costs is lost by its own classes" in done.stdout


def test_modules_of_candidates_are_pure_where_groups_are(small):
    place, _ = small
    for row in table(place / "recovery_purity_networks.csv"):
        if row["candidates"] == "0":
            assert row["purity"] == row["percentile"] == ""
            continue
        assert 0.5 <= float(row["purity"]) <= 1
        assert 0 < float(row["percentile"]) < 100
        if row["leak"] == "0.0":
            assert float(row["purity"]) == 1


def test_every_study_is_asked(small):
    place, done = small
    rows = table(place / "recovery_power_networks.csv")
    assert {row["study"] for row in rows} == set(STUDIES.split(","))
    assert {row["condition"] for row in rows} == {"leak 0", "leak 1", CONTROL}
    for line in table(place / "recovery_power.csv"):
        keys = "study", "test", "condition"
        own = [row for row in rows if all(row[key] == line[key] for key in keys)]
        assert int(line["networks"]) == len(own)
        assert int(line["modular"]) == sum(float(row["p"]) <= 0.05 for row in own)
        assert 0 <= float(line["low"]) <= float(line["share"]) <= float(line["high"]) <= 1
        assert f"{line['modular']} of {line['networks']}" in done.stdout
    printed = done.stdout.splitlines()[-1]
    assert printed.startswith("Verdict: at leak 0")
    assert "tests call more networks of leak 0 modular than chance, 5 %, allows" in printed


def test_agreement_is_that_of_networks_without_groups(small, tmp_path, many):
    place, _ = small
    rows = table(place / "recovery_agreement_networks.csv")
    assert {row["condition"] for row in rows} == {"leak 1"}
    pairs = len(DEFINITIONS) * (len(DEFINITIONS) - 1) // 2
    assert len(rows) == 2 * pairs

    done = succeed(RECOVERY, many / "mlp_mnist357.pt", "--clusters", "4,3", "--figures-dir", tmp_path)
    stems = {path.stem for path in tmp_path.iterdir()}
    assert stems == {"recovery_agreement", "recovery_agreement_networks"}, "nothing is planted here"
    rows = table(tmp_path / "recovery_agreement_networks.csv")
    assert len(rows) == 4 * pairs
    for pooled in table(tmp_path / "recovery_agreement.csv"):
        own = [row["adjusted_rand"] for row in rows if all(row[key] == pooled[key] for key in ("definition", "other"))]
        assert len(own) == 4
        scores = [float(score) for score in own if score]  # of networks that both divide
        assert pooled["mean"] == "" if not scores else float(pooled["mean"]) == pytest.approx(statistics.mean(scores))
    assert "where nothing is planted, definitions agree" in done.stdout.splitlines()[-1]
    assert "leak" not in done.stdout


def test_softly_planted_groups(tmp_path):
    options = "--digits 3,5,7 --hidden-layers 10,8 --epochs 1 --init clusterable --networks 2 --save-dir".split()
    succeed("train.py", *options, tmp_path, "--figures-dir", tmp_path)
    options = "--clusters 3 --definitions weights,downstream --figures-dir".split()
    done = succeed(RECOVERY, tmp_path / "mlp_mnist357.pt", *options, tmp_path)
    rows = table(tmp_path / "recovery_networks.csv")
    assert {row["groups"] for row in rows} == {"3"}
    assert {row["leak"] for row in rows} == {""}
    assert {row["family"] for row in rows} == {"weights", "downstream"}
    assert len(table(tmp_path / "recovery_function_networks.csv")) == 2 * 3
    assert "recovery_agreement.csv" not in {path.name for path in tmp_path.iterdir()}
    assert "at unpruned" in done.stdout
    networks = load_records(tmp_path / "mlp_mnist357.pt")[0]
    assert all(len(network.groups) == 18 for network in networks)


def test_one_network_tells_nothing_from_chance(small, tmp_path):
    place, _ = small
    options = "--network 0 --clusters 2 --definitions weights --figures-dir".split()
    done = succeed(RECOVERY, place / "mlp_mnist3578.pt", *options, tmp_path)
    verdict = done.stdout.splitlines()[-1]
    assert "find something (interval above 0): none; not told from chance: weights, global, weights, local" in verdict


def test_a_network_called_like_the_controls(many, tmp_path):
    models, about = load_networks(many / "mlp_mnist357.pt")
    save_checkpoint(tmp_path / "control.pt", models[0], classes=about["classes"])
    options = "--clusters 2 --definitions downstream --power candidates --figures-dir".split()
    done = succeed(RECOVERY, tmp_path / "control.pt", *options, tmp_path)
    conditions = {row["condition"] for row in table(tmp_path / "recovery_power.csv")}
    assert conditions == {f"control ({tmp_path / 'control.pt'})", CONTROL}
    assert "of 4 tests call more networks of control (" in done.stdout
