"""The client of Dkron's REST API: the same for a real Dkron and for the embedded clock."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from runtime.clock.jobs import NAME, parse_stamp
from runtime.closable import Closable
from runtime.model import BoundaryDown, ClockExecution, ClockJob, ClockSource, NotFound, Refused
from runtime.text import one_line, without_credentials

TIMEOUT_S = 10.0
ANSWER_MAX = 32 * 1024 * 1024
JOBS_MOST = 10_000
"""Jobs that one look takes; more is said, not cut in silence."""
OUTPUT_MAX = 4000
EMBEDDED = "joelclaw-embedded"
_TOTAL = re.compile(r"[0-9]{1,9}")


class Dkron(Closable):
    """Safe for many tasks of one event loop; connects at first use."""

    def __init__(self, url: str) -> None:
        """``url``: ``http(s)://`` or ``unix:/path``, without ``/v1``."""
        self.url = without_credentials(url)
        """Fit to be shown."""
        socket = url.removeprefix("unix:") if url.startswith("unix:") else None
        self._base = "http://dkron" if socket else url.rstrip("/")
        self._socket = socket
        self._client: httpx.AsyncClient | None = None

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    # --- the clock itself

    async def healthy(self) -> bool:
        """Raises `BoundaryDown` when it can't be reached."""
        status, _, _ = await self._ask("GET", "/health")
        return status == HTTPStatus.OK

    async def source(self) -> ClockSource:
        """Raises `BoundaryDown`."""
        about = _table(await self._get("/v1/"))
        leader = _table(await self._get("/v1/leader"))
        agent, tags = _table(about.get("agent")), _table(about.get("tags"))
        return ClockSource(
            url=self.url,
            engine="embedded" if tags.get("engine") == EMBEDDED else "dkron",
            version=_text(agent.get("version"), 60) or "unknown",
            leader=_text(leader.get("Name") or leader.get("name"), 100) or None,
        )

    async def busy(self) -> Sequence[ClockExecution]:
        """Executions that run now. Raises `BoundaryDown`."""
        return [_execution(row) for row in _rows(await self._get("/v1/busy"))]

    # --- jobs

    async def jobs(self, metadata: Mapping[str, str] | None = None) -> Sequence[ClockJob]:
        """Those with this metadata, by name. Raises `BoundaryDown`."""
        query = {f"metadata[{key}]": value for key, value in (metadata or {}).items()}
        query |= {"_start": "0", "_end": str(JOBS_MOST), "_sort": "name", "_order": "ASC"}
        status, headers, value = await self._ask("GET", "/v1/jobs", query=query)
        if status != HTTPStatus.OK:
            raise self._down(f"answered {status} to the list of jobs")
        total = headers.get("x-total-count", "")
        if _TOTAL.fullmatch(total) and int(total) > JOBS_MOST:
            raise self._down(f"has {total} jobs, more than the {JOBS_MOST:,} that one look takes")
        return sorted((_job(row) for row in _rows(value)), key=lambda job: job.name)

    async def job(self, name: str) -> ClockJob | None:
        """None when there is no such job. Raises `BoundaryDown`."""
        status, _, value = await self._ask("GET", f"/v1/jobs/{_name(name)}")
        if status == HTTPStatus.NOT_FOUND:
            return None
        self._check(status, value, f"job {name}")
        return _job(_table(value))

    async def put(self, job: ClockJob) -> ClockJob:
        """Creates or replaces. Raises `Refused` for a job that the clock can't keep, `BoundaryDown`."""
        body = {
            "name": job.name,
            "displayname": job.displayname,
            "timezone": job.timezone,
            "schedule": job.schedule,
            "disabled": job.disabled,
            "metadata": dict(job.metadata),
            "retries": job.retries,
            "concurrency": job.concurrency,
            "executor": job.executor,
            "executor_config": dict(job.executor_config),
        }
        status, _, value = await self._ask("POST", "/v1/jobs", body=body)
        self._check(status, value, f"job {job.name}")
        return _job(_table(value))

    async def delete(self, name: str) -> bool:
        """False when there was no such job. Raises `BoundaryDown`."""
        status, _, value = await self._ask("DELETE", f"/v1/jobs/{_name(name)}")
        if status == HTTPStatus.NOT_FOUND:
            return False
        self._check(status, value, f"job {name}")
        return True

    async def run(self, name: str) -> ClockJob:
        """Runs it once now, beside its schedule. Raises `NotFound`, `BoundaryDown`."""
        return await self._verb(name, "run")

    async def toggle(self, name: str) -> ClockJob:
        """Turns it on or off, whatever it was: not to be repeated blindly. Raises `NotFound`, `BoundaryDown`."""
        return await self._verb(name, "toggle")

    async def executions(self, name: str) -> Sequence[ClockExecution]:
        """Newest first. Raises `NotFound`, `BoundaryDown`."""
        status, _, value = await self._ask("GET", f"/v1/jobs/{_name(name)}/executions")
        if status == HTTPStatus.NOT_FOUND:
            raise _no_job(name)
        self._check(status, value, f"the executions of {name}")
        found = [_execution(row) for row in _rows(value)]
        return sorted(found, key=lambda execution: -(execution.started_at or 0.0))

    async def execution(self, name: str, execution_id: str) -> ClockExecution | None:
        """One with its whole output; None when there is none. Raises `BoundaryDown`."""
        path = f"/v1/jobs/{_name(name)}/executions/{quote(execution_id, safe='')}"
        status, _, value = await self._ask("GET", path)
        if status == HTTPStatus.NOT_FOUND:
            return None
        self._check(status, value, f"an execution of {name}")
        return _execution(_table(value))

    async def forget_executions(self, name: str) -> None:
        """Raises `NotFound`, `BoundaryDown`."""
        status, _, value = await self._ask("DELETE", f"/v1/jobs/{_name(name)}/executions")
        if status == HTTPStatus.NOT_FOUND:
            raise _no_job(name)
        self._check(status, value, f"the executions of {name}")

    # --- requests

    async def _verb(self, name: str, verb: str) -> ClockJob:
        status, _, value = await self._ask("POST", f"/v1/jobs/{_name(name)}/{verb}")
        if status == HTTPStatus.NOT_FOUND:
            raise _no_job(name)
        self._check(status, value, f"{verb} of {name}")
        return _job(_table(value))

    async def _get(self, path: str) -> Any:
        status, _, value = await self._ask("GET", path)
        self._check(status, value, path)
        return value

    def _check(self, status: int, value: Any, what: str) -> None:
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return
        said = one_line(value if isinstance(value, str) else json.dumps(value), 200)
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Refused(
                f"the clock at {self.url} refused {what} with {status}: {said}",
                fix="correct the schedule in the lane file",
            )
        raise self._down(f"answered {status} to {what}: {said}")

    async def _ask(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None
    ) -> tuple[int, httpx.Headers, Any]:
        """Status, headers, and the JSON value (the text of an answer outside 2xx)."""
        try:
            async with self._open().stream(
                method,
                self._base + path,
                params=query,
                content=None if body is None else json.dumps(body).encode(),
                headers={"accept": "application/json", "content-type": "application/json"},
            ) as response:
                data = bytearray()
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > ANSWER_MAX:
                        raise self._down(f"gave an answer of more than {ANSWER_MAX:,} bytes")
        except httpx.TimeoutException:
            raise self._down("gave no answer in time", code="timed-out") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise self._down(f"can't be reached: {str(error) or type(error).__name__}") from None
        status = response.status_code
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return status, response.headers, bytes(data[:4096]).decode("utf-8", "replace")
        try:
            return status, response.headers, json.loads(bytes(data)) if data else None
        except (ValueError, RecursionError):
            raise self._down("gave an answer that is not JSON") from None

    def _down(self, what: str, *, code: str | None = None) -> BoundaryDown:
        return BoundaryDown(
            f"the clock at {self.url} {one_line(what)}",
            fix="see `joelclaw-tui doctor`; is the address right?",
            code=code,
        )

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(
                    uds=self._socket,
                    limits=httpx.Limits(max_connections=8, keepalive_expiry=30.0),
                    verify=self._base.startswith("https://"),
                ),
                timeout=TIMEOUT_S,
                trust_env=False,
            )
        return self._client


def _name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise _no_job(name)
    return name


def _no_job(name: str) -> NotFound:
    return NotFound(f"the clock has no job {name[:80]!r}", fix="see `joelclaw-tui schedule list`")


def _rows(value: object) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> dict[str, str]:
    return {str(k): str(v) for k, v in _table(value).items()}


def _text(value: object, limit: int) -> str:
    return one_line(value, limit) if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if type(value) is int else 0


def _job(row: Mapping[str, Any]) -> ClockJob:
    """As it came: whoever shows a text of it cleans it first."""
    return ClockJob(
        name=str(row.get("name") or ""),
        displayname=str(row.get("displayname") or ""),
        schedule=str(row.get("schedule") or ""),
        timezone=str(row.get("timezone") or ""),
        disabled=row.get("disabled") is True,
        executor=str(row.get("executor") or ""),
        executor_config=_texts(row.get("executor_config")),
        metadata=_texts(row.get("metadata")),
        concurrency=str(row.get("concurrency") or ""),
        retries=_count(row.get("retries")),
        next=parse_stamp(row.get("next")),
        last_success=parse_stamp(row.get("last_success")),
        last_error=parse_stamp(row.get("last_error")),
        success_count=_count(row.get("success_count")),
        error_count=_count(row.get("error_count")),
        status=str(row.get("status") or ""),
    )


def _execution(row: Mapping[str, Any]) -> ClockExecution:
    output = row.get("output")
    return ClockExecution(
        execution_id=str(row.get("id") or ""),
        job_name=str(row.get("job_name") or ""),
        started_at=parse_stamp(row.get("started_at")),
        finished_at=parse_stamp(row.get("finished_at")),
        success=row.get("success") is True,
        output=output[:OUTPUT_MAX] if isinstance(output, str) else "",
        attempt=_count(row.get("attempt")),
    )
