"""How this program is called, so that each command that it prints can be typed as it stands.

The only place that puts program, ``--profile`` and ``--lane`` in front of a command. Everything else says
`joelclaw-tui WORDS`: in backticks inside a sentence, or alone. Where it is printed, `as_called` makes it whole.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.given_path import given_path

if TYPE_CHECKING:
    from runtime.settings import Settings  # pydantic takes its time, and help needs none of it

PROGRAM = "joelclaw-tui"
_QUOTED = re.compile(rf"(?:(?<=`)|(?<=\$\()){PROGRAM}(?=[ `])(?P<whole> --(?:profile|lane) )?")
"""The program's name where a command begins inside a sentence: behind a backtick, or in a shell's ``$(``."""
_COMMAND = re.compile(rf"(?:^|(?<=`)|(?<=\$\()){PROGRAM}(?=[ `]|$)(?P<whole> --(?:profile|lane) )?")
"""The same, or alone."""


@dataclass(frozen=True, slots=True)
class Call:
    """The words with which every command of one process begins."""

    program: str = PROGRAM
    """For a shell: quoted where need be, and more than one word for ``python -m``."""
    options: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Call:
        """For the profile and the lane file of ``settings``, wherever they come from."""
        profile = () if settings.profile == "local" else ("--profile", settings.profile)
        lane = () if settings.lane is None else ("--lane", _from_here(given_path(settings.lane)))
        return cls(program(), (*profile, *lane))

    @property
    def prefix(self) -> str:
        return " ".join((self.program, *map(shlex.quote, self.options)))

    def command(self, *words: str) -> str:
        """A line for a shell."""
        return " ".join((self.prefix, *map(shlex.quote, words)))

    def in_text(self, text: str, *, sentence: bool = False) -> str:
        """``text`` with the commands in it made whole; those that are whole already stay so.
        ``sentence``: it is one, which may begin with the program's name and be no command."""
        if self == Call():
            return text
        return (_QUOTED if sentence else _COMMAND).sub(
            lambda found: (self.program + found["whole"]) if found["whole"] else self.prefix, text
        )


_remembered: list[Call] = []


@contextmanager
def called_as(call: Call) -> Iterator[None]:
    """For the time inside, commands are printed for ``call``: one a process."""
    _remembered.append(call)
    try:
        yield
    finally:
        _remembered.remove(call)


def as_called(text: str, *, sentence: bool = False) -> str:
    """``text`` with the commands in it as they can be typed here; see `Call.in_text`."""
    return (_remembered[-1] if _remembered else Call(program())).in_text(text, sentence=sentence)


@cache
def program() -> str:
    """``joelclaw-tui`` where a shell finds this one by that name; else what was typed to start it."""
    typed = Path(sys.argv[0])
    found = shutil.which(PROGRAM)
    if (typed.parent.name, typed.name) == ("joelclaw_tui", "__main__.py"):
        python = Path(sys.executable)
        by_name = shutil.which(python.name)
        short = by_name is not None and Path(by_name) == python
        return f"{python.name if short else shlex.quote(_from_here(python))} -m joelclaw_tui"
    if typed.name != PROGRAM or (found is not None and _same(Path(found), typed)):
        return PROGRAM
    return shlex.quote(_from_here(typed))


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _from_here(path: Path) -> str:
    """Shorter where it lies below the current folder."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
