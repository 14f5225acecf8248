"""The body of a fire: nothing (the clock), ``{"missed": N}`` (a catch-up), ``{"asked_by": WHO}`` (a person)."""

from __future__ import annotations

import json

from runtime.model import UsageError

FIRE_BODY_MOST = 4096


class Forbidden(UsageError):
    """The token is known and does not open this."""

    code = "forbidden"
    http_status = 403


def fire_body(raw: bytes) -> tuple[int | None, str | None]:
    """(missed, asked by). Raises `UsageError`."""
    if not raw.strip():
        return None, None
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and len(value) <= 1:
        missed, asked_by = value.get("missed"), value.get("asked_by")
        if not value:
            return None, None
        if type(missed) is int and missed >= 0:
            return missed, None
        if isinstance(asked_by, str) and asked_by:
            return None, asked_by
    raise UsageError(
        "the body of a fire is not understood",
        fix='send none for the instant that is due now, or {"asked_by": "NAME"} to start it by hand',
    )
