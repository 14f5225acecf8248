"""``joelclaw-tui demo``: the local stack, real work through it, and the truth about it.

Everything is in the demo's own profile: its state, its lane file, its servers. Run again, it
finds the stack up and adds work.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Callable

from joelclaw_tui.cli.calling import called_by_make
from joelclaw_tui.cli.demo_lane import (
    CHANGE,
    FIX,
    GIT,
    HOOKS,
    LATER,
    NUMBERS,
    SCHEDULE,
    write_demo_files,
)
from joelclaw_tui.cli.once import once
from joelclaw_tui.cli.output import Output
from joelclaw_tui.cli.parser import PROGRAM
from joelclaw_tui.cli.session import Session
from runtime.actions.actor import os_actor
from runtime.actions.intents import Intent
from runtime.common.command_prefix import CommandPrefix
from runtime.lane.lane_file import demo_lane_file
from runtime.model import Priority, TimedOut
from runtime.roles.local import demo_port, keep_demo_port, local_stack
from runtime.roles.operator import Operator, open_operator
from runtime.settings import DEMO_PROFILE, Settings, load_settings
from runtime.stack.endpoints import LOOPBACK, PORTS
from runtime.stack.health import why_not_bindable
from runtime.truth.document import BoundaryStatus, Snapshot

READY_WITHIN_S = 60.0
SETTLED_WITHIN_S = 60.0
LOOK_EVERY_S = 0.1


def demo_settings(given: Settings) -> Settings:
    """Those of the demo's own profile, whichever was ``given``. Raises `OperatorError`."""
    settings = load_settings(
        profile=DEMO_PROFILE, theme=given.theme, read_only=given.read_only, state_dir=given.state_dir
    )
    if settings.lane is not None:  # somebody's JOELCLAW_LANE: the demo has a lane of its own
        settings = settings.model_copy(update={"lane": demo_lane_file(settings)})
    return settings


def run_demo(session: Session, *, console: bool, open_console: Callable[[Settings], int]) -> int:
    """Sets up, works, and opens the console; without a terminal it prints the snapshot.

    ``session``: with the settings of `demo_settings`. Returns the exit code. Raises `OperatorError`.
    """
    out, settings = session.out, session.settings
    begun = time.monotonic()
    port = demo_port(settings)
    if port is None:
        port = next(
            p for p in random.SystemRandom().sample(PORTS, 100) if why_not_bindable(LOOPBACK, p) is None
        )
    files = write_demo_files(settings.state, demo_lane_file(settings), port)
    keep_demo_port(settings, port)
    out.note(f"lane file: {files.lane}")
    asyncio.run(_work(settings, out))
    out.note(f"ready after {time.monotonic() - begun:.1f} s")
    call = CommandPrefix.of(settings.profile, settings.lane)
    stop = "make down" if called_by_make() else call.command("down")
    stays = f"The stack stays up. Look again: `{call.prefix}`. Stop it: `{stop}`."
    if console:
        code = open_console(settings)
    else:
        form = "json" if out.as_json else "table"
        arguments = argparse.Namespace(format=form, pane=None, watch=None)
        code = int(once(Session(arguments, settings, out)))
    out.note(stays)
    return code


async def _work(settings: Settings, out: Output) -> None:
    await local_stack(settings).up(out.note)
    async with open_operator(settings) as operator:
        await _until(operator, _ready, READY_WITHIN_S, "the lane to be ready")
        before = _succeeded(await operator.reader.snapshot())
        await _hold(operator)
        added = await _enqueue(operator)
        out.note("queued: " + ", ".join(f"{count} {family}" for family, count in added.items()))

        def settled(snapshot: Snapshot) -> str | None:
            now = _succeeded(snapshot)
            missing = {
                family: left
                for family, count in added.items()
                if family != LATER and (left := before.get(family, 0) + count - now.get(family, 0)) > 0
            }
            return ", ".join(f"{left} of {family}" for family, left in missing.items()) or None

        await _until(operator, settled, SETTLED_WITHIN_S, "the work to settle")
        await _until(operator, _fired, SETTLED_WITHIN_S, "a fire of the clock to end well")
        out.note("settled: " + ", ".join(family for family in added if family != LATER))


async def _hold(operator: Operator) -> None:
    """One family is paused, so that there is something to resume."""
    preview = await operator.actions.preview(
        Intent("pause", (LATER,), reason="shown by the demo: resume it with the key r")
    )
    await operator.actions.apply(preview, actor=os_actor(), origin="cli")


async def _enqueue(operator: Operator) -> dict[str, int]:
    payloads: list[tuple[str, object, Priority | None]] = [
        *((HOOKS, {"page": f"/posts/{n}", "full": n % 3 == 0}, Priority(n % 4)) for n in range(16)),
        *((GIT, {"check": n}, None) for n in range(4)),
        *((NUMBERS, [n, n + 1, n + 5], None) for n in range(4)),
        *((LATER, {"digest": n}, None) for n in range(6)),
        (CHANGE, FIX, None),
    ]
    added: dict[str, int] = {}
    for family, payload, priority in payloads:
        await operator.intake.enqueue(family, json.dumps(payload), origin="demo", priority=priority)
        added[family] = added.get(family, 0) + 1
    return added


def _ready(snapshot: Snapshot) -> str | None:
    """What is missing, in words; None when work would run."""
    boundaries = snapshot.boundaries
    missing = [
        name
        for name, fine in (
            ("pressure", boundaries.pressure.status is not BoundaryStatus.DOWN),
            ("durable", boundaries.durable.status is not BoundaryStatus.DOWN),
            ("a drainer", any(row.alive for row in snapshot.runtime.drainers)),
            ("a worker", any(row.alive for row in snapshot.runtime.workers)),
            ("the clock", boundaries.clock.status is BoundaryStatus.OK),
            ("the worker's registration", bool(boundaries.durable.source.get("deployment"))),
        )
        if not fine
    ]
    return ", ".join(missing) or None


def _fired(snapshot: Snapshot) -> str | None:
    """What is missing until one fire was followed to the end of its work."""
    clock = snapshot.boundaries.clock.data
    row = next((row for row in clock.schedules.items if row.name == SCHEDULE), None) if clock else None
    if row is None or row.last_fire is None:
        return f"a fire of {SCHEDULE}"
    return None if row.last_outcome == "succeeded" else f"the end of {row.last_fire}"


def _succeeded(snapshot: Snapshot) -> dict[str, int]:
    data = snapshot.boundaries.pressure.data
    return {row.name: row.succeeded_total for row in data.families.items} if data is not None else {}


async def _until(
    operator: Operator, missing: Callable[[Snapshot], str | None], within_s: float, what: str
) -> None:
    """ReadPort until nothing is missing. Raises `TimedOut` with what still is."""
    deadline = time.monotonic() + within_s
    while left := missing(await operator.reader.snapshot()):
        if time.monotonic() > deadline:
            command = f"{PROGRAM} --profile {DEMO_PROFILE}"
            raise TimedOut(
                f"waited {within_s:g} s for {what}; missing: {left}",
                fix=f"see `{command} --once` and `{command} logs worker`",
            )
        await asyncio.sleep(LOOK_EVERY_S)
