"""An operator's hand on the queue: pause, extend, resume, hold the lane, restore."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from redis.exceptions import RedisError

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
from runtime.pressure.lane_store import LaneStore
from runtime.pressure.records import unpack_pause
from runtime.pressure.script import LUA, Script, ScriptCall
from runtime.redis_client.connection import redis_errors
from runtime.redis_client.lua import LuaScript

REASON_LIMIT = 500
ANY = "any"
"""Whichever hold there is, or none."""
LANE = "lane"
"""The field of a family's pauses where the whole lane's hold stands."""


class QueueControl(LaneStore):
    """`runtime.model.PressureControl` on one lane."""

    _PAUSE = Script("pause")

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
        with redis_errors(self.where):
            text, admitting, *instead = await self._PAUSE(
                self.redis,
                self.base(family),
                self.now,
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
        with redis_errors(self.where):
            return int(await self.redis.zcard(self.base(family) + "admitting"))

    _EXTEND = Script("extend_pause")

    async def extend(self, family: str, *, actor: str, for_s: float | None, epoch: int) -> ExtendResult:
        """The pause in force ends ``for_s`` seconds from now; None: when somebody resumes. Who paused, why
        and since when stay. Raises `UsageError` for a length that is none, `BoundaryDown`."""
        with redis_errors(self.where):
            reply = await self._EXTEND(self.redis, self.base(family), self.now, epoch, _length(for_s), actor)
        return ExtendResult(reply)

    _RESUME = Script("resume")

    async def resume(
        self, family: str, *, actor: str, kind: PauseKind, epoch: int | None = None
    ) -> ResumeResult:
        """A person lifts every pause of the family's own, a machine only a machine's; the lane's hold
        stays. ``epoch``: as it was read with the pause that is meant; another one by then is left alone.
        Raises `BoundaryDown`."""
        with redis_errors(self.where):
            reply = await self._RESUME(
                self.redis,
                self.base(family),
                self.now,
                kind.value,
                actor,
                self.wake,
                "" if epoch is None else epoch,
            )
        return ResumeResult(reply)

    # --- the whole lane

    _HOLD_LANE = LuaScript(LUA, "hold_lane")
    _RELEASE_LANE = LuaScript(LUA, "release_lane")

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
        with redis_errors(self.where):
            hold = (lane_key(self.lane, HOLD),)
            stands = await self._HOLD_LANE(
                self.redis, hold, self.now, fields, length, ANY if over is None else over
            )
            if stands is not None:
                raise PausedAnew(f"the whole lane {self.lane}", unpack_pause(stands))
            names = await self._with_known(families)
            calls = [ScriptCall(self.base(name), (self.now, LANE, fields, length, "")) for name in names]
            replies = await self._PAUSE.many(self.redis, calls)
            _raise_first(replies)
        return {
            name: Paused(family=name, pause=_made(text), still_admitting=admitting)
            for name, (text, admitting) in zip(names, replies, strict=True)
            if admitting or name in families
        }

    async def _with_known(self, families: Sequence[str]) -> list[str]:
        known: Any = await self.redis.hvals(families_key(self.lane))
        return [*families, *sorted(set(known) - set(families))]

    async def release_lane(
        self, families: Sequence[str], *, actor: str, hold: str | None = None
    ) -> Mapping[str, ResumeResult]:
        """Lifts the lane's hold; the families' own pauses stay. Returns the results of ``families``. ``hold``:
        the `hold_stamp` of the one that is meant; another one by then is left alone.

        Raises `BoundaryDown`."""
        with redis_errors(self.where):
            key = (lane_key(self.lane, HOLD),)
            lifted = await self._RELEASE_LANE(self.redis, key, ANY if hold is None else hold)
            if not lifted:
                return dict.fromkeys(families, ResumeResult.PAUSED_ANEW)
            names = await self._with_known(families)
            calls = [ScriptCall(self.base(name), (self.now, LANE, actor, self.wake, "")) for name in names]
            replies = await self._RESUME.many(self.redis, calls)
            _raise_first(replies)
        return {
            name: ResumeResult(reply) for name, reply in zip(names, replies, strict=True) if name in families
        }

    # --- a family that was removed

    _RESTORE = Script("restore")

    async def restore(self, family: str) -> int:
        """Takes a removed family's backlog out of quarantine, exactly as it was, before what came in since.
        Returns how many rows; 0 when it was not quarantined as one. Cut off, it goes on when it is asked for
        again. Raises `BoundaryDown`."""
        restored, left = 0, 1
        with redis_errors(self.where):
            while left:
                rows, left = await self._RESTORE(self.redis, self.base(family), self.now, self.wake)
                restored += int(rows)
        return restored

    # --- a verb's own

    async def run(self, script: str, family: str, *arguments: str | int | float) -> Any:
        """See `runtime.model.PressureControl.run`."""
        with redis_errors(self.where):
            return await _script(script)(self.redis, self.base(family), self.now, self.wake, *arguments)


@cache
def _script(name: str) -> Script:
    return Script(name)


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
