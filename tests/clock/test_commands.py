"""``joelclaw-tui schedule`` as a process, on a real lane."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.clock.lanes import ScheduledLane, scheduled_lane
from tests.servers import RestateServer, ValkeyServer

LANE = """
lane = "told"
[families."quick"]
handler = "noop"
[schedules.by-hand]
cron = "@manually"
family = "quick"
overlap = "allow"
[schedules.daily]
cron = "@daily"
family = "quick"
"""


def envelope(done: subprocess.CompletedProcess[bytes], code: int) -> Any:
    assert done.returncode == code, done.stderr.decode()
    value = json.loads(done.stdout)
    assert value["ok"] is (code == 0 or value["error"] is None)
    return value


async def test_the_schedule_commands(
    short_dir: Path, module_valkey: ValkeyServer, module_restate: RestateServer
) -> None:
    async with scheduled_lane(short_dir, module_valkey, module_restate, LANE) as lane:
        await lane.until_applied()
        command = lane.processes.command
        listed = envelope(command("schedule", "list", "--json"), 0)
        rows = {row["name"]: row for row in listed["result"]["data"]["schedules"]["items"]}
        assert rows.keys() == {"by-hand", "daily"}
        assert (rows["by-hand"]["next"], rows["daily"]["enabled"]) == (None, True)
        assert envelope(command("schedule", "diff", "--json"), 0)["result"] == {"changes": []}

        dry = envelope(command("schedule", "run", "by-hand", "--dry-run", "--json"), 0)
        assert dry["result"]["preview"]["ids"] == ["by-hand"]
        assert envelope(command("schedule", "history", "by-hand", "--json"), 0)["result"]["fires"] == []
        ran = envelope(command("schedule", "run", "by-hand", "--reason", "a look", "--json"), 0)
        assert ran["result"]["receipt"]["reason"] == "a look"
        fires = envelope(command("schedule", "history", "by-hand", "--json"), 0)["result"]["fires"]
        assert [(fire["kind"], fire["decision"]) for fire in fires] == [("asked", "started")]

        envelope(command("schedule", "disable", "daily", "--json"), 0)
        assert command("schedule", "list").returncode == 0
        again = envelope(command("schedule", "disable", "daily", "--json"), 1)
        assert again["error"]["code"] == "nothing-to-do"
        envelope(command("schedule", "enable", "daily", "--json"), 0)
        await _drifted(lane)
        assert b"+ create daily" in command("schedule", "diff").stdout
        envelope(command("schedule", "apply", "--yes", "--json"), 0)
        envelope(command("schedule", "apply", "--yes", "--json"), 1)

        for words, code in (
            (("run", "nobody"), 2),
            (("history", "no\x1b[31m"), 2),
            (("disable", "*"), 2),
            (("--read-only", "disable", "daily"), 2),
        ):
            flags = [word for word in words if word.startswith("--")]
            rest = [word for word in words if not word.startswith("--")]
            refused = command(*flags, "schedule", *rest)
            assert refused.returncode == code, (words, refused.stderr)
            assert b"Traceback" not in refused.stderr
            assert b"\x1b" not in refused.stderr
        once = command("--once", "--pane", "schedule")
        assert b"CLOCK" in once.stdout


async def _drifted(lane: ScheduledLane) -> None:
    assert await lane.dkron.delete("told_daily")
