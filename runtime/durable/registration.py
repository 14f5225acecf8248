"""Makes Restate know the worker's address, and keeps it so."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from runtime.durable.admin import Admin, AdminRefused
from runtime.model import OperatorError, run_service

CODE_KEY = "joelclaw.code"
"""Metadata of the service: which code was registered."""
_FIRST_RETRY_S = 0.1
_MAX_RETRY_S = 5.0
RECHECK_S = 30.0


class NotRegistered(OperatorError):
    """Restate could not take the worker's address."""

    code = "not-registered"


@cache
def code_version() -> str:
    """Changes with whatever Restate keeps about the service: its handlers and their options."""
    digest = hashlib.sha256()
    for name in ("workflow.py", "schedule.py", "sandbox_run.py"):
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()[:16]


async def register(
    admin_url: str,
    worker_url: str,
    lane: str,
    *,
    on_problem: Callable[[OperatorError], None] | None = None,
) -> str:
    """Returns the deployment's id once Restate sends the lane's runs to ``worker_url``.

    ReadPort first: the same address with the same code is left as it is; changed code at the same
    address replaces what Restate knows (its suspended runs stay with it). Tries for ever, while
    Restate is down and while the worker does not answer yet, and tells ``on_problem`` each failure.
    """
    delay = _FIRST_RETRY_S
    async with Admin(admin_url) as admin:
        while True:
            try:
                return await register_once(admin, worker_url, lane)
            except OperatorError as error:
                if on_problem is not None:
                    on_problem(error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _MAX_RETRY_S)


async def keep_registered(
    admin_url: str,
    worker_url: str,
    lane: str,
    *,
    on_registered: Callable[[str], None] | None = None,
    on_problem: Callable[[OperatorError], None] | None = None,
    recheck_s: float = RECHECK_S,
) -> None:
    """`register` again every ``recheck_s`` seconds until cancelled: a Restate that lost its data, or
    that another worker registered at, learns this worker's address again. ``on_registered`` is told the
    deployment when it is another one, and after each problem."""
    told: str | None = None

    def failed(error: OperatorError) -> None:
        nonlocal told
        told = None  # the next success is news
        if on_problem is not None:
            on_problem(error)

    while True:
        deployment = await register(admin_url, worker_url, lane, on_problem=failed)
        if deployment != told and on_registered is not None:
            on_registered(deployment)
        told = deployment
        await asyncio.sleep(recheck_s)


async def register_once(admin: Admin, worker_url: str, lane: str) -> str:
    """One look, and one registration if it is needed. Raises `BoundaryDown`, `NotRegistered`."""
    service = run_service(lane)
    known = await _service(admin, service)
    if known is not None:
        deployment = str(known.get("deployment_id"))
        at_worker = await _address(admin, deployment) == worker_url.rstrip("/")
        metadata = known.get("metadata")
        same_code = isinstance(metadata, dict) and metadata.get(CODE_KEY) == code_version()
        if at_worker and same_code:
            return deployment
    try:
        answer = await admin.request("POST", "/deployments", {"uri": worker_url, "force": True})
    except AdminRefused as refused:
        raise NotRegistered(
            f"Restate did not register the worker at {worker_url}: {refused}",
            fix="is the worker up, and has it the identity key of this Restate?",
        ) from None
    if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
        raise admin.down("gave an answer to a registration that is not Restate's")
    return str(answer["id"])


async def _service(admin: Admin, name: str) -> dict[str, Any] | None:
    try:
        answer = await admin.request("GET", f"/services/{name}")
    except AdminRefused:
        return None
    return answer if isinstance(answer, dict) else None


async def _address(admin: Admin, deployment: str) -> str | None:
    try:
        answer = await admin.request("GET", f"/deployments/{deployment}")
    except AdminRefused:
        return None
    uri = answer.get("uri") if isinstance(answer, dict) else None
    return uri.rstrip("/") if isinstance(uri, str) else None
