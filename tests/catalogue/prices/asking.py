"""What tests of prices ask for."""

from __future__ import annotations

from typing import Any

from tests.account import Account

TIERS_A = [
    {"up_to": 10, "unit_amount": "5"},
    {"up_to": 20, "unit_amount": "4"},
    {"up_to": None, "unit_amount": "3"},
]


def price(owner: str, **given: Any) -> dict[str, Any]:
    """A monthly fixed price of 10 usd."""
    return {
        "entity_type": "PLAN",
        "entity_id": owner,
        "currency": "usd",
        "type": "FIXED",
        "billing_model": "FLAT_FEE",
        "billing_period": "MONTHLY",
        "billing_period_count": 1,
        "invoice_cadence": "ADVANCE",
        "price_unit_type": "FIAT",
        "amount": "10",
        **given,
    }


def usage(owner: str, meter_id: str, **given: Any) -> dict[str, Any]:
    """A monthly usage price of 0.01 usd per unit."""
    charge = {"type": "USAGE", "invoice_cadence": "ARREAR", "meter_id": meter_id, "amount": "0.01"}
    return price(owner, **{**charge, **given})


def quoted(owner: str, config: dict[str, Any], **given: Any) -> dict[str, Any]:
    """A monthly fixed price in the custom unit that `config` names."""
    return price(owner, **{"amount": None, "price_unit_type": "CUSTOM", "price_unit_config": config, **given})


async def new_plan(account: Account, **given: Any) -> str:
    plan: dict[str, Any] = await account.post("/plans", {"name": "Pro", **given})
    return str(plan["id"])


async def new_meter(account: Account) -> str:
    asked = {
        "name": "Tokens",
        "event_name": "call",
        "aggregation": {"type": "SUM", "field": "tokens"},
        "reset_usage": "BILLING_PERIOD",
    }
    return str((await account.post("/meters", asked))["id"])


async def new_unit(account: Account, **given: Any) -> dict[str, Any]:
    asked = {"name": "Credit", "code": "crd", "symbol": "¢", "base_currency": "USD", "conversion_rate": "0.01", **given}
    made: dict[str, Any] = await account.post("/prices/units", asked)
    return made
