"""When a target asked to be called again: RFC 9110, 10.2.3."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

from runtime.model import RETRY_AFTER_MAX_S

_DIGITS_MAX = 20


def retry_after_s(value: str | None, *, date: str | None, now: float) -> float | None:
    """Seconds from now, above 0 and at most `RETRY_AFTER_MAX_S`; None for no wait, or none that is understood.

    ``value``: of ``Retry-After``, whole seconds or a date. ``date``: of the answer's ``Date``, by whose clock a
    date is understood; ``now``, in seconds since the epoch, where it has none.
    """
    said = (value or "").strip()
    if said.isascii() and said.isdigit():
        wait = float(said) if len(said) <= _DIGITS_MAX else RETRY_AFTER_MAX_S
    else:
        until, since = _instant(said), _instant((date or "").strip())
        if until is None:
            return None
        wait = until - (now if since is None else since)
    return min(wait, RETRY_AFTER_MAX_S) if wait > 0 else None


def _instant(text: str) -> float | None:
    if not text or len(text) > 64:
        return None
    try:
        at = parsedate_to_datetime(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
