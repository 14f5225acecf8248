"""The history of fires, on a real server: written once, followed to the end, bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from runtime.ledger import fires as ledger
from runtime.ledger.connection import connect
from runtime.ledger.fires import Fires
from runtime.model import Fire, FireDecision, FireKind, fire_id_of
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
    assert await fires.last_instants() == {"hourly": BEGIN + 3600, "other": BEGIN + 7200}
    assert await fires.history("nobody") == []


async def test_a_late_record_of_an_older_instant_does_not_move_the_latest_back(fires: Fires) -> None:
    await fires.record(a_fire(5))
    await fires.record(a_fire(3, decided_at=BEGIN + 3600 * 6))
    await fires.record(a_fire(6, instant=None, kind=FireKind.ASKED))
    assert await fires.last_instants() == {"hourly": BEGIN + 3600 * 5}


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


async def test_what_a_stranger_wrote_is_left_out(fires: Fires, valkey: ValkeyServer) -> None:
    await fires.record(a_fire(1))
    redis = connect(valkey.url)
    await redis.hset("joelclaw:1:{main}:fires:hourly:rows", a_fire(1).fire_id, "{}")
    assert await fires.history("hourly") == []
    assert await fires.followed() == []
    await redis.aclose()
