"""The lane that is walked over, and the server outside that its work calls."""

from __future__ import annotations

import time
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.lane.sink import Sink

LANE = "walk"
OFTEN_S, DIRECT_S = 20, 30
"""Periods of the two schedules that fire by themselves."""
REMOVABLE = "removable/one"
ENDLESS = "long/hang"
BOXED = "code/change"
"""Declared where this machine can hold a sandbox."""
HTTP = ("web/post", "web/flaky", "web/keyed")
"""Whose effects the sink counts."""
FILLED = ("quick/noop", *HTTP, "web/one", "slow/step", "always/fails", "trips/breaker", ENDLESS, REMOVABLE)
"""What is enqueued into."""

_FAMILIES = """
lane = "walk"

[families."quick/noop"]
handler = "noop"

[families."web/post"]
handler = "http"
url = "{sink}/post"
priority = "P1"
retry = {{ tries = 20, initial = "200ms", max = "1s" }}
timeout = "10s"

[families."web/flaky"]
handler = "http"
url = "{sink}/flaky"
retry = {{ tries = 20, initial = "100ms", max = "1s" }}
timeout = "10s"

[families."web/keyed"]
handler = "http"
url = "{sink}/keyed"
concurrency = {{ key = "customer", max = 1 }}
retry = {{ tries = 20, initial = "200ms", max = "1s" }}
timeout = "10s"

[families."web/one"]
handler = "command"
command = ["sleep", "0.7"]
priority = "P3"
max_in_flight = 1

[families."slow/step"]
handler = "command"
command = ["sleep", "1.5"]
retry = {{ tries = 5, initial = "100ms" }}

[families."always/fails"]
handler = "command"
command = ["sh", "-c", "echo boom >&2; exit 3"]
retry = {{ tries = 1 }}

[families."trips/breaker"]
handler = "command"
command = ["false"]
retry = {{ tries = 1 }}
breaker = {{ failures = 3, window = "10m" }}

[families."long/hang"]
handler = "command"
command = ["sleep", "3600"]
timeout = "50m"
max_in_flight = 3
retry = {{ tries = 1 }}
"""
_REMOVABLE = """
[families."removable/one"]
handler = "noop"
"""
_SCHEDULES = f"""
[schedules.often]
cron = "@every {OFTEN_S}s"
family = "quick/noop"

[schedules.direct]
cron = "@every {DIRECT_S}s"
family = "web/post"
via = "restate"

[schedules.nightly]
cron = "0 {{minute}} 3 * * *"
family = "quick/noop"

[schedules.by-hand]
cron = "@manually"
family = "always/fails"
overlap = "allow"
"""
BAD = '\n[families."typo"]\nhandlr = 1\n'


_BOXED = """
[families."code/change"]
handler = "sandbox"
max_in_flight = 2
retry = {{ tries = 3, initial = "200ms" }}
[families."code/change".sandbox]
repo = "{repo}"
agent = ["sh", "-c", "cat > payload.txt; sleep 1; echo 42 > answer.txt"]
verify = [["grep", "42", "answer.txt"]]
timeout = "2m"
memory = "256M"
disk = "32M"
scratch = "8M"
"""


def lane_text(sink: str, repo: Path | None, *, removable: bool = True, minute: int = 0) -> str:
    """``repo``: of the sandboxed family; None: there is none. ``minute``: of the nightly schedule, which an
    edit moves."""
    families = _FAMILIES.format(sink=sink) + (_REMOVABLE if removable else "")
    families += "" if repo is None else _BOXED.format(repo=repo)
    return families + _SCHEDULES.format(minute=minute)


def declared(text: str) -> dict[str, Any]:
    """The file as TOML has it."""
    return tomllib.loads(text)


class WalkSink(Sink):
    """Also remembers when each key was called; ``/flaky`` refuses the first call of each."""

    def __init__(self) -> None:
        super().__init__()
        self.times: dict[str, list[float]] = defaultdict(list)

    async def take(self, request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"]
        self.times[key].append(time.time())
        if request.path == "/flaky" and len(self.times[key]) == 1:
            return web.Response(status=503, text="not yet")
        return await super().take(request)
