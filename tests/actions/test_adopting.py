"""Bringing in a backlog from outside is an action like any other: looked at, applied once, receipted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runtime.actions.apply import Actions
from runtime.actions.bulk.ports import BulkProgress
from runtime.actions.intents import Intent
from runtime.actions.verbs.adopt import AdoptTerms
from runtime.model import BoundaryDown, ReadOnly, ReceiptOutcome, Refused, UsageError
from runtime.pressure.backlog_file import BacklogHeader
from runtime.pressure.export import Adopted
from runtime.pressure.older import OlderMoved, OlderReading
from tests.actions.conftest import actions_on
from tests.truth.ports import World, make_world

HEADER = BacklogHeader(lane="other", server="valkey", exported_at="2026-03-14T15:00:00Z")
FILE = Intent("adopt", (), reason="moving house", terms=AdoptTerms(file="backlog.jsonl"))


@dataclass
class MemoryOutside:
    """A file with three items, and an older layout with two."""

    added: dict[str, int] = field(default_factory=lambda: {"mail/send": 1, "content/updated": 2})
    fails: Exception | None = None
    done: list[str] = field(default_factory=list)

    async def look_at_file(self, path: Path, *, progress: BulkProgress | None) -> Adopted:
        return Adopted(HEADER, dict(self.added))

    async def adopt_file(self, path: Path, *, progress: BulkProgress | None) -> Adopted:
        if self.fails is not None:
            raise self.fails
        self.done.append(str(path))
        return Adopted(HEADER, {"mail/send": 1, "content/removed": 4})

    async def look_at_older(self, url: str, *, include_pending: bool) -> OlderReading:
        return OlderReading(
            where="redis://old:6379/0",
            families={"mail/send": 2},
            unknown={"else": 1},
            malformed=(),
            malformed_total=0,
            pending=(),
            pending_total=3,
            pauses=(),
            stray=0,
            active=(),
        )

    async def move_older(
        self, url: str, *, include_pending: bool, progress: BulkProgress | None
    ) -> OlderMoved:
        reading = await self.look_at_older(url, include_pending=include_pending)
        self.done.append(reading.where)
        return OlderMoved(reading, {"mail/send": 2}, {})


def adopting(world: World, outside: MemoryOutside) -> Actions:
    return actions_on(world, outside=outside)


async def test_a_file_is_looked_at_and_brought_in_once_with_what_became_of_each_family(world: World) -> None:
    outside, found = MemoryOutside(), list[object]()
    actions = adopting(world, outside)
    preview = await actions.preview(FILE)
    assert preview.ids == ("content/updated", "mail/send")
    assert preview.lines == ("mail/send: 1 item", "content/updated: 2 items")
    assert (outside.done, preview.found) == ([], Adopted(HEADER, outside.added))
    receipt = await actions.apply(preview, actor="ana@host", origin="cli", found=found.append)
    assert {result.target: result.outcome for result in receipt.results} == {
        "mail/send": ReceiptOutcome.DONE,
        "content/removed": ReceiptOutcome.DONE,
        "content/updated": ReceiptOutcome.MOVED_ON,
    }
    assert (receipt.summary, receipt.reason) == ("Adopt backlog.jsonl: 5 items added", "moving house")
    assert found == [Adopted(HEADER, {"mail/send": 1, "content/removed": 4})]
    assert (outside.done, world.audit.receipts) == (["backlog.jsonl"], [receipt])
    with pytest.raises(Refused, match="applied already"):
        await actions.apply(preview, actor="ana@host", origin="cli")


async def test_one_that_was_cut_off_is_on_record_as_unfinished(world: World) -> None:
    actions = adopting(world, MemoryOutside(fails=BoundaryDown("Redis is gone")))
    preview = await actions.preview(FILE)
    with pytest.raises(BoundaryDown, match="recorded as receipt"):
        await actions.apply(preview, actor="ana@host", origin="cli")
    (receipt,) = world.audit.receipts
    assert receipt.partial
    assert receipt.summary == "Adopt backlog.jsonl: ended early: Redis is gone; running it again finishes it"
    assert {result.outcome for result in receipt.results} == {ReceiptOutcome.FAILED}


async def test_the_older_layout_tells_what_stays_and_can_not_be_undone(world: World) -> None:
    actions = adopting(world, MemoryOutside())
    terms = AdoptTerms(older="redis://ana:secret@old:6379/0")
    preview = await actions.preview(Intent("adopt", (), terms=terms))
    assert preview.destructive
    assert "secret" not in preview.title
    assert preview.lines == (
        "mail/send: 2 items",
        "left alone: else, which the lane file does not declare",
        "3 items that the older system was given stay",
    )
    receipt = await actions.apply(preview, actor="ana@host", origin="cli")
    assert receipt.summary.endswith("2 items added")


async def test_read_only_mode_may_look_at_a_file_and_brings_nothing_in(tmp_path: Path) -> None:
    outside = MemoryOutside()
    actions = adopting(make_world(tmp_path, read_only=True), outside)
    preview = await actions.preview(FILE)
    with pytest.raises(ReadOnly):
        await actions.apply(preview, actor="ana@host", origin="cli")
    assert outside.done == []


@pytest.mark.parametrize(
    "terms",
    [
        AdoptTerms(),
        AdoptTerms(file="x", older="redis://y"),
        AdoptTerms(file="-"),
        AdoptTerms(file="x", include_pending=True),
    ],
)
async def test_what_can_not_be_meant_is_refused(world: World, terms: AdoptTerms) -> None:
    with pytest.raises(UsageError):
        await adopting(world, MemoryOutside()).preview(Intent("adopt", (), terms=terms))
