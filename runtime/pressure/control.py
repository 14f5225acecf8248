"""An operator's hand on the queue: pause, resume, replay."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from runtime.ledger.connection import redis_errors
from runtime.model import Paused, PauseKind, ReplayResult, ResumeResult, UsageError
from runtime.pressure.place import OnLane
from runtime.pressure.records import unpack_pause
from runtime.pressure.script import Script

PAUSES_KEPT = 100
REASON_LIMIT = 500


class Control(OnLane):
    """`runtime.model.PressureControl` on one lane."""

    _PAUSE = Script(f"""
    local now = now_us(ARGV[1])
    local p = cjson.decode(ARGV[2])
    local ends = ARGV[3] == '' and 'null' or '"' .. int(now + ARGV[3]) .. '"'
    local text = string.sub(ARGV[2], 1, -2) .. ',"since":"' .. int(now) .. '","until":' .. ends .. '}}'
    redis.call('HDEL', base .. 'pause', p.kind) -- frees, so that the rest is taken when memory is short
    redis.call('HSET', base .. 'pause', p.kind, text)
    redis.call('HINCRBY', base .. 'pause', 'epoch', 1)
    redis.call('LPUSH', base .. 'pauses', text)
    redis.call('LTRIM', base .. 'pauses', 0, {PAUSES_KEPT - 1})
    return {{text, redis.call('ZCARD', base .. 'admitting')}}
    """)

    async def pause(
        self, family: str, *, actor: str, kind: PauseKind, reason: str | None, for_s: float | None
    ) -> Paused:
        """From the moment the script has run nothing begins to be admitted; what was admitting
        already is counted. ``for_s``: its length in seconds, by the server's clock; None: until somebody
        resumes. Raises `UsageError` for a length that is none, `BoundaryDown`.
        """
        if for_s is not None and not for_s > 0:
            raise UsageError(f"a pause of {for_s:g} s", fix="give it an end that is still to come")
        pause = json.dumps(
            {
                "by": actor,
                "kind": kind.value,
                "mode": "hold",
                "reason": None if reason is None else reason[:REASON_LIMIT],
            }
        )
        with redis_errors(self._where):
            text, admitting = await self._PAUSE(
                self._redis, self._base(family), self._now, pause, "" if for_s is None else round(for_s * 1e6)
            )
        made = unpack_pause(text)
        assert made is not None  # noqa: S101 - the script has just written it
        return Paused(family=family, pause=made, still_admitting=admitting)

    async def still_admitting(self, family: str) -> int:
        """How many rows were being sent when last asked. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            return int(await self._redis.zcard(self._base(family) + "admitting"))

    _RESUME = Script(f"""
    local now = now_us(ARGV[1])
    local was = paused(now)
    if ARGV[5] ~= '' and ARGV[5] ~= (redis.call('HGET', base .. 'pause', 'epoch') or '0') then
      return 'paused-anew'
    end
    local had = redis.call('HDEL', base .. 'pause', 'machine')
    if ARGV[2] == 'person' then had = had + redis.call('HDEL', base .. 'pause', 'person') end
    if had == 0 then return 'not-paused' end
    redis.call('HINCRBY', base .. 'pause', 'epoch', 1)
    redis.call('LPUSH', base .. 'pauses', cjson.encode({{resumed=int(now), by=ARGV[3], kind=ARGV[2]}}))
    redis.call('LTRIM', base .. 'pauses', 0, {PAUSES_KEPT - 1})
    redis.call('PUBLISH', ARGV[4], '')
    return was and 'resumed' or 'not-paused'
    """)

    async def resume(
        self, family: str, *, actor: str, kind: PauseKind, epoch: int | None = None
    ) -> ResumeResult:
        """A person lifts every pause, a machine only a machine's. ``epoch``: as it was read with the
        pause that is meant; another one by then is left alone. Raises `BoundaryDown`."""
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

    _REPLAY = Script("""
    local now = now_us(ARGV[1])
    local out = {}
    for i = 3, #ARGV do
      local id = ARGV[i]
      local was = redis.call('ZREM', base .. 'dead', id) + redis.call('ZREM', base .. 'quarantined', id)
      local record = redis.call('HGET', base .. 'items', id)
      if was > 0 and record then
        local p, a, e = head(record)
        local rest = string.match(record, '^%d:%d+:%d+:(.*)$')
        redis.call('HSET', base .. 'items', id, p .. ':' .. int(a + 1) .. ':' .. e .. ':' .. rest)
        local ready = math.max(now, tonumber(redis.call('HGET', base .. 'meta', 'last') or 0) + 1)
        redis.call('HSET', base .. 'meta', 'last', int(ready))
        redis.call('ZADD', base .. 'w' .. p, int(ready), id)
        redis.call('HINCRBY', base .. 'stats', 'replayed', 1)
        out[#out + 1] = 'replayed'
      elseif record or redis.call('HEXISTS', base .. 'done', id) == 1 then
        out[#out + 1] = 'moved-on'
      else
        out[#out + 1] = 'not-found'
      end
    end
    redis.call('PUBLISH', ARGV[2], '')
    return out
    """)

    async def replay(self, family: str, item_ids: Sequence[str]) -> Mapping[str, ReplayResult]:
        """Dead or quarantined items wait again as new attempts, given their failures.

        Sent in batches of 100, so that no script holds the server. Raises `BoundaryDown`.
        """
        results: dict[str, ReplayResult] = {}
        with redis_errors(self._where):
            for start in range(0, len(item_ids), 100):
                batch = item_ids[start : start + 100]
                reply = await self._REPLAY(self._redis, self._base(family), self._now, self._wake, *batch)
                results.update(zip(batch, map(ReplayResult, reply), strict=True))
        return results
