"""Fetch the pinned Restate server with npm: whole or not at all, once even when two ask."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

from runtime.common.text import one_line
from runtime.stack.find import look_for_restate
from runtime.stack.lock import only_one
from runtime.stack.parts import (
    RESTATE_PACKAGE,
    RESTATE_VERSION,
    Binary,
    PartMissing,
    Progress,
    cache_dir,
    cached_restate,
    restate_home,
    restate_in,
    version_of,
)

NPM_TIMEOUT_S = 900.0
SPACE_NEEDED = 600 * 1024 * 1024
"""Bytes: the package in npm's cache and unpacked (225 MB), with room to spare."""
_REPORT_EVERY_S = 5.0


async def find_restate(progress: Progress) -> Binary:
    """A Restate server program, fetched with npm if there is none. Raises `PartMissing`."""
    found = await asyncio.to_thread(look_for_restate)
    return found or await fetch_restate(progress)


async def fetch_restate(progress: Progress) -> Binary:
    """Install the pinned package into the cache folder. Raises `PartMissing`.

    npm works in a sibling folder that becomes the real one by a rename once its program
    runs, so a download that was cut short is never taken for a whole one.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise PartMissing(
            "the Restate server is not on this machine, and there is no npm on PATH to fetch it with",
            fix=f"install Node.js with npm, put restate-server {RESTATE_VERSION} on PATH, "
            "or set JOELCLAW_RESTATE_INGRESS_URL and JOELCLAW_RESTATE_ADMIN_URL",
        )
    home = restate_home()
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(cache_dir()).free
    except OSError as error:
        raise PartMissing(
            f"can't write to {cache_dir()}: {error.strerror}",
            fix="correct its rights, or set JOELCLAW_CACHE_DIR",
        ) from None
    async with only_one(
        cache_dir() / "fetch.lock", progress, doing="fetching the Restate server", within_s=NPM_TIMEOUT_S
    ):
        found = await asyncio.to_thread(look_for_restate)  # another process may just have fetched it
        if found:
            return found
        _clear_leftovers(home)
        if free < SPACE_NEEDED:
            raise PartMissing(
                f"{free // 1024**2} MB free in {cache_dir()}, the Restate server needs {SPACE_NEEDED // 1024**2}",
                fix="make room, or set JOELCLAW_CACHE_DIR to a larger disk",
            )
        work = Path(tempfile.mkdtemp(prefix=f"{home.name}.part-", dir=home.parent))
        try:
            await _npm_install(npm, work, progress)
            program = restate_in(work)
            if await asyncio.to_thread(version_of, program) != RESTATE_VERSION:
                raise PartMissing(
                    f"npm ended well, but {program.name} "
                    + ("does not run" if program.is_file() else "has no build for this platform"),
                    fix="run it again; if it stays so, put restate-server on PATH",
                )
            os.rename(work, home)  # noqa: PTH104 - one system call; pathlib's would be the same
        finally:
            shutil.rmtree(work, ignore_errors=True)
    progress(f"Restate server {RESTATE_VERSION} is in {home}")
    return Binary("restate", cached_restate(), RESTATE_VERSION, f"npm package {RESTATE_PACKAGE}")


async def _npm_install(npm: str, work: Path, progress: Progress) -> None:
    progress(f"fetching {RESTATE_PACKAGE} {RESTATE_VERSION} with npm (some 70 MB, once)")
    log = work / "npm.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            npm,
            "install",
            f"{RESTATE_PACKAGE}@{RESTATE_VERSION}",
            *("--prefix", str(work)),
            "--save-exact",
            "--no-audit",
            "--no-fund",
            "--no-progress",
            # The package's one dependency only reports installs to a third party, from its install script.
            "--ignore-scripts",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            cwd=work,
            start_new_session=True,
            env={**os.environ, "SCARF_ANALYTICS": "false", "CI": "true"},
        )
        try:
            await _wait(process, progress)
        finally:
            await _end_group(process)
    if process.returncode:
        raise PartMissing(
            f"npm could not install {RESTATE_PACKAGE} {RESTATE_VERSION} (exit code {process.returncode}): "
            + one_line(_npm_reason(log), 400),
            fix="check the network and npm's settings, then run it again; nothing half-fetched was kept",
        )


async def _wait(process: asyncio.subprocess.Process, progress: Progress) -> None:
    started = time.monotonic()
    while True:
        try:
            await asyncio.wait_for(process.wait(), _REPORT_EVERY_S)
            return
        except TimeoutError:
            waited = time.monotonic() - started
        if waited > NPM_TIMEOUT_S:
            raise PartMissing(
                f"npm did not end within {NPM_TIMEOUT_S / 60:.0f} minutes",
                fix="check the network, then run it again; nothing half-fetched was kept",
            )
        progress(f"still fetching the Restate server, {waited:.0f} s so far")


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """Ends npm and what it started, also when the wait for it was interrupted."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _npm_reason(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line.removeprefix("npm error ").strip() for line in lines if line.startswith("npm error ")]
    return "; ".join([line for line in errors if line][:4]) or " ".join(lines[-3:]) or "it said nothing"


def _clear_leftovers(home: Path) -> None:
    """Removes what an install that was cut short left; the caller holds the lock."""
    for leftover in home.parent.glob(f"{home.name}.part-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if home.exists():  # it is there, yet its program does not run
        shutil.rmtree(home, ignore_errors=True)
