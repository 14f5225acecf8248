"""A verb's key, from the press to its intent: the one question that comes first, if there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from textual.dom import DOMNode

from joelclaw_tui.presentation import values
from joelclaw_tui.tui.host import ConsoleHost, host_of
from joelclaw_tui.tui.keymap import VERB_KEYS, verb_action
from joelclaw_tui.tui.screens.ask import AskScreen, count_answer, reason_answer
from joelclaw_tui.tui.screens.preview import REASON_MAX
from joelclaw_tui.tui.screens.terms import Terms, TermsScreen
from runtime.actions.command import Value
from runtime.actions.intents import Intent
from runtime.actions.keys import Asks, Question
from runtime.actions.verb import Subject, Verb
from runtime.common.text import one_line
from runtime.model import PauseMode, Selection

_OF_ACTION = {verb_action(key_id): bound for key_id, bound in VERB_KEYS.items()}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a key is about."""

    targets: tuple[str, ...]
    named: str = ""
    """In a question, clean."""
    rows: Sequence[Any] = ()
    """As the latest snapshot has them."""
    selection: Selection | None = None
    """Which items of the targets, where these are families."""
    limit: int | None = None
    about: str = ""
    """Before the hint of a question: what it is about."""
    open_ended: bool = False


def is_verb(action: str) -> bool:
    return action in _OF_ACTION


def subject_of(action: str) -> Subject:
    """Of the verb of that action."""
    return _OF_ACTION[action][0].subject


def offered(action: str, rows: Sequence[Any]) -> bool:
    """Whether that verb's key would do something about one of ``rows``. What is known here is as old as the
    latest look: a key that is not offered still answers, with the action layer's reason."""
    _, key = _OF_ACTION[action]
    return (all if key.for_every else any)(map(key.offered, rows))


def press(node: DOMNode, key_id: str, chosen: Chosen, act: Callable[[Intent], None]) -> None:
    """Asks what has to be asked, then hands the intent to ``act``; leaving the question ends it."""
    verb, key = VERB_KEYS[key_id]
    question = key.question
    if question is None or (key.only_open_ended and not chosen.open_ended):
        act(_intent(verb, chosen, host_of(node), {}))
        return
    _ASKED[question.asks](node, verb, question, chosen, act)


def _intent(verb: Verb, chosen: Chosen, host: ConsoleHost, given: Mapping[str, Any]) -> Intent:
    """``given``: of the verb's options; the others are left out. Without any of them its own defaults hold."""
    terms = None
    if given or chosen.selection is not None:
        unsaid = {
            option.name: False if option.value is Value.FLAG else None for option in verb.command.options
        }
        terms = verb.terms({**unsaid, **given, "selection": chosen.selection}, now=host.now())
    return Intent(verb.name, chosen.targets, limit=chosen.limit, terms=terms)


# --- the questions


def _ask_end(
    node: DOMNode, verb: Verb, question: Question, chosen: Chosen, act: Callable[[Intent], None]
) -> None:
    host = host_of(node)

    def answered(terms: Terms | None) -> None:
        if terms is not None:
            given = {"length": terms.for_s, "drain": terms.mode is PauseMode.DRAIN}
            act(replace(_intent(verb, chosen, host, given), reason=terms.reason))

    screen = TermsScreen(
        _text(question, chosen, host),
        _hint(question, chosen),
        length=question.first,
        modes=question.modes,
        reason=question.reason,
    )
    node.app.push_screen(screen, answered)


def _ask_count(
    node: DOMNode, verb: Verb, question: Question, chosen: Chosen, act: Callable[[Intent], None]
) -> None:
    host = host_of(node)
    ceiling = host.view.settings.action_ceiling
    there = sum(getattr(row, question.counts) for row in chosen.rows)

    def answered(limit: float | None) -> None:
        if limit is not None:
            act(replace(_intent(verb, chosen, host, {}), limit=int(limit)))

    hint = f"{there:,} {question.counts} at the last look; at most {ceiling:,} in one action"
    first = str(max(1, min(there, ceiling)))
    screen = AskScreen(_text(question, chosen, host), first, count_answer(ceiling), hint=hint)
    node.app.push_screen(screen, answered)


def _ask_reason(
    node: DOMNode, verb: Verb, question: Question, chosen: Chosen, act: Callable[[Intent], None]
) -> None:
    host = host_of(node)

    def answered(reason: str | None) -> None:
        if reason is not None:
            act(replace(_intent(verb, chosen, host, {}), reason=reason))

    screen = AskScreen(
        _text(question, chosen, host),
        "",
        reason_answer,
        hint=question.hint,
        max_length=REASON_MAX,
        placeholder=question.placeholder,
    )
    node.app.push_screen(screen, answered)


def _ask_value(
    node: DOMNode, verb: Verb, question: Question, chosen: Chosen, act: Callable[[Intent], None]
) -> None:
    host = host_of(node)

    def answered(given: dict[str, Any] | None) -> None:
        if given is not None:
            act(_intent(verb, chosen, host, given))

    screen: AskScreen[dict[str, Any]] = AskScreen(
        _text(question, chosen, host),
        question.first.format(rate=f"{host.view.settings.replay_rate:g}"),
        lambda text: {question.option: _value(question, text)},
        hint=f"{chosen.about}{question.hint}",
        max_length=question.most,
        placeholder=question.placeholder,
    )
    node.app.push_screen(screen, answered)


_ASKED = {
    Asks.VALUE: _ask_value,
    Asks.COUNT: _ask_count,
    Asks.REASON: _ask_reason,
    Asks.END: _ask_end,
}


def _text(question: Question, chosen: Chosen, host: ConsoleHost) -> str:
    many = question.text_many is not None and len(chosen.targets) > 1
    text = question.text_many if many and question.text_many is not None else question.text
    snapshot = host.view.snapshot
    lane = "" if snapshot is None else one_line(snapshot.lane, 40)
    return text.format(targets=chosen.named, lane=lane)


def _hint(question: Question, chosen: Chosen) -> str:
    if question.hint_many is not None and len(chosen.targets) > 1:
        return question.hint_many
    return question.hint


def _value(question: Question, text: str) -> object:
    """Raises `ValueError` with a sentence for the operator."""
    match question.value:
        case Value.PRIORITY:
            return values.priority(text)
        case Value.RATE:
            return values.rate(text)
        case Value.LENGTH | Value.LENGTH_OR_NONE:
            return values.length(text, zero=question.value is Value.LENGTH_OR_NONE)
        case Value.FLAG:
            return True
        case Value.TEXT:
            return _given_text(question, text)


def _given_text(question: Question, text: str) -> str | None:
    if not text and question.wanted is not None:
        raise ValueError(question.wanted)
    if not text.isprintable():
        raise ValueError("a name, please, without characters that can't be seen")
    return text or None
