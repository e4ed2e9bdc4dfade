"""The numbers of the pages are those of the committed files: new results cannot leave the prose behind."""

import math
import re
from collections import Counter

import pages.candidates
import pages.clusterability
import pages.clusters
import pages.known_modules
import pages.other_networks
import pages.readme
import pages.similarity
import pages.specialization
import pages.speed
import pytest
from conftest import REPOSITORY
from pages.cells import FIGURES, PUBLISHED, number
from runs import table

from mlp.checkpoint import save_checkpoint
from mlp.data import DataSet
from mlp.model import initial_model
from mlp.network import load_records

PAGES = {
    "README.md": pages.readme,
    "docs/known_modules.md": pages.known_modules,
    "docs/candidates.md": pages.candidates,
    "docs/specialization.md": pages.specialization,
    "docs/similarity.md": pages.similarity,
    "docs/clusterability.md": pages.clusterability,
    "docs/speed.md": pages.speed,
    "docs/clusters.md": pages.clusters,
    "docs/other_networks.md": pages.other_networks,
}


@pytest.mark.parametrize("page", PAGES)
def test_pages_say_what_the_files_say(page):
    said = " ".join((REPOSITORY / page).read_text().split())
    missing = [line for line in PAGES[page].lines() if " ".join(line.split()) not in said]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("page", PAGES)
def test_no_number_in_a_table_is_written_by_hand(page):
    """Each row below the head of a table, if it has a number, holds a line that was made from the files."""
    made = [" ".join(line.split()) for line in PAGES[page].lines()]
    tables = re.findall(r"^\| ---.*\n((?:\|.*\n)+)", (REPOSITORY / page).read_text(), re.MULTILINE)
    rows = [row for body in tables for row in body.splitlines() if re.search(r"\d", row)]
    assert rows
    by_hand = [row for row in rows if not any(line in " ".join(row.split()) for line in made)]
    assert not by_hand, "\n".join(by_hand)


def test_the_front_door_is_short_and_no_page_is_unfinished():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 200
    for page in (REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")):
        assert "TODO" not in page.read_text(), page.name


def examples(page):
    """The Python that a page shows, block by block."""
    return re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(), re.DOTALL)


def test_examples_of_own_networks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    (tmp_path / "mlp").mkdir()
    save_checkpoint("mlp/mlp_mnist357.pt", initial_model((784, 8, 8, 8, 3), seed=0), classes=[3, 5, 7])
    names = {}
    printed = []
    for block in examples("docs/own_network.md"):
        exec(block, names)
        printed.append(capsys.readouterr().out)
    shapes, accuracies, cut, communities = printed
    assert shapes == "[(8, 1), (20, 8), (3, 20)]\n"
    ((own,), _) = load_records("cnn.pt")
    assert own.data == DataSet("mnist", (3, 5, 7))
    assert len(re.findall(r"\d\.\d*", accuracies)) == 3
    assert 0 < float(cut) < 4
    assert len(re.findall(r"-?\d+", communities.split("]")[0])) == 8


def test_example_of_methods_prints_the_page_s_p_values(monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    (block,) = examples("docs/methods.md")
    exec(block, {})
    printed = [number(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    lines = (REPOSITORY / "docs" / "methods.md").read_text().splitlines()
    start = lines.index("| measure | shared | separate | KS p |") + 2
    assert printed == [line.split("|")[-2].strip() for line in lines[start : start + len(printed)]]


def test_published_checks_of_known_modules():
    """Of the run of the README: what must be found, what must not, and that tests keep their level."""
    for line in table(FIGURES / "recovery" / "recovery.csv"):
        if line["asked"] in ("", "2"):
            score = float(line["homogeneity_mean" if line["asked"] == "" else "adjusted_rand_mean"])
            if line["condition"] == "leak 0" and line["definition"] in ("backward_jac", "weights, without pixels"):
                assert score >= 0.95
            if line["condition"] == "leak 1":
                assert abs(score) <= 0.05, line["definition"]
            for name in ("adjusted_rand", "homogeneity"):
                assert abs(float(line[f"shuffled_{name}_mean"])) <= 0.05
    for folder in ("recovery", "recovery_16"):
        for line in table(FIGURES / folder / "recovery_power.csv"):
            if line["condition"] == "control" and "matched" not in line["test"]:
                assert line["at_level"] == "True", line["test"]


def test_published_values_say_where_they_come_from():
    rows = table(PUBLISHED)
    for row in rows:
        assert None not in row and None not in row.values(), f"too many or too few columns: {row}"
        assert all(row[column].strip() for column in ("work", "condition", "quantity", "formula")), row
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{7}: \S.*", row["source"]), row
        assert (REPOSITORY / "docs" / f"{row['study']}.md").exists(), row
        assert math.isfinite(float(row["value"])), row
        assert row["spread"] == "" or float(row["spread"]) >= 0, row
        assert row["n"] == "" or int(row["n"]) > 0, row
    keys = Counter((row["source"], row["condition"], row["quantity"]) for row in rows)
    assert [key for key, times in keys.items() if times > 1] == []
