"""Functions that the tests' ``python`` handlers call."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any


def double(payload: dict[str, int]) -> dict[str, Any]:
    return {"doubled": payload["n"] * 2, "pid": os.getpid(), "run": os.environ["JOELCLAW_RUN_ID"]}


async def double_inside(payload: dict[str, int]) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"doubled": payload["n"] * 2, "pid": os.getpid()}


def surroundings(payload: object) -> dict[str, Any]:
    return {"payload": payload, "env": dict(os.environ), "path": sys.path}


async def surroundings_async(payload: object) -> dict[str, Any]:
    return surroundings(payload)


def raises(payload: object) -> None:
    raise ValueError("\x1b[31mno good\x1b[0m\nsecond line")


def hangs(payload: object) -> None:
    time.sleep(600)


INSIDE: list[object] = []
"""The payloads with which a function that hangs was begun in this process."""


async def cancels_its_own(payload: object) -> None:
    task = asyncio.create_task(asyncio.sleep(600))
    task.cancel()
    await task


async def hangs_inside(payload: object) -> None:
    INSIDE.append(payload)
    await asyncio.sleep(600)


def leaves(payload: object) -> None:
    os._exit(7)


def not_json(payload: object) -> object:
    return {1, 2}


def huge(payload: object) -> str:
    return "x" * 1_000_000


def exits(_: object) -> None:
    sys.exit(3)


async def exits_async(_: object) -> None:
    sys.exit(3)


async def interrupts(_: object) -> None:
    raise KeyboardInterrupt
