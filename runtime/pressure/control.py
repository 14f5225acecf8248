"""An operator's hand on the queue: pause, extend, resume, hold the lane, restore."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError

from runtime.ledger.connection import redis_errors
from runtime.ledger.keys import lane_key
from runtime.model import (
    ExtendResult,
    Pause,
    Paused,
    PausedAnew,
    PauseKind,
    PauseMode,
    ResumeResult,
    UsageError,
)
from runtime.pressure.keys import HOLD, families_key
from runtime.pressure.place import OnLane
from runtime.pressure.prelude import PAUSES_KEPT
from runtime.pressure.records import unpack_pause
from runtime.pressure.script import Call, Script

REASON_LIMIT = 500
ANY = "any"
"""Whichever hold there is, or none."""
LANE = "lane"
"""The field of a family's pauses where the whole lane's hold stands."""


class Control(OnLane):
    """`runtime.model.PressureControl` on one lane."""

    _PAUSE = Script("""
    local now = now_us(ARGV[1])
    if ARGV[5] ~= '' and ARGV[5] ~= (call('HGET', base .. 'pause', 'epoch') or '0') then
      return {false, 0, foremost(now) or false}
    end
    local ends = ARGV[4] == '' and 'null' or '"' .. int(now + ARGV[4]) .. '"'
    return {set_pause(ARGV[2], ARGV[3], now, ends), call('ZCARD', base .. 'admitting')}
    """)

    async def pause(
        self,
        family: str,
        *,
        actor: str,
        kind: PauseKind,
        reason: str | None,
        for_s: float | None,
        mode: PauseMode = PauseMode.HOLD,
        epoch: int | None = None,
    ) -> Paused:
        """From the moment the script has run nothing begins to be admitted; what was admitting
        already is counted. ``for_s``: its length in seconds, by the server's clock; None: until somebody
        resumes. ``epoch``: as it was read with the pause that this one may replace; another one by then is
        left alone. Raises `PausedAnew`, `UsageError` for a length that is none, `BoundaryDown`.
        """
        fields = _fields(actor, kind, reason, mode)
        with redis_errors(self._where):
            text, admitting, *instead = await self._PAUSE(
                self._redis,
                self._base(family),
                self._now,
                kind.value,
                fields,
                _length(for_s),
                "" if epoch is None else epoch,
            )
        if text is None:
            raise PausedAnew(family, unpack_pause(instead[0] if instead else None))
        return Paused(family=family, pause=_made(text), still_admitting=admitting)

    async def still_admitting(self, family: str) -> int:
        """How many rows were being sent when last asked. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            return int(await self._redis.zcard(self._base(family) + "admitting"))

    _EXTEND = Script(f"""
    local now = now_us(ARGV[1])
    if ARGV[2] ~= (call('HGET', base .. 'pause', 'epoch') or '0') then return 'paused-anew' end
    local text, kind = foremost(now)
    if not text then return 'not-paused' end
    local ends = ARGV[3] == '' and 'null' or '"' .. int(now + ARGV[3]) .. '"'
    text = string.gsub(text, '"until":[^,]*}}$', '"until":' .. ends .. '}}')
    call('HSET', base .. 'pause', kind, text)
    call('HINCRBY', base .. 'pause', 'epoch', 1)
    call('LPUSH', base .. 'pauses', cjson.encode({{extended=int(now), by=ARGV[4]}}))
    call('LTRIM', base .. 'pauses', 0, {PAUSES_KEPT - 1})
    return 'extended'
    """)

    async def extend(self, family: str, *, actor: str, for_s: float | None, epoch: int) -> ExtendResult:
        """The pause in force ends ``for_s`` seconds from now; None: when somebody resumes. Who paused, why
        and since when stay. Raises `UsageError` for a length that is none, `BoundaryDown`."""
        with redis_errors(self._where):
            reply = await self._EXTEND(
                self._redis, self._base(family), self._now, epoch, _length(for_s), actor
            )
        return ExtendResult(reply)

    _RESUME = Script(f"""
    local now = now_us(ARGV[1])
    if ARGV[5] ~= '' and ARGV[5] ~= (call('HGET', base .. 'pause', 'epoch') or '0') then
      return 'paused-anew'
    end
    local had, was = 0, false
    for _, kind in ipairs(ARGV[2] == 'person' and {{'person', 'machine'}} or {{ARGV[2]}}) do
      was = pause_of(kind, now) and true or was -- one that has run out is no more in force
      had = had + call('HDEL', base .. 'pause', kind)
    end
    if ARGV[2] ~= 'lane' then call('DEL', base .. 'recent') end -- a breaker counts anew
    if had == 0 then return 'not-paused' end
    call('HINCRBY', base .. 'pause', 'epoch', 1)
    call('LPUSH', base .. 'pauses', cjson.encode({{resumed=int(now), by=ARGV[3], kind=ARGV[2]}}))
    call('LTRIM', base .. 'pauses', 0, {PAUSES_KEPT - 1})
    call('PUBLISH', ARGV[4], '')
    return was and 'resumed' or 'not-paused'
    """)

    async def resume(
        self, family: str, *, actor: str, kind: PauseKind, epoch: int | None = None
    ) -> ResumeResult:
        """A person lifts every pause of the family's own, a machine only a machine's; the lane's hold
        stays. ``epoch``: as it was read with the pause that is meant; another one by then is left alone.
        Raises `BoundaryDown`."""
        with redis_errors(self._where):
            reply = await self._RESUME(
                self._redis,
                self._base(family),
                self._now,
                kind.value,
                actor,
                self._wake,
                "" if epoch is None else epoch,
            )
        return ResumeResult(reply)

    # --- the whole lane

    _HOLD_LANE = """#!lua flags=allow-oom
    local t = redis.call('TIME')
    local now = ARGV[1] ~= '' and tonumber(ARGV[1]) or t[1] * 1000000 + t[2]
    local had = redis.call('GET', KEYS[1])
    if ARGV[4] ~= 'any' and ARGV[4] ~= (had and cjson.decode(had).since or '') then return had or '' end
    local ends = ARGV[3] == '' and 'null' or string.format('"%.0f"', now + ARGV[3])
    local text = string.sub(ARGV[2], 1, -2) .. string.format(',"since":"%.0f","until":', now) .. ends .. '}'
    redis.call('SET', KEYS[1], text)
    if ARGV[3] ~= '' then redis.call('PEXPIRE', KEYS[1], math.max(1, math.floor(ARGV[3] / 1000 + 0.5))) end
    return false
    """
    _RELEASE_LANE = """#!lua flags=allow-oom
    local had = redis.call('GET', KEYS[1])
    if had and ARGV[1] ~= 'any' and ARGV[1] ~= cjson.decode(had).since then return 0 end
    redis.call('DEL', KEYS[1])
    return 1
    """

    async def hold_lane(
        self,
        families: Sequence[str],
        *,
        actor: str,
        reason: str | None,
        for_s: float | None,
        over: str | None = None,
    ) -> Mapping[str, Paused]:
        """Holds ``families`` and every one that ever had an item, and by a key of the lane's own each one
        that is new: a drainer looks at it before it claims, and again before it admits what it claimed.

        The key is set first and the families of the queue are read after it: what was claimed before is of
        one of them, what is claimed later is seen to be held. Returns ``families`` and, beside them, what is
        still being admitted of another. ``over``: the `hold_stamp` of the hold that this one may replace; another
        one by then is left alone. Raises `PausedAnew`, `UsageError` for a length that is none, `BoundaryDown`."""
        fields = json.dumps(
            json.loads(_fields(actor, PauseKind.PERSON, reason, PauseMode.HOLD)) | {"lane": True}
        )
        length = _length(for_s)
        with redis_errors(self._where):
            stands: Any = await self._redis.eval(
                self._HOLD_LANE,
                1,
                lane_key(self._lane, HOLD),
                self._now,
                fields,
                str(length),
                ANY if over is None else over,
            )
            if stands is not None:
                raise PausedAnew(f"the whole lane {self._lane}", unpack_pause(stands))
            names = await self._with_known(families)
            calls = [Call(self._base(name), (self._now, LANE, fields, length, "")) for name in names]
            replies = await self._PAUSE.many(self._redis, calls)
            _raise_first(replies)
        return {
            name: Paused(family=name, pause=_made(text), still_admitting=admitting)
            for name, (text, admitting) in zip(names, replies, strict=True)
            if admitting or name in families
        }

    async def _with_known(self, families: Sequence[str]) -> list[str]:
        known: Any = await self._redis.hvals(families_key(self._lane))
        return [*families, *sorted(set(known) - set(families))]

    async def release_lane(
        self, families: Sequence[str], *, actor: str, hold: str | None = None
    ) -> Mapping[str, ResumeResult]:
        """Lifts the lane's hold; the families' own pauses stay. Returns the results of ``families``. ``hold``:
        the `hold_stamp` of the one that is meant; another one by then is left alone.

        Raises `BoundaryDown`."""
        with redis_errors(self._where):
            lifted: Any = await self._redis.eval(
                self._RELEASE_LANE, 1, lane_key(self._lane, HOLD), ANY if hold is None else hold
            )
            if not lifted:
                return dict.fromkeys(families, ResumeResult.PAUSED_ANEW)
            names = await self._with_known(families)
            calls = [Call(self._base(name), (self._now, LANE, actor, self._wake, "")) for name in names]
            replies = await self._RESUME.many(self._redis, calls)
            _raise_first(replies)
        return {
            name: ResumeResult(reply) for name, reply in zip(names, replies, strict=True) if name in families
        }

    # --- a family that was removed

    _RESTORE = Script("""
    local waits, left = 0, 0
    for level = 0, 3 do
      for _, kind in ipairs({'w', 'd'}) do
        waits = waits + pour(base .. 'x' .. kind .. level, base .. kind .. level)
        left = left + call('ZCARD', base .. 'x' .. kind .. level)
      end
    end
    if left == 0 then call('HDEL', base .. 'meta', 'removed') end
    call('PUBLISH', ARGV[2], '')
    return {waits, left}
    """)

    async def restore(self, family: str) -> int:
        """Takes a removed family's backlog out of quarantine, exactly as it was, before what came in since.
        Returns how many rows; 0 when it was not quarantined as one. Cut off, it goes on when it is asked for
        again. Raises `BoundaryDown`."""
        restored, left = 0, 1
        with redis_errors(self._where):
            while left:
                rows, left = await self._RESTORE(self._redis, self._base(family), self._now, self._wake)
                restored += int(rows)
        return restored


def _fields(actor: str, kind: PauseKind, reason: str | None, mode: PauseMode) -> str:
    return json.dumps(
        {
            "by": _clean(actor),
            "kind": kind.value,
            "mode": mode.value,
            "reason": None if reason is None else _clean(reason[:REASON_LIMIT]),
        }
    )


def _clean(text: str) -> str:
    """What is no valid Unicode would end every script that reads the pause."""
    return text.encode("utf-8", "replace").decode()


def _length(for_s: float | None) -> str | int:
    if for_s is None:
        return ""
    if not for_s > 0:
        raise UsageError(f"a pause of {for_s:g} s", fix="give it an end that is still to come")
    return round(for_s * 1e6)


def _made(text: str) -> Pause:
    made = unpack_pause(text)
    assert made is not None  # noqa: S101 - the script has just written it
    return made


def _raise_first(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, RedisError):
            raise reply
