"""Which findings the servers, read directly, warrant: what must be told, and what may be. All else is false.

Findings are named by code and subject, and a boundary's by its name: what they say is not looked at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.lane.walk.comparing import PERIODS, Difference, figures
from tests.lane.walk.declared import LANE
from tests.lane.walk.direct import US, DurableSeen, PressureSeen
from tests.lane.walk.doors import CONSOLE, ONCE, Told

Name = tuple[str, str]
"""Code and subject."""
ROLES = ("drainer", "worker", "gateway", "clock")
SERVERS = {"valkey": "pressure", "restate": "durable"}
STUCK_AFTER_S = 15.0
MINUTE_S = 60.0
MANY_TRIES = 3
UNREADABLE = ("boundary-down", "boundary-unknown")
FAILED = ("failed", "killed", "dead", "quarantined")
_ROLE_GONE = {
    "drainer": "no-drainer",
    "worker": "no-worker",
    "gateway": "no-gateway",
    "clock": "no-clock-role",
}


@dataclass(frozen=True)
class LaneState:
    """What the walk itself did to lane file and parts, which no server tells."""

    path: str
    sha256: str
    """Of the last good file."""
    families: dict[str, Any]
    schedules: dict[str, Any]
    refused: bool
    """The file on disk is a bad one."""
    broken: str | None
    """The role or server that is killed or stopped now, or is coming back."""
    once_broken: bool = False
    """Something was broken before."""


@dataclass
class Failures:
    """Every failure that was ever on record, since a replay that succeeds takes it off."""

    seen: dict[tuple[str, str, int], tuple[str, float]] = field(default_factory=dict)
    """(family, item, attempt) -> (outcome, when in seconds)."""

    def note(self, pressure: PressureSeen) -> None:
        for name, family in pressure.families.items():
            for item_id, lines in family.hashes["fails"].items():
                for line in lines.split("\n"):
                    row = json.loads(line)
                    key = name, item_id, int(row["attempt"])
                    self.seen[key] = str(row["outcome"]), int(row["at"]) / US

    def within(self, family: str, begin: float) -> bool:
        """Whether one failed by itself since ``begin``: what a person ended has not."""
        return any(
            name == family and outcome == "failed" and at >= begin
            for (name, _, _), (outcome, at) in self.seen.items()
        )


def part_of(told: Told, finding: dict[str, Any]) -> Name:
    """A finding's name; of a boundary that can't be read the boundary's, whether it is down or unknown."""
    code = finding["code"]
    if code in UNREADABLE:
        return "unreadable", finding["boundary"]
    return code, finding["subject"]


def warranted(
    seen: PressureSeen, durable: DurableSeen, jobs: dict[str, dict[str, Any]] | None, lane: LaneState
) -> set[Name]:
    """What must be told of servers that can all be read."""
    must: set[Name] = set()
    for name, family in seen.families.items():
        rules = lane.families.get(name)
        told = figures(family, rules, seen.hold)
        pause, mine = told["paused"], family.pauses()
        machine = mine.get("machine")
        if pause is not None and not pause["whole_lane"]:
            if pause["mode"] == "drain":
                must.add(("draining", name))
            elif pause["kind"] == "machine" and machine is not None and machine.get("diagnosis"):
                must.add(("breaker", name))
            else:
                must.add(("paused", name))
        if pause is not None and pause["whole_lane"] and machine is not None and machine.get("diagnosis"):
            must.add(("breaker", name))
        removed = bool(family.hashes["meta"].get("removed"))
        if told["dead"]:
            must.add(("dead", name))
        if told["quarantined"] and not removed:
            must.add(("quarantined", name))
        if removed:
            must.add(("removed-family", name))
        rows = sum(
            told[key] for key in ("waiting", "held", "delayed", "leased", "in_flight", "dead", "quarantined")
        )
        if rows and not removed and rules is None:
            must.add(("undeclared-family", name))
    if seen.hold is not None:
        must.add(("lane-held", LANE))
    for name, job in (jobs or {}).items():
        if job["disabled"]:
            must.add(("schedule-disabled", name))
    for name, fire in seen.fires.items():
        if name in (jobs or {}) and fire["outcome"] in FAILED:
            must.add(("schedule-failing", name))
    for name, fire in seen.fires.items():
        if name in (jobs or {}) and fire["decision"] in ("refused", "undeclared"):
            must.add(("schedule-refused", name))
    for name, job in (jobs or {}).items():
        if seen.alive("gateway") and _call_failed(seen, name, job):
            must.add(("call-failed", name))
    for role, code in _ROLE_GONE.items():
        if not seen.alive(role) and (jobs is not None or role in ("drainer", "worker")):
            must.add((code, role))
    for key, (_, told_by) in seen.beats.items():
        role, _, process = key.partition("/")
        if (
            seen.alive(role)
            and seen.beats[key][0] <= 5.0
            and told_by["detail"].get("lane_sha256") != lane.sha256
        ):
            must.add(("split-brain", process))
    if lane.refused:
        must.add(("lane-refused", lane.path))
    if sum(run["status"] == "paused" for run in durable.runs.values()):
        must.add(("runs-paused", "runs"))
    return must


def _call_failed(seen: PressureSeen, name: str, job: dict[str, Any]) -> bool:
    """Whether the clock's last call failed, and what it was about has not been decided since."""
    failed = _moment(job["last_error"])
    if failed is None or (_moment(job["last_success"]) or 0.0) >= failed:
        return False
    period = PERIODS.get(name)
    return period is None or seen.last_instants.get(name, 0.0) < failed // period * period


def _moment(stamp: str | None) -> float | None:
    return None if not stamp else datetime.fromisoformat(stamp).timestamp()


def permitted(
    seen: PressureSeen,
    durable: DurableSeen,
    jobs: dict[str, dict[str, Any]] | None,
    lane: LaneState,
    failures: Failures,
) -> set[Name]:
    """What may be told beside it: where the design leaves the moment open, or it is true of an instant only."""
    may: set[Name] = {
        ("boundary-absent", "sandbox"),
        ("artifacts-waiting", "artifacts"),
    }
    for name, family in seen.families.items():
        told = figures(family, lane.families.get(name), seen.hold)
        since = family.oldest(parked=False)
        old = since is not None and (seen.at - since) / US >= STUCK_AFTER_S - 1
        # Nobody may be there who drains it; or it is what another part that is broken keeps back.
        alone = lane.broken is not None or not (seen.alive("drainer") and seen.alive("worker"))
        if old and told["waiting"] and alone:
            may |= {("stuck", name), ("starved", name)}
        if failures.within(name, seen.at / US - MINUTE_S - 5):
            may.add(("failing", name))
        if name in seen.workers_died_in:
            may.add(("worker-deaths", name))
        if family.hashes["deaths"] or told["quarantined"]:
            may.add(("third-deaths", name))
    for run_id, run in durable.runs.items():
        if run["status"] == "backing-off" and (run["retry_count"] or 0) >= MANY_TRIES:
            may |= {("backing-off", name) for name in lane.families if _is_of(seen, run_id, name)}
            may |= {
                ("backing-off", lane.schedules[s]["family"])
                for s in lane.schedules
                if run_id.startswith(f"{s}@")
            }
    for name, job in (jobs or {}).items():
        period = PERIODS.get(name)
        if period is not None and not job["disabled"]:
            instant = (seen.at / US - period / 2) // period * period
            if instant > seen.last_instants.get(name, 0.0):
                may.add(("schedule-missed", name))
        if name not in lane.schedules:
            may.add(("schedule-drift", name))
    for name, fire in seen.fires.items():
        if fire["missed_before"] or fire["decision"] == "misfire":
            may.add(("schedule-missed", name))  # it says itself what was not made up for
    for role in ROLES:
        if not seen.alive(role):
            may |= {
                ("process-silent", key.partition("/")[2]) for key in seen.beats if key.startswith(f"{role}/")
            }
    if lane.once_broken:
        may.add(("leases-lapsed", "leases"))
    if lane.broken in SERVERS:
        may |= {("processes-unknown", "processes"), ("fires-unknown", "fires"), ("loading", "loading")}
        may.add(("unreadable", SERVERS[lane.broken]))
    if lane.broken == "clock":
        may.add(("unreadable", "clock"))
    return may


def _is_of(seen: PressureSeen, run_id: str, family: str) -> bool:
    item_id = run_id.rpartition(".")[0]
    one = seen.families.get(family)
    return one is not None and any(item_id in members for members in one.sets.values())


def required_of_fault(victim: str) -> Name:
    """What must be told while a part has been gone for longer than `NAMED_WITHIN_S`."""
    if victim in SERVERS:
        return "unreadable", SERVERS[victim]
    if victim == "clock":
        return "unreadable", "clock"
    return _ROLE_GONE[victim], victim


def judge(told: Told, must: set[Name], may: set[Name], *, slow_log: bool) -> list[Difference]:
    """Findings that are missing, and those that are false; the verdict that they warrant, and the exit code."""
    found = {part_of(told, row): row for row in told.findings}
    wrong = [
        Difference(f"{told.door}: finding {code} of {subject}", "nothing", "told")
        for code, subject in sorted(must - set(found))
    ]
    for (code, subject), row in found.items():
        if (code, subject) in must | may or (code == "slow-command" and slow_log):
            continue
        wrong.append(
            Difference(
                f"{told.door}: finding {code} of {subject}", f"{row['severity']}: {row['message']}", "nothing"
            )
        )
    worst = {row["severity"] for row in found.values()}
    status = "down" if "crit" in worst else "degraded" if "warn" in worst else "ok"
    if told.document["verdict"]["status"] != status:
        wrong.append(Difference(f"{told.door}: verdict", told.document["verdict"]["status"], status))
    if told.door == ONCE:
        unread = any(row["status"] in ("down", "unknown") for row in told.document["boundaries"].values())
        right = 3 if unread else 0 if status == "ok" else 1
        if told.exit_code != right:
            wrong.append(Difference("--once: exit code", told.exit_code, right))
    if told.door == CONSOLE and status not in told.text:
        wrong.append(Difference("console: the header's verdict", "not on the screen", status))
    return wrong
