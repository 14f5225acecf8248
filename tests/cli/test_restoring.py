"""``queue restore`` and what ``queue show`` says before it, as a person meets them: on a real Valkey."""

from __future__ import annotations

import json
import time
from pathlib import Path

from runtime.model import Priority, family_tag, new_item_id
from runtime.pressure.keys import families_key
from runtime.pressure.queue import Queue
from runtime.redis_client.connection import connect
from tests.lane.processes import LaneProcesses
from tests.servers import RestateServer, ValkeyServer

KEPT = """
lane = "main"
[families."mail/send"]
handler = "noop"
"""
GONE = """
[families."old/import"]
handler = "noop"
"""


async def test_a_removed_familys_item_says_why_and_the_family_comes_back_once_declared(
    short_dir: Path, valkey: ValkeyServer
) -> None:
    lane = LaneProcesses(short_dir, valkey, RestateServer(short_dir / "nowhere"), KEPT)
    redis = connect(valkey.url)
    queue = Queue(redis, valkey.url, "main")
    item_id = new_item_id("old/import", at_s=time.time())
    await redis.hset(families_key("main"), family_tag("old/import"), "old/import")
    await queue.enqueue(item_id, "old/import", "{}", priority=Priority.P1, origin="test")
    assert await queue.remove(["old/import"]) == {"old/import": 1}
    await redis.aclose()

    shown = lane.command("queue", "show", item_id)
    told = " ".join(shown.stdout.decode().split())
    assert "quarantined with all of old/import, which the lane file no longer declared" in told
    assert json.loads(lane.command("queue", "show", item_id, "--json").stdout)["result"]["removed_since"]

    refused = lane.command("queue", "restore", "old/import", "--yes")
    assert refused.returncode != 0
    assert b"declare it again first" in refused.stderr

    lane.lane_file.write_text(KEPT + GONE)
    dry = lane.command("queue", "restore", "old/import", "--dry-run")
    assert (dry.returncode, b"nothing was changed" in dry.stdout) == (0, True)
    done = lane.command("queue", "restore", "old/import", "--yes")
    assert done.returncode == 0, done.stderr
    assert b"1 item given back" in done.stdout
    after = lane.command("queue", "show", item_id)
    assert b"waiting" in after.stdout
    assert b"quarantined" not in after.stdout
