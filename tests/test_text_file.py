"""Files that people write: whatever stands at their path, reading ends at once and says what is wrong."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from joelclaw_tui.tui.theming import load_themes
from runtime.common.text_file import UnreadableFile, read_text_file
from runtime.lane.lane_file import LANE_BYTES_MOST, LaneSource, find_lane, load_lane, parse_lane
from runtime.model import ConfigError
from runtime.settings import Settings, load_settings

LANE = 'lane = "main"\n[families."a/b"]\nhandler = "noop"\n'


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def bound_socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))


KINDS = [(fifo, "FIFO"), (folder, "folder"), (device, "device"), (bound_socket, "socket")]


@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_what_is_no_regular_file_is_refused_at_once_and_the_last_good_lane_goes_on(
    short_dir: Path, make: Callable[[Path], None], kind: str
) -> None:
    path = short_dir / "lane.toml"
    path.write_text(LANE)
    source = LaneSource(path, lambda: 1.0, last_good=short_dir / "kept.toml", keep=True)
    path.unlink()
    make(path)
    assert not source.refresh()
    assert source.error is not None and f"is not a regular file (it is a {kind})" in source.error
    assert set(source.current.families) == {"a/b"}
    started_now = LaneSource(path, lambda: 2.0, last_good=short_dir / "kept.toml")
    assert started_now.error == source.error
    assert set(started_now.current.families) == {"a/b"}
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()
    path.write_text(LANE.replace("a/b", "a/c"))
    assert source.refresh()
    assert source.error is None and set(source.current.families) == {"a/c"}


@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_schemas_settings_and_themes_of_another_kind_are_refused_too(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], kind: str
) -> None:
    monkeypatch.setenv("JOELCLAW_CONFIG_DIR", str(short_dir))
    make(short_dir / "page.json")
    with pytest.raises(ConfigError, match=rf"page.json is not a regular file \(it is a {kind}\)"):
        parse_lane(LANE + 'schema = "page.json"\n', short_dir / "lane.toml", loaded_at=1.0)
    (short_dir / "themes").mkdir()
    make(short_dir / "themes" / "odd.toml")
    (message,) = load_themes().messages
    assert f"is not a regular file (it is a {kind})" in message
    make(short_dir / "config.toml")
    with pytest.raises(ConfigError, match=rf"config.toml is not a regular file \(it is a {kind}\)"):
        load_settings()


def test_a_file_of_another_kind_here_is_not_passed_over_for_another_lane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOELCLAW_CONFIG_DIR", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "lane.toml").write_text(LANE)
    fifo(tmp_path / "lane.toml")
    assert find_lane(Settings()) == tmp_path / "lane.toml"


@pytest.mark.parametrize("words", [["--once"], ["families", "check"], ["families", "list"]])
def test_commands_answer_while_a_fifo_stands_there(tmp_path: Path, words: list[str]) -> None:
    fifo(tmp_path / "lane.toml")
    done = subprocess.run(
        [sys.executable, "-m", "joelclaw_tui", *words, "--lane", str(tmp_path / "lane.toml")],
        env={**os.environ, "JOELCLAW_STATE_DIR": str(tmp_path / "state")},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert b"is not a regular file" in b" ".join(done.stderr.split())


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "lane.toml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match=f"has more than {LANE_BYTES_MOST:,} bytes"):
        load_lane(path, lambda: 1.0)


def test_a_file_that_grows_while_it_is_read_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a lane file may be a good one, without half of its families."""
    path = tmp_path / "lane.toml"
    path.write_text(LANE)
    real, looks = os.fstat, threading.local()

    def fstat(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        if not getattr(looks, "wrote", False) and status.st_ino == path.stat().st_ino:
            looks.wrote = True
            with path.open("a") as file:
                file.write("[families.more]\n")
        return status

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(UnreadableFile, match="was written to while it was read"):
        read_text_file(path, most=1000)


def test_a_byte_order_mark_in_front_is_no_part_of_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOELCLAW_CONFIG_DIR", str(tmp_path))
    mark = "\ufeff"
    (tmp_path / "config.toml").write_text(mark + "refresh_s = 7\n", encoding="utf-8")
    assert load_settings().refresh_s == 7
    (tmp_path / "page.json").write_text(mark + '{"type": "object"}', encoding="utf-8")
    lane = tmp_path / "lane.toml"
    lane.write_text(mark + LANE + 'schema = "page.json"\n', encoding="utf-8")
    assert set(load_lane(lane, lambda: 1.0).families) == {"a/b"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_another_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "lane.toml"
    path.write_bytes(LANE.encode(encoding))
    with pytest.raises(ConfigError, match=rf"is {encoding.upper()}, not UTF-8: save it as UTF-8"):
        load_lane(path, lambda: 1.0)


def test_a_byte_that_is_no_utf_8_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "lane.toml"
    path.write_bytes(LANE.encode() + b"# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"is not UTF-8: byte \d+, in line 4"):
        load_lane(path, lambda: 1.0)
