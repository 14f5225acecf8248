"""What the journal client says of runs equals what Restate has, whatever is in it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.durable.admin import Admin
from runtime.durable.journal import Journal
from runtime.model import (
    BoundaryDown,
    DurableReading,
    NotFound,
    Outcome,
    RunStatus,
    RunVerb,
    VerbResult,
    run_service,
)
from tests.durable.rig import a_request, eventually, working
from tests.servers import RestateServer

FAMILIES = r"""
[families."a/noop"]
handler = "noop"
[families."a/bad"]
handler = "command"
command = ["sh", "-c", "printf '[bold]\\033]0;x\\007\\033[31m' >&2; exit 1"]
retry = { tries = 1 }
[families."a/later"]
handler = "command"
command = ["sh", "-c", "echo not yet >&2; exit 1"]
retry = { tries = 9, initial = "1h", max = "1h" }
[families."a/long"]
handler = "command"
command = ["sleep", "600"]
"""


async def test_a_reading_has_the_unhealthiest_first_and_counts_like_restate(
    module_restate: RestateServer, tmp_path: Path
) -> None:
    async with working(module_restate, tmp_path, FAMILIES) as rig:
        ended = [(await rig.start("a/noop"))[0] for _ in range(5)]
        ended.append((await rig.start("a/bad"))[0])
        for run_id in ended:
            await rig.settled(run_id)
        long_run, long_id = await rig.start("a/long")
        later_run, later_id = await rig.start("a/later")
        async with asyncio.timeout(20):
            while (reading := await rig.journal.read()).live != {
                "running": 1,
                "backing-off": 1,
            } or reading.total != 8:
                pass
        assert [run.run_id for run in reading.runs[:2]] == [later_run, long_run]
        assert {run.run_id for run in reading.runs[2:]} == set(ended)
        assert [run.completed_at for run in reading.runs[2:]] == sorted(
            (run.completed_at or 0 for run in reading.runs[2:]), reverse=True
        )
        later, running = reading.runs[:2]
        assert (later.status, later.family, later.tries, later.last_failure) == (
            RunStatus.BACKING_OFF, "a/later", 1, "sh exited with 1: not yet",
        )  # fmt: skip
        assert later.next_try_at is not None
        assert later.created_at is not None
        assert 3500 < later.next_try_at - later.created_at < 3700
        assert (running.status, running.outcome, running.family) == (RunStatus.RUNNING, None, "a/long")
        bad = next(run for run in reading.runs if run.family == "a/bad")
        assert bad.outcome is Outcome.FAILED
        assert bad.last_failure is not None
        assert "\x1b" not in bad.last_failure
        assert reading.source.version
        assert reading.source.deployment is not None
        assert reading.source.deployment.rstrip("/") == rig.worker_url
        assert reading.source.service == run_service(rig.lane.current.name)
        cut = await rig.journal.read(limit=3)
        assert len(cut.runs) == 3
        assert cut.total == 8
        await rig.journal.apply(RunVerb.KILL, [long_id, later_id])


async def test_a_lookup_finds_what_restate_knows_over_several_pages(
    module_restate: RestateServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.durable.journal.KEYS_A_QUERY", 7)
    async with working(module_restate, tmp_path, FAMILIES) as rig:
        known = [(await rig.start("a/noop"))[0] for _ in range(20)]
        for run_id in known:
            await rig.settled(run_id)
        strangers = [a_request("a/noop").run_id for _ in range(5)]
        found = await rig.journal.lookup([*known, *strangers])
        assert found.keys() == set(known)
        assert await rig.journal.lookup([]) == {}
        assert await rig.journal.run(strangers[0]) is None
        for hostile in ("x' or '1'='1", "", "../../etc"):
            with pytest.raises(NotFound):
                await rig.journal.lookup([hostile])


async def test_live_runs_come_in_pages_without_what_ended_or_is_young_or_is_a_fires(
    module_restate: RestateServer, tmp_path: Path
) -> None:
    async with working(module_restate, tmp_path, FAMILIES) as rig:
        ended = (await rig.start("a/noop"))[0]
        live = dict([await rig.start("a/long") for _ in range(4)] + [await rig.start("a/later")])
        request = a_request("a/long")
        fire = replace(request, item_id="nightly@2026-01-01T00:00:00Z")
        fired = (await rig.ingress.start(fire)).invocation_id
        await _until(rig.journal, ended, RunStatus.COMPLETED)
        found: dict[str, str] = {}
        cursor: str | None = None
        sizes = []
        while True:
            page, cursor = await rig.journal.live(older_than_s=0.0, after=cursor, limit=2)
            found |= {run.run_id: run.invocation_id for run in page}
            sizes.append(len(page))
            assert all(run.created_at is not None for run in page)
            if cursor is None:
                break
        assert found == live
        assert sizes == [2, 2, 1]
        assert await rig.journal.live(older_than_s=3600.0) == ([], None)
        assert [run.run_id for run in (await rig.journal.live(older_than_s=0.0))[0]] == list(found)
        with pytest.raises(NotFound):
            await rig.journal.live(older_than_s=0.0, after="inv_' or true --")
        await rig.journal.apply(RunVerb.KILL, [*live.values(), fired])


async def test_a_paused_run_says_why_and_can_be_resumed(
    module_restate: RestateServer, tmp_path: Path
) -> None:
    async with working(module_restate, tmp_path, FAMILIES) as rig, Admin(module_restate.admin_url) as admin:
        run_id, invocation = await rig.start("a/later")
        await _until(rig.journal, run_id, RunStatus.BACKING_OFF)
        await admin.request("PATCH", f"/invocations/{invocation}/pause")
        await _until(rig.journal, run_id, RunStatus.PAUSED)
        # Only the events know the cause once the invoker has forgotten the run.
        await asyncio.to_thread(module_restate.restart)
        await _until(rig.journal, run_id, RunStatus.PAUSED)
        view = await rig.journal.run(run_id)
        assert view is not None
        assert view.last_failure == "sh exited with 1: not yet"
        assert (await rig.journal.read()).live == {"paused": 1}
        assert await rig.journal.apply(RunVerb.RESUME, [invocation]) == {invocation: VerbResult.ACCEPTED}
        await _until(rig.journal, run_id, RunStatus.BACKING_OFF)
        await rig.journal.apply(RunVerb.KILL, [invocation])


async def test_a_journal_has_steps_and_failed_tries_in_order(
    module_restate: RestateServer, tmp_path: Path
) -> None:
    async with working(module_restate, tmp_path, FAMILIES) as rig:
        run_id, invocation = await rig.start("a/later")
        await _until(rig.journal, run_id, RunStatus.BACKING_OFF)
        await rig.journal.apply(RunVerb.CANCEL, [invocation])
        await rig.settled(run_id)
        await _until(rig.journal, run_id, RunStatus.COMPLETED)
        entries = await rig.journal.journal(invocation)
        said = [(entry.kind, entry.name) for entry in entries]
        assert said[:2] == [("Command: Input", None), ("Command: Run", "handler")]
        assert ("Command: Run", "settle") in said
        tries = [entry for entry in entries if entry.kind == "Event: TransientError"]
        assert [entry.detail for entry in tries] == ["sh exited with 1: not yet"]
        assert entries[-1].kind == "Command: Output"
        assert entries[-1].detail == "Failure"
        assert all(entry.at is not None for entry in entries)
        assert len(await rig.journal.journal(invocation, limit=2)) == 2
        with pytest.raises(NotFound):
            await rig.journal.journal("inv_' or true --")


async def test_verbs_tell_each_id_apart_even_where_one_spoils_the_batch(
    module_restate: RestateServer, tmp_path: Path
) -> None:
    async with working(module_restate, tmp_path, FAMILIES) as rig:
        done_run, done = await rig.start("a/noop")
        await _until(rig.journal, done_run, RunStatus.COMPLETED)
        _, live = await rig.start("a/long")
        await eventually(lambda: rig.app.running == 1)
        unknown = done[:-1] + ("A" if done[-1] != "A" else "B")
        undecodable = "inv_garbage0000000000000"
        results = await rig.journal.apply(RunVerb.KILL, [done, unknown, undecodable, "x'; drop", live])
        assert results[live] is VerbResult.ACCEPTED
        assert results[done] is VerbResult.WRONG_STATE
        assert results[undecodable] is VerbResult.NOT_FOUND
        assert results["x'; drop"] is VerbResult.NOT_FOUND
        assert results[unknown] in (VerbResult.NOT_FOUND, VerbResult.FAILED)
        again = await rig.journal.apply(RunVerb.KILL, [live, done])
        assert again == {live: VerbResult.WRONG_STATE, done: VerbResult.WRONG_STATE}


async def test_a_restate_that_is_down_or_hung_is_a_boundary_down(restate: RestateServer) -> None:
    async with Journal(restate.admin_url, "main", dict, ingress_url=restate.ingress_url) as journal:
        async with asyncio.timeout(20):
            while (reading := await _reading(journal)) is None:  # it is healthy before its tables are
                pass
        assert reading.total == 0
        assert reading.source.deployment is None
        restate.signal(signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await journal.read()
        restate.signal(signal.SIGCONT)
        assert (await journal.read()).total == 0
        restate.kill()
        for look in (
            journal.read(),
            journal.lookup([a_request("a/b").run_id]),
            journal.journal("inv_0123456789abc"),
        ):
            with pytest.raises(BoundaryDown):
                await look
        with pytest.raises(BoundaryDown):
            await journal.apply(RunVerb.KILL, ["inv_0123456789abc"])


async def test_what_a_server_makes_up_is_bounded_and_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "\x1b[31m" + "x" * 100_000

    async def rows(self: Admin, sql: str) -> list[dict[str, object]]:
        if "group by" in sql:
            return [{"status": "paused", "n": 1}, {"status": hostile, "n": "many"}]
        if "sys_invocation" in sql:
            return [{"id": hostile, "target_service_key": hostile, "status": hostile, "last_failure": hostile,
                     "created_at": "yesterday", "retry_count": -1.5}]  # fmt: skip
        return [{"endpoint": hostile, "event_json": json.dumps({"error_message": hostile})}]

    async def get(self: Admin, method: str, path: str, body: object = None) -> object:
        return {"version": hostile}

    monkeypatch.setattr(Admin, "query", rows)
    monkeypatch.setattr(Admin, "request", get)
    journal = Journal("http://127.0.0.1:9", "main", dict, ingress_url="http://127.0.0.1:9")
    reading = await journal.read()
    assert len(repr(reading)) < 5000
    assert "\x1b" not in repr(reading)
    assert reading.runs[0].status is RunStatus.UNKNOWN
    assert reading.runs[0].created_at is None


async def _reading(journal: Journal) -> DurableReading | None:
    try:
        return await journal.read()
    except BoundaryDown:
        return None


def test_looking_needs_neither_the_sdk_nor_the_worker() -> None:
    """They take half a second to import, which ``--once`` doesn't have."""
    code = "import sys, runtime.durable.journal; print(*({'restate', 'aiohttp', 'hypercorn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


async def _until(journal: Journal, run_id: str, status: RunStatus) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                view = await journal.run(run_id)
            except BoundaryDown:
                continue
            if view is not None and view.status is status:
                return
