"""Workers that are processes of this machine."""

from contextlib import ExitStack, contextmanager

from conftest import REPOSITORY

from report.cluster_speed import LOCAL, running


@contextmanager
def running_workers(address, place, count, *options, cwd=REPOSITORY, **environment):
    """Yields the processes of workers, which die when they are killed: no nanny starts them again."""
    options = [*LOCAL, "--local-directory", place, *(options or "--nthreads 1 --no-nanny".split())]
    with ExitStack() as stack:
        yield [stack.enter_context(running("worker", address, *options, cwd=cwd, **environment)) for _ in range(count)]
