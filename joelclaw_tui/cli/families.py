"""``families``: what the lane file declares, and whether it is a good one."""

from __future__ import annotations

import time
from collections.abc import Callable

from joelclaw_tui.cli.output import Answer
from joelclaw_tui.cli.session import Session
from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.text_layout import Line, Span, TextColumn, TextRow, flow, line, safe, table
from joelclaw_tui.presentation.tones import Tone
from runtime.common.given_path import given_path
from runtime.lane.lane_file import Family, Lane, find_lane, load_lane
from runtime.model import Ack, ExitCode


def list_(session: Session) -> ExitCode:
    lane = load_lane(find_lane(session.settings), time.time)
    return session.out.answer(Answer(_lane_lines(lane, session.out.width), _lane_document(lane)))


def check(session: Session) -> ExitCode:
    """Raises `ConfigError` with line and reason for a lane file that is refused."""
    given: str | None = session.arguments.file
    path = given_path(given) if given is not None else find_lane(session.settings)
    lane = load_lane(path, time.time)
    verdict = line(
        Span("ok  ", Tone.OK),
        f"{safe(str(lane.path), 500)}: lane {lane.name}, {units.many(len(lane.families), 'family', 'families')},"
        f" sha256 {lane.sha256[:12]}",
    )
    return session.out.answer(Answer([verdict], _lane_document(lane)))


COMMANDS: dict[str, Callable[[Session], ExitCode]] = {"list": list_, "check": check}


def _lane_lines(lane: Lane, width: int) -> list[Line]:
    columns = [
        TextColumn("FAMILY", least=12),
        TextColumn("PRI"),
        TextColumn("HANDLER"),
        TextColumn("MAX IN FLIGHT", right=True, spare=1),
        TextColumn("TRIES", right=True, spare=1),
        TextColumn("TIMEOUT", right=True, spare=1),
        TextColumn("DOES", least=8, spare=1),
    ]
    rows = [
        TextRow(
            (
                Span(name, Tone.STRONG),
                family.priority.name,
                family.handler,
                units.count(family.max_in_flight),
                units.count(family.retry.tries),
                units.length(_timeout_s(family)),
                Span(safe(_does(family), 200), Tone.DIM),
            ),
            below=tuple(flow([safe(limit, 200) for limit in _limits(family)], width, indent="    ")),
        )
        for name, family in lane.families.items()
    ]
    whole = [f"at most {units.count(lane.max_in_flight)} in flight"] if lane.max_in_flight else []
    whole += [_rate(lane.rate_per_s)] if lane.rate_per_s else []
    heading = line(
        Span(f"lane {lane.name}", Tone.STRONG),
        f"  {', '.join(whole)}" if whole else "",
        Span(f"  {safe(str(lane.path), 500)}", Tone.DIM),
    )
    return [heading, *table(columns, rows, width)]


def _does(family: Family) -> str:
    """What the handler does, without headers and environment: secrets are only referred to there."""
    match family.handler:
        case "http":
            return f"{family.method} {_without_userinfo(family.url or '')}"
        case "command":
            return " ".join(family.command or ())
        case "python":
            return family.call or ""
        case "noop":
            return "nothing"
        case "sandbox":
            box = family.sandbox
            return "" if box is None else f"{' '.join(box.agent)} on {box.base} of {box.repo}"


def _limits(family: Family) -> list[str]:
    """What the queue goes by, as far as it is set."""
    said = []
    if family.payload_schema is not None:
        said.append(f"schema {family.payload_schema.source}")
    if family.rate is not None:
        said.append(_rate(family.rate))
    if family.concurrency is not None:
        said.append(f"{family.concurrency.max} at a time of each {family.concurrency.key}")
    if family.aging is not None:
        said.append(f"ages {units.length(family.aging)}")
    if family.backlog is not None:
        most = [
            *([] if family.backlog.items is None else [units.many(family.backlog.items, "item")]),
            *([] if family.backlog.bytes is None else [_size(family.backlog.bytes)]),
        ]
        said.append(f"full at {' or '.join(most)}" if most else "")
    if family.ack is not Ack.PROCESS:
        said.append(f"ack {family.ack.value}")
    if family.breaker is not None:
        said.append(f"breaks at {family.breaker.failures} failed in {units.length(family.breaker.window)}")
    return [one for one in said if one]


def _rate(per_s: float) -> str:
    """In the largest unit in which it is at least one."""
    for seconds, unit in ((1, "s"), (60, "m"), (3600, "h")):
        if per_s * seconds >= 1 or unit == "h":
            return f"{per_s * seconds:,.6g}/{unit}"
    raise AssertionError("the hour ends the loop")


def _timeout_s(family: Family) -> float:
    return family.timeout if family.sandbox is None else family.sandbox.timeout


def _without_userinfo(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def _lane_document(lane: Lane) -> dict[str, object]:
    return {
        "lane": lane.name,
        "path": str(lane.path),
        "sha256": lane.sha256,
        "max_in_flight": lane.max_in_flight,
        "rate_per_s": lane.rate_per_s,
        "families": [
            {
                "name": name,
                "priority": family.priority.name,
                "handler": family.handler,
                "does": _does(family),
                "max_in_flight": family.max_in_flight,
                "weight": family.weight,
                "tries": family.retry.tries,
                "timeout_s": _timeout_s(family),
                "dedup_window_s": family.dedup_window,
                "schema": None if family.payload_schema is None else family.payload_schema.source,
                "rate_per_s": family.rate,
                "aging_s": family.aging,
                "ack": family.ack.value,
                "concurrency": None if family.concurrency is None else family.concurrency.model_dump(),
                "backlog": None if family.backlog is None else family.backlog.model_dump(),
                "breaker": None
                if family.breaker is None
                else {"failures": family.breaker.failures, "window_s": family.breaker.window},
            }
            for name, family in lane.families.items()
        ],
    }


def _size(number: int) -> str:
    """In the largest unit in which it is a whole number, as somebody wrote it: ``64 KiB``."""
    for unit, of in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= of and number % of == 0:
            return f"{number // of:,} {unit}"
    return units.many(number, "byte")
