"""The ``python`` handler: ``module:function``, called with the payload's value.

A function that its module defines with ``async def``, of a family without ``env``, runs inside the
worker, under the time limit; its module is imported once, so an edit needs a restart of the worker. Any other runs in a process
of its own, so that it can be ended, and its module is never imported here; so does an ``async def`` of a
family that was there when a worker died. Modules are looked for
where the worker finds its own, then in the lane file's folder.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from runtime.durable.call import PATH_VARIABLE, NotCallable, add_search_path, describe, resolve
from runtime.durable.handlers.base import HandlerCall, HandlerFailure, Json, Secrets
from runtime.durable.handlers.guard import GroupGuard
from runtime.durable.handlers.process import Finished, run_process, work_folder

READ_MAX = 256 * 1024
"""Bytes of a result file that are parsed; of a longer one the head is kept."""
_HEAD = 4 * 1024


async def run_python(call: HandlerCall, secrets: Secrets, guard: GroupGuard) -> Json:
    """Raises `HandlerFailure`: final where the function can't be found or its result is not JSON."""
    target = call.family.call
    if not target:
        raise HandlerFailure("the family has no call", retryable=False)
    add_search_path(str(call.lane_dir))
    if call.family.env or not await asyncio.to_thread(_is_async, target):
        return await _in_process(target, call, secrets, guard)
    if call.apart:
        # It may count on what it finds in the worker's own environment.
        return await _in_process(target, call, secrets, guard, environment=os.environ)
    async with asyncio.timeout(call.family.timeout):
        return await _in_worker(target, call.request.payload)


def _is_async(target: str) -> bool:
    """Whether the module's source defines the function with ``async def``; nothing of it is run."""
    module_name, _, function_name = target.partition(":")
    try:
        spec = importlib.util.find_spec(module_name)
    except Exception:  # noqa: BLE001 - a parent package is the user's; the process that imports it says why
        return False
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return False
    try:
        tree = ast.parse(Path(spec.origin).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    return any(isinstance(node, ast.AsyncFunctionDef) and node.name == function_name for node in tree.body)


async def _in_worker(target: str, payload: str) -> Json:
    try:
        function = await asyncio.to_thread(resolve, target)
    except NotCallable as error:
        raise HandlerFailure(str(error), retryable=False) from None
    try:
        result: Json = await function(json.loads(payload))
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Of something that the function itself waited for: nobody has asked this run to end.
        raise HandlerFailure(f"{target} raised {describe(error)}", retryable=True) from None
    # The worker takes its own signals otherwise: these two are the function's own.
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - the function is the user's: whatever it raises is its failure
        raise HandlerFailure(f"{target} raised {describe(error)}", retryable=True) from None
    return result


async def _in_process(
    target: str,
    call: HandlerCall,
    secrets: Secrets,
    guard: GroupGuard,
    *,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Json:
    with work_folder(call) as (folder, env):
        result_file = folder / "result.json"
        declared = secrets.resolve(call.family.env)
        # The family's own comes after: without ours the handler itself would not be found.
        search = [*(place for place in sys.path if place), declared.pop("PYTHONPATH", "")]
        finished = await run_process(
            [sys.executable, "-P", "-m", "runtime.durable.call", target, str(result_file)],
            env={
                **environment,
                **env,
                "PYTHONPATH": os.pathsep.join(place for place in search if place),
                PATH_VARIABLE: str(call.lane_dir),
                **declared,
            },
            cwd=call.family.cwd,
            folder=folder,
            timeout_s=call.family.timeout,
            guard=guard,
            on_process=call.on_process,
        )
        return _result(target, result_file, finished)


def _result(target: str, result_file: Path, finished: Finished) -> Json:
    try:
        size = result_file.stat().st_size
        if size > READ_MAX:
            with result_file.open(encoding="ascii", errors="replace") as file:
                return {"truncated": True, "bytes": size, "head": file.read(_HEAD)}
        answer: dict[str, Any] = json.loads(result_file.read_bytes())
    except (OSError, ValueError):
        said = f": {finished.stderr.last_line}" if finished.stderr.last_line else ""
        raise HandlerFailure(
            f"{target} gave no result: its process {finished.how}{said}", retryable=True
        ) from None
    if "error" in answer:
        verb = "raised " if answer["retryable"] else ""
        raise HandlerFailure(f"{target} {verb}{answer['error']}", retryable=bool(answer["retryable"]))
    result: Json = answer["result"]
    return result
