"""Which fonts there are, and in which order a text should ask for them.

The Noto families come from two font packages when they are installed, else from the system's own font folders (on
Debian: fonts-noto-core and fonts-noto-cjk). Without either, Latin, Greek and Cyrillic are set in the serif that the
typesetter carries, and other scripts in whatever the system has.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typst

PACKAGES = ("manimgx_fonts", "manimgx_fonts_cjk")

_LATIN = "Noto Sans"
_LATIN_ELSE = "Libertinus Serif"  # the typesetter's own, always there
_SCRIPTS = (
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Sans Bengali",
    "Noto Sans Gujarati",
    "Noto Sans Gurmukhi",
    "Noto Sans Kannada",
    "Noto Sans Malayalam",
    "Noto Sans Oriya",
    "Noto Sans Tamil",
    "Noto Sans Telugu",
    "Noto Sans Sinhala",
    "Noto Sans Thai",
    "Noto Sans Lao",
    "Noto Sans Khmer",
    "Noto Sans Myanmar",
    "Noto Sans Armenian",
    "Noto Sans Georgian",
    "Noto Sans Ethiopic",
)
_LAST = ("Noto Sans Symbols", "Noto Emoji", "DejaVu Sans")

# One Chinese character has up to five national forms; each form is a family of its own.
_NATIONAL_FORMS = {"JP": "JP", "KR": "KR", "TW": "TC", "HK": "HK", "MO": "HK"}
_KANA = re.compile("[\u3040-\u30ff\uff66-\uff9d]")
_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")


@cache
def installed() -> typst.Fonts:
    """Every font there is, searched once per process; the packaged ones come first."""
    import typst  # large, and a process may never set a page

    folders = [
        folder
        for package in PACKAGES
        if (spec := find_spec(package)) is not None
        for folder in spec.submodule_search_locations or ()
    ]
    return typst.Fonts(include_system_fonts=True, font_paths=folders)


def families(written: str, country: str) -> list[str]:
    """Families to try in this order for `written`, those that are installed alone.

    Kana and Hangul tell the language of a text; Chinese characters alone do not, there the country decides, and
    without one the mainland's forms are taken.
    """
    if _KANA.search(written):
        form = "JP"
    elif _HANGUL.search(written):
        form = "KR"
    else:
        form = _NATIONAL_FORMS.get(country.upper(), "SC")
    there = _families_there()
    latin = _LATIN if _LATIN in there else _LATIN_ELSE
    wanted = (latin, *_SCRIPTS, f"Noto Sans CJK {form}", "Noto Sans CJK SC", *_LAST)
    return [family for family in dict.fromkeys(wanted) if family in there]


@cache
def _families_there() -> frozenset[str]:
    return frozenset(installed().families())
