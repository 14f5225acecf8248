"""Truth and actions on a real Valkey: what is shown, what is done, and what happens when it goes."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from joelclaw_tui.presentation.words import throttled_words
from runtime.actions.apply import Actions
from runtime.actions.bulk.ports import BacklogPorts
from runtime.actions.intents import Intent
from runtime.common.addresses import Addresses
from runtime.lane.lane_file import LaneSource
from runtime.ledger.audit import Audit
from runtime.ledger.beats import Heartbeats
from runtime.ledger.previews import Previews
from runtime.model import (
    BoundaryDown,
    ExitCode,
    FamilyRules,
    ItemState,
    NotFound,
    Outcome,
    PauseKind,
    Priority,
    ReceiptOutcome,
    Refused,
    Selection,
    UnknownFamily,
    family_tag,
    new_item_id,
)
from runtime.pressure.bulk import BulkExecutor
from runtime.pressure.control import QueueControl
from runtime.pressure.keys import families_key
from runtime.pressure.queue import Queue
from runtime.pressure.reading import QueueReader
from runtime.pressure.selecting import Selector
from runtime.redis_client.connection import Redis, connect
from runtime.settings import load_settings
from runtime.truth.document import BoundaryStatus, FamilyRow, Totals
from runtime.truth.reader import Reader
from runtime.truth.verdict import exit_code
from tests.servers import ValkeyServer
from tests.truth.ports import LANE, MemoryDurable

FAMILY = "content/updated"


@dataclass
class Room:
    server: ValkeyServer
    redis: Redis
    queue: Queue
    beats: Heartbeats
    reader: Reader
    actions: Actions

    async def add(self, level: int = 1) -> str:
        await self.redis.hsetnx(families_key("main"), family_tag(FAMILY), FAMILY)
        item_id = new_item_id(FAMILY, at_s=time.time())
        await self.queue.enqueue(item_id, FAMILY, "{}", priority=Priority(level), origin="test")
        return item_id

    async def fail_all(self) -> None:
        leases = (
            await self.queue.claim(
                {FAMILY: (100, 100, 100, 100)}, {FAMILY: FamilyRules(max_in_flight=1000)}, owner="d"
            )
        ).leases
        await self.queue.admitted(await self.queue.begin_admit(leases))
        for lease in leases:
            await self.queue.settle(lease.run_id, FAMILY, Outcome.FAILED, "HTTP 500")

    async def alive(self) -> None:
        for role in ("drainer", "worker"):
            await self.beats.write(role, f"host:{role}", time.time(), {})

    async def totals(self) -> Totals:
        data = (await self.reader.snapshot()).boundaries.pressure.data
        assert data is not None
        return data.totals


@pytest.fixture
async def room(valkey: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Room]:
    monkeypatch.setenv("JOELCLAW_CONFIG_DIR", str(tmp_path / "no-config"))
    path = tmp_path / "lane.toml"
    path.write_text(LANE)
    lane = LaneSource(path, time.time)
    settings = load_settings(state_dir=tmp_path / "state", probe_deadline_s=0.5)
    redis = connect(valkey.url)
    url = valkey.url
    beats, durable = Heartbeats(redis, url, "main"), MemoryDurable()
    audit = Audit(redis, url, "main", tmp_path / "ledger")
    reading, control = QueueReader(redis, url, "main"), QueueControl(redis, url, "main")
    shared: dict[str, Any] = {
        "settings": settings,
        "lane": lane,
        "pressure": reading,
        "durable": durable,
        "beats": beats,
        "audit": audit,
        "now": time.time,
        "addresses": Addresses(url, "unix:/nowhere/admin.sock", "unix:/nowhere/ingress.sock"),
    }
    reader = Reader(**shared, selector=lambda: Selector(redis, url, "main"), patience_s=0.0)
    backlog = BacklogPorts(
        Selector(redis, url, "main"),
        BulkExecutor(redis, url, "main", rules=lambda _family: FamilyRules()),
        Previews(redis, url, "main"),
    )
    actions = Actions(**shared, control=control, runs=durable, backlog=backlog, pause_wait_s=0.2)
    yield Room(valkey, redis, Queue(redis, url, "main"), beats, reader, actions)
    await reader.aclose()
    await redis.aclose()


async def act(room: Room, action: str, *targets: str) -> list[ReceiptOutcome]:
    preview = await room.actions.preview(Intent(action, targets, reason="test"))
    receipt = await room.actions.apply(preview, actor="ana@host", origin="cli")
    return [result.outcome for result in receipt.results]


async def test_a_pause_shows_the_backlog_as_held_and_a_resume_as_waiting(room: Room) -> None:
    await room.alive()
    for level in (0, 1, 1, 2):
        await room.add(level)
    assert (await room.totals()).waiting == 4
    assert await act(room, "pause", "content/*") == [ReceiptOutcome.DONE, ReceiptOutcome.DONE]
    totals = await room.totals()
    assert (totals.waiting, totals.held) == (0, 4)
    snapshot = await room.reader.snapshot()
    assert exit_code(snapshot) is ExitCode.OK
    preview = await room.actions.preview(Intent("resume", (FAMILY,)))
    assert "releases 4 held (P0 1, P1 2, P2 1)" in preview.lines[0]
    assert await act(room, "resume", FAMILY) == [ReceiptOutcome.DONE]
    assert (await room.totals()).waiting == 4
    assert [receipt.action for receipt in await room.reader.audit()] == ["resume", "pause"]


async def test_a_pause_tells_how_many_are_still_being_admitted(room: Room) -> None:
    await room.add()
    leases = (
        await room.queue.claim({FAMILY: (9, 9, 9, 9)}, {FAMILY: FamilyRules(max_in_flight=20)}, owner="d")
    ).leases
    await room.queue.begin_admit(leases)
    assert await act(room, "pause", FAMILY) == [ReceiptOutcome.ACCEPTED]
    await room.queue.admitted(leases)
    assert await act(room, "pause", FAMILY) == [ReceiptOutcome.DONE]


async def test_a_lane_s_hold_tells_what_is_being_admitted_of_a_family_that_was_new_since_the_preview(
    room: Room,
) -> None:
    preview = await room.actions.preview(Intent("hold-lane", (), reason="test"))
    new = "new/one"
    await room.redis.hsetnx(families_key("main"), family_tag(new), new)
    await room.queue.enqueue(
        new_item_id(new, at_s=time.time()), new, "{}", priority=Priority.P1, origin="test"
    )
    await room.queue.begin_admit(
        (await room.queue.claim({new: (9, 9, 9, 9)}, {new: FamilyRules()}, owner="d")).leases
    )
    assert new not in preview.ids
    receipt = await room.actions.apply(preview, actor="ana@host", origin="cli")
    outcomes = {result.target: result.outcome for result in receipt.results}
    assert outcomes.pop(new) is ReceiptOutcome.ACCEPTED
    assert set(outcomes) == set(preview.ids)
    assert set(outcomes.values()) == {ReceiptOutcome.DONE}


@pytest.mark.parametrize("before", [None, "an old one"])
async def test_a_pause_of_somebody_else_since_the_preview_is_left_alone_and_told(
    room: Room, before: str | None
) -> None:
    control = QueueControl(room.redis, room.server.url, "main")
    if before is not None:
        await control.pause(FAMILY, actor="cas", kind=PauseKind.PERSON, reason=before, for_s=None)
    preview = await room.actions.preview(Intent("pause", (FAMILY,), reason="mine"))
    await control.pause(FAMILY, actor="bob", kind=PauseKind.PERSON, reason="CMS is down", for_s=7200)
    result = (await room.actions.apply(preview, actor="ana", origin="console")).results[0]
    assert result.outcome is ReceiptOutcome.MOVED_ON
    assert result.detail is not None
    assert "paused by bob since the preview, until" in result.detail
    assert "CMS is down" in result.detail
    told = await row(room)
    assert told.paused is not None
    assert (told.paused.by, told.paused.reason) == ("bob", "CMS is down")
    assert told.paused.until is not None

    again = await room.actions.preview(Intent("pause", (FAMILY,), reason="mine"))
    assert any("CMS is down" in warning for warning in again.warnings)
    await control.resume(FAMILY, actor="bob", kind=PauseKind.PERSON)
    result = (await room.actions.apply(again, actor="ana", origin="console")).results[0]
    assert (result.outcome, result.detail) == (
        ReceiptOutcome.MOVED_ON,
        "left alone: its pause was lifted since the preview; look again",
    )
    assert (await row(room)).paused is None


async def test_a_hold_of_the_lane_by_somebody_else_since_the_preview_is_left_alone(room: Room) -> None:
    control = QueueControl(room.redis, room.server.url, "main")
    hold = await room.actions.preview(Intent("hold-lane", (), reason="mine"))
    await control.hold_lane([FAMILY], actor="bob", reason="the CMS moves", for_s=3600)
    receipt = await room.actions.apply(hold, actor="ana", origin="console")
    assert {result.outcome for result in receipt.results} == {ReceiptOutcome.MOVED_ON}
    assert all(
        "held by bob" in (r.detail or "") and "the CMS moves" in (r.detail or "") for r in receipt.results
    )
    told = (await row(room)).paused
    assert told is not None and told.by == "bob"

    over = await room.actions.preview(Intent("hold-lane", (), reason="mine"))
    assert any("the CMS moves" in warning for warning in over.warnings)
    release = await room.actions.preview(Intent("release-lane", ()))
    receipt = await room.actions.apply(over, actor="ana", origin="console")
    assert {result.outcome for result in receipt.results} == {ReceiptOutcome.DONE}
    receipt = await room.actions.apply(release, actor="bob", origin="console")
    assert {result.outcome for result in receipt.results} == {ReceiptOutcome.MOVED_ON}
    told = (await row(room)).paused
    assert told is not None and (told.by, told.reason) == ("ana", "mine")
    await act(room, "release-lane")
    assert (await row(room)).paused is None


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.KILLED])
async def test_what_somebody_ended_does_not_make_its_family_failing(room: Room, outcome: Outcome) -> None:
    for ends in (outcome, Outcome.FAILED):
        await room.add()
        leases = (
            await room.queue.claim({FAMILY: (9, 9, 9, 9)}, {FAMILY: FamilyRules(max_in_flight=9)}, owner="d")
        ).leases
        await room.queue.admitted(await room.queue.begin_admit(leases))
        await room.queue.settle(leases[0].run_id, FAMILY, ends, "it ended")
        told = await row(room)
        assert (told.failing, told.failed_per_min) == ((False, 0) if ends is outcome else (True, 1))
    assert (told.settled_per_min, told.dead) == (2, 2)


async def test_what_has_no_room_under_its_limit_is_throttled_whether_or_not_a_place_is_free_just_now(
    room: Room,
) -> None:
    most = 20  # of the lane file
    for _ in range(most + 5):
        await room.add()
    assert (await row(room)).waiting == most + 5, "nothing moves: no limit keeps it back"
    leases = (
        await room.queue.claim(
            {FAMILY: (most, most, most, most)}, {FAMILY: FamilyRules(max_in_flight=most)}, owner="d"
        )
    ).leases
    await room.queue.admitted(await room.queue.begin_admit(leases))
    told = [await row(room)]
    for lease in leases[:2]:
        await room.queue.settle(lease.run_id, FAMILY, Outcome.SUCCEEDED)
        told.append(await row(room))
    assert [(one.waiting, one.throttled_by) for one in told] == [
        (0, {"max_in_flight": 5}),
        (1, {"max_in_flight": 4}),
        (2, {"max_in_flight": 3}),
    ]


async def row(room: Room) -> FamilyRow:
    data = (await room.reader.snapshot()).boundaries.pressure.data
    assert data is not None
    return next(family for family in data.families.items if family.name == FAMILY)


async def test_what_the_lane_s_rate_keeps_back_is_throttled_in_the_document_and_its_totals(
    room: Room, tmp_path: Path
) -> None:
    (tmp_path / "lane.toml").write_text(LANE.replace('"main"', '"main"\nrate = "1/h"'))
    await room.alive()
    for level in (0, 1, 2):
        await room.add(level)
    assert (await room.totals()).waiting == 3
    assert await room.queue.take_rate(1 / 3600, 1) == 1
    snapshot = await room.reader.snapshot()
    data = snapshot.boundaries.pressure.data
    assert data is not None
    assert (data.totals.waiting, data.totals.throttled) == (0, 3)
    (row,) = (row for row in data.families.items if row.name == FAMILY)
    assert (row.throttled_by, row.stuck) == ({"lane_rate": 3}, False)
    assert throttled_words(row) == "throttled by the lane's rate"


async def test_dead_items_are_a_finding_until_they_are_replayed(room: Room) -> None:
    await room.alive()
    ids = [await room.add() for _ in range(3)]
    await room.fail_all()
    snapshot = await room.reader.snapshot()
    assert "dead" in {finding.code for finding in snapshot.verdict.findings}
    assert exit_code(snapshot) is ExitCode.ATTENTION
    page = await room.reader.items(FAMILY, ItemState.DEAD)
    assert {item.item_id for item in page.items} == set(ids)
    assert await act(room, "replay", "*") == [ReceiptOutcome.DONE] * 3
    totals = await room.totals()
    assert (totals.dead, totals.waiting) == (0, 3)
    item = await room.reader.item(ids[0])
    assert item is not None
    assert (item.state, item.attempt) == (ItemState.WAITING, 2)


async def test_looking_leaves_no_trace(room: Room) -> None:
    await room.add()
    before = sorted(await room.redis.keys("*"))
    await room.reader.snapshot()
    await room.reader.items(FAMILY, ItemState.WAITING)
    await room.reader.audit()
    await room.actions.preview(Intent("pause", ("*",)))
    assert sorted(await room.redis.keys("*")) == before
    with pytest.raises(UnknownFamily):
        await room.reader.items("content/updatd", ItemState.WAITING)


async def test_a_stopped_server_is_unknown_with_its_last_figures_and_comes_back(room: Room) -> None:
    await room.alive()
    await room.add()
    assert (await room.totals()).waiting == 1
    room.server.signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        pressure = (snapshot := await room.reader.snapshot()).boundaries.pressure
        assert time.monotonic() - begun < 2
        assert pressure.status is BoundaryStatus.UNKNOWN
        assert pressure.data is not None
        assert pressure.data.totals.waiting == 1
        assert exit_code(snapshot) is ExitCode.DOWN
        with pytest.raises(BoundaryDown, match="within 0.5 s"):
            await room.reader.items(FAMILY, ItemState.WAITING)
    finally:
        room.server.signal(signal.SIGCONT)
    assert (await room.totals()).waiting == 1
    assert (await room.reader.snapshot()).boundaries.pressure.status is not BoundaryStatus.UNKNOWN


async def test_a_killed_server_is_down_and_its_work_is_there_again_afterwards(room: Room) -> None:
    await room.alive()
    await room.add()
    await room.totals()
    room.server.kill()
    snapshot = await room.reader.snapshot()
    assert snapshot.boundaries.pressure.status is BoundaryStatus.DOWN
    assert snapshot.boundaries.pressure.data is not None
    with pytest.raises(BoundaryDown):
        await room.actions.preview(Intent("pause", ("*",)))
    room.server.restart()
    snapshot = await room.reader.snapshot()
    assert snapshot.boundaries.pressure.data is not None
    assert snapshot.boundaries.pressure.data.totals.waiting == 1
    assert snapshot.boundaries.pressure.status is not BoundaryStatus.DOWN


async def test_a_removed_familys_backlog_comes_back_once_it_is_declared_again(room: Room) -> None:
    for level in (0, 2):
        await room.add(level)
    assert await room.queue.remove([FAMILY]) == {FAMILY: 2}
    assert (await room.totals()).quarantined == 2
    preview = await room.actions.preview(Intent("restore", (FAMILY,)))
    receipt = await room.actions.apply(preview, actor="ana@host", origin="cli")
    assert [(row.outcome, row.detail) for row in receipt.results] == [
        (ReceiptOutcome.DONE, "2 items given back")
    ]
    totals = await room.totals()
    assert (totals.quarantined, totals.waiting) == (0, 2)
    with pytest.raises(Refused):
        await room.actions.preview(Intent("restore", (FAMILY,)))


async def test_a_restore_that_others_did_meanwhile_or_that_lost_its_family_does_nothing(
    room: Room, tmp_path: Path
) -> None:
    await room.add(1)
    await room.queue.remove([FAMILY])
    first, second, third = [await room.actions.preview(Intent("restore", (FAMILY,))) for _ in range(3)]
    await room.actions.apply(first, actor="ana@host", origin="cli")
    receipt = await room.actions.apply(second, actor="ana@host", origin="cli")
    assert [row.outcome for row in receipt.results] == [ReceiptOutcome.MOVED_ON]
    await room.queue.remove([FAMILY])
    (tmp_path / "lane.toml").write_text(LANE.replace(FAMILY, "content/other"))
    receipt = await room.actions.apply(third, actor="ana@host", origin="cli")
    assert [row.outcome for row in receipt.results] == [ReceiptOutcome.REFUSED]
    assert (await room.queue.remove([FAMILY])) == {}  # it still is


async def test_items_that_match_are_read_page_by_page_with_the_total_of_the_first_look(room: Room) -> None:
    ids = [await room.add(level=n % 3) for n in range(7)]
    meant = Selection(frozenset({ItemState.WAITING}), attempt_max=1)
    page = await room.reader.matching(meant, FAMILY, limit=3)
    found, totals, sizes = list(page.items), [page.total], [len(page.items)]
    while page.cursor is not None:
        page = await room.reader.matching(meant, FAMILY, cursor=page.cursor, limit=3)
        found += page.items
        totals.append(page.total)
        sizes.append(len(page.items))
    assert [item.item_id for item in found] == [*ids[0::3], *ids[1::3], *ids[2::3]]
    assert (set(totals), sizes) == ({7}, [3, 3, 1])


@pytest.mark.parametrize("cursor", ["", "7", "x/1:0:1:a", "7/nonsense", "9" * 99 + "/"])
async def test_what_is_no_cursor_of_matching_items_is_told(room: Room, cursor: str) -> None:
    await room.add()
    with pytest.raises(NotFound, match="is not a page's cursor"):
        await room.reader.matching(Selection(frozenset({ItemState.WAITING})), FAMILY, cursor=cursor)
