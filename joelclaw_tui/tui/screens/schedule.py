"""One schedule: what it starts when, and its fires, the latest first. Enter opens the work of a fire."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.content import Content

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.columns import FIRES, FrontEnd, Look, cells_of, next_start, shown_by
from joelclaw_tui.presentation.marks import READABLE, schedule_mark
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.panes.schedule import schedule_row, schedule_sentence, starts_words
from joelclaw_tui.tui.screens.listing import ListingScreen
from joelclaw_tui.tui.screens.problem import problem_content
from joelclaw_tui.tui.verb_keys import Chosen, press
from joelclaw_tui.tui.view import Problem, View
from joelclaw_tui.tui.widgets.cells import Row
from joelclaw_tui.tui.widgets.live_table import LiveTable
from joelclaw_tui.tui.widgets.tones import flowed, joined, mark_content, tally, toned
from runtime.actions.intents import Intent
from runtime.common.text import one_line
from runtime.model import Fire, FireDecision, run_id_of
from runtime.truth.document import ScheduleRow

LIMIT = 100


class ScheduleScreen(ListingScreen):
    """The facts go with the snapshots; the fires are read again when these tell of another one."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.FIRES)]

    def __init__(self, schedule: str) -> None:
        super().__init__(
            LiveTable(
                shown_by(FIRES, FrontEnd.CONSOLE),
                empty="Reading …",
                markable=False,
                id="fires",
            )
        )
        self.schedule = schedule
        self._fires: dict[str, Fire] = {}
        self._told: tuple[object, ...] | None = None
        self._problem: Problem | None = None

    def title_text(self) -> str:
        return one_line(self.schedule, 60)

    def on_mount(self) -> None:
        self.action_read_again()

    # --- showing

    def show(self, view: View) -> None:
        super().show(view)
        self._draw_about()
        self._draw_rows()
        row = self._row()
        told = (
            None
            if row is None
            else (row.last_fire, row.last_decision, row.last_outcome, row.running, row.held, row.waiting)
        )
        if told is not None and self._told is not None and told != self._told:
            self.action_read_again()
        self._told = told or self._told

    def _row(self) -> ScheduleRow | None:
        snapshot = self.host.view.snapshot
        return None if snapshot is None else schedule_row(snapshot, self.schedule)

    def on_resize(self, event: events.Resize) -> None:
        self._draw_about()

    def _draw_about(self) -> None:
        snapshot, row = self.host.view.snapshot, self._row()
        width = max(20, self.size.width - 6)
        lines: list[Content] = []
        if snapshot is None or row is None:
            lines.append(toned("The last snapshot has no such schedule.", Tone.WARN))
        else:
            lines.append(flowed(_facts(row, self.host.now()), width))
            if snapshot.boundaries.clock.status in READABLE:
                lines.append(schedule_sentence(row, opens="what a fire started"))
            else:
                lines.append(toned("The clock can't be read: this is how it was.", Tone.WARN))
        if self._problem is not None:
            lines.append(problem_content(self._problem))
        self.about.update(Content("\n").join(lines))

    def foot_of(self, key: str) -> Content:
        fire = self._fires.get(key)
        return Content() if fire is None else Content("\n").join([_fire_sentence(fire), _fire_facts(fire)])

    # --- reading

    def action_read_again(self) -> None:
        self.run_worker(self._read(), exclusive=True)

    async def _read(self) -> None:
        found = await self.host.look(
            self.host.source.fires(self.schedule, LIMIT), f"the fires of {one_line(self.schedule, 60)}"
        )
        if isinstance(found, Problem):
            self._problem = found
            self.table.set_empty("? Its fires can't be read", "ctrl+r reads again")
        else:
            self._problem = None
            self._fires = {fire.fire_id: fire for fire in found}
            self.table.set_empty("No fires on record", "n starts it now")
            self._draw_rows()
        self._draw_about()

    def _draw_rows(self) -> None:
        look = Look(self.host.now(), compact=True)
        self.table.set_rows(_fire_row(fire, look) for fire in self._fires.values())

    # --- keys

    def action_verb(self, key_id: str) -> None:
        press(self, key_id, Chosen((self.schedule,)), self._act)

    def _act(self, intent: Intent) -> None:
        self.host.act(intent, lambda _receipt: self.action_read_again())

    def on_live_table_opened(self, message: LiveTable.Opened) -> None:
        message.stop()
        fire = self._fires.get(message.key)
        if fire is None:
            return
        if fire.work_id is None:
            self.host.hint("This fire started no work.")
        elif fire.work_id == fire.fire_id:
            self.host.open_run(run_id_of(fire.work_id, 1))
        else:
            self.host.open_item(fire.work_id)


def _facts(row: ScheduleRow, now: float) -> list[Content]:
    coming = next_start(row, Look(now))
    facts = [
        mark_content(schedule_mark(row)),
        toned(f"{one_line(row.cron, 80)} {one_line(row.timezone, 60)}"),
        Content.assemble(toned("next ", Tone.DIM), toned(coming.text, coming.tone)),
        toned(starts_words(row)),
        *(
            Content.assemble(toned(f"{label} ", Tone.DIM), toned(one_line(rule, 30)))
            for label, rule in (("overlap", row.overlap), ("misfire", row.misfire))
            if rule is not None
        ),
        tally(row.missed, "missed", Tone.WARN),
    ]
    if not row.drift_known:
        facts.append(toned("drift unknown", Tone.WARN))
    if row.drift is not None:
        facts.append(toned(f"drift: {one_line(row.drift, 200)}", Tone.WARN))
    return facts


def _fire_row(fire: Fire, look: Look) -> Row:
    cells = cells_of(shown_by(FIRES, FrontEnd.CONSOLE), fire, look)
    return Row(key=fire.fire_id, cells=cells, search=fire.work_id or "")


_WHY = {
    FireDecision.STARTED: "Its work was started",
    FireDecision.HELD: "Its work is queued and held: the family is paused",
    FireDecision.DUPLICATE: "Nothing: this instant was decided before",
    FireDecision.OVERLAP: "Nothing was started: the fire before was still at work",
    FireDecision.MISFIRE: "Nothing was started: it came too late for this schedule's misfire rule",
    FireDecision.UNDECLARED: "Nothing was started: the lane file no longer has the schedule or its family",
    FireDecision.REFUSED: "Nothing was started: its work was not taken in",
    FireDecision.MISSED: "No call came for this instant",
    FireDecision.NOT_DUE: "Nothing: it was not due",
    FireDecision.UNREADABLE: "What is on record of it can't be read",
}


def _fire_sentence(fire: Fire) -> Content:
    told = _WHY[fire.decision]
    if fire.reason is not None:
        told += f": {one_line(fire.reason, 200)}"
    if fire.late and fire.instant is not None:
        told += f", {units.length(fire.decided_at - fire.instant)} late"
    if fire.missed_before:
        told += f"; {fire.missed_before:,} instants before it are not made up for"
    return toned(f"{told}.", Tone.WARN if fire.late or fire.missed_before else Tone.DIM)


def _fire_facts(fire: Fire) -> Content:
    facts = [toned(one_line(fire.fire_id, 100), bold=True)]
    if fire.work_id is not None and fire.work_id != fire.fire_id:
        facts.append(toned(f"item {one_line(fire.work_id, 60)}", Tone.DIM))
    return joined(facts)
