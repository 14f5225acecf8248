"""Rows as the scripts keep them, parsed once into the model's types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runtime.model import (
    Diagnosis,
    Failure,
    ItemState,
    Outcome,
    Pause,
    PauseKind,
    PauseMode,
    Priority,
    WorkItem,
)
from runtime.pressure.prelude import UNREADABLE

MICROSECOND = 1e-6


def pack_meta(
    payload: str, *, origin: str, dedup_key: str | None = None, concurrency_key: str | None = None
) -> str:
    """The part of a record that the enqueue script does not write itself."""
    if dedup_key is None and concurrency_key is None and not origin.startswith("{") and "\n" not in origin:
        return f"{origin}\n{payload}"  # what most rows are: short, since a backlog is made of them
    meta = {"o": origin}
    if dedup_key is not None:
        meta["d"] = dedup_key
    if concurrency_key is not None:
        meta["k"] = concurrency_key
    return json.dumps(meta, separators=(",", ":")) + "\n" + payload


def unpack_record(record: str) -> tuple[Priority, int, float, Mapping[str, str | None], str]:
    """``(priority, attempt, enqueued_at, meta, payload)``."""
    priority, attempt, enqueued, rest = record.split(":", 3)
    meta_text, _, payload = rest.partition("\n")
    meta = _meta(meta_text) if meta_text.startswith("{") else {"o": meta_text}
    return Priority(int(priority)), int(attempt), int(enqueued) * MICROSECOND, meta, payload


def _meta(text: str) -> Mapping[str, str | None]:
    try:
        meta = json.loads(text)
    except ValueError:
        meta = None
    return meta if isinstance(meta, dict) else {"o": UNREADABLE}


def unpack_failures(lines: str | None) -> tuple[Failure, ...]:
    if not lines:
        return ()
    return tuple(failure for line in lines.split("\n") if (failure := _failure(line)) is not None)


def _failure(line: str) -> Failure | None:
    """None for a line that is none: a spoilt history keeps no work from going on."""
    try:
        row = json.loads(line)
        return Failure(
            attempt=int(row["attempt"]),
            outcome=Outcome(row["outcome"]),
            message=str(row["message"]),
            at=int(row["at"]) * MICROSECOND,
        )
    except (ValueError, LookupError, TypeError):
        return None


def last_message(lines: str) -> str:
    """That of the last failure alone: a search reads a hundred thousand of them."""
    failure = _failure(lines.rpartition("\n")[2])
    return "" if failure is None else failure.message


def unpack_pause(text: str | None) -> Pause | None:
    if not text:
        return None
    row = json.loads(text)
    return Pause(
        by=row["by"],
        kind=PauseKind(row["kind"]),
        reason=row["reason"],
        since=int(row["since"]) * MICROSECOND,
        until=None if row["until"] is None else int(row["until"]) * MICROSECOND,
        mode=PauseMode(row["mode"]),
        whole_lane=bool(row.get("lane")),
        diagnosis=_unpack_diagnosis(row.get("diagnosis")),
    )


def _unpack_diagnosis(row: Mapping[str, Any] | None) -> Diagnosis | None:
    if row is None:
        return None
    return Diagnosis(
        error=str(row["error"]),
        count=int(row["count"]),
        failures=int(row["failures"]),
        since=int(row["since"]) * MICROSECOND,
        first_item=str(row["first_item"]),
        last_item=str(row["last_item"]),
    )


def unpack_item(
    item_id: str,
    family: str,
    state: ItemState,
    score_us: float,
    record: str,
    *,
    fails: str | None = None,
    lease: str | None = None,
    deaths: int = 0,
) -> WorkItem:
    """A row of any live state. ``score_us`` is its score in that state's own set."""
    try:
        priority, attempt, enqueued_at, meta, payload = unpack_record(record)
    except ValueError:  # shown as it is, until the next claim sets it aside
        priority, attempt, enqueued_at, meta, payload = Priority.P3, 1, 0.0, {"o": UNREADABLE}, record
    at = score_us * MICROSECOND
    return WorkItem(
        item_id=item_id,
        family=family,
        state=state,
        priority=priority,
        attempt=attempt,
        payload=payload,
        enqueued_at=enqueued_at,
        since=enqueued_at if state is ItemState.DELAYED else at,
        due_at=at if state is ItemState.DELAYED else None,
        dedup_key=meta.get("d"),
        origin=meta.get("o"),
        lease_owner=lease.split(":", 2)[2] if lease and lease.count(":") > 1 else None,
        failures=unpack_failures(fails),
        concurrency_key=meta.get("k"),
        deaths=deaths,
    )


def unpack_settled(item_id: str, family: str, score_us: float, done: str) -> WorkItem:
    """A settled row: its payload is gone."""
    priority, attempt, enqueued, outcome = done.split(":", 3)
    return WorkItem(
        item_id=item_id,
        family=family,
        state=ItemState.SUCCEEDED if outcome == "succeeded" else ItemState.DISCARDED,
        priority=Priority(int(priority)),
        attempt=int(attempt),
        payload="",
        enqueued_at=int(enqueued) * MICROSECOND,
        since=score_us * MICROSECOND,
    )
