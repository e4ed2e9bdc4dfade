"""A script that is interrupted ends with one sentence, and the processes that work for it end, too.

That is so for Ctrl-C and for the signals by which others end a program: `kill`, `timeout`, the stop of a service
(SIGTERM), and a terminal that is closed (SIGHUP).  Each script imports this module first, because the imports that
follow take seconds, in which a signal may arrive as well.
"""

import os
import signal
import sys
from contextlib import suppress
from multiprocessing import active_children
from pathlib import Path

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP


class Stopped(KeyboardInterrupt):
    """A signal has asked for the end of the program; whatever cleans up after Ctrl-C cleans up after this, too."""

    def __init__(self, number):
        super().__init__()
        self.number = number


def stop(number, frame):
    """What Python calls in the main thread when one of SIGNALS has arrived."""
    raise Stopped(number)


def stop_by_signals():
    """From now on, one of SIGNALS raises Stopped.  One that is ignored stays so, because `nohup` asks for that."""
    for number in SIGNALS:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)


def ignore_signals():
    """From now on, SIGNALS that would raise Stopped do nothing, because the program is ending already."""
    for number in SIGNALS:
        if signal.getsignal(number) is stop:
            signal.signal(number, signal.SIG_IGN)


def end_interrupted(error, further=""):
    """End all processes that work for this one, and say that it was interrupted.

    error: the KeyboardInterrupt.  further: the end of the sentence.
    Returns the exit status that shells give to a program that a signal has ended: 128 and the signal's number.
    """
    ignore_signals()
    # Ctrl-C reaches them by itself, since a terminal sends it to all; a signal that is sent to this process does not
    for process in active_children():
        process.terminate()
    script = Path(sys.argv[0]).name
    with suppress(OSError):  # the terminal may be closed
        print(f"\n{script}: interrupted; every file is as it was, or complete{further}", file=sys.stderr)
    return 128 + getattr(error, "number", signal.SIGINT)


def report(kind, error, traceback):
    """What Python calls for an error that nothing has caught."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    status = end_interrupted(error)
    if issubclass(kind, Stopped):
        os._exit(status)  # Python itself would end with status 1; after a plain Ctrl-C it does what is usual


sys.excepthook = report
started = getattr(sys.modules["__main__"], "__file__", None)
if started and Path(started).resolve().parent == Path(__file__).resolve().parent.parent:
    # a script of this repository was started; a test, or a process that works for a script, keeps its own ways
    stop_by_signals()
