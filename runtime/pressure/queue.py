"""The queue of one lane: all of an item's ways in one hand.

Every script is atomic on one family; a repeat of any of them does no harm. Time is the
server's ``TIME`` unless a test passes it.
"""

from __future__ import annotations

from runtime.pressure.dispatch import Dispatch
from runtime.pressure.inflow import Inflow
from runtime.pressure.recovery import Recovery
from runtime.pressure.settling import Settling


class Queue(Inflow, Dispatch, Recovery, Settling):
    """In, out, back after a crash, and closed."""
