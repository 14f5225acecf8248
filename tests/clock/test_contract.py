"""One contract for every clock behind Dkron's REST API: the embedded one, and a real Dkron where there is one.

The real one is the one that ``JOELCLAW_TEST_DKRON_URL`` names (it is written to, and must reach this machine's
loopback), else one of the test's own from the ``dkron`` on PATH. The end of the run says which, or why none.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from runtime.clock.api import build_api
from runtime.clock.client import Dkron
from runtime.clock.embedded import EmbeddedClock
from runtime.clock.store import Store
from runtime.gateway.serve import serve_gateway
from runtime.model import ClockJob, NotFound, Refused
from runtime.roles.clock_paths import listen_at
from tests.lane.operating import until


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[str]:
    stop = asyncio.Event()
    store = Store(folder / "clock.db")
    clock = EmbeddedClock(store, time.time, log=lambda line: None)
    listener = listen_at(folder / "run" / "clock.sock")
    tasks = [
        asyncio.create_task(clock.run(stop)),
        asyncio.create_task(serve_gateway(build_api(clock, time.time), listener, stop)),
    ]
    try:
        yield f"unix:{folder / 'run' / 'clock.sock'}"
    finally:
        stop.set()
        await asyncio.gather(*tasks)
        store.close()


@pytest.fixture(params=["embedded", "dkron"])
async def dkron(request: pytest.FixtureRequest, short_dir: Path) -> AsyncIterator[Dkron]:
    if request.param == "embedded":
        async with embedded(short_dir) as url, Dkron(url) as client:
            yield client
        return
    async with Dkron(request.getfixturevalue("dkron_url")) as client:
        yield client


@pytest.fixture
async def name(dkron: Dkron) -> AsyncIterator[str]:
    """A job name of this test's own; its jobs are gone afterwards."""
    stem = f"jt-{secrets.token_hex(4)}"
    yield stem
    left = [job for job in await dkron.jobs() if job.name.startswith(stem)]
    for job in sorted(left, key=lambda job: not job.parent_job):  # children first
        await dkron.delete(job.name)


class Target:
    """What the http executor calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str | None]] = []
        self.status = 202
        self.port = 0

    async def take(self, request: web.Request) -> web.Response:
        self.calls.append((request.method, await request.text(), request.headers.get("X-Who")))
        return web.Response(status=self.status, text="said")


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    target = Target()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", target.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    target.port = runner.addresses[0][1]
    yield target
    await runner.cleanup()


def a_job(name: str, port: int = 9, **changes: object) -> ClockJob:
    job = ClockJob(
        name=name,
        displayname="A job",
        schedule="0 0 0 1 1 *",
        timezone="UTC",
        disabled=False,
        executor="http",
        executor_config={
            "method": "POST",
            "url": f"http://127.0.0.1:{port}/x",
            "headers": '["X-Who: me"]',
            "body": "hello",
            "timeout": "5",
            "expectCode": "202",
        },
        metadata={"owner": "joelclaw", "lane": name},
    )
    return replace(job, **changes)  # type: ignore[arg-type]


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    await until(condition, what, within_s=15)


async def test_it_says_what_it_is(dkron: Dkron) -> None:
    assert await dkron.healthy()
    source = await dkron.source()
    assert source.engine in ("embedded", "dkron")
    assert source.leader
    assert source.version
    assert isinstance(await dkron.busy(), list)


async def test_a_job_is_kept_as_it_was_given(dkron: Dkron, name: str) -> None:
    given = a_job(name, timezone="Europe/Berlin", schedule="0 30 2 * * *")
    await dkron.put(given)
    kept = await dkron.job(name)
    assert kept is not None
    said = (
        "name",
        "displayname",
        "schedule",
        "timezone",
        "disabled",
        "executor",
        "metadata",
        "concurrency",
        "retries",
    )
    assert [getattr(kept, field) for field in said] == [getattr(given, field) for field in said]
    assert dict(kept.executor_config) == dict(given.executor_config)
    assert await dkron.job(f"{name}-not") is None


async def test_jobs_are_found_by_their_metadata(dkron: Dkron, name: str) -> None:
    mine = {"owner": "joelclaw", "lane": name}
    await dkron.put(a_job(f"{name}-b", metadata=mine))
    await dkron.put(a_job(f"{name}-a", metadata={**mine, "x": "y"}))
    await dkron.put(a_job(f"{name}-c", metadata={"owner": "somebody", "lane": name}))
    found = [job.name for job in await dkron.jobs(mine)]
    assert found == [f"{name}-a", f"{name}-b"]
    assert [job.name for job in await dkron.jobs({"x": "y", "lane": name})] == [f"{name}-a"]


async def test_replacing_a_job_changes_it_and_keeps_its_figures(
    dkron: Dkron, name: str, target: Target
) -> None:
    await dkron.put(a_job(name, target.port))
    await dkron.run(name)

    async def ran() -> bool:
        job = await dkron.job(name)
        return job is not None and job.success_count == 1

    await eventually(ran, "one success")
    changed = await dkron.put(a_job(name, target.port, schedule="0 0 0 2 2 *"))
    assert changed.schedule == "0 0 0 2 2 *"
    job = await dkron.job(name)
    assert job is not None
    assert (job.success_count, job.schedule) == (1, "0 0 0 2 2 *")


async def test_run_calls_the_target_and_records_how_it_ended(dkron: Dkron, name: str, target: Target) -> None:
    await dkron.put(a_job(name, target.port))
    await dkron.run(name)

    async def recorded(number: int) -> bool:
        executions = await dkron.executions(name)
        return len([e for e in executions if e.finished_at is not None]) == number

    await eventually(lambda: recorded(1), "an execution")
    (execution,) = await dkron.executions(name)
    assert execution.success
    assert execution.attempt == 1
    assert execution.started_at is not None
    assert target.calls == [("POST", "hello", "me")]
    one = await dkron.execution(name, execution.execution_id)
    assert one is not None
    assert "said" in one.output
    target.status = 500
    await dkron.run(name)
    await eventually(lambda: recorded(2), "another execution")
    assert not (await dkron.executions(name))[0].success
    job = await dkron.job(name)
    assert job is not None
    assert (job.success_count, job.error_count) == (1, 1)
    try:
        await dkron.forget_executions(name)
    except Refused as error:
        # Dkron up to 4.0.9 has no such request: said, and not taken for a job that isn't there.
        assert error.code == "unsupported"
        assert len(await dkron.executions(name)) == 2
    else:
        assert await dkron.executions(name) == []


async def test_a_job_runs_at_its_instants_and_not_while_it_is_off(
    dkron: Dkron, name: str, target: Target
) -> None:
    await dkron.put(a_job(name, target.port, schedule="* * * * * *"))

    async def called() -> bool:
        return len(target.calls) >= 2

    await eventually(called, "two calls")
    off = await dkron.toggle(name)
    assert off.disabled

    async def quiet() -> bool:
        return all(e.finished_at is not None for e in await dkron.executions(name))

    await eventually(quiet, "no execution under way")
    number = len(target.calls)
    end = time.time() + 2.5

    async def later() -> bool:
        return time.time() > end

    await eventually(later, "two instants passed")
    assert len(target.calls) == number
    on = await dkron.toggle(name)
    assert not on.disabled

    async def again() -> bool:
        return len(target.calls) > number

    await eventually(again, "calls again")


async def test_every_counts_from_when_it_was_applied(dkron: Dkron, name: str, target: Target) -> None:
    await dkron.put(a_job(name, target.port, schedule="@every 1s"))

    async def called() -> bool:
        return len(target.calls) >= 2

    await eventually(called, "two calls")


async def test_what_can_t_be_a_job_is_refused(dkron: Dkron, name: str) -> None:
    for bad in (
        a_job(name, schedule="* * * * *"),
        a_job(name, schedule="@often"),
        a_job(name, timezone="Mars/Olympus"),
        a_job(f"{name}-Ü"),
        a_job(name, executor="ftp"),
        a_job(name, concurrency="maybe"),
    ):
        if bad.executor == "ftp" and (await dkron.source()).engine == "dkron":
            continue  # Dkron takes any executor's name, and fails when the job runs
        with pytest.raises(Refused):
            await dkron.put(bad)
    assert await dkron.job(name) is None


async def test_what_is_not_there_is_said_to_be_not_there(dkron: Dkron, name: str) -> None:
    assert not await dkron.delete(name)
    for call in (dkron.run(name), dkron.toggle(name)):
        with pytest.raises(NotFound):
            await call
    await dkron.put(a_job(name))
    assert await dkron.execution(name, "none") is None
    assert await dkron.delete(name)
    assert await dkron.job(name) is None
