"""The lane file's schedules against the clock's jobs: what differs, and what apply would do.

Like terraform: exactly what would change is shown, exactly what was shown is carried out, and what
isn't ours is never touched. Whether a job is enabled is the operator's, not the lane file's: it is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from runtime.clock.compile import owned
from runtime.clock.jobs import stamp
from runtime.common.text import one_line
from runtime.model import ChangeKind, ClockJob, ScheduleChange

_SHOWN = 200
_SINCE = "metadata.since"


@dataclass(frozen=True, slots=True)
class Planned:
    """One change, and the job before and after it."""

    change: ScheduleChange
    before: ClockJob | None
    after: ClockJob | None


def plan(lane: str, wanted: Mapping[str, ClockJob], jobs: Iterable[ClockJob]) -> dict[str, Planned]:
    """By schedule; empty when the clock has what the lane file says. ``wanted``: compiled jobs by
    schedule; ``jobs``: all of the clock's, whoever's they are."""
    by_name = {job.name: job for job in jobs}
    planned: dict[str, Planned] = {}
    for name, want in wanted.items():
        have = by_name.get(want.name)
        if have is None:
            planned[name] = _planned(name, ChangeKind.CREATE, None, want)
        elif not owned(have, lane):
            planned[name] = _planned(name, ChangeKind.CONFLICT, have, None)
        else:
            after = kept(want, have)
            if _said(after) != _said(have):
                planned[name] = _planned(name, ChangeKind.UPDATE, have, after)
    names = {job.name for job in wanted.values()}
    for have in by_name.values():
        if owned(have, lane) and have.name not in names:
            name = have.metadata.get("schedule") or have.name
            planned[name] = _planned(name, ChangeKind.DELETE, have, None)
    return planned


def fingerprint(lane_sha256: str, addresses: Sequence[str], wanted: Mapping[str, ClockJob]) -> str:
    """Of one lane file's jobs as they are made for one clock; not of the moment at which they are."""
    jobs = {name: _frozen(_said(job)) for name, job in wanted.items()}
    return hashlib.sha256(
        json.dumps([lane_sha256, list(addresses), jobs], sort_keys=True).encode()
    ).hexdigest()


def kept(want: ClockJob, have: ClockJob) -> ClockJob:
    """``want`` with what is not the lane file's to say: enabled or not, and since when it counts. A new
    timing counts anew."""
    same_time = (want.schedule, want.timezone) == (have.schedule, have.timezone)
    since = have.metadata.get("since") if same_time else None
    metadata = dict(want.metadata) | ({"since": since} if since else {})
    return replace(want, disabled=have.disabled, metadata=metadata)


def _planned(name: str, kind: ChangeKind, before: ClockJob | None, after: ClockJob | None) -> Planned:
    was = {} if before is None else _said(before)
    will = {} if after is None else _said(after)
    digest = hashlib.sha256(json.dumps([kind, _frozen(was), _frozen(will)]).encode()).hexdigest()
    fields = tuple(
        (one_line(key, 60), *_pair(key, was.get(key, ""), will.get(key, "")))
        for key in sorted(was.keys() | will.keys())
        if kind is ChangeKind.UPDATE and key in _differing(was, will)
    )
    return Planned(ScheduleChange(one_line(name, 130), kind, fields, digest), before, after)


def _differing(was: Mapping[str, str], will: Mapping[str, str]) -> set[str]:
    """What a person would call the difference: the moment from which a new timing counts follows from it."""
    keys = {key for key in was.keys() | will.keys() if was.get(key, "") != will.get(key, "")}
    return keys - {_SINCE} or keys


def _pair(key: str, was: str, will: str) -> tuple[str, str]:
    if key == "executor_config.headers":
        return "a token", "another token"
    return one_line(was, _SHOWN), one_line(will, _SHOWN)


def _frozen(said: Mapping[str, str]) -> list[tuple[str, str]]:
    """Without the moment of the preview: a job that is created counts from when it is created."""
    return sorted((key, value) for key, value in said.items() if key != _SINCE)


def _said(job: ClockJob) -> dict[str, str]:
    """What a job says, flat, without what the clock itself tells of it."""
    said: dict[str, str] = {}
    for key, value in asdict(job).items():
        if key in _FIGURES:
            continue
        if isinstance(value, Mapping):
            said |= {f"{key}.{name}": text for name, text in value.items() if text != ""}
        elif key in _MOMENTS:
            said[key] = stamp(value) or ""
        else:
            said[key] = str(value)
    said["timezone"] = said["timezone"] or "UTC"
    return said


_FIGURES = frozenset(
    {"next", "last_success", "last_error", "success_count", "error_count", "status", "dependent_jobs"}
)
_MOMENTS = frozenset({"starts_at", "expires_at"})
