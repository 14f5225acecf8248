"""Each sign that a role gives of being at work is waited for, and what is missing is said by name."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from runtime.ledger.beats import Heartbeats
from runtime.redis_client.connection import connect
from runtime.roles.readiness import REDIS, Readiness
from runtime.settings import Settings
from tests.servers import ValkeyServer

LANE = """
lane = "main"
[families."a/b"]
handler = "noop"
"""
READY: dict[str, dict[str, Any]] = {
    "worker": {"deployment": "dp_1"},
    "drainer": {},
    "gateway": {},
    "clock": {"applied_sha256": "f", "lane_sha256": "f"},
}
PIDS = {role: 100 + number for number, role in enumerate(READY)}


@pytest.fixture
async def beats(valkey: ValkeyServer) -> AsyncIterator[Heartbeats]:
    async with aclosing(connect(valkey.url)) as redis:
        yield Heartbeats(redis, valkey.url, "main")


def readiness(valkey: ValkeyServer, folder: Path, **given: Any) -> Readiness:
    """Nobody listens: that of gateway and clock is told beside what is asked here."""
    lane = folder / "lane.toml"
    lane.write_text(LANE)
    return Readiness(Settings(redis_url=valkey.url, state_dir=folder / "state", **given), lane)


async def beat(beats: Heartbeats, role: str, *, pid: int | None = None, **detail: Any) -> None:
    pid = PIDS[role] if pid is None else pid
    await beats.write(role, f"{socket.gethostname()}:{pid}:x", 5.0, {"pid": pid, **READY[role], **detail})


async def test_roles_that_beat_are_registered_and_have_applied_the_lane_lack_no_sign(
    valkey: ValkeyServer, beats: Heartbeats, tmp_path: Path
) -> None:
    for role in READY:
        await beat(beats, role)
    missing = await readiness(valkey, tmp_path)(PIDS)
    assert set(missing) == {"gateway", "clock"}, "where nobody listens"
    assert missing["gateway"] == "has no address yet"
    assert missing["clock"].startswith("does not answer at ")


@pytest.mark.parametrize(
    ("role", "detail", "told"),
    [
        ("worker", {"deployment": None, "last_error": "refused"}, "is not registered with Restate: refused"),
        ("worker", {"deployment": None}, "is not registered with Restate"),
        (
            "clock",
            {"applied_sha256": None, "last_error": "down"},
            "has not applied the lane's schedules: down",
        ),
        ("clock", {"applied_sha256": "older"}, "has not applied the lane's schedules"),
    ],
)
async def test_a_role_that_beats_and_is_not_at_work_says_why(
    valkey: ValkeyServer, beats: Heartbeats, tmp_path: Path, role: str, detail: dict[str, Any], told: str
) -> None:
    for other in READY:
        await beat(beats, other, **(detail if other == role else {}))
    assert (await readiness(valkey, tmp_path)(PIDS))[role] == told


async def test_nobody_applies_schedules_in_read_only_mode(
    valkey: ValkeyServer, beats: Heartbeats, tmp_path: Path
) -> None:
    for role in READY:
        await beat(beats, role, applied_sha256=None)
    asked = readiness(valkey, tmp_path, read_only=True, dkron_url="http://127.0.0.1:9")
    assert "clock" not in await asked(PIDS)


async def test_a_sign_of_an_earlier_process_or_of_another_host_is_none(
    valkey: ValkeyServer, beats: Heartbeats, tmp_path: Path
) -> None:
    await beat(beats, "drainer", pid=os.getpid())
    await beats.write("worker", "elsewhere:100:x", 5.0, {"pid": PIDS["worker"], **READY["worker"]})
    missing = await readiness(valkey, tmp_path)(PIDS)
    assert missing["drainer"] == missing["worker"] == "gives no sign of life"


async def test_what_does_not_run_and_a_redis_that_is_gone_are_told(
    valkey: ValkeyServer, tmp_path: Path
) -> None:
    asked = readiness(valkey, tmp_path)
    valkey.kill()
    missing = await asked({role: pid for role, pid in PIDS.items() if role != "drainer"})
    assert missing["drainer"] == "does not run"
    assert "can't be reached" in missing[REDIS]
