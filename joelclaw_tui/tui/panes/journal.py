"""The journal: what Restate runs and what already happened, unhealthiest first."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.columns import RUNS, FrontEnd, Look, cells_of, shown_by
from joelclaw_tui.presentation.marks import run_mark, run_row_mark
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.host import settled_targets
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.panes.base import BasePane
from joelclaw_tui.tui.verb_keys import Chosen, is_verb, offered, press
from joelclaw_tui.tui.widgets.cells import Row
from joelclaw_tui.tui.widgets.live_table import LiveTable
from joelclaw_tui.tui.widgets.tones import joined, toned
from runtime.actions.intents import Intent
from runtime.common.text import one_line
from runtime.model import NotFound, RunStatus, parse_run_id
from runtime.truth.document import Boundary, RunRow, Snapshot

_ORDER = (
    RunStatus.PAUSED,
    RunStatus.BACKING_OFF,
    RunStatus.SUSPENDED,
    RunStatus.RUNNING,
    RunStatus.READY,
    RunStatus.PENDING,
    RunStatus.SCHEDULED,
)
"""Counts are told in this order: what needs somebody first."""


class JournalPane(BasePane):
    NUMBER = 3
    NAME = "journal"
    SYSTEM = "restate"
    COLUMNS = shown_by(RUNS, FrontEnd.CONSOLE)
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.JOURNAL)]

    def boundary(self, snapshot: Snapshot) -> Boundary[object]:
        return snapshot.boundaries.durable  # type: ignore[return-value]  # read-only use of its envelope

    def rows(self, snapshot: Snapshot) -> list[Row]:
        data = snapshot.boundaries.durable.data
        look = Look(self.host.now(), compact=True)
        return [] if data is None else [_row(run, look) for run in data.runs.items]

    def summary_of(self, snapshot: Snapshot) -> list[Content]:
        data = snapshot.boundaries.durable.data
        if data is None:
            return []
        known = [status.value for status in _ORDER]
        names = [name for name in known if data.live.get(name)] + [
            name for name in data.live if name not in known
        ]
        parts = [
            Content.assemble(
                toned(units.count(data.live[name]), run_mark(name, None).tone, bold=True),
                toned(f" {run_mark(name, None).word}", Tone.DIM),
            )
            for name in names
        ] or [toned("nothing runs", Tone.DIM)]
        if data.runs.truncated:
            parts.append(toned(f"{len(data.runs.items)} of {data.runs.total:,} runs shown", Tone.WARN))
        ended = Counter(run_row_mark(run).word for run in data.runs.items if run.completed_at is not None)
        if ended:
            told = ", ".join(f"{units.count(number)} {word}" for word, number in ended.items())
            parts.append(toned(f"ended, of those below: {told}", Tone.DIM))
        return parts

    def foot_of(self, snapshot: Snapshot, key: str) -> Content:
        run = self._run(snapshot, key)
        if run is None:
            return Content()
        first = joined(
            [toned(one_line(run.run_id, 60), bold=True), toned(one_line(run.invocation_id, 60), Tone.DIM)]
        )
        return Content("\n").join([_sentence(run), first])

    def empty_of(self, snapshot: Snapshot) -> tuple[str, str]:
        return "No runs", "A run appears here when the drainer admits an item"

    # --- keys

    def offers(self, action: str) -> bool:
        snapshot, chosen = self.host.view.snapshot, frozenset(self.table.chosen)
        data = None if snapshot is None else snapshot.boundaries.durable.data
        rows = [] if data is None else data.runs.items
        here = [run for run in rows if run.run_id in chosen]
        return offered(action, here) if is_verb(action) else bool(here)

    def action_verb(self, key_id: str) -> None:
        if targets := self.table.chosen:
            press(self, key_id, Chosen(targets), self._act)

    def _act(self, intent: Intent) -> None:
        self.host.act(intent, lambda receipt: self.table.unmark(settled_targets(receipt)))

    def action_open_item(self) -> None:
        if self.table.cursor_key is None:
            return
        try:
            item_id, _ = parse_run_id(self.table.cursor_key)
        except NotFound as error:
            self.host.hint(error.message)
        else:
            self.host.open_item(item_id)

    def on_live_table_opened(self, message: LiveTable.Opened) -> None:
        message.stop()
        self.host.open_run(message.key)

    def _run(self, snapshot: Snapshot, run_id: str) -> RunRow | None:
        data = snapshot.boundaries.durable.data
        return None if data is None else next((run for run in data.runs.items if run.run_id == run_id), None)


def _row(run: RunRow, look: Look) -> Row:
    return Row(key=run.run_id, cells=cells_of(JournalPane.COLUMNS, run, look), search=run.invocation_id)


def _sentence(run: RunRow) -> Content:
    if run.last_failure:
        return toned(one_line(run.last_failure, 300), Tone.WARN if run.completed_at is None else Tone.DIM)
    return toned("No failure so far." if run.completed_at is None else "No failure.", Tone.DIM)
