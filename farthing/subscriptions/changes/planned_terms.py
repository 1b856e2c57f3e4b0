"""What schedules and line items keep as JSON: the terms of what shall happen, and of times of day.

The `version` of a plan change says which of two it is: 1, or none at all, replaces the subscription, 2 keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

import msgspec

from farthing.calendar.billing import BillingCycle, BillingPeriod
from farthing.catalogue.prices.enums import BillingCadence
from farthing.core.encoding.times import read_time
from farthing.storage.documents import VERSION, Document, decode
from farthing.subscriptions.enums import AddonPolicy, CancellationType, CommitmentType, ProrationBehavior


class PlannedEnd(Document, frozen=True, kw_only=True, omit_defaults=False):
    """A cancellation, and what planning it replaced on the subscription; instants as text."""

    cancellation_type: CancellationType = CancellationType.END_OF_PERIOD
    reason: str = ""
    proration_behavior: ProrationBehavior = ProrationBehavior.NONE
    original_cancel_at_period_end: bool = False
    original_cancel_at: str | None = None
    original_end_date: str | None = None
    original_current_period_end: str | None = None


class RequestedQuantity(msgspec.Struct, frozen=True, omit_defaults=True):
    """The quantity that a plan change asks for, of a price of the target plan; the decimal as text."""

    count: str
    price_id: str = ""
    lookup_key: str = ""

    @property
    def quantity(self) -> Decimal:
        return Decimal(self.count)


class PlannedReplacement(Document, frozen=True, kw_only=True, omit_defaults=False):
    """A plan change that ends the subscription and begins another."""

    target_plan_id: str
    proration_behavior: ProrationBehavior = ProrationBehavior.NONE
    billing_cadence: BillingCadence = BillingCadence.RECURRING
    billing_period: BillingPeriod
    billing_period_count: int = 1
    billing_cycle: BillingCycle = BillingCycle.ANNIVERSARY
    change_metadata: dict[str, str] = {}
    line_items: list[RequestedQuantity] = []


class AddonPolicies(msgspec.Struct, frozen=True):
    """What happens to addons: by default, and to single ones, by association."""

    default_behaviour: AddonPolicy | None = None
    overrides: dict[str, AddonPolicy] | None = None


class PlannedEntityPolicies(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a plan change does with what is not the plan's."""

    addons: AddonPolicies | None = None


class PlannedChangeInPlace(Document, frozen=True, kw_only=True, omit_defaults=False):
    """A plan change that keeps the subscription."""

    stored_version: ClassVar[int] = 2
    first_version: ClassVar[int] = 2

    target_plan_id: str
    idempotency_key: str = ""
    entity_policies: PlannedEntityPolicies = PlannedEntityPolicies()
    change_metadata: dict[str, str] = {}
    line_items: list[RequestedQuantity] = []

    @property
    def addon_policies(self) -> tuple[AddonPolicy, dict[str, AddonPolicy]]:
        """What it does with addons: by default, and with single ones."""
        addons = self.entity_policies.addons or AddonPolicies()
        return addons.default_behaviour or AddonPolicy.CARRY, dict(addons.overrides or {})


PlannedChange = PlannedReplacement | PlannedChangeInPlace


def planned_change(configuration: Mapping[str, Any]) -> PlannedChange:
    """The plan change that a schedule keeps."""
    if configuration.get(VERSION) == PlannedChangeInPlace.stored_version:
        return decode(PlannedChangeInPlace, configuration)
    return decode(PlannedReplacement, configuration)


def planned_end(configuration: Mapping[str, Any]) -> PlannedEnd:
    """The cancellation that a schedule keeps."""
    return decode(PlannedEnd, configuration)


def shown_configuration(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration on the wire, where only a change in place has ever said its version."""
    if configuration.get(VERSION) == PlannedChangeInPlace.stored_version:
        return dict(configuration)
    return {name: value for name, value in configuration.items() if name != VERSION}


def instant_kept(text: str | None) -> datetime | None:
    """An instant that a document keeps as text."""
    return None if text is None else read_time(text)


class StoredTimeOfDay(msgspec.Struct, frozen=True):
    """A minute of the UTC day; 24:00 is its end."""

    hour: int
    minute: int

    @property
    def minutes(self) -> int:
        return self.hour * 60 + self.minute


class StoredTimeBucket(Document, frozen=True, kw_only=True, omit_defaults=False):
    """The terms of the windows that start in a stretch of the UTC day; decimals as text."""

    id: str
    start: StoredTimeOfDay
    end: StoredTimeOfDay
    price_id: str
    commitment_type: CommitmentType
    commitment_value: str
    overage_factor: str = "1"
    true_up_enabled: bool = False

    @property
    def value(self) -> Decimal:
        return Decimal(self.commitment_value)

    @property
    def factor(self) -> Decimal:
        return Decimal(self.overage_factor)
