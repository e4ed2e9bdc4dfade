"""Tasks: heavy work in parts, each a plain function on one core, many of them over the cores of the machine."""

import tempfile
import threading
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

import torch
from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from mlp import InputError


def mapped(function, tasks, jobs, description, unit="task", steps=None):
    """Yield function(*task) for each task in order, each on one core, while one progress bar moves on.

    Neither the number of jobs nor which task runs where changes a result: sums on one core have one order.
    function, tasks: what another process can be sent, and only what is cheap to send.
    jobs: processes at the same time, at most one per core; a single one is this process.
    steps: None, or how many steps each task takes: then its last argument is a function to call after each of them, and
    the bar counts steps.
    """
    tasks = list(tasks)
    jobs = min(jobs, cpu_count(), len(tasks))
    bar = tqdm(total=sum(steps) if steps else len(tasks), desc=description, unit=unit)
    here = jobs <= 1
    watched = _watched(bar) if steps and not here else nullcontext(bar.update)
    with bar, watched as advance:
        if steps:
            tasks = [(*task, advance) for task in tasks]
        if here:
            done = (on_one_core(function, *task) for task in tasks)
        else:
            done = Parallel(jobs, return_as="generator")(delayed(_refused)(function, *task) for task in tasks)
        try:
            for result in done:
                if isinstance(result, InputError):
                    raise result
                if not steps:
                    bar.update()
                yield result
        except TerminatedWorkerError as error:
            killed = "a process was killed, most likely for want of memory"
            raise InputError(f"--jobs {jobs}: {killed}; choose fewer") from error


def _refused(function, *arguments):
    """As `on_one_core`, but an InputError is returned, so that of several the first in order is raised, not in time."""
    try:
        return on_one_core(function, *arguments)
    except InputError as error:
        return error


def on_one_core(function, *arguments):
    """Call a function with the threads of torch, BLAS and OpenMP limited to one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            return function(*arguments)
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _watched(bar):
    """A function that other processes call to move a bar: each call makes a file longer by a byte."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "steps")
        path.touch()
        over = threading.Event()

        def look():
            with suppress(OSError):
                if done := path.stat().st_size - bar.n:
                    bar.update(done)

        def watch():
            while not over.wait(0.2):
                look()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield partial(_lengthen, str(path))
        finally:
            over.set()
            watcher.join()
            look()


def _lengthen(path):
    with suppress(OSError), open(path, "ab", buffering=0) as file:  # work is not lost for want of a progress bar
        file.write(b".")
