"""Workers come and go: what is running is not lost, not doubled, and not left behind."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest

from runtime.durable.admin import Admin
from runtime.durable.ingress import Ingress
from runtime.durable.registration import CODE_KEY, NotRegistered, keep_registered, register, register_once
from runtime.durable.worker import serve_worker
from runtime.durable.workflow import build_app
from runtime.lane.lane_file import LaneSource
from runtime.model import ConfigError, OperatorError, run_service
from tests.durable.rig import RecordingSettler, a_lane, a_request, eventually, working
from tests.servers import RestateServer

NOOP = '[families."a/noop"]\nhandler = "noop"\n'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class WorkerProcess:
    """A worker of `tests.durable.worker_process`, killed and started again on one port."""

    def __init__(self, restate: RestateServer, lane: LaneSource, folder: Path) -> None:
        self.settled_file = folder / "settled"
        self.log = folder / "worker.log"
        self._command = [
            sys.executable, "-m", "tests.durable.worker_process",
            str(lane.current.path), restate.admin_url, f"127.0.0.1:{free_port()}", str(self.settled_file),
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stderr=log, stdout=log)
        return self.process

    @property
    def settled(self) -> list[list[str]]:
        if not self.settled_file.exists():
            return []
        return [json.loads(line) for line in self.settled_file.read_text().splitlines()]


@contextmanager
def a_worker_process(restate: RestateServer, lane: LaneSource, folder: Path) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(restate, lane, folder)
    worker.start()
    try:
        yield worker
    finally:
        if worker.process is not None:
            worker.process.kill()
            worker.process.wait()


@asynccontextmanager
async def starting(restate: RestateServer, lane: LaneSource) -> AsyncIterator[Ingress]:
    """An ingress that knows the lane's service."""
    service = run_service(lane.current.name)
    async with Admin(restate.admin_url) as admin:
        async with asyncio.timeout(20):
            while not await admin.query(f"select name from sys_service where name = '{service}'"):
                pass
    async with Ingress(restate.ingress_url, lane.current.name) as ingress:
        yield ingress


def command_family(folder: Path, script: str) -> str:
    return f'[families."a/c"]\nhandler = "command"\ncommand = {json.dumps(["sh", "-c", script])}\n'


async def test_a_worker_killed_in_the_middle_of_a_step_leaves_no_program_and_its_successor_finishes_the_run(
    module_restate: RestateServer, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    # The first try hangs (with a child), later ones see its note and end.
    lane = a_lane(
        tmp_path, command_family(tmp_path, f"test -e {pids} && exit 0; sleep 600 & echo $$ $! > {pids}; wait")
    )
    with a_worker_process(module_restate, lane, tmp_path) as worker:
        async with starting(module_restate, lane) as ingress:
            request = a_request("a/c")
            await ingress.start(request)
            await eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)
            assert worker.process is not None
            worker.process.kill()
            worker.process.wait()
            for pid in pids.read_text().split():
                await eventually(lambda pid=pid: not running(int(pid)))  # type: ignore[misc]
            assert worker.settled == []
            worker.start()
            await eventually(lambda: len(worker.settled) > 0)
            assert worker.settled == [[request.run_id, "a/c", "succeeded", None]]


async def test_a_worker_ends_promptly_on_sigterm_and_its_step_is_run_again_elsewhere(
    module_restate: RestateServer, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    lane = a_lane(
        tmp_path, command_family(tmp_path, f"test -e {pid} && exit 0; echo $$ > {pid}; exec sleep 600")
    )
    with a_worker_process(module_restate, lane, tmp_path) as worker:
        async with starting(module_restate, lane) as ingress:
            request = a_request("a/c")
            await ingress.start(request)
            await eventually(lambda: pid.exists() and bool(pid.read_text().strip()))
            assert worker.process is not None
            worker.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.process.wait, 10) == 0
            assert not running(int(pid.read_text()))
            assert "Traceback" not in worker.log.read_text()
            worker.start()
            await eventually(lambda: len(worker.settled) > 0)
            assert [row[2] for row in worker.settled] == ["succeeded"]


async def test_tries_are_not_used_up_while_no_worker_is_there(
    module_restate: RestateServer, tmp_path: Path
) -> None:
    tries = tmp_path / "tries"
    script = f"test -e {tries} || {{ echo $$ > {tries}; exec sleep 600; }}; echo x >> {tries}; exit 1"
    families = command_family(tmp_path, script) + 'retry = { tries = 3, initial = "50ms" }\n'
    lane = a_lane(tmp_path, families)
    with a_worker_process(module_restate, lane, tmp_path) as worker:
        async with starting(module_restate, lane) as ingress, Admin(module_restate.admin_url) as admin:
            accepted = await ingress.start(a_request("a/c"))
            # Killed at the program's first sign of life: not even then does it outlive its worker.
            await eventually(lambda: tries.exists() and bool(tries.read_text().strip()))
            assert worker.process is not None
            worker.process.kill()
            worker.process.wait()
            first = int(tries.read_text())
            await eventually(lambda: not running(first))
            sql = f"select retry_count as n from sys_invocation_state where id = '{accepted.invocation_id}'"
            async with asyncio.timeout(20):
                while not (rows := await admin.query(sql)) or rows[0].get("n", 0) < 5:
                    pass
            worker.start()
            await eventually(lambda: len(worker.settled) > 0)
            assert worker.settled[0][2] == "failed"
            assert tries.read_text().count("x") == 3


async def test_unsigned_requests_are_refused_when_an_identity_key_is_set(
    short_dir: Path, tmp_path: Path
) -> None:
    pem = short_dir / "identity.pem"
    make_key = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(pem)]
    await asyncio.to_thread(subprocess.run, make_key, check=True, capture_output=True)
    server = RestateServer.start(short_dir / "restate", identity_pem=pem)
    try:
        key = next(
            word
            for word in server.log.read_text().replace('"', " ").split()
            if word.startswith("publickeyv1_")
        )
        async with working(server, tmp_path, NOOP, identity_keys=[key]) as rig:
            service = run_service(rig.lane.current.name)
            async with httpx.AsyncClient(http1=False, http2=True) as client:
                for method, path in (("POST", f"/invoke/{service}/run"), ("GET", "/discover")):
                    answer = await client.request(method, rig.worker_url + path)
                    assert answer.status_code == 401
            run_id, _ = await rig.start("a/noop")
            await rig.settled(run_id)
    finally:
        server.stop()


async def test_registering_again_changes_nothing_but_changed_code_is_taken_over(
    module_restate: RestateServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(module_restate, tmp_path, NOOP) as rig, Admin(module_restate.admin_url) as admin:
        lane = rig.lane.current.name
        path = f"/services/{run_service(lane)}"
        before = await admin.request("GET", path)
        for url in (rig.worker_url, rig.worker_url + "/"):
            assert await register(module_restate.admin_url, url, lane) == before["deployment_id"]
        assert (await admin.request("GET", path))["revision"] == before["revision"]
        assert before["metadata"][CODE_KEY]
        monkeypatch.setattr("runtime.durable.registration.code_version", lambda: "other")
        await register(module_restate.admin_url, rig.worker_url, lane)
        assert (await admin.request("GET", path))["revision"] > before["revision"]


async def test_registering_waits_for_restate_and_says_what_is_missing(
    restate: RestateServer, tmp_path: Path
) -> None:
    lane = a_lane(tmp_path, NOOP)
    restate.stop()
    problems: list[OperatorError] = []
    stop = asyncio.Event()
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    app = build_app(lane, RecordingSettler(), lambda: 0.0)
    serving = asyncio.create_task(serve_worker(app, "127.0.0.1:0", stop=stop, on_bound=url.set_result))
    name = lane.current.name
    registering = asyncio.create_task(
        register(restate.admin_url, await url, name, on_problem=problems.append)
    )
    await eventually(lambda: len(problems) >= 2)
    assert all(problem.code == "boundary-down" for problem in problems)
    await asyncio.to_thread(restate.launch)
    assert (await asyncio.wait_for(registering, 20)).startswith("dp_")
    stop.set()
    await serving


async def test_a_restate_that_lost_its_data_learns_the_address_again(
    restate: RestateServer, tmp_path: Path
) -> None:
    async with working(restate, tmp_path, NOOP) as rig:
        told: list[str] = []
        lane = rig.lane.current.name
        keeping = asyncio.create_task(
            keep_registered(
                restate.admin_url, rig.worker_url, lane, on_registered=told.append, recheck_s=0.05
            )
        )
        await eventually(lambda: len(told) == 1)
        restate.kill()
        shutil.rmtree(restate.folder / "local")
        await asyncio.to_thread(restate.launch)
        await eventually(lambda: len(told) == 2)
        run_id, _ = await rig.start("a/noop")
        await rig.settled(run_id)
        keeping.cancel()


async def test_a_worker_that_does_not_answer_is_not_registered(module_restate: RestateServer) -> None:
    async with Admin(module_restate.admin_url) as admin:
        with pytest.raises((NotRegistered, OperatorError)) as error:
            await register_once(admin, f"http://127.0.0.1:{free_port()}", "nowhere")
    assert error.value.fix


async def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        app = build_app(a_lane(tmp_path, NOOP), RecordingSettler(), lambda: 0.0)
        with pytest.raises(ConfigError, match="can't listen"):
            await serve_worker(app, f"127.0.0.1:{taken.getsockname()[1]}")
    with pytest.raises(ConfigError):
        await serve_worker(app, "nonsense")


def running(pid: int) -> bool:
    """A killed orphan stays a zombie where nobody reaps; it runs no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
