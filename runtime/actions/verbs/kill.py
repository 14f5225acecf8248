"""Ending runs at once, without clean-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.actions.command import Command, Targets
from runtime.actions.keys import Key
from runtime.actions.subjects.runs import RunsVerb, under_way
from runtime.model import RunVerb

if TYPE_CHECKING:
    from runtime.actions.read_port import ReadPort


class KillVerb(RunsVerb):
    name = "run-kill"
    word = "kill"
    does = RunVerb.KILL
    destructive = True
    command = Command(
        "runs",
        "kill",
        20,
        "end runs at once, without clean-up",
        examples=("kill RUN_ID --yes",),
        targets=Targets("RUN_ID"),
    )
    keys = (
        Key(
            "journal",
            "kill",
            "k",
            "kill",
            "Kill the run; nothing cleans up",
            rank=11,
            place=1,
            offered=under_way,
        ),
        Key(
            "run", "kill", "k", "kill", "Kill the run; nothing cleans up", rank=11, place=1, offered=under_way
        ),
    )

    async def warnings(self, port: ReadPort) -> list[str]:
        return ["kill gives no clean-up: what the handler started may go on by itself"]


VERB = KillVerb()
