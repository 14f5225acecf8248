"""What an operator can ask for, what it would touch, in frozen form.

An `Intent` is a wish; a `Preview` is the frozen list of what it would touch, made by
looking only; applying a preview touches those ids and no others, and leaves a receipt.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ActionName(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    RESTORE = "restore"
    REPLAY_ITEM = "replay-item"
    REPLAY_FAMILY = "replay-family"
    RUN_CANCEL = "run-cancel"
    RUN_KILL = "run-kill"
    RUN_RESUME = "run-resume"
    SCHEDULE_RUN = "schedule-run"
    SCHEDULE_ENABLE = "schedule-enable"
    SCHEDULE_DISABLE = "schedule-disable"
    SCHEDULE_APPLY = "schedule-apply"
    PROMOTE = "promote"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Intent:
    """``targets`` are families or globs (pause, resume, restore, replay-family), item ids (replay-item),
    run ids (run-*), names of schedules (schedule-*) or artifact ids (artifact-*)."""

    action: ActionName
    targets: tuple[str, ...]
    reason: str | None = None
    limit: int | None = None
    """At most so many ids (``--max``); the settings' ceiling holds in any case."""
    until: float | None = None
    """pause only: when it ends by itself, in seconds since the epoch."""
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
    """schedule-apply: for each id, the digest of the change that was shown; another one is not carried out."""
    pause_epochs: tuple[int, ...] = ()
    """resume only: the epoch of each id's pause; one that was paused anew since is left alone."""
