"""The backlog as JSON lines: what one row says, written exactly and read with suspicion.

The first line is a header, the last a trailer with the count and a digest of all before it,
so that a file that was cut or edited is told from a whole one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from runtime.common.payload import parse_payload
from runtime.common.text import one_line
from runtime.model import (
    ItemState,
    NotFound,
    Outcome,
    PayloadError,
    Priority,
    UsageError,
    family_tag,
    tag_of,
)
from runtime.model.names import FAMILY_NAME, FAMILY_NAME_MAX
from runtime.pressure.dispatch import MESSAGE_LIMIT
from runtime.pressure.prelude import FAILURES_KEPT
from runtime.pressure.scopes import SELECTABLE

SCHEMA = "joelclaw.backlog/1"
_KEY_MAX = 512
_ORIGIN_MAX = 200
_BEYOND_PAYLOAD = 256 * 1024
"""Characters of a line that are not its payload: ten failures of a thousand each, escaped."""
_INSTANT_MAX = 2**53 - 1
_HEADER_MAX = 100_000
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_OUTCOMES = {outcome.value for outcome in Outcome}


@dataclass(frozen=True, slots=True)
class BacklogRow:
    """One stored item, exactly. Times in microseconds since the epoch, by the server's clock."""

    family: str
    item_id: str
    state: ItemState
    priority: Priority
    attempt: int
    enqueued_us: int
    score_us: int
    """Its place in its state: since when it is runnable, when it is due, when it died ..."""
    payload: str
    origin: str
    dedup_key: str | None = None
    dedup_until_ms: int | None = None
    """When its dedup window ends; None: it has none, or another item's."""
    concurrency_key: str | None = None
    failures: tuple[tuple[int, str, str, int], ...] = ()
    """Attempt, outcome, message, microseconds; oldest first."""
    deaths: int = 0


@dataclass(slots=True)
class BacklogHeader:
    """Where and when a file was written."""

    lane: str
    server: str
    exported_at: str


@dataclass(slots=True)
class LineWriter:
    """Makes the lines of one file, in their order."""

    header: BacklogHeader
    rows: int = 0
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    _digest: Any = field(default_factory=hashlib.sha256)

    def first(self) -> str:
        return self._line(
            {
                "schema": SCHEMA,
                "lane": self.header.lane,
                "server": self.header.server,
                "exported_at": self.header.exported_at,
            }
        )

    def row(self, row: BacklogRow) -> str:
        by_state = self.counts.setdefault(row.family, {})
        by_state[row.state] = by_state.get(row.state, 0) + 1
        self.rows += 1
        return self._line(
            {
                "family": row.family,
                "id": row.item_id,
                "state": row.state.value,
                "priority": row.priority.name,
                "attempt": row.attempt,
                "enqueued_us": row.enqueued_us,
                "score_us": row.score_us,
                "due_us": row.score_us if row.state is ItemState.DELAYED else None,
                "dedup_key": row.dedup_key,
                "dedup_until_ms": row.dedup_until_ms,
                "origin": row.origin,
                "concurrency_key": row.concurrency_key,
                "deaths": row.deaths,
                "failures": [
                    {"attempt": attempt, "outcome": outcome, "message": message, "at_us": at}
                    for attempt, outcome, message, at in row.failures
                ],
                "payload": row.payload,
            }
        )

    def last(self) -> str:
        end = {"end": SCHEMA, "rows": self.rows, "counts": self.counts, "sha256": self._digest.hexdigest()}
        return json.dumps(end, ensure_ascii=False, separators=(",", ":")) + "\n"

    def _line(self, document: Mapping[str, Any]) -> str:
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"
        self._digest.update(text.encode("utf-8", "surrogatepass"))
        return text


class BadLine(UsageError):
    """A backlog file that can't be used; the message has the line and the reason."""

    code = "bad-backlog-file"


class BacklogFile:
    """Reads one file, strictly. Reading to the end proves that it is whole."""

    def __init__(self, path: Path, *, payload_limit: int) -> None:
        self._path = path
        self._payload_limit = payload_limit
        self.header: BacklogHeader | None = None

    def rows(self) -> Iterator[tuple[int, BacklogRow]]:
        """``(line number, row)``. Raises `BadLine`, also at the end of a file that was cut."""
        if self._path.exists() and not self._path.is_file():
            raise BadLine(
                f"{one_line(str(self._path))} is no regular file, and it is read twice",
                fix="name a file that `queue export` wrote",
            )
        try:
            with self._path.open("rb") as file:
                yield from self._read(file)
        except OSError as error:
            raise BadLine(
                f"{one_line(str(self._path))}: {error.strerror or error}", fix="name a file that can be read"
            ) from None

    def _read(self, file: BinaryIO) -> Iterator[tuple[int, BacklogRow]]:
        digest = hashlib.sha256()
        first = self._next(file, 1, _HEADER_MAX)
        self.header = self._header(self._document(first, 1))
        digest.update(first)
        limit = 6 * self._payload_limit + _BEYOND_PAYLOAD
        counts: dict[str, dict[str, int]] = {}
        number = 1
        while True:
            number += 1
            line = self._next(file, number, limit)
            document = self._document(line, number)
            if "end" in document:
                self._trailer(document, number, number - 2, counts, digest.hexdigest())
                if file.read(1):
                    self._bad(number + 1, "there is more behind the end")
                return
            digest.update(line)
            row = self._row(document, number)
            by_state = counts.setdefault(row.family, {})
            by_state[row.state.value] = by_state.get(row.state.value, 0) + 1
            yield number, row

    def _bad(self, number: int, why: str) -> NoReturn:
        raise BadLine(
            f"{one_line(self._path.name)}, line {number}: {one_line(why, 300)}; nothing was stored",
            fix="export it again; a backlog file is never edited",
        )

    def _next(self, file: BinaryIO, number: int, limit: int) -> bytes:
        line = file.readline(limit + 1)
        if len(line) > limit:
            self._bad(number, f"longer than {limit:,} bytes")
        if not line:
            self._bad(number, "the file ends before its end: it was cut off")
        if not line.endswith(b"\n"):
            self._bad(number, "the line was cut off")
        return line

    def _document(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            document = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError:
            self._bad(number, "not UTF-8")
        except (ValueError, RecursionError):
            self._bad(number, "not JSON")
        if not isinstance(document, dict):
            self._bad(number, "not an object")
        return document

    def _header(self, document: Mapping[str, Any]) -> BacklogHeader:
        if document.get("schema") != SCHEMA:
            self._bad(1, f"not a {SCHEMA} file")
        texts = [document.get(name) for name in ("lane", "server", "exported_at")]
        if not all(isinstance(text, str) and len(text) <= 200 for text in texts):
            self._bad(1, "lane, server and exported_at are missing")
        lane, server, exported_at = (one_line(str(text)) for text in texts)
        return BacklogHeader(lane, server, exported_at)

    def _trailer(
        self,
        document: Mapping[str, Any],
        number: int,
        rows: int,
        counts: Mapping[str, Mapping[str, int]],
        digest: str,
    ) -> None:
        if document.get("end") != SCHEMA:
            self._bad(number, "not the end of such a file")
        if document.get("rows") != rows or document.get("counts") != counts:
            self._bad(number, f"the end speaks of other rows than the {rows:,} that were there")
        if document.get("sha256") != digest:
            self._bad(number, "the digest differs: something was changed")

    def _row(self, document: Mapping[str, Any], number: int) -> BacklogRow:
        def whole(name: str, low: int, high: int, source: Mapping[str, Any] = document) -> int:
            value = source.get(name)
            if type(value) is not int or not low <= value <= high:
                self._bad(number, f"{name} is no whole number from {low} to {high}")
            return value

        def text(name: str, low: int, high: int, source: Mapping[str, Any] = document) -> str:
            value = source.get(name)
            if not isinstance(value, str) or not low <= len(value) <= high or _SURROGATE.search(value):
                self._bad(number, f"{name} is no text of {low} to {high} characters")
            return value

        def text_or_none(name: str) -> str | None:
            return None if document.get(name) is None else text(name, 1, _KEY_MAX)

        family = text("family", 1, FAMILY_NAME_MAX)
        if not FAMILY_NAME.fullmatch(family):
            self._bad(number, f"{family!r} is no family's name")
        item_id = text("id", 1, 100)
        try:
            if tag_of(item_id) != family_tag(family):
                self._bad(number, f"{item_id} is not an id of {family}")
        except NotFound as error:
            self._bad(number, error.message)
        states = {state.value: state for state in SELECTABLE}
        state = states.get(text("state", 1, 20))
        if state is None:
            self._bad(number, "state is none of a stored item")
        levels = {level.name: level for level in Priority}
        level = levels.get(text("priority", 1, 10))
        if level is None:
            self._bad(number, "priority is none of P0 to P3")
        score = whole("score_us", 0, _INSTANT_MAX)
        due = document.get("due_us")
        if due != (score if state is ItemState.DELAYED else None):
            self._bad(number, "due_us and score_us differ")
        failures = document.get("failures")
        if not isinstance(failures, list) or len(failures) > FAILURES_KEPT + 1:
            self._bad(number, "failures is no list of at most ten")
        told = []
        for failure in failures:
            if not isinstance(failure, dict) or failure.get("outcome") not in _OUTCOMES:
                self._bad(number, "a failure without an outcome")
            told.append(
                (
                    whole("attempt", 1, 999_999_999, failure),
                    str(failure["outcome"]),
                    text("message", 0, MESSAGE_LIMIT, failure),
                    whole("at_us", 0, _INSTANT_MAX, failure),
                )
            )
        payload = text("payload", 1, 2**31)
        try:
            if parse_payload(payload, self._payload_limit) != payload:
                self._bad(number, "white space around the payload")
        except PayloadError as error:
            self._bad(number, error.message)
        until = document.get("dedup_until_ms")
        origin = text("origin", 0, _ORIGIN_MAX)
        return BacklogRow(
            family=family,
            item_id=item_id,
            state=state,
            priority=level,
            attempt=whole("attempt", 1, 999_999_999),
            enqueued_us=whole("enqueued_us", 0, _INSTANT_MAX),
            score_us=score,
            payload=payload,
            origin=origin,
            dedup_key=text_or_none("dedup_key"),
            dedup_until_ms=None if until is None else whole("dedup_until_ms", 0, _INSTANT_MAX),
            concurrency_key=text_or_none("concurrency_key"),
            failures=tuple(told),
            deaths=whole("deaths", 0, 1_000_000),
        )
