"""How often the reconciler looks, how much it takes on at once, and how long it waits before it judges."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Times in seconds."""

    every_s: float = 2.0
    """Between two passes."""
    answer_within_s: float = 5.0
    """For one question to Restate. A page of live runs takes 50 ms at 100,000 runs of history."""
    undeclared_grace_s: float = 10.0
    """A family missing from the lane file for less is not taken for removed: a file is edited in several saves."""
    settle_grace_s: float = 5.0
    """A run in flight for less is not compared: its own last step settles it."""
    admit_grace_s: float = 10.0
    """A run begun later is not compared: its row is on the way to being in flight."""
    round_every_s: float = 10.0
    """From the beginning of one round over the live runs to that of the next, at least."""
    rows_a_page: int = 200
    rows_a_pass: int = 5000
    """Rows in flight that one pass asks Restate about."""
    unknown_shown: int = 20
    runs_a_page: int = 1000
    pages_a_pass: int = 2
    """Pages of live runs a pass: each is a scan at Restate, 50 ms at 100,000 runs of history."""
    differences_kept: int = 10_000
