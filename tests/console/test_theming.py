"""Themes: shipped ones are readable, the user's own count, a bad file is told about and left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.color import Color

from joelclaw_tui.tui.theming import (
    COLOR_NAMES,
    DEFAULT_THEME,
    ThemeError,
    load_themes,
    parse_theme,
    shipped_folder,
)

READABLE = 4.5
"""WCAG 2.2, success criterion 1.4.3: the contrast of normal text at level AA."""
GOOD = (shipped_folder() / "joelclaw-dark.toml").read_text(encoding="utf-8")


def contrast(one: str, other: str) -> float:
    """The WCAG contrast ratio of two colours."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(color: str) -> float:
    parts = [part / 255 for part in Color.parse(color).rgb]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", ["joelclaw-dark", "joelclaw-light"])
@pytest.mark.parametrize("ground", ["background", "surface", "panel", "cursor"])
@pytest.mark.parametrize("text", ["foreground", "muted", "primary", "accent", "success", "warning", "error"])
def test_every_text_is_readable_on_every_ground(tmp_path: Path, name: str, ground: str, text: str) -> None:
    theme = load_themes(tmp_path).themes[name]
    colors = {key: getattr(theme, key, None) or theme.variables[key] for key in COLOR_NAMES}
    assert contrast(colors[text], colors[ground]) >= READABLE, (
        f"{text} {colors[text]} on {ground} {colors[ground]}"
    )


def test_a_user_theme_is_found_and_may_replace_a_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD.replace("joelclaw-dark", "mine"), encoding="utf-8")
    (tmp_path / "own-dark.toml").write_text(GOOD.replace("#0f1318", "#000000"), encoding="utf-8")
    found = load_themes(tmp_path)
    assert found.messages == ()
    assert "mine" in found.themes
    assert found.themes["joelclaw-dark"].background == "#000000"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name = ", "not valid TOML"),
        (GOOD.replace('name = "joelclaw-dark"', 'name = "../x"'), "name must be"),
        (GOOD.replace("#0f1318", "red; }"), "colors.background"),
        (GOOD.replace('muted = "#96a2b0"\n', ""), "colors.muted"),
        (GOOD + 'extra = "#ffffff"\n', "unknown colour 'extra'"),
        (GOOD.replace("dark = true", "dark = 1"), "dark must be"),
        ("shape = 1\n" + GOOD, "unknown key 'shape'"),
        ('name = "x"\n', r"\[colors\]"),
    ],
)
def test_a_bad_theme_is_refused_with_its_reason(text: str, why: str) -> None:
    with pytest.raises(ThemeError, match=why):
        parse_theme(text)


def test_bad_files_are_left_out_with_a_message_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("name = ", encoding="utf-8")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "huge.toml").write_text("#" * 100_000, encoding="utf-8")
    (tmp_path / "folder.toml").mkdir()
    found = load_themes(tmp_path)
    assert len(found.messages) == 4
    assert {"joelclaw-dark", "joelclaw-light"} <= set(found.themes)


def test_an_unknown_theme_falls_back_with_a_message(tmp_path: Path) -> None:
    theme, message = load_themes(tmp_path).choose("nope\x1b[31m")
    assert theme.name == DEFAULT_THEME
    assert message is not None
    assert "nope" in message
    assert "\x1b" not in message
