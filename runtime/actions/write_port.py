"""What a verb changes things with. Only the executor makes one, and only when changes are allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from runtime.actions.adopting import Outside
from runtime.actions.bulk.ports import BulkProgress
from runtime.actions.calling import Calls
from runtime.actions.read_port import ClockLooks
from runtime.common.addresses import Addresses
from runtime.lane.lane_file import Lane
from runtime.model import (
    BulkControl,
    ClockControl,
    Now,
    PressureControl,
    RunControl,
    RunLookup,
    SandboxControl,
)


class ClockPort(ClockLooks, ClockControl, Protocol):
    """One clock, looked at and changed."""


@dataclass(frozen=True, slots=True)
class WritePort:
    """The hands of one action of one actor."""

    actor: str
    reason: str | None
    """Why it is done; the preview may have been asked for with another."""
    lane: Lane
    """As its file says by now; the preview may have seen another."""
    pressure: PressureControl
    lookup: RunLookup
    runs: RunControl
    clock: ClockPort | None
    sandbox: SandboxControl | None
    items: BulkControl | None
    """None: there is no backlog to act on as a selection."""
    outside: Outside | None
    """None: no backlog can be brought in here."""
    progress: BulkProgress | None
    """Told how far the action has come, by verbs that take long."""
    calls: Calls
    addresses: Addresses
    now: Now
    pause_wait_s: float
    """How long a pause waits for what is being admitted already."""
