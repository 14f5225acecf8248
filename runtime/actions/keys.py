"""How a verb is asked for by a key: where, which, what the help says, and the one question that comes first.

Plain data, like `runtime.actions.command`; the console makes its bindings, key bar and help of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from runtime.actions.command import Value


class Asks(StrEnum):
    """What a question is answered with."""

    VALUE = "value"
    """The value of one of the verb's options."""
    COUNT = "count"
    """How many at most."""
    REASON = "reason"
    END = "end"
    """When it ends by itself, and why."""


@dataclass(frozen=True, slots=True)
class Question:
    """``{targets}`` in a text stands for what is chosen, ``{lane}`` for the lane's name."""

    asks: Asks
    text: str
    text_many: str | None = None
    """Where several are chosen; None: the same."""
    hint: str = ""
    hint_many: str | None = None
    first: str = ""
    """What is in the field at first; ``{rate}`` stands for the rate of the settings."""
    placeholder: str = ""
    most: int = 20
    """Characters."""
    option: str = ""
    """VALUE: the name of the option."""
    value: Value = Value.TEXT
    wanted: str | None = None
    """TEXT: what is told when nothing is given; None: nothing may be given."""
    counts: str = ""
    """COUNT: the figure of a row that says how many there are."""
    modes: bool = False
    """END: hold or drain can be chosen."""
    reason: bool = True
    """END: a reason is asked for too."""


def _always(_row: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Key:
    scope: str
    """Where it works: the name of a scope of the console's keymap, like ``backlog``."""
    id: str
    keys: str
    label: str
    help: str
    rank: int
    """In the key bar: what ranks lower is dropped last."""
    place: int
    """In the help: among the keys of its scope, from 0."""
    question: Question | None = None
    only_open_ended: bool = False
    """Without its question where single items are chosen."""
    offered: Callable[[Any], bool] = _always
    """Whether it would do something about a row; a key that is not offered still answers."""
    for_every: bool = False
    """Offered only if it is so of every row; else one is enough."""
