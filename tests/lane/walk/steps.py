"""What operators and producers do: one function an operation, each on what the servers hold just then."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from runtime.actions.intents import Intent
from runtime.actions.subjects.pauses import EndTerms
from runtime.actions.verbs.delay import DelayTerms
from runtime.actions.verbs.move import MoveTerms
from runtime.actions.verbs.pause import PauseTerms
from runtime.actions.verbs.replay import ReplayTerms
from runtime.actions.verbs.reprioritize import ReprioritizeTerms
from runtime.model import BoundaryDown, OperatorError, PauseMode, Priority, Receipt, Refused, TimedOut
from tests.lane.walk.comparing import told_pause
from tests.lane.walk.declared import BOXED, ENDLESS, FILLED, REMOVABLE
from tests.lane.walk.direct import WAITING, PressureSeen
from tests.lane.walk.walker import Given, Walker

ACTOR = "ann"
COMMAND_SHARE = 0.15
"""Of what both can do, that goes through a command's process and not through its layer in this one."""
FILLING, ENDLESS_MOST = 4, 6
_OF_LATE = (503, 504)
NOTHING = ""
"""What a step says that found nothing to be about."""
DRAWS = 8
Step = Callable[[Walker], Awaitable[str]]


async def seen_of(walk: Walker) -> PressureSeen | None:
    return None if walk.down("valkey") else await walk.direct.pressure(families(walk))


def families(walk: Walker) -> list[str]:
    names = [name for name in FILLED if walk.removable or name != REMOVABLE]
    return names if walk.repo is None else [*names, BOXED]


def filled(walk: Walker, seen: PressureSeen | None) -> str:
    """A family to put work in. What hangs for ever is put in sparingly."""
    name = walk.chance.choice(families(walk))
    if name == ENDLESS and seen is not None:
        one = seen.families.get(ENDLESS)
        if one is not None and one.size(*WAITING, "leased", "admitting", "flight") >= ENDLESS_MOST:
            return "quick/noop"
    return name


def takes_in(seen: PressureSeen | None, family: str) -> bool:
    """Not so where a pause drains it, whatever else holds it."""
    one = None if seen is None else seen.families.get(family)
    return one is None or not any(pause["mode"] == "drain" for pause in one.pauses().values())


def payload(walk: Walker) -> str:
    return json.dumps({"n": walk.number, "customer": str(walk.chance.randrange(3))})


def key_of(walk: Walker) -> str:
    return f"walk-{walk.number}-{walk.chance.randrange(1 << 30)}"


# --- producers


async def post_one(walk: Walker) -> str:
    seen = await seen_of(walk)
    family, key = filled(walk, seen), key_of(walk)
    options = {"priority": f"P{walk.chance.randrange(4)}"}
    if walk.chance.random() < 0.2:
        options["delay"] = walk.chance.choice(["2s", "30m"])
    try:
        answer = await walk.http.post(
            f"/v1/families/{family}/items",
            params=options,
            content=payload(walk),
            headers={"content-type": "application/json", "idempotency-key": key},
        )
    except httpx.HTTPError as error:
        if walk.broken is None:
            walk.differ(f"POST {family}: {type(error).__name__} {error}")
        return f"POST {family} {options}: {type(error).__name__}"
    if answer.status_code == 202:
        walk.given[answer.json()["item_id"]] = Given(family, key)
    elif not (answer.status_code in _OF_LATE and (walk.broken is not None or not takes_in(seen, family))):
        walk.differ(f"POST {family}: {answer.status_code} {answer.text[:200]}")
    return f"POST {family} {options}: {answer.status_code} {answer.json().get('item_id', '')}"


async def post_many(walk: Walker) -> str:
    seen = await seen_of(walk)
    family, key, many = filled(walk, seen), key_of(walk), walk.chance.randint(2, 8)
    if family in (ENDLESS, BOXED):
        family = "quick/noop"
    try:
        answer = await walk.http.post(
            f"/v1/families/{family}/items",
            content="\n".join(payload(walk) for _ in range(many)),
            headers={"content-type": "application/x-ndjson", "idempotency-key": key},
        )
    except httpx.HTTPError as error:
        if walk.broken is None:
            walk.differ(f"POST {many} of {family}: {type(error).__name__} {error}")
        return f"POST {many} of {family}: {type(error).__name__}"
    told = answer.json()
    if answer.status_code == 202:
        ids = {row["item_id"] for row in told["results"]}
        walk.given |= {item_id: Given(family) for item_id in ids}
        if len(ids) != many:
            walk.differ(f"POST {many} of {family}: {len(ids)} ids in {str(told)[:200]}")
    elif not (answer.status_code in _OF_LATE and (walk.broken is not None or not takes_in(seen, family))):
        walk.differ(f"POST {many} of {family}: {answer.status_code} {answer.text[:200]}")
    return f"POST {many} of {family}: {answer.status_code}"


async def enqueue(walk: Walker) -> str:
    """Through the layer that the command has beneath it, or through the command."""
    seen = await seen_of(walk)
    family, key = filled(walk, seen), key_of(walk)
    level = Priority(walk.chance.randrange(4))
    if walk.chance.random() < COMMAND_SHARE:
        done = await asyncio.to_thread(
            walk.lane.command,
            *("enqueue", family, "--data", payload(walk), "--priority", level.name),
            *("--dedup-key", key, "--json"),
        )
        told = json.loads(done.stdout)
        if told["ok"]:
            walk.given[told["result"]["item_id"]] = Given(family, key)
        elif walk.broken is None and takes_in(seen, family):
            walk.differ(f"enqueue {family}: {told['error']}")
        return f"command enqueue {family} {level.name}: exit {done.returncode}"
    try:
        async with asyncio.timeout(10):
            made = await walk.operator.intake.enqueue(
                family, payload(walk), origin="walk", priority=level, dedup_key=key
            )
    except (OperatorError, TimeoutError) as error:
        if walk.broken is None and takes_in(seen, family):
            walk.differ(f"enqueue {family}: {type(error).__name__} {error}")
        return f"enqueue {family}: {type(error).__name__}"
    walk.given[made.item_id] = Given(family, key)
    return f"enqueue {family} {level.name}: {made.item_id}"


async def enqueue_again(walk: Walker) -> str:
    """The same dedup key once more is the first's id, and nothing new."""
    known = [
        (item, given) for item, given in walk.given.items() if given.key and given.family in families(walk)
    ]
    if not known or walk.down("valkey"):
        return await enqueue(walk)
    item_id, given = walk.chance.choice(known)
    seen = await seen_of(walk)
    if not takes_in(seen, given.family):
        return NOTHING
    try:
        made = await walk.operator.intake.enqueue(
            given.family, payload(walk), origin="walk", dedup_key=given.key
        )
    except OperatorError as error:
        if walk.broken is None:
            walk.differ(f"enqueue again {given.family}: {error}")
        return f"again {given.family}: {type(error).__name__}"
    if (made.item_id, made.duplicate) != (item_id, True):
        walk.differ(f"dedup key of {item_id} gave {made.item_id}, duplicate {made.duplicate}")
    return f"again {given.family}: {made.item_id}"


# --- operators


async def act(
    walk: Walker, action: str, *targets: str, check: str | None = None, **options: Any
) -> Receipt | None:
    """Previews and applies. The receipt must be in the audit trail; a refusal is right only where something
    is broken, or where what was seen has moved on."""
    intent = Intent(action, targets, reason=f"walk {walk.number}", **options)
    try:
        async with asyncio.timeout(40):
            preview = await walk.operator.actions.preview(intent)
            receipt = await walk.operator.actions.apply(preview, actor=ACTOR, origin="walk")
    except Refused as error:
        walk.log(f"  {action} {targets}: refused: {error.message}")
        return None
    except (BoundaryDown, TimedOut, TimeoutError, OperatorError) as error:
        walk.log(f"  {action} {targets}: {type(error).__name__}: {error}")
        if walk.broken is None:
            walk.differ(f"{action} {targets}: {type(error).__name__}: {error}")
        return None
    if not walk.down("valkey"):
        rows = await walk.direct.receipts(5)
        kept = next((row for row in rows if row["receipt_id"] == receipt.receipt_id), None)
        if kept is None:
            walk.differ(f"{action} {targets}: receipt {receipt.receipt_id} is not in the audit trail")
        else:
            told = (kept["actor"], kept["action"], kept["reason"], kept["results_total"])
            right = (ACTOR, action, intent.reason, receipt.results_total)
            if told != right:
                walk.differ(f"{action} {targets}: the audit trail has {told}, done was {right}")
    failed = [row for row in receipt.results if row.outcome.value in ("failed", "refused")]
    if failed and walk.broken is None:
        walk.log(f"  {action}: {failed[:3]}")
    return receipt


async def pause(walk: Walker) -> str:
    name = walk.chance.choice(families(walk))
    mode = walk.chance.choice([PauseMode.HOLD, PauseMode.HOLD, PauseMode.DRAIN])
    length = walk.chance.choice([None, 3.0, 3600.0])
    walk.disturbed = True
    if walk.chance.random() < COMMAND_SHARE and not walk.down("valkey"):
        more = ["--drain"] if mode is PauseMode.DRAIN else []
        done = await asyncio.to_thread(
            walk.lane.command, "queue", "pause", name, *more, "--reason", "walk", "--yes", "--json"
        )
        if done.returncode and walk.broken is None:
            walk.differ(f"queue pause {name}: exit {done.returncode} {done.stdout.decode()[-300:]}")
        return f"command pause {name} {mode}"
    until = None if length is None else time.time() + length
    receipt = await act(walk, "pause", name, terms=PauseTerms(until, mode))
    seen = await seen_of(walk)
    if receipt is not None and seen is not None and length != 3.0:
        found = seen.families[name].pauses().get("person") if name in seen.families else None
        told = None if found is None else (found["by"], found["mode"], found["reason"])
        if told != (ACTOR, mode.value, f"walk {walk.number}"):
            walk.differ(f"pause {name} {mode}: Redis has {told}")
    return f"pause {name} {mode} for {length}"


async def resume(walk: Walker) -> str:
    seen = await seen_of(walk)
    held = (
        []
        if seen is None
        else [
            name
            for name, one in seen.families.items()
            if name in families(walk) and set(one.pauses()) - {"lane"}
        ]
    )
    if not held or seen is None:
        return NOTHING
    name = walk.chance.choice(held)
    receipt = await act(walk, "resume", name)
    after = await seen_of(walk)
    lifted = receipt is not None and all(row.outcome.value == "done" for row in receipt.results)
    if lifted and after is not None and seen.hold is None and after.families[name].pauses():
        walk.differ(f"resume {name}: Redis still has {after.families[name].pauses()}")
    return f"resume {name}"


async def extend(walk: Walker) -> str:
    seen = await seen_of(walk)
    held = (
        []
        if seen is None
        else [n for n, one in seen.families.items() if "person" in one.pauses() and n in families(walk)]
    )
    if not held or (seen is not None and seen.hold is not None):
        return NOTHING
    name = walk.chance.choice(held)
    await act(walk, "extend", name, terms=EndTerms(time.time() + 1800))
    return f"extend {name}"


async def hold_lane(walk: Walker) -> str:
    seen = await seen_of(walk)
    if seen is None or seen.hold is not None:
        return NOTHING
    walk.disturbed = True
    await act(walk, "hold-lane", terms=EndTerms(time.time() + walk.chance.choice([15.0, 3600.0])))
    return "hold the lane"


async def release_lane(walk: Walker) -> str:
    seen = await seen_of(walk)
    if seen is None or seen.hold is None:
        return NOTHING
    await act(walk, "release-lane")
    after = await seen_of(walk)
    if after is not None and after.hold is not None:
        walk.differ("release-lane: Redis still has the hold")
    return "release the lane"


async def _some(walk: Walker, *sets: str) -> tuple[str, list[str]] | None:
    """A family with items in one of these sets, and one to three of them."""
    seen = await seen_of(walk)
    if seen is None:
        return None
    having = [
        (name, one.ids(*sets))
        for name, one in seen.families.items()
        if name in families(walk) and one.ids(*sets)
    ]
    if not having:
        return None
    name, ids = walk.chance.choice(having)
    return name, walk.chance.sample(sorted(ids), min(len(ids), walk.chance.randint(1, 3)))


async def replay(walk: Walker) -> str:
    some = await _some(walk, "dead", "quarantined")
    if some is None:
        return NOTHING
    name, ids = some
    if walk.chance.random() < 0.3:
        await act(walk, "replay", name, terms=ReplayTerms(rate_per_s=walk.chance.choice([None, 5.0])))
        return f"replay {name}"
    await act(walk, "replay", *ids)
    return f"replay {ids}"


async def discard(walk: Walker) -> str:
    some = await _some(walk, "dead", "quarantined", *WAITING)
    if some is None:
        return NOTHING
    receipt = await act(walk, "discard", *some[1])
    if receipt is not None and not walk.down("valkey"):
        for row in receipt.results:
            if row.outcome.value == "done" and not str(await walk.direct.done(some[0], row.target)).endswith(
                ":discarded"
            ):
                walk.differ(f"discard {row.target}: Redis has {await walk.direct.done(some[0], row.target)}")
    return f"discard {some[1]}"


async def reprioritize(walk: Walker) -> str:
    some = await _some(walk, *WAITING)
    if some is None:
        return NOTHING
    level = Priority(walk.chance.randrange(4))
    await act(walk, "reprioritize", *some[1], terms=ReprioritizeTerms(priority=level))
    return f"reprioritize {some[1]} to {level.name}"


async def move(walk: Walker) -> str:
    some = await _some(walk, *WAITING, "dead")
    if some is None:
        return NOTHING
    to = walk.chance.choice([name for name in families(walk) if name not in (some[0], ENDLESS, BOXED)])
    await act(walk, "move", *some[1], terms=MoveTerms(to_family=to))
    return f"move {some[1]} to {to}"


async def delay(walk: Walker) -> str:
    some = await _some(walk, *WAITING)
    if some is None:
        return NOTHING
    await act(walk, "delay", *some[1], terms=DelayTerms(delay_s=walk.chance.choice([2.0, 1800.0])))
    return f"delay {some[1]}"


async def quarantine(walk: Walker) -> str:
    some = await _some(walk, *WAITING, "dead")
    if some is None:
        return NOTHING
    await act(walk, "quarantine", *some[1])
    return f"quarantine {some[1]}"


async def end_run(walk: Walker) -> str:
    """Cancels or kills a run that goes on."""
    if walk.down("restate"):
        return NOTHING
    runs = await walk.direct.durable()
    live = sorted(
        run_id
        for run_id, run in runs.runs.items()
        if run["status"] in ("running", "suspended", "backing-off") and run_id not in walk.asked_to_end
    )
    if not live:
        return NOTHING
    run_id = walk.chance.choice(live)
    action = walk.chance.choice(["run-cancel", "run-kill"])
    receipt = await act(walk, action, run_id)
    if receipt is not None and all(row.outcome.value in ("done", "accepted") for row in receipt.results):
        walk.asked_to_end[run_id] = "cancelled" if action == "run-cancel" else "killed"
    return f"{action} {run_id}"


async def run_now(walk: Walker) -> str:
    name = walk.chance.choice(["by-hand", "often", "direct"])
    receipt = await act(walk, "schedule-run", name)
    if receipt is None and walk.broken is None:
        walk.log("  run now was refused")
    return f"schedule run {name}"


async def switch(walk: Walker) -> str:
    if walk.down("clock"):
        return NOTHING
    jobs = await walk.direct.jobs()
    name = walk.chance.choice(["often", "direct", "nightly"])
    off = bool(jobs[name]["disabled"])
    walk.disturbed = True
    receipt = await act(walk, "schedule-enable" if off else "schedule-disable", name)
    if receipt is not None and (await walk.direct.jobs())[name]["disabled"] is off:
        walk.differ(f"{'enable' if off else 'disable'} {name}: the clock has it as before")
    return f"{'enable' if off else 'disable'} {name}"


async def edit_lane(walk: Walker) -> str:
    """A bad edit, the good one again, a family out of it and back in, a schedule's time."""
    if walk.broken is not None:
        return NOTHING
    if walk.refused:
        walk.refused = False
        what = "edit: good again"
    elif not walk.removable:
        walk.removable = True
        what = f"edit: {REMOVABLE} is declared again"
    else:
        what = walk.chance.choice(["bad", "removed", "minute"])
        if what == "bad":
            walk.refused = True
        elif what == "removed":
            walk.removable = False
        else:
            walk.minute = (walk.minute + 1) % 60
        what = f"edit: {what}"
    walk.write_lane()
    await walk.settled()
    if walk.removable and not walk.refused:
        await bring_back(walk)
    return what


async def bring_back(walk: Walker) -> None:
    """What was quarantined with its family waits again."""
    seen = await seen_of(walk)
    one = None if seen is None else seen.families.get(REMOVABLE)
    if one is None or not one.hashes["meta"].get("removed"):
        return
    await act(walk, "restore", REMOVABLE)
    after = await seen_of(walk)
    if after is not None and after.families[REMOVABLE].hashes["meta"].get("removed"):
        walk.differ(f"restore {REMOVABLE}: it is still set aside")


STEPS: tuple[tuple[Step, int], ...] = (
    (post_one, 6),
    (post_many, 4),
    (enqueue, 6),
    (enqueue_again, 2),
    (pause, 5),
    (resume, 5),
    (extend, 2),
    (hold_lane, 2),
    (release_lane, 12),
    (replay, 3),
    (discard, 2),
    (reprioritize, 2),
    (move, 2),
    (delay, 2),
    (quarantine, 2),
    (end_run, 4),
    (run_now, 3),
    (switch, 2),
    (edit_lane, 3),
)


async def open_with(walk: Walker) -> None:
    """Something of each family, so that the first operations have what they can be about."""
    for name in families(walk):
        for _ in range(2):
            made = await walk.operator.intake.enqueue(name, payload(walk), origin="walk")
            walk.given[made.item_id] = Given(name)


async def step(walk: Walker) -> None:
    """One operation of any kind that has something to be about now."""
    kinds, weights = [kind for kind, _ in STEPS], [weight for _, weight in STEPS]
    for _ in range(DRAWS):
        if told := await walk.chance.choices(kinds, weights)[0](walk):
            walk.log(told)
            return


async def calm(walk: Walker) -> None:
    """Everything that a person keeps back is let go, and what never ends is ended."""
    walk.refused, walk.removable = False, True
    walk.write_lane()
    await walk.settled()
    await bring_back(walk)
    await release_lane(walk)
    for name in families(walk):
        seen = await seen_of(walk)
        if seen is not None and name in seen.families and told_pause(seen.families[name], seen.hold):
            await act(walk, "resume", name)
    for name, job in (await walk.direct.jobs()).items():
        if job["disabled"] is False and name in ("often", "direct"):
            await act(walk, "schedule-disable", name)

    async def rest() -> bool:
        runs = await walk.direct.durable()
        for run_id, run in runs.runs.items():
            if run["status"] != "completed" and run_id not in walk.asked_to_end:
                item = run_id.rpartition(".")[0]
                seen = await walk.direct.pressure()
                if [place for place in seen.place(item) if place[0] == ENDLESS]:
                    await act(walk, "run-cancel", run_id)
                    walk.asked_to_end[run_id] = "cancelled"
        seen = await walk.direct.pressure()
        busy = {
            name: [one.runnable(), one.size("leased", "admitting", "flight")]
            for name, one in seen.families.items()
            if sum(one.runnable()) + one.size("leased", "admitting", "flight")
            and "machine" not in one.pauses()
        }
        live = [run_id for run_id, run in runs.runs.items() if run["status"] != "completed"]
        return not busy and not live

    await walk.until(rest, "everything that may run has ended", within_s=120)
