"""Actions on a boundary that this profile has not: refused, and named."""

from __future__ import annotations

from runtime.actions.intents import ActionName
from runtime.model import Refused

CLOCK_ACTIONS = frozenset(
    {
        ActionName.SCHEDULE_RUN,
        ActionName.SCHEDULE_ENABLE,
        ActionName.SCHEDULE_DISABLE,
        ActionName.SCHEDULE_APPLY,
    }
)
SANDBOX_ACTIONS = frozenset({ActionName.ARTIFACT_PROMOTE, ActionName.ARTIFACT_REJECT})


def no_boundary(action: ActionName) -> Refused:
    """The refusal of an action on the clock or on the sandbox."""
    boundary = "clock" if action in CLOCK_ACTIONS else "sandbox"
    return Refused(
        f"{action.value}: this profile has no {boundary}",
        fix=f"use a profile that has a {boundary}; `joelclaw-tui --once` names what this one has",
        code="boundary-absent",
    )
