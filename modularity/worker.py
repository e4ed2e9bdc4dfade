"""What a worker of a cluster is asked to do: to prove what it has, and to do a task."""

import ctypes
from contextlib import suppress
from importlib import import_module
from time import monotonic

from mlp import InputError
from mlp.data import DataSet, forget_images, images_digest
from modularity.parcels import own_folder, packed, unpacked
from modularity.tasks import on_one_core
from modularity.versions import REPOSITORY, processor, versions

REPORTED = 0.5
"""Seconds between two reports of the steps of a task."""
MMAP_THRESHOLD, TRIM_THRESHOLD = (-3, 2**25), (-1, 2**26)
"""Of glibc's mallopt: which, and the bytes to which malloc raises them by itself."""


def proof(images, folder):
    """What a worker has.  images: [(name of a data set, classes, train)].  folder: as of `spelled_folder`.

    Returns its versions, processor, and digests of the files of images, or why these cannot be read.
    """
    from distributed import get_worker

    worker = get_worker()
    _hold_memory(worker)
    for package in ("mlp", "modularity"):  # all of it now, lest a part be read after it has changed
        for path in sorted((REPOSITORY / package).glob("[!_]*.py")):
            import_module(f"{package}.{path.stem}")
    for package in ("scipy", "sklearn", "igraph"):
        import_module(package)
    forget_images()  # other files may have taken their place
    found = {"versions": versions(), "processor": processor(), "images": []}
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

    function, arguments = unpacked(content, dict(zip(names, parts)))
    worker, steps, said = get_worker(), 0, monotonic()

    def advance():
        nonlocal steps, said
        steps += 1
        if monotonic() - said > REPORTED:
            said = monotonic()
            topic, key = reports
            worker.log_event(topic, [key, steps])
            known = worker.state.tasks.get(key)
            if known is None or known.state == "cancelled":
                raise InputError("nobody waits for this task any more")

    try:
        result = on_one_core(function, *arguments, *([advance] if reports else []))
    except InputError as error:
        result = error
    return packed(result, large=None).content, steps


def _hold_memory(worker):
    """Let malloc keep what was freed, as it would by itself; and let the worker go on when memory is short.

    Dask's nanny has malloc return all but 64 KiB at once (MALLOC_TRIM_THRESHOLD_), which makes training take half as
    long again; and a worker that pauses for want of memory would pause for ever, since its task holds that memory.
    """
    with suppress(AttributeError):
        worker.memory_manager.memory_pause_fraction = False
    with suppress(OSError, AttributeError, TypeError):  # of a C library other than glibc
        library = ctypes.CDLL(None)
        for parameter, value in (MMAP_THRESHOLD, TRIM_THRESHOLD):
            library.mallopt(parameter, value)
