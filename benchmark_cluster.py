"""Measure what a Dask cluster costs and gains: workers on this machine, the same tasks and scripts on 1, 2, 4 of them.

    python benchmark_cluster.py [--parts overhead,speedup,similarity]

Writes cluster_overhead, cluster_speedup and cluster_similarity (.csv and .json) to --figures-dir.
"""

import report.interruption  # first: Ctrl-C while the rest is imported is one sentence, too

import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch

from mlp.data import PIXELS, DataSet
from mlp.files import writable_folder
from report.cluster_speed import clustering_row, different_networks, local_workers, sleeping_row
from report.options import REPOSITORY, Parser, chosen, run, several
from report.results import print_table, run_record, save_results

DIGITS = DataSet("mnist", tuple(range(10)))
SMALL, LARGE = (PIXELS, 64, 64, 10), (PIXELS, 256, 256, 256, 256, 10)
"""The networks of Lange et al. and of Filan et al."""
LENGTHS = {0.0: 400, 0.01: 400, 0.1: 200, 1.0: 40}
"""Seconds of a task, and how many are sent."""
WORKERS = 1, 2, 4
MANY = 16
"""Workers that sleep, to see what one scheduler and one script can keep busy; four times as many tasks."""
NETWORKS_SENT = 200
CLUSTERS, COPIES = 12, 120
SLEEPS = 40
TRAINING = "train.py --separate-batches --recipe lange --dropout 0,0.2,0.5,0.7"
"""The first networks of `make similarity`, of four conditions."""
THREE_TIMES = 30
"""Networks of each, where that has ten."""
ANALYSIS = "are_modules_upstream_downstream.py"


def parse_args(argv):
    parser = Parser("Measure what a Dask cluster costs and gains, with workers on this machine.")
    what = f"what to measure, of {', '.join(PARTS)}; the last takes more than an hour"
    parser.option("--parts", what, several(chosen(PARTS)), "overhead,speedup")
    parser.add_folders()
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    figures = writable_folder(args.figures_dir)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    print(machine)
    for part in args.parts:
        rows = [row | {"machine": machine} for row in PARTS[part](args)]
        about = run_record(args, machine=machine, dask=version("dask"))
        save_results(figures / f"cluster_{part}", rows, about)
        print_table(rows, {key.replace("_", " "): f"{{{key}{spec(rows, key)}}}" for key in rows[0] if key != "machine"})
        print(f"saved {figures}/cluster_{part}.{{csv,json}}")


def spec(rows, key):
    return ":.3g" if any(isinstance(row[key], float) for row in rows) else ""


def overhead(args):
    """Tasks that sleep: what a task costs besides its own time, by its length, by what is sent, by workers."""
    one = different_networks(SMALL, DIGITS, [0])
    rows = []
    for workers in (1, MANY):
        with local_workers(workers) as cluster:
            factor = 4 if workers == MANY else 1
            for seconds, tasks in LENGTHS.items():
                rows.append(sleeping_row(cluster, workers, one, factor * tasks, seconds))
            for sizes in (SMALL, LARGE):  # of which no worker has any yet
                networks = different_networks(sizes, DIGITS, range(1, 1 + NETWORKS_SENT))
                rows.append(sleeping_row(cluster, workers, networks, 1, 0.0))
    return rows


def speedup(args):
    """Shuffled copies of a pruned network, clustered; and tasks that sleep, which need no core."""
    rows = [clustering_row(workers, "processes", LARGE, CLUSTERS, COPIES, workers) for workers in (1, 2)]
    for workers in WORKERS:
        with local_workers(workers) as cluster:
            rows.append(clustering_row(cluster, "workers", LARGE, CLUSTERS, COPIES, workers))
            slept = sleeping_row(cluster, workers, different_networks(SMALL, DIGITS, [0]), SLEEPS, 1.0)
            about = {"work": f"{SLEEPS} tasks that sleep 1 s", "by": "workers", "workers": workers}
            rows.append(about | {"seconds": slept["seconds"]})
    return with_speedup(rows, "work", "by")


def similarity(args):
    """The first networks of `make similarity`, three times as many, trained and analysed on one worker and on four."""
    rows, made = [], {}
    with tempfile.TemporaryDirectory() as place:
        for workers in (4, 1):
            folder = Path(place, str(workers))
            checkpoint = folder / "mlp_mnist0123456789.pt"
            commands = {
                "training": [*TRAINING.split(), "--networks", THREE_TIMES, "--save-dir", folder],
                "analysis": [*ANALYSIS.split(), checkpoint],
            }
            with local_workers(workers) as cluster:
                for work, command in commands.items():
                    figures = "--figures-dir", folder / work, "--data-dir", args.data_dir
                    command = [sys.executable, *command, *figures, "--fresh", "--scheduler", cluster.address]
                    start = time.perf_counter()
                    subprocess.run(list(map(str, command)), cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
                    seconds = time.perf_counter() - start
                    rows.append({"work": work, "networks": 4 * THREE_TIMES, "workers": workers, "seconds": seconds})
            made[workers] = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.csv")}
    rows = sorted(rows, key=lambda row: (row["work"], row["workers"]), reverse=True)
    return [row | {"files": len(made[1]), "same_files": made[1] == made[4]} for row in with_speedup(rows, "work")]


def with_speedup(rows, *keys):
    """Each row, with how many times as fast it is as the row of one worker that shares some keys with it."""
    ones = {tuple(row[key] for key in keys): row["seconds"] for row in rows if row["workers"] == 1}
    return [row | {"speedup": ones[tuple(row[key] for key in keys)] / row["seconds"]} for row in rows]


PARTS = {"overhead": overhead, "speedup": speedup, "similarity": similarity}

if __name__ == "__main__":
    run(main)
