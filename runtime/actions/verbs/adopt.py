"""Bringing in an exported backlog, or the older layout's. Running it again adds nothing twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from runtime.actions.command import Command, Option, Value
from runtime.actions.draft import Draft, bounded_lines
from runtime.actions.terms import Terms, terms_of
from runtime.actions.verb import DirectVerb, Subject
from runtime.common.text import one_line, without_credentials
from runtime.common.units import count
from runtime.model import OperatorError, ReceiptOutcome, Refused, UsageError

if TYPE_CHECKING:
    from runtime.actions.adopting import Outside, OutsideLooks
    from runtime.actions.intents import Intent, Preview
    from runtime.actions.read_port import ReadPort
    from runtime.actions.tally import Tally
    from runtime.actions.write_port import WritePort
    from runtime.pressure.export import Adopted
    from runtime.pressure.older import OlderMoved, OlderReading

Port = TypeVar("Port")

NAMED = 5
"""Consumers of the older system that are named."""
_UNFINISHED = "not all of it; running it again adds the rest, and nothing twice"
_ADDED_ALREADY = "all of it was here by then"


@dataclass(frozen=True, slots=True)
class AdoptTerms(Terms):
    """One of a file and an address."""

    file: str | None = None
    """As an export wrote it."""
    older: str | None = None
    """The Redis of the older layout; what was moved is removed there."""
    include_pending: bool = False
    """Also what the older system was given and has not acknowledged."""


class AdoptVerb(DirectVerb):
    """Its preview has what was looked at (`Adopted` or `OlderReading`), and its tally what was done (`Adopted`
    or `OlderMoved`), for whoever shows more than lines and results."""

    name = "adopt"
    word = "adopt"
    subject = Subject.LANE
    takes = AdoptTerms
    command = Command(
        "queue",
        "adopt",
        160,
        "bring in an exported backlog, or the older layout's",
        examples=(
            "adopt backlog.jsonl --dry-run",
            "adopt --older redis://127.0.0.1:6379/0 --dry-run",
        ),
        targets=None,
        options=(
            Option("file", "file", Value.TEXT, "as `queue export` wrote it", "FILE"),
            Option("--older", "older", Value.TEXT, "the Redis of the older layout", "URL"),
            Option(
                "--include-pending",
                "include_pending",
                Value.FLAG,
                "also what the older system was given and has not acknowledged: only when it runs no more",
            ),
        ),
        note="Running it again adds nothing twice. Of the older layout, what was moved is removed there.",
    )

    def terms(self, given: Mapping[str, Any], *, now: float) -> AdoptTerms:
        return AdoptTerms(given["file"], given["older"], given["include_pending"])

    def check_terms(self, intent: Intent) -> None:
        super().check_terms(intent)
        terms = terms_of(intent, AdoptTerms)
        if terms.file == "-":
            raise UsageError("a backlog file is read twice, and standard input only once", fix="name a file")
        if (terms.file is None) == (terms.older is None):
            raise UsageError("adopt what?", fix="name a backlog file, or give --older URL")
        if terms.include_pending and terms.older is None:
            raise UsageError("--include-pending is for --older", fix="leave it out")

    async def preview(self, intent: Intent, port: ReadPort) -> Draft:
        terms = terms_of(intent, AdoptTerms)
        outside: OutsideLooks = _there(port.outside)
        found: Adopted | OlderReading
        if terms.older is None:
            found = await outside.look_at_file(Path(terms.file or ""), progress=port.progress)
            families, lines = found.added, _file_lines(found)
        else:
            found = await outside.look_at_older(terms.older, include_pending=terms.include_pending)
            families, lines = found.families, _older_lines(found, include_pending=terms.include_pending)
        lane = port.lane.current
        return Draft(
            ids=tuple(sorted(families)),
            matching=len(families),
            title=f"Adopt {_source(terms)}",
            lines=bounded_lines([*_counts(families), *lines]),
            warnings=(),
            target=f"lane {lane.name} ({lane.path}) on Redis at {port.addresses.redis}",
            destructive=terms.older is not None,
            found=found,
        )

    async def carry_out(self, preview: Preview, tally: Tally, port: WritePort) -> None:
        try:
            added = await self._bring(preview, tally, port)
        except BaseException as error:
            said = error.message if isinstance(error, OperatorError) else type(error).__name__
            tally.say(f"ended early: {said}; running it again finishes it", partial=True)
            for family in preview.ids:
                tally.put(family, ReceiptOutcome.FAILED, _UNFINISHED)
            raise
        for family, number in added.items():
            tally.also(family)
            tally.put(family, ReceiptOutcome.DONE, f"{number:,} items")
        for family in tally.open():
            tally.put(family, ReceiptOutcome.MOVED_ON, _ADDED_ALREADY)
        tally.say(f"{sum(added.values()):,} items added")

    async def _bring(self, preview: Preview, tally: Tally, port: WritePort) -> Mapping[str, int]:
        """How many came in, by family."""
        terms = terms_of(preview.intent, AdoptTerms)
        outside: Outside = _there(port.outside)
        done: Adopted | OlderMoved
        if terms.older is None:
            done = await outside.adopt_file(Path(terms.file or ""), progress=port.progress)
            tally.found = done
            return done.added
        done = await outside.move_older(
            terms.older, include_pending=terms.include_pending, progress=port.progress
        )
        tally.found = done
        return done.moved


def refuse_active(terms: AdoptTerms, reading: OlderReading) -> None:
    """Raises `Refused`: what the older system was given is asked for, and it is at work."""
    if not terms.include_pending or not reading.active:
        return
    names = ", ".join(one_line(name, 80) for name in reading.active[:NAMED])
    raise Refused(
        f"the older system is at work ({names}): what it was given would run twice; nothing was moved",
        fix="stop it, wait a minute, then run this again; or leave --include-pending out",
        code="older-active",
    )


def _there(outside: Port | None) -> Port:
    if outside is None:
        raise Refused("no backlog can be brought in here", fix="use the command line")
    return outside


def _source(terms: AdoptTerms) -> str:
    if terms.older is None:
        return one_line(terms.file or "", 200)
    return f"the older layout on {without_credentials(terms.older)}"


def _counts(families: Mapping[str, int]) -> list[str]:
    return [f"{one_line(family, 100)}: {count(number, 'item')}" for family, number in families.items()]


def _file_lines(looked: Adopted) -> list[str]:
    present = sum(looked.present.values())
    lines = [f"left alone: {count(present, 'item')} that are here or were"] if present else []
    if looked.quarantined:
        lines.append(f"{count(looked.quarantined, 'item')} of them were being run: they come quarantined")
    return lines


def _older_lines(reading: OlderReading, *, include_pending: bool) -> list[str]:
    lines = [f"left alone: {name}, which the lane file does not declare" for name in reading.unknown]
    if reading.malformed_total:
        lines.append(f"left alone: {count(reading.malformed_total, 'item')} that can't be understood")
    if reading.pending_total:
        fate = "come too" if include_pending else "stay"
        lines.append(f"{count(reading.pending_total, 'item')} that the older system was given {fate}")
    return lines


VERB = AdoptVerb()
