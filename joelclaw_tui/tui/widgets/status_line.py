"""The calm line above the keys: the processes, the boundaries that are absent, the lane file."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.marks import READABLE
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.host import host_of
from joelclaw_tui.tui.widgets.told import Told
from joelclaw_tui.tui.widgets.tones import joined, toned
from runtime.truth.document import BoundaryStatus, ProcessRow, Snapshot


class StatusLine(Told):
    DEFAULT_CSS = """
    StatusLine { height: 1; padding: 0 1; background: $background; color: $muted; }
    """

    def on_mount(self) -> None:
        self.draw()

    def on_resize(self) -> None:
        self.draw()

    def draw(self) -> None:
        snapshot = host_of(self).view.snapshot
        self.update(
            Content()
            if snapshot is None
            else status_content(snapshot).truncate(self.size.width, ellipsis=True)
        )


def status_content(snapshot: Snapshot) -> Content:
    runtime = snapshot.runtime
    # Signs of life are kept in Redis: without it none was seen, which doesn't mean that there is none.
    seen = snapshot.boundaries.pressure.status in READABLE
    parts = [
        _processes("drainer", runtime.drainers, seen=seen),
        _processes("worker", runtime.workers, seen=seen),
        _processes("gateway", [runtime.gateway] if runtime.gateway else [], seen=seen),
    ]
    if runtime.clocks:
        parts.append(_processes("clock", runtime.clocks, seen=seen))
    absent = [
        name
        for name, boundary in (("clock", snapshot.boundaries.clock), ("sandbox", snapshot.boundaries.sandbox))
        if boundary.status is BoundaryStatus.ABSENT
    ]
    if absent:
        parts.append(toned(f"{' and '.join(absent)}: absent", Tone.DIM))
    if runtime.lane_file.error:
        parts.insert(0, toned("▲ the lane file's last edit is refused", Tone.WARN))
    return joined(parts)


def _processes(role: str, rows: Sequence[ProcessRow], *, seen: bool) -> Content:
    """How many live, and how long the silent ones have been silent."""
    live = [row for row in rows if row.alive]
    silent = [row for row in rows if not row.alive]
    name = role if len(rows) <= 1 else f"{role}s"
    if not rows and not seen:
        return toned(f"{role} unknown", Tone.WARN)
    if not rows:
        return toned(f"no {role}", Tone.DIM if role == "gateway" else Tone.WARN)
    if not live:
        return toned(f"{name} silent for {units.length(min(row.beat_age_s for row in silent))}", Tone.WARN)
    quiet = f" (+{len(silent)} silent)" if silent else ""
    return toned(f"{len(live)} {role}{'s' if len(live) != 1 else ''}{quiet}", Tone.DIM)
