"""The items of one family, a state at a time or by conditions, and what to do with them.

They are read when asked for, not under the reader's eyes: rows stand still, and their age is told. What
an action would be about is said in words at all times: the item under the cursor, the marked ones, or
all that match. A marked item that left the state stays in sight as gone until its mark is taken off.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.worker import Worker

from joelclaw_tui.presentation import units
from joelclaw_tui.presentation.columns import ITEMS, FrontEnd, Look, cells_of, shown_by
from joelclaw_tui.presentation.conditions import EXAMPLE, TEXT_MOST, Conditions, parse_conditions
from joelclaw_tui.presentation.marks import ITEM, family_mark
from joelclaw_tui.presentation.text_layout import cell
from joelclaw_tui.presentation.tones import Tone
from joelclaw_tui.presentation.words import throttled_words
from joelclaw_tui.tui.host import settled_of
from joelclaw_tui.tui.keymap import VERB_KEYS, KeyScope, bindings
from joelclaw_tui.tui.screens.action_target import Aim
from joelclaw_tui.tui.screens.ask import AskScreen
from joelclaw_tui.tui.screens.listing import ListingScreen
from joelclaw_tui.tui.screens.problem import problem_content
from joelclaw_tui.tui.verb_keys import press
from joelclaw_tui.tui.view import Problem
from joelclaw_tui.tui.widgets.cells import Row
from joelclaw_tui.tui.widgets.header import TICK_S
from joelclaw_tui.tui.widgets.live_table import LiveTable
from joelclaw_tui.tui.widgets.tones import flowed, mark_content, toned
from runtime.actions.bulk.instead import errors_of, values_of
from runtime.actions.intents import Intent
from runtime.actions.subjects.backlog import BacklogVerb
from runtime.actions.verb import Verb
from runtime.common.text import one_line
from runtime.model import BULK_STATES, ItemPage, ItemState, Receipt, Selection, WorkItem
from runtime.truth.document import FamilyRow

_COLUMNS = shown_by(ITEMS, FrontEnd.CONSOLE)
PAGE = 100
"""Items in one look-up."""
REREAD_MOST = 1000
"""Rows that are read again at the most, so that what one has scrolled to is still there."""
LOOKUPS_MOST = 1000
"""Marked items beyond what was read that are looked up one by one."""
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
_HINT = (
    "As queue replay has them: error, field, older, newer, priority, attempt, from, until, state, ids; "
    "max N acts on at most N. Left empty: everything in the state."
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


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read in one go."""

    items: dict[str, WorkItem]
    cursor: str | None
    total: int


class ItemsScreen(ListingScreen):
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KeyScope.ITEMS)]

    def __init__(self, family: str, state: ItemState) -> None:
        super().__init__(
            LiveTable(
                _COLUMNS,
                empty="Reading …",
                id="items",
            )
        )
        self.family = family
        self.state = state
        self.conditions = Conditions()
        self._items: dict[str, WorkItem] = {}
        self._gone: dict[str, str] = {}
        """Marked items that are no longer meant, and what became of each."""
        self._cursor: str | None = None
        self._total = 0
        self._read_at: float | None = None
        self._problem: Problem | None = None
        self._looked = (0, 0)
        self._worker: Worker[None] | None = None
        self._there: list[str] = []

    def title_text(self) -> str:
        return one_line(self.family, 60)

    def on_mount(self) -> None:
        self.set_interval(TICK_S, self._draw_about)
        self.action_read_again()

    # --- reading

    def action_read_again(self) -> None:
        """As far as it was read; what was read before stays in sight until then."""
        self._worker = self.run_worker(self._read_anew(), exclusive=True)

    def action_state(self, by: int) -> None:
        self.state = STATES[(STATES.index(self.state) + by) % len(STATES)]
        self._start_over()

    def _start_over(self) -> None:
        self._items, self._gone = {}, {}
        self._cursor, self._total, self._read_at = None, 0, None
        self.table.whole = False
        self.table.unmark()
        self.table.set_empty("Reading …")
        self.table.action_end(-1)
        self.table.set_rows(())
        self.refresh_bindings()
        self.action_read_again()

    @property
    def _reading(self) -> bool:
        return self._worker is not None and not self._worker.is_finished

    async def _read_anew(self) -> None:
        self._looked = (0, 0)
        pages = await self._pages_as_far_as_before()
        gone = pages if isinstance(pages, Problem) else await self._look_up_marked(pages)
        self._looked = (0, 0)
        if isinstance(pages, Problem):
            self._fail(pages)
        elif isinstance(gone, Problem):
            self._fail(gone)
        else:
            self._items, self._cursor, self._total = dict(pages.items), pages.cursor, pages.total
            self._gone = gone
            self._there = [] if self._items else await self._what_is_there()
            self._problem, self._read_at = None, self.host.now()
            self._show_rows()
        self._draw_about()

    async def _pages_as_far_as_before(self) -> _Read | Problem:
        first = await self._page(None)
        if isinstance(first, Problem):
            return first
        items = {item.item_id: item for item in first.items}
        cursor, wanted = first.cursor, min(len(self._items), REREAD_MOST)
        while cursor is not None and len(items) < wanted:
            page = await self._page(cursor)
            if isinstance(page, Problem):
                return page
            items |= {item.item_id: item for item in page.items}
            cursor = page.cursor
        return _Read(items, cursor, first.total)

    async def _page(self, cursor: str | None) -> ItemPage | Problem:
        source, what = self.host.source, f"items of {one_line(self.family, 60)}"
        if not self.conditions:
            return await self.host.look(
                source.items(self.family, self.state, cursor=cursor, limit=PAGE), what
            )
        selection = self._selection()
        return await self.host.look(
            source.matching(selection, self.family, cursor=cursor, limit=PAGE, progress=self._count),
            what,
            patient=True,
        )

    async def _what_is_there(self) -> list[str]:
        """Which errors or values the items of the state have, where none is as the conditions say."""
        asked = self.conditions
        if asked.error is None and not asked.fields:
            return []
        reading = self.host.source.items(self.family, self.state, cursor=None, limit=PAGE)
        page = await self.host.look(reading, f"items of {one_line(self.family, 60)}")
        if isinstance(page, Problem):
            return []
        told = [] if asked.error is None else errors_of(page.items, page.total)
        return told + [words for match in asked.fields for words in values_of(match, page.items, page.total)]

    def _count(self, done: int, of: int, /) -> None:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError  # Esc's own may get lost in a driver on its way here
        self._looked = (done, of)

    async def _look_up_marked(self, read: _Read) -> dict[str, str] | Problem:
        """Marked items that were not among those read: they are added, or told to be gone."""
        gone: dict[str, str] = {}
        missing = [key for key in self._items if key in self.table.all_marks and key not in read.items]
        missing += [key for key in self._gone if key in self.table.all_marks and key not in read.items]
        for number, key in enumerate(dict.fromkeys(missing)):
            if number >= LOOKUPS_MOST:
                read.items[key] = self._items[key]  # as it was read before: the preview knows better
                continue
            found = await self.host.look(self.host.source.item(key), f"item {key}")
            if isinstance(found, Problem):
                return found
            if found is not None and found.state in self._selection().states:
                read.items[key] = found
                continue
            read.items[key] = found or self._items[key]
            gone[key] = "no such item any more" if found is None else f"now {ITEM[found.state].word}"
        return gone

    def _selection(self) -> Selection:
        return self.conditions.selection(self.state)

    def _fail(self, problem: Problem) -> None:
        """What was read before stays in sight."""
        self._problem = problem
        self.table.set_empty("? These items can't be read", "ctrl+r reads again")

    async def _read_on(self, cursor: str) -> None:
        self._looked = (0, 0)
        page = await self._page(cursor)
        self._looked = (0, 0)
        if isinstance(page, Problem):
            self._fail(page)
        else:
            self._items |= {item.item_id: item for item in page.items}
            self._cursor, self._total = page.cursor, page.total
            self._show_rows()
        self._draw_about()

    def _show_rows(self) -> None:
        word = ITEM[self.state].word
        if self.conditions:
            hint = "F changes the conditions, esc takes them back"
            self.table.set_empty("No item matches", "; ".join(self._there) or hint)
        else:
            self.table.set_empty(f"No {word} items", "← → show the other states")
        look = Look(self.host.now(), compact=True)
        self.table.set_rows(_row(item, look, self._gone.get(key)) for key, item in self._in_place().items())

    def _in_place(self) -> dict[str, WorkItem]:
        """The items as read, those that are gone below the row that they were below."""
        below: dict[str | None, list[str]] = {}
        above = None
        for row in self.table.all_rows:
            if row.key in self._gone:
                below.setdefault(above, []).append(row.key)
            elif row.key in self._items:
                above = row.key
        keys = below.get(None, [])
        for key in self._items:
            if key not in self._gone:
                keys += [key, *below.get(key, ())]
        return {key: self._items[key] for key in keys}

    def on_live_table_moved(self, message: LiveTable.Moved) -> None:
        """Near the end of what was read, the next page is read."""
        if message.key is None or self._cursor is None or self._reading or self._problem is not None:
            return
        rows = self.table.rows
        if any(row.key == message.key for row in rows[-_NEAR_END:]):
            self._worker = self.run_worker(self._read_on(self._cursor), exclusive=True)

    # --- what is said

    def _draw_about(self) -> None:
        if self._problem is not None:
            self.about.update(problem_content(self._problem))
            return
        width = self.size.width - 4
        lines = [_states(self.state, width)]
        if self.conditions:
            told = f"only {self.conditions.words(self.state, self.family)}"
            lines.append(toned(told, Tone.INFO).truncate(max(20, width), ellipsis=True))
        lines.append(flowed(self._reading_words(), max(20, width)))
        self.about.update(Content("\n").join(lines))

    def _reading_words(self) -> list[Content]:
        parts = [mark_content(ITEM[self.state]), *self._kept_back()]
        if self._reading and self._looked[1]:
            done, of = self._looked
            return [*parts, toned(f"looking: {done:,} of {of:,} …  esc stops", Tone.DIM)]
        if self._read_at is None:
            return [*parts, toned("reading …" if self._reading else "not read", Tone.DIM)]
        ago = units.length(self.host.now() - self._read_at)
        read = len(self._items) - len(self._gone)
        what = " that match" if self.conditions else ""
        if read < self._total and self.conditions:
            parts.append(toned(f"the first {read:,} of {self._total:,}{what}, read {ago} ago", Tone.DIM))
        else:
            parts.append(toned(f"{read:,} of {self._total:,}{what} read {ago} ago", Tone.DIM))
        return [*parts, toned("ctrl+r reads again", Tone.DIM)]

    def _kept_back(self) -> list[Content]:
        """What keeps the waiting ones back at the last look, where something does."""
        snapshot = self.host.view.snapshot
        data = None if snapshot is None else snapshot.boundaries.pressure.data
        rows = [] if data is None else [row for row in data.families.items if row.name == self.family]
        if self.state is not ItemState.WAITING or not rows:
            return []
        (row,) = rows
        if row.held:
            return [mark_content(family_mark(row))]
        return [toned(throttled_words(row), Tone.INFO)] if row.throttled else []

    def foot_of(self, key: str) -> Content:
        """What an action would be about, and the item under the cursor."""
        item = self._items.get(key)
        lines = []
        if (aim := self.aim()) is not None:
            lines.append(
                Content.assemble(
                    toned("acts on ", Tone.DIM),
                    toned(aim.words, Tone.WARN if aim.open_ended else Tone.INFO, bold=aim.open_ended),
                )
            )
        if item is not None:
            lines.append(toned(one_line(item.item_id, 60), Tone.DIM))
        return Content("\n").join(lines)

    def on_live_table_rows_changed(self, message: LiveTable.RowsChanged) -> None:
        if self.table.whole and (self.table.all_marks or self.table.filter):
            # Whoever marks or filters means those; all that match must be asked for again.
            self.table.whole = False
        self._drop_unmarked_gone()
        self._draw_foot()

    def _drop_unmarked_gone(self) -> None:
        off = [key for key in self._gone if key not in self.table.all_marks]
        for key in off:
            del self._gone[key]
            self._items.pop(key, None)
        if off:
            self._show_rows()

    def _draw_foot(self) -> None:
        key = self.table.cursor_key
        self.foot.update(Content() if key is None else self.foot_of(key))

    # --- what an action is about

    def aim(self) -> Aim | None:
        """None: there is nothing."""
        if self.table.whole:
            return self._whole_aim()
        here = Selection(states=self._selection().states)
        if marks := self.table.marks:
            gone = sum(key in self._gone for key in marks)
            words = f"range of {len(marks):,}" if self.table.ranging else f"{len(marks):,} marked"
            if gone:
                words += f", {gone:,} of them gone from here"
            if hidden := self.table.marks_out_of_view:
                words += f"; not on {hidden:,} more that the filter hides"
            return Aim(words, marks, here)
        key = self.table.cursor_key
        return None if key is None else Aim("the item under the cursor", (key,), here)

    def _whole_aim(self) -> Aim:
        ceiling = self.conditions.limit or self.host.view.settings.action_ceiling
        words = f"all that match: {self.conditions.words(self.state, self.family)}"
        if self._read_at is not None:
            words += f" ({self._total:,} at the last look"
            words += (
                f"; the first {ceiling:,} in one action, F max N for more)" if self._total > ceiling else ")"
            )
        return Aim(words, (self.family,), self._selection(), limit=self.conditions.limit, open_ended=True)

    # --- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "verb" and not self._can_touch(VERB_KEYS[str(parameters[0])][0]):
            return False
        return super().check_action(action, parameters)

    def _can_touch(self, verb: Verb) -> bool:
        """Whether it is for items in the states that are shown."""
        return not isinstance(verb, BacklogVerb) or BULK_STATES[verb.does] >= self._selection().states

    def action_back(self) -> None:
        """Esc ends a long look, then takes back all that match, marks, filter and conditions, then leads back."""
        if self._reading and self.conditions and self._worker is not None:
            self._worker.cancel()
            self._draw_about()
        elif self.table.whole:
            self.action_whole()
        elif not self.box.clear():
            if self.conditions:
                self._take_conditions(Conditions())
            else:
                self.dismiss()

    def action_whole(self) -> None:
        if not self.table.whole and self.table.filter:
            self.host.hint(
                "/ filters only the rows that were read. esc clears it; F looks in the whole backlog."
            )
            return
        whole = not self.table.whole
        self.table.unmark()
        self.table.whole = whole
        self._draw_foot()

    def action_conditions(self) -> None:
        def answered(conditions: Conditions | None) -> None:
            if conditions is not None:
                self._take_conditions(conditions)

        self.app.push_screen(
            AskScreen(
                "Which items?",
                self.conditions.written,
                parse_conditions,
                hint=_HINT,
                max_length=TEXT_MOST,
                placeholder=EXAMPLE,
                goes_on="look for them",
            ),
            answered,
        )

    def _take_conditions(self, conditions: Conditions) -> None:
        self.conditions = conditions
        self._start_over()

    def action_verb(self, key_id: str) -> None:
        if (aim := self.aim()) is not None:
            press(self, key_id, aim.chosen(), self._act)

    def _act(self, intent: Intent) -> None:
        self.host.act(intent, lambda receipt: self._acted(receipt, intent.targets))

    def _acted(self, receipt: Receipt, targets: tuple[str, ...]) -> None:
        self.table.whole = False
        self.table.unmark(settled_of(receipt, targets))
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


def _row(item: WorkItem, look: Look, gone: str | None) -> Row:
    """``gone``: what became of it, where it is no longer meant."""
    cells = cells_of(_COLUMNS, item, look)
    if gone is not None:
        told = next(at for at, column in enumerate(_COLUMNS) if column.cut == "reason")
        cells = (*cells[:told], cell(f"gone: {gone}"), *cells[told + 1 :])
    return Row(
        key=item.item_id,
        cells=cells,
        search=" ".join(filter(None, (item.dedup_key, item.lease_owner, item.payload[:2000]))),
        gone=gone is not None,
    )
