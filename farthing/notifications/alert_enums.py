"""The words of alerts. Values are the wire's."""

from __future__ import annotations

from enum import StrEnum


class AlertType(StrEnum):
    """What is compared with thresholds."""

    LOW_ONGOING_BALANCE = "low_ongoing_balance"
    LOW_CREDIT_BALANCE = "low_credit_balance"
    FEATURE_WALLET_BALANCE = "feature_wallet_balance"
    SUBSCRIPTION_SPEND = "subscription_spend"
    SUBSCRIPTION_LINE_ITEM_SPEND = "subscription_line_item_spend"
    SUBSCRIPTION_GROUP_SPEND = "subscription_group_spend"
    ENTITLEMENT_GRANT_THRESHOLD = "entitlement_grant_threshold"
    ENTITLEMENT_GRANT_EXHAUSTED = "entitlement_grant_exhausted"


class AlertEntityType(StrEnum):
    """What an alert is about."""

    WALLET = "wallet"
    FEATURE = "feature"
    SUBSCRIPTION = "subscription"
    SUBSCRIPTION_LINE_ITEM = "subscription_line_item"
    GROUP = "group"
    ENTITLEMENT_GRANT = "entitlement_grant"


class SpendScope(StrEnum):
    """What spend can be limited for."""

    SUBSCRIPTION = "subscription"
    SUBSCRIPTION_LINE_ITEM = "subscription_line_item"
    GROUP = "group"


class AlertOwner(StrEnum):
    """Who is told of it, and may change it: the merchant, or the customer in its portal."""

    MERCHANT = "merchant"
    CUSTOMER = "customer"


class SpendParent(StrEnum):
    """What the narrower scopes belong to."""

    SUBSCRIPTION = "subscription"
