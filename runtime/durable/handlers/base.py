"""What every handler gets and gives, and the bounds of both."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from runtime.lane.lane_file import Family, SecretRef
from runtime.model import RunRequest

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MESSAGE_MAX = 300
"""Characters of a failure's message, cleaned for display."""
RAW_MESSAGE_MAX = 64 * 1024
RESULT_MAX = 16 * 1024
"""Bytes of a result's JSON text; Restate keeps it twice, in the journal and as the run's output."""
_HIDDEN = "***"
SECRET_LINE_MIN = 8
SECRET_PART_MIN = 4
"""Characters; shorter parts would hide ordinary text."""
LEFT_OUT = re.compile(r"\n… [0-9]+ bytes left out …\n")
"""Stands where the middle of a long output was left out."""


class HandlerFailure(Exception):
    """One try did not succeed. ``retryable`` is False where no further try can help; ``retry_after_s``: what was
    called asked not to be called again before that."""

    def __init__(self, message: str, *, retryable: bool, retry_after_s: float | None = None) -> None:
        # Not cut to its shown length yet: half a secret could not be recognised any more.
        self.message = message[:RAW_MESSAGE_MAX]
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        super().__init__(self.message)


@dataclass(frozen=True, slots=True)
class HandlerCall:
    """One try of one run's handler."""

    request: RunRequest
    family: Family
    """As the lane file declares it at this try."""
    lane_dir: Path
    """The lane file's folder; ``module:function`` handlers may live there."""
    apart: bool = False
    """It runs in a process of its own, whatever it is: its family was there when a worker died."""
    on_process: Callable[[int], None] | None = None
    """Told the process group of the program that runs for it."""

    @property
    def identity(self) -> dict[str, str]:
        """What names the work; the same for every try of one attempt."""
        return {
            "run_id": self.request.run_id,
            "item_id": self.request.item_id,
            "attempt": str(self.request.attempt),
            "family": self.request.family,
        }


class Secrets:
    """Secrets as resolved for one try, so that what comes back can be cleaned of them."""

    def __init__(self) -> None:
        self._values: set[str] = set()

    def resolve(self, declared: Mapping[str, str | SecretRef]) -> dict[str, str]:
        """The values by name. Raises `HandlerFailure`, which is final: a try later finds the same."""
        values: dict[str, str] = {}
        for name, value in declared.items():
            if isinstance(value, str):
                values[name] = value
                continue
            secret = os.environ.get(value.env)
            if secret is None:
                raise HandlerFailure(
                    f"{name}: the worker's environment has no {value.env}; set it, restart the worker and replay",
                    retryable=False,
                )
            values[name] = secret
            if secret:
                self._values.add(secret)
                # A program may print one line of it.
                self._values.update(line for line in secret.splitlines() if len(line) >= SECRET_LINE_MIN)
        return values

    def hide(self, value: Json) -> Json:
        """``value`` without the secrets: results and errors are kept in Restate's journal."""
        if not self._values:
            return value
        if isinstance(value, str):
            return self._hide_text(value)
        if isinstance(value, list):
            return [self.hide(part) for part in value]
        if isinstance(value, dict):
            return {str(self.hide(key)): self.hide(part) for key, part in value.items()}
        return value

    def _hide_text(self, text: str) -> str:
        # The longest first: one secret may be a part of another.
        for secret in sorted(self._values, key=len, reverse=True):
            text = text.replace(secret, _HIDDEN)
        cut = LEFT_OUT.search(text)
        if cut is None:
            return text
        before, after = text[: cut.start()], text[cut.end() :]
        for secret in self._values:
            # What was left out may have begun or ended within a secret.
            for length in range(len(secret) - 1, SECRET_PART_MIN - 1, -1):
                if before.endswith(secret[:length]):
                    before = before[:-length] + _HIDDEN
                if after.startswith(secret[-length:]):
                    after = _HIDDEN + after[length:]
        return before + cut.group() + after


def bounded_result(value: Json) -> bytes:
    """``value`` as JSON text of at most `RESULT_MAX` bytes; a larger one as its head and a note.

    Raises `HandlerFailure` (final) for what is not JSON.
    """
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise HandlerFailure(f"the result is not JSON: {error}", retryable=False) from None
    if len(text) <= RESULT_MAX:
        return text.encode("ascii")
    note: dict[str, Json] = {"truncated": True, "bytes": len(text), "head": ""}
    # A head of ASCII JSON text at most doubles when it is quoted again.
    note["head"] = text[: (RESULT_MAX - 100) // 2]
    return json.dumps(note, separators=(",", ":")).encode("ascii")
