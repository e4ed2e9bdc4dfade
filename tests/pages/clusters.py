"""What docs/clusters.md says of speed."""

from pages.cells import FIGURES, number, row
from runs import table

from modularity.cluster import ANSWERING, CONNECTING, MOST_LOSSES, PROVING
from modularity.unfinished import LARGEST
from report.options import WAIT

MANY, MILLION = 1000, 10**6
"""Workers and networks of the projection."""


def kilobytes(value):
    return number(float(value) / 1000, 1)


def overhead():
    return table(FIGURES / "cluster_overhead.csv")


def fastest():
    """Tasks of no length that one script sends in a second to many workers, and a part each: none, small, large."""
    rows = [line for line in overhead() if line["task_seconds"] == "0.0" and line["workers"] != "1"]
    return [float(line["tasks_per_second"]) for line in rows], [float(line["parts_bytes"]) for line in rows]


def lines():
    for line in overhead():
        sent = "one for all" if line["networks"] == "1" else "one each"
        cells = [line["workers"], f"{float(line['task_seconds']):g} s", line["tasks"], sent]
        cells += [number(line["tasks_per_second"], 0), number(1000 * float(line["overhead_seconds"]), 0)]
        cells += [number(100 * float(line["busy"]), 0), kilobytes(line["contents_bytes"])]
        yield row(*cells, kilobytes(line["parts_bytes"]), number(line["results_bytes"], 0))
    for line in table(FIGURES / "cluster_speedup.csv"):
        yield row(line["work"], line["workers"], line["by"], number(line["seconds"], 1), number(line["speedup"], 2))
    similarity = table(FIGURES / "cluster_similarity.csv")
    for line in similarity:
        minutes = number(float(line["seconds"]) / 60, 1)
        yield row(line["work"], line["networks"], line["workers"], minutes, number(line["speedup"], 2))
    ((files, same),) = {(line["files"], line["same_files"]) for line in similarity}
    yield f"their {files} tables are {'the same to the last byte' if same == 'True' else 'not the same'}"
    (plain, small, large), (_, small_part, large_part) = fastest()
    yield f"One script sends {plain:.0f} tasks a second"
    yield f"so that {MANY:,} workers are busy with tasks of at least {MANY / plain:.0f} seconds"
    yield f"With a small network of its own for each task ({kilobytes(small_part)} kB) these are {small:.0f} a second"
    yield f"a large one ({kilobytes(large_part)} kB) {large:.0f}"
    yield f"a million small networks, a task each, are sent in {MILLION / small / 3600:.1f} hours"
    yield f"{MILLION * small_part / 1e9:.0f} GB of weights"
    yield f"at {large * large_part / 1e6:.0f} MB a second here"
    yield f"about the last {round(LARGEST / small_part, -2):,.0f} are kept, which is what {LARGEST / 1e9:g} GB hold"
    yield f"twice in memory ({2 * MILLION * small_part / 1e9:.0f} GB for a million)"
    yield from waits()


def waits():
    """What ends a run or leaves a worker out, and after how many seconds."""
    sentence, note = "one sentence, status 2", "a note that names host and remedy; others do the work"
    goes_on = f"{sentence}; the same command goes on where it was"
    yield row("Dask is not installed, or the address is none", sentence, "at once")
    yield row("no scheduler answers", sentence, f"{CONNECTING} seconds")
    yield row("there is no worker, or none that fits, or the last is lost", goes_on, f"{WAIT} seconds, or `--wait`")
    yield row("a worker does not prove anything", note, f"{PROVING} seconds")
    yield row("a worker cannot be sent its tasks", note, f"{ANSWERING} seconds, more if they are large")
    busy = "workers are at work for another run, maybe one that was killed"
    yield row(busy, f"they are waited for; then {sentence}", f"{ANSWERING} seconds and `--wait`")
    yield row("the scheduler is killed, or stops answering", goes_on, f"{ANSWERING} seconds")
    lost = "workers are lost at the same task, again and again"
    yield row(lost, f"{sentence}: most likely it needs more memory, or time", f"{MOST_LOSSES} workers")
