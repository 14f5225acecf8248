"""What can be wrong with sandboxes: for each finding, how a calm world comes to have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runtime.model import (
    Artifact,
    BackendView,
    NotFound,
    PromotionDraft,
    SandboxReading,
    SandboxRunView,
    Verified,
)
from runtime.truth.document import Severity
from runtime.truth.reader import Reader
from tests.truth.ports import ADDRESSES, REFUSED, START, Hang, World, answer, make_world, run_id

SANDBOXED = """
[families."code/change"]
handler = "sandbox"
[families."code/change".sandbox]
repo = "/srv/app.git"
agent = ["true"]
"""


def artifact(number: int = 1, **values: Any) -> Artifact:
    blank = Artifact(
        artifact_id=f"{number:064x}", run_id=run_id(number), family="code/change", repo="/srv/app.git",
        base="main", base_sha="a" * 40, commit="b" * 40, tree_sha="c" * 40, files=2, insertions=3, deletions=1,
        paths=("answer.txt",), left_out=(), verified=Verified.PASSED, verify=(), agent_exit=0, failure=None,
        limits={}, isolation="all of it", host="host", created_at=START - 60, names=("patch.diff",),
    )  # fmt: skip
    return replace(blank, **values)


def sandbox_run(**values: Any) -> SandboxRunView:
    blank = SandboxRunView(
        run_id(1), "code/change", "agent", "host", 7, START - 30, START - 0.3, START + 900, START - 31
    )
    return replace(blank, **values)


@dataclass
class MemorySandbox:
    """The sandbox folders of one host."""

    reading: SandboxReading
    trouble: Any = None
    exists: bool = True
    wrong: list[str] = field(default_factory=list)

    async def read(self, *, limit: int = 100) -> SandboxReading:
        await answer(self.trouble)
        return self.reading

    async def artifact(self, artifact_id: str) -> Artifact:
        for known in self.reading.artifacts:
            if known.artifact_id.startswith(artifact_id):
                return known
        raise NotFound(f"no artifact {artifact_id}")

    async def file(self, artifact_id: str, name: str, limit: int) -> bytes:
        return b"content"[:limit]

    async def check(self, artifact_id: str) -> Sequence[str]:
        return self.wrong

    async def draft_promotion(
        self, artifact_id: str, branch: str | None, *, unverified: bool
    ) -> PromotionDraft:
        found = await self.artifact(artifact_id)
        return PromotionDraft(found, branch or "joelclaw/x", found.repo, done=False)


def a_reading(**values: Any) -> SandboxReading:
    blank = SandboxReading(
        host="host", folder="/state/sandbox", backends=(BackendView("bubblewrap", True, "all namespaces"),),
        running=(sandbox_run(),), running_total=1, artifacts=(artifact(),), artifacts_total=1, unpromoted=0, damaged=(),
    )  # fmt: skip
    return replace(blank, **values)


def sandbox_world(folder: Path, *, declared: bool = True) -> tuple[World, MemorySandbox]:
    """A world whose lane has work for a sandbox."""
    world = make_world(folder)
    if declared:
        path = world.lane.current.path
        path.write_text(path.read_text() + SANDBOXED)
        assert world.lane.refresh()
    sandbox = MemorySandbox(a_reading())
    world.reader = Reader(
        settings=world.settings, lane=world.lane, pressure=world.pressure, durable=world.durable, beats=world.beats,
        audit=world.audit, now=world.clock, addresses=ADDRESSES, sandbox=sandbox,
        patience_s=0.0,
    )  # fmt: skip
    return world, sandbox


def _reading(**values: Any) -> Callable[[MemorySandbox], None]:
    return lambda sandbox: setattr(sandbox, "reading", a_reading(**values))


def _trouble(what: Any) -> Callable[[MemorySandbox], None]:
    return lambda sandbox: setattr(sandbox, "trouble", what() if callable(what) else what)


SANDBOX_CASES: list[tuple[str, str, Severity, Callable[[MemorySandbox], None]]] = [
    ("boundary-down", "sandbox", Severity.CRIT, _trouble(REFUSED)),
    ("boundary-unknown", "sandbox", Severity.CRIT, _trouble(Hang)),
    (
        "no-isolation",
        "sandbox",
        Severity.WARN,
        _reading(backends=(BackendView("bubblewrap", False, "user namespaces are off"),)),
    ),
    ("shim-silent", "sandbox", Severity.WARN, _reading(running=(sandbox_run(beat_at=START - 20),))),
    (
        "shim-silent",
        "sandbox",
        Severity.WARN,
        _reading(running=(sandbox_run(beat_at=None, phase="ordered", ordered_at=START - 60),)),
    ),
    (
        "shim-silent",
        "sandbox",
        Severity.WARN,
        _reading(running=(sandbox_run(phase="damaged", beat_at=None, started_at=None),)),
    ),
    ("artifact-damaged", "sandbox", Severity.WARN, _reading(damaged=("f" * 64,))),
    ("artifacts-waiting", "sandbox", Severity.INFO, _reading(unpromoted=2)),
]
