"""A Redis that can't take work in: one answer to each door, whatever is wrong with it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from joelclaw_tui.tui.app import ConsoleApp
from joelclaw_tui.tui.screens.problem import ProblemScreen
from runtime.model import ReceiptOutcome
from runtime.roles.operator import open_operator
from runtime.settings import Settings
from tests.console.driving import main_screen, ready, screen_text, until
from tests.gateway.door import LANE, open_door, real_intake
from tests.servers import ValkeyServer
from tests.troubles import TROUBLES, Cutting, trouble

ITEMS = "/v1/families/feeds/items"


async def program(folder: Path, url: str, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and envelope of one command, on the lane file that the gateway of the test has."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "JOELCLAW_CONFIG_DIR": str(folder / "config"),
        "JOELCLAW_STATE_DIR": str(folder / "state"),
        "JOELCLAW_LANE": str(folder / "lane.toml"),
        "JOELCLAW_REDIS_URL": url,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "joelclaw_tui", *words, "--json"),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert b"Traceback" not in err
    assert process.returncode is not None
    document: dict[str, Any] = json.loads(out)
    return process.returncode, document


@pytest.mark.parametrize("what", TROUBLES)
async def test_work_that_redis_can_t_take_is_503_and_exit_3_with_a_fix_at_every_door(
    what: str, short_dir: Path, tmp_path: Path
) -> None:
    with trouble(what, short_dir) as (url, code):
        async with real_intake(url, tmp_path) as intake, open_door(intake) as door, door.client() as client:
            one = await client.post(ITEMS, content=b"1")
            many = await client.post(
                ITEMS, content=b"1\n2\n", headers={"content-type": "application/x-ndjson"}
            )
        items = tmp_path / "items.jsonl"
        items.write_text("1\n2\n")
        told = await asyncio.gather(
            program(tmp_path, url, "enqueue", "feeds", "--data", "1"),
            program(tmp_path, url, "enqueue", "feeds", "--data", f"@{items}"),
        )
        paused, pause = await program(tmp_path, url, "queue", "pause", "feeds", "--yes")

    assert (one.status_code, one.json()["error"]["code"]) == (503, code)
    assert one.json()["fix"]
    assert many.status_code == 503
    assert {one.headers["retry-after"], many.headers["retry-after"]} == {"2"}
    assert code in many.text
    for exit_code, document in told:
        assert (exit_code, document["ok"], document["error"]["code"]) == (3, False, code)
        assert document["fix"]
    assert told[1][1]["result"]["stored"] == 0
    if what == "out of memory":  # what takes next to no memory is carried out, so that it can be relieved
        assert paused == 0
    else:
        assert (paused, pause["error"]["code"]) == (3, code)
        assert "may have been done" not in pause["error"]["message"]


@pytest.mark.parametrize("what", ["a read-only replica", "too few replicas", "a failing disk"])
async def test_the_console_says_why_redis_takes_no_change_and_goes_on(
    what: str, short_dir: Path, tmp_path: Path
) -> None:
    lane = tmp_path / "lane.toml"
    lane.write_text(LANE)
    with trouble(what, short_dir) as (url, code):
        settings = Settings(lane=lane, state_dir=tmp_path / "state", redis_url=url)
        async with open_operator(settings) as operator:
            app = ConsoleApp(operator, actor="ann", sight_s=0)
            async with app.run_test(size=(160, 48)) as pilot:
                await ready(pilot)
                await pilot.press("p")
                await until(pilot, lambda: "EXACTLY THESE" in screen_text(app), "the preview")
                await pilot.press("y")
                await until(pilot, lambda: isinstance(app.screen, ProblemScreen), "what is wrong")
                assert isinstance(app.screen, ProblemScreen)
                problem, shown = app.screen.problem, screen_text(app)
                await pilot.press("escape")
                await until(pilot, lambda: app.screen is main_screen(app), "the main screen again")
            (receipt,) = await operator.reader.audit()

    assert app.return_code in (None, 0)
    assert (problem.code, receipt.results[0].outcome) == (code, ReceiptOutcome.FAILED)
    assert problem.fix and "what to do:" in shown
    assert "nothing was stored" in problem.message
    assert "may have been done" not in (receipt.results[0].detail or "")


async def test_a_reply_lost_in_mid_script_is_503_and_the_same_key_again_adds_nothing_twice(
    valkey: ValkeyServer, short_dir: Path, tmp_path: Path
) -> None:
    proxy = Cutting(valkey, short_dir / "cut.sock")
    async with (
        proxy.listening(),
        real_intake(proxy.url, tmp_path) as intake,
        open_door(intake) as door,
        door.client() as client,
    ):
        assert (await client.post(ITEMS, content=b"0")).status_code == 202
        key = {"idempotency-key": "once"}
        proxy.cut = True
        lost = await client.post(ITEMS, content=b"1", headers=key)
        by_hand = await program(
            tmp_path, proxy.url, "enqueue", "feeds", "--data", "2", "--dedup-key", "by hand"
        )
        proxy.cut = False
        again = await client.post(ITEMS, content=b"1", headers=key)
        by_hand_again = await program(
            tmp_path, proxy.url, "enqueue", "feeds", "--data", "2", "--dedup-key", "by hand"
        )
        _, listed = await program(tmp_path, valkey.url, "queue", "list")

    assert (lost.status_code, lost.json()["error"]["code"], lost.headers["retry-after"]) == (
        503,
        "boundary-down",
        "2",
    )
    assert (by_hand[0], by_hand[1]["error"]["code"]) == (3, "boundary-down")
    assert (again.status_code, again.json()["duplicate"]) == (202, True)
    assert (by_hand_again[0], by_hand_again[1]["result"]["duplicate"]) == (0, True)
    (feeds,) = (row for row in listed["result"]["data"]["families"]["items"] if row["name"] == "feeds")
    assert feeds["waiting"] == 3
