"""What an operator can ask for, and what it would touch, in frozen form.

An `Intent` is a wish; a `Preview` is the frozen list of what it would touch, made by
looking only; applying a preview touches those ids and no others, and leaves a receipt.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from runtime.model import BulkVerb, FrozenPreview, PauseMode, Priority, Selection


class ActionName(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    RESTORE = "restore"
    EXTEND = "extend"
    HOLD_LANE = "hold-lane"
    RELEASE_LANE = "release-lane"
    REPLAY = "replay"
    DISCARD = "discard"
    REPRIORITIZE = "reprioritize"
    MOVE = "move"
    DELAY = "delay"
    QUARANTINE = "quarantine"
    RUN_CANCEL = "run-cancel"
    RUN_KILL = "run-kill"
    RUN_RESUME = "run-resume"
    SCHEDULE_RUN = "schedule-run"
    SCHEDULE_ENABLE = "schedule-enable"
    SCHEDULE_DISABLE = "schedule-disable"
    SCHEDULE_APPLY = "schedule-apply"
    PROMOTE = "promote"
    REJECT = "reject"


BULK_ACTIONS = {ActionName(verb.value): verb for verb in BulkVerb}
"""Actions on a selection of the backlog."""


@dataclass(frozen=True, slots=True)
class BulkTerms:
    """What a bulk action means beyond its targets."""

    selection: Selection | None = None
    """Which items of the targets; None: those in the states that the action is usually for. Its ``ids``
    with families as targets: only these, of those families; without targets: these."""
    rate_per_s: float | None = None
    """replay: new attempts a second; None: as the settings say."""
    unlimited: bool = False
    """replay: all at once, whatever the settings say."""
    priority: Priority | None = None
    """reprioritize: the new level."""
    to_family: str | None = None
    """move: where to."""
    delay_s: float | None = None
    """delay: from the moment of the change."""
    export_to: str | None = None
    """discard: a new file that gets every item before the first is discarded."""


@dataclass(frozen=True, slots=True)
class Intent:
    """``targets`` are families or globs (pause, resume, extend, restore), families or globs or
    else item ids (the bulk actions), run ids (run-*), names of schedules (schedule-*)
    or artifact ids (artifact-*); none for hold-lane and release-lane."""

    action: ActionName
    targets: tuple[str, ...]
    reason: str | None = None
    limit: int | None = None
    """At most so many ids (``--max``); the settings' ceiling holds in any case."""
    until: float | None = None
    """pause, extend, hold-lane: when it ends by itself, in seconds since the epoch."""
    mode: PauseMode = PauseMode.HOLD
    """pause only."""
    bulk: BulkTerms | None = None
    """Bulk actions only."""
    branch: str | None = None
    """promote only: the new branch's name. Unset: ``joelclaw/`` and the short run id."""
    unverified: bool = False
    """promote only: also what no verification has passed."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What an intent would touch, frozen."""

    preview_id: str
    intent: Intent
    ids: tuple[str, ...]
    """Exactly what apply will touch: families, schedules, or ids of items, runs or artifacts."""
    matching: int
    """How many matched; more than ``len(ids)`` when the limit or ceiling cut the list."""
    title: str
    """One sentence in the imperative: ``Pause 2 families``."""
    lines: tuple[str, ...]
    """What it means, a fact a line, cleaned for display."""
    warnings: tuple[str, ...]
    target: str
    """Which lane on which servers this will change."""
    created_at: float
    destructive: bool
    """True when it can't be undone: a confirmation is always asked for."""
    expected: tuple[str, ...] = ()
    """schedule-*: for each id, the digest of what was shown (the change, the job, what is declared); promote:
    the `decision_stamp` that was shown. Where it is another by now, nothing is done."""
    pause_epochs: tuple[int, ...] = ()
    """pause, resume, extend: the epoch of each id's pause; one that was paused or resumed since is left alone."""
    lane_hold: str = ""
    """hold-lane, release-lane: the `hold_stamp` of the hold that was shown; another one is left alone."""
    bulk: FrozenPreview | None = None
    """Bulk actions: what is frozen, and kept in the ledger for as long as it says."""
    kept: bool = False
    """Bulk actions: it is in the ledger, to be applied from any process."""

    def stands_on_the_same(self, other: Preview) -> bool:
        """Whether both were made of the same targets in the same state: a yes to one is a yes to the other."""
        return _ground(self) == _ground(other)


def _ground(preview: Preview) -> tuple[object, ...]:
    return preview.ids, preview.expected, preview.pause_epochs, preview.lane_hold
