"""One lane of real servers: what is shown equals what another path reads, and bad input is answered."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from runtime.actions.intents import Intent, Preview
from runtime.durable.admin import Admin
from runtime.model import ItemState, Outcome, Priority, ReceiptOutcome, RunStatus, WorkItem
from runtime.redis_client.connection import connect
from runtime.roles.operator import Operator
from runtime.truth.document import Snapshot
from tests.lane.operating import operator_of, until
from tests.lane.processes import LaneProcesses
from tests.lane.sink import Sink, open_sink
from tests.servers import RestateServer, ValkeyServer

LANE = """
lane = "truth"

[families."content/updated"]
handler = "http"
url = "{sink}/content"
retry = {{ tries = 2, initial = "50ms" }}
timeout = "5s"

[families."held/back"]
handler = "http"
url = "{sink}/held"
max_in_flight = 1

[families."repo/checked"]
handler = "command"
command = ["git", "--version"]

[families."fails/always"]
handler = "command"
command = ["{python}", "-S", "-c", "import sys; sys.stderr.write('\\u001b]0;owned\\u0007[red]boom\\\\n'); sys.exit(3)"]
retry = {{ tries = 2, initial = "50ms" }}

[families."hangs/long"]
handler = "command"
command = ["{python}", "-S", "-c", "import subprocess,sys,time; subprocess.Popen(['sleep','600']); time.sleep(600)"]
retry = {{ tries = 1, initial = "50ms" }}
timeout = "{hang}"
max_in_flight = 4

[families."numbers/averaged"]
handler = "python"
call = "statistics:mean"

[families."nothing/done"]
handler = "noop"
"""


@dataclass
class Whole:
    processes: LaneProcesses
    operator: Operator
    sink: Sink
    valkey: ValkeyServer
    restate: RestateServer

    async def enqueue(self, family: str, payload: str = "{}", **options: Any) -> str:
        return (await self.operator.intake.enqueue(family, payload, origin="test", **options)).item_id

    async def item(self, item_id: str) -> WorkItem:
        item = await self.operator.reader.item(item_id)
        assert item is not None
        return item

    async def until_state(self, item_id: str, *states: ItemState, within_s: float = 30) -> WorkItem:
        async def there() -> bool:
            return (await self.item(item_id)).state in states

        await until(
            there, f"{item_id} {states}; worker: {self.processes.log('worker')[-1500:]}", within_s=within_s
        )
        return await self.item(item_id)

    async def snapshot(self) -> Snapshot:
        return await self.operator.reader.snapshot()

    async def act(self, action: str, *targets: str, **options: Any) -> tuple[Preview, list[ReceiptOutcome]]:
        preview = await self.operator.actions.preview(Intent(action, targets, **options))
        receipt = await self.operator.actions.apply(preview, actor="ann", origin="test")
        return preview, [result.outcome for result in receipt.results]


def family_row(snapshot: Snapshot, name: str) -> Any:
    data = snapshot.boundaries.pressure.data
    assert data is not None
    return next(row for row in data.families.items if row.name == name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole(module_valkey: ValkeyServer, module_restate: RestateServer) -> AsyncIterator[Whole]:
    folder = Path(tempfile.mkdtemp(prefix="jt-ln-"))
    async with open_sink() as sink:
        lane = LANE.format(sink=sink.url, python=sys.executable, hang="60s")
        processes = LaneProcesses(folder, module_valkey, module_restate, lane)
        try:
            for role in ("worker", "drainer", "gateway"):
                processes.start(role)
            async with operator_of(processes) as operator:
                made = Whole(processes, operator, sink, module_valkey, module_restate)

                async def ready() -> bool:
                    snapshot = await made.snapshot()
                    runtime = snapshot.runtime
                    return bool(
                        snapshot.boundaries.durable.source.get("deployment")
                        and runtime.workers
                        and runtime.drainers
                        and runtime.gateway
                    )

                await until(ready, "the lane is ready")
                yield made
        finally:
            processes.stop()
            shutil.rmtree(folder)


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_drainer_records_the_minutes_and_says_when_it_can_not(whole: Whole) -> None:
    async def told() -> bool:
        return all(
            drainer.detail.get("recorder_error", "not told") is None
            for drainer in (await whole.snapshot()).runtime.drainers
        )

    await until(told, "the drainer's word on its recorder")
    minutes = (await whole.operator.reader.series(["nothing/done"], 5))["nothing/done"]
    assert len(minutes.points) == 5 and minutes.problem is None


async def test_real_work_of_several_handlers_succeeds(whole: Whole) -> None:
    ids = [
        await whole.enqueue("content/updated", '{"page":"/a"}'),
        await whole.enqueue("repo/checked"),
        await whole.enqueue("numbers/averaged", "[1,2,6]"),
        await whole.enqueue("nothing/done"),
    ]
    for item_id in ids:
        await whole.until_state(item_id, ItemState.SUCCEEDED)
    assert whole.sink.effects[f"{ids[0]}.1"] == {"path": "/content", "payload": {"page": "/a"}}


async def test_every_figure_equals_a_direct_reading(whole: Whole) -> None:
    dead = await whole.enqueue("fails/always")
    await whole.until_state(dead, ItemState.DEAD)
    running = await whole.enqueue("hangs/long")
    await whole.until_state(running, ItemState.IN_FLIGHT)
    delayed = await whole.enqueue("nothing/done", delay_s=3600)
    await whole.act("pause", "held/back", reason="counting")
    held = [await whole.enqueue("held/back", priority=Priority(n % 4)) for n in range(5)]
    answered = await asyncio.to_thread(whole.processes.command, "--once", "--format", "json")
    assert answered.returncode == 1, answered.stderr.decode()  # one dead item is worth attention
    document = json.loads(answered.stdout)
    rows = {row["name"]: row for row in document["boundaries"]["pressure"]["data"]["families"]["items"]}

    redis = connect(whole.valkey.url)
    for name, row in rows.items():
        base = f"joelclaw:1:{{truth/{name}}}:"
        levels = [await redis.zcard(f"{base}w{level}") for level in range(4)]
        assert [row["by_priority"][f"P{level}"] for level in range(4)] == levels
        assert row["waiting"] + row["held"] + row["throttled"] == sum(levels)
        assert row["in_flight"] == await redis.zcard(base + "flight")
        assert row["dead"] == await redis.zcard(base + "dead")
        assert row["delayed"] == sum([await redis.zcard(f"{base}d{level}") for level in range(4)])
        assert row["quarantined"] == await redis.zcard(base + "quarantined")
        assert row["leased"] == await redis.zcard(base + "leased") + await redis.zcard(base + "admitting")
        assert row["succeeded_total"] == int(await redis.hget(base + "stats", "succeeded") or 0)
        assert row["failed_total"] == int(await redis.hget(base + "stats", "failed") or 0)
    totals = document["boundaries"]["pressure"]["data"]["totals"]
    for key, total in totals.items():
        assert total == sum(row[key] for row in rows.values())
    assert (rows["held/back"]["held"], rows["held/back"]["waiting"]) == (5, 0)
    assert (rows["nothing/done"]["delayed"], rows["fails/always"]["dead"]) == (1, 1)
    info = await redis.info("server")
    assert document["boundaries"]["pressure"]["source"]["run_id"] == info["run_id"]
    await redis.aclose()

    durable = document["boundaries"]["durable"]["data"]
    async with Admin(whole.restate.admin_url) as admin:
        query = "select status, count(1) as n from sys_invocation where target_service_name = 'joelclaw1.truth.WorkRun'"
        counts = {row["status"]: row["n"] for row in await admin.query(query + " group by status")}
    assert durable["runs"]["total"] == sum(counts.values())
    assert durable["live"] == {status: n for status, n in counts.items() if status != "completed"}
    listed = {row["run_id"]: row for row in durable["runs"]["items"]}
    assert listed[f"{running}.1"]["status"] == "running"
    assert listed[f"{dead}.1"]["outcome"] == "failed"

    await whole.act("run-cancel", f"{running}.1")
    await whole.until_state(running, ItemState.DEAD)
    await whole.act("resume", "held/back")
    for item_id in held:
        await whole.until_state(item_id, ItemState.SUCCEEDED)
    assert (await whole.item(delayed)).state is ItemState.DELAYED


async def test_looking_starts_nothing_and_writes_nothing(whole: Whole) -> None:
    redis = connect(whole.valkey.url)

    async def keys() -> set[str]:
        # Beats are the processes' own; since when a finding stands is kept by whoever sees it first.
        return {key async for key in redis.scan_iter() if "beats" not in key and "findings" not in key}

    async def calm() -> bool:
        return (await whole.snapshot()).boundaries.pressure.data.totals.in_flight == 0  # type: ignore[union-attr]

    await until(calm, "nothing is in flight")
    before = await keys()
    for command in (("--once",), ("queue", "list"), ("runs", "list"), ("audit",), ("families", "list")):
        answered = await asyncio.to_thread(whole.processes.command, *command)
        assert answered.returncode in (0, 1), answered.stderr.decode()
    assert await keys() <= before  # a key may have run out meanwhile
    await redis.aclose()


async def test_a_pause_admits_nothing_and_resume_drains_by_priority(whole: Whole) -> None:
    whole.sink.order.clear()
    preview, outcomes = await whole.act("pause", "held/back", reason="look first")
    assert (preview.ids, outcomes) == (("held/back",), [ReceiptOutcome.DONE])
    levels = (3, 1, 0, 2, 0, 3, 1, 2)
    made = [(level, await whole.enqueue("held/back", priority=Priority(level))) for level in levels]
    marker = await whole.enqueue("content/updated")
    await whole.until_state(marker, ItemState.SUCCEEDED)  # the drainer has been round meanwhile
    snapshot = await whole.snapshot()
    row = family_row(snapshot, "held/back")
    assert (row.held, row.waiting, row.in_flight, row.stuck) == (len(levels), 0, 0, False)
    assert row.paused is not None and row.paused.reason == "look first"
    assert not [key for key in whole.sink.order if key.partition(".")[0] in dict((b, a) for a, b in made)]
    await whole.act("resume", "held/back")
    for _, item_id in made:
        await whole.until_state(item_id, ItemState.SUCCEEDED)
    drained = [key.partition(".")[0] for key in whole.sink.order if not key.startswith(marker)]
    assert drained == [item_id for _, item_id in sorted(made, key=lambda pair: pair[0])]


async def test_a_failure_is_kept_shown_clean_and_replayed_as_a_new_attempt(whole: Whole) -> None:
    whole.sink.status = 500
    item_id = await whole.enqueue("content/updated", '{"x":1}')
    dead = await whole.until_state(item_id, ItemState.DEAD)
    assert whole.sink.calls[f"{item_id}.1"] == 2  # the family's tries
    assert "500" in dead.failures[0].message
    whole.sink.status = 200
    preview, outcomes = await whole.act("replay", item_id)
    assert preview.ids == (item_id,)
    assert outcomes == [ReceiptOutcome.DONE]
    done = await whole.until_state(item_id, ItemState.SUCCEEDED)
    assert done.attempt == 2
    assert set(whole.sink.effects) >= {f"{item_id}.2"}
    assert f"{item_id}.1" not in whole.sink.effects
    both = await whole.operator.reader.run(f"{item_id}.1"), await whole.operator.reader.run(f"{item_id}.2")
    assert [run.outcome for run in both if run] == [Outcome.FAILED, Outcome.SUCCEEDED]


async def test_replaying_a_family_touches_what_was_shown_and_no_more(whole: Whole) -> None:
    made = [await whole.enqueue("fails/always") for _ in range(5)]
    for item_id in made:
        await whole.until_state(item_id, ItemState.DEAD)
    preview, outcomes = await whole.act("replay", "fails/always", limit=3)
    assert (len(preview.ids), preview.matching >= 5) == (3, True)
    assert outcomes == [ReceiptOutcome.DONE] * 3
    for item_id in preview.ids:

        async def again(item_id: str = item_id) -> bool:
            item = await whole.item(item_id)
            return item.state is ItemState.DEAD and item.attempt == 2

        await until(again, "the second attempt has failed too")
    untouched = set(made) - set(preview.ids)
    assert {(await whole.item(item_id)).attempt for item_id in untouched} == {1}


async def test_cancel_ends_the_program_and_its_children_and_kill_is_settled_too(whole: Whole) -> None:
    cancelled, killed = await whole.enqueue("hangs/long"), await whole.enqueue("hangs/long")
    for item_id in (cancelled, killed):

        async def runs(run_id: str = f"{item_id}.1") -> bool:
            run = await whole.operator.reader.run(run_id)
            return run is not None and run.status is RunStatus.RUNNING

        await until(runs, "it runs")
    _, outcomes = await whole.act("run-cancel", f"{cancelled}.1")
    assert outcomes == [ReceiptOutcome.ACCEPTED]
    dead = await whole.until_state(cancelled, ItemState.DEAD)
    assert dead.failures[-1].outcome is Outcome.CANCELLED
    await whole.act("run-kill", f"{killed}.1")
    dead = await whole.until_state(killed, ItemState.DEAD)
    assert dead.failures[-1].outcome is Outcome.KILLED


def post(whole: Whole, path: str, body: bytes, *, token: str | None = None) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{whole.processes.gateway_port}{path}", data=body, method="POST"
    )
    request.add_header("Authorization", f"Bearer {token or whole.processes.token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/families/no/such/items", b"{}", 404, "unknown-family"),
        ("/v1/families/content/updated/items", b"{nonsense", 400, "bad-payload"),
        ("/v1/families/content/updated/items", b'"' + b"x" * (1 << 20) + b'"', 413, "payload-too-large"),
        ("/v1/families/content/updated/items", b"\xff\x00", 400, "bad-payload"),
    ],
)
async def test_the_same_refusal_over_http_and_on_the_command_line(
    whole: Whole, path: str, body: bytes, status: int, code: str
) -> None:
    answered = await asyncio.to_thread(post, whole, path, body)
    assert answered[0] == status
    assert answered[1]["error"]["code"] == code
    family = path.removeprefix("/v1/families/").removesuffix("/items")
    told = await asyncio.to_thread(
        whole.processes.command, "enqueue", family, "--data", "-", "--json", stdin=body
    )
    envelope = json.loads(told.stdout)
    assert (told.returncode, envelope["ok"], envelope["error"]["code"]) == (2, False, code)
    assert envelope["fix"]
    assert b"Traceback" not in told.stderr


async def test_the_gateway_takes_work_and_tells_the_same_truth(whole: Whole) -> None:
    assert (await asyncio.to_thread(post, whole, "/v1/families/nothing/done/items", b"{}", token="no"))[
        0
    ] == 401
    status, answer = await asyncio.to_thread(post, whole, "/v1/families/nothing/done/items", b"{}")
    assert status == 202
    await whole.until_state(answer["item_id"], ItemState.SUCCEEDED)


async def test_hostile_text_reaches_no_terminal(whole: Whole) -> None:
    item_id = await whole.enqueue("fails/always", '"\\u001b[2J[bold]\\u0000\\u202e"')
    await whole.until_state(item_id, ItemState.DEAD)
    for command in (
        ("--once",),
        ("queue", "show", item_id),
        ("runs", "show", f"{item_id}.1"),
        ("runs", "list"),
    ):
        told = await asyncio.to_thread(whole.processes.command, *command)
        shown = told.stdout + told.stderr
        assert b"\x1b" not in shown and b"\x07" not in shown and "\u202e".encode() not in shown
        assert b"Traceback" not in shown
    shown_run = await asyncio.to_thread(whole.processes.command, "runs", "show", f"{item_id}.1")
    assert b"[red]boom" in shown_run.stdout


async def test_a_bad_edit_of_the_lane_leaves_the_last_good_one_going_and_says_so(whole: Whole) -> None:
    path = whole.processes.lane_file
    good = path.read_text()
    path.write_text(good + "\n[families.typo]\nhandlr = 1\n")
    try:
        snapshot = await whole.snapshot()
        assert snapshot.runtime.lane_file.error is not None
        assert "lane.toml:" in snapshot.runtime.lane_file.error
        item_id = await whole.enqueue("nothing/done")
        await whole.until_state(item_id, ItemState.SUCCEEDED)
        told = await asyncio.to_thread(whole.processes.command, "families", "check")
        assert told.returncode == 2
    finally:
        path.write_text(good)
    assert (await whole.snapshot()).runtime.lane_file.error is None
