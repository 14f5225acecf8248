"""Running dead or quarantined items again, as new attempts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runtime.actions.bulk.asking import BacklogTerms
from runtime.actions.command import Command, Option, Value
from runtime.actions.keys import Asks, Key, Question
from runtime.actions.subjects.backlog import BACKLOG_TARGETS, BacklogVerb, Found
from runtime.actions.terms import terms_of
from runtime.common.text import one_line
from runtime.common.units import length
from runtime.model import BULK_STATES, BulkOrder, BulkVerb, ItemState, UsageError, WorkItem

if TYPE_CHECKING:
    from runtime.actions.intents import Intent
    from runtime.actions.read_port import ReadPort

UNHURRIED = 100
"""A replay of no more than so many goes at once unless a rate is asked for."""
RATE_MOST = 100_000.0

_EFFECTS = "an attempt that failed may have had effects: they may happen again"

_AT_WHAT_RATE = Question(
    Asks.VALUE,
    "Replay at what rate?",
    hint="New attempts a second, like 20/s or 90/m; none: all at once.",
    first="{rate}/s",
    option="rate",
    value=Value.RATE,
)


@dataclass(frozen=True, slots=True)
class ReplayTerms(BacklogTerms):
    rate_per_s: float | None = None
    """New attempts a second; None: as the settings say."""
    unlimited: bool = False
    """All at once, whatever the settings say."""


class ReplayVerb(BacklogVerb):
    name = "replay"
    word = "replay"
    takes = ReplayTerms
    does = BulkVerb.REPLAY
    done = "waits as a new attempt"

    declared_only = True
    command = Command(
        "queue",
        "replay",
        60,
        "run dead or quarantined items again, as new attempts",
        examples=(
            "replay content/updated --max 50",
            "replay ITEM_ID",
            "replay '*' --error 'HTTP 503' --newer 2h --rate 20/s",
        ),
        targets=BACKLOG_TARGETS,
        options=(
            Option(
                "--rate",
                "rate",
                Value.RATE,
                "new attempts a second; default as set (replay_rate) for more than 100, else none",
                "N/s|none",
            ),
        ),
    )
    keys = (
        Key(
            "backlog",
            "replay",
            "R",
            "replay dead",
            "Replay up to N dead items as new attempts",
            rank=12,
            place=4,
            question=Question(Asks.COUNT, "Replay how many dead items of {targets}?", counts="dead"),
            offered=lambda family: family.dead > 0,
        ),
        Key(
            "items",
            "replay",
            "r",
            "replay",
            "Replay what the line below the list says",
            rank=10,
            place=0,
            question=_AT_WHAT_RATE,
            only_open_ended=True,
        ),
        Key(
            "items",
            "replay-at",
            "R",
            "replay at",
            "Replay it at a rate: so many new attempts a second",
            rank=40,
            place=1,
            question=_AT_WHAT_RATE,
        ),
        Key(
            "item",
            "replay",
            "r",
            "replay",
            "Replay the item as a new attempt",
            rank=10,
            place=0,
            offered=lambda item: item.state in BULK_STATES[BulkVerb.REPLAY],
        ),
    )

    def own_terms(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"rate_per_s": given["rate"] or None, "unlimited": given["rate"] == 0}

    def check(self, intent: Intent, *, now: float, ceiling: int) -> None:
        super().check(intent, now=now, ceiling=ceiling)
        terms = terms_of(intent, ReplayTerms)
        if terms.rate_per_s is None:
            return
        if terms.unlimited:
            raise UsageError("a rate and no rate exclude each other", fix="give one of them")
        if not (math.isfinite(terms.rate_per_s) and 0 < terms.rate_per_s <= RATE_MOST):
            raise UsageError(
                f"a rate of {terms.rate_per_s:g} a second", fix=f"give one above 0 up to {RATE_MOST:,.0f}/s"
            )

    def usual(self, *, named: bool) -> frozenset[ItemState]:
        """A family's quarantine is looked at before it is let go: it is named, or its items are."""
        return super().usual(named=named) if named else frozenset({ItemState.DEAD})

    def ordered(self, order: BulkOrder, intent: Intent, total: int, port: ReadPort) -> BulkOrder:
        terms = terms_of(intent, ReplayTerms)
        if terms.unlimited or (terms.rate_per_s is None and total <= UNHURRIED):
            return order
        return replace(order, rate_per_s=terms.rate_per_s or port.settings.replay_rate)

    def consequences(self, found: Found, intent: Intent) -> list[str]:
        rate = found.order.rate_per_s
        if rate is None:
            return ["they wait again as new attempts, all at once"]
        return [f"they wait again as new attempts, {rate:g} a second: about {length(found.total / rate)}"]

    async def warnings(self, found: Found, intent: Intent, port: ReadPort) -> list[str]:
        paused = [
            name for name in found.touched if name in found.stored and found.stored[name].pause is not None
        ]
        held = [f"{name} is paused: its replayed items are held until it is resumed" for name in paused]
        return [_EFFECTS, *held, *await port.nobody()]

    def item_line(self, item: WorkItem, why: str, now: float) -> str:
        after = f"attempt {item.attempt + 1} after {item.state} attempt {item.attempt}"
        return f"{item.item_id} of {one_line(item.family, 100)}: {after}: {why or 'no failure is on record'}"


VERB = ReplayVerb()
