"""Many items in one request: ``Content-Type: application/x-ndjson``, each line an item with its own answer."""

from __future__ import annotations

import io
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from runtime.common.ndjson import Line, line_key, read_lines
from runtime.gateway.answers import answer, retry_after, told_of
from runtime.model import (
    AckNotKept,
    Enqueued,
    Offer,
    OperatorError,
    PayloadTooLarge,
    Priority,
    UsageError,
)

BULK_BODY_MOST = 16 * 1024 * 1024
BULK_LINES_MOST = 10_000
BULK_KEY_MOST = 400
"""Characters of an idempotency key that each line's own is made of."""
_COME_AGAIN = frozenset({429, 503})
TYPES = frozenset({"application/x-ndjson", "application/jsonl", "application/x-jsonlines"})


def is_bulk(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0]
    return kind.strip().lower() in TYPES


def bulk_lines(body: bytes, *, limit: int) -> list[Line]:
    """``limit`` in bytes a line. Raises `UsageError` for none or too many."""
    lines: list[Line] = []
    for line in read_lines(io.BytesIO(body), limit=limit):
        if len(lines) == BULK_LINES_MOST:
            raise UsageError(
                f"more than {BULK_LINES_MOST:,} items in one request", fix="send them in several"
            )
        lines.append(line)
    if not lines:
        raise UsageError("the body has no lines", fix="send one JSON value a line")
    return lines


def bulk_offers(
    lines: Sequence[Line], *, priority: Priority | None, delay_s: float, dedup_key: str | None
) -> list[Offer]:
    """With an idempotency key each line has its own, of its place and content: a request that is sent
    again adds nothing twice. Lines that are too long are left out. Raises `UsageError`."""
    if dedup_key is not None and not 1 <= len(dedup_key) <= BULK_KEY_MOST:
        raise UsageError(
            f"an idempotency key of {len(dedup_key)} characters for many items",
            fix=f"use 1 to {BULK_KEY_MOST} characters",
        )
    return [
        Offer(line.content, priority, delay_s, None if dedup_key is None else line_key(dedup_key, line))
        for line in lines
        if not line.too_long
    ]


def bulk_answer(
    family: str, lines: Sequence[Line], results: Sequence[Enqueued | OperatorError], *, limit: int
) -> Response:
    """``results`` are of the lines that are not too long.

    202 when all of them are in the queue; 207 when some are not; when none is, the status that each of
    them would have had; where they differ one that says to come again, else 400. ``Retry-After`` is the longest of theirs.
    """
    given = iter(results)
    told = [(line, _too_long(limit) if line.too_long else next(given)) for line in lines]
    errors = [result for _, result in told if isinstance(result, OperatorError)]
    rows = [_row(line, result) for line, result in told]
    stored = [row for row in rows if "item_id" in row]
    document = {
        "family": family,
        "items": len(rows),
        "stored": sum(not row["duplicate"] for row in stored),
        "duplicates": sum(bool(row["duplicate"]) for row in stored),
        "refused": len(rows) - len(stored),
        "results": rows,
    }
    waits = [int(retry_after(error).get("Retry-After", 0)) for error in errors]
    headers = {"Retry-After": str(max(waits))} if any(waits) else {}
    return answer(document, _status(len(told), errors), headers)


def _status(items: int, errors: Sequence[OperatorError]) -> int:
    if not errors:
        return 202
    statuses = {error.http_status for error in errors}
    if len(errors) < items or (len(statuses) > 1 and AckNotKept.http_status in statuses):
        return 207  # some are in the queue
    if len(statuses) == 1:
        return statuses.pop()
    return max(statuses & _COME_AGAIN, default=400)


def _too_long(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the line has more than {limit:,} bytes",
        fix="send a reference to the data instead, or raise payload_limit in the settings",
    )


def _row(line: Line, result: Enqueued | OperatorError) -> dict[str, object]:
    if isinstance(result, Enqueued):
        return {"line": line.number, "item_id": result.item_id, "duplicate": result.duplicate}
    row: dict[str, object] = {"line": line.number, **told_of(result)}
    if isinstance(result, AckNotKept) and result.enqueued is not None:
        row |= {"item_id": result.enqueued.item_id, "duplicate": result.enqueued.duplicate}
    return row
