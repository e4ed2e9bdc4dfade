"""Files: each appears whole or not at all, and its JSON is what every reader understands."""

import contextlib
import json
import math
import os
import tempfile
from pathlib import Path
from uuid import uuid4

from mlp import InputError


def writable_folder(path):
    """Make a folder and prove that it can be written to, before hours of work depend on it."""
    with _named_failure(path):
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    return path


@contextlib.contextmanager
def replacing(path):
    """A temporary path beside `path` that takes its place if the block succeeds, and vanishes if it does not."""
    path = Path(path)
    # Random, because processes of two containers that share a folder can have one process id.  A file that `tempfile`
    # makes could be read by its owner alone.  The end of the name tells savefig the format.
    temporary = path.with_name(f".{uuid4().hex}-{path.name}")
    try:
        with _named_failure(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # most often it is not there any more
            temporary.unlink()


@contextlib.contextmanager
def _named_failure(path):
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be written ({reason}); choose another output folder") from error


def strict_json(value, **options):
    """JSON that every reader understands: null in place of NaN and infinity."""

    def finite(part):
        if isinstance(part, dict):
            return {key: finite(inner) for key, inner in part.items()}
        if isinstance(part, (list, tuple)):
            return [finite(inner) for inner in part]
        return None if isinstance(part, float) and not math.isfinite(part) else part

    return json.dumps(finite(value), allow_nan=False, **options)
