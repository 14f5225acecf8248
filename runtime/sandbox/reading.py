"""What the folders of this host hold, for those who look: nothing is created, locked or started.

The manifests are the truth; the index in memory is rebuilt from them, and a manifest is read once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from runtime.common.text import one_line
from runtime.model import (
    Artifact,
    BackendView,
    BoundaryDown,
    Decision,
    NotFound,
    Now,
    OperatorError,
    PromotionDraft,
    SandboxReading,
    SandboxRunView,
    Verified,
)
from runtime.sandbox import artifact as artifacts
from runtime.sandbox import promote as promotion
from runtime.sandbox.artifact import DECISIONS, MANIFEST, DamagedArtifact, KeptArtifact
from runtime.sandbox.isolation.bubblewrap import NAME, availability
from runtime.sandbox.mirror import git_dir_of
from runtime.sandbox.paths import RUN_FOLDER, Paths
from runtime.sandbox.refs import branch_sha
from runtime.sandbox.run import DamagedRun, RunFolder, host_name

_Stamp = tuple[int, int] | None


class ArtifactReader:
    """Implements `runtime.model.SandboxReader`. Its work is done in threads: folders can be slow."""

    def __init__(self, state: Path) -> None:
        self._places = Paths.under(state)
        self._kept: dict[str, KeptArtifact] = {}
        self._damaged: set[str] = set()
        self._decided: dict[str, tuple[_Stamp, list[Decision]]] = {}

    @property
    def exists(self) -> bool:
        return self._places.root.is_dir()

    async def read(self, *, limit: int = 100) -> SandboxReading:
        """Raises `BoundaryDown` when the folders can't be read."""
        return await asyncio.to_thread(self._read, limit)

    async def artifact(self, artifact_id: str) -> Artifact:
        return await asyncio.to_thread(self._artifact, artifact_id)

    async def file(self, artifact_id: str, name: str, limit: int) -> bytes:
        return await asyncio.to_thread(self._file, artifact_id, name, limit)

    async def check(self, artifact_id: str) -> Sequence[str]:
        return await asyncio.to_thread(lambda: artifacts.check(self._load(artifact_id)))

    async def draft_promotion(
        self, artifact_id: str, branch: str | None, *, unverified: bool
    ) -> PromotionDraft:
        return await asyncio.to_thread(
            lambda: promotion.draft(self._places, artifact_id, branch, unverified=unverified)
        )

    # --- in a thread

    def _read(self, limit: int) -> SandboxReading:
        try:
            running = self._running()
            self._index()
            branches: dict[tuple[str, str], str | None] = {}
            views = [self._view(kept, branches) for kept in self._newest(limit)]
        except OSError as error:
            raise BoundaryDown(
                f"the sandbox folder {self._places.root} can't be read: {error.strerror}",
                fix="check its rights: is it another user's?",
            ) from None
        undecided = sum(
            kept.manifest.verified is Verified.PASSED and kept.manifest.failure is None and kept.manifest.commit is not None
            and not self._decisions(kept)
            for kept in self._kept.values()
        )  # fmt: skip
        held = availability()
        return SandboxReading(
            host=host_name(),
            folder=str(self._places.root),
            backends=(BackendView(NAME, held.available, held.isolation),),
            running=tuple(running[:limit]),
            running_total=len(running),
            artifacts=tuple(views),
            artifacts_total=len(self._kept) + len(self._damaged),
            unpromoted=undecided,
            damaged=tuple(sorted(self._damaged)),
        )

    def _running(self) -> list[SandboxRunView]:
        try:
            names = sorted(
                path.name for path in self._places.runs.iterdir() if RUN_FOLDER.fullmatch(path.name)
            )
        except FileNotFoundError:
            return []
        return [
            view for name in names if (view := _run_view(RunFolder(self._places.runs / name))) is not None
        ]

    def _index(self) -> None:
        ids = set(artifacts.all_ids(self._places))
        for gone in self._kept.keys() - ids:
            del self._kept[gone]
        self._damaged &= ids
        for artifact_id in ids - self._kept.keys():
            try:
                self._kept[artifact_id] = artifacts.load(self._places, artifact_id)
                self._damaged.discard(artifact_id)
            except (DamagedArtifact, NotFound):
                self._damaged.add(artifact_id)

    def _newest(self, limit: int) -> list[KeptArtifact]:
        by_age = sorted(self._kept.values(), key=lambda kept: (-kept.manifest.created_at, kept.artifact_id))
        return by_age[:limit]

    def _view(self, kept: KeptArtifact, branches: dict[tuple[str, str], str | None]) -> Artifact:
        made = self._decisions(kept)
        return artifacts.view(kept, made, stale=not made and _is_stale(kept, branches))

    def _decisions(self, kept: KeptArtifact) -> list[Decision]:
        stamp = _stamp(kept.folder / DECISIONS)
        known = self._decided.get(kept.artifact_id)
        if known is None or known[0] != stamp:
            known = (stamp, [] if stamp is None else artifacts.decisions(kept.folder))
            self._decided[kept.artifact_id] = known
        return known[1]

    def _load(self, wanted: str) -> KeptArtifact:
        try:
            return artifacts.load(self._places, artifacts.find(self._places, wanted))
        except OSError as error:
            raise BoundaryDown(
                f"the sandbox folder {self._places.root} can't be read: {error.strerror}",
                fix="check its rights: is it another user's?",
            ) from None

    def _artifact(self, wanted: str) -> Artifact:
        return self._view(self._load(wanted), {})

    def _file(self, wanted: str, name: str, limit: int) -> bytes:
        kept = self._load(wanted)
        path = kept.folder / MANIFEST if name == MANIFEST else kept.path(name)
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                return file.read(limit)
        except OSError as error:
            raise NotFound(f"{name} of artifact {wanted[:12]} can't be read: {error.strerror}") from None


class ArtifactControl:
    """Implements `runtime.model.SandboxControl`."""

    def __init__(self, state: Path, now: Now) -> None:
        self._places = Paths.under(state)
        self._now = now

    async def promote(
        self,
        artifact_id: str,
        branch: str | None,
        *,
        unverified: bool,
        actor: str,
        reason: str | None,
        seen: str,
    ) -> Decision:
        return await asyncio.to_thread(
            lambda: promotion.promote(
                self._places,
                artifact_id,
                branch,
                unverified=unverified,
                actor=actor,
                reason=reason,
                seen=seen,
                now=self._now,
            )
        )

    async def reject(self, artifact_id: str, *, actor: str, reason: str | None) -> Decision:
        return await asyncio.to_thread(
            lambda: promotion.reject(self._places, artifact_id, actor=actor, reason=reason, now=self._now)
        )


def _run_view(folder: RunFolder) -> SandboxRunView | None:
    """None for a run that has ended and been collected, or was never ordered."""
    if folder.collected:
        return None
    try:
        state = folder.read_state()
        spec = folder.read_spec()
    except (DamagedRun, OSError) as error:
        if isinstance(error, FileNotFoundError):
            return None
        ordered = folder.path.stat().st_ctime
        return SandboxRunView(
            folder.name, "?", "damaged", host_name(), None, None, folder.beat_at(), None, ordered
        )
    if state is not None and state.outcome is not None and folder.stop_reason() is not None:
        return None  # cancelled: nobody waits for its end
    return SandboxRunView(
        run_id=folder.name,
        family=one_line(spec.family, 100),
        phase="ordered" if state is None else one_line(state.phase, 30),
        host=host_name() if state is None else one_line(state.host, 100),
        pid=None if state is None else state.pid,
        started_at=None if state is None else state.started_at,
        beat_at=folder.beat_at(),
        deadline_at=None if state is None else state.deadline_at,
        ordered_at=spec.created_at,
    )


def _is_stale(kept: KeptArtifact, branches: dict[tuple[str, str], str | None]) -> bool:
    manifest = kept.manifest
    if not manifest.base_is_branch or manifest.commit is None:
        return False
    key = (manifest.repo, manifest.base)
    if key not in branches:
        try:
            branches[key] = branch_sha(git_dir_of(Path(manifest.repo)), manifest.base)
        except OperatorError:
            branches[key] = None
    at = branches[key]
    return at is not None and at != manifest.base_sha


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
