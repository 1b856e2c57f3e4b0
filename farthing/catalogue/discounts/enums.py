"""Enums of coupons: what a column, a field on the wire or a rule may say."""

from __future__ import annotations

from enum import StrEnum


class CouponCadence(StrEnum):
    """How long an attached coupon discounts: one invoice, a number of billing periods, or until it is detached."""

    ONCE = "once"
    REPEATED = "repeated"
    FOREVER = "forever"
