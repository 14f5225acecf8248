"""Carrying out what was previewed: the one place that hands a verb what it can change things with."""

from __future__ import annotations

from runtime.actions.calling import Calls
from runtime.actions.intents import Preview
from runtime.actions.tally import Tally
from runtime.actions.verb import DirectVerb
from runtime.actions.verbs import verb_of
from runtime.actions.write_port import ClockPort, WritePort
from runtime.common.addresses import Addresses
from runtime.lane.lane_file import Lane
from runtime.model import Now, PressureControl, RunControl, RunLookup, SandboxControl

CALL_DEADLINE_S = 10.0
"""For one call to a boundary; a call that is given up may have been carried out all the same."""
PAUSE_WAIT_S = 5.0
"""How long a pause waits for what is being admitted already."""


class Executor:
    """Touches a preview's ids and no others."""

    def __init__(
        self,
        *,
        pressure: PressureControl,
        lookup: RunLookup,
        runs: RunControl,
        addresses: Addresses,
        now: Now,
        clock: ClockPort | None = None,
        sandbox: SandboxControl | None = None,
        call_deadline_s: float = CALL_DEADLINE_S,
        pause_wait_s: float = PAUSE_WAIT_S,
    ) -> None:
        self._pressure = pressure
        self._lookup = lookup
        self._runs = runs
        self._clock = clock
        self._sandbox = sandbox
        self._addresses = addresses
        self._now = now
        self._call_deadline_s = call_deadline_s
        self._pause_wait_s = pause_wait_s

    async def carry_out(
        self, preview: Preview, tally: Tally, lane: Lane, *, actor: str, reason: str | None
    ) -> None:
        """Puts a result for each id that was tried. Raises as `runtime.actions.verb.DirectVerb.carry_out`."""
        port = WritePort(
            actor=actor,
            reason=reason,
            lane=lane,
            pressure=self._pressure,
            lookup=self._lookup,
            runs=self._runs,
            clock=self._clock,
            sandbox=self._sandbox,
            calls=Calls(self._addresses, self._call_deadline_s),
            addresses=self._addresses,
            now=self._now,
            pause_wait_s=self._pause_wait_s,
        )
        verb = verb_of(preview.intent.action)
        if not isinstance(verb, DirectVerb):
            raise AssertionError(f"{verb.name} is carried out in the batches of its kept preview")
        await verb.carry_out(preview, tally, port)
