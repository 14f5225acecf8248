"""The last hour of a family beside its figures of now: from a real Valkey, bounded, and never in the way."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runtime.ledger.series import Series
from runtime.model import BoundaryDown, FamilySeries, NotFound, UnknownFamily
from runtime.redis_client.connection import connect
from runtime.truth.document import BoundaryStatus, FamilyHistory, Snapshot
from runtime.truth.probes.series import EVERY_S, FAMILIES_MOST, HISTORY_MINUTES
from runtime.truth.schema import snapshot_schema
from tests.servers import ValkeyServer
from tests.truth.ports import REFUSED, START, World, family, make_world

MINUTE = int(START // 60)


@dataclass
class CountedSeries:
    """The real series, counting its reads; ``hang`` and ``refuse`` spoil the next ones."""

    series: Series
    reads: list[tuple[str, ...]] = field(default_factory=list)
    hang: bool = False
    refuse: bool = False

    async def read(
        self, families: Sequence[str], minutes: int, *, at: float | None = None
    ) -> Mapping[str, FamilySeries]:
        self.reads.append(tuple(families))
        if self.hang:
            await asyncio.Event().wait()
        if self.refuse:
            raise REFUSED
        return await self.series.read(families, minutes, at=START if at is None else at)


@dataclass
class Watched:
    world: World
    kept: CountedSeries

    async def record(self, ago: int, **figures: Any) -> None:
        await self.kept.series.record(MINUTE - ago, [family(**figures)])

    async def look(self) -> Snapshot:
        return await self.world.reader.snapshot()

    async def history(self, name: str = "content/updated") -> FamilyHistory | None:
        data = (await self.look()).boundaries.pressure.data
        assert data is not None
        return next(row for row in data.families.items if row.name == name).history


@pytest.fixture
async def watched(module_valkey: ValkeyServer, tmp_path: Path, request: pytest.FixtureRequest) -> Watched:
    redis = connect(module_valkey.url)
    kept = CountedSeries(Series(redis, module_valkey.url, f"w{abs(hash(request.node.name))}"))
    world = make_world(tmp_path, series=kept)
    world.pressure.families = [family(), family("mail/send")]
    return Watched(world, kept)


async def test_the_last_hour_stands_beside_the_figures_of_now_with_its_gaps(watched: Watched) -> None:
    await watched.record(3, waiting=4, succeeded_total=10, failed_total=1)
    await watched.record(2, waiting=6, succeeded_total=15, failed_total=3)
    await watched.record(0, waiting=0, succeeded_total=20, failed_total=3)
    told = await watched.history()
    assert told is not None and told.until.timestamp() == MINUTE * 60
    assert len(told.settled) == len(told.waiting) == HISTORY_MINUTES == 60
    assert told.settled[-4:] == [None, 7, None, None]
    assert told.waiting[-5:] == [None, 4, 6, None, 0]
    assert await watched.history("mail/send") is None, "nobody recorded it: unknown"


async def test_the_schema_knows_the_history_and_a_document_without_one_is_valid(watched: Watched) -> None:
    row = snapshot_schema()["$defs"]["FamilyRow"]
    assert "history" in row["properties"] and "history" not in row["required"]
    await watched.record(0)
    document = json.loads((await watched.look()).model_dump_json(by_alias=True))
    told = document["boundaries"]["pressure"]["data"]["families"]["items"]
    assert {row["name"]: row["history"] is None for row in told}["mail/send"] is True
    assert Snapshot.model_validate(document).schema_id == "joelclaw.snapshot/1"


async def test_it_is_read_again_only_once_in_a_while_or_for_other_families(watched: Watched) -> None:
    await watched.record(0, waiting=1)
    for _ in range(5):
        await watched.look()
    assert len(watched.kept.reads) == 1
    watched.world.pressure.families.append(family("content/removed"))
    await watched.look()
    assert len(watched.kept.reads) == 2
    watched.world.clock.at += EVERY_S
    await watched.look()
    assert len(watched.kept.reads) == 3


async def test_a_series_that_hangs_neither_delays_nor_blanks_the_figures_of_now(watched: Watched) -> None:
    await watched.record(0, waiting=3)
    before = await watched.history()
    watched.kept.hang = True
    watched.world.clock.at += EVERY_S
    begun = time.monotonic()
    snapshot = await watched.look()
    assert time.monotonic() - begun < 1.5
    pressure = snapshot.boundaries.pressure
    assert pressure.error is None and pressure.data is not None
    assert pressure.observed_at is not None and pressure.observed_at.timestamp() == watched.world.clock.at
    told = {row.name: row.history for row in pressure.data.families.items}
    assert told["content/updated"] == before is not None, "its last good minutes, which say of when they are"
    await watched.world.reader.aclose()


async def test_minutes_that_passed_since_the_last_good_read_are_unknown_at_its_end(watched: Watched) -> None:
    await watched.record(0, waiting=3)
    await watched.look()
    watched.kept.refuse = True
    for minutes, left in ((5, [3, None, None, None, None, None]), (59, [3] + [None] * 59), (120, None)):
        watched.world.clock.at = START + 60 * minutes + 25
        told = await watched.history()
        if left is None:
            assert told is None, "not a minute of the last hour is known"
        else:
            assert told is not None and told.waiting[-len(left) :] == left
            assert told.until.timestamp() == (MINUTE + minutes) * 60 and len(told.waiting) == 60


async def test_a_series_that_was_never_readable_is_unknown_and_no_finding(watched: Watched) -> None:
    watched.kept.refuse = True
    assert await watched.history() is None
    assert (await watched.look()).boundaries.pressure.status is BoundaryStatus.OK


async def test_of_very_many_families_those_with_the_most_to_tell_are_read(watched: Watched) -> None:
    watched.world.pressure.families = [
        *(family(f"bulk/f{number:04d}", waiting=number) for number in range(FAMILIES_MOST + 50)),
        family("quiet/dead", dead=1),
    ]
    await watched.look()
    (read,) = watched.kept.reads
    assert len(read) == FAMILIES_MOST
    assert "quiet/dead" in read and "bulk/f0349" in read and "bulk/f0000" not in read


async def test_a_family_is_looked_up_for_a_day_and_one_that_nobody_knows_is_refused(watched: Watched) -> None:
    await watched.record(90, waiting=8)
    found = (await watched.world.reader.series(["content/updated"], 1440))["content/updated"]
    assert len(found.points) == 1440
    assert [point.waiting for point in found.points if point.recorded] == [8]
    quiet = (await watched.world.reader.series(["mail/send"]))["mail/send"]
    assert len(quiet.points) == 60 and not any(point.recorded for point in quiet.points)
    with pytest.raises(UnknownFamily):
        await watched.world.reader.series(["no/such"])


async def test_without_a_series_there_is_no_history_and_a_look_up_says_so(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    data = (await world.reader.snapshot()).boundaries.pressure.data
    assert data is not None and all(row.history is None for row in data.families.items)
    with pytest.raises(NotFound):
        await world.reader.series(["content/updated"])


async def test_a_server_that_hangs_ends_the_look_up_in_time(valkey: ValkeyServer, tmp_path: Path) -> None:
    redis = connect(valkey.url)
    world = make_world(tmp_path, series=Series(redis, valkey.url, "main"))
    valkey.signal(signal.SIGSTOP)
    try:
        with pytest.raises(BoundaryDown) as raised:
            await world.reader.series(["content/updated"])
    finally:
        valkey.signal(signal.SIGCONT)
    assert raised.value.code == "timed-out"
    await redis.aclose()
