"""Where the sandbox room keeps its files, under the profile's state folder."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

ARTIFACT_ID = re.compile(r"[0-9a-f]{64}")
RUN_FOLDER = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z@:_.+-]{0,199}\.[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Paths:
    """WithTimeout creates nothing."""

    root: Path

    @classmethod
    def under(cls, state: Path) -> Paths:
        return cls(state / "sandbox")

    @property
    def mirrors(self) -> Path:
        return self.root / "mirrors"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    def mirror(self, repo: Path) -> Path:
        return (
            self.mirrors
            / f"{hashlib.sha256(str(repo).encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.git"
        )

    def run(self, run_id: str) -> Path:
        """The whole run id names the folder: a prefix of one could be two."""
        if not RUN_FOLDER.fullmatch(run_id):
            raise ValueError(f"{run_id[:80]!r} can't name a run folder")
        return self.runs / run_id

    def artifact(self, artifact_id: str) -> Path:
        if not ARTIFACT_ID.fullmatch(artifact_id):
            raise ValueError(f"{artifact_id[:80]!r} can't name an artifact")
        return self.artifacts / artifact_id

    def create(self) -> None:
        """The folders, for their owner's eyes only. Raises `OSError`."""
        for folder in (self.root, self.mirrors, self.runs, self.artifacts):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
