"""The walk: an operation, then every door against the servers; now and then a part is killed or stopped."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from redis.exceptions import RedisError

from runtime.roles.operator import Operator
from tests.lane.processes import LaneProcesses
from tests.lane.walk.comparing import (
    Difference,
    compare_clock,
    compare_durable,
    compare_pressure,
    compare_sandbox,
    stands_still,
)
from tests.lane.walk.declared import BAD, WalkSink, declared, lane_text
from tests.lane.walk.direct import Direct, DurableSeen, PressureSeen
from tests.lane.walk.doors import CONSOLE, GATEWAY, ONCE, Doors, NoAnswer, Told
from tests.lane.walk.warranted import (
    ROLES,
    SERVERS,
    Failures,
    LaneState,
    Name,
    judge,
    part_of,
    permitted,
    required_of_fault,
    warranted,
)
from tests.servers import Server, stop_process

KILL, STOP = "kill", "stop"
STILL_WITHIN_S = 30.0
"""How long work may move on before a look at it is given up."""
NAMED_WITHIN_S = 15.0
"""A part that is gone for longer must be named by then at every door: 10 s, and a busy machine's leisure."""
LONG_S, SHORT_S = 11.0, 2.0
"""How long a part is gone, at least."""
CLEARED_WITHIN_S = 60.0
"""From a part's return until its consequences are over: leases lapse, retries come round again."""
ONCE_EVERY = 6
"""Of the operations; a command's own start takes longer than all else here."""
MOST_DIFFERENCES = 60
_WITHOUT = {
    "valkey": {"pressure", "clock", "findings"},
    "restate": {"durable", "clock", "findings"},
    "clock": {"clock"},
}
"""What can't be warranted while a server is gone: it is looked at by `Walker.named` then."""


@dataclass(frozen=True, slots=True)
class Fault:
    victim: str
    how: str
    long: bool

    def __str__(self) -> str:
        return f"{self.how} {self.victim} {'long' if self.long else 'short'}"


@dataclass
class Given:
    """An item that was acknowledged."""

    family: str
    key: str | None = None
    """Its dedup key."""


@dataclass(frozen=True, slots=True)
class Around:
    """The servers at one side of a door's look; None: the one that is broken."""

    pressure: PressureSeen | None
    durable: DurableSeen | None
    jobs: dict[str, dict[str, Any]] | None
    artifacts: int


@dataclass
class Walker:
    chance: random.Random
    lane: LaneProcesses
    operator: Operator
    direct: Direct
    doors: Doors
    http: httpx.AsyncClient
    sink: WalkSink
    servers: dict[str, Server]
    repo: Path | None
    """Of the sandboxed family; None: this machine holds no sandbox."""
    given: dict[str, Given] = field(default_factory=dict)
    """Acknowledged items by id."""
    asked_to_end: dict[str, str] = field(default_factory=dict)
    """Run id -> ``cancelled`` or ``killed``."""
    differences: dict[str, list[int]] = field(default_factory=dict)
    """What differed -> at which operations."""
    failures: Failures = field(default_factory=Failures)
    number: int = 0
    removable: bool = True
    refused: bool = False
    minute: int = 0
    broken: Fault | None = None
    since_broken: float = 0.0
    broken_spans: list[tuple[str, float, float]] = field(default_factory=list)
    """What was broken, from when until when it was well again."""
    disturbed: bool = False
    """Something was broken, paused or disabled: an instant may have passed."""
    last_good: dict[str, Told] = field(default_factory=dict)
    stopped: list[int] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)
    """ReadPort that could be compared, by door and boundary: the others met a lane on the move."""

    # --- what is known

    @property
    def text(self) -> str:
        return lane_text(self.sink.url, self.repo, removable=self.removable, minute=self.minute)

    def state(self) -> LaneState:
        said = declared(self.text)
        return LaneState(
            path=str(self.lane.lane_file),
            sha256=hashlib.sha256(self.text.encode()).hexdigest(),
            families=said["families"],
            schedules=said["schedules"],
            refused=self.refused,
            broken=self.broken.victim if self.broken else None,
            once_broken=bool(self.broken_spans) or self.broken is not None,
        )

    def down(self, *victims: str) -> bool:
        return self.broken is not None and self.broken.victim in victims

    def log(self, text: str) -> None:
        """Printed at once: a failed test shows it, however it ended."""
        print(f"{self.number:3} {time.strftime('%H:%M:%S')} {text}", flush=True)  # noqa: T201

    def differ(self, what: object) -> None:
        self.differences.setdefault(str(what), []).append(self.number)
        self.log(f"DIFFERENCE {what}")

    def write_lane(self) -> None:
        temporary = self.lane.lane_file.with_suffix(".new")
        temporary.write_text(self.text + (BAD if self.refused else ""))
        temporary.replace(self.lane.lane_file)

    # --- looking

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str, *, within_s: float) -> bool:
        """False, and a difference, when it does not come true."""
        deadline = time.monotonic() + within_s
        while True:
            with suppress(RedisError, OSError, httpx.HTTPError):
                if await condition():
                    return True
            if time.monotonic() > deadline:
                self.differ(f"within {within_s:g} s: {what}")
                return False
            await asyncio.sleep(0.1)

    async def settled(self) -> None:
        """What follows from an edit of the lane file by itself has been done by all who live."""

        async def done() -> bool:
            seen = await self.direct.pressure()
            sha = self.state().sha256
            known = all(
                detail["detail"].get("lane_sha256") == sha for age, detail in seen.beats.values() if age <= 2
            )
            gone = seen.families.get("removable/one")
            aside = (
                self.removable
                or gone is None
                or not gone.size("w0", "w1", "w2", "w3")
                or "removed" in gone.hashes["meta"]
            )
            jobs = await self.direct.jobs()
            nightly = jobs["nightly"]["schedule"] == declared(self.text)["schedules"]["nightly"]["cron"]
            return known and aside and nightly

        if not self.refused and self.broken is None:
            await self.until(done, "everybody works by the edited lane file", within_s=20)

    async def check(self, doors: Sequence[str] | None = None) -> None:
        """Every door against the servers, each once they stood still around its look."""
        if doors is None:
            doors = [GATEWAY, CONSOLE] + ([ONCE] if self.number % ONCE_EVERY == 0 else [])
        for door in doors:
            if door == GATEWAY and self.down("gateway"):
                continue
            for wrong in await self._check(door):
                self.differ(wrong)

    async def _check(self, door: str) -> list[Difference]:
        deadline = time.monotonic() + STILL_WITHIN_S
        wants = self._comparable()
        wrong: list[Difference] = []
        while wants:
            state, before = self.state(), await self._around()
            try:
                told = await self.doors.look(door)
            except NoAnswer as error:
                return [*wrong, Difference(door, str(error), "a snapshot")]
            after = await self._around()
            for name in sorted(wants):
                found = self._compare(name, told, before, after, state)
                if found is not None:
                    wrong += found
                    wants.discard(name)
                    self.compared[f"{door} {name}"] += 1
            if wants and time.monotonic() > deadline:
                self.log(f"{door}: {', '.join(sorted(wants))} did not stand still")
                return wrong
            if not wants and self.broken is None:
                self.last_good[door] = told
        return wrong

    def _comparable(self) -> set[str]:
        """What the servers that answer now warrant."""
        names = {"pressure", "durable", "clock", "findings"} | ({"sandbox"} if self.repo else set())
        if self.broken is None or self.broken.victim not in _WITHOUT:
            return names
        return names - _WITHOUT[self.broken.victim]

    def _compare(
        self, name: str, told: Told, before: Around, after: Around, state: LaneState
    ) -> list[Difference] | None:
        """None: the lane moved meanwhile."""
        one, two = before.pressure, after.pressure
        runs, jobs = before.durable, before.jobs
        runs_still, jobs_still = runs == after.durable, jobs == after.jobs
        if name == "sandbox":
            return compare_sandbox(told, before.artifacts) if before.artifacts == after.artifacts else None
        if name == "durable":
            return compare_durable(told, runs) if runs is not None and runs_still else None
        if one is None or two is None:
            return []
        if name == "pressure":
            still = stands_still(one, two, state.families)
            return compare_pressure(told, one, two, state.families) if still else None
        if name == "clock":
            if jobs is None or runs is None or not (runs_still and jobs_still and one.print == two.print):
                return None
            quiet = not self.disturbed
            return compare_clock(told, one, two, jobs, state.schedules, runs, untouched=quiet)
        return self._findings(told, before, after, state)

    def _findings(self, told: Told, before: Around, after: Around, state: LaneState) -> list[Difference]:
        """Of any moment: what must be told before and after, and what may be told at either."""
        must: list[set[Name]] = []
        may: set[Name] = set()
        slow = False
        for around in (before, after):
            seen, runs = around.pressure, around.durable
            if seen is None or runs is None:
                return []
            self.failures.note(seen)
            must.append(warranted(seen, runs, around.jobs, state))
            may |= must[-1] | permitted(seen, runs, around.jobs, state, self.failures)
            slow = slow or bool(seen.slow)
        return judge(told, must[0] & must[1], may, slow_log=slow)

    def _artifacts(self) -> int:
        """Folders that are named like an artifact."""
        kept = self.lane.folder / "state" / "sandbox" / "artifacts"
        return sum(len(path.name) == 64 for path in kept.iterdir()) if kept.is_dir() else 0

    async def _around(self) -> Around:
        return Around(
            None if self.down("valkey") else await self.direct.pressure(self.state().families),
            None if self.down("restate") else await self.direct.durable(),
            None if self.down("clock") else await self.direct.jobs(),
            self._artifacts(),
        )

    # --- breaking

    async def break_off(self, fault: Fault) -> None:
        self.log(f"FAULT {fault}")
        self.disturbed = True
        if fault.victim in SERVERS:
            server = self.servers[fault.victim]
            if fault.how == KILL:
                server.kill()
            else:
                stop_process(server.pid)
                self.stopped.append(server.pid)
        elif fault.how == KILL:
            self.lane.kill(fault.victim)
        else:
            pid = self.lane.pid(fault.victim)
            stop_process(pid)
            self.stopped.append(pid)
        self.broken, self.since_broken = fault, time.time()

    async def named(self) -> None:
        """The part that is gone is named at every door, and what can't be read is not told as of now."""
        fault = self.broken
        assert fault is not None
        name = required_of_fault(fault.victim)
        doors = [
            door for door in (GATEWAY, CONSOLE, ONCE) if not (door == GATEWAY and fault.victim == "gateway")
        ]
        for door in doors:
            told: Told | None = None
            while True:
                asked = time.time()
                with suppress(NoAnswer):
                    told = await self.doors.look(door)
                if told is not None and name in {part_of(told, row) for row in told.findings}:
                    break
                if asked - self.since_broken > NAMED_WITHIN_S:
                    codes = None if told is None else [part_of(told, row) for row in told.findings]
                    self.differ(f"{door}: {fault} is not named {NAMED_WITHIN_S:g} s after: {codes}")
                    break
                await asyncio.sleep(0.2)
            if told is not None:
                self._honest(told, fault)
        left = self.since_broken + LONG_S - time.time()
        if left > 0:
            await asyncio.sleep(left)

    def _honest(self, told: Told, fault: Fault) -> None:
        """Rules 1 and 4: unreadable is not zero, and one boundary that is gone blanks no other."""
        gone = SERVERS.get(fault.victim) or ("clock" if fault.victim == "clock" else None)
        for name in ("pressure", "durable", "clock"):
            boundary = told.boundary(name)
            if name != gone:
                if boundary["status"] in ("down", "unknown"):
                    self.differ(f"{told.door}: {fault} blanks {name}: {boundary['error']}")
                continue
            if boundary["status"] not in ("down", "unknown"):
                self.differ(f"{told.door}: {fault}: {name} is told {boundary['status']}")
            good = self.last_good.get(told.door)
            if told.door != ONCE and good is not None and boundary["data"] is None:
                self.differ(f"{told.door}: {fault}: the last good figures of {name} are not shown")

    async def mend(self) -> None:
        """The part comes back, as a supervisor brings it; all that followed from its absence is over."""
        fault = self.broken
        assert fault is not None
        if fault.how == STOP:
            for pid in self.stopped:
                os.kill(pid, signal.SIGCONT)
            self.stopped.clear()
        elif fault.victim in SERVERS:
            await asyncio.to_thread(self.servers[fault.victim].launch)
        else:
            self.lane.start(fault.victim)
        self.log(f"MENDED {fault} after {time.time() - self.since_broken:.1f} s")
        back = time.time()

        async def well() -> bool:
            seen = await self.direct.pressure()
            await self.direct.jobs()
            await self.direct.durable()
            leased = sum(one.size("leased", "admitting") for one in seen.families.values())
            return all(seen.alive(role) for role in ROLES) and leased == 0

        await self.until(
            well, f"after {fault} all roles beat, and no lease is left", within_s=CLEARED_WITHIN_S
        )
        mine = {
            required_of_fault(fault.victim),
            ("loading", "loading"),
            ("processes-unknown", "processes"),
            ("fires-unknown", "fires"),
        }
        for door in (GATEWAY, CONSOLE):

            async def cleared(door: str = door) -> bool:
                with suppress(NoAnswer):
                    told = await self.doors.look(door)
                    return not mine & {part_of(told, row) for row in told.findings}
                return False

            await self.until(cleared, f"{door}: the findings of {fault} cleared", within_s=CLEARED_WITHIN_S)
        self.broken_spans.append((fault.victim, self.since_broken, time.time()))
        self.broken = None
        self.log(f"WELL {time.time() - back:.1f} s after its return")

    def watch(self) -> None:
        """A role that ended by itself is a difference, and is started again as a supervisor does."""
        for role in self.lane.ended():
            self.differ(f"{role} ended by itself: {self.lane.log(role)[-600:]}")
            self.lane.start(role)

    def release(self) -> None:
        """Lets go of what is stopped, so that it can be ended."""
        for pid in self.stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def planned(chance: random.Random, faults: int) -> list[Fault]:
    """Each victim as often as the others, half of the faults long; in the seed's order."""
    victims = [*ROLES, *SERVERS]
    every = [
        Fault(victim, how, long)
        for long in (True, False)
        for how in (KILL, STOP)
        for victim in chance.sample(victims, len(victims))
    ]
    chosen: list[Fault] = []
    while len(chosen) < faults:
        chosen += chance.sample(every, len(every))
    chosen = chosen[:faults]
    # A short plan has long ones too.
    return [
        replace(fault, long=True) if index % 2 == 0 and faults < len(every) else fault
        for index, fault in enumerate(chosen)
    ]
