"""Letting paused or backing-off runs try again now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.actions.command import Command, Targets
from runtime.actions.keys import Key
from runtime.actions.subjects.runs import RunsVerb, under_way
from runtime.model import RunStatus, RunVerb, RunView
from runtime.truth.processes import WORKER

if TYPE_CHECKING:
    from runtime.actions.read_port import ReadPort
    from runtime.truth.document import RunRow

RESUMABLE = frozenset({RunStatus.PAUSED, RunStatus.BACKING_OFF, RunStatus.UNKNOWN})


_STOPPED = frozenset({RunStatus.PAUSED, RunStatus.BACKING_OFF})


def _stopped(run: RunRow) -> bool:
    return run.status in _STOPPED


class ResumeRunVerb(RunsVerb):
    name = "run-resume"
    word = "resume"
    does = RunVerb.RESUME
    command = Command(
        "runs",
        "resume",
        30,
        "let paused or backing-off runs try again now",
        examples=("resume RUN_ID --yes",),
        targets=Targets("RUN_ID"),
    )
    keys = (
        Key(
            "journal",
            "resume",
            "u",
            "resume",
            "Resume a paused run, or try it at once",
            rank=12,
            place=2,
            offered=_stopped,
        ),
        Key(
            "run",
            "resume",
            "u",
            "resume",
            "Resume a paused run, or try it at once",
            rank=12,
            place=2,
            offered=under_way,
        ),
    )

    def unfit(self, run: RunView) -> str | None:
        if run.status in RESUMABLE:
            return None
        return f"it is {run.status}; only paused and backing-off runs are resumed"

    async def warnings(self, port: ReadPort) -> list[str]:
        return await port.nobody(WORKER)


VERB = ResumeRunVerb()
