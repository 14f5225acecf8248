"""From a draft of an action on the backlog to what is kept of it."""

from __future__ import annotations

from runtime.actions.draft import Draft, DraftedBatches
from runtime.model import BULK_BATCH, FrozenBatch, FrozenPreview


def frozen(
    draft: Draft,
    items: DraftedBatches,
    *,
    preview_id: str,
    warnings: tuple[str, ...],
    now: float,
    keep_s: float,
) -> tuple[FrozenPreview, list[FrozenBatch]]:
    """``warnings``: those of the draft, and what else is to be known."""
    batches = [
        FrozenBatch(family, tuple(found[start : start + BULK_BATCH]))
        for family, found in items.selected.items.items()
        for start in range(0, len(found), BULK_BATCH)
    ]
    preview = FrozenPreview(
        preview_id=preview_id,
        order=items.order,
        title=draft.title,
        lines=draft.lines,
        warnings=warnings,
        target=items.target,
        created_at=now,
        expires_at=now + keep_s,
        counts={key: many for key, many in items.selected.counts.items() if many},
        touched=items.touched,
        batches=len(batches),
        destructive=draft.destructive,
        export_to=items.export_to,
    )
    return preview, batches
