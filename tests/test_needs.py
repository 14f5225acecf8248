"""What needs servers is told by itself, and whoever isn't told so gets none."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import needs
from tests.side_by_side import FIRST_PORT, LAST_PORT, Ports, Turns

TESTS = Path(__file__).parent


def marked(request: pytest.FixtureRequest) -> bool:
    return bool(request.node.get_closest_marker(needs.MARK))


@pytest.fixture
def through_another(valkey: object) -> Iterator[object]:
    yield valkey


def test_who_gets_a_server_through_a_fixture_is_marked(
    through_another: object, request: pytest.FixtureRequest
) -> None:
    assert marked(request)


def test_who_gets_none_is_not_marked_and_can_start_none(
    short_dir: Path, request: pytest.FixtureRequest
) -> None:
    assert not marked(request)
    servers = importlib.import_module("tests.servers")
    with pytest.raises(servers.ServerFailed, match=r"tests/needs\.py"):
        servers.ValkeyServer(short_dir).launch()
    assert not list(short_dir.iterdir())


@pytest.mark.parametrize(
    ("module", "wanted"),
    [
        ("pressure/test_queue.py", True),  # through a conftest that it imports by name
        ("durable/test_handlers.py", True),  # through another helper
        ("clock/test_apply.py", True),  # through another test module
        ("test_stack.py", True),
        ("test_bench.py", True),
        ("lane/test_demo.py", True),  # starts the program itself as a process
        ("sandbox/test_run.py", True),
        ("console/test_panes.py", False),
        ("truth/test_findings.py", False),
        ("test_lanefile.py", False),
    ],
)
def test_a_module_is_judged_by_what_it_imports_however_indirectly(module: str, wanted: bool) -> None:
    assert needs.needs_servers(TESTS / module) is wanted


def test_fixtures_count_wherever_they_are_defined_but_those_that_all_tests_share() -> None:
    quick = TESTS / "test_lanefile.py"
    assert not needs.needs_servers(quick, [TESTS / "conftest.py"])
    assert needs.needs_servers(quick, [TESTS / "serving.py"])
    assert needs.needs_servers(quick, [TESTS / "admission" / "conftest.py"])


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import tests.servers", {"tests.servers"}),
        ("import os, tests.servers as s", {"os", "tests.servers"}),
        ("from tests import servers as s", {"tests", "tests.servers"}),
        (
            "from tests.servers import (\n    A,\n    B as C,\n)\n",
            {"tests.servers", "tests.servers.A", "tests.servers.B"},
        ),
        ("def f():\n    from bench.idle import *  # late\n", {"bench.idle"}),
    ],
)
def test_every_form_of_an_import_is_seen(source: str, names: set[str]) -> None:
    assert set(needs.imports_of(source)) == names


def test_who_asks_to_be_alone_is_and_is_not_passed_over_for_ever(tmp_path: Path) -> None:
    turns, done = Turns(tmp_path), threading.Event()
    events: list[str] = []

    def beside() -> None:
        while not done.is_set():
            with turns.take(alone=False):
                events.append("in")
                time.sleep(0.01)
                events.append("out")

    several = [threading.Thread(target=beside) for _ in range(3)]
    for one in several:
        one.start()
    while len(events) < 10:
        time.sleep(0.01)
    with turns.take(alone=True):
        at_first = len(events)
        assert events.count("in") == events.count("out")
        time.sleep(0.05)
        assert len(events) == at_first
    done.set()
    for one in several:
        one.join()


def test_two_test_processes_are_given_different_ports() -> None:
    one, other = Ports(), Ports()
    mine, theirs = one.free(20), other.free(20)
    assert len({*mine, *theirs}) == 40
    assert all(FIRST_PORT <= port <= LAST_PORT for port in (*mine, *theirs))
