"""The items of one family, a state at a time, read a page at a time while one scrolls.

They are read when asked for, not under the reader's eyes: rows stand still, and their age is told.
"""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content

from joelclaw_tui.host import settled_targets
from joelclaw_tui.keymap import Scope, bindings
from joelclaw_tui.screens.listing import ListingScreen
from joelclaw_tui.screens.problem import problem_content
from joelclaw_tui.view import Problem
from joelclaw_tui.widgets.age import age, ahead
from joelclaw_tui.widgets.cells import Cell, Column, Row, Tone, cell
from joelclaw_tui.widgets.header import TICK_S
from joelclaw_tui.widgets.live_table import LiveTable
from joelclaw_tui.widgets.state import ITEM
from joelclaw_tui.widgets.tones import joined, mark_content, toned
from runtime.actions.intents import ActionName, Intent
from runtime.model import ItemPage, ItemState, WorkItem
from runtime.text import one_line
from runtime.truth.document import FamilyRow

PAGE = 100
"""Items in one look-up."""
_NEAR_END = 20
"""Rows before the end at which the next page is read."""
STATES = (
    ItemState.WAITING,
    ItemState.DELAYED,
    ItemState.LEASED,
    ItemState.ADMITTING,
    ItemState.IN_FLIGHT,
    ItemState.DEAD,
    ItemState.QUARANTINED,
    ItemState.SUCCEEDED,
    ItemState.DISCARDED,
)


def first_state(family: FamilyRow | None) -> ItemState:
    """Where to look first: what failed, else what waits, else what runs."""
    if family is None:
        return ItemState.WAITING
    if family.dead:
        return ItemState.DEAD
    if family.quarantined:
        return ItemState.QUARANTINED
    if family.waiting or family.held or family.throttled:
        return ItemState.WAITING
    if family.in_flight:
        return ItemState.IN_FLIGHT
    if family.delayed:
        return ItemState.DELAYED
    return ItemState.SUCCEEDED


class ItemsScreen(ListingScreen):
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(Scope.ITEMS)]

    def __init__(self, family: str, state: ItemState) -> None:
        super().__init__(
            LiveTable(
                (
                    Column("ITEM", 20, flex=1, cut="middle"),
                    Column("PRIO", 4),
                    Column("ATT", 3, align="right"),
                    Column("AGE", 6, align="right"),
                    Column("IN STATE", 8, align="right", drop=2),
                    Column("DUE", 9, align="right", drop=4),
                    Column("LAST FAILURE OR PAYLOAD", 24, flex=4, drop=1),
                    Column("FROM", 10, drop=3),
                ),
                empty="Reading …",
                id="items",
            )
        )
        self.family = family
        self.state = state
        self._items: dict[str, WorkItem] = {}
        self._cursor: str | None = None
        self._total = 0
        self._read_at: float | None = None
        self._problem: Problem | None = None
        self._reading = False

    def title_text(self) -> str:
        return one_line(self.family, 60)

    def on_mount(self) -> None:
        self.set_interval(TICK_S, self._draw_about)
        self.action_read_again()

    # --- reading

    def action_read_again(self) -> None:
        """From the first page; what was read before stays in sight until then."""
        self.run_worker(self._read(None), exclusive=True)

    def action_state(self, by: int) -> None:
        self.state = STATES[(STATES.index(self.state) + by) % len(STATES)]
        self._items, self._cursor, self._total, self._read_at = {}, None, 0, None
        self.table.unmark()
        self.table.set_empty("Reading …")
        self.table.action_end(-1)
        self.table.set_rows(())
        self.action_read_again()

    async def _read(self, cursor: str | None) -> None:
        self._reading = True
        try:
            found = await self.host.look(
                self.host.source.items(self.family, self.state, cursor=cursor, limit=PAGE),
                f"items of {one_line(self.family, 60)}",
            )
        finally:
            self._reading = False
        if isinstance(found, Problem):
            self._problem = found
            self.table.set_empty("? These items can't be read", "ctrl+r reads again")
        else:
            self._take(found, more=cursor is not None)
        self._draw_about()

    def _take(self, page: ItemPage, *, more: bool) -> None:
        self._problem = None
        self._items = (self._items if more else {}) | {item.item_id: item for item in page.items}
        self._cursor, self._total = page.cursor, page.total
        if not more:
            self._read_at = self.host.now()
        word = ITEM[self.state].word
        self.table.set_empty(f"No {word} items", "← → show the other states")
        now = self.host.now()
        self.table.set_rows(_row(item, now) for item in self._items.values())

    def on_live_table_moved(self, message: LiveTable.Moved) -> None:
        """Near the end of what was read, the next page is read."""
        if message.key is None or self._cursor is None or self._reading or self._problem is not None:
            return
        rows = self.table.rows
        if any(row.key == message.key for row in rows[-_NEAR_END:]):
            self.run_worker(self._read(self._cursor), exclusive=True)

    def _draw_about(self) -> None:
        if self._problem is not None:
            self.about.update(problem_content(self._problem))
            return
        parts = [mark_content(ITEM[self.state])]
        if self._read_at is None:
            parts.append(toned("reading …", Tone.DIM))
        else:
            ago = age(self.host.now() - self._read_at)
            parts.append(toned(f"{len(self._items):,} of {self._total:,} read {ago} ago", Tone.DIM))
            parts.append(toned("ctrl+r reads again", Tone.DIM))
        self.about.update(Content("\n").join([_states(self.state, self.size.width - 4), joined(parts)]))

    def foot_of(self, key: str) -> Content:
        item = self._items.get(key)
        return Content() if item is None else toned(one_line(item.item_id, 60), bold=True)

    # --- keys

    def action_replay(self) -> None:
        if targets := self.table.chosen:
            self.host.act(
                Intent(ActionName.REPLAY, targets),
                lambda receipt: self._replayed(settled_targets(receipt)),
            )

    def _replayed(self, done: tuple[str, ...]) -> None:
        self.table.unmark(done)
        self.action_read_again()

    def action_open_day(self) -> None:
        self.host.open_family(self.family)

    def action_open_run(self) -> None:
        item = self._items.get(self.table.cursor_key or "")
        if item is not None:
            self.host.open_run(item.run_id)

    def on_live_table_opened(self, message: LiveTable.Opened) -> None:
        message.stop()
        self.host.open_item(message.key)


def _states(current: ItemState, width: int) -> Content:
    """All states; where there is no room for them, the current one between its neighbours."""
    everything = toned("  ").join(_state(state, current) for state in STATES)
    if everything.cell_length <= width:
        return everything
    at = STATES.index(current)
    around = [STATES[(at + step) % len(STATES)] for step in (-1, 0, 1)]
    return Content.assemble(
        toned("← ", Tone.INFO, bold=True),
        toned("  ").join(_state(state, current) for state in around),
        toned(" →", Tone.INFO, bold=True),
    )


def _state(state: ItemState, current: ItemState) -> Content:
    word = ITEM[state].word
    if state is current:
        return toned(f" {word} ", Tone.INFO, bold=True).stylize("reverse")
    return toned(word, Tone.DIM)


def _row(item: WorkItem, now: float) -> Row:
    failure = item.failures[-1].message if item.failures else None
    return Row(
        key=item.item_id,
        cells=(
            cell(item.item_id),
            Cell(item.priority.name),
            Cell(str(item.attempt), Tone.WARN if item.attempt > 1 else Tone.PLAIN),
            Cell(age(now - item.enqueued_at)),
            Cell(age(now - item.since)),
            Cell(ahead(None if item.due_at is None else item.due_at - now), Tone.DIM),
            cell(failure, Tone.WARN) if failure else cell(item.payload[:300], Tone.DIM),
            cell(item.origin or "", Tone.DIM),
        ),
        search=" ".join(filter(None, (item.dedup_key, item.lease_owner, item.payload[:2000]))),
    )
