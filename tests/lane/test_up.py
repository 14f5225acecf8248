"""What `up` says of a stack is so: who asks right after it finds everybody at work."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from runtime.settings import Settings
from runtime.stack.endpoints import StackPaths
from runtime.stack.marks import read_mark
from tests.servers import stop_process

LANE = """\
lane = "ready"
[families.a]
handler = "noop"
[schedules.often]
cron = "0 */5 * * * *"
family = "a"
"""
ROLES = ("worker", "drainer", "gateway", "clock")


class Stack:
    """One profile's stack, operated by the program as a person runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "lane.toml").write_text(LANE, encoding="utf-8")
        self.paths = StackPaths.of(Settings(state_dir=folder / "state"))
        cache = os.environ.get("JOELCLAW_CACHE_DIR")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("JOELCLAW_")},
            "JOELCLAW_STATE_DIR": str(folder / "state"),
            "JOELCLAW_CONFIG_DIR": str(folder / "config"),
            **({"JOELCLAW_CACHE_DIR": cache} if cache else {}),
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "joelclaw_tui", "--lane", str(self.folder / "lane.toml"), *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def answer(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    def pid(self, role: str) -> int:
        mark = read_mark(self.paths.marks / role)
        assert mark is not None, f"{role} does not run"
        return mark.pid


@pytest.fixture
def stack(short_dir: Path) -> Iterator[Stack]:
    made = Stack(short_dir)
    try:
        yield made
    finally:
        down = made.run("down")
        assert down.returncode == 0, down.stderr


@pytest.fixture
def busy() -> Iterator[None]:
    """Neighbours that take all the processor time that they get."""
    endless = "while True: pass"
    neighbours = [subprocess.Popen([sys.executable, "-c", endless]) for _ in range(os.cpu_count() or 1)]
    yield
    for neighbour in neighbours:
        neighbour.kill()
        neighbour.wait()


@pytest.mark.alone
def test_right_after_up_everybody_works_also_beside_busy_neighbours(stack: Stack, busy: None) -> None:
    for start in ("the first", "after roles were killed", "after down"):
        told = stack.run("up", "--json")
        assert told.returncode == 0, (start, told.stdout, told.stderr)
        result = json.loads(told.stdout)["result"]
        with urllib.request.urlopen(f"{result['endpoints']['gateway']}/v1/healthz", timeout=20) as health:
            assert health.status == 200
        once = stack.run("--once", "--format", "json")
        findings = json.loads(once.stdout)["verdict"]["findings"]
        assert once.returncode == 0, (start, [finding["message"] for finding in findings])
        assert json.loads(once.stdout)["boundaries"]["durable"]["source"]["deployment"]
        if start == "the first":
            # Their beats stay behind, and nobody has taken them back.
            for role in ROLES:
                os.kill(stack.pid(role), signal.SIGKILL)
        else:
            stack.run("down")


def test_what_is_not_at_work_in_time_is_said(stack: Stack) -> None:
    """A Dkron that is down: its stack runs all the same, and `up` doesn't call it fine."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    stack.environment["JOELCLAW_DKRON_URL"] = f"http://127.0.0.1:{port}"
    stack.environment["JOELCLAW_START_WITHIN_S"] = "30"
    told = stack.run("up", "--json")
    document = json.loads(told.stdout)
    assert told.returncode == 1
    assert document["error"]["code"] == "not-at-work"
    assert set(document["result"]["missing"]) == {"clock"}
    assert "has not applied the lane's schedules" in document["result"]["missing"]["clock"]
    assert document["result"]["running"]
    assert {row["name"]: row["status"] for row in document["result"]["programs"]}["worker"] == "running"


@pytest.mark.parametrize("role", ["clock", "gateway"])
def test_a_role_that_hangs_is_not_told_up(stack: Stack, role: str) -> None:
    assert stack.run("up").returncode == 0
    pid = stack.pid(role)
    stop_process(pid)
    try:
        told = stack.run("up", "--json")
        assert told.returncode == 3
        assert f"{role} (pid {pid}) is stopped (SIGSTOP)" in json.loads(told.stdout)["error"]["message"]
        checks = {row["name"]: row for row in stack.answer("doctor")["result"]["checks"]}
        assert checks["answers"]["status"] == "fail" and role in checks["answers"]["message"]
    finally:
        os.kill(pid, signal.SIGCONT)
