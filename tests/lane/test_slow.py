"""A server that misses a look is slow, with its last figures; one that refuses is down at once."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

from runtime.truth.document import BoundaryStatus, Severity, Snapshot, VerdictStatus
from tests.lane.operating import operator_of, until
from tests.lane.processes import LaneProcesses
from tests.servers import RestateServer, ValkeyServer, stop_process

LANE = """
lane = "slow"
[families."a/b"]
handler = "noop"
"""


def telling(snapshot: Snapshot) -> list[str]:
    return [f.code for f in snapshot.verdict.findings if f.severity is not Severity.INFO]


async def test_a_restate_that_hangs_for_one_look_is_slow_and_a_killed_one_is_down(
    valkey: ValkeyServer, restate: RestateServer
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="jt-sl-"))
    lane = LaneProcesses(folder, valkey, restate, LANE)
    try:
        async with operator_of(lane) as operator:
            reader = operator.reader

            async def read() -> bool:
                return (await reader.snapshot()).boundaries.durable.data is not None

            await until(read, "a good look")
            before = telling(await reader.snapshot())
            stop_process(restate.pid)
            try:
                snapshot = await reader.snapshot()
            finally:
                os.kill(restate.pid, signal.SIGCONT)
            durable = snapshot.boundaries.durable
            assert durable.status is BoundaryStatus.DEGRADED
            assert durable.data is not None and durable.observed_at is not None
            assert "boundary-slow" in telling(snapshot) and "boundary-unknown" not in telling(snapshot)
            assert set(telling(snapshot)) == {*before, "boundary-slow"}

            async def well() -> bool:
                return telling(await reader.snapshot()) == before

            await until(well, "it answers again")
            restate.kill()
            snapshot = await reader.snapshot()
            assert snapshot.boundaries.durable.status is BoundaryStatus.DOWN
            assert snapshot.verdict.status is VerdictStatus.DOWN
            assert telling(snapshot)[0] == "boundary-down"
    finally:
        lane.stop()
        shutil.rmtree(folder)
