import os
import re
import subprocess
import sys
import time
from itertools import count

import pytest
import torch
from conftest import call, shell, succeed
from runs import CLUSTERING, same_files

import modularity.unfinished
import report.options
from mlp import InputError
from mlp.data import DataSet
from mlp.files import replacing
from modularity import versions
from modularity.tasks import mapped
from modularity.unfinished import begin, until_success

DATA = DataSet("mnist", (3, 5, 7))


def noted(folder, number):
    """A task that leaves a mark of each time that it is done."""
    with open(folder.parent / "done", "a") as file:
        file.write(f"{number}\n")
    if number == 3:
        raise InputError("three: choose another")
    return {"number": number, "tensor": torch.full((3,), float(number))}


def stepping(folder, number, advance):
    for _ in range(number):
        advance()
    return noted(folder, number)


def reading(folder, data, number):
    return noted(folder, number)


def alone(folder, number):
    """A task during which another run succeeds, which leaves the folder of what is unfinished empty."""
    (folder.parent / "unfinished").rmdir()
    return noted(folder, number)


@pytest.fixture
def work(tmp_path):
    """Does tasks in a run that keeps its results, and says which were done: work(numbers, ...)."""
    (tmp_path / "images").mkdir()
    log = tmp_path / "done"

    def run(numbers, jobs=1, fresh=False, fail=True, function=noted, first=(tmp_path / "images",), steps=None):
        log.write_text("")
        found = []
        tasks = [(*first, number) for number in numbers]
        try:
            with until_success(tmp_path / "unfinished"):
                begin(fresh)
                for result in mapped(function, tasks, jobs, "tasks", steps=steps):
                    found.append(result["number"])
                if fail:
                    raise RuntimeError("killed")
        except (RuntimeError, InputError):
            pass
        return found, sorted(map(int, log.read_text().split()))

    run.folder = tmp_path / "unfinished"
    return run


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_done_is_not_done_again(work, jobs, monkeypatch):
    monkeypatch.setattr("modularity.tasks.cpu_count", lambda: 2)
    assert work([0, 1], jobs) == ([0, 1], [0, 1])
    assert work([0, 1, 2, 4], jobs) == ([0, 1, 2, 4], [2, 4])
    assert work([4, 2, 1, 0], jobs) == ([4, 2, 1, 0], [])


def test_a_run_that_succeeds_leaves_nothing(work):
    assert work([0, 1]) == ([0, 1], [0, 1])
    assert len(list(work.folder.iterdir())) == 2
    assert work([0, 1], fail=False) == ([0, 1], [])
    assert not work.folder.exists()
    assert work([0, 1]) == ([0, 1], [0, 1])


def test_a_run_deletes_only_what_is_its_own(work):
    work([0, 1, 2])
    work([1], fail=False)
    assert work([0, 1, 2]) == ([0, 1, 2], [1])


def test_what_was_half_written_is_deleted_with_the_rest(work):
    """As by a process that was killed while it wrote."""
    work([0])
    (place,) = work.folder.iterdir()
    with replacing(place) as temporary:
        temporary.write_bytes(b"whole")
    temporary.write_bytes(b"half")
    assert work([0], fail=False) == ([0], [0])
    assert not work.folder.exists()


def test_a_folder_that_another_run_deletes_is_made_again(work):
    assert work([1], function=alone)[1] == [1]
    assert work([1], function=alone)[1] == []


def test_what_edited_code_returns_is_not_kept(work, monkeypatch):
    """Of a process that began after the edit: the place is named by the code that the run began with."""
    with monkeypatch.context() as edited:
        edited.setattr("modularity.tasks.code_version", count().__next__)
        assert work([1])[1] == [1]
    assert work([1])[1] == [1]
    assert work([1])[1] == []


def test_fresh_starts_over(work):
    work([0, 1])
    assert work([0, 1, 2], fresh=True) == ([0, 1, 2], [0, 1, 2])
    assert work([0, 1, 2]) == ([0, 1, 2], [])


def test_nothing_is_kept_where_nobody_has_asked_for_it(tmp_path):
    (tmp_path / "images").mkdir()
    with until_success(tmp_path / "unfinished"):
        assert len(list(mapped(noted, [(tmp_path / "images", 0)], 1, "tasks"))) == 1
        assert not (tmp_path / "unfinished").exists()
    begin(fresh=False)
    assert len(list(mapped(noted, [(tmp_path / "images", 0)], 1, "tasks"))) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"images", "done"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_refusals_are_not_kept(work, jobs, monkeypatch):
    """And what was done before one in order of the tasks is."""
    monkeypatch.setattr("modularity.tasks.cpu_count", lambda: 2)
    assert work([0, 3], jobs) == ([0], [0, 3])
    assert work([0, 3], jobs) == ([0], [3])


@pytest.mark.parametrize("jobs", [1, 2])
def test_bars_begin_where_the_run_was(work, jobs, monkeypatch, capfd):
    monkeypatch.setattr("modularity.tasks.cpu_count", lambda: 2)
    work([2, 4], jobs, function=stepping, steps=[2, 4])
    capfd.readouterr()
    work([2, 4, 5, 1], jobs, function=stepping, steps=[2, 4, 5, 1])
    shown = [int(done) for done in re.findall(r"\| (\d+)/12 ", capfd.readouterr().err)]
    assert shown[0] == 6
    assert shown == sorted(shown)
    assert shown[-1] == 12


def test_what_decides_a_result_is_its_name(work, monkeypatch):
    """The function, the arguments, the code, the packages and the processor."""
    assert work([1])[1] == [1]
    assert work([1], function=stepping, steps=[1])[1] == [1]
    for name, value in (("versions", {"torch": "0"}), ("processor", "another")):
        with monkeypatch.context() as changed:
            changed.setattr(modularity.unfinished, name, lambda value=value: value)
            assert work([1])[1] == [1], name
    assert work([1])[1] == []


def test_the_images_decide_results_wherever_they_lie(work, tmp_path):
    first, second = (tmp_path / name / "MNIST" / "raw" for name in "ab")
    for raw in (first, second):
        raw.mkdir(parents=True)
        for split, kind in (("train", "images-idx3"), ("t10k", "labels-idx1")):
            (raw / f"{split}-{kind}-ubyte.gz").write_bytes(b"1234")
    read = {"function": reading}
    assert work([1], first=(tmp_path / "a", DATA), **read)[1] == [1]
    assert work([1], first=(tmp_path / "a", DATA), **read)[1] == []
    (first / "t10k-labels-idx1-ubyte.gz").write_bytes(b"1235")
    assert work([1], first=(tmp_path / "a", DATA), **read)[1] == [1]


def test_the_code_s_version_is_its_content(tmp_path, monkeypatch):
    def version_of(content, name="model.py"):
        (tmp_path / "mlp" / name).write_text(content)
        versions.code_version.cache_clear()
        return versions.code_version()

    for package in ("mlp", "modularity"):
        (tmp_path / package).mkdir()
    monkeypatch.setattr(versions, "REPOSITORY", tmp_path)
    try:
        found = [version_of("one"), version_of("two"), version_of("one"), version_of("", "other.py")]
    finally:
        monkeypatch.undo()
        versions.code_version.cache_clear()
    assert found[0] == found[2]
    assert len(set(found)) == 3


@pytest.mark.parametrize("damage", [b"", b"\x80", b"not a pickle", b"\x80\x05cos\nno_such\n."])
def test_what_is_damaged_is_done_again(work, damage):
    work([0, 1])
    for path in work.folder.iterdir():
        path.write_bytes(damage)
    assert work([0, 1]) == ([0, 1], [0, 1])
    assert work([0, 1]) == ([0, 1], [])


def test_results_are_bounded_and_the_oldest_make_room(work, monkeypatch):
    work([0])
    (size,) = {path.stat().st_size for path in work.folder.iterdir()}
    old = time.time() - 1000
    for path in work.folder.iterdir():
        os.utime(path, (old, old))
    work([1])
    monkeypatch.setattr(modularity.unfinished, "LARGEST", 1.5 * size)
    work([2])
    assert work([1])[1] == []
    assert work([0])[1] == [0]


def test_a_folder_of_others_is_not_read(work, capfd):
    work([0])
    work.folder.chmod(0o777)
    assert work([0]) == ([0], [0])
    assert re.search("note: .*others can write there; delete it", capfd.readouterr().err)
    assert work.folder.exists()


def test_where_there_are_no_user_ids_nobody_is_asked_for_one(work, monkeypatch, capfd):
    """As on Windows, which says of each folder that all can write there."""
    monkeypatch.delattr(os, "getuid")
    work([0])
    work.folder.chmod(0o777)
    assert work([0]) == ([0], [])
    assert "note:" not in capfd.readouterr().err


def test_a_folder_that_cannot_be_written_loses_no_work(work, capfd):
    work.folder.write_text("")
    assert work([0]) == ([0], [0])
    assert "note:" in capfd.readouterr().err


def test_only_the_user_can_read_what_is_kept(work):
    work([0])
    assert work.folder.stat().st_mode & 0o777 == 0o700


def killed_half_way(script, *arguments, cwd, shown):
    """Run a script until its progress bar shows something, and kill it: what it had shown."""
    command = [sys.executable, "-u", script, *map(str, arguments)]
    process = subprocess.Popen(command, cwd=cwd, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    seen = b""
    while not re.search(shown, seen.decode(errors="replace")):
        more = os.read(process.stderr.fileno(), 1000)
        assert more, seen.decode()
        seen += more
    process.kill()
    process.wait()
    process.stderr.close()
    return seen.decode()


def test_a_killed_run_goes_on_where_it_was(workshop, many, tmp_path):
    """By the same command, and to the same numbers; there is nothing left of it then."""
    options = [many / "mlp_mnist357.pt", *"--shuffles 12 --clusters 3 --jobs 1".split()]
    command = CLUSTERING, *options, "--figures-dir"
    others = set((workshop / "unfinished").glob("*"))
    killed_half_way(*command, tmp_path / "one", cwd=workshop, shown=r"with pixels:.*\| [2-9]\d/")
    assert set((workshop / "unfinished").glob("*")) > others
    done = shell(*command, tmp_path / "one", cwd=workshop)
    assert done.returncode == 0, done.stderr
    assert "| 0/" not in re.search(r"with pixels:[^\r\n]*", done.stderr).group()
    assert set((workshop / "unfinished").glob("*")) == others
    succeed(*command, tmp_path / "two")
    assert same_files(tmp_path / "one", tmp_path / "two")


def test_bad_input_keeps_what_was_done(many, tmp_path, monkeypatch):
    """A run that ends in a sentence, or by Ctrl-C, has not succeeded."""
    import are_modules_clusterable

    folder = tmp_path / "unfinished"
    monkeypatch.setattr("conftest.tempfile.TemporaryDirectory", lambda: StandingFolder(tmp_path))
    goes_on = "interrupted; every file is as it was, or complete; the same command goes on where it was"
    without = goes_on.replace("command", "command without --fresh")
    ends = [(InputError("something"), 2, [], "something"), (KeyboardInterrupt(), 130, [], goes_on)]
    for error, status, option, said in [*ends, (KeyboardInterrupt(), 130, ["--fresh"], without)]:

        def failing(*arguments, error=error):
            raise error

        monkeypatch.setattr(are_modules_clusterable, "gap_tests", failing)
        options = "--shuffles 2 --clusters 3 --jobs 1 --figures-dir".split()
        done = call(CLUSTERING, many / "mlp_mnist357.pt", *options, tmp_path / "figures", *option)
        assert done.returncode == status
        assert done.stderr.splitlines()[-1] == f"{CLUSTERING}: {said}"
        assert list(folder.iterdir())


class StandingFolder:
    """In place of a temporary folder, one that stays."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        return self.path

    def __exit__(self, *error):
        return False


def test_the_folder_of_the_repository_is_named_in_the_readme():
    assert report.options.UNFINISHED.name == "unfinished"
    words = " ".join((report.options.REPOSITORY / "README.md").read_text().split())
    assert "`unfinished/`" in words
    assert f"{modularity.unfinished.LARGEST / 1e9:g} GB" in words
