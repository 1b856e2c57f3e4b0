"""Colours of a screen, and which of them can be read on which.

Luminance and contrast are those of WCAG 2: text needs 4.5, what is only to be seen (a button's face) 3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

READABLE = 4.5
VISIBLE = 3.0
_HEX = re.compile(r"#[0-9a-fA-F]{6}")
_STEPS = 20


@dataclass(frozen=True, slots=True)
class Colour:
    """A colour of sRGB; each part is 0 to 255."""

    red: int
    green: int
    blue: int

    @classmethod
    def of_hex(cls, text: str) -> Colour:
        """The colour that `#rrggbb` names. Raises ValueError."""
        if not _HEX.fullmatch(text):
            raise ValueError("must be a colour such as #1f5fbf")
        return cls(*(int(text[place : place + 2], 16) for place in (1, 3, 5)))

    @property
    def hex(self) -> str:
        return f"#{self.red:02x}{self.green:02x}{self.blue:02x}"

    @property
    def luminance(self) -> float:
        """From 0, black, to 1, white."""
        return 0.2126 * _linear(self.red) + 0.7152 * _linear(self.green) + 0.0722 * _linear(self.blue)

    def contrast_with(self, other: Colour) -> float:
        """From 1 to 21."""
        darker, lighter = sorted((self.luminance, other.luminance))
        return (lighter + 0.05) / (darker + 0.05)

    def least_contrast(self, backgrounds: Sequence[Colour]) -> float:
        return min(self.contrast_with(background) for background in backgrounds)

    def mixed_with(self, other: Colour, share: float) -> Colour:
        """This colour with `share` (0 to 1) of another in it."""
        pairs = ((self.red, other.red), (self.green, other.green), (self.blue, other.blue))
        return Colour(*(round(own + (others - own) * share) for own, others in pairs))


BLACK, WHITE = Colour(0, 0, 0), Colour(255, 255, 255)


def text_colour_on(background: Colour) -> Colour:
    """Black or white: whichever can be read better; its contrast is never below 4.5."""
    return max(BLACK, WHITE, key=background.contrast_with)


def readable_shade(colour: Colour, backgrounds: Sequence[Colour]) -> Colour:
    """The colour, darkened or lightened no more than it takes to be read as text on each of the backgrounds."""
    towards = text_colour_on(backgrounds[0])
    shades = (colour.mixed_with(towards, step / _STEPS) for step in range(_STEPS + 1))
    return next((shade for shade in shades if shade.least_contrast(backgrounds) >= READABLE), towards)


def _linear(part: int) -> float:
    share = part / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
