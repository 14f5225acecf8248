"""Payload schemas: what is accepted, what a misfit is told, and how an edit takes effect."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from runtime.lane.lane_file import Family, LaneSource, load_lane
from runtime.model import ConfigError

LANE = """\
lane = "main"
[families.pages]
handler = "noop"
schema = "schemas/page.json"
[families.free]
handler = "noop"
"""
PAGE = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}


def write(folder: Path, schema: object, lane: str = LANE) -> Path:
    (folder / "schemas").mkdir(exist_ok=True)
    text = schema if isinstance(schema, str) else json.dumps(schema)
    (folder / "schemas" / "page.json").write_text(text)
    (folder / "lane.toml").write_text(lane)
    return folder / "lane.toml"


def family(folder: Path, schema: object) -> Family:
    return load_lane(write(folder, schema), lambda: 1.0).family("pages")


def test_a_payload_that_does_not_fit_is_told_where_and_why_and_is_not_quoted(tmp_path: Path) -> None:
    pages = family(
        tmp_path,
        {"properties": {"a/b": {"items": {"type": "integer"}}, "s": {"pattern": "^x$"}}, "required": ["s"]},
    )
    assert pages.check('{"s":"x","a/b":[1]}') is None
    assert pages.check('{"a/b":[1]}') == 'as a whole: "s" is a required property'
    told = pages.check('{"s":"x","a/b":[1,"secret"]}')
    assert told is not None and told.startswith("at /a~1b/1: ") and "integer" in told
    assert "secret" not in told
    assert "secret" not in (pages.check('{"s":"secret"}') or "secret")


def test_a_reason_is_bounded_and_cleaned(tmp_path: Path) -> None:
    pages = family(tmp_path, {"additionalProperties": False})
    told = pages.check(json.dumps({"\x1b[2J\u202e" + "n" * 5000: 1}))
    assert told is not None
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert len(told) < 600


def test_a_family_without_a_schema_takes_any_json(tmp_path: Path) -> None:
    lane = load_lane(write(tmp_path, PAGE), lambda: 1.0)
    assert lane.family("free").check('[1, "x"]') is None


def test_the_draft_is_the_schemas_own_and_else_2020_12(tmp_path: Path) -> None:
    old = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}]}
    assert family(tmp_path, old).check('["x"]') is not None
    assert family(tmp_path, {"prefixItems": [{"type": "integer"}]}).check('["x"]') is not None
    assert family(tmp_path, {"format": "date-time"}).check('"yesterday"') is not None


def test_a_schema_may_stand_in_the_lane_file(tmp_path: Path) -> None:
    lane = 'lane = "main"\n[families.pages]\nhandler = "noop"\n[families.pages.schema]\ntype = "object"\n'
    path = write(tmp_path, PAGE, lane)
    assert load_lane(path, lambda: 1.0).family("pages").check("1") is not None
    path.write_text(lane.replace('"object"', '"objekt"'))
    with pytest.raises(ConfigError, match=r"lane\.toml:4: .*schema.*in the lane file"):
        load_lane(path, lambda: 1.0)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON Schema"),
        ({"type": "nonsense"}, "/type"),
        ({"$schema": "https://example.com/my-own"}, "Unknown meta-schema"),
        ({"$ref": "http://127.0.0.1:9/x.json"}, "nothing is fetched"),
        ({"$ref": "file:///etc/hostname"}, "nothing is fetched"),
        ({"$ref": "other.json"}, "nothing is fetched"),
        ({"$ref": "#/$defs/none"}, "does not exist"),
        ({"pattern": "(?=a)b"}, "linear time"),
        ({"properties": {"a": {"pattern": r"(a)\1"}}}, "linear time"),
        ({"pattern": "(a{1000}){1000}"}, "pattern"),
        ("[" * 5000 + "]" * 5000, "not JSON"),
        (" " * (1024 * 1024 + 1), "more than"),
    ],
)
def test_a_bad_schema_is_refused_with_the_lane_files_line(tmp_path: Path, schema: object, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_lane(write(tmp_path, schema), lambda: 1.0)
    assert "lane.toml:4: families.pages.schema" in refused.value.message
    assert says in refused.value.message


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ('"gone.json"', "No such file"),
        ('"/etc/hostname"', "not a path relative"),
        ('""', "not a path relative"),
        ('"schemas"', "not a regular file"),
        ('"pipe"', "not a regular file"),
        ("5", "path of a JSON Schema"),
        ("{ default = 1979-05-27 }", "JSON does not have"),
    ],
)
def test_a_schema_that_is_no_file_is_refused(tmp_path: Path, name: str, says: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = write(tmp_path, PAGE, LANE.replace('"schemas/page.json"', name))
    with pytest.raises(ConfigError, match=says):
        load_lane(path, lambda: 1.0)


def test_a_pattern_made_to_backtrack_takes_no_time(tmp_path: Path) -> None:
    pages = family(tmp_path, {"pattern": "^(a+)+$"})
    begun = time.process_time()
    assert pages.check(json.dumps("a" * 100_000 + "!")) is not None
    assert time.process_time() - begun < 2


def test_common_bounded_patterns_are_taken(tmp_path: Path) -> None:
    for pattern in (r"^[\w-]{1,255}$", r"^\p{L}{1,100}$", r"^[a-z0-9-]{1,4000}$"):
        assert family(tmp_path, {"pattern": pattern}).check('"abc"') is None


def test_an_edit_of_the_schema_file_is_an_edit_of_the_lane(tmp_path: Path) -> None:
    path = write(tmp_path, PAGE)
    source = LaneSource(path, lambda: 1.0)
    before = source.current.sha256
    assert not source.refresh()
    (tmp_path / "schemas" / "page.json").write_text('{"type": "array"}')
    assert source.refresh()
    assert source.current.sha256 != before
    assert source.current.family("pages").check("[]") is None


def test_a_bad_edit_of_the_schema_file_leaves_the_last_good_one_going(tmp_path: Path) -> None:
    path = write(tmp_path, PAGE)
    source = LaneSource(path, lambda: 1.0)
    first = source.current
    schema = tmp_path / "schemas" / "page.json"
    schema.write_text("{")
    assert not source.refresh()
    assert source.current.family("pages").check('{"id":1}') is None
    assert source.error is not None and "lane.toml:4" in source.error
    schema.unlink()
    assert not source.refresh()
    schema.write_text(json.dumps(PAGE))
    assert not source.refresh()
    assert source.error is None
    assert source.current.sha256 == first.sha256


def test_a_schema_file_that_is_named_later_is_watched_from_then_on(tmp_path: Path) -> None:
    bare = LANE.replace('schema = "schemas/page.json"\n', "")
    path = write(tmp_path, "{", bare)
    source = LaneSource(path, lambda: 1.0)
    path.write_text(LANE)
    assert not source.refresh()
    assert source.error is not None
    (tmp_path / "schemas" / "page.json").write_text(json.dumps(PAGE))
    assert source.refresh()
    assert source.error is None
    assert source.current.family("pages").check("{}") is not None


def test_the_last_good_lane_has_its_schemas_with_it(tmp_path: Path) -> None:
    path, kept = write(tmp_path, PAGE), tmp_path / "state" / "lane.toml"
    role = LaneSource(path, lambda: 1.0, last_good=kept, keep=True)
    (tmp_path / "schemas" / "page.json").write_text("{")
    operator = LaneSource(path, lambda: 2.0, last_good=kept)
    assert operator.error is not None
    assert operator.current.sha256 == role.current.sha256
    assert operator.current.family("pages").check("{}") is not None
    (tmp_path / "state" / "lane.schemas.json").write_text("[]")
    with pytest.raises(ConfigError, match="not JSON"):
        LaneSource(path, lambda: 3.0, last_good=kept)


@pytest.mark.parametrize(
    ("data", "says"),
    [('data = { id = "x" }\n', r"lane\.toml:10: schedules\.feeds\.data: .*at /id"), ("", "as a whole")],
)
def test_a_schedule_whose_data_could_not_enter_its_family_is_refused(
    tmp_path: Path, data: str, says: str
) -> None:
    schedule = '[schedules.feeds]\ncron = "@hourly"\nfamily = "pages"\n'
    assert load_lane(write(tmp_path, PAGE, f"{LANE}{schedule}data = {{ id = 1 }}\n"), lambda: 1.0)
    with pytest.raises(ConfigError, match=says):
        load_lane(write(tmp_path, PAGE, LANE + schedule + data), lambda: 1.0)


def test_every_example_of_the_documentation_is_a_good_lane_file(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "docs" / "lane-file.md").read_text()
    blocks = [part.partition("```")[0] for part in text.split("```toml\n")[1:]]
    assert len(blocks) >= 7
    for number, block in enumerate(blocks):
        whole = block if block.startswith("lane =") else f'lane = "main"\n{block}'
        folder = tmp_path / str(number)
        folder.mkdir()
        assert load_lane(write(folder, PAGE, whole), lambda: 1.0).families
