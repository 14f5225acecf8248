"""The history of fires, on a real server: written once, followed to the end, bounded."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from runtime.ledger import fires as ledger
from runtime.ledger.fire_row import FIRE
from runtime.ledger.fires import Fires
from runtime.model import Fire, FireDecision, FireKind, WorkStand, fire_id_of
from runtime.redis_client.connection import connect
from tests.servers import ValkeyServer

BEGIN = 1_790_000_000.0


def a_fire(number: int, schedule: str = "hourly", **values: object) -> Fire:
    instant = BEGIN + 3600 * number
    fire = Fire(
        fire_id=fire_id_of(schedule, instant),
        schedule=schedule,
        family="a/b",
        kind=FireKind.SCHEDULED,
        instant=instant,
        decided_at=instant + 0.25,
        late=False,
        decision=FireDecision.STARTED,
        via="queue",
        work_id=f"work-{number}",
        actor="\x1b[31m日本",
    )
    return replace(fire, **values)  # type: ignore[arg-type]


@pytest.fixture
async def fires(valkey: ValkeyServer) -> AsyncIterator[Fires]:
    redis = connect(valkey.url)
    yield Fires(redis, valkey.url, "main", keep_s=86_400.0)
    await redis.aclose()


async def test_a_fire_is_on_record_once_and_read_back_as_it_was(fires: Fires) -> None:
    assert await fires.record(a_fire(1))
    assert not await fires.record(a_fire(1, work_id="another"))
    assert await fires.record(a_fire(2, "other", decision=FireDecision.OVERLAP, work_id=None))
    assert await fires.history("hourly") == [a_fire(1)]
    assert await fires.followed() == [a_fire(1)]
    assert set(await fires.last()) == {"hourly", "other"}
    assert await fires.last_instants(now=BEGIN * 2) == {"hourly": BEGIN + 3600, "other": BEGIN + 7200}
    assert await fires.history("nobody") == []


async def test_a_late_record_of_an_older_instant_does_not_move_the_latest_back(fires: Fires) -> None:
    await fires.record(a_fire(5))
    await fires.record(a_fire(3, decided_at=BEGIN + 3600 * 6))
    await fires.record(a_fire(6, instant=None, kind=FireKind.ASKED))
    assert await fires.last_instants(now=BEGIN * 2) == {"hourly": BEGIN + 3600 * 5}


async def test_an_instant_beyond_now_says_nothing_of_the_past(fires: Fires) -> None:
    for number in (1, 2, 900):
        await fires.record(a_fire(number))
    assert await fires.last_instants(now=BEGIN + 3600 * 2 + 1) == {"hourly": BEGIN + 3600 * 2}
    assert await fires.last_instants(now=BEGIN + 3600 * 901) == {"hourly": BEGIN + 3600 * 900}
    assert await fires.last_instants(now=BEGIN) == {}


async def test_what_an_older_version_knew_of_instants_is_heeded_up_to_now(
    fires: Fires, valkey: ValkeyServer
) -> None:
    redis = connect(valkey.url)
    old: dict[Any, Any] = {
        "hourly": "hourly@x",
        "hourly@": str(BEGIN),
        "ahead": "ahead@x",
        "ahead@": str(BEGIN + 1e6),
    }
    await redis.hset("joelclaw:1:{main}:fires:last", mapping=old)
    assert await fires.last_instants(now=BEGIN + 1) == {"hourly": BEGIN}
    await redis.aclose()


async def test_what_a_clock_that_was_ahead_recorded_pushes_nothing_out_and_stays_on_top_of_nothing(
    fires: Fires, valkey: ValkeyServer
) -> None:
    now = time.time()
    before = a_fire(1, decided_at=now - 10)
    ahead = [a_fire(2 + n, decided_at=now + 30 * 86_400 + n) for n in range(3)]
    after = a_fire(9, decided_at=now + 1)
    for fire in (before, *ahead):
        await fires.record(fire)
    assert (await fires.last())["hourly"] == ahead[-1]
    redis = connect(valkey.url)
    # As a server whose own clock was ahead would have kept it.
    await redis.zadd("joelclaw:1:{main}:fires:hourly:order", {ahead[0].fire_id: ahead[0].decided_at})
    await fires.record(after)
    assert (await fires.history("hourly"))[0] == after
    assert before in await fires.history("hourly")
    assert (await fires.last())["hourly"] == after
    # An older decision that is recorded late is not the last.
    await fires.record(a_fire(8, decided_at=now - 5))
    assert (await fires.last())["hourly"] == after
    await redis.aclose()


async def test_an_instant_told_as_missed_is_no_decision_and_gives_way_to_one(fires: Fires) -> None:
    missed = a_fire(2, decision=FireDecision.MISSED, work_id=None)
    await fires.record(a_fire(1))
    assert await fires.record(missed)
    assert not await fires.record(missed)
    assert (await fires.last())["hourly"] == a_fire(1)
    assert await fires.last_instants(now=BEGIN * 2) == {"hourly": BEGIN + 3600}
    assert await fires.followed() == [a_fire(1)]
    assert await fires.record(a_fire(2))
    assert not await fires.record(missed)
    assert await fires.history("hourly") == [a_fire(2), a_fire(1)]


async def test_from_when_on_a_schedule_counts_is_what_was_said_last(fires: Fires) -> None:
    assert await fires.began("hourly") is None
    await fires.note_began({"hourly": BEGIN + 0.25, "other": BEGIN})
    await fires.note_began({"hourly": BEGIN - 5})
    assert (await fires.began("hourly"), await fires.began("other")) == (BEGIN - 5, BEGIN)
    await fires.note_decided("hourly", BEGIN)
    assert await fires.last_instants(now=BEGIN) == {"hourly": BEGIN}


async def test_why_a_fire_was_refused_is_kept_and_where_its_work_stands_is_not(fires: Fires) -> None:
    refused = a_fire(1, decision=FireDecision.REFUSED, work_id=None, reason="it drains", code="draining")
    await fires.record(replace(refused, stands=WorkStand.HELD))
    assert await fires.history("hourly") == [refused]


async def test_an_end_is_noted_once_and_a_replay_takes_it_back(fires: Fires) -> None:
    await fires.record(a_fire(1))
    fire_id = a_fire(1).fire_id
    assert await fires.settle("hourly", fire_id, "dead", at=BEGIN + 4000, final=False)
    assert not await fires.settle("hourly", fire_id, "dead", at=BEGIN + 5000, final=False)
    (dead,) = await fires.followed()
    assert (dead.outcome, dead.ended_at) == ("dead", BEGIN + 4000)
    assert await fires.settle("hourly", fire_id, None, at=BEGIN + 6000, final=False)
    assert await fires.followed() == [a_fire(1)]
    assert await fires.settle("hourly", fire_id, "succeeded", at=BEGIN + 7000)
    assert await fires.followed() == []
    (told,) = await fires.history("hourly")
    assert (told.outcome, told.ended_at) == ("succeeded", BEGIN + 7000)
    assert not await fires.settle("hourly", "nobody@x", "succeeded", at=BEGIN)


async def test_the_history_is_bounded_by_age_and_by_number_a_schedule(
    fires: Fires, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await fires.record(a_fire(number))
    await fires.record(a_fire(0, "quiet"))
    await fires.record(a_fire(27))
    assert [fire.instant for fire in await fires.history("hourly")] == [
        BEGIN + 3600 * number for number in (27, 4, 3)
    ]
    assert len(await fires.history("quiet")) == 1
    monkeypatch.setattr(ledger, "FIRES_KEPT", 2)
    await fires.record(a_fire(28))
    assert [fire.instant for fire in await fires.history("hourly")] == [
        BEGIN + 3600 * number for number in (28, 27)
    ]
    assert {fire.instant for fire in await fires.followed()} == {BEGIN, BEGIN + 3600 * 27, BEGIN + 3600 * 28}


SPOILT = {
    "half-written": FIRE.text(a_fire(1))[:40],
    "no object": "[1]",
    "no field of it": "{}",
    "a wrong type": FIRE.text(a_fire(1)).replace('"decided_at":', '"decided_at":"soon","was":'),
    "newer, without what is needed": '{"v": 99, "fire": {}}',
}


@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=SPOILT)
async def test_a_row_that_can_t_be_read_is_told_where_it_stands_and_counted(
    fires: Fires, valkey: ValkeyServer, spoilt: str
) -> None:
    for number in (1, 2):
        await fires.record(a_fire(number))
    redis = connect(valkey.url)
    await redis.hset("joelclaw:1:{main}:fires:hourly:rows", a_fire(2).fire_id, spoilt)
    told, whole = await fires.history("hourly")
    assert whole == a_fire(1)
    assert (told.fire_id, told.schedule, told.decision) == (
        a_fire(2).fire_id,
        "hourly",
        FireDecision.UNREADABLE,
    )
    assert "can't be read" in (told.reason or "")
    assert await fires.followed() == [a_fire(1)]
    assert (await fires.last())["hourly"] == told
    assert [one.total for one in fires.unreadable.told()] == [1, 1, 1]
    assert "a newer version" in fires.unreadable.told()[0].first.message or "99" not in spoilt
    # Nobody goes on asking the scripts about it for ever, and what comes next is on record.
    assert not await fires.settle("hourly", a_fire(2).fire_id, "succeeded", at=BEGIN)
    assert await fires.record(a_fire(3))
    assert (await fires.last())["hourly"] == a_fire(3)
    await redis.hset("joelclaw:1:{main}:fires:hourly:rows", a_fire(2).fire_id, FIRE.text(a_fire(2)))
    await fires.history("hourly")
    await fires.followed()
    assert fires.unreadable.told() == ()
    await redis.aclose()


async def test_a_row_of_a_newer_version_keeps_what_only_that_one_knows(
    fires: Fires, valkey: ValkeyServer
) -> None:
    await fires.record(a_fire(1))
    redis = connect(valkey.url)
    newer = json.loads(FIRE.text(a_fire(1))) | {"v": 99, "hat": "green"}
    await redis.hset("joelclaw:1:{main}:fires:hourly:rows", a_fire(1).fire_id, json.dumps(newer))
    assert await fires.history("hourly") == [a_fire(1)]
    assert await fires.settle("hourly", a_fire(1).fire_id, "succeeded", at=BEGIN)
    row: Any = await redis.hget("joelclaw:1:{main}:fires:hourly:rows", a_fire(1).fire_id)
    assert (json.loads(row)["v"], json.loads(row)["hat"]) == (99, "green")
    assert [fire.outcome for fire in await fires.history("hourly")] == ["succeeded"]
    await redis.aclose()
