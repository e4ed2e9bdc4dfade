"""A cluster: workers of a Dask scheduler, each of which has proved that it can do the work.

A task is given to one worker, and to another one if that is lost; so what Dask is asked for is little more than to
carry parcels there and results back.
"""

import logging
import platform
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic, sleep
from uuid import uuid4

from tqdm import tqdm

from mlp import InputError
from mlp.data import images_digest
from modularity.parcels import spelled_folder
from modularity.versions import processor, versions

CONNECTING = 10
"""Seconds in which a scheduler has to be found."""
ANSWERING = 30
"""Seconds in which it has to answer whatever it is asked, and more for what is large."""
SLOWEST = 10**6
"""Bytes a second that any network is expected to carry."""
PROVING = 180
"""Seconds in which a worker has to prove what it has; it imports all packages first, maybe from a slow disk."""
GATHERING = 5
"""Seconds in which further workers can prove themselves before the first that has begins to work."""
LOOK = 1
"""Seconds between two looks at who is there."""
AHEAD = 2
"""Tasks that a worker is given at a time: one to do, and one that waits."""
MOST_LOSSES = 3
"""Workers that one task may cost: it is then the task that kills them, most likely by its memory."""
HELD = 2**28
"""Bytes of parts that a worker keeps for tasks to come."""
PROOF, WORK = (
    f"__import__('modularity.worker', fromlist=['worker']).{call}"
    for call in ("proof(images, folder)", "work(content, reports, names, parts)")
)
"""What a worker is asked to evaluate: plain text, since a scheduler reads what it passes on, and needs no project; and
a worker that lacks it can say so."""
TOPIC = "modularity-steps"
"""Under which workers report; one for all scripts, which drop what is not theirs: a scheduler never forgets one."""
START = "python -m distributed.cli.dask_worker SCHEDULER --nthreads 1"


@dataclass
class _Worker:
    """A worker that is fit.  alike: whether its processor is of the same kind as that of this machine.

    tasks: {key: (future, number)} in the order in which it does them.  parts: {digest: (future, bytes)} that it holds,
    those needed last at the end.  group: what its last task shares with others.
    """

    address: str
    host: str
    alike: bool
    tasks: dict = field(default_factory=dict)
    parts: OrderedDict = field(default_factory=OrderedDict)
    group: tuple = None


class _Queue:
    """Numbers of parcels that wait for a worker, those that share parts side by side: each goes to few workers."""

    def __init__(self, parcels):
        self.parcels, self.groups, self.waiting = parcels, defaultdict(deque), len(parcels)
        for number, parcel in enumerate(parcels):
            self.groups[tuple(parcel.parts)].append(number)
        self.untouched = deque(self.groups)

    def __len__(self):
        return self.waiting

    def next_for(self, worker):
        """The next of the group that a worker is at; else of one that nobody has begun, or of the longest."""
        if worker.group not in self.groups:
            while self.untouched and self.untouched[0] not in self.groups:
                self.untouched.popleft()
            longest = max(self.groups, key=lambda group: len(self.groups[group])) if not self.untouched else None
            worker.group = self.untouched.popleft() if self.untouched else longest
        numbers = self.groups[worker.group]
        number = numbers.popleft()
        if not numbers:
            del self.groups[worker.group]
        self.waiting -= 1
        return number

    def again(self, number):
        """Put a number back, before all others of its group."""
        self.groups[tuple(self.parcels[number].parts)].appendleft(number)
        self.waiting += 1


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
        self._workers, self._proving, self._unfit, self._kinds = {}, {}, {}, {processor()}
        self._looked = self._last_fit = 0
        self._messages, self._name = SimpleQueue(), uuid4().hex

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
        others = None
        while not self._workers or (self._proving and monotonic() < others):
            sleep(0.1)
            self._look()
            if self._workers and others is None:
                others = monotonic() + GATHERING

    def fit_workers(self):
        """The addresses of the workers that are fit by now."""
        self.refuse_unfit()
        return list(self._workers)

    def results(self, parcels, reports=None):
        """Do tasks on the workers.

        parcels: of (function, arguments).  reports: None, or called with a number and how many steps that task has
        done by now; then the last argument of each function is one to call after each step.
        Yields (number, content of the Parcel of the result, whether a processor as of this machine made it) in the
        order in which they are done.
        Raises InputError as `refuse_unfit`, or if a task is lost with MOST_LOSSES workers; and whatever a task raises.
        """
        if not self._client:
            self.refuse_unfit()
        queue, losses = _Queue(parcels), Counter()

        def lose(worker):
            """The tasks of a worker wait again; the one that it was doing has cost a worker."""
            self._workers.pop(worker.address, None)
            tasks = list(worker.tasks.values())
            _release(worker)
            for place, (future, number) in enumerate(tasks):
                losses[number] += place == 0 and future is not None  # and None is what could not be sent
                queue.again(number)
                if reports:
                    reports(number, 0)
                if losses[number] >= MOST_LOSSES:
                    lost = f"{MOST_LOSSES} workers were lost at the same task, the last on {worker.host}"
                    remedy = "give them more memory, or their jobs more time, and the same command, which goes on"
                    raise InputError(f"--scheduler {self.address}: {lost}; {remedy} where it was")

        try:
            while queue or any(worker.tasks for worker in self._workers.values()):
                if monotonic() - self._looked > LOOK:
                    for worker in self._look():
                        lose(worker)
                for worker in self._hand_out(queue, parcels, reports is not None):
                    lose(worker)
                done = {}
                for key, steps in _waiting(self._messages, LOOK):
                    worker = next((worker for worker in self._workers.values() if key in worker.tasks), None)
                    if worker and steps is None:
                        done[key] = worker
                    elif worker and reports:  # and if not, it is of a task that was taken back
                        reports(worker.tasks[key][1], steps)
                outcomes, error = self._outcomes([worker.tasks[key][0] for key, worker in done.items()]), None
                for (key, worker), outcome in zip(done.items(), outcomes):
                    if isinstance(outcome, Exception):
                        error = outcome
                    elif outcome is None:
                        lose(worker)
                    elif key in worker.tasks:  # and was not lost with another one of these
                        _, number = worker.tasks.pop(key)
                        content, steps = outcome
                        self.sent.update(tasks=1, results=len(content))
                        if reports:
                            reports(number, steps)
                        yield number, content, worker.alike
                if error:
                    raise error
        finally:
            for worker in self._workers.values():
                _release(worker)

    def _connect(self):
        if self._client:
            return
        where = f"--scheduler {self.address}"
        try:
            import dask
            from distributed import Client
        except ImportError:
            remedy = "pip install -r requirements-cluster.txt"
            raise InputError(f"{where}: needs Dask, which is not installed; {remedy}") from None
        if self.address.startswith("tls:") and not dask.config.get("distributed.comm.tls.client.cert", None):
            remedy = "name them as docs/clusters.md says"
            raise InputError(f"{where}: needs certificates, and Dask's configuration names none; {remedy}")
        for name in ("distributed", "distributed.client"):  # what matters is said in a sentence of ours
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            asked = {"timeout": CONNECTING, "set_as_default": False}
            self._client = _within(CONNECTING + 1, lambda: Client(self.address, **asked))
            self._client.subscribe_topic(TOPIC, self._hear)
        except Exception as error:  # whatever an address without a scheduler makes of it
            cause = f"no scheduler answers within {CONNECTING} seconds ({_one_line(error)})"
            raise InputError(f"{where}: {cause}; start one, and name its address") from error

    def _hear(self, event):
        _, (key, steps) = event
        if key.startswith(self._name):
            self._messages.put((key, steps))

    def _look(self):
        """See who is there: newcomers have to prove what they have.  Returns the fit workers that are lost."""
        if monotonic() - self._looked > ANSWERING:  # the script was at work itself: to wait begins now
            self._last_fit = monotonic()
        self._looked = monotonic()
        try:
            present = _within(ANSWERING, self._client.nthreads)
        except Exception as error:  # whatever a connection that breaks makes of it
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
            self._proving[address] = host, answer, []
        for address, (host, answer, began) in list(self._proving.items()):
            if host.done() and not began:  # until then, it may be at work for a run that was killed
                began.append(monotonic())
            if answer.done() or began and monotonic() - began[0] > PROVING:
                del self._proving[address]
                self._judge(address, host, answer, present[address])
        if self._workers:
            self._last_fit = monotonic()
        hoped = PROVING if any(began for *_, began in self._proving.values()) else ANSWERING if self._proving else 0
        if monotonic() - self._last_fit > self.wait + hoped:
            busy = [f"worker {address} is busy with other work" for address in self._proving]
            there = "; ".join([*self._unfit.values(), *busy]) or f"start some with: {START}"
            raise InputError(f"--scheduler {self.address}: no worker for {self.wait:g} seconds; {there}")
        return lost

    def _judge(self, address, host, answer, threads):
        """Take a worker on, or leave it out with a note."""
        name = "an unknown host"
        try:
            name = _within(ANSWERING, host.result)
            found = _within(ANSWERING, answer.result) if answer.done() else None
            wrong = self._wrong(found, threads)
        except ImportError as error:
            remedy = f"start it in a copy of this repository, with the same packages, by {START}"
            wrong = f"cannot import this project ({_one_line(error)}); {remedy}"
        except Exception as error:  # whatever it may raise, and whatever is raised when it vanishes
            wrong = f"could not prove what it has ({_one_line(error)}); see what it has printed"
        if wrong:
            self._leave_out(address, name, wrong)
            return
        kind = found["processor"]
        self._workers[address] = _Worker(address, name, kind == processor())
        if kind not in self._kinds:
            self._kinds.add(kind)
            kinds = f"{kind}, and this machine {processor()}"
            note = f"worker {address} on {name} has another processor ({kinds}): last digits may differ"
            tqdm.write(f"note: {note}", file=sys.stderr)

    def _leave_out(self, address, name, wrong):
        self._unfit[address] = f"worker {address} on {name} {wrong}"
        tqdm.write(f"note: {self._unfit[address]}; it is left out of this run", file=sys.stderr)

    def _wrong(self, found, threads):
        """What is wrong with a worker, and the remedy: nothing if it is fit.  found: of `proof`, or None."""
        if found is None:
            return f"did not prove what it has within {PROVING} seconds; see what it has printed"
        for package, ours in versions().items():
            theirs = found["versions"].get(package)
            if theirs != ours:
                return f"has {package} {theirs}, and this machine {ours}; have the same there"
        if threads != 1:
            return f"works with {threads} threads; start it with --nthreads 1, and several --nworkers instead"
        if "refusal" in found:
            return f"lacks images: {found['refusal']}"
        if found["images"] != self._images:
            return "has other images than this machine; copy the files of --data-dir there"

    def _hand_out(self, queue, parcels, stepwise):
        """Give tasks to all workers that have none, and a second one each while there are more than workers.

        Returns the workers that could not be reached.
        """
        gone = []
        for wanted in range(1, AHEAD + 1):
            if wanted > 1 and len(queue) <= len(self._workers):
                break
            for worker in self._workers.values():
                if queue and len(worker.tasks) < wanted and worker not in gone:
                    number, key = queue.next_for(worker), f"{self._name}-{uuid4().hex}"
                    worker.tasks[key] = None, number
                    try:
                        patience = _patience(sum(map(len, parcels[number].parts.values())))
                        _within(patience, lambda: self._give(worker, key, parcels[number], stepwise))
                    except Exception as error:  # whatever is raised when it vanishes
                        gone.append(worker)
                        self._leave_out(
                            worker.address, worker.host, f"cannot be sent a task ({_one_line(error)}); mend its network"
                        )
        return gone

    def _give(self, worker, key, parcel, stepwise):
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
        if key not in worker.tasks:  # this took too long, and another has it
            return
        what = {"content": parcel.content, "reports": [TOPIC, key] if stepwise else None}
        what |= {"names": list(parcel.parts), "parts": parts}
        future = self._client.submit(eval, WORK, what, key=key, workers=[worker.address], pure=False)
        worker.tasks[key] = future, worker.tasks[key][1]
        self.sent.update(contents=len(parcel.content))
        future.add_done_callback(lambda done: self._messages.put((done.key, None)))

    def _outcomes(self, futures):
        """Of each future (content of the result, steps), or what its task raised, or None if it was lost on its way."""
        from distributed import KilledWorker

        fine = [future for future in futures if future.status == "finished"]
        try:  # all at once: each journey takes milliseconds
            contents = _within(ANSWERING, lambda: self._client.gather(fine)) if fine else []
        except Exception:  # whatever is raised when one of their workers vanishes, or if they are large
            contents = [self._outcome(future) for future in fine]
        found = {future.key: content for future, content in zip(fine, contents)}
        for future in futures:
            error = future.exception() if future.status == "error" else None
            if error and not isinstance(error, KilledWorker):
                found[future.key] = error
        return [found.get(future.key) for future in futures]

    def _outcome(self, future):
        """What a finished task has returned, however long its way takes, or None if it was lost."""
        with suppress(Exception):  # whatever is raised when its worker vanishes
            sizes = _within(ANSWERING, lambda: self._client.nbytes([future.key], summary=False))
            return _within(_patience(sizes[future.key]), future.result)


def refuse_unfit_workers(jobs, data_sets, data_dir, splits=(False, True)):
    """`Cluster.refuse_unfit` where the jobs are a Cluster; nothing where they are processes of this machine."""
    if isinstance(jobs, Cluster):
        jobs.refuse_unfit(dict.fromkeys(data_sets), data_dir, splits)


def _release(worker):
    futures = [future for future, _ in worker.tasks.values() if future]
    worker.tasks.clear()
    with suppress(Exception):  # there may be nobody any more who could be told
        for future in futures:
            future.cancel()


def _waiting(messages, seconds):
    """All messages that are there; if none is, the first that comes within some seconds."""
    try:
        found = [messages.get(timeout=seconds)]
    except Empty:
        return []
    while not messages.empty():
        found.append(messages.get())
    return found


def _patience(size):
    """Seconds in which so many bytes have to be where they are sent."""
    return ANSWERING + size / SLOWEST


def _within(seconds, function):
    """What a function returns, in a thread that is left alone after some seconds: Dask can wait for ever."""
    answers = SimpleQueue()

    def ask():
        try:
            answers.put((function(), None))
        except BaseException as error:
            answers.put((None, error))

    Thread(target=ask, daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no answer within {seconds:g} seconds") from None
    if error:
        raise error
    return answer


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__
