"""How a verb is said: its place among the commands, what it is given, and the help that explains it.

Plain data, of which each front end makes its own grammar.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Value(StrEnum):
    """What an option's text means, once it is parsed."""

    FLAG = "flag"
    """True when it is given; it has no text."""
    TEXT = "text"
    LENGTH = "length"
    """A length of time, more than none; in seconds."""
    LENGTH_OR_NONE = "length-or-none"
    """As above, and ``0s``."""
    PRIORITY = "priority"
    RATE = "rate"
    """How many a second; 0 for ``none``."""


@dataclass(frozen=True, slots=True)
class Option:
    flag: str
    """Without a dash in front: a word of its own, which may be left out, and is called as it is named."""
    name: str
    """By which `runtime.actions.verb.Verb.terms` is given its value, None when it was left out."""
    value: Value
    help: str
    shown: str | None = None
    """What stands for its value in the help."""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Targets:
    """What is named on the command line."""

    shown: str
    help: str | None = None
    default: tuple[str, ...] | None = None
    """When none is named; None: at least one has to be."""


@dataclass(frozen=True, slots=True)
class Command:
    group: str
    name: str
    place: int
    """Where the help lists it within its group, the lowest first; commands that are no verbs have places too."""
    summary: str
    examples: tuple[str, ...]
    """What stands after the group's name."""
    targets: Targets | None
    """None: the whole lane is meant."""
    options: tuple[Option, ...] = ()
    note: str = ""
