"""``families``: what the lane file declares, and whether it is a good one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from joelclaw_tui.cli import units
from joelclaw_tui.cli.output import Answer
from joelclaw_tui.cli.paper import Column, Line, Row, Span, Tone, line, safe, table
from joelclaw_tui.cli.session import Session
from runtime.lanefile import Family, Lane, find_lane, load_lane
from runtime.model import ExitCode


def list_(session: Session) -> ExitCode:
    lane = load_lane(find_lane(session.settings), time.time)
    return session.out.answer(Answer(_lane_lines(lane, session.out.width), _lane_document(lane)))


def check(session: Session) -> ExitCode:
    """Raises `ConfigError` with line and reason for a lane file that is refused."""
    given: str | None = session.arguments.file
    path = Path(given).expanduser() if given is not None else find_lane(session.settings)
    lane = load_lane(path, time.time)
    verdict = line(
        Span("ok  ", Tone.GOOD),
        f"{safe(str(lane.path), 500)}: lane {lane.name}, {units.many(len(lane.families), 'family', 'families')},"
        f" sha256 {lane.sha256[:12]}",
    )
    return session.out.answer(Answer([verdict], _lane_document(lane)))


COMMANDS: dict[str, Callable[[Session], ExitCode]] = {"list": list_, "check": check}


def _lane_lines(lane: Lane, width: int) -> list[Line]:
    columns = [
        Column("FAMILY", least=12),
        Column("PRI"),
        Column("HANDLER"),
        Column("MAX IN FLIGHT", right=True, spare=1),
        Column("TRIES", right=True, spare=1),
        Column("TIMEOUT", right=True, spare=1),
        Column("DOES", least=8, spare=1),
    ]
    rows = [
        Row(
            (
                Span(name, Tone.STRONG),
                family.priority.name,
                family.handler,
                units.count(family.max_in_flight),
                units.count(family.retry.tries),
                units.length(_timeout_s(family)),
                Span(safe(_does(family), 200), Tone.DIM),
            )
        )
        for name, family in lane.families.items()
    ]
    heading = line(Span(f"lane {lane.name}", Tone.STRONG), Span(f"  {safe(str(lane.path), 500)}", Tone.DIM))
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
            }
            for name, family in lane.families.items()
        ],
    }
