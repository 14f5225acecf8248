"""Which items of a family are meant, written as the options of ``queue replay`` and its kin, and told in words.

``--error "HTTP 503" --newer 2h --field customer.id=42``; the dashes may be left out, and ``error=timeout``
means ``--error timeout``. Every condition that is given must hold.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from joelclaw_tui.presentation import values
from runtime.common.text import one_line
from runtime.model import ITEM_ID, FieldMatch, ItemState, Priority, Selection

LIMIT_MOST = 100_000
TEXT_MOST = 1000
"""Characters that are read of what was typed."""
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Conditions:
    """``states`` empty: the one that is looked at."""

    states: frozenset[ItemState] = frozenset()
    priorities: frozenset[Priority] = frozenset()
    older_than_s: float | None = None
    newer_than_s: float | None = None
    enqueued_from: float | None = None
    enqueued_until: float | None = None
    attempts: tuple[int, int | None] | None = None
    error: str | None = None
    fields: tuple[FieldMatch, ...] = ()
    ids: tuple[str, ...] = ()
    limit: int | None = None
    """At most so many are acted on."""
    written: str = field(default="", compare=False)
    """As it was typed."""

    def __bool__(self) -> bool:
        """Whether it narrows anything down."""
        return replace(self, limit=None) != Conditions()

    def selection(self, state: ItemState) -> Selection:
        least, most = self.attempts or (None, None)
        return Selection(
            states=self.states or frozenset({state}),
            priorities=self.priorities or frozenset(Priority),
            older_than_s=self.older_than_s,
            newer_than_s=self.newer_than_s,
            enqueued_from=self.enqueued_from,
            enqueued_until=self.enqueued_until,
            attempt_min=least,
            attempt_max=most,
            error=self.error,
            fields=self.fields,
            ids=self.ids or None,
        )

    def words(self, state: ItemState, family: str) -> str:
        """``dead of content/updated with error "timeout"``; clean text."""
        states = self.states or frozenset({state})
        named = " or ".join(s.value.replace("_", " ") for s in ItemState if s in states)
        told = [*self._words()]
        most = "" if self.limit is None else f"; at most {self.limit:,}"
        return f"{named} of {one_line(family, _SHOWN)}{' ' if told else ''}{', '.join(told)}{most}"

    def _words(self) -> list[str]:
        told = []
        if self.error is not None:
            told.append(f'with error "{one_line(self.error, _SHOWN)}"')
        if self.priorities:
            told.append("at " + " or ".join(level.name for level in Priority if level in self.priorities))
        if self.older_than_s is not None:
            told.append(f"in that state for at least {_length(self.older_than_s)}")
        if self.newer_than_s is not None:
            told.append(f"in that state for at most {_length(self.newer_than_s)}")
        if self.enqueued_from is not None:
            told.append(f"enqueued from {_instant(self.enqueued_from)}")
        if self.enqueued_until is not None:
            told.append(f"enqueued until {_instant(self.enqueued_until)}")
        if self.attempts is not None:
            least, most = self.attempts
            told.append(
                f"attempt {least}"
                if most == least
                else f"attempt {least} to {'any' if most is None else most}"
            )
        told += [f"whose {_path(match)} is {_value(match)}" for match in self.fields]
        if self.ids:
            told.append(f"among {len(self.ids):,} ids" if len(self.ids) > 1 else f"with id {self.ids[0]}")
        return told


def parse_conditions(text: str) -> Conditions:
    """Raises `ValueError` with a sentence for the operator."""
    if len(text) > TEXT_MOST:
        raise ValueError(f"at most {TEXT_MOST:,} characters, please")
    try:
        words = shlex.split(text)
    except ValueError:
        raise ValueError("a quote is open: close it") from None
    found = Conditions(written=text)
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        name = name.removeprefix("--").lower()
        take = _OPTIONS.get(name)
        if take is None:
            raise ValueError(f"{one_line(name, 30)!r} is no condition; there are {', '.join(_OPTIONS)}")
        if not equals:
            value = next(rest, "")
        if not value:
            raise ValueError(f"{name} wants a value, like {_EXAMPLES[name]}")
        found = take(found, value)
    return found


def _state(found: Conditions, value: str) -> Conditions:
    return replace(found, states=found.states | {values.state_of(value)})


def _priority(found: Conditions, value: str) -> Conditions:
    return replace(found, priorities=found.priorities | {values.priority(value)})


def _older(found: Conditions, value: str) -> Conditions:
    return replace(found, older_than_s=values.length(value, zero=True))


def _newer(found: Conditions, value: str) -> Conditions:
    return replace(found, newer_than_s=values.length(value, zero=True))


def _from(found: Conditions, value: str) -> Conditions:
    return replace(found, enqueued_from=values.moment(value))


def _until(found: Conditions, value: str) -> Conditions:
    return replace(found, enqueued_until=values.moment(value))


def _attempt(found: Conditions, value: str) -> Conditions:
    return replace(found, attempts=values.attempts(value))


def _error(found: Conditions, value: str) -> Conditions:
    return replace(found, error=value)


def _field(found: Conditions, value: str) -> Conditions:
    return replace(found, fields=(*found.fields, values.field_match(value)))


def _ids(found: Conditions, value: str) -> Conditions:
    given = tuple(part for part in value.replace(",", " ").split() if part)
    wrong = next((part for part in given if ITEM_ID.fullmatch(part) is None), None)
    if wrong is not None or not given:
        raise ValueError(f"{one_line(wrong or value, 40)!r} is not an item id")
    return replace(found, ids=tuple(dict.fromkeys((*found.ids, *given))))


def _max(found: Conditions, value: str) -> Conditions:
    return replace(found, limit=values.whole(value.replace(",", ""), 1, LIMIT_MOST))


_OPTIONS: dict[str, Callable[[Conditions, str], Conditions]] = {
    "error": _error,
    "field": _field,
    "older": _older,
    "newer": _newer,
    "priority": _priority,
    "attempt": _attempt,
    "from": _from,
    "until": _until,
    "state": _state,
    "ids": _ids,
    "max": _max,
}
"""By the names of the command line's options."""
EXAMPLE = 'error "HTTP 503" newer 2h field customer.id=42'
_EXAMPLES = {
    "error": 'error "HTTP 503"',
    "field": "field customer.id=42",
    "older": "older 1h",
    "newer": "newer 30m",
    "priority": "priority P1",
    "attempt": "attempt 2-5",
    "from": "from 2026-03-14T15:00Z",
    "until": "until 2026-03-14",
    "state": "state dead",
    "ids": "ids ID,ID",
    "max": "max 500",
}


def _length(seconds: float) -> str:
    """Exactly what was typed, in its largest units."""
    parts = []
    left = seconds
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        whole, left = divmod(left, size)
        if whole:
            parts.append(f"{whole:.0f}{unit}")
    if left or not parts:
        parts.append(f"{left:g}s")
    return "".join(parts)


def _instant(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _path(match: FieldMatch) -> str:
    return one_line(".".join(match.path), _SHOWN)


def _value(match: FieldMatch) -> str:
    value = match.value
    if isinstance(value, str):
        return f'"{one_line(value, _SHOWN)}"'
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"
