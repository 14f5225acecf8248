"""What only the embedded clock is asked: its pages, its refusals, and what survives its being killed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx
import pytest

from runtime.clock.client import Dkron
from runtime.clock.embedded import EmbeddedClock
from runtime.clock.jobs import BadJob, parse_job
from runtime.clock.store import Store
from runtime.model import ConfigError
from runtime.roles.clock_paths import listen_at
from tests.clock.lanes import scheduled_lane
from tests.clock.test_contract import a_job, embedded
from tests.servers import RestateServer, ValkeyServer


async def test_lists_have_pages_filters_and_a_total(short_dir: Path) -> None:
    async with embedded(short_dir) as url, Dkron(url) as dkron:
        for number in range(5):
            await dkron.put(a_job(f"job-{number}", disabled=number == 3))
        transport = httpx.AsyncHTTPTransport(uds=url.removeprefix("unix:"))
        async with httpx.AsyncClient(transport=transport, base_url="http://clock") as http:
            for query, names, total in (
                ("_start=1&_end=3", ["job-1", "job-2"], "5"),
                ("_sort=name&_order=DESC&_end=2", ["job-4", "job-3"], "5"),
                ("disabled=true", ["job-3"], "1"),
                ("q=b-4", ["job-4"], "1"),
                ("status=success", [], "0"),
                ("metadata[lane]=job-2", ["job-2"], "1"),
                ("_start=x&_end=-1", [f"job-{n}" for n in range(5)], "5"),
            ):
                answer = await http.get(f"/v1/jobs?{query}")
                assert ([row["name"] for row in answer.json()], answer.headers["x-total-count"]) == (
                    names,
                    total,
                )
            assert (await http.get("/v1/isleader")).status_code == 200
            assert [row["statusText"] for row in (await http.get("/v1/members")).json()] == ["alive"]
            assert (await http.get("/v1/executions")).status_code == 404
            for body, status in ((b"{", 400), (b"[]", 400), (b"x" * 300_000, 413), (b"[" * 9999, 400)):
                assert (await http.post("/v1/jobs", content=body)).status_code == status
            put = await http.put("/v1/jobs/other", json={"name": "job-1"})
            assert put.status_code == 400


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "../x"}, "name"),
        ({"executor": "shell"}, "http only"),
        ({"parent_job": "x"}, "parent_job is not supported"),
        ({"processors": {"log": {}}}, "processors is not supported"),
        ({"colour": "red"}, "unknown field"),
        ({"executor_config": {"url": "file:///etc/passwd"}}, "http"),
        ({"executor_config": {"url": "http://x", "command": "rm"}}, "not supported"),
        ({"executor_config": {"url": "http://x", "headers": "{}"}}, "headers"),
        ({"executor_config": {"url": "http://x", "headers": '["A: b\\r\\nC: d"]'}}, "header"),
        ({"executor_config": {"url": "http://x", "expectBody": "("}}, "expectBody"),
        ({"executor_config": {"url": "http://x", "timeout": "nan"}}, "timeout"),
        ({"retries": True}, "retries"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"disabled": "no"}, "disabled"),
    ],
)
def test_a_job_that_it_can_t_keep_is_refused_by_name(changes: dict[str, object], reason: str) -> None:
    job = {"name": "a", "schedule": "@hourly", "executor": "http", "executor_config": {"url": "http://x"}}
    parse_job(job, applied_at=0.0)
    with pytest.raises(BadJob, match=reason):
        parse_job({**job, **changes}, applied_at=0.0)


async def test_an_execution_that_was_cut_off_ends_as_unknown_and_not_as_running(short_dir: Path) -> None:
    from runtime.clock.store import Execution

    store = Store(short_dir / "clock.db")
    clock = EmbeddedClock(store, lambda: 100.0, log=lambda line: None)
    job = {"name": "a", "schedule": "@hourly", "executor": "http", "executor_config": {"url": "http://x"}}
    clock.put(parse_job(job, applied_at=0.0))
    store.begin(Execution("e", "a", 90.0, None, False, "", "embedded", 1, 1))
    store.close()
    store = Store(short_dir / "clock.db")
    again = EmbeddedClock(store, lambda: 200.0, log=lambda line: None)
    (execution,) = again.executions("a")
    assert (execution.finished_at, execution.success) == (200.0, False)
    assert "its end is unknown" in execution.output
    kept = again.job("a")
    assert kept is not None
    assert kept.error_count == 1
    with pytest.raises(ConfigError, match="can't be used"):
        Store(short_dir / "clock.db")
    store.close()


def test_its_socket_is_the_owner_s_alone_and_never_taken_from_a_clock_that_lives(short_dir: Path) -> None:
    path = short_dir / "run" / "clock.sock"
    listener = listen_at(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with pytest.raises(ConfigError, match="another clock"):
        listen_at(path)
    listener.close()
    listen_at(path).close()


async def test_jobs_and_executions_survive_sigkill(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    text = """
lane = "kept"
[families."quick"]
handler = "noop"
[schedules.often]
cron = "@every 1s"
family = "quick"
"""
    async with scheduled_lane(short_dir, module_valkey, module_restate, text) as lane:
        await lane.until_applied()
        theirs = a_job("theirs", metadata={"owner": "somebody"})
        await lane.dkron.put(theirs)
        await lane.until_history("often", 2)
        before = {e.execution_id: e for e in await lane.dkron.executions("kept_often") if e.finished_at}
        assert before
        lane.processes.kill("clock")
        lane.processes.start("clock")
        await lane.until_applied()
        after = {e.execution_id: e for e in await lane.dkron.executions("kept_often")}
        assert before.items() <= after.items()
        kept = await lane.dkron.job("theirs")
        assert kept is not None
        assert kept.executor_config == theirs.executor_config
        number = len(await lane.history("often"))
        await lane.until_history("often", number + 2)
        assert time.time() > 0


async def test_time_that_was_set_back_silences_no_job(short_dir: Path) -> None:
    store = Store(short_dir / "clock.db")
    at = [1_000_000.0]
    looks: list[float] = []

    def now() -> float:
        looks.append(at[0])
        return at[0]

    clock = EmbeddedClock(store, now, log=lambda line: None)
    config = {"url": "http://127.0.0.1:1/", "timeout": "1"}
    job = {"name": "a", "schedule": "0 * * * * *", "executor": "http", "executor_config": config}
    clock.put(parse_job(job, applied_at=at[0]))
    stop = asyncio.Event()
    running = asyncio.create_task(clock.run(stop))

    async def until_run(count: int) -> None:
        async with asyncio.timeout(10):
            while len(clock.executions("a")) < count:
                await asyncio.sleep(0.02)

    at[0] += 30 * 86_400.0
    await until_run(1)
    at[0] = 1_000_000.0
    looks.clear()
    async with asyncio.timeout(10):
        while len(looks) < 4:  # the clock has seen the step
            await asyncio.sleep(0.02)
    at[0] += 60.0
    await until_run(2)
    stop.set()
    await running
    store.close()
