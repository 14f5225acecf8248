"""``--once``: one snapshot as table, JSON, JSON lines or SVG. Starts nothing, changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from joelclaw_tui.cli.calling import as_called
from joelclaw_tui.cli.output import Output, StdoutClosed
from joelclaw_tui.cli.session import Session, with_operator
from joelclaw_tui.cli.snapshot_text import PANE_ALIASES, Pane, snapshot_lines
from runtime.common.text import json_safe
from runtime.model import ExitCode
from runtime.truth.verdict import exit_code

if TYPE_CHECKING:
    from runtime.roles.operator import Operator
    from runtime.truth.document import Snapshot


def once(session: Session) -> ExitCode:
    """Prints the snapshot, again each ``--watch`` seconds; returns the last one's exit code."""
    arguments = session.arguments
    form = arguments.format or "table"
    panes = _panes(arguments.pane)
    if arguments.pane and form in ("json", "jsonl"):
        session.out.note("note: --pane narrows table and svg only; a JSON document is always whole")
    last = [ExitCode.OK]

    async def look(operator: Operator) -> None:
        again = False
        while True:
            snapshot = await operator.reader.snapshot()
            last[0] = exit_code(snapshot)
            if again and form == "table":
                session.out.clear()
            show(session.out, snapshot, form, panes)
            if arguments.watch is None:
                return
            again = True
            await asyncio.sleep(arguments.watch)

    with suppress(StdoutClosed):
        with_operator(session.settings, look)
    return last[0]


def show(out: Output, snapshot: Snapshot, form: str, panes: Sequence[Pane] = tuple(Pane)) -> None:
    """One snapshot on stdout. ``form``: table, json, jsonl or svg. Raises `StdoutClosed`."""
    if form == "table":
        out.lines(snapshot_lines(snapshot, out.width, panes, as_called=as_called))
    elif form == "svg":
        from joelclaw_tui.cli.svg import picture  # late: Rich's console is heavy

        out.data(picture(snapshot_lines(snapshot, out.width, panes), out.width))
    else:
        indent = 2 if form == "json" else None
        out.data(json_safe(snapshot.model_dump_json(by_alias=True, indent=indent)))


def _panes(names: Sequence[str] | None) -> Sequence[Pane]:
    if not names:
        return tuple(Pane)
    wanted = {PANE_ALIASES.get(name) or Pane(name) for name in names}
    return tuple(pane for pane in Pane if pane in wanted)
