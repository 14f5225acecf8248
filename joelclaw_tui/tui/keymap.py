"""Every key of the console, once: those of verbs as these declare them, and the others. Bindings, key bar,
help and the README's table are made from this.

A key has an id (``backlog.pause``) so that settings can re-map it later, and a scope: the place
in which it means something. Within one scope chain no key means two things (a test holds that).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from textual.binding import Binding

from runtime.actions.keys import Key
from runtime.actions.verb import Verb
from runtime.actions.verbs import registry


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


_OTHERS: tuple[KeySpec, ...] = (
    _key(
        KeyScope.BACKLOG, "day", "g", "open_day", "last day", "Show the family's last 24 hours by minute", 39
    ),
    _key(KeyScope.JOURNAL, "item", "i", "open_item", "item", "Open the run's item", 35),
    _key(KeyScope.ARTIFACTS, "run", "o", "open_run", "run", "Open the run that made the artifact", 12),
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
    _key(KeyScope.ITEM, "run", "o", "open_run", "run", "Open the run of the current attempt", 12),
    _key(KeyScope.RUN, "item", "i", "open_item", "item", "Open the run's item", 13),
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

_ORDER = (
    KeyScope.BACKLOG,
    KeyScope.SCHEDULE,
    KeyScope.JOURNAL,
    KeyScope.ARTIFACTS,
    KeyScope.ITEMS,
    KeyScope.FAMILY,
    KeyScope.ITEM,
    KeyScope.RUN,
    KeyScope.FIRES,
    KeyScope.ARTIFACT,
    KeyScope.TABLE,
    KeyScope.MAIN,
    KeyScope.DRILL,
    KeyScope.PREVIEW,
    KeyScope.DIALOG,
    KeyScope.WORKING,
    KeyScope.START,
    KeyScope.EVERYWHERE,
    KeyScope.LEAVE,
)
"""A place's own keys first: the order of the key bar."""

VERB_KEYS: Mapping[str, tuple[Verb, Key]] = {
    f"{key.scope}.{key.id}": (verb, key) for verb in registry().values() for key in verb.keys
}
"""The keys of verbs, by their ids here."""


def verb_action(key_id: str) -> str:
    """What such a key does, as Textual has it: `action_verb` of the place where it works."""
    return f"verb('{key_id}')"


def _verb_spec(key_id: str, key: Key) -> KeySpec:
    return KeySpec(
        key_id,
        tuple(key.keys.split()),
        verb_action(key_id),
        key.label,
        key.help,
        KeyScope[key.scope.upper()],
        key.rank,
    )


def _every_key() -> tuple[KeySpec, ...]:
    """In each scope the verbs' keys at their places, and the others between them."""
    specs: list[KeySpec] = []
    for scope in _ORDER:
        here = [spec for spec in _OTHERS if spec.scope is scope]
        placed = [(key.place, _verb_spec(key_id, key)) for key_id, (_, key) in VERB_KEYS.items()]
        for place, spec in sorted(placed, key=lambda one: one[0]):
            if spec.scope is scope:
                here.insert(place, spec)
        specs += here
    return tuple(specs)


KEYS: tuple[KeySpec, ...] = _every_key()
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
