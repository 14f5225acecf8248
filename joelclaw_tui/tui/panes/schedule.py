"""The schedule: what the clock starts when, and what came of its fires. What needs somebody is on top."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.columns import SCHEDULES, FrontEnd, Look, cells_of, shown_by
from joelclaw_tui.presentation.marks import fires_known, schedule_mark
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.host import settled_targets
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.panes.base import BasePane
from joelclaw_tui.tui.verb_keys import Chosen, is_verb, offered, press
from joelclaw_tui.tui.widgets.cells import Row
from joelclaw_tui.tui.widgets.live_table import LiveTable
from joelclaw_tui.tui.widgets.tones import advice, joined, tally, toned
from runtime.actions.intents import Intent
from runtime.common.text import one_line
from runtime.truth.document import Boundary, ClockData, ScheduleRow, Snapshot


class SchedulePane(BasePane):
    NUMBER = 2
    NAME = "schedule"
    SYSTEM = "clock"
    COLUMNS = shown_by(SCHEDULES, FrontEnd.CONSOLE)
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.SCHEDULE)]

    def boundary(self, snapshot: Snapshot) -> Boundary[object]:
        return snapshot.boundaries.clock  # type: ignore[return-value]  # read-only use of its envelope

    def rows(self, snapshot: Snapshot) -> list[Row]:
        data = snapshot.boundaries.clock.data
        schedules = [] if data is None else data.schedules.items
        # By name within each rank of urgency: rows move when a state changes, not with each fire.
        ordered = sorted(schedules, key=lambda s: (schedule_mark(s).urgency, s.name))
        look = Look(self.host.now(), compact=True)
        return [_row(schedule, look) for schedule in ordered]

    def summary_of(self, snapshot: Snapshot) -> list[Content]:
        data = snapshot.boundaries.clock.data
        return [] if data is None else _totals(data, self.host.now())

    def foot_of(self, snapshot: Snapshot, key: str) -> Content:
        schedule = schedule_row(snapshot, key)
        if schedule is None:
            return Content()
        facts = [
            toned(one_line(schedule.name, 60), bold=True),
            toned(f"{one_line(schedule.cron, 60)} {one_line(schedule.timezone, 40)}", Tone.DIM),
            toned(starts_words(schedule), Tone.DIM),
        ]
        if schedule.overlap is not None and schedule.misfire is not None:
            rules = f"overlap {one_line(schedule.overlap, 20)}, misfire {one_line(schedule.misfire, 20)}"
            facts.append(toned(rules, Tone.DIM))
        return Content("\n").join([schedule_sentence(schedule), joined(facts)])

    def empty_of(self, snapshot: Snapshot) -> tuple[str, str]:
        return "No schedules", "Declare one in the lane file: [schedules.NAME] with cron, timezone and family"

    # --- keys

    def offers(self, action: str) -> bool:
        snapshot, chosen = self.host.view.snapshot, frozenset(self.table.chosen)
        data = None if snapshot is None else snapshot.boundaries.clock.data
        rows = [] if data is None else data.schedules.items
        here = [row for row in rows if row.name in chosen]
        return offered(action, here) if is_verb(action) else bool(here)

    def action_verb(self, key_id: str) -> None:
        if targets := self.table.chosen:
            press(self, key_id, Chosen(targets), self._act)

    def _act(self, intent: Intent) -> None:
        self.host.act(intent, lambda receipt: self.table.unmark(settled_targets(receipt)))

    def on_live_table_opened(self, message: LiveTable.Opened) -> None:
        message.stop()
        self.host.open_schedule(message.key)


def schedule_row(snapshot: Snapshot, name: str) -> ScheduleRow | None:
    """The row of that schedule; None when the snapshot has none."""
    data = snapshot.boundaries.clock.data
    return None if data is None else next((s for s in data.schedules.items if s.name == name), None)


def starts_words(schedule: ScheduleRow) -> str:
    """What it starts, and by which way."""
    if schedule.family is None:
        return "not in the lane file"
    via = "" if schedule.via is None else f" via {schedule.via}"
    return f"starts {one_line(schedule.family, 60)}{via}"


def schedule_sentence(schedule: ScheduleRow, *, opens: str = "its fires") -> Content:
    """The one thing to know about a schedule, and the key that helps; ``opens``: what Enter shows."""
    if schedule.enabled is None:
        told = one_line(schedule.drift or "the clock has no job for it", 120)
        return advice(f"Never starts: {told}.", "f", "what to do")
    if schedule.missed:
        told = (
            f"{units.count(schedule.missed)} instants passed without a fire"
            if schedule.missed > 1
            else ("An instant passed without a fire")
        )
        return advice(f"{told}, not made up for.", "n", "run now")
    if (mark := schedule_mark(schedule)).word == "failed":
        ended = one_line(schedule.last_outcome or "", 30)
        return advice(f"The work of its last fire: {ended}.", "⏎", opens)
    if schedule.call_failed_at is not None:
        why = one_line(schedule.call_error or "it does not say why", 120)
        return advice(f"The clock's last call failed: {why}.", "f", "what to do")
    if schedule.drift is not None:
        return advice(
            f"The clock's job is not the lane file's: {one_line(schedule.drift, 120)}.", "f", "what to do"
        )
    if not schedule.drift_known:
        return advice("Whether it drifted is unknown: the gateway's address is not known.", "f", "what to do")
    if not fires_known(schedule):
        return advice("The record of its fires can't be read.", "f", "what to do")
    if not schedule.enabled:
        return advice("Disabled: the clock starts it no more.", "e", "enable")
    if mark.word == "refused":
        why = one_line(schedule.last_reason or "its work was not taken in", 160)
        return advice(f"Its last fire was refused: {why}.", "n", "run now")
    if mark.word == "held":
        return advice("What it started is held: the family is paused.", "1", "backlog")
    if schedule.running:
        late = "; it came late" if schedule.late else ""
        return toned(f"The work of its last fire goes on{late}.", Tone.DIM)
    if schedule.waiting:
        return toned("What it started waits for its turn.", Tone.DIM)
    if schedule.late:
        return toned("Its last fire came late.", Tone.DIM)
    return toned("Nothing to do here.", Tone.DIM)


def _row(schedule: ScheduleRow, look: Look) -> Row:
    return Row(
        key=schedule.name,
        cells=cells_of(SchedulePane.COLUMNS, schedule, look),
        search=f"{schedule.last_fire or ''} {schedule.drift or ''}",
    )


def _totals(data: ClockData, now: float) -> list[Content]:
    schedules = data.schedules.items
    due = [s for s in schedules if s.enabled and s.next is not None]
    first = min(due, key=lambda s: (s.next, s.name), default=None)
    parts = [
        tally(data.schedules.total, "schedule" if data.schedules.total == 1 else "schedules", Tone.PLAIN)
    ]
    if first is not None and first.next is not None:
        when = units.ahead(first.next.timestamp() - now)
        parts.append(toned(f"next {one_line(first.name, 30)} {when}", Tone.DIM))
    known = all(fires_known(s) for s in schedules)
    figures = (
        (sum(bool(s.running) for s in schedules) if known else None, "running", Tone.OK),
        (sum(bool(s.held) for s in schedules) if known else None, "held", Tone.HELD),
        (sum(s.missed or 0 for s in schedules) if known else None, "missed", Tone.WARN),
        (sum(bool(s.late) for s in schedules) if known else None, "late", Tone.WARN),
        (sum(s.enabled is False for s in schedules), "disabled", Tone.HELD),
        (
            sum(s.drift is not None for s in schedules) if all(s.drift_known for s in schedules) else None,
            "drifted",
            Tone.WARN,
        ),
    )
    parts += [tally(number, word, tone) for number, word, tone in figures]
    parts.append(
        toned(
            f"{data.engine}, no leader"
            if data.leader is None
            else f"{data.engine} led by {one_line(data.leader, 30)}",
            Tone.WARN if data.leader is None else Tone.DIM,
        )
    )
    if data.foreign:
        parts.append(toned(f"{units.count(data.foreign)} jobs of others, left alone", Tone.DIM))
    if data.schedules.truncated:
        parts.append(toned(f"{len(schedules)} of {data.schedules.total:,} schedules shown", Tone.WARN))
    return parts
