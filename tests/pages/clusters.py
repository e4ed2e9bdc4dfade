"""What docs/clusters.md says of speed."""

from pages.cells import FIGURES, number, row
from runs import table

NETWORKS, YEAR_SECONDS = 1_000_000, 365 * 24 * 3600
PROJECTED = 1000
"""Workers of the projection."""


def overhead():
    return table(FIGURES / "cluster_overhead.csv")


def kilobytes(value):
    return number(float(value) / 1000, 1)


def milliseconds(value):
    return number(1000 * float(value), 0)


def most_tasks():
    """Tasks that one script can send in a second, small ones, to many workers: without and with a network each."""
    many = [line for line in overhead() if int(line["workers"]) > 1 and float(line["task_seconds"]) == 0]
    shared, small, large = (float(line["tasks_per_second"]) for line in many)
    return shared, small, large


def lines():
    for line in overhead():
        seconds = float(line["task_seconds"])
        each = "one for all" if line["networks"] == "1" else f"one each, {kilobytes(line['parts_bytes'])} kB"
        cells = [line["workers"], f"{seconds:g} s", each, line["tasks"], number(line["tasks_per_second"], 0)]
        cells += [f"{milliseconds(line['overhead_seconds'])} ms", f"{number(100 * float(line['busy']), 0)} %"]
        yield row(*cells, f"{kilobytes(line['contents_bytes'])} kB", f"{line['results_bytes'].split('.')[0]} B")
    for line in table(FIGURES / "cluster_speedup.csv"):
        cells = [line["work"], line["by"], line["workers"], number(line["seconds"], 0), number(line["speedup"], 2)]
        yield row(*cells)
    for line in table(FIGURES / "cluster_similarity.csv"):
        assert line["same_files"] == "True"
        cells = [line["work"], line["networks"], line["workers"], number(float(line["seconds"]) / 60, 1)]
        yield row(*cells, number(line["speedup"], 2))
    files = {line["files"] for line in table(FIGURES / "cluster_similarity.csv")}
    yield f"All {files.pop()} tables of numbers that came out were the same, byte by byte."
    shared, small, large = most_tasks()
    yield f"One script sends {shared:.0f} tasks a second"
