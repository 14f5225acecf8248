"""The door for fires: every call of ``/v1/fires/{schedule}`` is checked here and given its instant."""

from __future__ import annotations

from runtime.common.text import one_line
from runtime.lane.cron import EARLY_S
from runtime.lane.lane_file import LaneSource
from runtime.model import (
    FireAnswer,
    FireCall,
    FireDecider,
    FireKind,
    Now,
    ReadOnly,
    Refused,
    asked_fire_id,
    fire_id_of,
)
from runtime.settings import Settings

ACTOR_MAX = 100


class FireEndpoint:
    """Gives a call its fire id and hands it to the schedule's object, which alone decides."""

    def __init__(self, lane: LaneSource, settings: Settings, decider: FireDecider, now: Now) -> None:
        self._lane = lane
        self._settings = settings
        self._decider = decider
        self._now = now

    async def fire(
        self, schedule: str, *, caught_up: bool = False, called_at: float | None = None
    ) -> FireAnswer:
        """A call by the clock. Its instant is the latest of the grid at or before the call, with a little
        earliness (see `Grid.due`). ``called_at``: when the clock made it, in seconds since the epoch, where it
        says so: a call may have waited to be heard. ``caught_up``: the latest instant whose own call is overdue.

        Raises `ReadOnly`, `UnknownSchedule`, `Refused`, `BoundaryDown`.
        """
        self._check(schedule)
        grid = self._lane.current.schedule(schedule).grid
        now = self._now()
        if called_at is None or called_at > now + EARLY_S:
            called_at = now
        due = grid.due(called_at)
        instant = grid.overdue(now) if caught_up else None if due is None else due.at
        if instant is None:
            raise Refused(
                f"schedule {schedule} has no instant before now",
                fix="a schedule that is run by hand only: `joelclaw-tui schedule run SCHEDULE`",
                code="no-instant",
            )
        return await self._decider.decide(
            FireCall(
                fire_id=fire_id_of(schedule, instant),
                schedule=schedule,
                kind=FireKind.CAUGHT_UP if caught_up else FireKind.SCHEDULED,
                instant=instant,
                late=caught_up or due is None or due.late,
                called_at=called_at,
            )
        )

    async def ask(self, schedule: str, *, actor: str) -> FireAnswer:
        """A person wants it now: a fire with an id of its own. Raises like `fire`."""
        self._check(schedule)
        now = self._now()
        return await self._decider.decide(
            FireCall(
                fire_id=asked_fire_id(schedule, at_s=now),
                schedule=schedule,
                kind=FireKind.ASKED,
                instant=None,
                late=False,
                called_at=now,
                actor=one_line(actor, ACTOR_MAX),
            )
        )

    def _check(self, schedule: str) -> None:
        if self._settings.read_only:
            raise ReadOnly("read-only mode: nothing is started", fix="leave out --read-only")
        self._lane.refresh()
        self._lane.current.schedule(schedule)
