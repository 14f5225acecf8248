"""``enqueue --data @items.jsonl`` as a process on a real server: nothing twice, nothing lost, and said so."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.terminal import Terminal, heed_interrupts
from tests.servers import ValkeyServer

LANE = """
lane = "{lane}"
[families.pages]
handler = "noop"
[families.pages.schema]
type = "object"
required = ["id"]
[families.small]
handler = "noop"
backlog = {{ items = 3 }}
[families.short]
handler = "noop"
dedup_window = "1ms"
"""


class Lane:
    """The program with a lane of its own."""

    def __init__(self, folder: Path, valkey: ValkeyServer) -> None:
        self.folder = folder
        (folder / "lane.toml").write_text(LANE.format(lane="t" + secrets.token_hex(4)))
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "JOELCLAW_CONFIG_DIR": str(folder / "config"),
            "JOELCLAW_STATE_DIR": str(folder / "state"),
            "JOELCLAW_LANE": str(folder / "lane.toml"),
            "JOELCLAW_REDIS_URL": valkey.url,
            "JOELCLAW_PAYLOAD_LIMIT": "1000",
        }

    def file(self, content: str | bytes, name: str = "items.jsonl") -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def run(
        self, family: str, data: str | Path, *more: str, stdin: bytes | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Exit code and envelope."""
        given = f"@{data}" if isinstance(data, Path) else data
        done = subprocess.run(
            [sys.executable, "-m", "joelclaw_tui", "enqueue", family, "--data", given, "--json", *more],
            env=self.environment,
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert b"Traceback" not in done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, document

    def waiting(self) -> int:
        """Items of all families, as an operator reads them."""
        done = subprocess.run(
            [sys.executable, "-m", "joelclaw_tui", "queue", "list", "--json"],
            env=self.environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        families = json.loads(done.stdout)["result"]["data"]["families"]["items"]
        return sum(int(row["waiting"]) for row in families)


@pytest.fixture
def lane(module_valkey: ValkeyServer) -> Iterator[Lane]:
    folder = Path(tempfile.mkdtemp(prefix="jt-import-"))
    yield Lane(folder, module_valkey)
    shutil.rmtree(folder)


def counts(document: dict[str, Any]) -> tuple[int, int, int, int]:
    result = document["result"]
    return result["lines"], result["stored"], result["duplicates"], result["refused"]


def lines(count: int, start: int = 0) -> str:
    return "".join(f'{{"id": {n}}}\n' for n in range(start, start + count))


def test_a_second_run_of_the_same_file_adds_nothing(lane: Lane) -> None:
    path = lane.file('{"id": 1}\n\n{"id": 1}\r\n  \n' + lines(1200))
    code, first = lane.run("pages", path)
    assert (code, counts(first)) == (0, (1202, 1202, 0, 0))
    code, again = lane.run("pages", path)
    assert (code, counts(again)) == (0, (1202, 0, 1202, 0))
    assert again["result"]["import_name"] == first["result"]["import_name"]


def test_an_import_is_remembered_longer_than_the_familys_own_window(lane: Lane) -> None:
    path = lane.file(lines(3))
    assert counts(lane.run("short", path)[1]) == (3, 3, 0, 0)
    assert counts(lane.run("short", path)[1]) == (3, 0, 3, 0)


def test_another_file_is_other_work_and_a_named_one_may_grow(lane: Lane) -> None:
    assert counts(lane.run("pages", lane.file(lines(3), "a.ndjson"))[1]) == (3, 3, 0, 0)
    grown = lane.file(lines(5), "b.ndjson")
    assert counts(lane.run("pages", grown)[1]) == (5, 5, 0, 0)
    assert counts(lane.run("pages", lane.file(lines(3)), "--import-name", "log")[1]) == (3, 3, 0, 0)
    assert counts(lane.run("pages", grown, "--import-name", "log")[1]) == (5, 2, 3, 0)


BAD = (
    b'\xef\xbb\xbf{"id": 1}\n{\n{"no": 1}\n"\xff"\n{"id": "'
    + b"x" * 3000
    + b'"}\n{"id": "a\x00b"}\n{"id": 2}'
)


def test_bad_lines_are_named_and_nothing_is_stored(lane: Lane) -> None:
    path = lane.file(BAD)
    code, document = lane.run("pages", path)
    assert (code, counts(document)) == (2, (7, 0, 0, 5))
    assert document["error"]["code"] == "bad-lines"
    assert "nothing was stored" in document["error"]["message"]
    told = {row["line"]: row["reason"] for row in document["result"]["bad_lines"]}
    assert list(told) == [2, 3, 4, 5, 6]
    assert "required" in told[3]
    assert "UTF-8" in told[4]
    assert "more than" in told[5]
    code, document = lane.run("pages", path, "--skip-bad")
    assert (code, counts(document)) == (1, (7, 2, 0, 5))


def test_many_bad_lines_are_left_out_and_the_list_of_them_is_bounded(lane: Lane) -> None:
    path = lane.file("{\n" * 150 + lines(1))
    code, document = lane.run("pages", path, "--skip-bad")
    assert (code, counts(document)) == (1, (151, 1, 0, 150))
    assert (len(document["result"]["bad_lines"]), document["result"]["truncated"]) == (100, True)


def test_standard_input_needs_a_name_and_stops_at_the_first_bad_line(lane: Lane) -> None:
    code, document = lane.run("pages", "-", "--jsonl", stdin=lines(2).encode())
    assert (code, document["error"]["code"]) == (2, "usage")
    assert "--import-name" in document["fix"]
    bad = (lines(600) + "{\n" + lines(5, 600)).encode()
    code, document = lane.run("pages", "-", "--jsonl", "--import-name", "pipe", stdin=bad)
    assert (code, counts(document)) == (2, (601, 600, 0, 1))
    assert "line 601" in document["error"]["message"]
    good = bad.replace(b"{\n", b'{"id": -1}\n', 1)
    code, document = lane.run("pages", "-", "--jsonl", "--import-name", "pipe", stdin=good)
    assert (code, counts(document)) == (0, (606, 6, 600, 0))


def test_a_full_backlog_stops_it_and_says_how_to_go_on(lane: Lane) -> None:
    code, document = lane.run("small", lane.file(lines(5)))
    assert (code, counts(document)) == (1, (5, 3, 0, 0))
    assert document["error"]["code"] == "backlog-full"
    assert "after line 3" in document["error"]["message"]
    assert "nothing is stored twice" in document["fix"]
    text = (lane.folder / "lane.toml").read_text().replace("items = 3", "items = 5")
    (lane.folder / "lane.toml").write_text(text)
    code, document = lane.run("small", lane.file(lines(5)))
    assert (code, counts(document)) == (0, (5, 2, 3, 0))


def test_one_that_waits_goes_on_when_there_is_room(lane: Lane) -> None:
    path = lane.file(lines(5))
    process = subprocess.Popen(
        [sys.executable, "-m", "joelclaw_tui", "enqueue", "small", "--data", f"@{path}", "--wait", "--json"],
        env=lane.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    _until_stored(lane, 3)
    text = (lane.folder / "lane.toml").read_text().replace("items = 3", "items = 5")
    (lane.folder / "lane.toml").write_text(text)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, counts(json.loads(out))) == (0, (5, 5, 0, 0))


def test_one_that_is_interrupted_says_how_far_it_got_and_goes_on_when_run_again(lane: Lane) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "joelclaw_tui", "enqueue", "pages", "--json"),
            *("--data", "-", "--jsonl", "--import-name", "slow"),
        ],
        env=lane.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - no threads here
    )
    assert process.stdin is not None
    process.stdin.write(lines(700).encode())
    process.stdin.flush()
    _until_stored(lane, 500)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert b"Traceback" not in err
    document = json.loads(out)
    assert (process.returncode, document["error"]["code"]) == (130, "interrupted")
    assert counts(document)[1] == 500
    assert "after line 500" in document["error"]["message"]
    code, document = lane.run("pages", "-", "--jsonl", "--import-name", "slow", stdin=lines(700).encode())
    assert (code, counts(document)) == (0, (700, 200, 500, 0))


def test_at_a_terminal_it_waits_for_room_and_says_so(lane: Lane) -> None:
    path = lane.file(lines(5))
    terminal = Terminal(lane.environment, "enqueue", "small", "--data", f"@{path}")
    seen = terminal.until(b"again in")
    assert b"3 of 3 items" in seen
    terminal.type(b"\x03")
    code, said = terminal.end()
    assert code == 130
    assert b"Traceback" not in said
    assert b"after line 3" in said


def test_a_server_killed_in_the_middle_loses_and_doubles_nothing_once_it_is_run_again(
    valkey: ValkeyServer, short_dir: Path
) -> None:
    lane = Lane(short_dir, valkey)
    content = lines(1200).encode()
    again = ("pages", "-", "--jsonl", "--import-name", "cut")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "joelclaw_tui", "enqueue", "pages", "--json"),
            *("--data", "-", "--jsonl", "--import-name", "cut"),
        ],
        env=lane.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(content[:9000])
    process.stdin.flush()
    _until_stored(lane, 500)
    valkey.kill()
    out, err = process.communicate(content[9000:], timeout=30)
    assert b"Traceback" not in err
    document = json.loads(out)
    assert (process.returncode, document["error"]["code"]) == (3, "boundary-down")
    told = document["result"]["stored"]
    valkey.launch()
    code, document = lane.run(*again, stdin=content)
    assert code == 0
    assert document["result"]["stored"] + document["result"]["duplicates"] == 1200
    assert document["result"]["duplicates"] >= told
    assert lane.waiting() == 1200


def test_a_server_that_is_gone_is_exit_3_and_the_same_command_goes_on(lane: Lane) -> None:
    url = lane.environment["JOELCLAW_REDIS_URL"]
    lane.environment["JOELCLAW_REDIS_URL"] = f"unix://{lane.folder}/no.sock"
    code, document = lane.run("pages", lane.file(lines(3)))
    assert (code, counts(document), document["error"]["code"]) == (3, (3, 0, 0, 0), "boundary-down")
    lane.environment["JOELCLAW_REDIS_URL"] = url
    assert lane.run("pages", lane.file(lines(3)))[0] == 0


@pytest.mark.parametrize(
    ("family", "data", "more", "says"),
    [
        ("pages", "items", ("--dedup-key", "k"), "--dedup-key"),
        ("pages", "items", ("--import-name", ""), "import name"),
        ("nobody", "items", (), "not declared"),
        ("pages", "gone", (), "can't be read"),
        ("pages", "1", ("--skip-bad",), "--skip-bad"),
        ("pages", "1", ("--jsonl",), "--jsonl"),
        ("pages", "1", ("--ack", "paper"), "process, disk, replica"),
    ],
)
def test_what_makes_no_sense_is_refused(
    lane: Lane, family: str, data: str, more: tuple[str, ...], says: str
) -> None:
    lane.file(lines(1))
    given = {"items": lane.folder / "items.jsonl", "gone": lane.folder / "gone.jsonl"}.get(data, data)
    code, document = lane.run(family, given, *more)
    assert code == 2
    assert says in document["error"]["message"]


def test_an_empty_file_is_no_work(lane: Lane) -> None:
    assert lane.run("pages", lane.file("\n\n"))[0] == 0


def _until_stored(lane: Lane, count: int) -> None:
    """Returns once the server has so many items of the lane."""
    for _ in range(100):
        if lane.waiting() >= count:
            return
    raise AssertionError(f"{count} items were not stored")
