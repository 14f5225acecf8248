"""``queue export`` and ``queue adopt`` as processes on a real server."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.servers import ValkeyServer

LANE = """
lane = "{lane}"
[families."mail/send"]
handler = "noop"
[families.pages]
handler = "noop"
"""


class Lane:
    """The program on a lane of its own."""

    def __init__(self, folder: Path, valkey: ValkeyServer) -> None:
        self.folder = folder
        self.valkey = valkey
        self.name = self.rename()

    def rename(self) -> str:
        """Another, empty lane of the same families."""
        self.name = "t" + secrets.token_hex(4)
        (self.folder / "lane.toml").write_text(LANE.format(lane=self.name))
        return self.name

    def call(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "JOELCLAW_CONFIG_DIR": str(self.folder / "config"),
            "JOELCLAW_STATE_DIR": str(self.folder / "state"),
            "JOELCLAW_LANE": str(self.folder / "lane.toml"),
            "JOELCLAW_REDIS_URL": self.valkey.url,
        }
        done = subprocess.run(
            [sys.executable, "-m", "joelclaw_tui", *words],
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert b"Traceback" not in done.stderr
        return done

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Exit code and envelope."""
        done = self.call(*words, "--json")
        document: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, document


@pytest.fixture
def lane(module_valkey: ValkeyServer) -> Iterator[Lane]:
    folder = Path(tempfile.mkdtemp(prefix="jt-files-"))
    yield Lane(folder, module_valkey)
    shutil.rmtree(folder)


def test_a_backlog_goes_to_a_file_and_into_another_lane_once_and_on_record(lane: Lane) -> None:
    items = lane.folder / "items.ndjson"
    items.write_text("".join(f'{{"n": {number}}}\n' for number in range(3)))
    assert lane.run("enqueue", "pages", "--data", f"@{items}")[0] == 0
    assert lane.run("enqueue", "mail/send", "--data", "[]")[0] == 0
    path = lane.folder / "backlog.jsonl"
    code, said = lane.run("queue", "export", "--out", str(path))
    assert (code, said["result"]["items"]) == (0, 4)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    piped = lane.call("queue", "export", "pa*")
    assert [json.loads(text).get("payload") for text in piped.stdout.splitlines()[1:-1]] == [
        '{"n": 0}',
        '{"n": 1}',
        '{"n": 2}',
    ]
    code, said = lane.run("queue", "export", "--out", str(path))
    assert (code, said["error"]["code"]) == (2, "file-exists")

    lane.rename()
    code, said = lane.run("queue", "adopt", str(path), "--dry-run")
    assert (code, said["result"]["added"]) == (0, {"mail/send": 1, "pages": 3})
    assert lane.call("queue", "export").stdout.count(b"\n") == 2, "a dry run stores nothing"
    code, said = lane.run("queue", "adopt", str(path))
    assert (code, said["error"]["code"]) == (2, "needs-consent")
    code, said = lane.run("--read-only", "queue", "adopt", str(path), "--yes")
    assert (code, said["error"]["code"]) == (2, "read-only")
    code, said = lane.run("queue", "adopt", str(path), "--yes", "--reason", "moving house")
    assert (code, said["result"]["added"]) == (0, {"mail/send": 1, "pages": 3})
    code, said = lane.run("queue", "adopt", str(path), "--yes")
    assert (said["result"]["added"], said["result"]["present"]) == ({}, {"mail/send": 1, "pages": 3})
    receipts = lane.run("audit")[1]["result"]["receipts"]
    assert [receipt["action"] for receipt in receipts] == ["adopt", "adopt"]
    assert receipts[-1]["reason"] == "moving house"


def test_what_is_no_whole_file_or_no_family_is_refused(lane: Lane) -> None:
    path = lane.folder / "cut.jsonl"
    path.write_text('{"schema": "joelclaw.backlog/1", "lane": "x", "server": "y", "exported_at": "z"}\n')
    code, said = lane.run("queue", "adopt", str(path), "--yes")
    assert (code, said["error"]["code"]) == (2, "bad-backlog-file")
    assert "cut.jsonl, line 2" in said["error"]["message"]
    assert lane.run("queue", "export", "nothing/*", "--out", "x")[1]["error"]["code"] == "unknown-family"
    assert not (lane.folder / "x").exists()
    assert lane.run("queue", "export")[0] == 2, "--json needs a file for the rows"
    assert lane.run("queue", "adopt")[0] == 2


def test_a_file_that_cannot_be_written_leaves_nothing_behind(lane: Lane) -> None:
    code, said = lane.run("queue", "export", "--out", str(lane.folder / "nowhere" / "x.jsonl"))
    assert (code, said["error"]["code"]) == (2, "no-folder")
    code, said = lane.run("queue", "export", "nothing", "--out", str(lane.folder / "y.jsonl"))
    assert said["error"]["code"] == "unknown-family"
    assert [path.name for path in lane.folder.iterdir() if "jsonl" in path.name] == []


def test_a_place_where_no_file_can_be_made_is_exit_2_and_nothing_is_done(lane: Lane) -> None:
    assert lane.run("enqueue", "pages", "--data", "1")[0] == 0
    (lane.folder / "there.jsonl").write_text("precious")
    (lane.folder / "dangling").symlink_to("gone")
    before = sorted(path.name for path in lane.folder.iterdir())
    discard = ("queue", "discard", "pages", "--yes", "--export")
    for words, place, code in (
        (("queue", "export", "--out"), "dangling", "file-exists"),
        (("queue", "export", "--out"), ".", "file-exists"),
        (("queue", "export", "--out"), "there.jsonl/x", "no-folder"),
        (("queue", "export", "--out"), "x" * 300, "export-failed"),
        (("queue", "export", "--out"), "/proc/x", "export-failed"),
        (discard, "there.jsonl", "file-exists"),
        (discard, "nowhere/x", "no-folder"),
        (discard, "/proc/x", "export-failed"),
        (discard, "~nobody-of-this-name/x", "no-folder"),
    ):
        exit_code, said = lane.run(*words, place if place[0] == "~" else str(lane.folder / place))
        assert (exit_code, said["error"]["code"]) == (2, code), said
        assert said["fix"]
    assert (lane.folder / "there.jsonl").read_text() == "precious"
    after = sorted(path.name for path in lane.folder.iterdir())
    assert [name for name in after if name != "state"] == [name for name in before if name != "state"]
    assert lane.call("queue", "export").stdout.count(b"\n") == 3, "its item is still there"


def test_a_dash_is_standard_output_or_is_refused_where_there_is_none(lane: Lane) -> None:
    assert lane.run("enqueue", "pages", "--data", "1")[0] == 0
    piped = lane.call("queue", "export", "--out", "-")
    assert (piped.returncode, piped.stdout.count(b"\n")) == (0, 3)
    assert lane.run("queue", "discard", "pages", "--yes", "--export", "-")[0] == 2
    code, said = lane.run("queue", "adopt", "-", "--yes")
    assert (code, "read twice" in said["error"]["message"]) == (2, True)
    pipe = lane.folder / "pipe"
    os.mkfifo(pipe)
    code, said = lane.run("queue", "adopt", str(pipe), "--yes")
    assert (code, "no regular file" in said["error"]["message"]) == (2, True)
    assert lane.run("queue", "adopt", str(lane.folder), "--yes")[0] == 2
    assert lane.run("queue", "adopt", str(lane.folder / "gone"), "--yes")[0] == 2


def test_an_older_server_that_is_not_there_is_no_matter_of_our_own_settings(lane: Lane) -> None:
    code, said = lane.run("queue", "adopt", "--older", "redis://127.0.0.1:1", "--dry-run")
    assert (code, said["fix"]) == (3, "start it, or correct --older")
    assert "127.0.0.1:1 can't be reached" in said["error"]["message"]


def test_the_older_layout_is_looked_at_then_moved(lane: Lane) -> None:
    older: Any = redis.Redis.from_url(lane.valkey.url)
    for family in ("pages", "pages", "elsewhere"):
        entry: Any = older.xadd(
            "joelclaw:queue:events",
            {"payload": json.dumps({"name": family, "data": {"of": family}}), "priority": "1"},
        )
        older.zadd("joelclaw:queue:priority", {entry: 1e12})
    url = lane.valkey.url
    code, said = lane.run("queue", "adopt", "--older", url, "--dry-run")
    assert (code, said["result"]["families"], said["result"]["unknown"]) == (
        0,
        {"pages": 2},
        {"elsewhere": 1},
    )
    assert older.xlen("joelclaw:queue:events") == 3
    text = lane.call("queue", "adopt", "--older", url, "--dry-run").stdout.decode()
    assert "2 entries" in text
    assert "1 of elsewhere, which the lane file does not declare: they stay" in text
    code, said = lane.run("queue", "adopt", "--older", url, "--yes")
    assert (code, said["result"]["moved"]) == (0, {"pages": 2})
    assert older.xlen("joelclaw:queue:events") == 1
    assert lane.run("queue", "list", "pages")[1]["result"]["total"] == 2
    text = lane.call("queue", "adopt", "--older", url, "--yes").stdout.decode()
    assert "0 entries moved" in text
    assert "1 of elsewhere, which the lane file does not declare: they stay" in text, "said each time"
    older.xgroup_create("joelclaw:queue:events", "joelclaw:queue:restate", id="0")
    older.xreadgroup("joelclaw:queue:restate", "c1", {"joelclaw:queue:events": ">"})
    code, said = lane.run("queue", "adopt", "--older", url, "--include-pending", "--yes")
    assert (code, said["error"]["code"]) == (1, "older-active")
    assert "c1" in said["error"]["message"]
    older.close()
