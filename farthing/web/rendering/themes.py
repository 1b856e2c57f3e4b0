"""A merchant's theme as a style sheet: its accent, in shades that can be read on each background."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from farthing.core.standards.colours import VISIBLE, Colour, readable_shade, text_colour_on
from farthing.identity.settings.portal_sections import DARK_BACKGROUNDS, LIGHT_BACKGROUNDS, Theme

_SCHEMES = {"light": "light", "dark": "dark"}


def theme_style(theme: Theme) -> str:
    """Rules that follow those of `farthing.css`; "" for a theme that changes nothing."""
    rules = []
    if theme.background in _SCHEMES:
        rules.append(f"color-scheme: {_SCHEMES[theme.background]};")
    accent = _accent(theme)
    if accent is None:
        return f":root {{ {' '.join(rules)} }}\n" if rules else ""
    shades = [readable_shade(accent, backgrounds) for backgrounds in (LIGHT_BACKGROUNDS, DARK_BACKGROUNDS)]
    faces = [_button(accent, shade, backgrounds) for shade, backgrounds in _by_background(shades)]
    rules += [
        f"--accent: {_pair(shades)};",
        f"--accent-ink: {_pair([text_colour_on(shade) for shade in shades])};",
        "--accent-wash: var(--sunken);",
        "--usage: var(--accent);",
    ]
    button = f"background: {_pair(faces)}; border-color: {_pair(faces)};"
    ink = f"color: {_pair([text_colour_on(face) for face in faces])};"
    return f":root {{ {' '.join(rules)} }}\nbutton.first, .button.first {{ {button} {ink} }}\n"


def theme_digest(theme: Theme) -> str:
    """What names a theme's style sheet, so that a browser may keep it; "" for a theme that changes nothing."""
    style = theme_style(theme)
    return hashlib.sha256(style.encode()).hexdigest()[:12] if style else ""


def _accent(theme: Theme) -> Colour | None:
    try:
        return Colour.of_hex(theme.primary_color or "")
    except ValueError:
        return None  # set before colours were checked


def _by_background(shades: Sequence[Colour]) -> list[tuple[Colour, Sequence[Colour]]]:
    return list(zip(shades, (LIGHT_BACKGROUNDS, DARK_BACKGROUNDS), strict=True))


def _button(accent: Colour, shade: Colour, backgrounds: Sequence[Colour]) -> Colour:
    """The accent itself where it can be seen, else the shade that can be read."""
    return accent if accent.least_contrast(backgrounds) >= VISIBLE else shade


def _pair(light_and_dark: Sequence[Colour]) -> str:
    light, dark = light_and_dark
    return f"light-dark({light.hex}, {dark.hex})"
