"""Fixtures that several test modules share, and what holds for every session of tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import needs
from tests.servers import STARTED, Server, dkron_found
from tests.serving import (
    REAL_DKRON,
    _shared_dkron,
    dkron_url,
    module_restate,
    module_valkey,
    own_dkrons,
    real_dkron_told,
    restate,
    valkey,
)
from tests.side_by_side import ALONE, Turns

__all__ = [
    "_shared_dkron",
    "dkron_url",
    "module_restate",
    "module_valkey",
    "own_dkrons",
    "real_dkron_told",
    "restate",
    "valkey",
]

TURNS = pytest.StashKey[Path]()
"""The folder in which the workers of a session take turns."""


def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", {}).get("turns")
    config.stash[TURNS] = Path(given or tempfile.mkdtemp(prefix="jt-turns-"))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Of pytest-xdist, at the controller: tells a worker where turns are taken."""
    node.workerinput["turns"] = str(node.config.stash[TURNS])


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(config.stash[TURNS])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before `-m` picks: what needs servers is marked so."""
    needs.mark(items)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    alone = item.get_closest_marker(ALONE) is not None
    with Turns(item.config.stash[TURNS]).take(alone=alone):
        Server.allowed = item.get_closest_marker(needs.MARK) is not None
        try:
            return (yield)
        finally:
            Server.allowed = True


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
