"""The backlog: what waits in Redis, by family. What needs somebody is on top, then what is held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.columns import FAMILIES, FrontEnd, Look, cells_of, shown_by
from joelclaw_tui.presentation.marks import COUNTS, family_mark
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.presentation.words import diagnosis_words, removed_words, throttled_words
from joelclaw_tui.tui.host import settled_targets
from joelclaw_tui.tui.keymap import VERB_KEYS, KeyScope, bindings
from joelclaw_tui.tui.panes.base import BasePane
from joelclaw_tui.tui.verb_keys import Chosen, is_verb, offered, press, subject_of
from joelclaw_tui.tui.widgets.cells import Row
from joelclaw_tui.tui.widgets.live_table import LiveTable
from joelclaw_tui.tui.widgets.tones import advice, joined, tally, toned
from runtime.actions.intents import Intent
from runtime.actions.verb import Subject
from runtime.common.command_prefix import as_called
from runtime.common.text import one_line
from runtime.truth.document import Boundary, FamilyRow, PauseInfo, PressureData, Snapshot


class BacklogPane(BasePane):
    NUMBER = 1
    NAME = "backlog"
    SYSTEM = "redis"
    COLUMNS = shown_by(FAMILIES, FrontEnd.CONSOLE)
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.BACKLOG)]

    def boundary(self, snapshot: Snapshot) -> Boundary[object]:
        return snapshot.boundaries.pressure  # type: ignore[return-value]  # read-only use of its envelope

    def rows(self, snapshot: Snapshot) -> list[Row]:
        data = snapshot.boundaries.pressure.data
        families = [] if data is None else data.families.items
        # By name within each rank of urgency: rows move when a state changes, not with each figure.
        ordered = sorted(families, key=lambda family: (family_mark(family).urgency, family.name))
        look = Look(self.host.now(), compact=True)
        return [_row(family, look) for family in ordered]

    def summary_of(self, snapshot: Snapshot) -> list[Content]:
        data = snapshot.boundaries.pressure.data
        return [] if data is None else _totals(data)

    def foot_of(self, snapshot: Snapshot, key: str) -> Content:
        family = self._family(snapshot, key)
        if family is None:
            return Content()
        levels = [
            toned(f"{units.count(n)} at {level}", Tone.DIM) for level, n in family.by_priority.items() if n
        ]
        facts = [
            toned(one_line(family.name, 60), bold=True),
            toned(
                f"{units.count(family.enqueued_per_min)} in, {units.count(family.settled_per_min)} settled, "
                f"{units.count(family.failed_per_min)} of them failed, per minute",
                Tone.DIM,
            ),
        ]
        if family.eta_s is not None:
            facts.append(toned(f"drained in about {units.length(family.eta_s)}", Tone.DIM))
        if levels:
            facts.append(joined(levels, ", "))
        if family.priority:
            facts.append(toned(f"default {one_line(family.priority, 4)}", Tone.DIM))
        return Content("\n").join([_sentence(family, self.host.now()), joined(facts)])

    def empty_of(self, snapshot: Snapshot) -> tuple[str, str]:
        return (
            "No families and nothing queued",
            as_called("Declare one in the lane file, then: `joelclaw-tui enqueue FAMILY`"),
        )

    # --- keys

    def offers(self, action: str) -> bool:
        everything = self._families()
        chosen = frozenset(self.table.chosen)
        rows = [family for family in everything if family.name in chosen]
        if not is_verb(action):
            return bool(rows)
        return offered(action, everything if subject_of(action) is Subject.LANE else rows)

    def action_verb(self, key_id: str) -> None:
        if VERB_KEYS[key_id][0].subject is Subject.LANE:
            if self.host.view.snapshot is not None:
                press(self, key_id, Chosen(()), self.host.act)
            return
        if targets := self.table.chosen:
            rows = [family for family in self._families() if family.name in targets]
            press(self, key_id, Chosen(targets, _named(targets), rows), self._act)

    def action_open_day(self) -> None:
        if self.table.cursor_key is not None:
            self.host.open_family(self.table.cursor_key)

    def on_live_table_opened(self, message: LiveTable.Opened) -> None:
        message.stop()
        self.host.open_items(message.key)

    def _act(self, intent: Intent) -> None:
        self.host.act(intent, lambda receipt: self.table.unmark(settled_targets(receipt)))

    def _families(self) -> Sequence[FamilyRow]:
        snapshot = self.host.view.snapshot
        data = None if snapshot is None else snapshot.boundaries.pressure.data
        return [] if data is None else data.families.items

    def _family(self, snapshot: Snapshot, name: str) -> FamilyRow | None:
        data = snapshot.boundaries.pressure.data
        return None if data is None else next((f for f in data.families.items if f.name == name), None)


def _row(family: FamilyRow, look: Look) -> Row:
    return Row(key=family.name, cells=cells_of(BacklogPane.COLUMNS, family, look))


def _totals(data: PressureData) -> list[Content]:
    """All eight figures, zeros too: a pane that is too narrow for a column still tells its sum."""
    parts = [tally(getattr(data.totals, key), mark.word, mark.tone) for key, mark in COUNTS.items()]
    families = data.families
    if families.truncated:
        parts.append(toned(f"{len(families.items)} of {families.total:,} families shown", Tone.WARN))
    return parts


def _sentence(family: FamilyRow, now: float) -> Content:
    """The one thing to know about a family, and the key that helps."""
    if family.stuck:
        return advice(
            f"Runnable for {units.length(family.oldest_runnable_age_s)} and nothing drains it.",
            "f",
            "what to do",
        )
    if family.failing:
        failed = f"{family.failed_per_min:,} of {family.settled_per_min:,} settled in the last minute failed."
        return advice(failed, "⏎", "what failed")
    if family.paused is not None and family.paused.whole_lane:
        return advice(_pause_text(family.paused, now), "L", "release the lane")
    if family.paused is not None:
        return advice(_pause_text(family.paused, now), "r", "resume")
    if family.removed_since is not None:
        told = removed_words(family, now)
        told = told[0].upper() + told[1:]
        if not family.declared:
            return advice(f"{told}.", "⏎", "its items")
        return advice(f"{told}.", "B", "bring it back")
    if not family.declared:
        return advice(
            "Not in the lane file: its rows can't run until it is declared again.", "⏎", "its items"
        )
    if family.quarantined:
        return advice(f"{family.quarantined:,} in quarantine wait for a person.", "⏎", "its items")
    if family.dead:
        return Content.assemble(
            advice(f"{family.dead:,} dead, kept for replay.", "⏎", "what failed"),
            "   ",
            toned("R ", Tone.INFO, bold=True),
            toned("replay", Tone.DIM),
        )
    if family.throttled:
        return toned(f"{family.throttled:,} {throttled_words(family)}.", Tone.DIM)
    return toned("Nothing to do here.", Tone.DIM)


def _pause_text(pause: PauseInfo, now: float) -> str:
    """Who paused what, for how long, why; a breaker's diagnosis in place of its reason."""
    what = "Paused"
    if pause.whole_lane:
        what = "The whole lane is held"
    elif pause.mode == "drain":
        what = "Takes nothing in, and drains,"
    parts = [f"{what} by {one_line(pause.by, 40)} for {units.length(now - pause.since.timestamp())}"]
    if pause.until is not None:
        parts.append(f", {units.length(pause.until.timestamp() - now)} to go")
    if pause.diagnosis is not None:
        parts.append(f": {diagnosis_words(pause.diagnosis)}")
    elif pause.reason:
        parts.append(f": {one_line(pause.reason, 80)}")
    return "".join(parts)


def _named(targets: tuple[str, ...]) -> str:
    return one_line(targets[0], 50) if len(targets) == 1 else f"{len(targets)} families"
