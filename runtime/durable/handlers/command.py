"""The ``command`` handler: a program with its arguments, never a shell string."""

from __future__ import annotations

from pathlib import Path

from runtime.durable.handlers.base import HandlerCall, HandlerFailure, Json, Secrets
from runtime.durable.handlers.guard import GroupGuard
from runtime.durable.handlers.process import run_process, work_folder

_NOT_RUN = frozenset({126, 127})
"""By the shells' convention: a program that could not be run, or was not found."""


async def run_command(call: HandlerCall, secrets: Secrets, guard: GroupGuard) -> Json:
    """The payload arrives on standard input and in a file, whose path is ``$JOELCLAW_PAYLOAD``.

    Exit code 0 is success. Raises `HandlerFailure`.
    """
    family = call.family
    if not family.command:
        raise HandlerFailure("the family has no command", retryable=False)
    with work_folder(call) as (folder, env):
        finished = await run_process(
            family.command,
            env={**env, **secrets.resolve(family.env)},
            cwd=family.cwd,
            folder=folder,
            timeout_s=family.timeout,
            guard=guard,
            on_process=call.on_process,
        )
    if finished.code != 0:
        said = finished.stderr.last_line or finished.stdout.last_line
        message = f"{Path(family.command[0]).name} {finished.how}"
        raise HandlerFailure(
            f"{message}: {said}" if said else message, retryable=finished.code not in _NOT_RUN
        )
    return {
        "exit": 0,
        "stdout": finished.stdout.text,
        "stdout_bytes": finished.stdout.total,
        "stderr": finished.stderr.text,
        "stderr_bytes": finished.stderr.total,
    }
