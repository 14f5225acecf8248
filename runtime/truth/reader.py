"""The read side's one door: snapshots and look-ups. Looking changes nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from runtime.common.addresses import Addresses
from runtime.common.command_prefix import CommandPrefix
from runtime.common.deadline import within
from runtime.common.instants import instant
from runtime.common.stored import Unreadable
from runtime.common.text import one_line
from runtime.lane.lane_file import LaneSource
from runtime.ledger.sightings import Seen
from runtime.model import (
    Artifact,
    AuditTrail,
    BacklogSelector,
    Beat,
    BoundaryDown,
    ClockExecution,
    ClockReader,
    ClockReading,
    DurableReader,
    DurableReading,
    FamilySeries,
    Fire,
    ItemPage,
    ItemState,
    JournalEntry,
    NotFound,
    Now,
    OperatorError,
    PressureReader,
    PressureReading,
    Receipt,
    RunStatus,
    RunView,
    SandboxReader,
    SandboxReading,
    ScheduleChange,
    SelectedItem,
    Selection,
    SelectProgress,
    SeriesReader,
    WaitsFor,
    WaitsReader,
    WorkItem,
    parse_run_id,
    tag_of,
)
from runtime.settings import Settings
from runtime.truth.commands import Commands
from runtime.truth.document import (
    Boundaries,
    Boundary,
    BoundaryStatus,
    ClockData,
    Finding,
    PressureData,
    SandboxData,
    Severity,
    Snapshot,
    Transitional,
)
from runtime.truth.facts import Facts
from runtime.truth.findings import Began, Memory
from runtime.truth.flow import Flow, LaneFlow, flow_of, is_failing
from runtime.truth.probes.clock import clock_boundary, clock_probe
from runtime.truth.probes.durable import durable_boundary, durable_probe
from runtime.truth.probes.pressure import family_row, pressure_boundary, pressure_data, pressure_probe
from runtime.truth.probes.probe import Observation, Probe
from runtime.truth.probes.processes import processes_probe, runtime_info
from runtime.truth.probes.sandbox import sandbox_boundary, sandbox_probe
from runtime.truth.probes.series import HISTORY_MINUTES, SeriesWatch, history
from runtime.truth.probes.stack import CLOCK, REDIS, RESTATE, look_at_stack
from runtime.truth.processes import ALIVE_WITHIN_S, BeatReader, Processes, judge_beats
from runtime.truth.verdict import verdict_of

T = TypeVar("T")

PATIENCE_S = 10.0
"""One answer that is late, or two, are no evidence that nothing is there."""
PAGE_BOUND = 1000
"""Most rows of one look-up."""

_INVOCATION_ID = re.compile(r"inv_[0-9A-Za-z]{1,80}")


class SightingsReader(Protocol):
    async def read(self) -> Mapping[Seen, float]:
        """Since when each finding is on record. Raises `BoundaryDown`."""
        ...


class Reader:
    """Reads all boundaries at once, each with its own deadline (``probe_deadline_s``)."""

    def __init__(
        self,
        *,
        settings: Settings,
        lane: LaneSource,
        pressure: PressureReader,
        durable: DurableReader,
        beats: BeatReader,
        audit: AuditTrail,
        now: Now,
        addresses: Addresses,
        clock: ClockReader | None = None,
        alive_within_s: float = ALIVE_WITHIN_S,
        sandbox: SandboxReader | None = None,
        series: SeriesReader | None = None,
        waits: WaitsReader | None = None,
        selector: Callable[[], BacklogSelector] | None = None,
        sightings: SightingsReader | None = None,
        unreadable: Sequence[Unreadable] = (),
        patience_s: float = PATIENCE_S,
    ) -> None:
        """``clock``: None where there is none; one without schedules and without a stack of ours to run
        it is absent too. ``alive_within_s``: a process whose last beat is older is not counted as alive.
        ``selector``: made when something is looked for by conditions; most looks don't. ``sightings``: since when findings are on record.
        ``unreadable``: what the readers of stored documents can't read. ``patience_s``: for how long a boundary that misses looks is told as slow, with its last figures, before it is unknown."""
        deadline_s = settings.probe_deadline_s
        self._settings = settings
        self._lane = lane
        self._pressure = pressure
        self._durable = durable
        self._audit = audit
        self._now = now
        self._addresses = addresses
        self._alive_within_s = alive_within_s
        self._commands = Commands(
            CommandPrefix.of(settings.profile, settings.lane), local_stack=settings.wants_local_stack
        )
        self._pressure_probe = pressure_probe(
            pressure,
            lane,
            lane_max_in_flight=settings.lane_max_in_flight,
            deadline_s=deadline_s,
            now=now,
            patience_s=patience_s,
        )
        self._durable_probe = durable_probe(durable, deadline_s=deadline_s, now=now, patience_s=patience_s)
        self._clock = clock
        self._clock_probe = (
            None
            if clock is None
            else clock_probe(clock, deadline_s=deadline_s, now=now, patience_s=patience_s)
        )
        self._processes_probe = processes_probe(beats, deadline_s=deadline_s, now=now, patience_s=patience_s)
        self._sightings_probe = (
            None if sightings is None else Probe("findings", sightings.read, deadline_s=deadline_s, now=now)
        )
        self._sandbox = sandbox
        self._sandbox_probe = (
            None
            if sandbox is None
            else sandbox_probe(sandbox, deadline_s=deadline_s, now=now, patience_s=patience_s)
        )
        self._series = series
        self._selector = selector
        self._waits = waits
        self._series_watch = None if series is None else SeriesWatch(series, deadline_s=deadline_s, now=now)
        self._unreadable = unreadable
        self._memory = Memory()
        self._server_ahead_s = 0.0
        self._told: PressureData | None = None

    async def snapshot(self) -> Snapshot:
        """The whole truth at one instant. Never raises for what a boundary does, and ends
        within about one probe's deadline."""
        self._lane.refresh()
        (pressure, series), durable, beats, clock, sandbox, recorded = await asyncio.gather(
            self._look_at_pressure(),
            self._durable_probe.look(),
            self._processes_probe.look(),
            self._look_at_clock(),
            self._look_at_sandbox(),
            self._look_at_sightings(),
        )
        now = self._now()
        processes = self._judged(beats, pressure)
        facts = Facts(
            now=now,
            lane=self._lane.current,
            lane_error=self._lane.error,
            lane_max_in_flight=self._lane.current.limits(self._settings.lane_max_in_flight).max_in_flight,
            addresses=self._addresses,
            commands=self._commands,
            pressure=pressure,
            durable=durable,
            beats=beats,
            processes=processes,
            stack=look_at_stack(self._settings, now),
            clock=clock,
            sandbox=sandbox,
            unreadable=[told for one in self._unreadable for told in one.told()],
        )
        findings = self._memory.judge(facts, recorded)
        if facts.pressure_now is not None and facts.flow is not None:
            self._told = _told(facts, facts.pressure_now, facts.flow, series)
        return Snapshot(
            generated_at=instant(now),
            profile=self._settings.profile,
            lane=facts.lane.name,
            read_only=self._settings.read_only,
            verdict=verdict_of(findings, self._told.totals if self._told and pressure.fresh else None),
            boundaries=Boundaries(
                pressure=pressure_boundary(
                    pressure,
                    self._told,
                    _status("pressure", pressure, findings, facts.told_elsewhere(REDIS)),
                    self._addresses,
                ),
                durable=durable_boundary(
                    durable,
                    _status("durable", durable, findings, facts.told_elsewhere(RESTATE)),
                    self._addresses,
                ),
                clock=Boundary[ClockData](**_ABSENT)
                if clock is None
                else clock_boundary(
                    clock, _status("clock", clock, findings, facts.told_elsewhere(CLOCK)), self._addresses
                ),
                sandbox=Boundary[SandboxData](**_ABSENT)
                if sandbox is None
                else sandbox_boundary(sandbox, _status("sandbox", sandbox, findings)),
            ),
            runtime=runtime_info(beats, facts.processes, self._lane),
            transitional=Transitional(),
        )

    async def items(
        self, family: str, state: ItemState, *, cursor: str | None = None, limit: int = 100
    ) -> ItemPage:
        """One page of a family's items in one state; ``limit`` is at most `PAGE_BOUND`.

        A family that the lane does not declare is read too, as long as Redis has rows of it.
        Raises `UnknownFamily`, `BoundaryDown`.
        """
        self._lane.refresh()
        page = await within(
            self._settings.probe_deadline_s,
            self._pressure.items(family, state, cursor=cursor, limit=_clamped(limit)),
            boundary="Redis",
            address=self._addresses.redis,
        )
        if not page.total:
            await self._check_known(family)
        return page

    async def matching(
        self,
        selection: Selection,
        family: str,
        *,
        cursor: str | None = None,
        limit: int = 100,
        progress: SelectProgress | None = None,
    ) -> ItemPage:
        """The items of a family that ``selection`` means, in the order in which an action would take them, a
        page at a time: the first one counts all of them, and further ones repeat its figure. ``limit`` is at
        most `PAGE_BOUND`. It may take seconds in a large backlog: ``progress`` is told, and whoever waits
        may end it.

        Raises `UnknownFamily`, `UsageError` (a state that keeps no records), `NotFound` (an id or a cursor that is none,
        or a profile without a selector), `BoundaryDown`.
        """
        if self._selector is None:
            raise NotFound("nothing can be looked up by conditions here", fix="see `joelclaw-tui queue list`")
        self._lane.refresh()
        selector, chosen = self._selector(), tuple[SelectedItem, ...]()
        if cursor is None:
            first = await selector.first_page(selection, family, limit=_clamped(limit), progress=progress)
            total, chosen, after = first.matching, first.items.get(family, ()), first.cursor
            if not total:
                await self._check_known(family)
        else:
            total, place = _counted_cursor(cursor)
            page = await selector.following(
                selection, family, place, limit=_clamped(limit), progress=progress
            )
            chosen, after = page.items, page.cursor
        # One that is settled or discarded between the two looks is not there any more: it is left out.
        looked = [await self.item(one.item_id) for one in chosen]
        return ItemPage(
            items=tuple(filter(None, looked)),
            total=total,
            cursor=None if after is None else f"{total}/{after}",
        )

    async def series(
        self, families: Sequence[str], minutes: int = HISTORY_MINUTES
    ) -> Mapping[str, FamilySeries]:
        """The last ``minutes`` minutes (a day at the most) of each family, by minute.

        Raises `UnknownFamily` for one of which nothing is known at all, `BoundaryDown`, and `NotFound`
        where no series is kept.
        """
        if self._series is None:
            raise NotFound("this profile keeps no series", fix="see `joelclaw-tui doctor`")
        self._lane.refresh()
        found = await within(
            self._settings.probe_deadline_s,
            self._series.read(families[:PAGE_BOUND], minutes),
            boundary="Redis",
            address=self._addresses.redis,
        )
        for family, series in found.items():
            if not any(point.recorded for point in series.points):
                await self._check_known(family)
        return found

    async def item(self, item_id: str) -> WorkItem | None:
        """None when there is no such item. Raises `NotFound` for what is no item id, `BoundaryDown`."""
        tag_of(item_id)
        return await within(
            self._settings.probe_deadline_s,
            self._pressure.item(item_id),
            boundary="Redis",
            address=self._addresses.redis,
        )

    async def run(self, run_id: str) -> RunView | None:
        """None when Restate does not know the run. Raises `NotFound` for what is no run id, `BoundaryDown`."""
        parse_run_id(run_id)
        view = await within(
            self._settings.probe_deadline_s,
            self._durable.run(run_id),
            boundary="Restate",
            address=self._addresses.restate_admin,
        )
        if view is None or view.status is RunStatus.COMPLETED:
            return view
        return replace(view, waits_for=await self._waits_for(run_id))

    async def _waits_for(self, run_id: str) -> WaitsFor | None:
        """None also while nobody who knows it can be asked: the run itself is told all the same."""
        if self._waits is not None:
            with suppress(BoundaryDown):
                found = await within(
                    self._settings.probe_deadline_s,
                    self._waits.waits_for(run_id),
                    boundary="Redis",
                    address=self._addresses.redis,
                )
                if found is not None:
                    return found
        if self._sandbox is None:
            return None
        with suppress(OperatorError):
            reading = await within(
                self._settings.probe_deadline_s,
                self._sandbox.read(limit=PAGE_BOUND),
                boundary="the sandbox folders",
                address=str(self._settings.state),
            )
            for run in reading.running:
                if run.run_id == run_id:
                    since = run.started_at or run.ordered_at
                    limit_s = None if run.deadline_at is None else max(0.0, run.deadline_at - since)
                    return WaitsFor(
                        f"its sandbox, which is at {one_line(run.phase, 60)}", since, limit_s, run.host
                    )
        return None

    async def journal(self, invocation_id: str, *, limit: int = 200) -> Sequence[JournalEntry]:
        """The journal of one invocation, oldest first, at most `PAGE_BOUND` entries.
        Raises `NotFound` for what is no invocation id, `BoundaryDown`."""
        if not _INVOCATION_ID.fullmatch(invocation_id):
            raise NotFound(
                f"{one_line(invocation_id, 80)!r} is not an invocation id",
                fix="invocation ids begin with inv_; see `joelclaw-tui runs list`",
            )
        return await within(
            self._settings.probe_deadline_s,
            self._durable.journal(invocation_id, limit=_clamped(limit)),
            boundary="Restate",
            address=self._addresses.restate_admin,
        )

    async def audit(self, limit: int = 100) -> Sequence[Receipt]:
        """The newest receipts, newest first. Raises `BoundaryDown`."""
        return await within(
            self._settings.probe_deadline_s,
            self._audit.recent(_clamped(limit)),
            boundary="The audit trail",
            address=self._addresses.redis,
        )

    async def fires(self, schedule: str, limit: int = 100) -> Sequence[Fire]:
        """A schedule's fires, newest first. Raises `UnknownSchedule`, `BoundaryDown`."""
        self._lane.refresh()
        return await self._of_clock(
            self._clock_reader().history(schedule, limit=_clamped(limit)), self._addresses.redis
        )

    async def failed_calls(self, schedule: str, limit: int = 100) -> Sequence[ClockExecution]:
        """The clock's own calls of the gateway for it that failed, newest first. Raises `BoundaryDown`."""
        return await self._of_clock(
            self._clock_reader().failed_calls(schedule, limit=_clamped(limit)), self._addresses.clock
        )

    async def schedule_changes(self) -> Sequence[ScheduleChange]:
        """How the clock differs from the lane file. Raises `BoundaryDown`."""
        self._lane.refresh()
        return await self._of_clock(self._clock_reader().changes(), self._addresses.clock)

    def _clock_reader(self) -> ClockReader:
        if self._clock is None:
            raise NotFound("this profile has no clock", fix="set dkron_url, or use the local stack")
        return self._clock

    async def _of_clock(self, look: Coroutine[Any, Any, T], address: str) -> T:
        return await within(self._settings.probe_deadline_s, look, boundary="The clock", address=address)

    async def _look_at_pressure(
        self,
    ) -> tuple[Observation[PressureReading], Mapping[str, FamilySeries]]:
        seen = await self._pressure_probe.look()
        if self._series_watch is None or not seen.fresh or seen.value is None:
            return seen, {}
        return seen, await self._series_watch.look(seen.value)

    async def _look_at_sightings(self) -> Mapping[Seen, float]:
        """As last read: a record that can't be read now does not make what is known begin anew."""
        if self._sightings_probe is None:
            return {}
        return (await self._sightings_probe.look()).value or {}

    @property
    def began(self) -> Began:
        """Of the last snapshot's findings: for whoever keeps them with the lane."""
        return self._memory.began

    async def _look_at_clock(self) -> Observation[ClockReading] | None:
        settings = self._settings
        wanted = settings.dkron_url is not None or settings.wants_local_stack or self._lane.current.schedules
        return await self._clock_probe.look() if self._clock_probe is not None and wanted else None

    @property
    def artifacts(self) -> SandboxReader:
        """The artifacts of this host. Raises `NotFound` where there is no sandbox."""
        if self._sandbox is None:
            raise NotFound("this profile has no sandbox", fix='declare a family with handler = "sandbox"')
        return self._sandbox

    async def artifact(self, artifact_id: str) -> Artifact | None:
        """None when there is no such artifact. Raises `Refused` (damaged), `BoundaryDown`."""
        try:
            return await self._of_sandbox(self.artifacts.artifact(artifact_id))
        except NotFound:
            return None

    async def artifact_file(self, artifact_id: str, name: str, *, limit: int = 1_000_000) -> str:
        """At most ``limit`` bytes of an artifact's ``patch``, ``verify`` or ``log``, as text.

        Raises `NotFound`, `Refused` (damaged), `BoundaryDown`.
        """
        artifact = await self._of_sandbox(self.artifacts.artifact(artifact_id))
        wanted = {
            "patch": ["patch.diff"],
            "log": ["agent.log"],
            "verify": [step.log for step in artifact.verify],
        }
        parts: list[str] = []
        for file in wanted.get(name, []):
            if file not in artifact.names:
                continue
            data = await self._of_sandbox(self.artifacts.file(artifact.artifact_id, file, limit))
            parts.append(data.decode("utf-8", "replace"))
            limit -= len(data)
        if not parts:
            raise NotFound(
                f"the artifact has no {one_line(name, 20)}", fix="see `joelclaw-tui artifacts show ARTIFACT`"
            )
        return "\n".join(parts)

    async def _of_sandbox(self, look: Coroutine[Any, Any, T]) -> T:
        return await within(
            self._settings.probe_deadline_s, look, boundary="The sandbox", address=str(self._settings.state)
        )

    async def _look_at_sandbox(self) -> Observation[SandboxReading] | None:
        """None, absent: no family of the lane has a sandbox, and no run of one ever was here."""
        if self._sandbox is None or self._sandbox_probe is None:
            return None
        declared = any(family.handler == "sandbox" for family in self._lane.current.families.values())
        if not declared and not self._sandbox.exists:
            return None
        return await self._sandbox_probe.look()

    async def aclose(self) -> None:
        """Ends reads that are still outstanding. CommandPrefix it before the connections are closed."""
        await asyncio.gather(
            self._pressure_probe.aclose(), self._durable_probe.aclose(), self._processes_probe.aclose()
        )
        if self._clock_probe is not None:
            await self._clock_probe.aclose()
        if self._sightings_probe is not None:
            await self._sightings_probe.aclose()
        if self._sandbox_probe is not None:
            await self._sandbox_probe.aclose()
        if self._series_watch is not None:
            await self._series_watch.aclose()

    async def _check_known(self, family: str) -> None:
        """An empty page of a misspelt family would look like an empty family."""
        if family in self._lane.current.families:
            return
        reading = await within(
            self._settings.probe_deadline_s,
            self._pressure.read(self._lane.current.rules),
            boundary="Redis",
            address=self._addresses.redis,
        )
        if all(known.family != family for known in reading.families):
            self._lane.current.family(family)

    def _judged(
        self, beats: Observation[Sequence[Beat]], pressure: Observation[PressureReading]
    ) -> Processes | None:
        """Ages as of when the beats were read: what can't be read does not die by it.

        Beats are stamped by Redis' clock: ours is put right by what Redis last said of its own.
        """
        if pressure.fresh and pressure.value is not None and pressure.observed_at is not None:
            self._server_ahead_s = pressure.value.source.server_time - pressure.observed_at
        if beats.value is None or beats.observed_at is None:
            return None
        return judge_beats(beats.value, beats.observed_at + self._server_ahead_s, self._alive_within_s)


def _told(
    facts: Facts, reading: PressureReading, flow: LaneFlow, series: Mapping[str, FamilySeries]
) -> PressureData:
    can_progress = not flow.nobody_drains and facts.durable.status is not BoundaryStatus.DOWN
    return pressure_data(
        [
            family_row(
                family,
                facts.lane,
                stuck=family.family in facts.lane.families and flow_of(family, flow) is Flow.STUCK,
                failing=is_failing(family),
                can_progress=can_progress,
                history=history(series.get(family.family), reading.source.server_time),
            )
            for family in reading.families
        ]
    )


def _status(
    boundary: str,
    seen: Observation[PressureReading]
    | Observation[DurableReading]
    | Observation[ClockReading]
    | Observation[SandboxReading],
    findings: Sequence[Finding],
    starting: bool = False,
) -> BoundaryStatus:
    """A boundary that answers is degraded while something is wrong with it. ``starting``: that it refuses is
    no evidence yet, unless nothing runs at all."""
    if not seen.fresh:
        if starting and not any(f.code == "stack-stopped" for f in findings):
            return BoundaryStatus.UNKNOWN
        return seen.status
    wrong = any(f.boundary == boundary and f.severity is not Severity.INFO for f in findings)
    return BoundaryStatus.DEGRADED if wrong else BoundaryStatus.OK


_ABSENT: dict[str, Any] = {
    "status": BoundaryStatus.ABSENT,
    "observed_at": None,
    "latency_ms": None,
    "source": {},
    "error": None,
    "data": None,
}
"""A boundary that this version has not."""


def _clamped(limit: int) -> int:
    return max(1, min(limit, PAGE_BOUND))


def _counted_cursor(cursor: str) -> tuple[int, str]:
    """The total that the first page counted, and where to go on. Raises `NotFound`."""
    total, slash, place = cursor.partition("/")
    if not slash or not re.fullmatch(r"[0-9]{1,15}", total):
        raise NotFound(f"{one_line(cursor, 40)!r} is not a page's cursor", fix="start again without a cursor")
    return int(total), place
