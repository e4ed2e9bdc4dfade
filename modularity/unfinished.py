"""Unfinished runs: the results of their finished tasks are kept on disk, until the run has succeeded.

A run that was killed finds them by all that decides them, and goes on where it was.
"""

import os
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from itertools import product
from pathlib import Path
from time import monotonic

import torch
from tqdm import tqdm

from mlp import InputError
from mlp.data import images_digest
from mlp.files import replacing, writable_folder
from modularity.parcels import packed, unpacked
from modularity.versions import processor, versions

LARGEST = 2 * 10**9
"""Bytes that all results together may take; beyond that, the oldest make room."""

BETWEEN_LOOKS = 10
"""Seconds between two looks at how much that is; in large folders so many times what a look takes."""


@dataclass
class _Run:
    """What a script keeps.  begun: whether it keeps anything.  fresh: whether what is there counts for nothing.

    places: of the results of its tasks.  next_look: when it looks again at what all results take.  noted: whether it
    has said that it goes on from what another kind of processor has made.
    """

    folder: Path
    begun: bool = False
    fresh: bool = False
    places: set = field(default_factory=set)
    next_look: float = 0
    noted: bool = False

    def owns(self, path):
        """Whether a file is of this run, complete or half-written, of either of its `_paths`."""
        return path.with_name(path.name.rpartition("-")[2]) in self.places

    def how_to_go_on(self):
        """The end of a sentence that says that the run was interrupted."""
        without = " without --fresh" if self.fresh else ""
        kept = any(path.exists() for place in self.places for path in _paths(place))
        return f"; the same command{without} goes on where it was" if kept else ""


_run = None
"""The run of this process, within `until_success`."""


@contextmanager
def until_success(folder):
    """What tasks of the block return is kept in a folder once it has called `begin`, and deleted if it succeeds."""
    global _run
    outer, _run = _run, _Run(Path(folder))
    try:
        yield _run
        with suppress(OSError):  # it is there no more, or other runs keep something in it
            for path in filter(_run.owns, _run.folder.glob("*.task")):
                path.unlink(missing_ok=True)
            _run.folder.rmdir()
    finally:
        _run = outer


def begin(fresh):
    """From now on, keep what tasks return.  fresh: and do not ask for what was kept before."""
    if _run:
        _run.begun, _run.fresh = True, fresh


def places_of(function, tasks):
    """Where the result of each task belongs: a path named by all that decides it, or None where nothing is kept.

    That is the function, its arguments, the content of the images that they name, the code, the packages and the
    processor, and the GPU if there is one.
    """
    if not _run or not _run.begun or not tasks:
        return [None] * len(tasks)
    try:
        _own_folder(_run.folder)
    except InputError as error:
        tqdm.write(f"note: {error}; until then, a run that is killed starts over", file=sys.stderr)
        _run.begun = False
        return [None] * len(tasks)
    surroundings = f"{versions()} {processor()} {torch.cuda.is_available() and torch.cuda.get_device_name()}"
    digest_of = cache(images_digest)
    places = []
    for task in tasks:
        parcel = packed((function, task))
        digest = sha256(surroundings.encode() + parcel.content)
        for data, folder, train in product(parcel.data_sets, parcel.folders, (False, True)):
            if data.name:
                digest.update(digest_of(data.name, train, folder).encode())
        places.append(_run.folder / f"{digest.hexdigest()[:40]}.task")
    if _run.fresh:
        for place in set(places) - _run.places:
            for path in _paths(place):
                path.unlink(missing_ok=True)
    _run.places.update(places)
    make_room()
    return places


def recalled(place, anywhere=False):
    """The result that was kept at a place, in a list; or an empty list, if there is none or it is damaged.

    anywhere: whether a processor of another kind may have made it.
    """
    for path in _paths(place)[: 1 + anywhere] if place else ():
        with suppress(Exception):  # whatever a damaged pickle raises: the task is done again
            found = [unpacked(path.read_bytes())]
            if path != place and not _run.noted:
                _run.noted = True
                tqdm.write(
                    "note: goes on from what another kind of processor has made: last digits may differ", sys.stderr
                )
            return found
    return []


def keep(place, result, alike=True):
    """Keep what a task has returned, if it has a place; `result` may be packed already.

    alike: whether a processor as of this machine has made it.
    """
    if place:
        content = result if isinstance(result, bytes) else packed(result, large=None).content
        with suppress(OSError, InputError):  # a full disk: the result itself is not lost
            place.parent.mkdir(mode=0o700, exist_ok=True)  # another run may have succeeded, and left it empty
            with replacing(_paths(place)[not alike]) as temporary:
                temporary.write_bytes(content)


def make_room():
    """Delete the oldest results while all together take more than LARGEST, those of this run last."""
    began = monotonic()
    if not _run or not _run.begun or began < _run.next_look:
        return
    found = []
    for path in _run.folder.glob("*.task"):
        with suppress(OSError):
            found.append((_run.owns(path), path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for *_, size, _ in found)
    for *_, size, path in sorted(found):
        if total <= LARGEST:
            break
        path.unlink(missing_ok=True)
        total -= size
    _run.next_look = monotonic() + BETWEEN_LOOKS * max(1, monotonic() - began)


def _paths(place):
    """Where a result is kept that a processor as of this machine has made, and where one of another kind.

    Only a cluster's run may go on from the latter.
    """
    return place, place.with_name(f"elsewhere-{place.name}")


def _own_folder(path):
    """A folder that nobody else can write to, for who can write there decides what is unpacked."""
    with suppress(OSError):  # which writable_folder puts in words
        path.mkdir(mode=0o700, parents=True)
    writable_folder(path)
    if not hasattr(os, "getuid"):  # Windows has neither user ids nor these permissions
        return
    found = path.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise InputError(f"{path}: others can write there; delete it, or take their permission away")
