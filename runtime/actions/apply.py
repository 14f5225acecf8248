"""The one door through which an operator changes anything."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from ulid import ULID

from runtime.actions.actor import ACTOR_LENGTH
from runtime.actions.carry import CALL_DEADLINE_S, PAUSE_WAIT_S, Carrier
from runtime.actions.drafter import Drafter
from runtime.actions.freezer import Freezer
from runtime.actions.intents import Intent, Preview
from runtime.actions.schedules import ClockLooks
from runtime.actions.tally import RESULTS_BOUND, Tally
from runtime.lanefile import LaneSource
from runtime.model import (
    AuditTrail,
    BoundaryDown,
    Now,
    PressureControl,
    PressureReader,
    ReadOnly,
    Receipt,
    Refused,
    RunControl,
    RunLookup,
    SandboxControl,
    SandboxReader,
)
from runtime.settings import Settings
from runtime.text import one_line
from runtime.truth.addresses import Addresses
from runtime.truth.deadline import within
from runtime.truth.processes import BeatReader

REASON_LENGTH = 500
RECORD_DEADLINE_S = 10.0


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
        clock: ClockLooks | None = None,
        artifacts: SandboxReader | None = None,
        sandbox: SandboxControl | None = None,
        call_deadline_s: float = CALL_DEADLINE_S,
        pause_wait_s: float = PAUSE_WAIT_S,
    ) -> None:
        """``call_deadline_s``: for one changing call to a boundary. ``pause_wait_s``: how long a
        pause waits for what is being admitted already before it says how many are."""
        self._settings = settings
        self._lane = lane
        self._audit = audit
        self._now = now
        self._freezer = Freezer()
        self._drafter = Drafter(
            settings=settings,
            lane=lane,
            pressure=pressure,
            runs=durable,
            beats=beats,
            now=now,
            addresses=addresses,
            clock=clock,
            sandbox=artifacts,
        )
        self._carrier = Carrier(
            pressure=control,
            lookup=durable,
            runs=runs,
            addresses=addresses,
            clock=clock,
            now=now,
            sandbox=sandbox,
            call_deadline_s=call_deadline_s,
            pause_wait_s=pause_wait_s,
        )

    async def preview(self, intent: Intent) -> Preview:
        """What ``intent`` would touch, frozen. Writes nothing, so read-only mode allows it.

        Raises `UsageError`, `UnknownFamily`, `NotFound`, `Refused` (nothing to do), `BoundaryDown`.
        """
        if intent.reason is not None:
            intent = replace(intent, reason=one_line(intent.reason, REASON_LENGTH))
        draft = await self._drafter.draft(intent)
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
        )
        self._freezer.keep(preview)
        return preview

    async def apply(self, preview: Preview, *, actor: str, origin: str) -> Receipt:
        """Touches exactly the ids of ``preview``, which `preview` of this object has shown.

        Once, and within ten minutes. The receipt has a result for every id and is in the audit
        trail also when the action failed half-way or was cancelled. Raises `ReadOnly` and
        `Refused` before anything was touched; `BoundaryDown` when the boundary answered nothing.
        """
        if self._settings.read_only:
            raise ReadOnly(
                f"{preview.title}: read-only mode refuses changes",
                fix="start without --read-only (JOELCLAW_READ_ONLY) to make changes",
            )
        if len(preview.ids) > self._settings.action_ceiling:
            raise Refused(
                f"{preview.title}: {len(preview.ids):,} targets are more than {self._settings.action_ceiling:,}",
                fix="preview again with a lower --max",
            )
        self._freezer.take(preview, now=self._now())
        self._lane.refresh()
        tally = Tally(preview.ids)
        down: BoundaryDown | None = None
        try:
            await self._carrier.carry_out(
                preview, tally, self._lane.current, actor=one_line(actor, ACTOR_LENGTH)
            )
        except BoundaryDown as error:
            down = error
        except BaseException as error:
            tally.close(
                "interrupted" if isinstance(error, asyncio.CancelledError) else "an error ended the action"
            )
            await self._record(preview, tally, actor=actor, origin=origin)
            raise
        if down is not None:
            tally.close(down.message)
        receipt = await self._record(preview, tally, actor=actor, origin=origin)
        if down is not None and not tally.anything_done:
            raise BoundaryDown(
                f"{preview.title}: {down.message}; recorded as receipt {receipt.receipt_id}",
                fix=down.fix,
                code=down.code,
            )
        return receipt

    async def _record(self, preview: Preview, tally: Tally, *, actor: str, origin: str) -> Receipt:
        """The receipt, in the audit trail. What was done stays done when that can't be written:
        the receipt says so. A cancellation waits until it is written, and then goes on."""
        results = tally.results()
        now = self._now()
        receipt = Receipt(
            receipt_id=_new_id(now),
            at=now,
            actor=one_line(actor, ACTOR_LENGTH),
            origin=one_line(origin, 60),
            lane=self._lane.current.name,
            action=preview.intent.action.value,
            summary=f"{preview.title}: {tally.sentence()}",
            reason=preview.intent.reason,
            results=tuple(results[:RESULTS_BOUND]),
            results_total=len(results),
        )
        recording = asyncio.create_task(
            within(
                RECORD_DEADLINE_S,
                self._audit.record(receipt),
                boundary="the audit trail",
                address="this profile",
            )
        )
        cancelled: asyncio.CancelledError | None = None
        while not recording.done():
            try:
                await asyncio.wait({recording})
            except asyncio.CancelledError as error:
                cancelled = error
        lost = recording.exception()
        warning = recording.result() if lost is None else f"the receipt is not on record: {lost}"
        if cancelled is not None:
            raise cancelled
        return receipt if warning is None else replace(receipt, warning=one_line(warning, REASON_LENGTH))


def _new_id(at_s: float) -> str:
    """Ordered by time, unique."""
    return str(ULID.from_timestamp(at_s)).lower()
