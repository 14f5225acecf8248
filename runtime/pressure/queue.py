"""The way of an item: enqueue, claim, admit, settle. Each script stands beside its method.

Every script is atomic on one family; a repeat of any of them does no harm. Time is the
server's ``TIME`` unless a test passes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from runtime.ledger.connection import Redis, redis_errors
from runtime.ledger.keys import lane_key
from runtime.model import (
    Ack,
    Enqueued,
    FamilyRules,
    Lease,
    NewItem,
    Outcome,
    Priority,
    SettleResult,
    parse_run_id,
)
from runtime.pressure.keys import dedup_suffix, families_key
from runtime.pressure.place import OnLane
from runtime.pressure.records import pack_meta, unpack_failures, unpack_record
from runtime.pressure.script import Call, Script
from runtime.text import one_line

LEASE_S = 30.0
"""A lease not ended within this lapses: its item waits again, or Restate is asked about it."""
DUE_PER_PEEK = 250
"""Due items made runnable a level and look; the next look takes the next ones."""
MESSAGE_LIMIT = 1000
"""Characters of a failure's message that are kept."""

TURN_MS = 2000
"""A drainer that dies within its turn holds the others up for so long at the most."""
_END_TURN = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"

Levels = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Demand:
    """What one family could have claimed from it now."""

    family: str
    waiting: Levels
    room: int
    """Below its ``max_in_flight``."""
    busy: int
    """Leased, admitting and in flight."""
    held: bool


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a look for lapsed leases found in one family."""

    returned: int
    """Leased rows that wait again."""
    uncertain: tuple[Lease, ...]
    """Rows whose admission nobody ended; now leased to the caller, who asks Restate."""


class Queue(OnLane):
    """The queue of one lane."""

    def __init__(self, redis: Redis, url: str, lane: str, *, now_us: int | None = None) -> None:
        super().__init__(redis, url, lane, now_us=now_us)
        self._turn = lane_key(lane, "turn")
        self.damage: dict[str, str] = {}
        """Families whose keys could not be worked on when last tried, and why."""

    # --- the lane's turn

    async def take_turn(self, owner: str) -> bool:
        """One drainer at a time looks and claims: the lane's limit is over families that lie on
        different servers of a cluster, so no script can hold it. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            return bool(await self._redis.set(self._turn, owner, nx=True, px=TURN_MS))

    async def end_turn(self, owner: str) -> None:
        """Raises `BoundaryDown`; the turn then ends by itself."""
        with redis_errors(self._where):
            await self._redis.eval(_END_TURN, 1, self._turn, owner)

    # --- enqueue

    _ENQUEUE = Script("""
    local now, id, priority, rest, delay_us, window_ms = now_us(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
    if redis.call('HEXISTS', base .. 'items', id) == 1 or redis.call('HEXISTS', base .. 'done', id) == 1 then
      return {id, 0}
    end
    if ARGV[7] ~= '' then
      local first = redis.call('GET', base .. ARGV[7])
      if first then return {first, 1} end
      redis.call('SET', base .. ARGV[7], id, 'PX', window_ms)
    end
    redis.call('HSET', base .. 'items', id, priority .. ':1:' .. int(now) .. ':' .. rest)
    if delay_us > 0 then
      redis.call('ZADD', base .. 'd' .. priority, int(now + delay_us), id)
    else
      local ready = math.max(now, tonumber(redis.call('HGET', base .. 'meta', 'last') or 0) + 1)
      redis.call('HSET', base .. 'meta', 'last', int(ready))
      redis.call('ZADD', base .. 'w' .. priority, int(ready), id)
    end
    redis.call('HINCRBY', base .. 'stats', 'enqueued', 1)
    bump('e', now)
    redis.call('PUBLISH', ARGV[8], id)
    return {id, 0}
    """)

    async def enqueue(
        self,
        item_id: str,
        family: str,
        payload: str,
        *,
        priority: Priority,
        origin: str,
        delay_s: float = 0.0,
        dedup_key: str | None = None,
        dedup_window_s: float = 604_800.0,
    ) -> Enqueued:
        """Stores one item. Repeating the call with the same ``item_id`` adds nothing.

        Raises `BoundaryDown`, `Refused` (out of memory).
        """
        with redis_errors(self._where):
            first, duplicate = await self._ENQUEUE(
                self._redis,
                self._base(family),
                self._now,
                item_id,
                int(priority),
                pack_meta(payload, origin=origin, dedup_key=dedup_key),
                round(delay_s * 1e6),
                max(1, round(dedup_window_s * 1000)),
                dedup_suffix(dedup_key) if dedup_key is not None else "",
                self._wake,
            )
        return Enqueued(item_id=first, duplicate=bool(duplicate))

    async def enqueue_many(
        self,
        family: str,
        entries: Sequence[NewItem],
        *,
        rules: FamilyRules,
        ack: Ack,
        dedup_window_s: float = 604_800.0,
    ) -> Sequence[Enqueued | None]:
        results: list[Enqueued | None] = []
        for entry in entries:
            with redis_errors(self._where):
                stored = await self._redis.hlen(self._base(family) + "items")
            known = entry.dedup_key and await self._redis.exists(
                self._base(family) + dedup_suffix(entry.dedup_key)
            )
            if not known and rules.backlog_items is not None and stored >= rules.backlog_items:
                results.append(None)
                continue
            results.append(
                await self.enqueue(
                    entry.item_id,
                    family,
                    entry.payload,
                    priority=entry.priority,
                    origin=entry.origin,
                    delay_s=entry.delay_s,
                    dedup_key=entry.dedup_key,
                    dedup_window_s=dedup_window_s,
                )
            )
        return results

    # --- claim

    _PEEK = Script(f"""
    local now = now_us(ARGV[1])
    for level = 0, 3 do
      local due = redis.call('ZRANGEBYSCORE', base .. 'd' .. level, '-inf', int(now), 'WITHSCORES', 'LIMIT', 0, {DUE_PER_PEEK})
      for i = 1, #due, 2 do
        redis.call('ZREM', base .. 'd' .. level, due[i])
        redis.call('ZADD', base .. 'w' .. level, due[i + 1], due[i])
      end
    end
    local busy = redis.call('ZCARD', base .. 'leased') + redis.call('ZCARD', base .. 'admitting')
      + redis.call('ZCARD', base .. 'flight')
    return {{redis.call('ZCARD', base .. 'w0'), redis.call('ZCARD', base .. 'w1'), redis.call('ZCARD', base .. 'w2'),
      redis.call('ZCARD', base .. 'w3'), busy, paused(now) and 1 or 0}}
    """)

    async def peek(self, rules: Mapping[str, FamilyRules]) -> list[Demand]:
        """Makes due items runnable and tells what could be claimed. One pipeline. Raises `BoundaryDown`."""
        replies = await self._each(self._PEEK, dict.fromkeys(rules, ()))
        return [
            Demand(
                family=name,
                waiting=(reply[0], reply[1], reply[2], reply[3]),
                room=max(0, rules[name].max_in_flight - reply[4]),
                busy=reply[4],
                held=bool(reply[5]),
            )
            for name, reply in replies.items()
        ]

    _CLAIM = Script("""
    local now = now_us(ARGV[1])
    if paused(now) then return {} end
    local owner, lapse = ARGV[2], int(now + ARGV[3])
    local room = ARGV[4] - redis.call('ZCARD', base .. 'leased') - redis.call('ZCARD', base .. 'admitting')
      - redis.call('ZCARD', base .. 'flight')
    local out = {}
    for level = 0, 3 do
      local want = math.min(tonumber(ARGV[5 + level]), room)
      if want > 0 then
        local popped = redis.call('ZPOPMIN', base .. 'w' .. level, want)
        for i = 1, #popped, 2 do
          local id, ready = popped[i], popped[i + 1]
          local token = redis.call('HINCRBY', base .. 'meta', 'fence', 1)
          redis.call('ZADD', base .. 'leased', lapse, id)
          redis.call('HSET', base .. 'lease', id, token .. ':' .. int(tonumber(ready)) .. ':' .. owner)
          out[#out + 1] = {id, token, redis.call('HGET', base .. 'items', id), redis.call('HGET', base .. 'fails', id)}
          room = room - 1
        end
      end
    end
    return out
    """)

    async def claim(
        self,
        wanted: Mapping[str, Levels],
        rules: Mapping[str, FamilyRules],
        *,
        owner: str,
        lease_s: float = LEASE_S,
    ) -> list[Lease]:
        """Leases up to ``wanted`` items of each family, by level, within its ``max_in_flight``.

        A paused family yields nothing. Raises `BoundaryDown`.
        """
        arguments = {
            name: (owner, round(lease_s * 1e6), rules[name].max_in_flight, *levels)
            for name, levels in wanted.items()
        }
        replies = await self._each(self._CLAIM, arguments)
        return [_lease(name, row) for name, rows in replies.items() for row in rows]

    # --- admit

    _BACK = """
    local function back(id, entry)
      local ready = string.match(entry, '^%d+:(%d+):')
      redis.call('ZREM', base .. 'leased', id)
      redis.call('ZREM', base .. 'admitting', id)
      redis.call('HDEL', base .. 'lease', id)
      redis.call('ZADD', base .. 'w' .. head(redis.call('HGET', base .. 'items', id)), ready, id)
    end
    local function mine(id, token)
      local entry = redis.call('HGET', base .. 'lease', id)
      if entry and string.match(entry, '^(%d+):') == token then return entry end
    end
    """

    _BEGIN_ADMIT = Script(
        _BACK
        + """
    local now = now_us(ARGV[1])
    local held = paused(now)
    local out = {}
    for i = 3, #ARGV, 2 do
      local id = ARGV[i]
      local entry = mine(id, ARGV[i + 1])
      if not entry then
        out[#out + 1] = 0
      elseif held then
        back(id, entry)
        out[#out + 1] = 0
      else
        redis.call('ZREM', base .. 'leased', id)
        redis.call('ZADD', base .. 'admitting', int(now + ARGV[2]), id)
        out[#out + 1] = 1
      end
    end
    return out
    """
    )

    async def begin_admit(self, leases: Sequence[Lease], *, lease_s: float = LEASE_S) -> list[Lease]:
        """Those that may be sent to Restate now. The others were lost, or wait again behind a pause.

        Recorded before the send: a drainer that dies after this leaves a row that Restate is
        asked about, never one that is silently sent twice or not at all. Raises `BoundaryDown`.
        """
        replies = await self._leased(self._BEGIN_ADMIT, leases, round(lease_s * 1e6))
        return [lease for lease, began in replies if began]

    _ADMITTED = Script(
        _BACK
        + """
    local now = now_us(ARGV[1])
    local out = {}
    for i = 3, #ARGV, 2 do
      local id = ARGV[i]
      if mine(id, ARGV[i + 1]) then
        redis.call('ZREM', base .. 'leased', id)
        redis.call('ZREM', base .. 'admitting', id)
        redis.call('HDEL', base .. 'lease', id)
        redis.call('ZADD', base .. 'flight', int(now), id)
        out[#out + 1] = 1
      else
        out[#out + 1] = 0
      end
    end
    return out
    """
    )

    async def admitted(self, leases: Sequence[Lease]) -> int:
        """Restate has accepted these. Rows that settled or were taken over meanwhile stay as they are.

        Returns how many are in flight now. Raises `BoundaryDown`.
        """
        return sum(done for _, done in await self._leased(self._ADMITTED, leases, 0))

    _GIVE_BACK = Script(
        _BACK
        + """
    local out = {}
    for i = 3, #ARGV, 2 do
      local id = ARGV[i]
      local entry = mine(id, ARGV[i + 1])
      if entry then back(id, entry) end
      out[#out + 1] = entry and 1 or 0
    end
    return out
    """
    )

    async def give_back(self, leases: Sequence[Lease]) -> int:
        """These were not accepted: they wait again, at their old place. Raises `BoundaryDown`."""
        return sum(done for _, done in await self._leased(self._GIVE_BACK, leases, 0))

    _QUARANTINE = Script(
        _BACK
        + """
    local now, id, message = now_us(ARGV[1]), ARGV[2], ARGV[4]
    if not mine(id, ARGV[3]) then return 0 end
    local _, attempt = head(redis.call('HGET', base .. 'items', id))
    redis.call('ZREM', base .. 'leased', id)
    redis.call('ZREM', base .. 'admitting', id)
    redis.call('HDEL', base .. 'lease', id)
    redis.call('ZADD', base .. 'quarantined', int(now), id)
    add_failure(id, attempt, 'failed', message, now)
    return 1
    """
    )

    async def quarantine(self, lease: Lease, message: str) -> bool:
        """This one can't be admitted; a person replays or discards it. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            reply = await self._QUARANTINE(
                self._redis,
                self._base(lease.family),
                self._now,
                lease.item_id,
                lease.token,
                message[:MESSAGE_LIMIT],
            )
        return bool(reply)

    # --- recover

    _RECOVER = Script(
        _BACK
        + """
    local now = now_us(ARGV[1])
    local owner, lapse = ARGV[2], int(now + ARGV[3])
    local lapsed = redis.call('ZRANGEBYSCORE', base .. 'leased', '-inf', int(now), 'LIMIT', 0, 500)
    for _, id in ipairs(lapsed) do back(id, redis.call('HGET', base .. 'lease', id)) end
    local uncertain = {}
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', base .. 'admitting', '-inf', int(now), 'LIMIT', 0, 500)) do
      redis.call('ZREM', base .. 'admitting', id) -- frees, so that the rest is taken when memory is short
      local token = redis.call('HINCRBY', base .. 'meta', 'fence', 1)
      local ready = string.match(redis.call('HGET', base .. 'lease', id), '^%d+:(%d+):')
      redis.call('ZADD', base .. 'admitting', lapse, id)
      redis.call('HSET', base .. 'lease', id, token .. ':' .. ready .. ':' .. owner)
      uncertain[#uncertain + 1] = {id, token, redis.call('HGET', base .. 'items', id), redis.call('HGET', base .. 'fails', id)}
    end
    if #lapsed > 0 then redis.call('PUBLISH', ARGV[4], '') end
    return {#lapsed, uncertain}
    """
    )

    async def recover(
        self, families: Sequence[str], *, owner: str, lease_s: float = LEASE_S
    ) -> dict[str, Recovered]:
        """Ends lapsed leases of ``families``. Raises `BoundaryDown`."""
        arguments = dict.fromkeys(families, (owner, round(lease_s * 1e6), self._wake))
        replies = await self._each(self._RECOVER, arguments)
        return {
            name: Recovered(returned=reply[0], uncertain=tuple(_lease(name, row) for row in reply[1]))
            for name, reply in replies.items()
            if reply[0] or reply[1]
        }

    _IN_FLIGHT = Script(
        """
    local now, after, limit, last = now_us(ARGV[1]), ARGV[3], tonumber(ARGV[4]), ARGV[5]
    local ties = redis.call('ZCOUNT', base .. 'flight', after, after)
    local rows = redis.call('ZRANGEBYSCORE', base .. 'flight', after, int(now - ARGV[2]), 'WITHSCORES',
      'LIMIT', 0, limit + ties)
    local out = {}
    for i = 1, #rows, 2 do
      local id, score = rows[i], rows[i + 1]
      if #out < limit and (score ~= after or id > last) then
        local _, attempt = head(redis.call('HGET', base .. 'items', id))
        out[#out + 1] = {id, attempt, score}
      end
    end
    return out
    """,
        read_only=True,
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

    # --- settle

    _SETTLE = Script("""
    local now, id, attempt, outcome, message = now_us(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
    local record = redis.call('HGET', base .. 'items', id)
    if not record then
      local done = redis.call('HGET', base .. 'done', id)
      if not done then return 'unknown' end
      local _, last = head(done)
      if last == attempt and string.match(done, ':([a-z]+)$') ~= 'discarded' then return 'already' end
      return 'stale'
    end
    local priority, current, enqueued = head(record)
    if attempt < current then return 'stale' end
    if attempt > current then return 'unknown' end
    if redis.call('ZSCORE', base .. 'dead', id) then return 'already' end
    redis.call('ZREM', base .. 'flight', id)
    redis.call('ZREM', base .. 'admitting', id)
    redis.call('ZREM', base .. 'leased', id)
    redis.call('HDEL', base .. 'lease', id)
    redis.call('ZREM', base .. 'w' .. priority, id)
    redis.call('ZREM', base .. 'd' .. priority, id)
    redis.call('ZREM', base .. 'quarantined', id)
    if outcome == 'succeeded' then
      redis.call('HDEL', base .. 'items', id)
      redis.call('HDEL', base .. 'fails', id)
      redis.call('ZADD', base .. 'settled', int(now), id)
      redis.call('HSET', base .. 'done', id, priority .. ':' .. attempt .. ':' .. enqueued .. ':' .. outcome)
      redis.call('HINCRBY', base .. 'stats', 'succeeded', 1)
      bump('s', now)
    else
      redis.call('ZADD', base .. 'dead', int(now), id)
      add_failure(id, attempt, outcome, message, now)
      redis.call('HINCRBY', base .. 'stats', 'failed', 1)
      bump('f', now)
    end
    redis.call('PUBLISH', ARGV[6], '') -- room is free now, perhaps for another family of a full lane
    return 'settled'
    """)

    def settle_call(self, run_id: str, family: str, outcome: Outcome, message: str | None) -> Call:
        """The script call that settles one run, for whoever sends many at once."""
        item_id, attempt = parse_run_id(run_id)
        text = (message or "")[:MESSAGE_LIMIT].encode("utf-8", "replace").decode()
        return Call(self._base(family), (self._now, item_id, attempt, outcome.value, text, self._wake))

    async def settle_many(self, calls: Sequence[Call]) -> list[SettleResult | RedisError]:
        """Settles many runs in one pipeline; an error stands in its own place. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            replies = await self._SETTLE.many(self._redis, calls)
        return [reply if isinstance(reply, RedisError) else SettleResult(reply) for reply in replies]

    async def settle(
        self, run_id: str, family: str, outcome: Outcome, message: str | None = None
    ) -> SettleResult:
        """See `runtime.model.Settler`. Raises `BoundaryDown`."""
        call = self.settle_call(run_id, family, outcome, message)
        with redis_errors(self._where):
            return SettleResult(await self._SETTLE(self._redis, call.base, *call.args))

    _SWEEP = Script("""
    local now = now_us(ARGV[1])
    local old = redis.call('ZRANGEBYSCORE', base .. 'settled', '-inf', int(now - ARGV[2]), 'LIMIT', 0, 1000)
    local extra = redis.call('ZCARD', base .. 'settled') - #old - ARGV[3]
    if extra > 0 and #old == 0 then old = redis.call('ZRANGE', base .. 'settled', 0, math.min(extra, 1000) - 1) end
    for _, id in ipairs(old) do
      redis.call('ZREM', base .. 'settled', id)
      redis.call('HDEL', base .. 'done', id)
    end
    return #old
    """)

    async def sweep_settled(
        self, families: Sequence[str], *, keep_s: float, keep_rows: int
    ) -> dict[str, int]:
        """Drops settled rows older than ``keep_s`` or beyond ``keep_rows`` a family, at most 1,000 a call.

        Never touches anything that has not succeeded or been discarded. Raises `BoundaryDown`.
        """
        arguments = dict.fromkeys(families, (round(keep_s * 1e6), keep_rows))
        return {name: count for name, count in (await self._each(self._SWEEP, arguments)).items() if count}

    # --- families that nobody declares

    async def families(self) -> list[str]:
        """Every family that ever had an item here. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            known: Any = await self._redis.hvals(families_key(self._lane))
        return sorted(known)

    _ABANDON = Script("""
    local now, moved = now_us(ARGV[1]), 0
    for _, set in ipairs({'w0', 'w1', 'w2', 'w3', 'd0', 'd1', 'd2', 'd3'}) do
      for _, id in ipairs(redis.call('ZRANGE', base .. set, 0, ARGV[3] - 1 - moved)) do
        redis.call('ZREM', base .. set, id)
        redis.call('ZADD', base .. 'quarantined', int(now), id)
        local _, attempt = head(redis.call('HGET', base .. 'items', id))
        add_failure(id, attempt, 'failed', ARGV[2], now)
        moved = moved + 1
      end
      if moved >= tonumber(ARGV[3]) then break end
    end
    return moved
    """)

    async def abandon(self, families: Sequence[str], *, message: str, most: int = 500) -> dict[str, int]:
        """Quarantines what waits of families that are no longer declared, at most ``most`` of each.

        A person replays it once they are declared again. Raises `BoundaryDown`.
        """
        arguments = dict.fromkeys(families, (message, most))
        return {name: count for name, count in (await self._each(self._ABANDON, arguments)).items() if count}

    # --- the wire

    async def _each(self, script: Script, arguments: Mapping[str, Sequence[str | int]]) -> dict[str, Any]:
        """The script on each family in one pipeline: replies by family.

        A family whose keys are damaged is left out and named in `damage`, so that it stops no
        other. Raises `BoundaryDown`, or the first error when every family had one.
        """
        calls = [Call(self._base(name), (self._now, *args)) for name, args in arguments.items()]
        with redis_errors(self._where):
            replies = dict(zip(arguments, await script.many(self._redis, calls), strict=True))
            failed = {name: reply for name, reply in replies.items() if isinstance(reply, RedisError)}
            if failed and len(failed) == len(replies):
                raise next(iter(failed.values()))
        for name in replies:
            self.damage.pop(name, None)
        self.damage.update({name: one_line(str(error)) for name, error in failed.items()})
        return {name: reply for name, reply in replies.items() if name not in failed}

    async def _leased(
        self, script: Script, leases: Iterable[Lease], argument: int
    ) -> list[tuple[Lease, int]]:
        groups: dict[str, list[Lease]] = {}
        for lease in leases:
            groups.setdefault(lease.family, []).append(lease)
        arguments = {
            family: (argument, *(part for lease in group for part in (lease.item_id, lease.token)))
            for family, group in groups.items()
        }
        replies = await self._each(script, arguments)
        return [pair for family, reply in replies.items() for pair in zip(groups[family], reply, strict=True)]


def _lease(family: str, row: Sequence[Any]) -> Lease:
    item_id, token, record, *fails = row
    priority, attempt, _, _, payload = unpack_record(record)
    return Lease(
        item_id=item_id,
        family=family,
        attempt=attempt,
        priority=priority,
        payload=payload,
        failures=unpack_failures(fails[0] if fails else None),
        token=token,
    )
