"""The client of Dkron's REST API: the same for a real Dkron and for the embedded clock.

What the API says is looked at again before it is believed: Dkron answers a delete and a run with 404 for
any failure, and a save with the body as it was posted. What is not a Dkron's answer (a web page, a redirect,
another type than Dkron's own) is refused by name and never read as "no jobs".
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from runtime.clock.jobs import NAME, NODE_TAGS, parse_stamp, stamp
from runtime.common.addresses import split_addresses
from runtime.common.closable import Closable
from runtime.common.text import few_names, one_line, without_credentials
from runtime.model import (
    BoundaryDown,
    ClockExecution,
    ClockJob,
    ClockSource,
    NotFound,
    OperatorError,
    Refused,
)

TIMEOUT_S = 10.0
NEXT_SERVER_AFTER_S = 0.6
"""Of several servers, one that says nothing for so long is passed over when something is read: a look
has a deadline of its own, within which the next one can still answer."""
SETTLE_WITHIN_S = 3.0
"""A follower may show for a moment what was before a change: for so long it is looked at again."""
LOOK_AGAIN_S = 0.05
ANSWER_MAX = 32 * 1024 * 1024
JOBS_MOST = 10_000
"""Jobs that one look takes; more is said, not cut in silence."""
OUTPUT_MAX = 4000
_TOTAL = re.compile(r"[0-9]{1,9}")
_FIGURES = ("next", "last_success", "last_error", "success_count", "error_count", "status", "dependent_jobs")
_NOT_OURS_TO_SAY = (*_FIGURES, "owner", "owner_email")
"""A Dkron that knows who calls writes that down as the owner."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: httpx.Headers
    value: Any
    """The JSON value of an answer within 2xx, else its text."""
    server: _Server


class _Server:
    """One address of a Dkron."""

    def __init__(self, url: str) -> None:
        self.url = without_credentials(url)
        socket = url.removeprefix("unix:") if url.startswith("unix:") else None
        self._base = "http://dkron" if socket else url.rstrip("/")
        self._socket = socket
        self._client: httpx.AsyncClient | None = None

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def ask(
        self, method: str, path: str, *, query: Mapping[str, str] | None, body: object, within_s: float
    ) -> _Answer:
        """Raises `BoundaryDown`; its code is ``not-sent`` when the request can't have arrived."""
        try:
            async with (
                asyncio.timeout(within_s),
                self._open().stream(
                    method,
                    self._base + path,
                    params=query,
                    content=None if body is None else json.dumps(body).encode(),
                    headers={
                        "accept": "application/json",
                        "accept-encoding": "identity",
                        "content-type": "application/json",
                    },
                ) as response,
            ):
                data = bytearray()
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > ANSWER_MAX:
                        raise self.down(f"gave an answer of more than {ANSWER_MAX:,} bytes: is it a Dkron?")
        except httpx.ConnectError as error:
            raise self.down(f"can't be reached: {str(error) or 'no connection'}", code="not-sent") from None
        except (TimeoutError, httpx.TimeoutException):
            raise self.down("gave no answer in time", code="timed-out") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise self.down(f"can't be reached: {str(error) or type(error).__name__}") from None
        status = response.status_code
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            to = without_credentials(response.headers.get("location", "nowhere"))
            raise self.down(f"redirects to {to}: dkron_url has to name the Dkron itself")
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            page = "html" in response.headers.get("content-type", "")
            text = "a web page" if page else bytes(data[:4096]).decode("utf-8", "replace")
            return _Answer(status, response.headers, text, self)
        try:
            value = json.loads(bytes(data)) if data else None
        except (ValueError, RecursionError):
            kind = one_line(response.headers.get("content-type", "of no type"), 60)
            raise self.down(f"gave an answer that is not JSON ({kind}): is it a Dkron?") from None
        return _Answer(status, response.headers, value, self)

    def down(self, what: str, *, code: str | None = None) -> BoundaryDown:
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


class Dkron(Closable):
    """Safe for many tasks of one event loop; connects at first use.

    Of several servers the one that answered last is asked first. Another is asked where that one can't be
    reached, says nothing or has no leader; a start (`run`, `toggle`) only where it can't have arrived.
    """

    def __init__(
        self,
        url: str,
        *,
        next_server_after_s: float = NEXT_SERVER_AFTER_S,
        settle_within_s: float = SETTLE_WITHIN_S,
    ) -> None:
        """``url``: ``http(s)://`` or ``unix:/path``, without ``/v1``; several with commas between them."""
        self._servers = [_Server(address) for address in split_addresses(url)]
        self._next_server_after_s = next_server_after_s
        self._settle_within_s = settle_within_s
        self.url = ",".join(server.url for server in self._servers)
        """Fit to be shown."""
        self.addresses = tuple(sorted(server.url for server in self._servers))

    async def aclose(self) -> None:
        for server in self._servers:
            await server.aclose()

    # --- the clock itself

    async def healthy(self) -> bool:
        """Raises `BoundaryDown` when it can't be reached."""
        return (await self._ask("GET", "/health")).status == HTTPStatus.OK

    async def source(self) -> ClockSource:
        """``leader`` None: it has none, so that it starts nothing and takes no change. Of several servers
        one that knows the leader is looked for. Raises `BoundaryDown`."""
        answer = await self._ask("GET", "/v1/leader")
        leader: str | None = None
        if answer.status == HTTPStatus.OK:
            leader = self._parsed(answer, _leader)
        elif answer.status != HTTPStatus.NOT_FOUND and answer.value.strip() not in ("", "null", "nullnull"):
            self._check(answer, "the question for its leader")
        about = await self._get("/v1/")
        version, engine = self._parsed(about, _about)
        return ClockSource(
            url=about.server.url if len(self._servers) > 1 else self.url,
            engine=engine,
            version=version,
            leader=leader,
        )

    async def busy(self) -> Sequence[ClockExecution]:
        """Executions that run now. Raises `BoundaryDown`."""
        answer = await self._get("/v1/busy")
        return self._parsed(answer, lambda value: [_execution(row) for row in _rows(value, "executions")])

    # --- jobs

    async def jobs(self, metadata: Mapping[str, str] | None = None) -> Sequence[ClockJob]:
        """Those with this metadata, by name. Raises `BoundaryDown`."""
        query = {f"metadata[{key}]": value for key, value in (metadata or {}).items()}
        query |= {"_start": "0", "_end": str(JOBS_MOST), "_sort": "name", "_order": "ASC"}
        answer = await self._ask("GET", "/v1/jobs", query=query)
        self._check(answer, "the list of jobs")
        total = answer.headers.get("x-total-count", "")
        if _TOTAL.fullmatch(total) and int(total) > JOBS_MOST:
            raise answer.server.down(f"has {total} jobs, more than the {JOBS_MOST:,} that one look takes")
        jobs = self._parsed(answer, lambda value: [_job(row) for row in _rows(value, "jobs")])
        return sorted(jobs, key=lambda job: job.name)

    async def job(self, name: str) -> ClockJob | None:
        """None when there is no such job. Raises `BoundaryDown`."""
        answer = await self._ask("GET", f"/v1/jobs/{_name(name)}")
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        self._check(answer, f"job {name}")
        return self._parsed(answer, _job)

    async def put(self, job: ClockJob) -> ClockJob:
        """Creates or replaces, and looks whether it is kept. Raises `Refused` for a job that the clock can't
        keep, `BoundaryDown`."""
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
            "tags": dict(job.tags) or None,
            "ephemeral": job.ephemeral,
            "starts_at": stamp(job.starts_at),
            "expires_at": stamp(job.expires_at),
            "parent_job": job.parent_job,
            "processors": {name: json.loads(text) for name, text in job.processors.items()} or None,
            "owner": job.owner,
            "owner_email": job.owner_email,
        }
        answer = await self._ask("POST", "/v1/jobs", body=body)
        self._check(answer, f"job {job.name}", refusable=True)
        kept = await self._until(job.name, lambda found: found is not None and _same(found, job))
        if kept is None or not _same(kept, job):
            raise answer.server.down(f"acknowledged job {job.name}, and does not have it as it was sent")
        return kept

    async def delete(self, name: str) -> bool:
        """Gone once this returns; False when there was no such job. Raises `Refused` while other jobs depend
        on it, `BoundaryDown` when it is still there."""
        done = False
        for _ in range(2):  # the second time by a server that knows the leader
            answer = await self._ask("DELETE", f"/v1/jobs/{_name(name)}")
            if answer.status != HTTPStatus.NOT_FOUND:
                done = True
                self._check(answer, f"the end of job {name}")
                job = await self._until(name, lambda found: found is None)
            else:
                job = await self.job(name)
            if job is not None and job.dependent_jobs:
                raise Refused(
                    f"the clock at {answer.server.url} keeps job {name}: {few_names(job.dependent_jobs)} "
                    "depend on it (parent_job)",
                    fix="give those another parent_job, or delete them, then apply again",
                    code="has-dependents",
                )
            leader = (await self.source()).leader
            if job is None and leader is not None:
                return done
            if leader is None:
                raise answer.server.down(f"has no leader: job {name} was not deleted", code="no-leader")
        raise answer.server.down(f"answered {answer.status} to the end of job {name}, which is still there")

    async def run(self, name: str) -> ClockJob:
        """Runs it once now, beside its schedule; a Dkron answers once that has ended. Raises `NotFound`,
        `Refused` (disabled), `BoundaryDown`."""
        return await self._verb(name, "run")

    async def toggle(self, name: str) -> ClockJob:
        """Turns it on or off, whatever it was: not to be repeated blindly. Raises `NotFound`, `BoundaryDown`."""
        return await self._verb(name, "toggle")

    async def executions(self, name: str) -> Sequence[ClockExecution]:
        """Newest first. Raises `NotFound`, `BoundaryDown`."""
        answer = await self._ask("GET", f"/v1/jobs/{_name(name)}/executions")
        if answer.status == HTTPStatus.NOT_FOUND:
            raise _no_job(name)
        self._check(answer, f"the executions of {name}")
        found = self._parsed(answer, lambda value: [_execution(row) for row in _rows(value, "executions")])
        return sorted(found, key=lambda execution: -(execution.started_at or 0.0))

    async def execution(self, name: str, execution_id: str) -> ClockExecution | None:
        """One with its whole output; None when there is none. Raises `BoundaryDown`."""
        path = f"/v1/jobs/{_name(name)}/executions/{quote(execution_id, safe='')}"
        answer = await self._ask("GET", path)
        # Dkron 4.0.9 says 200 with an empty body of one that it does not have.
        if answer.status == HTTPStatus.NOT_FOUND or answer.value is None:
            return None
        self._check(answer, f"an execution of {name}")
        return self._parsed(answer, _execution)

    async def forget_executions(self, name: str) -> None:
        """Raises `NotFound`, `Refused` by a Dkron up to 4.0.9, which can't, `BoundaryDown`."""
        answer = await self._ask("DELETE", f"/v1/jobs/{_name(name)}/executions")
        if answer.status == HTTPStatus.NOT_FOUND:
            if await self.job(name) is None:
                raise _no_job(name)
            raise Refused(
                f"the clock at {answer.server.url} can't forget executions",
                fix="Dkron can after 4.0.9",
                code="unsupported",
            )
        self._check(answer, f"the executions of {name}")

    # --- requests

    async def _verb(self, name: str, verb: str) -> ClockJob:
        answer = await self._ask("POST", f"/v1/jobs/{_name(name)}/{verb}", repeatable=False)
        if answer.status == HTTPStatus.NOT_FOUND:
            job = await self.job(name)
            if job is None:
                raise _no_job(name)
            if (await self.source()).leader is None:
                raise answer.server.down(f"has no leader: {verb} of {name} was not done", code="no-leader")
            why = "it is disabled" if job.disabled else "it says no reason"
            raise Refused(
                f"the clock at {answer.server.url} did not {verb} {name}: {why}",
                fix="see the Dkron's log",
            )
        self._check(answer, f"{verb} of {name}")
        return self._parsed(answer, _job)

    async def _until(self, name: str, fits: Callable[[ClockJob | None], bool]) -> ClockJob | None:
        """The job once it fits, else as it is after ``settle_within_s``."""
        deadline = time.monotonic() + self._settle_within_s
        while True:
            found = await self.job(name)
            if fits(found) or time.monotonic() > deadline:
                return found
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _get(self, path: str) -> _Answer:
        answer = await self._ask("GET", path)
        self._check(answer, path)
        return answer

    def _check(self, answer: _Answer, what: str, *, refusable: bool = False) -> None:
        """``refusable``: below 500 it is what was sent that is wrong."""
        status = answer.status
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return
        said = one_line(str(answer.value).strip() or "(nothing)", 200)
        if refusable and status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Refused(
                f"the clock at {answer.server.url} refused {what} with {status}: {said}",
                fix="correct the schedule in the lane file",
            )
        raise answer.server.down(f"answered {status} to {what}: {said}")

    def _parsed(self, answer: _Answer, parse: Callable[[Any], T]) -> T:
        try:
            return parse(answer.value)
        except _NotDkrons as error:
            raise answer.server.down(f"{error}: is it a Dkron?") from None

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        repeatable: bool = True,
    ) -> _Answer:
        """The first answer below 500, else the last one. Raises `BoundaryDown` of the last server."""
        servers = tuple(self._servers)
        patience = [TIMEOUT_S]
        if len(servers) > 1 and method == "GET":
            patience.insert(0, self._next_server_after_s)
        failed: OperatorError | None = None
        answer: _Answer | None = None
        for within_s in patience:
            slow = []
            for server in servers:
                try:
                    answer = await server.ask(method, path, query=query, body=body, within_s=within_s)
                except BoundaryDown as error:
                    if not repeatable and error.code != "not-sent":
                        raise
                    failed = error
                    if error.code == "timed-out":
                        slow.append(server)
                    continue
                if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR or not repeatable:
                    self._servers.sort(key=lambda one: one is not server)  # asked first from now on
                    return answer
            if answer is not None or not slow:
                break
            servers = tuple(slow)
        if answer is not None:
            return answer
        assert failed is not None  # noqa: S101 - there is at least one address
        raise failed


class _NotDkrons(ValueError):
    """Something of an answer has another shape than Dkron's; the text says what."""


def _name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise _no_job(name)
    return name


def _no_job(name: str) -> NotFound:
    return NotFound(f"the clock has no job {name[:80]!r}", fix="see `joelclaw-tui schedule list`")


def _same(found: ClockJob, sent: ClockJob) -> bool:
    """Whether the clock keeps what was sent, but for what is its own to say."""
    own = {name: getattr(found, name) for name in _NOT_OURS_TO_SAY}
    return replace(sent, **own) == found


def _rows(value: object, what: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise _NotDkrons(f"gave something else than a list of {what}")
    return value


def _table(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _NotDkrons(f"gave something else than {what}")
    return value


def _about(value: object) -> tuple[str, str]:
    """(version, engine)"""
    about = _table(value, "what it is")
    agent, tags = _table(about.get("agent"), "its version"), _texts(about, "tags")
    version = one_line(_text(agent, "version"), 60)
    if not version:
        raise _NotDkrons("does not say its version")
    return version, "embedded" if tags.get("engine") == NODE_TAGS["engine"] else "dkron"


def _leader(value: object) -> str | None:
    leader = _table(value, "its leader")
    return one_line(_text(leader, "Name") or _text(leader, "name"), 100) or None


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _NotDkrons(f"gave a {key} that is not text")
    return value


def _texts(row: Mapping[str, Any], key: str) -> dict[str, str]:
    table = row.get(key)
    if table is None:
        return {}
    if not isinstance(table, dict) or not all(isinstance(text, str) for text in table.values()):
        raise _NotDkrons(f"gave {key} that are not names and texts")
    return table


def _count(row: Mapping[str, Any], key: str) -> int:
    value = row.get(key)
    if value is None:
        return 0
    if type(value) is not int:
        raise _NotDkrons(f"gave a {key} that is not a whole number")
    return value


def _flag(row: Mapping[str, Any], key: str) -> bool:
    value = row.get(key)
    if value is not None and not isinstance(value, bool):
        raise _NotDkrons(f"gave {key} that is neither true nor false")
    return bool(value)


def _names(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = row.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise _NotDkrons(f"gave {key} that are not names")
    return tuple(value)


def _moment(row: Mapping[str, Any], key: str) -> float | None:
    text = _text(row, key)
    moment = parse_stamp(text)
    if text and moment is None and not text.startswith("0001-"):
        raise _NotDkrons(f"gave a {key} that is no instant")
    return moment


def _processors(row: Mapping[str, Any]) -> dict[str, str]:
    """Each one's configuration as JSON text."""
    table = _table(row.get("processors") or {}, "processors")
    return {str(name): json.dumps(value, sort_keys=True) for name, value in table.items()}


def _job(value: object) -> ClockJob:
    """As it came: whoever shows a text of it cleans it first."""
    row = _table(value, "a job")
    name = _text(row, "name")
    if not name:
        raise _NotDkrons("gave a job without a name")
    return ClockJob(
        name=name,
        displayname=_text(row, "displayname"),
        schedule=_text(row, "schedule"),
        timezone=_text(row, "timezone"),
        disabled=_flag(row, "disabled"),
        executor=_text(row, "executor"),
        executor_config=_texts(row, "executor_config"),
        metadata=_texts(row, "metadata"),
        concurrency=_text(row, "concurrency"),
        retries=_count(row, "retries"),
        tags=_texts(row, "tags"),
        ephemeral=_flag(row, "ephemeral"),
        starts_at=_moment(row, "starts_at"),
        expires_at=_moment(row, "expires_at"),
        parent_job=_text(row, "parent_job"),
        processors=_processors(row),
        owner=_text(row, "owner"),
        owner_email=_text(row, "owner_email"),
        next=_moment(row, "next"),
        last_success=_moment(row, "last_success"),
        last_error=_moment(row, "last_error"),
        success_count=_count(row, "success_count"),
        error_count=_count(row, "error_count"),
        status=_text(row, "status"),
        dependent_jobs=_names(row, "dependent_jobs"),
    )


def _execution(value: object) -> ClockExecution:
    row = _table(value, "an execution")
    return ClockExecution(
        execution_id=_text(row, "id"),
        job_name=_text(row, "job_name"),
        started_at=_moment(row, "started_at"),
        finished_at=_moment(row, "finished_at"),
        success=_flag(row, "success"),
        output=_text(row, "output")[:OUTPUT_MAX],
        attempt=_count(row, "attempt"),
        group=str(_count(row, "group")),
    )
