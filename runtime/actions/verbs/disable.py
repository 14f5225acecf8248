"""Letting the clock start schedules no more, until they are enabled."""

from __future__ import annotations

from runtime.actions.command import Command, Targets
from runtime.actions.keys import Key
from runtime.actions.subjects.switching import SwitchVerb


class DisableVerb(SwitchVerb):
    name = "schedule-disable"
    word = "disable"
    enable = False
    means = "starts nothing by itself from then on"
    command = Command(
        "schedule",
        "disable",
        40,
        "let it start nothing by itself",
        examples=("disable feeds-hourly",),
        targets=Targets("SCHEDULE", "a schedule or a glob like 'feeds-*'"),
    )
    keys = (
        Key(
            "schedule",
            "disable",
            "d",
            "disable",
            "Let the clock start the schedule no more, until enabled",
            rank=12,
            place=2,
            offered=lambda schedule: schedule.enabled is True,
        ),
        Key(
            "fires",
            "disable",
            "d",
            "disable",
            "Let the clock start it no more, until enabled",
            rank=12,
            place=2,
        ),
    )


VERB = DisableVerb()
