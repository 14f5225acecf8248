"""What every preview of a change looks at, each look within its deadline. Nothing of it can write."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from runtime.actions.adopting import OutsideLooks
from runtime.actions.bulk.ports import BulkProgress, MoveDoor
from runtime.actions.intents import Intent
from runtime.common.addresses import Addresses
from runtime.common.deadline import within
from runtime.common.text import one_line
from runtime.lane.lane_file import Lane, LaneSource
from runtime.model import (
    BacklogSelector,
    ClockJob,
    ClockReader,
    ClockSource,
    Now,
    OperatorError,
    PressureReader,
    PressureReading,
    Refused,
    RunLookup,
    SandboxReader,
)
from runtime.settings import Settings
from runtime.truth.flow import under_hold
from runtime.truth.processes import ALIVE_WITHIN_S, DRAINER, WORKER, BeatReader, judge_beats

T = TypeVar("T")


class ClockLooks(ClockReader, Protocol):
    """One clock, looked at only."""

    async def source(self) -> ClockSource: ...
    async def jobs(self) -> Mapping[str, ClockJob]:
        """The lane's own jobs by schedule. Raises `BoundaryDown`."""
        ...


@dataclass(frozen=True, slots=True)
class BacklogLooks:
    """What is looked at before something is done to a selection of the backlog."""

    selector: BacklogSelector
    door: MoveDoor | None
    """None: payloads are not looked at before a move, and its preview says so."""
    exports: bool
    """Whether items can be written to a file here."""


@dataclass(frozen=True, slots=True)
class ReadPort:
    """The eyes of every verb."""

    settings: Settings
    lane: LaneSource
    pressure: PressureReader
    runs: RunLookup
    beats: BeatReader
    addresses: Addresses
    now: Now
    clock: ClockLooks | None = None
    artifacts: SandboxReader | None = None
    backlog: BacklogLooks | None = None
    outside: OutsideLooks | None = None
    """None: no backlog can be brought in here."""
    actor: str = ""
    """Who asks for the preview."""
    progress: BulkProgress | None = None
    """Told how far the looking has come."""

    def most(self, intent: Intent) -> int:
        """How many targets the intent may have."""
        return min(self.settings.action_ceiling, intent.limit or self.settings.action_ceiling)

    async def read(self) -> PressureReading:
        """Every family of the queue. Raises `BoundaryDown`."""
        lane = self.lane.current
        limits = lane.limits(self.settings.lane_max_in_flight)
        return under_hold(await self.redis(self.pressure.read(lane.rules, limits)))

    async def redis(self, look: Coroutine[Any, Any, T]) -> T:
        """Raises `BoundaryDown` when there is no answer in time."""
        return await within(
            self.settings.probe_deadline_s, look, boundary="Redis", address=self.addresses.redis
        )

    async def restate(self, look: Coroutine[Any, Any, T]) -> T:
        """As `redis`, of Restate."""
        return await within(
            self.settings.probe_deadline_s, look, boundary="Restate", address=self.addresses.restate_admin
        )

    async def of_clock(self, look: Coroutine[Any, Any, T]) -> T:
        """As `redis`, of the clock."""
        return await within(
            self.settings.probe_deadline_s, look, boundary="The clock", address=self.addresses.clock
        )

    def the_clock(self) -> ClockLooks:
        """Raises `Refused`: there is none."""
        if self.clock is None:
            raise Refused("this profile has no clock", fix="set dkron_url, or use the local stack")
        return self.clock

    def the_backlog(self) -> BacklogLooks:
        """Raises `Refused`: it can't be looked through here."""
        if self.backlog is None:
            raise no_backlog()
        return self.backlog

    async def nobody(self, *roles: str) -> list[str]:
        """Who would have to live for the effect to be seen, and is not known to. A hint, so
        that no answer is no error."""
        try:
            beats = await self.redis(self.beats.read())
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
            f"at {self.addresses.redis}, database {reading.source.database}"
        )


def no_backlog() -> Refused:
    return Refused(
        "the backlog can't be acted on as a selection here", fix="use the command line or the console"
    )
