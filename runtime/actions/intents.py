"""What an operator can ask for, and what it would touch, in frozen form.

An `Intent` is a wish; a `Preview` is the frozen list of what it would touch, made by
looking only; applying a preview touches those ids and no others, and leaves a receipt.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.actions.terms import Terms
from runtime.model import FrozenPreview


@dataclass(frozen=True, slots=True)
class Intent:
    """``targets`` are what the verb's `Subject` says, by name or glob; of items, their families or else their ids."""

    action: str
    """The verb's name."""
    targets: tuple[str, ...]
    reason: str | None = None
    """Why, unless applying says otherwise."""
    limit: int | None = None
    """At most so many ids (``--max``); the settings' ceiling holds in any case."""
    terms: Terms | None = None
    """The verb's own; None: its defaults."""


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
    found: object = None
    """What the verb has looked at, for whoever shows more than lines; see there."""
    bulk: FrozenPreview | None = None
    """Bulk actions: what is frozen, and kept in the ledger for as long as it says."""
    kept: bool = False
    """Bulk actions: it is in the ledger, to be applied from any process."""
