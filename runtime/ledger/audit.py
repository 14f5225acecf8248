"""The audit trail: every action's receipt, in the lane's Redis and in a local file.

Two places, so that an action taken while Redis is down is on record all the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.common.stored import Document, UnreadableDocument
from runtime.common.text import one_line, without_credentials
from runtime.ledger.keys import lane_key
from runtime.model import OperatorError, Receipt
from runtime.redis_client.connection import Redis, redis_errors

AUDIT_KEPT = 10_000
"""Receipts kept in Redis, about; the local file keeps all."""
_TAIL_BYTES = 1024 * 1024
RECEIPT = Document("a receipt", Receipt)


class Audit:
    def __init__(self, redis: Redis, url: str, lane: str, folder: Path) -> None:
        self._redis = redis
        self._where = without_credentials(url)
        self._key = lane_key(lane, "audit")
        self._file = folder / f"audit-{lane}.jsonl"

    async def record(self, receipt: Receipt) -> str | None:
        """See `runtime.model.AuditTrail.record`."""
        document = receipt_document(receipt)
        file_error = redis_error = None
        try:
            await asyncio.to_thread(_append, self._file, document)
        except OSError as error:
            file_error = f"{self._file}: {error.strerror}"
        try:
            with redis_errors(self._where):
                await self._redis.xadd(self._key, {"receipt": document}, maxlen=AUDIT_KEPT, approximate=True)
        except OperatorError as error:
            redis_error = error.message
        if file_error and redis_error:
            raise OperatorError(
                f"the receipt of {receipt.action!r} could not be written: {file_error}; {redis_error}",
                fix="note what was done, then mend the state folder and Redis",
                code="receipt-lost",
            )
        problem = file_error or redis_error
        return f"receipt kept in one place only: {problem}" if problem else None

    async def recent(self, limit: int = 100) -> Sequence[Receipt]:
        """Newest first, of both places: what was done while Redis was down is in the local file only.

        Raises `BoundaryDown` when Redis can't be read, `OperatorError` when the file can't, and the other has
        nothing.
        """
        unreadable: OperatorError | None = None
        documents: list[str] = []
        try:
            with redis_errors(self._where):
                rows: Any = await self._redis.xrevrange(self._key, count=limit)
            documents = [fields.get("receipt", "") for _, fields in rows]
        except OperatorError as error:
            unreadable = error
        try:
            documents += await asyncio.to_thread(_tail, self._file, limit)
        except FileNotFoundError:
            pass  # no action was taken from here yet
        except OSError as error:
            unreadable = unreadable or OperatorError(
                f"{self._file} can't be read: {error.strerror or error}", fix="correct its rights"
            )
        if unreadable is not None and not documents:
            raise unreadable
        found: dict[str, Receipt] = {}
        for receipt in map(receipt_of, documents):
            found.setdefault(receipt.receipt_id, receipt)
        return sorted(found.values(), key=lambda receipt: receipt.at, reverse=True)[:limit]


def _append(path: Path, document: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "rb+", buffering=0) as file:
        # A line that a full disk cut short must not swallow this one.
        cut = file.seek(0, os.SEEK_END) > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n"
        rest = memoryview((b"\n" if cut else b"") + document.encode() + b"\n")
        while rest:  # a write that finds room for a part only says so, and the next one fails
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())


def _tail(path: Path, limit: int) -> list[str]:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return lines[::-1][:limit]


def receipt_document(receipt: Receipt) -> str:
    """On one line, as it is kept."""
    return RECEIPT.text(receipt)


def receipt_of(document: str) -> Receipt:
    """What `receipt_document` wrote; for anything else a receipt that says that it is unreadable, and why."""
    try:
        return RECEIPT.read(document, "the audit trail")
    except UnreadableDocument as error:
        # Each by itself, and the same one in both places once.
        digest = hashlib.sha256(document.encode("utf-8", "replace")).hexdigest()
        return Receipt(
            receipt_id=f"unreadable-{digest[:12]}",
            at=0.0,
            actor="unknown",
            origin="unknown",
            lane="",
            action="unreadable",
            summary=one_line(document, 120),
            reason=error.message,
            results=(),
            results_total=0,
        )
