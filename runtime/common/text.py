"""Text from outside made safe to show.

Payloads, errors and names are hostile until cleaned: a terminal would obey an escape
sequence in them. Markup is not handled here: whoever renders passes plain text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit

_SHOWN = {"\n": "⏎", "\t": "→", "\r": "␍"}
_BIDI_AND_INVISIBLE = frozenset("\u061c\u200b\u200e\u200f\u2028\u2029\u2060\ufeff") | {
    chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


def few_names(names: Iterable[str], shown: int = 8) -> str:
    """The first of ``names`` in order, and how many more there are: a list that is cut says so."""
    ordered = sorted(names)
    rest = len(ordered) - shown
    return (", ".join(ordered[:shown]) or "none") + (f" and {rest:,} more" if rest > 0 else "")


def one_line(text: str, limit: int = 300) -> str:
    """``text`` on one line, with control, format and bidirectional characters made visible.

    ``limit`` is in characters; what is cut off ends in ``…``.
    """
    cut = text[: limit + 1]
    shown = "".join(_visible(character) for character in cut)
    return shown if len(cut) <= limit else shown[: limit - 1] + "…"


def many_lines(text: str, limit: int = 20_000) -> str:
    """Like `one_line`, but line feeds and tabs (as four spaces) stay."""
    shown = "".join(
        "\n" if c == "\n" else "    " if c == "\t" else _visible(c)
        for c in text[:limit].replace("\r\n", "\n")
    )
    return shown if len(text) <= limit else shown + f"\n… {len(text) - limit} more characters"


def without_credentials(url: str) -> str:
    """An address fit to be shown: no user, password or query, on one line."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is not a URL"
    if not parts.scheme:
        return one_line(url.rpartition("@")[2])
    return one_line(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")))


def _visible(character: str) -> str:
    if character == " " or (character.isascii() and character.isprintable()):
        return character
    if character in _SHOWN:
        return _SHOWN[character]
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if character in _BIDI_AND_INVISIBLE or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn"):
        return f"\\u{code:04x}"
    return character


_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def json_safe(document: str) -> str:
    """The same JSON document, with what JSON allows raw and a terminal would obey written as ``\\uXXXX``:
    C1 controls, bidirectional and invisible characters."""
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match.group()):04x}", document)
