"""Bulk actions on a real Valkey: what is frozen, what is touched, cut off and gone on with, once."""

from __future__ import annotations

import asyncio
import fcntl
import json
import resource
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from runtime.actions.apply import Actions
from runtime.actions.bulk.exporting import export
from runtime.actions.bulk.ports import BacklogPorts
from runtime.actions.intents import Intent
from runtime.actions.verbs import verb_of
from runtime.actions.verbs.delay import DelayTerms
from runtime.common.addresses import Addresses
from runtime.lane.lane_file import LaneSource
from runtime.ledger.audit import Audit
from runtime.ledger.beats import Heartbeats
from runtime.ledger.previews import Previews
from runtime.model import (
    BULK_BATCH,
    BoundaryDown,
    BulkControl,
    BulkOrder,
    BulkResult,
    BulkVerb,
    FamilyRules,
    FieldMatch,
    FrozenBatch,
    ItemState,
    NewItem,
    NotFound,
    OperatorError,
    Outcome,
    PauseKind,
    PauseMode,
    PreviewState,
    Priority,
    ReadOnly,
    ReceiptOutcome,
    Refused,
    SelectedItem,
    Selection,
    UnknownFamily,
    UsageError,
    WritesRefused,
    family_tag,
    new_item_id,
)
from runtime.pressure.backlog_file import BacklogFile, BacklogRow
from runtime.pressure.bulk import BulkExecutor as PressureBulk
from runtime.pressure.control import QueueControl
from runtime.pressure.export import Exporter
from runtime.pressure.intake import Intake
from runtime.pressure.keys import families_key
from runtime.pressure.queue import Queue
from runtime.pressure.reading import QueueReader
from runtime.pressure.selecting import Selector
from runtime.redis_client.connection import Redis, connect
from runtime.settings import load_settings
from tests.pressure.replaying import replay as replay_now
from tests.servers import ValkeyServer
from tests.truth.ports import LANE, MemoryDurable

FAMILY, OTHER = "content/updated", "mail/send"
DEAD, WAITING = ItemState.DEAD, ItemState.WAITING


@dataclass
class Gate:
    """The real thing, which can be held before or after a call, or made to fail."""

    real: BulkControl
    sent: list[tuple[str, BulkOrder]] = field(default_factory=list)
    before: dict[int, Any] = field(default_factory=dict)
    """By the number of the call, from 0: an error to raise, or an event to wait for."""
    after: dict[int, Any] = field(default_factory=dict)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def apply_batch(
        self, family: str, items: Sequence[SelectedItem], order: BulkOrder, *, batch_id: str
    ) -> Sequence[BulkResult]:
        number = len(self.sent)
        self.sent.append((batch_id, order))
        await self._at(self.before.get(number))
        results = await self.real.apply_batch(family, items, order, batch_id=batch_id)
        await self._at(self.after.get(number))
        return results

    async def _at(self, what: Any) -> None:
        if isinstance(what, asyncio.Event):
            self.reached.set()
            await what.wait()
        elif what is not None:
            raise what


@dataclass
class Room:
    server: ValkeyServer
    redis: Redis
    path: Path
    shared: dict[str, Any]
    queue: Queue
    control: QueueControl
    gate: Gate
    previews: Previews
    audit: Audit
    reading: QueueReader
    hands: PressureBulk
    at: float | None = None

    def now(self) -> float:
        return time.time() if self.at is None else self.at

    def process(self, gate: Gate | None = None, **settings: Any) -> Actions:
        """Another process on the same lane."""
        values = dict(self.shared)
        values["settings"] = values["settings"].model_copy(update=settings)
        url = self.server.url
        backlog = BacklogPorts(
            Selector(self.redis, url, "main"),
            gate or self.gate,
            Previews(self.redis, url, "main"),
            Exporter(self.redis, url, "main"),
            door=self.hands,
        )
        return Actions(**values, now=self.now, backlog=backlog, pause_wait_s=0.2, call_deadline_s=5)

    async def add(self, many: int, *, of: str = FAMILY, payload: str = "{}", level: int = 1) -> list[str]:
        await self.redis.hsetnx(families_key("main"), family_tag(of), of)
        ids = [new_item_id(of, at_s=time.time()) for _ in range(many)]
        entries = [NewItem(item_id, payload, Priority(level), "test") for item_id in ids]
        await self.queue.enqueue_many(of, entries)
        return ids

    async def add_dead(self, many: int, *, of: str = FAMILY, why: str = "HTTP 500") -> list[str]:
        ids = await self.add(many, of=of)
        while leases := (
            await self.queue.claim(
                {of: (100, 100, 100, 100)}, {of: FamilyRules(max_in_flight=10_000)}, owner="d"
            )
        ).leases:
            await self.queue.admitted(await self.queue.begin_admit(leases))
            await asyncio.gather(
                *(self.queue.settle(lease.run_id, of, Outcome.FAILED, why) for lease in leases)
            )
        return ids

    async def states(self, ids: Sequence[str]) -> list[ItemState | None]:
        found = [await self.reading.item(item_id) for item_id in ids]
        return [None if item is None else item.state for item in found]


def exported(file: Path) -> list[BacklogRow]:
    """The rows of a backlog file that is whole."""
    return [row for _, row in BacklogFile(file, payload_limit=1000).rows()]


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.fixture
async def room(
    module_valkey: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Room]:
    monkeypatch.setenv("JOELCLAW_CONFIG_DIR", str(tmp_path / "no-config"))
    path = tmp_path / "lane.toml"
    path.write_text(LANE)
    url = module_valkey.url
    redis = connect(url)
    await redis.flushall()
    audit, reading = Audit(redis, url, "main", tmp_path / "ledger"), QueueReader(redis, url, "main")
    control, durable = QueueControl(redis, url, "main"), MemoryDurable()
    shared: dict[str, Any] = {
        "settings": load_settings(state_dir=tmp_path / "state", probe_deadline_s=5.0),
        "lane": LaneSource(path, time.time),
        "pressure": reading,
        "control": control,
        "durable": durable,
        "runs": durable,
        "beats": Heartbeats(redis, url, "main"),
        "audit": audit,
        "addresses": Addresses(url, "unix:/nowhere/admin.sock", "unix:/nowhere/ingress.sock"),
    }
    lane = shared["lane"]

    def rules_of(family: str) -> FamilyRules | None:
        rules: FamilyRules | None = lane.current.rules.get(family)
        return rules

    queue = Queue(redis, url, "main")
    intake = Intake(redis, url, queue, lane, shared["settings"], time.time)
    hands = PressureBulk(redis, url, "main", rules=rules_of, door=intake.key_of)
    gate = Gate(hands)
    yield Room(
        module_valkey, redis, path, shared, queue, control, gate,
        Previews(redis, url, "main"), audit, reading, hands,
    )  # fmt: skip
    await redis.aclose()


def asks(action: str, *targets: str, limit: int | None = None, **bulk: Any) -> Intent:
    return Intent(action, targets, reason="test", limit=limit, terms=verb_of(action).takes(**bulk))


def replay(*targets: str, **values: Any) -> Intent:
    return asks("replay", *targets, **values)


async def applied(actions: Actions, preview_id: str) -> Any:
    return await actions.apply_kept(preview_id, actor="ana@host", origin="cli")


# --- what is frozen


async def test_a_preview_counts_by_family_and_state_and_freezes_ids_for_any_process(room: Room) -> None:
    ids = await room.add_dead(5) + await room.add_dead(3, of=OTHER)
    await room.add(4)
    preview = await room.process().preview(replay("*"), actor="bob@host")
    assert preview.bulk is not None
    assert dict(preview.bulk.counts) == {(FAMILY, DEAD): 5, (OTHER, DEAD): 3}
    assert sorted(preview.ids) == sorted(ids)
    assert preview.title == "Replay 8 items of content/updated, mail/send"
    assert preview.lines[:2] == ("content/updated: 5 dead", "mail/send: 3 dead")
    assert any("attempt 2 after dead attempt 1: HTTP 500" in line for line in preview.lines)
    (kept,) = await room.process().previews()
    assert (kept.preview, kept.state(time.time())) == (preview.bulk, PreviewState.READY)
    assert kept.preview.order.actor == "bob@host"
    receipt = await applied(room.process(), preview.preview_id)
    assert receipt.summary == f"{preview.title}: 8 done"
    assert (receipt.actor, receipt.action, receipt.reason) == ("ana@host", "replay", "test")
    assert {result.target for result in receipt.results} == set(ids)
    assert await room.states(ids) == [WAITING] * 8


async def test_what_the_ceiling_cut_is_said_and_max_raises_it(room: Room) -> None:
    await room.add_dead(12)
    cautious = room.process(action_ceiling=5)
    preview = await cautious.preview(replay(FAMILY))
    assert (len(preview.ids), preview.matching) == (5, 12)
    assert (
        preview.warnings[0]
        == "12 match; only these 5 are touched (--max raises it, in the console F with max)"
    )
    assert preview.lines[0] == "content/updated: 12 dead; 5 of them are touched"
    assert len((await cautious.preview(replay(FAMILY, limit=11))).ids) == 11
    with pytest.raises(UsageError, match="a limit of 100,001"):
        await cautious.preview(replay(FAMILY, limit=100_001))


async def test_a_selection_narrows_what_a_glob_means(room: Room) -> None:
    wanted = await room.add(2, payload='{"customer": {"id": 42}}')
    await room.add(3, payload='{"customer": {"id": 43}}')
    fields = (FieldMatch(("customer", "id"), 42),)
    selection = Selection(states=frozenset({WAITING}), fields=fields)
    preview = await room.process().preview(
        asks("reprioritize", "content/*", selection=selection, priority=Priority.P0)
    )
    assert set(preview.ids) == set(wanted)
    assert preview.title == "Reprioritize 2 items of content/updated to P0"


async def test_ids_that_this_can_t_touch_are_left_alone_with_the_reason(room: Room) -> None:
    (dead,) = await room.add_dead(1)
    (waiting,) = await room.add(1)
    gone, strange = new_item_id(FAMILY, at_s=1e9), new_item_id("no/such", at_s=1e9)
    preview = await room.process().preview(replay(dead, waiting, gone, strange))
    assert preview.ids == (dead,)
    left = {line for line in preview.lines if line.startswith("left alone")}
    assert left == {
        f"left alone: {strange}: no such item",
        f"left alone: {waiting}: it is waiting, not dead, quarantined",
        f"left alone: {gone}: no such item",
    }
    with pytest.raises(NotFound, match="no such item"):
        await room.process().preview(replay(gone))
    with pytest.raises(Refused, match="it is waiting"):
        await room.process().preview(replay(waiting))


@pytest.mark.parametrize(
    ("intent", "error", "said"),
    [
        (replay(), UsageError, "nothing is named"),
        (replay("kontent/*"), UnknownFamily, "matches no family"),
        (replay("no/such"), UnknownFamily, "not declared"),
        (replay(FAMILY, new_item_id(FAMILY, at_s=1e9)), UsageError, "can't be named together"),
        (replay(FAMILY, selection=Selection(states=frozenset({WAITING}))), UsageError, "can't touch waiting"),
        (replay(FAMILY, rate_per_s=0.0), UsageError, "a rate of 0"),
        (replay(FAMILY, rate_per_s=float("nan")), UsageError, "a rate of nan"),
        (Intent("replay", (FAMILY,), terms=DelayTerms(delay_s=5.0)), UsageError, "terms of another verb"),
        (asks("delay", FAMILY), UsageError, "what to is not said"),
        (asks("delay", FAMILY, delay_s=-1.0), UsageError, "a delay of -1 s"),
        (asks("move", FAMILY, to_family="no/such"), UnknownFamily, "not declared"),
        (asks("move", FAMILY, to_family=FAMILY), UsageError, "already"),
        (
            replay(FAMILY, selection=Selection(states=frozenset({DEAD}), error=" ")),
            UsageError,
            "text is empty",
        ),
        (
            replay(
                FAMILY, selection=Selection(states=frozenset({DEAD}), older_than_s=7200, newer_than_s=3600)
            ),
            UsageError,
            "no item can be older",
        ),
        (
            replay(
                FAMILY, selection=Selection(states=frozenset({DEAD}), enqueued_from=20.0, enqueued_until=10.0)
            ),
            UsageError,
            "no item can be enqueued after",
        ),
        (replay(FAMILY), Refused, "no dead items of content/updated"),
        (replay("x" * 300), NotFound, "names nothing"),
    ],
)
async def test_what_can_t_be_meant_is_refused_with_what_to_do(
    room: Room, intent: Intent, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        await room.process().preview(intent)
    assert caught.value.fix  # type: ignore[attr-defined]
    assert await room.process().previews() == []


async def test_read_only_mode_shows_a_preview_and_keeps_none(room: Room) -> None:
    await room.add_dead(1)
    before = sorted(await room.redis.keys("*"))
    looking = room.process(read_only=True)
    preview = await looking.preview(replay(FAMILY))
    assert preview.ids
    assert not preview.kept
    assert "is not kept" in preview.warnings[0]
    assert sorted(await room.redis.keys("*")) == before
    with pytest.raises(ReadOnly):
        await applied(looking, preview.preview_id)
    with pytest.raises(ReadOnly):
        await looking.apply(preview, actor="ana", origin="cli")


async def test_the_effects_are_warned_of(room: Room) -> None:
    await room.add_dead(1)
    await room.control.pause(FAMILY, actor="ana", kind=PauseKind.PERSON, reason=None, for_s=None)
    warned = (await room.process().preview(replay(FAMILY))).warnings
    assert "an attempt that failed may have had effects: they may happen again" in warned
    assert "content/updated is paused: its replayed items are held until it is resumed" in warned
    assert any(warning.startswith("no live drainer") for warning in warned)
    preview = await room.process().preview(asks("discard", FAMILY))
    assert preview.destructive
    assert preview.warnings == ("discarded work can't be brought back, and no copy is kept",)


# --- at a rate


async def test_more_than_a_hundred_are_replayed_at_the_settings_rate_and_the_preview_says_how_long(
    room: Room,
) -> None:
    await room.add_dead(120)
    await room.add_dead(40, of=OTHER)
    preview = await room.process(replay_rate=20.0).preview(replay("*"))
    assert "they wait again as new attempts, 20 a second: about 8 s" in preview.lines
    await applied(room.process(), preview.preview_id)
    assert [order.rate_per_s for _, order in room.gate.sent] == [15.0, 5.0]


async def test_a_few_go_at_once_and_a_rate_is_lifted_or_given(room: Room) -> None:
    await room.add_dead(101)
    actions = room.process()
    free = await actions.preview(replay(FAMILY, unlimited=True))
    assert "they wait again as new attempts, all at once" in free.lines
    few = await actions.preview(replay(FAMILY, limit=100))
    assert few.bulk is not None
    assert few.bulk.order.rate_per_s is None
    given = await actions.preview(replay(FAMILY, limit=2, rate_per_s=0.5))
    assert given.bulk is not None
    assert given.bulk.order.rate_per_s == 0.5


# --- carried out


async def test_what_moved_on_since_is_left_alone_and_reported(room: Room) -> None:
    ids = await room.add_dead(3)
    preview = await room.process().preview(replay(FAMILY))
    later = await room.add_dead(2)
    await replay_now(room.redis, "main", FAMILY, [ids[1]])
    receipt = await applied(room.process(), preview.preview_id)
    assert receipt.summary.endswith("2 done, 1 moved on")
    outcomes = {result.target: result.outcome for result in receipt.results}
    assert outcomes == {
        ids[0]: ReceiptOutcome.DONE,
        ids[1]: ReceiptOutcome.MOVED_ON,
        ids[2]: ReceiptOutcome.DONE,
    }
    assert await room.states(later) == [DEAD, DEAD]


async def test_applied_twice_is_refused_with_the_receipt_it_had(room: Room) -> None:
    await room.add_dead(2)
    preview = await room.process().preview(replay(FAMILY))
    receipt = await applied(room.process(), preview.preview_id)
    sent = len(room.gate.sent)
    with pytest.raises(Refused, match="2 done") as caught:
        await applied(room.process(), preview.preview_id)
    assert caught.value.code == "already-applied"
    assert receipt.receipt_id in caught.value.message
    assert len(room.gate.sent) == sent
    assert list(await room.audit.recent()) == [receipt]


async def test_a_day_later_it_is_expired_whether_it_is_kept_still_or_not(room: Room) -> None:
    await room.add_dead(1)
    preview = await room.process().preview(replay(FAMILY))
    room.at = time.time() + 86_400 + 5
    with pytest.raises(Refused, match="1 d old") as caught:
        await applied(room.process(), preview.preview_id)
    assert (caught.value.code, caught.value.fix) == (
        "preview-expired",
        "preview again to see what is there now",
    )
    await room.redis.delete(*await room.redis.keys("*preview*"))
    with pytest.raises(Refused, match="1 d old"):
        await applied(room.process(), preview.preview_id)
    room.at = None
    for unknown in (preview.preview_id, "nonsense\x1b[31m", ""):
        with pytest.raises(NotFound):
            await applied(room.process(), unknown)


async def test_another_lane_file_or_server_than_previewed_is_refused(room: Room) -> None:
    await room.add_dead(1)
    preview = await room.process().preview(replay(FAMILY))
    assert preview.bulk is not None
    elsewhere = replace(preview.bulk.target, server_run_ids=("0" * 40,))
    await room.previews.keep(replace(preview.bulk, preview_id="other", target=elsewhere), [])
    with pytest.raises(Refused, match="another") as caught:
        await applied(room.process(), "other")
    assert caught.value.code == "another-target"
    room.path.write_text(LANE + "\n# changed\n")
    with pytest.raises(Refused, match="lane file is another one now, or has changed"):
        await applied(room.process(), preview.preview_id)
    assert not room.gate.sent


async def test_one_that_was_begun_goes_on_after_its_server_was_started_anew_at_the_same_place(
    room: Room,
) -> None:
    (dead,) = await room.add_dead(1)
    bulk = (await room.process().preview(replay(FAMILY))).bulk
    assert bulk is not None
    before = replace(bulk.target, server_run_ids=("0" * 40,))  # a start of the server that is over
    item = SelectedItem(dead, 1, DEAD)
    for name, target in (("here", before), ("there", replace(before, shown="lane main on another server"))):
        kept = replace(bulk, preview_id=name, target=target)
        await room.previews.keep(kept, [FrozenBatch(FAMILY, (item,))])
        await room.previews.begin(name, at=room.now(), actor="ana")
    with pytest.raises(Refused, match="another server"):
        await applied(room.process(), "there")
    assert (await applied(room.process(), "here")).results_total == 1
    assert await room.states([dead]) == [WAITING]


async def test_progress_is_told_and_ends_at_all(room: Room) -> None:
    await room.add_dead(BULK_BATCH + 30)
    looked: list[tuple[int, int]] = []
    done: list[tuple[int, int]] = []
    actions = room.process()
    preview = await actions.preview(replay(FAMILY), progress=lambda n, of: looked.append((n, of)))
    await actions.apply(preview, actor="ana", origin="cli", progress=lambda n, of: done.append((n, of)))
    assert done == [(BULK_BATCH, BULK_BATCH + 30), (BULK_BATCH + 30, BULK_BATCH + 30)]
    assert all(n <= of for n, of in looked)


async def test_a_server_that_is_out_of_memory_can_be_relieved_by_a_discard(room: Room) -> None:
    ids = await room.add(300)
    await room.redis.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(WritesRefused, match="out of memory"):
            await room.queue.enqueue(
                new_item_id(FAMILY, at_s=time.time()), FAMILY, "{}", priority=Priority.P1, origin="test"
            )
        preview = await room.process().preview(asks("discard", FAMILY))
        receipt = await applied(room.process(), preview.preview_id)
        assert receipt.summary.endswith("300 done")
        assert "receipt kept in one place only" in (receipt.warning or "")
    finally:
        await room.redis.config_set("maxmemory", "0")
    assert set(await room.states(ids)) <= {None, ItemState.DISCARDED}


# --- cut off, gone on with


async def test_cut_off_between_batches_it_leaves_a_partial_receipt_and_goes_on_where_it_was(
    room: Room,
) -> None:
    ids = await room.add_dead(2 * BULK_BATCH + 10)
    preview = await room.process().preview(replay(FAMILY))
    room.gate.before[1] = hold = asyncio.Event()
    task = asyncio.create_task(applied(room.process(), preview.preview_id))
    await room.gate.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (partial,) = await room.audit.recent()
    assert partial.partial
    assert "cut off after 200 of 410: 200 done; 200 more may have been" in partial.summary
    (kept,) = await room.process().previews()
    assert (kept.state(time.time()), kept.batches_done) == (PreviewState.APPLYING, 1)
    hold.set()
    receipt = await applied(room.process(), preview.preview_id)
    assert receipt.summary.endswith("410 done")
    assert not receipt.partial
    assert [batch for batch, _ in room.gate.sent] == [f"{preview.preview_id}.{n}" for n in (0, 1, 1, 2)]
    found = [await room.reading.item(item_id) for item_id in ids]
    assert {item.attempt for item in found if item is not None} == {2}


async def test_a_request_to_end_that_comes_while_it_runs_leaves_a_receipt(room: Room) -> None:
    await room.add_dead(2 * BULK_BATCH)
    preview = await room.process().preview(replay(FAMILY))

    def ask_to_end(_done: int, _of: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()  # while it runs, as a signal's handler does

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(
            room.process().apply_kept(preview.preview_id, actor="ana", origin="cli", progress=ask_to_end)
        )
    assert len(room.gate.sent) == 1
    (partial,) = await room.audit.recent()
    assert "cut off after 200 of 400: 200 done" in partial.summary


async def test_cut_off_behind_a_batch_that_was_done_it_does_nothing_twice(room: Room) -> None:
    ids = await room.add_dead(BULK_BATCH + 1)
    preview = await room.process().preview(replay(FAMILY))
    room.gate.after[0] = BoundaryDown("the connection was lost", fix="start it")
    with pytest.raises(BoundaryDown, match="cut off after 0 of 201") as caught:
        await applied(room.process(), preview.preview_id)
    assert f"`joelclaw-tui queue apply {preview.preview_id}` goes on" in (caught.value.fix or "")
    found = [await room.reading.item(item_id) for item_id in ids]
    assert [item.attempt for item in found if item is not None] == [2] * BULK_BATCH + [1]
    receipt = await applied(room.process(), preview.preview_id)
    assert receipt.summary.endswith("201 done")
    found = [await room.reading.item(item_id) for item_id in ids]
    assert {item.attempt for item in found if item is not None} == {2}
    assert [one.partial for one in await room.audit.recent()] == [False, True]


async def test_two_processes_at_once_do_each_item_once_and_receipt_once(room: Room) -> None:
    ids = await room.add_dead(2 * BULK_BATCH)
    preview = await room.process().preview(replay(FAMILY))
    one, other = await asyncio.gather(
        applied(room.process(), preview.preview_id), applied(room.process(), preview.preview_id)
    )
    assert one.receipt_id == other.receipt_id
    assert one.summary.endswith("400 done")
    assert [receipt.receipt_id for receipt in await room.audit.recent()] == [one.receipt_id]
    found = [await room.reading.item(item_id) for item_id in ids]
    assert {item.attempt for item in found if item is not None} == {2}


async def test_a_receipt_that_was_cut_off_from_the_audit_trail_gets_there_at_the_next_try(room: Room) -> None:
    await room.add_dead(1)
    preview = await room.process().preview(replay(FAMILY))
    receipt = await applied(room.process(), preview.preview_id)
    await room.redis.delete(*await room.redis.keys("*audit"))
    head, _, _ = room.previews._keys(preview.preview_id)
    await room.redis.hdel(head, "receipted")
    with pytest.raises(Refused):
        await applied(room.process(), preview.preview_id)
    assert await room.redis.xlen("joelclaw:1:{main}:audit") == 1
    assert [one.receipt_id for one in await room.audit.recent()] == [receipt.receipt_id]


# --- exported first


async def test_a_discard_exports_every_item_before_the_first_is_discarded(room: Room, tmp_path: Path) -> None:
    ids = await room.add(BULK_BATCH + 5, payload='{"n": 1}')
    file = tmp_path / "gone.jsonl"
    preview = await room.process().preview(asks("discard", FAMILY, export_to=str(file)))
    assert f"every item is written to {file} before the first is discarded" in preview.lines
    assert not file.exists()
    room.gate.before[0] = hold = asyncio.Event()
    task = asyncio.create_task(applied(room.process(), preview.preview_id))
    await room.gate.reached.wait()
    rows = exported(file)
    assert sorted(row.item_id for row in rows) == sorted(ids)
    assert {row.payload for row in rows} == {'{"n": 1}'}
    hold.set()
    assert (await task).summary.endswith(f"205 done; a copy of each is in {file}")
    assert hidden(tmp_path) == []


async def test_an_export_overwrites_nothing_and_then_nothing_is_discarded(room: Room, tmp_path: Path) -> None:
    ids = await room.add(2)
    file = tmp_path / "mine.jsonl"
    actions = room.process()
    preview = await actions.preview(asks("discard", FAMILY, export_to=str(file)))
    file.write_text("precious\n")
    with pytest.raises(UsageError, match="overwrites nothing"):
        await applied(actions, preview.preview_id)
    with pytest.raises(UsageError, match="overwrites nothing"):
        await actions.preview(asks("discard", FAMILY, export_to=str(file)))
    assert file.read_text() == "precious\n"
    with pytest.raises(UsageError, match="is no folder"):
        await actions.preview(asks("discard", FAMILY, export_to=str(tmp_path / "no" / "x")))
    assert await room.states(ids) == [WAITING, WAITING]
    assert not room.gate.sent


async def test_an_export_that_was_cut_off_is_made_anew_by_whoever_goes_on(room: Room, tmp_path: Path) -> None:
    ids = await room.add(3)
    file = tmp_path / "gone.jsonl"
    preview = await room.process().preview(asks("discard", FAMILY, export_to=str(file)))
    await room.previews.begin(preview.preview_id, at=time.time(), actor="ana")
    file.write_text("")  # claimed, and cut off before it was filled
    receipt = await applied(room.process(), preview.preview_id)
    assert receipt.summary.endswith(f"3 done; a copy of each is in {file}")
    assert sorted(row.item_id for row in exported(file)) == sorted(ids)


async def test_a_second_process_that_comes_late_does_not_write_over_what_the_first_exported(
    room: Room, tmp_path: Path
) -> None:
    ids = await room.add(BULK_BATCH + 5)
    file = tmp_path / "gone.jsonl"
    preview = await room.process().preview(asks("discard", FAMILY, export_to=str(file)))
    room.gate.after[0] = hold = asyncio.Event()
    task = asyncio.create_task(applied(room.process(), preview.preview_id))
    await room.gate.reached.wait()  # the first batch is discarded
    kept = await room.previews.read(preview.preview_id)
    assert kept is not None
    exporter = Exporter(room.redis, room.server.url, "main")
    await export(kept.preview, room.previews, exporter, again=True)  # it looked before the first had exported
    hold.set()
    await task
    assert sorted(row.item_id for row in exported(file)) == sorted(ids)
    assert hidden(tmp_path) == []


async def test_an_export_that_does_not_fit_leaves_no_half_and_discards_nothing_and_can_go_on(
    room: Room, tmp_path: Path
) -> None:
    ids = await room.add(12, payload=json.dumps("x" * 900))
    file = tmp_path / "gone.jsonl"
    preview = await room.process().preview(asks("discard", FAMILY, export_to=str(file)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        with pytest.raises(OperatorError, match="nothing was discarded") as told:
            await applied(room.process(), preview.preview_id)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (told.value.code, told.value.exit_code) == ("export-failed", 1)
    assert hidden(tmp_path) == []
    assert await room.states(ids) == [WAITING] * 12
    await applied(room.process(), preview.preview_id)
    assert sorted(row.item_id for row in exported(file)) == sorted(ids)


async def test_two_processes_do_not_write_one_export_at_once(room: Room, tmp_path: Path) -> None:
    ids = await room.add(3)
    file = tmp_path / "gone.jsonl"
    preview = await room.process().preview(asks("discard", FAMILY, export_to=str(file)))
    await room.previews.begin(preview.preview_id, at=time.time(), actor="ana")
    with (tmp_path / f".{file.name}.{preview.preview_id}").open("w") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        with pytest.raises(Refused) as told:
            await applied(room.process(), preview.preview_id)
        assert told.value.code == "export-under-way"
        assert await room.states(ids) == [WAITING] * 3
    await applied(room.process(), preview.preview_id)
    assert sorted(row.item_id for row in exported(file)) == sorted(ids)


async def test_without_an_exporter_an_export_is_refused_before_anything_is_looked_at(
    room: Room, tmp_path: Path
) -> None:
    await room.add(1)
    bare = BacklogPorts(
        Selector(room.redis, room.server.url, "main"),
        room.gate,
        Previews(room.redis, room.server.url, "main"),
    )
    actions = Actions(**room.shared, now=room.now, backlog=bare)
    with pytest.raises(UsageError, match="nothing can be exported here"):
        await actions.preview(asks("discard", FAMILY, export_to=str(tmp_path / "x")))


# --- moves: what stands in their way, and what came of each item


def move(*targets: str, **values: Any) -> Intent:
    return asks("move", *targets, to_family=OTHER, **values)


def narrowed(room: Room, rule: str) -> None:
    """The other family with one more line in the lane file."""
    room.path.write_text(LANE.replace('[families."mail/send"]\n', f'[families."mail/send"]\n{rule}\n'))


WANTS_ID = 'schema = { type = "object", required = ["id"] }'


async def warned(room: Room) -> list[str]:
    """Of a move to the other family; but that nobody is there to run it."""
    preview = await room.process().preview(move(FAMILY))
    return [line for line in preview.warnings if OTHER in line]


async def test_a_receipt_names_for_each_item_why_the_other_family_refused_it(room: Room) -> None:
    narrowed(room, f"backlog = {{ items = 3 }}\n{WANTS_ID}")
    (misfit,), fits = await room.add(1), await room.add(2, payload='{"id": 1}')
    await room.add(2, of=OTHER)
    preview = await room.process().preview(move(FAMILY))
    receipt = await applied(room.process(), preview.preview_id)
    told = {result.target: (result.outcome, result.detail or "") for result in receipt.results}
    assert receipt.summary.endswith(
        "1 done, 2 refused (the other family is full by items: 1, not a payload of the other family: 1)"
    )
    assert told[misfit][0] is ReceiptOutcome.REFUSED
    assert "does not take its payload; it is where it was" in told[misfit][1]
    assert told[fits[0]][0] is ReceiptOutcome.DONE
    assert told[fits[1]][0] is ReceiptOutcome.REFUSED
    assert "as many items as its ceiling allows" in told[fits[1]][1]
    assert {result.target: result.code for result in receipt.results} == {
        misfit: "payload",
        fits[0]: "done",
        fits[1]: "full-items",
    }
    (audited,) = await room.audit.recent()
    assert (audited.summary, audited.results) == (receipt.summary, receipt.results)
    kept = await room.previews.read(preview.preview_id)
    assert kept is not None
    assert dict(kept.tally) == {BulkResult.DONE: 1, BulkResult.FULL_ITEMS: 1, BulkResult.PAYLOAD: 1}


async def test_a_result_of_an_older_version_says_that_its_reason_is_not_on_record(room: Room) -> None:
    await room.add(2)
    preview = await room.process().preview(move(FAMILY))
    await room.previews.begin(preview.preview_id, at=time.time(), actor="ana")
    await room.previews.record(preview.preview_id, 0, [BulkResult.REFUSED, BulkResult.DONE])
    receipt = await applied(room.process(), preview.preview_id)
    assert receipt.summary.endswith("1 done, 1 refused")
    assert "which one is not on record" in (receipt.results[0].detail or "")


async def test_an_item_that_ended_meanwhile_is_told_apart_from_one_in_another_move(room: Room) -> None:
    ids = await room.add(2)
    preview = await room.process().preview(asks("discard", FAMILY))
    other = BulkOrder(BulkVerb.DISCARD, "bob@host")
    await room.hands.apply_batch(FAMILY, [SelectedItem(ids[0], 1, WAITING)], other, batch_id="bob")
    await room.redis.hset(
        f"joelclaw:1:{{main/{FAMILY}}}:moving", ids[1], f"{round((time.time() + 60) * 1e6)}:other"
    )
    receipt = await applied(room.process(), preview.preview_id)
    assert receipt.summary.endswith("2 moved on (ended meanwhile: 1, in another move: 1)")
    assert [result.detail for result in receipt.results] == [
        "it had succeeded, was discarded or moved by then",
        "another move has it in hand; try again when that is over",
    ]


async def test_a_move_is_previewed_without_warnings_where_nothing_stands_in_its_way(room: Room) -> None:
    narrowed(room, f'backlog = {{ items = 3, bytes = "1M" }}\n{WANTS_ID}')
    await room.add(3, payload='{"id": 1}')
    assert await warned(room) == []


@pytest.mark.parametrize(
    ("rule", "there", "line"),
    [
        (
            "backlog = { items = 3 }",
            2,
            "mail/send would get full: 2 of 3 items; 2 items of 3 would be refused and stay",
        ),
        (f"backlog = {{ items = 1 }}\n{WANTS_ID}", 0, "mail/send would refuse the payload of 2 of 3: "),
        (
            "backlog = { items = 2 }",
            2,
            "mail/send is full: 2 of 2 items; every item would be refused and stay",
        ),
        (WANTS_ID, 0, "mail/send would refuse the payload of 2 of 3: "),
    ],
)
async def test_a_move_s_preview_warns_of_a_ceiling_and_of_payloads_that_would_be_refused(
    room: Room, rule: str, there: int, line: str
) -> None:
    narrowed(room, rule)
    await room.add(2)
    await room.add(1, payload='{"id": 1}')
    await room.add(there, of=OTHER)
    (told,) = await warned(room)
    assert told.startswith(line)


async def test_a_move_s_preview_warns_of_bytes_that_would_not_fit(room: Room) -> None:
    narrowed(room, "backlog = { bytes = '1K' }")
    await room.add(2, payload=f'"{"x" * 600}"')
    (told,) = await warned(room)
    assert told.startswith("mail/send would get full: 0 of 1,024 bytes; these take 1,")
    assert "judged by" not in told, "all of them were looked at"
    await room.add(2, of=OTHER, payload=f'"{"x" * 600}"')
    (told,) = await warned(room)
    assert told.startswith("mail/send is full: ")
    assert told.endswith("every item would be refused and stay")


@pytest.mark.parametrize(
    ("mode", "line"),
    [
        (PauseMode.HOLD, "mail/send is paused: what is moved there is held until it is resumed"),
        (
            PauseMode.DRAIN,
            "mail/send runs dry on purpose and takes nothing in: every item would be refused and stay",
        ),
    ],
)
async def test_a_move_s_preview_warns_of_a_pause_of_the_target(
    room: Room, mode: PauseMode, line: str
) -> None:
    await room.add(1)
    await room.control.pause(OTHER, actor="ann", kind=PauseKind.PERSON, reason=None, for_s=None, mode=mode)
    assert await warned(room) == [line]
    receipt = await applied(room.process(), (await room.process().preview(move(FAMILY))).preview_id)
    drained = mode is PauseMode.DRAIN
    assert receipt.summary.endswith("1 refused (the other family drains: 1)" if drained else "1 done")


async def test_of_more_payloads_than_are_looked_at_no_more_is_claimed(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.actions.verbs.move.PAYLOADS_CHECKED", 5)
    narrowed(room, WANTS_ID)
    await room.add(10, payload='{"id": 1}')
    assert await warned(room) == ["mail/send takes the 5 payloads looked at; 5 more were not"]
    await room.add(10)
    (told,) = await warned(room)
    assert told.startswith("mail/send would refuse the payload of 2 of 5 looked at, of 20 in all: ")
