"""What a target that asks to be left alone is granted, whatever it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from runtime.durable.asked import Asked
from runtime.durable.handlers.retry_after import retry_after_s
from runtime.model import RETRY_AFTER_MAX_S, BoundaryDown, Outcome
from tests.durable.rig import working
from tests.servers import RestateServer

NOW = 1_800_000_000.0
"""2027-01-15 08:00:00 UTC"""


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("20", 20.0),
        (" 20 ", 20.0),
        ("0", None),
        ("-5", None),
        ("1e9", None),
        ("1000000000000", RETRY_AFTER_MAX_S),
        ("9" * 5000, RETRY_AFTER_MAX_S),
        ("٢٠", None),
        ("", None),
        (None, None),
        ("soon", None),
        ("\x1b[31m20", None),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2027 07:59:30 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_MAX_S),
        ("Fri, 99 Jan 2027 08:00:30 GMT", None),
        ("Fri, 15 Jan 2027 08:00:30 GMT" * 100, None),
    ],
)
def test_what_is_asked_is_granted_within_bounds(value: str | None, wait_s: float | None) -> None:
    assert retry_after_s(value, date=None, now=NOW) == wait_s


def test_a_date_is_understood_by_the_targets_own_clock() -> None:
    told = "Fri, 15 Jan 2027 10:00:30 GMT"
    assert retry_after_s(told, date="Fri, 15 Jan 2027 10:00:00 GMT", now=NOW) == 30.0
    assert retry_after_s(told, date="nonsense", now=NOW) == RETRY_AFTER_MAX_S


@dataclass
class Port:
    down: bool = False
    waits: dict[str, float] = field(default_factory=dict)

    async def leave_alone(self, waits: Mapping[str, float]) -> None:
        if self.down:
            raise BoundaryDown("away")
        self.waits.update(waits)

    async def left_alone(self, families: Collection[str]) -> Mapping[str, float]:
        if self.down:
            raise BoundaryDown("away")
        return {name: wait for name, wait in self.waits.items() if name in families}


async def test_what_redis_could_not_be_told_at_once_is_told_as_what_is_left_of_it() -> None:
    port, now = Port(down=True), 100.0
    asked = Asked(port, monotonic=lambda: now)
    await asked.heard("a", 20.0)
    await asked.heard("b", 5.0)
    assert (asked.left_s("a"), asked.left_s("c")) == (20.0, 0.0)
    now, port.down = 108.0, False
    await asked.refresh(["a", "b"])
    assert port.waits == {"a": 12.0}, "b's is over and is never put back"
    await asked.heard("a", 3.0)
    assert asked.left_s("a") == 12.0, "a shorter one does not shorten it"


async def test_what_another_worker_was_asked_holds_here_too() -> None:
    asked = Asked(Port(waits={"a": 7.0, "z": 9.0}), monotonic=lambda: 100.0)
    await asked.refresh(["a"])
    assert (asked.left_s("a"), asked.left_s("z")) == (7.0, 0.0)


@asynccontextmanager
async def busy_target(answers: list[web.Response]) -> AsyncIterator[tuple[str, list[float]]]:
    """Gives each answer once, then 200; and when it was called."""
    called: list[float] = []

    async def handle(_: web.Request) -> web.Response:
        called.append(time.monotonic())
        return answers.pop(0) if answers else web.Response(text="done")

    app = web.Application()
    app.router.add_route("*", "/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", called
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("status", [429, 503])
async def test_the_next_try_and_other_runs_of_the_family_come_no_sooner_than_asked(
    module_restate: RestateServer, tmp_path: Path, status: int
) -> None:
    answer = web.Response(status=status, headers={"Retry-After": "3"})
    async with busy_target([answer]) as (url, called):
        families = (
            f'[families."a/h"]\nhandler = "http"\nurl = "{url}"\n'
            'retry = { tries = 2, initial = "50ms", max = "100ms" }\n'
        )
        async with working(module_restate, tmp_path, families) as rig:
            first, _ = await rig.start("a/h")
            async with asyncio.timeout(20):
                while not called:
                    await asyncio.sleep(0.01)
            asked_at = called[0]
            second, _ = await rig.start("a/h")
            for run_id in (first, second):
                assert (await rig.settled(run_id)).outcome is Outcome.SUCCEEDED
            assert len(called) == 3
            assert all(at - asked_at >= 2.9 for at in called[1:])


async def test_a_failure_says_what_was_asked(module_restate: RestateServer, tmp_path: Path) -> None:
    answer = web.Response(status=429, text="slow down", headers={"Retry-After": "1"})
    async with busy_target([answer]) as (url, _):
        families = f'[families."a/h"]\nhandler = "http"\nurl = "{url}"\nretry = {{ tries = 1 }}\n'
        async with working(module_restate, tmp_path, families) as rig:
            run_id, _ = await rig.start("a/h")
            row = await rig.settled(run_id)
            assert row.outcome is Outcome.FAILED
            assert row.message is not None
            assert row.message.endswith(
                "answered HTTP 429 Too Many Requests, asked to come again in 1 s: slow down"
            )
