"""The program as a process, on real servers: streams, exit codes, envelopes, interrupts."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.truth.document import Snapshot
from tests.cli.terminal import Terminal, heed_interrupts
from tests.lane.processes import LaneProcesses
from tests.servers import RestateServer, ValkeyServer

LANE = """
lane = "cli"
[families."content/updated"]
handler = "noop"
priority = "P1"
[families."content/removed"]
handler = "noop"
[families.feeds]
handler = "noop"
"""


@pytest.fixture(scope="module")
def lane(module_valkey: ValkeyServer, module_restate: RestateServer) -> Iterator[LaneProcesses]:
    """Servers and a lane file, and no role: what is enqueued stays."""
    folder = Path(tempfile.mkdtemp(prefix="jt-cli-"))
    processes = LaneProcesses(folder, module_valkey, module_restate, LANE)
    (folder / "config").mkdir()
    (folder / "config" / "config.toml").write_text("[profiles.other]\n")
    yield processes
    processes.stop()
    shutil.rmtree(folder)


@pytest.fixture
def nowhere(lane: LaneProcesses, tmp_path: Path) -> LaneProcesses:
    """The same lane where no server listens."""
    lost = LaneProcesses.__new__(LaneProcesses)
    lost.__dict__.update(lane.__dict__)
    lost.environment = {
        **lane.environment,
        "JOELCLAW_REDIS_URL": f"unix://{tmp_path}/no.sock",
        "JOELCLAW_RESTATE_INGRESS_URL": f"unix:{tmp_path}/no.sock",
        "JOELCLAW_RESTATE_ADMIN_URL": f"unix:{tmp_path}/no.sock",
        "JOELCLAW_STATE_DIR": str(tmp_path / "state"),
    }
    return lost


def envelope(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(done.stdout)
    assert set(document) == {"ok", "command", "result", "error", "fix", "next_actions"}
    assert document["ok"] == (done.returncode == 0)
    return document


def enqueue(lane: LaneProcesses, family: str, *more: str) -> str:
    done = lane.command("enqueue", family, *more)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rb"[0-9a-z]{26}-[a-z2-7]{5}\n", done.stdout)
    return done.stdout.decode().strip()


# --- --once ---


def test_once_prints_the_document_and_nothing_else_on_stdout(lane: LaneProcesses) -> None:
    done = lane.command("--once", "--format", "json")
    snapshot = Snapshot.model_validate_json(done.stdout)
    assert (snapshot.lane, snapshot.boundaries.pressure.status) == ("cli", "degraded")
    assert done.stderr == b""
    assert done.returncode == 1  # no drainer and no worker: attention


def test_once_as_table_shows_the_same_lane_in_80_columns(lane: LaneProcesses) -> None:
    done = lane.command("--once")
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("lane cli · profile local")
    assert max(len(line) for line in lines) <= 80
    assert b"\x1b" not in done.stdout


def test_once_prints_the_document_also_when_every_boundary_is_down(nowhere: LaneProcesses) -> None:
    done = nowhere.command("--once", "--format", "jsonl")
    snapshot = Snapshot.model_validate_json(done.stdout)
    assert done.returncode == 3
    assert snapshot.boundaries.pressure.status == "down"
    assert snapshot.boundaries.pressure.data is None


def test_looking_leaves_no_file_and_no_process(nowhere: LaneProcesses, tmp_path: Path) -> None:
    for words in (["--once"], ["queue", "list"], ["runs", "list"], ["audit"], ["config", "show"], ["doctor"]):
        nowhere.command(*words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--once"], ["queue", "list"], ["families", "check"], ["--help"]])
def test_no_command_ever_loads_textual(lane: LaneProcesses, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "joelclaw_tui", *words],
        env=lane.environment, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    loaded = {line.rpartition(b"|")[2].strip() for line in done.stderr.splitlines() if b"|" in line}
    assert b"joelclaw_tui.cli.main" in loaded
    assert not {
        name for name in loaded if name.split(b".")[0] == b"textual" or name == b"joelclaw_tui.tui.app"
    }


def test_watch_prints_a_document_a_line_until_interrupted(lane: LaneProcesses) -> None:
    process = _start(lane, "--once", "--format", "jsonl", "--watch", "0.2")
    assert process.stdout is not None
    first, second = (Snapshot.model_validate_json(process.stdout.readline()) for _ in range(2))
    assert second.generated_at > first.generated_at
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (130, b"")


INTERRUPTED_WHILE_LOADING = """
import os, signal, sys

class Interrupt:
    module = sys.argv.pop(1)

    def find_spec(self, name, path=None, target=None):
        if name == self.module:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
from joelclaw_tui.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    "module",
    [
        "argparse",
        "runtime.model",
        "pydantic",
        "runtime.lane.lane_file",
        "redis.asyncio",
        "runtime.roles.operator",
    ],
)
def test_an_interrupt_while_modules_load_is_quiet(lane: LaneProcesses, module: str) -> None:
    process = _start(lane, "--once", program=("-c", INTERRUPTED_WHILE_LOADING, module))
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout, stderr) == (130, b"", b"")


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_reader_that_leaves_is_no_error(lane: LaneProcesses, form: str) -> None:
    pipe = f"{sys.executable} -m joelclaw_tui --once --format {form} --pane durable | head -1"
    done = subprocess.run(
        ["bash", "-c", pipe], env=lane.environment, capture_output=True, timeout=60, check=False
    )
    assert b"Traceback" not in done.stderr
    assert b"Broken" not in done.stderr
    process = _start(lane, "--once", "--format", "jsonl", "--watch", "0.2")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(20) == 1  # the last snapshot's own code
    assert process.stderr is not None
    assert process.stderr.read() == b""


def test_a_full_disk_is_told_in_one_line(lane: LaneProcesses) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "joelclaw_tui", "config", "schema"],
            env=lane.environment, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert b"stdout can't be written" in done.stderr
    assert b"Traceback" not in done.stderr


def to_a_full_disk(lane: LaneProcesses, *words: str) -> subprocess.CompletedProcess[bytes]:
    with Path("/dev/full").open("wb") as full:
        return subprocess.run(
            [sys.executable, "-m", "joelclaw_tui", *words],
            env=lane.environment, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip


@pytest.mark.parametrize("words", [["--help"], ["queue", "pause", "--help"], ["--version"]])
def test_help_to_a_full_disk_is_told_in_one_line(lane: LaneProcesses, words: list[str]) -> None:
    done = to_a_full_disk(lane, *words)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: stdout can't be written")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_what_was_done_is_told_even_where_its_receipt_can_not_be_printed(
    lane: LaneProcesses, more: list[str]
) -> None:
    done = to_a_full_disk(lane, "enqueue", "feeds", *more)
    assert done.returncode == 1
    told = done.stderr.decode().replace("\n       ", " ")
    found = re.search(r"([0-9a-z]{26}-[a-z2-7]{5}) was enqueued; but stdout can't be written", told)
    assert found, told
    assert lane.command("queue", "show", found[1]).returncode == 0
    done = to_a_full_disk(lane, "queue", "pause", "feeds", "--yes", *more)
    assert b"(receipt " in done.stderr
    assert b"don't repeat it" in done.stderr
    assert paused(lane) == {"feeds"}
    assert lane.command("queue", "resume", "feeds", "--yes").returncode == 0


def test_the_id_of_enqueued_work_is_told_where_nobody_reads_stdout(lane: LaneProcesses) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "joelclaw_tui", "enqueue", "feeds"],
        env=lane.environment, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 0
    assert re.match(rb"[0-9a-z]{26}-[a-z2-7]{5} was enqueued; stdout is closed", done.stderr)


# --- a server that hangs ---


def test_with_redis_hung_what_lives_is_unknown_and_a_restart_is_proposed(
    lane: LaneProcesses, module_valkey: ValkeyServer
) -> None:
    module_valkey.signal(signal.SIGSTOP)
    try:
        looked = lane.command("--once")
        refused = lane.command("enqueue", "feeds", "--json")
    finally:
        module_valkey.signal(signal.SIGCONT)
    shown = looked.stdout.decode()
    assert looked.returncode == 3
    assert "drainers unknown · workers unknown · gateways unknown" in shown
    assert "0 drainers" not in shown
    assert "Redis is unknown" in shown
    error = envelope(refused)
    assert (refused.returncode, error["error"]["code"]) == (3, "timed-out")
    assert "hangs" in error["error"]["message"]
    down, up = re.findall(r"`([^`]+ (?:down|up))`", error["fix"])
    for command, word in ((down, "down"), (up, "up")):
        assert command.endswith(f" -m joelclaw_tui --lane {lane.lane_file} {word}")


# --- how it was called ---


def test_proposed_commands_can_be_typed_as_they_stand(lane: LaneProcesses) -> None:
    """Not on PATH: the way in which it was called is the way that works."""
    lane.environment["PATH"] = "/usr/bin:/bin"
    called = Path(sys.executable).parent / "joelclaw-tui"
    try:
        shown = subprocess.run(
            [".venv/bin/joelclaw-tui", "--once"], executable=called, cwd=called.parents[2],
            env={**lane.environment, "COLUMNS": "160"}, capture_output=True, timeout=60, check=False,
        ).stdout.decode()  # fmt: skip
        document = lane.command("--once", "--format", "json").stdout
    finally:
        lane.environment["PATH"] = os.environ.get("PATH", os.defpath)
    proposed = re.findall(r"\$ (\S+) ", shown)
    assert proposed
    assert all(program.endswith("bin/joelclaw-tui") for program in proposed)
    first = Snapshot.model_validate_json(document).verdict.findings[0].next_actions[0]
    assert f" -m joelclaw_tui --lane {lane.lane_file} " in first.command


def test_the_gateway_s_address_and_token_are_printed_for_a_shell(lane: LaneProcesses) -> None:
    address = lane.command("config", "show", "gateway")
    assert address.stdout == f"http://127.0.0.1:{lane.gateway_port}\n".encode()
    assert b"--show-token" in address.stderr
    assert lane.token.encode() not in address.stdout + address.stderr
    assert lane.token not in lane.command("config", "show", "gateway", "--json").stdout.decode()
    token = lane.command("config", "show", "gateway", "--show-token")
    assert (token.stdout, token.stderr) == (f"{lane.token}\n".encode(), b"")
    assert lane.command("config", "show", "--show-token").returncode == 2


def test_before_the_first_up_the_gateway_has_no_address(lane: LaneProcesses, tmp_path: Path) -> None:
    new = LaneProcesses.__new__(LaneProcesses)
    left_out = ("JOELCLAW_GATEWAY_BIND", "JOELCLAW_GATEWAY_TOKEN")
    environment = {key: value for key, value in lane.environment.items() if key not in left_out}
    new.environment = {**environment, "JOELCLAW_STATE_DIR": str(tmp_path / "state")}
    done = new.command("config", "show", "gateway", "--json")
    assert (done.returncode, envelope(done)["error"]["code"]) == (2, "config")
    assert f" -m joelclaw_tui --lane {lane.lane_file} up`" in envelope(done)["fix"]


# --- intake ---


def test_enqueued_work_is_listed_and_shown(lane: LaneProcesses) -> None:
    item_id = enqueue(lane, "feeds", "--data", '{"page": 7}', "--priority", "P0", "--dedup-key", "seven")
    listed = envelope(lane.command("queue", "list", "feeds", "--json"))
    assert item_id in [item["item_id"] for item in listed["result"]["items"]]
    shown = envelope(lane.command("queue", "show", item_id, "--json"))["result"]
    assert (shown["payload"], shown["priority"], shown["origin"]) == ('{"page": 7}', "P0", "cli")
    assert item_id.encode() in lane.command("queue", "list", "feeds").stdout
    again = envelope(lane.command("enqueue", "feeds", "--dedup-key", "seven", "--json"))
    assert again["result"] == {"item_id": item_id, "duplicate": True, "family": "feeds"}


def test_a_familys_last_day_is_shown_and_what_nobody_recorded_is_unknown(lane: LaneProcesses) -> None:
    result = envelope(lane.command("queue", "show", "content/updated", "--json"))["result"]
    assert (result["family"], result["minutes"], len(result["points"])) == ("content/updated", 1440, 1440)
    assert {point["waiting"] for point in result["points"]} == {None}
    told = lane.command("queue", "show", "content/updated").stdout.decode()
    assert "1,440 of 1,440 minutes unknown" in told and "·····" in told


def test_the_payload_comes_from_a_file_or_standard_input(lane: LaneProcesses, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_bytes(b'["\xc3\xa9"]')
    for words, stdin in ((["--data", f"@{tmp_path}/data.json"], None), (["--data", "-"], b'["\xc3\xa9"]')):
        done = lane.command("enqueue", "feeds", *words, stdin=stdin)
        item_id = done.stdout.decode().strip()
        assert envelope(lane.command("queue", "show", item_id, "--json"))["result"]["payload"] == '["é"]'


def test_an_endless_standard_input_is_not_read_to_its_end(lane: LaneProcesses) -> None:
    with Path("/dev/zero").open("rb") as endless:
        done = subprocess.run(
            [sys.executable, "-m", "joelclaw_tui", "enqueue", "feeds", "--data", "-"],
            env=lane.environment, stdin=endless, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert b"standard input has more than 1,048,576 bytes" in done.stderr
    assert b"1,048,577" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["enqueue", "no/such"], "unknown-family"),
        (["enqueue", "\x1b[31m\u202e"], "unknown-family"),
        (["enqueue", "feeds", "--data", "{"], "bad-payload"),
        (["enqueue", "feeds", "--data", "@/no/such/file"], "usage"),
        (["enqueue", "feeds", "--data", "@/"], "usage"),
        (["enqueue", "feeds", "--read-only"], "read-only"),
        (["queue", "show", "not-an-id"], "not-found"),
        (["queue", "show", "\x1b[31m"], "not-found"),
        (["queue", "list", "no/such"], "unknown-family"),
        (["queue", "pause", "no/such", "--yes"], None),
        (["queue", "replay", "feeds", "01" + "0" * 24 + "-aaaaa"], "usage"),
        (["runs", "show", "not-a-run"], "not-found"),
        (["--profile", "nope", "queue", "list"], "config"),
        (["--lane", "/no/lane.toml", "queue", "list"], "config"),
    ],
)
def test_bad_input_is_exit_2_with_what_to_do_and_no_traceback(
    lane: LaneProcesses, words: list[str], code: str | None
) -> None:
    done = lane.command(*words, "--json")
    told = envelope(done)
    assert done.returncode == 2, told
    if code is not None:
        assert told["error"]["code"] == code
    assert told["fix"]
    for_people = lane.command(*words)
    assert for_people.returncode == 2
    assert for_people.stdout == b""
    assert b"fix:" in for_people.stderr
    assert b"Traceback" not in for_people.stderr
    assert not set(for_people.stderr.decode()) & set("\x1b\u202e")


def test_with_redis_down_work_is_refused_with_exit_3(nowhere: LaneProcesses) -> None:
    done = nowhere.command("enqueue", "feeds", "--json")
    assert (done.returncode, envelope(done)["error"]["code"]) == (3, "boundary-down")
    assert nowhere.command("queue", "list").returncode == 3
    assert nowhere.command("runs", "list").returncode == 3


# --- actions ---


def paused(lane: LaneProcesses) -> set[str]:
    rows = envelope(lane.command("queue", "list", "--json"))["result"]["data"]["families"]["items"]
    return {row["name"] for row in rows if row["paused"] is not None}


def test_a_pause_is_previewed_then_done_then_lifted_and_receipted(lane: LaneProcesses) -> None:
    preview = envelope(lane.command("queue", "pause", "content/*", "--dry-run", "--json"))["result"][
        "preview"
    ]
    assert sorted(preview["ids"]) == ["content/removed", "content/updated"]
    assert paused(lane) == set()
    done = lane.command("queue", "pause", "content/*", "--for", "2h", "--reason", "upkeep", "--yes", "--json")
    receipt = envelope(done)["result"]["receipt"]
    assert [result["outcome"] for result in receipt["results"]] == ["done", "done"]
    assert (receipt["origin"], receipt["reason"]) == ("cli", "upkeep")
    assert paused(lane) == {"content/removed", "content/updated"}
    assert lane.command("queue", "resume", "content/*", "--yes").returncode == 0
    assert paused(lane) == set()
    summaries = [entry["action"] for entry in envelope(lane.command("audit", "--json"))["result"]["receipts"]]
    assert summaries[:2] == ["resume", "pause"]


def test_without_a_terminal_more_than_one_thing_needs_yes(lane: LaneProcesses) -> None:
    lane.environment["CI"] = "true"
    try:
        done = lane.command("queue", "pause", "content/*", "--json")
    finally:
        del lane.environment["CI"]
    assert (done.returncode, envelope(done)["error"]["code"]) == (2, "needs-consent")
    assert paused(lane) == set()


def test_max_bounds_what_an_action_touches(lane: LaneProcesses) -> None:
    preview = envelope(lane.command("queue", "pause", "*", "--max", "1", "--dry-run", "--json"))["result"][
        "preview"
    ]
    assert (len(preview["ids"]), preview["matching"]) == (1, 3)


def test_read_only_mode_refuses_without_asking(lane: LaneProcesses) -> None:
    done = lane.command("--read-only", "queue", "pause", "content/*", "--json")
    assert (done.returncode, envelope(done)["error"]["code"]) == (2, "read-only")
    assert paused(lane) == set()


# --- at a terminal ---


@pytest.mark.parametrize(
    ("keys", "code", "is_paused"),
    [(b"n\n", 1, False), (b"\n", 1, False), (b"\x03", 130, False), (b"y\n", 0, True)],
)
def test_a_person_is_asked_with_the_preview_in_view(
    lane: LaneProcesses, keys: bytes, code: int, is_paused: bool
) -> None:
    terminal = Terminal(lane.environment, "queue", "pause", "feeds")
    seen = terminal.until(b"[y/N]")
    assert b"feeds" in seen
    terminal.type(keys)
    ended, said = terminal.end()
    assert ended == code, said
    assert b"Traceback" not in said
    assert paused(lane) == ({"feeds"} if is_paused else set())
    if is_paused:
        assert lane.command("queue", "resume", "feeds").returncode == 0


def test_colour_is_for_terminals_that_want_it(lane: LaneProcesses) -> None:
    _, coloured = Terminal(lane.environment, "--once").end()
    assert b"\x1b[" in coloured
    lane.environment["NO_COLOR"] = "1"
    try:
        _, plain = Terminal(lane.environment, "--once").end()
    finally:
        del lane.environment["NO_COLOR"]
    assert b"\x1b[" not in plain


def _start(
    lane: LaneProcesses, *words: str, program: tuple[str, ...] = ("-m", "joelclaw_tui")
) -> subprocess.Popen[bytes]:
    """Started so that SIGINT works in it even where the tests' own parent ignores it."""
    return subprocess.Popen(
        [sys.executable, *program, *words],
        env=lane.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - no threads here
    )
