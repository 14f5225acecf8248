"""What every draft of a change to the queue looks at, each look within its deadline."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from runtime.common.addresses import Addresses
from runtime.common.deadline import within
from runtime.common.text import one_line
from runtime.lane.lane_file import Lane, LaneSource
from runtime.model import OperatorError, PressureReader, PressureReading
from runtime.settings import Settings
from runtime.truth.flow import under_hold
from runtime.truth.processes import ALIVE_WITHIN_S, DRAINER, WORKER, BeatReader, judge_beats

T = TypeVar("T")


class ReadPort:
    """ReadPort only; writes nothing."""

    def __init__(
        self,
        *,
        settings: Settings,
        lane: LaneSource,
        pressure: PressureReader,
        beats: BeatReader,
        addresses: Addresses,
    ) -> None:
        self._settings = settings
        self._lane = lane
        self._pressure = pressure
        self._beats = beats
        self._addresses = addresses

    async def read(self) -> PressureReading:
        lane = self._lane.current
        limits = lane.limits(self._settings.lane_max_in_flight)
        return under_hold(await self.redis(self._pressure.read(lane.rules, limits)))

    async def redis(self, look: Coroutine[Any, Any, T]) -> T:
        """Raises `BoundaryDown` when there is no answer in time."""
        return await within(
            self._settings.probe_deadline_s, look, boundary="Redis", address=self._addresses.redis
        )

    async def nobody(self, *roles: str) -> list[str]:
        """Who would have to live for the effect to be seen, and is not known to. A hint, so
        that no answer is no error."""
        try:
            beats = await self.redis(self._beats.read())
            reading = await self.read()
        except OperatorError as error:
            return [f"whether a drainer and a worker live is unknown: {error.message}"]
        processes = judge_beats(beats, reading.source.server_time, ALIVE_WITHIN_S)
        missing = [role for role in roles or (DRAINER, WORKER) if not processes.alive(role)]
        return [f"no live {role}: nothing happens until one runs" for role in missing]

    def target(self, lane: Lane, reading: PressureReading) -> str:
        """Which lane on which server, in words."""
        return (
            f"lane {lane.name} ({lane.path}) on {one_line(reading.source.server, 60)} "
            f"at {self._addresses.redis}, database {reading.source.database}"
        )
