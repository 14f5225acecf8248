"""One run: where it stands, its last failure in full, and its journal. Read again while it is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.worker import Worker

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.columns import Column
from joelclaw_tui.presentation.marks import run_mark
from joelclaw_tui.presentation.text_layout import Span, cell
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.presentation.words import waits_words
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.screens.base import DrillScreen
from joelclaw_tui.tui.screens.detail import fact
from joelclaw_tui.tui.screens.problem import problem_content
from joelclaw_tui.tui.verb_keys import Chosen, is_verb, offered, press
from joelclaw_tui.tui.view import Problem
from joelclaw_tui.tui.widgets.cells import Row
from joelclaw_tui.tui.widgets.live_table import LiveTable
from joelclaw_tui.tui.widgets.table_box import TableBox
from joelclaw_tui.tui.widgets.told import Told
from joelclaw_tui.tui.widgets.tones import mark_content, toned
from runtime.actions.intents import Intent
from runtime.common.text import many_lines, one_line
from runtime.model import JournalEntry, NotFound, RunView, parse_run_id

JOURNAL_LIMIT = 200
EVERY_S = 2.0
"""How often it is read again: an ended one too, whose ages go on and which may be purged or restarted."""


class RunScreen(DrillScreen):
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.RUN)]

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self.run_id = run_id
        self.view: RunView | None = None
        self._read_at: float | None = None
        self._read_by: Worker[None] | None = None
        self.facts = Told(id="facts", classes="facts")
        self.table = LiveTable(
            (
                Column("#", 4, align="right"),
                Column("ENTRY", 22, flex=1),
                Column("NAME", 14, flex=1),
                Column("AGO", 6, align="right", drop=2),
                Column("DETAIL", 20, flex=3, drop=1, cut="reason"),
            ),
            empty="Reading …",
            opens=False,
            markable=False,
            id="entries",
        )

    def compose_body(self) -> Iterable[Widget]:
        yield self.facts
        yield TableBox(self.table)

    def on_mount(self) -> None:
        self.body.border_title = Content(f"run {one_line(self.run_id, 60)}")
        self.set_interval(EVERY_S, self._live)
        self.table.focus()
        self.action_read_again()

    def _live(self) -> None:
        """Only while it is looked at. One reading at a time: a slow one is waited for, so that its trouble is
        told."""
        idle = self._read_by is None or self._read_by.is_finished
        if self.is_seen and idle and not self.host.view.held:
            self.action_read_again()

    def action_read_again(self) -> None:
        self._read_by = self.run_worker(self._read(), exclusive=True)

    async def _read(self) -> None:
        what = f"run {one_line(self.run_id, 60)}"
        found = await self.host.look(self.host.source.run(self.run_id), what)
        if isinstance(found, Problem):
            known = [] if self.view is None else run_facts(self.view, self.host.now())
            self.facts.update(Content("\n").join([problem_content(found), *self._as_it_was(), *known]))
            self.table.set_empty("? Its journal can't be read", "ctrl+r reads again")
            return
        if found is None:
            self.view = None
            self.facts.update(
                toned(
                    "Restate doesn't know this run: it was not admitted yet, or its journal's time is over.",
                    Tone.WARN,
                )
            )
            self.table.set_empty("No journal", "i opens the item")
            return
        self.view, self._read_at = found, self.host.now()
        self.facts.update(Content("\n").join(run_facts(found, self.host.now())))
        entries = await self.host.look(
            self.host.source.journal(found.invocation_id, limit=JOURNAL_LIMIT), "its journal"
        )
        if isinstance(entries, Problem):
            self.table.set_empty(f"? {entries.message}", entries.fix or "ctrl+r reads again")
            journal = toned("Its journal can't be read now: this is how it was.", Tone.WARN)
            self.facts.update(Content("\n").join([journal, *run_facts(found, self.host.now())]))
        else:
            self.table.set_empty("The journal is empty", "")
            self.table.set_rows(_rows(entries, self.host.now()))

    def offers(self, action: str) -> bool:
        """An ended run is neither cancelled, killed nor resumed."""
        return self.view is None or not is_verb(action) or offered(action, [self.view])

    def _as_it_was(self) -> list[Content]:
        if self._read_at is None:
            return []
        return [toned(f"This is how it was {units.length(self.host.now() - self._read_at)} ago.", Tone.WARN)]

    def action_verb(self, key_id: str) -> None:
        press(self, key_id, Chosen((self.run_id,)), self._act)

    def _act(self, intent: Intent) -> None:
        self.host.act(intent, lambda _receipt: self.action_read_again())

    def action_open_item(self) -> None:
        try:
            item_id, _ = parse_run_id(self.run_id)
        except NotFound as error:
            self.host.hint(error.message)
        else:
            self.host.open_item(item_id)


def run_facts(run: RunView, now: float) -> list[Content]:
    mark = run_mark(run.status.value, None if run.outcome is None else run.outcome.value)
    tries = "no longer known" if run.tries is None else f"{run.tries} in this attempt"
    if run.next_try_at is not None:
        tries += f", the next {units.ahead(run.next_try_at - now)}"
    facts = [
        fact("state", mark_content(mark)),
        fact("family", toned(one_line(run.family or "unknown", 100))),
        fact("invocation", toned(one_line(run.invocation_id, 100))),
        fact("tries", toned(tries)),
        fact("started", toned(_ago(run.created_at, now))),
    ]
    if run.completed_at is not None:
        facts.append(fact("ended", toned(_ago(run.completed_at, now))))
    if run.deployment is not None:
        facts.append(fact("worker", toned(one_line(run.deployment, 200))))
    if run.waits_for is not None:
        facts.append(fact("waits for", toned(waits_words(run.waits_for, now))))
    if run.last_failure:
        facts.append(fact("last failure", toned(many_lines(run.last_failure, 600), Tone.WARN)))
    return facts


def _ago(at: float | None, now: float) -> str:
    return "unknown" if at is None else f"{units.length(now - at)} ago"


def _rows(entries: Sequence[JournalEntry], now: float) -> list[Row]:
    return [
        Row(
            key=str(entry.index),
            cells=(
                Span(str(entry.index), Tone.DIM),
                cell(entry.kind),
                cell(entry.name or "", Tone.INFO),
                Span(units.length(None if entry.at is None else now - entry.at, compact=True), Tone.DIM),
                cell(entry.detail or "", Tone.DIM),
            ),
        )
        for entry in entries
    ]
