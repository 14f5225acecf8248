"""Giving items another level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runtime.actions.bulk.asking import BacklogTerms
from runtime.actions.command import Command, Option, Value
from runtime.actions.keys import Asks, Key, Question
from runtime.actions.subjects.backlog import BACKLOG_TARGETS, BacklogVerb, Found
from runtime.actions.terms import terms_of
from runtime.model import BulkOrder, BulkVerb, Priority, UsageError

if TYPE_CHECKING:
    from runtime.actions.intents import Intent
    from runtime.actions.read_port import ReadPort


@dataclass(frozen=True, slots=True)
class ReprioritizeTerms(BacklogTerms):
    priority: Priority | None = None
    """The new level."""


class ReprioritizeVerb(BacklogVerb):
    name = "reprioritize"
    word = "reprioritize"
    takes = ReprioritizeTerms
    does = BulkVerb.REPRIORITIZE
    done = "has its new level"
    command = Command(
        "queue",
        "reprioritize",
        80,
        "give items another level",
        examples=("reprioritize mail/send --field vip=true --to P0",),
        targets=BACKLOG_TARGETS,
        options=(Option("--to", "level", Value.PRIORITY, "the new level", "P0..P3", required=True),),
    )
    keys = (
        Key(
            "items",
            "priority",
            "p",
            "priority",
            "Give it another priority",
            rank=41,
            place=5,
            question=Question(
                Asks.VALUE,
                "To which priority?",
                hint="P0 is the most urgent, P3 the least.",
                first="P1",
                option="level",
                value=Value.PRIORITY,
            ),
        ),
    )

    def own_terms(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"priority": given["level"]}

    def check(self, intent: Intent, *, now: float, ceiling: int) -> None:
        super().check(intent, now=now, ceiling=ceiling)
        if terms_of(intent, ReprioritizeTerms).priority is None:
            raise UsageError(f"{self.name}: what to is not said", fix="give --to P0, P1, P2 or P3")

    def ordered(self, order: BulkOrder, intent: Intent, total: int, port: ReadPort) -> BulkOrder:
        return replace(order, priority=terms_of(intent, ReprioritizeTerms).priority)

    def title(self, what: str, order: BulkOrder) -> str:
        return what if order.priority is None else f"{what} to {order.priority.name}"

    def consequences(self, found: Found, intent: Intent) -> list[str]:
        return []


VERB = ReprioritizeVerb()
