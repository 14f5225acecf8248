"""`Schedule`: the Restate object, one a schedule, that decides about its fires alone and in order.

This instant once, never before its time; what passed without a call; overlap; misfire. Calls of one schedule
are handled one after the other, so that a decision sees what the one before it did. Whatever the queue answers
is a decision: only servers that are away are waited for, and not beyond the time of the next instant, so that
one call never keeps the schedule's others from being decided. A memory that can't be read is told with the
fire that was decided without it, and the schedule goes on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

import restate
from restate.exceptions import RetryableError
from restate.serde import BytesSerde, Serde

from runtime.common.stored import Document, UnreadableDocument
from runtime.common.text import one_line
from runtime.durable.accounting import Account, Standing, begun_anew, judge, stretches_of
from runtime.durable.fire_call import HANDLER, RECORD, decode_call, decode_fires, encode_fires
from runtime.durable.request import MalformedRun, encode_request
from runtime.durable.services import service_of
from runtime.lane.cron import EARLY_S, Grid
from runtime.lane.lane_file import Lane, LaneSource
from runtime.ledger.fire_row import fire_of
from runtime.model import (
    FIRE_ID,
    STARTING,
    AckNotKept,
    BoundaryDown,
    Enqueued,
    Fire,
    FireCall,
    FireDecision,
    FireHistory,
    FireKind,
    Now,
    OperatorError,
    Priority,
    Refused,
    RunRequest,
    UnknownFamily,
    UsageError,
    WorkProgress,
    fire_form,
    fire_id_of,
    run_id_of,
    schedule_service,
)

SEEN_MOST = 200
"""Fire ids that the object remembers: asked ones; instants are accounted for by themselves."""
RETENTION = timedelta(hours=1)
RETRY = timedelta(seconds=1)
STEP_TIMEOUT_S = 30.0
WAIT_MOST_S = EARLY_S + 1.0
"""An instant that is further away than this, the clocks of two hosts a little apart, is not waited for."""
REASON_MAX = 300
_CANCELLED = 409
_BYTES = BytesSerde()
_STATE = cast("Serde[bytes | None]", _BYTES)
_POLICY = restate.InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=100),
    exponentiation_factor=2.0,
    max_interval=timedelta(seconds=10),
    max_attempts=1_000_000,
    on_max_attempts="pause",
)


@dataclass(frozen=True, slots=True)
class Patience:
    """For how long servers that are away are waited for, in seconds."""

    least_s: float = 10.0
    """For a fire, however short the schedule's period."""
    most_s: float = 3600.0
    """For a fire, however long the period: until then the next instant has nothing to wait behind."""
    asked_s: float = 30.0
    """For one that a person asked for."""
    record_s: float = 5.0
    """For the history; then what was decided is recorded beside the object, whenever that works."""

    def of(self, call: FireCall, grid: Grid | None) -> timedelta:
        """For this call: until the next instant is due."""
        if call.instant is None or grid is None:
            return timedelta(seconds=self.asked_s)
        upcoming = grid.after(call.instant)
        period = self.most_s if upcoming is None else upcoming - call.instant
        return timedelta(seconds=min(max(period, self.least_s), self.most_s))


@dataclass(frozen=True, slots=True)
class SchedulePorts:
    """What the object meets the other rooms by."""

    lane: LaneSource
    enqueue: Callable[[str, str, str, str], Awaitable[Enqueued]]
    """(family, payload, origin, dedup key). Raises `OperatorError`."""
    paused: Callable[[str], Awaitable[bool]]
    """Whether a family is paused. Raises `BoundaryDown`."""
    progress: WorkProgress
    history: FireHistory
    now: Now
    patience: Patience = Patience()


@dataclass(frozen=True, slots=True)
class _Memory:
    """The object's state between calls."""

    seen: tuple[str, ...]
    account: Account | None
    """None: not known any more; it begins anew with the next decision."""
    current: Fire | None
    """The fire that started work last."""
    forgot: str | None = None
    """Why it, or a part of it, could not be read. Told with the next fire, and never kept."""


class _GaveUp(Exception):
    """A step's servers were away for longer than it waits."""


def build_schedule(ports: SchedulePorts) -> restate.VirtualObject:
    """The lane's schedules as one Restate service, keyed by schedule."""
    service = restate.VirtualObject(
        schedule_service(ports.lane.current.name),
        journal_retention=RETENTION,
        idempotency_retention=RETENTION,
        inactivity_timeout=timedelta(minutes=5),
        invocation_retry_policy=_POLICY,
    )

    @service.handler(name=HANDLER, input_serde=_BYTES, output_serde=_BYTES)
    async def fire(ctx: restate.ObjectContext, body: bytes) -> bytes:
        return await _Decision(ctx, ports).run(body)

    @service.handler(name=RECORD, kind="shared", input_serde=_BYTES, output_serde=_BYTES)
    async def record(ctx: restate.ObjectSharedContext, body: bytes) -> bytes:
        """Beside the object's decisions, for as long as it takes."""
        try:
            fires = decode_fires(body, schedule=ctx.key())
        except MalformedRun as error:
            raise restate.TerminalError(error.message, 400) from None
        await _step(ctx, "record", _record, ports, fires)
        return b"null"

    return service


class _Decision:
    """One call. Everything outside of the steps must be deterministic."""

    def __init__(self, ctx: restate.ObjectContext, ports: SchedulePorts) -> None:
        self._ctx = ctx
        self._ports = ports

    async def run(self, body: bytes) -> bytes:
        try:
            call = decode_call(body)
            if call.schedule != self._ctx.key():
                raise MalformedRun(f"it is for schedule {call.schedule}")
        except MalformedRun as error:
            raise restate.TerminalError(error.message, 400) from None
        memory = _memory(await self._ctx.get("memory", serde=_STATE), call.schedule)
        if call.fire_id in memory.seen:
            return _answer(call, FireDecision.DUPLICATE)
        decided = await self._decided(call, memory)
        if (nothing := decided.get("nothing")) is not None:
            return _answer(call, FireDecision(nothing))
        fire = replace(_fire_of(decided["fire"]), forgot=memory.forgot)
        if fire.decision in STARTING:
            fire = await self._start(call, fire, decided)
        await self._on_record([*(_fire_of(missed) for missed in decided["missed"]), fire])
        seen = (*memory.seen, call.fire_id)[-SEEN_MOST:]
        account = memory.account if decided["account"] is None else _account(decided["account"])
        current = fire if fire.decision in STARTING else memory.current
        self._ctx.set("memory", _pack(_Memory(seen, account, current)), serde=_BYTES)
        return _answer(call, fire.decision, fire.work_id, fire.reason)

    async def _decided(self, call: FireCall, memory: _Memory) -> dict[str, Any]:
        schedule = self._ports.lane.current.schedules.get(call.schedule)
        within = self._ports.patience.of(call, None if schedule is None else schedule.grid)
        try:
            return _json(await _step(self._ctx, "decide", self._decide, call, memory, within=within))
        except _GaveUp as error:
            # What its servers would have told stays unknown; that it did not start is not.
            return _json(await _step(self._ctx, "refuse", self._refuse, call, memory, str(error)))

    async def _start(self, call: FireCall, fire: Fire, decided: dict[str, Any]) -> Fire:
        payload = str(decided["payload"])
        if fire.via == "queue":
            schedule = self._ports.lane.current.schedules.get(call.schedule)
            grid = None if schedule is None else schedule.grid
            within = self._ports.patience.of(call, grid)
            try:
                made = _json(
                    await _step(self._ctx, "enqueue", self._enqueue, fire, payload, grid, within=within)
                )
            except _GaveUp as error:
                made = {"decision": FireDecision.REFUSED, "code": BoundaryDown.code, "reason": str(error)}
            return replace(
                fire,
                decision=FireDecision(made.get("decision", fire.decision)),
                work_id=made.get("work_id"),
                late=fire.late or bool(made.get("late")),
                reason=made.get("reason"),
                code=made.get("code"),
            )
        request = RunRequest(
            item_id=fire.fire_id,
            attempt=1,
            family=fire.family or "",
            priority=Priority[str(decided["priority"])],
            payload=payload,
        )
        self._ctx.generic_send(
            str(decided["service"]),
            "run",
            encode_request(request),
            key=run_id_of(fire.fire_id, 1),
        )
        return replace(fire, work_id=fire.fire_id)

    async def _on_record(self, fires: Sequence[Fire]) -> None:
        within = timedelta(seconds=self._ports.patience.record_s)
        try:
            await _step(self._ctx, "record", _record, self._ports, fires, within=within)
        except _GaveUp:
            service = schedule_service(self._ports.lane.current.name)
            self._ctx.generic_send(service, RECORD, encode_fires(fires), key=self._ctx.key())

    async def _decide(self, call: FireCall, memory: _Memory) -> bytes:
        lane = self._ports.lane.current
        schedule = lane.schedules.get(call.schedule)
        family = None if schedule is None else lane.families.get(schedule.family)
        if schedule is None or family is None:
            return self._told(lane, self._fire(call, FireDecision.UNDECLARED))
        fire = self._fire(
            call, FireDecision.STARTED, via=schedule.via, family=schedule.family, late=call.late
        )
        grid, missed = schedule.grid, []
        before = account = self._account(memory, grid, call)
        if call.instant is not None:
            if account.has(call.instant):
                return _nothing(FireDecision.DUPLICATE)
            await self._until(call.instant)
            since = await self._ports.history.began(call.schedule)
            now = self._ports.now()
            judged = judge(account, grid, call.instant, now=now, since=since)
            if judged.standing is not Standing.DUE:
                known = judged.standing is Standing.ACCOUNTED
                return _nothing(FireDecision.DUPLICATE if known else FireDecision.NOT_DUE)
            account = judged.account
            missed = [self._missed(fire, instant, now) for instant in judged.missed]
            late = call.late or _is_late(grid, call.instant, now)
            fire = replace(fire, decided_at=now, late=late, missed_before=judged.missed_total)
            newest = grid.at_or_before(now)
            if late and (
                schedule.misfire == "skip"
                or (newest is not None and newest > call.instant)
                or before.decided_since(call.instant, now)
            ):
                return self._told(lane, replace(fire, decision=FireDecision.MISFIRE), missed, account)
        if (
            schedule.overlap == "forbid"
            and memory.current is not None
            and await self._ports.progress.ended(memory.current) is None
        ):
            return self._told(lane, replace(fire, decision=FireDecision.OVERLAP), missed, account)
        if await self._ports.paused(schedule.family):
            # A run can't be held: while the family is paused it is queued instead, and waits there.
            fire = replace(fire, decision=FireDecision.HELD, via="queue")
        return self._told(lane, fire, missed, account, schedule.payload, family.priority.name)

    def _account(self, memory: _Memory, grid: Grid, call: FireCall) -> Account:
        if memory.account is not None:
            return memory.account
        now = self._ports.now()
        return begun_anew(grid, now if call.instant is None else call.instant, now)

    async def _until(self, instant: float) -> None:
        """An early call waits; nothing starts before its instant."""
        while 0 < (early := instant - self._ports.now()) <= WAIT_MOST_S:  # noqa: ASYNC110 - no event tells the time
            await asyncio.sleep(early)

    async def _refuse(self, call: FireCall, memory: _Memory, reason: str) -> bytes:
        lane = self._ports.lane.current
        schedule = lane.schedules.get(call.schedule)
        now = self._ports.now()
        fire = replace(
            self._fire(call, FireDecision.REFUSED),
            reason=reason,
            code=BoundaryDown.code,
            family=None if schedule is None else schedule.family,
            via="queue" if schedule is None else schedule.via,
        )
        if call.instant is None or schedule is None:
            return self._told(lane, fire)
        account = self._account(memory, schedule.grid, call)
        if account.has(call.instant):
            return _nothing(FireDecision.DUPLICATE)
        if call.instant > now:
            return _nothing(FireDecision.NOT_DUE)
        # What passed before it is told by the next call that can ask since when the schedule counts.
        fire = replace(fire, late=fire.late or _is_late(schedule.grid, call.instant, now))
        return self._told(lane, fire, [], account.with_decided(schedule.grid, call.instant))

    def _fire(
        self,
        call: FireCall,
        decision: FireDecision,
        *,
        via: str = "queue",
        family: str | None = None,
        late: bool = False,
    ) -> Fire:
        return Fire(
            fire_id=call.fire_id,
            schedule=call.schedule,
            family=family,
            kind=call.kind,
            instant=call.instant,
            decided_at=self._ports.now(),
            late=late,
            decision=decision,
            via=via,
            work_id=None,
            actor=call.actor,
        )

    @staticmethod
    def _missed(fire: Fire, instant: float, now: float) -> Fire:
        return replace(
            fire,
            fire_id=fire_id_of(fire.schedule, instant),
            kind=FireKind.SCHEDULED,
            instant=instant,
            decided_at=now,
            late=False,
            decision=FireDecision.MISSED,
        )

    @staticmethod
    def _told(
        lane: Lane,
        fire: Fire,
        missed: Sequence[Fire] = (),
        account: Account | None = None,
        payload: str = "{}",
        priority: str = "P2",
    ) -> bytes:
        told = {
            "fire": fire_form(fire),
            "missed": [fire_form(one) for one in missed],
            "account": None if account is None else asdict(account),
            "payload": payload,
            "priority": priority,
            "service": service_of(lane, fire.family or ""),
        }
        return json.dumps(told).encode()

    async def _enqueue(self, fire: Fire, payload: str, grid: Grid | None) -> bytes:
        """Whatever the door answers is the decision; that its server is away is not an answer."""
        try:
            made = await self._ports.enqueue(
                fire.family or "", payload, f"schedule:{fire.schedule}", fire.fire_id
            )
        except AckNotKept as error:
            if error.enqueued is None:
                raise
            made = error.enqueued  # it is in the queue, as any item whose disk or replica is slow
        except UnknownFamily as error:
            return _refusal(FireDecision.UNDECLARED, error)
        except (Refused, UsageError) as error:
            return _refusal(FireDecision.REFUSED, error)
        late = (
            grid is not None and fire.instant is not None and _is_late(grid, fire.instant, self._ports.now())
        )
        return json.dumps({"work_id": made.item_id, "late": late}).encode()


async def _record(ports: SchedulePorts, fires: Sequence[Fire]) -> bytes:
    for fire in fires:
        await ports.history.record(fire)
    return b"null"


async def _step(
    ctx: restate.ObjectContext | restate.ObjectSharedContext,
    name: str,
    step: Callable[..., Awaitable[bytes]],
    *args: object,
    within: timedelta | None = None,
) -> bytes:
    """Tried until it works, or, with ``within``, so long. Raises `_GaveUp`."""

    async def once() -> bytes:
        try:
            async with asyncio.timeout(STEP_TIMEOUT_S):
                return await step(*args)
        except Exception as error:  # noqa: BLE001 - whatever it is, the step is not done yet
            said = error.message if isinstance(error, OperatorError) else f"{type(error).__name__}: {error}"
            raise RetryableError(one_line(said, REASON_MAX), 500, retry_after=RETRY) from None

    try:
        return await ctx.run_typed(name, once, restate.RunOptions(serde=_BYTES, max_duration=within))
    except restate.TerminalError as error:
        if within is None or error.status_code == _CANCELLED:
            raise
        raise _GaveUp(one_line(error.message, REASON_MAX)) from None


def _is_late(grid: Grid, instant: float, now: float) -> bool:
    return now - instant > grid.tolerance(instant)


def _nothing(decision: FireDecision) -> bytes:
    return json.dumps({"nothing": decision.value}).encode()


def _refusal(decision: FireDecision, error: OperatorError) -> bytes:
    reason = one_line(error.message, REASON_MAX)
    return json.dumps({"decision": decision.value, "code": error.code, "reason": reason}).encode()


def _answer(
    call: FireCall, decision: FireDecision, work_id: str | None = None, reason: str | None = None
) -> bytes:
    told = {"fire_id": call.fire_id, "decision": decision.value, "work_id": work_id, "reason": reason}
    return json.dumps(told).encode()


def _json(data: bytes) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(data)
    return value


def _fire_of(form: object) -> Fire:
    return fire_of(form, "the step that decided it")


def _account(value: dict[str, Any]) -> Account:
    through = value["through"]
    return Account(
        tuple((float(first), float(last)) for first, last in value["decided"]),
        None if through is None else float(through),
        float(value["told_at"]),
    )


def _migrated(document: dict[str, Any], version: int) -> dict[str, Any]:
    """Before versions there was one that knew the latest instant, and each of the last ones by its id."""
    del version
    if document.get("account") is None:
        latest = float(document["latest"])
        known = [instant for one in document["seen"] if (instant := _instant_of(one)) is not None]
        document["account"] = Account(stretches_of(known), latest, latest) if latest else Account()
    return document


def _memory_form(memory: _Memory) -> dict[str, Any]:
    """With what an older version reads."""
    account = memory.account
    latest = max((last for _, last in account.decided), default=0.0) if account is not None else 0.0
    return {
        "seen": memory.seen,
        "latest": latest,
        "current": None if memory.current is None else fire_form(memory.current),
        "account": None if account is None else asdict(account),
    }


MEMORY = Document("a schedule's memory", _Memory, migrate=_migrated, form=_memory_form)


def _memory(data: bytes | None, schedule: str) -> _Memory:
    """What can't be read of it is told, and forgotten: asked for again it would be no better."""
    if data is None:
        return _Memory((), Account(), None)
    where = f"Restate, object {schedule}"
    try:
        return MEMORY.read(data, where)
    except UnreadableDocument as error:
        forgot = one_line(error.message, REASON_MAX)
    try:
        # Only the fire before may be what is spoilt: which instants were decided about is worth more.
        document = _json(data)
        return replace(MEMORY.of({**document, "current": None}, where), forgot=forgot)
    except (UnreadableDocument, ValueError, TypeError, RecursionError):
        return _Memory((), None, None, forgot)


def _instant_of(fire_id: str) -> float | None:
    match = FIRE_ID.fullmatch(fire_id)
    try:
        return None if match is None else datetime.fromisoformat(match.group(2)).timestamp()
    except ValueError:
        return None  # one that a person asked for


def _pack(memory: _Memory) -> bytes:
    return MEMORY.text(memory).encode()
