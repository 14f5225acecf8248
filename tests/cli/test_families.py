"""``families list`` and ``check``: what is declared and what limits it, as text and as a document."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from joelclaw_tui.cli.families import check, list_
from joelclaw_tui.cli.output import Output
from joelclaw_tui.cli.parser import parse
from joelclaw_tui.cli.session import Session
from runtime.common.export_path import free_path
from runtime.lane.lane_file import find_lane
from runtime.model import ConfigError, UsageError
from runtime.settings import Settings

LANE = """
lane = "main"
rate = "90/m"
max_in_flight = 50
[families."content/updated"]
handler = "noop"
rate = "50/s"
aging = "5m"
ack = "disk"
backlog = { items = 1000, bytes = "512M" }
breaker = { failures = 8, window = "2h" }
concurrency = { key = "customer.id" }
schema = "page.json"
[families.plain]
handler = "noop"
"""


def session(folder: Path, *words: str, schema: str = "{}") -> tuple[Session, io.StringIO]:
    path = folder / "lane.toml"
    path.write_text(LANE)
    (folder / "page.json").write_text(schema)
    said = io.StringIO()
    out = Output("families", as_json="--json" in words, stdout=said, stderr=io.StringIO())
    settings = Settings(lane=path, state_dir=folder / "state")
    return Session(parse(["families", *words]), settings, out), said


def test_the_list_says_what_limits_a_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    given, said = session(tmp_path, "list")
    assert list_(given) == 0
    text = said.getvalue()
    for limit in (
        "at most 50 in flight, 1.5/s",
        "schema page.json",
        "50/s",
        "1 at a time of each customer.id",
        "ages 5m",
        "full at 1,000 items or 512 MiB",
        "ack disk",
        "breaks at 8 failed in 2h",
    ):
        assert limit in text
    assert text.splitlines()[-1].split()[0] == "plain"


@pytest.mark.parametrize(("given", "shown"), [("2G", "2 GiB"), ("64K", "64 KiB"), ("1500K", "1,500 KiB")])
def test_a_ceiling_in_bytes_is_shown_in_the_unit_in_which_it_is_whole(
    tmp_path: Path, given: str, shown: str
) -> None:
    path = tmp_path / "lane.toml"
    path.write_text(f'lane = "main"\n[families.a]\nhandler = "noop"\nbacklog = {{ bytes = "{given}" }}\n')
    said = io.StringIO()
    out = Output("families", as_json=False, stdout=said, stderr=io.StringIO())
    settings = Settings(lane=path, state_dir=tmp_path / "state")
    assert list_(Session(parse(["families", "list"]), settings, out)) == 0
    assert f"full at {shown}" in said.getvalue()


def test_the_document_has_every_key_in_base_units(tmp_path: Path) -> None:
    given, said = session(tmp_path, "check", "--json")
    assert check(given) == 0
    result = json.loads(said.getvalue())["result"]
    assert (result["max_in_flight"], result["rate_per_s"]) == (50, 1.5)
    first, plain = result["families"]
    assert first["backlog"] == {"items": 1000, "bytes": 512 * 2**20}
    assert first["breaker"] == {"failures": 8, "window_s": 7200.0}
    assert first["concurrency"] == {"key": "customer.id", "max": 1}
    assert (first["schema"], first["rate_per_s"], first["aging_s"], first["ack"]) == (
        "page.json",
        50.0,
        300.0,
        "disk",
    )
    assert (plain["schema"], plain["backlog"], plain["ack"]) == (None, None, "process")


def test_a_bad_schema_fails_the_check_with_its_line(tmp_path: Path) -> None:
    given, _ = session(tmp_path, "check", schema="{")
    with pytest.raises(ConfigError, match=r"lane\.toml:13: .*schema"):
        check(given)


@pytest.mark.parametrize("given", ["~nobody-of-this-name/lane.toml", "a\0b"])
def test_a_path_that_no_file_can_have_is_a_usage_error(tmp_path: Path, given: str) -> None:
    asked, _ = session(tmp_path, "check", given)
    with pytest.raises(UsageError):
        check(asked)
    with pytest.raises(UsageError):
        find_lane(Settings(lane=Path(given)))
    with pytest.raises(UsageError):
        free_path(given)
