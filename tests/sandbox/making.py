"""Repositories, orders and shims for tests: the real ones, in temporary folders."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import runtime
from runtime.model import new_item_id
from runtime.sandbox.files import take_lock
from runtime.sandbox.mirror import is_branch, refresh, resolve
from runtime.sandbox.paths import Paths
from runtime.sandbox.run import RunFolder, RunSpec, RunState
from tests.side_by_side import worker_number

USER = 41_234 + worker_number()
"""A user id that nobody has: for runs as anybody else than root. The kernel counts processes by user, so that
each of several test processes has its own."""
MIB = 2**20
FAMILY = "code/change"
ROOT, OTHER = "root", "user"


def git(repo: Path, *arguments: str) -> str:
    """As a person at the repository would."""
    done = subprocess.run(
        ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *arguments],
        cwd=repo,
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(Path(__file__).with_name("person.gitconfig")),
        },
        capture_output=True,
        check=True,
    )
    return done.stdout.decode()


def a_repository(path: Path, files: Mapping[str, str] | None = None) -> Path:
    path.mkdir(parents=True)
    git(path, "init", "--quiet", "--initial-branch=main")
    commit(path, {"answer.txt": "41\n", "sub/deep.txt": "deep\n"} if files is None else files)
    return path


def commit(repo: Path, files: Mapping[str, str]) -> str:
    for name, text in files.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(text)
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "work")
    return git(repo, "rev-parse", "HEAD").strip()


@dataclass
class Ended:
    """A run that is over, and what it left."""

    state: RunState
    folder: RunFolder
    places: Paths

    @property
    def artifact(self) -> Path:
        assert self.state.artifact_id is not None, self.state
        return self.places.artifact(self.state.artifact_id)

    @property
    def manifest(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.artifact / "manifest.json").read_bytes())
        return value

    def text(self, name: str) -> str:
        return (self.artifact / name).read_text(errors="replace")

    @property
    def log(self) -> str:
        return self.text("agent.log")

    @property
    def patch(self) -> str:
        return self.text("patch.diff") if (self.artifact / "patch.diff").exists() else ""


@dataclass
class Workshop:
    """Orders runs on one repository and starts their shims, as root or as somebody else."""

    folder: Path
    who: str
    repo: Path = field(init=False)
    places: Paths = field(init=False)

    def __post_init__(self) -> None:
        self.repo = a_repository(self.folder / "repo")
        self.places = Paths.under(self.folder / "state")
        if self.who == OTHER and os.geteuid() == 0:
            self._give(self.repo)

    def order(
        self,
        agent: Sequence[str],
        *,
        verify: Sequence[Sequence[str]] = (),
        base: str = "main",
        secrets: Sequence[str] = (),
        **more: Any,
    ) -> RunFolder:
        mirror = refresh(self.places, self.repo)
        item_id = new_item_id(FAMILY, at_s=time.time())
        values: dict[str, Any] = {
            "memory": 256 * MIB, "disk": 32 * MIB, "scratch": 8 * MIB, "pids": 64, "cpus": None, "timeout_s": 30.0,
            "payload": '{"n":1}', "env": {}, "mounts": [], **more,
        }  # fmt: skip
        spec = RunSpec(
            run_id=f"{item_id}.1",
            item_id=item_id,
            attempt=1,
            family=FAMILY,
            lane="test",
            repo=str(self.repo),
            base=base,
            base_is_branch=is_branch(mirror, base),
            base_sha=resolve(mirror, base),
            mirror=str(mirror),
            artifacts=str(self.places.artifacts),
            agent=list(agent),
            verify=[list(argv) for argv in verify],
            secret_names=list(secrets),
            failures=[],
            report_url="http://localhost/nowhere",
            report_socket=str(self.folder / "no-such-socket"),
            created_at=time.time(),
            **values,
        )
        folder = RunFolder(self.places.run(spec.run_id))
        assert folder.create_spec(spec)
        if self.who == OTHER and os.geteuid() == 0:
            self._give(self.folder / "state")
        return folder

    def start(
        self,
        folder: RunFolder,
        secrets: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """The shim's first word."""
        command, environment = shim_command(self.who)
        done = subprocess.run(
            [*command, "-P", "-m", "runtime.sandbox.shim", str(folder.path)],
            input=json.dumps(dict(secrets or {})).encode(),
            env={**environment, **(env or {})},
            cwd="/",
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def run(self, agent: Sequence[str], *, secrets: Mapping[str, str] | None = None, **more: Any) -> Ended:
        """One run from its order to its end; its shim is gone when this returns."""
        env = more.pop("shim_env", None)
        folder = self.order(agent, secrets=list(secrets or {}), **more)
        assert self.start(folder, secrets, env) == "started"
        return self.ended(folder)

    def ended(self, folder: RunFolder, within_s: float = 60.0) -> Ended:
        until(lambda: (s := folder.read_state()) is not None and s.outcome is not None, within_s)
        folder.collect()
        gone(folder)
        state = folder.read_state()
        assert state is not None
        return Ended(state, folder, self.places)

    def python(self, code: str, **more: Any) -> Ended:
        """An agent in the sandbox's own Python."""
        return self.run(["python3", "-I", "-c", code], **more)

    def stop(self, folder: RunFolder, reason: str) -> None:
        """As whoever runs the shim."""
        other = self.who == OTHER and os.geteuid() == 0
        if other:
            os.setegid(USER)
            os.seteuid(USER)
        try:
            folder.ask_stop(reason)
        finally:
            if other:
                os.seteuid(0)
                os.setegid(0)

    @staticmethod
    def _give(place: Path) -> None:
        os.chown(place, USER, USER)
        for base, folders, files in os.walk(place):
            for name in (*folders, *files):
                os.lchown(Path(base, name), USER, USER)


def gone(folder: RunFolder, within_s: float = 20.0) -> None:
    """Waits until no shim has the run."""

    def free() -> bool:
        lock = take_lock(folder.lock)
        if lock is not None:
            os.close(lock)
        return lock is not None

    until(free, within_s)


def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not so within {within_s:g} s"
        time.sleep(0.02)


def shim_command(who: str) -> tuple[list[str], dict[str, str]]:
    """How a shim is started as ``who``, and its environment."""
    environment = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join([str(Path(runtime.__file__).parents[1]), *_site_packages()]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if who == ROOT or os.geteuid() != 0:
        return [sys.executable], environment
    python = _python_for_others()
    if python is None:
        pytest.skip("no Python of this version that another user than root can run")
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", python], environment


def identities() -> Iterator[str]:
    """Root and somebody else where we are root; else ourselves."""
    if os.geteuid() == 0:
        yield ROOT
    yield OTHER


def _site_packages() -> list[str]:
    return [path for path in sys.path if path.endswith("site-packages")]


@functools.cache
def _python_for_others() -> str | None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, shutil.which(f"python{version}", path="/usr/bin:/usr/local/bin")):
        if python is None or shutil.which("setpriv") is None:
            continue
        tried = subprocess.run(
            ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", python, "-c", "import json"],
            capture_output=True,
            check=False,
            cwd="/",
            env={"PATH": os.defpath},
        )
        if tried.returncode == 0:
            return python
    return None


@contextmanager
def reachable_by_all(folder: Path) -> Iterator[Path]:
    """``folder`` and those above it as far as they are ours, so that another user may pass."""
    before = {
        place: place.stat().st_mode
        for place in (folder, *folder.parents)
        if place.stat().st_uid == os.geteuid()
    }
    for place, mode in before.items():
        if not mode & 0o001 and place != Path("/"):
            place.chmod(mode | 0o011)
    yield folder
