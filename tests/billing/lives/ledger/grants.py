"""Credit grants: when they give, how much, until when it lasts, and what rolls over.

Rule: docs/rules/credits.md#grants
Rule: docs/rules/credits.md#applications
Rule: docs/rules/credits.md#expiry-of-granted-credits
Rule: docs/rules/credits.md#rollover
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from tests.billing.lives.arithmetic import months_after, part_of, rounded, time_after
from tests.billing.lives.charges.records import Period
from tests.billing.lives.ledger.wallets import Lot

MONTHS = {"MONTHLY": 1, "QUARTERLY": 3, "HALF_YEARLY": 6, "ANNUAL": 12}
DAYS = {"DAILY": 1, "WEEKLY": 7}
FIRST_RETRY = timedelta(seconds=10)
LONGEST_RETRY = timedelta(hours=6)


@dataclass(frozen=True)
class GrantTerms:
    """`period` None gives once. `lasts` is a number of units, or the billing period, or for ever (None)."""

    credits: Decimal
    period: str | None = None
    count: int = 1
    lasts: tuple[int, str] | str | None = None
    priority: int | None = None
    rollover: Decimal | None = None

    @property
    def recurs_monthly(self) -> bool:
        return self.period == "MONTHLY" and self.count == 1

    def boundary_after(self, moment: datetime, anchor: datetime) -> datetime:
        """The next boundary of the grant's rhythm."""
        number = 0
        while (boundary := self._boundary(anchor, number)) <= moment:
            number += 1
        return boundary

    def _boundary(self, anchor: datetime, number: int) -> datetime:
        assert self.period is not None, "only what recurs has boundaries"
        steps = number * self.count
        if self.period in DAYS:
            return anchor + timedelta(days=steps * DAYS[self.period])
        return months_after(anchor, steps * MONTHS[self.period])


@dataclass(eq=False)
class Application:
    """What a grant gives for one period; `became` says what happened, "" while it waits."""

    start: datetime
    end: datetime | None
    credits: Decimal
    became: str = ""
    lot: Lot | None = None
    rolls_over: bool = False
    failures: int = 0
    tried_again_at: datetime | None = None

    @property
    def due_at(self) -> datetime:
        return self.tried_again_at or self.start

    def fail(self, now: datetime) -> None:
        """It is tried again after ten seconds, and after twice as long each time, up to six hours."""
        self.tried_again_at = now + min(FIRST_RETRY * 2**self.failures, LONGEST_RETRY)
        self.failures += 1


@dataclass(eq=False)
class Grant:
    """One subscription's grant."""

    terms: GrantTerms
    start: datetime
    anchor: datetime
    is_plans: bool = False
    end: datetime | None = None
    applications: list[Application] = field(default_factory=list)

    @classmethod
    def begun(
        cls, terms: GrantTerms, start: datetime, period: Period | None = None, *, is_plans: bool = False
    ) -> Grant:
        """A grant from `start` on; one that recurs with the billing `period` in which it begins has its share first."""
        if period is None or not terms.recurs_monthly or start == period.start:
            grant = cls(terms, start, start, is_plans)
            grant.applications.append(grant._next(start))
            return grant
        grant = cls(terms, start, period.end, is_plans)
        share = part_of(period.end - start, period.end - period.start)
        credits = rounded(Fraction(terms.credits) * share, 8)
        grant.applications.append(Application(start, period.end, credits))
        return grant

    def _next(self, start: datetime) -> Application:
        end = None if self.terms.period is None else self.terms.boundary_after(start, self.anchor)
        return Application(start, end, self.terms.credits)

    @property
    def open_application(self) -> Application | None:
        newest = self.applications[-1]
        return None if newest.became else newest

    def follow(self, done: Application) -> None:
        """Prepare what comes after an application that is done with."""
        if done.end is not None:
            following = self._next(done.end)
            assert following.end is not None, "what recurs has an end"
            if self.end is None or following.end <= self.end:
                self.applications.append(following)

    def stop(self, now: datetime) -> None:
        """Give nothing from now on."""
        if self.end is None or self.end > now:
            self.end = now
        waits = self.open_application
        if waits is not None and waits.start >= now:
            waits.became = "cancelled"

    def expiry(self, start: datetime, billing_end: datetime) -> datetime | None:
        """When what is given for a period that begins at `start` expires."""
        if self.terms.lasts is None:
            return None
        if isinstance(self.terms.lasts, str):
            return billing_end
        return time_after(start, *self.terms.lasts)
