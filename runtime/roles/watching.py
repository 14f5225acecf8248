"""Keeps since when each finding has been seen, with the lane: looking alone writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from runtime.ledger.sightings import Sightings
from runtime.model import OperatorError
from runtime.truth.reader import Reader

EVERY_S = 5.0
"""A beginning is known within so long."""


async def watch_findings(
    reader: Reader, sightings: Sightings, watcher: str, stop: asyncio.Event, log: Callable[[str], None]
) -> None:
    """ReadPort as a console does and writes the beginnings down, until ``stop``. A Redis that takes no writes is
    reported once. ``watcher``: which process this is."""
    silent = False
    while not stop.is_set():
        await reader.snapshot()
        began = reader.began
        try:
            await sightings.record(watcher, began.known, began.over)
        except OperatorError as error:
            if not silent:
                log(f"since when what is wrong has been so is not kept: {error.message}")
            silent = True
        else:
            silent = False
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), EVERY_S)
