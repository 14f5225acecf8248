"""The backlog: what waits in Redis, by family. What needs somebody is on top, then what is held."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.columns import FAMILIES, FrontEnd, Look, cells_of, shown_by
from joelclaw_tui.presentation.marks import COUNTS, family_mark
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.presentation.words import diagnosis_words, removed_words, throttled_words
from joelclaw_tui.tui.host import settled_targets
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.offers import family_offers
from joelclaw_tui.tui.panes.base import BasePane
from joelclaw_tui.tui.screens.ask import AskScreen, count_answer
from joelclaw_tui.tui.screens.terms import Terms, TermsScreen
from joelclaw_tui.tui.widgets.cells import Row
from joelclaw_tui.tui.widgets.live_table import LiveTable
from joelclaw_tui.tui.widgets.tones import advice, joined, tally, toned
from runtime.actions.intents import Intent
from runtime.actions.subjects.pauses import EndTerms
from runtime.actions.verbs.pause import PauseTerms
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
        snapshot, chosen = self.host.view.snapshot, frozenset(self.table.chosen)
        data = None if snapshot is None else snapshot.boundaries.pressure.data
        everything = [] if data is None else data.families.items
        return family_offers(action, [f for f in everything if f.name in chosen], everything)

    def action_pause(self) -> None:
        self._act(Intent("pause", self.table.chosen))

    def action_resume(self) -> None:
        self._act(Intent("resume", self.table.chosen))

    def action_pause_with(self) -> None:
        targets = self.table.chosen
        if not targets:
            return

        def answered(terms: Terms | None) -> None:
            if terms is not None:
                self._act(
                    Intent(
                        "pause",
                        targets,
                        reason=terms.reason,
                        terms=PauseTerms(self._end(terms), terms.mode),
                    )
                )

        note = "Only this; the other families go on." if len(targets) == 1 else "The other families go on."
        self.app.push_screen(
            TermsScreen(f"Pause {_named(targets)}", note, length="30m", modes=True), answered
        )

    def action_extend(self) -> None:
        targets = self.table.chosen
        if not targets:
            return

        def answered(terms: Terms | None) -> None:
            if terms is not None:
                self._act(Intent("extend", targets, terms=EndTerms(self._end(terms))))

        note = "From now on; who paused it, why and since when stay."
        question = f"Extend the pause of {_named(targets)}"
        self.app.push_screen(TermsScreen(question, note, length="1h", reason=False), answered)

    def action_hold_lane(self) -> None:
        snapshot = self.host.view.snapshot
        if snapshot is None:
            return

        def answered(terms: Terms | None) -> None:
            if terms is not None:
                self.host.act(Intent("hold-lane", (), reason=terms.reason, terms=EndTerms(self._end(terms))))

        lane = one_line(snapshot.lane, 40)
        note = (
            "Every family, marked or not, and those that are declared later. "
            "L releases the lane; families' own pauses are another thing, and stay."
        )
        self.app.push_screen(TermsScreen(f"Hold the WHOLE lane {lane}", note, length="30m"), answered)

    def action_release_lane(self) -> None:
        self.host.act(Intent("release-lane", ()))

    def action_restore(self) -> None:
        self._act(Intent("restore", self.table.chosen))

    def _end(self, terms: Terms) -> float | None:
        return None if terms.for_s is None else self.host.now() + terms.for_s

    def action_replay(self) -> None:
        targets = self.table.chosen
        snapshot = self.host.view.snapshot
        if not targets or snapshot is None:
            return
        families = [self._family(snapshot, name) for name in targets]
        dead = sum(family.dead for family in families if family is not None)
        ceiling = self.host.view.settings.action_ceiling

        def answered(limit: float | None) -> None:
            if limit is not None:
                self._act(Intent("replay", targets, limit=int(limit)))

        question = f"Replay how many dead items of {_named(targets)}?"
        hint = f"{dead:,} dead at the last look; at most {ceiling:,} in one action"
        first = str(max(1, min(dead, ceiling)))
        self.app.push_screen(AskScreen(question, first, count_answer(ceiling), hint=hint), answered)

    def action_open_day(self) -> None:
        if self.table.cursor_key is not None:
            self.host.open_family(self.table.cursor_key)

    def on_live_table_opened(self, message: LiveTable.Opened) -> None:
        message.stop()
        self.host.open_items(message.key)

    def _act(self, intent: Intent) -> None:
        if intent.targets:
            self.host.act(intent, lambda receipt: self.table.unmark(settled_targets(receipt)))

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
