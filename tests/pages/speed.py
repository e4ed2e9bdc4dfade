"""What docs/speed.md says."""

from pages.cells import FIGURES, row
from runs import table


def lines():
    """A line per way to do a task: its seconds, and how many times ours that is."""
    for line in table(FIGURES / "benchmark.csv"):
        cells = [line["task"], line["network"], line["way"]]
        if line["seconds"] == "":
            yield row(*cells, "skipped: minutes", "").replace("|  |", "| |")
        else:
            yield row(*cells, shown(line["seconds"], 2), shown(line["ratio"], 3))


def shown(value, digits):
    """'0.0026', '249': so many digits that say something."""
    return f"{float(value):.{digits}g}"
