"""How fast a cluster on this machine is: tasks that sleep, to see what sending them costs, and tasks that work."""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from mlp import InputError
from mlp.model import initial_model
from mlp.network import Network
from modularity.cluster import Cluster
from modularity.clusterability import COPIES_PER_TASK, clusterings
from modularity.graph import without_isolated
from modularity.tasks import mapped
from modularity.unfinished import begin, until_success
from modularity.versions import REPOSITORY
from report.speed import pruned_weights

WAIT = 120
"""Seconds in which the workers have to be there."""
LOCAL = "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"
"""Of a scheduler or a worker that no other machine can reach."""
ZEROS = 0.9
"""The share of weights that are pruned."""


def sleeping(network, seconds, number):
    """A task that keeps no core busy, so that many workers fit on one machine; its result is small.

    number: which of the tasks with this network it is, for each result is kept at a place of its own.
    """
    time.sleep(seconds)
    return seconds


@contextmanager
def running(program, *options, cwd=REPOSITORY, **environment):
    """A scheduler, or workers of one, started as docs/clusters.md says: the process, which ends with the block."""
    command = [sys.executable, "-m", f"distributed.cli.dask_{program}", *map(str, options), "--no-dashboard"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=cwd, env=os.environ | environment, **quiet) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def running_scheduler(folder):
    """A scheduler of this machine: its process, the file that it has written into a folder, and its address."""
    file = Path(folder, "scheduler.json")
    options = *LOCAL, "--port", "0", "--scheduler-file", file
    with running("scheduler", *options, cwd=folder) as process:  # where it cannot import this project
        address = None
        while not address:
            if process.poll() is not None:
                raise InputError("no scheduler could be started; pip install -r requirements-cluster.txt")
            time.sleep(0.1)
            with suppress(OSError, ValueError):  # it is not there yet, or half of it is
                address = json.loads(file.read_text(encoding="utf-8"))["address"]
        yield process, file, address


@contextmanager
def local_workers(count):
    """A scheduler and so many workers that are processes of this machine: the Cluster."""
    with tempfile.TemporaryDirectory() as folder, running_scheduler(folder) as (_, _, address):
        options = f"--nthreads 1 --nworkers {count} --memory-limit 0 --local-directory".split()
        with running("worker", address, *LOCAL, *options, folder):
            cluster, began = Cluster(address, WAIT), time.monotonic()
            while (there := len(cluster.fit_workers())) < count:
                if time.monotonic() - began > WAIT:
                    raise InputError(f"{there} of {count} workers could be started in {WAIT} seconds; is memory short?")
                time.sleep(0.5)
            yield cluster


def different_networks(sizes, data, seeds):
    """Networks of one shape, a seed for each."""
    return [Network(initial_model(sizes, seed), data) for seed in seeds]


def sleeping_row(cluster, workers, networks, of_each, seconds):
    """Send tasks that sleep, so many of each network: how many of them a second, and what crosses the network."""
    tasks = [(network, seconds, number) for network in networks for number in range(of_each)]
    warm_up = [(None, 0.0, 0)] * 2 * workers
    list(mapped(sleeping, warm_up, cluster, "warm-up"))
    cluster.sent.clear()
    elapsed = seconds_taken(sleeping, tasks, cluster, f"{workers} workers, {seconds:g} s")
    row = {"workers": workers, "task_seconds": seconds, "tasks": len(tasks), "networks": len(networks)}
    row |= {"seconds": elapsed, "tasks_per_second": len(tasks) / elapsed}
    row["busy"] = len(tasks) * seconds / (workers * elapsed)
    row["overhead_seconds"] = elapsed * workers / len(tasks) - seconds
    for kind in ("contents", "parts", "results"):
        row[f"{kind}_bytes"] = cluster.sent[kind] / len(tasks)
    return row


def clustering_row(jobs, by, sizes, clusters, copies, workers):
    """Cluster shuffled copies of a pruned network, as the second study does."""
    weights = without_isolated(pruned_weights(sizes, ZEROS))
    keys = [(0, 0, copy) for copy in range(copies)]
    groups = [keys[first : first + COPIES_PER_TASK] for first in range(0, copies, COPIES_PER_TASK)]
    tasks = [(weights, "layer", clusters, 0, some) for some in groups]
    warm_up = [(weights, "layer", clusters, 0, [])] * 2 * workers
    list(mapped(clusterings, warm_up, jobs, "warm-up", steps=[0] * 2 * workers))
    seconds = seconds_taken(clusterings, tasks, jobs, by, "copy", list(map(len, groups)))
    return {"work": f"{copies} copies of a network, clustered", "by": by, "workers": workers, "seconds": seconds}


def seconds_taken(function, tasks, jobs, *about):
    """How long tasks take, with their results kept on disk meanwhile, as those of a script are."""
    with tempfile.TemporaryDirectory() as folder, until_success(folder):
        begin(fresh=False)
        start = time.perf_counter()
        list(mapped(function, tasks, jobs, *about))
        return time.perf_counter() - start
