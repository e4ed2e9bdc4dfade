import os
import re
import signal
import time
from contextlib import ExitStack, suppress

import pytest
import torch
from clusters import running_workers
from conftest import REPOSITORY

import modularity.cluster
from mlp import InputError
from modularity.cluster import MOST_LOSSES, Cluster
from modularity.parcels import LARGE
from modularity.tasks import mapped
from modularity.unfinished import begin, until_success
from report.cluster_speed import running_scheduler


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    """The address of a scheduler with two workers, which can import what these tests have them do."""
    place = tmp_path_factory.mktemp("cluster")
    with running_scheduler(place) as (_, _, address):
        with running_workers(address, place, 2, PYTHONPATH=str(REPOSITORY / "tests")):
            yield address


# What workers do


def squared(number, weights):
    if number == 5:
        raise InputError("five: choose another")
    return number**2, os.getpid(), float(weights.sum())


def counted(steps, advance):
    for _ in range(steps):
        advance()
        time.sleep(0.3)
    return 10 * steps


def failing():
    raise ZeroDivisionError("a mistake of ours")


def deadly():
    os.kill(os.getpid(), signal.SIGKILL)


def threads():
    return torch.get_num_threads()


def process(number):
    time.sleep(0.3)
    return os.getpid()


def test_results_come_in_order_from_both_workers(two_workers):
    """And what tasks share is sent once, and again only to a worker that would have nothing else to do."""
    cluster = Cluster(two_workers, 30)
    weights = [torch.full((LARGE,), float(group)) for group in range(2)]
    tasks = [(number, weights[number % 2]) for number in (0, 1, 2, 3, 4, 6, 7, 8, 9, 10)]
    squares, processes, sums = zip(*mapped(squared, tasks, cluster, "squares"))
    assert squares == tuple(number**2 for number, _ in tasks)
    assert sums == tuple(LARGE * float(number % 2) for number, _ in tasks)
    assert len(set(processes)) == 2
    assert os.getpid() not in processes
    assert cluster.sent["tasks"] == 10
    size = 4 * LARGE  # of which there are two, which two workers would get ten times
    assert 2 * size <= cluster.sent["parts"] < 3.1 * size
    assert cluster.sent["contents"] < 10 * 1000
    list(mapped(squared, tasks, cluster, "squares"))
    assert cluster.sent["parts"] < 4.1 * size


def test_errors_of_tasks_are_errors_here(two_workers):
    cluster = Cluster(two_workers, 30)
    found = []
    with pytest.raises(InputError, match="^five: choose another$"):
        for square, *_ in mapped(squared, [(number, torch.zeros(1)) for number in (1, 5, 2)], cluster, "squares"):
            found.append(square)
    assert found == [1]
    with pytest.raises(ZeroDivisionError, match="a mistake of ours"):
        list(mapped(failing, [()], cluster, "mistakes"))
    assert list(mapped(threads, [()] * 3, cluster, "threads")) == [1, 1, 1]
    assert list(mapped(threads, [], cluster, "nothing")) == []


def test_bars_count_the_steps_of_tasks(two_workers, capfd):
    """While they are done, and not at the end."""
    assert list(mapped(counted, [(6,), (0,), (4,)], Cluster(two_workers, 30), "steps", "epoch", [6, 0, 4])) == [
        60,
        0,
        40,
    ]
    shown = [int(done) for done in re.findall(r"\| (\d+)/10 ", capfd.readouterr().err)]
    assert shown == sorted(shown)
    assert shown[-1] == 10
    assert set(shown) & {2, 3, 4, 5, 6, 7, 8}


def test_what_takes_long_to_come_back_comes_back(two_workers, monkeypatch):
    """And what a worker has no room for is sent again."""
    cluster = Cluster(two_workers, 30)
    assert len(cluster.fit_workers()) == 2
    tasks = [(number, torch.full((LARGE,), float(number))) for number in range(4)]

    def late(futures):
        raise TimeoutError

    monkeypatch.setattr(cluster._client, "gather", late)
    for held, sent in ((0, 4), (0, 8), (2**28, 12), (2**28, 12)):
        monkeypatch.setattr(modularity.cluster, "HELD", held)
        squares, _, sums = zip(*mapped(squared, tasks, cluster, "squares"))
        assert squares == (0, 1, 4, 9)
        assert sums == tuple(LARGE * float(number) for number in range(4))
        assert 4 * LARGE * (sent - 4) < cluster.sent["parts"] < 4.1 * LARGE * sent


def test_workers_that_cannot_be_sent_tasks_are_left_out(two_workers, monkeypatch, capfd):
    """And it is not the tasks that are to blame."""
    cluster = Cluster(two_workers, 1)
    assert len(cluster.fit_workers()) == 2

    def late(parts, **asked):
        raise TimeoutError("too late")

    monkeypatch.setattr(cluster._client, "scatter", late)
    with pytest.raises(InputError, match=r"no worker for 1 seconds; worker .* cannot be sent a task \(too late\)"):
        list(mapped(squared, [(number, torch.zeros(LARGE)) for number in range(4)], cluster, "squares"))
    assert capfd.readouterr().err.count("mend its network; it is left out of this run") == 2


def test_workers_join_and_are_replaced_while_the_script_lives(tmp_path, monkeypatch):
    """Whenever that is: a script that was at work itself waits for workers as one that has just begun."""
    with running_scheduler(tmp_path) as (_, _, address), ExitStack() as workers:

        def one_more():
            workers.enter_context(running_workers(address, tmp_path, 1, PYTHONPATH=str(REPOSITORY / "tests")))

        one_more()
        cluster = Cluster(address, 30)
        found = mapped(process, [(number,) for number in range(300)], cluster, "processes")
        first = next(found)
        one_more()
        assert any(other != first for other in found)
        found.close()
        workers.close()
        one_more()
        monkeypatch.setattr(modularity.cluster, "monotonic", lambda: time.monotonic() + 3600)
        assert next(mapped(process, [(0,)], cluster, "processes")) != first


def test_a_cluster_s_run_goes_on_from_what_other_processors_have_made(two_workers, tmp_path, monkeypatch, capfd):
    """And a run of this machine does not, since the last digits may be others."""
    monkeypatch.setattr(modularity.cluster, "processor", lambda: "another")

    def processes(jobs, error=None):
        with suppress(RuntimeError), until_success(tmp_path / "unfinished"):
            begin(fresh=False)
            found = list(mapped(process, [(1,), (2,)], jobs, "processes"))
            if error:
                raise error
        return found

    first = processes(Cluster(two_workers, 30), RuntimeError("killed"))
    assert "has another processor" in capfd.readouterr().err
    again = Cluster(two_workers, 30)
    assert processes(again, RuntimeError("killed")) == first
    assert again.sent["tasks"] == 0
    assert "goes on from what another kind of processor has made" in capfd.readouterr().err
    assert processes(1) == [os.getpid()] * 2
    assert not (tmp_path / "unfinished").exists()


def test_a_task_that_kills_workers_ends_the_run(tmp_path):
    """Each is started again by its nanny."""
    with running_scheduler(tmp_path) as (_, _, address):
        with running_workers(address, tmp_path, 1, "--nthreads", "1", PYTHONPATH=str(REPOSITORY / "tests")):
            with pytest.raises(InputError, match=f"{MOST_LOSSES} workers were lost at the same task.*more memory"):
                list(mapped(deadly, [()], Cluster(address, 60), "deadly"))


def test_what_nobody_waits_for_is_given_up(two_workers):
    """As after a script that was killed: its workers are free when the step that they are at is done."""
    abandoned = mapped(counted, [(1,), (1000,), (1000,)], Cluster(two_workers, 30), "steps", "epoch", [1, 1000, 1000])
    assert next(abandoned) == 10
    abandoned.close()
    assert list(mapped(counted, [(1,)] * 4, Cluster(two_workers, 10), "steps", "epoch", [1] * 4)) == [10] * 4
