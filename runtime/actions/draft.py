"""What an intent would touch, before it is frozen into a preview."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.common.text import one_line
from runtime.common.units import count
from runtime.model import BulkOrder, PreviewTarget, Selected

LINES_BOUND = 40
NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class DraftedBatches:
    """The items of an action on the backlog; see `runtime.model.FrozenPreview`, which this becomes."""

    order: BulkOrder
    selected: Selected
    touched: Mapping[str, int]
    target: PreviewTarget
    export_to: str | None


@dataclass(frozen=True, slots=True)
class Draft:
    """See `runtime.actions.intents.Preview`, whose fields these are."""

    ids: tuple[str, ...]
    matching: int
    title: str
    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    target: str
    destructive: bool = False
    expected: tuple[str, ...] = ()
    pause_epochs: tuple[int, ...] = ()
    lane_hold: str = ""
    found: object = None
    """What the verb has looked at, for whoever shows more than lines."""
    batches: DraftedBatches | None = None
    """Of an action on the backlog."""


def bounded_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Cleaned for display, at most `LINES_BOUND` and one that says how many more."""
    shown = tuple(one_line(line, 400) for line in lines[:LINES_BOUND])
    return shown if len(lines) <= LINES_BOUND else (*shown, f"… and {len(lines) - LINES_BOUND:,} more")


def few(names: Sequence[str]) -> str:
    """The first names, and how many more."""
    shown = ", ".join(one_line(name, 100) for name in names[:NAMES_SHOWN])
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN:,} more"


def many(ids: Sequence[str], noun: str) -> str:
    """One thing by its name, more by their count."""
    return one_line(ids[0], 130) if len(ids) == 1 else count(len(ids), noun)
