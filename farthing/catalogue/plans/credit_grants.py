"""What is said of a credit grant when it is made: for a plan, an addon or one subscription."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from farthing.core.encoding.wire import BadField, Moment, Request, checked_metadata, stored_amount

CREDIT_SCALE = 9
"""Decimals of a number of credits."""
RATE_SCALE = 5
LARGEST_RATE = Decimal(10) ** 10
LONGEST_DURATION = 36_500

Identifier = Annotated[str, Meta(min_length=1, max_length=255)]
Count = Annotated[int, Meta(ge=1, le=1000)]
Duration = Annotated[int, Meta(ge=1, le=LONGEST_DURATION)]
Priority = Annotated[int, Meta(ge=0, lt=2**31)]


class CreditGrantScope(StrEnum):
    """A grant of a plan or an addon is a template; one of a subscription gives credits."""

    PLAN = "PLAN"
    ADDON = "ADDON"
    SUBSCRIPTION = "SUBSCRIPTION"


class CreditGrantCadence(StrEnum):
    ONETIME = "ONETIME"
    RECURRING = "RECURRING"


class CreditGrantPeriod(StrEnum):
    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    HALF_YEARLY = "HALF_YEARLY"
    ANNUAL = "ANNUAL"


class CreditGrantExpiryType(StrEnum):
    """How long what was granted lasts; BILLING_CYCLE is until the end of the billing period that it was granted in."""

    NEVER = "NEVER"
    DURATION = "DURATION"
    BILLING_CYCLE = "BILLING_CYCLE"


class DurationUnit(StrEnum):
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    YEAR = "YEAR"


class CreditGrantTerms(Request):
    """What a grant gives, how often, and how long it lasts. Fields that its cadence or expiry has no use for are
    dropped."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]
    scope: CreditGrantScope
    credits: Decimal
    cadence: CreditGrantCadence
    expiration_type: CreditGrantExpiryType
    period: CreditGrantPeriod | None = None
    period_count: Count | None = None
    expiration_duration: Duration | None = None
    expiration_duration_unit: DurationUnit | None = None
    rollover_maximum: Decimal | None = None
    priority: Priority | None = None
    conversion_rate: Decimal | None = None
    topup_conversion_rate: Decimal | None = None
    start_date: Moment | None = None
    end_date: Moment | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = checked_metadata(self.metadata)
        if not self.name.strip():
            raise BadField("name", "must not be blank")
        if self.credits <= 0:
            raise BadField("credits", "must be above 0")
        _check_credits("credits", self.credits)
        for name in ("conversion_rate", "topup_conversion_rate"):
            _check_rate(name, getattr(self, name))
        self._check_recurrence()
        self._check_expiry()
        if self.start_date and self.end_date and self.end_date < self.start_date:
            raise BadField("end_date", "must not be before start_date")

    def _check_recurrence(self) -> None:
        if self.cadence is CreditGrantCadence.ONETIME:
            self.period = self.period_count = self.rollover_maximum = None
            return
        if self.period is None:
            raise BadField("period", "is required for RECURRING")
        if self.period_count is None:
            raise BadField("period_count", "is required for RECURRING")
        if self.rollover_maximum is not None:
            if self.rollover_maximum < 0:
                raise BadField("rollover_maximum", "must not be negative")
            _check_credits("rollover_maximum", self.rollover_maximum)

    def _check_expiry(self) -> None:
        if self.expiration_type is not CreditGrantExpiryType.DURATION:
            self.expiration_duration = self.expiration_duration_unit = None
        elif self.expiration_duration is None:
            raise BadField("expiration_duration", "is required for DURATION")
        elif self.expiration_duration_unit is None:
            raise BadField("expiration_duration_unit", "is required for DURATION")


class CreateCreditGrantRequest(CreditGrantTerms):
    """A grant with what it is of: the one id that its scope names."""

    plan_id: Identifier | None = None
    addon_id: Identifier | None = None
    subscription_id: Identifier | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for scope in CreditGrantScope:
            owner = f"{scope.value.lower()}_id"
            if scope is self.scope and getattr(self, owner) is None:
                raise BadField(owner, f"is required for scope {scope.value}")
            if scope is not self.scope and getattr(self, owner) is not None:
                raise BadField(owner, f"goes with scope {scope.value}, not with {self.scope.value}")
        if self.scope is not CreditGrantScope.SUBSCRIPTION:
            for name in ("start_date", "end_date"):
                if getattr(self, name) is not None:
                    raise BadField(name, f"goes with scope SUBSCRIPTION, not with {self.scope.value}")


def _check_credits(field: str, credits: Decimal) -> None:
    if credits != round(stored_amount(field, credits), CREDIT_SCALE):
        raise BadField(field, f"must have at most {CREDIT_SCALE} digits after the decimal point")


def _check_rate(field: str, rate: Decimal | None) -> None:
    if rate is None:
        return
    if rate <= 0 or rate > LARGEST_RATE:
        raise BadField(field, f"must be above 0 and at most {LARGEST_RATE:f}")
    if rate != round(rate, RATE_SCALE):
        raise BadField(field, f"must have at most {RATE_SCALE} digits after the decimal point")
