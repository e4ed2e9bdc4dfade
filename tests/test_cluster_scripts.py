import pytest
from clusters import running_workers
from conftest import succeed
from runs import ABLATION, CLUSTERING, RECOVERY, SIMILARITY, SPECIALIZATION, same_files, table

import benchmark_cluster
import modularity.tasks
from report.cluster_speed import running_scheduler


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    with running_scheduler(tmp_path_factory.mktemp("scheduler")) as found:
        yield found


@pytest.fixture(scope="module")
def address(scheduler):
    return scheduler[2]


@pytest.fixture(scope="module")
def two_workers(address, tmp_path_factory):
    with running_workers(address, tmp_path_factory.mktemp("workers"), 2):
        yield address


RUNS = {
    "train.py": "--networks 40 --epochs 2 --hidden-layers 20,10 --separate-batches --pruning 0,0.9 --pruning-epochs 1",
    ABLATION: "--null-limit 40 --ablate-to mean",
    CLUSTERING: "--shuffles 11 --clusters 3 --lesions --draws 4 --pair-draws 3",
    SPECIALIZATION: "--clusters 3 --draws 3",
    SIMILARITY: "--untrained 3 --restarts 3 --least-accuracy 0",
    RECOVERY: "--clusters 3 --power candidates",
}


@pytest.mark.parametrize("script", RUNS)
def test_a_cluster_gives_the_files_of_one_machine(script, two_workers, scheduler, many, tmp_path, monkeypatch):
    """By its address, and by the file that the scheduler has written; and this machine does none of the tasks."""
    folders = {"here": [], "cluster": ["--scheduler", two_workers if script == "train.py" else scheduler[1]]}
    for name, option in folders.items():
        if name == "cluster":
            monkeypatch.setattr(modularity.tasks, "_in_processes", None)
        folder = tmp_path / name
        network = ["--save-dir", folder] if script == "train.py" else [many / "mlp_mnist357.pt"]
        done = succeed(script, *network, *RUNS[script].split(), "--figures-dir", folder, *option)
        assert "note: worker" not in done.stderr
    assert same_files(*(tmp_path / name for name in folders))


@pytest.mark.long
def test_the_benchmark_measures_workers(monkeypatch, tmp_path):
    small = {"LENGTHS": {0.0: 4}, "WORKERS": (1,), "MANY": 2, "NETWORKS_SENT": 2, "LARGE": (784, 20, 20, 10)}
    small |= {"CLUSTERS": 3, "COPIES": 11, "SLEEPS": 1, "THREE_TIMES": 1}
    small["TRAINING"] = "train.py --classes 0-9 --hidden-layers 8 --epochs 1 --dropout 0,0.1,0.2,0.3"
    small["ANALYSIS"] = f"{SIMILARITY} --untrained 3 --restarts 2 --least-accuracy 0"
    for name, value in small.items():
        monkeypatch.setattr(benchmark_cluster, name, value)
    succeed("benchmark_cluster.py", "--parts", "overhead,speedup,similarity", "--figures-dir", tmp_path)
    overhead, speedup, similarity = (
        table(tmp_path / f"cluster_{part}.csv") for part in ("overhead", "speedup", "similarity")
    )
    assert [line["tasks"] for line in overhead] == ["4", "2", "2", "16", "2", "2"]
    assert all(float(line["overhead_seconds"]) > 0 for line in overhead)
    assert float(overhead[1]["parts_bytes"]) == pytest.approx(4 * 784 * 64, rel=0.1)
    assert {line["speedup"] for line in speedup if line["workers"] == "1"} == {"1.0"}
    assert [(line["work"], line["workers"]) for line in similarity] == [
        ("training", "4"),
        ("training", "1"),
        ("analysis", "4"),
        ("analysis", "1"),
    ]
    assert {(line["same_files"], line["files"]) for line in similarity} == {("True", "4")}
