"""`Schedule`: the Restate object, one a schedule, that decides about its fires alone and in order.

This instant once, overlap, misfire. Calls of one schedule are handled one after the other, so that a
decision sees what the one before it did. What a call decided is on record before the next is looked at.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, cast

import restate
from restate.exceptions import RetryableError
from restate.serde import BytesSerde, Serde

from runtime.durable.fire_call import HANDLER, decode_call
from runtime.durable.request import MalformedRun, encode_request
from runtime.durable.services import service_of
from runtime.lanefile import Lane, LaneSource
from runtime.model import (
    STARTING,
    Enqueued,
    Fire,
    FireCall,
    FireDecision,
    FireHistory,
    FireKind,
    Now,
    OperatorError,
    Priority,
    RunRequest,
    WorkProgress,
    run_id_of,
    schedule_service,
)
from runtime.text import one_line

SEEN_MOST = 200
"""Fire ids that the object remembers; older instants are known by being older than the latest."""
RETENTION = timedelta(hours=1)
RETRY = timedelta(seconds=1)
STEP_TIMEOUT_S = 30.0
_BYTES = BytesSerde()
_STATE = cast("Serde[bytes | None]", _BYTES)
_STEP: restate.RunOptions[bytes] = restate.RunOptions(serde=_BYTES)
_POLICY = restate.InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=100),
    exponentiation_factor=2.0,
    max_interval=timedelta(seconds=10),
    max_attempts=1_000_000,
    on_max_attempts="pause",
)


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


@dataclass(frozen=True, slots=True)
class _Memory:
    """The object's state between calls."""

    seen: tuple[str, ...]
    latest: float
    """The latest instant that was decided about; 0: none."""
    current: Fire | None
    """The fire that started work last."""


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
        memory = _memory(await self._ctx.get("memory", serde=_STATE))
        if call.fire_id in memory.seen:
            return _answer(call, FireDecision.DUPLICATE, None)
        decided = _json(await self._step("decide", self._decide, call, memory))
        fire = _fire(decided["fire"])
        if fire.decision in STARTING:
            fire = await self._start(fire, decided)
        await self._step("record", self._record, fire)
        seen = (*memory.seen, call.fire_id)[-SEEN_MOST:]
        latest = memory.latest if call.instant is None else max(memory.latest, call.instant)
        current = fire if fire.decision in STARTING else memory.current
        self._ctx.set("memory", _pack(_Memory(seen, latest, current)), serde=_BYTES)
        return _answer(call, fire.decision, fire.work_id)

    async def _start(self, fire: Fire, decided: dict[str, Any]) -> Fire:
        payload = str(decided["payload"])
        if fire.via == "queue":
            made = _json(await self._step("enqueue", self._enqueue, fire, payload))
            if made["work_id"] is None:
                # Refused for good: on record as undeclared, not lost in silence.
                return replace(fire, decision=FireDecision.UNDECLARED)
            return replace(fire, work_id=str(made["work_id"]))
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

    async def _decide(self, call: FireCall, memory: _Memory) -> bytes:
        lane = self._ports.lane.current
        schedule = lane.schedules.get(call.schedule)
        family = None if schedule is None else lane.families.get(schedule.family)
        if schedule is None or family is None:
            return self._decided(lane, call, FireDecision.UNDECLARED, via="queue", family=None)
        late = call.late
        if call.instant is not None:
            now = self._ports.now()
            grid = schedule.grid
            late = late or now - call.instant > grid.tolerance(call.instant)
            newest = grid.at_or_before(now)
            passed_by = call.instant <= memory.latest or (newest is not None and newest > call.instant)
            if late and (schedule.misfire == "skip" or passed_by):
                return self._decided(
                    lane, call, FireDecision.MISFIRE, via=schedule.via, family=schedule.family, late=True
                )
        if (
            schedule.overlap == "forbid"
            and memory.current is not None
            and await self._ports.progress.ended(memory.current) is None
        ):
            return self._decided(
                lane, call, FireDecision.OVERLAP, via=schedule.via, family=schedule.family, late=late
            )
        held = await self._ports.paused(schedule.family)
        # A run can't be held: while the family is paused it is queued instead, and waits there.
        via = "queue" if held else schedule.via
        decision = FireDecision.HELD if held else FireDecision.STARTED
        return self._decided(
            lane,
            call,
            decision,
            via=via,
            family=schedule.family,
            late=late,
            payload=schedule.payload,
            priority=family.priority.name,
        )

    def _decided(
        self,
        lane: Lane,
        call: FireCall,
        decision: FireDecision,
        *,
        via: str,
        family: str | None,
        late: bool | None = None,
        payload: str = "{}",
        priority: str = "P2",
    ) -> bytes:
        fire = Fire(
            fire_id=call.fire_id,
            schedule=call.schedule,
            family=family,
            kind=call.kind,
            instant=call.instant,
            decided_at=self._ports.now(),
            late=call.late if late is None else late,
            decision=decision,
            via=via,
            work_id=None,
            missed_before=call.missed_before,
            actor=call.actor,
        )
        told = {
            "fire": asdict(fire),
            "payload": payload,
            "priority": priority,
            "service": service_of(lane, family or ""),
        }
        return json.dumps(told).encode()

    async def _enqueue(self, fire: Fire, payload: str) -> bytes:
        try:
            made = await self._ports.enqueue(
                fire.family or "", payload, f"schedule:{fire.schedule}", fire.fire_id
            )
        except OperatorError as error:
            if error.code in ("unknown-family", "payload-too-large", "bad-payload", "schema"):
                return b'{"work_id": null}'
            raise
        return json.dumps({"work_id": made.item_id}).encode()

    async def _record(self, fire: Fire) -> bytes:
        await self._ports.history.record(fire)
        return b"null"

    async def _step(self, name: str, step: Callable[..., Awaitable[bytes]], *args: object) -> bytes:
        """Tried until it works: a schedule whose servers are away waits for them, in order."""

        async def once() -> bytes:
            try:
                async with asyncio.timeout(STEP_TIMEOUT_S):
                    return await step(*args)
            except Exception as error:  # noqa: BLE001 - whatever it is, the fire is not decided yet
                said = (
                    error.message if isinstance(error, OperatorError) else f"{type(error).__name__}: {error}"
                )
                raise RetryableError(one_line(f"{name}: {said}"), 500, retry_after=RETRY) from None

        return await self._ctx.run_typed(name, once, _STEP)


def _answer(call: FireCall, decision: FireDecision, work_id: str | None) -> bytes:
    return json.dumps({"fire_id": call.fire_id, "decision": decision.value, "work_id": work_id}).encode()


def _json(data: bytes) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(data)
    return value


def _fire(value: dict[str, Any]) -> Fire:
    return Fire(**{**value, "kind": FireKind(value["kind"]), "decision": FireDecision(value["decision"])})


def _memory(data: bytes | None) -> _Memory:
    if data is None:
        return _Memory((), 0.0, None)
    value = _json(data)
    current = value["current"]
    return _Memory(tuple(value["seen"]), float(value["latest"]), None if current is None else _fire(current))


def _pack(memory: _Memory) -> bytes:
    return json.dumps(asdict(memory)).encode()
