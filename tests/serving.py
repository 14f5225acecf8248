"""The servers that tests ask for by name: real ones, each session's (and each worker's) own.

They are apart from the other shared fixtures because whoever gets one of these needs a server (`tests.needs`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import (
    DKRON_URL,
    DkronServer,
    RestateServer,
    ValkeyServer,
    dkron_cluster,
    dkron_found,
)

REAL_DKRON = "dkron_url"
"""The fixture of every test that runs on a real Dkron."""


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
