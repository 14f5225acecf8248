"""The ``sandbox`` table of a family: an agent that changes code, and how it is held and checked."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from runtime.lane.values import OUR_VARIABLES, Duration, SecretRef, Table, check_env, parse_size

Bytes = Annotated[int, BeforeValidator(parse_size), Field(ge=2**20, le=2**40)]
Argv = Annotated[list[str], Field(min_length=1, max_length=1000)]

REF_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@-]{0,199}")
"""What a base may look like; whether it exists is known to its repository."""
_OURS = ("/proc", "/sys", "/dev", "/work", "/tmp", "/run", "/var/run", "/usr", "/etc/passwd", "/etc/group")  # noqa: S108 - places inside the sandbox
_RESERVED_ENV = (*OUR_VARIABLES, "LD_", "GIT_")


class Sandbox(Table):
    """What runs in a sandbox, on which repository, within which limits."""

    repo: str = Field(max_length=4096)
    """Absolute path of a Git repository on this host, bare or not. It is read; only a promotion writes to it."""
    base: str = "main"
    """A branch, tag or SHA; resolved to a SHA once. A payload may name its own (``{"base": ...}``)."""
    backend: Literal["bubblewrap"] = "bubblewrap"
    agent: Argv
    """Program and arguments; ``/work`` is the tree. The payload arrives on standard input and in a file,
    whose path is ``$JOELCLAW_PAYLOAD``."""
    verify: list[Argv] = Field(default_factory=list, max_length=50)
    """Commands run one after the other in a second, fresh sandbox on base plus patch. All must exit 0."""
    mounts: list[str] = Field(default_factory=list, max_length=100)
    """Absolute paths of this host, shown read-only at the same place."""
    env: dict[str, str] = Field(default_factory=dict)
    secrets: dict[str, SecretRef] = Field(default_factory=dict)
    """Handed to the agent's environment only, never to its verification, and hidden in its logs."""
    network: Literal["none"] = "none"
    memory: Bytes = Field(default=2 * 2**30)
    """What its processes hold together, the files that they write included: these are kept in memory."""
    disk: Bytes = Field(default=2**30)
    """Size of ``/work``, the checked-out tree included."""
    scratch: Bytes = Field(default=256 * 2**20)
    """Size of ``/tmp``."""
    pids: int = Field(default=512, ge=16, le=100_000)
    """Processes and threads at once."""
    cpus: float | None = Field(default=None, gt=0.01, le=1024)
    """Processors' worth of time. Unset: no limit."""
    timeout: Duration = Field(default=1800.0)
    """One budget for the whole run: checking out, agent, patch and verification."""

    @field_validator("backend", mode="before")
    @classmethod
    def _backend(cls, value: object) -> object:
        if value == "docker":
            raise ValueError("backend 'docker' is not supported by this version; use 'bubblewrap'")
        return value

    @field_validator("network", mode="before")
    @classmethod
    def _network(cls, value: object) -> object:
        if isinstance(value, list):
            raise ValueError('a list of hosts is not supported by this version; use network = "none"')
        return value

    @field_validator("repo")
    @classmethod
    def _repo(cls, value: str) -> str:
        if not value.startswith("/") or not value.isprintable():
            raise ValueError(
                "must be the absolute path of a repository on this host (addresses are not supported by this version)"
            )
        return value

    @field_validator("base")
    @classmethod
    def _base(cls, value: str) -> str:
        return check_base(value)

    @field_validator("agent", "verify")
    @classmethod
    def _no_nul(cls, value: Any) -> Any:
        for word in (word for part in value for word in ([part] if isinstance(part, str) else part)):
            if "\0" in word:
                raise ValueError("a word of a command has a NUL byte")
        return value

    @field_validator("mounts")
    @classmethod
    def _mounts(cls, value: list[str]) -> list[str]:
        for mount in value:
            path = PurePosixPath(mount)
            if not path.is_absolute() or ".." in path.parts or "\0" in mount or len(path.parts) == 1:
                raise ValueError(f"{mount!r} is not an absolute path below the root without ..")
            if any(path.is_relative_to(ours) or PurePosixPath(ours).is_relative_to(path) for ours in _OURS):
                raise ValueError(f"{mount!r} is, holds or lies in a place that every sandbox has of its own")
        return value

    @field_validator("env", "secrets")
    @classmethod
    def _env_names(cls, value: dict[str, Any]) -> dict[str, Any]:
        check_env(value, reserved=_RESERVED_ENV)
        return value

    @model_validator(mode="after")
    def _fits(self) -> Sandbox:
        if self.disk + self.scratch > self.memory:
            raise ValueError(
                "disk and scratch together are more than memory: what a sandbox writes is kept in memory and counts there"
            )
        return self


def check_base(value: str) -> str:
    """``value`` when it can be a branch, a tag or a SHA. Raises `ValueError`."""
    if not REF_NAME.fullmatch(value) or ".." in value or "@{" in value or value.endswith((".lock", "/", ".")):
        raise ValueError(f"{value[:80]!r} can't be a branch, a tag or a SHA")
    return value
