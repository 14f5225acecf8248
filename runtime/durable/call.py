"""The process in which a plain function of the ``python`` handler runs.

``python -m runtime.durable.call MODULE:FUNCTION RESULT``: the payload's JSON on standard input; the
function's result, or why there is none, as JSON in the new file RESULT. What the function prints
is its own. Imports the standard library only: it is started for every call.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

PATH_VARIABLE = "JOELCLAW_CALL_PATH"
"""Folders in which modules are looked for besides the usual ones."""


class NotCallable(Exception):
    """``module:function`` does not name a function."""


def resolve(target: str) -> Callable[..., Any]:
    """The function of ``module:function``. Raises `NotCallable`."""
    module_name, _, function_name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the module is the user's: importing it may raise anything
        raise NotCallable(f"module {module_name} does not import: {describe(error)}") from None
    function = getattr(module, function_name, None)
    if not callable(function):
        raise NotCallable(f"module {module_name} has no function {function_name}")
    return function  # type: ignore[no-any-return]  # callable() can't tell its type


def describe(error: BaseException) -> str:
    """``ValueError: what it says``, in one bounded piece and without a traceback."""
    try:
        said = str(error)[:1000]
    except Exception:  # noqa: BLE001 - __str__ is the user's
        said = ""
    name = type(error).__name__
    return f"{name}: {said}" if said else name


def add_search_path(folders: str) -> None:
    """ReadPort for modules there too, after all other places: nothing is shadowed."""
    sys.path.extend(folder for folder in folders.split(os.pathsep) if folder and folder not in sys.path)


def main(target: str, result_file: str) -> int:
    add_search_path(os.environ.get(PATH_VARIABLE, ""))
    answer: dict[str, Any]
    try:
        function = resolve(target)
    except NotCallable as error:
        answer = {"error": str(error), "retryable": False}
    else:
        answer = _call(function)
    # The rename makes it whole or absent, even when the process is killed in the middle.
    unfinished = Path(result_file + ".part")
    unfinished.write_text(json.dumps(answer), encoding="ascii")
    unfinished.rename(result_file)
    return 0


def _call(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        # As bytes: JSON is UTF-8 whatever the locale and PYTHONIOENCODING say.
        result = function(json.loads(sys.stdin.buffer.read()))
        if inspect.isawaitable(result):
            result = asyncio.run(_finish(result))
    except Exception as error:  # noqa: BLE001 - the function is the user's: whatever it raises is its failure
        return {"error": describe(error), "retryable": True}
    try:
        json.dumps(result, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return {"error": f"the result is not JSON: {describe(error)}", "retryable": False}
    return {"result": result}


async def _finish(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
