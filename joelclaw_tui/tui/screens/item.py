"""One item: what it is, where it stands, what failed before, and its payload. Read again while it is looked at."""

from __future__ import annotations

import json
from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.worker import Worker

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.marks import ITEM
from joelclaw_tui.presentation.removed import why_removed
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.tui.keymap import KeyScope, bindings
from joelclaw_tui.tui.screens.detail import DetailScreen, fact
from joelclaw_tui.tui.screens.problem import problem_content
from joelclaw_tui.tui.verb_keys import Chosen, is_verb, offered, press
from joelclaw_tui.tui.view import Problem
from joelclaw_tui.tui.widgets.tones import mark_content, toned
from runtime.actions.intents import Intent
from runtime.common.text import many_lines, one_line
from runtime.model import ItemState, WorkItem, run_id_of

EVERY_S = 2.0
"""How often it is read again."""
_PAYLOAD_SHOWN = 20_000
"""Characters of a payload on the screen."""


class ItemScreen(DetailScreen):
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.ITEM)]

    def __init__(self, item_id: str) -> None:
        super().__init__()
        self.item_id = item_id
        self.item: WorkItem | None = None
        self._read_at: float | None = None
        self._read_by: Worker[None] | None = None

    def on_mount(self) -> None:
        self.set_interval(EVERY_S, self._live)
        self.fill(f"item {one_line(self.item_id, 60)}", [toned("Reading …", Tone.DIM)], Content())
        self.action_read_again()

    def _live(self) -> None:
        """Only while it is looked at. One reading at a time: a slow one is waited for, so that its trouble is
        told."""
        idle = self._read_by is None or self._read_by.is_finished
        if self.is_seen and idle and not self.host.view.held:
            self.action_read_again()

    def action_read_again(self) -> None:
        self._read_by = self.run_worker(self._read(), exclusive=True)

    async def _read(self) -> None:
        title = f"item {one_line(self.item_id, 60)}"
        found = await self.host.look(self.host.source.item(self.item_id), title)
        if isinstance(found, Problem):
            known, text = [], toned("ctrl+r reads again", Tone.DIM)
            if self.item is not None and self._read_at is not None:
                was = f"This is how it was {units.length(self.host.now() - self._read_at)} ago."
                known = [toned(was, Tone.WARN), *item_facts(self.item, self.host.now())]
                text = item_text(self.item)
            self.fill(title, [problem_content(found), *known], text)
        elif found is None:
            self.item = None
            self.fill(
                title,
                [toned("There is no such item: it was settled and forgotten, or never was.", Tone.WARN)],
                Content(),
            )
        else:
            self.item, self._read_at = found, self.host.now()
            self.fill(title, item_facts(found, self.host.now()), item_text(found))

    def offers(self, action: str) -> bool:
        """Only what failed, or was set aside, is replayed."""
        return self.item is None or not is_verb(action) or offered(action, [self.item])

    def action_verb(self, key_id: str) -> None:
        press(self, key_id, Chosen((self.item_id,)), self._act)

    def _act(self, intent: Intent) -> None:
        self.host.act(intent, lambda _receipt: self.action_read_again())

    def action_open_run(self) -> None:
        if self.item is not None:
            self.host.open_run(self.item.run_id)


def item_facts(item: WorkItem, now: float) -> list[Content]:
    state = Content.assemble(
        mark_content(ITEM[item.state]), toned(f" for {units.length(now - item.since)}", Tone.DIM)
    )
    facts = [
        fact("state", state),
        fact("family", toned(one_line(item.family, 100))),
        fact("priority", toned(item.priority.name)),
        fact("attempt", toned(str(item.attempt))),
        fact("run", toned(item.run_id)),
        fact(
            "enqueued",
            toned(f"{units.length(now - item.enqueued_at)} ago, {_by(item)}"),
        ),
    ]
    if item.due_at is not None:
        facts.append(fact("due", toned(units.ahead(item.due_at - now))))
    if item.dedup_key is not None:
        facts.append(fact("dedup key", toned(one_line(item.dedup_key, 200))))
    if item.lease_owner is not None:
        facts.append(fact("leased by", toned(one_line(item.lease_owner, 200))))
    return facts


def item_text(item: WorkItem) -> Content:
    parts: list[Content] = []
    if item.removed_since is not None:
        parts += [toned(why_removed(item), Tone.WARN), Content()]
    if item.failures:
        parts.append(toned(f"FAILURES ({len(item.failures)})", Tone.DIM, bold=True))
        for failure in reversed(item.failures):
            parts.append(
                toned(f"✕ {run_id_of(item.item_id, failure.attempt)} {failure.outcome.value}", Tone.CRIT)
            )
            parts.append(toned(_indented(many_lines(failure.message, 4_000))))
        parts.append(Content())
    parts.append(toned("PAYLOAD", Tone.DIM, bold=True))
    if item.payload:
        parts.append(toned(pretty(item.payload)))
    else:
        parts.append(toned("not kept once settled", Tone.DIM))
    return Content("\n").join(parts)


def pretty(payload: str) -> str:
    """A payload for reading: indented where it is JSON of a sane size, cleaned in any case."""
    try:
        text = json.dumps(json.loads(payload), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = payload
    return many_lines(text, _PAYLOAD_SHOWN)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _by(item: WorkItem) -> str:
    if item.origin:
        return f"by {one_line(item.origin, 60)}"
    settled = item.state in (ItemState.SUCCEEDED, ItemState.DISCARDED)
    return "its origin not kept once settled" if settled else "its origin unknown"
