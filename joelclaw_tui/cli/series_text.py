"""A family's last day as lines for people, and as the JSON that ``--json`` prints."""

from __future__ import annotations

from typing import Any

from joelclaw_tui.cli.documents import instant
from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.sparkline import GAP, MEASURES, Measure, peak_of, spark, unknown_of
from joelclaw_tui.presentation.text_layout import INDENT, Line, Span, flow, line, pad, paragraph, safe
from joelclaw_tui.presentation.tones import Tone
from runtime.model import FamilySeries

_WORD = 10
_FIGURES = 26
"""Cells kept for the peak and the latest value beside a line."""


def series_lines(series: FamilySeries, width: int) -> list[Line]:
    minutes = len(series.points)
    lines = [
        line(
            Span(safe(series.family, 100), Tone.STRONG),
            f"  last {minutes // 60} h by minute, the newest on the right",
        )
    ]
    if series.problem is not None:
        lines += flow([Span(f"{units.UNKNOWN}: {safe(series.problem)}", Tone.WARN)], width)
    cells = max(10, width - len(INDENT) - _WORD - _FIGURES)
    lines += [_measure(series, measure, cells) for measure in MEASURES]
    unknown = unknown_of(series.points)
    if unknown:
        told = f"nobody recorded it: {units.count(unknown)} of {units.many(minutes, 'minute')} unknown"
        lines += paragraph(told, width, first=line(INDENT, f"{GAP} "), rest="    ", tone=Tone.DIM)
    return lines


def series_document(series: FamilySeries) -> dict[str, Any]:
    return {
        "family": series.family,
        "minutes": len(series.points),
        "problem": series.problem,
        "points": [
            {
                "at": instant(point.at),
                "enqueued": point.enqueued,
                "settled": point.settled,
                "succeeded": point.succeeded,
                "failed": point.failed,
                "waiting": point.waiting,
                "held": point.held,
                "throttled": point.throttled,
                "delayed": point.delayed,
                "in_flight": point.in_flight,
                "dead": point.dead,
            }
            for point in series.points
        ],
    }


def _measure(series: FamilySeries, measure: Measure, cells: int) -> Line:
    values = [measure.of(point) for point in series.points]
    peak = peak_of(values)
    word = pad(measure.word, _WORD)
    if peak is None:
        return line(INDENT, Span(word, Tone.DIM), spark(values, cells), Span(f"  {units.UNKNOWN}", Tone.WARN))
    per = "/min" if measure.per_minute else ""
    last = values[-1]
    latest = units.UNKNOWN if last is None else units.count(last)
    told = f"  peak {units.count(peak)}{per}, last {latest}"
    return line(INDENT, Span(word, Tone.DIM), spark(values, cells), Span(told, Tone.DIM))
