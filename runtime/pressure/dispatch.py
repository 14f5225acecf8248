"""Out of the queue: what could be claimed, claiming it, and admitting what was claimed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.ledger.keys import lane_key
from runtime.model import FamilyRules, Lease
from runtime.pressure import lane_rate
from runtime.pressure.keys import HOLD
from runtime.pressure.lane_store import LaneStore
from runtime.pressure.records import unpack_failures, unpack_record
from runtime.pressure.script import LUA, Script
from runtime.redis_client.connection import redis_errors
from runtime.redis_client.lua import LuaScript

LEASE_S = 30.0
"""A lease not ended or renewed within this lapses: its item waits again, or Restate is asked about it."""
NEVER_US = 1 << 53
"""Later than any server's time."""
DUE_PER_CALL = 100
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
_TAKE_TURN = LuaScript(LUA, "take_turn")
_END_TURN = LuaScript(LUA, "end_turn")

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


@dataclass(frozen=True, slots=True)
class Claimed:
    """What one claim took."""

    leases: list[Lease]
    set_aside: int = 0
    """Rows that it passed over, for their busy keys or because they can't be read: the next one looks behind
    them."""


def rate_arguments(rules: FamilyRules) -> tuple[int, int]:
    """Microseconds between two starts (0: no limit), and how many may come at once."""
    if rules.rate_per_s is None:
        return 0, 1
    return max(1, round(1e6 / rules.rate_per_s)), rules.burst


class Dispatch:
    """The way out, as far as Restate's door."""

    def __init__(self, store: LaneStore) -> None:
        self._store = store

    # --- the lane's turn

    @property
    def _turn(self) -> str:
        return lane_key(self._store.lane, "turn")

    async def take_turn(self, owner: str, *, turn_ms: int = TURN_MS) -> bool:
        """One drainer at a time looks and claims: the lane's limits are over families that lie on
        different servers of a cluster, so no script can hold them. Raises `BoundaryDown`."""
        with redis_errors(self._store.where):
            return bool(await _TAKE_TURN(self._store.redis, (self._turn,), owner, turn_ms))

    async def end_turn(self, owner: str) -> bool:
        """Ends it if it is still its own. Returns whether the whole lane is held by now: what was claimed in
        the turn is to be given back then, for a family that was not known to who held the lane has
        no pause of its own. Raises `BoundaryDown`; the turn then ends by itself."""
        with redis_errors(self._store.where):
            keys = (self._turn, lane_key(self._store.lane, HOLD))
            return bool(await _END_TURN(self._store.redis, keys, owner))

    async def take_rate(self, rate_per_s: float, most: int) -> int:
        """Takes up to ``most`` starts of what the lane's own rate lets start now, before they are claimed:
        who dies in between has used them. Below 0: gives so many back. Returns how many it took.

        Raises `BoundaryDown`."""
        with redis_errors(self._store.where):
            keys, arguments = lane_rate.keys(self._store.lane), lane_rate.arguments(rate_per_s)
            return int(await lane_rate.TAKE(self._store.redis, keys, *arguments, most))

    async def lane_held(self) -> bool:
        """Whether the whole lane is held. Raises `BoundaryDown`."""
        with redis_errors(self._store.where):
            return bool(await self._store.redis.exists(lane_key(self._store.lane, HOLD)))

    # --- claim

    _MAKE_READY = Script("make_ready", DUE_PER_CALL=DUE_PER_CALL, DUE_AT_LEAST=DUE_AT_LEAST)

    async def make_ready(self, rules: Mapping[str, FamilyRules]) -> list[Demand]:
        """Makes due items runnable and tells what could be claimed of each family. One pipeline a primary.

        Raises `BoundaryDown`."""
        arguments = {
            name: (round((rule.aging_s or 0) * 1e6), *rate_arguments(rule)) for name, rule in rules.items()
        }
        replies = await self._store.each(self._MAKE_READY, arguments, small=True)
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

    _CLAIM = Script("claim", PARKED_PER_CLAIM=PARKED_PER_CLAIM)

    async def claim(
        self,
        wanted: Mapping[str, Levels],
        rules: Mapping[str, FamilyRules],
        *,
        owner: str,
        lease_s: float = LEASE_S,
        until_us: Mapping[str, int] | None = None,
    ) -> Claimed:
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
        replies = await self._store.each(self._CLAIM, arguments, small=True, long=keyed)
        return Claimed(
            leases=[lease_of(name, row) for name, (rows, _) in replies.items() for row in rows],
            set_aside=sum(set_aside for _, set_aside in replies.values()),
        )

    # --- a target that asked to be left alone

    _LEAVE_ALONE = Script("leave_alone", ALONE_TOLD_MS=ALONE_TOLD_MS)
    _LEFT_ALONE = Script("left_alone")

    async def leave_alone(self, waits: Mapping[str, float]) -> None:
        """Nothing of these families is claimed for so many seconds from now, when it goes on by itself. A
        longer wait stays; what is not above 0 has passed already. Raises `BoundaryDown`."""
        arguments = {family: (round(wait_s * 1e6),) for family, wait_s in waits.items()}
        if arguments:
            await self._store.each(self._LEAVE_ALONE, arguments, small=True)

    async def left_alone(self, families: Collection[str]) -> dict[str, float]:
        """Of which families the target is still to be left alone, for how many seconds. Raises
        `BoundaryDown`."""
        if not families:
            return {}
        replies = await self._store.each(self._LEFT_ALONE, dict.fromkeys(families, ()), small=True)
        return {name: int(left) / 1e6 for name, left in replies.items() if int(left) > 0}

    _RENEW = Script("renew")

    async def renew(self, leases: Sequence[Lease], *, lease_s: float = LEASE_S) -> list[Lease]:
        """The drainer's heartbeat: these lapse ``lease_s`` from now. Returns those still its own.

        Raises `BoundaryDown`.
        """
        replies = await self._leased(self._RENEW, leases, round(lease_s * 1e6))
        return [lease for lease, held in replies if held]

    # --- admit

    _BEGIN_ADMIT = Script("begin_admit")

    async def begin_admit(self, leases: Sequence[Lease], *, lease_s: float = LEASE_S) -> list[Lease]:
        """Those that may be sent to Restate now. The others were lost, or wait again behind a pause.

        Recorded before the send: a drainer that dies after this leaves a row that Restate is
        asked about, never one that is silently sent twice or not at all. Raises `BoundaryDown`.
        """
        replies = await self._leased(self._BEGIN_ADMIT, leases, round(lease_s * 1e6))
        return [lease for lease, began in replies if began]

    _ADMITTED = Script("admitted")

    async def admitted(self, leases: Sequence[Lease]) -> int:
        """Restate has accepted these. Rows that settled or were taken over meanwhile stay as they are.

        Returns how many are in flight now. Raises `BoundaryDown`.
        """
        return sum(done for _, done in await self._leased(self._ADMITTED, leases, 0))

    _GIVE_BACK = Script("give_back")

    async def give_back(self, leases: Sequence[Lease]) -> int:
        """These were not accepted: they wait again, at their old place. Raises `BoundaryDown`."""
        return sum(done for _, done in await self._leased(self._GIVE_BACK, leases, 0))

    _QUARANTINE = Script("quarantine")

    async def quarantine(self, lease: Lease, message: str) -> bool:
        """This one can't be admitted; a person replays or discards it. Raises `BoundaryDown`."""
        with redis_errors(self._store.where):
            reply = await self._QUARANTINE(
                self._store.redis,
                self._store.base(lease.family),
                self._store.now,
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
        replies = await self._store.each(script, arguments, small=True)
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
