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

from runtime.common.given_path import given_path

PROGRAM = "joelclaw-tui"
_QUOTED = re.compile(rf"(?:(?<=`)|(?<=\$\()){PROGRAM}(?=[ `])(?P<whole> --(?:profile|lane) )?")
"""The program's name where a command begins inside a sentence: behind a backtick, or in a shell's ``$(``."""
_COMMAND = re.compile(rf"(?:^|(?<=`)|(?<=\$\()){PROGRAM}(?=[ `]|$)(?P<whole> --(?:profile|lane) )?")
"""The same, or alone."""


@dataclass(frozen=True, slots=True)
class CommandPrefix:
    """The words with which every command of one process begins."""

    program: str = PROGRAM
    """For a shell: quoted where need be, and more than one word for ``python -m``."""
    options: tuple[str, ...] = ()

    @classmethod
    def of(cls, profile: str, lane: Path | None) -> CommandPrefix:
        """For a profile and a lane file that was named."""
        named = () if profile == "local" else ("--profile", profile)
        file = () if lane is None else ("--lane", _from_here(given_path(lane)))
        return cls(program(), (*named, *file))

    @property
    def prefix(self) -> str:
        return " ".join((self.program, *map(shlex.quote, self.options)))

    def command(self, *words: str) -> str:
        """A line for a shell."""
        return " ".join((self.prefix, *map(shlex.quote, words)))

    def in_text(self, text: str, *, sentence: bool = False) -> str:
        """``text`` with the commands in it made whole; those that are whole already stay so.
        ``sentence``: it is one, which may begin with the program's name and be no command."""
        if self == CommandPrefix():
            return text
        return (_QUOTED if sentence else _COMMAND).sub(
            lambda found: (self.program + found["whole"]) if found["whole"] else self.prefix, text
        )


_remembered: list[CommandPrefix] = []


@contextmanager
def called_as(call: CommandPrefix) -> Iterator[None]:
    """For the time inside, commands are printed for ``call``: one a process."""
    _remembered.append(call)
    try:
        yield
    finally:
        _remembered.remove(call)


def as_called(text: str, *, sentence: bool = False) -> str:
    """``text`` with the commands in it as they can be typed here; see `CommandPrefix.in_text`."""
    return (_remembered[-1] if _remembered else CommandPrefix(program())).in_text(text, sentence=sentence)


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
