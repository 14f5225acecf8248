"""The pages for those who build it name what is there, and the reference has all of it."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

from tests.reference import reference

ROOT = Path(__file__).parents[1]
PAGES = ("docs/architecture.md", "AGENTS.md", "CONTRIBUTING.md", "README.md")
_NAMED = re.compile(r"`([\w./-]+/[\w./-]*|[\w.-]+\.(?:py|md|toml|lua))(?::([A-Za-z_][\w.]*))?`")


def names_in(page: str) -> list[tuple[str, str | None]]:
    """Paths of this repository in backticks, with the function or class that is named in them."""
    text = (ROOT / page).read_text(encoding="utf-8")
    tops = {path.name for path in ROOT.iterdir()}
    return [(path, name or None) for path, name in _NAMED.findall(text) if path.split("/")[0] in tops]


def defined(path: Path, name: str) -> bool:
    body: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    for part in name.split("."):
        found = [
            node
            for node in body
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == part
        ]
        if not found:
            return False
        body = found[0].body
    return True


@pytest.mark.parametrize("page", PAGES)
def test_every_path_and_function_that_a_page_names_exists(page: str) -> None:
    wrong = [
        f"{path}:{name}" if name else path
        for path, name in names_in(page)
        if not (ROOT / path).exists() or (name is not None and not defined(ROOT / path, name))
    ]
    assert not wrong, f"{page} names what is not there"


def test_the_architecture_names_functions_of_all_five_flows() -> None:
    named = [path for path, name in names_in("docs/architecture.md") if name is not None]
    rooms = {path.split("/")[1] for path in named}
    assert {"pressure", "admission", "durable", "actions", "truth", "sandbox", "clock"} <= rooms


def test_every_room_is_on_the_map() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rooms = [path.name for path in (ROOT / "runtime").iterdir() if (path / "__init__.py").is_file()]
    rooms += [path.name for path in (ROOT / "joelclaw_tui").iterdir() if (path / "__init__.py").is_file()]
    missing = [room for room in rooms if f"  {room}/" not in text]
    assert not missing


def test_every_command_key_and_finding_is_in_the_reference() -> None:
    page = ROOT / "docs/reference.md"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        page.write_text(reference(), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == reference()
