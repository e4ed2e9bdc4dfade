"""Terminals: not each of them can show every character that the scripts print."""

import codecs
import sys

SPELLED = {"±": "+-", "−": "-", "–": "-", "—": "-", "×": "x", "…": "..."}
"""How to write characters in ASCII; others become question marks."""


def spelled(error):
    """What Python calls for characters that a stream cannot encode.

    Returns what to print in their place, and the position after them.
    """
    unknown = error.object[error.start : error.end]
    return "".join(SPELLED.get(character, "?") for character in unknown), error.end


def print_what_can_be_shown():
    """From now on, printing a character that stdout or stderr cannot encode prints another one, and is no error."""
    codecs.register_error("spelled", spelled)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # tests put other streams there, and a closed one is None
            stream.reconfigure(errors="spelled")
