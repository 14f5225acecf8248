"""Payloads at the door: JSON text within the limit, or an error that says why not."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from runtime.model import PayloadError, PayloadTooLarge

WHITE_SPACE = " \t\r\n"
MAX_DEPTH = 100
"""Nesting beyond this is refused: other JSON readers down the way have limits of their own."""

CONCURRENCY_KEY_MOST = 256
_EXACT_BELOW = 2**53
"""Whole numbers below this are the same as float and as integer."""


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""Only text with such an escape can have half a character in it: the others are spared the search."""


@dataclass(frozen=True, slots=True)
class Payload:
    """One JSON value: its text as it was given, and what it says."""

    text: str
    value: object


def parse_payload(raw: bytes | str, limit: int) -> str:
    """The text alone of `read_payload`, with its errors."""
    return read_payload(raw, limit).text


def read_payload(raw: bytes | str, limit: int) -> Payload:
    """``raw`` as text of at most ``limit`` bytes that is one JSON value; not a character of it is changed.

    Strict JSON (RFC 8259): no NaN or Infinity, valid UTF-8, no lone surrogates.
    Raises `PayloadTooLarge`, `PayloadError`.
    """
    size = len(raw) if isinstance(raw, bytes) else len(raw.encode("utf-8", "surrogatepass"))
    if size > limit:
        raise PayloadTooLarge(
            f"payload has {size:,} bytes, the limit is {limit:,}",
            fix="send a reference to the data instead, or raise payload_limit in the settings",
        )
    try:
        text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
    except UnicodeDecodeError as error:
        raise PayloadError(f"payload is not UTF-8: byte {error.start}", fix="send JSON in UTF-8") from None
    try:
        value = json.loads(text, parse_constant=_no_constant)
        if _depth(value) > MAX_DEPTH:
            raise PayloadError(f"payload is nested deeper than {MAX_DEPTH} levels", fix="flatten it")
        if not isinstance(raw, bytes) or _SURROGATE.search(text):
            text.encode("utf-8")
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise PayloadError(f"payload is nested deeper than {MAX_DEPTH} levels", fix="flatten it") from None
    except UnicodeEncodeError:
        raise PayloadError("payload has a lone UTF-16 surrogate", fix="send well-formed Unicode") from None
    except json.JSONDecodeError as error:
        raise PayloadError(
            f"payload is not JSON: {error.msg.removesuffix(' at')} at line {error.lineno}, column {error.colno}",
            fix="send one JSON value; text needs quotes",
        ) from None
    except ValueError as error:
        if "set_int_max_str_digits" in str(error):  # Python's own limit, in words that are for its callers
            most = sys.get_int_max_str_digits()
            raise PayloadError(
                f"payload has a whole number of more than {most:,} digits", fix="send it as text"
            ) from None
        raise PayloadError(f"payload is not JSON: {error}", fix="send one JSON value") from None
    return Payload(text.strip(WHITE_SPACE), value)


def value_at(payload: str, path: Sequence[str]) -> str | None:
    """The JSON text of what ``payload`` has at ``path``: keys of objects, or indexes of arrays. None: nothing
    is there, or the payload can't be read."""
    try:
        value = json.loads(payload)
        for key in path:
            value = value[int(key)] if isinstance(value, list) else value[key]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    return json.dumps(value, ensure_ascii=False)


def concurrency_key(value: object, path: str) -> str | None:
    """The JSON text of the scalar at ``path`` (``"customer.id"``); 7 and 7.0 are one. None: nothing is
    there, or null.

    Raises `PayloadError` for an object, an array and a text too long to be a key.
    """
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    if value is None:
        return None
    if isinstance(value, dict | list):
        raise PayloadError(
            f"the concurrency key {path!r} is {'an object' if isinstance(value, dict) else 'an array'}",
            fix="it must be a text, a number, true or false; or leave it out",
        )
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_BELOW:
        value = int(value)
    key = json.dumps(value, ensure_ascii=False)
    if len(key.encode()) > CONCURRENCY_KEY_MOST:
        raise PayloadError(
            f"the concurrency key {path!r} has more than {CONCURRENCY_KEY_MOST} bytes",
            fix="name a shorter field in the lane file's concurrency.key, an id",
        )
    return key


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _depth(value: object) -> int:
    """How deep it is nested, at least where that is too deep. Raises `ValueError` for a number that
    became infinite."""
    deepest = 0
    stack = [(value, 1)]
    while stack:
        node, depth = stack.pop()
        deepest = max(deepest, depth)
        if depth > MAX_DEPTH:
            break
        if isinstance(node, dict):
            stack.extend((child, depth + 1) for child in node.values())
        elif isinstance(node, list):
            stack.extend((child, depth + 1) for child in node)
        elif isinstance(node, float) and not math.isfinite(node):
            raise ValueError("a number is too large")
    return deepest
