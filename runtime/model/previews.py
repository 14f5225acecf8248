"""A frozen preview of a bulk action, as it is kept: what was shown, what it would touch, how far it has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from .ledger import Receipt
from .pressure import BulkOrder, BulkResult, ItemState, SelectedItem


class PreviewState(StrEnum):
    READY = "ready"
    """Shown, and nothing done."""
    APPLYING = "applying"
    """Begun, and not at its end: somebody is at it, or was interrupted."""
    DONE = "done"
    EXPIRED = "expired"
    """Too old to be applied."""


@dataclass(frozen=True, slots=True)
class PreviewTarget:
    """Where it was previewed. Applied elsewhere it is refused."""

    lane: str
    lane_sha256: str
    """Of the lane file's text: what is declared."""
    server_run_ids: tuple[str, ...]
    """Of the Redis: one start of one server each. A cluster is the same while one of them is left."""
    shown: str
    """The same in words."""


@dataclass(frozen=True, slots=True)
class FrozenPreview:
    """What was shown. The items that it touches are in its batches."""

    preview_id: str
    order: BulkOrder
    """``actor``: who asked for the preview."""
    title: str
    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    target: PreviewTarget
    created_at: float
    expires_at: float
    counts: Mapping[tuple[str, ItemState], int]
    """How many matched by family and state, those that were cut included."""
    touched: Mapping[str, int]
    """How many it touches, by family."""
    batches: int
    destructive: bool
    export_to: str | None = None
    """A file that gets every item before the first is touched."""

    @property
    def matching(self) -> int:
        return sum(self.counts.values())

    @property
    def total(self) -> int:
        """Items that it touches."""
        return sum(self.touched.values())


@dataclass(frozen=True, slots=True)
class FrozenBatch:
    """At most `runtime.model.BULK_BATCH` items of one family."""

    family: str
    items: tuple[SelectedItem, ...]


@dataclass(frozen=True, slots=True)
class KeptPreview:
    """A preview and how far it has come."""

    preview: FrozenPreview
    batches_done: int = 0
    tally: Mapping[BulkResult, int] = field(default_factory=dict)
    """Results so far."""
    begun_at: float | None = None
    begun_by: str | None = None
    exported: bool = False
    receipt: Receipt | None = None
    """Of its end."""
    receipted: bool = False
    """The receipt is in the audit trail."""

    def state(self, now: float) -> PreviewState:
        if self.receipt is not None:
            return PreviewState.DONE
        if now >= self.preview.expires_at:
            return PreviewState.EXPIRED
        return PreviewState.READY if self.begun_at is None else PreviewState.APPLYING


class PreviewLedger(Protocol):
    """Frozen previews of one lane. Every method raises `BoundaryDown`; those that write, `Refused` too."""

    async def keep(self, preview: FrozenPreview, batches: Sequence[FrozenBatch]) -> None:
        """All of it, or (cut off in the middle) nothing that could be applied."""
        ...

    async def read(self, preview_id: str) -> KeptPreview | None:
        """None: never kept, or forgotten since. Raises `OperatorError` for one that can't be read."""
        ...

    async def recent(self, limit: int = 100) -> Sequence[KeptPreview]:
        """Newest first. One that can't be read is left out, and told where stored things are told."""
        ...

    async def batch(self, preview_id: str, number: int) -> FrozenBatch:
        """``number`` from 0. Raises `Refused` when it is gone."""
        ...

    async def begin(self, preview_id: str, *, at: float, actor: str) -> None: ...
    async def note_export(self, preview_id: str) -> None:
        """Its items are all in the file."""
        ...

    async def results(self, preview_id: str) -> Mapping[int, tuple[BulkResult, ...]]:
        """Of the batches that are done, a result for each item in its order."""
        ...

    async def is_done(self, preview_id: str, number: int) -> bool: ...
    async def record(self, preview_id: str, number: int, results: Sequence[BulkResult]) -> bool:
        """Notes a batch's results. False: somebody had noted them; nothing changed. Raises `Refused` when
        the preview is gone."""
        ...

    async def finish(self, preview_id: str, receipt: Receipt) -> Receipt:
        """Notes the end. The receipt that counts is the first that was given. Raises `Refused` when the
        preview is gone."""
        ...

    async def note_receipt(self, preview_id: str) -> None:
        """Its receipt is in the audit trail."""
        ...
