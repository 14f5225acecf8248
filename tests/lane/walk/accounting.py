"""After the walk: where every acknowledged item is, and what was done for it outside."""

from __future__ import annotations

import json

from tests.lane.walk.declared import HTTP, LANE
from tests.lane.walk.direct import ASIDE, DELAYED, PARKED, WAITING
from tests.lane.walk.walker import Walker

CLOSED = ("settled", "discarded")
RECEIPTS, ALL_RECEIPTS = 50, 10_000
"""The newest ones, that are compared, of all."""
OVERLAP_S = 30.0
"""A call that was cut by a fault is made again within this after it."""
AGAIN_AFTER = ("worker", "restate")
"""Whose end has a step run again that was not yet journaled."""


async def account(walk: Walker) -> None:
    """Every acknowledged item is in one place; what was ended by a person ended so; no effect was doubled."""
    seen = await walk.direct.pressure()
    runs = await walk.direct.durable()
    final: dict[str, int] = {}
    for item_id, given in walk.given.items():
        family, current = given.family, item_id
        for _ in range(20):
            places = seen.place(current)
            if len(places) != 1:
                walk.differ(f"{item_id} of {given.family} is in {places}")
                break
            family, where = places[0]
            row = await walk.direct.done(family, current)
            if where in CLOSED:
                if row is None:
                    walk.differ(f"{current} is {where} and has no row of how it ended")
                elif row.endswith(":moved"):
                    current = await _moved_to(walk, f"{current}.{row.split(':')[1]}", family)
                    if current == "":
                        walk.differ(f"{item_id} was moved from {family}, and is in no other family")
                        break
                    continue
                elif row.endswith(":succeeded"):
                    final[f"{current}.{row.split(':')[1]}"] = 1
                    if family in HTTP and f"{current}.{row.split(':')[1]}" not in walk.sink.effects:
                        walk.differ(f"{current} of {family} succeeded, and its effect is nowhere")
            elif where not in (*WAITING, *PARKED, *DELAYED, *ASIDE, "dead", "quarantined"):
                walk.differ(f"{current} of {family} is still {where}")
            elif await walk.direct.record(family, current) is None:
                walk.differ(f"{current} of {family} is {where} and has no record")
            break
    for run_id, how in walk.asked_to_end.items():
        await _ended(walk, run_id, how)
    live = {run_id: run["status"] for run_id, run in runs.runs.items() if run["status"] != "completed"}
    if live:
        walk.differ(f"runs that go on after all has ended: {live}")
    _effects(walk)
    await _audit(walk)
    walk.log(
        f"{len(walk.given)} items acknowledged, {len(final)} succeeded, {len(walk.sink.effects)} effects"
    )


async def _audit(walk: Walker) -> None:
    """What is told is what Redis has, and what was done from here while Redis was away; newest first."""
    in_redis = {row["receipt_id"]: row for row in await walk.direct.receipts(ALL_RECEIPTS)}
    kept_here = walk.lane.folder / "state" / "ledger" / f"audit-{LANE}.jsonl"
    here = {row["receipt_id"]: row for row in map(json.loads, kept_here.read_text().splitlines())}
    away = [(begin, end) for victim, begin, end in walk.broken_spans if victim == "valkey"]
    for receipt_id, row in here.items():
        if receipt_id not in in_redis and not any(begin <= row["at"] <= end for begin, end in away):
            walk.differ(f"receipt {receipt_id} of {row['action']} is not in Redis, which was there")
    kept = sorted((in_redis | here).values(), key=lambda row: -row["at"])[:RECEIPTS]
    told = await walk.operator.reader.audit(RECEIPTS)
    if [one.receipt_id for one in told] != [row["receipt_id"] for row in kept]:
        walk.differ("the audit that is told is neither Redis' nor this machine's")


async def _moved_to(walk: Walker, attempt: str, family: str) -> str:
    """A move is an enqueue whose dedup key names the item and the attempt that were moved."""
    seen = await walk.direct.pressure()
    for name in seen.families:
        if name != family and (found := await walk.direct.dedup(name, f"moved:{attempt}")):
            return found
    return ""


async def _ended(walk: Walker, run_id: str, how: str) -> None:
    """The attempt that a person ended is on record so, unless it had ended by itself meanwhile."""
    item_id, _, attempt = run_id.rpartition(".")
    outcomes = {
        outcome
        for (_, item, number), (outcome, _) in walk.failures.seen.items()
        if item == item_id and number == int(attempt)
    }
    seen = await walk.direct.pressure()
    walk.failures.note(seen)
    if not outcomes or how in outcomes:
        return
    if "failed" in outcomes:
        return  # it was over before
    walk.differ(f"{run_id} was {how} by a person, on record is {outcomes}")


def _effects(walk: Walker) -> None:
    """One call an attempt, but for the first of the flaky ones, and those that a fault may have cut."""
    spans = [(begin, end) for victim, begin, end in walk.broken_spans if victim in AGAIN_AFTER]
    for key, times in walk.sink.times.items():
        effect = walk.sink.effects.get(key)
        allowed = 2 if effect is not None and effect["path"] == "/flaky" else 1
        cut = any(begin - OVERLAP_S <= at <= end + OVERLAP_S for at in times for begin, end in spans)
        if len(times) > allowed and not cut:
            walk.differ(f"run {key} was called {len(times)} times, and nothing was broken")
