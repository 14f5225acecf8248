"""Writes each minute down: what every family looks like at its begin, by the Redis server's clock.

It remembers nothing, so that several of them record the same lane side by side.
"""

from __future__ import annotations

import asyncio

from runtime.common.text import one_line
from runtime.lane.lane_file import LaneSource
from runtime.ledger.series import LATE_S, MINUTE_S
from runtime.model import FamilyReading, OperatorError, PressureReader, SeriesWriter

AGAIN_AFTER_S = 2.0
"""After a failure: soon enough to have the minute all the same."""
BEYOND_S = 0.05
"""Past the minute's begin: a wait that ends a little early is no minute missed."""


class SeriesRecorder:
    """``last_error``: why the last minute that should be on record is not, as a whole; None: it is."""

    def __init__(
        self, reader: PressureReader, series: SeriesWriter, lane: LaneSource, *, lane_max_in_flight: int
    ) -> None:
        """``lane_max_in_flight``: where the lane file says none."""
        self._reader = reader
        self._series = series
        self._lane = lane
        self._lane_max = lane_max_in_flight
        self.last_error: str | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Records every minute until ``stop``."""
        while not stop.is_set():
            try:
                wait_s = await self.record_minute()
            except OperatorError as error:
                self.last_error = error.message
                wait_s = AGAIN_AFTER_S
            except (ValueError, TypeError, KeyError) as error:
                # Somebody else wrote into the queue's figures: that is no reason to stop draining it.
                self.last_error = one_line(f"the queue's figures can't be understood: {error}", 200)
                wait_s = AGAIN_AFTER_S
            try:
                await asyncio.wait_for(stop.wait(), wait_s)
            except TimeoutError:
                continue

    async def record_minute(self) -> float:
        """Records the present minute if it has just begun, and of new families in any case. Returns the seconds until the next one.

        Raises `OperatorError`; families that could be recorded then are.
        """
        lane = self._lane.current
        reading = await self._reader.read(lane.rules, lane.limits(self._lane_max))
        minute, past_s = divmod(reading.source.server_time, MINUTE_S)
        if past_s <= LATE_S:
            await self._series.record(int(minute), reading.families)
            self.last_error = None
        else:
            # Nothing ever came to these, so that it is known what this minute began with: without it the first
            # burst of a new lane would be counted from nothing, and be unknown.
            untouched = [family for family in reading.families if _untouched(family)]
            await self._series.record(int(minute), untouched)
        return MINUTE_S - past_s + BEYOND_S


def _untouched(family: FamilyReading) -> bool:
    """Nothing was ever taken in, and nothing is there."""
    return not (family.enqueued_total or family.succeeded_total or family.failed_total or family.stored)
