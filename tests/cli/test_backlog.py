"""Acting on a selection from the command line, on a real Valkey: selections, kept previews, cuts in the middle."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web

from joelclaw_tui.cli.main import run
from joelclaw_tui.presentation.conditions import EXAMPLE, parse_conditions
from runtime.durable.handlers import HandlerCall, HandlerFailure, Handlers
from runtime.lane.lane_file import Family
from runtime.ledger.keys import lane_key
from runtime.model import (
    BulkVerb,
    FamilyRules,
    ItemState,
    NewItem,
    Outcome,
    Priority,
    WorkItem,
    family_tag,
    new_item_id,
)
from runtime.pressure.keys import families_key, family_base
from runtime.pressure.queue import Queue
from runtime.pressure.reading import QueueReader
from runtime.pressure.selecting import Selector
from runtime.redis_client.connection import Redis, connect
from tests.durable.rig import a_request
from tests.lane.processes import LaneProcesses
from tests.servers import STARTED, RestateServer, ValkeyServer

FAMILY = "content/updated"
LANE = """
lane = "backlog"
[families."content/updated"]
handler = "noop"
[families."mail/send"]
handler = "noop"
"""
T = TypeVar("T")


@dataclass
class Desk:
    """One operator's command line, in this process where it can be."""

    lane: LaneProcesses
    url: str
    capsys: pytest.CaptureFixture[str]

    def says(self, *words: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = run(words, open_console=lambda _settings: 99)
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def tells(self, *words: str) -> dict[str, Any]:
        code, out, _ = self.says(*words, "--json")
        told: dict[str, Any] = json.loads(out)
        assert told["ok"] is (code == 0), told
        return told

    def redis(self, work: Callable[[Redis], Awaitable[T]]) -> T:
        async def on_it() -> T:
            redis = connect(self.url)
            try:
                return await work(redis)
            finally:
                await redis.aclose()

        return asyncio.run(on_it())

    def add(
        self,
        many: int,
        *,
        of: str = FAMILY,
        dead: bool = False,
        payload: str = "{}",
        error: str = "HTTP 503 from upstream",
    ) -> list[str]:
        async def work(redis: Redis) -> list[str]:
            await redis.hsetnx(families_key("backlog"), family_tag(of), of)
            queue = Queue(redis, self.url, "backlog")
            ids = [new_item_id(of, at_s=time.time()) for _ in range(many)]
            await queue.enqueue_many(of, [NewItem(item_id, payload, Priority.P2, "test") for item_id in ids])
            while dead and (
                leases := (
                    await queue.claim({of: (100,) * 4}, {of: FamilyRules(max_in_flight=10_000)}, owner="d")
                ).leases
            ):
                await queue.admitted(await queue.begin_admit(leases))
                for lease in leases:
                    await queue.settle(lease.run_id, of, Outcome.FAILED, error)
            return ids

        return self.redis(work)

    def items(self, ids: list[str]) -> list[WorkItem | None]:
        async def work(redis: Redis) -> list[WorkItem | None]:
            reading = QueueReader(redis, self.url, "backlog")
            return [await reading.item(item_id) for item_id in ids]

        return self.redis(work)


@pytest.fixture
def desk(
    module_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    folder = Path(tempfile.mkdtemp(prefix="jt-backlog-"))
    lane = LaneProcesses(folder, module_valkey, RestateServer(folder / "restate"), LANE)
    for key, value in lane.environment.items():
        if key.startswith("JOELCLAW_"):
            monkeypatch.setenv(key, value)
    made = Desk(lane, module_valkey.url, capsys)

    async def empty(redis: Redis) -> None:
        await redis.flushall()

    made.redis(empty)
    yield made
    shutil.rmtree(folder)


def test_what_a_maximum_leaves_is_told_once(desk: Desk) -> None:
    desk.add(3, dead=True)
    code, out, _ = desk.says("queue", "replay", FAMILY, "--max", "2", "--dry-run")
    told = " ".join(out.split())
    assert (code, told.count("3 match")) == (0, 1)
    assert "! 3 match; only these 2 are touched (--max raises it, in the console F with max)" in told


def test_a_dry_run_is_kept_and_applied_once_by_its_id(desk: Desk) -> None:
    ids = desk.add(3, dead=True)
    told = desk.tells(
        "queue", "replay", "content/*", "--error", "http 503", "--dry-run", "--reason", "up again"
    )
    preview = told["result"]["preview"]
    assert sorted(preview["ids"]) == sorted(ids)
    assert preview["counts"] == [{"family": FAMILY, "state": "dead", "matching": 3}]
    assert (preview["kept"], preview["total"], preview["matching"]) == (True, 3, 3)
    preview_id = preview["preview_id"]
    lane = str(desk.lane.lane_file)
    assert told["next_actions"][0]["command"] == f"joelclaw-tui --lane {lane} queue apply {preview_id}"
    (listed,) = desk.tells("queue", "previews")["result"]["previews"]
    assert (listed["preview_id"], listed["state"]) == (preview_id, "ready")
    again = desk.tells("--lane", lane, "queue", "replay", FAMILY, "--dry-run")
    assert again["next_actions"][0]["command"].startswith(f"joelclaw-tui --lane {lane} queue apply ")
    code, _, err = desk.says("queue", "apply", preview_id)
    assert (code, "nobody can be asked here" in " ".join(err.split())) == (2, True)
    receipt = desk.tells("queue", "apply", preview_id.upper(), "--yes")["result"]["receipt"]
    assert receipt["summary"] == "Replay 3 items of content/updated: 3 done"
    assert (receipt["reason"], receipt["origin"]) == ("up again", "cli")
    assert {item.attempt for item in desk.items(ids) if item is not None} == {2}
    again = desk.tells("queue", "apply", preview_id, "--yes")
    assert again["error"]["code"] == "already-applied"
    assert receipt["receipt_id"] in again["error"]["message"]
    code, out, _ = desk.says("queue", "previews")
    assert code == 0
    assert "done" in out
    assert "Replay 3 items of content/updated: 3 done" in out


def test_a_move_warns_before_and_tells_afterwards_why_each_item_was_refused(desk: Desk) -> None:
    rules = 'backlog = { items = 3 }\nschema = { type = "object", required = ["id"] }\n'
    desk.lane.lane_file.write_text(LANE + rules)
    fits, (misfit,) = desk.add(3, payload='{"id": 1}'), desk.add(1)
    desk.add(2, of="mail/send")
    told = desk.tells("queue", "move", FAMILY, "--to", "mail/send", "--dry-run")
    warnings = [one for one in told["result"]["preview"]["warnings"] if one.startswith("mail/send")]
    assert warnings[0] == "mail/send would get full: 2 of 3 items; 2 items of 3 would be refused and stay"
    assert warnings[1].startswith("mail/send would refuse the payload of 1 of 4: ")
    preview_id = told["result"]["preview"]["preview_id"]
    code, out, err = desk.says("queue", "apply", preview_id, "--yes")
    assert code == 1
    said = " ".join((out + err).split())
    why = "the other family is full by items: 2, not a payload of the other family: 1"
    assert f"1 done, 3 refused ({why})" in said
    assert "not done: the other family does not take its payload; it is where it was" in said
    (receipt,) = desk.tells("audit")["result"]["receipts"]
    assert receipt["summary"].endswith(f"1 done, 3 refused ({why})")
    codes = {result["target"]: result["code"] for result in receipt["results"]}
    assert codes == dict(zip([*fits, misfit], ["done", "full-items", "full-items", "payload"], strict=True))
    assert why in " ".join(desk.says("audit")[1].split())


def test_every_verb_does_what_it_says(desk: Desk, tmp_path: Path) -> None:
    first, second, third, fourth, fifth = desk.add(5, payload='{"customer": {"id": 42}}')
    other = desk.add(1, payload='{"customer": {"id": 43}}')
    wanted = ("--field", "customer.id=42")
    assert desk.says("queue", "reprioritize", FAMILY, *wanted, "--to", "P0", "--yes")[0] == 0
    assert desk.says("queue", "delay", second, "--for", "1h", "--yes")[0] == 0
    assert desk.says("queue", "quarantine", third, "--reason", "odd", "--yes")[0] == 0
    exported = tmp_path / "gone.jsonl"
    assert desk.says("queue", "discard", fourth, "--export", str(exported), "--yes")[0] == 0
    assert [json.loads(line).get("id") for line in exported.read_text().splitlines()] == [None, fourth, None]
    assert desk.says("queue", "move", fifth, "--to", "mail/send", "--yes")[0] == 0
    found = desk.items([first, second, third, fourth, fifth, *other])
    assert [item and item.state for item in found[:3]] == [
        ItemState.WAITING,
        ItemState.DELAYED,
        ItemState.QUARANTINED,
    ]
    assert [item and item.priority for item in (found[0], found[5])] == [Priority.P0, Priority.P2]
    assert found[3] is None or found[3].state is ItemState.DISCARDED
    assert found[4] is None or found[4].state is ItemState.DISCARDED
    page = desk.tells("queue", "list", "mail/send")["result"]
    assert page["total"] == 1
    assert page["items"][0]["payload"] == '{"customer": {"id": 42}}'
    receipts = desk.tells("audit")["result"]["receipts"]
    assert [receipt["action"] for receipt in receipts] == [
        "move",
        "discard",
        "quarantine",
        "delay",
        "reprioritize",
    ]


def test_ids_come_from_a_file_or_standard_input_each_once(desk: Desk, tmp_path: Path) -> None:
    ids = desk.add(3)
    listed = tmp_path / "ids.txt"
    listed.write_text(f"{ids[0]}\n {ids[1]} {ids[0]}\r\n")
    told = desk.tells("queue", "discard", "--ids", f"@{listed}", "--dry-run")
    assert sorted(told["result"]["preview"]["ids"]) == sorted(ids[:2])
    told = desk.tells("queue", "discard", "mail/*", "--ids", f"@{listed}", "--dry-run")
    assert told["error"]["code"] == "nothing-to-do"
    done = desk.lane.command("queue", "discard", "--ids", "-", "--dry-run", "--json", stdin=ids[2].encode())
    assert json.loads(done.stdout)["result"]["preview"]["ids"] == [ids[2]]


def test_a_day_later_a_preview_is_expired_and_shortly_before_it_is_applied(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, young = desk.add(2, dead=True)

    def previewed(item_id: str, *, ago_s: float) -> str:
        now = time.time
        with monkeypatch.context() as earlier:
            earlier.setattr(time, "time", lambda: now() - ago_s)
            made: str = desk.tells("queue", "replay", item_id, "--dry-run")["result"]["preview"]["preview_id"]
            return made

    expired, kept = previewed(old, ago_s=86_401), previewed(young, ago_s=86_400 - 60)
    refused = desk.tells("queue", "apply", expired, "--yes")
    assert (desk.says("queue", "apply", expired, "--yes")[0], refused["error"]["code"]) == (
        1,
        "preview-expired",
    )
    assert "1 d old" in refused["error"]["message"]
    assert refused["fix"] == "preview again to see what is there now"
    receipt = desk.tells("queue", "apply", kept, "--yes")["result"]["receipt"]
    assert receipt["summary"].endswith("1 done")
    assert [item.attempt for item in desk.items([old, young]) if item is not None] == [1, 2]


def test_an_item_that_settles_before_its_discard_is_applied_has_moved_on(desk: Desk) -> None:
    settled, left = desk.add(2)
    preview_id = desk.tells("queue", "discard", FAMILY, "--dry-run")["result"]["preview"]["preview_id"]

    async def settle(redis: Redis) -> None:
        await Queue(redis, desk.url, "backlog").settle(f"{settled}.1", FAMILY, Outcome.SUCCEEDED)

    desk.redis(settle)
    receipt = desk.tells("queue", "apply", preview_id, "--yes")["result"]["receipt"]
    assert receipt["summary"].endswith("1 done, 1 moved on (ended meanwhile: 1)")
    assert [item.state if item else None for item in desk.items([settled, left])] == [
        ItemState.SUCCEEDED,
        ItemState.DISCARDED,
    ]


@pytest.mark.parametrize("payload", [b'"a\x00b"', b'{"a": 1}\x00', b'"\xff\xfe"', b'"\xed\xa0\x80"', b"\x00"])
def test_a_payload_with_nul_or_that_is_no_utf_8_is_exit_2_and_not_stored(
    desk: Desk, tmp_path: Path, payload: bytes
) -> None:
    desk.add(1)
    file = tmp_path / "payload.json"
    file.write_bytes(payload)
    told = desk.tells("enqueue", FAMILY, "--data", f"@{file}")
    code, out, err = desk.says("enqueue", FAMILY, "--data", f"@{file}")
    assert (code, out, told["error"]["code"]) == (2, "", "bad-payload")
    assert "fix:" in err
    assert "\x00" not in err
    assert _family(desk)["waiting"] == 1


def test_an_escaped_nul_is_kept_as_it_was_written_and_shown_clean(desk: Desk) -> None:
    payload = r'{"name": "a\u0000b\u001b[2J"}'
    item_id = desk.tells("enqueue", FAMILY, "--data", payload)["result"]["item_id"]
    (item,) = desk.items([item_id])
    assert item is not None and item.payload == payload
    code, out, _ = desk.says("queue", "show", item_id)
    assert (code, "\x00" in out, "\x1b[2J" in out) == (0, False, False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("queue discard", "nothing is named"),
        ("queue discard kontent/*", "matches no family"),
        ("queue discard no/such", "declared are: content/updated, mail/send"),
        ("queue discard * --ids ids.txt", "give --ids @FILE"),
        ("queue discard --ids @/no/such", "can't be read"),
        ("queue discard --ids @{lane}", "is not an item id"),
        ("queue discard * --field customer", "PATH=VALUE like customer.id=42"),
        ("queue discard * --field a..b=1", "PATH=VALUE"),
        ("queue discard * --field a=[1]", "not with an array"),
        ("queue discard * --attempt 5-2", "the fewer first"),
        ("queue discard * --attempt 0", "count from 1"),
        ("queue discard * --from yesterday", "is not an instant"),
        ("queue discard * --older -5m", "is not a length of time"),
        ("queue discard * --state in-flight", "it is for those that are"),
        ("queue discard * --max 100001", "from 1 to 100,000"),
        ("queue replay * --rate 0/s", "is not a rate like 50/s"),
        ("queue replay * --rate fast", "nor `none`"),
        ("queue move * --to no/such", "declared are"),
        ("queue reprioritize *", "--to"),
        ("queue delay * --for -5m", "is not a length of time"),
        ("queue pause * --for -5m", "is not a length of time"),
        ("queue pause kontent/*", "matches no family"),
        ("queue hold content/updated", "unrecognized arguments"),
        ("queue apply nonsense --yes", "queue previews"),
        ("queue apply 01k --max 5", "preview again with the --max"),
    ],
)
def test_bad_input_is_exit_2_with_what_is_declared_or_what_to_write(
    desk: Desk, words: str, said: str
) -> None:
    code, out, err = desk.says(*words.format(lane=desk.lane.lane_file).split())
    assert (code, out) == (2, ""), err
    assert said in " ".join(err.split())
    assert "fix:" in err


def test_the_whole_lane_is_held_and_released_and_a_pause_is_drained_and_extended(desk: Desk) -> None:
    desk.add(2)
    assert desk.says("queue", "pause", FAMILY, "--drain", "--for", "1h", "--yes")[0] == 0
    assert desk.says("queue", "extend", FAMILY, "--for", "3h", "--yes")[0] == 0
    family = _family(desk)
    assert family["paused"]["mode"] == "drain"
    assert family["held"] == 0
    assert "draining: nothing is taken in" in desk.says("queue", "list")[1]
    assert desk.says("queue", "hold", "--reason", "upgrade", "--yes")[0] == 0
    assert _family(desk)["paused"]["whole_lane"] is True
    assert "held with the whole lane" in desk.says("queue", "list")[1]
    refused = desk.tells("queue", "resume", FAMILY, "--yes")
    assert refused["error"]["code"] == "nothing-to-do"
    assert "held with the whole lane" in refused["error"]["message"]
    assert desk.says("queue", "release", "--yes")[0] == 0
    assert _family(desk)["paused"]["mode"] == "drain"
    assert desk.tells("queue", "release", "--yes")["error"]["code"] == "nothing-to-do"
    assert desk.says("queue", "resume", FAMILY, "--yes")[0] == 0
    assert _family(desk)["paused"] is None
    actions = [receipt["action"] for receipt in desk.tells("audit")["result"]["receipts"]]
    assert actions == ["resume", "release-lane", "hold-lane", "extend", "pause"]


def test_read_only_mode_keeps_no_preview(desk: Desk) -> None:
    desk.add(1)
    told = desk.tells("--read-only", "queue", "discard", FAMILY, "--dry-run")
    assert told["result"]["preview"]["kept"] is False
    assert told["next_actions"] == []
    assert desk.tells("--read-only", "queue", "discard", FAMILY)["error"]["code"] == "read-only"
    assert desk.tells("queue", "previews")["result"]["previews"] == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_cut_off_in_the_middle_it_goes_on_where_it_was_and_does_each_item_once(
    desk: Desk, how: signal.Signals
) -> None:
    many = 6000
    desk.add(many)
    preview = desk.tells("queue", "reprioritize", FAMILY, "--to", "P0", "--max", str(many), "--dry-run")[
        "result"
    ]["preview"]
    preview_id = preview["preview_id"]
    process = subprocess.Popen(
        [sys.executable, "-m", "joelclaw_tui", "queue", "apply", preview_id, "--yes"],
        env=desk.lane.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    STARTED.append(process)

    async def signalled(redis: Redis) -> None:
        while not await redis.hlen(lane_key("backlog", f"preview:{preview_id}:results")):
            assert process.poll() is None
        process.send_signal(how)

    desk.redis(signalled)
    out, err = process.communicate(timeout=60)
    assert out == b"", err
    (kept,) = desk.tells("queue", "previews")["result"]["previews"]
    assert (kept["state"], 0 < kept["batches_done"] < kept["batches"]) == ("applying", True)
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert f" --lane {desk.lane.lane_file} queue apply {preview_id}` goes on from there".encode() in err
        (partial,) = desk.tells("audit")["result"]["receipts"]
        assert partial["partial"] is True
        assert f"of {many:,}" in partial["summary"]
    receipt = desk.tells("queue", "apply", preview_id, "--yes")["result"]["receipt"]
    assert receipt["summary"].endswith(f"{many:,} done")

    async def counted(redis: Redis) -> tuple[int, int]:
        base = family_base("backlog", FAMILY)
        return await redis.zcard(base + "w0"), int(await redis.hget(base + "stats", "reprioritized") or 0)

    assert desk.redis(counted) == (many, many)


def _family(desk: Desk) -> dict[str, Any]:
    rows = desk.tells("queue", "list")["result"]["data"]["families"]["items"]
    family: dict[str, Any] = next(row for row in rows if row["name"] == FAMILY)
    return family


# --- conditions that match nothing, and those that are written down somewhere


def test_an_error_that_nothing_failed_with_names_those_that_are_there(desk: Desk) -> None:
    desk.add(3, dead=True, error="http://cms answered HTTP 404 Not Found")
    desk.add(1, dead=True, error="timed out \x1b[2J")
    told = desk.tells("queue", "replay", FAMILY, "--error", "HTTP 503", "--dry-run")
    assert told["error"]["code"] == "nothing-to-do"
    assert told["error"]["message"].endswith(
        "no dead items of content/updated are meant by this; "
        "3 failed last with: http://cms answered HTTP 404 Not Found; 1 failed last with: timed out ␛[2J"
    )


def test_a_value_that_nothing_has_names_those_that_are_there(desk: Desk) -> None:
    desk.add(2, payload='{"mode": "404", "at": [{"x": 1}]}')
    desk.add(1, payload='{"mode": "\\u001b[2J"}')
    desk.add(1, payload="[]")
    said = desk.tells("queue", "discard", FAMILY, "--field", "mode=405", "--dry-run")["error"]["message"]
    assert 'mode is there: "404" (2), "\\u001b[2J" (1), no such field (1)' in said
    both = ("--field", "mode=404", "--field", "at.0.x=2")
    said = desk.tells("queue", "discard", FAMILY, *both, "--dry-run")["error"]["message"]
    assert said.endswith("at.0.x is there: 1 (2)")


@pytest.mark.parametrize("wanted", ["mode=404", 'mode="404"'])
def test_a_number_that_is_asked_for_is_found_as_a_text_and_the_other_way_round(
    desk: Desk, wanted: str
) -> None:
    ids = desk.add(1, payload='{"mode": "404"}') + desk.add(1, payload='{"mode": 404}')
    desk.add(1, payload='{"mode": 4040}')
    told = desk.tells("queue", "discard", FAMILY, "--field", wanted, "--dry-run")
    assert sorted(told["result"]["preview"]["ids"]) == sorted(ids)


async def _refused_by_a_real_server() -> str:
    """What the ``http`` handler says of a server that is overloaded."""

    async def overloaded(_: web.Request) -> web.Response:
        return web.Response(status=503, text="come again later")

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", overloaded)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks"
        family = Family.model_validate({"handler": "http", "url": url})
        async with Handlers() as handlers:
            with pytest.raises(HandlerFailure) as failure:
                await handlers.run(HandlerCall(a_request("a/b", "{}"), family, Path()))
        return failure.value.message
    finally:
        await runner.cleanup()


def _written_down(desk: Desk) -> set[tuple[str, ...]]:
    """The examples of selections in README, docs and help that say nothing of age: words of ``queue``."""
    root = Path(__file__).parents[2]
    texts = [(root / "README.md").read_text(), *(path.read_text() for path in (root / "docs").glob("*.md"))]
    texts += [desk.says("queue", verb.value, "--help")[1] for verb in BulkVerb]
    found = set()
    for line in "\n".join(texts).splitlines():
        words = line.partition("joelclaw-tui queue ")[2].partition("  #")[0].strip()
        if re.search(r"--(error|field) ", words) and "--older" not in words:
            found.add(tuple(shlex.split(words)))
    return found


def test_the_examples_of_selections_find_what_they_speak_of(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On items as they really are: a failure in the handler's own words, a payload as a program writes it."""
    monkeypatch.chdir(tmp_path)
    more = ("mail/send-eu", "notes", "notes/slow")
    desk.lane.lane_file.write_text(
        LANE + "".join(f'[families."{name}"]\nhandler = "noop"\n' for name in more)
    )
    error = asyncio.run(_refused_by_a_real_server())
    payload = json.dumps({"customer": {"id": 42}, "vip": True, "region": "eu"})
    for family in (FAMILY, "mail/send"):
        desk.add(1, of=family, dead=True, payload=payload, error=error)
        desk.add(1, of=family, payload=payload)
    examples = _written_down(desk)
    assert {words[0] for words in examples} >= {"replay", "discard", "reprioritize", "move", "quarantine"}
    for words in examples:
        told = desk.tells("queue", *(word for word in words if word != "--dry-run"), "--dry-run")
        assert told["result"]["preview"]["total"] >= 1, words
    conditions = parse_conditions(EXAMPLE)

    async def found(redis: Redis) -> int:
        selector = Selector(redis, desk.url, "backlog")
        return (await selector.select(conditions.selection(ItemState.DEAD), [FAMILY], ceiling=10)).matching

    assert desk.redis(found) == 1
