"""Numbers and words that the scripts of the queue share with those who call them."""

from __future__ import annotations

from runtime.model import RETRY_AFTER_MAX_S

RATE_BUCKET_S = 5
RATE_BUCKETS = 12
"""Rates count the present bucket and the eleven before it: the last 55 to 60 seconds."""
FAILURES_KEPT = 10
PAUSES_KEPT = 100
POURED_PER_CALL = 2000
"""Rows carried from one set into another by one script: some ten milliseconds of the server."""
DEATHS_MAX = 3
"""The death of so many drainers with one item in hand quarantines it."""

UNREADABLE = "!unreadable"
"""Stands for the origin of a row whose record was lost or spoilt."""

AHEAD_S = 60
"""A time of a family's that lies further beyond the server's was written when its clock was ahead."""

SHARED: dict[str, int | float | str] = {
    "RATE_BUCKET_US": RATE_BUCKET_S * 1_000_000,
    "RATE_BUCKETS": RATE_BUCKETS,
    "FAILURES_KEPT": FAILURES_KEPT,
    "PAUSES_KEPT": PAUSES_KEPT,
    "POURED_PER_CALL": POURED_PER_CALL,
    "UNREADABLE": UNREADABLE,
    "AHEAD_US": AHEAD_S * 1_000_000,
    "ALONE_MOST_US": round(RETRY_AFTER_MAX_S * 1_000_000),
}
"""What the files under ``lua/`` that are included name."""
