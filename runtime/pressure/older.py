"""The older layout: one stream for all families, a sorted set for their order. Read as it is, and
moved over without losing or doubling one.

``joelclaw:queue:events`` has the entries, ``joelclaw:queue:priority`` their order (level x 10^12 +
milliseconds), the group ``joelclaw:queue:restate`` what was delivered and not acknowledged, and
``joelclaw:queue:control:*`` the pauses. Everything in there was written by others.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from redis.exceptions import ResponseError

from runtime.common.payload import parse_payload
from runtime.common.text import one_line, without_credentials
from runtime.model import ItemState, PauseKind, PayloadError, Priority, family_tag
from runtime.model.names import FAMILY_NAME, FAMILY_NAME_MAX
from runtime.pressure.backlog_file import BacklogRow
from runtime.pressure.control import QueueControl
from runtime.pressure.export import Adopter
from runtime.pressure.lane_store import LaneStore
from runtime.pressure.script import Script
from runtime.redis_client.connection import Redis, redis_errors

EVENTS = "joelclaw:queue:events"
PRIORITY = "joelclaw:queue:priority"
GROUP = "joelclaw:queue:restate"
PAUSES = "joelclaw:queue:control:pauses"
PAUSE_ENDS = "joelclaw:queue:control:pause-expirations"

PAGE = 500
BATCH = 200
LISTED = 100
"""Entries that are listed by their ids; the rest is counted."""
ADOPTED = "adopted"
"""Who the older pauses are by."""
ACTIVE_WITHIN_S = 60.0
_LEVELS = {name: level for level in Priority for name in (str(int(level)), level.name, level.name.lower())}
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_ORIGIN_MAX = 100
_END_KEYS = ("until", "expiresAt", "expires_at")
_MILLISECONDS_FROM = 1e11
"""A number beyond this is an epoch in milliseconds."""


@dataclass(frozen=True, slots=True)
class OlderFault:
    """An entry that can't be moved, and why."""

    entry: str
    reason: str


@dataclass(frozen=True, slots=True)
class OlderPause:
    """Times in seconds since the epoch."""

    family: str
    reason: str | None
    until: float | None


@dataclass(frozen=True, slots=True)
class OlderReading:
    """What the older layout holds, as a dry run shows it."""

    where: str
    families: Mapping[str, int]
    """What would be moved, by family."""
    unknown: Mapping[str, int]
    """Families that the lane does not declare: their entries stay where they are."""
    malformed: tuple[OlderFault, ...]
    malformed_total: int
    pending: tuple[str, ...]
    """Delivered and not acknowledged: the older system may be running them."""
    pending_total: int
    pauses: tuple[OlderPause, ...]
    """In force, of the families that would be moved."""
    stray: int
    """Members of the order that have no entry."""
    active: tuple[str, ...]
    """Consumers of the older system that were seen in the last minute: stop them first."""


@dataclass(frozen=True, slots=True)
class OlderMoved:
    """What a move did."""

    reading: OlderReading
    moved: Mapping[str, int]
    """By family: stored here and removed there."""
    known: Mapping[str, int]
    """By family: stored here by an earlier run, removed there now."""
    left: int = 0
    """Given to the older system's consumers since the look: they stay there."""
    delivered: tuple[str, ...] = ()
    """Taken by the older system while they were moved, and so perhaps run by both."""
    delivered_total: int = 0
    gone: int = 0
    """Entries that were no longer there when their turn came."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry that can be moved. In its order."""

    level: int
    score: float
    milliseconds: int
    sequence: int

    @property
    def stream_id(self) -> str:
        return f"{self.milliseconds}-{self.sequence}"

    @property
    def place(self) -> tuple[int, float, int, int]:
        return self.level, self.score, self.milliseconds, self.sequence


@dataclass(slots=True)
class _Index:
    """What one pass over the stream found."""

    entries: dict[str, list[_Entry]] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)
    faults: list[OlderFault] = field(default_factory=list)
    fault_count: int = 0
    pending: list[str] = field(default_factory=list)
    pending_count: int = 0
    ordered: int = 0
    """Entries that the order has too."""


class _Malformed(Exception):
    pass


class OlderBacklog:
    """The older layout on one server. ``redis`` answers in bytes. Looking changes nothing."""

    def __init__(self, redis: Redis, url: str, *, families: Collection[str], payload_limit: int) -> None:
        self.redis: Any = redis
        self.where = without_credentials(url)
        self._families = families
        self._payload_limit = payload_limit

    async def read(
        self, *, include_pending: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> OlderReading:
        """The dry run. Raises `BoundaryDown`."""
        return (await self.look(include_pending, progress))[0]

    async def look(
        self, include_pending: bool, progress: Callable[[int, int], None] | None = None
    ) -> tuple[OlderReading, _Index]:
        """What `read` tells, and where each entry that can be moved is. Raises `BoundaryDown`."""
        with redis_errors(self.where, "--older"):
            total = int(await self.redis.xlen(EVENTS))
            pending = await self.pending()
            index = _Index()
            done = 0
            async for page in self._pages():
                scores = await self._scores([stream_id for stream_id, _ in page])
                for (stream_id, fields), score in zip(page, scores, strict=True):
                    self._note(index, stream_id, fields, score, pending, include_pending)
                done += len(page)
                if progress is not None:
                    progress(done, max(total, done))
            for entries in index.entries.values():
                entries.sort(key=lambda entry: entry.place)
            reading = OlderReading(
                where=self.where,
                families={name: len(entries) for name, entries in sorted(index.entries.items())},
                unknown=dict(sorted(index.unknown.items())),
                malformed=tuple(index.faults),
                malformed_total=index.fault_count,
                pending=tuple(index.pending),
                pending_total=index.pending_count,
                pauses=await self._pauses(index.entries),
                stray=max(0, int(await self.redis.zcard(PRIORITY)) - index.ordered),
                active=await self._active(),
            )
        return reading, index

    def _note(
        self,
        index: _Index,
        stream_id: str,
        fields: Mapping[bytes, bytes],
        score: float | None,
        pending: Collection[str],
        include_pending: bool,
    ) -> None:
        index.ordered += score is not None
        try:
            row = self.parse(stream_id, fields)
        except _Malformed as error:
            index.fault_count += 1
            if len(index.faults) < LISTED:
                index.faults.append(OlderFault(stream_id, one_line(str(error), 200)))
            return
        if row.family not in self._families:
            index.unknown[row.family] += 1
            return
        if stream_id in pending:
            index.pending_count += 1
            if len(index.pending) < LISTED:
                index.pending.append(stream_id)
            if not include_pending:
                return
        milliseconds, sequence = _parts(stream_id)
        level = int(row.priority)
        fallback = level * 1e12 + milliseconds
        entry = _Entry(level, fallback if score is None else score, milliseconds, sequence)
        index.entries.setdefault(row.family, []).append(entry)

    def parse(self, stream_id: str, fields: Mapping[bytes, bytes]) -> BacklogRow:
        """One entry as a row of ours: its data is the payload, its id follows from its own id and content,
        and it has waited since it was added. Its dedup key stays behind: two that were let in there
        would be one here."""
        try:
            envelope = json.loads(fields[b"payload"].decode("utf-8"))
        except KeyError:
            raise _Malformed("it has no payload") from None
        except UnicodeDecodeError:
            raise _Malformed("its payload is not UTF-8") from None
        except (ValueError, RecursionError):
            raise _Malformed("its payload is not JSON") from None
        if not isinstance(envelope, dict):
            raise _Malformed("its payload is no envelope")
        family = envelope.get("name")
        if not isinstance(family, str) or len(family) > FAMILY_NAME_MAX or not FAMILY_NAME.fullmatch(family):
            raise _Malformed(f"its name is no family's: {family!r}")
        if "data" not in envelope:
            raise _Malformed("its envelope has no data")
        level = fields.get(b"priority", b"").decode("utf-8", "replace").strip() or envelope.get("priority")
        priority = _LEVELS.get(str(level))
        if priority is None:
            raise _Malformed(f"its priority is none of P0 to P3: {level!r}")
        try:
            text = json.dumps(envelope["data"], ensure_ascii=False, separators=(",", ":"))
            payload = parse_payload(text, self._payload_limit)
        except PayloadError as error:
            raise _Malformed(error.message) from None
        except (ValueError, RecursionError):
            raise _Malformed("its data can't be written as JSON") from None
        source = envelope.get("source")
        origin = f"older:{one_line(source, _ORIGIN_MAX - 6)}" if isinstance(source, str) else "older"
        milliseconds, _ = _parts(stream_id)
        return BacklogRow(
            family=family,
            item_id=adopted_id(family, stream_id, fields[b"payload"]),
            state=ItemState.WAITING,
            priority=priority,
            attempt=1,
            enqueued_us=milliseconds * 1000,
            score_us=milliseconds * 1000,
            payload=payload,
            origin=origin,
        )

    async def _pages(self) -> AsyncIterator[list[tuple[str, Mapping[bytes, bytes]]]]:
        start = "-"
        while True:
            page = await self.redis.xrange(EVENTS, min=start, max="+", count=PAGE)
            if not page:
                return
            yield [(stream_id.decode("ascii"), fields or {}) for stream_id, fields in page]
            start = "(" + page[-1][0].decode("ascii")

    async def _scores(self, stream_ids: Sequence[str]) -> list[float | None]:
        return list(await self.redis.zmscore(PRIORITY, list(stream_ids)))

    async def pending(self) -> set[str]:
        """Delivered to the older system's consumers and not acknowledged. Raises `BoundaryDown`."""
        found: set[str] = set()
        start = "-"
        with redis_errors(self.where, "--older"):
            try:
                while True:
                    page = await self.redis.xpending_range(EVENTS, GROUP, min=start, max="+", count=1000)
                    found.update(row["message_id"].decode("ascii") for row in page)
                    if len(page) < 1000:
                        return found
                    start = "(" + page[-1]["message_id"].decode("ascii")
            except ResponseError as error:
                if "NOGROUP" in str(error):
                    return found
                raise

    async def _active(self) -> tuple[str, ...]:
        try:
            consumers = await self.redis.xinfo_consumers(EVENTS, GROUP)
        except ResponseError as error:
            if "NOGROUP" in str(error) or "no such key" in str(error):
                return ()
            raise
        return tuple(
            one_line(row["name"].decode("utf-8", "replace"), 80)
            for row in consumers
            if int(row["idle"]) < ACTIVE_WITHIN_S * 1000
        )

    async def _pauses(self, families: Collection[str]) -> tuple[OlderPause, ...]:
        """Those still in force: an end that has passed is no pause any more."""
        rows: Mapping[bytes, bytes] = await self.redis.hgetall(PAUSES)
        kind = await self.redis.type(PAUSE_ENDS)
        ends: dict[bytes, Any] = {}
        if kind == b"zset":
            ends = dict(await self.redis.zrange(PAUSE_ENDS, 0, -1, withscores=True))
        elif kind == b"hash":
            ends = dict(await self.redis.hgetall(PAUSE_ENDS))
        now = float((await self.redis.time())[0])
        found = []
        for name, text in sorted(rows.items()):
            family = name.decode("utf-8", "replace")
            if family not in families:
                continue
            try:
                document = json.loads(text)
            except (ValueError, RecursionError):
                document = {}  # a pause that can't be read is a pause all the same
            if not isinstance(document, dict):
                document = {}
            until = _instant(ends.get(name), document)
            if until is not None and until <= now:
                continue
            reason = document.get("reason")
            shown = one_line(reason, 400) if isinstance(reason, str) and reason else None
            found.append(OlderPause(family, shown, until))
        return tuple(found)

    async def fetch(self, stream_ids: Sequence[str]) -> dict[str, Mapping[bytes, bytes]]:
        """These entries, those that are gone left out. Raises `BoundaryDown`."""
        pipe = self.redis.pipeline(transaction=False)
        for stream_id in stream_ids:
            pipe.xrange(EVENTS, min=stream_id, max=stream_id)
        with redis_errors(self.where, "--older"):
            replies = await pipe.execute()
        return {
            stream_id: reply[0][1] or {}
            for stream_id, reply in zip(stream_ids, replies, strict=True)
            if reply
        }

    async def remove(self, stream_ids: Sequence[str]) -> None:
        """Acknowledged, deleted and out of the order, all at once. Raises `BoundaryDown`."""
        if not stream_ids:
            return
        pipe = self.redis.pipeline(transaction=True)
        pipe.xack(EVENTS, GROUP, *stream_ids)
        pipe.xdel(EVENTS, *stream_ids)
        pipe.zrem(PRIORITY, *stream_ids)
        with redis_errors(self.where, "--older"):
            await pipe.execute()


class OlderAdopter(LaneStore):
    """Moves the older layout's backlog into this lane."""

    def __init__(
        self,
        redis: Redis,
        url: str,
        lane: str,
        *,
        older: OlderBacklog,
        adopter: Adopter,
        control: QueueControl,
        now_us: int | None = None,
    ) -> None:
        super().__init__(redis, url, lane, now_us=now_us)
        self._older = older
        self._adopter = adopter
        self._control = control

    _HELD = Script("held_by_person")

    async def move(
        self, *, include_pending: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> OlderMoved:
        """Pauses first, then batches: stored here, then removed there. Cut off in between, a second run
        adds nothing twice and finishes. Stop the older system first: what it takes in that moment is
        told in ``delivered``. Entries of unknown families, malformed ones and (unless ``include_pending``)
        those that it was given already stay where they are.

        Raises `Draining`, `Refused` (out of memory), `BoundaryDown`; what was moved by then stays moved.
        """
        reading, index = await self._older.look(include_pending)
        with redis_errors(self.where):
            now = self.now_us
            if now is None:
                seconds, microseconds = await self.redis.time()
                now = int(seconds) * 1_000_000 + int(microseconds)
        for pause in reading.pauses:
            await self._pause(pause, now)
        moved: Counter[str] = Counter()
        known: Counter[str] = Counter()
        delivered: list[str] = []
        total, done, gone, left = sum(reading.families.values()), 0, 0, 0
        for family, entries in index.entries.items():
            order = _Order(now)
            for start in range(0, len(entries), BATCH):
                batch = [entry.stream_id for entry in entries[start : start + BATCH]]
                taken = set() if include_pending else (await self._older.pending()).intersection(batch)
                fetched = await self._older.fetch([entry for entry in batch if entry not in taken])
                rows = [order.place(self._older.parse(entry, fields)) for entry, fields in fetched.items()]
                left += len(taken)
                gone += len(batch) - len(taken) - len(rows)
                if rows:
                    new = await self._adopter.restore(family, rows, "it was adopted")
                    moved[family] += sum(new)
                    known[family] += len(new) - sum(new)
                    late: set[str] = set()
                    if not include_pending:
                        late = (await self._older.pending()).intersection(fetched)
                    delivered += sorted(late)
                    await self._older.remove([entry for entry in fetched if entry not in late])
                done += len(batch)
                if progress is not None:
                    progress(done, total)
        return OlderMoved(
            reading=reading,
            moved=dict(+moved),
            known=dict(+known),
            left=left,
            delivered=tuple(delivered[:LISTED]),
            delivered_total=len(delivered),
            gone=gone,
        )

    async def _pause(self, pause: OlderPause, now: int) -> None:
        """A person's pause that is in force here already stays as it is."""
        with redis_errors(self.where):
            held = await self._HELD(self.redis, self.base(pause.family), self.now)
        for_s = None if pause.until is None else pause.until - now / 1e6
        if held or (for_s is not None and for_s <= 0):
            return
        await self._control.pause(
            pause.family, actor=ADOPTED, kind=PauseKind.PERSON, reason=pause.reason, for_s=for_s
        )


class _Order:
    """Gives rows that come in their order scores that keep it, as near to their own as can be."""

    def __init__(self, now_us: int) -> None:
        self.now = now_us
        self._last: dict[Priority, int] = {}

    def place(self, row: BacklogRow) -> BacklogRow:
        since = min(row.enqueued_us, self.now)
        score = max(since, self._last.get(row.priority, -1) + 1)
        self._last[row.priority] = score
        return replace(row, enqueued_us=since, score_us=score)


def adopted_id(family: str, stream_id: str, payload: bytes) -> str:
    """The id of an entry here: it follows from the entry alone, so that a second run finds what the first
    has stored; its first digits are the instant at which it was added."""
    milliseconds, _ = _parts(stream_id)
    digest = hashlib.blake2b(digest_size=10)
    for part in (EVENTS.encode(), stream_id.encode(), payload):
        digest.update(len(part).to_bytes(8, "big") + part)
    stamp = _digits(min(milliseconds, 2**48 - 1), 10)
    return f"{stamp}{_digits(int.from_bytes(digest.digest(), 'big'), 16)}-{family_tag(family)}"


def _digits(number: int, many: int) -> str:
    digits = ""
    for _ in range(many):
        number, digit = divmod(number, len(_CROCKFORD))
        digits = _CROCKFORD[digit] + digits
    return digits


def _parts(stream_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = stream_id.partition("-")
    return int(milliseconds), int(sequence)


def _instant(end: float | bytes | None, document: Mapping[str, Any]) -> float | None:
    """An end in seconds since the epoch, from whichever form it was kept in."""
    value: Any = end.decode("utf-8", "replace") if isinstance(end, bytes) else end
    if value is None:
        value = next((document[key] for key in _END_KEYS if document.get(key) is not None), None)
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        try:
            return datetime.fromisoformat(str(value)).timestamp()
        except (ValueError, OverflowError):
            return None
    if not math.isfinite(number):
        return None
    return number / 1000 if number > _MILLISECONDS_FROM else number
