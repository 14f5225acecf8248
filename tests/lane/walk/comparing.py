"""What a door told against what the servers held before and after: every figure, in the words of the design."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from joelclaw_tui.presentation import units
from tests.lane.walk.declared import DIRECT_S, OFTEN_S
from tests.lane.walk.direct import PARKED, US, DurableSeen, FamilySeen, PressureSeen
from tests.lane.walk.doors import CONSOLE, Told

SLACK_S = 0.1
"""Of an age: the server's time is read at one point of each reading."""
COLUMNS = {
    "waiting": "WAIT",
    "held": "HELD",
    "throttled": "THROT",
    "delayed": "DELAY",
    "leased": "LEASED",
    "in_flight": "FLIGHT",
    "dead": "DEAD",
    "quarantined": "QUAR",
    "enqueued_per_min": "IN/MIN",
    "settled_per_min": "SETTLED/MIN",
    "failed_per_min": "FAIL/MIN",
}
LISTED = 100
SETTLED = "sfc"
"""Kinds of endings: succeeded, failed, and ended by a person."""
PERIODS = {"often": OFTEN_S, "direct": DIRECT_S}


@dataclass(frozen=True, slots=True)
class Difference:
    where: str
    """Door and figure."""
    told: Any
    warranted: Any

    def __str__(self) -> str:
        return f"{self.where}: told {self.told!r}, warranted is {self.warranted!r}"


@dataclass
class Findings:
    """Differences of one look."""

    door: str
    rows: list[Difference] = field(default_factory=list)

    def equal(self, where: str, told: Any, warranted: Any) -> None:
        if told != warranted:
            self.rows.append(Difference(f"{self.door}: {where}", told, warranted))

    def among(self, where: str, told: Any, warranted: Any) -> None:
        if told not in warranted:
            self.rows.append(Difference(f"{self.door}: {where}", told, f"one of {warranted}"))

    def within(self, where: str, told: float | None, low: float | None, high: float | None) -> None:
        if low is None or high is None:
            self.equal(where, told, None)
        elif told is None or not low - SLACK_S <= told <= high + SLACK_S:
            self.rows.append(Difference(f"{self.door}: {where}", told, f"between {low:.3f} and {high:.3f}"))


def figures(family: FamilySeen, rules: dict[str, Any] | None, hold: dict[str, Any] | None) -> dict[str, Any]:
    """Counts of one family, and its pause, as the design's words have them."""
    runnable = family.runnable()
    pause = told_pause(family, hold)
    busy = family.size("leased", "admitting", "flight")
    held = pause is not None and pause["mode"] == "hold"
    total, throttled = sum(runnable), 0
    if rules is not None and not held:
        room = max(0, rules.get("max_in_flight", 200) - busy)
        throttled = family.size(*PARKED) if room else total
        if busy or any(family.per_minute(kind, family.at) for kind in SETTLED):
            # What has no room waits for it, also in the moment in which some is free.
            throttled += max(0, total - throttled - room)
    return {
        "waiting": 0 if held else total - throttled,
        "held": total if held else 0,
        "throttled": throttled,
        "delayed": family.size("d0", "d1", "d2", "d3") - sum(len(family.due(level)) for level in range(4)),
        "leased": family.size("leased", "admitting"),
        "in_flight": family.size("flight"),
        "dead": family.size("dead"),
        "quarantined": family.size("quarantined", *(f"x{kind}{n}" for kind in "wd" for n in range(4))),
        "by_priority": {f"P{level}": many for level, many in enumerate(runnable)},
        "succeeded_total": int(family.hashes["stats"].get("succeeded", 0)),
        "failed_total": int(family.hashes["stats"].get("failed", 0)),
        "declared": rules is not None,
        "paused": pause,
    }


def told_pause(family: FamilySeen, hold: dict[str, Any] | None) -> dict[str, Any] | None:
    """The pause that is told: the lane's, a person's, a machine's, what holds before what lets run dry."""
    mine = family.pauses()
    if hold is not None:
        mine = {"lane": mine.get("lane", hold), **mine}
    ordered = list(mine.values())
    holding = [pause for pause in ordered if pause["mode"] == "hold"]
    if not ordered:
        return None
    chosen = (holding or ordered)[0]
    return {
        "by": chosen["by"],
        "kind": chosen["kind"],
        "mode": chosen["mode"],
        "reason": chosen["reason"],
        "since": int(chosen["since"]) // US,
        "until": None if chosen["until"] is None else int(chosen["until"]) // US,
        "whole_lane": bool(chosen.get("lane")),
    }


def stands_still(before: PressureSeen, after: PressureSeen, families: dict[str, Any]) -> bool:
    """Nothing moved between two readings, by the passing of time either: no delay and no pause ended."""
    return before.print == after.print and all(
        figures(one, families.get(name), before.hold)
        == figures(after.families[name], families.get(name), after.hold)
        for name, one in before.families.items()
    )


def compare_pressure(
    told: Told, before: PressureSeen, after: PressureSeen, families: dict[str, Any]
) -> list[Difference]:
    """``families``: as the lane file declares them."""
    seen = Findings(told.door)
    data = told.boundary("pressure")["data"]
    if data is None:
        return [Difference(f"{told.door}: pressure.data", None, "figures")]
    rows = {row["name"]: row for row in data["families"]["items"]}
    seen.equal("families", set(rows), set(families) | set(before.families))
    totals = dict.fromkeys(data["totals"], 0)
    for name, row in rows.items():
        one, last = before.families.get(name), after.families.get(name)
        if one is None or last is None:
            empty = {key: row[key] for key in totals}
            seen.equal(f"{name}, of which nothing is stored", empty, dict.fromkeys(totals, 0))
            continue
        expected = figures(one, families.get(name), before.hold)
        for key, value in expected.items():
            got = row[key]
            if key == "paused" and got is not None:
                got = {k: got[k] for k in ("by", "kind", "mode", "reason", "whole_lane")} | {
                    k: None if got[k] is None else int(datetime.fromisoformat(got[k]).timestamp())
                    for k in ("since", "until")
                }
            seen.equal(f"{name} {key}", got, value)
        for key in totals:
            totals[key] += expected[key]
        for key, kinds in (("enqueued_per_min", "e"), ("settled_per_min", SETTLED), ("failed_per_min", "f")):
            # Which of two rates is told depends on the five-second bucket in which the door looked.
            rates = {
                sum(one.per_minute(kind, at) for kind in kinds)
                for at in range(before.at, after.at + 5 * US, 5 * US // 2)
            }
            if key != "failed_per_min":
                seen.among(f"{name} {key}", row[key], rates)
        held = expected["paused"] is not None and expected["paused"]["mode"] == "hold"
        since = one.oldest(parked=held)
        ages = (None, None) if since is None else ((one.at - since) / US, (last.at - since) / US)
        seen.within(f"{name} oldest_held_age_s", row["oldest_held_age_s"], *(ages if held else (None, None)))
        seen.within(
            f"{name} oldest_runnable_age_s", row["oldest_runnable_age_s"], *((None, None) if held else ages)
        )
    seen.equal("totals", data["totals"], totals)
    if told.door == CONSOLE:
        _compare_backlog_cells(seen, told, rows)
    return seen.rows


def _compare_backlog_cells(seen: Findings, told: Told, rows: dict[str, Any]) -> None:
    """The cells against the document that was compared just now."""
    cells = told.cells["pressure"]
    seen.equal("backlog's rows", set(cells), set(rows))
    for name in set(cells) & set(rows):
        for key, title in COLUMNS.items():
            if title in cells[name]:
                seen.equal(
                    f"{name} cell {title}", cells[name][title], units.count(rows[name][key], compact=True)
                )
        for key, title in (("oldest_runnable_age_s", "OLDEST"), ("oldest_held_age_s", "FOR")):
            if title in cells[name]:
                seen.equal(
                    f"{name} cell {title}", cells[name][title], units.length(rows[name][key], compact=True)
                )


def compare_durable(told: Told, before: DurableSeen) -> list[Difference]:
    seen = Findings(told.door)
    data = told.boundary("durable")["data"]
    if data is None:
        return [Difference(f"{told.door}: durable.data", None, "figures")]
    seen.equal("live", data["live"], before.live())
    seen.equal("runs in all", data["runs"]["total"], len(before.runs))
    listed = {row["run_id"]: row for row in data["runs"]["items"]}
    live = {run_id for run_id, run in before.runs.items() if run["status"] != "completed"}
    seen.equal("how many are listed", len(listed), min(LISTED, len(before.runs)))
    if len(live) <= LISTED:
        seen.equal("live runs that are not listed", live - set(listed), set())
    for run_id, row in listed.items():
        run = before.runs.get(run_id)
        if run is None:
            seen.rows.append(Difference(f"{told.door}: run {run_id}", row["status"], "unknown to Restate"))
            continue
        seen.equal(f"run {run_id} status", row["status"], run["status"])
        seen.equal(f"run {run_id} attempt", row["attempt"], int(run_id.rpartition(".")[2]))
        if run["status"] == "completed":
            well = run["completion_result"] == "success"
            seen.equal(f"run {run_id} succeeded", row["outcome"] == "succeeded", well)
    if told.door == CONSOLE:
        cells = told.cells["durable"]
        seen.equal("journal's rows", set(cells), set(listed))
    return seen.rows


def compare_clock(
    told: Told,
    before: PressureSeen,
    after: PressureSeen,
    jobs: dict[str, dict[str, Any]],
    schedules: dict[str, Any],
    durable: DurableSeen,
    *,
    untouched: bool,
) -> list[Difference]:
    """``untouched``: nothing has been broken or disabled so far, so no instant can have passed in vain."""
    seen = Findings(told.door)
    data = told.boundary("clock")["data"]
    if data is None:
        return [Difference(f"{told.door}: clock.data", None, "figures")]
    rows = {row["name"]: row for row in data["schedules"]["items"]}
    seen.equal("schedules", set(rows), set(schedules) | set(jobs))
    for name, row in rows.items():
        job, fire = jobs.get(name), before.fires.get(name)
        seen.equal(f"{name} enabled", row["enabled"], None if job is None else not job["disabled"])
        seen.equal(f"{name} last_fire", row["last_fire"], None if fire is None else fire["fire_id"])
        seen.equal(f"{name} last_decision", row["last_decision"], None if fire is None else fire["decision"])
        seen.equal(f"{name} last_outcome", row["last_outcome"], None if fire is None else fire["outcome"])
        seen.equal(f"{name} late", row["late"], False if fire is None else fire["late"])
        busy = [_goes_on(one, before, durable) for one in before.open_fires if one["schedule"] == name]
        if any(busy) or None not in busy:
            seen.equal(f"{name} running", row["running"], any(busy))
        if untouched:
            seen.equal(f"{name} missed", row["missed"], 0)
        if name in PERIODS and name in schedules and job is not None:
            period = PERIODS[name]
            due = None if row["next"] is None else datetime.fromisoformat(row["next"]).timestamp()
            instants = {(at // US // period + 1) * period for at in (before.at, after.at)}
            if job["disabled"]:
                seen.equal(f"{name} next", due, None)
            else:
                seen.among(f"{name} next", due, instants)
    if told.door == CONSOLE:
        cells = told.cells["clock"]
        seen.equal("schedule's rows", set(cells), set(rows))
        for name in set(cells) & set(rows):
            seen.equal(
                f"{name} cell NEXT is off", cells[name]["NEXT"] == "off", rows[name]["enabled"] is False
            )
            seen.equal(f"{name} cell LATE", cells[name]["LATE"], "late" if rows[name]["late"] else "")
            if rows[name]["missed"] is not None:
                seen.equal(
                    f"{name} cell MISSED",
                    cells[name]["MISSED"],
                    units.count(rows[name]["missed"], compact=True),
                )
    return seen.rows


def compare_sandbox(told: Told, artifacts: int) -> list[Difference]:
    """``artifacts``: how many folders of them there were, before and after."""
    seen = Findings(told.door)
    data = told.boundary("sandbox")["data"]
    if data is None:
        seen.equal("artifacts, of no sandbox", 0, artifacts)
    else:
        seen.equal("artifacts in all", data["artifacts"]["total"], artifacts)
    return seen.rows


def _goes_on(fire: dict[str, Any], seen: PressureSeen, durable: DurableSeen) -> bool | None:
    """Whether a fire's work is in hand; None where either word is right: it waits for nobody's pause, or it has
    ended and nobody has noted so yet. What waits held is not running (rule 3)."""
    work = fire["work_id"]
    if work is None:
        return None
    if "@" in work:
        run = durable.runs.get(f"{work}.1")
        return None if run is None or run["status"] == "completed" else True
    places = seen.place(work)
    if len(places) != 1:
        return None
    family, where = places[0]
    if where in ("leased", "admitting", "flight"):
        return True
    pause = told_pause(seen.families[family], seen.hold)
    if where[0] in "wqd" and pause is not None and pause["mode"] == "hold":
        return False
    return None
