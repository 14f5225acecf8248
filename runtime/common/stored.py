"""What outlives a process says its version: how a stored document is written, and how one of any age is read.

A document is a JSON object with its version in ``v``. Without one it is of before there were versions: 0. An older
one is migrated; of a newer one is read what is understood, unknown fields being ignored. What can't be read at all
is an `UnreadableDocument`, which whoever reads tells: it is never dropped in silence, and never tried for ever.

pydantic is imported where the first document is read: the command line's parser has no need of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from runtime.common.text import one_line
from runtime.model import OperatorError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

BEFORE = 0
"""The version of a document that says none."""
TOLD_MOST = 100
"""Unreadable documents of one look that are kept to be told; all of them are counted."""
WHY_MAX = 200


class UnreadableDocument(OperatorError):
    """A stored document that can't be read: which kind, where it is, why, and what to do."""

    code = "unreadable-document"

    def __init__(self, kind: str, where: str, why: str, *, fix: str, version: int | None = None) -> None:
        super().__init__(f"{kind} at {where} can't be read: {why}", fix=fix)
        self.kind = kind
        self.where = where
        self.why = why
        self.version = version
        """The version that it says; None: it says none that is one."""


def _as_it_is(document: dict[str, Any], version: int) -> dict[str, Any]:
    """No version so far has meant another form."""
    del version
    return document


def _form(value: Any) -> dict[str, Any]:
    return asdict(value)


@dataclass(frozen=True)
class Document(Generic[T]):
    """One kind of stored document: a frozen type of ours, as pydantic validates it."""

    kind: str
    """As a person calls it."""
    type: type[T]
    version: int = 1
    """The present one."""
    migrate: Callable[[dict[str, Any], int], dict[str, Any]] = _as_it_is
    """(document, its version) -> the present form. Raises `ValueError`, `KeyError`, `TypeError` for what is none."""
    form: Callable[[T], dict[str, Any]] = _form
    """What is written of a value."""
    taken: Callable[[dict[str, Any]], dict[str, Any]] = dict
    """What is written, as the type takes it: where JSON can't say it in the type's own form."""

    def text(self, value: T) -> str:
        """On one line, as it is stored."""
        document = {"v": self.version, **self.form(value)}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    def read(self, data: str | bytes | None, where: str) -> T:
        """Raises `UnreadableDocument`. ``where``: the file or the key, as a person finds it."""
        try:
            document = json.loads(data if data is not None else "null")
        except (ValueError, RecursionError) as error:
            raise self.unreadable(where, f"it is no JSON ({error})") from None
        return self.of(document, where)

    def of(self, document: object, where: str) -> T:
        """What was parsed already, as a part of another document is. Raises `UnreadableDocument`."""
        if not isinstance(document, dict):
            raise self.unreadable(where, "it is no object")
        version = version_of(document)
        try:
            form = document if version >= self.version else self.migrate(dict(document), version)
            fields = {name: value for name, value in form.items() if name != "v"}
            return self._adapter.validate_python(self.taken(fields))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise self.unreadable(where, why_not(error), version) from None

    def unreadable(self, where: str, why: str, version: int | None = None) -> UnreadableDocument:
        """What is told of a document that is none of this kind."""
        why = one_line(why, WHY_MAX)
        if version is not None and version > self.version:
            return UnreadableDocument(
                self.kind,
                where,
                f"it was written by a newer version (document version {version}, known here: {self.version}): {why}",
                fix="run the newer version here too; until then it is left as it is",
                version=version,
            )
        fix = "look at it there; it is left as it is, and told until it is mended, replaced or removed"
        return UnreadableDocument(self.kind, where, why, fix=fix, version=version)

    @cached_property
    def _adapter(self) -> TypeAdapter[T]:
        from pydantic import TypeAdapter

        return TypeAdapter(self.type)


def version_of(document: Mapping[str, Any]) -> int:
    """The version that a document says; `BEFORE` for none."""
    said = document.get("v", BEFORE)
    return said if type(said) is int and said >= 0 else BEFORE


def why_not(error: Exception) -> str:
    """The first fault, by the field that has it: pydantic's own text has several lines and an address."""
    faults = getattr(error, "errors", None)
    if callable(faults) and (found := faults()):
        field = ".".join(str(part) for part in found[0]["loc"])
        return f"{field}: {found[0]['msg']}" if field else str(found[0]["msg"])
    return f"no {error}" if isinstance(error, KeyError) else str(error)


@dataclass(frozen=True, slots=True)
class Untold:
    """Documents of one kind that a reader could not read when it looked last."""

    kind: str
    total: int
    first: UnreadableDocument


class Unreadable:
    """What a reader of stored documents could not read, by look: what is mended is told no more."""

    def __init__(self) -> None:
        self._looks: dict[str, tuple[int, tuple[UnreadableDocument, ...]]] = {}

    def saw(self, look: str, found: Iterable[UnreadableDocument]) -> None:
        """All that ``look`` could not read this time."""
        errors = tuple(found)
        if errors:
            self._looks[look] = len(errors), errors[:TOLD_MOST]
        else:
            self._looks.pop(look, None)

    def told(self) -> tuple[Untold, ...]:
        """By kind and look, in words that stay the same from look to look."""
        return tuple(Untold(errors[0].kind, total, errors[0]) for total, errors in self._looks.values())


@dataclass(frozen=True, slots=True)
class Kind:
    """Where one kind of document is written and read. The table of `docs/architecture.md` names each."""

    name: str
    module: str
    """That writes it."""
    where: str


KINDS: tuple[Kind, ...] = ()
