"""Which instants of a schedule are accounted for: decided about, or told as missed. Pure; time is an argument.

Every instant is decided about at most once, and one that no call stood for is told as missed once. What is
remembered of instants beyond ``now`` says nothing about the past: the clock was ahead when it was written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from runtime.lane.cron import COUNT_MOST, Grid

LISTED_MOST = 100
"""Missed instants that are told one by one; what was missed before these is a number."""
STRETCHES_MOST = 200
"""Each ends where an instant was missed. The oldest are forgotten first."""
_BEFORE = 0.001
"""A grid knows whole seconds: so much before a point is behind the one before it."""


class Standing(StrEnum):
    """What an instant is to its schedule when a call for it is looked at."""

    DUE = "due"
    ACCOUNTED = "accounted"
    """Decided about, or told as missed."""
    EARLY = "early"
    BEFORE = "before"
    """From before the schedule was there, or enabled, or due by this grid."""


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of a schedule's instants. Times in seconds since the epoch."""

    decided: tuple[tuple[float, float], ...] = ()
    """Stretches of the grid, in rising order, of which each instant was decided about: first and last."""
    through: float | None = None
    """What was not decided about until here is told as missed, or is of no account."""
    told_at: float = 0.0
    """When ``through`` was so. Beyond now: a clock that was ahead said it."""

    def has(self, instant: float) -> bool:
        """Whether it was decided about."""
        return any(first <= instant <= last for first, last in self.decided)

    def decided_since(self, instant: float, now: float) -> bool:
        """Whether a later one, not beyond ``now``, was decided about."""
        return any(last > instant and first <= now for first, last in self.decided)

    def with_decided(self, grid: Grid, instant: float) -> Account:
        """With this instant too; neighbours on the grid become one stretch."""
        before = grid.at_or_before(instant - _BEFORE)
        after = grid.after(instant)
        least = instant if before is None else before
        most = instant if after is None else after
        kept, first, last = [], instant, instant
        for begin, end in self.decided:
            if end < least or begin > most:
                kept.append((begin, end))
            else:
                first, last = min(first, begin), max(last, end)
        return replace(self, decided=tuple(sorted([*kept, (first, last)])[-STRETCHES_MOST:]))

    def accounted_until(self, grid: Grid, now: float, since: float | None) -> float | None:
        """Up to which moment everything is accounted for; None: nothing is known before ``now``."""
        known = [] if since is None or since > now else [since]
        if self.through is not None and self.through <= now and self.told_at <= now:
            known.append(self.through)
        elif (newest := self._newest(grid, now)) is not None:
            known.append(newest)
        return max(known, default=None)

    def _newest(self, grid: Grid, now: float) -> float | None:
        """The latest decided instant that is not beyond ``now``."""
        for first, last in reversed(self.decided):
            if last <= now:
                return last
            if first <= now:
                return max(first, grid.at_or_before(now) or first)
        return None


@dataclass(frozen=True, slots=True)
class Judged:
    standing: Standing
    account: Account
    """As it is once the call is decided."""
    missed: tuple[float, ...] = ()
    """Instants before this one that no call stood for, rising: the latest `LISTED_MOST` of them."""
    missed_total: int = 0
    """All of them, as far as `COUNT_MOST` before the listed."""


def judge(account: Account, grid: Grid, instant: float, *, now: float, since: float | None = None) -> Judged:
    """What a call for ``instant`` finds at ``now``. ``since``: from when on the schedule's instants count,
    where that is known."""
    if account.has(instant):
        return Judged(Standing.ACCOUNTED, account)
    if instant > now:
        return Judged(Standing.EARLY, account)
    if since is not None and instant <= since <= now:
        return Judged(Standing.BEFORE, account)
    until = account.accounted_until(grid, now, since)
    if until is not None and instant <= until:
        return Judged(Standing.ACCOUNTED, account)
    passed = _last_passed(grid, instant, now)
    through = until if passed is None or (until is not None and passed <= until) else passed
    missed: list[float] = []
    total = 0
    if until is not None and passed is not None:
        missed, total = _undecided(account, grid, until, passed)
    after = replace(account, through=through, told_at=now).with_decided(grid, instant)
    return Judged(Standing.DUE, after, tuple(missed), total)


def begun_anew(grid: Grid, moment: float, now: float) -> Account:
    """What is known where nothing is remembered any more: what has passed by now without being decided about is of
    no account, so that nothing is told as missed that may have been decided; what may still be called is due."""
    return Account((), _last_passed(grid, moment, now), now)


def _last_passed(grid: Grid, instant: float, now: float) -> float | None:
    """The latest point before ``instant`` whose own call would come too late by now."""
    point = grid.at_or_before(instant - _BEFORE)
    while point is not None and now - point <= grid.tolerance(point):
        point = grid.at_or_before(point - _BEFORE)
    return point


def _undecided(account: Account, grid: Grid, after: float, until: float) -> tuple[list[float], int]:
    """Points in ``(after, until]`` that were not decided about: the latest, rising, and how many in all."""
    found: list[float] = []
    point: float | None = until
    while point is not None and point > after and len(found) < LISTED_MOST:
        stretch = next(((first, last) for first, last in account.decided if first <= point <= last), None)
        if stretch is None:
            found.append(point)
        point = grid.at_or_before((point if stretch is None else stretch[0]) - _BEFORE)
    more = 0
    if point is not None and point > after:
        for first, last in account.decided:
            if after < last and first <= point:
                more += grid.count(after, min(point, first - _BEFORE))
                after = last
        more += grid.count(after, point)
    return found[::-1], len(found) + min(more, COUNT_MOST)


def stretches_of(instants: list[float]) -> tuple[tuple[float, float], ...]:
    """Each instant by itself, as an older version remembered them."""
    return tuple((instant, instant) for instant in sorted(set(instants)) if math.isfinite(instant))
