"""The lane file: what is accepted, and how a bad edit is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.lane.lane_file import LaneSource, parse_duration, parse_lane
from runtime.model import ConfigError, Priority, UnknownFamily

GOOD = """\
lane = "main"

[families."content/updated"]
priority = "P1"
handler = "http"
url = "http://127.0.0.1:3000/hooks"
retry = { tries = 3, initial = "100ms" }
timeout = "1m30s"

[families.notes]
handler = "command"
command = ["git", "status"]
env = { TOKEN = { env = "MY_TOKEN" } }
"""


def test_a_lane_is_parsed_into_typed_values() -> None:
    lane = parse_lane(GOOD, Path("lane.toml"), loaded_at=1.0)
    family = lane.family("content/updated")
    assert (lane.name, family.priority, family.timeout, family.retry.initial) == (
        "main",
        Priority.P1,
        90.0,
        0.1,
    )
    assert {name: rules.max_in_flight for name, rules in lane.rules.items()} == {
        "content/updated": 200,
        "notes": 200,
    }


@pytest.mark.parametrize(
    ("edit", "line", "says"),
    [
        ('priority = "P1"|priority = "P9"', 4, "P0, P1, P2, P3"),
        ('handler = "http"|handler = "htp"', 5, "handler"),
        ('timeout = "1m30s"|timeot = "1m"', 8, "unknown key 'timeot'"),
        ('timeout = "1m30s"|timeout = "-5s"', 8, "length of time"),
        ('timeout = "1m30s"|timeout = 5', 8, "length of time"),
        ("tries = 3|tries = 0", 7, "tries"),
        ('url = "http://127.0.0.1:3000/hooks"|url = "ftp://x"', 6, "http"),
        ('url = "http://127.0.0.1:3000/hooks"|max_in_flight = 5', 3, "needs 'url'"),
        ('lane = "main"|lane = "Main Lane"', 1, "lane"),
        ('command = ["git", "status"]|command = []', 12, "command"),
        ("[families.notes]|[families.Notes]", 10, "lower case"),
        ('timeout = "1m30s"|plan = "nightly"', 8, "not supported by this version"),
        ('handler = "command"|plan = "nightly"', 11, "plan: plans are not supported by this version"),
        ('handler = "command"|handeler = "command"', 11, "unknown key 'handeler'"),
        ('handler = "command"|', 10, "handler: is missing"),
        (
            "[families.notes]|[families.faajb4]\nhandler='noop'\n[families.fabaih]",
            12,
            "same id tag as 'faajb4'",
        ),
        ("[families.notes]|[families.sub.retry]\ntries = 3\n[families.notes]", 10, "handler: is missing"),
        ('lane = "main"|lane = "main', 1, "TOML"),
        ('env = { TOKEN =|env = { "a=b" =', 13, "'a=b' can't be the name of a variable"),
        ('env = { TOKEN =|env = { "" =', 13, "'' can't be the name of a variable"),
        ('env = { TOKEN =|env = { "a\\u0000" =', 13, "can't be the name of a variable"),
        ('{ env = "MY_TOKEN" }|"a\\u0000b"', 13, "'TOKEN' has a NUL byte"),
        ("env = { TOKEN =|env = { JOELCLAW_PAYLOAD =", 13, "'JOELCLAW_PAYLOAD' can't be set"),
        ('timeout = "1m30s"|env = { A = "1" }', 3, "'env' belongs to handlers 'command' and 'python'"),
    ],
)
def test_a_bad_lane_is_refused_with_line_and_reason(edit: str, line: int | None, says: str) -> None:
    old, new = edit.split("|")
    with pytest.raises(ConfigError) as refused:
        parse_lane(GOOD.replace(old, new, 1), Path("lane.toml"), loaded_at=1.0)
    assert says in refused.value.message
    assert refused.value.fix
    if line is not None:
        assert f"lane.toml:{line}" in refused.value.message or f"line {line}" in refused.value.message


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("Content-Length = '5'", "it says how the request is carried"),
        ("transfer-encoding = 'chunked'", "it says how the request is carried"),
        ("Connection = 'close'", "it says how the request is carried"),
        ("'' = 'a'", "a header needs a name"),
        ("'X Y' = 'a'", "is no header's name"),
        ("'X:' = 'a'", "is no header's name"),
        ('"X\\r\\nY" = "a"', "is no header's name"),
        ("'X-\u00e9' = 'a'", "is no header's name"),
        ('X-Own = "a\\r\\nX-More: b"', "it has a line break"),
        ('X-Own = "a\\u0000"', "it has a control character"),
        ("X-Own = 'caf\u00e9'", "it has characters that are not ASCII"),
        (f"X-Own = '{'x' * 9000}'", "it is longer than 8,000 characters"),
        ("x-own = 'a'\nX-OWN = 'b'", "are the same header"),
        ("X-Own = 5", "headers.X-Own"),
    ],
)
def test_a_header_that_can_not_be_sent_is_refused_by_name_and_line(header: str, says: str) -> None:
    text = f"""lane = "main"
[families.a]
handler = "http"
url = "http://127.0.0.1/"
[families.a.headers]
X-Fine = "a"
Host = "virtual.example"
Authorization = {{ env = "TOKEN" }}
{header}
"""
    with pytest.raises(ConfigError) as refused:
        parse_lane(text, Path("lane.toml"), loaded_at=1.0)
    message = refused.value.message
    assert says in message
    assert "function-" not in message
    name = header.partition(" =")[0].strip("'\"")
    line = 5 if "\n" in header else 9
    if name and "\\" not in name:
        assert f"lane.toml:{line}: families.a.headers" in message, message
        assert name in message


def test_a_bad_edit_leaves_the_last_good_lane_going(tmp_path: Path) -> None:
    path = tmp_path / "lane.toml"
    path.write_text(GOOD)
    source = LaneSource(path, lambda: 5.0)
    first = source.current
    path.write_text(GOOD + "nonsense")
    assert not source.refresh()
    assert source.current is first
    assert source.error is not None and "lane.toml" in source.error
    path.write_text(GOOD.replace("1m30s", "2m"))
    assert source.refresh()
    assert source.error is None
    assert source.current.family("content/updated").timeout == 120
    path.unlink()
    assert not source.refresh()
    assert source.error is not None and "does not exist" in source.error


def test_a_bad_file_still_lets_one_look_and_act_on_the_lane_that_the_roles_last_loaded(
    tmp_path: Path,
) -> None:
    path, kept = tmp_path / "lane.toml", tmp_path / "state" / "lane.toml"
    path.write_text(GOOD)
    LaneSource(path, lambda: 5.0, last_good=kept, keep=True)
    path.write_text(GOOD + "x = [")
    operator = LaneSource(path, lambda: 6.0, last_good=kept)
    assert operator.error is not None and "not valid TOML" in operator.error
    assert set(operator.current.families) == {"content/updated", "notes"}
    path.write_text(GOOD)
    assert not operator.refresh()
    assert operator.error is None
    kept.write_text("damaged")
    path.write_text("x = [")
    with pytest.raises(ConfigError, match="not valid TOML"):
        LaneSource(path, lambda: 7.0, last_good=kept)


def test_looking_keeps_no_copy_of_the_lane(tmp_path: Path) -> None:
    path, kept = tmp_path / "lane.toml", tmp_path / "state" / "lane.toml"
    path.write_text(GOOD)
    LaneSource(path, lambda: 5.0, last_good=kept)
    assert not kept.exists()


def test_a_running_lane_is_not_renamed(tmp_path: Path) -> None:
    path = tmp_path / "lane.toml"
    path.write_text(GOOD)
    source = LaneSource(path, lambda: 5.0)
    path.write_text(GOOD.replace('lane = "main"', 'lane = "other"'))
    assert not source.refresh()
    assert source.current.name == "main"
    assert source.error is not None and "renamed" in source.error


def test_an_unknown_family_is_told_which_ones_there_are() -> None:
    lane = parse_lane(GOOD, Path("lane.toml"), loaded_at=1.0)
    with pytest.raises(UnknownFamily) as unknown:
        lane.family("content/update")
    assert unknown.value.fix is not None and "content/updated" in unknown.value.fix


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("90s", 90), ("1h30m", 5400), ("7d", 604800), ("1.5s", 1.5)]
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "-5s", "5 s", "s", "1e3s", "5s ", "٣s"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError, match="length of time"):
        parse_duration(text)
