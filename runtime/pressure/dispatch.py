"""Out of the queue: what could be claimed, claiming it, and admitting what was claimed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.ledger.connection import redis_errors
from runtime.ledger.keys import lane_key
from runtime.model import FamilyRules, Lease
from runtime.pressure import lane_rate
from runtime.pressure.keys import HOLD
from runtime.pressure.place import OnLane
from runtime.pressure.prelude import READING
from runtime.pressure.records import unpack_failures, unpack_record
from runtime.pressure.script import Kind, Script

LEASE_S = 30.0
"""A lease not ended or renewed within this lapses: its item waits again, or Restate is asked about it."""
NEVER_US = 1 << 53
"""Later than any server's time."""
DUE_PER_PEEK = 100
"""Due items made runnable a level and look; the next look takes the next ones."""
DUE_AT_LEAST = 10
"""So many also where families that are looked at in the same script have so many due that it takes long."""
PARKED_PER_CLAIM = 500
"""Rows set aside in one claim because their concurrency key is busy; the next claim goes on behind them."""
MESSAGE_LIMIT = 1000
"""Characters of a failure's message that are kept."""
ALONE_TOLD_MS = 60_000
"""So long after its end it is still known that a target was left alone: what waited for that is not stuck."""
TURN_MS = 2000
"""A drainer that dies within its turn holds the others up for so long at the most, and one that was stopped
for longer claims nothing any more."""
_TAKE_TURN = Kind.MOVES.value + "return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0"
"""Not the plain command, which a server that is out of memory refuses: it has to be drained."""
_END_TURN = (
    Kind.MOVES.value
    + """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return redis.call('EXISTS', KEYS[2])
"""
)

Levels = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Demand:
    """What one family could have claimed from it now."""

    family: str
    waiting: Levels
    """By the level at which it is served: aging lifts rows above their own."""
    room: int
    """Below its ``max_in_flight``, and within its rate."""
    busy: int
    """Leased, admitting and in flight."""
    held: bool
    paced: bool = False
    """Nothing may start before its rate lets it, within a second or so."""
    left_alone: bool = False
    """Its target asked not to be called for a while: nothing starts."""
    at_us: int = 0
    """When it was looked at, by its own server's clock."""


def rate_arguments(rules: FamilyRules) -> tuple[int, int]:
    """Microseconds between two starts (0: no limit), and how many may come at once."""
    if rules.rate_per_s is None:
        return 0, 1
    return max(1, round(1e6 / rules.rate_per_s)), rules.burst


BACK = """
local function back(id, entry)
  local record = call('HGET', base .. 'items', id)
  call('ZREM', base .. 'leased', id)
  call('ZREM', base .. 'admitting', id)
  call('HDEL', base .. 'lease', id)
  local level = head(record)
  if level then call('ZADD', base .. 'w' .. level, string.match(entry or '', '^%d+:(%d+):') or int(now_us(ARGV[1])), id)
  else keep_unreadable(id, nil, record, now_us(ARGV[1])) end
  free(id)
end
local function mine(id, token)
  local entry = call('HGET', base .. 'lease', id)
  if entry and string.match(entry, '^(%d+):') == token then return entry end
end
local function set_aside(id, message, now)
  local _, attempt = head(call('HGET', base .. 'items', id))
  take_busy(id)
  call('HDEL', base .. 'deaths', id)
  call('ZADD', base .. 'quarantined', int(now), id)
  add_failure(id, attempt, 'failed', message, now)
end
"""


class Dispatch(OnLane):
    """The way out, as far as Restate's door."""

    set_aside = 0
    """Rows that this turn's claim passed over, for their busy keys or because they can't be read: the next one
    looks behind them."""

    # --- the lane's turn

    @property
    def _turn(self) -> str:
        return lane_key(self._lane, "turn")

    async def take_turn(self, owner: str) -> bool:
        """One drainer at a time looks and claims: the lane's limits are over families that lie on
        different servers of a cluster, so no script can hold them. Raises `BoundaryDown`."""
        self.set_aside = 0
        with redis_errors(self._where):
            return bool(await self._redis.eval(_TAKE_TURN, 1, self._turn, owner, TURN_MS))

    async def end_turn(self, owner: str) -> bool:
        """Ends it if it is still its own. Returns whether the whole lane is held by now: what was claimed in
        the turn is to be given back then, for a family that was not known to who held the lane has
        no pause of its own. Raises `BoundaryDown`; the turn then ends by itself."""
        with redis_errors(self._where):
            keys = (self._turn, lane_key(self._lane, HOLD))
            return bool(await self._redis.eval(_END_TURN, 2, *keys, owner))

    async def take_rate(self, rate_per_s: float, most: int) -> int:
        """Takes up to ``most`` starts of what the lane's own rate lets start now, before they are claimed:
        who dies in between has used them. Below 0: gives so many back. Returns how many it took.

        Raises `BoundaryDown`."""
        with redis_errors(self._where):
            keys, arguments = lane_rate.keys(self._lane), lane_rate.arguments(rate_per_s)
            return int(await self._redis.eval(lane_rate.TAKE, 2, *keys, *arguments, most))

    async def lane_held(self) -> bool:
        """Whether the whole lane is held. Raises `BoundaryDown`."""
        with redis_errors(self._where):
            return bool(await self._redis.exists(lane_key(self._lane, HOLD)))

    # --- claim

    _PEEK = Script(
        f"""
    local now, aging, interval, burst = now_us(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
    local w = {{base .. 'w0', base .. 'w1', base .. 'w2', base .. 'w3'}}
    local d = {{base .. 'd0', base .. 'd1', base .. 'd2', base .. 'd3'}}
    -- In one question what few families have: most of what a look costs is its number of commands.
    local more = call('EXISTS', d[1], d[2], d[3], d[4], base .. 'pause', base .. 'alone') > 0
    if more then
      for n = 1, 4 do
        local want = math.min({DUE_PER_PEEK}, math.max({DUE_AT_LEAST}, due_left))
        local due = call('ZRANGEBYSCORE', d[n], '-inf', int(now), 'WITHSCORES', 'LIMIT', 0, want)
        local ids, scored = {{}}, {{}}
        for i = 1, #due, 2 do
          ids[#ids + 1] = due[i]
          scored[i], scored[i + 1] = due[i + 1], due[i]
        end
        if #ids > 0 then
          call('ZREM', d[n], unpack(ids))
          call('ZADD', w[n], unpack(scored))
          due_left = due_left - #ids
        end
      end
    end
    local busy = call('ZCARD', base .. 'leased') + call('ZCARD', base .. 'admitting') + call('ZCARD', base .. 'flight')
    local served = {{0, 0, 0, 0}}
    for level = 1, 4 do
      local rest, up = call('ZCARD', w[level]), 0
      while aging > 0 and rest > 0 and level - up > 2 do -- those that are old enough are served a level higher
        local lifted = call('ZCOUNT', w[level], '-inf', int(now - (up + 1) * aging))
        served[level - up] = served[level - up] + rest - lifted
        rest, up = lifted, up + 1
      end
      served[level - up] = served[level - up] + rest
    end
    local room, beyond = rate_room(now, interval, burst)
    -- A rate that was raised is not kept back by what the slower one had still to come.
    if beyond then call('HSET', base .. 'meta', 'tat', int(now + burst * interval)) end
    return {{served[1], served[2], served[3], served[4], busy, more and paused(now, 'hold') and 1 or 0,
      room == math.huge and -1 or room, now, more and left_alone(now) and 1 or 0}}
    """,
        prelude=f"{READING}local due_left = {4 * DUE_PER_PEEK} -- of all families of one script\n",
    )

    async def peek(self, rules: Mapping[str, FamilyRules]) -> list[Demand]:
        """Makes due items runnable and tells what could be claimed of each family. One pipeline a primary.

        Raises `BoundaryDown`."""
        arguments = {
            name: (round((rule.aging_s or 0) * 1e6), *rate_arguments(rule)) for name, rule in rules.items()
        }
        replies = await self._each(self._PEEK, arguments, small=True)
        demands = []
        for name, (p0, p1, p2, p3, busy, held, rate, at, alone) in replies.items():
            room = 0 if alone else max(0, rules[name].max_in_flight - busy)
            demands.append(
                Demand(
                    family=name,
                    waiting=(p0, p1, p2, p3),
                    room=room if rate < 0 else min(room, rate),
                    busy=busy,
                    held=bool(held),
                    paced=rate == 0 and room > 0 and any((p0, p1, p2, p3)) and not held,
                    left_alone=bool(alone),
                    at_us=at,
                )
            )
        return demands

    _CLAIM = Script(f"""
    local now = now_us(ARGV[1])
    if now >= tonumber(ARGV[13]) or paused(now, 'hold') or left_alone(now) then return {{{{}}, 0}} end
    local owner, lapse, most = ARGV[2], int(now + ARGV[3]), tonumber(ARGV[5])
    local aging, interval, burst = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
    local room = ARGV[4] - call('ZCARD', base .. 'leased') - call('ZCARD', base .. 'admitting') - call('ZCARD', base .. 'flight')
    room = math.min(room, (rate_room(now, interval, burst)))
    local ids, readies, levels, parked = {{}}, {{}}, {{}}, 0
    -- Up to ``want`` rows that are served at this level, the oldest first: (id, score, own level) in turn.
    local function take(level, want)
      local rows = {{}}
      if aging == 0 or level == 0 or level == 3 then
        local popped = call('ZPOPMIN', base .. 'w' .. level, want)
        for i = 1, #popped, 2 do rows[#rows + 1] = {{popped[i], popped[i + 1], level}} end
        return rows
      end
      for own = level, 3 do
        local old = own == level and '+inf' or int(now - (own - level) * aging)
        local found = call('ZRANGEBYSCORE', base .. 'w' .. own, '-inf', old, 'WITHSCORES', 'LIMIT', 0, want)
        for i = 1, #found, 2 do rows[#rows + 1] = {{found[i], found[i + 1], own}} end
      end
      table.sort(rows, function(a, b)
        local x, y = tonumber(a[2]), tonumber(b[2])
        if x == y then return a[1] < b[1] end
        return x < y
      end)
      for i = #rows, want + 1, -1 do rows[i] = nil end
      for _, row in ipairs(rows) do call('ZREM', base .. 'w' .. row[3], row[1]) end
      return rows
    end
    for level = 0, 3 do
      local want = math.min(tonumber(ARGV[9 + level]), room)
      while want > 0 and parked < {PARKED_PER_CLAIM} do
        local rows = take(level, want)
        for _, row in ipairs(rows) do
          local id, ready = row[1], int(tonumber(row[2]))
          local digest = most > 0 and key_of(call('HGET', base .. 'items', id))
          if digest and tonumber(call('HGET', base .. 'busy', digest) or 0) >= most then
            park(id, row[3], ready, digest)
            parked = parked + 1
          else
            if digest then
              call('HINCRBY', base .. 'busy', digest, 1)
              call('HSET', base .. 'holds', id, digest)
            end
            ids[#ids + 1], readies[#readies + 1], levels[#levels + 1] = id, ready, row[3]
            want, room = want - 1, room - 1
          end
        end
        if #rows == 0 or most == 0 then break end
      end
    end
    local records = #ids > 0 and call('HMGET', base .. 'items', unpack(ids)) or {{}}
    local found, spoilt = ids, 0
    ids = {{}}
    for n, id in ipairs(found) do
      if readable(records[n]) then
        ids[#ids + 1] = id
        readies[#ids], records[#ids] = readies[n], records[n]
      else
        keep_unreadable(id, levels[n], records[n], now)
        free(id)
        spoilt = spoilt + 1
      end
    end
    if #ids == 0 then return {{{{}}, parked + spoilt}} end
    local token = call('HINCRBY', base .. 'meta', 'fence', #ids) - #ids
    local scored, entries = {{}}, {{}}
    for n, id in ipairs(ids) do
      scored[#scored + 1], scored[#scored + 2] = lapse, id
      entries[#entries + 1], entries[#entries + 2] = id, int(token + n) .. ':' .. readies[n] .. ':' .. owner
    end
    call('ZADD', base .. 'leased', unpack(scored))
    call('HSET', base .. 'lease', unpack(entries))
    if interval > 0 then
      local tat = math.max(now, tonumber(call('HGET', base .. 'meta', 'tat') or 0))
      call('HSET', base .. 'meta', 'tat', int(tat + #ids * interval))
    end
    local fails = call('HMGET', base .. 'fails', unpack(ids))
    local out = {{}}
    for n, id in ipairs(ids) do out[n] = {{id, token + n, records[n], fails[n]}} end
    return {{out, parked + spoilt}}
    """)

    async def claim(
        self,
        wanted: Mapping[str, Levels],
        rules: Mapping[str, FamilyRules],
        *,
        owner: str,
        lease_s: float = LEASE_S,
        until_us: Mapping[str, int] | None = None,
    ) -> list[Lease]:
        """Leases up to ``wanted`` items of each family, by the level they are served at, within its limits.

        ``until_us``: when the turn is over, by the clock of each family's own server: from then on nothing is
        claimed, however late the claim gets there. A held family yields nothing; an item whose
        concurrency key is busy is set aside until the key is free, one whose record is gone or spoilt is
        quarantined. Raises `BoundaryDown`.
        """
        arguments = {
            name: (
                owner,
                round(lease_s * 1e6),
                rules[name].max_in_flight,
                rules[name].concurrency or 0,
                round((rules[name].aging_s or 0) * 1e6),
                *rate_arguments(rules[name]),
                *levels,
                NEVER_US if until_us is None else until_us[name],
            )
            for name, levels in wanted.items()
        }
        # Rows by the hundred may be set aside for a busy key: so much of one family, not of twenty together.
        keyed = {name for name in wanted if rules[name].concurrency}
        replies = await self._each(self._CLAIM, arguments, small=True, long=keyed)
        self.set_aside = sum(parked for _, parked in replies.values())
        return [lease_of(name, row) for name, (rows, _) in replies.items() for row in rows]

    # --- a target that asked to be left alone

    _LEAVE_ALONE = Script(f"""
    local now = now_us(ARGV[1])
    local ends = now + ARGV[2]
    if ends <= now or ends <= select(2, left_alone(now)) then return 0 end
    call('SET', base .. 'alone', int(ends), 'PX', int((ends - now) / 1000 + {ALONE_TOLD_MS}))
    return 1
    """)
    _LEFT_ALONE = Script(
        """
    local now = now_us(ARGV[1])
    return int((left_alone(now) or now) - now)
    """,
        Kind.LOOKS,
    )

    async def leave_alone(self, waits: Mapping[str, float]) -> None:
        """Nothing of these families is claimed for so many seconds from now, when it goes on by itself. A
        longer wait stays; what is not above 0 has passed already. Raises `BoundaryDown`."""
        arguments = {family: (round(wait_s * 1e6),) for family, wait_s in waits.items()}
        if arguments:
            await self._each(self._LEAVE_ALONE, arguments, small=True)

    async def left_alone(self, families: Collection[str]) -> dict[str, float]:
        """Of which families the target is still to be left alone, for how many seconds. Raises
        `BoundaryDown`."""
        if not families:
            return {}
        replies = await self._each(self._LEFT_ALONE, dict.fromkeys(families, ()), small=True)
        return {name: int(left) / 1e6 for name, left in replies.items() if int(left) > 0}

    _RENEW = Script(
        BACK
        + """
    local lapse = int(now_us(ARGV[1]) + ARGV[2])
    local out = {}
    for i = 3, #ARGV, 2 do
      local id = ARGV[i]
      local entry = mine(id, ARGV[i + 1])
      if entry then
        local set = call('ZSCORE', base .. 'leased', id) and 'leased' or 'admitting'
        call('ZADD', base .. set, lapse, id)
      end
      out[#out + 1] = entry and 1 or 0
    end
    return out
    """
    )

    async def renew(self, leases: Sequence[Lease], *, lease_s: float = LEASE_S) -> list[Lease]:
        """The drainer's heartbeat: these lapse ``lease_s`` from now. Returns those still its own.

        Raises `BoundaryDown`.
        """
        replies = await self._leased(self._RENEW, leases, round(lease_s * 1e6))
        return [lease for lease, held in replies if held]

    # --- admit

    _BEGIN_ADMIT = Script(
        BACK
        + """
    local held, lapse = paused(now_us(ARGV[1]), 'hold'), int(now_us(ARGV[1]) + ARGV[2])
    local ids, out, begun, scored = {}, {}, {}, {}
    for i = 3, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
    local entries = call('HMGET', base .. 'lease', unpack(ids))
    for n, id in ipairs(ids) do
      local ours = entries[n] and string.match(entries[n], '^(%d+):') == ARGV[2 + n * 2]
      if ours and held then back(id, entries[n]) end
      out[n] = ours and not held and 1 or 0
      if out[n] == 1 then
        begun[#begun + 1] = id
        scored[#scored + 1], scored[#scored + 2] = lapse, id
      end
    end
    many('ZREM', base .. 'leased', begun)
    many('ZADD', base .. 'admitting', scored)
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

    _ADMITTED = Script("""
    local now = int(now_us(ARGV[1]))
    local ids, out, gone, scored = {}, {}, {}, {}
    for i = 3, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
    local entries = call('HMGET', base .. 'lease', unpack(ids))
    for n, id in ipairs(ids) do
      local ours = entries[n] and string.match(entries[n], '^(%d+):') == ARGV[2 + n * 2]
      out[n] = ours and 1 or 0
      if ours then
        gone[#gone + 1] = id
        scored[#scored + 1], scored[#scored + 2] = now, id
      end
    end
    many('ZREM', base .. 'leased', gone)
    many('ZREM', base .. 'admitting', gone)
    many('HDEL', base .. 'lease', gone)
    many('HDEL', base .. 'deaths', gone) -- it was no drainer's death after all
    many('ZADD', base .. 'flight', scored)
    return out
    """)

    async def admitted(self, leases: Sequence[Lease]) -> int:
        """Restate has accepted these. Rows that settled or were taken over meanwhile stay as they are.

        Returns how many are in flight now. Raises `BoundaryDown`.
        """
        return sum(done for _, done in await self._leased(self._ADMITTED, leases, 0))

    _GIVE_BACK = Script(
        BACK
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
        BACK
        + """
    if not mine(ARGV[2], ARGV[3]) then return 0 end
    set_aside(ARGV[2], ARGV[4], now_us(ARGV[1]))
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
        replies = await self._each(script, arguments, small=True)
        return [pair for family, reply in replies.items() for pair in zip(groups[family], reply, strict=True)]


def lease_of(family: str, row: Sequence[Any]) -> Lease:
    """A claimed row as `_CLAIM` and `_RECOVER` give it."""
    item_id, token, record, fails = row[:4]
    priority, attempt, _, _, payload = unpack_record(record)
    return Lease(
        item_id=item_id,
        family=family,
        attempt=attempt,
        priority=priority,
        payload=payload,
        failures=unpack_failures(fails),
        token=token,
        deaths=int(row[4]) if len(row) > 4 else 0,
    )
