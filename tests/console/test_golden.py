"""Golden screens: what the README shows is what the console draws. ``UPDATE_SNAPSHOTS=1`` rewrites them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from textual.app import App

from joelclaw_tui.tui.screens.working import WorkingScreen
from runtime.model import ItemState, ReceiptOutcome
from runtime.truth.document import Snapshot
from tests.console.driving import ready, until
from tests.console.operator import (
    PATCH,
    VERIFY,
    MemoryOperator,
    console,
    sample_fires,
    sample_item,
    settings,
)
from tests.sample import sample_snapshot

FOLDER = Path(__file__).parents[2] / "snapshots"
REFRESH_S = 60.0
"""One reading only: the picture must not depend on how many turns there were."""


@dataclass(frozen=True)
class Golden:
    name: str
    size: tuple[int, int]
    keys: tuple[str, ...] = ()
    theme: str = "joelclaw-dark"
    snapshot: Snapshot = field(default_factory=sample_snapshot)
    destructive: bool = False


GOLDENS = (
    Golden("console-80x24", (80, 24)),
    Golden("console-120x40", (120, 40)),
    Golden("console-200x60", (200, 60)),
    Golden("console-journal-80x24", (80, 24), ("3",)),
    Golden("console-schedule-80x24", (80, 24), ("2",)),
    Golden("console-artifacts-80x24", (80, 24), ("4",)),
    Golden("console-clock-and-sandbox-120x40", (120, 40), ("2", "4")),
    Golden("console-absent-120x40", (120, 40), snapshot=sample_snapshot(absent=True)),
    Golden("console-fires-80x24", (80, 24), ("2", "down", "enter")),
    Golden("console-fires-120x40", (120, 40), ("2", "down", "enter")),
    Golden("console-artifact-120x40", (120, 40), ("4", "down", "down", "enter")),
    Golden("console-diff-80x24", (80, 24), ("4", "down", "down", "enter")),
    Golden("console-verification-80x24", (80, 24), ("4", "down", "down", "down", "enter", "tab")),
    Golden("console-manifest-80x24", (80, 24), ("4", "down", "down", "enter", "shift+tab")),
    Golden("console-reject-80x24", (80, 24), ("4", "down", "down", "x")),
    Golden("console-light-120x40", (120, 40), theme="joelclaw-light"),
    Golden("console-preview-80x24", (80, 24), ("p",)),
    Golden("console-kill-80x24", (80, 24), ("3", "k"), destructive=True),
    Golden("console-findings-80x24", (80, 24), ("f",)),
    Golden("console-help-80x24", (80, 24), ("question_mark",)),
    Golden("console-items-120x40", (120, 40), ("enter",)),
    Golden("console-marked-80x24", (80, 24), ("enter", "down", "v", "down", "v")),
    Golden("console-marked-120x40", (120, 40), ("enter", "down", "v", "down", "v")),
    Golden("console-match-80x24", (80, 24), ("enter", "F", *"error", "space", *"500", "enter", "asterisk")),
    Golden("console-selection-80x24", (80, 24), ("enter", "asterisk", "r", "enter")),
    Golden("console-selection-120x40", (120, 40), ("enter", "asterisk", "r", "enter")),
    Golden("console-moved-on-80x24", (80, 24), ("enter", "A", "r", "y")),
    Golden("console-moved-on-120x40", (120, 40), ("enter", "A", "r", "y")),
    Golden("console-pause-80x24", (80, 24), ("P",)),
    Golden("console-hold-lane-80x24", (80, 24), ("H",)),
    Golden("console-family-80x24", (80, 24), ("end", "g")),
    Golden("console-family-160x45", (160, 45), ("end", "g")),
    Golden("console-run-80x24", (80, 24), ("3", "down", "enter")),
    Golden(
        "console-down-120x40", (120, 40), snapshot=sample_snapshot(durable_down=True, pressure_unknown=True)
    ),
    Golden(
        "console-down-200x60",
        (200, 60),
        snapshot=sample_snapshot(clock_down=True, sandbox_unknown=True),
    ),
    Golden("console-hostile-120x40", (120, 40), snapshot=sample_snapshot(hostile=True)),
)


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.name)
async def test_the_screen_is_the_golden_one(golden: Golden, tmp_path: Path) -> None:
    drawn = await picture(golden, tmp_path)
    path = FOLDER / f"{golden.name}.svg"
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        path.write_text(drawn, encoding="utf-8")
    assert path.exists(), f"{path} is missing; UPDATE_SNAPSHOTS=1 writes it"
    assert drawn == path.read_text(encoding="utf-8"), (
        f"{path.name} differs; look at it and rewrite it with UPDATE_SNAPSHOTS=1 if it is right"
    )


async def picture(golden: Golden, folder: Path) -> str:
    operator = MemoryOperator(settings(folder, refresh_s=REFRESH_S))
    operator.reader.current = golden.snapshot
    operator.reader.all_items = {ItemState.DEAD: [sample_item(number) for number in range(3)]}
    operator.reader.all_fires = sample_fires("feeds-poll")
    operator.reader.texts = {"patch": PATCH, "verify": VERIFY, "log": "fixed the feed poller\n"}
    operator.actions.destructive = golden.destructive
    second = sample_item(1).item_id
    operator.actions.outcome = lambda target: (
        ReceiptOutcome.MOVED_ON if target == second else ReceiptOutcome.DONE
    )
    app = console(operator, theme=golden.theme)
    async with app.run_test(size=golden.size) as pilot:
        await ready(pilot)
        for key in golden.keys:
            await pilot.press(key)
            await settled(pilot.app)
            await pilot.pause()
        await until(pilot, lambda: not isinstance(app.screen, WorkingScreen), "what is under way to end")
        await pilot.pause()
        svg = app.export_screenshot(title="joelclaw-tui")
    await app.settle()
    return normalised(svg)


async def settled(app: App[int]) -> None:
    """Until every look-up that a key began has ended."""
    await app.workers.wait_for_complete()


def normalised(svg: str) -> str:
    """Without what differs from run to run, and without fonts from somewhere else."""
    svg = re.sub(r"@font-face\s*\{[^}]*\}\s*", "", svg)
    svg = re.sub(r"terminal-\d+", "terminal", svg)
    return svg.strip() + "\n"
