"""``artifacts`` on the command line, from a queued item to its promoted branch, and the snapshot beside it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from joelclaw_tui.cli.artifacts import patch_document
from runtime.model import ItemState
from tests.cli.terminal import Terminal
from tests.sandbox.making import git
from tests.sandbox.test_lane import Sandboxed, sandboxed
from tests.servers import RestateServer, ValkeyServer

AGENT = r"""echo 42 > answer.txt; printf "\033]0;owned\007" > "$(printf "evil\033[2J")" """


def said(box: Sandboxed, *words: str, code: int = 0) -> str:
    done = box.lane.command(*words)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout.decode()


def told(box: Sandboxed, *words: str, code: int = 0) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(said(box, *words, "--json", code=code))
    return value


async def test_an_artifact_on_the_command_line(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    async with sandboxed(short_dir, valkey, restate, AGENT) as box:
        item = await box.settled(await box.enqueue())
        assert item.state is ItemState.SUCCEEDED, item.failures
        repo = short_dir / "repo"

        listed = told(box, "artifacts", "list")["result"]
        assert (listed["status"], listed["data"]["artifacts"]["total"]) == ("ok", 1)
        (row,) = listed["data"]["artifacts"]["items"]
        assert (row["run_id"], row["verified"], row["promotion"], row["files"]) == (
            f"{item.item_id}.1",
            "passed",
            "none",
            2,
        )
        short = row["artifact_id"][:12]
        for words in (["list"], ["show", short], ["verify", short]):
            text = said(box, "artifacts", *words)
            assert "\x1b" not in text
            assert short in text
        terminal = Terminal({**box.lane.environment, "NO_COLOR": "1"}, "artifacts", "diff", short)
        code, seen = terminal.end()
        assert (code, b"+42\r\n" in seen) == (0, True)
        assert b"\x1b]0;owned" not in seen
        assert told(box, "artifacts", "show", short)["result"]["verify"][0]["exit_code"] == 0
        assert told(box, "artifacts", "verify", short)["result"]["wrong"] == []

        out = short_dir / "out"
        said(box, "artifacts", "export", short, str(out))
        assert {path.name for path in out.iterdir()} == {
            "manifest.json", "patch.diff", "change.bundle", "agent.log", "verify-1.log",
        }  # fmt: skip
        again = told(box, "artifacts", "export", short, str(out), code=2)
        assert again["error"]["code"] == "file-exists"

        dry = told(box, "artifacts", "promote", short, "--dry-run")["result"]
        assert dry["preview"]["ids"] == [row["artifact_id"]]
        assert git(repo, "branch", "--list", "joelclaw/*") == ""
        refused = told(box, "--read-only", "artifacts", "promote", short, code=2)
        assert refused["error"]["code"] == "read-only"
        receipt = told(box, "artifacts", "promote", short, "--reason", "looks good")["result"]["receipt"]
        assert [result["outcome"] for result in receipt["results"]] == ["done"]
        branch = git(repo, "branch", "--list", "joelclaw/*").strip()
        assert git(repo, "show", f"{branch}:answer.txt") == "42\n"
        assert told(box, "artifacts", "reject", short, "--yes", code=1)["error"]["code"] == "decided-already"
        audit = told(box, "audit")["result"]
        assert "promote" in json.dumps(audit)

        snapshot = json.loads(said(box, "--once", "--format", "json"))
        sandbox = snapshot["boundaries"]["sandbox"]
        assert sandbox["status"] == "ok"
        assert sandbox["data"]["artifacts"]["items"][0]["promotion"] == "promoted"
        assert sandbox["data"]["artifacts"]["items"][0]["branch"] == branch
        assert sandbox["data"]["backends"][0]["available"] is True
        table = said(box, "--once", "--pane", "sandbox")
        assert short in table
        assert "promoted" in table
        assert told(box, "artifacts", "show", "nothing-like-it", code=2)["error"]["code"] == "not-found"


HARD = (
    r"printf 'all:\n\techo hi\n' > Makefile; printf 'caf\351\n' > latin1.txt; printf 'a\r\nb\r\n' > dos.txt; "
    r"""python3 -c 'print("x" * 30000)' > long.txt; printf '\033[2J\342\200\256\0binary' > odd; echo 42 > answer.txt"""
)


async def test_a_piped_diff_is_the_patch_itself(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    """Tabs, carriage returns, bytes that are no UTF-8, a long line, a binary file: Git applies them as they are."""
    async with sandboxed(short_dir, valkey, restate, HARD) as box:
        item = await box.settled(await box.enqueue())
        assert item.state is ItemState.SUCCEEDED, item.failures
        (row,) = told(box, "artifacts", "list")["result"]["data"]["artifacts"]["items"]
        kept = box.places.artifact(row["artifact_id"])
        patch = (kept / "patch.diff").read_bytes()
        done = box.lane.command("artifacts", "diff", row["artifact_id"][:12])
        assert (done.returncode, done.stdout) == (0, patch)
        clone = short_dir / "clone"
        git(short_dir, "clone", "--quiet", str(short_dir / "repo"), str(clone))
        (short_dir / "shown.diff").write_bytes(done.stdout)
        git(clone, "apply", "--index", str(short_dir / "shown.diff"))
        assert (
            git(clone, "write-tree").strip() == json.loads((kept / "manifest.json").read_bytes())["tree_sha"]
        )
        document = told(box, "artifacts", "diff", row["artifact_id"])["result"]
        assert (document["encoding"], document["truncated"]) == ("base64", False)
        assert base64.b64decode(document["patch"]) == patch


@pytest.mark.parametrize(
    ("data", "truncated", "expected"),
    [
        ("+é\t\r\n".encode(), False, {"patch": "+é\t\r\n", "encoding": "utf-8", "truncated": False}),
        (b"+caf\xe9\n", True, {"patch": "K2NhZukK", "encoding": "base64", "truncated": True}),
    ],
)
def test_a_patch_in_json_says_how_it_is_written(
    data: bytes, truncated: bool, expected: dict[str, object]
) -> None:
    assert patch_document(data, truncated=truncated) == expected
