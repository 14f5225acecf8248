"""`LocalStack`: start, look at and stop one profile's servers and roles.

Whoever starts or stops holds the stack's lock, so two never work at once. What runs is told
by marks (`runtime.stack.marks`) and by the supervisor, never by a remembered pid.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from runtime.common.command_prefix import CommandPrefix
from runtime.common.files import write_whole
from runtime.common.given_path import given_path
from runtime.lane.lane_file import load_lane
from runtime.model import BoundaryDown, ConfigError, OperatorError, Refused
from runtime.settings import Settings
from runtime.stack.ending import activity_of, ended
from runtime.stack.endpoints import (
    Bind,
    StackPaths,
    keep_endpoints,
    peek_targets,
    settle_endpoints,
)
from runtime.stack.fetch import find_restate
from runtime.stack.find import find_valkey
from runtime.stack.folders import prepare_sockets, prepare_state
from runtime.stack.health import is_silent_http, why_not_bindable
from runtime.stack.lock import only_one
from runtime.stack.logs import LOG_NAMES, read_log, tail
from runtime.stack.marks import ProcessMark, live_marks, read_mark, signal_marked
from runtime.stack.parts import Binary, Progress
from runtime.stack.programs import (
    RESTATE,
    ROLE_NAMES,
    SERVERS,
    SUPERVISOR,
    VALKEY,
    Program,
    program_table,
    programs_json,
    python_path,
    restate_program,
    role_programs,
    supervisor_program,
    valkey_program,
)
from runtime.stack.restate import restate_ready, restate_silent
from runtime.stack.supervise import ProgramState, ProgramStatus, Supervisor, launch_script, supervisor_ini
from runtime.stack.valkey import valkey_ready, valkey_silent

SUPERVISOR_WITHIN_S = 20.0
SERVERS_WITHIN_S = 90.0
"""Valkey answers only once its file is loaded, which may be large."""
ROLES_WITHIN_S = 30.0
SILENT_S = 3.0
"""A server of ours that says nothing for so long hangs."""
ROLE_SILENT_S = 10.0
"""The same for a role that listens: it may have much in hand."""
ROLE_BEGINS_S = 20.0
"""A role listens before it is ready to answer: one that was started so lately is not judged."""
LOCK_WITHIN_S = 180.0
LAST_TRY = 3
"""So many failed starts of a program in a row end `up`."""
_LOOK_EVERY_S = 0.05
_ASK_EVERY_S = 0.25
_TELL_EVERY_S = 10.0
_UP = (ProgramStatus.RUNNING, ProgramStatus.STARTING)


def restart(settings: Settings) -> str:
    """What to do about a stack that runs and does not react, in words."""
    call = CommandPrefix.of(settings.profile, settings.lane)
    return f"run `{call.command('down')}`, then `{call.command('up')}`"


class StartFailed(OperatorError):
    """A program of the stack did not come up; nothing half-started was left running."""

    code = "start-failed"


class PortTaken(Refused):
    """A role can't listen where it must."""

    code = "port-taken"


@dataclass(frozen=True, slots=True)
class StackState:
    """The local stack at one instant."""

    running: bool
    """True while its supervisor lives."""
    programs: tuple[ProgramState, ...]
    lane_path: Path | None
    """The lane file that its roles work on; None before the first start."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """By part, why it is not at work although its process runs. Told by `LocalStack.up` only."""

    @property
    def healthy(self) -> bool:
        running = all(program.status is ProgramStatus.RUNNING for program in self.programs)
        return self.running and running and not self.missing


Missing = Callable[[Mapping[str, int]], Awaitable[Mapping[str, str]]]
"""Asks the processes, by name and pid: by part, why it is not at work; empty when all are."""


class LocalStack:
    """The local stack of one profile."""

    def __init__(
        self,
        settings: Settings,
        lane_path: Path | None = None,
        *,
        roles: Sequence[Program] | None = None,
        missing: Missing | None = None,
    ) -> None:
        """``lane_path``: needed by `up` only. ``roles``: instead of worker, drainer, gateway and clock.
        ``missing``: what `up` waits for beyond their processes, for as long as the settings say."""
        self._settings = settings
        self._lane_path = lane_path
        self._roles = roles
        self._missing = missing
        self._paths = StackPaths.of(settings)
        self._supervisor = Supervisor(self._paths.supervisor_socket)

    async def up(self, progress: Progress) -> StackState:
        """Starts what does not run and returns once servers answer and roles are at work.

        What is not at work in time is told in the state (`StackState.missing`), and goes on: it may wait
        for somebody else's server. A second call says that all runs and returns at once; with another
        lane file it restarts the roles on it. When it fails or is interrupted, what it started is
        stopped again. Raises `ConfigError`, `Refused`, `PartMissing`, `StartFailed`,
        `BoundaryDown`.
        """
        lane_path = self._lane()
        peek_targets(self._settings)
        await asyncio.to_thread(prepare_state, self._paths)
        try:
            return await self._up(lane_path, progress)
        except OSError as error:
            raise ConfigError(
                f"can't write to {self._paths.state}: {error.strerror or error}",
                fix="make room or correct its rights, then try again",
            ) from None

    async def _up(self, lane_path: Path, progress: Progress) -> StackState:
        roles = tuple(self._roles) if self._roles is not None else role_programs(self._settings, lane_path)
        async with self._alone(progress):
            if self._mark(SUPERVISOR) is not None:
                missing = await self._join(roles, lane_path, progress)
            else:
                missing = await self._start(roles, lane_path, progress)
        return replace(await self.state(), missing=missing)

    async def down(self, progress: Progress) -> bool:
        """Stops all that `up` started, roles first, and returns once it is gone. Data stays.

        What hangs is killed (see `runtime.stack.ending`), so that this ends within some 15 s unless a
        server is at work. Returns False when nothing ran. Raises `Refused` when another process starts or stops
        the stack for too long, `ConfigError` when the state folder can't be written.
        """
        if not self._paths.marks.is_dir():
            progress("no local stack runs")
            return False
        try:
            async with self._alone(progress):
                return await self._end(progress)
        except OSError as error:
            raise ConfigError(
                f"can't use {self._paths.state}: {error.strerror or error}", fix="correct its rights"
            ) from None

    async def state(self) -> StackState:
        """What runs now. Reads only; never raises for a stack that is down or does not answer."""
        marks = await asyncio.to_thread(live_marks, self._paths.marks)
        running = any(mark.name == SUPERVISOR for mark in marks)
        lane_path = self._current_lane()
        if running:
            with contextlib.suppress(BoundaryDown):
                states = await asyncio.to_thread(self._supervisor.states)
                return StackState(True, tuple(sorted(states, key=_order)), lane_path)
        why = "the supervisor does not answer" if running else "left without a supervisor"
        programs = tuple(
            ProgramState(mark.name, ProgramStatus.UNKNOWN, mark.pid, None, why)
            for mark in marks
            if mark.name != SUPERVISOR
        )
        return StackState(running, programs, lane_path)

    async def hung(self) -> tuple[str, ...]:
        """Programs that live and do not react, each in words: stopped ones, and those that take a
        connection and say nothing for `SILENT_S` seconds (roles: `ROLE_SILENT_S`). Reads only."""
        marks = await asyncio.to_thread(live_marks, self._paths.marks)
        told = await asyncio.gather(*(asyncio.to_thread(self._how_it_hangs, mark) for mark in marks))
        return tuple(how for how in told if how is not None)

    def _how_it_hangs(self, mark: ProcessMark) -> str | None:
        if _is_stopped(mark):
            return _stopped(mark)
        silent = {
            VALKEY: lambda: valkey_silent(self._paths.valkey_socket, SILENT_S),
            RESTATE: lambda: restate_silent(self._paths.restate_base, SILENT_S),
            "clock": lambda: self._is_silent_role("clock", self._paths.clock_socket, "/health"),
            "gateway": lambda: self._is_silent_role("gateway", self._gateway_address(), "/v1/healthz"),
        }.get(mark.name)
        if silent is not None and silent():
            # A program with threads is seen as stopped only once all of them are: look again.
            if _is_stopped(mark):
                return _stopped(mark)
            return f"{mark.name} (pid {mark.pid}) runs but does not answer: it hangs"
        return None

    def _is_silent_role(self, role: str, address: Path | tuple[str, int] | None, target: str) -> bool:
        try:
            began = (self._paths.marks / role).stat().st_mtime
        except OSError:
            return False
        return (
            address is not None
            and time.time() - began > ROLE_BEGINS_S
            and is_silent_http(address, target, ROLE_SILENT_S)
        )

    def _gateway_address(self) -> tuple[str, int] | None:
        """None for a role's address that is not known, or can't be used."""
        try:
            bind = peek_targets(self._settings).gateway_bind
        except ConfigError:
            return None
        return None if bind is None else (bind.reachable.host, bind.port)

    def logs(self, name: str, *, follow: bool = False, lines: int = 100) -> AsyncIterator[str]:
        """See `runtime.stack.logs.read_log`."""
        names = (*LOG_NAMES, *(name for name in self._program_table() if name not in LOG_NAMES))
        return read_log(self._paths, name, names, follow=follow, lines=lines)

    # --- starting ---

    def _lane(self) -> Path:
        if self._lane_path is None:
            raise ConfigError("the stack needs a lane file", fix="give --lane FILE or set JOELCLAW_LANE")
        lane_path = given_path(self._lane_path)
        load_lane(lane_path, time.time)  # a bad one is refused before anything starts
        return lane_path

    async def _start(
        self, roles: Sequence[Program], lane_path: Path, progress: Progress
    ) -> Mapping[str, str]:
        await self._end_orphans(progress)
        kept = keep_endpoints(self._settings)
        if not self._paths.identity_pem.is_file():
            raise ConfigError(
                f"{self._paths.identity_pem} is missing, but {self._paths.endpoints} has its public half",
                fix=f"move {self._paths.endpoints} away; new ports and keys are then chosen",
            )
        await asyncio.to_thread(self._check_ports, roles)
        programs = (*await self._servers(progress), *roles)
        await asyncio.to_thread(self._write_files, programs, lane_path)
        try:
            await self._launch(programs, progress)
            missing = await self._until_at_work(roles, progress)
        except BaseException:
            progress("stopping what was started")
            await self._end(lambda line: None)
            raise
        settle_endpoints(self._paths, kept)
        if not missing:
            progress(f"the local stack runs; its state is in {self._paths.state}")
        return missing

    async def _servers(self, progress: Progress) -> list[Program]:
        servers: list[Program] = []
        if self._settings.redis_url is None:
            valkey = await asyncio.to_thread(find_valkey)
            progress(_found(valkey))
            servers.append(valkey_program(self._paths, valkey))
        if self._settings.restate_admin_url is None:
            restate = await find_restate(progress)
            progress(_found(restate))
            servers.append(restate_program(self._paths, restate))
        return servers

    def _check_ports(self, roles: Sequence[Program]) -> None:
        targets = peek_targets(self._settings)
        binds: dict[str, Bind | None] = {"worker": targets.worker_bind, "gateway": targets.gateway_bind}
        for role in roles:
            bind = binds.get(role.name)
            problem = why_not_bindable(bind.host, bind.port) if bind else None
            if problem:
                raise PortTaken(
                    f"the {role.name} can't listen at {bind}: {problem}",
                    fix=f"end that program, or set JOELCLAW_{role.name.upper()}_BIND to another host:port",
                )

    def _write_files(self, programs: Sequence[Program], lane_path: Path) -> None:
        prepare_sockets(self._paths)
        self._write_programs(programs, lane_path)
        write_whole(self._paths.state / "supervisord.ini", supervisor_ini(programs).encode())
        write_whole(self._paths.state / "launch.sh", launch_script().encode())

    def _write_programs(self, programs: Sequence[Program], lane_path: Path) -> None:
        everything = (*programs, supervisor_program(self._paths))
        write_whole(self._paths.programs, programs_json(program_table(everything), lane_path).encode())

    async def _launch(self, programs: Sequence[Program], progress: Progress) -> None:
        launch = asyncio.ensure_future(asyncio.to_thread(self._launch_supervisor))
        try:
            await asyncio.shield(launch)
        except asyncio.CancelledError:
            await launch  # only what has its mark can be stopped
            raise
        servers = [program for program in programs if program.server]
        roles = [program for program in programs if not program.server]
        ready: dict[str, Callable[[], bool]] = {
            VALKEY: lambda: valkey_ready(self._paths.valkey_socket),
            RESTATE: lambda: restate_ready(self._paths.restate_base),
        }
        await self._until(lambda: bool(self._states()), "the supervisor", within_s=SUPERVISOR_WITHIN_S)
        for server in servers:
            progress(f"starting {server.name}")
            await self._until(ready[server.name], server.name, program=server.name)
        await self._start_roles(roles, progress)

    def _launch_supervisor(self) -> None:
        with (self._paths.logs / "supervisord.log").open("ab") as log:
            started = subprocess.run(
                [
                    *(sys.executable, "-P", "-m", "runtime.stack.launch"),
                    *("--detach", "programs.json", SUPERVISOR),
                ],
                cwd=self._paths.state,
                env={**os.environ, **python_path()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
        if started.returncode:
            raise self._start_failed("the supervisor", None, f"(exit code {started.returncode})")

    async def _start_roles(self, roles: Sequence[Program], progress: Progress) -> None:
        for role in roles:
            progress(f"starting {role.name}")
            await asyncio.to_thread(self._supervisor.start, role.name)
        for role in roles:
            await self._until(
                lambda name=role.name: self._status(name) is ProgramStatus.RUNNING,  # type: ignore[misc]
                role.name,
                within_s=ROLES_WITHIN_S,
                program=role.name,
            )

    async def _until_at_work(self, roles: Sequence[Program], progress: Progress) -> Mapping[str, str]:
        """What is still missing when all is well, or after the settings' time. Raises `StartFailed` when
        there is no supervisor any more."""
        if self._missing is None:
            return {}
        deadline = time.monotonic() + self._settings.start_within_s
        tell_at, told = time.monotonic() + _TELL_EVERY_S, ""
        while True:
            marks = {role.name: await asyncio.to_thread(self._mark, role.name) for role in roles}
            missing = await self._missing({name: mark.pid for name, mark in marks.items() if mark})
            now = time.monotonic()
            if not missing or now > deadline:
                return missing
            if self._mark(SUPERVISOR) is None:
                raise self._start_failed("the stack", None, "because the supervisor ended")
            waits = "waiting: " + "; ".join(f"{part} {why}" for part, why in missing.items())
            if now > tell_at and waits != told:
                progress(waits)
                told, tell_at = waits, now + _TELL_EVERY_S
            await asyncio.sleep(_ASK_EVERY_S)

    async def _join(self, roles: Sequence[Program], lane_path: Path, progress: Progress) -> Mapping[str, str]:
        """`up` on a stack that runs: the lane file's roles anew if it is another, and what is down."""
        if hung := await self.hung():
            raise BoundaryDown("; ".join(hung), fix=restart(self._settings), code="hung")
        states = {state.name: state for state in await asyncio.to_thread(self._supervisor.states)}
        wanted = {role.name for role in roles}
        if self._settings.redis_url is None:
            wanted.add(VALKEY)
        if self._settings.restate_admin_url is None:
            wanted.add(RESTATE)
        if wanted != set(states):
            raise Refused(
                f"the stack runs {', '.join(sorted(states))}; this profile now wants {', '.join(sorted(wanted))}",
                fix=restart(self._settings),
            )
        before = self._current_lane()
        table, fresh = self._program_table(), program_table(roles)
        if before != lane_path or any(table.get(name) != spec for name, spec in fresh.items()):
            moved = before != lane_path
            why = f"lane file is now {lane_path} (was {before})" if moved else "their settings changed"
            progress(f"{why}: restarting {', '.join(role.name for role in roles)}")
            await self._restart_roles(roles, lane_path, progress)
            return await self._until_at_work(roles, progress)
        down = [role for role in roles if states[role.name].status not in _UP]
        for name in (VALKEY, RESTATE):
            if name in wanted and states[name].status not in _UP:
                progress(f"starting {name}")
                await asyncio.to_thread(self._supervisor.start, name)
        if down:
            await self._start_roles(down, progress)
        missing = await self._until_at_work(roles, progress)
        if not down and not missing:
            progress(f"the local stack runs already, on lane file {lane_path}")
        return missing

    async def _restart_roles(self, roles: Sequence[Program], lane_path: Path, progress: Progress) -> None:
        table = {**self._program_table(), **program_table(roles)}
        for role in reversed(roles):
            await asyncio.to_thread(self._supervisor.stop, role.name)
        for role in reversed(roles):
            await self._until(
                lambda name=role.name: self._mark(name) is None,  # type: ignore[misc]
                role.name,
                within_s=ROLES_WITHIN_S + role.stop_wait_s,
            )
        await asyncio.to_thread(self._check_ports, roles)
        await asyncio.to_thread(write_whole, self._paths.programs, programs_json(table, lane_path).encode())
        await self._start_roles(roles, progress)

    # --- stopping ---

    async def _end(self, progress: Progress) -> bool:
        if self._mark(SUPERVISOR) is None:
            any_lived = await self._end_orphans(progress)
            if not any_lived:
                progress("no local stack runs")
            return any_lived
        try:
            states = await asyncio.to_thread(self._supervisor.states)
            names = [state.name for state in sorted(states, key=_order, reverse=True)]
            for step in ([name for name in names if name not in SERVERS], list(SERVERS)):
                await self._stop([name for name in names if name in step], progress)
            await asyncio.to_thread(self._supervisor.shutdown)
            await ended(self._paths.marks, [SUPERVISOR], progress)
        except BoundaryDown:
            progress("the supervisor does not answer: ending it, then each program")
            await self._terminate([SUPERVISOR], progress)
        await self._end_orphans(progress)
        progress(f"the local stack is down; its data stays in {self._paths.state}")
        return True

    async def _stop(self, names: Sequence[str], progress: Progress) -> None:
        """Stops some programs by the supervisor, which would else start them again, and waits for them."""
        if names:
            progress(f"stopping {', '.join(names)}")
        for name in names:
            await asyncio.to_thread(self._supervisor.stop, name)
        await ended(self._paths.marks, names, progress)

    async def _terminate(self, names: Sequence[str], progress: Progress) -> None:
        """Ends some programs without the supervisor."""
        for name in names:
            if (mark := self._mark(name)) is not None:
                signal_marked(mark, signal.SIGTERM)
        await ended(self._paths.marks, names, progress)

    async def _end_orphans(self, progress: Progress) -> bool:
        """Ends programs of ours that live without a supervisor, roles before servers."""
        marks = await asyncio.to_thread(live_marks, self._paths.marks)
        for mark in marks:
            progress(f"ending {mark.name} (pid {mark.pid}), left by a stack that was cut short")
        await self._terminate([mark.name for mark in marks if mark.name not in SERVERS], progress)
        await self._terminate([mark.name for mark in marks if mark.name in SERVERS], progress)
        return bool(marks)

    # --- looking ---

    def _mark(self, name: str) -> ProcessMark | None:
        return read_mark(self._paths.marks / name)

    def _states(self) -> tuple[ProgramState, ...]:
        try:
            return self._supervisor.states()
        except BoundaryDown:
            return ()

    def _status(self, name: str) -> ProgramStatus:
        return next((state.status for state in self._states() if state.name == name), ProgramStatus.UNKNOWN)

    def _programs_data(self) -> dict[str, object]:
        try:
            data = json.loads(self._paths.programs.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return data if isinstance(data, dict) else {}

    def _program_table(self) -> dict[str, object]:
        table = self._programs_data().get("programs")
        return table if isinstance(table, dict) else {}

    def _current_lane(self) -> Path | None:
        lane = self._programs_data().get("lane")
        return Path(lane) if isinstance(lane, str) else None

    async def _until(
        self,
        condition: Callable[[], bool],
        what: str,
        *,
        within_s: float = SERVERS_WITHIN_S,
        program: str | None = None,
    ) -> None:
        """Returns once ``condition`` holds. Raises `StartFailed` after ``within_s`` seconds.

        It raises at once when ``program`` keeps ending, and when there is no supervisor any more.
        """
        deadline = time.monotonic() + within_s
        failed_starts: set[float | None] = set()
        while not await asyncio.to_thread(condition):
            states = await asyncio.to_thread(self._states) if program else ()
            state = next((state for state in states if state.name == program), None)
            if state is not None and state.status is ProgramStatus.BACKOFF:
                failed_starts.add(state.started_at)
            fatal = state is not None and state.status is ProgramStatus.FATAL
            if self._mark(SUPERVISOR) is None:
                raise self._start_failed(what, None, "because the supervisor ended")
            if fatal or len(failed_starts) >= LAST_TRY:
                raise self._start_failed(what, program, "")
            if time.monotonic() > deadline:
                raise self._start_failed(what, program, f"within {within_s:.0f} s")
            await asyncio.sleep(_LOOK_EVERY_S)

    def _start_failed(self, what: str, program: str | None, how: str) -> StartFailed:
        said = tail(self._paths.logs / f"{program or SUPERVISOR}.log", 3)
        return StartFailed(
            " ".join(f"{what} did not come up {how}".split())
            + (": " + " / ".join(line.strip() for line in said) if said else ""),
            fix=f"see the whole log: `joelclaw-tui logs {program or SUPERVISOR}`",
        )

    def _alone(self, progress: Progress) -> contextlib.AbstractAsyncContextManager[None]:
        return only_one(
            self._paths.lock, progress, doing="starting or stopping the stack", within_s=LOCK_WITHIN_S
        )


def _order(state: ProgramState) -> tuple[int, str]:
    names = (VALKEY, RESTATE, *ROLE_NAMES)
    return (names.index(state.name) if state.name in names else len(names), state.name)


def _found(binary: Binary) -> str:
    return f"{binary.part} {binary.version} from {binary.origin}"


def _is_stopped(mark: ProcessMark) -> bool:
    activity = activity_of(mark.pid)
    return activity is not None and activity.stopped


def _stopped(mark: ProcessMark) -> str:
    return f"{mark.name} (pid {mark.pid}) is stopped (SIGSTOP) and does not react"
