"""A job as Dkron's REST API has it: parsed once at the embedded clock's edge, told in the same shape."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from runtime.lane.cron import CronError, Grid, grid_of

NAME = re.compile(r"[a-z0-9_-]{1,128}")
TEXT_MAX = 1000
BODY_MAX = 64 * 1024
TIMEOUT_DEFAULT_S = 60.0
TIMEOUT_MOST_S = 3600.0
RETRIES_MOST = 10
EXPECT_CODE = re.compile(r"[0-9]{3}(?:\s*,\s*[0-9]{3})*")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
_KNOWN = frozenset(
    [
        "id",
        "name",
        "displayname",
        "timezone",
        "schedule",
        "owner",
        "owner_email",
        "disabled",
        "tags",
        "metadata",
        "retries",
        "dependent_jobs",
        "parent_job",
        "processors",
        "concurrency",
        "executor",
        "executor_config",
        "status",
        "next",
        "ephemeral",
        "starts_at",
        "expires_at",
        "success_count",
        "error_count",
        "last_success",
        "last_error",
    ]
)
_NOT_HERE = ("dependent_jobs", "parent_job", "processors", "owner", "owner_email")
NODE_TAGS = {"engine": "joelclaw-embedded", "role": "dkron", "server": "true"}
"""Of the embedded clock's one node. A job is for nodes with its tags; ``value:N`` means at most N of them."""


class BadJob(ValueError):
    """A job that the clock can't keep; the text says why."""


@dataclass(frozen=True, slots=True)
class HttpCall:
    """What the ``http`` executor does."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: str
    timeout_s: float
    expect_codes: frozenset[int]
    """Empty: any answer counts as success, as in Dkron."""
    expect_body: str


@dataclass(frozen=True, slots=True)
class Job:
    """One job of the embedded clock. Times in seconds since the epoch."""

    name: str
    displayname: str
    timezone: str
    schedule: str
    disabled: bool
    metadata: Mapping[str, str]
    retries: int
    concurrency: str
    executor_config: Mapping[str, str]
    call: HttpCall = field(compare=False)
    tags: Mapping[str, str] = field(default_factory=dict)
    ephemeral: bool = False
    starts_at: float | None = None
    expires_at: float | None = None
    applied_at: float = 0.0
    """Where ``@every`` counts from."""
    success_count: int = 0
    error_count: int = 0
    last_success: float | None = None
    last_error: float | None = None
    status: str = ""

    @property
    def grid(self) -> Grid:
        return grid_of(self.schedule, self.timezone or None, name=self.name, anchor=self.applied_at)

    def next(self, moment: float) -> float | None:
        """The first instant after ``moment`` at which it runs by itself."""
        if self.disabled:
            return None
        if self.starts_at is not None:
            moment = max(moment, self.starts_at - 0.001)
        point = self.grid.after(moment)
        return None if point is None or (self.expires_at is not None and point > self.expires_at) else point

    def after_run(self, *, success: bool, at: float) -> Job:
        if success:
            return replace(self, success_count=self.success_count + 1, last_success=at, status="success")
        return replace(self, error_count=self.error_count + 1, last_error=at, status="failed")

    def document(self, moment: float) -> dict[str, Any]:
        """In Dkron's shape."""
        return {
            "id": self.name,
            "name": self.name,
            "displayname": self.displayname,
            "timezone": self.timezone,
            "schedule": self.schedule,
            "owner": "",
            "owner_email": "",
            "success_count": self.success_count,
            "error_count": self.error_count,
            "last_success": stamp(self.last_success),
            "last_error": stamp(self.last_error),
            "disabled": self.disabled,
            "tags": dict(self.tags) or None,
            "metadata": dict(self.metadata),
            "retries": self.retries,
            "dependent_jobs": None,
            "parent_job": "",
            "processors": {},
            "concurrency": self.concurrency,
            "executor": "http",
            "executor_config": dict(self.executor_config),
            "status": self.status,
            "next": stamp(self.next(moment)) or "0001-01-01T00:00:00Z",
            "ephemeral": self.ephemeral,
            "starts_at": stamp(self.starts_at),
            "expires_at": stamp(self.expires_at),
        }


def parse_job(value: object, *, applied_at: float) -> Job:
    """Raises `BadJob`. What Dkron has and this clock doesn't is refused by name, never ignored."""
    if not isinstance(value, dict):
        raise BadJob("a job is an object")
    unknown = sorted(set(value) - _KNOWN)
    if unknown:
        raise BadJob(f"unknown field {str(unknown[0])[:60]!r}")
    for name in _NOT_HERE:
        if value.get(name):
            raise BadJob(f"{name} is not supported by the embedded clock")
    name = _text(value, "name")
    if not NAME.fullmatch(name):
        raise BadJob("name: lower case letters, digits, - and _ only, at most 128")
    if _text(value, "executor") != "http":
        raise BadJob("executor: the embedded clock has http only")
    concurrency = _text(value, "concurrency") or "allow"
    if concurrency not in ("allow", "forbid"):
        raise BadJob("concurrency: allow or forbid")
    retries = value.get("retries") or 0
    if type(retries) is not int or not 0 <= retries <= RETRIES_MOST:
        raise BadJob(f"retries: a number from 0 to {RETRIES_MOST}")
    config = _texts(value, "executor_config")
    job = Job(
        name=name,
        displayname=_text(value, "displayname"),
        timezone=_text(value, "timezone"),
        schedule=_text(value, "schedule"),
        disabled=_flag(value, "disabled"),
        metadata=_texts(value, "metadata"),
        retries=retries,
        concurrency=concurrency,
        executor_config=config,
        call=_call(config),
        tags=_tags(value),
        ephemeral=_flag(value, "ephemeral"),
        starts_at=_moment(value, "starts_at"),
        expires_at=_moment(value, "expires_at"),
        applied_at=applied_at,
    )
    try:
        _ = job.grid
    except CronError as error:
        raise BadJob(f"schedule: {error}") from None
    return job


def _tags(value: Mapping[str, object]) -> dict[str, str]:
    """Only such as this one node has: another job would never run."""
    tags = _texts(value, "tags")
    for name, text in tags.items():
        wanted, colon, most = text.partition(":")
        if NODE_TAGS.get(name) != wanted or (colon and not re.fullmatch(r"[1-9][0-9]{0,3}", most)):
            raise BadJob(f"tags: the embedded clock's node does not have {name[:60]} = {text[:60]!r}")
    return tags


def stored_job(text: str) -> Job:
    """What `store_text` wrote. Raises `BadJob`, `ValueError`, `KeyError`."""
    value = json.loads(text)
    figures = value.pop("figures")
    job = parse_job(value, applied_at=float(figures.pop("applied_at")))
    return replace(job, **figures)


def store_text(job: Job) -> str:
    document = job.document(0.0)
    figures = {
        name: getattr(job, name)
        for name in ("applied_at", "success_count", "error_count", "last_success", "last_error", "status")
    }
    kept = {name: value for name, value in document.items() if name not in figures and name != "next"}
    return json.dumps({**kept, "figures": figures})


def stamp(moment: float | None) -> str | None:
    """RFC 3339 in UTC."""
    if moment is None:
        return None
    text = datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return text.replace(".000000Z", "Z")


def parse_stamp(value: object) -> float | None:
    """Seconds since the epoch; None for no instant, and for Go's zero time."""
    if not isinstance(value, str) or value.startswith("0001-"):
        return None
    # Go writes nanoseconds.
    text = re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", value.replace("Z", "+00:00"))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None


def _call(config: Mapping[str, str]) -> HttpCall:
    unknown = sorted(
        set(config) - {"method", "url", "headers", "body", "timeout", "expectCode", "expectBody", "debug"}
    )
    if unknown:
        raise BadJob(f"executor_config: {unknown[0][:60]!r} is not supported by the embedded clock")
    url = config.get("url", "")
    if not re.match(r"https?://[^/\s]+", url):
        raise BadJob("executor_config: url must be an http:// or https:// address")
    method = config.get("method", "GET").upper()
    if method not in METHODS:
        raise BadJob(f"executor_config: method must be one of {', '.join(METHODS)}")
    codes = config.get("expectCode", "")
    if codes and not EXPECT_CODE.fullmatch(codes):
        raise BadJob("executor_config: expectCode is one status or several, like 200,202")
    expect_body = config.get("expectBody", "")
    try:
        re.compile(expect_body)
    except re.error as error:
        raise BadJob(f"executor_config: expectBody: {error}") from None
    try:
        timeout = float(config.get("timeout") or TIMEOUT_DEFAULT_S)
    except ValueError:
        timeout = math.nan
    if not 0 < timeout <= TIMEOUT_MOST_S:
        raise BadJob(f"executor_config: timeout is from 1 to {TIMEOUT_MOST_S:.0f} seconds")
    return HttpCall(
        method=method,
        url=url,
        headers=_headers(config.get("headers", "")),
        body=config.get("body", ""),
        timeout_s=timeout,
        expect_codes=frozenset(int(code) for code in codes.split(",")) if codes else frozenset(),
        expect_body=expect_body,
    )


def _headers(text: str) -> tuple[tuple[str, str], ...]:
    """A JSON array of ``"Name: value"``; like Dkron, a value ends at its first colon."""
    if not text:
        return ()
    try:
        lines = json.loads(text)
    except (ValueError, RecursionError):
        lines = None
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise BadJob('executor_config: headers is a JSON array like ["Name: value"]')
    headers = []
    for line in lines:
        name, colon, rest = line.partition(":")
        value = rest.partition(":")[0].strip()
        if not colon or not re.fullmatch(r"[A-Za-z0-9-]+", name.strip()) or not value.isprintable():
            raise BadJob("executor_config: a header is Name: value")
        headers.append((name.strip(), value))
    return tuple(headers)


def _text(value: Mapping[str, object], name: str) -> str:
    text = value.get(name)
    if text is None:
        return ""
    if not isinstance(text, str) or len(text) > TEXT_MAX:
        raise BadJob(f"{name}: text of at most {TEXT_MAX} characters")
    return text


def _texts(value: Mapping[str, object], name: str) -> dict[str, str]:
    table = value.get(name)
    if table is None:
        return {}
    if not isinstance(table, dict) or not all(
        isinstance(k, str) and isinstance(v, str) for k, v in table.items()
    ):
        raise BadJob(f"{name}: names and texts")
    if sum(len(k) + len(v) for k, v in table.items()) > BODY_MAX:
        raise BadJob(f"{name}: at most {BODY_MAX:,} characters in all")
    return dict(table)


def _flag(value: Mapping[str, object], name: str) -> bool:
    flag = value.get(name)
    if flag is not None and not isinstance(flag, bool):
        raise BadJob(f"{name}: true or false")
    return bool(flag)


def _moment(value: Mapping[str, object], name: str) -> float | None:
    if value.get(name) is None:
        return None
    moment = parse_stamp(value[name])
    if moment is None:
        raise BadJob(f"{name}: an instant like 2026-01-31T08:00:00Z")
    return moment
