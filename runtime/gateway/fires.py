"""What a fire's request says.

Its body: nothing (the clock), ``{"missed": N}`` (a catch-up, N of no account), ``{"asked_by": WHO}`` (a person).
Its header ``X-Joelclaw-Called-At``: when the clock made the call, where it says so.
"""

from __future__ import annotations

import json
import math

from runtime.common.text import one_line
from runtime.model import CALLED_AT_HEADER, UsageError

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


def called_at_of(text: str | None) -> float | None:
    """Seconds since the epoch. Raises `UsageError`."""
    if text is None:
        return None
    try:
        moment = float(text[:40])
    except ValueError:
        moment = math.nan
    if not 0 <= moment < 1e11:
        raise UsageError(
            f"{CALLED_AT_HEADER} {one_line(text, 40)!r} is no time",
            fix="send seconds since the epoch, or leave it out",
        )
    return moment
