"""Whether a payload has a field of a value: what must be in its text, and what must be in its value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from runtime.model import FieldMatch

_EXACT_INT = 2**53
"""Whole numbers beyond this may be rounded by the fast reader."""
_SPECIAL = re.compile(r'["\\/\x00-\x1f\ud800-\udfff\ufffd]')
"""Characters that JSON text may write in more than one way, apart from ``\\uXXXX``; and those as which
bytes may be read that are others in the server."""
_SCALAR = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?|true|false|null")
_NOTHING: Any = object()
"""What is found where nothing is: it equals no JSON value and has no elements."""
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


def needles(fields: Sequence[FieldMatch]) -> tuple[str, ...]:
    """Texts that a payload with these fields must have, unless it has a ``\\u`` escape somewhere.

    A number can be written in many ways, and so can some characters: they give no needle. What `members`
    asks for is not asked for again.
    """
    found: list[str] = []
    for match in fields:
        whole, scalar = bool(members((match,))), _scalar(match.value)
        if scalar is _NOTHING:  # of a member too: it is the quickest to tell most payloads apart
            found.append(_needle(str(match.value)))
        elif not whole and (isinstance(scalar, bool) or scalar is None):
            found.append(json.dumps(scalar))
        keys = match.path[:-1] if whole else match.path
        found.extend(_needle(key) for key in keys if not _INDEX.fullmatch(key))
    return tuple(dict.fromkeys(needle for needle in found if needle))


def members(fields: Sequence[FieldMatch]) -> tuple[tuple[str, str], ...]:
    """Quoted keys that must be followed by a colon and this JSON value, unless as above: a text, a word or a
    number, which may be written in other ways; word and number also within quotes."""
    return tuple(
        (f'"{match.path[-1]}"', value)
        for match in fields
        if match.path
        and not _INDEX.fullmatch(match.path[-1])
        and not _SPECIAL.search(match.path[-1])
        and (value := _written(match.value)) is not None
    )


def _written(value: str | int | float | bool | None) -> str | None:
    """The JSON of ``value``; None where it has several forms that the server does not know to be one."""
    scalar = _scalar(value)
    if scalar is _NOTHING:
        return None if _SPECIAL.search(str(value)) else f'"{value}"'
    if scalar is None or isinstance(scalar, bool):
        return json.dumps(scalar)
    try:
        return repr(scalar) if math.isfinite(scalar) else None
    except OverflowError:  # a whole number beyond what a double holds
        return None


def _scalar(value: str | int | float | bool | None) -> Any:
    """The number, ``true``, ``false`` or ``null`` that ``value`` is, or that its text says; else `_NOTHING`."""
    if not isinstance(value, str):
        return value
    if not _SCALAR.fullmatch(value):
        return _NOTHING
    try:
        scalar = json.loads(value)
        return scalar if scalar is None or math.isfinite(scalar) else _NOTHING
    except (ValueError, OverflowError):
        return _NOTHING


def _needle(text: str) -> str:
    parts = _SPECIAL.split(text)
    return f'"{text}"' if len(parts) == 1 else max(parts, key=len)


class FieldMatcher:
    """Judges payloads by their values, as JSON has them: ``1`` is ``1.0``, ``true`` is not ``1``. A text that
    says such a value is that value too, both ways: a person who asks for 404 means ``"404"`` as well."""

    def __init__(self, fields: Sequence[FieldMatch]) -> None:
        scalars = [_scalar(match.value) for match in fields]
        self._tests = tuple(
            (match.path, scalar, _kinds(scalar), _text(match.value))
            for match, scalar in zip(fields, scalars, strict=True)
        )
        exact = any(type(scalar) in (int, float) and abs(scalar) >= _EXACT_INT for scalar in scalars)
        self._load: Any = json.loads if exact else orjson.loads

    def __call__(self, payload: str) -> bool:
        """False too for text that can't be read as JSON: it has no fields."""
        return self.many((payload,))[0]

    def many(self, payloads: Iterable[str]) -> list[bool]:
        """Of each whether it matches. Written out in one loop: a call a payload costs as much as reading it."""
        load, tests = self._load, self._tests
        verdicts: list[bool] = []
        for payload in payloads:
            try:
                value = load(payload)
            except (ValueError, RecursionError):
                value = _read_again(payload)
            matching = value is not _NOTHING
            for path, wanted, kinds, text in tests:
                node = value
                for key in path:
                    node = node.get(key, _NOTHING) if type(node) is dict else _element(node, key)
                if (node != wanted or type(node) not in kinds) and (node != text or type(node) is not str):
                    matching = False
                    break
            verdicts.append(matching)
        return verdicts


def _kinds(value: Any) -> tuple[type, ...]:
    """What a value that equals ``value`` must be to be the same one in JSON."""
    if value is _NOTHING:
        return ()
    return (int, float) if isinstance(value, int | float) and not isinstance(value, bool) else (type(value),)


def _text(value: str | int | float | bool | None) -> str:
    """``value`` as a payload may have it within quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def _element(node: Any, key: str) -> Any:
    """Of a value that is no object."""
    if type(node) is not list or not _INDEX.fullmatch(key) or int(key) >= len(node):
        return _NOTHING
    return node[int(key)]


def _read_again(payload: str) -> Any:
    """What the fast reader refuses the slow one may still read: whole numbers of any size, half a character."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return _NOTHING
