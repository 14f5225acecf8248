"""What crashes leave behind: lapsed leases, rows in flight to compare, families that nobody declares."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.model import FamilyRules, Lease
from runtime.pressure.dispatch import LEASE_S, lease_of
from runtime.pressure.keys import families_key
from runtime.pressure.lane_store import LaneStore
from runtime.pressure.prelude import DEATHS_MAX
from runtime.pressure.script import Script
from runtime.redis_client.connection import redis_errors

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


class Recovery:
    """Mends only what is certain; the rest is handed to whoever can ask."""

    def __init__(self, store: LaneStore) -> None:
        self._store = store

    _OWNERS = Script("owners")

    async def owners(self, families: Sequence[str]) -> set[str]:
        """Who holds leases now. Raises `BoundaryDown`."""
        replies = await self._store.each(self._OWNERS, dict.fromkeys(families, ()))
        return {owner for reply in replies.values() for owner in reply}

    _RECOVER = Script(
        "recover", LAPSED_PER_CALL=LAPSED_PER_CALL, PARKED_LOOKED_AT=PARKED_LOOKED_AT, DEATHS_MAX=DEATHS_MAX
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
                self._store.wake,
                rules.concurrency or 0,
                len(gone),
                *sorted(gone),
                *sorted(died),
            )
            for name, rules in families.items()
        }
        replies = await self._store.each(self._RECOVER, arguments)
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

    _IN_FLIGHT = Script("in_flight")

    async def in_flight(
        self, family: str, *, older_than_s: float, after: str = "-inf", limit: int = 200
    ) -> tuple[list[str], str | None]:
        """``(run ids, cursor)`` of runs admitted more than ``older_than_s`` ago, oldest first; many may
        have been admitted in one instant, so the cursor is an instant and an id.

        Raises `BoundaryDown`.
        """
        score, _, last = after.partition(" ")
        with redis_errors(self._store.where):
            rows = await self._IN_FLIGHT(
                self._store.redis,
                self._store.base(family),
                self._store.now,
                round(older_than_s * 1e6),
                score,
                limit,
                last,
            )
        cursor = f"{rows[-1][2]} {rows[-1][0]}" if len(rows) == limit else None
        return [f"{item_id}.{attempt}" for item_id, attempt, _ in rows], cursor

    _RECLAIM = Script("reclaim")

    async def reclaim(self, family: str, runs: Sequence[tuple[str, int]]) -> list[str]:
        """Restate runs these (item, attempt): does the queue know? A row that waits although its run
        lives (a backlog from before a restore) is taken into flight, which is certain to be right.

        For each: ``known``, ``taken``, ``settled``, ``stale`` (a newer attempt exists), ``over`` (dead or
        quarantined here) or ``unknown``. Raises `BoundaryDown`.
        """
        if not runs:
            return []
        with redis_errors(self._store.where):
            flat = [part for run in runs for part in run]
            return list(
                await self._RECLAIM(self._store.redis, self._store.base(family), self._store.now, *flat)
            )

    # --- families that nobody declares

    async def families(self) -> list[str]:
        """Every family that ever had an item here. Raises `BoundaryDown`."""
        with redis_errors(self._store.where):
            known: Any = await self._store.redis.hvals(families_key(self._store.lane))
        return sorted(known)

    _REMOVE = Script("remove_family", PARKED_PER_REMOVAL=PARKED_PER_REMOVAL)

    async def remove(self, families: Sequence[str]) -> dict[str, int]:
        """Quarantines what waits of families that are no longer declared, each family as one: its rows
        are put out of reach together, in the order in which they waited, and `Control.restore` gives all
        of them back. What one call does not come to the next one takes. Returns how many, by family.

        Raises `BoundaryDown`.
        """
        replies = await self._store.each(self._REMOVE, dict.fromkeys(families, ()))
        return {name: count for name, count in replies.items() if count}
