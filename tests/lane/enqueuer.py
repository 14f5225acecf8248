"""A process that enqueues without end through the door that the command line and the gateway use.

``python -m tests.lane.enqueuer NAME LOG FAMILY...``: before it offers the next item it writes the
number and the id of the one that was acknowledged to LOG, and syncs it. Started anew it goes on
behind the last line; what it had offered and not written is offered again under the same dedup key.
SIGTERM ends it between two items.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from runtime.model import BacklogFull, BoundaryDown, Priority
from runtime.roles.operator import open_operator
from runtime.settings import load_settings

LOOK_AGAIN_S = 0.02
"""After an answer of "full", or none."""


def acknowledged(log: Path) -> dict[int, str]:
    """Number -> item id, of every whole line."""
    if not log.exists():
        return {}
    lines = [line.split() for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return {int(number): item_id for number, item_id in lines}


async def enqueue_on(name: str, log: Path, families: list[str]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    number = max(acknowledged(log), default=-1) + 1
    async with open_operator(load_settings()) as operator:
        while not stop.is_set():
            try:
                made = await operator.intake.enqueue(
                    families[number % len(families)],
                    f'{{"n":{number},"customer":"{number % 50}"}}',
                    origin=name,
                    priority=Priority(number % 4),
                    dedup_key=f"{name}-{number}",
                )
            except (BacklogFull, BoundaryDown):
                await asyncio.sleep(LOOK_AGAIN_S)
                continue
            os.write(written, f"{number} {made.item_id}\n".encode())
            os.fsync(written)
            number += 1
    os.close(written)


if __name__ == "__main__":
    asyncio.run(enqueue_on(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
