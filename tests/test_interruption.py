"""What a user, `kill`, `timeout` or a closed terminal does to a script that runs."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from conftest import call
from runs import SCRIPTS

from modularity.unfinished import recalled
SENTENCE = "interrupted; every file is as it was, or complete"
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
"""What shells say of a program that such a signal has ended."""


def as_in_the_foreground():
    """The tests may run in the background, where Ctrl-C is ignored, or under nohup."""
    for number in STATUS:
        signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def started(*command, cwd):
    """A process of a session of its own, nothing of which is there after the block."""
    pipe, words = subprocess.PIPE, [sys.executable, *map(str, command)]
    options = {"stdout": pipe, "stderr": pipe, "start_new_session": True, "preexec_fn": as_in_the_foreground}
    with subprocess.Popen(words, cwd=cwd, **options) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):  # as it should be: all have ended
                os.killpg(process.pid, signal.SIGKILL)


def until(process, shown):
    """What a process says on stderr until it has said something."""
    seen = b""
    while not re.search(shown, seen):
        piece = process.stderr.read1()
        assert piece, seen
        seen += piece
    return seen


def all_end(group, seconds=30):
    """Whether all processes of a group end in time; those that have ended may wait for their parent for a while."""
    began = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() - began < seconds:
            os.killpg(group, 0)
            time.sleep(0.1)
        return False
    return True


TWO_PROCESSES = "--networks 2 --hidden-layers 201 --jobs 2"


@pytest.mark.parametrize(
    "tasks, number, to",
    [
        ("", signal.SIGINT, os.killpg),  # a terminal sends it to all processes that work for the program
        (TWO_PROCESSES, signal.SIGINT, os.killpg),
        (TWO_PROCESSES, signal.SIGTERM, os.kill),
        # `timeout` and the stop of a service send it to all, too
        pytest.param(TWO_PROCESSES, signal.SIGTERM, os.killpg, marks=pytest.mark.long),
        (TWO_PROCESSES, signal.SIGHUP, os.killpg),
    ],
)
def test_interrupted_training_keeps_the_previous_checkpoint(workshop, tmp_path, tasks, number, to):
    """And all that worked for it ends, in the middle of tasks that would take hours."""
    checkpoint = tmp_path / "mlp_mnist357.pt"
    checkpoint.write_bytes(b"trained before")
    command = "train.py", "--epochs", "100000", *tasks.split(), "--save-dir", tmp_path, "--figures-dir", tmp_path
    with started(*command, cwd=workshop) as process:
        seen = until(process, rb"[1-9]\d*/[12]00000")
        to(process.pid, number)
        if number == signal.SIGTERM:  # an impatient one, which meets the cleaning up
            time.sleep(0.05)
            to(process.pid, number)
        _, rest = process.communicate(timeout=60)
        assert all_end(process.pid)
    assert process.returncode == STATUS[number]
    assert f"train.py: {SENTENCE}" in rest.decode().splitlines()
    if number != signal.SIGHUP:  # it ends a process of joblib, too, and the one that takes its place complains
        assert b"Traceback" not in seen + rest
    assert checkpoint.read_bytes() == b"trained before"
    assert list(tmp_path.iterdir()) == [checkpoint]


BETWEEN = """
import report.interruption
import os, signal, time
import modularity.tasks
from report.options import run

modularity.tasks.cpu_count = lambda: 2

def main(argv):
    for _ in modularity.tasks.mapped(time.sleep, [(0,), *[(1000,)] * 5], 2, "naps"):
        os.kill(os.getpid(), signal.SIGTERM)

if __name__ == "__main__":
    run(main)
"""


def test_workers_end_when_a_signal_comes_between_two_results(workshop):
    """When the script itself is at work, and nothing waits for the other tasks."""
    script = workshop / "between.py"
    script.write_text(BETWEEN)
    with started(script, cwd=workshop) as process:
        _, said = process.communicate(timeout=60)
        assert all_end(process.pid)
    assert process.returncode == 143
    assert said.decode().splitlines()[-1] == f"between.py: {SENTENCE}"
    assert b"Traceback" not in said


def test_a_stopped_run_keeps_what_it_has_done(workshop, many, tmp_path):
    others = set((workshop / "unfinished").glob("*"))
    options = f"{many / 'mlp_mnist357.pt'} --shuffles 12 --clusters 3 --jobs 2 --figures-dir {tmp_path}".split()
    with started("are_modules_clusterable.py", *options, cwd=workshop) as process:
        until(process, rb"with pixels:.*\| [2-9]\d/")
        process.terminate()
        _, rest = process.communicate(timeout=60)
    kept = set((workshop / "unfinished").glob("*")) - others
    try:
        assert process.returncode == 143
        assert rest.decode().splitlines()[-1].endswith(f"{SENTENCE}; the same command goes on where it was")
        whole = [path for path in kept if not path.name.startswith(".")]
        assert whole
        assert all(recalled(path) for path in whole)
    finally:
        for path in kept:
            path.unlink()


def with_imports(script, folder, content, before=as_in_the_foreground):
    """Run a script with some code in place of torch, which each script imports."""
    (folder / "torch.py").write_text(content)
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, preexec_fn=before)


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("script", SCRIPTS)
def test_an_interruption_of_the_imports_is_one_sentence(workshop, tmp_path, script, number):
    done = with_imports(workshop / script, tmp_path, f"import os\nos.kill(os.getpid(), {int(number)})\n")
    assert done.stderr.strip() == f"{script}: {SENTENCE}"
    assert done.returncode == (-number if number == signal.SIGINT else STATUS[number])  # a shell says the same of both


def test_what_nohup_asks_for_is_heeded(workshop, tmp_path):
    content = f"import os\nos.kill(os.getpid(), {int(signal.SIGHUP)})\nraise SystemExit('went on')\n"

    def hangups_ignored():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    done = with_imports(workshop / "train.py", tmp_path, content, before=hangups_ignored)
    assert done.stderr.strip() == "went on"


def test_who_imports_a_script_keeps_their_own_ways(tmp_path):
    """A test, a notebook, or a process that works for a script: what a signal does there is theirs to say."""
    before = [signal.getsignal(number) for number in STATUS]
    assert call("network_analysis.py", tmp_path / "absent.pt").returncode == 2
    assert [signal.getsignal(number) for number in STATUS] == before
