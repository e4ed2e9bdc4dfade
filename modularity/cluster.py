"""A cluster: workers of a Dask scheduler, each of which has proved that it can do the work.

A task is given to one worker, and to another one if that is lost; so what Dask is asked for is little more than to
carry parcels there and results back.
"""

import ctypes
import logging
import platform
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, SimpleQueue
from time import monotonic
from uuid import uuid4

from tqdm import tqdm

from mlp import InputError
from mlp.data import DataSet, images_digest
from modularity.parcels import packed, own_folder, spelled_folder, unpacked
from modularity.tasks import on_one_core
from modularity.versions import processor, versions

CONNECTING = 10
"""Seconds in which a scheduler has to answer."""
PROVING = 180
"""Seconds in which a worker has to prove what it has; it imports all packages first, maybe from a slow disk."""
LOOK = 1
"""Seconds between two looks at who is there."""
AHEAD = 2
"""Tasks that a worker is given at a time: one to do, and one that waits."""
MOST_LOSSES = 3
"""Workers that one task may cost: it is then the task that kills them, most likely by its memory."""
HELD = 2**28
"""Bytes of parts that a worker keeps for tasks to come."""
REPORTED = 0.5
"""Seconds between two reports of the steps of a task."""
PROOF, WORK = (
    f"__import__('modularity.cluster', fromlist=['cluster']).{call}"
    for call in ("proof(images, folder)", "work(content, reports, names, parts)")
)
"""What a worker is asked to evaluate: plain text, since a scheduler reads what it passes on, and needs no project; and
a worker that lacks it can say so."""
MMAP_THRESHOLD, TRIM_THRESHOLD = (-3, 2**25), (-1, 2**26)
"""Of glibc's mallopt: which, and the bytes to which malloc raises them by itself."""
START = "python -m distributed.cli.dask_worker SCHEDULER --nthreads 1"


# On a worker


def proof(images, folder):
    """What a worker has.  images: [(name of a data set, classes, train)].  folder: as of `spelled_folder`.

    Returns its host, versions, processor, and digests of the files of images, or why these cannot be read.
    """
    _hold_memory()
    found = {"host": platform.node(), "versions": versions(), "processor": processor(), "images": []}
    try:
        for name, classes, train in images:
            DataSet(name, tuple(classes)).load(train, own_folder(folder))
            found["images"].append(images_digest(name, train, own_folder(folder)))
    except InputError as error:
        found["refusal"] = str(error)
    return found


def work(content, reports, names, parts):
    """Do a task.  content, names, parts: of its Parcel.  reports: None, or the topic for the steps that it has done.

    Returns the content of its result's Parcel, of an InputError if it raised one, and how many steps it took.
    """
    from distributed import get_worker

    function, task = unpacked(content, dict(zip(names, parts)))
    worker, steps, said = get_worker(), 0, monotonic()

    def advance():
        nonlocal steps, said
        steps += 1
        if monotonic() - said > REPORTED:
            said = monotonic()
            worker.log_event(reports[0], [reports[1], steps])

    try:
        result = on_one_core(function, *task, *([advance] if reports else []))
    except InputError as error:
        result = error
    return packed(result, large=None).content, steps


def _hold_memory():
    """Let malloc keep what was freed, as it would by itself.

    Dask's nanny has it return all but 64 KiB at once (MALLOC_TRIM_THRESHOLD_), which costs training half of its speed.
    """
    with suppress(OSError, AttributeError, TypeError):  # of a C library other than glibc
        library = ctypes.CDLL(None)
        for parameter, value in (MMAP_THRESHOLD, TRIM_THRESHOLD):
            library.mallopt(parameter, value)


# Here


@dataclass
class _Worker:
    """A worker that is fit.  tasks: {key: (future, number)} in the order in which it does them.
    parts: {digest: (future, bytes)} that it holds, those needed last at the end.  group: what its last task shared."""

    address: str
    host: str
    tasks: dict = field(default_factory=dict)
    parts: OrderedDict = field(default_factory=OrderedDict)
    group: tuple = None


class _Queue:
    """Numbers of parcels that wait for a worker, those that share parts side by side: each goes to few workers."""

    def __init__(self, parcels):
        self.parcels, self.groups = parcels, defaultdict(deque)
        for number, parcel in enumerate(parcels):
            self.groups[tuple(parcel.parts)].append(number)
        self.untouched = deque(self.groups)

    def __len__(self):
        return sum(map(len, islice(self.groups.values(), 1000)))  # enough to know whether there are many

    def next_for(self, worker):
        """The next of the group that a worker is at; else of one that nobody has begun, or of the longest."""
        if worker.group not in self.groups:
            while self.untouched and self.untouched[0] not in self.groups:
                self.untouched.popleft()
            longest = max(self.groups, key=lambda group: len(self.groups[group])) if not self.untouched else None
            worker.group = self.untouched.popleft() if self.untouched else longest
        waiting = self.groups[worker.group]
        number = waiting.popleft()
        if not waiting:
            del self.groups[worker.group]
        return number

    def again(self, number):
        """Put a number back, before all others of its group."""
        self.groups[tuple(self.parcels[number].parts)].appendleft(number)


class Cluster:
    """The workers of a Dask scheduler: what `mapped` takes in place of a number of jobs.

    address: of the scheduler, as in tcp://HOST:PORT.  wait: seconds to wait for a fit worker when there is none.
    sent: how many tasks, and how many bytes of their contents, of parts and of results have crossed the network.
    """

    def __init__(self, address, wait):
        self.address, self.wait = address, wait
        self.sent = Counter()
        self._client = None
        self._needs = {"images": [], "folder": ""}
        self._images = []
        self._workers, self._proving, self._unfit = {}, {}, {}
        self._looked = self._last_fit = 0

    def refuse_unfit(self, data_sets=(), data_dir=None, splits=()):
        """Let each worker prove that it can import this project, in the same versions, and has the same images.

        What does not fit is left out with a note.  Raises InputError if nothing is left after `wait` seconds, or if
        the scheduler cannot be reached.
        """
        for data in data_sets:
            for train in splits if data.name else ():
                self._needs["images"].append((data.name, data.classes, train))
                self._images.append(images_digest(data.name, train, data_dir))
        if data_dir:
            self._needs["folder"] = spelled_folder(data_dir)
        self._connect()
        self._workers, self._last_fit = {}, monotonic()  # those that were fit for less prove again
        while self._look() or self._proving or not self._workers:
            messages = SimpleQueue()
            try:
                messages.get(timeout=0.1)
            except Empty:
                pass

    def fit_workers(self):
        """The addresses of the workers that are fit by now."""
        self.refuse_unfit()
        return list(self._workers)

    def results(self, parcels, reports=None):
        """Do tasks on the workers.

        parcels: of (function, arguments).  reports: None, or called with a number and how many steps that task has
        done by now; then the last argument of each function is one to call after each step.
        Yields (number, content of the Parcel of the result) in the order in which they are done.
        Raises InputError as `refuse_unfit`, or if a task is lost with MOST_LOSSES workers; and whatever a task raises.
        """
        if not self._client:
            self.refuse_unfit()
        queue, messages, losses = _Queue(parcels), SimpleQueue(), Counter()
        topic = f"steps-{uuid4().hex}" if reports else None
        if reports:
            self._client.subscribe_topic(topic, lambda event: messages.put(event[1]))
        try:
            while queue or any(worker.tasks for worker in self._workers.values()):
                if monotonic() - self._looked > LOOK:
                    for worker in self._look():
                        self._take_back(worker, queue, losses, reports)
                self._hand_out(queue, parcels, messages, topic)
                done = {}
                for key, steps in _waiting(messages, LOOK):
                    worker = next((worker for worker in self._workers.values() if key in worker.tasks), None)
                    if worker and steps is None:
                        future, number = worker.tasks.pop(key)
                        done[number] = future
                    elif worker:  # and if not, it is of a task that was taken back
                        reports(worker.tasks[key][1], steps)
                for number, outcome in zip(done, self._outcomes(list(done.values()))):
                    if outcome is None:
                        queue.again(number)
                        continue
                    content, steps = outcome
                    self.sent.update(tasks=1, results=len(content))
                    if reports:
                        reports(number, steps)
                    yield number, content
        finally:
            for worker in self._workers.values():
                _release(worker)
            if reports:
                self._client.unsubscribe_topic(topic)

    def _connect(self):
        if self._client:
            return
        try:
            from distributed import Client
        except ImportError:
            remedy = "pip install -r requirements-cluster.txt"
            raise InputError(f"--scheduler {self.address}: needs Dask, which is not installed; {remedy}") from None
        for name in ("distributed", "distributed.client"):  # what matters is said in a sentence of ours
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            self._client = Client(self.address, timeout=CONNECTING, set_as_default=False)
        except (OSError, ValueError, RuntimeError) as error:
            cause = f"no scheduler answers within {CONNECTING} seconds ({_one_line(error)})"
            raise InputError(f"--scheduler {self.address}: {cause}; start one with: dask scheduler") from error

    def _look(self):
        """See who is there: newcomers have to prove what they have.  Returns the fit workers that are lost."""
        self._looked = monotonic()
        try:
            present = self._client.nthreads()
        except (OSError, RuntimeError, CancelledError) as error:
            remedy = "start it and its workers again, and give the same command, which goes on where it was"
            raise InputError(f"--scheduler {self.address}: the scheduler was lost; {remedy}") from error
        lost = [self._workers.pop(address) for address in set(self._workers) - set(present)]
        for known in (self._proving, self._unfit):
            for address in set(known) - set(present):
                del known[address]
        for address in set(present) - set(self._workers) - set(self._proving) - set(self._unfit):
            ask = {"workers": [address], "pure": False}
            host = self._client.submit(platform.node, key=f"host-{uuid4().hex}", **ask)
            answer = self._client.submit(eval, PROOF, dict(self._needs), key=f"proof-{uuid4().hex}", **ask)
            self._proving[address] = host, answer, monotonic() + PROVING
        for address, (host, answer, deadline) in list(self._proving.items()):
            if answer.done() and host.done() or monotonic() > deadline:
                del self._proving[address]
                name, wrong = self._judged(host, answer, present[address])
                if wrong:
                    self._unfit[address] = f"worker {address} on {name} {wrong}"
                    tqdm.write(f"note: {self._unfit[address]}; until then it is left out", file=sys.stderr)
                else:
                    self._workers[address] = _Worker(address, name)
        if self._workers or self._proving:
            self._last_fit = monotonic()
        elif monotonic() - self._last_fit > self.wait:
            there = "; ".join(self._unfit.values()) or f"start some with: {START}"
            raise InputError(f"--scheduler {self.address}: no worker for {self.wait:g} seconds; {there}")
        return lost

    def _judged(self, host, answer, threads):
        """The name of a worker's host, and what is wrong with it, and the remedy: nothing if it is fit."""
        name = host.result() if host.status == "finished" else "a host without an answer"
        if answer.status != "finished":
            error = answer.exception() if answer.status == "error" else None
            if isinstance(error, ImportError):
                remedy = f"start it in a copy of this repository, by {START}"
                return name, f"cannot import this project ({_one_line(error)}); {remedy}"
            said = f"could not prove what it has ({_one_line(error)})" if error else "did not answer"
            return name, f"{said}; see what it has printed, and start it again"
        found = answer.result()
        for package, ours in versions().items():
            theirs = found["versions"].get(package)
            if theirs != ours:
                return name, f"has {package} {theirs}, and this machine {ours}; have the same there, and start it again"
        if threads != 1:
            return name, f"works with {threads} threads; start it with --nthreads 1, and several --nworkers instead"
        if "refusal" in found:
            return name, f"lacks images: {found['refusal']}"
        if found["images"] != self._images:
            return name, "has other images than this machine; copy the files of --data-dir there"
        if found["processor"] != processor():
            kinds = f"{found['processor']}, and this machine {processor()}"
            note = f"worker on {name} has another processor ({kinds}): last digits may differ from those of other runs"
            tqdm.write(f"note: {note}", file=sys.stderr)
        return name, None

    def _hand_out(self, queue, parcels, messages, topic):
        """Give tasks to all workers that have none, and a second one each while there are more than workers."""
        for wanted in range(1, AHEAD + 1):
            if wanted > 1 and len(queue) <= len(self._workers):
                return
            for worker in self._workers.values():
                if not queue.groups:
                    return
                if len(worker.tasks) < wanted:
                    number = queue.next_for(worker)
                    try:
                        self._give(worker, number, parcels[number], messages, topic)
                    except (OSError, RuntimeError, CancelledError):  # it is gone, as the next look will tell
                        queue.again(number)
                        self._looked = 0

    def _give(self, worker, number, parcel, messages, topic):
        missing = {digest: part for digest, part in parcel.parts.items() if digest not in worker.parts}
        if missing:
            named = {f"{digest}-{uuid4().hex}": part for digest, part in missing.items()}
            futures = self._client.scatter(named, workers=[worker.address], hash=False, direct=False)
            for (digest, part), future in zip(missing.items(), futures.values()):
                worker.parts[digest] = future, len(part)
            self.sent.update(parts=sum(map(len, missing.values())))
        for digest in parcel.parts:
            worker.parts.move_to_end(digest)
        parts = [worker.parts[digest][0] for digest in parcel.parts]
        while sum(size for _, size in worker.parts.values()) > HELD and len(worker.parts) > len(parts):
            worker.parts.popitem(last=False)
        key = f"task-{uuid4().hex}"
        what = {"content": parcel.content, "reports": [topic, key] if topic else None}
        what |= {"names": list(parcel.parts), "parts": parts}
        future = self._client.submit(eval, WORK, what, key=key, workers=[worker.address], pure=False)
        worker.tasks[key] = future, number
        self.sent.update(contents=len(parcel.content))
        future.add_done_callback(lambda done: messages.put((done.key, None)))

    def _outcomes(self, futures):
        """Of each future (content of the result, steps), or None if it was lost on its way.  Raises what a task does."""
        from distributed import KilledWorker

        for future in futures:
            if future.status == "error" and not isinstance(future.exception(), KilledWorker):
                raise future.exception()
        try:  # all at once: each journey takes milliseconds
            return self._client.gather(futures)
        except (OSError, RuntimeError, CancelledError, KilledWorker):
            return [None] if len(futures) == 1 else [self._outcomes([future])[0] for future in futures]

    def _take_back(self, worker, queue, losses, reports):
        """The tasks of a worker that is lost wait again; the one that it was doing has cost a worker."""
        for place, (_, number) in enumerate(worker.tasks.values()):
            losses[number] += place == 0
            if losses[number] == MOST_LOSSES:
                lost = f"{MOST_LOSSES} workers were lost at the same task, the last on {worker.host}"
                remedy = "give each more memory, and the same command, which goes on where it was"
                raise InputError(f"--scheduler {self.address}: {lost}; {remedy}")
            queue.again(number)
            if reports:
                reports(number, 0)
        _release(worker)


def refuse_unfit_workers(jobs, data_sets, data_dir, splits=(False, True)):
    """`Cluster.refuse_unfit` where the jobs are a Cluster; nothing where they are processes of this machine."""
    if isinstance(jobs, Cluster):
        jobs.refuse_unfit(dict.fromkeys(data_sets), data_dir, splits)


def _release(worker):
    for future, _ in worker.tasks.values():
        future.cancel()
    worker.tasks.clear()


def _waiting(messages, seconds):
    """All messages that are there; if none is, the first that comes within some seconds."""
    try:
        found = [messages.get(timeout=seconds)]
    except Empty:
        return []
    while not messages.empty():
        found.append(messages.get())
    return found


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__
