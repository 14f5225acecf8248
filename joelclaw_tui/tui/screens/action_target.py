"""What an action on items is about, in words and as what a key is pressed for."""

from __future__ import annotations

from dataclasses import dataclass

from joelclaw_tui.tui.verb_keys import Chosen
from runtime.model import Selection


@dataclass(frozen=True, slots=True)
class Aim:
    """``words`` say it all, and are shown for as long as it is so."""

    words: str
    targets: tuple[str, ...]
    selection: Selection
    limit: int | None = None
    open_ended: bool = False
    """All that match, those beyond the rows in view too."""

    def chosen(self) -> Chosen:
        return Chosen(
            self.targets,
            selection=self.selection,
            limit=self.limit,
            about=f"This is about {self.words}. ",
            open_ended=self.open_ended,
        )
