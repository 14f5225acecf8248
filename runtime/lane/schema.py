"""Payload schemas of the lane file: JSON Schema, from a file beside it or in a table of its own.

A schema is compiled once when the lane is loaded. It reaches for nothing: a ``$ref`` out of its own
document is refused, and so is a pattern that needs backtracking (look-around, back references), whose
time a payload could make as long as it likes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

from runtime.common.text import one_line
from runtime.common.text_file import UnreadableFile, read_text_file

if TYPE_CHECKING:
    from jsonschema_rs import Validator

SCHEMA_BYTES_MOST = 1024 * 1024
PATTERN_MEMORY_MOST = 10 * 1024 * 1024
"""Bytes that one compiled pattern may take."""
REASON_MOST = 300
POINTER_MOST = 200
INLINE = "in the lane file"


class PayloadSchema:
    """What the payloads of one family must look like. Two of one text are equal."""

    __slots__ = ("_text", "_validator", "source")

    def __init__(self, source: str, text: str, validator: Validator) -> None:
        self.source = source
        """The file as the lane file names it, or `INLINE`."""
        self._text = text
        self._validator = validator

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PayloadSchema):
            return NotImplemented
        return (self.source, self._text) == (other.source, other._text)

    def __hash__(self) -> int:
        return hash((self.source, self._text))

    def misfit(self, value: object) -> str | None:
        """Where and why ``value`` does not fit: a JSON pointer and a reason, fit to be shown. None: it fits.

        The value itself is never quoted; names of its fields may be.
        """
        for error in self._validator.iter_errors(value):  # lazy: the first is enough
            where = "".join("/" + _escaped(part) for part in error.instance_path)
            place = f"at {one_line(where, POINTER_MOST)}" if where else "as a whole"
            return f"{place}: {one_line(error.message, REASON_MOST)}"
        return None


class SchemaFiles:
    """The schema files that one lane file names, each read once."""

    def __init__(self, folder: Path, known: Mapping[str, str] | None = None) -> None:
        """``known``: their texts as they were kept; then no file is read."""
        self._folder = folder
        self._known = known
        self.texts: dict[str, str] = {}

    def text(self, name: str) -> str:
        """Raises `ValueError` that says why there is none."""
        if name not in self.texts:
            if self._known is None:
                self.texts[name] = read_schema_file(self._folder, name)
            elif name in self._known:
                self.texts[name] = self._known[name]
            else:
                raise ValueError(f"schema file {one_line(name, 200)} was not kept")
        return self.texts[name]


def schema_path(folder: Path, name: str) -> Path:
    """Raises `ValueError` for a name that is not a relative path."""
    if not name or "\0" in name or len(name) > 1000 or PurePosixPath(name).is_absolute():
        raise ValueError(f"{one_line(name, 200)!r} is not a path relative to the lane file")
    return folder / name


def read_schema_file(folder: Path, name: str) -> str:
    """Raises `ValueError`."""
    shown = one_line(name, 200)
    try:
        return read_text_file(schema_path(folder, name), most=SCHEMA_BYTES_MOST)
    except FileNotFoundError as error:
        raise ValueError(f"schema file {shown} can't be read: {error.strerror}") from None
    except UnreadableFile as error:
        raise ValueError(f"schema file {shown} {error}") from None


def _schema(value: object, info: ValidationInfo) -> PayloadSchema:
    if isinstance(value, PayloadSchema):
        return value
    if isinstance(value, dict):
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("has a value that JSON does not have, like a date") from None
        return compile_schema(text, source=INLINE)
    if not isinstance(value, str):
        raise ValueError("must be the path of a JSON Schema, or a table with one")
    files = info.context
    if not isinstance(files, SchemaFiles):
        raise ValueError("names a file, and this lane file has no folder")
    return compile_schema(files.text(value), source=one_line(value, 200))


SchemaField = Annotated[PayloadSchema, BeforeValidator(_schema)]


def compile_schema(text: str, *, source: str) -> PayloadSchema:
    """The draft is what ``$schema`` says, else 2020-12; formats are checked. Raises `ValueError`."""
    import jsonschema_rs  # late: only lanes with a schema pay for it

    try:
        schema: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{source} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{source} is not JSON: {one_line(str(error), 100)}") from None
    if not isinstance(schema, dict | bool):
        raise ValueError(f"{source} is not a JSON Schema: that is an object, true or false")
    try:
        validator = jsonschema_rs.validator_for(
            schema,
            offline=True,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=PATTERN_MEMORY_MOST),
            validate_formats=True,
            mask="the value",
        )
    except jsonschema_rs.ValidationError as error:
        raise ValueError(f"{source}: {_why_not(error)}") from None
    except (ValueError, RecursionError, jsonschema_rs.ReferencingError) as error:
        raise ValueError(f"{source}: {one_line(str(error), REASON_MOST)}") from None
    return PayloadSchema(source, text, validator)


def _why_not(error: Any) -> str:
    where = "".join("/" + _escaped(part) for part in error.instance_path)
    reason = one_line(str(error.message), REASON_MOST)
    if "Retrieval is disabled" in reason or "No base URI" in reason:
        return f"a $ref leaves the document, and nothing is fetched: {reason}"
    if error.kind.name == "format" and where.endswith(("/pattern", "")) and '"regex"' in reason:
        reason = (
            "not a pattern that runs in linear time and little memory (no look-around, no back references)"
        )
    return f"{one_line(where, POINTER_MOST) or 'as a whole'}: {reason}"


def _escaped(part: str | int) -> str:
    """One token of a JSON pointer (RFC 6901)."""
    return str(part).replace("~", "~0").replace("/", "~1")
