"""Removing items for good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.actions.bulk.asking import BacklogTerms
from runtime.actions.command import Command, Option, Value
from runtime.actions.keys import Asks, Key, Question
from runtime.actions.subjects.backlog import BACKLOG_TARGETS, BacklogVerb, Found
from runtime.actions.terms import terms_of
from runtime.common.export_path import free_path
from runtime.common.text import one_line
from runtime.model import BulkVerb, UsageError

if TYPE_CHECKING:
    from runtime.actions.intents import Intent
    from runtime.actions.read_port import BacklogLooks, ReadPort


@dataclass(frozen=True, slots=True)
class DiscardTerms(BacklogTerms):
    export_to: str | None = None
    """A new file that gets every item before the first is discarded."""


class DiscardVerb(BacklogVerb):
    name = "discard"
    word = "discard"
    takes = DiscardTerms
    does = BulkVerb.DISCARD
    done = "discarded"
    destructive = True
    command = Command(
        "queue",
        "discard",
        70,
        "remove items for good",
        examples=(
            "discard content/updated --state dead --older 7d --export dead.jsonl",
            "discard --ids @ids.txt --yes",
        ),
        targets=BACKLOG_TARGETS,
        options=(
            Option(
                "--export",
                "export",
                Value.TEXT,
                "a new file that gets every item before the first is discarded",
                "FILE",
            ),
        ),
    )
    keys = (
        Key(
            "items",
            "discard",
            "x",
            "discard",
            "Discard it, written to a file first if you want",
            rank=11,
            place=2,
            question=Question(
                Asks.VALUE,
                "Keep a copy first? Name a file for it",
                hint="A new file, like discarded.jsonl, gets every item before the first is discarded; "
                "left empty, no copy is kept.",
                placeholder="empty: no copy is kept",
                most=400,
                option="export",
            ),
        ),
    )

    def own_terms(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"export_to": given["export"]}

    def export_to(self, intent: Intent, looks: BacklogLooks) -> str | None:
        given = terms_of(intent, DiscardTerms).export_to
        if given is None:
            return None
        if not looks.exports:
            raise UsageError("discard: nothing can be exported here", fix="leave --export out")
        return str(free_path(given))

    def consequences(self, found: Found, intent: Intent) -> list[str]:
        given = terms_of(intent, DiscardTerms).export_to
        if not given:
            return []
        return [f"every item is written to {one_line(given, 300)} before the first is discarded"]

    async def warnings(self, found: Found, intent: Intent, port: ReadPort) -> list[str]:
        kept = "" if terms_of(intent, DiscardTerms).export_to else ", and no copy is kept"
        return [f"discarded work can't be brought back{kept}"]


VERB = DiscardVerb()
