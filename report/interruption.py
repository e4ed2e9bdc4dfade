"""Ctrl-C at any moment is one sentence.  Imported first by each script, for the imports that follow take seconds."""

import sys
from pathlib import Path


def say_interrupted(further=""):
    print(f"\n{Path(sys.argv[0]).name}: interrupted; every file is as it was, or complete{further}", file=sys.stderr)


def report(kind, error, traceback):
    """What Python calls for an error that nothing has caught."""
    if issubclass(kind, KeyboardInterrupt):
        say_interrupted()
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = report
