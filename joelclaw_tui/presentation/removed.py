"""What is said of an item whose whole family was quarantined: the same on the command line and on screen."""

from __future__ import annotations

from runtime.common.command_prefix import as_called
from runtime.common.text import one_line
from runtime.model import WorkItem


def why_removed(item: WorkItem) -> str:
    family = one_line(item.family, 100)
    return as_called(
        f"quarantined with all of {family}, which the lane file no longer declared: declare it again, "
        f"then `joelclaw-tui queue restore {family}`"
    )
