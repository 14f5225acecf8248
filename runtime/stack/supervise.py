"""The supervisor: its file, and the client of its XML-RPC on a Unix socket."""

from __future__ import annotations

import http.client
import os
import shlex
import sys
import xmlrpc.client
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from runtime.common.text import one_line
from runtime.model import BoundaryDown
from runtime.stack.health import UnixConnection
from runtime.stack.programs import Program, python_path

CALL_TIMEOUT_S = 5.0
LOG_BYTES = "10MB"
LOG_BACKUPS = 3
START_RETRIES = 1_000_000
"""For ever, each pause a second longer than the one before: whatever keeps a program from starting (a disk
that is full for an hour) may end, and nobody else would start it again."""


class ProgramStatus(StrEnum):
    """The supervisor's states of a program, and `UNKNOWN` when it can't be asked."""

    RUNNING = "running"
    STARTING = "starting"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    STOPPED = "stopped"
    EXITED = "exited"
    FATAL = "fatal"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ProgramState:
    """One program as the supervisor sees it."""

    name: str
    status: ProgramStatus
    pid: int | None
    started_at: float | None
    """Seconds since the epoch of its last start."""
    detail: str
    """Why it does not run, in the supervisor's words; empty when there is nothing to say."""


def supervisor_ini(programs: Sequence[Program]) -> str:
    """The supervisor's file, for a process in the sockets' folder.

    Its values are plain names only: the format cuts at `` #`` and expands ``%``.
    """
    lines = [
        "[unix_http_server]",
        "file=supervisor.sock",
        "chmod=0700",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        "[supervisord]",
        "nodaemon=true",
        "silent=true",
        "logfile=state/logs/supervisord.log",
        f"logfile_maxbytes={LOG_BYTES}",
        f"logfile_backups={LOG_BACKUPS}",
        "pidfile=supervisord.pid",
        "childlogdir=state/logs",
        *(["user=root"] if os.geteuid() == 0 else []),  # silences a warning; it changes nothing
    ]
    for program in programs:
        lines += [
            f"[program:{program.name}]",
            f"command=/bin/sh state/launch.sh {program.name}",
            f"priority={program.priority}",
            # Roles are started by `up` once the servers answer: the supervisor knows no order.
            f"autostart={str(program.server).lower()}",
            "autorestart=true",
            "startsecs=1",
            f"startretries={START_RETRIES}",
            f"stopwaitsecs={program.stop_wait_s}",
            "stopasgroup=true",
            "killasgroup=true",
            "redirect_stderr=true",
            f"stdout_logfile=state/logs/{program.name}.log",
            f"stdout_logfile_maxbytes={LOG_BYTES}",
            f"stdout_logfile_backups={LOG_BACKUPS}",
        ]
    return "\n".join(lines) + "\n"


def launch_script() -> str:
    """``launch.sh NAME``: finds the Python that `up` ran with, whatever its path looks like."""
    exports = [f"export {key}={shlex.quote(value)}" for key, value in python_path().items()]
    start = shlex.join([sys.executable, "-P", "-m", "runtime.stack.launch", "state/programs.json"])
    return "\n".join(["#!/bin/sh", *exports, f'exec {start} "$@"']) + "\n"


class Supervisor:
    """Client of a running supervisor. Every call blocks for at most `CALL_TIMEOUT_S`.

    Calls raise `BoundaryDown` when it does not answer.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def states(self) -> tuple[ProgramState, ...]:
        """All programs, in no promised order."""
        answer = self._call("getAllProcessInfo")
        rows = [row for row in answer if isinstance(row, dict)] if isinstance(answer, list) else []
        return tuple(_state(row) for row in rows)

    def start(self, name: str) -> None:
        """Starts a program unless it runs; returns without waiting for it."""
        self._call("startProcess", name, False, passing=("ALREADY_STARTED",))

    def stop(self, name: str) -> None:
        """Stops a program unless it is down; returns without waiting for it."""
        self._call("stopProcess", name, False, passing=("NOT_RUNNING",))

    def shutdown(self) -> None:
        """Asks for the end of all programs and of the supervisor; returns without waiting."""
        self._call("shutdown", passing=("SHUTDOWN_STATE",))

    def _call(self, method: str, *arguments: str | bool, passing: tuple[str, ...] = ()) -> object:
        transport = _Transport(self._socket)
        try:
            with xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=transport) as proxy:
                answer: object = getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultString.startswith(passing) and passing:
                return None
            raise BoundaryDown(
                f"the supervisor refused {method}: {fault.faultString}",
                fix="see `joelclaw-tui logs supervisord`",
            ) from None
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, ValueError) as error:
            raise BoundaryDown(
                f"the supervisor on {self._socket} does not answer: {error}",
                fix="run `joelclaw-tui down`, then `joelclaw-tui up`",
            ) from None
        return answer


class _Transport(xmlrpc.client.Transport):
    def __init__(self, socket: Path) -> None:
        super().__init__()
        self._socket = socket

    def make_connection(self, host: object) -> UnixConnection:
        return UnixConnection(self._socket, CALL_TIMEOUT_S)


def _state(row: dict[str, object]) -> ProgramState:
    name = str(row.get("name"))
    try:
        status = ProgramStatus(str(row.get("statename")).lower())
    except ValueError:
        status = ProgramStatus.UNKNOWN
    up = status in (ProgramStatus.RUNNING, ProgramStatus.STARTING, ProgramStatus.STOPPING)
    pid, start = row.get("pid"), row.get("start")
    return ProgramState(
        name=name,
        status=status,
        pid=pid if isinstance(pid, int) and pid else None,
        started_at=float(start) if isinstance(start, int) and start else None,
        detail="" if up else one_line(str(row.get("spawnerr") or row.get("description") or "")),
    )
