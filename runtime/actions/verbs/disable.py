"""Letting the clock start schedules no more, until they are enabled."""

from __future__ import annotations

from runtime.actions.subjects.switching import SwitchVerb


class DisableVerb(SwitchVerb):
    name = "schedule-disable"
    word = "disable"
    enable = False
    means = "starts nothing by itself from then on"


VERB = DisableVerb()
