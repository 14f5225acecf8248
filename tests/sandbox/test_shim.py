"""The shim: starts its agent once, outlives who started it, hears when to stop, and is missed when killed."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtime.model import Outcome, RunLookup, RunStatus, RunView
from runtime.sandbox.janitor import Janitor
from runtime.sandbox.run import BEAT_LIMIT_S, RunFolder, RunState
from tests.sandbox.making import Workshop, gone, until

WAIT = ["sh", "-c", "echo 42 > answer.txt; while [ ! -e stop ]; do sleep 0.05; done"]


class NoRuns(RunLookup):
    async def lookup(self, run_ids: Any) -> dict[str, RunView]:
        return {}


class OverRuns(RunLookup):
    async def lookup(self, run_ids: Any) -> dict[str, RunView]:
        return {
            run_id: RunView(run_id, "inv_1", RunStatus.COMPLETED, Outcome.KILLED, 0, 0, 0, 1, None, "killed")
            for run_id in run_ids
        }


@contextmanager
def awaiting(path: str, *, refuse_first: int = 0) -> Iterator[list[dict[str, Any]]]:
    """Somebody at a Unix socket who waits for the end of runs; refuses the first few calls."""
    heard: list[dict[str, Any]] = []
    left = [refuse_first]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if left[0] > 0:
                left[0] -= 1
                self.send_response(503)
            else:
                heard.append({"path": self.path, **json.loads(body)})
                self.send_response(202)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

        def address_string(self) -> str:
            return "unix"

    with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield heard
        finally:
            server.shutdown()
            thread.join()


def state_of(folder: RunFolder) -> RunState:
    state = folder.read_state()
    assert state is not None
    return state


def in_phase(folder: RunFolder, phase: str) -> None:
    until(lambda: (state := folder.read_state()) is not None and state.phase == phase)


def janitor_of(shop: Workshop, lookup: RunLookup | None = None) -> Janitor:
    return Janitor(shop.folder / "state", lookup or NoRuns(), time.time)


def test_a_second_shim_for_one_run_starts_nothing(workshop: Workshop) -> None:
    folder = workshop.order(["sh", "-c", "echo start >> answer.txt; sleep 1"])
    assert workshop.start(folder) == "started"
    assert workshop.start(folder) == "running"
    ended = workshop.ended(folder)
    assert ended.state.agent_starts == 1
    assert ended.patch.count("+start") == 1
    assert workshop.start(folder) == "over"
    assert state_of(folder) == ended.state


def test_many_shims_at_once_are_one(shop: Workshop) -> None:
    folder = shop.order(["sleep", "1"])
    words: list[str] = []
    threads = [threading.Thread(target=lambda: words.append(shop.start(folder))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(words) == ["running"] * 5 + ["started"]
    assert shop.ended(folder).state.agent_starts == 1


def test_the_shim_is_no_child_of_its_starter(shop: Workshop) -> None:
    folder = shop.order(["sleep", "30"])
    shop.start(folder)
    in_phase(folder, "agent")
    pid = state_of(folder).pid
    assert os.getsid(pid) != os.getsid(0)
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert int(stat[1]) != os.getpid()
    folder.ask_stop("test over")
    gone(folder)


def test_it_beats_through_every_phase(shop: Workshop) -> None:
    folder = shop.order(["sleep", "1.5"])
    shop.start(folder)
    oldest = 0.0
    while (state := state_of(folder)).outcome is None:
        oldest = max(oldest, time.time() - (folder.beat_at() or state.started_at))
        time.sleep(0.05)
    assert oldest < BEAT_LIMIT_S / 2
    shop.ended(folder)


def test_asked_to_stop_it_ends_the_agent_and_says_cancelled(workshop: Workshop) -> None:
    folder = workshop.order(WAIT)
    workshop.start(folder)
    in_phase(folder, "agent")
    began = time.monotonic()
    workshop.stop(folder, "the run was cancelled")
    gone(folder)
    assert time.monotonic() - began < 3
    state = state_of(folder)
    assert (state.outcome, state.message) == (Outcome.CANCELLED, "the run was cancelled")


def test_asked_to_stop_before_it_begins_it_starts_no_agent(shop: Workshop) -> None:
    folder = shop.order(["true"])
    folder.ask_stop("cancelled")
    shop.start(folder)
    gone(folder)
    assert (state_of(folder).outcome, state_of(folder).agent_starts) == (Outcome.CANCELLED, 0)


def test_sigterm_ends_the_run_as_failed_and_keeps_what_there_is(shop: Workshop) -> None:
    folder = shop.order(["sh", "-c", "echo half-way; sleep 60"])
    shop.start(folder)
    in_phase(folder, "agent")
    time.sleep(0.5)
    os.kill(state_of(folder).pid, signal.SIGTERM)
    ended = shop.ended(folder)
    assert (ended.state.outcome, ended.state.message) == (
        Outcome.FAILED,
        "the shim was told to end (SIGTERM)",
    )
    assert "half-way" in ended.log


def test_its_end_is_told_until_it_is_collected(shop: Workshop) -> None:
    socket_path = str(shop.folder / "ingress.sock")
    folder = shop.order(["sh", "-c", "echo 42 > answer.txt"], verify=[["true"]])
    spec = folder.read_spec().model_copy(
        update={"report_socket": socket_path, "report_url": "http://restate/restate/awakeables/a1/resolve"}
    )
    (folder.path / "spec.json").write_text(spec.model_dump_json())
    shop.start(folder)
    until(lambda: state_of(folder).outcome is not None)  # and nobody listens yet
    with awaiting(socket_path, refuse_first=2) as heard:
        until(lambda: len(heard) >= 2)
        folder.collect()
        gone(folder)
    assert heard[0] == {
        "path": "/restate/awakeables/a1/resolve", "outcome": "succeeded", "message": None, "verified": "passed",
        "artifact_id": state_of(folder).artifact_id,
    }  # fmt: skip


def test_a_killed_shim_takes_its_agent_along_and_is_told_within_its_beats_limit(workshop: Workshop) -> None:
    socket_path = str(workshop.folder / "ingress.sock")
    marker = "87651234"
    folder = workshop.order(["sh", "-c", f"setsid sleep {marker} & sleep {marker}"])
    spec = folder.read_spec().model_copy(update={"report_socket": socket_path})
    (folder.path / "spec.json").write_text(spec.model_dump_json())
    workshop.start(folder)
    in_phase(folder, "agent")
    until(lambda: marker in _commands())
    mounts = Path(state_of(folder).mount_points or "")
    assert mounts.is_dir()
    janitor = janitor_of(workshop)
    with awaiting(socket_path) as heard:
        assert [run.name for run in janitor.sweep()] == [folder.name]
        assert heard == []
        killed_at = time.monotonic()
        os.kill(state_of(folder).pid, signal.SIGKILL)
        until(lambda: (janitor.sweep(), heard)[1] != [], BEAT_LIMIT_S)
        assert time.monotonic() - killed_at < BEAT_LIMIT_S
    assert heard[0]["outcome"] == "failed"
    assert "the shim of this run was killed while it was in phase agent" in heard[0]["message"]
    until(lambda: marker not in _commands(), 5)
    assert state_of(folder).agent_starts == 1
    assert not mounts.exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"**/joelclaw-{folder.name}*"))
    assert workshop.start(folder) == "over"
    folder.collect()
    gone(folder)
    assert state_of(folder).agent_starts == 1


def test_one_odd_folder_hides_no_other_run(shop: Workshop) -> None:
    odd = shop.order(["true"])
    odd.lock.mkdir()
    folder = shop.order(["sleep", "60"])
    shop.start(folder)
    in_phase(folder, "agent")
    assert [run.name for run in janitor_of(shop).sweep()] == [folder.name]
    folder.ask_stop("test over")
    gone(folder)


def test_a_late_beat_alone_is_not_death(shop: Workshop) -> None:
    folder = shop.order(["sleep", "60"])
    shop.start(folder)
    in_phase(folder, "agent")
    pid = state_of(folder).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        os.utime(folder.path / "beat", (0, 0))
        assert [run.name for run in janitor_of(shop).sweep()] == [folder.name]
        assert state_of(folder).outcome is None
    finally:
        os.kill(pid, signal.SIGCONT)
    folder.ask_stop("test over")
    gone(folder)


async def test_a_shim_whose_run_is_over_is_stopped(shop: Workshop) -> None:
    folder = shop.order(["sleep", "60"])
    shop.start(folder)
    in_phase(folder, "agent")
    janitor = janitor_of(shop, OverRuns())
    await janitor.stop_what_is_over(janitor.sweep())
    gone(folder)
    assert state_of(folder).message == "its run is over"
    janitor.sweep()
    assert folder.collected


async def test_a_run_that_restate_does_not_know_yet_goes_on(shop: Workshop) -> None:
    folder = shop.order(["sleep", "60"])
    shop.start(folder)
    in_phase(folder, "agent")
    janitor = janitor_of(shop)
    await janitor.stop_what_is_over(janitor.sweep())
    assert folder.stop_reason() is None
    folder.ask_stop("test over")
    gone(folder)


def _commands() -> str:
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                found.append((place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return "\n".join(found)


def test_killed_at_any_moment_of_its_start_the_shim_leaves_no_agent(shop: Workshop) -> None:
    marker = "76512345"
    for step in range(16):
        folder = shop.order(["sleep", marker])
        shop.start(folder)
        until(lambda folder=folder: folder.read_state() is not None)  # type: ignore[misc]
        time.sleep(step * 0.02)
        os.kill(state_of(folder).pid, signal.SIGKILL)
        gone(folder)
        until(lambda: marker not in _commands(), 5)
        janitor_of(shop).sweep()
        folder.collect()
