"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import (
    DKRON_URL,
    STARTED,
    DkronServer,
    RestateServer,
    ValkeyServer,
    dkron_cluster,
    dkron_found,
)

REAL_DKRON = "dkron_url"
"""The fixture of every test that runs on a real Dkron."""


def pytest_report_header() -> str:
    version, where = dkron_found()
    return f"Dkron for the contract: {where if version is None else f'{version}, {where}'}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Whether the Dkron contract held on a real server, said where nobody overlooks it."""
    counts = dict.fromkeys(("passed", "failed", "error", "skipped"), 0)
    for outcome in counts:
        for report in terminalreporter.getreports(outcome):
            if any(name == REAL_DKRON for name, _ in getattr(report, "user_properties", ())):
                counts[outcome] += 1
    if not any(counts.values()):
        return
    version, where = dkron_found()
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    if version is None:
        said = f"NOT run against a real server: {where} ({told})"
    else:
        said = f"{told} on a real Dkron {version} ({where})"
    terminalreporter.section("Dkron contract", sep="-")
    terminalreporter.write_line(said)


@pytest.fixture
def real_dkron_told(record_property: Callable[[str, object], None]) -> None:
    """Counts the test in the summary of what ran on a real Dkron."""
    record_property(REAL_DKRON, dkron_found()[0] or "none")


@pytest.fixture
def dkron_url(real_dkron_told: None, request: pytest.FixtureRequest) -> str:
    """A real Dkron that may be written to; tests must not mind each other's jobs."""
    version, where = dkron_found()
    if version is None:
        pytest.skip(f"no real Dkron: {where}")
    given = os.environ.get(DKRON_URL)
    return given.rstrip("/") if given else str(request.getfixturevalue("_shared_dkron").url)


@pytest.fixture(scope="session")
def _shared_dkron() -> Iterator[DkronServer]:
    folder = Path(tempfile.mkdtemp(prefix="jt-dk-"))
    server = DkronServer(folder)
    try:
        yield server.launch()
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def own_dkrons(real_dkron_told: None) -> Iterator[Callable[[int], list[DkronServer]]]:
    """Makes a cluster of real Dkrons of the test's own, which it may stop, kill and rob of their data."""
    if shutil.which("dkron") is None:
        pytest.skip("no servers of one's own can be started: no `dkron` on PATH")
    folder = Path(tempfile.mkdtemp(prefix="jt-dk-"))
    made: list[DkronServer] = []

    def make(size: int) -> list[DkronServer]:
        made.extend(dkron_cluster(folder, size))
        return list(made)

    yield make
    for server in made:
        server.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fails the session when a server that a test started outlived its test."""
    yield
    left = [process for process in STARTED if process.poll() is None]
    for process in left:
        process.kill()
        process.wait()
    assert not left, f"left running by a test: {[process.args for process in left]}"


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A temporary folder whose path leaves room for socket names (108 bytes on Linux)."""
    folder = Path(tempfile.mkdtemp(prefix="jt-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    """An empty Valkey for one test."""
    yield from _valkey()


@pytest.fixture(scope="module")
def module_valkey() -> Iterator[ValkeyServer]:
    """One Valkey for a module's tests; they must not mind each other's keys."""
    yield from _valkey()


@pytest.fixture
def restate() -> Iterator[RestateServer]:
    """An empty Restate server for one test."""
    yield from _restate()


@pytest.fixture(scope="module")
def module_restate() -> Iterator[RestateServer]:
    """One Restate server for a module's tests; they must not mind each other's services."""
    yield from _restate()


def _valkey() -> Iterator[ValkeyServer]:
    folder = Path(tempfile.mkdtemp(prefix="jt-vk-"))
    server = ValkeyServer(folder)
    try:
        yield server.launch()
    finally:
        server.stop()
        shutil.rmtree(folder)


def _restate() -> Iterator[RestateServer]:
    folder = Path(tempfile.mkdtemp(prefix="jt-rs-"))
    server = RestateServer(folder)
    try:
        yield server.launch()
    finally:
        server.stop()
        shutil.rmtree(folder)
