"""The last day of each family, by minute: what waited, and what came and went.

One string a family, ``joelclaw:1:{<lane>}:series:<family>``: a ring of `SLOTS` records of `SLOT_BYTES`
bytes, that of minute ``m`` (since the epoch) at slot ``m % SLOTS``, and one byte that closes it. That is
74,985 bytes a family (some 80 KiB of the server's memory) from the first minute on and never more. A family
that is recorded no more keeps its ring for `KEPT_S` and then it expires, whole.

A record has the totals since the family began, not the minute's events: whoever records needs no
memory, so that a restart, or several who record the same minute, do no harm. A reader takes the differences.
Each record says of which minute it is; one that says anything else, or that is cut short, is a gap.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from redis.client import NEVER_DECODE
from redis.exceptions import RedisError, ResponseError

from runtime.common.text import one_line, without_credentials
from runtime.ledger.keys import lane_key
from runtime.model import FamilyReading, FamilySeries, OperatorError, SeriesPoint
from runtime.redis_client.connection import Redis, redis_errors

MINUTE_S = 60
MINUTES_MOST = 1440
"""A day: the most that can be read at once."""
SLOTS = MINUTES_MOST + 2
"""The oldest minute's events need the minute before it, and the present minute may not be recorded yet."""
LATE_S = 10.0
"""A minute is recorded within its first seconds or not at all: later its events would be the next one's."""
KEPT_S = 26 * 3600

_RECORD = struct.Struct("<7I3Q")
"""minute, waiting, held, throttled, delayed, in_flight, dead; totals of enqueued, succeeded, failed."""
SLOT_BYTES = _RECORD.size
_Record = tuple[int, int, int, int, int, int, int, int, int, int]
"""As above, minute and all."""
_COMMANDS = 3
"""A family's in `Series.record`; the second one writes the record."""
_STRANGER = "what is stored in its place is no series"
_U32, _U64 = 2**32 - 1, 2**64 - 1


class Series:
    """`runtime.model.SeriesReader` and `runtime.model.SeriesWriter` on one lane."""

    def __init__(self, redis: Redis, url: str, lane: str) -> None:
        self._redis = redis
        self._where = without_credentials(url)
        self._lane = lane

    async def record(self, minute: int, families: Sequence[FamilyReading]) -> None:
        """See `runtime.model.SeriesWriter.record`: one pipeline, each command on one family's key.

        Every family is tried; then raises `OperatorError` for the first whose ring could not be written.
        """
        if not families:
            return
        pipe = self._redis.pipeline(transaction=False)
        for family in families:
            key = self._key(family.family)
            # The end first: a string that is made in its full length has no room to spare, while one
            # that grows is given up to twice what it needs.
            pipe.setrange(key, SLOTS * SLOT_BYTES, b"\0")
            pipe.setrange(key, minute % SLOTS * SLOT_BYTES, _pack(minute, family))
            pipe.expire(key, KEPT_S)
        with redis_errors(self._where):
            replies = await pipe.execute(raise_on_error=False)
            for family, reply in zip(families, replies[1::_COMMANDS], strict=True):
                if _is_stranger(reply):
                    raise OperatorError(
                        f"the series of {one_line(family.family, 100)} can't be recorded: {_STRANGER}",
                        fix=f"see what it is, then delete it: {one_line(self._key(family.family), 200)}",
                        code="no-series",
                    )
                if isinstance(reply, RedisError):
                    raise reply

    async def read(
        self, families: Sequence[str], minutes: int, *, at: float | None = None
    ) -> Mapping[str, FamilySeries]:
        """See `runtime.model.SeriesReader.read`. ``minutes``: 1 to `MINUTES_MOST`, else the nearer of them.

        At most two short reads a family, all in one pipeline.
        """
        minutes = max(1, min(minutes, MINUTES_MOST))
        with redis_errors(self._where):
            if at is None:
                seconds, microseconds = await self._redis.time()
                at = seconds + microseconds / 1e6
            newest = int(at // MINUTE_S)
            # One more than asked for at each end: what the first one's events are counted from, and
            # the present minute, which may not have been recorded yet.
            parts = _parts(newest - minutes - 1, newest)
            pipe = self._redis.pipeline(transaction=False)
            for family in families:
                for start, end in parts:
                    pipe.execute_command("GETRANGE", self._key(family), start, end, **{NEVER_DECODE: []})
            replies: list[Any] = await pipe.execute(raise_on_error=False) if families else []
            rings: dict[str, dict[int, _Record] | str] = {}
            for index, family in enumerate(families):
                mine = replies[index * len(parts) : (index + 1) * len(parts)]
                rings[family] = _ring(mine, newest - minutes - 1, newest)
        begun = any(isinstance(ring, dict) and newest in ring for ring in rings.values())
        last = newest if begun or at % MINUTE_S > LATE_S else newest - 1
        wanted = range(last - minutes + 1, last + 1)
        return {
            family: FamilySeries(
                family,
                tuple(_point(minute, {} if isinstance(ring, str) else ring) for minute in wanted),
                ring if isinstance(ring, str) else None,
            )
            for family, ring in rings.items()
        }

    def _key(self, family: str) -> str:
        return lane_key(self._lane, f"series:{family}")


def _pack(minute: int, family: FamilyReading) -> bytes:
    gauges = (
        family.waiting,
        family.held,
        family.throttled,
        family.delayed,
        family.in_flight,
        family.dead,
    )
    totals = (family.enqueued_total, family.succeeded_total, family.failed_total)
    return _RECORD.pack(
        minute,
        *(max(0, min(number, _U32)) for number in gauges),
        *(max(0, min(number, _U64)) for number in totals),
    )


def _parts(first: int, last: int) -> list[tuple[int, int]]:
    """Where the slots of these minutes lie, in bytes, both ends included: two parts where the ring wraps."""
    start, end = first % SLOTS, last % SLOTS
    slots = [(start, end)] if start <= end else [(start, SLOTS - 1), (0, end)]
    return [(one * SLOT_BYTES, (other + 1) * SLOT_BYTES - 1) for one, other in slots]


def _ring(replies: Sequence[Any], first: int, last: int) -> dict[int, _Record] | str:
    """The records of these minutes, by minute; or why there is none, in words.

    Raises `RedisError` for what is no fault of this one ring.
    """
    found: dict[int, _Record] = {}
    for reply in replies:
        if _is_stranger(reply):
            return _STRANGER
        if isinstance(reply, RedisError):
            raise reply
        whole = len(reply) // SLOT_BYTES * SLOT_BYTES
        for record in _RECORD.iter_unpack(reply[:whole]):
            if first <= record[0] <= last:
                found[record[0]] = record
    return found


def _is_stranger(reply: Any) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE")


def _point(minute: int, ring: Mapping[int, _Record]) -> SeriesPoint:
    at = float(minute * MINUTE_S)
    record, before = ring.get(minute), ring.get(minute - 1)
    if record is None:
        return SeriesPoint(at)
    if before is None or record[7] < before[7] or record[8] < before[8] or record[9] < before[9]:
        return SeriesPoint(at, *record[1:7])
    return SeriesPoint(at, *record[1:7], record[7] - before[7], record[8] - before[8], record[9] - before[9])
