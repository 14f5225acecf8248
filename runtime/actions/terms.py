"""What an operator can say of an action beyond its targets: each verb has terms of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from runtime.model import UsageError

if TYPE_CHECKING:
    from runtime.actions.intents import Intent


@dataclass(frozen=True, slots=True)
class Terms:
    """Of a verb that has none."""


T = TypeVar("T", bound=Terms)


def terms_of(intent: Intent, kind: type[T]) -> T:
    """The terms of ``intent``, those of ``kind`` by default. Raises `UsageError`: they are another verb's."""
    if intent.terms is None:
        return kind()
    if not isinstance(intent.terms, kind):
        raise UsageError(f"{intent.action} can't be asked for on the terms of another verb")
    return intent.terms
