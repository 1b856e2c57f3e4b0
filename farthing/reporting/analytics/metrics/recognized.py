"""Recognized, deferred and unbilled revenue as metrics.

Rule: docs/rules/reporting.md#recognition
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import to_local
from farthing.core.event_loop.slices import collect
from farthing.core.money import EXACT, ZERO
from farthing.customers.tables import Customer
from farthing.reporting.analytics.catalogue import CURRENCY, METADATA
from farthing.reporting.analytics.definition import Question
from farthing.reporting.analytics.metrics.facts import Cells, Group, accumulated, require_few
from farthing.reporting.analytics.metrics.plain_revenue import (
    DayMarks,
    day_marks,
    not_plain,
    plain_recognized,
    plain_standing,
)
from farthing.reporting.analytics.metrics.recurring_books import meets
from farthing.reporting.analytics.periods import Timeline
from farthing.reporting.revenue.recognition import CreditsHeld, RecognizedLine, credits_held, schedules
from farthing.reporting.turns import owner_of_reports

_DAY = timedelta(days=1)


class RevenueStanding(StrEnum):
    """Billed ahead, or earned and not billed."""

    DEFERRED = "deferred"
    UNBILLED = "unbilled"


@dataclass(slots=True)
class RecognitionBooks:
    """Schedules and credits, read once for each stretch of time that an answer speaks of.

    Only of lines that the database cannot add up.
    """

    session: AsyncSession
    now: datetime
    _marks: dict[Timeline, DayMarks] = field(default_factory=dict)
    _schedules: dict[Timeline, list[RecognizedLine]] = field(default_factory=dict)
    _customers: dict[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)

    def marks(self, question: Question, timeline: Timeline) -> DayMarks:
        """What statements about plain lines are sent."""
        if timeline not in self._marks:
            self._marks[timeline] = day_marks(timeline, question.range.zone, self.now)
        return self._marks[timeline]

    async def lines(self, question: Question, timeline: Timeline) -> list[tuple[RecognizedLine, Group]]:
        """The lines that a question is about, each with its group."""
        if timeline not in self._schedules:
            zone = question.range.zone
            among = not_plain(self.marks(question, timeline))
            edges = {to_local(moment, zone).date() for moment in timeline.edges}
            edges.add(to_local(self.now, zone).date() + _DAY)
            self._schedules[timeline] = await schedules(
                self.session, timeline.start, timeline.end, zone, self.now, among, frozenset(edges)
            )
        chosen = []
        for recognized in self._schedules[timeline]:
            line = recognized.line
            values = {
                "customer_id": line.customer_id,
                "subscription_id": line.subscription_id,
                "price_id": line.price_id,
                "meter_id": line.meter_id,
                CURRENCY: line.currency,
            }
            group = await self._group(question, values)
            if group is not None:
                chosen.append((recognized, group))
        return chosen

    async def credits(self, question: Question, until: datetime) -> list[tuple[CreditsHeld, Group]]:
        """The changes of credits held that a question is about, each with its group."""
        chosen = []
        for change in await credits_held(self.session, until):
            values = {"customer_id": change.customer_id, CURRENCY: change.currency}
            group = await self._group(question, values)
            if group is not None:
                chosen.append((change, group))
        return chosen

    async def _group(self, question: Question, values: dict[str, str]) -> Group | None:
        """The group of what has these values; None where the question leaves it out."""
        if question.currency is not None and values[CURRENCY] != question.currency:
            return None
        for name in question.fields:
            if name not in values:
                values[name] = await self._of_customer(values["customer_id"], name)
        if not all(meets(condition, values[condition.field]) for condition in question.conditions):
            return None
        return tuple(values[dimension] for dimension in question.dimensions)

    async def _of_customer(self, customer_id: str, name: str) -> str:
        if name != "country" and not name.startswith(METADATA):
            return ""
        if not self._customers:
            rows = await self.session.execute(select(Customer.id, Customer.address_country, Customer.meta))
            self._customers = {found: (country, metadata) for found, country, metadata in rows}
        country, metadata = self._customers.get(customer_id, ("", {}))
        return country if name == "country" else metadata.get(name.removeprefix(METADATA), "")


async def recognized_revenue(books: RecognitionBooks, question: Question, timeline: Timeline) -> Cells:
    """What was recognized in each bucket: of lines, and of credits that lapsed. Days ahead are not recognized yet."""
    zone = question.range.zone
    days = [to_local(edge, zone).date() for edge in timeline.edges]
    today = to_local(books.now, zone).date()
    plain = await plain_recognized(books.session, question, timeline, books.marks(question, timeline))
    cells: defaultdict[tuple[int, Group], Decimal] = defaultdict(lambda: ZERO, plain)

    def add(bucket: int, group: Group, amount: Decimal) -> None:
        if amount:
            cells[bucket, group] = EXACT.add(cells[bucket, group], amount)

    lines = await books.lines(question, timeline)

    def added_up() -> Iterator[None]:
        for recognized, group in lines:
            for bucket, (first, after) in enumerate(pairwise(days)):
                until = min(after, today + _DAY)
                if first < until:
                    add(bucket, group, recognized.schedule.recognized_between(first, until))
            yield

    await collect(added_up(), owner_of_reports(books.session))
    for change, group in await books.credits(question, timeline.end):
        if change.lapsed and change.at >= timeline.start:
            bucket = next(number for number, end in enumerate(timeline.ends) if change.at < end)
            add(bucket, group, change.lapsed)
    require_few(cells)
    return cells


async def standing_at_ends(
    books: RecognitionBooks, question: Question, timeline: Timeline, standing: RevenueStanding
) -> Cells:
    """What was billed ahead, or earned and not billed, at the end of each bucket; now, where that lies ahead.

    Each line stands for itself: what one is billed ahead never offsets what another has earned.
    """
    zone = question.range.zone
    today = to_local(books.now, zone).date()
    is_deferred = standing is RevenueStanding.DEFERRED
    plain = await plain_standing(
        books.session, question, timeline, books.marks(question, timeline), is_deferred=is_deferred
    )
    cells: defaultdict[tuple[int, Group], Decimal] = defaultdict(lambda: ZERO, plain)
    ends = [(end, min(to_local(end, zone).date(), today + _DAY)) for end in timeline.ends]
    lines = await books.lines(question, timeline)

    def added_up() -> Iterator[None]:
        for recognized, group in lines:
            schedule = recognized.schedule
            for bucket, (end, day) in enumerate(ends):
                amount = schedule.deferred(end, day) if is_deferred else schedule.unbilled(end, day)
                if amount:
                    cells[bucket, group] = EXACT.add(cells[bucket, group], amount)
            yield

    await collect(added_up(), owner_of_reports(books.session))
    if is_deferred:
        held: defaultdict[tuple[int, Group], Decimal] = defaultdict(lambda: ZERO)
        for change, group in await books.credits(question, timeline.end):
            bucket = next(number for number, end in enumerate(timeline.ends) if change.at < end)
            held[bucket, group] = EXACT.add(held[bucket, group], change.held)
        for cell, amount in (await accumulated(held, len(ends), owner_of_reports(books.session))).items():
            cells[cell] = EXACT.add(cells[cell], amount)
    require_few(cells)
    return cells
