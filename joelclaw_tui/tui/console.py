"""Opens the full-screen console: composes the operator, and starts the local stack if none runs."""

from __future__ import annotations

import asyncio

from joelclaw_tui.tui.app import run_console
from joelclaw_tui.tui.ports import ConsoleOperator, Progress, Starter
from runtime.model import ExitCode
from runtime.roles.local import local_stack
from runtime.roles.operator import open_operator
from runtime.settings import Settings


def open_console(settings: Settings) -> int:
    """Returns the exit code once the operator leaves. Raises `OperatorError` before it opens."""
    try:
        return asyncio.run(_open(settings))
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)


async def _open(settings: Settings) -> int:
    async with open_operator(settings) as operator:
        return await run_console(operator, await _starter(settings), settings.theme)


async def _starter(settings: Settings) -> Starter | None:
    """None when there is nothing to start: other servers are named, the stack runs, or we only read."""
    if not settings.wants_local_stack or settings.read_only:
        return None
    stack = local_stack(settings)
    if (await stack.state()).healthy:
        return None

    async def start(progress: Progress) -> ConsoleOperator | None:
        # The operator that is open looks up what is chosen now when it needs it.
        await stack.up(progress)
        return None

    return start
