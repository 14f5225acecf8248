"""The one holder of everything that changes something for an operator. Read-only mode is enforced in here."""

from __future__ import annotations

from runtime.actions.adopting import Outside
from runtime.actions.bulk.ports import BulkProgress
from runtime.actions.calling import Calls
from runtime.actions.write_port import ClockPort, WritePort
from runtime.common.addresses import Addresses
from runtime.lane.lane_file import LaneSource
from runtime.model import (
    BulkControl,
    Now,
    PressureControl,
    ReadOnly,
    RunControl,
    RunLookup,
    SandboxControl,
)
from runtime.settings import Settings

CALL_DEADLINE_S = 10.0
"""For one call to a boundary; a call that is given up may have been carried out all the same."""
PAUSE_WAIT_S = 5.0
"""How long a pause waits for what is being admitted already."""


class Executor:
    """Hands out what verbs change things with, for one action at a time."""

    def __init__(
        self,
        *,
        settings: Settings,
        lane: LaneSource,
        pressure: PressureControl,
        lookup: RunLookup,
        runs: RunControl,
        addresses: Addresses,
        now: Now,
        clock: ClockPort | None = None,
        sandbox: SandboxControl | None = None,
        items: BulkControl | None = None,
        outside: Outside | None = None,
        call_deadline_s: float = CALL_DEADLINE_S,
        pause_wait_s: float = PAUSE_WAIT_S,
    ) -> None:
        self._settings = settings
        self._lane = lane
        self._pressure = pressure
        self._lookup = lookup
        self._runs = runs
        self._clock = clock
        self._sandbox = sandbox
        self._items = items
        self._outside = outside
        self._addresses = addresses
        self._now = now
        self._call_deadline_s = call_deadline_s
        self._pause_wait_s = pause_wait_s

    def port(
        self, what: str, *, actor: str, reason: str | None, progress: BulkProgress | None = None
    ) -> WritePort:
        """``what`` is to be done. Raises `ReadOnly`."""
        if self._settings.read_only:
            raise ReadOnly(
                f"{what}: read-only mode refuses changes",
                fix="start without --read-only (JOELCLAW_READ_ONLY) to make changes",
            )
        self._lane.refresh()
        return WritePort(
            actor=actor,
            reason=reason,
            lane=self._lane.current,
            pressure=self._pressure,
            lookup=self._lookup,
            runs=self._runs,
            clock=self._clock,
            sandbox=self._sandbox,
            items=self._items,
            outside=self._outside,
            progress=progress,
            calls=Calls(self._addresses, self._call_deadline_s),
            addresses=self._addresses,
            now=self._now,
            pause_wait_s=self._pause_wait_s,
        )
