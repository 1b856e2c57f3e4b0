"""Pictures of figures as SVG, drawn on the server from exact values.

Every mark carries its value as a title, read on hover and by screen readers; colours come from classes, so that the
style sheet alone decides light and dark. Positions are attributes, never styles. A table stands behind each picture,
in the template.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from markupsafe import Markup, escape

_ZERO = Decimal(0)
_STEPS = tuple(map(Decimal, ("1", "1.5", "2", "3", "4", "5", "6", "8", "10")))


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what stands below it, its value, and the value in words."""

    label: str
    value: Decimal
    title: str
    href: str | None = None


@dataclass(frozen=True, slots=True)
class StripPart:
    """One part of a whole; `tone` names its colour class."""

    label: str
    value: Decimal
    title: str
    tone: str


def _text_width(*texts: str) -> int:
    """How much room the widest of some short texts takes, with some space beside it."""
    return max(map(len, texts), default=0) * 7 + 10


def _place(value: Fraction | float) -> str:
    """A coordinate, to a tenth of a pixel; the picture rounds, the figures never do."""
    return f"{float(value):.1f}".rstrip("0").rstrip(".")


def _nice_ceiling(value: Decimal) -> Decimal:
    """The next round number, one figure or two, that is not below `value`; at least 1 unit of it."""
    if value <= 0:
        return Decimal(1)
    power = Decimal(1).scaleb(value.adjusted())
    return next(step * power for step in _STEPS if step * power >= value)


def columns(
    bars: Sequence[Bar], *, name: str, width: int = 460, height: int = 180, tick: Callable[[Decimal], str] = str
) -> Markup:
    """Upright bars over a common base line, with a light grid; `tick` writes the value of a grid line."""
    return _columns([(bar,) for bar in bars], ("usage",), 0.62, name, width, height, tick)


def paired_columns(
    pairs: Sequence[tuple[Bar, Bar]],
    *,
    name: str,
    width: int = 460,
    height: int = 220,
    tick: Callable[[Decimal], str] = str,
) -> Markup:
    """Two upright bars side by side in each place, the first in the colour of usage, the second in that of fees."""
    return _columns(pairs, ("usage", "fixed"), 0.72, name, width, height, tick)


def _columns(
    groups: Sequence[Sequence[Bar]],
    tones: Sequence[str],
    filled: float,
    name: str,
    width: int,
    height: int,
    tick: Callable[[Decimal], str],
) -> Markup:
    """Groups of bars side by side, which take `filled` of their place; the values of the grid stand left of them."""
    top, base = 14, height - 22
    ceiling = _nice_ceiling(max((bar.value for group in groups for bar in group), default=_ZERO))
    left = _text_width(tick(ceiling), tick(ceiling / 2)) if groups else 0
    slot = (width - left) / max(len(groups), 1)
    hit, thick = slot / len(tones), min(slot * filled, 46) / len(tones)
    every = max(1, math.ceil(_text_width(*(group[0].label for group in groups)) / slot))
    wide = _place(max(thick - (len(tones) - 1), 1))
    per_unit = (base - top) / float(ceiling)
    out = [_open(width, height, name, "columns"), *_grid(ceiling, top, base, left, width, tick)]
    for number, group in enumerate(groups):
        middle = left + slot * (number + 0.5)
        for place, (bar, tone) in enumerate(zip(group, tones, strict=True)):
            tall = float(bar.value) * per_unit if bar.value > 0 else 0
            area = f"M{_place(middle - slot / 2 + hit * place)} {top}h{_place(hit)}v{base - top}h-{_place(hit)}z"
            at = f'x="{_place(middle + thick * (place - len(tones) / 2))}" y="{_place(base - tall)}"'
            # a picture has a hundred bars: only their titles are text of somebody
            out.append(
                f'<g class="mark"><title>{escape(bar.title)}</title><path d="{area}"/>'
                f'<rect class="{tone}" {at} width="{wide}" height="{_place(tall)}"/></g>'
            )
        if (len(groups) - 1 - number) % every == 0:
            label = group[0].label
            kind, x = ("label", middle) if middle + _text_width(label) / 2 <= width else ("label last", width)
            out.append(f'<text class="{kind}" x="{_place(x)}" y="{height - 5}">{escape(label)}</text>')
    out.append(f'<line class="base" x1="{left}" x2="{width}" y1="{base}" y2="{base}"/>')
    return _close(out)


def _grid(ceiling: Decimal, top: int, base: int, left: int, width: int, tick: Callable[[Decimal], str]) -> list[str]:
    """Two lines from `left` on, each with its value before it."""
    lines = []
    for y, label in ((top, tick(ceiling)), ((top + base) / 2, tick(ceiling / 2))):
        lines.append(
            f'<line class="grid" x1="{left}" x2="{width}" y1="{_place(y)}" y2="{_place(y)}"/>'
            f'<text class="tick" x="0" y="{_place(y + 4)}">{escape(label)}</text>'
        )
    return lines


def strip(parts: Sequence[StripPart], *, name: str, width: int = 640, height: int = 18) -> Markup:
    """One bar cut in parts, in the order given; parts of nothing are left out."""
    total = sum((part.value for part in parts), _ZERO)
    out = [_open(width, height, name, "strip")]
    if total <= 0:
        out.append(Markup('<rect class="empty" width="{}" height="{}" rx="3"/>').format(width, height))
        return _close(out)
    x = Fraction(0)
    shown = [part for part in parts if part.value > 0]
    for number, part in enumerate(shown):
        wide = Fraction(part.value) / Fraction(total) * width
        gap = 2 if number < len(shown) - 1 else 0
        out.append(
            Markup(
                '<g class="mark"><title>{}</title><rect class="{}" x="{}" width="{}" height="{}" rx="3"/></g>'
            ).format(part.title, part.tone, _place(x), _place(max(wide - gap, Fraction(1))), height)
        )
        x += wide
    return _close(out)


_WIDTHS = (("", 320), ("roomy", 580), ("roomiest", 860))
"""How wide a timeline is at least, in pixels: on a phone, beside the rail, and on a large screen; with the class of a
word that stands there and on no narrower one.
"""
_PHONE_EDGE = Fraction(1, 4)
"""The share of it that a day at its end takes on a phone, and half a word beside it."""
_LEAST_SHARE = Fraction(1, 200)
"""So much is drawn of the shortest stretch."""


@dataclass(frozen=True, slots=True)
class TimelineSpan:
    """A stretch on a timeline, as shares of its width from 0 to 1."""

    start: Fraction
    end: Fraction
    tone: str
    label: str
    title: str


def timeline(rows: Sequence[Sequence[TimelineSpan]], marks: Sequence[tuple[Fraction, str]], *, name: str) -> Markup:
    """Rows of stretches over a common time, with marks (share of the width, label) along the bottom.

    It is as wide as its place, on a phone as on a desk, and its letters are as large: a label stands where it fits.
    """
    row_height = 26
    height = row_height * len(rows) + 24
    out = [Markup('<svg class="chart timeline" height="{}" role="img" aria-label="{}">').format(height, name)]
    for share, label in marks:
        x = _percent(share)
        out.append(Markup('<line class="grid" x1="{}" x2="{}" y1="0" y2="{}"/>').format(x, x, height - 18))
        anchor = "start" if share < Fraction(1, 20) else "end" if share > Fraction(19, 20) else "middle"
        out.append(
            Markup('<text class="label {}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
                "" if anchor != "middle" or _PHONE_EDGE < share < 1 - _PHONE_EDGE else "roomy",
                x,
                height - 4,
                anchor,
                label,
            )
        )
    for number, spans in enumerate(rows):
        for span in spans:
            share = max(span.end - span.start, _LEAST_SHARE)
            fits = [kind for kind, width in _WIDTHS if len(span.label) * 7 + 12 < share * width]
            text = Markup('<text class="in {}" x="6" y="13">{}</text>').format(fits[0], span.label) if fits else ""
            out.append(
                Markup(
                    '<svg class="mark" x="{}" y="{}" width="{}" height="18"><title>{}</title>'
                    '<rect class="{}" width="100%" height="18" rx="3"/>{}</svg>'
                ).format(_percent(span.start), number * row_height + 4, _percent(share), span.title, span.tone, text)
            )
    return _close(out)


def _percent(share: Fraction) -> str:
    return f"{_place(share * 100)}%"


def _open(width: int, height: int, name: str, kind: str) -> Markup:
    stretched = Markup(' preserveAspectRatio="none"') if kind == "strip" else Markup("")
    return Markup(
        '<svg class="chart {}" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}"{}>'
    ).format(kind, width, height, width, height, name, stretched)


def _close(out: Sequence[str]) -> Markup:
    """The picture of its parts, in which every text is escaped."""
    return Markup("".join([*out, "</svg>"]))  # noqa: S704 (each part was escaped where it was made)
