"""A run's folder: what was asked (``spec.json``), how it stands (``state.json``), who owns it (``lock``).

``lock``  created by the one shim that may ever start the run's agent, and held for its life.
``beat``  its modification time is the shim's last sign of life.
``stop``  somebody wants the run to end. ``collected``  its end has arrived where it was waited for.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from runtime.common.files import write_whole
from runtime.model import Outcome, Verified
from runtime.sandbox.files import canonical, create_whole, read_bounded

SPEC, STATE, LOCK, BEAT, STOP, COLLECTED = "spec.json", "state.json", "lock", "beat", "stop", "collected"
SPEC_SCHEMA, STATE_SCHEMA = "joelclaw.sandbox-spec/1", "joelclaw.sandbox-state/1"
BEAT_EVERY_S = 0.5
BEAT_LIMIT_S = 5.0
"""A shim that was killed is reported within this time, as long as a worker runs on its host."""
M = TypeVar("M", bound=BaseModel)


class DamagedRun(Exception):
    """A file of a run folder can't be read as what it is."""


class RunSpec(BaseModel):
    """The whole order of one run. No secret values in here: only where they come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_id: str = SPEC_SCHEMA
    run_id: str
    item_id: str
    attempt: int
    family: str
    lane: str
    repo: str
    base: str
    base_is_branch: bool
    base_sha: str
    mirror: str
    artifacts: str
    agent: list[str]
    verify: list[list[str]]
    mounts: list[str]
    env: dict[str, str]
    secret_names: list[str]
    memory: int
    disk: int
    scratch: int
    pids: int
    cpus: float | None
    timeout_s: float
    payload: str
    failures: list[dict[str, Any]]
    report_url: str
    report_socket: str | None
    created_at: float


class RunState(BaseModel):
    """How a run stands. Final once ``outcome`` is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_id: str = STATE_SCHEMA
    run_id: str
    family: str
    phase: str
    host: str
    pid: int
    started_at: float
    deadline_at: float
    agent_starts: int = 0
    outcome: Outcome | None = None
    message: str | None = None
    verified: Verified = Verified.ABSENT
    artifact_id: str | None = None
    mount_points: str | None = None
    """The folder of its private mounts, to be removed by whoever finds the shim gone."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's folder and its files."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def lock(self) -> Path:
        return self.path / LOCK

    def read_spec(self) -> RunSpec:
        """Raises `DamagedRun`, `OSError`."""
        return _parse(RunSpec, self.path / SPEC)

    def create_spec(self, spec: RunSpec) -> bool:
        """False when there was one: the first order stands."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return create_whole(self.path / SPEC, spec.model_dump_json().encode())

    def read_state(self) -> RunState | None:
        """None before a shim owned the run. Raises `DamagedRun`, `OSError`."""
        try:
            return _parse(RunState, self.path / STATE)
        except FileNotFoundError:
            return None

    def write_state(self, state: RunState) -> None:
        write_whole(self.path / STATE, state.model_dump_json().encode())

    def beat(self) -> None:
        with os.fdopen(
            os.open(self.path / BEAT, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb"
        ) as file:
            os.utime(file.fileno())

    def beat_at(self) -> float | None:
        try:
            return (self.path / BEAT).stat().st_mtime
        except OSError:
            return None

    def ask_stop(self, reason: str) -> None:
        create_whole(self.path / STOP, canonical({"reason": reason}))

    def stop_reason(self) -> str | None:
        """Why somebody wants it to end; None when nobody does."""
        try:
            value = json.loads(read_bounded(self.path / STOP, 4096))
            return str(value["reason"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return "asked to stop"

    def collect(self) -> None:
        create_whole(self.path / COLLECTED, b"")

    @property
    def collected(self) -> bool:
        return (self.path / COLLECTED).exists()


def host_name() -> str:
    return socket.gethostname()


def _parse(model: type[M], path: Path) -> M:
    try:
        return model.model_validate_json(read_bounded(path))
    except (ValidationError, ValueError) as error:
        raise DamagedRun(f"{path.name} of {path.parent.name} is damaged: {error}") from None
