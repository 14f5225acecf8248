"""What is said of a family, the same on the command line and on screen. Clean text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC

from runtime.model import WaitsFor
from runtime.text import one_line
from runtime.truth.document import DiagnosisInfo, FamilyRow

_LIMITS = {
    "retry_after": "its target",
    "max_in_flight": "max_in_flight",
    "rate": "its rate",
    "concurrency": "its concurrency key",
    "lane_max_in_flight": "the lane's max_in_flight",
    "lane_rate": "the lane's rate",
}


def throttled_words(family: FamilyRow) -> str:
    """By which limits, the one that holds back the most first; how many each where there are several."""
    by = sorted(((n, limit) for limit, n in family.throttled_by.items() if n), reverse=True)
    if not by:
        return "throttled by a limit"
    if by[0][1] == "retry_after":
        until = family.retry_after_until
        asked = (
            "" if until is None else f", which asked to come again at {until.astimezone(UTC):%H:%M:%S} UTC"
        )
        return f"throttled by its target{asked}"
    if len(by) == 1:
        return f"throttled by {_LIMITS.get(by[0][1], one_line(by[0][1], 40))}"
    told = [f"{_LIMITS.get(limit, one_line(limit, 40))} ({n:,})" for n, limit in by]
    return f"throttled by {', '.join(told[:-1])} and {told[-1]}"


def waits_words(waits: WaitsFor, length: Callable[[float], str], now: float) -> str:
    """``an answer of POST http://…, for 2m 10s of at most 5m 0s``. ``length``: how the front end tells seconds."""
    limit = "" if waits.limit_s is None else f" of at most {length(waits.limit_s)}"
    return f"{one_line(waits.what, 300)}, for {length(max(0.0, now - waits.since))}{limit}"


def diagnosis_words(saw: DiagnosisInfo) -> str:
    """``5 of 6 failures said: HTTP 503``."""
    failures = "failure" if saw.failures == 1 else "failures"
    return f"{saw.count:,} of {saw.failures:,} {failures} said: {one_line(saw.error, 200)}"
