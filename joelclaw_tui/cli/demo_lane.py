"""What the demo works on: a lane file, a server to call and a Git repository, all in its own folder."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from runtime.model import OperatorError, Refused
from runtime.stack.files import write_private
from runtime.text import one_line

PAGES = {
    "README.md": "# A repository for the demo\n\nIts history is checked by queued work.\n",
    "pages/first.md": "The pressure layer holds what waits.\n",
    "pages/second.md": "The durable executor remembers what happened.\n",
}
HOOKS, GIT, NUMBERS, LATER = "content/updated", "repo/checked", "numbers/averaged", "mail/digest"

_LANE = """\
# Written by `joelclaw-tui demo`; edit it and watch the console follow.
lane = "demo"

[families."{hooks}"]               # an HTTP call to the demo's own server
priority = "P1"
handler = "http"
url = "http://127.0.0.1:{port}/hooks/content"
max_in_flight = 20
retry = {{ tries = 5, initial = "200ms", max = "5s" }}
timeout = "10s"

[families."{git}"]                 # a Git command on a real repository
handler = "command"
command = ["git", "-C", {repo}, "fsck", "--full", "--strict"]
max_in_flight = 2
timeout = "1m"

[families."{numbers}"]             # a Python function, in a process of its own
priority = "P3"
handler = "python"
call = "statistics:mean"
timeout = "10s"

[families."{later}"]               # paused by the demo: resume it with the key r
priority = "P0"
handler = "http"
url = "http://127.0.0.1:{port}/hooks/digest"
timeout = "10s"
"""


@dataclass(frozen=True, slots=True)
class DemoFiles:
    lane: Path
    repo: Path


def write_demo_files(state: Path, lane: Path, port: int) -> DemoFiles:
    """Makes what is not there yet; a lane file that a person edited stays as it is.

    Raises `OperatorError`.
    """
    repo = state / "repo"
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (repo / ".git").is_dir():
            _make_repo(repo)
        if not lane.exists():
            text = _LANE.format(
                hooks=HOOKS, git=GIT, numbers=NUMBERS, later=LATER, port=port, repo=json.dumps(str(repo))
            )
            write_private(lane, text)
    except OSError as error:
        raise Refused(f"{state}: {error.strerror}", fix="check the state folder's rights and room") from None
    return DemoFiles(lane, repo)


def _make_repo(repo: Path) -> None:
    for name, text in PAGES.items():
        path = repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if name == "README.md":
            _git(repo, "init", "--quiet")
        _git(repo, "add", "--", name)
        _git(repo, "commit", "--quiet", "--no-gpg-sign", "-m", f"Add {name}")


def _git(repo: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Demo", "-c", "user.email=demo@localhost", "-c", "core.hooksPath=/dev/null")
    command = ["git", "-C", str(repo), *identity, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        raise OperatorError("git was not found", fix="install Git and run the demo again") from None
    if done.returncode:
        raise OperatorError(
            f"git {arguments[0]} failed in {repo}: {one_line(done.stderr)}", fix="see the message"
        )
