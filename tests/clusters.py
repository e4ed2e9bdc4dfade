"""Real schedulers, and workers that are processes of this machine, started as docs/clusters.md says."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

from conftest import REPOSITORY


def started(program, *options, cwd, **environment):
    command = [sys.executable, "-m", f"distributed.cli.dask_{program}", *map(str, options), "--no-dashboard"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=cwd, env=os.environ | environment, **quiet)


@contextmanager
def running_scheduler(place):
    """Yields its process, the file that it has written, and its address."""
    file = place / "scheduler.json"
    options = "--host 127.0.0.1 --port 0 --scheduler-file".split()
    process = started("scheduler", *options, file, cwd=place)
    try:
        address = None
        while not address:
            assert process.poll() is None
            time.sleep(0.1)
            with suppress(OSError, ValueError):  # it is not there yet, or half of it is
                address = json.loads(file.read_text())["address"]
        yield process, file, address
    finally:
        process.kill()
        process.wait()


@contextmanager
def running_workers(address, place, count, *options, cwd=REPOSITORY, **environment):
    """Yields the processes of workers, which die when they are killed: no nanny starts them again."""
    options = ["--local-directory", place, *(options or "--nthreads 1 --no-nanny".split())]
    processes = [started("worker", address, *options, cwd=cwd, **environment) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
