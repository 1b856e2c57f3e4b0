"""How a line's amount came about, in words: tiers, allowance and commitment (BT-154). Figures are the line's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from farthing.core.money import plain

LONGEST = 1000
_MOST_PARTS = 20


def line_description(
    said: str,
    rating: Mapping[str, Any] | None,
    allowance: Decimal | None,
    commitment: Mapping[str, Any] | None,
) -> str:
    """What was said of the line, and how it was rated; "" where there is nothing to say."""
    sentences = [said.strip(), _parts(rating or {}), _allowance(allowance), _commitment(commitment or {})]
    return ". ".join(sentence for sentence in sentences if sentence)[:LONGEST]


def _parts(rating: Mapping[str, Any]) -> str:
    """The prices of the slices; a single price without tiers says no more than quantity and amount do."""
    parts = rating.get("parts") or ()
    if not any("tier" in part or "package_size" in part for part in parts):
        return ""
    shown = [_part(part) for part in parts[:_MOST_PARTS]]
    more = ["..."] if len(parts) > _MOST_PARTS else []
    return "Priced " + "; ".join([*shown, *more])


def _part(part: Mapping[str, Any]) -> str:
    packages = f" packages of {part['package_size']}" if "package_size" in part else ""
    flat = f" plus {part['flat_amount']}" if "flat_amount" in part else ""
    return f"{part['quantity']}{packages} at {part['unit_amount']}{flat}{_tier(part)}"


def _tier(part: Mapping[str, Any]) -> str:
    if "tier" not in part:
        return ""
    return f" (from {part['above']} to {part['up_to']})" if "up_to" in part else f" (above {part['above']})"


def _allowance(allowance: Decimal | None) -> str:
    return f"{plain(allowance)} included free of charge" if allowance else ""


def _commitment(commitment: Mapping[str, Any]) -> str:
    return "; ".join(_commitment_figures(commitment))


def _commitment_figures(commitment: Mapping[str, Any]) -> Iterator[str]:
    for key, words in (
        ("amount", "Commitment of"),
        ("computed_overage_amount", "overage"),
        ("computed_true_up_amount", "charged to reach it"),
    ):
        figure = commitment.get(key)
        if figure not in {None, "", "0"}:
            yield f"{words} {figure}"
