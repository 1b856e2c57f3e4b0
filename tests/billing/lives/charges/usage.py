"""What was used, and what final invoices have not charged of it yet.

Rule: docs/rules/late-usage.md#what-is-charged
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction

from tests.billing.lives.arithmetic import MOMENT, NOTHING, in_cents
from tests.billing.lives.charges.quotas import Quotas
from tests.billing.lives.charges.records import Document, Item, Line
from tests.billing.lives.charges.service_time import ServiceTime

LATEST_LATE = timedelta(days=35)


@dataclass
class Usage:
    """The moments at which something was used, whenever they became known; `items` charge it."""

    time: ServiceTime
    items: list[Item]
    quotas: Quotas | None = None
    moments: list[datetime] = field(default_factory=list)

    def counting(self, start: datetime, end: datetime) -> list[datetime]:
        """When something was used in a window; while a subscription is paused nothing counts."""
        stops = self.time.stops(end)
        used = [use for use in self.moments if start <= use < end]
        return [use for use in used if not any(stop <= use < back for stop, back in stops)]

    def cost(self, item: Item, start: datetime, end: datetime) -> Fraction:
        """What an item charges of what was used in a window, above quotas."""
        if self.quotas is None:
            return Fraction(item.price) * len(self.counting(start, end))
        cycle = self.time.periods[self.time.period_of(start)]
        return self.quotas.cost(item, start, self.counting(cycle.start, end), self.items)

    def count_quotas(self, now: datetime) -> None:
        """The duty stores the windows of quotas."""
        if self.quotas is not None:
            self.quotas.count(now, self.counting(self.time.start, now + MOMENT), self.items)

    def late_lines(self, document: Document, documents: Sequence[Document]) -> Iterator[Line]:
        """What final invoices of the last 35 days would charge more for their usage by now."""
        assert document.period_end is not None, "a renewal has a period"
        for earlier in documents:
            if earlier.reason != "CYCLE" or earlier.final_at is None or earlier is document:
                continue
            assert earlier.period_end is not None, "a renewal has a period"
            if not document.period_end - LATEST_LATE <= earlier.period_end < document.period_end:
                continue
            beside = [other for other in documents if other is not document]
            for line in earlier.lines:
                if line.item is None or line.item.kind != "usage" or line.late_for is not None:
                    continue
                charged = [
                    other.gross
                    for other_document in beside
                    for other in other_document.lines
                    if other is line or other.late_for is line
                ]
                more = in_cents(self.cost(line.item, line.start, line.end)) - sum(charged, NOTHING)
                if more > 0:
                    name = f"{line.name} (Late Usage)"
                    yield Line(name, line.item, line.start, line.end, more, late_for=line, is_usage=True)
