"""The janitor: finds shims that were killed and tells their runs, and stops shims whose run is over.

One in every worker; several may look at one folder, since a run is given up only by whoever holds its lock.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from runtime.model import Now, OperatorError, Outcome, ReportTo, RunLookup, RunStatus, parse_run_id
from runtime.sandbox.files import take_lock
from runtime.sandbox.paths import RUN_FOLDER, Paths
from runtime.sandbox.report import end_document, post
from runtime.sandbox.run import DamagedRun, RunFolder
from runtime.sandbox.shim import REPORT_FOR_S, end_of, give_up

EVERY_S = 1.0
LOOK_UP_EVERY = 10
"""Sweeps between two questions to Restate."""
UNKNOWN_GRACE_S = 60.0
"""A run that Restate does not know is over only after this: its journal may be a moment behind."""


class Janitor:
    def __init__(self, state: Path, lookup: RunLookup, now: Now) -> None:
        self._places = Paths.under(state)
        self._lookup = lookup
        self._now = now
        self.alive = 0
        """Shims that held their run at the last sweep."""
        self.last_error: str | None = None
        self._trouble: str | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """A sweep each `EVERY_S` until ``stop``."""
        sweeps = 0
        while not stop.is_set():
            try:
                living = await asyncio.to_thread(self.sweep)
                self.alive = len(living)
                if sweeps % LOOK_UP_EVERY == 0:
                    await self.stop_what_is_over(living)
                self.last_error = self._trouble
            except (OperatorError, OSError) as error:
                self.last_error = error.message if isinstance(error, OperatorError) else str(error)
            sweeps += 1
            try:
                await asyncio.wait_for(stop.wait(), EVERY_S)
            except TimeoutError:
                continue

    def sweep(self) -> list[RunFolder]:
        """Tells the end of every run whose shim is gone. Returns the runs whose shim lives. Blocks."""
        try:
            names = [path.name for path in self._places.runs.iterdir() if RUN_FOLDER.fullmatch(path.name)]
        except FileNotFoundError:
            return []
        living: list[RunFolder] = []
        self._trouble = None
        for name in names:
            folder = RunFolder(self._places.runs / name)
            try:
                if self._sweep_one(folder):
                    living.append(folder)
            except (OperatorError, OSError) as error:
                # One odd folder hides no other run.
                self._trouble = f"{name}: {error}"
        return living

    def _sweep_one(self, folder: RunFolder) -> bool:
        """True when its shim lives."""
        if folder.collected or not folder.lock.exists():
            return False
        lock = take_lock(folder.lock)
        if lock is None:
            return True
        try:
            self._tell(folder)
        finally:
            os.close(lock)
        return False

    def _tell(self, folder: RunFolder) -> None:
        """The lock is ours: the shim is gone for good."""
        try:
            spec = folder.read_spec()
        except (DamagedRun, OSError):
            return  # shown as damaged to whoever looks; there is nobody to tell
        state = give_up(folder, spec)
        nobody_waits = state.outcome is Outcome.CANCELLED or folder.stop_reason() is not None
        if nobody_waits or self._now() - spec.created_at > REPORT_FOR_S + spec.timeout_s:
            folder.collect()
            return
        post(ReportTo(spec.report_url, spec.report_socket), end_document(end_of(state)))

    async def stop_what_is_over(self, living: list[RunFolder]) -> None:
        """A killed run has no step left that could end its shim. Raises `OperatorError`."""
        ours = [folder for folder in living if _is_run_id(folder.name)]
        known = await self._lookup.lookup([folder.name for folder in ours])
        for folder in ours:
            view = known.get(folder.name)
            if view is not None and view.status is not RunStatus.COMPLETED:
                continue
            if view is None and not await asyncio.to_thread(self._is_old, folder):
                continue
            reason = "its run is over" if view is not None else "Restate does not know its run"
            await asyncio.to_thread(folder.ask_stop, reason)

    def _is_old(self, folder: RunFolder) -> bool:
        try:
            return self._now() - folder.read_spec().created_at > UNKNOWN_GRACE_S
        except (DamagedRun, OSError):
            return False


def _is_run_id(name: str) -> bool:
    try:
        parse_run_id(name)
    except OperatorError:
        return False
    return True
