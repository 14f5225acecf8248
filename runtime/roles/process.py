"""What every role's process has: a name, a way to end in order, a beat."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from runtime.common.text import one_line
from runtime.lane.lane_file import LaneSource
from runtime.ledger.beats import BEAT_EVERY_S, Heartbeats
from runtime.model import OperatorError

Detail = Mapping[str, str | int | float | bool | None]


def log(message: str) -> None:
    """One line on standard error, which the supervisor keeps."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(f"{stamp} {one_line(message, 500)}", file=sys.stderr, flush=True)  # noqa: T201


class RoleProcess:
    """One start of one role. ``stop`` ends it: roles that share a process share it too."""

    def __init__(self, role: str, stop: asyncio.Event) -> None:
        self.role = role
        self.started_at = time.time()
        self.process_id = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.stop = stop

    async def beat(
        self,
        heartbeats: Heartbeats,
        lane: LaneSource,
        detail: Callable[[], Detail],
        *,
        every: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """Writes a sign of life each `BEAT_EVERY_S` until ``stop``, then takes it back.

        ``every`` is awaited after each beat, also one that failed. A Redis that is down is
        reported once, and the beat goes on as soon as it is back.
        """
        silent = False
        beats = 0
        while not self.stop.is_set():
            lane.refresh()
            trouble = None
            try:
                await heartbeats.write(
                    self.role,
                    self.process_id,
                    self.started_at,
                    {"pid": os.getpid(), **lane_detail(lane), **detail()},
                    sweep=beats % 60 == 0,
                )
                beats += 1
            except OperatorError as error:
                trouble = error.message
            if every is not None:
                await every()
            if trouble is not None and not silent:
                log(f"no beat: {trouble}")
            elif trouble is None and silent:
                log("beating again")
            silent = trouble is not None
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), BEAT_EVERY_S)
        with suppress(OperatorError):  # the beat then lapses by itself
            await heartbeats.remove(self.role, self.process_id)


def lane_detail(lane: LaneSource) -> Detail:
    """Which lane file this process works by: two that differ are a split brain."""
    return {
        "lane_path": str(lane.current.path),
        "lane_sha256": lane.current.sha256,
        "lane_error": lane.error,
    }


async def until_stopped(process: RoleProcess, *tasks: Coroutine[Any, Any, None]) -> None:
    """Runs all; the first that fails ends the process with its error, so that it is started anew."""
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(task)
