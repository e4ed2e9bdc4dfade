"""Versions: of this code, of the packages and of the processor, all of which decide a number's last digits."""

import platform
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = "torch", "numpy", "scipy", "scikit-learn", "igraph"
"""What the tasks compute with."""
REPOSITORY = Path(__file__).resolve().parent.parent


@cache
def code_version():
    """A digest of all code that tasks run; {file: content} decides it, and neither dates nor git."""
    digest = sha256()
    for package in ("mlp", "modularity"):
        for path in sorted((REPOSITORY / package).glob("*.py")):
            content = path.read_bytes()
            digest.update(f"{package}/{path.name} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()[:12]


@cache
def versions():
    """{"this project": its `code_version`, and of each package its version}."""
    return {"this project": code_version()} | {name: version(name) for name in PACKAGES}


@cache
def processor():
    """The kind of processor: those of another kind may round otherwise."""
    makers = []
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        makers = [line.split(":")[1].strip() for line in lines if line.startswith("vendor_id")]
    return ", ".join([platform.machine(), *makers[:1], torch.backends.cpu.get_cpu_capability()])
