"""Carrying out a frozen preview batch by batch: from any process, cut off at any point, gone on with, once.

What is done is on record after each batch. A batch whose record was cut off is sent again under its own id,
which changes nothing more. Two processes at one preview do no item twice; the first one at the end receipts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ulid import ULID

from runtime.actions.bulk.exporting import export
from runtime.actions.bulk.ports import BacklogPorts, BulkProgress
from runtime.actions.bulk.receipts import figures, listed, sentence
from runtime.actions.bulk.stopping import carried_through
from runtime.actions.read_port import ReadPort, no_backlog
from runtime.actions.recording import ReceiptRecorder
from runtime.actions.subjects.backlog import TARGET_LENGTH, run_ids
from runtime.actions.write_port import WritePort
from runtime.common.addresses import Addresses
from runtime.common.deadline import within
from runtime.common.export_path import free_path
from runtime.common.text import one_line
from runtime.common.units import length
from runtime.lane.lane_file import LaneSource
from runtime.model import (
    BoundaryDown,
    BulkControl,
    BulkOrder,
    BulkResult,
    FrozenPreview,
    KeptPreview,
    NotFound,
    Now,
    OperatorError,
    PreviewState,
    PreviewTarget,
    Receipt,
    Refused,
    TargetResult,
)

_ID_LENGTH = 60


@dataclass
class _Going:
    """One process's way through one preview."""

    preview: FrozenPreview
    order: BulkOrder
    origin: str
    results: dict[int, Sequence[BulkResult]] = field(default_factory=dict)
    sent: int = 0
    """Batches that this process has sent."""
    unsure: int = 0
    """Items of the batch that was sent and has no result on record."""


class BulkApplier:
    def __init__(
        self,
        *,
        lane: LaneSource,
        looks: ReadPort,
        backlog: BacklogPorts,
        recorder: ReceiptRecorder,
        now: Now,
        addresses: Addresses,
        call_deadline_s: float,
        keep_s: float,
    ) -> None:
        self._lane = lane
        self._looks = looks
        self._previews = backlog.previews
        self._backlog = backlog
        self._recorder = recorder
        self._now = now
        self._addresses = addresses
        self._call_deadline_s = call_deadline_s
        self._keep_s = keep_s

    async def kept(self, preview_id: str) -> KeptPreview:
        """A preview that can be applied here and now. Changes nothing.

        Raises `NotFound`, `Refused` (``already-applied`` with the receipt's figures, ``preview-expired``,
        ``another-target``), `BoundaryDown`.
        """
        kept = await self._previews.read(preview_id)
        if kept is None:
            raise _unknown(preview_id, self._now(), self._keep_s)
        if kept.receipt is not None:
            raise _applied(kept.receipt)
        if kept.state(self._now()) is PreviewState.EXPIRED:
            raise _expired(self._now() - kept.preview.created_at)
        await self._check_target(kept.preview.target, begun=kept.begun_at is not None)
        return kept

    async def apply(
        self, preview_id: str, port: WritePort, *, origin: str, progress: BulkProgress | None
    ) -> Receipt:
        """Touches exactly the frozen items that are still as they were. Goes on where an earlier one ended.

        ``port``: its reason stands in place of the preview's; an empty one is none. Raises what `kept` does, and what ended it: whatever that is, a
        receipt of what has been done so far is on record, and applying again goes on from there.
        """
        await self._mend(preview_id)
        kept = await self.kept(preview_id)
        preview = kept.preview
        if port.items is None:
            raise no_backlog()
        reason = preview.order.reason if port.reason is None else port.reason or None
        going = _Going(preview, replace(preview.order, actor=port.actor, reason=reason), origin)
        try:
            await self._begin(kept, port.actor)
            await self._batches(going, port.items, progress)
            receipt = await self._receipt(going)
            first = await self._previews.finish(preview_id, receipt)
        except (Exception, asyncio.CancelledError) as error:
            partial = await carried_through(self._partial(going))
            if isinstance(error, OperatorError) and partial is not None:
                raise _cut_off(error, partial, preview_id) from None
            raise
        if first.receipt_id != receipt.receipt_id:
            return first  # another process came to the end before, and records it
        recorded = await self._recorder.record(receipt)
        await self._previews.note_receipt(preview_id)
        return recorded

    async def _mend(self, preview_id: str) -> None:
        """Whoever finished it may have been cut off before the receipt was in the audit trail."""
        kept = await self._previews.read(preview_id)
        if kept is not None and kept.receipt is not None and not kept.receipted:
            await self._recorder.record(kept.receipt)
            await self._previews.note_receipt(preview_id)

    async def _check_target(self, then: PreviewTarget, *, begun: bool) -> None:
        """``begun``: a server that was killed in the middle and is back at its address has the preview and
        what became of it on record, so that going on is as safe as it was before."""
        self._lane.refresh()
        lane = self._lane.current
        if (lane.name, lane.sha256) != (then.lane, then.lane_sha256):
            raise Refused(
                f"this was previewed on {then.shown}; the lane file is another one now, or has changed",
                fix="preview again to see what it would touch as the lane is now",
                code="another-target",
            )
        reading = await self._looks.read()
        again = begun and then.shown == one_line(self._looks.target(lane, reading), TARGET_LENGTH)
        if not again and not set(then.server_run_ids).intersection(run_ids(reading.source)):
            raise Refused(
                f"this was previewed on {then.shown}; this is another server, or it was started anew since",
                fix="preview again to see what is there now",
                code="another-target",
            )

    async def _begin(self, kept: KeptPreview, actor: str) -> None:
        preview, exporter = kept.preview, self._backlog.exporter
        begun = kept.begun_at is not None
        exports = preview.export_to is not None and not kept.exported
        if exports and not begun:
            free_path(preview.export_to or "")
        await self._previews.begin(preview.preview_id, at=self._now(), actor=actor)
        if not exports:
            return
        if exporter is None:
            raise Refused("nothing can be exported here", fix="apply it where it was previewed")
        await export(preview, self._previews, exporter, again=begun)

    async def _batches(self, going: _Going, items: BulkControl, progress: BulkProgress | None) -> None:
        preview = going.preview
        going.results.update(await self._previews.results(preview.preview_id))
        done = sum(map(len, going.results.values()))
        for number in range(preview.batches):
            if number in going.results:
                continue
            batch = await self._previews.batch(preview.preview_id, number)
            if not await self._previews.is_done(preview.preview_id, number):
                going.sent, going.unsure = going.sent + 1, len(batch.items)
                results = await within(
                    self._call_deadline_s,
                    items.apply_batch(
                        batch.family,
                        batch.items,
                        _share(going.order, preview, batch.family),
                        batch_id=f"{preview.preview_id}.{number}",
                    ),
                    boundary="Redis",
                    address=self._addresses.redis,
                )
                await self._previews.record(preview.preview_id, number, results)
                going.results[number], going.unsure = results, 0
            done += len(batch.items)
            if progress is not None:
                progress(done, preview.total)

    # --- what is on record of it

    async def _receipt(self, going: _Going) -> Receipt:
        """Of all of it, whoever did which batch."""
        results = await self._previews.results(going.preview.preview_id)
        told = await listed(going.preview, results, self._previews)
        tally = figures(results)
        return self._made(going, sentence(tally), told, tally.total(), partial=False)

    async def _partial(self, going: _Going) -> Receipt | None:
        """Of what is known to be done; None when this process has changed nothing."""
        if not going.sent:
            return None
        told: list[TargetResult] = []
        try:
            told = await within(
                self._call_deadline_s,
                listed(going.preview, going.results, self._previews),
                boundary="Redis",
                address=self._addresses.redis,
            )
        except OperatorError:
            told = []  # Redis is what is gone; the figures below are this process's own
        tally = figures(going.results)
        unsure = f"; {going.unsure:,} more may have been" if going.unsure else ""
        summary = f"cut off after {tally.total():,} of {going.preview.total:,}: {sentence(tally)}{unsure}"
        return await self._recorder.record(self._made(going, summary, told, tally.total(), partial=True))

    def _made(
        self, going: _Going, said: str, told: Sequence[TargetResult], total: int, *, partial: bool
    ) -> Receipt:
        now = self._now()
        return Receipt(
            receipt_id=str(ULID.from_timestamp(now)).lower(),
            at=now,
            actor=going.order.actor,
            origin=one_line(going.origin, 60),
            lane=self._lane.current.name,
            action=going.order.verb.value,
            summary=f"{going.preview.title}: {said}{_copied(going.preview)}",
            reason=going.order.reason,
            results=tuple(told),
            results_total=total,
            partial=partial,
        )


def _copied(preview: FrozenPreview) -> str:
    """Where what is gone can still be read."""
    return "" if preview.export_to is None else f"; a copy of each is in {one_line(preview.export_to, 300)}"


def _share(order: BulkOrder, preview: FrozenPreview, family: str) -> BulkOrder:
    """The rate is the whole replay's: each family has its part of it, so that all of them end together."""
    if order.rate_per_s is None:
        return order
    return replace(order, rate_per_s=order.rate_per_s * preview.touched[family] / preview.total)


def _unknown(preview_id: str, now: float, keep_s: float) -> NotFound | Refused:
    """An id tells when it was made: one that is too old to be kept was perhaps never here, but is expired."""
    try:
        age = now - ULID.from_str(preview_id.upper()).timestamp
    except ValueError:
        age = 0.0
    if age >= keep_s:
        return _expired(age)
    return NotFound(
        f"no preview {one_line(preview_id, _ID_LENGTH)!r} is kept",
        fix="see `joelclaw-tui queue previews`, or preview again",
    )


def _expired(age_s: float) -> Refused:
    return Refused(
        f"this preview is {length(age_s)} old: what it showed may have changed",
        fix="preview again to see what is there now",
        code="preview-expired",
    )


def _applied(receipt: Receipt) -> Refused:
    return Refused(
        f"this preview has been applied already, by {one_line(receipt.actor, 100)}: {receipt.summary} "
        f"(receipt {receipt.receipt_id})",
        fix="preview again to act on what is there now",
        code="already-applied",
    )


def _cut_off(error: OperatorError, partial: Receipt, preview_id: str) -> OperatorError:
    kind = next((k for k in (BoundaryDown, Refused) if isinstance(error, k)), OperatorError)
    fix = "" if error.fix is None else f"{error.fix}; then "
    return kind(
        f"{partial.summary}; {error.message}; recorded as receipt {partial.receipt_id}",
        fix=f"{fix}`joelclaw-tui queue apply {preview_id}` goes on from there",
        code=error.code,
    )
