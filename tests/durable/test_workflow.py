"""`WorkRun` on a real Restate server: it ends once, as it should, and its row is closed with it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import httpx

from runtime.durable.request import encode_request
from runtime.model import Outcome, RunStatus, RunVerb, RunView, VerbResult, run_service
from tests.durable.rig import RecordingSettler, Rig, a_request, eventually, working
from tests.servers import RestateServer

FAMILIES = """
[families."a/noop"]
handler = "noop"
"""


def counting(folder: Path, name: str, script: str, more: str = "") -> tuple[str, Path]:
    """A family whose command notes each try in a file before it runs ``script``."""
    tries = folder / f"tries-{name}"
    command = json.dumps(["sh", "-c", f"echo x >> {tries}; {script}"])
    return f'[families."a/{name}"]\nhandler = "command"\ncommand = {command}\n{more}\n', tries


def count(tries: Path) -> int:
    return tries.read_text().count("x") if tries.exists() else 0


async def completed(rig: Rig, run_id: str) -> RunView:
    async with asyncio.timeout(20):
        while True:
            view = await rig.journal.run(run_id)
            if view is not None and view.status is RunStatus.COMPLETED:
                return view


async def test_a_run_succeeds_and_settles_once(module_restate: RestateServer, tmp_path: Path) -> None:
    async with working(module_restate, tmp_path, FAMILIES) as rig:
        run_id, _ = await rig.start("a/noop")
        view = await completed(rig, run_id)
        assert view.outcome is Outcome.SUCCEEDED
        assert [row.outcome for row in rig.settler.of(run_id)] == [Outcome.SUCCEEDED]
        assert rig.settler.calls == 1


async def test_the_same_run_id_twice_is_one_run(module_restate: RestateServer, tmp_path: Path) -> None:
    family, tries = counting(tmp_path, "once", "true")
    async with working(module_restate, tmp_path, family) as rig:
        request = a_request("a/once")
        first, second = await asyncio.gather(rig.ingress.start(request), rig.ingress.start(request))
        assert first.invocation_id == second.invocation_id
        assert {first.again, second.again} == {True, False}
        await completed(rig, request.run_id)
        assert (await rig.ingress.start(request)).again
        assert count(tries) == 1
        assert rig.settler.calls == 1


async def test_a_failing_handler_is_tried_by_its_policy_and_then_dead(
    module_restate: RestateServer, tmp_path: Path
) -> None:
    retry = 'retry = { tries = 3, initial = "50ms", factor = 1.0, max = "1s" }'
    family, tries = counting(tmp_path, "fail", r"printf 'no \033[31mluck' >&2; exit 9", retry)
    async with working(module_restate, tmp_path, family) as rig:
        run_id, _ = await rig.start("a/fail")
        row = await rig.settled(run_id)
        assert row.outcome is Outcome.FAILED
        assert row.message is not None
        assert row.message.startswith("sh exited with 9: no ")
        assert "\x1b" not in row.message
        assert count(tries) == 3
        view = await completed(rig, run_id)
        assert view.outcome is Outcome.FAILED
        assert view.last_failure == row.message


async def test_a_final_failure_is_not_tried_again(module_restate: RestateServer, tmp_path: Path) -> None:
    family, tries = counting(tmp_path, "final", "exit 127")
    async with working(module_restate, tmp_path, family) as rig:
        run_id, _ = await rig.start("a/final")
        assert (await rig.settled(run_id)).outcome is Outcome.FAILED
        assert count(tries) == 1


async def test_a_handler_that_hangs_is_ended_and_tried_again(
    module_restate: RestateServer, tmp_path: Path
) -> None:
    retry = 'timeout = "400ms"\nretry = { tries = 2, initial = "50ms" }'
    family, tries = counting(tmp_path, "hang", "sleep 600", retry)
    async with working(module_restate, tmp_path, family) as rig:
        run_id, _ = await rig.start("a/hang")
        row = await rig.settled(run_id)
        assert row.outcome is Outcome.FAILED
        assert row.message is not None
        assert "was killed" in row.message
        assert count(tries) == 2


async def test_a_family_that_was_removed_fails_for_good_and_says_so(
    module_restate: RestateServer, tmp_path: Path
) -> None:
    async with working(module_restate, tmp_path, FAMILIES) as rig:
        run_id, _ = await rig.start("gone/away")
        row = await rig.settled(run_id)
        assert row.outcome is Outcome.FAILED
        assert row.message is not None
        assert "gone/away is no longer declared" in row.message


async def test_cancelling_a_long_step_kills_its_program_and_settles_it_cancelled(
    module_restate: RestateServer, tmp_path: Path
) -> None:
    family, tries = counting(tmp_path, "long", f"echo $$ > {tmp_path}/pid; exec sleep 600", 'timeout = "1h"')
    alive_at_settling: list[bool] = []

    def look() -> None:
        alive_at_settling.append(Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists())

    settler = RecordingSettler(before=look)
    async with working(module_restate, tmp_path, family, settler=settler) as rig:
        run_id, invocation = await rig.start("a/long")
        await eventually((tmp_path / "pid").exists)
        assert rig.app.running == 1
        assert await rig.journal.apply(RunVerb.CANCEL, [invocation]) == {invocation: VerbResult.ACCEPTED}
        assert (await rig.settled(run_id)).outcome is Outcome.CANCELLED
        assert alive_at_settling == [False]
        view = await completed(rig, run_id)
        assert view.outcome is Outcome.CANCELLED
        assert count(tries) == 1
        assert rig.app.running == 0


async def test_cancelling_a_run_that_waits_for_its_next_try_takes_effect_at_once(
    module_restate: RestateServer, tmp_path: Path
) -> None:
    family, tries = counting(tmp_path, "later", "exit 1", 'retry = { tries = 5, initial = "1h", max = "1h" }')
    async with working(module_restate, tmp_path, family) as rig:
        run_id, invocation = await rig.start("a/later")
        async with asyncio.timeout(10):
            while (view := await rig.journal.run(run_id)) is None or view.status is not RunStatus.BACKING_OFF:
                pass
        assert view.last_failure == "sh exited with 1"
        assert view.next_try_at is not None
        await rig.journal.apply(RunVerb.CANCEL, [invocation])
        assert (await rig.settled(run_id)).outcome is Outcome.CANCELLED
        assert count(tries) == 1


async def test_a_killed_run_leaves_no_program_behind(module_restate: RestateServer, tmp_path: Path) -> None:
    family, _ = counting(tmp_path, "kill", f"echo $$ > {tmp_path}/pid; exec sleep 600")
    async with working(module_restate, tmp_path, family) as rig:
        run_id, invocation = await rig.start("a/kill")
        await eventually((tmp_path / "pid").exists)
        await rig.journal.apply(RunVerb.KILL, [invocation])
        assert (await completed(rig, run_id)).outcome is Outcome.KILLED
        pid = (tmp_path / "pid").read_text().strip()
        await eventually(lambda: not Path(f"/proc/{pid}").exists())
        assert rig.settler.of(run_id) == []


async def test_settling_is_tried_until_it_succeeds(module_restate: RestateServer, tmp_path: Path) -> None:
    family, tries = counting(tmp_path, "settle", "true")
    settler = RecordingSettler(failures=[ConnectionError("redis is away"), TimeoutError(), ValueError("odd")])
    async with working(module_restate, tmp_path, family, settler=settler) as rig:
        run_id, _ = await rig.start("a/settle")
        assert (await rig.settled(run_id)).outcome is Outcome.SUCCEEDED
        assert settler.calls == 4
        assert count(tries) == 1


async def test_a_cancellation_that_comes_while_a_success_settles_does_not_undo_it(
    module_restate: RestateServer, tmp_path: Path
) -> None:
    settler = RecordingSettler(failures=[ConnectionError("redis is away")] * 3)
    async with working(module_restate, tmp_path, FAMILIES, settler=settler) as rig:
        run_id, invocation = await rig.start("a/noop")
        await eventually(lambda: settler.calls >= 1)
        await rig.journal.apply(RunVerb.CANCEL, [invocation])
        assert (await rig.settled(run_id)).outcome is Outcome.SUCCEEDED
        assert (await completed(rig, run_id)).outcome is Outcome.SUCCEEDED


async def test_a_malformed_body_ends_at_once_and_settles_the_item_of_its_key(
    module_restate: RestateServer, tmp_path: Path
) -> None:
    async with working(module_restate, tmp_path, FAMILIES) as rig:
        request = a_request("a/noop")
        other = replace(request, attempt=2)
        service = run_service(rig.lane.current.name)
        transport = httpx.AsyncHTTPTransport(uds=str(module_restate.sockets.ingress))
        async with httpx.AsyncClient(transport=transport) as client:
            for key, body in (
                (request.run_id, encode_request(other)),
                (other.run_id, b'{"odd": 1}'),
                ("foreign", b"1"),
            ):
                answer = await client.post(
                    f"http://restate/{service}/{key}/run/send",
                    content=body,
                    headers={"content-type": "application/json"},
                )
                assert answer.status_code == 202
        for run_id in (request.run_id, other.run_id):
            row = await rig.settled(run_id)
            assert row.outcome is Outcome.FAILED
            assert row.message is not None
            assert row.message.startswith("malformed run request")
            assert (await completed(rig, run_id)).outcome is Outcome.FAILED
        reading = await rig.journal.read()
        assert reading.live == {}
        assert reading.total == 3
