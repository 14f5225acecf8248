"""What a piece of text means to the eye. Never the only carrier of that meaning: a word or a mark says it too."""

from __future__ import annotations

from enum import StrEnum


class Tone(StrEnum):
    """The command line maps it to ANSI (`cli/output.py`), the console to its theme (`tui/widgets/tones.py`)."""

    PLAIN = "plain"
    DIM = "dim"
    """Nothing to see: 0, ended well, absent on purpose."""
    STRONG = "strong"
    """What a line is about."""
    OK = "ok"
    """At work, or as it should be."""
    INFO = "info"
    """Worth knowing; nobody has to do anything."""
    HELD = "held"
    """Somebody stopped it, and can let it go on."""
    WARN = "warn"
    """Somebody should look."""
    CRIT = "crit"
    """Somebody must do something: nothing goes on by itself, or work failed."""
