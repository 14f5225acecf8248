"""Which tests need servers: told at collection, by no list of tests.

A test needs servers when its module imports, by itself or through other test modules, a home of servers or of
the processes that run on them; when it starts the program itself as a process; or when the module of one of
its fixtures does, whoever asked for that fixture. A server that starts in a test that is not marked fails it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

MARK = "servers"
HOMES = ("tests.servers", "tests.sandbox.making", "runtime.roles.local", "runtime.stack.local", "bench")
"""Modules, each with those below it, whose users start servers, whole stacks, sandboxes or benchmarks."""
TESTS = Path(__file__).parent
_SHARED = TESTS / "conftest.py"
"""Imports the server fixtures only to hand them on: none that it defines itself starts a server."""
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]*)|import[ \t]+([\w., \t]+))", re.M
)
_STARTS = re.compile(r'"-m",\s*"(?:joelclaw_tui|runtime|bench)\b|executable\)\.parent / "joelclaw-tui"')
"""The program itself as a process of its own: that is where whole stacks come from."""


def imports_of(text: str) -> Iterator[str]:
    """Every name that Python source ``text`` imports, as a dotted path; late imports too."""
    for home, names, plain in _IMPORT.findall(text):
        if plain:
            yield from (name.split()[0] for name in plain.split(",") if name.strip())
            continue
        yield home
        for name in names.strip("()").split(","):
            if name.strip() and name.strip() != "*":
                yield f"{home}.{name.split()[0]}"


def at_home(name: str) -> bool:
    """Whether ``name`` is one of `HOMES` or below one."""
    return any(name == home or name.startswith(home + ".") for home in HOMES)


@cache
def starts_servers(path: Path) -> bool:
    """Whether the module at ``path`` imports a home of servers, by itself or through other test modules."""
    return any(_wants(reached) for reached in _reached(path))


@cache
def _wants(path: Path) -> bool:
    return bool(_STARTS.search(_text(path))) or any(map(at_home, _imports(path)))


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def _imports(path: Path) -> frozenset[str]:
    return frozenset(imports_of(_text(path)))


def _reached(path: Path) -> Iterator[Path]:
    """``path`` and every test module that it imports, however indirectly; a conftest only where it is named."""
    seen, left = {path}, [path]
    while left:
        at = left.pop()
        yield at
        for name in _imports(at):
            found = _file_of(name) if name.startswith("tests.") else None
            if found is not None and found not in seen:
                seen.add(found)
                left.append(found)


@cache
def _file_of(name: str) -> Path | None:
    """The source of a test module; None: ``name`` is something in one, or a package with nothing in it."""
    path = TESTS.parent.joinpath(*name.split(".")).with_suffix(".py")
    return path if path.is_file() else None


def needs_servers(path: Path, fixtures: Iterable[Path] = ()) -> bool:
    """For a test of the module at ``path``; ``fixtures``: the modules of all fixtures that it gets."""
    return any(starts_servers(one) for one in (path, *(one for one in fixtures if one != _SHARED)))


def mark(items: Iterable[pytest.Item]) -> None:
    """Marks each of ``items`` that needs servers."""
    for item in items:
        if needs_servers(item.path, _fixture_homes(item)):
            item.add_marker(MARK)


def _fixture_homes(item: pytest.Item) -> set[Path]:
    """The test modules that define what ``item`` gets, through other fixtures too."""
    if not isinstance(item, pytest.Function):
        return set()
    made = (fixture.func for several in item._fixtureinfo.name2fixturedefs.values() for fixture in several)
    files = (Path(func.__code__.co_filename) for func in made if hasattr(func, "__code__"))
    return {file for file in files if file.is_relative_to(TESTS)}
