"""The two lines on top of every screen: what is being looked at, how old it is, and the verdict."""

from __future__ import annotations

from textual.content import Content

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.marks import SEVERITY, VERDICT
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.host import host_of
from joelclaw_tui.tui.view import View
from joelclaw_tui.tui.widgets.told import Told
from joelclaw_tui.tui.widgets.tones import joined, mark_content, spread, toned
from runtime.common.text import one_line
from runtime.truth.document import Boundary, Finding, Severity, Snapshot

TICK_S = 0.5
"""How often the age is drawn anew: it must go on while no snapshot comes."""


class ConsoleHeader(Told):
    """Target and age on the first line, verdict and worst finding on the second."""

    DEFAULT_CSS = """
    ConsoleHeader { height: 2; padding: 0 1; background: $panel; color: $foreground; }
    """

    def on_mount(self) -> None:
        self.set_interval(TICK_S, self.draw)
        self.draw()

    def on_resize(self) -> None:
        self.draw()

    def draw(self) -> None:
        host = host_of(self)
        width = max(10, self.size.width)
        self.update(
            Content("\n").join(
                [
                    spread(_what(host.view, width), age_content(host.view, host.now()), width),
                    _verdict(host.view, width),
                ]
            )
        )


def age_content(view: View, now: float) -> Content:
    """How old what is shown is; a warning once it is too old, with the reason."""
    seconds = view.age_s(now)
    if view.held:
        return toned(f"‖ held still, {units.length(seconds)} old", Tone.HELD, bold=True)
    if seconds is None:
        return toned(
            "? not answering" if view.late or view.problem else "looking …",
            Tone.WARN if view.late else Tone.DIM,
        )
    if view.problem is not None:
        return toned(f"▲ can't look, {units.length(seconds)} old", Tone.WARN, bold=True)
    if seconds > view.old_after_s:
        return toned(f"▲ {units.length(seconds)} old", Tone.WARN, bold=True)
    return toned(f"● {units.length(seconds)} ago", Tone.DIM)


def _what(view: View, width: int) -> Content:
    snapshot = view.snapshot
    lane = one_line(snapshot.lane, 40) if snapshot else "–"
    profile = one_line(snapshot.profile if snapshot else view.settings.profile, 40)
    parts = [Content.assemble(toned("lane ", Tone.DIM), toned(lane, bold=True)), toned(profile)]
    if view.read_only:
        parts.insert(0, toned("read-only", Tone.WARN, bold=True))
    if snapshot is not None:
        parts += [toned(text, Tone.DIM) for text in _targets(snapshot, width)]
    return joined(parts)


def _targets(snapshot: Snapshot, width: int) -> list[str]:
    wide = width >= 110
    pressure, durable = snapshot.boundaries.pressure.source, snapshot.boundaries.durable.source
    redis = _known(pressure.get("server")) or "redis"
    if (database := pressure.get("database")) is not None:
        redis += f" db{database}"
    if wide and (run_id := _known(pressure.get("run_id"))):
        redis += f" run {run_id[:8]}"
    restate = f"restate {_known(durable.get('version')) or '?'}"
    targets = [redis, restate]
    clock = snapshot.boundaries.clock.data
    if width >= 140 and clock is not None:
        led = "" if clock.leader is None else f" led by {one_line(clock.leader, 40)}"
        targets.append(f"{clock.engine} clock{led}")
    if wide:
        lane_file = snapshot.runtime.lane_file
        targets.append(f"{one_line(lane_file.path, 40)} #{one_line(lane_file.sha256, 80)[:8]}")
    return targets


def _known(value: str | int | bool | None) -> str | None:
    return None if value is None else one_line(str(value), 40)


def _verdict(view: View, width: int) -> Content:
    if view.snapshot is None:
        if view.problem is not None:
            fix = f" — {view.problem.fix}" if view.problem.fix else ""
            return toned(f"? {view.problem.message}{fix}", Tone.CRIT).truncate(width, ellipsis=True)
        return toned("Taking the first look …", Tone.DIM)
    verdict = view.snapshot.verdict
    left = Content.assemble(
        mark_content(VERDICT[verdict.status]), "  ", _worst(verdict.findings, verdict.summary)
    )
    telling = sum(finding.severity is not Severity.INFO for finding in verdict.findings)
    more = f"{telling} finding{'s' if telling != 1 else ''} " if telling else ""
    return spread(
        left,
        Content.assemble(toned(more, Tone.DIM), toned("f", Tone.INFO, bold=True)) if more else Content(),
        width,
    )


def _worst(findings: list[Finding], summary: str) -> Content:
    telling = [finding for finding in findings if finding.severity is not Severity.INFO]
    if not telling:
        return toned(one_line(summary, 200), Tone.DIM)
    worst = next((f for f in telling if f.severity is Severity.CRIT), telling[0])
    return toned(one_line(worst.message, 200), SEVERITY[worst.severity].tone)


def boundary_age(boundary: Boundary[object], now: float) -> float | None:
    """Seconds since a boundary's data was read; None when it never was."""
    return None if boundary.observed_at is None else max(0.0, now - boundary.observed_at.timestamp())
