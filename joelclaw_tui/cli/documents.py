"""Items, runs, receipts and previews as the JSON that ``--json`` prints. Instants are RFC 3339 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from runtime.actions.intents import Preview
from runtime.model import (
    Artifact,
    Failure,
    FrozenPreview,
    ItemPage,
    JournalEntry,
    KeptPreview,
    Receipt,
    RunView,
    WorkItem,
)


def instant(seconds: float | None) -> str | None:
    """Seconds since the epoch as RFC 3339; None for what is unknown or no instant."""
    if seconds is None:
        return None
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def item_document(item: WorkItem) -> dict[str, Any]:
    return {
        "item_id": item.item_id,
        "family": item.family,
        "state": item.state.value,
        "priority": item.priority.name,
        "attempt": item.attempt,
        "run_id": item.run_id,
        "enqueued_at": instant(item.enqueued_at),
        "since": instant(item.since),
        "due_at": instant(item.due_at),
        "dedup_key": item.dedup_key,
        "origin": item.origin,
        "lease_owner": item.lease_owner,
        "failures": [_failure(failure) for failure in item.failures],
        "removed_since": instant(item.removed_since),
        "payload": item.payload,
    }


def page_document(page: ItemPage) -> dict[str, Any]:
    return {
        "items": [item_document(item) for item in page.items],
        "total": page.total,
        "truncated": page.cursor is not None,
        "cursor": page.cursor,
    }


def run_document(run: RunView) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "invocation_id": run.invocation_id,
        "family": run.family,
        "status": run.status.value,
        "outcome": run.outcome.value if run.outcome is not None else None,
        "created_at": instant(run.created_at),
        "modified_at": instant(run.modified_at),
        "completed_at": instant(run.completed_at),
        "tries": run.tries,
        "next_try_at": instant(run.next_try_at),
        "last_failure": run.last_failure,
        "deployment": run.deployment,
        "waits_for": None
        if run.waits_for is None
        else {
            "what": run.waits_for.what,
            "since": instant(run.waits_for.since),
            "limit_s": run.waits_for.limit_s,
            "where": run.waits_for.where,
        },
    }


def journal_document(entry: JournalEntry) -> dict[str, Any]:
    return {
        "index": entry.index,
        "kind": entry.kind,
        "name": entry.name,
        "at": instant(entry.at),
        "detail": entry.detail,
    }


def receipt_document(receipt: Receipt) -> dict[str, Any]:
    return {
        "receipt_id": receipt.receipt_id,
        "at": instant(receipt.at),
        "actor": receipt.actor,
        "origin": receipt.origin,
        "lane": receipt.lane,
        "action": receipt.action,
        "summary": receipt.summary,
        "reason": receipt.reason,
        "results": [
            {
                "target": result.target,
                "outcome": result.outcome.value,
                "detail": result.detail,
                "code": result.code,
            }
            for result in receipt.results
        ],
        "results_total": receipt.results_total,
        "warning": receipt.warning,
        "partial": receipt.partial,
    }


def preview_document(preview: Preview) -> dict[str, Any]:
    frozen = {} if preview.bulk is None else frozen_document(preview.bulk) | {"kept": preview.kept}
    return frozen | {
        "preview_id": preview.preview_id,
        "action": preview.intent.action,
        "title": preview.title,
        "target": preview.target,
        "ids": list(preview.ids),
        "matching": preview.matching,
        "lines": list(preview.lines),
        "warnings": list(preview.warnings),
        "destructive": preview.destructive,
        "created_at": instant(preview.created_at),
    }


def frozen_document(frozen: FrozenPreview) -> dict[str, Any]:
    """A bulk action's preview without its ids."""
    order = frozen.order
    return {
        "preview_id": frozen.preview_id,
        "action": order.verb.value,
        "title": frozen.title,
        "target": frozen.target.shown,
        "total": frozen.total,
        "matching": frozen.matching,
        "counts": [
            {"family": family, "state": state.value, "matching": many}
            for (family, state), many in frozen.counts.items()
        ],
        "touched": dict(frozen.touched),
        "rate_per_s": order.rate_per_s,
        "batches": frozen.batches,
        "export_to": frozen.export_to,
        "lines": list(frozen.lines),
        "warnings": list(frozen.warnings),
        "destructive": frozen.destructive,
        "created_at": instant(frozen.created_at),
        "expires_at": instant(frozen.expires_at),
    }


def kept_document(kept: KeptPreview, now: float) -> dict[str, Any]:
    return frozen_document(kept.preview) | {
        "state": kept.state(now).value,
        "actor": kept.preview.order.actor,
        "reason": kept.preview.order.reason,
        "begun_at": instant(kept.begun_at),
        "begun_by": kept.begun_by,
        "batches_done": kept.batches_done,
        "tally": {result.value: many for result, many in kept.tally.items()},
        "receipt_id": None if kept.receipt is None else kept.receipt.receipt_id,
    }


def artifact_document(artifact: Artifact) -> dict[str, Any]:
    decision = artifact.decision
    return {
        "artifact_id": artifact.artifact_id,
        "run_id": artifact.run_id,
        "family": artifact.family,
        "repo": artifact.repo,
        "base": artifact.base,
        "base_sha": artifact.base_sha,
        "commit": artifact.commit,
        "tree_sha": artifact.tree_sha,
        "files": artifact.files,
        "insertions": artifact.insertions,
        "deletions": artifact.deletions,
        "paths": list(artifact.paths),
        "left_out": list(artifact.left_out),
        "verified": artifact.verified.value,
        "verify": [
            {
                "command": list(step.command),
                "exit_code": step.exit_code,
                "duration_s": step.duration_s,
                "log": step.log,
            }
            for step in artifact.verify
        ],
        "agent_exit": artifact.agent_exit,
        "failure": artifact.failure,
        "limits": dict(artifact.limits),
        "isolation": artifact.isolation,
        "host": artifact.host,
        "created_at": instant(artifact.created_at),
        "names": list(artifact.names),
        "promotion": artifact.promotion.value,
        "decision": None
        if decision is None
        else {
            "outcome": decision.outcome.value,
            "at": instant(decision.at),
            "actor": decision.actor,
            "reason": decision.reason,
            "branch": decision.branch,
            "commit": decision.commit,
        },
    }


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "attempt": failure.attempt,
        "outcome": failure.outcome.value,
        "message": failure.message,
        "at": instant(failure.at),
    }
