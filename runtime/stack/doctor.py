"""The doctor: is this machine fit for the stack, and is the stack as it should be? Reads only."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from runtime.lane.lane_file import find_lane, load_lane
from runtime.model import OperatorError
from runtime.settings import SOCKET_PATH_MAX, Settings
from runtime.stack.endpoints import START_IT, Bind, StackPaths, peek_targets
from runtime.stack.fetch import SPACE_NEEDED
from runtime.stack.find import find_valkey, look_for_restate
from runtime.stack.folders import folder_problem, layout_problem
from runtime.stack.health import valkey_settings, why_not_bindable
from runtime.stack.local import LocalStack, restart
from runtime.stack.marks import read_mark
from runtime.stack.parts import RESTATE_VERSION, PartMissing, cache_dir, version_of
from runtime.stack.restate import restate_sockets
from runtime.stack.supervise import ProgramStatus

PYTHON_OLDEST = (3, 11)
FREE_WARN = 2 * 1024**3
FREE_FAIL = 200 * 1024**2


class CheckStatus(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: CheckStatus
    message: str
    fix: str | None = None
    """What to do; None when nothing needs doing."""


async def doctor(settings: Settings) -> list[Check]:
    """All checks, in the order in which a first start needs them. Starts and changes nothing."""
    stack = LocalStack(settings)
    checks = await asyncio.to_thread(_machine, settings)
    checks += await asyncio.to_thread(_folders, settings)
    checks += await _stack(settings, stack)
    return checks


def _ok(name: str, message: str) -> Check:
    return Check(name, CheckStatus.OK, message)


def _machine(settings: Settings) -> list[Check]:
    return [_python(), *_npm(settings), _valkey(settings), _restate(settings), _lane(settings)]


def _python() -> Check:
    version = platform.python_version()
    if sys.version_info[:2] < PYTHON_OLDEST:
        oldest = ".".join(map(str, PYTHON_OLDEST))
        return Check("python", CheckStatus.FAIL, f"Python {version}", f"use Python {oldest} or newer")
    return _ok("python", f"Python {version}")


def _npm(settings: Settings) -> Iterator[Check]:
    needed = settings.restate_admin_url is None and look_for_restate() is None
    for program in ("node", "npm"):
        where = shutil.which(program)
        version = version_of(Path(where)) if where else None
        if version:
            yield _ok(program, f"{program} {version}")
        elif needed:
            yield Check(
                program,
                CheckStatus.FAIL,
                f"no working {program} on PATH, and the Restate server still has to be fetched with it",
                f"install Node.js with npm, or put restate-server {RESTATE_VERSION} on PATH",
            )
        else:
            yield _ok(program, f"no {program}; none is needed, the Restate server is there")


def _valkey(settings: Settings) -> Check:
    if settings.redis_url is not None:
        return _ok("valkey", "the settings name a server (redis_url): none is started here")
    try:
        found = find_valkey()
    except PartMissing as error:
        return Check("valkey", CheckStatus.FAIL, error.message, error.fix)
    return _ok("valkey", f"{found.version} at {found.path} ({found.origin})")


def _restate(settings: Settings) -> Check:
    if settings.restate_admin_url is not None:
        return _ok("restate", "the settings name a server (restate_admin_url): none is started here")
    found = look_for_restate()
    if found is not None:
        return _ok("restate", f"{found.version} at {found.path} ({found.origin})")
    free = _free(cache_dir())
    if free is not None and free < SPACE_NEEDED:
        return Check(
            "restate",
            CheckStatus.FAIL,
            f"not fetched yet, and only {free // 1024**2} MB are free for it in {cache_dir()}",
            "make room, or set JOELCLAW_CACHE_DIR to a larger disk",
        )
    if shutil.which("npm") is None:
        return Check("restate", CheckStatus.FAIL, "not on this machine", "see npm above")
    return _ok("restate", f"not fetched yet: the first `up` fetches {RESTATE_VERSION} (some 70 MB)")


def _lane(settings: Settings) -> Check:
    try:
        path = find_lane(settings)
    except OperatorError as error:
        return Check("lane file", CheckStatus.WARN, error.message, error.fix)
    try:
        lane = load_lane(path, time.time)
    except OperatorError as error:
        return Check("lane file", CheckStatus.FAIL, error.message, error.fix)
    return _ok("lane file", f"{lane.path}: lane {lane.name!r}, {len(lane.families)} families")


def _folders(settings: Settings) -> list[Check]:
    return [_state_folder(settings.state), _socket_paths(settings), _disk(settings.state)]


def _state_folder(state: Path) -> Check:
    name = "state folder"
    problem = layout_problem(state)
    if problem:
        return Check(
            name, CheckStatus.FAIL, problem, "use the version that made it, or set JOELCLAW_STATE_DIR"
        )
    if not state.exists():
        parent = _existing_parent(state)
        if not os.access(parent, os.W_OK | os.X_OK):
            return Check(
                name,
                CheckStatus.FAIL,
                f"{state} is not there and can't be made: {parent} is not writable",
                "correct its rights, or set JOELCLAW_STATE_DIR",
            )
        return _ok(name, f"{state} is not there yet; the first `up` makes it")
    if not state.is_dir() or not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        return Check(
            name,
            CheckStatus.FAIL,
            f"{state} is not a folder that this user may read and write",
            "correct its rights, or set JOELCLAW_STATE_DIR",
        )
    mode = stat.S_IMODE(state.stat().st_mode)
    if mode & 0o077:
        return Check(
            name, CheckStatus.WARN, f"{state} can be read by others (mode {mode:o})", f"chmod 700 {state}"
        )
    return _ok(name, f"{state}, private")


def _socket_paths(settings: Settings) -> Check:
    paths = StackPaths.of(settings)
    longest = restate_sockets(paths.restate_base).ingress
    length = len(os.fsencode(longest))
    if length > SOCKET_PATH_MAX:
        return Check(
            "sockets",
            CheckStatus.FAIL,
            f"{longest} has {length} bytes, a socket's path may have {SOCKET_PATH_MAX}",
            "set TMPDIR or JOELCLAW_STATE_DIR to a shorter path",
        )
    if paths.sockets.exists() and (problem := folder_problem(paths.sockets)):
        return Check("sockets", CheckStatus.FAIL, problem, f"remove {paths.sockets} with the stack down")
    return _ok("sockets", f"in {paths.sockets} (longest path {length} of {SOCKET_PATH_MAX} bytes)")


def _disk(state: Path) -> Check:
    free = _free(state)
    if free is None:
        return Check("disk", CheckStatus.WARN, f"free space at {state} is unknown", "check the disk")
    message = f"{free / 1024**3:.1f} GB free at {_existing_parent(state)}"
    if free < FREE_WARN:
        status = CheckStatus.FAIL if free < FREE_FAIL else CheckStatus.WARN
        return Check("disk", status, message, "make room: servers stop taking work on a full disk")
    return _ok("disk", message)


async def _stack(settings: Settings, stack: LocalStack) -> list[Check]:
    try:
        targets = peek_targets(settings)
    except OperatorError as error:
        return [Check("endpoints", CheckStatus.FAIL, error.message, error.fix)]
    marks = StackPaths.of(settings).marks
    checks = [await _programs(stack)]
    if hung := await stack.hung():
        checks.append(Check("answers", CheckStatus.FAIL, "; ".join(hung), restart(settings)))
    for role, bind in (("worker", targets.worker_bind), ("gateway", targets.gateway_bind)):
        checks.append(await asyncio.to_thread(_port, role, bind, marks))
    if settings.redis_url is None:
        checks += await asyncio.to_thread(_valkey_settings, settings)
    return checks


async def _programs(stack: LocalStack) -> Check:
    state = await stack.state()
    if not state.running and state.programs:
        names = ", ".join(program.name for program in state.programs)
        return Check(
            "stack", CheckStatus.WARN, f"left without a supervisor: {names}", "run `joelclaw-tui up`"
        )
    if not state.running:
        return _ok("stack", f"no local stack runs; {START_IT}")
    down = [program for program in state.programs if program.status is not ProgramStatus.RUNNING]
    if down:
        said = "; ".join(f"{program.name} is {program.status} {program.detail}".strip() for program in down)
        fix = f"see `joelclaw-tui logs {down[0].name}`, then run `joelclaw-tui up`"
        return Check("stack", CheckStatus.FAIL, said, fix)
    return _ok("stack", "runs: " + ", ".join(program.name for program in state.programs))


def _port(role: str, bind: Bind | None, marks: Path) -> Check:
    name = f"{role} port"
    if bind is None:
        return _ok(name, "chosen by the first `up`")
    if read_mark(marks / role) is not None:
        return _ok(name, f"{bind}, kept for the {role}, which runs")
    problem = why_not_bindable(bind.host, bind.port)
    if problem:
        setting = f"JOELCLAW_{role.upper()}_BIND"
        return Check(
            name,
            CheckStatus.FAIL,
            f"{bind}, where the {role} must listen: {problem}",
            f"end that program, or set {setting} to another host:port",
        )
    return _ok(name, f"{bind} is free")


def _valkey_settings(settings: Settings) -> list[Check]:
    fix = restart(settings)
    values = valkey_settings(StackPaths.of(settings).valkey_socket, ("maxmemory-policy", "appendonly"))
    if values is None:
        return []  # it does not run or hangs; the checks above have said so
    wanted: tuple[tuple[str, str, Callable[[str], str]], ...] = (
        (
            "maxmemory-policy",
            "noeviction",
            lambda value: f"{value} may drop queued work when memory is short",
        ),
        ("appendonly", "yes", lambda value: f"{value}: queued work is lost when the server ends"),
    )
    checks = []
    for name, good, why in wanted:
        value = values.get(name, "unknown")
        if value == good:
            checks.append(_ok(name, value))
        else:
            checks.append(Check(name, CheckStatus.WARN, why(value), fix))
    return checks


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(_existing_parent(folder)).free
    except OSError:
        return None


def _existing_parent(folder: Path) -> Path:
    return next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
