"""The grid of a schedule: the instants at which it is due. Pure; time comes in as an argument.

The expressions are those that Dkron reads (six fields, seconds first; ``@every``, ``@at``,
``@manually``, ``@hourly`` ...), so that the clock that fires and everybody who judges a fire
agree on its instant. `cronsim` finds the instants: it is typed, knows seconds and zoneinfo,
goes backwards too, and is what Healthchecks runs on.

Daylight saving: a schedule of fixed times is never lost and never doubled. What falls into the
gap is due when the gap ends; what occurs twice is due the first time (as in Debian's cron). A
schedule whose hour or minute begins with ``*`` simply goes on with real time: it is due at each
instant at which a clock on the wall shows one of its times, also where that clock moves by half
an hour (Lord Howe).
"""

from __future__ import annotations

import hashlib
import heapq
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from runtime.model import LENGTH_MOST_S

TOLERANCE_S = 30.0
"""A fire is in time until half a period after its instant, and never longer than this."""
EARLY_S = 2.0
"""A clock that runs ahead of ours may call so much too early, at most."""
EARLY_SHARE = 4
"""Of the way to the next instant, the part within which a call may be an early one: else a late call
of a short period would take the next instant's name."""
EVERY_LEAST_S = 1.0
COUNT_MOST = 1000

_SHORTHANDS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
    "@minutely": "0 * * * * *",
}
_NAMES = ("second", "minute", "hour", "day of month", "month", "day of week")
_RANGES = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_HASHED = ((0, 59), (0, 59), (0, 23), (1, 28), (1, 12), (0, 6))
"""``~``: every month has a 28th."""
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_TERM = re.compile(r"(?:\*|\?|([0-9a-z]+)(?:-([0-9a-z]+))?)(?:/([0-9]+))?")
_GO_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+")
_GO_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DST_SPAN = timedelta(hours=4)
"""Longer than any change of a zone's offset."""


class CronError(ValueError):
    """An expression or a zone that can't be used; the text is the reason."""


class ZoneError(CronError):
    """A timezone that nobody knows."""


@dataclass(frozen=True, slots=True)
class Due:
    """Which instant of the grid a call means."""

    at: float
    """Seconds since the epoch."""
    late: bool


@dataclass(frozen=True, slots=True)
class Grid:
    """The instants of one schedule. Make it with `grid_of`."""

    expression: str
    """As a clock is told it: six fields, ``@every 90s``, ``@at ...`` or ``@manually``."""
    timezone: str
    every_s: float | None = None
    anchor: float = 0.0
    """``@every`` only: an instant of the grid."""
    at: float | None = None
    """``@at`` only."""

    def after(self, moment: float) -> float | None:
        """The first instant strictly after ``moment`` (seconds since the epoch); None: no more."""
        if self.every_s is not None:
            steps = (moment - self.anchor) // self.every_s + 1
            return self.anchor + steps * self.every_s
        if self.expression.startswith("@"):
            return self.at if self.at is not None and self.at > moment else None
        # A second earlier, because a moment within a second belongs to that second's beginning.
        return next((point for point in self._points(moment - 1.0) if point > moment), None)

    def at_or_before(self, moment: float) -> float | None:
        """The last instant not after ``moment``; None: there was none."""
        if self.every_s is not None:
            return self.anchor + (moment - self.anchor) // self.every_s * self.every_s
        if self.expression.startswith("@"):
            return self.at if self.at is not None and self.at <= moment else None
        if _fixed_time(self.expression) is None:
            return self._before(moment + 1.0, moment)
        # Going backwards through a change of offset is not the mirror of going forwards: so back
        # beyond it, then forwards.
        start = self._before(moment - _DST_SPAN.total_seconds(), moment)
        found = start
        for point in self._points((moment - 86_400.0) if start is None else start - 1.0):
            if point > moment:
                break
            found = point
        return found

    def count(self, after: float, until: float) -> int:
        """How many instants lie in ``(after, until]``, at most `COUNT_MOST`."""
        number, point = 0, self.after(after)
        while point is not None and point <= until and number < COUNT_MOST:
            number += 1
            point = self.after(point)
        return number

    def tolerance(self, moment: float) -> float:
        """min(half the period around ``moment``, `TOLERANCE_S`), in seconds."""
        before, after = self.at_or_before(moment), self.after(moment)
        if before is None or after is None:
            return TOLERANCE_S
        return min((after - before) / 2, TOLERANCE_S)

    def due(self, moment: float) -> Due | None:
        """The instant that a call at ``moment`` means: the latest at or before it; or the one after it, when
        that is at most `EARLY_S` and a quarter of the period away. None: there is no such instant."""
        before, after = self.at_or_before(moment), self.after(moment)
        if after is not None:
            early = EARLY_S if before is None else min(EARLY_S, (after - before) / EARLY_SHARE)
            if after - moment <= early:
                return Due(after, late=False)
        return None if before is None else Due(before, late=moment - before > self.tolerance(before))

    def overdue(self, moment: float) -> float | None:
        """The last instant for which it is too late to be in time at ``moment``."""
        return self.at_or_before(moment - self.tolerance(moment))

    # --- cron

    def _points(self, moment: float, *, reverse: bool = False) -> Iterator[float]:
        """The instants from after ``moment`` on, or with ``reverse`` back from before it. Near
        ``moment`` some lie on its other side: callers compare."""
        fixed, zone = _fixed_time(self.expression), _zone(self.timezone)
        if fixed is None:
            return _real_time(self.expression, self.timezone, moment, reverse)
        return _wall_time(*fixed, zone, moment, reverse)

    def _before(self, moment: float, bound: float) -> float | None:
        return next((point for point in self._points(moment, reverse=True) if point <= bound), None)


def grid_of(expression: str, timezone: str | None = None, *, name: str = "", anchor: float = 0.0) -> Grid:
    """The grid of what a lane file or a Dkron job says. ``name`` decides what ``~`` means; ``anchor``
    is where ``@every`` counts from. Raises `CronError`."""
    text = " ".join(expression.split())
    zone = timezone or "UTC"
    if text.startswith(("TZ=", "CRON_TZ=")):
        prefix, _, text = text.partition(" ")
        zone = prefix.partition("=")[2]
    _zone(zone)
    if text.startswith("@"):
        return _at_form(text, zone, anchor)
    return Grid(_checked(text, name), zone)


def cron_of_every(seconds: float) -> str | None:
    """Six fields that mean the same as ``@every``, in UTC; None where there are none."""
    whole = int(seconds)
    if whole != seconds or whole < 1:
        return None
    if whole < 60:
        return f"*/{whole} * * * * *" if 60 % whole == 0 else None
    if whole < 3600:
        return f"0 */{whole // 60} * * * *" if whole % 60 == 0 and 60 % (whole // 60) == 0 else None
    if whole == 86_400:
        return _SHORTHANDS["@daily"]
    hours, rest = divmod(whole, 3600)
    return f"0 0 */{hours} * * *" if rest == 0 and 24 % hours == 0 else None


def parse_every(text: str) -> float:
    """Seconds of ``@every 1h30m``. Raises `CronError`."""
    length = text.removeprefix("@every").strip()
    if not _GO_DURATION.fullmatch(length):
        raise CronError(f"{text!r}: write it like @every 10s, @every 5m or @every 1h")
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in _GO_PART.findall(length))
    if not EVERY_LEAST_S <= seconds <= LENGTH_MOST_S:
        raise CronError(f"{text!r}: give a length from 1s to 366d")
    return seconds


def _at_form(text: str, zone: str, anchor: float) -> Grid:
    word, _, rest = text.partition(" ")
    if word in _SHORTHANDS and not rest:
        return Grid(_SHORTHANDS[word], zone)
    if word == "@manually" and not rest:
        return Grid("@manually", "UTC")
    if word == "@every":
        seconds = parse_every(text)
        return Grid(text, "UTC", every_s=seconds, anchor=anchor)
    if word == "@at":
        try:
            moment = datetime.fromisoformat(rest.replace("Z", "+00:00"))
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise CronError(f"{text!r}: give an instant like @at 2026-01-31T08:00:00Z")
        return Grid(text, "UTC", at=float(int(moment.timestamp())))
    known = ", ".join((*_SHORTHANDS, "@every", "@at", "@manually"))
    raise CronError(f"{text!r} is none of {known}")


def _checked(text: str, name: str) -> str:
    """Six fields as cronsim and Dkron both read them."""
    fields = text.lower().split()
    if len(fields) == 5:
        raise CronError(f"{text!r} has five fields; six are needed, seconds first: try '0 {text}'")
    if len(fields) != 6:
        raise CronError(f"{text!r} has {len(fields)} fields; six are needed, seconds first")
    checked = [_field(place, field, name) for place, field in enumerate(fields)]
    days = (checked[3], checked[5])
    if any(day.startswith("*/") for day in days) and "*" not in days:
        raise CronError(
            f"{text!r}: a step from * in one day field and a value in the other is read differently by clocks"
        )
    cron = " ".join(checked)
    try:
        if next(CronSim(cron, datetime(2024, 1, 1, tzinfo=UTC)), None) is None:
            raise CronError(f"{text!r} is never due")
    except CronSimError as error:
        raise CronError(f"{text!r}: {error}") from None
    return cron


def _field(place: int, field: str, name: str) -> str:
    low, high = _RANGES[place]
    if field == "~":
        least, most = _HASHED[place]
        digest = hashlib.blake2s(f"{name}/{place}".encode()).digest()
        return str(least + int.from_bytes(digest[:8]) % (most - least + 1))
    terms = []
    for term in field.split(","):
        match = _TERM.fullmatch(term)
        if match is None:
            raise CronError(f"{_NAMES[place]} {field!r}: {term!r} is not *, a value, a range or a step")
        first, last, step = (None if part is None else _value(place, part, field) for part in match.groups())
        if (first is not None and not low <= first <= high) or (last is not None and last > high):
            more = "; Sunday is 0" if place == 5 else ""
            raise CronError(f"{_NAMES[place]} {field!r}: values are {low} to {high}{more}")
        if first is not None and last is not None and last < first:
            raise CronError(f"{_NAMES[place]} {field!r}: {term!r} ends before it begins")
        if step is not None and not 1 <= step <= high:
            raise CronError(f"{_NAMES[place]} {field!r}: a step is from 1 to {high}")
        shown = "*" if first is None else str(first) if last is None else f"{first}-{last}"
        terms.append(shown if step is None or (step == 1 and first is None) else f"{shown}/{step}")
    return "*" if "*" in terms else ",".join(terms)


def _value(place: int, text: str, field: str) -> int:
    names = _MONTHS if place == 4 else _DAYS if place == 5 else []
    if text in names:
        return names.index(text) + (1 if place == 4 else 0)
    if not text.isdigit() or len(text) > 4:
        raise CronError(f"{_NAMES[place]} {field!r}: {text!r} is not a value")
    return int(text)


@cache
def _fixed_time(expression: str) -> tuple[str, tuple[int, ...]] | None:
    """The five fields without seconds, and the seconds in rising order, of a schedule of fixed times
    of day; None for others. cronsim treats changes of offset as Debian does for five fields only."""
    _, minute, hour, *days = expression.split()
    if minute.startswith("*") or hour.startswith("*"):
        return None
    seconds = CronSim(expression, datetime(2024, 1, 1, tzinfo=UTC)).seconds
    return " ".join((minute, hour, *days)), tuple(sorted(seconds))


def _wall_time(
    five: str, seconds: tuple[int, ...], zone: ZoneInfo, moment: float, reverse: bool
) -> Iterator[float]:
    """Fixed times of day. The minutes come in order and lie at least 60 s apart once those that
    share the end of a gap are one, so their seconds come in order too."""
    start = datetime.fromtimestamp(moment if reverse else moment - seconds[-1], zone)
    if not reverse:
        start -= timedelta(minutes=1)
    ordered = seconds[::-1] if reverse else seconds
    last = None
    for point in CronSim(five, start, reverse=reverse):
        if (minute := point.timestamp()) != last:
            yield from (minute + second for second in ordered)
        last = minute


def _real_time(expression: str, timezone: str, moment: float, reverse: bool) -> Iterator[float]:
    """Each instant whose local fields match. cronsim steps by whole hours and so passes over times
    when an offset changes by less; hence one pass for each offset the zone has, as if it always
    held, of which those instants count at which it does hold."""
    zone, whole = _zone(timezone), math.floor(moment)
    # Merged before the offset is looked at: a pass of winter's alone would search all summer.
    passes = [_at_offset(expression, offset, whole, reverse) for offset in _offsets(timezone)]
    for point, offset in heapq.merge(*passes, reverse=reverse):
        if datetime.fromtimestamp(point, zone).utcoffset() == offset:
            yield point


def _at_offset(
    expression: str, offset: timedelta, moment: int, reverse: bool
) -> Iterator[tuple[float, timedelta]]:
    start = datetime.fromtimestamp(moment, UTC) + offset
    for point in CronSim(expression, start, reverse=reverse):
        yield (point - offset).timestamp(), offset


@cache
def _offsets(timezone: str) -> tuple[timedelta, ...]:
    """All offsets from UTC that the zone has from 1970 to 2070. None that holds for less than ten
    days is known; later years repeat the rules of earlier ones."""
    zone = _zone(timezone)
    days = range(0, 36_525, 10)
    found = {datetime.fromtimestamp(day * 86_400, zone).utcoffset() for day in days}
    return tuple(sorted(offset for offset in found if offset is not None))


@cache
def _zone(name: str) -> ZoneInfo:
    try:
        if not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}", name):
            raise ValueError(name)
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise ZoneError(f"unknown timezone {name[:60]!r}; write it like Europe/Berlin or UTC") from None
