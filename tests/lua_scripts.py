"""Every Lua script of the runtime, as a server gets it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import runtime
from runtime.pressure.script import Script
from runtime.redis_client.lua import LuaScript


def every_script() -> dict[str, str]:
    """By ``<module>.<name>``; several families' in one go as ``<module>.<name>.batched``."""
    found: dict[str, str] = {}
    for module in pkgutil.walk_packages(runtime.__path__, "runtime."):
        if module.name.startswith(("runtime.pressure.", "runtime.ledger.")):
            for name, script in _of(module.name):
                found[name] = script.source
                if isinstance(script, Script):
                    found[f"{name}.batched"] = script.batched_source
    return found


def _of(module: str) -> Iterator[tuple[str, Script | LuaScript]]:
    loaded = importlib.import_module(module)
    holders = [loaded, *(value for value in vars(loaded).values() if isinstance(value, type))]
    for holder in holders:
        if isinstance(holder, type) and holder.__module__ != module:
            continue
        for name, value in vars(holder).items():
            if isinstance(value, Script | LuaScript):
                yield f"{module}.{name.strip('_').lower()}", value
