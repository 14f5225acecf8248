"""The sandbox table at the door: what it takes, and what it refuses with line and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.lane.lane_file import parse_lane
from runtime.lane.values import parse_size
from runtime.model import ConfigError

HEAD = """lane = "main"
[families."code/change"]
handler = "sandbox"
[families."code/change".sandbox]
repo = "/srv/app.git"
agent = ["python3", "fix.py"]
"""


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        parse_lane(text, Path("/lane.toml"), loaded_at=0.0)
    return error.value.message


def test_a_whole_table_is_taken() -> None:
    lane = parse_lane(
        HEAD
        + """base = "release/1.x"
backend = "bubblewrap"
verify = [["pytest", "-q"], ["ruff", "check"]]
mounts = ["/opt/toolchain"]
env = { LANG = "C.UTF-8" }
secrets = { API_KEY = { env = "MY_API_KEY" } }
network = "none"
memory = "4G"
disk = "1G"
scratch = "64M"
pids = 100
cpus = 1.5
timeout = "30m"
""",
        Path("/lane.toml"),
        loaded_at=0.0,
    )
    box = lane.family("code/change").sandbox
    assert box is not None
    assert (box.memory, box.disk, box.timeout, box.secrets["API_KEY"].env) == (
        4 * 2**30,
        2**30,
        1800.0,
        "MY_API_KEY",
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('backend = "docker"', "backend 'docker' is not supported by this version"),
        ('network = ["api.example.com:443"]', "a list of hosts is not supported by this version"),
        ('base = "--upload-pack=x"', "can't be a branch, a tag or a SHA"),
        ('base = "a..b"', "can't be a branch, a tag or a SHA"),
        ('base = "@{-1}"', "can't be a branch, a tag or a SHA"),
        ('mounts = ["relative"]', "is not an absolute path"),
        ('mounts = ["/"]', "is not an absolute path below the root"),
        ('mounts = ["/opt/../etc"]', "is not an absolute path below the root without .."),
        ('mounts = ["/proc/1"]', "a place that every sandbox has of its own"),
        ('mounts = ["/var"]', "a place that every sandbox has of its own"),
        ('mounts = ["/run/docker.sock"]', "a place that every sandbox has of its own"),
        ('env = { GIT_DIR = "/x" }', "'GIT_DIR' can't be set"),
        ('env = { LD_PRELOAD = "/x" }', "'LD_PRELOAD' can't be set"),
        ('env = { JOELCLAW_PAYLOAD = "/x" }', "can't be set"),
        ('memory = "lots"', "is not a size like"),
        ('memory = "1G"', "disk and scratch together are more than memory"),
        ('disk = "1K"', "greater than or equal to"),
        ("pids = 2", "greater than or equal to"),
        ("verify = [[]]", "at least 1 item"),
        ('timeout = "0s"', "greater than 0"),
        ('image = "debian"', "unknown key 'image'"),
    ],
)
def test_what_can_not_be_is_refused_with_its_reason(line: str, reason: str) -> None:
    message = refused(f"{HEAD}{line}\n")
    assert reason in message
    assert message.startswith("/lane.toml:")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            HEAD.replace('"/srv/app.git"', '"srv/app.git"'),
            "must be the absolute path of a repository on this host",
        ),
        (HEAD.replace('"/srv/app.git"', '"https://x/y.git"'), "addresses are not supported by this version"),
        (HEAD.replace('["python3", "fix.py"]', "[]"), "at least 1 item"),
        (HEAD.split('[families."code/change".sandbox]', maxsplit=1)[0], "handler 'sandbox' needs 'sandbox'"),
        (HEAD.replace('"sandbox"', '"noop"'), "'sandbox' belongs to handler 'sandbox', not 'noop'"),
        (
            HEAD.replace('handler = "sandbox"', 'handler = "sandbox"\ntimeout = "5m"'),
            "the timeout of a sandbox belongs in its sandbox table",
        ),
        (
            HEAD.replace('handler = "sandbox"', 'handler = "sandbox"\nenv = { A = "b" }'),
            "the env of a sandbox belongs in its sandbox table",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(text: str, reason: str) -> None:
    assert reason in refused(text)


def test_sizes_are_powers_of_1024() -> None:
    assert [parse_size(text) for text in ("1K", "2M", "3G")] == [1024, 2 * 2**20, 3 * 2**30]
    for text in ("", "5", "1.5G", "-1M", "1GB", "9" * 30 + "M"):
        with pytest.raises(ValueError, match="is not a size"):
            parse_size(text)
