"""Previews that were shown and may be applied: each one once, for a while, as it was shown."""

from __future__ import annotations

from runtime.actions.intents import Preview
from runtime.common.units import length
from runtime.model import Refused

PREVIEW_VALID_S = 600.0
"""What was looked at longer ago may have changed beyond what was shown."""
PREVIEWS_KEPT = 1000


class PreviewStore:
    """Owned by one `runtime.actions.apply.Actions`."""

    def __init__(self) -> None:
        self._shown: dict[str, Preview] = {}
        self._applied: set[str] = set()

    def keep(self, preview: Preview) -> None:
        """Forgets the oldest one beyond `PREVIEWS_KEPT`: it can then not be applied any more."""
        self._shown[preview.preview_id] = preview
        while len(self._shown) > PREVIEWS_KEPT:
            oldest = next(iter(self._shown))
            del self._shown[oldest]
            self._applied.discard(oldest)

    def take(self, preview: Preview, *, now: float) -> None:
        """Lets ``preview`` be applied now and never again. Raises `Refused`."""
        if preview.preview_id in self._applied:
            raise Refused(
                f"{preview.title}: this preview has been applied already",
                fix="preview again to act on what is there now",
                code="already-applied",
            )
        if self._shown.get(preview.preview_id) != preview:
            raise Refused(
                f"{preview.title}: this is not a preview that was shown here",
                fix="preview again, and apply what was shown",
                code="unknown-preview",
            )
        age = abs(now - preview.created_at)
        if age > PREVIEW_VALID_S:
            raise Refused(
                f"{preview.title}: this preview is {length(age)} old",
                fix="preview again to see what is there now",
                code="stale-preview",
            )
        self._applied.add(preview.preview_id)
