"""The queue beside its peers: one Valkey, one run, 200-byte payloads, rounds in turn (A, B, C, A, ...).

Each contestant is a process of its own a round, under its own Python, driven by one wire
(`bench.peers.wire`): it enqueues N jobs in its best way, shows one by its id where it can, and
processes no-op jobs with its own worker in one process. Ratios are between medians of this run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from bench.document import Measured, run, spread
from bench.peers.environments import PEERS, made, python
from bench.server import private_valkey

OURS = "ours"
PAYLOAD = "".join(f"{number:04d}" for number in range(50))
"""200 bytes."""
JOBS, ROUNDS = 5000, 5
QUICK_JOBS, QUICK_ROUNDS = 300, 1
WARM_UP = 20
"""Jobs before the timed ones: they open connections and load scripts."""
SHARE = {OURS: 4.0, "rq": 0.2}
"""Jobs processed, as a multiple of the others': so that each is timed over seconds, and none over tens."""
ROUND_WITHIN_S = 120.0
"""A contestant that takes longer over one round has failed."""
TARGETS = {
    "enqueue_vs_best_peer": "target >= 2",
    "claim_settle_vs_best_peer": "target >= 2",
    "bytes_per_item_vs_best_peer": "target <= 1",
    "enqueue_vs_floor": "1 is a pipelined empty script",
}


class PeerFailed(Exception):
    """A contestant ended or answered nonsense; the message has the end of what it said."""


@dataclass
class Samples:
    """One contestant's samples, one a round."""

    enqueue_per_s: list[float] = field(default_factory=list)
    process_per_s: list[float] = field(default_factory=list)
    bytes_per_item: list[float] = field(default_factory=list)
    enqueue_cpu_us: list[float] = field(default_factory=list)
    """Microseconds of CPU a job, of client and server together."""
    process_cpu_us: list[float] = field(default_factory=list)
    fetches: bool = False
    """One item was fetched by its id alone, and was whole."""
    versions: Mapping[str, str] = field(default_factory=dict)
    loop: str = ""


class Contestant:
    """One driver's process."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            self._process.kill()
            raise PeerFailed(self._log.read_text(errors="replace")[-400:].strip() or "no answer") from None
        return answer

    def ask(self, do: str, **more: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self._process.stdin.flush()
        return self.answer()


@contextmanager
def contestant(name: str, url: str, folder: Path) -> Iterator[Contestant]:
    program = (
        [sys.executable, "-m", "bench.ours"]
        if name == OURS
        else [str(python(name)), "-m", f"bench.peers.{name}"]
    )
    log = folder / f"{name}.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*program, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=Path(__file__).parents[1],
        )
    late = threading.Timer(ROUND_WITHIN_S, process.kill)  # then its next answer is none
    late.start()
    try:
        yield Contestant(process, log)
    except BrokenPipeError:
        raise PeerFailed(log.read_text(errors="replace")[-400:].strip() or "it ended") from None
    finally:
        late.cancel()
        process.kill()
        process.communicate()


class Meter:
    """What the server says of itself."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def _info(self, section: str) -> dict[str, Any]:
        info: Any = self._client.info(section)
        return dict(info)

    def cpu_s(self) -> float:
        info = self._info("cpu")
        return float(info["used_cpu_user"] + info["used_cpu_sys"])

    def bytes(self) -> int:
        """What the data takes: without the buffers of clients and of the append-only file."""
        info = self._info("memory")
        return int(info["used_memory"] - info["mem_clients_normal"] - info["mem_aof_buffer"])


def round_of(name: str, url: str, meter: Meter, folder: Path, jobs: int, samples: Samples) -> float | None:
    """One round of one contestant, into ``samples``. Ours also returns the floor, in calls a second."""
    with contestant(name, url, folder) as driver:
        hello = driver.answer()
        samples.versions, samples.loop = hello["versions"], hello["loop"]
        driver.ask("enqueue", count=WARM_UP, payload=PAYLOAD)
        floor = None
        if name == OURS:
            driver.ask("floor", count=WARM_UP, payload=PAYLOAD)
            floor = jobs / driver.ask("floor", count=jobs, payload=PAYLOAD)["seconds"]
        data, cpu = meter.bytes(), meter.cpu_s()
        done = driver.ask("enqueue", count=jobs, payload=PAYLOAD)
        samples.enqueue_per_s.append(jobs / done["seconds"])
        samples.enqueue_cpu_us.append((done["cpu"] + meter.cpu_s() - cpu) / jobs * 1e6)
        samples.bytes_per_item.append((meter.bytes() - data) / jobs)
        fetched = driver.ask("fetch")["payload"]
        if fetched is not None and len(fetched) != len(PAYLOAD):
            raise PeerFailed(
                f"an item that was fetched by its id is not the one that was enqueued: {fetched[:80]}"
            )
        samples.fetches = fetched is not None
        count = WARM_UP + int(jobs * SHARE.get(name, 1.0))
        if count > WARM_UP + jobs:
            driver.ask("enqueue", count=count - WARM_UP - jobs, payload=PAYLOAD)
        cpu = meter.cpu_s()
        done = driver.ask("process", count=count)
        samples.process_per_s.append(done["jobs"] / done["seconds"])
        samples.process_cpu_us.append((done["cpu"] + meter.cpu_s() - cpu) / done["jobs"] * 1e6)
        return floor


def rounds(
    url: str, folder: Path, jobs: int, count: int
) -> tuple[dict[str, Samples], list[float], dict[str, str]]:
    """Samples by contestant, the floor's samples, and what is missing and why."""
    missing = {peer: "its environment is not made: make bench-peers" for peer in PEERS if not made(peer)}
    found = {name: Samples() for name in (OURS, *PEERS) if name not in missing}
    floor: list[float] = []
    with redis.Redis.from_url(url) as client:
        meter = Meter(client)
        for _ in range(count):
            for name in list(found):
                client.execute_command("FLUSHALL", "SYNC")  # a lazy one would free memory during the round
                try:
                    calls = round_of(name, url, meter, folder, jobs, found[name])
                except PeerFailed as failure:
                    if name == OURS:
                        raise
                    missing[name] = f"it failed: {failure}"
                    del found[name]
                    continue
                if calls is not None:
                    floor.append(calls)
    return found, floor, missing


def figures_of(found: Mapping[str, Samples], floor: list[float]) -> dict[str, float]:
    def medians(what: str) -> dict[str, float]:
        return {name: statistics.median(getattr(samples, what)) for name, samples in found.items()}

    figures: dict[str, float] = {}
    for what, name in (("enqueue_per_s", "enqueue"), ("process_per_s", "claim_settle")):
        by = medians(what)
        peers = [value for contestant_name, value in by.items() if contestant_name != OURS]
        if peers:
            figures[f"{name}_vs_best_peer"] = by[OURS] / max(peers)
    for what, name in (("enqueue_cpu_us", "enqueue"), ("process_cpu_us", "claim_settle")):
        by = medians(what)
        peers = [value for contestant_name, value in by.items() if contestant_name != OURS]
        if peers:
            figures[f"{name}_cpu_vs_best_peer"] = by[OURS] / min(peers)
    by = medians("bytes_per_item")
    fetching = [by[name] for name, samples in found.items() if name != OURS and samples.fetches]
    if fetching:
        figures["bytes_per_item_vs_best_peer"] = by[OURS] / min(fetching)
    figures["enqueue_vs_floor"] = medians("enqueue_per_s")[OURS] / statistics.median(floor)
    for what in ("enqueue_per_s", "process_per_s", "bytes_per_item", "enqueue_cpu_us", "process_cpu_us"):
        figures.update({f"{name}_{what}": value for name, value in medians(what).items()})
    figures["floor_per_s"] = statistics.median(floor)
    return figures


def measure(arguments: argparse.Namespace) -> Measured:
    jobs, count = (QUICK_JOBS, QUICK_ROUNDS) if arguments.quick else (JOBS, ROUNDS)
    with tempfile.TemporaryDirectory(prefix="jb-") as name:
        folder = Path(name)
        with private_valkey(folder) as url:
            found, floor, missing = rounds(url, folder, jobs, count)
    spreads: dict[str, Any] = {
        name: {
            what: spread(getattr(samples, what))
            for what in (
                "enqueue_per_s",
                "process_per_s",
                "bytes_per_item",
                "enqueue_cpu_us",
                "process_cpu_us",
            )
        }
        for name, samples in found.items()
    }
    return Measured(
        figures=figures_of(found, floor),
        spread=spreads | {"floor_per_s": spread(floor)},
        notes={
            "jobs": jobs,
            "rounds": count,
            "fetch_by_id": [name for name, samples in found.items() if samples.fetches],
            "contestants": {
                name: {"loop": samples.loop, "versions": samples.versions} for name, samples in found.items()
            },
            "missing": missing,
        },
    )


if __name__ == "__main__":
    sys.exit(run("queue", measure, TARGETS))
