"""One of everything, made by valid requests."""

from __future__ import annotations

from typing import Any

from tests.api.tour.calls import Call, Made, Traveller

FAR = "2099-01-01T00:00:00Z"
SELLER = {
    "legal_name": "Tour",
    "vat_id": "DE123456789",
    "address": {"country": "DE"},
    "payment_terms_text": "At once",
    "default_vat_category": "Z",
}
QUESTION = {"metrics": ["net_billing"], "shape": "breakdown", "dimensions": ["country"], "time": {"range": "this_year"}}
TAX_CODE, COUPON_CODE, ACME = "TOURTAX", "TOURCOUPON", "tour-acme"


async def build(go: Traveller) -> Made:
    """One of everything."""
    made: Made = {}
    for make in (
        _customers,
        _products,
        _prices,
        _invoices,
        _subscriptions,
        _credits,
        _people,
        _webhooks,
        _events,
        _open_checkouts,
        _view,
        _transfer,
    ):
        await make(go, made)
    return made


async def _customers(go: Traveller, made: Made) -> None:
    """The seller, and customers of whom one is deleted and one is erased later."""
    await go(Call("updateSetting", {"key": "einvoice_config"}, body={"value": SELLER}))
    for name, external_id in (("customer", ACME), ("leaving", "tour-leaving"), ("forgotten", "tour-forgotten")):
        body = {"external_id": external_id, "name": "Tour", "email": "a@example.com"}
        body["address_country"] = "DE"
        await _make(go, made, name, "createCustomer", body)


async def _products(go: Traveller, made: Made) -> None:
    """What is sold: a group, meters, features, a unit of prices, plans and an addon."""
    await _make(
        go, made, "group", "createGroup", {"name": "Tour", "entity_type": "feature", "lookup_key": "tour-group"}
    )
    meter = {
        "name": "tour",
        "event_name": "tour.call",
        "aggregation": {"type": "COUNT"},
        "reset_usage": "BILLING_PERIOD",
    }
    await _make(go, made, "meter", "createMeter", meter)
    await _make(go, made, "lone meter", "createMeter", {**meter, "event_name": "tour.lone"})
    await _make(go, made, "free meter", "createMeter", {**meter, "event_name": "tour.free"})
    feature = {"name": "Tour", "type": "metered", "lookup_key": "tour-feature", "meter_id": made["meter"]}
    await _make(go, made, "feature", "createFeature", feature)
    await _make(go, made, "switch", "createFeature", {"name": "Tour", "type": "boolean", "lookup_key": "tour-switch"})
    await _make(
        go, made, "free feature", "createFeature", {"name": "Tour", "type": "boolean", "lookup_key": "tour-free"}
    )
    unit = {"name": "Tour", "code": "tou", "symbol": "T", "base_currency": "usd", "conversion_rate": "2"}
    await _make(go, made, "unit", "createPriceUnit", unit)
    await _make(go, made, "plan", "createPlan", {"name": "Tour", "lookup_key": "tour-plan"})
    await _make(go, made, "second plan", "createPlan", {"name": "Tour", "lookup_key": "tour-plan-2"})
    await _make(go, made, "larger plan", "createPlan", {"name": "Tour", "lookup_key": "tour-plan-3"})
    await _make(go, made, "addon", "createAddon", {"name": "Tour", "lookup_key": "tour-addon"})


async def _prices(go: Traveller, made: Made) -> None:
    """What it costs, what is included, and what is taken off and added: coupons, taxes, exchange rates, costs."""
    price = {
        "entity_type": "PLAN",
        "entity_id": made["plan"],
        "currency": "usd",
        "type": "FIXED",
        "billing_model": "FLAT_FEE",
        "billing_period": "MONTHLY",
        "invoice_cadence": "ARREAR",
        "amount": "10",
        "price_unit_type": "FIAT",
    }
    await _make(go, made, "price", "createPrice", {**price, "lookup_key": "tour-price"})
    await _make(go, made, "larger price", "createPrice", {**price, "entity_id": made["larger plan"]})
    await _make(go, made, "addon price", "createPrice", {**price, "entity_type": "ADDON", "entity_id": made["addon"]})
    usage = {**price, "type": "USAGE", "meter_id": made["meter"], "amount": "0.5"}
    await _make(go, made, "bulk price", "createPricesBulk", {"items": [usage]})
    granted = {"feature_id": made["switch"], "feature_type": "boolean", "is_enabled": True, "entity_type": "PLAN"}
    await _make(go, made, "entitlement", "createEntitlement", {**granted, "entity_id": made["plan"]})
    limited = {"feature_id": made["feature"], "feature_type": "metered", "usage_limit": 10, "is_enabled": True}
    limited |= {"usage_reset_period": "MONTHLY", "entity_type": "PLAN", "entity_id": made["second plan"]}
    await _make(go, made, "bulk entitlement", "createEntitlementsBulk", {"items": [limited]})
    coupon = {"name": "Tour", "type": "percentage", "percentage_off": "10", "cadence": "once"}
    await _make(go, made, "coupon", "createCoupon", {**coupon, "coupon_code": COUPON_CODE})
    tax = {"name": "Tour", "code": TAX_CODE, "tax_rate_type": "percentage", "percentage_value": "10"}
    await _make(go, made, "tax", "createTaxRate", tax)
    await _make(go, made, "free tax", "createTaxRate", {**tax, "code": TAX_CODE + "2"})
    levied = {"tax_rate_code": TAX_CODE, "entity_type": "customer", "entity_id": made["customer"], "auto_apply": False}
    await _make(go, made, "levy", "createTaxAssociation", levied)
    pair = {"from_currency": "usd", "to_currency": "xts", "rate": "2"}
    await _make(go, made, "rate", "createFXRate", {**pair, "scope": "tenant"})
    await _make(
        go,
        made,
        "own rate",
        "createFXRate",
        {**pair, "scope": "customer", "scope_id": made["customer"], "start_date": FAR},
    )
    await go(Call("importReferenceRates", body={"file": "Date,USD\n2026-01-02,1.1\n"}))
    await _make(go, made, "costs", "createCostsheet", {"name": "tour-costs", "lookup_key": "tour-costs"})


async def _invoices(go: Traveller, made: Made) -> None:
    """A provider, invoices in several states, and payments."""
    connection = {"name": "tour", "provider_type": "stripe", "metadata": {"mode": "test"}}
    await _make(go, made, "connection", "createConnection", connection)
    linked = {"entity_type": "customer", "entity_id": made["customer"], "provider_type": "stripe"}
    await go(Call("linkIntegrationMapping", body={**linked, "provider_entity_id": "cus_test_tour"}))
    for name, status in (
        ("invoice", "FINALIZED"),
        ("draft", "DRAFT"),
        ("second draft", "DRAFT"),
        ("void", "FINALIZED"),
    ):
        line = {"display_name": "Tour", "amount": "100", "quantity": "1", "price_type": "FIXED"}
        invoice: dict[str, Any] = {
            "customer_id": made["customer"],
            "currency": "usd",
            "subtotal": "100",
            "total": "100",
        }
        invoice |= {"amount_due": "100", "line_items": [line], "invoice_status": status}
        await _make(go, made, name, "createInvoice", invoice)
    payment = {"destination_type": "INVOICE", "destination_id": made["invoice"], "payment_method_type": "OFFLINE"}
    payment |= {"amount": "10", "currency": "usd"}
    await _make(go, made, "payment", "createPayment", {**payment, "process_payment": True})
    card: dict[str, Any] = {**payment, "payment_method_type": "CARD", "payment_method_id": "pm_test_success"}
    card |= {"payment_gateway": "stripe", "process_payment": False}
    await _make(go, made, "waiting payment", "createPayment", card)
    await _make(
        go,
        made,
        "free payment",
        "createPayment",
        {**card, "payment_method_type": "PAYMENT_LINK", "payment_method_id": None},
    )
    on_account = {**payment, "destination_type": "CUSTOMER", "destination_id": made["customer"], "amount": "7"}
    await _make(go, made, "money on account", "createPayment", {**on_account, "process_payment": True})


async def _subscriptions(go: Traveller, made: Made) -> None:
    """Subscriptions, one of them collected by a marketplace, a line item, and thresholds of their spend."""
    subscription: dict[str, Any] = {
        "customer_id": made["customer"],
        "plan_id": made["plan"],
        "currency": "usd",
        "billing_period": "MONTHLY",
    }
    subscription |= {"billing_period_count": 1, "start_date": "2026-01-01T00:00:00Z", "billing_cycle": "anniversary"}
    await _make(go, made, "subscription", "createSubscription", subscription)
    await _make(go, made, "second subscription", "createSubscription", subscription)
    await _make(go, made, "draft subscription", "createSubscription", {**subscription, "subscription_status": "draft"})
    await _agree(go, made)
    answer = await go(
        Call("createSubscriptionLineItem", {"id": made["subscription"]}, body={"price_id": made["price"]})
    )
    made["line"] = _id_in(answer)
    spend = {"alert_enabled": True, "critical": {"threshold": "100", "condition": "above"}}
    for name, owner in (("alert setting", "subscription"), ("leaving alert setting", "second subscription")):
        watched = {"entity_type": "subscription", "entity_id": made[owner], "config": spend}
        await _make(go, made, name, "createAlertSettings", watched)


async def _credits(go: Traveller, made: Made) -> None:
    """Wallets, grants, and what corrects an invoice."""
    low = {"alert_enabled": True, "critical": {"threshold": "500", "condition": "below"}}
    wallet = {"currency": "usd", "initial_credits_to_load": "100", "alert_settings": low}
    await _make(go, made, "wallet", "createWallet", {**wallet, "customer_id": made["customer"]})
    await _make(
        go, made, "closing wallet", "createWallet", {**wallet, "customer_id": made["customer"], "currency": "eur"}
    )
    await _make(
        go, made, "converted wallet", "createWallet", {**wallet, "customer_id": made["customer"], "currency": "gbp"}
    )
    page = await go(Call("getWalletTransactions", {"id": made["wallet"]}))
    made["wallet transaction"] = page["items"][0]["id"]
    grant = {"name": "Tour", "credits": "5", "cadence": "RECURRING", "period": "MONTHLY", "period_count": 1}
    grant |= {"expiration_type": "NEVER"}
    of_subscription = {"scope": "SUBSCRIPTION", "subscription_id": made["subscription"]}
    await _make(go, made, "grant", "createCreditGrant", {**grant, **of_subscription})
    await _make(go, made, "plan grant", "createCreditGrant", {**grant, "scope": "PLAN", "plan_id": made["plan"]})
    await _correct(go, made)


async def _people(go: Traveller, made: Made) -> None:
    """Who works with the books, in which environment, and with which key."""
    await _make(
        go, made, "service", "createUser", {"type": "service_account", "name": "Tour", "roles": ["event_ingestor"]}
    )
    person = {
        "type": "user",
        "email": f"{made['customer'].lower()}@example.com",
        "name": "Tour",
        "roles": ["all_reader"],
    }
    await _make(go, made, "person", "createUser", person)
    # here, for a key of one of several environments gives no roles
    await go(Call("updateUserRoles", {"id": made["person"]}, body={"roles": ["all_writer"]}))
    await _make(go, made, "key", "createApiKey", {"name": "tour", "type": "private_key"})
    # and renames its own only
    made["own environment"] = str((await go(Call("listEnvironments")))["environments"][0]["id"])
    await _make(go, made, "environment", "createEnvironment", {"name": "Tour", "type": "development"})


async def _webhooks(go: Traveller, made: Made) -> None:
    """Endpoints, and a message to one."""
    await _make(
        go, made, "endpoint", "createWebhookEndpoint", {"url": "https://tour.invalid/hook", "description": "tour-hook"}
    )
    await _make(go, made, "leaving endpoint", "createWebhookEndpoint", {"url": "https://tour.invalid/leaving"})
    tested = await go(Call("testWebhookEndpoint", {"id": made["endpoint"]}, body={"event_type": "customer.created"}))
    made["message"] = str(tested["message_id"])


async def _events(go: Traveller, made: Made) -> None:
    """Events; and of what is there by itself, an activity and the tenant."""
    event = {"event_name": "tour.call", "external_customer_id": ACME, "properties": {"a": "1"}}
    page = await go(Call("listActivity", body={"entity_type": "customer", "limit": 1}))
    made["activity"] = str(page["items"][0]["id"])
    made["tenant"] = str((await go(Call("getUserInfo")))["tenant"]["id"])
    made["event"] = f"tour-{made['customer']}"
    await go(Call("ingestEvent", body={**event, "event_id": made["event"]}))
    await go(Call("ingestEventsBulk", body={"events": [{**event, "event_id": made["event"] + "-2"}]}))


async def _agree(go: Traveller, made: Made) -> None:
    """A subscription for which a marketplace collects."""
    keys = {"aws_access_key_id": "AKIATOUR", "aws_secret_access_key": "never used"}
    body = {"name": "aws", "provider_type": "aws_marketplace", "encrypted_secret_data": keys}
    await go(Call("createConnection", body=body))
    terms = {"product_code": "tour", "license_arn": f"arn:tour:{made['second subscription']}", "dimension": "tour"}
    terms |= {"customer_aws_account_id": f"tour-{made['customer']}"}
    agreement = {"provider": "aws_marketplace", "subscription_id": made["second subscription"], "aws": terms}
    agreement |= {"customer_id": made["customer"], "plan_id": made["plan"]}
    await go(Call("registerMarketplaceAgreement", body=agreement))


async def _correct(go: Traveller, made: Made) -> None:
    """A credit note that takes effect, one that waits, and a refund of money that was paid."""
    invoice = await go(Call("getInvoice", {"id": made["invoice"]}))
    line = invoice["line_items"][0]["id"]
    made["invoice line"] = line
    note: dict[str, Any] = {"invoice_id": made["invoice"], "reason": "BILLING_ERROR"}
    note |= {"line_items": [{"invoice_line_item_id": line, "amount": "1"}]}
    made["note"] = _id_in(await go(Call("createCreditNote", body={**note, "process_credit_note": True})))
    for name, amount in (("draft note", "2"), ("second draft note", "3")):
        lines = [{"invoice_line_item_id": line, "amount": amount}]
        made[name] = _id_in(
            await go(Call("createCreditNote", body={**note, "line_items": lines, "process_credit_note": False}))
        )
    body = {"display_name": "Tour", "amount": "10", "quantity": "1", "price_type": "FIXED"}
    paid = {"customer_id": made["customer"], "currency": "usd", "subtotal": "10", "total": "10", "amount_due": "10"}
    sold = await go(Call("createInvoice", body={**paid, "line_items": [body]}))
    money = {"destination_type": "INVOICE", "destination_id": sold["id"], "payment_method_type": "OFFLINE"}
    await go(Call("createPayment", body={**money, "amount": "12", "currency": "usd", "process_payment": True}))
    made["overpaid"] = sold["id"]
    settled = await go(Call("createInvoice", body={**paid, "line_items": [body]}))
    money |= {"destination_id": settled["id"], "amount": "10", "currency": "usd", "process_payment": True}
    await go(Call("createPayment", body=money))
    given_back = {**note, "invoice_id": settled["id"], "process_credit_note": True}
    given_back["line_items"] = [{"invoice_line_item_id": settled["line_items"][0]["id"], "amount": "1"}]
    await go(Call("createCreditNote", body=given_back))
    refunds = await go(Call("listRefunds"))
    made["refund"] = refunds["items"][0]["id"]


async def _open_checkouts(go: Traveller, made: Made) -> None:
    """Two invoices that wait to be paid on a page."""
    charge = {"display_name": "Tour", "amount": "10", "quantity": "1", "price_type": "FIXED"}
    owed = {"customer_id": made["customer"], "currency": "usd", "subtotal": "10", "total": "10", "amount_due": "10"}
    for name in ("checkout", "leaving checkout"):
        invoice = await go(Call("createInvoice", body={**owed, "line_items": [charge]}))
        wanted: dict[str, Any] = {"customer_external_id": ACME, "action": "pay_invoice", "payment_provider": "stripe"}
        wanted["configuration"] = {"pay_invoice_params": {"invoice_id": invoice["id"]}}
        made[name] = _id_in(await go(Call("createCheckoutSession", body=wanted)))


async def _view(go: Traveller, made: Made) -> None:
    """A question that is kept."""
    await _make(go, made, "view", "createAnalyticsView", {"name": "Tour", "definition": QUESTION})


async def _transfer(go: Traveller, made: Made) -> None:
    """An import that waits, and something that is exported on schedule."""
    folder = {"name": "tour-folder", "provider_type": "local"}
    made["folder"] = _id_in(await go(Call("createConnection", body=folder)))
    schedule = {"connection_id": made["folder"], "entity_type": "invoice", "interval": "daily", "job_config": {}}
    for name in ("schedule", "leaving schedule"):
        made[name] = _id_in(await go(Call("createScheduledTask", body=schedule)))
    task = {"task_type": "IMPORT", "entity_type": "CUSTOMERS", "file_type": "CSV"}
    begun = await go(Call("createTask", body={**task, "file_url": "https://tour.invalid/file.csv"}))
    made["task"] = str(begun["workflow_id"])


async def _make(go: Traveller, made: Made, name: str, operation: str, body: Any) -> None:
    made[name] = _id_in(await go(Call(operation, body=body)))


def _id_in(answer: dict[str, Any]) -> str:
    """The id of what an answer speaks of: its own, or that of the entity or the first item it wraps."""
    if "id" in answer:
        return str(answer["id"])
    inner = next(value for value in answer.values() if isinstance(value, (dict, list)))
    return _id_in(inner[0] if isinstance(inner, list) else inner)
