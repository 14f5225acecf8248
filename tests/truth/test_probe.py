"""One boundary that is down or slow never blanks, delays or floods."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from runtime.model import BoundaryDown
from runtime.truth.document import BoundaryStatus
from runtime.truth.probes.probe import Probe
from tests.truth.ports import START, Clock


class Server:
    def __init__(self) -> None:
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: BaseException | None = None

    async def read(self) -> int:
        self.reads += 1
        mine = self.reads
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return mine


def probe(read: Callable[[], Awaitable[int]], clock: Clock, deadline_s: float = 0.05) -> Probe[int]:
    return Probe("server", read, deadline_s=deadline_s, now=clock)


async def test_a_hung_boundary_is_unknown_and_keeps_its_last_good_value_with_its_time() -> None:
    clock, server = Clock(), Server()
    looked = probe(server.read, clock)
    assert (await looked.look()).value == 1
    server.gate.clear()
    clock.at += 30
    seen = await looked.look()
    assert (seen.status, seen.value, seen.observed_at) == (BoundaryStatus.UNKNOWN, 1, START)
    assert seen.error == "no answer within 0.05 s"
    assert seen.failing_since == START + 30
    await looked.aclose()


async def test_what_was_never_read_has_no_value_and_no_time() -> None:
    server = Server()
    server.gate.clear()
    looked = probe(server.read, Clock())
    seen = await looked.look()
    assert (seen.value, seen.observed_at, seen.latency_ms, seen.failing_since) == (None, None, None, None)
    await looked.aclose()


async def test_a_hung_boundary_has_one_outstanding_read_however_often_it_is_looked_at() -> None:
    server = Server()
    server.gate.clear()
    looked = probe(server.read, Clock())
    await asyncio.gather(*(looked.look() for _ in range(5)))
    await looked.look()
    assert server.reads == 1
    await looked.aclose()


async def test_a_late_answer_is_taken_as_of_when_it_came() -> None:
    clock, server = Clock(), Server()
    looked = probe(server.read, clock)
    server.gate.clear()
    await looked.look()
    clock.at += 5
    server.gate.set()
    while looked._observed_at is None:
        await asyncio.sleep(0)
    clock.at += 5
    server.gate.clear()
    seen = await looked.look()
    assert (seen.status, seen.value, seen.observed_at) == (BoundaryStatus.UNKNOWN, 1, START + 5)
    await looked.aclose()


async def test_a_refused_connection_is_down_and_a_strange_answer_unknown() -> None:
    server = Server()
    looked = probe(server.read, Clock())
    server.error = BoundaryDown("refused")
    assert (await looked.look()).status is BoundaryStatus.DOWN
    server.error = ConnectionRefusedError(111, "Connection refused")
    assert (await looked.look()).status is BoundaryStatus.DOWN
    server.error = TimeoutError()
    assert (await looked.look()).status is BoundaryStatus.UNKNOWN
    server.error = BoundaryDown("slow", code="timed-out")
    assert (await looked.look()).status is BoundaryStatus.UNKNOWN
    server.error = KeyError("run_id")
    seen = await looked.look()
    assert (seen.status, seen.error) == (
        BoundaryStatus.UNKNOWN,
        "its answer could not be read: KeyError: 'run_id'",
    )


async def test_an_error_text_is_cleaned_and_bounded() -> None:
    server = Server()
    server.error = BoundaryDown("\x1b]0;owned\x07" + "x" * 5000)
    error = (await probe(server.read, Clock()).look()).error
    assert error is not None
    assert "\x1b" not in error
    assert len(error) == 300


async def test_a_read_that_ignores_its_cancellation_does_not_hold_up_closing() -> None:
    release = asyncio.Event()

    async def stubborn() -> int:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return 1

    looked = probe(stubborn, Clock())
    await looked.look()
    await asyncio.wait_for(looked.aclose(), 1)
    release.set()
