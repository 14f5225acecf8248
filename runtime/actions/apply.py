"""The one door through which an operator changes anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from ulid import ULID

from runtime.actions.actor import ACTOR_LENGTH, os_actor
from runtime.actions.adopting import Outside
from runtime.actions.bulk.applying import BulkApplier
from runtime.actions.bulk.freezing import frozen
from runtime.actions.bulk.ports import BacklogPorts, BulkProgress
from runtime.actions.draft import Draft, DraftedBatches
from runtime.actions.drafter import Drafter
from runtime.actions.executor import CALL_DEADLINE_S, PAUSE_WAIT_S, Executor
from runtime.actions.intents import Intent, Preview
from runtime.actions.preview_store import PreviewStore
from runtime.actions.read_port import BacklogLooks, ReadPort, no_backlog
from runtime.actions.recording import ReceiptRecorder
from runtime.actions.tally import RESULTS_BOUND, Tally
from runtime.actions.verb import DirectVerb
from runtime.actions.verbs import verb_of
from runtime.actions.write_port import ClockPort
from runtime.common.addresses import Addresses
from runtime.common.text import one_line
from runtime.lane.lane_file import LaneSource
from runtime.model import (
    AuditTrail,
    BoundaryDown,
    KeptPreview,
    Now,
    PressureControl,
    PressureReader,
    Receipt,
    Refused,
    RunControl,
    RunLookup,
    SandboxControl,
    SandboxReader,
)
from runtime.settings import Settings
from runtime.truth.processes import BeatReader

REASON_LENGTH = 500


class Actions:
    """Preview, guard, carry out, receipt. Give every front end of a process the same one."""

    def __init__(
        self,
        *,
        settings: Settings,
        lane: LaneSource,
        pressure: PressureReader,
        control: PressureControl,
        durable: RunLookup,
        runs: RunControl,
        beats: BeatReader,
        audit: AuditTrail,
        now: Now,
        addresses: Addresses,
        clock: ClockPort | None = None,
        artifacts: SandboxReader | None = None,
        sandbox: SandboxControl | None = None,
        backlog: BacklogPorts | None = None,
        outside: Outside | None = None,
        call_deadline_s: float = CALL_DEADLINE_S,
        pause_wait_s: float = PAUSE_WAIT_S,
    ) -> None:
        """``call_deadline_s``: for one changing call to a boundary. ``pause_wait_s``: how long a
        pause waits for what is being admitted already before it says how many are."""
        self._settings = settings
        self._lane = lane
        self._recorder = ReceiptRecorder(audit)
        self._now = now
        self._freezer = PreviewStore()
        port = ReadPort(
            settings=settings,
            lane=lane,
            pressure=pressure,
            runs=durable,
            beats=beats,
            addresses=addresses,
            now=now,
            clock=clock,
            artifacts=artifacts,
            backlog=None
            if backlog is None
            else BacklogLooks(backlog.selector, backlog.door, exports=backlog.exporter is not None),
            outside=outside,
        )
        self._drafter = Drafter(port)
        self._executor = Executor(
            settings=settings,
            lane=lane,
            pressure=control,
            lookup=durable,
            runs=runs,
            addresses=addresses,
            clock=clock,
            now=now,
            sandbox=sandbox,
            items=None if backlog is None else backlog.control,
            outside=outside,
            call_deadline_s=call_deadline_s,
            pause_wait_s=pause_wait_s,
        )
        self._backlog = backlog
        self._bulk_applier: BulkApplier | None = None
        if backlog is not None:
            self._bulk_applier = BulkApplier(
                lane=lane,
                looks=port,
                backlog=backlog,
                recorder=self._recorder,
                now=now,
                addresses=addresses,
                call_deadline_s=call_deadline_s,
                keep_s=settings.preview_keep_s,
            )

    async def preview(
        self, intent: Intent, *, actor: str | None = None, progress: BulkProgress | None = None
    ) -> Preview:
        """What ``intent`` would touch, frozen. Changes no work, so read-only mode allows it; a bulk action's
        is kept in the ledger unless that mode is on. ``actor``: unset, this system's user. ``progress``: of
        the selecting, in items looked at.

        Raises `UsageError`, `UnknownFamily`, `NotFound`, `Refused` (nothing to do), `BoundaryDown`.
        """
        if intent.reason is not None:
            intent = replace(intent, reason=one_line(intent.reason, REASON_LENGTH))
        who = os_actor() if actor is None else one_line(actor, ACTOR_LENGTH)
        draft = await self._drafter.draft(intent, actor=who, progress=progress)
        if draft.batches is not None:
            return await self._keep(intent, draft, draft.batches)
        warnings = draft.warnings
        if self._settings.read_only:
            warnings = ("read-only mode: this can be looked at, not applied", *warnings)
        if draft.matching > len(draft.ids):
            cut = f"{draft.matching:,} match; only these {len(draft.ids):,} are touched"
            warnings = (cut, *warnings)
        now = self._now()
        preview = Preview(
            preview_id=_new_id(now),
            intent=intent,
            ids=draft.ids,
            matching=draft.matching,
            title=draft.title,
            lines=draft.lines,
            warnings=warnings,
            target=one_line(draft.target, 500),
            created_at=now,
            destructive=draft.destructive,
            expected=draft.expected,
            pause_epochs=draft.pause_epochs,
            lane_hold=draft.lane_hold,
            found=draft.found,
        )
        self._freezer.keep(preview)
        return preview

    async def _keep(self, intent: Intent, draft: Draft, items: DraftedBatches) -> Preview:
        """The preview of an action on the backlog, in the ledger unless read-only mode is on."""
        warnings = draft.warnings
        if draft.matching > len(draft.ids):
            cut = f"{draft.matching:,} match; only these {len(draft.ids):,} are touched"
            warnings = (f"{cut} (--max raises it, in the console F with max)", *warnings)
        keeps = self._backlog is not None and not self._settings.read_only
        if not keeps:
            warnings = ("read-only mode: this can be looked at, is not kept and can't be applied", *warnings)
        now = self._now()
        preview, batches = frozen(
            draft,
            items,
            preview_id=_new_id(now),
            warnings=warnings,
            now=now,
            keep_s=self._settings.preview_keep_s,
        )
        if self._backlog is not None and keeps:
            await self._backlog.previews.keep(preview, batches)
        return Preview(
            preview_id=preview.preview_id,
            intent=intent,
            ids=draft.ids,
            matching=draft.matching,
            title=draft.title,
            lines=draft.lines,
            warnings=warnings,
            target=items.target.shown,
            created_at=now,
            destructive=draft.destructive,
            bulk=preview,
            kept=keeps,
        )

    async def kept(self, preview_id: str) -> KeptPreview:
        """A bulk action's preview that can be applied here and now; changes nothing. Raises `NotFound`,
        `Refused` (applied already, expired, of another target), `BoundaryDown`."""
        if self._bulk_applier is None:
            raise no_backlog()
        return await self._bulk_applier.kept(preview_id)

    async def previews(self, limit: int = 100) -> Sequence[KeptPreview]:
        """The kept previews of bulk actions, newest first, the done ones too. Raises `BoundaryDown`."""
        if self._backlog is None:
            raise no_backlog()
        return await self._backlog.previews.recent(limit)

    async def apply_kept(
        self,
        preview_id: str,
        *,
        actor: str,
        origin: str,
        reason: str | None = None,
        progress: BulkProgress | None = None,
    ) -> Receipt:
        """Applies a kept preview, or goes on with one that was cut off: once, by whichever process. See
        `BulkApplier.apply`; raises `ReadOnly` too."""
        if reason is not None:
            reason = one_line(reason, REASON_LENGTH)
        port = self._executor.port(
            f"preview {one_line(preview_id, 60)}", actor=one_line(actor, ACTOR_LENGTH), reason=reason
        )
        if self._bulk_applier is None:
            raise no_backlog()
        return await self._bulk_applier.apply(preview_id, port, origin=origin, progress=progress)

    async def apply(
        self,
        preview: Preview,
        *,
        actor: str,
        origin: str,
        reason: str | None = None,
        progress: BulkProgress | None = None,
        found: Callable[[object], None] | None = None,
    ) -> Receipt:
        """Touches exactly the ids of ``preview``, which `preview` of this object has shown; a bulk action's
        is applied as it is kept (see `apply_kept`). ``reason``: in place of the one that the preview was asked
        for with; an empty one is none. ``found`` gets what the verb has to tell beyond its receipt, if it has
        anything.

        Once, and within ten minutes. The receipt has a result for every id and is in the audit
        trail also when the action failed half-way or was cancelled. Raises `ReadOnly` and
        `Refused` before anything was touched; `BoundaryDown` when the boundary answered nothing.
        """
        said = preview.intent.reason if reason is None else one_line(reason, REASON_LENGTH) or None
        port = self._executor.port(
            preview.title, actor=one_line(actor, ACTOR_LENGTH), reason=said, progress=progress
        )
        verb = verb_of(preview.intent.action)
        if not isinstance(verb, DirectVerb):
            return await self.apply_kept(
                preview.preview_id,
                actor=actor,
                origin=origin,
                reason=reason,
                progress=progress,
            )
        if len(preview.ids) > self._settings.action_ceiling:
            raise Refused(
                f"{preview.title}: {len(preview.ids):,} targets are more than {self._settings.action_ceiling:,}",
                fix="preview again with a lower --max",
            )
        self._freezer.take(preview, now=self._now())
        tally = Tally(preview.ids)
        down: BoundaryDown | None = None
        try:
            await verb.carry_out(preview, tally, port)
        except BoundaryDown as error:
            down = error
        except BaseException as error:
            tally.close(
                "interrupted" if isinstance(error, asyncio.CancelledError) else "an error ended the action"
            )
            await self._record(preview, tally, actor=actor, origin=origin, reason=said)
            raise
        if down is not None:
            tally.close(down.message)
        receipt = await self._record(preview, tally, actor=actor, origin=origin, reason=said)
        if down is not None and not tally.anything_done:
            raise BoundaryDown(
                f"{preview.title}: {down.message}; recorded as receipt {receipt.receipt_id}",
                fix=down.fix,
                code=down.code,
            )
        if found is not None and tally.found is not None:
            found(tally.found)
        return receipt

    async def _record(
        self, preview: Preview, tally: Tally, *, actor: str, origin: str, reason: str | None
    ) -> Receipt:
        """The receipt, in the audit trail."""
        results = tally.results()
        now = self._now()
        receipt = Receipt(
            receipt_id=_new_id(now),
            at=now,
            actor=one_line(actor, ACTOR_LENGTH),
            origin=one_line(origin, 60),
            lane=self._lane.current.name,
            action=preview.intent.action,
            summary=f"{preview.title}: {tally.sentence()}",
            reason=reason,
            results=tuple(results[:RESULTS_BOUND]),
            results_total=len(results),
            partial=tally.partial,
        )
        return await self._recorder.record(receipt)


def _new_id(at_s: float) -> str:
    """Ordered by time, unique."""
    return str(ULID.from_timestamp(at_s)).lower()
