"""The stack's programs: what runs, with which arguments and environment, in which order."""

from __future__ import annotations

import json
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runtime.settings import Settings
from runtime.stack.endpoints import StackPaths
from runtime.stack.parts import Binary
from runtime.stack.restate import restate_command, restate_environment
from runtime.stack.valkey import valkey_command

ROLE_NAMES = ("worker", "drainer", "gateway", "clock")
VALKEY = "valkey"
RESTATE = "restate"
SUPERVISOR = "supervisord"
SERVERS = (VALKEY, RESTATE)
_STOP_WAIT_S = {VALKEY: 60, RESTATE: 30}
_ROLE_STOP_WAIT_S = 15
_ROLES_SETTINGS = (
    "worker_bind",
    "gateway_bind",
    "payload_limit",
    "action_ceiling",
    "keep_s",
    "lane_max_in_flight",
)


@dataclass(frozen=True, slots=True)
class Program:
    """One program under the supervisor."""

    name: str
    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    inherit: bool = False
    """Whether it gets the whole environment of `up`'s caller: roles do (secrets by reference), servers don't."""
    server: bool = False
    """Servers start first and end last."""
    priority: int = 500
    """Lower starts earlier and ends later."""
    stop_wait_s: int = _ROLE_STOP_WAIT_S
    """Seconds from SIGTERM to SIGKILL."""


def stop_wait_s(name: str) -> int:
    """Seconds that a program which is at work has from SIGTERM to SIGKILL."""
    return _STOP_WAIT_S.get(name, _ROLE_STOP_WAIT_S)


def valkey_program(paths: StackPaths, binary: Binary) -> Program:
    return Program(
        VALKEY,
        tuple(valkey_command(binary.path, socket=paths.valkey_socket, data=paths.valkey_data)),
        cwd=paths.valkey_data,
        server=True,
        priority=100,
        stop_wait_s=stop_wait_s(VALKEY),
    )


def restate_program(paths: StackPaths, binary: Binary) -> Program:
    return Program(
        RESTATE,
        tuple(restate_command(binary.path)),
        cwd=paths.restate_data,
        env=restate_environment(paths.restate_base, identity_pem=paths.identity_pem),
        server=True,
        priority=200,
        stop_wait_s=stop_wait_s(RESTATE),
    )


def role_programs(settings: Settings, lane_path: Path) -> tuple[Program, ...]:
    """Worker, drainer, gateway and clock on one lane file. They run in its folder.

    The settings that shape their work are written out, so that a later `up` with other ones
    notices. Those that may hold a secret reach them through the inherited environment only.
    """
    given = {name: getattr(settings, name) for name in _ROLES_SETTINGS}
    environment = {
        "JOELCLAW_PROFILE": settings.profile,
        "JOELCLAW_STATE_DIR": str(settings.state),
        "JOELCLAW_LANE": str(lane_path),
        **{f"JOELCLAW_{name.upper()}": str(value) for name, value in given.items() if value is not None},
        **python_path(),
    }
    return tuple(
        Program(
            name,
            # -P: a module in the lane's folder must not stand in for one of ours.
            (sys.executable, "-P", "-m", "runtime.roles", name),
            cwd=lane_path.parent,
            env=environment,
            inherit=True,
            priority=300 + 100 * place,
        )
        for place, name in enumerate(ROLE_NAMES)
    )


def supervisor_program(paths: StackPaths) -> Program:
    """The supervisor itself. It works in the sockets' folder; every path in its file is relative to that."""
    return Program(
        SUPERVISOR,
        (sys.executable, "-P", "-m", "runtime.stack.supervising", "-c", "state/supervisord.ini"),
        cwd=paths.sockets,
        env=python_path(),
        inherit=True,
    )


def python_path() -> dict[str, str]:
    """``PYTHONPATH`` for a child when this package runs from a checkout that is not installed."""
    root = Path(__file__).resolve().parents[2]
    installed = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    return {} if root in installed else {"PYTHONPATH": str(root)}


def program_table(programs: Sequence[Program]) -> dict[str, object]:
    """By name, what `runtime.stack.launch` needs of each. No secret is in it."""
    return {
        program.name: {
            "argv": list(program.argv),
            "cwd": str(program.cwd),
            "env": dict(program.env),
            "inherit": program.inherit,
        }
        for program in programs
    }


def programs_json(table: Mapping[str, object], lane_path: Path) -> str:
    """The file that `runtime.stack.launch` reads, and by which a later `up` knows the lane."""
    return json.dumps({"lane": str(lane_path), "programs": table}, indent=1) + "\n"
