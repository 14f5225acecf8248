"""The read side of the queue: one pipeline for all families, pages, any item by its id.

Looking changes nothing: every script here is flagged ``no-writes`` and runs on a replica too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runtime.ledger.keys import lane_key
from runtime.model import (
    FamilyReading,
    FamilyRules,
    ItemPage,
    ItemState,
    LaneRules,
    NotFound,
    PressureReading,
    PressureSource,
    WorkItem,
    family_tag,
    tag_of,
)
from runtime.pressure import health, lane_rate
from runtime.pressure.dispatch import rate_arguments
from runtime.pressure.keys import HOLD, STATE_SETS, families_key, family_base
from runtime.pressure.lane_rate import LaneRate
from runtime.pressure.lane_store import LaneStore
from runtime.pressure.records import MICROSECOND, unpack_item, unpack_pause, unpack_settled
from runtime.pressure.script import Script, ScriptCall
from runtime.redis_client.cluster import NodeReplies, send
from runtime.redis_client.connection import redis_errors

PAGE_LIMIT = 500
KEPT_ASIDE = tuple(f"{kind}{level}" for kind in ("xw", "xd") for level in range(4))
"""A removed family's backlog."""
_NO_RULES = FamilyRules()
PACED_S = 2.0
"""A drainer that lives looks at least each second: a rate that is free for longer keeps nothing back."""
_ALL = ("-inf", "+inf")
PAGE_PAYLOAD = 4096
"""Bytes of an item's payload that a page carries: a page of large payloads would else be a download."""


class QueueReader(LaneStore):
    """`runtime.model.PressureReader` on one lane."""

    _FAMILY = Script("read_family")

    async def read(self, rules: Mapping[str, FamilyRules], lane: LaneRules | None = None) -> PressureReading:
        """See `runtime.model.PressureReader.read`: two round trips, whatever the backlog.

        Raises `BoundaryDown`.
        """
        with redis_errors(self.where):
            asked = await send(
                self.redis,
                [
                    ("HVALS", families_key(self.lane)),
                    ("GET", lane_key(self.lane, HOLD)),
                    *lane_rate.asked(self.lane, lane),
                ],
            )
            for reply in asked.replies:
                if isinstance(reply, Exception):
                    raise reply
            known, hold, *paced = asked.replies
            families = [*rules, *sorted(set(known) - set(rules))]
            calls = [
                ScriptCall(
                    family_base(self.lane, name), (self.now, *rate_arguments(rules.get(name, _NO_RULES)))
                )
                for name in families
            ]
            told, rows = await self._FAMILY.surveyed(self.redis, calls, health.EACH)
            for reply in (*health.needed(told), *rows):
                if isinstance(reply, Exception):
                    raise reply
        whole = _lane_state(lane, lane_rate.told(paced), dict(zip(families, rows, strict=True)), rules)
        return PressureReading(
            source=self._source(told),
            families=tuple(
                _reading(name, row, rules.get(name), whole) for name, row in zip(families, rows, strict=True)
            ),
            lane_hold=unpack_pause(hold),
        )

    def _source(self, told: Sequence[NodeReplies]) -> PressureSource:
        nodes = health.nodes_of(told, self.where)
        return PressureSource(
            url=self.where,
            server=health.server_name(told[0].replies[1]),
            run_id=nodes[0].run_id,
            database=int(self.redis.connection_pool.connection_kwargs.get("db") or 0),
            role=nodes[0].role,
            maxmemory_policy=nodes[0].maxmemory_policy,
            appendonly=nodes[0].appendonly,
            loading=nodes[0].loading,
            used_memory=nodes[0].used_memory,
            maxmemory=nodes[0].maxmemory,
            server_time=nodes[0].server_time if self.now_us is None else self.now_us * MICROSECOND,
            nodes=nodes,
        )

    # --- single items

    _ITEM = Script("read_item")

    async def item(self, item_id: str) -> WorkItem | None:
        """One item in whatever state, by its id alone. Raises `NotFound` for what is no id, `BoundaryDown`."""
        tag = tag_of(item_id)
        with redis_errors(self.where):
            family: Any = await self.redis.hget(families_key(self.lane), tag)
            if family is None or family_tag(family) != tag:
                return None
            reply = await self._ITEM(self.redis, family_base(self.lane, family), self.now, item_id)
        if not reply:
            return None
        where, score, record, fails, lease = reply[:5]
        if where == "settled":
            return unpack_settled(item_id, family, float(score), record)
        state = next((state for state, name in STATE_SETS.items() if name == where), None) or ItemState(where)
        item = unpack_item(
            item_id,
            family,
            state,
            float(score),
            record,
            fails=fails,
            lease=lease,
            deaths=int(reply[5] or 0),
        )
        return _with_family(item, reply[6])

    # --- pages

    _NOW = Script("read_now")

    async def items(
        self, family: str, state: ItemState, *, cursor: str | None = None, limit: int = 100
    ) -> ItemPage:
        """Some items of one family in one state: waiting ones in the order of dispatch, delayed, leased
        and in flight ones oldest first, dead, quarantined and settled ones newest first.

        Raises `NotFound` for a cursor that isn't one, `BoundaryDown`.
        """
        limit = max(1, min(limit, PAGE_LIMIT))
        base = family_base(self.lane, family)
        sets: tuple[str, ...]
        delays = _ALL
        if state in (ItemState.WAITING, ItemState.DELAYED):  # a delay ends with or without a drainer
            with redis_errors(self.where):
                now = await self._NOW(self.redis, base, self.now)
            delays = ("-inf", now) if state is ItemState.WAITING else (f"({now}", "+inf")
        if state is ItemState.WAITING:
            sets, newest_first = tuple(kind + level for level in "0123" for kind in "wdq"), False
        elif state is ItemState.DELAYED:
            sets, newest_first = ("d0", "d1", "d2", "d3"), False
        elif state is ItemState.QUARANTINED:
            sets, newest_first = ("quarantined", *KEPT_ASIDE), True
        elif state in (ItemState.SUCCEEDED, ItemState.DISCARDED):
            sets, newest_first = ("settled" if state is ItemState.SUCCEEDED else "discarded",), True
        else:
            sets, newest_first = (STATE_SETS[state],), state in (ItemState.DEAD, ItemState.QUARANTINED)
        first, after = _parse_cursor(cursor, len(sets))
        bounds = {name: delays if re.fullmatch("d[0-3]", name) else _ALL for name in sets}
        found: list[tuple[str, float, int]] = []
        more = False
        with redis_errors(self.where):
            for index in range(first, len(sets)):
                want = limit + 1 - len(found)
                rows = await self._slice(
                    base + sets[index],
                    bounds[sets[index]],
                    after if index == first else None,
                    want,
                    newest_first,
                )
                found.extend((item_id, score, index) for item_id, score in rows)
                if len(found) > limit:
                    found, more = found[:limit], True
                    break
            page = await self._rows(base, family, state, [(item_id, score) for item_id, score, _ in found])
            total = sum([await self.redis.zcount(base + name, *bounds[name]) for name in sets])
            removed: Any = None
            if state is ItemState.QUARANTINED:
                removed = await self.redis.hget(base + "meta", "removed")
        if removed:
            alone = {item_id for item_id, _, index in found if index == 0}
            page = tuple(item if item.item_id in alone else _with_family(item, removed) for item in page)
        last = found[-1] if more else None
        return ItemPage(
            items=page, total=total, cursor=f"{last[2]}:{last[1]:.0f}:{last[0]}" if last else None
        )

    async def _slice(
        self,
        key: str,
        bounds: tuple[str, str],
        after: tuple[str, str] | None,
        count: int,
        newest_first: bool,
    ) -> list[tuple[str, float]]:
        """Up to ``count`` rows beyond ``after`` (score, id), their scores within ``bounds``; rows of one
        score go by id, as Redis has them."""
        score, last = after or ("", "")
        low, high = bounds
        near = score or (high if newest_first else low)
        if after and low.startswith("(") and float(score) <= float(low[1:]):
            near = low  # what the last page ended with has become due meanwhile
        ties = int(await self.redis.zcount(key, score, score)) if after else 0
        rows: Any
        if newest_first:
            rows = await self.redis.zrevrangebyscore(
                key, near, low, start=0, num=count + ties, withscores=True
            )
            beyond = [row for row in rows if not after or row[1] < float(score) or row[0] < last]
        else:
            rows = await self.redis.zrangebyscore(key, near, high, start=0, num=count + ties, withscores=True)
            beyond = [row for row in rows if not after or row[1] > float(score) or row[0] > last]
        return [(str(item_id), float(at)) for item_id, at in beyond[:count]]

    _PAGE = Script("read_page")

    async def _rows(
        self, base: str, family: str, state: ItemState, found: Sequence[tuple[str, float]]
    ) -> tuple[WorkItem, ...]:
        if not found:
            return ()
        ids = [item_id for item_id, _ in found]
        if state in (ItemState.SUCCEEDED, ItemState.DISCARDED):
            done: Any = await self.redis.hmget(base + "done", ids)
            return tuple(
                unpack_settled(item_id, family, score, row)
                for (item_id, score), row in zip(found, done, strict=True)
                if row
            )
        rows = await self._PAGE(self.redis, base, PAGE_PAYLOAD, *ids)
        return tuple(
            unpack_item(
                item_id, family, state, score, record, fails=fails, lease=lease, deaths=int(deaths or 0)
            )
            for (item_id, score), (record, fails, lease, deaths) in zip(found, rows, strict=True)
            if record
        )


@dataclass(frozen=True, slots=True)
class _LaneState:
    """What the lane's own limits do to its declared families."""

    throttled_by: str | None
    rate_free_s: float | None
    """See `LaneRate.free_for_s`."""


def _lane_state(
    limits: LaneRules | None, rate: LaneRate, rows: Mapping[str, Sequence[Any]], declared: Collection[str]
) -> _LaneState:
    """What is busy of undeclared families does not count: a drainer looks at the declared ones only."""
    by = None
    if limits is not None:
        if sum(sum(rows[name][6:9]) for name in declared) >= limits.max_in_flight:
            by = "lane_max_in_flight"
        elif rate.used_up or _lately(rate.free_for_s):
            by = "lane_rate"
    return _LaneState(by, rate.free_for_s)


def _reading(family: str, row: Sequence[Any], rules: FamilyRules | None, lane: _LaneState) -> FamilyReading:
    """``rules``: None for a family that is not declared, which the lane's limits are not about."""
    now = int(row[0])
    levels = (row[1], row[2], row[3], row[4])
    delayed, leased, admitting, flight, dead, quarantined, oldest, pause_text = row[5:13]
    parked, rate_room, stored, stored_bytes, removed, hold, enqueued, aside_since, tat, behind, alone = row[
        19:30
    ]
    alone_s = (int(alone) - now) * MICROSECOND if int(alone) else None
    settled = row[14] + row[15] + row[30]
    if hold and aside_since and (not oldest or int(aside_since) < int(oldest)):
        oldest = aside_since  # held is held, whatever else it would wait for
    runnable = sum(levels)
    pause = unpack_pause(pause_text)
    busy = leased + admitting + flight
    full = rules is not None and busy >= rules.max_in_flight
    age = None if not oldest else max(0.0, (now - int(oldest)) * MICROSECOND)
    held = runnable if hold else 0
    by: dict[str, int] = {}
    if runnable and not hold:
        if alone_s is not None and (alone_s > 0 or _lately(-alone_s)):
            by = {"retry_after": runnable}
        elif full:
            by = {"max_in_flight": runnable}
        elif rate_room == 0 or (
            runnable - parked > rate_room >= 0 and _lately(_own_rate_free_s(now, rules, tat))
        ):
            by = {"rate": runnable - parked, "concurrency": parked}
        else:
            by = {"concurrency": parked}
        if rules is not None and not full and (busy or settled):
            # Of a family that moves, what has no room is throttled also in the moment in which some is free:
            # without this the word of all would change with every look.
            room = rules.max_in_flight - busy
            by["max_in_flight"] = max(0, runnable - sum(by.values()) - room)
        if rules is not None and lane.throttled_by is not None:  # what its own limits let through
            by[lane.throttled_by] = runnable - sum(by.values())
    throttled = sum(by.values())
    return FamilyReading(
        family=family,
        waiting=runnable - held - throttled,
        held=held,
        throttled=throttled,
        delayed=delayed,
        leased=leased + admitting,
        admitting=admitting,
        in_flight=flight,
        dead=dead,
        quarantined=quarantined,
        by_priority=levels,
        oldest_runnable_age_s=None if hold else age,
        oldest_held_age_s=age if hold else None,
        pause=pause,
        breaker_behind=unpack_pause(behind),
        enqueued_per_min=row[13],
        settled_per_min=settled,
        failed_per_min=row[15],
        succeeded_total=int(row[16] or 0),
        failed_total=int(row[17] or 0),
        pause_epoch=int(row[18] or 0),
        throttled_by={name: count for name, count in by.items() if count},
        stored=stored,
        stored_bytes=int(stored_bytes or 0),
        removed_since=int(removed) * MICROSECOND if removed else None,
        enqueued_total=int(enqueued or 0),
        paced_age_s=None
        if rules is None
        else _paced_age(
            _own_rate_free_s(now, rules, tat),
            lane.rate_free_s,
            -alone_s if alone_s is not None and alone_s <= 0 else None,
        ),
        unheld_age_s=(now - int(row[31])) * MICROSECOND if int(row[31]) and not hold else None,
        left_alone_until=int(alone) * MICROSECOND if alone_s is not None and alone_s > 0 else None,
    )


def _paced_age(*free_for_s: float | None) -> float | None:
    """See `FamilyReading.paced_age_s`: for how long its own rate is free, its lane's, and its target."""
    return min((free_s for free_s in free_for_s if free_s is not None), default=None)


def _own_rate_free_s(now: int, rules: FamilyRules | None, tat: Any) -> float | None:
    """For how long its own rate lets one more start; None: it does not now, or nothing ever started."""
    interval, burst = rate_arguments(rules or _NO_RULES)
    if not interval or not tat:
        return None
    free_us = now - int(tat) + (burst - 1) * interval
    return free_us * MICROSECOND if free_us >= 0 else None


def _lately(free_s: float | None) -> bool:
    """A rate that was used up keeps the rest back, also in the moment before the next drainer comes for
    what it lets start again: without this the word would change with every look."""
    return free_s is not None and free_s < PACED_S


def _with_family(item: WorkItem, removed: Any) -> WorkItem:
    """``removed``: when its whole family was quarantined, in microseconds; nothing: it was not."""
    if not removed:
        return item
    since = int(removed) * MICROSECOND
    return replace(item, since=since, removed_since=since)


def _parse_cursor(cursor: str | None, sets: int) -> tuple[int, tuple[str, str] | None]:
    if cursor is None:
        return 0, None
    parts = re.fullmatch(r"([0-9]{1,2}):([0-9]{1,16}):([0-9a-z-]{32})", cursor)
    if parts is None or int(parts[1]) >= sets:
        raise NotFound(f"{cursor[:40]!r} is not a page's cursor", fix="start again without a cursor")
    return int(parts[1]), (parts[2], parts[3])
