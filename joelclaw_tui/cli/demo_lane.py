"""What the demo works on: a lane file, a server to call and a Git repository, all in its own folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.common import text
from runtime.common.files import write_whole
from runtime.common.text import one_line
from runtime.model import OperatorError, Refused

PAGES = {
    "README.md": "# A repository for the demo\n\nIts history is checked by queued work.\n",
    "pages/first.md": "The pressure layer holds what waits.\n",
    "pages/second.md": "The durable executor remembers what happened.\n",
}
HOOKS, GIT, NUMBERS, LATER = "content/updated", "repo/checked", "numbers/averaged", "mail/digest"
TICKS, CHANGE = "clock/ticked", "code/change"
SCHEDULE = "ticks"

FIX = {
    "file": "text.py",
    "find": "else shown[:limit]",
    "replace": 'else shown[: limit - 1] + "…"',
}
"""What the demo's agent is asked to do: text that is cut must say so."""
_AGENT = """\
\"\"\"The demo's agent: carries out the one change that its payload asks for.\"\"\"
import json, pathlib, sys
job = json.load(sys.stdin)
path = pathlib.Path(job["file"])
code = path.read_text(encoding="utf-8")
if job["find"] not in code:
    sys.exit(f"{path}: nothing to change")
path.write_text(code.replace(job["find"], job["replace"]), encoding="utf-8")
print(f"changed {path}")
"""
_CHECK = """\
\"\"\"Fails as long as text that was cut does not say so.\"\"\"
from text import one_line
cut = one_line("x" * 500, 10)
if cut != "x" * 9 + "…":
    raise SystemExit(f"one_line cuts to {cut!r}: nobody sees that something is missing")
print("text that is cut says so")
"""

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

[families."{ticks}"]               # started by the clock
handler = "http"
url = "http://127.0.0.1:{port}/hooks/tick"
timeout = "10s"

[schedules.{schedule}]
cron = "*/10 * * * * *"             # six fields, seconds first
family = "{ticks}"

[families."{change}"]               # an agent in a sandbox: what it changed is an artifact, to be promoted
handler = "sandbox"
[families."{change}".sandbox]
repo = {app}
agent = [{python}, "agent.py"]
verify = [[{python}, "check.py"]]
mounts = {mounts}
timeout = "2m"

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
    app: Path
    """Whose code the sandboxed agent changes; its checkout is dirty on purpose."""


def write_demo_files(state: Path, lane: Path, port: int) -> DemoFiles:
    """Makes what is not there yet; a lane file that a person edited stays as it is.

    Raises `OperatorError`.
    """
    repo, app = state / "repo", state / "app"
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (repo / ".git").is_dir():
            _make_repo(repo, PAGES)
        if not (app / ".git").is_dir():
            _make_repo(app, _app_files())
            (app / "check.py").write_text(_CHECK + "# an unfinished thought\n", encoding="utf-8")
        if not lane.exists():
            python, mounts = _python_in_a_sandbox()
            lane_text = _LANE.format(
                hooks=HOOKS,
                git=GIT,
                numbers=NUMBERS,
                later=LATER,
                ticks=TICKS,
                schedule=SCHEDULE,
                change=CHANGE,
                port=port,
                repo=json.dumps(str(repo)),
                app=json.dumps(str(app)),
                python=json.dumps(python),
                mounts=json.dumps(mounts),
            )
            write_whole(lane, lane_text.encode())
    except OSError as error:
        raise Refused(f"{state}: {error.strerror}", fix="check the state folder's rights and room") from None
    return DemoFiles(lane, repo, app)


def _app_files() -> dict[str, str]:
    """One of this project's own modules, with a fault in it, an agent, and a check that fails."""
    code = Path(text.__file__).read_text(encoding="utf-8")
    if FIX["replace"] not in code:
        raise OperatorError(f"{text.__file__} is not as the demo knows it", fix="install joelclaw-tui anew")
    return {"text.py": code.replace(FIX["replace"], FIX["find"]), "agent.py": _AGENT, "check.py": _CHECK}


def _python_in_a_sandbox() -> tuple[str, list[str]]:
    """An interpreter that a sandbox can run, and what must be shown in there for it."""
    system = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if system is not None:
        return Path(system).name, []
    return str(Path(sys.executable).resolve()), [sys.base_prefix]


def _make_repo(repo: Path, files: Mapping[str, str]) -> None:
    """Made aside and moved into place: one that was cut off half-way is made anew."""
    made = repo.with_name(repo.name + ".new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    _git(made, "init", "--quiet", "--initial-branch=main")
    for name, content in files.items():
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        _git(made, "add", "--", name)
        _git(made, "commit", "--quiet", "--no-gpg-sign", "-m", f"Add {name}")
    made.rename(repo)


def _git(repo: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Demo", "-c", "user.email=demo@localhost", "-c", "core.hooksPath=/dev/null")
    command = ["git", "-C", str(repo), *identity, *arguments]
    # Called from a Git hook, the variables around us would name the caller's own repository.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=env)
    except FileNotFoundError:
        raise OperatorError("git was not found", fix="install Git and run the demo again") from None
    if done.returncode:
        raise OperatorError(
            f"git {arguments[0]} failed in {repo}: {one_line(done.stderr)}", fix="see the message"
        )
