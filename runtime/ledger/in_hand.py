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
from runtime.ledger.keys import lane_key
from runtime.model import WORKER_DEATHS_MAX, OperatorError, Suspect, Taken
from runtime.redis_client.connection import Redis, redis_errors

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

_TIME = "local t = redis.call('TIME') local now = t[1] + t[2] / 1e6\n"
_TAKE = (
    _TIME
    + """
local run, family, me, most, force = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[6]
if redis.call('HEXISTS', KEYS[5], 'worker/' .. me) == 0 then return {'unheard'} end
local holder = string.match(redis.call('HGET', KEYS[1], run) or '', '^(%S+)')
if holder and holder ~= me and holder ~= force then return {'held', holder} end
local deaths = 0
for _ in string.gmatch(string.match(redis.call('HGET', KEYS[2], run) or '', '^%S+ %S+ %S+ (.*)$') or '', '%S+') do
  deaths = deaths + 1
end
if deaths >= most then return {'poison', deaths} end
if deaths >= most - 1 then
  local turn = redis.call('GET', KEYS[4])
  local other = turn and turn ~= run and redis.call('HGET', KEYS[1], turn)
  if other then return {'turn', turn} end
  redis.call('SET', KEYS[4], run)
end
redis.call('HSET', KEYS[1], run, me .. ' ' .. family)
local apart = tonumber(redis.call('HGET', KEYS[3], family) or 0)
if apart > now + tonumber(ARGV[7]) then -- noted by a clock that was ahead: it counts from now on
  apart = now
  redis.call('HSET', KEYS[3], family, string.format('%.6f', now))
end
return {'taken', deaths, now - apart < tonumber(ARGV[5]) and 1 or 0}
"""
)
_LET_GO = (
    _TIME
    + """
local run, me, ended = ARGV[1], ARGV[2], ARGV[3]
if string.match(redis.call('HGET', KEYS[1], run) or '', '^(%S+)') == me then redis.call('HDEL', KEYS[1], run) end
if redis.call('GET', KEYS[4]) == run then redis.call('DEL', KEYS[4]) end
if ended == 'well' then
  redis.call('HDEL', KEYS[2], run)
elseif ended == 'badly' then
  local family, owners = string.match(redis.call('HGET', KEYS[2], run) or '', '^(%S+) %S+ %S+ (.*)$')
  if family then redis.call('HSET', KEYS[2], run, family .. string.format(' %.6f over ', now) .. owners) end
end
return 1
"""
)
_GONE = (
    _TIME
    + """
local gone, died = ARGV[1], ARGV[2] == '1'
local mine, runs, turn = {}, redis.call('HGETALL', KEYS[1]), redis.call('GET', KEYS[4])
local alone = false
for i = 1, #runs, 2 do
  local holder, family = string.match(runs[i + 1], '^(%S+) (.*)$')
  if holder == gone then
    mine[runs[i]] = family
    alone = alone or runs[i] == turn
    redis.call('HDEL', KEYS[1], runs[i])
  end
end
if alone then redis.call('DEL', KEYS[4]) end
if not died then return 0 end
local counted = 0
for run, family in pairs(mine) do
  redis.call('HSET', KEYS[3], family, string.format('%.6f', now))
  if not alone or run == turn then
    local owners = string.match(redis.call('HGET', KEYS[2], run) or '', '^%S+ %S+ %S+ (.*)$')
    owners = owners and owners .. ' ' .. gone or gone
    redis.call('HSET', KEYS[2], run, family .. string.format(' %.6f live ', now) .. owners)
    counted = counted + 1
  end
end
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local at = tonumber(string.match(all[i + 1], '^%S+ (%S+)') or 0) or 0
  if now - at > tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[2], all[i])
  elseif at > now + tonumber(ARGV[4]) then -- noted by a clock that was ahead: it grows old from now on
    local rest = string.match(all[i + 1], '^%S+ %S+ (.*)$')
    redis.call('HSET', KEYS[2], all[i], string.match(all[i + 1], '^%S+') .. string.format(' %.6f ', now) .. rest)
  end
end
return counted
"""
)
_EXPLAINED = """
local run = ARGV[1]
local explained = {}
for owner in string.gmatch(string.match(redis.call('HGET', KEYS[2], run) or '', '^%S+ %S+ %S+ (.*)$') or '', '%S+') do
  explained[owner] = true
end
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local head, owners = string.match(all[i + 1], '^(%S+ %S+ %S+) (.*)$')
  if all[i] ~= run and owners then
    local left = {}
    for owner in string.gmatch(owners, '%S+') do
      if not explained[owner] then left[#left + 1] = owner end
    end
    if #left == 0 then redis.call('HDEL', KEYS[2], all[i])
    else redis.call('HSET', KEYS[2], all[i], head .. ' ' .. table.concat(left, ' ')) end
  end
end
return 1
"""
_LOOK = "return {redis.call('HVALS', KEYS[1]), redis.call('HGETALL', KEYS[2])}"


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
        self._keys = [
            lane_key(lane, name) for name in ("in-hand", "worker-deaths", "apart", "suspects-turn", "beats")
        ]
        self.suspects: tuple[Suspect, ...] = ()
        """As of the last `look`, those with the most deaths first."""

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

    async def look(self) -> None:
        """Counts the deaths of workers that are no more, and reads `suspects`. Raises `BoundaryDown`."""
        await self._settle_absent()
        with redis_errors(self._where):
            _, deaths = await self._redis.eval_ro(_LOOK, len(self._keys), *self._keys)
        found = [_suspect(run, row) for run, row in zip(deaths[::2], deaths[1::2], strict=True)]
        self.suspects = tuple(
            sorted((one for one in found if one is not None), key=lambda one: (-one.deaths, -one.at))
        )

    async def _settle_absent(self) -> set[str]:
        """One look at those who have something in hand: the deaths of those who are no more are counted.
        Returns the others of them but this one."""
        with redis_errors(self._where):
            held, _ = await self._redis.eval_ro(_LOOK, len(self._keys), *self._keys)
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

    async def _ask(self, script: str, *arguments: str | int | float) -> _Reply:
        with redis_errors(self._where):
            reply = await self._redis.eval(script, len(self._keys), *self._keys, *arguments)
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
