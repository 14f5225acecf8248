"""Artifacts: a folder of files under a manifest, named by the manifest's SHA-256.

The manifest has the hash of every other file, so that its own name vouches for all of it. What people decide
later stands beside it (``promotion.jsonl``) and is no part of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.common.files import sync_folder, write_whole
from runtime.common.text import one_line
from runtime.model import (
    Artifact,
    Decision,
    NotFound,
    OperatorError,
    Promotion,
    Refused,
    Verified,
    VerifyStep,
)
from runtime.sandbox.files import canonical, read_bounded
from runtime.sandbox.paths import ARTIFACT_ID, Paths

SCHEMA = "joelclaw.artifact/1"
MANIFEST, DECISIONS = "manifest.json", "promotion.jsonl"
PATCH, BUNDLE, AGENT_LOG = "patch.diff", "change.bundle", "agent.log"
PATHS_MAX = 200
LEFT_OUT_MAX = 100
PREFIX_LEAST = 8
_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")
_CHUNK = 1 << 20


class DamagedArtifact(OperatorError):
    """An artifact is not what its name or its manifest says."""

    code = "artifact-damaged"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class FileEntry(_Part):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int


class VerifyEntry(_Part):
    command: list[str]
    exit_code: int | None
    duration_s: float
    log: str


class Manifest(_Part):
    """``manifest.json``. Fields are only ever added."""

    schema_id: str
    run_id: str
    family: str
    lane: str
    repo: str
    base: str
    base_is_branch: bool
    base_sha: str
    commit: str | None
    tree_sha: str | None
    files: int
    insertions: int
    deletions: int
    paths: list[str]
    left_out: list[str]
    verified: Verified
    verify: list[VerifyEntry]
    agent_exit: int | None
    agent_duration_s: float | None
    failure: str | None
    limits: dict[str, str]
    isolation: str
    host: str
    created_at: float
    contents: dict[str, FileEntry]


@dataclass(frozen=True, slots=True)
class KeptArtifact:
    """An artifact as it is on disk."""

    artifact_id: str
    folder: Path
    manifest: Manifest

    def path(self, name: str) -> Path:
        """A file that the manifest names. Raises `NotFound`."""
        if name not in self.manifest.contents or not _FILE_NAME.fullmatch(name):
            raise NotFound(
                f"artifact {self.artifact_id[:12]} has no file {one_line(name, 60)!r}",
                fix=f"it has: {', '.join(sorted(self.manifest.contents)) or 'none'}",
            )
        return self.folder / name


def keep(places: Paths, staging: Path, manifest: Mapping[str, Any]) -> str:
    """Makes an artifact of the files in ``staging`` and returns its id. The folder is moved, or appears not at all.

    Raises `OSError`.
    """
    contents: dict[str, dict[str, Any]] = {}
    for path in sorted(staging.iterdir()):
        digest, size = hash_file(path, sync=True)
        path.chmod(0o600)
        contents[path.name] = {"sha256": digest, "size": size}
    data = canonical({**manifest, "schema_id": SCHEMA, "contents": contents})
    artifact_id = hashlib.sha256(data).hexdigest()
    write_whole(staging / MANIFEST, data)
    sync_folder(staging)
    target = places.artifact(artifact_id)
    try:
        staging.rename(target)
    except OSError:
        if not (target / MANIFEST).is_file():
            raise
        shutil.rmtree(staging)  # the same bytes are kept already
    sync_folder(places.artifacts)
    return artifact_id


def staging_folder(places: Paths, run_id: str) -> Path:
    """Where a run's artifact is put together, beside the artifacts; its name can't be taken for one."""
    return places.artifacts / f".new-{run_id}"


def load(places: Paths, artifact_id: str) -> KeptArtifact:
    """Raises `NotFound`, `DamagedArtifact`."""
    folder = places.artifact(artifact_id)
    try:
        data = read_bounded(folder / MANIFEST)
    except FileNotFoundError:
        raise NotFound(f"no artifact {artifact_id[:12]}", fix="see `joelclaw-tui artifacts list`") from None
    except (OSError, ValueError) as error:
        raise _damaged(artifact_id, str(error)) from None
    if hashlib.sha256(data).hexdigest() != artifact_id:
        raise _damaged(artifact_id, "its manifest is not the one that its name stands for")
    try:
        return KeptArtifact(artifact_id, folder, Manifest.model_validate_json(data))
    except ValidationError as error:
        raise _damaged(artifact_id, f"its manifest can't be read: {error.errors()[0]['msg']}") from None


def find(places: Paths, wanted: str) -> str:
    """The one artifact whose id is or begins with ``wanted``. Raises `NotFound`, `Refused` for several."""
    text = wanted.strip().lower()
    if ARTIFACT_ID.fullmatch(text):
        return text
    if len(text) < PREFIX_LEAST or not re.fullmatch(r"[0-9a-f]+", text):
        raise NotFound(
            f"{one_line(wanted, 80)!r} is not an artifact id",
            fix=f"give the id or at least its first {PREFIX_LEAST} digits; see `joelclaw-tui artifacts list`",
        )
    found = [artifact_id for artifact_id in all_ids(places) if artifact_id.startswith(text)]
    if not found:
        raise NotFound(f"no artifact begins with {text}", fix="see `joelclaw-tui artifacts list`")
    if len(found) > 1:
        raise Refused(
            f"{len(found)} artifacts begin with {text}", fix="give more digits", code="ambiguous-artifact"
        )
    return found[0]


def all_ids(places: Paths) -> list[str]:
    """Every artifact's id, from the folders themselves. Raises `OSError`."""
    try:
        names = [path.name for path in places.artifacts.iterdir()]
    except FileNotFoundError:
        return []
    return [name for name in names if ARTIFACT_ID.fullmatch(name)]


def check(kept: KeptArtifact) -> list[str]:
    """What is wrong with the files, by their hashes. Blocks; reads all of it."""
    wrong: list[str] = []
    for name, entry in sorted(kept.manifest.contents.items()):
        try:
            digest, size = hash_file(kept.path(name))
        except (OSError, NotFound) as error:
            wrong.append(f"{one_line(name, 60)} can't be read: {one_line(str(error), 200)}")
            continue
        if (digest, size) != (entry.sha256, entry.size):
            wrong.append(f"{name} is not the file that was kept")
    return wrong


def hash_file(path: Path, *, sync: bool = False) -> tuple[str, int]:
    """SHA-256 and size of a regular file, not through a link; ``sync`` brings it to the disk first."""
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if sync:
            os.fsync(file.fileno())
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


# --- what people decided


def decisions(folder: Path) -> list[Decision]:
    """The oldest first. Lines that can't be read are passed over: a torn last one was never answered for."""
    try:
        lines = read_bounded(folder / DECISIONS).splitlines()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise _damaged(folder.name, f"what was decided about it can't be read: {error}") from None
    found: list[Decision] = []
    for line in lines:
        try:
            value = json.loads(line)
            found.append(
                Decision(
                    outcome=Promotion(value["outcome"]),
                    at=float(value["at"]),
                    actor=str(value["actor"]),
                    reason=None if value["reason"] is None else str(value["reason"]),
                    branch=None if value["branch"] is None else str(value["branch"]),
                    commit=None if value["commit"] is None else str(value["commit"]),
                )
            )
        except (ValueError, KeyError, TypeError):
            continue
    return found


def record(folder: Path, decision: Decision) -> None:
    """Appends, fsynced: nothing that was decided is ever replaced. Raises `OSError`."""
    line = canonical(
        {
            "outcome": decision.outcome.value,
            "at": decision.at,
            "actor": decision.actor,
            "reason": decision.reason,
            "branch": decision.branch,
            "commit": decision.commit,
        }
    )
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(folder / DECISIONS, flags, 0o600), "wb", buffering=0) as file:
        # A line that a crash cut short must not swallow this one.
        file.write(b"\n" + line + b"\n")
        os.fsync(file.fileno())
    sync_folder(folder)


def view(kept: KeptArtifact, made: Sequence[Decision], *, stale: bool) -> Artifact:
    """As it is told: every text in it is an agent's or a repository's, and cleaned."""
    manifest = kept.manifest
    decision = made[-1] if made else None
    promotion = decision.outcome if decision else Promotion.STALE if stale else Promotion.NONE
    return Artifact(
        artifact_id=kept.artifact_id,
        run_id=one_line(manifest.run_id, 120),
        family=one_line(manifest.family, 100),
        repo=one_line(manifest.repo, 500),
        base=one_line(manifest.base, 200),
        base_sha=one_line(manifest.base_sha, 64),
        commit=manifest.commit,
        tree_sha=manifest.tree_sha,
        files=manifest.files,
        insertions=manifest.insertions,
        deletions=manifest.deletions,
        paths=tuple(one_line(path, 300) for path in manifest.paths[:PATHS_MAX]),
        left_out=tuple(one_line(line, 400) for line in manifest.left_out[:LEFT_OUT_MAX]),
        verified=manifest.verified,
        verify=tuple(
            VerifyStep(
                tuple(one_line(word, 300) for word in step.command),
                step.exit_code,
                step.duration_s,
                one_line(step.log, 60),
            )
            for step in manifest.verify
        ),
        agent_exit=manifest.agent_exit,
        failure=None if manifest.failure is None else one_line(manifest.failure, 400),
        limits={one_line(key, 30): one_line(value, 200) for key, value in manifest.limits.items()},
        isolation=one_line(manifest.isolation, 300),
        host=one_line(manifest.host, 100),
        created_at=manifest.created_at,
        names=tuple(sorted(name for name in manifest.contents if _FILE_NAME.fullmatch(name))),
        promotion=promotion,
        decision=decision,
    )


def _damaged(artifact_id: str, why: str) -> DamagedArtifact:
    return DamagedArtifact(
        f"artifact {artifact_id[:12]} is damaged: {one_line(why, 200)}",
        fix="restore its folder from a copy, or replay its item",
    )
