"""What every command is given, and the way to the runtime."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar, cast

from joelclaw_tui.cli.output import Output
from runtime.settings import Settings

if TYPE_CHECKING:
    from runtime.roles.operator import Operator

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Session:
    """One command: what was asked, with which settings, and where the answer goes."""

    arguments: argparse.Namespace
    settings: Settings
    out: Output


def with_operator(settings: Settings, work: Callable[[Operator], Awaitable[T]]) -> T:
    """Runs ``work`` on the composed runtime. Starts no server; raises what ``work`` raises."""
    # httpx loads its own command line (click, Rich: 70 ms of every start) where that can be had.
    # None is the import system's word for "not to be had"; httpx then goes without it.
    sys.modules.setdefault("httpx._main", cast(ModuleType, None))
    from runtime.roles.operator import open_operator  # late: the clients of the servers

    async def run() -> T:
        async with open_operator(settings) as operator:
            return await work(operator)

    return asyncio.run(run())
