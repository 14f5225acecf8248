"""``queue``: families and items; what is done to them are verbs of `runtime.actions.verbs`."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from joelclaw_tui.cli import backlog, backlog_files
from joelclaw_tui.cli.boundary import boundary_answer
from joelclaw_tui.cli.documents import item_document, page_document
from joelclaw_tui.cli.list_text import list_lines
from joelclaw_tui.cli.output import Answer, NextStep
from joelclaw_tui.cli.restoring import removed_lines
from joelclaw_tui.cli.series_text import series_document, series_lines
from joelclaw_tui.cli.session import Session, with_operator
from joelclaw_tui.cli.snapshot_text import Pane
from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.columns import ITEMS, SETTLED
from joelclaw_tui.presentation.marks import ENDED, ITEM
from joelclaw_tui.presentation.sparkline import DAY_MINUTES
from joelclaw_tui.presentation.text_layout import (
    DETAIL,
    INDENT,
    Line,
    Span,
    flow,
    line,
    paragraph,
    safe,
)
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.presentation.words import cut_reason
from runtime.common.text import many_lines
from runtime.model import (
    ITEM_ID,
    ExitCode,
    FamilySeries,
    ItemPage,
    ItemState,
    NotFound,
    UnknownFamily,
    UsageError,
    WorkItem,
)

if TYPE_CHECKING:
    from runtime.roles.operator import Operator


def list_(session: Session) -> ExitCode:
    arguments = session.arguments
    if arguments.family is None:
        if arguments.state is not None or arguments.cursor is not None:
            raise UsageError(
                "--state and --cursor list one family's items",
                fix="name it: `joelclaw-tui queue list FAMILY`",
            )
        return session.out.answer(boundary_answer(session, Pane.PRESSURE))
    state = arguments.state or ItemState.WAITING

    async def work(operator: Operator) -> ItemPage:
        return await operator.reader.items(
            arguments.family, state, cursor=arguments.cursor, limit=arguments.limit
        )

    page = with_operator(session.settings, work)
    steps: tuple[NextStep, ...] = ()
    if page.cursor is not None:
        words = [
            "joelclaw-tui",
            "queue",
            "list",
            arguments.family,
            "--state",
            state.value,
            "--cursor",
            page.cursor,
        ]
        steps = (NextStep(shlex.join(words), "the next page"),)
    return session.out.answer(
        Answer(
            _page_lines(page, arguments.family, state, session.out.width),
            {"family": arguments.family, "state": state.value, **page_document(page)},
            next_steps=steps,
        )
    )


def show(session: Session) -> ExitCode:
    target: str = session.arguments.target
    if ITEM_ID.fullmatch(target):
        return _show_item(session, target)
    return _show_family(session, target)


def _show_family(session: Session, family: str) -> ExitCode:
    async def work(operator: Operator) -> FamilySeries:
        return (await operator.reader.series([family], DAY_MINUTES))[family]

    try:
        series = with_operator(session.settings, work)
    except UnknownFamily as error:
        raise NotFound(
            f"{safe(family, 80)} is neither an item id nor a family",
            fix=f"ids look like 01jb2c3d4e5f6g7h8j9k0m1n2p-abcde; {error.fix}"
            if error.fix
            else "see `joelclaw-tui queue list`",
        ) from None
    return session.out.answer(Answer(series_lines(series, session.out.width), series_document(series)))


def _show_item(session: Session, item_id: str) -> ExitCode:

    async def work(operator: Operator) -> WorkItem | None:
        return await operator.reader.item(item_id)

    item = with_operator(session.settings, work)
    if item is None:
        raise NotFound(
            f"no item {safe(item_id, 80)}",
            fix="settled items are kept for a while only; see `joelclaw-tui queue list`",
        )
    return session.out.answer(Answer(_item_lines(item, session.out.width), item_document(item)))


COMMANDS: dict[str, Callable[[Session], ExitCode]] = {
    "list": list_,
    "show": show,
    **backlog.COMMANDS,
    "export": backlog_files.export,
}


def _page_lines(page: ItemPage, family: str, state: ItemState, width: int) -> list[Line]:
    word = ITEM[state].word
    lines = [line(Span(f"{units.count(page.total)} {word}", Tone.STRONG), f" in {safe(family, 100)}")]
    if not page.items:
        return lines
    now = time.time()
    lines += list_lines(
        ITEMS, page.items, datetime.fromtimestamp(now, UTC), width, lambda item: _item_facts(item, now, width)
    )
    if state in SETTLED:
        lines.append(line(INDENT, Span(_no_origin(state), Tone.DIM)))
    return lines


def _item_facts(item: WorkItem, now: float, width: int) -> list[Line]:
    facts: list[Span] = []
    if item.due_at is not None and item.state is ItemState.DELAYED:
        facts.append(Span(f"due {units.ahead(item.due_at - now)}", Tone.DIM))
    if item.failures:
        last = cut_reason(safe(item.failures[-1].message, 1000), width - len(DETAIL))
        facts.append(Span(last, Tone.WARN))
    elif item.payload:
        facts.append(Span(safe(item.payload, 200), Tone.DIM))
    return flow(facts, width, indent="    ")


def _no_origin(state: ItemState) -> str:
    return "origin not kept once settled" if state in SETTLED else f"origin {units.UNKNOWN}"


def _item_lines(item: WorkItem, width: int) -> list[Line]:
    now = time.time()
    lines = [line(Span(item.item_id, Tone.STRONG), "  ", ITEM[item.state].span())]
    lines += flow(
        [
            f"family {safe(item.family, 100)}",
            f"priority {item.priority.name}",
            f"attempt {item.attempt}",
            f"run {item.run_id}",
        ],
        width,
    )
    facts = [
        f"enqueued {units.length(now - item.enqueued_at)} ago",
        f"in this state for {units.length(now - item.since)}",
        f"from {safe(item.origin, 60)}" if item.origin else _no_origin(item.state),
    ]
    if item.due_at is not None:
        facts.append(f"due in {units.length(item.due_at - now)}" if item.due_at > now else "due")
    if item.dedup_key is not None:
        facts.append(f"dedup key {safe(item.dedup_key, 100)}")
    if item.lease_owner is not None:
        facts.append(f"leased by {safe(item.lease_owner, 100)}")
    lines += flow(facts, width)
    lines += removed_lines(item, width)
    for failure in item.failures:
        lines += paragraph(
            safe(failure.message, 1000),
            width,
            first=line(
                INDENT,
                Span(f"attempt {failure.attempt} {failure.outcome.value}: ", ENDED[failure.outcome].tone),
            ),
            rest=DETAIL,
        )
    if not item.payload:
        return [*lines, line(INDENT, Span("no payload is kept once an item is settled", Tone.DIM))]
    return [*lines, line(INDENT, "payload"), *(line("    ", text) for text in _pretty(item.payload))]


def _pretty(payload: str) -> list[str]:
    try:
        shown = json.dumps(json.loads(payload), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        shown = payload
    return many_lines(shown).split("\n")
