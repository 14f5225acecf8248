"""The embedded clock behind Dkron's REST API, as an ASGI app.

Not authenticated, as Dkron's is not: it is served on a Unix socket in a folder of the owner's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from runtime.clock.embedded import NODE, EmbeddedClock
from runtime.clock.jobs import NODE_TAGS, BadJob, Job, parse_job, stamp
from runtime.clock.store import Execution
from runtime.model import Now, OperatorError

VERSION = "4.0-compatible"
BODY_MAX = 256 * 1024
OUTPUT_SHOWN = 1000
_METADATA = re.compile(r"metadata\[([^\]]{1,100})\]")


def build_api(clock: EmbeddedClock, now: Now) -> Starlette:
    """Errors are plain text with Dkron's statuses: 400 invalid, 404 unknown."""

    def job_of(request: Request) -> Job:
        job = clock.job(request.path_params["job"])
        if job is None:
            raise HTTPException(404, "no such job")
        return job

    async def health(_: Request) -> Response:
        return _json({"status": "ok"})

    async def index(_: Request) -> Response:
        return _json(
            {
                "agent": {"name": NODE, "version": VERSION},
                "serf": {"members": "1"},
                "tags": NODE_TAGS,
            }
        )

    async def leader(_: Request) -> Response:
        return _json(_member())

    async def members(_: Request) -> Response:
        return _json([_member()])

    async def is_leader(_: Request) -> Response:
        return _json(True)

    async def busy(_: Request) -> Response:
        running = [_execution(execution) for execution in clock.busy()]
        return _json(running, total=len(running))

    async def jobs(request: Request) -> Response:
        found = [job for job in clock.jobs() if _wanted(job, request)]
        documents = [job.document(now()) for job in found]
        return _page(documents, request, default="name")

    async def save(request: Request) -> Response:
        job = await _job(request, now())
        if request.path_params.get("job", job.name) != job.name:
            raise HTTPException(400, "the name in the path is not the job's")
        saved = clock.put(job)
        if "runoncreate" in request.query_params:
            clock.run_now(saved.name)
        return _json(saved.document(now()), status=201, location=f"/v1/jobs/{saved.name}")

    async def show(request: Request) -> Response:
        return _json(job_of(request).document(now()))

    async def delete(request: Request) -> Response:
        job = job_of(request)
        clock.remove(job.name)
        return _json(job.document(now()))

    async def run(request: Request) -> Response:
        job = job_of(request)
        clock.run_now(job.name)
        return _json(job.document(now()), location=request.url.path)

    async def toggle(request: Request) -> Response:
        job = clock.toggle(job_of(request).name) or job_of(request)
        return _json(job.document(now()), location=request.url.path)

    async def executions(request: Request) -> Response:
        found = [_execution(execution) for execution in clock.executions(job_of(request).name)]
        return _page(found, request, default=None)

    async def forget(request: Request) -> Response:
        clock.forget_executions(job_of(request).name)
        return _json(None)

    async def execution(request: Request) -> Response:
        wanted = request.path_params["execution"]
        for found in clock.executions(job_of(request).name):
            if found.execution_id == wanted:
                return _json(_execution(found, whole=True))
        raise HTTPException(404, "no such execution")

    routes = [
        Route("/health", health),
        Route("/v1", index),
        Route("/v1/", index),
        Route("/v1/leader", leader),
        Route("/v1/isleader", is_leader),
        Route("/v1/members", members),
        Route("/v1/busy", busy),
        Route("/v1/jobs", jobs, methods=["GET"]),
        Route("/v1/jobs", _told(save), methods=["POST", "PATCH"]),
        Route("/v1/jobs/{job}", show, methods=["GET"]),
        Route("/v1/jobs/{job}", _told(save), methods=["PUT"]),
        Route("/v1/jobs/{job}", _told(delete), methods=["DELETE"]),
        Route("/v1/jobs/{job}/run", run, methods=["POST"]),
        Route("/v1/jobs/{job}/toggle", _told(toggle), methods=["POST"]),
        Route("/v1/jobs/{job}/executions", executions, methods=["GET"]),
        Route("/v1/jobs/{job}/executions", _told(forget), methods=["DELETE"]),
        Route("/v1/jobs/{job}/executions/{execution}", execution, methods=["GET"]),
    ]
    api = Starlette(routes=routes, exception_handlers={HTTPException: _http_error})
    api.router.redirect_slashes = False
    return api


Endpoint = Callable[[Request], Any]


def _told(endpoint: Endpoint) -> Endpoint:
    async def wrapped(request: Request) -> Response:
        try:
            answer: Response = await endpoint(request)
        except BadJob as error:
            return PlainTextResponse(str(error), 400)
        except OperatorError as error:
            return PlainTextResponse(error.message, 500)
        return answer

    return wrapped


async def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return PlainTextResponse(error.detail, error.status_code)


async def _job(request: Request, at: float) -> Job:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX:
            raise HTTPException(413, f"a job has at most {BODY_MAX} bytes")
    try:
        value = json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise BadJob("not JSON") from None
    return parse_job(value, applied_at=at)


def _wanted(job: Job, request: Request) -> bool:
    for name, value in request.query_params.multi_items():
        key = _METADATA.fullmatch(name)
        if key is not None and job.metadata.get(key.group(1)) != value:
            return False
        if name == "q" and value not in job.name and value not in job.displayname:
            return False
        if name == "status" and value and job.status != value:
            return False
        if name == "disabled" and value and job.disabled != (value == "true"):
            return False
    return True


def _page(documents: list[dict[str, Any]], request: Request, *, default: str | None) -> Response:
    """``_sort``, ``_order``, ``_start``, ``_end``; the total of all in ``X-Total-Count``."""
    query = request.query_params
    key = query.get("_sort", default)
    if key is not None and documents and key in documents[0]:
        documents = sorted(
            documents, key=lambda d: (d[key] is None, str(d[key])), reverse=query.get("_order") == "DESC"
        )
    total = len(documents)
    start, end = _number(query.get("_start"), 0), _number(query.get("_end"), total)
    return _json(documents[start:end], total=total)


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else default


def _member() -> dict[str, Any]:
    return {
        "Name": NODE,
        "Addr": "",
        "Port": 0,
        "Status": 1,
        "statusText": "alive",
        "Tags": NODE_TAGS,
    }


def _execution(execution: Execution, *, whole: bool = False) -> dict[str, Any]:
    shown = execution.output if whole else execution.output[:OUTPUT_SHOWN]
    return {
        "id": execution.execution_id,
        "job_name": execution.job,
        "started_at": stamp(execution.started_at),
        "finished_at": stamp(execution.finished_at),
        "success": execution.success,
        "output": shown,
        "output_truncated": shown != execution.output,
        "node_name": execution.node,
        "group": execution.group,
        "attempt": execution.attempt,
    }


def _json(
    value: Any, *, status: int = 200, total: int | None = None, location: str | None = None
) -> Response:
    headers = {}
    if total is not None:
        headers["X-Total-Count"] = str(total)
    if location is not None:
        headers["Location"] = location
    body: Sequence[Any] | Any = value
    return Response(json.dumps(body), status_code=status, headers=headers, media_type="application/json")
