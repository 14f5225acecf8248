"""Fixtures that several test modules share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import STARTED, RestateServer, ValkeyServer


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
