"""A target that asks for a pause is left alone by the whole lane, and the lane says so."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from joelclaw_tui.presentation.words import throttled_words
from runtime.model import ItemState
from runtime.truth.document import FamilyRow
from tests.durable.test_retry_after import busy_target
from tests.lane.operating import operator_of, until
from tests.lane.processes import LaneProcesses
from tests.servers import RestateServer, ValkeyServer

ASKED_S = 30
"""Long enough for a program to start and print on a busy machine while it lasts."""


async def test_a_family_is_throttled_until_its_target_may_be_called_again(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    answers = [web.Response(status=503, headers={"Retry-After": str(ASKED_S)})]
    async with busy_target(answers) as (url, called):
        text = (
            f'lane = "main"\n[families.a]\nhandler = "http"\nurl = "{url}"\nmax_in_flight = 5\n'
            'retry = { tries = 2, initial = "100ms", max = "1s" }\n'
        )
        lane = LaneProcesses(short_dir, valkey, restate, text)
        try:
            lane.start("worker")
            lane.start("drainer")
            async with operator_of(lane) as operator:
                first = (await operator.intake.enqueue("a", "{}", origin="test")).item_id
                told: list[FamilyRow] = []

                async def asked() -> bool:
                    data = (await operator.reader.snapshot()).boundaries.pressure.data
                    told[:] = [] if data is None else data.families.items
                    return bool(told) and told[0].retry_after_until is not None

                await until(asked, f"it was asked: {lane.log('worker')}")
                second = (await operator.intake.enqueue("a", "{}", origin="test")).item_id
                await until(asked, "it is still asked")
                row = told[0]
                assert row.retry_after_until is not None
                assert (row.throttled, row.waiting, row.held, row.stuck) == (1, 0, 0, False)
                assert row.throttled_by == {"retry_after": 1}
                assert (
                    throttled_words(row) == "throttled by its target, which asked to come again at "
                    f"{row.retry_after_until:%H:%M:%S} UTC"
                )
                printed = lane.command("--once", "--format", "table").stdout.decode()
                assert "which asked to come again at" in printed
                assert len(called) == 1

                async def over() -> bool:
                    items = [await operator.reader.item(one) for one in (first, second)]
                    return all(item is not None and item.state is ItemState.SUCCEEDED for item in items)

                await until(over, f"both succeed: {lane.log('worker')}", within_s=ASKED_S + 60)
                assert len(called) == 3
                assert all(at - called[0] >= ASKED_S - 0.1 for at in called[1:])
                assert not await asked()
        finally:
            lane.stop()
