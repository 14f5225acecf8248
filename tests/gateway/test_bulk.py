"""Full, draining, late and many: what the door answers over HTTP when it is not simply a yes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest

from runtime.model import (
    Ack,
    AckNotKept,
    Enqueued,
    FamilyRules,
    ItemState,
    NewItem,
    OperatorError,
    PauseKind,
    PauseMode,
)
from runtime.pressure.control import QueueControl
from runtime.pressure.queue import Queue
from runtime.pressure.reading import QueueReader
from runtime.redis_client.connection import Redis, connect
from tests.gateway.door import LIMIT, Door, open_door, real_intake
from tests.servers import ValkeyServer

NDJSON = {"Content-Type": "application/x-ndjson; charset=utf-8"}


@pytest.fixture
async def door(valkey: ValkeyServer, tmp_path: Path) -> AsyncIterator[Door]:
    async with real_intake(valkey.url, tmp_path) as intake, open_door(intake) as opened:
        yield opened


async def waiting(url: str, family: str) -> int:
    redis = connect(url)
    try:
        return (await QueueReader(redis, url, "door").items(family, ItemState.WAITING)).total
    finally:
        await redis.aclose()


async def send(door: Door, family: str, body: bytes, query: str = "", **headers: str) -> httpx.Response:
    async with door.client() as client:
        return await client.post(
            f"/v1/families/{family}/items{query}", content=body, headers={**NDJSON, **headers}
        )


async def test_every_line_is_an_item_and_has_its_own_answer(door: Door, valkey: ValkeyServer) -> None:
    body = (
        b'{"id": 1}\n\n{"no": 1}\n{\n"\xff"\n{"id": "'
        + b"x" * LIMIT
        + b'"}\n'
        + b" " * 2 * LIMIT
        + b'{"id": 3}\n{"id": 2}'
    )
    answer = await send(door, "pages", body)
    assert answer.status_code == 207
    told = answer.json()
    assert (told["items"], told["stored"], told["duplicates"], told["refused"]) == (7, 2, 0, 5)
    assert [row["line"] for row in told["results"]] == [1, 3, 4, 5, 6, 7, 8]
    codes = [row.get("error", {}).get("code") for row in told["results"]]
    assert codes == [
        None,
        "schema",
        "bad-payload",
        "bad-payload",
        "payload-too-large",
        "payload-too-large",
        None,
    ]
    assert all(row["fix"] for row in told["results"] if "error" in row)
    assert await waiting(valkey.url, "pages") == 2


async def test_all_lines_accepted_is_202_and_the_same_request_again_adds_nothing(door: Door) -> None:
    body = b'{"id": 1}\n{"id": 1}\n'
    first = await send(door, "pages", body, "?priority=P0", **{"Idempotency-Key": "batch-7"})
    again = await send(door, "pages", body, **{"Idempotency-Key": "batch-7"})
    assert (first.status_code, first.json()["stored"]) == (202, 2)
    assert (again.status_code, again.json()["stored"], again.json()["duplicates"]) == (202, 0, 2)
    ids = [[row["item_id"] for row in answer.json()["results"]] for answer in (first, again)]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


@pytest.mark.parametrize(
    ("body", "query", "status", "code"),
    [
        (b"\n \n", "", 400, "usage"),
        (b"1\n" * 10_001, "", 400, "usage"),
        (b"1\n", "?dedup_key=" + "k" * 401, 400, "usage"),
        (b"1\n", "?ack=paper", 400, "usage"),
        (b"x" * (16 * 1024 * 1024 + 1), "", 413, "payload-too-large"),
    ],
)
async def test_a_bad_bulk_is_refused_whole(
    door: Door, valkey: ValkeyServer, body: bytes, query: str, status: int, code: str
) -> None:
    answer = await send(door, "feeds", body, query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert await waiting(valkey.url, "feeds") == 0


async def test_lines_that_are_all_refused_for_one_reason_have_its_status(door: Door) -> None:
    assert (await send(door, "pages", b"1\n2\n")).status_code == 400
    assert (await send(door, "nobody", b"1\n2\n")).status_code == 404


async def test_a_full_backlog_is_429_and_says_when_to_come_again(door: Door, valkey: ValkeyServer) -> None:
    some = await send(door, "small", b"1\n2\n3\n")
    assert some.status_code == 207
    assert some.json()["results"][2]["error"]["code"] == "backlog-full"
    assert 1 <= int(some.headers["retry-after"]) <= 60
    none = await send(door, "small", b"4\n5\n")
    assert (none.status_code, none.json()["refused"]) == (429, 2)
    one_is_bad = await send(door, "small", b"4\n{\n")
    assert (one_is_bad.status_code, one_is_bad.json()["refused"]) == (429, 2)
    async with door.client() as client:
        one = await client.post("/v1/families/small/items", content=b"6")
    assert (one.status_code, one.json()["error"]["code"]) == (429, "backlog-full")
    assert "2 of 2 items" in one.json()["error"]["message"]
    assert 1 <= int(one.headers["retry-after"]) <= 60
    assert await waiting(valkey.url, "small") == 2


async def test_what_is_there_already_is_answered_also_by_a_full_backlog(door: Door) -> None:
    async with door.client() as client:
        first = await client.post("/v1/families/small-too/items?dedup_key=k", content=b"1")
        await client.post("/v1/families/small-too/items", content=b"2")
        again = await client.post("/v1/families/small-too/items?dedup_key=k", content=b"1")
    assert again.status_code == 202
    assert again.json() == {**first.json(), "duplicate": True}


async def test_a_weaker_promise_than_the_familys_is_refused(door: Door) -> None:
    async with door.client() as client:
        weaker = await client.post(
            "/v1/families/durable/items", content=b"1", headers={"X-Joelclaw-Ack": "process"}
        )
    assert (weaker.status_code, weaker.json()["error"]["code"]) == (400, "usage")


class Late(Queue):
    """A queue whose promise beyond the process is never kept in time; what it stores is stored."""

    def __init__(self, redis: Redis, url: str, lane: str) -> None:
        super().__init__(redis, url, lane)
        offer_many = self.offer_many

        async def late(
            family: str,
            entries: Sequence[NewItem],
            *,
            rules: FamilyRules = FamilyRules(),  # noqa: B008 - frozen
            ack: Ack = Ack.PROCESS,
            dedup_window_s: float = 60.0,
        ) -> list[Enqueued | OperatorError | None]:
            told = await offer_many(
                family, entries, rules=rules, ack=Ack.PROCESS, dedup_window_s=dedup_window_s
            )
            if ack is not Ack.PROCESS:
                raise AckNotKept("not fsynced within 5 s", fix="see doctor")
            return told

        self.offer_many = late


async def test_a_promise_that_is_not_kept_is_504_with_the_item_that_is_stored(
    valkey: ValkeyServer, tmp_path: Path
) -> None:
    async with (
        real_intake(valkey.url, tmp_path, queue=Late) as intake,
        open_door(intake) as door,
        door.client() as client,
    ):
        one = await client.post("/v1/families/durable/items?dedup_key=k", content=b"1")
        again = await client.post("/v1/families/durable/items?dedup_key=k", content=b"1")
        many = await client.post("/v1/families/durable/items", content=b"1\n2\n", headers=NDJSON)
    assert (one.status_code, one.json()["error"]["code"]) == (504, "ack-not-kept")
    assert again.json()["item_id"] == one.json()["item_id"]
    assert (one.json()["duplicate"], again.json()["duplicate"]) == (False, True)
    assert (many.status_code, many.json()["stored"], many.json()["refused"]) == (504, 2, 0)
    assert await waiting(valkey.url, "durable") == 3


async def test_a_family_that_runs_dry_is_503_and_says_when_to_come_again(
    door: Door, valkey: ValkeyServer
) -> None:
    redis = connect(valkey.url)
    try:
        control = QueueControl(redis, valkey.url, "door")
        await control.pause(
            "feeds", actor="t", kind=PauseKind.PERSON, reason=None, for_s=None, mode=PauseMode.DRAIN
        )
    finally:
        await redis.aclose()
    async with door.client() as client:
        one = await client.post("/v1/families/feeds/items", content=b"1")
        many = await client.post("/v1/families/feeds/items", content=b"1\n", headers=NDJSON)
    for answer in (one, many):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
        assert int(answer.headers["retry-after"]) > 0
    assert await waiting(valkey.url, "feeds") == 0
