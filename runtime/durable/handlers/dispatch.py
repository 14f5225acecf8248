"""One door to all handlers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import assert_never

from runtime.common.closable import Closable
from runtime.common.text import one_line
from runtime.durable.handlers.base import (
    MESSAGE_MAX,
    HandlerCall,
    HandlerFailure,
    Json,
    Secrets,
    bounded_result,
)
from runtime.durable.handlers.command import run_command
from runtime.durable.handlers.guard import GroupGuard
from runtime.durable.handlers.http import HttpHandler, shown_url
from runtime.durable.handlers.python import run_python


class Handlers(Closable):
    """The handlers of one worker process, and what they share: connections, the group guard."""

    def __init__(self) -> None:
        self._http = HttpHandler()
        self._guard = GroupGuard()

    async def aclose(self) -> None:
        """Ends what is shared; no call may run any more."""
        self._guard.close()
        await self._http.aclose()

    async def run(self, call: HandlerCall) -> bytes:
        """One try: its result as bounded JSON text. Raises `HandlerFailure`."""
        secrets = Secrets()
        try:
            result = await self._dispatch(call, secrets)
            return bounded_result(secrets.hide(result))
        except HandlerFailure as failure:
            raise HandlerFailure(
                _shown(failure.message, secrets),
                retryable=failure.retryable,
                retry_after_s=failure.retry_after_s,
            ) from None
        except TimeoutError:
            raise HandlerFailure(
                f"no end within its timeout of {call.family.timeout:g} s", retryable=True
            ) from None

        except Exception as error:  # noqa: BLE001 - a fault of a handler's own must use up tries, not loop for ever
            said = f"the {call.family.handler} handler failed with {type(error).__name__}: {error}"
            raise HandlerFailure(_shown(said, secrets), retryable=True) from None

    async def _dispatch(self, call: HandlerCall, secrets: Secrets) -> Json:
        kind = call.family.handler
        if kind == "http":
            async with asyncio.timeout(call.family.timeout):
                return await self._http.run(call, secrets)
        if kind == "command":
            return await run_command(call, secrets, self._guard)
        if kind == "python":
            return await run_python(call, secrets, self._guard)
        if kind == "noop":
            return None
        if kind == "sandbox":
            raise HandlerFailure(
                "its family was given a sandbox after it was admitted; replay it to run in one",
                retryable=False,
            )
        assert_never(kind)


def waited_for(call: HandlerCall) -> str:
    """What a try waits for, in words that give nothing away: no payload, no query, no arguments."""
    family = call.family
    if family.handler == "http":
        return f"an answer of {family.method} {shown_url(family.url or '')}"
    if family.handler == "command":
        return f"program {Path((family.command or ['?'])[0]).name} to end"
    if family.handler == "python":
        return f"{family.call} to return"
    return f"its {family.handler} handler"


def _shown(message: str, secrets: Secrets) -> str:
    """A failure's message as it may be kept: without secrets first, then cut to its length."""
    return one_line(str(secrets.hide(message)), MESSAGE_MAX)
