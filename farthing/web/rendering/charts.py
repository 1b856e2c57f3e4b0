"""Pictures of figures as SVG, drawn on the server from exact values.

Every mark carries its value as a title, read on hover and by screen readers; colours come from classes, so that the
style sheet alone decides light and dark. Positions are attributes, never styles. A table stands behind each picture,
in the template.
"""

from __future__ import annotations

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


def columns(bars: Sequence[Bar], *, name: str, height: int = 180, tick: Callable[[Decimal], str] = str) -> Markup:
    """Upright bars over a common base line, with a light grid; `tick` writes the value of a grid line."""
    return _columns([(bar,) for bar in bars], ("usage",), Fraction(62, 100), name, height, tick)


def paired_columns(
    pairs: Sequence[tuple[Bar, Bar]], *, name: str, height: int = 220, tick: Callable[[Decimal], str] = str
) -> Markup:
    """Two upright bars side by side in each place, the first in the colour of usage, the second in that of fees."""
    return _columns(pairs, ("usage", "fixed"), Fraction(72, 100), name, height, tick)


_COLUMN_WIDTHS = (("", 240), ("broad", 340), ("broader", 480))
"""How wide columns and their values are at least, in pixels; with the class of a label that stands there and on no
narrower ones.
"""
_MOST_OF_ALL = Fraction(1, 10)
"""The share of the width that the bars of one place take at most, where there are few."""
_SEEN = Fraction(1, 240)
"""The share of it that a bar takes at least, where there are many and its place has as much."""


def _columns(
    groups: Sequence[Sequence[Bar]],
    tones: Sequence[str],
    filled: Fraction,
    name: str,
    height: int,
    tick: Callable[[Decimal], str],
) -> Markup:
    """Groups of bars side by side, which take `filled` of their place; the values of the grid stand left of them.

    They are as wide as their place, on a phone as on a desk, and their letters are as large: fewer labels stand below
    them where there is less room.
    """
    top, base = 14, height - 22
    ceiling = _nice_ceiling(max((bar.value for group in groups for bar in group), default=_ZERO))
    ticks = [(Fraction(top), tick(ceiling)), (Fraction(top + base, 2), tick(ceiling / 2))] if groups else []
    left = _text_width(*(label for _, label in ticks))
    slot = Fraction(1, max(len(groups), 1))
    taken = min(max(slot * filled, min(slot, _SEEN)), _MOST_OF_ALL)
    hit, thick = slot / len(tones), taken / len(tones)
    wide = _percent(thick if len(tones) == 1 else thick * Fraction(94, 100))  # a gap between the two
    per_unit = Fraction(base - top) / Fraction(ceiling)
    out: list[str] = [_open(f'height="{height}"', name, "columns")]
    out += [f'<line class="grid" x1="0" x2="100%" y1="{_place(y)}" y2="{_place(y)}"/>' for y, _ in ticks]
    for number, group in enumerate(groups):
        middle = slot * number + slot / 2
        for place, (bar, tone) in enumerate(zip(group, tones, strict=True)):
            tall = Fraction(bar.value) * per_unit if bar.value > 0 else Fraction(0)
            area = f'x="{_percent(middle - slot / 2 + hit * place)}" y="{top}" width="{_percent(hit)}"'
            at = f'x="{_percent(middle + thick * (place - Fraction(len(tones), 2)))}" y="{_place(base - tall)}"'
            # a picture has a hundred bars: only their titles are text of somebody
            out.append(
                f'<g class="mark"><title>{escape(bar.title)}</title><rect class="area" {area} height="{base - top}"/>'
                f'<rect class="{tone}" {at} width="{wide}" height="{_place(tall)}"/></g>'
            )
    out += _column_labels([group[0].label for group in groups], left, height - 5)
    out.append(f'<line class="base" x1="0" x2="100%" y1="{base}" y2="{base}"/>')
    return _beside_ticks(ticks, left, height, _close(out))


def _column_labels(labels: Sequence[str], left: int, y: int) -> list[str]:
    """What stands below columns, the last one always: of the others every second, fourth or so, by the width."""
    if not labels:
        return []
    count, text_width = len(labels), _text_width(*labels)
    ends_last = text_width * count > _COLUMN_WIDTHS[0][1] - left  # in the middle of its place it would stand beyond
    apart = [(kind, _labels_apart(Fraction(width - left, count), text_width)) for kind, width in _COLUMN_WIDTHS]
    out = []
    for number, label in enumerate(labels):
        from_the_end = count - 1 - number
        kinds = [kind for kind, every in apart if from_the_end % every == 0]
        if kinds:
            is_at_end = ends_last and not from_the_end
            x = Fraction(1) if is_at_end else Fraction(2 * number + 1, 2 * count)
            kind = f"label last {kinds[0]}" if is_at_end else f"label {kinds[0]}"
            out.append(f'<text class="{kind.strip()}" x="{_percent(x)}" y="{y}">{escape(label)}</text>')
    return out


def _labels_apart(slot: Fraction, text_width: int) -> int:
    """How many columns lie between two labels: a power of two, so that what fits a narrow picture fits a broad one."""
    moved = max(Fraction(text_width) - slot, Fraction(0)) / 2  # so much the last one stands nearer to its neighbour
    needed = (text_width + moved) / slot
    every = 1
    while every < needed:
        every *= 2
    return every


def _beside_ticks(ticks: Sequence[tuple[Fraction, str]], left: int, height: int, drawn: Markup) -> Markup:
    """Columns with the values of their grid before them, which take `left` pixels."""
    out = [Markup('<text x="0" y="{}">{}</text>').format(_place(y + 4), label) for y, label in ticks]
    return Markup(
        '<div class="with-ticks"><svg class="ticks" width="{}" height="{}" aria-hidden="true">{}</svg>{}</div>'
    ).format(left, height, Markup("").join(out), drawn)


def strip(parts: Sequence[StripPart], *, name: str, width: int = 640, height: int = 18) -> Markup:
    """One bar cut in parts, in the order given; parts of nothing are left out."""
    total = sum((part.value for part in parts), _ZERO)
    out = [_open(f'viewBox="0 0 {width} {height}" preserveAspectRatio="none"', name, "strip")]
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
    out = [_open(f'height="{height}"', name, "timeline")]
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
    """A share of the width, to a hundredth of a per cent."""
    return f"{float(share * 100):.2f}".rstrip("0").rstrip(".") + "%"


def _open(shape: str, name: str, kind: str) -> Markup:
    return Markup('<svg class="chart {}" {} role="img" aria-label="{}">').format(kind, Markup(shape), name)  # noqa: S704


def _close(out: Sequence[str]) -> Markup:
    """The picture of its parts, in which every text is escaped."""
    return Markup("".join([*out, "</svg>"]))  # noqa: S704 (each part was escaped where it was made)
