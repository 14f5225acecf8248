"""A backlog goes to a file and comes back exactly; a file that is not whole stores nothing."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.model import (
    Draining,
    FamilyRules,
    FieldMatch,
    ItemState,
    NewItem,
    Outcome,
    PauseKind,
    PauseMode,
    Priority,
    SelectedItem,
    Selection,
    UnknownFamily,
    new_item_id,
)
from runtime.pressure.backlog_file import BadLine
from runtime.pressure.export import Adopter, Exporter
from runtime.pressure.inflow import Inflow
from runtime.pressure.lane_store import LaneStore
from tests.servers import ValkeyServer

from .conftest import Bench

RULES = {"a": FamilyRules(max_in_flight=100, concurrency=1), "b": FamilyRules()}


class Office:
    """One lane to export from, another to bring it to."""

    def __init__(self, bench: Bench, url: str, folder: Path) -> None:
        self.bench = bench
        self.exporter = Exporter(bench.redis, url, bench.lane)
        self.other = "t" + secrets.token_hex(4)
        self.adopter = self.adopter_of(url, ["a", "b"])
        self.path = folder / "backlog.jsonl"
        self.url = url
        for part in (bench.queue, bench.control, bench.reading):
            part.now_us = None  # the windows of dedup keys end by the server's clock

    def adopter_of(self, url: str, families: list[str]) -> Adopter:
        return Adopter(
            self.bench.redis,
            url,
            self.other,
            families=families,
            payload_limit=1_000_000,
        )

    async def fill(self) -> dict[str, str]:
        """One item of ``a`` in every state, by what it is; one of ``b``."""
        inflow = Inflow(LaneStore(self.bench.redis, self.url, self.bench.lane))
        ids = {
            name: new_item_id("a", at_s=float(n))
            for n, name in enumerate(
                ["flight", "admitting", "leased", "dead", "quarantined", "parked", "waiting"], 1
            )
        }
        await inflow.enqueue_many(
            "a",
            [
                NewItem(
                    item,
                    json.dumps({"is": name, "text": 'ü\n"/\u2028'}, ensure_ascii=False),
                    Priority.P1,
                    "cli",
                    dedup_key=f"key of {name}",
                    concurrency_key="k" if name in ("flight", "parked") else None,
                )
                for name, item in ids.items()
            ],
            dedup_window_s=100,
        )
        leases = {
            lease.item_id: lease
            for lease in (await self.bench.queue.claim({"a": (9, 9, 9, 9)}, RULES, owner="d")).leases
        }
        await self.bench.queue.give_back([leases[ids["waiting"]]])
        await self.bench.queue.quarantine(leases[ids["quarantined"]], "what is this / that?")
        await self.bench.queue.settle(leases[ids["dead"]].run_id, "a", Outcome.FAILED, "boom ü")
        going = [leases[ids["flight"]], leases[ids["admitting"]]]
        await self.bench.queue.begin_admit(going)
        await self.bench.queue.admitted(going[:1])
        ids["delayed"] = await self.bench.add(level=3, delay_s=50)
        ids["due"] = await self.bench.add(level=0, delay_s=0.001)
        ids["b"] = await self.bench.add("b")
        return ids

    async def write(self, lines: AsyncIterator[str], name: str = "backlog.jsonl") -> list[dict[str, Any]]:
        texts = [line async for line in lines]
        self.path.with_name(name).write_text("".join(texts), encoding="utf-8")
        return [json.loads(text) for text in texts]

    async def dump(self, lane: str) -> dict[str, object]:
        lanes, self.bench.lane = self.bench.lane, lane
        try:
            return await self.bench.dump()
        finally:
            self.bench.lane = lanes


@pytest.fixture
def office(bench: Bench, module_valkey: ValkeyServer, tmp_path: Path) -> Office:
    return Office(bench, module_valkey.url, tmp_path)


async def test_every_row_comes_back_exactly_and_what_was_being_run_is_set_aside(office: Office) -> None:
    ids = await office.fill()
    before = await office.bench.dump()
    lines = await office.write(office.exporter.lines(["a", "b"]))
    assert await office.bench.dump() == before, "looking changes nothing"
    assert (lines[0]["schema"], lines[0]["lane"]) == ("joelclaw.backlog/1", office.bench.lane)
    assert (lines[-1]["rows"], len(lines)) == (10, 12)
    dry = await office.adopter.adopt(office.path, dry_run=True)
    assert (dry.added, dry.quarantined) == ({"a": 9, "b": 1}, 3)
    assert await office.dump(office.other) == {}, "a dry run stores nothing"

    assert await office.adopter.adopt(office.path) == dry
    exported = {line["id"]: line for line in lines[1:-1]}
    back = Exporter(office.bench.redis, office.url, office.other)
    again = {line["id"]: line for line in (await office.write(back.lines(["a", "b"]), "back"))[1:-1]}
    assert again.keys() == exported.keys() == set(ids.values())
    for name, item_id in ids.items():
        was, now = exported[item_id], again[item_id]
        until = was.pop("dedup_until_ms"), now.pop("dedup_until_ms")
        if was["dedup_key"] is not None:
            assert until[1] == pytest.approx(until[0], abs=100)
            assert 60 < until[0] / 1000 - time.time() <= 101, "the rest of its window"
        if name in ("flight", "admitting", "leased"):
            assert now["state"] == "quarantined"
            message = now["failures"][-1]["message"]
            assert message.startswith(f"was {was['state']} when {office.bench.lane} was exported")
            ignored = {"state", "score_us", "failures"}
            assert {k: v for k, v in now.items() if k not in ignored} == {
                k: v for k, v in was.items() if k not in ignored
            }
        else:
            assert now == was
    assert exported[ids["dead"]]["failures"][0]["message"] == "boom ü"
    before = await office.dump(office.other)
    second = await office.adopter.adopt(office.path)
    assert (second.added, second.present) == ({}, {"a": 9, "b": 1})
    assert await office.dump(office.other) == before, "a second run adds nothing twice"


async def test_an_adopted_backlog_works_like_any_other(office: Office) -> None:
    ids = await office.fill()
    await office.write(office.exporter.lines(["a"]))
    await office.adopter.adopt(office.path)
    inflow = Inflow(LaneStore(office.bench.redis, office.url, office.other))
    twice = NewItem(new_item_id("a", at_s=1.0), "{}", Priority.P1, "t", dedup_key="key of waiting")
    (answer,) = await inflow.enqueue_many("a", [twice])
    assert answer is not None
    assert (answer.duplicate, answer.item_id) == (True, ids["waiting"]), "the rest of its window holds"
    office.bench.queue.store.lane = office.other
    await office.bench.queue.make_ready(RULES)
    leases = (await office.bench.queue.claim({"a": (9, 9, 9, 9)}, RULES, owner="d")).leases
    assert [lease.item_id for lease in leases] == [ids["due"], ids["parked"], ids["waiting"]]
    stored = await office.bench.redis.hget(f"joelclaw:1:{{{office.other}/a}}:meta", "bytes")
    records: Any = await office.bench.redis.hvals(f"joelclaw:1:{{{office.other}/a}}:items")
    assert int(stored or 0) == sum(len(record.encode()) for record in records)


async def test_a_selection_or_frozen_ids_are_exported_alone(office: Office) -> None:
    ids = await office.fill()
    meant = Selection(frozenset({ItemState.WAITING}), fields=(FieldMatch(("is",), "waiting"),))
    lines = await office.write(office.exporter.lines(["a", "b"], selection=meant))
    assert [line["id"] for line in lines[1:-1]] == [ids["waiting"]]
    by_id = replace(meant, fields=(), ids=(ids["waiting"], ids["dead"]))
    lines = await office.write(office.exporter.lines(["a"], selection=by_id))
    assert [line["id"] for line in lines[1:-1]] == [ids["waiting"]]
    gone = SelectedItem(new_item_id("a", at_s=9.0), 1, ItemState.DEAD)

    async def frozen() -> AsyncIterator[tuple[str, list[SelectedItem]]]:
        yield "a", [gone]
        yield "a", [SelectedItem(ids["dead"], 1, ItemState.DEAD)]

    lines = await office.write(office.exporter.lines_of(frozen()))
    assert [line["id"] for line in lines[1:-1]] == [ids["dead"]]


def _line(number: int, **changes: Any) -> Callable[[list[str]], None]:
    def change(lines: list[str]) -> None:
        lines[number] = json.dumps(json.loads(lines[number]) | changes) + "\n"

    return change


HOSTILE: dict[str, tuple[Callable[[list[str]], object], str]] = {
    "cut after a row": (lambda lines: lines.pop(), "line 4: the file ends before its end"),
    "cut in a row": (lambda lines: lines.__setitem__(slice(2, None), [lines[2][:40]]), "line 3: .*cut off"),
    "a row left out": (lambda lines: lines.pop(1), "line 3: the end speaks of other rows"),
    "two rows exchanged": (lambda lines: lines.insert(1, lines.pop(2)), "line 4: the digest differs"),
    "more behind the end": (lambda lines: lines.append("{}\n"), "line 5: there is more"),
    "no header": (lambda lines: lines.pop(0), "line 1: not a joelclaw.backlog/1 file"),
    "not JSON": (lambda lines: lines.__setitem__(1, "nonsense\n"), "line 2: not JSON"),
    "nested without end": (lambda lines: lines.__setitem__(1, "[" * 100_000 + "\n"), "line 2: not JSON"),
    "no object": (lambda lines: lines.__setitem__(1, "[]\n"), "line 2: not an object"),
    "endless line": (lambda lines: lines.__setitem__(1, "x" * 7_000_000 + "\n"), "line 2: longer than"),
    "another family's id": (_line(1, id="0" * 26 + "-aaaaa"), "line 2: .* is not an id of a"),
    "an id that is none": (_line(1, id="../../x"), "line 2: .*is not an item id"),
    "a family that is none": (_line(1, family="A}:{x"), "line 2: .* is no family's name"),
    "a settled state": (_line(1, state="succeeded"), "line 2: state is none"),
    "a level that is none": (_line(1, priority="P9"), "line 2: priority"),
    "a true attempt": (_line(1, attempt=True), "line 2: attempt is no whole number"),
    "an attempt beyond": (_line(1, attempt=10**10), "line 2: attempt is no whole number"),
    "a score that is text": (_line(1, score_us="+inf"), "line 2: score_us is no whole number"),
    "due at another time": (_line(1, due_us=1), "line 2: due_us"),
    "a payload that is none": (_line(1, payload="{"), "line 2: payload is not JSON"),
    "a payload with NaN": (_line(1, payload="NaN"), "line 2: payload is not JSON"),
    "a payload with a surrogate": (_line(1, payload='"\\ud800"'), "line 2: payload"),
    "a payload in white space": (_line(1, payload=" {}"), "line 2: white space"),
    "failures that are none": (_line(1, failures=[{"outcome": "x"}]), "line 2: a failure"),
    "a key with a surrogate": (_line(1, dedup_key="\ud800"), "line 2: dedup_key"),
    "too many failures": (_line(1, failures=[{}] * 20), "line 2: failures"),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_file_that_is_not_whole_and_sound_is_refused_with_its_line(office: Office, case: str) -> None:
    await office.bench.add()
    await office.bench.add()
    await office.write(office.exporter.lines(["a"]))
    lines = office.path.read_text(encoding="utf-8").splitlines(keepends=True)
    change, message = HOSTILE[case]
    change(lines)
    office.path.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(BadLine, match=message):
        await office.adopter.adopt(office.path)
    assert await office.dump(office.other) == {}


async def test_bytes_that_are_no_text_and_files_that_are_not_there_are_refused(office: Office) -> None:
    office.path.write_bytes(b'{"schema": "\xff"}\n')
    with pytest.raises(BadLine, match="line 1: not UTF-8"):
        await office.adopter.adopt(office.path)
    with pytest.raises(BadLine, match="No such file"):
        await office.adopter.adopt(office.path.with_name("nowhere"))
    with pytest.raises(BadLine, match="is no regular file"):
        await office.adopter.adopt(office.path.parent)


async def test_rows_of_a_family_that_nobody_declares_are_refused(office: Office) -> None:
    await office.fill()
    await office.write(office.exporter.lines(["a", "b"]))
    with pytest.raises(UnknownFamily, match="line 11: .*'b'"):
        await office.adopter_of(office.url, ["a"]).adopt(office.path)
    assert await office.dump(office.other) == {}


async def test_a_family_that_runs_dry_takes_nothing_back(office: Office) -> None:
    await office.bench.add()
    await office.write(office.exporter.lines(["a"]))
    office.bench.control.lane = office.other
    await office.bench.control.pause(
        "a", actor="joe", kind=PauseKind.PERSON, reason=None, for_s=None, mode=PauseMode.DRAIN
    )
    with pytest.raises(Draining):
        await office.adopter.adopt(office.path)
    assert await office.bench.redis.exists(f"joelclaw:1:{{{office.other}/a}}:items") == 0


async def test_a_runnable_row_from_the_future_does_not_push_later_ones_there(office: Office) -> None:
    base = f"joelclaw:1:{{{office.bench.lane}/a}}:"
    item = await office.bench.add()
    await office.bench.redis.zadd(base + "w2", {item: 9_000_000_000_000_000})
    await office.write(office.exporter.lines(["a"]))
    await office.adopter.adopt(office.path)
    office.bench.queue.store.lane = office.bench.reading.lane = office.other
    after = await office.bench.get(item)
    assert after.since == pytest.approx(time.time(), abs=60)
