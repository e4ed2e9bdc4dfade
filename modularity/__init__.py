"""The question: a network's graph, its modules, what they do, and what chance would do.  One file per noun of it."""
