"""Which runs workers have in hand that may kill them, and the deaths that each run was there at.

A handler that runs a person's own code can take its worker with it, and would do so again at each try.
So before such a handler begins, its run is noted here; what a worker that died (its beats ended while
Redis was there to hear them) still had in hand counts one death. How the guilty is told from those that
were only there too:

- a family that was there runs its calls in processes of their own for a day (``apart``), where they can
  end nothing but themselves;
- from the second death on a run waits for its turn: one such run at a time, and a death in its turn is
  counted for it alone;
- once a run has the third, its deaths are explained: they are taken off the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from runtime.common.text import without_credentials
from runtime.ledger.beats import BEAT_EVERY_S, Heartbeats
from runtime.ledger.keys import LUA, lane_key
from runtime.model import WORKER_DEATHS_MAX, OperatorError, Suspect, Taken
from runtime.redis_client.connection import Redis, redis_errors
from runtime.redis_client.lua import LuaScript

APART_S = 86_400.0
"""How long a family's calls run in processes of their own after a worker died with one of them in hand."""
KEPT_S = 7 * 86_400.0
"""Deaths of a run that never came back (somebody killed it) are forgotten after this."""
SKEW_S = 60.0
"""A time that lies further beyond the server's was written when its clock was ahead."""
ANSWER_WITHIN_S = 2.0
"""A Redis that takes longer holds no handler up: a death while it is away would count nothing anyway."""
UNHEARD_FOR_S = 3 * BEAT_EVERY_S
"""How long a worker waits for its own first beat: without one its death could not be told."""
LOOK_S = 0.25
JUDGED_WITHIN_S = 15.0
"""One that neither beats nor can be judged by then (Redis was away meanwhile) is taken to be gone."""

_TAKE = LuaScript(LUA, "hand_take")
_LET_GO = LuaScript(LUA, "hand_let_go")
_GONE = LuaScript(LUA, "hand_gone")
_EXPLAINED = LuaScript(LUA, "hand_explained")
_LOOK = LuaScript(LUA, "hand_look")


class Verdict(Protocol):
    """What has become of some processes (`runtime.admission.liveness_judge.Fate`)."""

    @property
    def gone(self) -> Collection[str]: ...
    @property
    def died(self) -> Collection[str]: ...


Judge = Callable[[Collection[str]], Awaitable[Verdict]]


@dataclass(frozen=True, slots=True)
class _Reply:
    kind: str
    rest: tuple[str, ...]


class InHand:
    """Implements `RunsInHand` for one worker process."""

    def __init__(
        self,
        redis: Redis,
        url: str,
        lane: str,
        *,
        worker: str,
        heartbeats: Heartbeats,
        judge: Judge,
        apart_s: float = APART_S,
    ) -> None:
        """``worker``: the id under which this process beats. ``judge``: what has become of others."""
        self._redis = redis
        self._where = without_credentials(url)
        self._worker = worker
        self._heartbeats = heartbeats
        self._judge = judge
        self._apart_s = apart_s
        self._keys = tuple(
            lane_key(lane, name) for name in ("in-hand", "worker-deaths", "apart", "suspects-turn", "beats")
        )
        self.suspects: tuple[Suspect, ...] = ()
        """As of the last `count_deaths`, those with the most deaths first."""

    async def take(self, run_id: str, family: str) -> Taken:
        """Notes that ``run_id`` begins here. A worker that had it before is judged first, which takes some
        seconds when it has just fallen silent. While Redis is away nothing is noted, and nothing is held up.
        """
        force = ""
        unheard = 0.0
        while True:
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    reply = await self._ask(
                        _TAKE, run_id, family, self._worker, WORKER_DEATHS_MAX, self._apart_s, force, SKEW_S
                    )
            except (OperatorError, TimeoutError):
                return Taken(0, apart=False)
            if reply.kind == "taken":
                return Taken(int(reply.rest[0]), apart=reply.rest[1] == "1")
            if reply.kind == "poison":
                with suppress(OperatorError):
                    await self._ask(_EXPLAINED, run_id)
                return Taken(int(reply.rest[0]), apart=True, poison=True)
            if reply.kind == "turn":
                with suppress(OperatorError):
                    await self._settle_absent()  # who has the turn may be no more
                return Taken(WORKER_DEATHS_MAX - 1, apart=True, waits_for=reply.rest[0])
            if reply.kind == "held":
                if await self._lives(reply.rest[0]):
                    force = reply.rest[0]  # it lost its connection to Restate, which sent the run here
                continue
            if unheard >= UNHEARD_FOR_S:
                return Taken(0, apart=False)
            unheard += LOOK_S
            await asyncio.sleep(LOOK_S)

    async def let_go(self, run_id: str, *, ended: bool | None = None) -> None:
        """Its try is over; ``ended``: and no other will come, since it ended well (True) or badly (False)."""
        how = "" if ended is None else "well" if ended else "badly"
        with suppress(OperatorError, TimeoutError):  # forgotten with this process then, or at its next try
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await self._ask(_LET_GO, run_id, self._worker, how)

    async def count_deaths(self) -> None:
        """Counts the deaths of workers that are no more, and reads `suspects`. Raises `BoundaryDown`."""
        await self._settle_absent()
        with redis_errors(self._where):
            _, deaths = await _LOOK(self._redis, self._keys)
        found = [_suspect(run, row) for run, row in zip(deaths[::2], deaths[1::2], strict=True)]
        self.suspects = tuple(
            sorted((one for one in found if one is not None), key=lambda one: (-one.deaths, -one.at))
        )

    async def _settle_absent(self) -> set[str]:
        """One look at those who have something in hand: the deaths of those who are no more are counted.
        Returns the others of them but this one."""
        with redis_errors(self._where):
            held, _ = await _LOOK(self._redis, self._keys)
        others = {row.partition(" ")[0] for row in held} - {self._worker}
        if not others:
            return set()
        beating = {beat.process_id for beat in (await self._heartbeats.watch()).beats}
        fate = await self._judge(others)
        # One that took its beat back ended in order.
        absent = {one for one in others if one in fate.died or one in fate.gone or one not in beating}
        for other in absent:
            await self._ask(_GONE, other, "1" if other in fate.died else "0", KEPT_S, SKEW_S)
        return others - absent

    async def _lives(self, other: str) -> bool:
        """Waits until it is known whether ``other`` is still there. False also where Redis is away: the next
        question tells."""
        first: float | None = None
        looks = 0
        while True:
            looks += 1
            try:
                if other not in await self._settle_absent():
                    return False
                last = {beat.process_id: beat.at for beat in (await self._heartbeats.watch()).beats}.get(
                    other
                )
            except OperatorError:
                return False
            if last is None:
                return False
            if (first is not None and last > first) or looks * LOOK_S > JUDGED_WITHIN_S:
                return True
            first = last if first is None else first
            await asyncio.sleep(LOOK_S)

    async def _ask(self, script: LuaScript, *arguments: str | int | float) -> _Reply:
        with redis_errors(self._where):
            reply = await script(self._redis, self._keys, *arguments)
        if not isinstance(reply, list):
            return _Reply(str(reply), ())
        return _Reply(str(reply[0]), tuple(str(part) for part in reply[1:]))


def _suspect(run_id: str, row: str) -> Suspect | None:
    family, _, rest = row.partition(" ")
    at, _, rest = rest.partition(" ")
    state, _, owners = rest.partition(" ")
    try:
        return Suspect(run_id, family, len(owners.split()), float(at), over=state == "over")
    except ValueError:
        return None
