"""Every key of the console, once. Bindings, key bar, help and the README's table are made from this.

A key has an id (``backlog.pause``) so that settings can re-map it later, and a scope: the place
in which it means something. Within one scope chain no key means two things (a test holds that).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from textual.binding import Binding


class KeyScope(StrEnum):
    """Where a key works; the value is the heading of the help."""

    EVERYWHERE = "Everywhere"
    MAIN = "Panes"
    TABLE = "Tables"
    BACKLOG = "Backlog: families"
    SCHEDULE = "Schedule: what starts when"
    JOURNAL = "Journal: runs"
    ARTIFACTS = "Artifacts: what sandboxes made"
    ITEMS = "Items of a family"
    FAMILY = "One family's last day"
    ITEM = "One item"
    RUN = "One run"
    FIRES = "One schedule"
    ARTIFACT = "One artifact"
    DRILL = "Below the panes"
    PREVIEW = "Preview of an action"
    DIALOG = "Dialogs"
    WORKING = "While something long is under way"
    START = "Start"
    LEAVE = "Leaving"


@dataclass(frozen=True, slots=True)
class KeySpec:
    """One key. ``rank`` orders the key bar: what ranks lower is dropped last; None: help only."""

    id: str
    keys: tuple[str, ...]
    action: str
    label: str
    help: str
    scope: KeyScope
    rank: int | None = None
    shown: str | None = None
    """How the key is written, where Textual's name for it isn't what a person would say."""
    priority: bool = False
    """Works even while a text field has the focus."""

    @property
    def display(self) -> str:
        return self.shown or " ".join(self.keys)


def _key(
    scope: KeyScope,
    name: str,
    keys: str,
    action: str,
    label: str,
    text: str,
    rank: int | None = None,
    shown: str | None = None,
    priority: bool = False,
) -> KeySpec:
    place = scope.name.lower()
    return KeySpec(f"{place}.{name}", tuple(keys.split()), action, label, text, scope, rank, shown, priority)


KEYS: tuple[KeySpec, ...] = (
    _key(
        KeyScope.BACKLOG,
        "pause",
        "p",
        "pause",
        "pause",
        "Pause the family, or the marked ones, until resumed",
        10,
    ),
    _key(
        KeyScope.BACKLOG,
        "pause-with",
        "P",
        "pause_with",
        "pause …",
        "Pause for a length of time, hold or drain, with a reason",
        34,
    ),
    _key(KeyScope.BACKLOG, "extend", "e", "extend", "extend", "Give the pause another end", 45),
    _key(KeyScope.BACKLOG, "resume", "r", "resume", "resume", "Lift the pause", 11),
    _key(
        KeyScope.BACKLOG,
        "replay",
        "R",
        "replay",
        "replay dead",
        "Replay up to N dead items as new attempts",
        12,
    ),
    _key(
        KeyScope.BACKLOG,
        "restore",
        "B",
        "restore",
        "bring back",
        "Bring a removed family's backlog back out of quarantine",
        46,
    ),
    _key(
        KeyScope.BACKLOG,
        "hold-lane",
        "H",
        "hold_lane",
        "hold lane",
        "Hold the whole lane: every family, those declared later too",
        47,
    ),
    _key(
        KeyScope.BACKLOG,
        "release-lane",
        "L",
        "release_lane",
        "release lane",
        "Release the whole lane; families' own pauses stay",
        48,
    ),
    _key(
        KeyScope.BACKLOG, "day", "g", "open_day", "last day", "Show the family's last 24 hours by minute", 39
    ),
    _key(
        KeyScope.SCHEDULE,
        "run",
        "n",
        "schedule_verb('schedule-run')",
        "run now",
        "Start the schedule, or the marked ones now",
        10,
    ),
    _key(
        KeyScope.SCHEDULE,
        "enable",
        "e",
        "schedule_verb('schedule-enable')",
        "enable",
        "Let the clock start the schedule again",
        11,
    ),
    _key(
        KeyScope.SCHEDULE,
        "disable",
        "d",
        "schedule_verb('schedule-disable')",
        "disable",
        "Let the clock start the schedule no more, until enabled",
        12,
    ),
    _key(
        KeyScope.JOURNAL,
        "cancel",
        "c",
        "run_verb('run-cancel')",
        "cancel",
        "Cancel the run; it may clean up",
        10,
    ),
    _key(
        KeyScope.JOURNAL, "kill", "k", "run_verb('run-kill')", "kill", "Kill the run; nothing cleans up", 11
    ),
    _key(
        KeyScope.JOURNAL,
        "resume",
        "u",
        "run_verb('run-resume')",
        "resume",
        "Resume a paused run, or try it at once",
        12,
    ),
    _key(KeyScope.JOURNAL, "item", "i", "open_item", "item", "Open the run's item", 35),
    _key(
        KeyScope.ARTIFACTS,
        "promote",
        "m",
        "promote",
        "promote",
        "Bring the artifact's change, or those of the marked ones, to the repository, as a branch",
        10,
    ),
    _key(
        KeyScope.ARTIFACTS,
        "reject",
        "x",
        "reject",
        "reject",
        "Reject the artifact, or the marked ones, with a reason",
        11,
    ),
    _key(KeyScope.ARTIFACTS, "run", "o", "open_run", "run", "Open the run that made the artifact", 12),
    _key(
        KeyScope.ITEMS,
        "replay",
        "r",
        "bulk('replay')",
        "replay",
        "Replay what the line below the list says",
        10,
    ),
    _key(
        KeyScope.ITEMS,
        "replay-at",
        "R",
        "bulk('replay', True)",
        "replay at",
        "Replay it at a rate: so many new attempts a second",
        40,
    ),
    _key(
        KeyScope.ITEMS,
        "discard",
        "x",
        "bulk('discard')",
        "discard",
        "Discard it, written to a file first if you want",
        11,
    ),
    _key(
        KeyScope.ITEMS,
        "all",
        "asterisk",
        "whole",
        "all",
        "Choose all that match, those beyond the rows in view too",
        12,
        "*",
    ),
    _key(
        KeyScope.ITEMS,
        "match",
        "F",
        "conditions",
        "match",
        "Look for items by conditions, in the whole backlog of the family",
        13,
    ),
    _key(KeyScope.ITEMS, "priority", "p", "bulk('reprioritize')", "priority", "Give it another priority", 41),
    _key(KeyScope.ITEMS, "move", "m", "bulk('move')", "move", "Move it to another family", 42),
    _key(KeyScope.ITEMS, "delay", "w", "bulk('delay')", "delay", "Let none of it be taken for a while", 43),
    _key(
        KeyScope.ITEMS,
        "quarantine",
        "Q",
        "bulk('quarantine')",
        "quarantine",
        "Set it aside until somebody replays or discards it",
        44,
    ),
    _key(KeyScope.ITEMS, "run", "o", "open_run", "run", "Open the run of the item's attempt", 31),
    _key(
        KeyScope.ITEMS,
        "next-state",
        "right l",
        "state(1)",
        "next state",
        "Show the items in the next state",
        14,
        "→",
    ),
    _key(
        KeyScope.ITEMS,
        "previous-state",
        "left h",
        "state(-1)",
        "previous state",
        "Show the items in the state before",
        15,
        "←",
    ),
    _key(KeyScope.ITEMS, "day", "g", "open_day", "last day", "Show the family's last 24 hours by minute", 39),
    _key(KeyScope.FAMILY, "items", "enter", "open_items", "its items", "Open the family's items", 10, "⏎"),
    _key(KeyScope.ITEM, "replay", "r", "replay", "replay", "Replay the item as a new attempt", 10),
    _key(KeyScope.ITEM, "run", "o", "open_run", "run", "Open the run of the current attempt", 12),
    _key(
        KeyScope.RUN, "cancel", "c", "run_verb('run-cancel')", "cancel", "Cancel the run; it may clean up", 10
    ),
    _key(KeyScope.RUN, "kill", "k", "run_verb('run-kill')", "kill", "Kill the run; nothing cleans up", 11),
    _key(
        KeyScope.RUN,
        "resume",
        "u",
        "run_verb('run-resume')",
        "resume",
        "Resume a paused run, or try it at once",
        12,
    ),
    _key(KeyScope.RUN, "item", "i", "open_item", "item", "Open the run's item", 13),
    _key(
        KeyScope.FIRES,
        "run",
        "n",
        "schedule_verb('schedule-run')",
        "run now",
        "Start the schedule now",
        10,
    ),
    _key(
        KeyScope.FIRES,
        "enable",
        "e",
        "schedule_verb('schedule-enable')",
        "enable",
        "Let the clock start it again",
        11,
    ),
    _key(
        KeyScope.FIRES,
        "disable",
        "d",
        "schedule_verb('schedule-disable')",
        "disable",
        "Let the clock start it no more, until enabled",
        12,
    ),
    _key(
        KeyScope.ARTIFACT,
        "promote",
        "m",
        "promote",
        "promote",
        "Bring the artifact's change to its repository, as a branch",
        10,
    ),
    _key(KeyScope.ARTIFACT, "reject", "x", "reject", "reject", "Reject the artifact, with a reason", 11),
    _key(KeyScope.ARTIFACT, "run", "o", "open_run", "run", "Open the run that made it", 14),
    _key(
        KeyScope.ARTIFACT,
        "next-part",
        "tab",
        "part(1)",
        "next part",
        "Change, verification, log, manifest: show the next",
        2,
    ),
    _key(
        KeyScope.ARTIFACT,
        "previous-part",
        "shift+tab",
        "part(-1)",
        "previous part",
        "Show the part before",
        None,
    ),
    _key(KeyScope.ARTIFACT, "next-file", "n", "file(1)", "next file", "To the next changed file", 12),
    _key(
        KeyScope.ARTIFACT, "previous-file", "N", "file(-1)", "previous file", "To the changed file before", 30
    ),
    _key(KeyScope.TABLE, "open", "enter", "open", "open", "Open the row under the cursor", 2, "⏎"),
    _key(
        KeyScope.TABLE,
        "filter",
        "slash",
        "filter",
        "filter",
        "Filter the rows; !text hides what matches",
        20,
        "/",
    ),
    _key(KeyScope.TABLE, "mark", "space", "mark", "mark", "Mark or unmark the row", 30),
    _key(
        KeyScope.TABLE,
        "range",
        "v",
        "range",
        "range",
        "Begin a range; move, then v or space marks its rows",
        35,
    ),
    _key(KeyScope.TABLE, "mark-all", "A", "mark_all", "mark all", "Mark every row shown, or unmark all", 36),
    _key(
        KeyScope.TABLE, "invert", "I", "invert", "invert", "Mark what is not marked, and unmark what is", None
    ),
    _key(KeyScope.TABLE, "move", "up down", "move", "move", "Move by one row", None, "↑ ↓"),
    _key(KeyScope.TABLE, "page", "pageup pagedown", "page", "page", "Move by a page", None, "PgUp PgDn"),
    _key(
        KeyScope.TABLE,
        "ends",
        "home end",
        "ends",
        "ends",
        "To the first row (and follow it), to the last",
        None,
        "Home End",
    ),
    _key(KeyScope.MAIN, "switch", "tab", "switch_pane(1)", "next pane", "Go to the next pane", 15),
    _key(
        KeyScope.MAIN,
        "switch-back",
        "shift+tab",
        "switch_pane(-1)",
        "pane before",
        "Go to the pane before",
        None,
    ),
    _key(KeyScope.MAIN, "backlog", "1", "pane('backlog')", "backlog", "Show the backlog", None),
    _key(KeyScope.MAIN, "schedule", "2", "pane('schedule')", "schedule", "Show the schedule", None),
    _key(KeyScope.MAIN, "journal", "3", "pane('journal')", "journal", "Show the journal", None),
    _key(KeyScope.MAIN, "artifacts", "4", "pane('artifacts')", "artifacts", "Show the artifacts", None),
    _key(KeyScope.MAIN, "hold", "z", "app.hold", "hold still", "Hold the screen still, or let it go on", 33),
    _key(
        KeyScope.MAIN,
        "unfilter",
        "escape",
        "unfilter",
        "clear",
        "Clear the marks, then the filter",
        None,
        "esc",
    ),
    _key(KeyScope.DRILL, "back", "escape backspace", "back", "back", "Back to where you came from", 1, "esc"),
    _key(KeyScope.PREVIEW, "confirm", "y", "confirm", "confirm", "Do exactly what is shown", 1),
    _key(KeyScope.PREVIEW, "leave", "escape n", "leave", "leave", "Leave everything as it is", 2, "esc"),
    _key(KeyScope.DIALOG, "close", "escape", "close", "close", "Close the dialog", 1, "esc"),
    _key(KeyScope.WORKING, "stop", "escape", "stop", "stop", "End it; what is done stays done", 1, "esc"),
    _key(KeyScope.START, "retry", "r", "retry", "try again", "Try to start again", 1),
    _key(KeyScope.START, "look", "l", "look", "look anyway", "Open the console as things are", 2),
    _key(
        KeyScope.EVERYWHERE,
        "findings",
        "f",
        "app.findings",
        "findings",
        "What is wrong, and what to do about it",
        21,
    ),
    _key(KeyScope.EVERYWHERE, "audit", "a", "app.audit", "audit", "Recent actions and their receipts", 32),
    _key(
        KeyScope.EVERYWHERE, "again", "ctrl+r f5", "read_again", "read again", "Look again now", 37, "ctrl+r"
    ),
    _key(KeyScope.EVERYWHERE, "theme", "t", "app.switch_theme", "theme", "Switch to the next theme", 38),
    _key(KeyScope.EVERYWHERE, "help", "question_mark f1", "app.help", "help", "This page", 3, "?"),
    _key(KeyScope.LEAVE, "quit", "q", "leave_console", "quit", "Quit the console; the work goes on", 4),
    _key(
        KeyScope.LEAVE,
        "interrupt",
        "ctrl+c ctrl+q",
        "leave_console",
        "quit",
        "Quit from dialogs and fields too",
        None,
        "ctrl+c",
        True,
    ),
    _key(
        KeyScope.LEAVE,
        "suspend",
        "ctrl+z",
        "suspend_process",
        "to the shell",
        "Stop the console and go to the shell; fg brings it back",
        None,
        None,
        True,
    ),
)

BY_ID = {spec.id: spec for spec in KEYS}
_TABLE_ACTIONS = {"table.move", "table.page", "table.ends"}
"""Several keys with a direction each: the table binds them itself, help only names them."""


def bindings(*scopes: KeyScope) -> list[Binding]:
    """The Textual bindings of these scopes, one for each key."""
    return [
        Binding(key, spec.action, spec.label, id=spec.id, key_display=spec.display, priority=spec.priority)
        for spec in KEYS
        if spec.scope in scopes and spec.id not in _TABLE_ACTIONS
        for key in spec.keys
    ]


def sections() -> list[tuple[KeyScope, list[KeySpec]]]:
    """The keys by scope, in the order of the help page."""
    return [(scope, specs) for scope in KeyScope if (specs := [spec for spec in KEYS if spec.scope is scope])]


def markdown_table() -> str:
    """The table of keys for the README."""
    lines = ["| where | key | what it does |", "|---|---|---|"]
    for scope, specs in sections():
        for number, spec in enumerate(specs):
            place = scope.value if number == 0 else ""
            lines.append(f"| {place} | `{spec.display}` | {spec.help} |")
    return "\n".join(lines) + "\n"
