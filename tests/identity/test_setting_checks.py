"""Values of settings that cannot be, and those that come back as given."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from farthing.core.encoding.decoding import convert
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import (
    CATALOGUE,
    BalanceAlertThreshold,
    BonusCreditsTopupConfig,
    Configuration,
    WalletBalanceAlertConfig,
)
from tests.account import Account

SLAB = {"threshold": "100", "bonus": {"type": "flat", "value": "5"}}


BELOW_1, BELOW_5, ABOVE_1, ABOVE_5 = (
    {"threshold": amount, "condition": condition} for condition in ("below", "above") for amount in ("1", "5")
)


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        pytest.param("invoice_config", {"prefix": ""}, "prefix", id="a number needs a prefix"),
        pytest.param("invoice_config", {"format": "MMYY"}, "format", id="the date part has five forms"),
        pytest.param("invoice_config", {"start_sequence": 0}, "start_sequence", id="numbers start at one"),
        pytest.param("invoice_config", {"timezone": "Mars/Base"}, "timezone", id="a zone nobody knows"),
        pytest.param("invoice_config", {"timezone": ""}, "timezone", id="a zone is named"),
        pytest.param("invoice_config", {"suffix_length": 0}, "suffix_length", id="at least one digit"),
        pytest.param("invoice_config", {"suffix_length": 11}, "suffix_length", id="at most ten"),
        pytest.param("invoice_config", {"due_date_days": -1}, "due_date_days", id="due before it is issued"),
        pytest.param("invoice_config", {"finalization_delay_seconds": -1}, "finalization_delay_seconds", id="a past"),
        pytest.param("invoice_config", {"compute_delay_seconds": -1}, "compute_delay_seconds", id="another past"),
        pytest.param("invoice_config", {"late_usage_policy": "hope"}, "late_usage_policy", id="an unknown policy"),
        pytest.param("invoice_config", {"prefix": 7}, "prefix", id="a wrong type"),
        pytest.param("subscription_config", {"grace_period_days": 0}, "grace_period_days", id="no grace at all"),
        pytest.param("invoice_pdf_config", {"template_name": "x.typ"}, "template_name", id="an unknown template"),
        pytest.param("invoice_pdf_config", {"group_by": ["a", ""]}, "group_by[1]", id="grouped by nothing"),
        pytest.param("invoice_pdf_config", {"logo": "!"}, "logo", id="a logo that is no base64"),
        pytest.param("invoice_pdf_config", {"logo": "PHN2Zy8+"}, "logo", id="a logo that is no PNG or JPEG"),
        pytest.param("invoice_pdf_config", {"logo": "A" * 180_000}, "logo", id="a logo of more than 128 KiB"),
        pytest.param("customer_onboarding", {"workflow_type": ""}, "workflow_type", id="a workflow has a name"),
        pytest.param(
            "customer_onboarding", {"actions": [{"action": "dance"}]}, "actions[0].action", id="unknown action"
        ),
        pytest.param(
            "customer_onboarding",
            {"actions": [{"action": "create_wallet", "currency": "dollars"}]},
            "actions[0].currency",
            id="a wallet in no currency",
        ),
        pytest.param(
            "customer_onboarding",
            {"custom_workflows": {"a": [{"action": "create_subscription"}]}},
            "custom_workflows.a[0].plan_id",
            id="a subscription to no plan",
        ),
        pytest.param(
            "wallet_balance_alert_config",
            {"alert_enabled": True, "critical": None},
            "alert_enabled",
            id="an alert without a threshold",
        ),
        pytest.param(
            "wallet_balance_alert_config",
            {"warning": BELOW_1, "critical": None},
            "warning",
            id="warning needs critical",
        ),
        pytest.param(
            "wallet_balance_alert_config",
            {"critical": BELOW_5, "warning": BELOW_1},
            "warning",
            id="below, a warning comes before critical",
        ),
        pytest.param(
            "wallet_balance_alert_config",
            {"critical": BELOW_1, "warning": BELOW_5, "info": BELOW_1},
            "info",
            id="below, information comes before a warning",
        ),
        pytest.param(
            "wallet_balance_alert_config",
            {"critical": ABOVE_1, "warning": ABOVE_5},
            "warning",
            id="above, the other way round",
        ),
        pytest.param(
            "wallet_balance_alert_config",
            {"critical": BELOW_1, "info": ABOVE_5},
            "info",
            id="one condition throughout",
        ),
        pytest.param(
            "custom_analytics_config",
            {"rules": [{"id": "magic", "target_type": "meter", "target_id": "m"}]},
            "rules[0].id",
            id="an unknown figure",
        ),
        pytest.param(
            "custom_analytics_config",
            {"rules": [{"id": "revenue-per-minute", "target_type": "moon", "target_id": "m"}]},
            "rules[0].target_type",
            id="an unknown target",
        ),
        pytest.param(
            "customer_portal_config", {"theme": {"primary_color": "blue"}}, "theme.primary_color", id="a colour"
        ),
        pytest.param(
            "customer_portal_config",
            {"theme": {"primary_color": "#ffee00"}},
            "theme.primary_color",
            id="an accent can be seen on a light background",
        ),
        pytest.param(
            "customer_portal_config",
            {"theme": {"primary_color": "#1f3040", "background": "dark"}},
            "theme.primary_color",
            id="an accent can be seen on a dark background",
        ),
        pytest.param("customer_portal_config", {"items": {"cancel": "today"}}, "items.cancel", id="an end is of three"),
        pytest.param(
            "customer_portal_config", {"sections": [{"label": "A"}]}, "sections[0].id", id="a section has an id"
        ),
        pytest.param(
            "customer_portal_config",
            {"sections": [{"id": "a", "tabs": [{"id": "1"}]}]},
            "sections[0].tabs[0].type",
            id="a tab has a type",
        ),
        pytest.param(
            "event_ingestion_filter", {"enabled": True}, "allowed_external_customer_ids", id="a filter lets someone in"
        ),
        pytest.param("bonus_credits_topup_config", {"enabled": True}, "slabs", id="a bonus has slabs"),
        pytest.param("bonus_credits_topup_config", {"slabs": [SLAB, SLAB]}, "slabs", id="thresholds descend strictly"),
        pytest.param(
            "bonus_credits_topup_config",
            {"slabs": [{**SLAB, "threshold": "-1"}]},
            "slabs[0].threshold",
            id="below zero",
        ),
        pytest.param(
            "bonus_credits_topup_config",
            {"slabs": [{**SLAB, "bonus": {"type": "flat", "value": "-1"}}]},
            "slabs[0].bonus.value",
            id="a bonus that takes",
        ),
        pytest.param(
            "bonus_credits_topup_config",
            {"slabs": [{**SLAB, "expiration_duration": 3}]},
            "slabs[0].expiration_duration_unit",
            id="three of what",
        ),
        pytest.param(
            "bonus_credits_topup_config",
            {"slabs": [{**SLAB, "expiration_duration": 0, "expiration_duration_unit": "DAY"}]},
            "slabs[0].expiration_duration",
            id="a bonus that expires at once",
        ),
        pytest.param(
            "payment_mandate_limits",
            {"mandate_limits": {"UPI": {"max_amount": "-1"}}},
            "mandate_limits.UPI.max_amount",
            id="a negative limit",
        ),
        pytest.param(
            "payment_mandate_limits",
            {"mandate_limits": {"UPI": {"max_amount": "1", "currency": "IN"}}},
            "mandate_limits.UPI.currency",
            id="a limit in no currency",
        ),
    ],
)
async def test_a_value_that_cannot_be(account: Account, key: str, value: Any, field: str) -> None:
    refused = await account.put(f"/settings/{key}", {"value": value}, expect=400)
    assert refused["code"] == "validation_error"
    assert list(refused["details"]) == [field]
    assert (await account.get(f"/settings/{key}"))["id"] == ""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("invoice_config", {"separator": "", "timezone": "IST", "format": "YY"}, id="a terse number"),
        pytest.param("invoice_config", {"timezone": "America/New_York"}, id="an IANA zone"),
        pytest.param("wallet_balance_alert_config", {"critical": BELOW_1, "warning": BELOW_1}, id="equal thresholds"),
        pytest.param(
            "wallet_balance_alert_config", {"critical": ABOVE_5, "warning": ABOVE_1, "info": ABOVE_1}, id="above"
        ),
        pytest.param(
            "bonus_credits_topup_config",
            {
                "enabled": True,
                "slabs": [
                    {
                        **SLAB,
                        "operator": "gte",
                        "threshold": "200",
                        "expiration_duration": 1,
                        "expiration_duration_unit": "MONTH",
                    },
                    {**SLAB, "operator": "gte"},
                ],
            },
            id="two slabs",
        ),
        pytest.param(
            "customer_onboarding",
            {
                "actions": [
                    {"action": "create_customer", "default_user_id": "u"},
                    {"action": "create_wallet", "currency": "usd", "conversion_rate": "1"},
                    {"action": "create_subscription", "plan_id": "p", "start_date": "2024-01-01T00:00:00Z"},
                    {"action": "create_feature_and_price", "plan_id": "p", "feature_type": "metered"},
                    {"action": "rollout_to_subscriptions", "plan_id": "p"},
                ],
                "custom_workflows": {"other": [{"action": "create_customer"}]},
            },
            id="every action",
        ),
        pytest.param(
            "event_ingestion_filter", {"enabled": True, "allowed_external_customer_ids": ["a"]}, id="a filter"
        ),
    ],
)
async def test_a_value_that_can_be_comes_back_as_given(account: Account, key: str, value: Any) -> None:
    stored = await account.put(f"/settings/{key}", {"value": value})
    assert {name: stored["value"][name] for name in value} == value
    assert (await account.get(f"/settings/{key}"))["value"] == stored["value"]


@pytest.mark.parametrize("kind", list(CATALOGUE.values()), ids=list(CATALOGUE))
def test_defaults_pass_their_own_checks(kind: type[Configuration]) -> None:
    value = kind()
    assert convert(current.on_the_wire(value), kind) == value


thresholds = st.none() | st.builds(
    BalanceAlertThreshold,
    threshold=st.decimals(min_value=-10, max_value=10, places=1),
    condition=st.sampled_from(["above", "below"]),
)


@hypothesis_settings(max_examples=150)
@given(critical=thresholds, warning=thresholds, info=thresholds, enabled=st.booleans())
def test_accepted_alerts_never_contradict_themselves(
    critical: BalanceAlertThreshold | None,
    warning: BalanceAlertThreshold | None,
    info: BalanceAlertThreshold | None,
    enabled: bool,
) -> None:
    """Whatever is accepted reaches info before warning before critical, from one side."""
    try:
        WalletBalanceAlertConfig(critical=critical, warning=warning, info=info, alert_enabled=enabled)
    except ValueError:
        accepted = False
    else:
        accepted = True
    levels = [level for level in (critical, warning, info) if level is not None]
    amounts = [level.threshold for level in levels]
    one_side = len({level.condition for level in levels}) <= 1
    ordered = not levels or amounts == sorted(amounts, reverse=levels[0].condition == "above")
    assert accepted == (
        one_side and ordered and (critical is not None or warning is None) and (bool(levels) or not enabled)
    )


@hypothesis_settings(max_examples=100)
@given(st.lists(st.integers(0, 20), max_size=5), st.booleans())
def test_slabs_are_accepted_exactly_when_they_descend(amounts: list[int], enabled: bool) -> None:
    slabs = [{**SLAB, "threshold": str(amount)} for amount in amounts]
    try:
        msgspec.convert({"enabled": enabled, "slabs": slabs}, BonusCreditsTopupConfig)
    except msgspec.ValidationError:
        accepted = False
    else:
        accepted = True
    assert accepted == (sorted(set(amounts), reverse=True) == amounts and (bool(amounts) or not enabled))
