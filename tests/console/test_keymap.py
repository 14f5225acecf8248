"""The key registry: one source for bindings, help and README, without two meanings for one key."""

from __future__ import annotations

from itertools import combinations

import pytest

from joelclaw_tui.tui.keymap import KEYS, KeyScope, bindings, markdown_table, sections
from joelclaw_tui.tui.screens.help import help_content

TOGETHER = (
    {KeyScope.BACKLOG, KeyScope.TABLE, KeyScope.MAIN, KeyScope.EVERYWHERE, KeyScope.LEAVE},
    {KeyScope.SCHEDULE, KeyScope.TABLE, KeyScope.MAIN, KeyScope.EVERYWHERE, KeyScope.LEAVE},
    {KeyScope.JOURNAL, KeyScope.TABLE, KeyScope.MAIN, KeyScope.EVERYWHERE, KeyScope.LEAVE},
    {KeyScope.ARTIFACTS, KeyScope.TABLE, KeyScope.MAIN, KeyScope.EVERYWHERE, KeyScope.LEAVE},
    {KeyScope.ITEMS, KeyScope.TABLE, KeyScope.DRILL, KeyScope.EVERYWHERE, KeyScope.LEAVE},
    {KeyScope.FAMILY, KeyScope.DRILL, KeyScope.EVERYWHERE, KeyScope.LEAVE},
    {KeyScope.ITEM, KeyScope.DRILL, KeyScope.EVERYWHERE, KeyScope.LEAVE},
    {KeyScope.RUN, KeyScope.TABLE, KeyScope.DRILL, KeyScope.EVERYWHERE, KeyScope.LEAVE},
    {KeyScope.FIRES, KeyScope.TABLE, KeyScope.DRILL, KeyScope.EVERYWHERE, KeyScope.LEAVE},
    {KeyScope.ARTIFACT, KeyScope.DRILL, KeyScope.EVERYWHERE, KeyScope.LEAVE},
    {KeyScope.PREVIEW, KeyScope.LEAVE},
    {KeyScope.DIALOG, KeyScope.LEAVE},
    {KeyScope.WORKING, KeyScope.LEAVE},
    {KeyScope.START, KeyScope.LEAVE},
)
"""Scopes whose keys work at the same time."""


def test_ids_are_unique() -> None:
    assert len({spec.id for spec in KEYS}) == len(KEYS)


@pytest.mark.parametrize("scopes", TOGETHER, ids=lambda scopes: "+".join(sorted(scopes)))
def test_no_key_means_two_things_at_one_place(scopes: set[KeyScope]) -> None:
    here = [spec for spec in KEYS if spec.scope in scopes]
    for one, other in combinations(here, 2):
        assert not set(one.keys) & set(other.keys), f"{one.id} and {other.id}"


def test_every_scope_is_tested_for_double_meanings() -> None:
    assert set().union(*TOGETHER) == set(KeyScope)


def test_every_key_has_its_line_in_the_help_and_in_the_table() -> None:
    page, table = help_content().plain, markdown_table()
    for spec in KEYS:
        assert spec.help in page
        assert f"| `{spec.display}` | {spec.help} |" in table
    for scope, _ in sections():
        assert scope.value in page


def test_a_binding_carries_its_id_so_that_settings_can_re_map_it() -> None:
    made = bindings(KeyScope.BACKLOG)
    assert {binding.id for binding in made} == {spec.id for spec in KEYS if spec.scope is KeyScope.BACKLOG}
