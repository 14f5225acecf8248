"""A decided fire as it is stored: a row of the history, and in the memory of its schedule's object."""

from __future__ import annotations

import math
from dataclasses import replace

from runtime.common.stored import Document, UnreadableDocument
from runtime.model import FIRE_ID, Fire, FireDecision, FireKind, fire_form

FIRE = Document("a fire", Fire, form=fire_form)
"""Before versions it had the same fields."""


def read_fire(data: str | bytes | None, where: str) -> Fire:
    """Raises `UnreadableDocument`."""
    return _checked(FIRE.read(data, where), where)


def fire_of(form: object, where: str) -> Fire:
    """One that is a part of another document. Raises `UnreadableDocument`."""
    return _checked(FIRE.of(form, where), where)


def _checked(fire: Fire, where: str) -> Fire:
    times = [fire.decided_at, fire.instant or 0.0, fire.ended_at or 0.0]
    if not all(math.isfinite(time) for time in times):
        raise FIRE.unreadable(where, "a time is no number")
    return replace(fire, stands=None)  # looked up, never kept


def unreadable_fire(fire_id: str, error: UnreadableDocument, *, schedule: str) -> Fire:
    """Stands for a row that can't be read, wherever fires are told."""
    match = FIRE_ID.fullmatch(fire_id)
    return Fire(
        fire_id=fire_id,
        schedule=match.group(1) if match else schedule,
        family=None,
        kind=FireKind.SCHEDULED,
        instant=None,
        decided_at=0.0,
        late=False,
        decision=FireDecision.UNREADABLE,
        via="queue",
        work_id=None,
        reason=error.message,
        code=error.code,
    )
