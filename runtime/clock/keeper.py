"""The keeper: applies the lane's schedules, makes up for missed instants, follows fires to their end.

Runs in the clock's role beside the embedded clock, and alone where a Dkron keeps the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from runtime.clock.clock import AppliedChange, Clock
from runtime.lanefile import LaneSource
from runtime.ledger.fires import Fires
from runtime.model import FireAnswer, ItemState, Now, OperatorError, Refused, WorkProgress
from runtime.text import one_line

LOOK_EVERY_S = 1.0
REPLAYABLE = (ItemState.DEAD.value, ItemState.QUARANTINED.value)
"""A person may let these go on."""
APPLY_AGAIN_S = 5.0
"""After an apply that failed."""

CatchUp = Callable[[str, int], Awaitable[FireAnswer]]
"""(schedule, how many instants before it are not made up for)."""


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
        self._apply_after = 0.0
        self._failed: dict[str, str] = {}

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
        if self.state.applied_sha256 == sha256 or self._now() < self._apply_after:
            return
        self._apply_after = self._now() + self._apply_again_s
        if self.state.applied_sha256 is None and await self._clock.is_applied():
            # A keeper before this one did it. What differs since is others' work, or the clock lost its data.
            self.state.applied_sha256 = sha256
            self._apply_after = 0.0
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
        self._apply_after = 0.0

    async def _make_up(self) -> None:
        for schedule, (_, before) in (await self._clock.overdue()).items():
            answer = await self._catch_up(schedule, before)
            self._log(f"{answer.fire_id} was missed: caught up ({answer.decision or 'accepted'})")

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
