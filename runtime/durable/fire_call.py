"""The wire form of a `FireCall`, checked when it is sent and again when it is decided."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

from runtime.durable.request import MalformedRun
from runtime.model import FIRE_ID, FireCall, FireKind, fire_id_of
from runtime.text import one_line

HANDLER = "fire"
"""Of the `Schedule` object."""


def encode_call(call: FireCall) -> bytes:
    return json.dumps(asdict(call), separators=(",", ":")).encode("ascii")


def decode_call(body: bytes) -> FireCall:
    """Raises `MalformedRun`: whoever reaches Restate's ingress can send anything."""
    try:
        value = json.loads(body)
        call = FireCall(**{**value, "kind": FireKind(value["kind"])})
        instant = None if call.instant is None else float(call.instant)
        call = replace(
            call,
            instant=instant,
            called_at=float(call.called_at),
            late=bool(call.late),
            missed_before=int(call.missed_before),
            actor=None if call.actor is None else one_line(str(call.actor), 100),
        )
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        raise MalformedRun("not a call of a schedule") from None
    match = FIRE_ID.fullmatch(call.fire_id) if isinstance(call.fire_id, str) else None
    if match is None or match.group(1) != call.schedule:
        raise MalformedRun("fire_id is not a fire's id")
    if (call.instant is None) is not (call.kind is FireKind.ASKED):
        raise MalformedRun("an instant belongs to all fires but asked ones")
    if call.instant is not None and fire_id_of_instant(call.schedule, call.instant) != call.fire_id:
        raise MalformedRun("its instant is not its id's")
    if not math.isfinite(call.called_at) or call.missed_before < 0:
        raise MalformedRun("not a call of a schedule")
    return call


def fire_id_of_instant(schedule: str, instant: float) -> str | None:
    """The id that belongs to an instant; None for a number that is no instant."""
    try:
        return fire_id_of(schedule, instant) if instant == int(instant) else None
    except (ValueError, OverflowError, OSError):
        return None
