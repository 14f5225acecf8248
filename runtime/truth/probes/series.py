"""Series: the last hour of each family by minute, as the document tells it beside the figures of now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runtime.common.instants import instant
from runtime.ledger.series import LATE_S, MINUTE_S
from runtime.model import FamilyReading, FamilySeries, Now, PressureReading, SeriesPoint, SeriesReader
from runtime.truth.document import FamilyHistory
from runtime.truth.probes.probe import Probe

HISTORY_MINUTES = 60
FAMILIES_MOST = 300
"""Families whose series one look reads: those with the most to tell. The document lists fewer still."""
EVERY_S = 10.0
"""A series changes once a minute: it is not read again with every snapshot."""
_LAG_S = EVERY_S + LATE_S
"""A minute may be recorded late, and read late: until then it is only not there yet."""
DEADLINE_S = 0.5
"""It is read after the figures of now, and they are not kept waiting for it."""


class SeriesWatch:
    """What was last read of the series. A series that can't be read keeps its last good minutes, which
    say of when they are; one that never was read is unknown."""

    def __init__(self, series: SeriesReader, *, deadline_s: float, now: Now) -> None:
        self._series = series
        self._now = now
        self._wanted: tuple[str, ...] = ()
        self._as_of: float | None = None
        self._read_for: tuple[str, ...] | None = None
        self._read_at = 0.0
        self._known: Mapping[str, FamilySeries] = {}
        self._probe = Probe("series", self._read, deadline_s=min(deadline_s, DEADLINE_S), now=now)

    async def look(self, reading: PressureReading) -> Mapping[str, FamilySeries]:
        """By family. Never raises for what Redis does."""
        self._wanted, self._as_of = _worth_reading(reading.families), reading.source.server_time
        age_s = self._now() - self._read_at
        if self._read_for != self._wanted or not 0 <= age_s < EVERY_S:
            await self._probe.look()
        return self._known

    async def aclose(self) -> None:
        await self._probe.aclose()

    async def _read(self) -> None:
        wanted = self._wanted
        self._known = await self._series.read(wanted, HISTORY_MINUTES, at=self._as_of)
        self._read_for, self._read_at = wanted, self._now()


def history(series: FamilySeries | None, as_of: float) -> FamilyHistory | None:
    """The hour before ``as_of`` (seconds since the epoch); None where not one of its minutes is known.

    Minutes that have passed since the series was last read are unknown ones at its end.
    """
    if series is None or not series.points:
        return None
    last = series.points[-1].at
    passed = max(0, int((as_of - last - _LAG_S) // MINUTE_S))
    points = [
        *series.points,
        *(SeriesPoint(last + MINUTE_S * (n + 1)) for n in range(min(passed, HISTORY_MINUTES))),
    ]
    points = points[-HISTORY_MINUTES:]
    if not any(point.recorded for point in points):
        return None
    return FamilyHistory(
        until=instant(points[-1].at),
        settled=[point.settled for point in points],
        waiting=[point.waiting for point in points],
    )


def _worth_reading(families: Sequence[FamilyReading]) -> tuple[str, ...]:
    if len(families) <= FAMILIES_MOST:
        return tuple(family.family for family in families)
    ranked = sorted(families, key=_quietest_last)
    return tuple(sorted(family.family for family in ranked[:FAMILIES_MOST]))


def _quietest_last(family: FamilyReading) -> tuple[bool, int, str]:
    backlog = family.waiting + family.held + family.throttled + family.in_flight
    return not (family.dead or family.quarantined or family.pause), -backlog, family.family
