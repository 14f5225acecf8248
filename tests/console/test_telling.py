"""What tells rows apart gets the room, and keys are offered where they do something."""

from __future__ import annotations

import pytest

from joelclaw_tui.presentation.words import cut_middle, cut_reason
from joelclaw_tui.tui.keymap import verb_action
from joelclaw_tui.tui.panes.backlog import BacklogPane
from joelclaw_tui.tui.verb_keys import offered
from joelclaw_tui.tui.widgets.cells import fit
from tests.sample import sample_snapshot

FAILURE = (
    "POST http://shop.example.com:8080/hooks/content/updated?page=1 answered 503 Service Unavailable: later"
)


@pytest.mark.parametrize("width", [20, 24, 40, 60, 80])
def test_a_failure_that_is_cut_still_tells_its_status(width: int) -> None:
    assert "503" in cut_reason(FAILURE, width)
    assert len(cut_reason(FAILURE, width)) <= width


def test_two_names_that_differ_at_their_end_differ_when_cut() -> None:
    assert cut_middle("content/updated/shop-a", 14) != cut_middle("content/updated/shop-b", 14)


def test_a_name_gets_the_room_of_columns_that_say_nothing() -> None:
    columns = BacklogPane.COLUMNS
    zeros = frozenset(range(4, len(columns)))
    before = dict(fit(columns, 150))
    after = dict(fit(columns, 150, {0: 48}, zeros))
    assert after[0] >= 48 > before[0]
    assert set(after) < set(before)
    assert dict(fit(columns, 150, {0: 10}, zeros)).keys() == before.keys()


def test_keys_are_offered_for_what_they_do_something_about() -> None:
    data = sample_snapshot().boundaries.pressure.data
    assert data is not None
    families = {row.name: row for row in data.families.items}
    held, failing = families["email/digest"], families["feeds/poll"]
    assert offered(verb_action("backlog.resume"), [held])
    assert not offered(verb_action("backlog.resume"), [failing])
    assert offered(verb_action("backlog.replay"), [failing])
    assert not offered(verb_action("backlog.replay"), [held])
    assert not offered(verb_action("backlog.release-lane"), list(families.values()))
    assert offered(verb_action("backlog.hold-lane"), list(families.values()))
    assert offered(verb_action("backlog.hold-lane"), [])
    assert not offered(verb_action("artifacts.promote"), [])
