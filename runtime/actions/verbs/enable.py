"""Letting the clock start schedules again; what passed is not caught up."""

from __future__ import annotations

from runtime.actions.subjects.switching import SwitchVerb


class EnableVerb(SwitchVerb):
    name = "schedule-enable"
    word = "enable"
    enable = True
    means = "fires again"


VERB = EnableVerb()
