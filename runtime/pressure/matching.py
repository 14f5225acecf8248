"""Whether a payload has a field of a value: what must be in its text, and what must be in its value."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import orjson

from runtime.model import FieldMatch

_EXACT_INT = 2**53
"""Whole numbers beyond this may be rounded by the fast reader."""
_SPECIAL = re.compile(r'["\\/\x00-\x1f]')
"""Characters that JSON text may write in more than one way, apart from ``\\uXXXX``."""
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


def needles(fields: Sequence[FieldMatch]) -> tuple[str, ...]:
    """Texts that a payload with these fields must have, unless it has a ``\\u`` escape somewhere.

    A number can be written in many ways, and so can some characters: they give no needle.
    """
    found: list[str] = []
    for match in fields:
        if isinstance(match.value, bool) or match.value is None:
            found.append(json.dumps(match.value))
        elif isinstance(match.value, str):
            found.append(_needle(match.value))
        found.extend(_needle(key) for key in match.path if not _INDEX.fullmatch(key))
    return tuple(dict.fromkeys(needle for needle in found if needle))


def numbers(fields: Sequence[FieldMatch]) -> tuple[tuple[str, str], ...]:
    """Quoted keys that must be followed by a number of this value, unless as above."""
    return tuple(
        (f'"{match.path[-1]}"', repr(match.value))
        for match in fields
        if type(match.value) in (int, float)
        and match.path
        and not _INDEX.fullmatch(match.path[-1])
        and not _SPECIAL.search(match.path[-1])
    )


def _needle(text: str) -> str:
    parts = _SPECIAL.split(text)
    return f'"{text}"' if len(parts) == 1 else max(parts, key=len)


class Matcher:
    """Judges payloads by their values, as JSON has them: ``1`` is ``1.0``, ``true`` is not ``1``."""

    def __init__(self, fields: Sequence[FieldMatch]) -> None:
        self._fields = tuple(fields)
        exact = any(
            type(match.value) in (int, float) and abs(match.value or 0) >= _EXACT_INT  # type: ignore[arg-type]
            for match in fields
        )
        self._load: Any = json.loads if exact else orjson.loads

    def __call__(self, payload: str) -> bool:
        """False too for text that can't be read as JSON: it has no fields."""
        try:
            value = self._load(payload)
        except ValueError:
            try:
                value = json.loads(payload)
            except (ValueError, RecursionError):
                return False
        except RecursionError:
            return False
        for match in self._fields:  # noqa: SIM110 - twice as fast as `all` with one field
            if not _has(value, match):
                return False
        return True


def _has(node: Any, match: FieldMatch) -> bool:
    for key in match.path:
        if isinstance(node, dict):
            if key not in node:
                return False
            node = node[key]
        elif isinstance(node, list):
            if not _INDEX.fullmatch(key) or int(key) >= len(node):
                return False
            node = node[int(key)]
        else:
            return False
    wanted = match.value
    if wanted is None or isinstance(wanted, bool):
        return node is wanted
    if isinstance(wanted, str):
        return isinstance(node, str) and node == wanted
    return type(node) in (int, float) and bool(node == wanted)
