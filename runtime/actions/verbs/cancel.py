"""Ending runs in good order: their clean-up still happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.actions.command import Command, Targets
from runtime.actions.keys import Key
from runtime.actions.subjects.runs import RunsVerb, under_way
from runtime.model import RunVerb
from runtime.truth.processes import WORKER

if TYPE_CHECKING:
    from runtime.actions.read_port import ReadPort


class CancelVerb(RunsVerb):
    name = "run-cancel"
    word = "cancel"
    does = RunVerb.CANCEL
    destructive = True
    command = Command(
        "runs",
        "cancel",
        10,
        "end runs in good order: their clean-up still happens",
        examples=("cancel RUN_ID --yes",),
        targets=Targets("RUN_ID"),
    )
    keys = (
        Key(
            "journal",
            "cancel",
            "c",
            "cancel",
            "Cancel the run; it may clean up",
            rank=10,
            place=0,
            offered=under_way,
        ),
        Key(
            "run",
            "cancel",
            "c",
            "cancel",
            "Cancel the run; it may clean up",
            rank=10,
            place=0,
            offered=under_way,
        ),
    )

    async def warnings(self, port: ReadPort) -> list[str]:
        return [
            "a step that has begun may have had its effects already; the item is then dead, to be replayed",
            *await port.nobody(WORKER),
        ]


VERB = CancelVerb()
