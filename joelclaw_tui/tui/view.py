"""What the console shows at one instant, as one frozen value. The app alone replaces it."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.common.command_prefix import as_called
from runtime.common.text import one_line
from runtime.model import OperatorError
from runtime.settings import Settings
from runtime.truth.document import Snapshot


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, for a person: cleaned text, and what to do next."""

    message: str
    fix: str | None = None
    code: str = "error"

    @classmethod
    def of(cls, error: OperatorError) -> Problem:
        return cls(
            message=one_line(as_called(error.message, sentence=True), 600),
            fix=None if error.fix is None else one_line(as_called(error.fix), 600),
            code=error.code,
        )


@dataclass(frozen=True, slots=True)
class View:
    """The latest snapshot, and why there is no later one."""

    settings: Settings
    snapshot: Snapshot | None = None
    problem: Problem | None = None
    """Why the latest reading failed; None after one that did not."""
    late: bool = False
    """The reading under way has passed its deadline."""
    held: bool = False
    """The screen is held still by the operator."""

    def age_s(self, now: float) -> float | None:
        """How old what is shown is, in seconds; None before the first snapshot."""
        return None if self.snapshot is None else max(0.0, now - self.snapshot.generated_at.timestamp())

    @property
    def old_after_s(self) -> float:
        """An age beyond this is a warning: two readings were missed, or one and its deadline."""
        return max(3 * self.settings.refresh_s, self.settings.refresh_s + self.settings.probe_deadline_s + 1)

    @property
    def read_only(self) -> bool:
        return self.snapshot.read_only if self.snapshot is not None else self.settings.read_only
