"""What is said of a family, the same on the command line and on screen. Clean text."""

from __future__ import annotations

import re
from datetime import UTC
from urllib.parse import urlsplit

from rich.cells import cell_len, set_cell_size

from joelclaw_tui.presentation import units
from runtime.common.text import one_line
from runtime.model import WaitsFor
from runtime.truth.document import DiagnosisInfo, FamilyRow

_LIMITS = {
    "retry_after": "its target",
    "max_in_flight": "max_in_flight",
    "rate": "its rate",
    "concurrency": "its concurrency key",
    "lane_max_in_flight": "the lane's max_in_flight",
    "lane_rate": "the lane's rate",
}


_URL = re.compile(r"https?://[^\s,;\"'<>]+")
_STATUS = re.compile(r"\b(?:answered |HTTP )\d{3}\b")
_SHORTEST = 9
"""Cells below which a text has no middle that could be left out."""


def cut_middle(text: str, width: int) -> str:
    """``text`` in at most ``width`` cells, both its ends kept: names differ at their end as often as not."""
    if cell_len(text) <= width:
        return text
    if width < _SHORTEST:
        return set_cell_size(text, max(0, width - 1)) + "…" if width > 0 else ""
    tail = text[-(width // 2) :]
    while cell_len(tail) > width // 2:
        tail = tail[1:]
    return f"{set_cell_size(text, width - cell_len(tail) - 1)}…{tail}"


def cut_reason(text: str, width: int) -> str:
    """A failure in at most ``width`` cells. An address gives way first, down to its last part; then all
    that stands before the status; without one, what is in the middle."""
    if cell_len(text) <= width:
        return text
    shorter = _URL.sub(lambda found: _address(found.group()), text)
    if cell_len(shorter) > width and (status := _STATUS.search(shorter)) is not None:
        told = shorter[status.start() :]
        return told if cell_len(told) <= width else set_cell_size(told, max(0, width - 1)) + "…"
    return cut_middle(shorter, width)


def _address(url: str) -> str:
    """What tells it from others on the same host: the end of its path."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    path = parts.path.rstrip("/")
    kept = f"…/{path.rpartition('/')[2]}" if path else parts.netloc
    return kept if cell_len(kept) < cell_len(url) else url


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


def waits_words(waits: WaitsFor, now: float) -> str:
    """``an answer of POST http://…, for 2m 10s of at most 5m``."""
    limit = "" if waits.limit_s is None else f" of at most {units.length(waits.limit_s)}"
    return f"{one_line(waits.what, 300)}, for {units.length(max(0.0, now - waits.since))}{limit}"


def diagnosis_words(saw: DiagnosisInfo) -> str:
    """``5 of 6 failures said: HTTP 503``."""
    failures = "failure" if saw.failures == 1 else "failures"
    return f"{saw.count:,} of {saw.failures:,} {failures} said: {one_line(saw.error, 200)}"


def removed_words(family: FamilyRow, now: float) -> str:
    """``removed from the lane file: its backlog was put aside 3d 4h ago``; ``removed_since`` is set."""
    since = 0.0 if family.removed_since is None else now - family.removed_since.timestamp()
    why = "declared again" if family.declared else "removed from the lane file"
    return f"{why}: its backlog was put aside {units.length(since)} ago"
