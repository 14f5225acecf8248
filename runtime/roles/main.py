"""``python -m runtime.roles ROLE``: one role as a process, as the supervisor starts it."""

from __future__ import annotations

import asyncio
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from runtime.common.command_prefix import CommandPrefix, called_as
from runtime.model import ExitCode, OperatorError, UsageError
from runtime.roles.process import log
from runtime.settings import Settings, load_settings

ROLES = ("worker", "drainer", "gateway", "clock")


async def run_role(role: str, settings: Settings, stop: asyncio.Event) -> None:
    """Runs until ``stop`` is set. Raises `OperatorError` when it can't begin."""
    match role:
        case "worker":
            from runtime.roles.worker import run_worker

            await run_worker(settings, stop)
        case "drainer":
            from runtime.roles.drainer import run_drainer

            await run_drainer(settings, stop)
        case "gateway":
            from runtime.roles.gateway import run_gateway

            await run_gateway(settings, stop)
        case "clock":
            from runtime.roles.clock import run_clock

            await run_clock(settings, stop)
        case _:
            raise UsageError(f"no role {role!r}", fix=f"roles are: {', '.join(ROLES)}")


async def _run_all(roles: Sequence[str]) -> None:
    settings = load_settings()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with called_as(CommandPrefix.of(settings.profile, settings.lane)):
        async with asyncio.TaskGroup() as group:
            for role in roles:
                group.create_task(run_role(role, settings, stop))


def main(argv: Sequence[str] | None = None) -> int:
    """Several roles run side by side in one process. Returns the exit code."""
    roles = list(sys.argv[1:] if argv is None else argv)
    code = 0
    try:
        if not roles:
            raise UsageError("no role given", fix=f"give one or more of: {', '.join(ROLES)}")
        asyncio.run(_run_all(roles))
    except* OperatorError as group:
        error = _first(group)
        assert isinstance(error, OperatorError)  # noqa: S101 - except* caught nothing else
        log(error.message + (f" ({error.fix})" if error.fix else ""))
        code = int(error.exit_code)
    except* KeyboardInterrupt:
        code = int(ExitCode.INTERRUPTED)
    except* Exception as group:  # noqa: BLE001 - the last stop: a defect ends the process, which is then started anew
        log(f"ended by a defect: {_where(_first(group))}")
        code = int(ExitCode.ATTENTION)
    return code


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _where(error: BaseException) -> str:
    """What and where, on one line."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__}: {error} at {places}"
