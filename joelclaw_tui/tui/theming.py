"""Themes as files: TOML in, Textual themes out. A bad file is told about and left out.

Shipped themes come first, then those of the ``themes`` folder in the user's configuration
folder, which may replace a shipped one by using its name. Native ANSI themes are not offered:
with ``NO_COLOR`` set they would draw black on black.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from textual.theme import Theme

from runtime.common.text import one_line
from runtime.common.text_file import UnreadableFile, read_text_file
from runtime.settings import config_dir

DEFAULT_THEME = "joelclaw-dark"
COLOR_NAMES = (
    "background",
    "surface",
    "panel",
    "line",
    "foreground",
    "muted",
    "primary",
    "accent",
    "success",
    "warning",
    "error",
    "cursor",
)
"""Every theme names all of them, as ``#rrggbb``."""

_FILE_BYTES_MAX = 64 * 1024
_HEX = re.compile(r"#[0-9a-fA-F]{6}")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class ThemeError(ValueError):
    """A theme file that can't be used, and why."""


@dataclass(frozen=True, slots=True)
class Themes:
    """What was found. ``messages`` say which files were left out, and why."""

    themes: Mapping[str, Theme]
    messages: tuple[str, ...]

    def choose(self, wanted: str) -> tuple[Theme, str | None]:
        """The theme of that name, or the default one and a message."""
        if wanted in self.themes:
            return self.themes[wanted], None
        known = ", ".join(self.themes)
        return self.themes[
            DEFAULT_THEME
        ], f"no theme {one_line(wanted, 40)!r}: using {DEFAULT_THEME} (there are: {known})"

    def after(self, name: str) -> Theme:
        """The theme that follows ``name``, round and round."""
        names = list(self.themes)
        position = names.index(name) if name in names else -1
        return self.themes[names[(position + 1) % len(names)]]


def shipped_folder() -> Path:
    """``themes`` inside the installed package, or at the root of a checkout."""
    packaged = Path(__file__).parents[1] / "themes"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "themes"


def load_themes(user_folder: Path | None = None) -> Themes:
    """All themes. ``user_folder`` defaults to ``themes`` in the user's configuration folder."""
    themes: dict[str, Theme] = {}
    messages: list[str] = []
    for folder in (shipped_folder(), user_folder or config_dir() / "themes"):
        for path in _files(folder):
            try:
                theme = parse_theme(_text(path))
            except ThemeError as error:
                messages.append(one_line(f"theme {path} left out: {error}"))
            else:
                themes[theme.name] = theme
    themes.setdefault(DEFAULT_THEME, _FALLBACK)
    return Themes(themes=themes, messages=tuple(messages))


def parse_theme(text: str) -> Theme:
    """One theme file's text. Raises `ThemeError`."""
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ThemeError("nested too deep") from None
    except ValueError as error:  # TOML's own errors, and numbers too long to be one
        raise ThemeError(f"not valid TOML: {error}") from None
    unknown = sorted(set(data) - {"name", "dark", "colors"})
    if unknown:
        raise ThemeError(f"unknown key {unknown[0]!r}")
    name, dark, colors = data.get("name"), data.get("dark", True), data.get("colors")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ThemeError("name must be lower case letters, digits, - and _")
    if not isinstance(dark, bool):
        raise ThemeError("dark must be true or false")
    if not isinstance(colors, dict):
        raise ThemeError("the table [colors] is missing")
    for key in COLOR_NAMES:
        value = colors.get(key)
        if not isinstance(value, str) or not _HEX.fullmatch(value):
            raise ThemeError(f"colors.{key} must be a colour like #1a2b3c")
    extra = sorted(set(colors) - set(COLOR_NAMES))
    if extra:
        raise ThemeError(f"unknown colour {extra[0]!r}")
    return _theme(name, dark, colors)


def theme_variables(colors: Mapping[str, str]) -> dict[str, str]:
    """The CSS variables that the console adds to Textual's own."""
    return {
        "muted": colors["muted"],
        "line": colors["line"],
        "cursor": colors["cursor"],
        "block-cursor-background": colors["cursor"],
        "block-cursor-foreground": colors["foreground"],
        "input-selection-background": colors["cursor"],
        "scrollbar": colors["line"],
        "scrollbar-hover": colors["muted"],
        "scrollbar-active": colors["primary"],
        "scrollbar-background": colors["surface"],
        "scrollbar-background-hover": colors["surface"],
        "scrollbar-background-active": colors["surface"],
        "scrollbar-corner-color": colors["surface"],
    }


def _theme(name: str, dark: bool, colors: Mapping[str, str]) -> Theme:
    return Theme(
        name=name,
        dark=dark,
        primary=colors["primary"],
        secondary=colors["accent"],
        accent=colors["accent"],
        warning=colors["warning"],
        error=colors["error"],
        success=colors["success"],
        foreground=colors["foreground"],
        background=colors["background"],
        surface=colors["surface"],
        panel=colors["panel"],
        text_alpha=1.0,
        variables=theme_variables(colors),
    )


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob("*.toml"))
    except OSError:  # a folder without rights is a folder without themes
        return []


def _text(path: Path) -> str:
    try:
        return read_text_file(path, most=_FILE_BYTES_MAX)
    except FileNotFoundError as error:  # a link to nowhere
        raise ThemeError(error.strerror) from None
    except UnreadableFile as error:
        raise ThemeError(str(error)) from None


_FALLBACK = _theme(
    DEFAULT_THEME,
    True,
    {
        "background": "#101010",
        "surface": "#161616",
        "panel": "#202020",
        "line": "#3a3a3a",
        "foreground": "#dddddd",
        "muted": "#9a9a9a",
        "primary": "#9ab8d8",
        "accent": "#c0b0d8",
        "success": "#90c8a0",
        "warning": "#e0b870",
        "error": "#f09088",
        "cursor": "#2c3848",
    },
)
"""Only for an installation whose theme files are gone: a console without colours is no console."""
