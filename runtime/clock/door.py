"""The door for fires: every call of ``/v1/fires/{schedule}`` is checked here and given its instant."""

from __future__ import annotations

from runtime.lanefile import LaneSource
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
from runtime.text import one_line

MISSED_MOST = 1000
ACTOR_MAX = 100


class FireDoor:
    """Gives a call its fire id and hands it to the schedule's object, which alone decides."""

    def __init__(self, lane: LaneSource, settings: Settings, decider: FireDecider, now: Now) -> None:
        self._lane = lane
        self._settings = settings
        self._decider = decider
        self._now = now

    async def fire(self, schedule: str, *, missed: int | None = None) -> FireAnswer:
        """A call by the clock. Its instant is the nearest of the grid within min(half a period, 30 s),
        else the one before, which is then late. ``missed``: a catch-up, which always means the one
        before; so many earlier ones are not made up for.

        Raises `ReadOnly`, `UnknownSchedule`, `Refused`, `BoundaryDown`.
        """
        self._check(schedule)
        grid = self._lane.current.schedule(schedule).grid
        now = self._now()
        due = grid.due(now)
        instant = grid.overdue(now) if missed is not None else None if due is None else due.at
        if instant is None:
            raise Refused(
                f"schedule {schedule} has no instant before now",
                fix="a schedule that is run by hand only: `joelclaw-tui schedule run SCHEDULE`",
                code="no-instant",
            )
        late = missed is not None or due is None or due.late
        return await self._decider.decide(
            FireCall(
                fire_id=fire_id_of(schedule, instant),
                schedule=schedule,
                kind=FireKind.SCHEDULED if missed is None else FireKind.CAUGHT_UP,
                instant=instant,
                late=late,
                called_at=now,
                missed_before=0 if missed is None else max(0, min(missed, MISSED_MOST)),
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
