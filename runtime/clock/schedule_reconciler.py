"""The keeper: applies the lane's schedules, makes up for missed instants, follows fires to their end.

Runs in the clock's role beside the embedded clock, and alone where a Dkron keeps the time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from runtime.clock.clock import AppliedChange, Clock
from runtime.common.text import one_line
from runtime.lane.lane_file import LaneSource
from runtime.ledger.fires import Fires
from runtime.model import (
    FireAnswer,
    FireDecision,
    ItemState,
    Now,
    OperatorError,
    Refused,
    WorkProgress,
    fire_id_of,
)

LOOK_EVERY_S = 1.0
REPLAYABLE = (ItemState.DEAD.value, ItemState.QUARANTINED.value)
"""A person may let these go on."""
APPLY_AGAIN_S = 5.0
"""After an apply that failed."""

ASK_AGAIN_S = 30.0
"""For an instant that was asked for and is not on record yet: what was accepted waits by itself."""

CatchUp = Callable[[str], Awaitable[FireAnswer]]
"""(schedule): asks for its latest instant that is overdue."""


@dataclass(slots=True)
class KeeperState:
    """For the role's beat."""

    applied_sha256: str | None = None
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def problem(self) -> str | None:
        return "; ".join(self.problems.values()) or None


class Keeper:
    def __init__(
        self,
        clock: Clock,
        lane: LaneSource,
        fires: Fires,
        progress: WorkProgress,
        now: Now,
        *,
        catch_up: CatchUp,
        applied: Callable[[Sequence[AppliedChange]], Awaitable[None]],
        log: Callable[[str], None],
        read_only: bool = False,
        apply_again_s: float = APPLY_AGAIN_S,
    ) -> None:
        """``applied`` is told what was changed and what could not be, and leaves the receipt."""
        self._clock = clock
        self._lane = lane
        self._fires = fires
        self._progress = progress
        self._now = now
        self._catch_up = catch_up
        self._applied = applied
        self._log = log
        self._read_only = read_only
        self._apply_again_s = apply_again_s
        self.state = KeeperState()
        self._tried_at = -math.inf
        self._failed: dict[str, str] = {}
        self._asked: dict[str, tuple[float, float]] = {}
        """By schedule: the overdue instant that was asked for, and when."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``. What fails is told once and tried again."""
        while not stop.is_set():
            self._lane.refresh()
            if not self._read_only:
                await self._try("apply", self._apply)
                await self._try("catch-up", self._make_up)
                await self._try("follow", self._follow)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)

    async def _apply(self) -> None:
        """When the lane file is another one than the one applied last, by whichever keeper. Drift by others'
        hands is shown, not undone. What could not be carried out is tried again, and receipted once."""
        sha256 = self._lane.current.sha256
        # A try beyond now was made by a clock that was ahead.
        if self.state.applied_sha256 == sha256 or 0 <= self._now() - self._tried_at < self._apply_again_s:
            return
        self._tried_at = self._now()
        if self.state.applied_sha256 is None and await self._clock.is_applied():
            # A keeper before this one did it. What differs since is others' work, or the clock lost its data.
            self.state.applied_sha256 = sha256
            self._tried_at = -math.inf
            return
        outcomes = await self._clock.apply_all()
        failed = {one.change.schedule: one.problem for one in outcomes if one.problem is not None}
        told = [
            one
            for one in outcomes
            if one.problem is None or one.problem != self._failed.get(one.change.schedule)
        ]
        self._failed = failed
        if told:
            done = [one.change for one in told if one.problem is None]
            if done:
                self._log(f"applied {', '.join(f'{change.kind} {change.schedule}' for change in done)}")
            await self._applied(told)
        if failed:
            name, problem = min(failed.items())
            more = f"; {len(failed) - 1} more" if len(failed) > 1 else ""
            raise Refused(f"{name} was not applied: {problem}{more}", fix="see `joelclaw-tui schedule diff`")
        self.state.applied_sha256 = sha256
        self._tried_at = -math.inf

    async def _make_up(self) -> None:
        overdue = await self._clock.overdue()
        self._asked = {name: asked for name, asked in self._asked.items() if name in overdue}
        for schedule, instant in overdue.items():
            asked_for, asked_at = self._asked.get(schedule, (None, 0.0))
            if asked_for == instant and 0 <= self._now() - asked_at < ASK_AGAIN_S:
                continue
            answer = await self._catch_up(schedule)
            self._asked[schedule] = instant, self._now()
            self._log(f"{answer.fire_id} was missed: caught up ({answer.decision or 'accepted'})")
            if answer.decision is FireDecision.DUPLICATE and answer.fire_id == fire_id_of(schedule, instant):
                # Its schedule knows that it was decided, and the history does not: it was lost there.
                await self._fires.note_decided(schedule, instant)

    async def _follow(self) -> None:
        for fire in await self._fires.followed():
            ended = await self._progress.ended(fire)
            if (None if ended is None else ended[0]) == fire.outcome:
                continue
            outcome, at = ended or (None, self._now())
            await self._fires.settle(
                fire.schedule, fire.fire_id, outcome, at=at, final=outcome not in (None, *REPLAYABLE)
            )

    async def _try(self, what: str, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except OperatorError as error:
            said = one_line(f"{what}: {error.message}")
            if self.state.problems.get(what) != said:
                self._log(said)
            self.state.problems[what] = said
        else:
            self.state.problems.pop(what, None)
