"""Rhythms that tests bill by."""

from __future__ import annotations

from farthing.calendar.billing import BillingPeriod

DAILY, WEEKLY, MONTHLY = BillingPeriod.DAILY, BillingPeriod.WEEKLY, BillingPeriod.MONTHLY
QUARTERLY, HALF_YEARLY, ANNUAL = BillingPeriod.QUARTERLY, BillingPeriod.HALF_YEARLY, BillingPeriod.ANNUAL
RECURRING = [DAILY, WEEKLY, MONTHLY, QUARTERLY, HALF_YEARLY, ANNUAL]
