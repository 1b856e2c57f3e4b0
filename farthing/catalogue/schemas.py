"""What comes with plans and addons and is kept above the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from farthing.core.encoding.wire import DecimalText, Response, Timestamp
from farthing.core.enums import Status


class IncludedCreditGrant(Response):
    """A credit grant of a plan, an addon or a subscription. `rollover_maximum`: what of earlier applications is carried
    over a new one at most."""

    renamed: ClassVar[Mapping[str, str]] = {"metadata": "meta"}

    id: str
    name: str
    scope: Literal["PLAN", "SUBSCRIPTION", "ADDON"]
    credits: DecimalText
    cadence: Literal["ONETIME", "RECURRING"]
    expiration_type: Literal["NEVER", "DURATION", "BILLING_CYCLE"]
    metadata: dict[str, str]
    tenant_id: str
    environment_id: str
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    created_by: str
    updated_by: str
    plan_id: str | None = None
    addon_id: str | None = None
    subscription_id: str | None = None
    conversion_rate: DecimalText | None = None
    topup_conversion_rate: DecimalText | None = None
    period: Literal["DAILY", "WEEKLY", "MONTHLY", "QUARTERLY", "HALF_YEARLY", "ANNUAL"] | None = None
    period_count: int | None = None
    expiration_duration: int | None = None
    expiration_duration_unit: Literal["DAY", "WEEK", "MONTH", "YEAR"] | None = None
    priority: int | None = None
    start_date: Timestamp | None = None
    end_date: Timestamp | None = None
    credit_grant_anchor: Timestamp | None = None
    rollover_maximum: DecimalText | None = None
