"""A disk that is full for a while: nothing ends for good, and all goes on once there is room."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from supervisor import loggers

from runtime.ledger.audit import Audit
from runtime.model import OperatorError, Receipt, WritesRefused
from runtime.redis_client.connection import connect
from runtime.roles.local import local_stack
from runtime.roles.operator import open_operator
from runtime.sandbox.capture import Capture
from runtime.settings import Settings
from runtime.stack.endpoints import StackPaths
from runtime.stack.launch import write_mark
from runtime.stack.local import LocalStack
from runtime.stack.marks import ProcessMark, live_marks, read_mark
from runtime.stack.programs import Program
from runtime.stack.supervise import Supervisor
from runtime.stack.supervising import LenientLog
from tests.lane.operating import until

LANE = 'lane = "full"\n[families.a]\nhandler = "noop"\n'
ALL = {"supervisord", "valkey", "restate", "worker", "drainer", "gateway", "clock"}


class Disk:
    """A small disk of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """To the last byte."""
        for size in (1 << 20, 4096, 1):
            with (self.folder / f"fill-{size}").open("ab", buffering=0) as file:
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    pass

    def free(self) -> None:
        for path in self.folder.glob("fill-*"):
            path.unlink()


@pytest.fixture
def disk(short_dir: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    folder = short_dir / "disk"
    folder.mkdir()
    size = getattr(request, "param", "320m")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may mount no disk of its own")
    yield Disk(folder)
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
async def settings(disk: Disk, short_dir: Path) -> AsyncIterator[Settings]:
    lane = short_dir / "lane.toml"
    lane.write_text(LANE, encoding="utf-8")
    yield (made := Settings(state_dir=disk.folder / "state", lane=lane))
    disk.free()
    await LocalStack(made).down(lambda line: None)
    assert live_marks(StackPaths.of(made).marks) == []


def pids(settings: Settings) -> dict[str, int]:
    return {mark.name: mark.pid for mark in live_marks(StackPaths.of(settings).marks)}


async def test_the_stack_goes_on_by_itself_once_there_is_room(disk: Disk, settings: Settings) -> None:
    stack = local_stack(settings)
    assert (await stack.up(lambda line: None)).healthy
    before = pids(settings)
    assert set(before) == ALL
    async with open_operator(settings) as operator:

        async def refused() -> bool:
            disk.fill()  # somebody else takes what was given back meanwhile
            try:
                await operator.intake.enqueue("a", '"' + "x" * 4096 + '"', origin="test")
            except WritesRefused:
                return True
            return False

        await until(refused, "work is refused while the disk is full")
        # What dies now starts again on the full disk; and with each of it the supervisor writes its log.
        os.kill(before["worker"], signal.SIGKILL)
        os.kill(before["restate"], signal.SIGKILL)

        async def worker_again() -> bool:
            disk.fill()
            mark = read_mark(StackPaths.of(settings).marks / "worker")
            return mark is not None and mark.pid != before["worker"]

        await until(worker_again, "the worker runs anew on a full disk")
        during = pids(settings)
        untouched = ALL - {"worker", "restate"}
        assert {name: during.get(name) for name in untouched} == {name: before[name] for name in untouched}
        disk.free()

        async def settled() -> bool:
            try:
                item = await operator.intake.enqueue("a", "1", origin="test", dedup_key="after")
            except OperatorError:
                return False
            row = await operator.reader.item(item.item_id)
            return row is None or row.state.value == "succeeded"

        await until(settled, "work is taken in and done again", within_s=120)
    assert (await stack.up(lambda line: None)).healthy
    after = pids(settings)
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}


async def test_logs_that_can_not_be_written_end_neither_supervisor_nor_program(short_dir: Path) -> None:
    """The device that is always full stands in for each log."""
    settings = Settings(state_dir=short_dir / "state")
    lane = short_dir / "lane.toml"
    lane.write_text(LANE, encoding="utf-8")
    paths = StackPaths.of(settings)
    paths.logs.mkdir(parents=True)
    for name in ("supervisord", "worker"):
        (paths.logs / f"{name}.log").symlink_to("/dev/full")
    # More than its pipe holds: it would wait for ever, were nobody to read it.
    talks = f"head -c 1000000 /dev/zero; touch {short_dir}/said; exec sleep 600"
    worker = Program("worker", ("/bin/sh", "-c", talks), cwd=short_dir)
    stack = LocalStack(settings, lane, roles=[worker])
    try:
        assert (await stack.up(lambda line: None)).healthy

        async def said() -> bool:
            return (short_dir / "said").exists()

        await until(said, "the program said all that it had to say")
        supervisor = Supervisor(paths.supervisor_socket)
        first = read_mark(paths.marks / "worker")
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)

        async def again() -> bool:
            mark = read_mark(paths.marks / "worker")
            return mark is not None and mark.pid != first.pid

        await until(again, "the supervisor lives and starts it anew")
        assert {state.name for state in supervisor.states()} == {"valkey", "restate", "worker"}
    finally:
        await stack.down(lambda line: None)


@pytest.mark.parametrize("disk", ["64k"], indirect=True)
def test_a_log_goes_on_once_there_is_room_also_when_its_rotation_was_cut_short(disk: Disk) -> None:
    path = disk.folder / "some.log"
    logger = loggers.Logger(handlers=[])
    handler = LenientLog(str(path), maxBytes=4096, backupCount=2)
    handler.setFormat("%(message)s\n")
    handler.setLevel(loggers.LevelsByName.INFO)
    logger.handlers.append(handler)
    logger.info("before")
    disk.fill()
    for _ in range(2000):
        logger.info("lost, for there is no room")
    (disk.folder / "some.log.1").mkdir()  # and what it would rename its file to is in the way
    (disk.folder / "some.log.1" / "x").symlink_to("/")
    disk.free()
    for _ in range(500):
        logger.info("a line that fits again")
    logger.info("after")
    assert path.read_text(encoding="utf-8").endswith("after\n")


@pytest.mark.parametrize("disk", ["64k"], indirect=True)
def test_a_program_that_ran_before_can_write_its_mark_on_a_full_disk(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.ftruncate

    def ftruncate(descriptor: int, length: int) -> None:
        real(descriptor, length)
        disk.fill()  # somebody is quicker to take what was given back

    monkeypatch.setattr(os, "ftruncate", ftruncate)
    descriptor = os.open(disk.folder / "worker", os.O_RDWR | os.O_CREAT, 0o600)
    write_mark(descriptor, ProcessMark("worker", 7, "100"))
    disk.fill()
    write_mark(descriptor, ProcessMark("worker", 12345678, "123456789"))
    os.close(descriptor)
    told = json.loads((disk.folder / "worker").read_text(encoding="utf-8"))
    assert told == {"name": "worker", "pid": 12345678, "started": "123456789"}


@pytest.mark.parametrize("disk", ["64k"], indirect=True)
async def test_a_receipt_that_found_no_room_is_told_and_does_not_swallow_the_next(disk: Disk) -> None:
    redis = connect("unix:///nowhere/valkey.sock")
    audit = Audit(redis, "unix:///nowhere/valkey.sock", "main", disk.folder / "ledger")
    try:
        await recorded(audit, "first")
        page = disk.folder / "ledger" / "audit-main.jsonl"
        await recorded(audit, "second" + "x" * (4096 - page.stat().st_size - 400))  # its page is nearly full
        disk.fill()
        with pytest.raises(OperatorError, match="could not be written"):
            await audit.record(receipt("lost" + "x" * 8000))
        disk.free()
        await recorded(audit, "next")
        told = [json.loads(line)["action"] for line in page.read_text().splitlines() if is_json(line)]
        assert (told[0], told[-1]) == ("first", "next") and len(told) == 3
    finally:
        await redis.aclose()


@pytest.mark.parametrize("disk", ["64k"], indirect=True)
def test_what_a_sandboxed_program_says_on_a_full_disk_is_logged_at_its_end(disk: Disk) -> None:
    log = Capture(disk.folder / "agent.log", ["s3cret"])
    log.add(b"before\n")
    disk.fill()
    for number in range(2000):
        log.add(f"line {number} of s3cret\n".encode())
    disk.free()
    log.close()
    lines = (disk.folder / "agent.log").read_text(encoding="utf-8").splitlines()
    assert lines == ["before", *(f"line {number} of ***" for number in range(2000))]


def is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


async def recorded(audit: Audit, action: str) -> None:
    """Redis is away: the file alone keeps it, and that is said."""
    assert "one place only" in str(await audit.record(receipt(action)))


def receipt(action: str) -> Receipt:
    return Receipt(
        receipt_id=action[:10],
        at=1.0,
        actor="ada",
        origin="test",
        lane="main",
        action=action,
        summary="",
        reason=None,
        results=(),
        results_total=0,
    )
