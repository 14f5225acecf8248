"""The backlog to JSON lines, and back: exactly, in pages, adding nothing twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from runtime.common.text import one_line
from runtime.model import (
    Draining,
    ItemState,
    Priority,
    SelectedItem,
    Selection,
    UnknownFamily,
    family_tag,
)
from runtime.pressure.backlog_file import BacklogFile, BacklogHeader, BacklogRow, BadLine, LineWriter
from runtime.pressure.dispatch import MESSAGE_LIMIT
from runtime.pressure.keys import dedup_suffix, families_key
from runtime.pressure.lane_store import LaneStore
from runtime.pressure.prelude import FAILURES_KEPT
from runtime.pressure.records import pack_meta
from runtime.pressure.scopes import SELECTABLE
from runtime.pressure.script import Script, ScriptCall
from runtime.pressure.selecting import Selector
from runtime.redis_client.connection import Redis, redis_errors

BATCH = 200
"""Items a script call."""
_READ_BYTES = 4_000_000
"""A call ends early after so many bytes of records."""
_BUSY = frozenset({ItemState.LEASED, ItemState.ADMITTING, ItemState.IN_FLIGHT})
_STATE_OF = {
    "w": ItemState.WAITING,
    "q": ItemState.WAITING,
    "d": ItemState.DELAYED,
    "xw": ItemState.WAITING,  # a removed family's: whoever brings it in has declared the family again
    "xd": ItemState.DELAYED,
    "leased": ItemState.LEASED,
    "admitting": ItemState.ADMITTING,
    "flight": ItemState.IN_FLIGHT,
    "dead": ItemState.DEAD,
    "quarantined": ItemState.QUARANTINED,
}


class Exporter(LaneStore):
    """Reads rows; changes nothing. A row that moves while it is read is told once, as it was then."""

    def __init__(self, redis: Redis, url: str, lane: str, *, now_us: int | None = None) -> None:
        super().__init__(redis, url, lane, now_us=now_us)
        self._url = url

    _ROWS = Script("export_rows", READ_BYTES=_READ_BYTES)

    _WINDOWS = Script("export_windows")

    async def lines(
        self,
        families: Sequence[str],
        *,
        selection: Selection | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> AsyncIterator[str]:
        """The lines of a backlog file: all that is stored of ``families``, or what a selection finds there.

        Raises as `Selector.select`.
        """
        meant = Selection(SELECTABLE) if selection is None else selection
        writer = await self._writer()
        yield writer.first()
        selector = Selector(self.redis, self._url, self.lane, now_us=self.now_us)
        for family in families:
            seen: set[str] = set()
            if meant.ids is not None:
                chosen = await selector.select(meant, [family], ceiling=len(meant.ids))
                pages = _once(chosen.items.get(family, ()))
            else:
                pages = selector.walk(meant, family, seen=seen)
            async for page in pages:
                async for row in self._exact(family, [item.item_id for item in page]):
                    yield writer.row(row)
                if progress is not None:
                    progress(writer.rows, writer.rows)
        yield writer.last()

    async def lines_of(
        self, batches: AsyncIterable[tuple[str, Sequence[SelectedItem]]]
    ) -> AsyncIterator[str]:
        """The lines of a backlog file of just these items (family, items), those that are gone left out: what a frozen
        preview is exported with before it is discarded. Raises `BoundaryDown`."""
        writer = await self._writer()
        yield writer.first()
        async for family, chosen in batches:
            async for row in self._exact(family, [item.item_id for item in chosen]):
                yield writer.row(row)
        yield writer.last()

    async def _writer(self) -> LineWriter:
        with redis_errors(self.where):
            info: Any = await self.redis.info("server")
            seconds = self.now_us / 1e6 if self.now_us is not None else (await self.redis.time())[0]
        name = "valkey" if "valkey_version" in info else "redis"
        server = f"{name} {info.get(f'{name}_version', 'unknown')} {info.get('run_id', 'unknown')}"
        when = datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return LineWriter(BacklogHeader(self.lane, server, when))

    async def _exact(self, family: str, ids: Sequence[str]) -> AsyncIterator[BacklogRow]:
        at = 0
        while at < len(ids):
            batch = ids[at : at + BATCH]
            with redis_errors(self.where):
                replies = await self._ROWS(self.redis, self.base(family), *batch)
                rows = [
                    _row(family, item_id, reply)
                    for item_id, reply in zip(batch, replies, strict=False)
                    if reply
                ]
                keyed = [row for row in rows if row.dedup_key is not None]
                pairs = [part for row in keyed for part in (dedup_suffix(row.dedup_key or ""), row.item_id)]
                ends = await self._WINDOWS(self.redis, self.base(family), self.now, *pairs) if keyed else []
            until = {row.item_id: int(end) for row, end in zip(keyed, ends, strict=True) if end}
            for row in rows:
                yield replace(row, dedup_until_ms=until.get(row.item_id))
            at += max(1, len(replies))


async def _once(items: Sequence[SelectedItem]) -> AsyncIterator[list[SelectedItem]]:
    yield list(items)


def _row(family: str, item_id: str, reply: Sequence[Any]) -> BacklogRow:
    place, score, record, fails, deaths = reply
    priority, attempt, enqueued, rest = record.split(":", 3)
    meta_text, _, payload = rest.partition("\n")
    meta = json.loads(meta_text) if meta_text.startswith("{") else {"o": meta_text}
    failures = [json.loads(line) for line in fails.split("\n")] if fails else []
    return BacklogRow(
        family=family,
        item_id=item_id,
        state=_STATE_OF[place],
        priority=Priority(int(priority)),
        attempt=int(attempt),
        enqueued_us=int(enqueued),
        score_us=round(float(score)),
        payload=payload,
        origin=str(meta.get("o") or ""),
        dedup_key=meta.get("d"),
        concurrency_key=meta.get("k"),
        failures=tuple(
            (int(one["attempt"]), str(one["outcome"]), str(one["message"]), int(one["at"]))
            for one in failures
        ),
        deaths=int(deaths or 0),
    )


@dataclass(frozen=True, slots=True)
class Adopted:
    """What a file brought, or would bring."""

    header: BacklogHeader
    added: Mapping[str, int]
    """By family."""
    present: Mapping[str, int] = field(default_factory=dict)
    """Rows that the lane has, or had and has settled: nothing changed."""
    quarantined: int = 0
    """Of those added: they were being run when they were exported."""


class Adopter(LaneStore):
    """Brings a backlog file in. ``families``: those that the lane declares."""

    def __init__(
        self,
        redis: Redis,
        url: str,
        lane: str,
        *,
        families: Collection[str],
        payload_limit: int,
        now_us: int | None = None,
    ) -> None:
        super().__init__(redis, url, lane, now_us=now_us)
        self._families = families
        self._payload_limit = payload_limit

    _NEW = Script("export_new")

    _RESTORE = Script("import_rows")

    async def adopt(
        self, path: Path, *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> Adopted:
        """Restores the rows of a whole and valid file: same ids, order, attempts, failures. The file is
        checked to its end before anything is stored; a second run adds nothing twice, and finishes one
        that was cut off. Rows that were leased, admitting or in flight come as quarantined: they may have
        run, and are never run again without a person.

        Raises `BadLine`, `UnknownFamily`, `Draining`, `Refused` (out of memory), `BoundaryDown`.
        """
        file = BacklogFile(path, payload_limit=self._payload_limit)
        total = self._checked(file)
        header = file.header
        assert header is not None  # noqa: S101 - a checked file has one
        added: Counter[str] = Counter()
        present: Counter[str] = Counter()
        aside = done = 0
        for batch in _batches(file):
            family = batch[0].family
            results = await (
                self.new(family, [row.item_id for row in batch])
                if dry_run
                else self.restore(family, batch, f"{header.lane} was exported at {header.exported_at}")
            )
            for row, new in zip(batch, results, strict=True):
                (added if new else present)[family] += 1
                aside += new and row.state in _BUSY
            done += len(batch)
            if progress is not None:
                progress(done, total)
        return Adopted(header, dict(added), dict(present), aside)

    def _checked(self, file: BacklogFile) -> int:
        seen: set[str] = set()
        for number, row in file.rows():
            if row.family not in self._families:
                raise UnknownFamily(
                    f"line {number}: the lane file declares no family {one_line(row.family)!r}; nothing was stored",
                    fix="declare it, or export the other families only",
                )
            if row.item_id in seen:
                raise BadLine(
                    f"line {number}: {row.item_id} comes twice; nothing was stored", fix="export it again"
                )
            seen.add(row.item_id)
        return len(seen)

    async def new(self, family: str, ids: Sequence[str]) -> list[bool]:
        """Which of these would be new here. At most `BATCH`. Raises `BoundaryDown`."""
        with redis_errors(self.where):
            return [bool(new) for new in await self._NEW(self.redis, self.base(family), *ids)]

    async def restore(self, family: str, batch: Sequence[BacklogRow], when: str) -> list[bool]:
        """Stores at most `BATCH` rows of one family, each unless the lane has it or had it: True for those
        that are new. ``when``: of rows that are set aside, since they were being run then.

        Raises `Draining`, `Refused` (out of memory), `BoundaryDown`: then nothing was stored.
        """
        arguments: list[str | int | float] = [self.now, self.wake]
        for row in batch:
            arguments += _arguments(row, when)
        with redis_errors(self.where):
            await self.redis.hsetnx(families_key(self.lane), family_tag(family), family)
            (reply,) = await self._RESTORE.many(self.redis, [ScriptCall(self.base(family), tuple(arguments))])
            if isinstance(reply, RedisError):
                raise reply
        if reply == "draining":
            raise Draining(
                f"{family} takes nothing in: it runs dry on purpose", fix="resume it first, then adopt again"
            )
        return [bool(new) for new in reply]


def _arguments(row: BacklogRow, when: str) -> tuple[str | int | float, ...]:
    meta = pack_meta(
        row.payload, origin=row.origin, dedup_key=row.dedup_key, concurrency_key=row.concurrency_key
    )
    failures = [
        {"attempt": attempt, "outcome": outcome, "message": message, "at": str(at)}
        for attempt, outcome, message, at in row.failures
    ]
    score: str | int = row.score_us
    if row.state in _BUSY:
        score = ""
        message = f"was {row.state.value} when {when}: whether it has run is not known here"
        at = row.score_us if row.state is ItemState.IN_FLIGHT else row.enqueued_us
        failures.append(
            {
                "attempt": row.attempt,
                "outcome": "failed",
                "message": message[:MESSAGE_LIMIT],
                "at": str(at),
            }
        )
        name = "quarantined"
    elif row.state is ItemState.WAITING:
        name = f"w{int(row.priority)}"
    elif row.state is ItemState.DELAYED:
        name = f"d{int(row.priority)}"
    else:
        name = row.state.value
    lines = "\n".join(
        json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in failures[-FAILURES_KEPT:]
    )
    return (
        row.item_id,
        name,
        score,
        f"{int(row.priority)}:{row.attempt}:{row.enqueued_us}:{meta}",
        lines,
        row.deaths,
        dedup_suffix(row.dedup_key) if row.dedup_key is not None and row.dedup_until_ms else "",
        row.dedup_until_ms or 0,
    )


def _batches(file: BacklogFile) -> Iterator[list[BacklogRow]]:
    batch: list[BacklogRow] = []
    size = 0
    for _, row in file.rows():
        if batch and (row.family != batch[0].family or len(batch) == BATCH or size > _READ_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += len(row.payload)
    if batch:
        yield batch
