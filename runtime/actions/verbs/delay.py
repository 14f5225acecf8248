"""Letting none of the items be taken for a while."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runtime.actions.bulk.asking import BacklogTerms
from runtime.actions.command import Command, Option, Value
from runtime.actions.keys import Asks, Key, Question
from runtime.actions.subjects.backlog import BACKLOG_TARGETS, BacklogVerb, Found
from runtime.actions.terms import terms_of
from runtime.common.units import length
from runtime.model import LENGTH_MOST_S, BulkOrder, BulkVerb, UsageError

if TYPE_CHECKING:
    from runtime.actions.intents import Intent
    from runtime.actions.read_port import ReadPort


@dataclass(frozen=True, slots=True)
class DelayTerms(BacklogTerms):
    delay_s: float | None = None
    """From the moment of the change."""


class DelayVerb(BacklogVerb):
    name = "delay"
    word = "delay"
    takes = DelayTerms
    does = BulkVerb.DELAY
    done = "delayed"
    command = Command(
        "queue",
        "delay",
        100,
        "let none of the items be taken for a while",
        examples=("delay content/updated --priority P3 --for 1h",),
        targets=BACKLOG_TARGETS,
        options=(
            Option("--for", "length", Value.LENGTH_OR_NONE, "from the change on", "LENGTH", required=True),
        ),
    )
    keys = (
        Key(
            "items",
            "delay",
            "w",
            "delay",
            "Let none of it be taken for a while",
            rank=43,
            place=7,
            question=Question(
                Asks.VALUE,
                "Delay for how long?",
                hint="None is taken before that; like 10m, 2h or 1d. 0s lets them run now.",
                first="1h",
                option="length",
                value=Value.LENGTH_OR_NONE,
            ),
        ),
    )

    def own_terms(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"delay_s": given["length"]}

    def check(self, intent: Intent, *, now: float, ceiling: int) -> None:
        super().check(intent, now=now, ceiling=ceiling)
        delay_s = terms_of(intent, DelayTerms).delay_s
        if delay_s is None:
            raise UsageError(f"{self.name}: what to is not said", fix="give --for LENGTH, like 10m")
        if not 0 <= delay_s <= LENGTH_MOST_S:
            raise UsageError(f"a delay of {delay_s:g} s", fix="give a length from 0 to a year")

    def ordered(self, order: BulkOrder, intent: Intent, total: int, port: ReadPort) -> BulkOrder:
        return replace(order, delay_s=terms_of(intent, DelayTerms).delay_s)

    def title(self, what: str, order: BulkOrder) -> str:
        return f"{what} by {length(order.delay_s or 0)}"

    def consequences(self, found: Found, intent: Intent) -> list[str]:
        return [f"none of them is taken for {length(found.order.delay_s or 0)} from the moment of the change"]


VERB = DelayVerb()
