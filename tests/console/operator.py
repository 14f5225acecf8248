"""An operator in memory, for what the console itself does with readings, keys and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from joelclaw_tui.app import ConsoleApp
from joelclaw_tui.ports import Starter
from joelclaw_tui.theming import Themes, load_themes
from runtime.actions.intents import ActionName, Intent, Preview
from runtime.model import (
    Failure,
    ItemPage,
    ItemState,
    JournalEntry,
    OperatorError,
    Outcome,
    Priority,
    Receipt,
    ReceiptOutcome,
    RunStatus,
    RunView,
    TargetResult,
    WorkItem,
)
from runtime.settings import Settings
from runtime.truth.document import Snapshot
from tests.sample import NOW, item_id, sample_snapshot

AT = NOW.timestamp()
"""The frozen clock of these tests."""


def frozen_now() -> float:
    return AT


@dataclass
class MemoryReader:
    """Gives what it was given; ``error`` makes every reading fail, ``hang`` makes snapshots never end."""

    current: Snapshot = field(default_factory=sample_snapshot)
    all_items: dict[ItemState, list[WorkItem]] = field(default_factory=dict)
    error: Exception | None = None
    hang: bool = False
    snapshots: int = 0
    reads: list[tuple[str, ItemState, str | None]] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)

    async def snapshot(self) -> Snapshot:
        self.snapshots += 1
        if self.hang:
            await asyncio.Event().wait()
        self._fail()
        return self.current

    async def items(
        self, family: str, state: ItemState, *, cursor: str | None = None, limit: int = 100
    ) -> ItemPage:
        self._fail()
        self.reads.append((family, state, cursor))
        rows = self.all_items.get(state, [])
        start = int(cursor or 0)
        end = start + limit
        return ItemPage(
            items=tuple(rows[start:end]), total=len(rows), cursor=str(end) if end < len(rows) else None
        )

    async def item(self, item_id: str) -> WorkItem | None:
        self._fail()
        return next((i for rows in self.all_items.values() for i in rows if i.item_id == item_id), None)

    async def run(self, run_id: str) -> RunView | None:
        self._fail()
        data = self.current.boundaries.durable.data
        row = None if data is None else next((r for r in data.runs.items if r.run_id == run_id), None)
        if row is None:
            return None
        return RunView(
            run_id=row.run_id,
            invocation_id=row.invocation_id,
            status=RunStatus(row.status),
            outcome=None if row.outcome is None else Outcome(row.outcome),
            created_at=None if row.created_at is None else row.created_at.timestamp(),
            modified_at=None,
            completed_at=None if row.completed_at is None else row.completed_at.timestamp(),
            tries=row.tries,
            next_try_at=None if row.next_try_at is None else row.next_try_at.timestamp(),
            last_failure=row.last_failure,
            family=row.family,
            deployment="http://127.0.0.1:9080",
        )

    async def journal(self, invocation_id: str, *, limit: int = 200) -> Sequence[JournalEntry]:
        self._fail()
        return [
            JournalEntry(0, "Command: Input", None, AT - 95, None),
            JournalEntry(1, "Command: Run", "http", AT - 94, None),
            JournalEntry(2, "Notification: Run", "http", AT - 60, "HTTP 503 from http://127.0.0.1:3000/poll"),
        ]

    async def audit(self, limit: int = 100) -> Sequence[Receipt]:
        self._fail()
        return self.receipts[:limit]

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error


@dataclass
class MemoryActions:
    """Freezes the targets as they are, and keeps what it was asked to apply."""

    destructive: bool = False
    refuse_preview: OperatorError | None = None
    refuse_apply: OperatorError | None = None
    outcome: Callable[[str], ReceiptOutcome] = lambda target: ReceiptOutcome.DONE
    previews: list[Preview] = field(default_factory=list)
    applied: list[Preview] = field(default_factory=list)

    async def preview(self, intent: Intent) -> Preview:
        if self.refuse_preview is not None:
            raise self.refuse_preview
        preview = sample_preview(intent, destructive=self.destructive, number=len(self.previews))
        self.previews.append(preview)
        return preview

    async def apply(self, preview: Preview, *, actor: str, origin: str) -> Receipt:
        if self.refuse_apply is not None:
            raise self.refuse_apply
        self.applied.append(preview)
        return sample_receipt(preview, actor=actor, origin=origin, outcome=self.outcome)


@dataclass
class MemoryOperator:
    settings: Settings
    reader: MemoryReader = field(default_factory=MemoryReader)
    actions: MemoryActions = field(default_factory=MemoryActions)


def sample_preview(intent: Intent, *, destructive: bool = False, number: int = 0) -> Preview:
    verbs = {ActionName.PAUSE: "Pause", ActionName.RUN_KILL: "Kill", ActionName.REPLAY_FAMILY: "Replay"}
    return Preview(
        preview_id=f"01km0preview{number:014d}",
        intent=intent,
        ids=intent.targets,
        matching=len(intent.targets),
        title=f"{verbs.get(intent.action, intent.action.value)} {' '.join(intent.targets)}",
        lines=("120 runnable items will be held", "20 in flight go on to their end"),
        warnings=("no worker has been heard of for 47s",),
        target="lane main on valkey 9.1.2 (unix:///run/valkey.sock, db 0) and restate 1.7.12",
        created_at=AT,
        destructive=destructive,
    )


def sample_receipt(
    preview: Preview, *, actor: str, origin: str, outcome: Callable[[str], ReceiptOutcome]
) -> Receipt:
    results = tuple(
        TargetResult(target, outcome(target), None if outcome(target) is ReceiptOutcome.DONE else "why not")
        for target in preview.ids
    )
    return Receipt(
        receipt_id=f"01km0receipt{len(preview.preview_id):014d}",
        at=AT,
        actor=actor,
        origin=origin,
        lane="main",
        action=preview.intent.action.value,
        summary=preview.title,
        reason=preview.intent.reason,
        results=results,
        results_total=len(results),
    )


def sample_item(
    number: int, *, family: str = "feeds/poll", state: ItemState = ItemState.DEAD, payload: str = '{"feed":7}'
) -> WorkItem:
    return WorkItem(
        item_id=item_id(family, number),
        family=family,
        state=state,
        priority=Priority.P2,
        attempt=2,
        payload=payload,
        enqueued_at=AT - 5400,
        since=AT - 610 - number,
        origin="cli",
        failures=(
            Failure(
                1, Outcome.FAILED, "HTTP 500 from http://127.0.0.1:3000/poll: upstream timed out", AT - 610
            ),
        ),
    )


def settings(folder: Path, *, refresh_s: float = 0.2) -> Settings:
    return Settings(state_dir=folder, refresh_s=refresh_s, probe_deadline_s=0.5)


def console(
    operator: MemoryOperator,
    *,
    starter: Starter | None = None,
    theme: str = "joelclaw-dark",
    now: Callable[[], float] = frozen_now,
) -> ConsoleApp:
    """A console that depends on nothing of this machine: shipped themes only, a frozen clock, no blinking."""
    nowhere = operator.settings.state / "no-themes"
    themes: Themes = load_themes(nowhere)
    return ConsoleApp(operator, starter=starter, theme=theme, themes=themes, actor="ana@desk", now=now)
