"""Headers of the ``http`` handler: what can be sent, said where the lane file is checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import AfterValidator

from runtime.lane.values import SecretRef

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, 5.6.2."""
_FRAMING = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"}
    | {"transfer-encoding"}
)
"""They say how the message itself is carried, which the handler decides."""
NAME_MAX = 200
VALUE_MAX = 8000
"""Characters; servers refuse longer ones."""
T = TypeVar("T")


def value_problem(value: str) -> str | None:
    """Why no header can have this value; None: it can. The value itself is not told: it may be a secret."""
    if "\r" in value or "\n" in value:
        return "it has a line break"
    if any((ord(char) < ord(" ") and char != "\t") or ord(char) == 0x7F for char in value):
        return "it has a control character"
    if not value.isascii():
        return "it has characters that are not ASCII"
    if len(value) > VALUE_MAX:
        return f"it is longer than {VALUE_MAX:,} characters"
    return None


def _name(name: str) -> str:
    if not name:
        raise ValueError("a header needs a name")
    if len(name) > NAME_MAX or not _TOKEN.fullmatch(name):
        raise ValueError("is no header's name: letters, digits and !#$%&'*+-.^_`|~, up to 200 of them")
    if name.lower() in _FRAMING:
        raise ValueError("can't be set: it says how the request is carried, which the handler decides")
    return name


def _value(value: str) -> str:
    if problem := value_problem(value):
        raise ValueError(f"can't be sent: {problem}")
    return value


def _once(headers: Mapping[str, T]) -> Mapping[str, T]:
    seen: dict[str, str] = {}
    for name in headers:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise ValueError(f"{name!r} and {other!r} are the same header")
    return headers


Headers = Annotated[
    dict[Annotated[str, AfterValidator(_name)], Annotated[str, AfterValidator(_value)] | SecretRef],
    AfterValidator(_once),
]
