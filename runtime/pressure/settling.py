"""The end of a run: its row is closed, or kept as dead; a family that fails too often is paused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError

from runtime.ledger.connection import redis_errors
from runtime.model import BreakerRule, Outcome, SettleResult, parse_run_id
from runtime.pressure.dispatch import MESSAGE_LIMIT
from runtime.pressure.place import OnLane
from runtime.pressure.script import Call, Script

BATCH = 200
BREAKER = "breaker"


@dataclass(frozen=True, slots=True)
class Settlement:
    """How one run ended."""

    run_id: str
    family: str
    outcome: Outcome
    message: str | None = None


class Settling(OnLane):
    """Idempotent, fenced by the attempt, accepted from any live state."""

    _SETTLE = Script("""
    local now, failures, window = now_us(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
    local out, well, badly, cut, ids, seen = {}, 0, 0, 0, {}, {}
    local closed, bytes, scored, ends = {}, 0, {}, {}
    for i = 6, #ARGV, 4 do ids[#ids + 1] = ARGV[i] end
    local records = call('HMGET', base .. 'items', unpack(ids))
    local flying, landed = call('ZMSCORE', base .. 'flight', unpack(ids)), {}
    local function settle(id, record, flies, attempt, outcome, message)
      if seen[id] then return 'already' end
      if not record then
        local done = call('HGET', base .. 'done', id)
        if not done then return 'unknown' end
        local _, last = head(done)
        if last == attempt and string.match(done, ':([a-z]+)$') == 'succeeded' then return 'already' end
        return 'stale'
      end
      local level, current = head(record)
      if attempt < current then return 'stale' end
      if attempt > current then return 'unknown' end
      if flies then
        landed[#landed + 1] = id
        free(id)
      elseif take_busy(id) == 0 then
        if call('ZSCORE', base .. 'dead', id) then return 'already' end
        if not take_waiting(id, level, record) then call('ZREM', base .. 'quarantined', id) end
      end
      seen[id] = true
      if outcome == 'succeeded' then
        local priority, _, enqueued = head(record)
        closed[#closed + 1], bytes, well = id, bytes + string.len(record), well + 1
        scored[#scored + 1], scored[#scored + 2] = int(now), id
        ends[#ends + 1], ends[#ends + 2] = id, priority .. ':' .. attempt .. ':' .. enqueued .. ':' .. outcome
      else
        call('ZADD', base .. 'dead', int(now), id)
        call('HDEL', base .. 'deaths', id)
        add_failure(id, attempt, outcome, message, now)
        badly = badly + 1
        if outcome ~= 'failed' then cut = cut + 1 end -- ended by somebody: the work itself did not fail
        if outcome == 'failed' and failures > 0 then
          call('LPUSH', base .. 'recent', cjson.encode({at=int(now), id=id, message=message}))
          call('LTRIM', base .. 'recent', 0, failures - 1)
        end
      end
      return 'settled'
    end
    for n, id in ipairs(ids) do
      local at = 2 + n * 4
      out[n] = settle(id, records[n], flying[n], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3])
    end
    many('ZREM', base .. 'flight', landed)
    if well > 0 then
      many('HDEL', base .. 'items', closed)
      many('HDEL', base .. 'fails', closed)
      many('HDEL', base .. 'deaths', closed)
      call('HINCRBY', base .. 'meta', 'bytes', -bytes)
      many('ZADD', base .. 'settled', scored)
      many('HSET', base .. 'done', ends)
      call('HINCRBY', base .. 'stats', 'succeeded', well)
      bump('s', now, well)
    end
    if badly > 0 then
      call('HINCRBY', base .. 'stats', 'failed', badly)
      if badly > cut then bump('f', now, badly - cut) end
      if cut > 0 then bump('c', now, cut) end
    end
    if badly > 0 and failures > 0 and call('LLEN', base .. 'recent') >= failures and not pause_of('machine', now) then
      local recent = call('LRANGE', base .. 'recent', 0, -1)
      local first, last = cjson.decode(recent[#recent]), cjson.decode(recent[1])
      if tonumber(first.at) >= now - window then
        local counts, error, most = {}, '', 0
        for _, text in ipairs(recent) do
          local message = cjson.decode(text).message
          counts[message] = (counts[message] or 0) + 1
          if counts[message] > most then error, most = message, counts[message] end
        end
        local fields = string.sub(ARGV[5], 1, -2) .. ',"diagnosis":' .. cjson.encode({error=error, count=most,
          failures=#recent, since=first.at, first_item=first.id, last_item=last.id}) .. '}'
        set_pause('machine', fields, now, 'null')
        call('DEL', base .. 'recent')
      end
    end
    if well + badly > 0 then call('PUBLISH', ARGV[2], '') end -- room is free now, perhaps for another family of a full lane
    return out
    """)

    async def settle_many(
        self, settlements: Sequence[Settlement], breakers: Mapping[str, BreakerRule | None] | None = None
    ) -> list[SettleResult | RedisError]:
        """Settles many runs, in one script a family and `BATCH`: a result for each, in their order; an
        error stands in the place of each run of its batch. ``breakers``: by family. Raises `BoundaryDown`.
        """
        groups: dict[str, list[int]] = {}
        for index, settlement in enumerate(settlements):
            groups.setdefault(settlement.family, []).append(index)
        batches = [
            (family, indexes[start : start + BATCH])
            for family, indexes in groups.items()
            for start in range(0, len(indexes), BATCH)
        ]
        calls = []
        for family, indexes in batches:
            rule = (breakers or {}).get(family)
            reason = ""
            if rule is not None:
                reason = json.dumps(
                    {
                        "by": BREAKER,
                        "kind": "machine",
                        "mode": "hold",
                        "reason": f"{rule.failures} failure{'s' * (rule.failures != 1)} within {_window(rule.window_s)}",
                    }
                )
            arguments: list[str | int] = [self._now, self._wake]
            arguments += (0, 0, "") if rule is None else (rule.failures, round(rule.window_s * 1e6), reason)
            for index in indexes:
                settlement = settlements[index]
                item_id, attempt = parse_run_id(settlement.run_id)
                text = (settlement.message or "")[:MESSAGE_LIMIT].encode("utf-8", "replace").decode()
                arguments += (item_id, attempt, settlement.outcome.value, text)
            calls.append(Call(self._base(family), tuple(arguments)))
        results: list[SettleResult | RedisError] = [SettleResult.UNKNOWN] * len(settlements)
        with redis_errors(self._where):
            replies = await self._SETTLE.many(self._redis, calls)
        for (_, indexes), reply in zip(batches, replies, strict=True):
            for place, index in enumerate(indexes):
                results[index] = reply if isinstance(reply, RedisError) else SettleResult(reply[place])
        return results

    async def settle(
        self,
        run_id: str,
        family: str,
        outcome: Outcome,
        message: str | None = None,
        *,
        breaker: BreakerRule | None = None,
    ) -> SettleResult:
        """See `runtime.model.Settler`. Raises `BoundaryDown`."""
        (result,) = await self.settle_many([Settlement(run_id, family, outcome, message)], {family: breaker})
        if isinstance(result, RedisError):
            with redis_errors(self._where):
                raise result
        return result

    _SWEEP = Script("""
    local now = now_us(ARGV[1])
    local dropped = 0
    for _, set in ipairs({'settled', 'discarded'}) do
      local old = call('ZRANGEBYSCORE', base .. set, '-inf', int(now - ARGV[2]), 'LIMIT', 0, 1000)
      local extra = call('ZCARD', base .. set) - #old - ARGV[3]
      if extra > 0 and #old == 0 then old = call('ZRANGE', base .. set, 0, math.min(extra, 1000) - 1) end
      many('ZREM', base .. set, old)
      many('HDEL', base .. 'done', old)
      dropped = dropped + #old
    end
    return dropped
    """)

    async def sweep_settled(
        self, families: Sequence[str], *, keep_s: float, keep_rows: int
    ) -> dict[str, int]:
        """Drops settled rows older than ``keep_s`` or beyond ``keep_rows`` a family, those that succeeded and
        those that were discarded each, at most 1,000 of either a call.

        Never touches anything that has not succeeded or been discarded. Raises `BoundaryDown`.
        """
        arguments = dict.fromkeys(families, (round(keep_s * 1e6), keep_rows))
        return {name: count for name, count in (await self._each(self._SWEEP, arguments)).items() if count}


def _window(window_s: float) -> str:
    """As a lane file has it: ``2h``, ``90m``, ``45s``."""
    for unit, seconds in (("h", 3600), ("m", 60)):
        if window_s >= seconds and window_s % seconds == 0:
            return f"{window_s / seconds:g}{unit}"
    return f"{window_s:g}s"
