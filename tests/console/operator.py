"""An operator in memory, for what the console itself does with readings, keys and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from joelclaw_tui.tui.app import ConsoleApp
from joelclaw_tui.tui.ports import Counted, Starter
from joelclaw_tui.tui.theming import Themes, load_themes
from runtime.actions.bulk.asking import BacklogTerms
from runtime.actions.intents import Intent, Preview
from runtime.actions.subjects.backlog import BacklogVerb
from runtime.actions.terms import terms_of
from runtime.actions.verbs import verb_of
from runtime.model import (
    ITEM_ID,
    Artifact,
    BulkOrder,
    BulkVerb,
    Decision,
    Failure,
    FamilySeries,
    Fire,
    FireDecision,
    FireKind,
    FrozenPreview,
    ItemPage,
    ItemState,
    JournalEntry,
    OperatorError,
    Outcome,
    PreviewTarget,
    Priority,
    Promotion,
    Receipt,
    ReceiptOutcome,
    RunStatus,
    RunView,
    Selection,
    TargetResult,
    Verified,
    VerifyStep,
    WorkItem,
    WorkStand,
)
from runtime.settings import Settings
from runtime.truth.document import ArtifactRow, Snapshot
from tests.sample import NOW, item_id, sample_series, sample_snapshot

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
    all_fires: list[Fire] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    """What an artifact's ``patch``, ``verify`` and ``log`` say."""
    file_reads: list[tuple[str, str]] = field(default_factory=list)
    fire_reads: list[str] = field(default_factory=list)
    days: dict[str, FamilySeries] = field(default_factory=dict)
    """Series by family; any other has the sample's."""
    matched: list[Selection] = field(default_factory=list)
    selecting: asyncio.Event | None = None
    """Where given, looking by conditions waits for it."""
    series_reads: list[tuple[tuple[str, ...], int]] = field(default_factory=list)

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

    async def matching(
        self,
        selection: Selection,
        family: str,
        *,
        cursor: str | None = None,
        limit: int = 100,
        progress: Counted | None = None,
    ) -> ItemPage:
        """By states, error text and ids; the rest of a selection is the runtime's to judge."""
        self.matched.append(selection)
        if self.selecting is not None and progress is not None:
            progress(120_000, 1_000_000)
            await self.selecting.wait()
        self._fail()
        rows = [
            item
            for state, items in self.all_items.items()
            if state in selection.states
            for item in items
            if selection.error is None or any(selection.error in f.message for f in item.failures)
            if selection.ids is None or item.item_id in selection.ids
        ]
        start = int(cursor or 0)
        end = start + limit
        return ItemPage(
            items=tuple(rows[start:end]), total=len(rows), cursor=str(end) if end < len(rows) else None
        )

    async def series(self, families: Sequence[str], minutes: int = 60) -> Mapping[str, FamilySeries]:
        self._fail()
        self.series_reads.append((tuple(families), minutes))
        return {family: self.days.get(family, sample_series(family, minutes=minutes)) for family in families}

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

    async def fires(self, schedule: str, limit: int = 100) -> Sequence[Fire]:
        self._fail()
        self.fire_reads.append(schedule)
        return self.all_fires[:limit]

    async def artifact(self, artifact_id: str) -> Artifact | None:
        self._fail()
        data = self.current.boundaries.sandbox.data
        items = [] if data is None else data.artifacts.items
        row = next((row for row in items if row.artifact_id == artifact_id), None)
        return None if row is None else sample_artifact(row)

    async def artifact_file(self, artifact_id: str, name: str, *, limit: int = 1_000_000) -> str:
        self._fail()
        self.file_reads.append((artifact_id, name))
        return self.texts.get(name, "").encode()[:limit].decode(errors="replace")

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
    matching: tuple[str, ...] = tuple(item_id("feeds/poll", number) for number in range(3))
    """Ids that a bulk action on families is about."""
    selecting: asyncio.Event | None = None
    """Where given, a bulk action's preview waits for it."""
    applying: asyncio.Event | None = None
    """Where given, a bulk action waits for it in the middle."""
    previews: list[Preview] = field(default_factory=list)
    applied: list[Preview] = field(default_factory=list)
    reasons: list[str | None] = field(default_factory=list)
    """Of what was applied."""

    async def preview(
        self, intent: Intent, *, actor: str | None = None, progress: Counted | None = None
    ) -> Preview:
        if self.refuse_preview is not None:
            raise self.refuse_preview
        if self.selecting is not None and progress is not None:
            progress(120_000, 1_000_000)
            await self.selecting.wait()
        number = len(self.previews)
        if isinstance(verb_of(intent.action), BacklogVerb):
            preview = sample_bulk(intent, self.matching, number=number)
        else:
            preview = sample_preview(intent, destructive=self.destructive, number=number)
        self.previews.append(preview)
        return preview

    async def apply(
        self,
        preview: Preview,
        *,
        actor: str,
        origin: str,
        reason: str | None = None,
        progress: Counted | None = None,
    ) -> Receipt:
        if self.refuse_apply is not None:
            raise self.refuse_apply
        if self.applying is not None and progress is not None:
            progress(len(preview.ids) // 2, len(preview.ids))
            await self.applying.wait()
        self.applied.append(preview)
        self.reasons.append(reason)
        return sample_receipt(preview, actor=actor, origin=origin, reason=reason, outcome=self.outcome)


@dataclass
class MemoryOperator:
    settings: Settings
    reader: MemoryReader = field(default_factory=MemoryReader)
    actions: MemoryActions = field(default_factory=MemoryActions)


def sample_preview(intent: Intent, *, destructive: bool = False, number: int = 0) -> Preview:
    verbs = {"pause": "Pause", "run-kill": "Kill", "replay": "Replay"}
    return Preview(
        preview_id=f"01km0preview{number:014d}",
        intent=intent,
        ids=intent.targets,
        matching=len(intent.targets),
        title=f"{verbs.get(intent.action, intent.action)} {' '.join(intent.targets)}",
        lines=("120 runnable items will be held", "20 in flight go on to their end"),
        warnings=("no worker has been heard of for 47s",),
        target="lane main on valkey 9.1.2 (unix:///run/valkey.sock, db 0) and restate 1.7.12",
        created_at=AT,
        destructive=destructive,
    )


def sample_bulk(intent: Intent, matching: Sequence[str] = (), *, number: int = 0) -> Preview:
    """A kept preview: of the ids that are named, or of those that match where families are."""
    verb = BulkVerb(intent.action)
    by_id = all(ITEM_ID.fullmatch(target) for target in intent.targets)
    every = intent.targets if by_id else tuple(matching)
    ids = every[: intent.limit or len(every)]
    terms = terms_of(intent, BacklogTerms)
    selection = terms.selection
    export_to: str | None = getattr(terms, "export_to", None)
    states = frozenset({ItemState.DEAD}) if selection is None or not selection.states else selection.states
    state = next(state for state in ItemState if state in states)
    preview_id = f"01km0preview{number:014d}"
    rate: float | None = getattr(terms, "rate_per_s", None)
    lines = [f"feeds/poll: {len(every):,} {state.value}"]
    if verb is BulkVerb.REPLAY:
        slowly = "all at once" if rate is None else f"{rate:g} a second: about {len(ids) / rate:.0f}s"
        lines.append(f"they wait again as new attempts, {slowly}")
    if export_to is not None:
        lines.append(f"every item is written to {export_to} before the first is discarded")
    title = f"{verb.value.capitalize()} {len(ids):,} items of feeds/poll"
    warnings: tuple[str, ...] = ("an attempt that failed may have had effects: they may happen again",)
    if verb is BulkVerb.DISCARD:
        warnings = ("discarded work can't be brought back",)
    if len(every) > len(ids):
        warnings = (f"{len(every):,} match; only these {len(ids):,} are touched", *warnings)
    target = "lane main on valkey 9.1.2 (unix:///run/valkey.sock, db 0)"
    frozen = FrozenPreview(
        preview_id=preview_id,
        order=BulkOrder(verb=verb, actor="ana@desk", reason=intent.reason, rate_per_s=rate),
        title=title,
        lines=tuple(lines),
        warnings=warnings,
        target=PreviewTarget("main", "9f2c" * 16, ("5c3c0f2a",), target),
        created_at=AT,
        expires_at=AT + 3600,
        counts={("feeds/poll", state): len(every)},
        touched={"feeds/poll": len(ids)},
        batches=-(-len(ids) // 200),
        destructive=verb is BulkVerb.DISCARD,
        export_to=export_to,
    )
    return Preview(
        preview_id=preview_id,
        intent=intent,
        ids=ids,
        matching=len(every),
        title=title,
        lines=frozen.lines,
        warnings=warnings,
        target=target,
        created_at=AT,
        destructive=frozen.destructive,
        bulk=frozen,
        kept=True,
    )


def sample_receipt(
    preview: Preview,
    *,
    actor: str,
    origin: str,
    reason: str | None = None,
    outcome: Callable[[str], ReceiptOutcome],
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
        action=preview.intent.action,
        summary=preview.title,
        reason=preview.intent.reason if reason is None else reason or None,
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


def sample_artifact(row: ArtifactRow) -> Artifact:
    """The whole artifact of a row."""
    verify = (
        ()
        if row.verified == "absent"
        else (
            VerifyStep(
                ("python3", "-m", "pytest", "-q"), 0 if row.verified == "passed" else 1, 4.2, "verify-1.log"
            ),
        )
    )
    promotion = Promotion(row.promotion)
    decided = promotion in (Promotion.PROMOTED, Promotion.REJECTED)
    decision = Decision(
        promotion, AT - 60, "ana@desk", None if row.branch else "not what was asked for", row.branch, None
    )
    return Artifact(
        artifact_id=row.artifact_id,
        run_id=row.run_id,
        family=row.family,
        repo=row.repo,
        base="main",
        base_sha=row.base_sha,
        commit="9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d00f1e2d3",
        tree_sha="c0ffee254729296a45a3885639ac7e10f9d54979",
        files=row.files,
        insertions=row.insertions,
        deletions=row.deletions,
        paths=("app/feeds.py", "app/units.py", "tests/test_feeds.py")[: row.files],
        left_out=("build/cache.bin: larger than 10 MB",),
        verified=Verified(row.verified),
        verify=verify,
        agent_exit=0,
        failure="the verification failed: python3 -m pytest -q ended with 1"
        if row.verified == "failed"
        else None,
        limits={"memory": "312 MB of 2 GB", "disk": "18 MB of 1 GB", "time": "3m12s of 30m"},
        isolation="bubblewrap: namespaces, seccomp, no network",
        host="build-1",
        created_at=row.created_at.timestamp(),
        names=("agent.log", "change.bundle", "change.patch", "verify-1.log"),
        promotion=promotion,
        decision=decision if decided else None,
    )


PATCH = """\
diff --git a/app/feeds.py b/app/feeds.py
index 83db48f..bf269f4 100644
--- a/app/feeds.py
+++ b/app/feeds.py
@@ -10,5 +10,7 @@ def poll(feed):
     if feed.paused:
         return None
-    answer = get(feed.url)
+    answer = get(feed.url, timeout=20)
+    if answer.status == 304:
+        return None
 \tentries = parse(answer.text)
     return entries[:LIMIT]
diff --git a/app/units.py b/app/units.py
index 1c2d3e4..5f6a7b8 100644
--- a/app/units.py
+++ b/app/units.py
@@ -1,3 +1,2 @@
 LIMIT = 50
--- an old comment that looks like a header
 DAY = 86_400
"""
VERIFY = "....F\n1 failed, 4 passed in 3.91s\n"


def sample_fires(schedule: str = "repo-sync") -> list[Fire]:
    """The latest first: one under way, one that was missed and made up for, one skipped, one asked for."""

    def fire(ago: float, **values: Any) -> Fire:
        instant = AT - ago
        known: dict[str, Any] = {
            "fire_id": fire_id(schedule, instant),
            "schedule": schedule,
            "family": "repo/sync",
            "kind": FireKind.SCHEDULED,
            "instant": instant,
            "decided_at": instant + 0.2,
            "late": False,
            "decision": FireDecision.STARTED,
            "via": "queue",
            "work_id": item_id("repo/sync", int(ago)),
            "outcome": "succeeded",
            "ended_at": instant + 31.0,
        }
        return Fire(**(known | values))

    asked = f"{schedule}@01km0000000000000000000041"
    return [
        fire(566.0, outcome=None, ended_at=None, late=True, decided_at=AT - 540.0, stands=WorkStand.RUNNING),
        fire(1466.0, outcome="failed", kind=FireKind.CAUGHT_UP, late=True, missed_before=2),
        fire(2366.0, decision=FireDecision.OVERLAP, work_id=None, outcome=None, ended_at=None),
        fire(
            2400.0,
            fire_id=asked,
            work_id=asked,
            via="restate",
            kind=FireKind.ASKED,
            instant=None,
            actor="ana@desk",
        ),
        fire(3266.0),
    ]


def fire_id(schedule: str, at: float) -> str:
    return f"{schedule}@{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def settings(folder: Path, *, refresh_s: float = 0.2) -> Settings:
    return Settings(state_dir=folder, refresh_s=refresh_s, probe_deadline_s=0.5)


def console(
    operator: MemoryOperator,
    *,
    starter: Starter | None = None,
    theme: str = "joelclaw-dark",
    now: Callable[[], float] = frozen_now,
    sight_s: float = 0.0,
) -> ConsoleApp:
    """A console that depends on nothing of this machine: shipped themes only, a frozen clock, no blinking."""
    nowhere = operator.settings.state / "no-themes"
    themes: Themes = load_themes(nowhere)
    return ConsoleApp(
        operator, starter=starter, theme=theme, themes=themes, actor="ana@desk", now=now, sight_s=sight_s
    )
