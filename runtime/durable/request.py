"""The wire form of a `RunRequest`: the whole input of one run, as strict JSON.

Checked before it is sent and again when a run begins: Restate itself accepts any body, and a run
whose input can't be read must end at once, not back off for ever.
"""

from __future__ import annotations

import json
import math
from typing import Any

from runtime.model import (
    FAMILY_NAME,
    FAMILY_NAME_MAX,
    FIRE_ID,
    ITEM_ID,
    Failure,
    Outcome,
    Priority,
    RunRequest,
    UsageError,
)

VERSION = 1
ATTEMPT_MAX = 999_999_999
FAILURES_MAX = 100
_KEYS = frozenset({"v", "item_id", "attempt", "family", "priority", "payload", "failures"})
_FAILURE_KEYS = frozenset({"attempt", "outcome", "message", "at"})


class MalformedRun(UsageError):
    """The input of a run that can't be a run's."""

    code = "malformed-run"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"malformed run request: {reason}",
            fix="runs are started by admission only; enqueue the work instead",
        )


def encode_request(request: RunRequest) -> bytes:
    """Raises `MalformedRun` for a request that `decode_request` would refuse."""
    body = {
        "v": VERSION,
        "item_id": request.item_id,
        "attempt": request.attempt,
        "family": request.family,
        "priority": request.priority.name,
        "payload": request.payload,
        "failures": [
            {"attempt": f.attempt, "outcome": f.outcome.value, "message": f.message, "at": f.at}
            for f in request.failures
        ],
    }
    _request(body)
    return json.dumps(body, separators=(",", ":")).encode("ascii")


def decode_request(body: bytes) -> RunRequest:
    """Raises `MalformedRun`."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedRun("not JSON") from None
    return _request(value)


def _request(value: object) -> RunRequest:
    body = _table(value, _KEYS, "request")
    if body["v"] != VERSION:
        raise MalformedRun(f"version {str(body['v'])[:20]!r} is not {VERSION}")
    item_id = _text(body["item_id"], "item_id")
    if not ITEM_ID.fullmatch(item_id) and not FIRE_ID.fullmatch(item_id):
        raise MalformedRun("item_id is neither an item's id nor a fire's")
    family = _text(body["family"], "family")
    if not FAMILY_NAME.fullmatch(family) or len(family) > FAMILY_NAME_MAX:
        raise MalformedRun("family is not a family's name")
    priority = _text(body["priority"], "priority")
    if priority not in Priority.__members__:
        raise MalformedRun("priority is not one of P0, P1, P2, P3")
    payload = _text(body["payload"], "payload")
    try:
        json.loads(payload)
    except (ValueError, RecursionError):
        raise MalformedRun("payload is not JSON") from None
    failures = body["failures"]
    if not isinstance(failures, list) or len(failures) > FAILURES_MAX:
        raise MalformedRun(f"failures is not a list of at most {FAILURES_MAX}")
    return RunRequest(
        item_id=item_id,
        attempt=_attempt(body["attempt"]),
        family=family,
        priority=Priority[priority],
        payload=payload,
        failures=tuple(_failure(failure) for failure in failures),
    )


def _failure(value: object) -> Failure:
    body = _table(value, _FAILURE_KEYS, "failure")
    at = body["at"]
    if isinstance(at, bool) or not isinstance(at, int | float) or not math.isfinite(at):
        raise MalformedRun("a failure's time is not a number")
    outcome = _text(body["outcome"], "outcome")
    if outcome not in list(Outcome):
        raise MalformedRun("a failure's outcome is unknown")
    return Failure(
        attempt=_attempt(body["attempt"]),
        outcome=Outcome(outcome),
        message=_text(body["message"], "message"),
        at=float(at),
    )


def _table(value: object, keys: frozenset[str], what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != keys:
        raise MalformedRun(f"a {what} has exactly the keys {', '.join(sorted(keys))}")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise MalformedRun(f"{what} is not text")
    return value


def _attempt(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= ATTEMPT_MAX:
        raise MalformedRun("attempt is not a number from 1")
    return value
