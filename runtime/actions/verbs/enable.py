"""Letting the clock start schedules again; what passed is not caught up."""

from __future__ import annotations

from runtime.actions.command import Command, Targets
from runtime.actions.keys import Key
from runtime.actions.subjects.switching import SwitchVerb


class EnableVerb(SwitchVerb):
    name = "schedule-enable"
    word = "enable"
    enable = True
    means = "fires again"
    command = Command(
        "schedule",
        "enable",
        30,
        "let it fire again; what passed is not caught up",
        examples=("enable feeds-hourly",),
        targets=Targets("SCHEDULE", "a schedule or a glob like 'feeds-*'"),
    )
    keys = (
        Key(
            "schedule",
            "enable",
            "e",
            "enable",
            "Let the clock start the schedule again",
            rank=11,
            place=1,
            offered=lambda schedule: schedule.enabled is False,
        ),
        Key("fires", "enable", "e", "enable", "Let the clock start it again", rank=11, place=1),
    )


VERB = EnableVerb()
