"""Windowed commitments: the commitment holds for each window of a bucketed meter on its own.

Time-of-day buckets may give some windows another price and commitment.
Rule: docs/rules/commitments.md#windowed
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from farthing.core.money import exact_sum
from farthing.rating.commitments.line_commitment import CommitmentCharge, LineCommitment, item_commitment
from farthing.rating.pricing.cost import price_values
from farthing.rating.pricing.price import RatedPrice

MINUTES_PER_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class WindowTerms:
    """How a window is charged; without a commitment it is charged at the price alone."""

    price: RatedPrice
    commitment: LineCommitment | None = None


@dataclass(frozen=True, slots=True)
class TimeOfDayBucket:
    """Terms for windows that start in `[start_minute, end_minute)` of the UTC day; may wrap midnight, never empty."""

    id: str
    start_minute: int
    end_minute: int
    terms: WindowTerms

    def __post_init__(self) -> None:
        if not (0 <= self.start_minute <= MINUTES_PER_DAY and 0 <= self.end_minute <= MINUTES_PER_DAY):
            raise ValueError(f"minutes of a day run from 0 to {MINUTES_PER_DAY}")
        if self.start_minute == self.end_minute or (self.start_minute == MINUTES_PER_DAY and self.end_minute == 0):
            raise ValueError("a time-of-day bucket must not start where it ends")

    def holds(self, instant: datetime) -> bool:
        """Whether an aware instant lies in the bucket."""
        utc = instant.astimezone(UTC)
        minute = utc.hour * 60 + utc.minute
        if self.start_minute < self.end_minute:
            return self.start_minute <= minute < self.end_minute
        return minute >= self.start_minute or minute < self.end_minute


@dataclass(frozen=True, slots=True)
class WindowUsage:
    """The values of the window that starts at `start`: one, or one per group; none in an empty window."""

    start: datetime
    values: Sequence[Decimal] = ()


@dataclass(frozen=True, slots=True)
class WindowCharge:
    """One window's quantity, its cost at the price alone, and what is charged for it; all unrounded.

    `bucket_id` names the time-of-day bucket whose terms applied, None the line item's own.
    """

    start: datetime
    bucket_id: str | None
    quantity: Decimal
    cost: Decimal
    charge: CommitmentCharge


def charge_windows(
    windows: Iterable[WindowUsage], terms: WindowTerms, buckets: Sequence[TimeOfDayBucket] = ()
) -> list[WindowCharge]:
    """Charge each window under the bucket its start lies in, else under the line item's own terms. Unrounded.

    The caller lists the empty windows that a true-up shall charge. `line_commitment.total_charge` adds them up; the
    line rounds that sum, once.
    """
    return [_charge(window, terms, buckets) for window in windows]


def _charge(window: WindowUsage, terms: WindowTerms, buckets: Sequence[TimeOfDayBucket]) -> WindowCharge:
    bucket = next((bucket for bucket in buckets if bucket.holds(window.start)), None)
    governing = terms if bucket is None else bucket.terms
    cost = price_values(governing.price, window.values)
    charge = item_commitment(cost, governing.commitment)
    return WindowCharge(window.start, None if bucket is None else bucket.id, exact_sum(window.values), cost, charge)
