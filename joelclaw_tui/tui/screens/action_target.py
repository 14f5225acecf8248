"""What an action on items is about, in words and as an intent; and the one question that each action asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from joelclaw_tui.presentation import values
from joelclaw_tui.tui.screens.ask import AskScreen
from runtime.actions.intents import Intent
from runtime.actions.verbs import verb_of
from runtime.common.text import one_line
from runtime.model import BulkVerb, Selection

PATH_MOST = 400
NAME_MOST = 200


@dataclass(frozen=True, slots=True)
class Aim:
    """``words`` say it all, and are shown for as long as it is so."""

    words: str
    targets: tuple[str, ...]
    selection: Selection
    limit: int | None = None
    open_ended: bool = False
    """All that match, those beyond the rows in view too."""

    def intent(self, verb: BulkVerb, **terms: Any) -> Intent:
        """``terms``: of the verb's own."""
        return Intent(
            verb.value,
            self.targets,
            limit=self.limit,
            terms=verb_of(verb.value).takes(selection=self.selection, **terms),
        )


def question_of(verb: BulkVerb, aim: Aim, rate_per_s: float) -> AskScreen[Any] | None:
    """None: it needs no more than a preview. ``rate_per_s``: of a replay, as the settings have it.

    Answers with the terms of `Aim.intent`.
    """
    about = f"This is about {aim.words}."
    match verb:
        case BulkVerb.REPLAY:
            return _ask(
                "Replay at what rate?",
                f"{rate_per_s:g}/s",
                lambda text: {"rate_per_s": rate} if (rate := values.rate(text)) else {"unlimited": True},
                f"{about} New attempts a second, like 20/s or 90/m; none: all at once.",
            )
        case BulkVerb.DISCARD:
            return _ask(
                "Keep a copy first? Name a file for it",
                "",
                lambda text: {"export_to": _path(text)} if text else {},
                f"{about} A new file, like discarded.jsonl, gets every item before the first is discarded; "
                "left empty, no copy is kept.",
                placeholder="empty: no copy is kept",
                most=PATH_MOST,
            )
        case BulkVerb.REPRIORITIZE:
            return _ask(
                "To which priority?",
                "P1",
                lambda text: {"priority": values.priority(text)},
                f"{about} P0 is the most urgent, P3 the least.",
            )
        case BulkVerb.MOVE:
            return _ask(
                "To which family?",
                "",
                lambda text: {"to_family": _name(text)},
                f"{about} Each is enqueued anew there, then closed here.",
                placeholder="as declared in the lane file",
                most=NAME_MOST,
            )
        case BulkVerb.DELAY:
            return _ask(
                "Delay for how long?",
                "1h",
                lambda text: {"delay_s": values.length(text, zero=True)},
                f"{about} None is taken before that; like 10m, 2h or 1d. 0s lets them run now.",
            )
        case BulkVerb.QUARANTINE:
            return None


def _ask(
    question: str,
    first: str,
    parse: Callable[[str], dict[str, Any]],
    hint: str,
    *,
    placeholder: str = "",
    most: int = 20,
) -> AskScreen[dict[str, Any]]:
    return AskScreen(question, first, parse, hint=hint, max_length=most, placeholder=placeholder)


def _path(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a file's name, please, without characters that can't be seen")
    return text


def _name(text: str) -> str:
    if not text:
        raise ValueError("a family's name, please, as the lane file has it")
    return one_line(text, NAME_MOST)
