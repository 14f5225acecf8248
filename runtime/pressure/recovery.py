"""What crashes leave behind: lapsed leases, rows in flight to compare, families that nobody declares."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.ledger.connection import redis_errors
from runtime.model import FamilyRules, Lease
from runtime.pressure.dispatch import BACK, LEASE_S, lease_of
from runtime.pressure.keys import families_key
from runtime.pressure.place import OnLane
from runtime.pressure.prelude import DEATHS_MAX
from runtime.pressure.script import Kind, Script

LAPSED_PER_CALL = 500
PARKED_LOOKED_AT = 200
PARKED_PER_REMOVAL = 2000


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a look for lapsed leases found in one family."""

    returned: int
    """Leased rows that wait again."""
    uncertain: tuple[Lease, ...]
    """Rows whose admission nobody ended; now leased to the caller, who asks Restate."""
    quarantined: int = 0
    """Leased rows on which a third drainer died."""
    unparked: int = 0
    """Rows set aside for a concurrency key that turned out to be free."""


class Recovery(OnLane):
    """Mends only what is certain; the rest is handed to whoever can ask."""

    _OWNERS = Script(
        """
    local seen, out = {}, {}
    for _, entry in ipairs(call('HVALS', base .. 'lease')) do
      local owner = string.match(entry, '^%d+:%d+:(.*)$')
      if not seen[owner] then seen[owner], out[#out + 1] = true, owner end
    end
    return out
    """,
        Kind.LOOKS,
    )

    async def owners(self, families: Sequence[str]) -> set[str]:
        """Who holds leases now. Raises `BoundaryDown`."""
        replies = await self._each(self._OWNERS, dict.fromkeys(families, ()))
        return {owner for reply in replies.values() for owner in reply}

    _RECOVER = Script(
        BACK
        + f"""
    local now = now_us(ARGV[1])
    local owner, lapse, most, gone, died = ARGV[2], int(now + ARGV[3]), tonumber(ARGV[5]), {{}}, {{}}
    local last_gone = 6 + ARGV[6]
    for i = 7, last_gone do gone[ARGV[i]] = true end
    for i = last_gone + 1, #ARGV do died[ARGV[i]] = true end
    local function holder(entry) return string.match(entry or '', '^%d+:%d+:(.*)$') end
    local function deaths(id, entry)
      if died[holder(entry) or ''] then return call('HINCRBY', base .. 'deaths', id, 1) end
      return tonumber(call('HGET', base .. 'deaths', id) or 0)
    end
    local lapsed = call('ZRANGEBYSCORE', base .. 'leased', '-inf', int(now), 'LIMIT', 0, {LAPSED_PER_CALL})
    local unsure = call('ZRANGEBYSCORE', base .. 'admitting', '-inf', int(now), 'LIMIT', 0, {LAPSED_PER_CALL})
    if last_gone > 6 then
      local seen = {{}}
      for _, id in ipairs(lapsed) do seen[id] = true end
      for _, id in ipairs(unsure) do seen[id] = true end
      local held = call('HGETALL', base .. 'lease')
      for i = 1, #held, 2 do
        local id = held[i]
        if gone[holder(held[i + 1]) or ''] and not seen[id] then
          local group = call('ZSCORE', base .. 'leased', id) and lapsed or unsure
          if #group < {LAPSED_PER_CALL} then group[#group + 1] = id end
        end
      end
    end
    local returned, aside = 0, 0
    for _, id in ipairs(lapsed) do
      local entry = call('HGET', base .. 'lease', id)
      if deaths(id, entry) >= {DEATHS_MAX} then
        set_aside(id, '{DEATHS_MAX} drainers died with it in hand, the last was ' .. (holder(entry) or 'unknown'), now)
        aside = aside + 1
      else
        back(id, entry)
        returned = returned + 1
      end
    end
    local uncertain = {{}}
    for _, id in ipairs(unsure) do
      local entry = call('HGET', base .. 'lease', id)
      local record = call('HGET', base .. 'items', id)
      if readable(record) then
        local token = call('HINCRBY', base .. 'meta', 'fence', 1)
        local ready = string.match(entry or '', '^%d+:(%d+):') or int(now)
        call('ZADD', base .. 'admitting', lapse, id)
        call('HSET', base .. 'lease', id, token .. ':' .. ready .. ':' .. owner)
        uncertain[#uncertain + 1] = {{id, token, record, call('HGET', base .. 'fails', id), deaths(id, entry)}}
      else -- Restate can't be asked about an unknown attempt; should it run, it still settles
        take_busy(id)
        keep_unreadable(id, nil, record, now)
        aside = aside + 1
      end
    end
    -- Set aside for a key that has room: its rule has changed, or is gone. Asked by the keys that are busy,
    -- since those whose turn it is may lie behind any number of others.
    local unparked, aside_now = 0, 0
    for level = 0, 3 do aside_now = aside_now + call('ZCARD', base .. 'q' .. level) end
    local keys = aside_now > 0 and most > 0 and call('HGETALL', base .. 'busy') or {{}}
    for i = 1, #keys, 2 do
      for _ = keys[i + 1] + 1, most do
        if not unpark(keys[i]) then break end
        unparked = unparked + 1
      end
    end
    for level = 0, aside_now > 0 and 3 or -1 do
      for _, id in ipairs(call('ZRANGE', base .. 'q' .. level, 0, {PARKED_LOOKED_AT - 1})) do
        local digest = key_of(call('HGET', base .. 'items', id))
        if most == 0 or call('HEXISTS', base .. 'busy', digest) == 0 then
          local score = call('ZSCORE', base .. 'q' .. level, id)
          call('ZREM', base .. 'q' .. level, id)
          call('ZREM', base .. 'k' .. level .. ':' .. digest, id)
          call('ZADD', base .. 'w' .. level, score, id)
          unparked = unparked + 1
        end
      end
    end
    if returned + unparked > 0 then call('PUBLISH', ARGV[4], '') end
    return {{returned, uncertain, aside, unparked}}
    """
    )

    async def recover(
        self,
        families: Mapping[str, FamilyRules],
        *,
        owner: str,
        gone: Collection[str] = (),
        died: Collection[str] = (),
        lease_s: float = LEASE_S,
    ) -> dict[str, Recovered]:
        """Ends leases that have lapsed, or whose owner is one of ``gone``; it is a death of those that one
        of ``died`` held, and of no others. What `LAPSED_PER_CALL` cuts off the next call takes. Raises
        `BoundaryDown`."""
        arguments: dict[str, Sequence[str | int]] = {
            name: (
                owner,
                round(lease_s * 1e6),
                self._wake,
                rules.concurrency or 0,
                len(gone),
                *sorted(gone),
                *sorted(died),
            )
            for name, rules in families.items()
        }
        replies = await self._each(self._RECOVER, arguments)
        return {
            name: Recovered(
                returned=reply[0],
                uncertain=tuple(lease_of(name, row) for row in reply[1]),
                quarantined=reply[2],
                unparked=reply[3],
            )
            for name, reply in replies.items()
            if any(reply)
        }

    # --- in flight

    _IN_FLIGHT = Script(
        """
    local now, after, limit, last = now_us(ARGV[1]), ARGV[3], tonumber(ARGV[4]), ARGV[5]
    local ties = call('ZCOUNT', base .. 'flight', after, after)
    local rows = call('ZRANGEBYSCORE', base .. 'flight', after, int(now - ARGV[2]), 'WITHSCORES',
      'LIMIT', 0, limit + ties)
    local out = {}
    for i = 1, #rows, 2 do
      local id, score = rows[i], rows[i + 1]
      if #out < limit and (score ~= after or id > last) then
        local _, attempt = head(call('HGET', base .. 'items', id))
        out[#out + 1] = {id, attempt, score}
      end
    end
    return out
    """,
        Kind.LOOKS,
    )

    async def in_flight(
        self, family: str, *, older_than_s: float, after: str = "-inf", limit: int = 200
    ) -> tuple[list[str], str | None]:
        """``(run ids, cursor)`` of runs admitted more than ``older_than_s`` ago, oldest first; many may
        have been admitted in one instant, so the cursor is an instant and an id.

        Raises `BoundaryDown`.
        """
        score, _, last = after.partition(" ")
        with redis_errors(self._where):
            rows = await self._IN_FLIGHT(
                self._redis, self._base(family), self._now, round(older_than_s * 1e6), score, limit, last
            )
        cursor = f"{rows[-1][2]} {rows[-1][0]}" if len(rows) == limit else None
        return [f"{item_id}.{attempt}" for item_id, attempt, _ in rows], cursor

    _RECLAIM = Script("""
    local now, out = now_us(ARGV[1]), {}
    for i = 2, #ARGV, 2 do
      local id, attempt = ARGV[i], tonumber(ARGV[i + 1])
      local record = call('HGET', base .. 'items', id)
      local done = not record and call('HGET', base .. 'done', id)
      if done then
        out[#out + 1] = 'settled'
      elseif not record then
        out[#out + 1] = 'unknown'
      else
        local level, current = head(record)
        if current ~= attempt then
          out[#out + 1] = current > attempt and 'stale' or 'unknown'
        elseif take_waiting(id, level, record) then
          local digest = key_of(record)
          if digest then -- its key is busy again, as if it had been claimed
            call('HINCRBY', base .. 'busy', digest, 1)
            call('HSET', base .. 'holds', id, digest)
          end
          call('ZADD', base .. 'flight', int(now), id)
          out[#out + 1] = 'taken'
        elseif call('ZSCORE', base .. 'flight', id) or call('HEXISTS', base .. 'lease', id) == 1 then
          out[#out + 1] = 'known'
        else
          out[#out + 1] = 'over'
        end
      end
    end
    return out
    """)

    async def reclaim(self, family: str, runs: Sequence[tuple[str, int]]) -> list[str]:
        """Restate runs these (item, attempt): does the queue know? A row that waits although its run
        lives (a backlog from before a restore) is taken into flight, which is certain to be right.

        For each: ``known``, ``taken``, ``settled``, ``stale`` (a newer attempt exists), ``over`` (dead or
        quarantined here) or ``unknown``. Raises `BoundaryDown`.
        """
        if not runs:
            return []
        with redis_errors(self._where):
            flat = [part for run in runs for part in run]
            return list(await self._RECLAIM(self._redis, self._base(family), self._now, *flat))

    # --- families that nobody declares

    async def families(self) -> list[str]:
        """Every family that ever had an item here. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            known: Any = await self._redis.hvals(families_key(self._lane))
        return sorted(known)

    _REMOVE = Script(f"""
    local waits = 0
    for level = 0, 3 do
      for _, id in ipairs(call('ZRANGE', base .. 'q' .. level, 0, {PARKED_PER_REMOVAL - 1})) do
        local _, score = take_waiting(id, level, call('HGET', base .. 'items', id))
        call('ZADD', base .. 'w' .. level, score, id)
      end
      waits = waits + pour(base .. 'w' .. level, base .. 'xw' .. level) + pour(base .. 'd' .. level, base .. 'xd' .. level)
    end
    if waits > 0 then call('HSETNX', base .. 'meta', 'removed', int(now_us(ARGV[1]))) end
    return waits
    """)

    async def remove(self, families: Sequence[str]) -> dict[str, int]:
        """Quarantines what waits of families that are no longer declared, each family as one: its rows
        are put out of reach together, in the order in which they waited, and `Control.restore` gives all
        of them back. What one call does not come to the next one takes. Returns how many, by family.

        Raises `BoundaryDown`.
        """
        replies = await self._each(self._REMOVE, dict.fromkeys(families, ()))
        return {name: count for name, count in replies.items() if count}
