"""The wire forms of a `FireCall` and of decided fires, checked when sent and again when read."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace

from runtime.common.stored import UnreadableDocument
from runtime.common.text import one_line
from runtime.durable.request import MalformedRun
from runtime.ledger.fire_row import fire_of
from runtime.model import FIRE_ID, Fire, FireCall, FireKind, fire_form, fire_id_of

HANDLER = "fire"
"""Of the `Schedule` object: decides."""
RECORD = "record"
"""Of the `Schedule` object, beside its decisions: what was decided while the history could not be written."""
FIRES_MOST = 1000
_FIELDS = frozenset(FireCall.__slots__)


def encode_call(call: FireCall) -> bytes:
    return json.dumps(asdict(call), separators=(",", ":")).encode("ascii")


def decode_call(body: bytes) -> FireCall:
    """Raises `MalformedRun`: whoever reaches Restate's ingress can send anything."""
    try:
        value = json.loads(body)
        known = {
            name: said for name, said in value.items() if name in _FIELDS
        }  # a newer version may say more
        call = FireCall(**{**known, "kind": FireKind(value["kind"])})
        instant = None if call.instant is None else float(call.instant)
        call = replace(
            call,
            instant=instant,
            called_at=float(call.called_at),
            late=bool(call.late),
            missed_before=int(call.missed_before),
            actor=None if call.actor is None else one_line(str(call.actor), 100),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
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


def encode_fires(fires: Sequence[Fire]) -> bytes:
    return json.dumps([fire_form(fire) for fire in fires], separators=(",", ":")).encode("ascii")


def decode_fires(body: bytes, *, schedule: str) -> list[Fire]:
    """Raises `MalformedRun`, also where one is another schedule's."""
    try:
        value = json.loads(body)
        fires = [fire_of(form, "a call of a schedule") for form in value] if isinstance(value, list) else []
        for fire in fires:
            if not math.isfinite(float(fire.decided_at)) or FIRE_ID.fullmatch(fire.fire_id) is None:
                raise ValueError(fire.fire_id)
            if fire.instant is not None and fire_id_of_instant(schedule, fire.instant) != fire.fire_id:
                raise ValueError(fire.fire_id)
    except (ValueError, TypeError, RecursionError, OverflowError, UnreadableDocument):
        raise MalformedRun("not fires of a schedule") from None
    if not 0 < len(fires) <= FIRES_MOST or any(fire.schedule != schedule for fire in fires):
        raise MalformedRun("not fires of this schedule")
    return fires
