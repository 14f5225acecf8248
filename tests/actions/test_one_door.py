"""Nothing but a verb in the executor's hands writes for an operator, and read-only mode stops every one of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from runtime.actions.apply import Actions
from runtime.actions.bulk.ports import BacklogPorts
from runtime.actions.intents import Intent, Preview
from runtime.actions.verb import Subject
from runtime.actions.verbs import registry, verb_of
from runtime.model import ReadOnly
from tests.truth.ports import ADDRESSES, START, World, make_world

ROOT = Path(__file__).parents[2]
OPERATOR_S_SIDE = ("joelclaw_tui", "runtime/actions", "runtime/truth", "runtime/gateway")
WRITES = {
    "PressureControl",
    "RunControl",
    "SandboxControl",
    "BulkControl",
    "ClockControl",
    "ClockPort",
    "Outside",
    "WritePort",
}
"""The ports by which anything can be changed."""
MAY_NAME_THEM = (
    "runtime/actions/verbs/",
    "runtime/actions/subjects/",
    "runtime/actions/verb.py",
    "runtime/actions/executor.py",
    "runtime/actions/write_port.py",
    "runtime/actions/apply.py",  # takes them from the composition root, for the executor
    "runtime/actions/bulk/applying.py",
    "runtime/actions/bulk/ports.py",
)
WRITERS = {"runtime.pressure.control", "runtime.pressure.bulk", "runtime.pressure.move_in"}
"""What stands behind them in the queue."""
INTAKE = {"joelclaw_tui/cli/importing.py"}
"""Taking work in is no action on what is there: it has the same guard, and the item is its record."""


def modules(*more: str) -> Iterator[tuple[str, ast.Module]]:
    for side in (*OPERATOR_S_SIDE, *more):
        for path in sorted((ROOT / side).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def names_imported(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def calls_of(tree: ast.Module, name: str) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
        for node in ast.walk(tree)
    )


def test_only_verbs_and_their_executor_know_of_what_changes_anything() -> None:
    wrong = {
        where: sorted(found)
        for where, tree in modules()
        if (found := names_imported(tree) & (WRITES | WRITERS)) and not where.startswith(MAY_NAME_THEM)
    }
    assert not wrong


def test_only_the_executor_makes_what_verbs_write_with() -> None:
    assert [where for where, tree in modules() if calls_of(tree, "WritePort")] == [
        "runtime/actions/executor.py"
    ]


def test_read_only_mode_is_refused_in_one_place_beside_intake() -> None:
    refusing = {where for where, tree in modules("runtime/roles") if calls_of(tree, "ReadOnly")}
    assert refusing - INTAKE == {"runtime/actions/executor.py"}


class Recording:
    """Stands for any port, and for any method of it: nothing may be asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def call(*_: Any, **__: Any) -> None:
            self.asked.append(name)

        return call


def acting(world: World, hands: Recording) -> Actions:
    every = cast(Any, hands)
    return Actions(
        settings=world.settings,
        lane=world.lane,
        pressure=world.pressure,
        control=every,
        durable=world.durable,
        runs=every,
        beats=world.beats,
        audit=world.audit,
        now=world.clock,
        addresses=ADDRESSES,
        clock=every,
        sandbox=every,
        outside=every,
        backlog=BacklogPorts(every, every, every, every, every),
    )


def shown(name: str) -> Preview:
    """As if it had been previewed: the guard stands before the question whether it was."""
    targets = () if verb_of(name).subject is Subject.LANE else ("mail/send",)
    return Preview(
        preview_id="01km0preview",
        intent=Intent(name, targets),
        ids=("mail/send",),
        matching=1,
        title=name,
        lines=(),
        warnings=(),
        target="",
        created_at=START,
        destructive=False,
        pause_epochs=(0,),
        expected=("",),
    )


@pytest.mark.parametrize("name", sorted(registry()))
async def test_read_only_mode_stops_every_verb_before_anything_is_asked_of_a_port(
    tmp_path: Path, name: str
) -> None:
    world, hands = make_world(tmp_path, read_only=True), Recording()
    with pytest.raises(ReadOnly):
        await acting(world, hands).apply(shown(name), actor="ana@host", origin="cli")
    with pytest.raises(ReadOnly):
        await acting(world, hands).apply_kept("01km0preview", actor="ana@host", origin="cli")
    assert hands.asked == []
    assert not world.audit.receipts


async def test_without_it_the_same_ports_are_asked(tmp_path: Path) -> None:
    world, hands = make_world(tmp_path), Recording()
    actions = acting(world, hands)
    preview = await actions.preview(Intent("pause", ("mail/send",)))
    assert hands.asked == []
    await actions.apply(preview, actor="ana@host", origin="cli")
    assert hands.asked == ["pause"]
