"""What goes wrong on a cluster, and how it ends."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from clusters import running_workers
from conftest import REPOSITORY, call, shell, succeed
from runs import ABLATION, CLUSTERING, same_files
from test_unfinished import killed_half_way

import modularity.cluster
from mlp.data import DataSet
from modularity.cluster import Cluster
from modularity.parcels import DATA_DIR
from report.cluster_speed import running_scheduler


TRAINING = "train.py", *"--networks 120 --epochs 3 --separate-batches".split()  # three tasks
BEGUN = r"training:.*\| [2-9]/\d+ "


def interrupted(command, cwd, shown, happens):
    """Run a script; once its progress bar shows something, something happens.  Returns (status, all that it said)."""
    command = [sys.executable, "-u", *map(str, command)]
    process = subprocess.Popen(command, cwd=cwd, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    said = b""
    while more := os.read(process.stderr.fileno(), 1000):
        said += more
        if happens and re.search(shown, said.decode(errors="replace")):
            happens()
            happens = None
    assert happens is None, said.decode()
    process.stderr.close()
    return process.wait(), said.decode()


def test_a_worker_that_is_killed_half_way_loses_nothing(workshop, tmp_path):
    with running_scheduler(tmp_path) as (_, file, own), running_workers(own, tmp_path, 2) as (victim, _):
        made = "--save-dir", tmp_path / "one", "--figures-dir", tmp_path / "one"
        status, said = interrupted([*TRAINING, *made, "--scheduler", file], workshop, BEGUN, victim.kill)
        assert status == 0, said
        assert victim.poll() == -signal.SIGKILL
    succeed(*TRAINING, "--save-dir", tmp_path / "two", "--figures-dir", tmp_path / "two")
    assert same_files(tmp_path / "one", tmp_path / "two")


def test_a_run_that_loses_all_workers_ends_and_goes_on_with_others(workshop, many, tmp_path):
    """After the wait that was asked for; what was done by then is not done again."""
    command = [
        CLUSTERING,
        many / "mlp_mnist357.pt",
        *"--network 1 --clusters 3 --shuffles 100 --without-pixels".split(),
    ]
    with running_scheduler(tmp_path) as (_, file, own):
        command += ["--scheduler", file, "--wait", "2", "--figures-dir"]
        with running_workers(own, tmp_path, 1) as (only,):
            shown = r"pixels:.*\| [5-9]\d/"
            status, said = interrupted([*command, tmp_path / "one"], workshop, shown, only.kill)
        assert status == 2
        sentence = said.splitlines()[-1]
        assert sentence.startswith(f"{CLUSTERING}: --scheduler {own}: no worker for 2 seconds; start some with: python")
        assert "Traceback" not in said
        with running_workers(own, tmp_path, 1):
            done = shell(*command, tmp_path / "one", cwd=workshop)
        assert done.returncode == 0, done.stderr
        assert "| 0/" not in re.search(r"without pixels:[^\r\n]*", done.stderr).group()
    succeed(*command[:-5], "--figures-dir", tmp_path / "two")
    assert same_files(tmp_path / "one", tmp_path / "two")


def test_a_run_on_a_cluster_that_is_killed_goes_on_where_it_was(workshop, many, tmp_path):
    command = [
        CLUSTERING,
        many / "mlp_mnist357.pt",
        *"--network 2 --clusters 3 --shuffles 100 --without-pixels".split(),
    ]
    with running_scheduler(tmp_path) as (_, _, own), running_workers(own, tmp_path, 2):
        further = "--scheduler", own, "--figures-dir"
        killed_half_way(*command, *further, tmp_path / "one", cwd=workshop, shown=r"pixels:.*\| [5-9]\d/")
        done = shell(*command, *further, tmp_path / "one", cwd=workshop)
    assert done.returncode == 0, done.stderr
    assert "| 0/" not in re.search(r"without pixels:[^\r\n]*", done.stderr).group()
    succeed(*command, "--figures-dir", tmp_path / "two")
    assert same_files(tmp_path / "one", tmp_path / "two")


def test_a_scheduler_that_is_killed_ends_the_run(workshop, tmp_path):
    with running_scheduler(tmp_path) as (process, file, own), running_workers(own, tmp_path, 1):
        made = "--save-dir", tmp_path, "--figures-dir", tmp_path
        command = [*TRAINING, *made, "--scheduler", own]
        status, said = interrupted(command, workshop, r"training:.*\| [1-9]/\d+ ", process.kill)
    assert status == 2
    sentence = said.splitlines()[-1]
    assert sentence.startswith(f"train.py: --scheduler {own}: the scheduler was lost; start it and its workers again")
    assert "Traceback" not in said
    assert not list(tmp_path.glob("*.pt"))


def copied(place, change=False):
    """A copy of the project, whose tasks may be others."""
    for package in ("mlp", "modularity"):
        shutil.copytree(REPOSITORY / package, place / package, ignore=shutil.ignore_patterns("*.pt", "__pycache__"))
    if change:
        with open(place / "modularity" / "rows.py", "a") as file:
            file.write("# another version\n")
    return place


def other_images(place, damaged):
    """A folder of images in which the test images are training images, or nothing that could be read."""
    ours, raw = REPOSITORY / "data" / "MNIST" / "raw", place / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in ours.glob("*.gz"):
        content = path.with_name(path.name.replace("t10k", "train")).read_bytes()
        (raw / path.name).write_bytes(content[:1000] if damaged else content)
    return place


def fit_workers(address):
    cluster = Cluster(address, 30)
    cluster.refuse_unfit([DataSet("mnist", (3, 5, 7))], REPOSITORY / "data", (False, True))
    return len(cluster.fit_workers())


def test_workers_that_do_not_fit_are_left_out_in_a_sentence(many, tmp_path):
    """Which names the host and the remedy; if all are, the run ends before any work."""
    host = re.escape(os.uname().nodename)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    one = "--nthreads", "1", "--no-nanny"
    images = [{DATA_DIR: str(other_images(tmp_path / name, name == "damaged"))} for name in ("other", "damaged")]
    unfit = [
        (r"cannot import this project \(.*modularity.*\); start it in a copy", elsewhere, one, {}),
        ("has this project [0-9a-f]+, and this machine", copied(tmp_path / "changed", change=True), one, {}),
        ("works with 2 threads; start it with --nthreads 1", REPOSITORY, ("--nthreads", "2", "--no-nanny"), {}),
        ("has other images than this machine; copy", REPOSITORY, one, images[0]),
        ("lacks images: .*could not be read.*; delete damaged files", REPOSITORY, one, images[1]),
    ]
    command = [ABLATION, many / "mlp_mnist357.pt", "--null-limit", "20", "--figures-dir"]
    with running_scheduler(tmp_path) as (_, file, own):
        further = "--scheduler", file, "--wait", "20"
        contexts = [running_workers(own, tmp_path, 1, *options, cwd=cwd, **more) for _, cwd, options, more in unfit]
        with contexts[0], contexts[1], contexts[2], contexts[3], contexts[4]:
            done = call(*command, tmp_path / "none", *further)
            assert done.returncode == 2
            assert "no worker for 20 seconds" in done.stderr.splitlines()[-1]
            assert not list((tmp_path / "none").glob("*")) if (tmp_path / "none").exists() else True
            for pattern, *_ in unfit:
                assert re.search(rf"note: worker \S+ on {host} {pattern}.*; it is left out of this run", done.stderr)
            own_images = {DATA_DIR: str(REPOSITORY / "data")}
            with running_workers(own, tmp_path, 1, cwd=copied(tmp_path / "same"), **own_images):
                succeed(*command, tmp_path / "one", *further)
            for name in ("other", "damaged"):  # and who is given the images has them, without being started again
                shutil.copytree(REPOSITORY / "data" / "MNIST", tmp_path / name / "MNIST", dirs_exist_ok=True)
            assert fit_workers(own) == 2
    succeed(*command, tmp_path / "two")
    assert same_files(tmp_path / "one", tmp_path / "two")


def test_no_scheduler_no_workers_and_no_dask_are_one_sentence_each(tmp_path, many, monkeypatch):
    monkeypatch.setattr(modularity.cluster, "CONNECTING", 1)
    command = [ABLATION, many / "mlp_mnist357.pt", "--figures-dir", tmp_path / "figures", "--wait", "1", "--scheduler"]

    def refused(scheduler):
        done = call(*command, scheduler)
        assert (done.returncode, done.stdout) == (2, "")
        assert not list((tmp_path / "figures").glob("*")) if (tmp_path / "figures").exists() else True
        return done.stderr

    assert re.fullmatch(
        r".*: --scheduler tcp://127.0.0.1:9: no scheduler answers within 1 seconds.*\n", refused("tcp://127.0.0.1:9")
    )
    with running_scheduler(tmp_path) as (_, file, own):
        assert re.fullmatch(f".*: --scheduler {own}: no worker for 1 seconds; start some with: .*\n", refused(file))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert "no scheduler answers within 1 seconds" in refused(f"tcp://127.0.0.1:{port}")
    assert "needs certificates, and Dask's configuration names none" in refused("tls://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert refused("tcp://127.0.0.1:9").endswith(
        "needs Dask, which is not installed; pip install -r requirements-cluster.txt\n"
    )


@pytest.mark.parametrize(
    "content, complaint",
    [(None, "is no file; give the address"), ("", "names no address"), ('{"address": 5}', "names no address")],
)
def test_what_is_no_scheduler_is_refused(content, complaint, tmp_path):
    file = tmp_path / "scheduler.json"
    if content is not None:
        file.write_text(content)
    done = call(CLUSTERING, "--scheduler", file)
    assert done.returncode == 2
    assert f"argument --scheduler: '{file}' {complaint}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_jobs_are_those_of_the_cluster():
    done = call(CLUSTERING, "--scheduler", "tcp://127.0.0.1:9", "--jobs", "2")
    assert done.returncode == 2
    assert done.stderr == f"{CLUSTERING}: argument --scheduler: its workers are the jobs; leave --jobs out\n"
    done = call(CLUSTERING, "--wait", "5")
    said = "argument --wait: is for workers of a --scheduler; name one, or leave --wait out"
    assert (done.returncode, done.stderr) == (2, f"{CLUSTERING}: {said}\n")
