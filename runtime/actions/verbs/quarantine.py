"""Setting items aside until somebody replays or discards them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.actions.bulk.asking import BacklogTerms
from runtime.actions.command import Command
from runtime.actions.keys import Key
from runtime.actions.subjects.backlog import BACKLOG_TARGETS, BacklogVerb, Found
from runtime.model import BulkVerb

if TYPE_CHECKING:
    from runtime.actions.intents import Intent


@dataclass(frozen=True, slots=True)
class QuarantineTerms(BacklogTerms):
    """Nothing of its own."""


class QuarantineVerb(BacklogVerb):
    name = "quarantine"
    word = "quarantine"
    takes = QuarantineTerms
    does = BulkVerb.QUARANTINE
    done = "in quarantine"
    command = Command(
        "queue",
        "quarantine",
        110,
        "set items aside until somebody replays or discards them",
        examples=("quarantine mail/send --field customer.id=42 --reason 'malformed'",),
        targets=BACKLOG_TARGETS,
    )
    keys = (
        Key(
            "items",
            "quarantine",
            "Q",
            "quarantine",
            "Set it aside until somebody replays or discards it",
            rank=44,
            place=8,
        ),
    )

    def consequences(self, found: Found, intent: Intent) -> list[str]:
        return ["they are not run until somebody replays or discards them"]


VERB = QuarantineVerb()
