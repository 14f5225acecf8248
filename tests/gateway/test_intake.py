"""POST /v1/families/FAMILY/items: work comes in, everything else is refused with a reason."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from runtime.model import Ack, BoundaryDown, Enqueued, Offer, OperatorError, Priority, WorkItem
from runtime.pressure.reading import QueueReader
from runtime.redis_client.connection import connect
from tests.gateway.door import LIMIT, TOKEN, Door, open_door, real_intake
from tests.servers import ValkeyServer

ITEMS = "/v1/families/content/updated/items"


@pytest.fixture
async def door(module_valkey: ValkeyServer, tmp_path: Path) -> AsyncIterator[Door]:
    async with real_intake(module_valkey.url, tmp_path) as intake, open_door(intake) as opened:
        yield opened


async def stored(url: str, item_id: str) -> WorkItem | None:
    redis = connect(url)
    try:
        return await QueueReader(redis, url, "door").item(item_id)
    finally:
        await redis.aclose()


async def test_accepted_work_is_in_redis_as_it_was_sent(door: Door, module_valkey: ValkeyServer) -> None:
    async with door.client() as client:
        answer = await client.post(ITEMS + "?priority=P0", content=b'{"page": 7, "t": "\xc3\xa9"}')
    assert answer.status_code == 202
    body = answer.json()
    assert body["family"] == "content/updated"
    assert body["duplicate"] is False
    item = await stored(module_valkey.url, body["item_id"])
    assert item is not None
    assert item.payload == '{"page": 7, "t": "é"}'
    assert item.priority is Priority.P0
    assert item.origin == "gateway"


@pytest.mark.parametrize("body", [b"null", b"0", b'"text"', b"[]", b"{}", b"true"])
async def test_any_json_value_is_a_payload(door: Door, body: bytes) -> None:
    async with door.client() as client:
        assert (await client.post(ITEMS, content=body)).status_code == 202


async def test_the_same_idempotency_key_is_the_same_item(door: Door) -> None:
    async with door.client() as client:
        first = (await client.post(ITEMS, content=b"1", headers={"Idempotency-Key": "page-7"})).json()
        again = await client.post(ITEMS, content=b"1", headers={"Idempotency-Key": "page-7"})
    assert again.status_code == 202
    assert again.json() == {**first, "duplicate": True}


async def test_header_and_query_say_the_same_or_are_refused(door: Door) -> None:
    async with door.client() as client:
        agreed = await client.post(
            ITEMS + "?priority=P1&delay=5m", content=b"1", headers={"X-Joelclaw-Priority": "P1"}
        )
        differing = await client.post(
            ITEMS + "?priority=P1", content=b"1", headers={"X-Joelclaw-Priority": "P2"}
        )
    assert agreed.status_code == 202
    assert differing.status_code == 400


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/families/no/such/items", b"1", 404, "unknown-family"),
        (ITEMS, b"{", 400, "bad-payload"),
        (ITEMS, b"", 400, "bad-payload"),
        (ITEMS, b"NaN", 400, "bad-payload"),
        (ITEMS, b"\xff", 400, "bad-payload"),
        (ITEMS, b'"a\x00b"', 400, "bad-payload"),
        (ITEMS, b"1\x00", 400, "bad-payload"),
        (ITEMS, b'"\xed\xa0\x80"', 400, "bad-payload"),
        ("/v1/families/content/*/items", b"1", 404, "unknown-family"),
        (ITEMS, b"[" * 400 + b"]" * 400, 400, "bad-payload"),
        (ITEMS, b'"' + b"x" * LIMIT + b'"', 413, "payload-too-large"),
        (ITEMS + "?priority=P9", b"1", 400, "usage"),
        (ITEMS + "?delay=-5m", b"1", 400, "usage"),
        (ITEMS + "?delay=" + "9" * 90 + "d", b"1", 400, "usage"),
        (ITEMS + "?dedup_key=", b"1", 400, "usage"),
        (ITEMS + "?prioritiy=P0", b"1", 400, "usage"),
    ],
)
async def test_bad_requests_get_json_that_says_what_to_do(
    door: Door, path: str, body: bytes, status: int, code: str
) -> None:
    async with door.client() as client:
        answer = await client.post(path, content=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["code"] == code
    assert answer.json()["fix"]


async def test_a_chunked_body_over_the_limit_is_told_so(door: Door) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 10_000

    async with door.client() as client:
        answer = await client.post(ITEMS, content=chunks())
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload-too-large")


async def test_a_declared_large_body_that_is_sent_all_the_same_is_told_so(door: Door) -> None:
    async with door.client() as client:
        answer = await client.post(ITEMS, content=b"x" * 3_000_000)
    assert answer.status_code == 413


async def test_an_endless_body_is_not_read_to_its_end(door: Door) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 500_000_000:
            sent += 100_000
            yield b"x" * 100_000

    async with door.client() as client:
        with suppress(httpx.TransportError):
            answer = await client.post(ITEMS, content=endless())
            assert answer.status_code == 413
    assert sent < 100_000_000


async def test_a_lie_about_the_length_is_refused_before_the_body_comes(door: Door) -> None:
    head = f"POST {ITEMS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 99999999\r\n\r\n"
    status, body = await door.raw(head.encode())
    assert (status, body["error"]["code"]) == (413, "payload-too-large")


async def test_a_compressed_body_is_refused(door: Door) -> None:
    async with door.client() as client:
        answer = await client.post(ITEMS, content=b"1", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415


async def test_a_body_that_does_not_come_is_given_up(module_valkey: ValkeyServer, tmp_path: Path) -> None:
    head = f"POST {ITEMS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 5\r\n\r\n1"
    async with (
        real_intake(module_valkey.url, tmp_path) as intake,
        open_door(intake, body_timeout_s=0.2) as door,
    ):
        status, body = await door.raw(head.encode())
    assert (status, body["error"]["code"]) == (408, "slow-body")


async def test_read_only_mode_refuses_intake(module_valkey: ValkeyServer, tmp_path: Path) -> None:
    async with (
        real_intake(module_valkey.url, tmp_path, read_only=True) as intake,
        open_door(intake) as door,
        door.client() as client,
    ):
        answer = await client.post(ITEMS, content=b"1")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "read-only")


@pytest.fixture
def frozen_valkey(valkey: ValkeyServer) -> Iterator[ValkeyServer]:
    """A server that holds its connections and answers nothing."""
    os.kill(valkey.pid, signal.SIGSTOP)
    yield valkey
    os.kill(valkey.pid, signal.SIGCONT)


async def test_redis_that_is_gone_is_503_and_says_when_to_retry(valkey: ValkeyServer, tmp_path: Path) -> None:
    valkey.stop()
    async with (
        real_intake(valkey.url, tmp_path) as intake,
        open_door(intake) as door,
        door.client() as client,
    ):
        answer = await client.post(ITEMS, content=b"1")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "boundary-down")
    assert int(answer.headers["retry-after"]) > 0


async def test_what_a_server_that_hangs_in_the_middle_was_sent_may_be_stored_and_is_told_so(
    valkey: ValkeyServer, tmp_path: Path
) -> None:
    async with real_intake(valkey.url, tmp_path, timeout_s=0.3) as intake:
        await intake.enqueue("feeds", b"1", origin="test")  # it knows the family from now on
        os.kill(valkey.pid, signal.SIGSTOP)
        with pytest.raises(BoundaryDown, match="may have been stored") as hung:
            await intake.enqueue("feeds", b"2", origin="test", dedup_key="two")
        os.kill(valkey.pid, signal.SIGCONT)
        assert "the same dedup key" in (hung.value.fix or "")
        assert hung.value.code == "timed-out"
        again = await intake.enqueue("feeds", b"2", origin="test", dedup_key="two")
    assert again.duplicate  # both sends had reached the server's socket: it is stored, once


async def test_redis_that_hangs_is_503_within_the_deadline(
    frozen_valkey: ValkeyServer, tmp_path: Path
) -> None:
    async with (
        real_intake(frozen_valkey.url, tmp_path) as intake,
        open_door(intake, enqueue_timeout_s=0.3) as door,
        door.client() as client,
    ):
        answer = await client.post(ITEMS, content=b"1")
    assert answer.status_code == 503
    assert "Idempotency-Key" in answer.json()["fix"]


async def test_requests_under_way_are_answered_after_the_stop(tmp_path: Path) -> None:
    begun = asyncio.Event()
    go_on = asyncio.Event()

    class Slow:
        async def enqueue(
            self,
            family: str,
            payload: bytes | str,
            *,
            origin: str,
            priority: Priority | None = None,
            delay_s: float = 0.0,
            dedup_key: str | None = None,
            ack: Ack | None = None,
        ) -> Enqueued:
            begun.set()
            await go_on.wait()
            return Enqueued("01", duplicate=False)

        async def enqueue_many(
            self, family: str, offers: Sequence[Offer], *, origin: str, ack: Ack | None = None
        ) -> Sequence[Enqueued | OperatorError]:
            raise AssertionError("one item was sent")

    async with open_door(Slow()) as door, door.client() as client:
        request = asyncio.create_task(client.post(ITEMS, content=b"1"))
        await begun.wait()
        door.stop.set()
        go_on.set()
        assert (await request).status_code == 202
        async with asyncio.timeout(3):
            await door.served
