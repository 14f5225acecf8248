"""Lua scripts in files of their own: read once, put together with what they share, and sent by their hash.

A file begins with lines of ``---``: what it does, then what the server runs it with::

    --- Leases up to so many items of a family.
    --- @flags allow-oom                  how a server may run it (the EVAL flags of Redis 7)
    --- @include family                   functions that several scripts share, once, before everything
    --- @inline filter                    text that reads this script's own arguments, in front of its body
    --- @const PARKED_PER_CLAIM           a number or text that Python gives
    --- @key turn                         the next of KEYS by name
    --- @param lease_us number            the next of ARGV by name: ``number`` or ``text``
    --- @rows id, token                   arguments without end: they begin at ROWS, ROW of them each

Names are made of these, so that no body has to count its arguments.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from redis.exceptions import NoScriptError

from runtime.redis_client.connection import Redis

Constants = Mapping[str, int | float | str]
LOOKS = "no-writes"
"""The flag of a script that writes nothing: a replica runs it too."""

_HEAD = re.compile(r"--- ?(.*)")
_TAG = re.compile(r"@(flags|include|inline|const|key|param|rows) +(\S.*)")


@dataclass(frozen=True, slots=True)
class LuaSource:
    """A script in its parts, in the order in which a server reads them."""

    flags: str
    """``no-writes``, ``allow-oom`` or nothing."""
    shared: str
    """What does not read the arguments: constants, and the functions that were included."""
    body: str
    """What does: the names of keys and arguments, what was inlined, the script itself."""

    @property
    def first_line(self) -> str:
        return f"#!lua flags={self.flags}\n" if self.flags else "#!lua\n"

    @property
    def whole(self) -> str:
        return self.first_line + self.shared + self.body


class BadLua(Exception):
    """A script's file is not as it has to be: found when the program starts, never while it works."""


def load_lua(folder: Path, name: str, constants: Constants) -> LuaSource:
    """The script ``<folder>/<name>.lua``. Raises `BadLua` for a head that can't be understood."""
    file = _File.read(folder, name)
    inlined = [_File.read(folder, each) for each in file.inlines]
    needed = dict.fromkeys(const for part in (file, *inlined) for const in part.constants)
    shared = _shared(folder, file.includes, needed, constants)
    return LuaSource(file.flags, shared, file.names + "".join(part.body for part in inlined) + file.body)


def compose_lua(
    folder: Path, body: str, *, flags: str, includes: tuple[str, ...], constants: Constants
) -> LuaSource:
    """A script whose body is given as text, on the shared files of ``folder``."""
    return LuaSource(flags, _shared(folder, includes, {}, constants), body)


def _shared(folder: Path, includes: tuple[str, ...], needed: dict[str, None], constants: Constants) -> str:
    """Constants, then each included file once, after those that it includes itself."""
    bodies: dict[str, str] = {}
    for each in includes:
        _include(folder, each, bodies, needed)
    missing = [const for const in needed if const not in constants]
    if missing:
        raise BadLua(f"{folder.name}: {', '.join(missing)}: nobody gives these constants")
    values = "".join(f"local {const} = {_literal(constants[const])}\n" for const in needed)
    return values + "".join(bodies.values())


def _include(folder: Path, name: str, bodies: dict[str, str], needed: dict[str, None]) -> None:
    if name in bodies:
        return
    file = _File.read(folder, name)
    for each in file.includes:
        _include(folder, each, bodies, needed)
    needed.update(dict.fromkeys(file.constants))
    bodies[name] = file.body


@dataclass(frozen=True, slots=True)
class _File:
    flags: str
    includes: tuple[str, ...]
    inlines: tuple[str, ...]
    constants: tuple[str, ...]
    names: str
    body: str

    @classmethod
    def read(cls, folder: Path, name: str) -> _File:
        tags: dict[str, list[str]] = {}
        lines = (folder / f"{name}.lua").read_text(encoding="utf-8").splitlines(keepends=True)
        at = 0
        for at, line in enumerate(lines):
            head = _HEAD.match(line)
            if head is None:
                break
            if head[1].startswith("@"):
                tag = _TAG.match(head[1])
                if tag is None:
                    raise BadLua(f"{name}.lua:{at + 1}: {head[1]!r} is not understood")
                tags.setdefault(tag[1], []).append(tag[2])
        flags, *more = tags.get("flags", [""])
        if more or flags not in ("", LOOKS, "allow-oom"):
            raise BadLua(f"{name}.lua: flags {flags!r} are not known")
        params = tags.get("param", [])
        names = "".join(
            f"local {_name(name, key)} = KEYS[{n}]\n" for n, key in enumerate(tags.get("key", []), 1)
        )
        names += "".join(_named(name, param, n) for n, param in enumerate(params, 1))
        for rows in tags.get("rows", []):
            columns = [_name(name, each) for each in rows.partition("  ")[0].split(", ")]
            names += f"local ROWS, ROW = {len(params) + 1}, {len(columns)}\n"
        return cls(
            flags,
            tuple(_name(name, each) for each in tags.get("include", [])),
            tuple(_name(name, each) for each in tags.get("inline", [])),
            tuple(_name(name, each) for each in tags.get("const", [])),
            names,
            "".join(lines[at:]).lstrip("\n"),
        )


def _name(file: str, text: str) -> str:
    found = re.match(r"([A-Za-z_][A-Za-z0-9_]*)(?: |$)", text)
    if found is None:
        raise BadLua(f"{file}.lua: {text!r} begins with no name")
    return found[1]


def _named(file: str, param: str, number: int) -> str:
    name, kind = [*param.split(), "", ""][:2]
    if kind not in ("number", "text"):
        raise BadLua(f"{file}.lua: argument {name} is a number or a text")
    value = f"ARGV[{number}]"
    return f"local {_name(file, name)} = {f'tonumber({value})' if kind == 'number' else value}\n"


def _literal(value: float | str) -> str:
    if isinstance(value, str):
        if not re.fullmatch(r"[ -&(-\[\]-~]*", value):
            raise BadLua(f"{value!r} can't be a constant of a script")
        return f"'{value}'"
    return f"{value:.17g}"


def sha_of(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class LuaScript:
    """A script on keys of its caller's; sent by its hash, and in full to a server that does not know it."""

    def __init__(
        self, folder: Path, name: str, constants: Constants | None = None, *, flags: str | None = None
    ) -> None:
        """``flags``: instead of those that the file names. Raises `BadLua`."""
        source = load_lua(folder, name, constants or {})
        if flags is not None:
            source = replace(source, flags=flags)
        self.source = source.whole
        self.sha = sha_of(self.source)
        self.read_only = source.flags == LOOKS

    async def __call__(self, redis: Redis, keys: tuple[str, ...], *args: str | int | float) -> Any:
        suffix = "_RO" if self.read_only else ""
        try:
            return await _execute(redis, f"EVALSHA{suffix}", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await _execute(redis, f"EVAL{suffix}", self.source, len(keys), *keys, *args)


async def _execute(redis: Redis, *command: str | int | float) -> Any:
    return await redis.execute_command(*command)  # type: ignore[no-untyped-call]
