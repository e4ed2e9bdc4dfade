"""Tasks: heavy work in parts, each a plain function on one core, many of them over the cores of the machine."""

import tempfile
import threading
import warnings
from collections import Counter
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

import torch
from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from mlp import InputError
from modularity.parcels import packed, unpacked
from modularity.unfinished import keep, make_room, places_of, recalled
from modularity.versions import code_version

code_version()  # of the code that this process has imported, whatever is edited while it runs


def mapped(function, tasks, jobs, description, unit="task", steps=None):
    """Yield function(*task) for each task in order, each on one core, while one progress bar moves on.

    Neither the number of jobs nor which task runs where changes a result: sums on one core have one order.
    What an earlier run has done already is not done again, see modularity/unfinished.py.
    function, tasks: what another process can be sent, and only what is cheap to send.
    jobs: processes at the same time, at most one per core; a single one is this process.  Or the Cluster that works.
    steps: None, or how many steps each task takes: then its last argument is a function to call after each of them, and
    the bar counts steps.
    """
    tasks = list(tasks)
    places = places_of(function, tasks)
    here = isinstance(jobs, int)
    found = {number: result for number, place in enumerate(places) for result in recalled(place, anywhere=not here)}
    left = [number for number in range(len(tasks)) if number not in found]
    counts = steps or [1] * len(tasks)
    done_before = sum(counts) - sum(counts[number] for number in left)
    work = [(tasks[number], places[number]) for number in left]
    with tqdm(total=sum(counts), initial=done_before, desc=description, unit=unit) as bar:
        if here:
            done = _in_processes(function, work, jobs, bar, steps)
        else:
            done = _on_workers(function, work, jobs, bar, steps)
        with closing(done):
            for number in range(len(tasks)):
                while number not in found:
                    position, result = next(done)
                    found[left[position]] = result
                    make_room()
                    if not steps:
                        bar.update()
                result = found.pop(number)
                if isinstance(result, InputError):
                    raise result
                yield result


def _in_processes(function, work, jobs, bar, steps):
    """Yield (number, result) of the work, [(task, where to keep its result)], in its order."""
    jobs = min(jobs, cpu_count(), len(work))
    here = jobs <= 1
    with _watched(bar) if steps and not here else nullcontext(bar.update) as advance:
        further, code = (advance,) if steps else (), code_version()
        if here:
            done = (_kept(function, (*task, *further), place, code) for task, place in work)
        else:
            parallel = Parallel(jobs, return_as="generator")
            done = parallel(delayed(_kept)(function, (*task, *further), place, code) for task, place in work)
        try:
            yield from enumerate(done)
        except TerminatedWorkerError as error:
            killed = "a process was killed, most likely for want of memory"
            raise InputError(f"--jobs {jobs}: {killed}; choose fewer") from error
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # tasks that nobody waits for any more are cancelled
                done.close()


def _on_workers(function, work, cluster, bar, steps):
    """As `_in_processes`, by a Cluster, in the order in which they are done."""
    moved = Counter()

    def reports(number, done):
        bar.update(done - moved[number])
        moved[number] = done

    shared = {}
    parcels = [packed((function, task), shared=shared) for task, _ in work]
    with closing(cluster.results(parcels, reports if steps else None)) as contents:
        for number, content, alike in contents:
            result = unpacked(content)
            if not isinstance(result, InputError):
                keep(work[number][1], content, alike)
            yield number, result


def _kept(function, task, place, code):
    """What `on_one_core` returns, kept at once; an InputError is returned, so that of several the first is raised.

    code: the version for which the place is; a process that began after an edit has another one.
    """
    try:
        result = on_one_core(function, *task)
    except InputError as error:
        return error
    if code == code_version():
        keep(place, result)
    return result


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
                if done := bar.initial + path.stat().st_size - bar.n:
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
