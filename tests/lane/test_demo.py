"""The demo proves the whole sentence, and what it leaves is promoted without touching a checkout."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from joelclaw_tui.cli.demo_lane import write_demo_files


class Demo:
    """The demo in a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("JOELCLAW_")},
            "JOELCLAW_STATE_DIR": str(self.state),
            "JOELCLAW_CONFIG_DIR": str(folder / "config"),
            **({"JOELCLAW_CACHE_DIR": cache} if (cache := os.environ.get("JOELCLAW_CACHE_DIR")) else {}),
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run_without_profile("--profile", "demo", *arguments)

    def run_without_profile(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "joelclaw_tui", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def result(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        answer = json.loads(done.stdout)
        assert done.returncode == 0 and answer["ok"], answer
        return answer["result"]


@pytest.fixture
def demo(short_dir: Path) -> Iterator[Demo]:
    made = Demo(short_dir)
    try:
        yield made
    finally:
        down = made.run("down")
        assert down.returncode == 0, down.stderr


def everything_in(checkout: Path) -> dict[str, str]:
    """Every file of a checkout but Git's own store of objects and branches, to the bit."""
    kept = {}
    for path in sorted(checkout.rglob("*")):
        name = str(path.relative_to(checkout))
        if path.is_file() and not name.startswith((".git/objects/", ".git/refs/", ".git/logs/")):
            kept[name] = f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
    return kept


def git(repo: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(repo), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_demo_makes_its_repositories_and_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    git(mine, "init", "--quiet")
    before = everything_in(mine)
    monkeypatch.setenv("GIT_DIR", str(mine / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(mine / ".git" / "index"))
    files = write_demo_files(tmp_path / "state", tmp_path / "state" / "lane.toml", 20_000)
    monkeypatch.undo()
    assert everything_in(mine) == before
    assert git(files.app, "log", "--format=%s").splitlines()[0] == "Add check.py"
    assert git(files.repo, "status", "--porcelain") == ""


def test_the_whole_lane_in_one_go(demo: Demo, tmp_path: Path) -> None:
    done = demo.run_without_profile("demo")  # as `make demo` does
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The stack stays up" in done.stderr
    printed = re.findall(r"joelclaw[-_]tui (?:--profile demo )?[a-z]+ list", done.stdout)
    assert {"runs list", "artifacts list"} <= {" ".join(command.split()[-2:]) for command in printed}
    assert all("--profile demo" in command for command in printed), printed
    told = json.loads(demo.run("--once", "--format", "json").stdout)
    boundaries = told["boundaries"]
    assert {name: boundaries[name]["status"] for name in boundaries} == dict.fromkeys(
        ("pressure", "durable", "clock", "sandbox"), "ok"
    )
    families = {row["name"]: row for row in boundaries["pressure"]["data"]["families"]["items"]}
    for family in ("content/updated", "repo/checked", "numbers/averaged", "clock/ticked", "code/change"):
        assert families[family]["succeeded_total"] > 0
    assert families["mail/digest"]["held"] == 6
    fires = demo.result("schedule", "history", "ticks")["fires"]
    assert "succeeded" in [fire["outcome"] for fire in fires]
    (artifact,) = boundaries["sandbox"]["data"]["artifacts"]["items"]
    assert (artifact["verified"], artifact["promotion"]) == ("passed", "none")

    app = demo.state / "app"
    before = everything_in(app)
    assert "an unfinished thought" in (app / "check.py").read_text()
    promoted = demo.run("artifacts", "promote", artifact["artifact_id"], "--yes")
    assert promoted.returncode == 0, promoted.stderr
    assert everything_in(app) == before

    (branch,) = [name for name in git(app, "branch", "--format=%(refname:short)").split() if name != "main"]
    for name, code in ((branch, 0), ("main", 1)):
        tree = tmp_path / name.replace("/", "-")
        tree.mkdir()
        archive = subprocess.run(["git", "-C", str(app), "archive", name], capture_output=True, check=True)
        subprocess.run(["tar", "x", "-C", str(tree)], input=archive.stdout, check=True)
        checked = subprocess.run([sys.executable, "check.py"], cwd=tree, capture_output=True, check=False)
        assert checked.returncode == code, checked.stderr

    again = demo.run("demo")
    assert again.returncode == 0
    assert "the local stack runs already" in again.stderr
