"""Settings: defaults, merging, checks, and what forgetting them does."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from farthing.identity.settings import current
from farthing.identity.settings.catalogue import (
    CATALOGUE,
    BalanceAlertThreshold,
    InvoiceConfig,
    SubscriptionConfig,
    TenantConfig,
    WalletBalanceAlertConfig,
)
from tests.account import Account
from tests.identity.conftest import person

TIMELESS = "0001-01-01T00:00:00Z"


def tab(id: str, type: str, label: str, order: int, **config: Any) -> dict[str, Any]:
    made = {"id": id, "type": type, "label": label, "order": order, "enabled": True}
    return {**made, "config": config} if config else made


def section(id: str, order: int, *tabs: dict[str, Any]) -> dict[str, Any]:
    return {"id": id, "label": id.capitalize(), "order": order, "enabled": True, "tabs": list(tabs)}


def graph(*presets: str, mode: str) -> dict[str, Any]:
    return {
        "date_presets": list(presets),
        "default_preset": "last_7_days",
        "feature_filter_mode": mode,
        "allow_custom_date_range": True,
    }


DEFAULTS: dict[str, dict[str, Any]] = {
    "invoice_config": {
        "prefix": "INV",
        "format": "YYYYMM",
        "start_sequence": 1,
        "timezone": "UTC",
        "separator": "-",
        "suffix_length": 5,
        "due_date_days": 1,
        "auto_complete_purchased_credit_transaction": False,
        "credit_purchase_tax": "consumption",
        "finalization_delay_seconds": 7200,
        "compute_delay_seconds": 900,
        "late_usage_policy": "report",
        "credit_note_numbers": "random",
        "credit_note_prefix": "CN",
    },
    "subscription_config": {"grace_period_days": 3, "auto_cancellation_enabled": False},
    "invoice_pdf_config": {"template_name": "invoice.typ", "group_by": [], "logo": ""},
    "tenant_config": {"production": 0, "development": 2, "max_users": 10, "max_meters_per_event_name": 100},
    "customer_onboarding": {"workflow_type": "customer_onboarding", "actions": []},
    "wallet_balance_alert_config": {
        "alert_enabled": False,
        "critical": {"threshold": "0", "condition": "below"},
        "warning": None,
        "info": None,
        "notify_all_levels": False,
    },
    "prepare_processed_events_config": {"workflow_type": "prepare_processed_events", "actions": []},
    "custom_analytics_config": {"rules": []},
    "customer_portal_config": {
        "version": "1.0",
        "theme": {},
        "items": {
            "invoices": True,
            "pay": True,
            "payment_methods": True,
            "buy_credits": True,
            "usage": True,
            "edit_details": True,
            "edit_tax_id": False,
            "alerts": False,
            "change_plan": "none",
            "plans": [],
            "cancel": "none",
        },
        "sections": [
            section(
                "usage",
                1,
                tab(
                    "1",
                    "metric_cards",
                    "Metric Cards",
                    1,
                    show_cost_metrics=False,
                    show_custom_metrics=True,
                    show_revenue_metric=True,
                ),
                tab(
                    "2",
                    "usage_graph",
                    "Usage Graph",
                    2,
                    **graph("today", "last_7_days", "last_30_days", "current_month", "last_month", mode="inc"),
                ),
                tab("4", "current_usage", "Current Usage", 3),
                tab("3", "usage_breakdown", "Usage Breakdown", 4),
            ),
            section(
                "credits",
                2,
                tab("6", "wallet_balance", "Wallet Balance", 1),
                tab("7", "wallet_transactions", "Wallet Transactions", 2),
            ),
            section("invoices", 3, tab("8", "invoices", "Invoices", 1)),
            section(
                "overview",
                4,
                tab("9", "wallet_balance", "Wallet Balance", 1),
                tab("10", "subscriptions", "Subscriptions", 2),
                tab("11", "usage_graph", "Usage Graph", 3, **graph("last_7_days", "last_30_days", mode="all")),
            ),
        ],
    },
    "event_ingestion_filter": {"enabled": False, "allowed_external_customer_ids": []},
    "bonus_credits_topup_config": {"enabled": False, "slabs": []},
    "payment_mandate_limits": {"mandate_limits": {"UPI": {"max_amount": "100000", "currency": "INR"}}},
    "draft_invoice_recompute_config": {"enabled": False},
    "request_config": {
        "refuse_unknown_fields": False,
        "earliest_event_time": "2000-01-01T00:00:00Z",
        "event_years_ahead": 5,
    },
    "activity_config": {"retention_days": 0},
    "fx_config": {"market_rate_max_age_days": 7},
    "marketplace_config": {"include_fixed": False},
    "einvoice_config": {
        "legal_name": "",
        "vat_id": "",
        "tax_number": "",
        "registration_number": "",
        "address": {"line1": "", "line2": "", "city": "", "state": "", "postal_code": "", "country": ""},
        "electronic_address": {"scheme": "", "id": ""},
        "contact": {"name": "", "phone": "", "email": ""},
        "payment": {
            "iban": "",
            "bic": "",
            "account_name": "",
            "account_number": "",
            "bank_branch": "",
            "creditor_id": "",
            "means_code": "30",
        },
        "payment_terms_text": "",
        "accounting_currency": "",
        "default_vat_category": "",
        "default_vat_exemption_reason": "",
        "default_vat_exemption_code": "",
    },
    "dunning_config": {"enabled": False, "retry_days": [1, 3, 5, 7], "final_action": "none"},
    "email_config": {
        "enabled": False,
        "from_name": "",
        "reply_to": "",
        "bcc": "",
        "language": "en",
        "reminder_days": [-3, 1, 7, 14],
        "invoice_issued": True,
        "payment_receipt": True,
        "payment_failed": True,
        "reminder": True,
        "credit_note": True,
        "low_balance": True,
        "credits_expiring": True,
        "trial_ending": True,
        "renewal_notice": True,
        "spend_alert": True,
        "attach_einvoice": "none",
    },
    "erasure_config": {"document_retention_years": 10},
}


def test_the_catalogue_is_complete() -> None:
    assert set(CATALOGUE) == set(DEFAULTS)
    assert {key for key, kind in CATALOGUE.items() if kind.tenant_level} == {"tenant_config"}


@pytest.mark.parametrize("key", list(DEFAULTS))
async def test_a_key_never_stored_answers_its_defaults(account: Account, key: str) -> None:
    answer = await account.get(f"/settings/{key}")
    assert answer == {
        "id": "",
        "key": key,
        "value": DEFAULTS[key],
        "environment_id": "" if key == "tenant_config" else account.environment_id,
        "tenant_id": account.tenant_id,
        "status": "published",
        "created_at": TIMELESS,
        "updated_at": TIMELESS,
        "created_by": "",
        "updated_by": "",
    }


@pytest.mark.parametrize("key", sorted(set(DEFAULTS) - {"tenant_config"}))
async def test_defaults_can_be_stored_forgotten_and_stored_again(account: Account, key: str) -> None:
    missing = await account.delete(f"/settings/{key}", expect=404)
    assert missing["code"] == "not_found"
    stored = await account.put(f"/settings/{key}", {"value": {}})
    assert stored["id"].startswith("setting_")
    assert stored["value"] == DEFAULTS[key]
    assert stored["created_by"] == account.user_id
    assert await account.get(f"/settings/{key}") == stored
    forgotten = await account.delete(f"/settings/{key}", expect=200)
    assert forgotten == {"message": "Setting deleted successfully"}
    assert (await account.get(f"/settings/{key}"))["id"] == ""
    await account.delete(f"/settings/{key}", expect=404)
    again = await account.put(f"/settings/{key}", {"value": {}})
    assert again["id"] != stored["id"]


async def test_one_field_of_a_setting_changes_alone(account: Account) -> None:
    first = await account.put("/settings/subscription_config", {"value": {"auto_cancellation_enabled": True}})
    assert first["value"] == {"grace_period_days": 3, "auto_cancellation_enabled": True}
    second = await account.put("/settings/subscription_config", {"value": {"grace_period_days": 5}})
    assert second["value"] == {"grace_period_days": 5, "auto_cancellation_enabled": True}
    assert second["id"] == first["id"]
    await account.delete("/settings/subscription_config", expect=200)
    assert (await account.get("/settings/subscription_config"))["value"] == DEFAULTS["subscription_config"]


async def test_a_merge_is_shallow_and_checked_as_a_whole(account: Account) -> None:
    path = "/settings/wallet_balance_alert_config"
    await account.put(path, {"value": {"critical": {"threshold": 5, "condition": "below"}}})
    # legal only beside the stored threshold
    stored = await account.put(path, {"value": {"warning": {"threshold": "7.50", "condition": "below"}}})
    assert stored["value"]["critical"] == {"threshold": "5", "condition": "below"}
    assert stored["value"]["warning"] == {"threshold": "7.5", "condition": "below"}
    # a nested object is replaced, not merged: the condition falls back to its default
    stored = await account.put(path, {"value": {"critical": {"threshold": "1"}}})
    assert stored["value"]["critical"] == {"threshold": "1", "condition": "below"}
    refused = await account.put(path, {"value": {"critical": None}}, expect=400)
    assert refused["details"] == {"warning": "needs critical"}


async def test_unknown_fields_are_dropped(account: Account) -> None:
    stored = await account.put("/settings/subscription_config", {"value": {"colour": "red", "grace_period_days": 4}})
    assert stored["value"] == {"grace_period_days": 4, "auto_cancellation_enabled": False}


async def test_numbers_stay_exact_and_travel_as_text(account: Account) -> None:
    body = b'{"value":{"critical":{"threshold":0.1000000000000000055511151231257827}}}'
    answer = await account.http.put(
        "/settings/wallet_balance_alert_config", content=body, headers={"content-type": "application/json"}
    )
    assert answer.json()["value"]["critical"]["threshold"] == "0.1000000000000000055511151231257827"


async def test_keys_that_do_not_exist(account: Account) -> None:
    refused = await account.get("/settings/colour_config", expect=400)
    assert refused["details"]["allowed"] == list(CATALOGUE)
    await account.put("/settings/colour_config", {"value": {}}, expect=400)
    await account.delete("/settings/colour_config", expect=400)
    assert (await account.get("/settings/saml_config", expect=404))["code"] == "not_found"
    await account.put("/settings/saml_config", {"value": {"active": True}}, expect=404)


@pytest.mark.parametrize("body", [{}, {"value": None}, {"value": 5}, {"value": []}, None])
async def test_a_value_is_an_object(account: Account, body: Any) -> None:
    refused = await account.put("/settings/subscription_config", body, expect=400)
    assert refused["code"] == "validation_error"


async def test_a_reader_reads_settings_and_a_writer_does_not_write_them(account: Account) -> None:
    async with await person(account, ["all_reader"]) as http:
        assert (await http.get("/settings/invoice_config")).status_code == 200
    async with await person(account, ["all_writer"]) as http:
        refused = await http.put("/settings/invoice_config", json={"value": {"prefix": "X"}})
    assert refused.json()["message"] == "This action requires a user account with Super Admin access"


async def test_two_changes_at_once_lose_nothing(account: Account) -> None:
    changes: list[dict[str, Any]] = [
        {"prefix": "A"},
        {"separator": ""},
        {"suffix_length": 3},
        {"due_date_days": 30},
        {"format": "YY"},
    ]
    answers = await asyncio.gather(
        *(account.http.put("/settings/invoice_config", json={"value": change}) for change in changes)
    )
    assert {answer.status_code for answer in answers} == {200}
    value = (await account.get("/settings/invoice_config"))["value"]
    assert value == {**DEFAULTS["invoice_config"], **{k: v for change in changes for k, v in change.items()}}


async def test_other_domains_read_typed_values_of_their_environment(account: Account) -> None:
    async with account.transaction() as session:
        assert await current.read(session, InvoiceConfig) == InvoiceConfig()
    await account.put("/settings/invoice_config", {"value": {"prefix": "ACME", "due_date_days": 30}})
    await account.put("/settings/wallet_balance_alert_config", {"value": {"critical": {"threshold": "2.50"}}})
    async with account.transaction(read_only=True) as session:
        invoice = await current.read(session, InvoiceConfig)
        alert = await current.read(session, WalletBalanceAlertConfig)
        limits = await current.read(session, TenantConfig)
    assert (invoice.prefix, invoice.due_date_days, invoice.separator) == ("ACME", 30, "-")
    assert alert.critical == BalanceAlertThreshold(threshold=Decimal("2.5"))
    assert limits.max_users == 10


def test_the_grace_of_a_subscription_is_three_days() -> None:
    assert SubscriptionConfig().grace_period_days == 3
