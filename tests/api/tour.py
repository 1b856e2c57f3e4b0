"""A walk through the whole API with valid requests, told once and taken by whoever can make a call.

`build` makes one of everything, `read` looks at all of it, `change` edits it and `end` takes it down. The last three
depend on what was built alone, not on one another's answers, so that a stranger can repeat every step of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from tests.account import Account
from tests.api.doors import BY_ID, Door

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


@dataclass(frozen=True)
class Call:
    """One request, by the name of its operation."""

    operation: str
    path: dict[str, str] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    body: Any = None

    @property
    def method(self) -> str:
        return BY_ID[self.operation].method

    @property
    def url(self) -> str:
        """The path under /v1. A template with one parameter takes the one value given, whatever its name."""
        door = BY_ID[self.operation]
        if len(self.path) == 1 and len(door.path_parameters) == 1:
            return door.url(next(iter(self.path.values())))
        return door.url(**self.path)


class Traveller(Protocol):
    """Makes a call; raises unless it is a success. Returns the decoded answer."""

    async def __call__(self, call: Call) -> Any: ...


class OverHttp:
    """Calls over plain HTTP, and a record of them."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.made: list[tuple[Call, Any]] = []
        self.last: httpx.Response

    async def __call__(self, call: Call) -> Any:
        self.last = answer = await send(self.account.http, call)
        assert answer.is_success, f"{call}: {answer.status_code} {answer.text}"
        decoded = answer.json() if answer.content and "json" in answer.headers["content-type"] else None
        self.made.append((call, decoded))
        return decoded


async def send(http: httpx.AsyncClient, call: Call) -> httpx.Response:
    return await http.request(call.method, call.url, params=call.query or None, json=call.body)


class Recorder:
    """Makes no call, but remembers what would have been asked."""

    def __init__(self) -> None:
        self.asked: list[Call] = []

    async def __call__(self, call: Call) -> Any:
        self.asked.append(call)
        return None


Made = dict[str, str]
"""What was built: a name to its id."""


def _id_in(answer: dict[str, Any]) -> str:
    """The id of what an answer speaks of: its own, or that of the entity or the first item it wraps."""
    if "id" in answer:
        return str(answer["id"])
    inner = next(value for value in answer.values() if isinstance(value, (dict, list)))
    return _id_in(inner[0] if isinstance(inner, list) else inner)


async def build(go: Traveller) -> Made:
    """One of everything."""
    made: Made = {}

    async def make(name: str, operation: str, body: Any) -> None:
        if operation in BY_ID:
            made[name] = _id_in(await go(Call(operation, body=body)))

    if "updateSetting" in BY_ID:
        await go(Call("updateSetting", {"key": "einvoice_config"}, body={"value": SELLER}))
    for name, external_id in (("customer", ACME), ("leaving", "tour-leaving"), ("forgotten", "tour-forgotten")):
        body = {"external_id": external_id, "name": "Tour", "email": "a@example.com"}
        body["address_country"] = "DE"
        await make(name, "createCustomer", body)
    await make("group", "createGroup", {"name": "Tour", "entity_type": "feature", "lookup_key": "tour-group"})
    meter = {
        "name": "tour",
        "event_name": "tour.call",
        "aggregation": {"type": "COUNT"},
        "reset_usage": "BILLING_PERIOD",
    }
    await make("meter", "createMeter", meter)
    await make("lone meter", "createMeter", {**meter, "event_name": "tour.lone"})
    await make("free meter", "createMeter", {**meter, "event_name": "tour.free"})
    feature = {"name": "Tour", "type": "metered", "lookup_key": "tour-feature", "meter_id": made["meter"]}
    await make("feature", "createFeature", feature)
    await make("switch", "createFeature", {"name": "Tour", "type": "boolean", "lookup_key": "tour-switch"})
    await make("free feature", "createFeature", {"name": "Tour", "type": "boolean", "lookup_key": "tour-free"})
    unit = {"name": "Tour", "code": "tou", "symbol": "T", "base_currency": "usd", "conversion_rate": "2"}
    await make("unit", "createPriceUnit", unit)
    await make("plan", "createPlan", {"name": "Tour", "lookup_key": "tour-plan"})
    await make("second plan", "createPlan", {"name": "Tour", "lookup_key": "tour-plan-2"})
    await make("larger plan", "createPlan", {"name": "Tour", "lookup_key": "tour-plan-3"})
    await make("addon", "createAddon", {"name": "Tour", "lookup_key": "tour-addon"})
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
    await make("price", "createPrice", {**price, "lookup_key": "tour-price"})
    await make("larger price", "createPrice", {**price, "entity_id": made["larger plan"]})
    await make("addon price", "createPrice", {**price, "entity_type": "ADDON", "entity_id": made["addon"]})
    usage = {**price, "type": "USAGE", "meter_id": made["meter"], "amount": "0.5"}
    await make("bulk price", "createPricesBulk", {"items": [usage]})
    granted = {"feature_id": made["switch"], "feature_type": "boolean", "is_enabled": True, "entity_type": "PLAN"}
    await make("entitlement", "createEntitlement", {**granted, "entity_id": made["plan"]})
    limited = {"feature_id": made["feature"], "feature_type": "metered", "usage_limit": 10, "is_enabled": True}
    limited |= {"usage_reset_period": "MONTHLY", "entity_type": "PLAN", "entity_id": made["second plan"]}
    await make("bulk entitlement", "createEntitlementsBulk", {"items": [limited]})
    coupon = {"name": "Tour", "type": "percentage", "percentage_off": "10", "cadence": "once"}
    await make("coupon", "createCoupon", {**coupon, "coupon_code": COUPON_CODE})
    tax = {"name": "Tour", "code": TAX_CODE, "tax_rate_type": "percentage", "percentage_value": "10"}
    await make("tax", "createTaxRate", tax)
    await make("free tax", "createTaxRate", {**tax, "code": TAX_CODE + "2"})
    levied = {"tax_rate_code": TAX_CODE, "entity_type": "customer", "entity_id": made["customer"], "auto_apply": False}
    await make("levy", "createTaxAssociation", levied)
    pair = {"from_currency": "usd", "to_currency": "xts", "rate": "2"}
    await make("rate", "createFXRate", {**pair, "scope": "tenant"})
    await make(
        "own rate", "createFXRate", {**pair, "scope": "customer", "scope_id": made["customer"], "start_date": FAR}
    )
    await go(Call("importReferenceRates", body={"file": "Date,USD\n2026-01-02,1.1\n"}))
    await make("costs", "createCostsheet", {"name": "tour-costs", "lookup_key": "tour-costs"})
    connection = {"name": "tour", "provider_type": "stripe", "metadata": {"mode": "test"}}
    await make("connection", "createConnection", connection)
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
        await make(name, "createInvoice", invoice)
    payment = {"destination_type": "INVOICE", "destination_id": made["invoice"], "payment_method_type": "OFFLINE"}
    payment |= {"amount": "10", "currency": "usd"}
    await make("payment", "createPayment", {**payment, "process_payment": True})
    card: dict[str, Any] = {**payment, "payment_method_type": "CARD", "payment_method_id": "pm_test_success"}
    card |= {"payment_gateway": "stripe", "process_payment": False}
    await make("waiting payment", "createPayment", card)
    await make(
        "free payment", "createPayment", {**card, "payment_method_type": "PAYMENT_LINK", "payment_method_id": None}
    )
    on_account = {**payment, "destination_type": "CUSTOMER", "destination_id": made["customer"], "amount": "7"}
    await make("money on account", "createPayment", {**on_account, "process_payment": True})
    subscription: dict[str, Any] = {
        "customer_id": made["customer"],
        "plan_id": made["plan"],
        "currency": "usd",
        "billing_period": "MONTHLY",
    }
    subscription |= {"billing_period_count": 1, "start_date": "2026-01-01T00:00:00Z", "billing_cycle": "anniversary"}
    await make("subscription", "createSubscription", subscription)
    await make("second subscription", "createSubscription", subscription)
    await make("draft subscription", "createSubscription", {**subscription, "subscription_status": "draft"})
    if "registerMarketplaceAgreement" in BY_ID:
        await _agree(go, made)
    if "subscription" in made and "createSubscriptionLineItem" in BY_ID:
        answer = await go(
            Call("createSubscriptionLineItem", {"id": made["subscription"]}, body={"price_id": made["price"]})
        )
        made["line"] = _id_in(answer)
    spend = {"alert_enabled": True, "critical": {"threshold": "100", "condition": "above"}}
    for name, owner in (("alert setting", "subscription"), ("leaving alert setting", "second subscription")):
        watched = {"entity_type": "subscription", "entity_id": made[owner], "config": spend}
        await make(name, "createAlertSettings", watched)
    low = {"alert_enabled": True, "critical": {"threshold": "500", "condition": "below"}}
    wallet = {"currency": "usd", "initial_credits_to_load": "100", "alert_settings": low}
    await make("wallet", "createWallet", {**wallet, "customer_id": made["customer"]})
    await make("closing wallet", "createWallet", {**wallet, "customer_id": made["customer"], "currency": "eur"})
    await make("converted wallet", "createWallet", {**wallet, "customer_id": made["customer"], "currency": "gbp"})
    if "wallet" in made:
        page = await go(Call("getWalletTransactions", {"id": made["wallet"]}))
        made["wallet transaction"] = page["items"][0]["id"] if page else ""
    grant = {"name": "Tour", "credits": "5", "cadence": "RECURRING", "period": "MONTHLY", "period_count": 1}
    grant |= {"expiration_type": "NEVER"}
    of_subscription = {"scope": "SUBSCRIPTION", "subscription_id": made["subscription"]}
    await make("grant", "createCreditGrant", {**grant, **of_subscription})
    await make("plan grant", "createCreditGrant", {**grant, "scope": "PLAN", "plan_id": made["plan"]})
    if "createCreditNote" in BY_ID:
        await _correct(go, made)
    await make("service", "createUser", {"type": "service_account", "name": "Tour", "roles": ["event_ingestor"]})
    person = {
        "type": "user",
        "email": f"{made['customer'].lower()}@example.com",
        "name": "Tour",
        "roles": ["all_reader"],
    }
    await make("person", "createUser", person)
    await make("key", "createApiKey", {"name": "tour", "type": "private_key"})
    await make("environment", "createEnvironment", {"name": "Tour", "type": "development"})
    await make("endpoint", "createWebhookEndpoint", {"url": "https://tour.invalid/hook", "description": "tour-hook"})
    await make("leaving endpoint", "createWebhookEndpoint", {"url": "https://tour.invalid/leaving"})
    tested = await go(Call("testWebhookEndpoint", {"id": made["endpoint"]}, body={"event_type": "customer.created"}))
    made["message"] = str(tested["message_id"])
    event = {"event_name": "tour.call", "external_customer_id": ACME, "properties": {"a": "1"}}
    page = await go(Call("listActivity", body={"entity_type": "customer", "limit": 1}))
    made["activity"] = str(page["items"][0]["id"])
    made["tenant"] = str((await go(Call("getUserInfo")))["tenant"]["id"])
    made["event"] = f"tour-{made['customer']}"
    await go(Call("ingestEvent", body={**event, "event_id": made["event"]}))
    await go(Call("ingestEventsBulk", body={"events": [{**event, "event_id": made["event"] + "-2"}]}))
    await _open_checkouts(go, made)
    await make("view", "createAnalyticsView", {"name": "Tour", "definition": QUESTION})
    await _transfer(go, made)
    return made


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


async def _agree(go: Traveller, made: Made) -> None:
    """A subscription for which a marketplace collects."""
    await go(Call("createConnection", body={"name": "aws", "provider_type": "aws_marketplace"}))
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


READS_BY_ID = {
    "getCheckoutSession": "checkout",
    "getAnalyticsView": "view",
    "getCustomer": "customer",
    "getGroup": "group",
    "getMeter": "meter",
    "getFeature": "feature",
    "getPriceUnit": "unit",
    "getPlan": "plan",
    "getAddon": "addon",
    "getPrice": "price",
    "getEntitlement": "entitlement",
    "getPlanEntitlements": "plan",
    "getAddonEntitlements": "addon",
    "getCoupon": "coupon",
    "getTaxRate": "tax",
    "getTaxAssociation": "levy",
    "getFXRate": "rate",
    "getCostsheet": "costs",
    "getConnection": "connection",
    "getInvoice": "invoice",
    "getCustomerInvoiceSummary": "customer",
    "getCustomerInvoiceAging": "customer",
    "getCustomerDunning": "customer",
    "listCustomerPaymentMethods": "customer",
    "listSavedPaymentMethods": "customer",
    "getInvoicePdf": "invoice",
    "getInvoiceEinvoice": "invoice",
    "getInvoiceUsage": "invoice",
    "getPayment": "payment",
    "getCreditNote": "note",
    "getCreditNotePdf": "note",
    "getCreditNoteEinvoice": "note",
    "getRefund": "refund",
    "getUnappliedMoney": "customer",
    "getSubscription": "subscription",
    "getSubscriptionV2": "subscription",
    "getSubscriptionEntitlements": "subscription",
    "getSubscriptionAddonAssociations": "subscription",
    "listSubscriptionPauses": "subscription",
    "listSubscriptionSchedules": "subscription",
    "getCustomerEntitlements": "customer",
    "getCreditGrant": "grant",
    "listCreditGrantApplications": "grant",
    "getPlanCreditGrants": "plan",
    "getAddonCreditGrants": "addon",
    "getSubscriptionUpcomingGrants": "subscription",
    "getCustomerUpcomingGrants": "customer",
    "getTenantById": "tenant",
    "getEnvironment": "environment",
    "getAlertSettings": "alert setting",
    "getWebhookEndpoint": "endpoint",
    "getWebhookEndpointSecret": "endpoint",
    "getWebhookMessage": "message",
    "getActivity": "activity",
    "listCustomerEmails": "customer",
    "listInvoiceCorrections": "invoice",
    "getTask": "task",
    "listTaskProblems": "task",
    "downloadTaskProblems": "task",
    "getScheduledTask": "schedule",
    "listWebhookAttempts": "message",
}
ASKED_WITH: dict[str, dict[str, Any]] = {
    "listSavedPaymentMethods": {"provider": "stripe"},
    "listCustomerPaymentMethods": {"providers": ["stripe"]},
    "getInvoiceEinvoice": {"format": "facturx"},
    "getCreditNoteEinvoice": {"format": "facturx"},
}
READS_BY_NAME = {
    "getCustomerByExternalId": ACME,
    "lookupCustomer": ACME,
    "getCustomerSubscriptionsByExternalId": ACME,
    "getCustomerEntitlementsByExternalID": ACME,
    "createCustomerPortalSession": ACME,
    "openCustomerPortalSession": ACME,
    "getAddonByLookupKey": "tour-addon",
    "getPriceByLookupKey": "tour-price",
    "getPriceUnitByCode": "tou",
    "getCouponByCode": COUPON_CODE,
    "getRbacRole": "event_reader",
    "getSetting": "invoice_config",
}


async def read(go: Traveller, made: Made) -> None:
    """Everything built, by id, by name, in lists and in searches."""
    for operation, name in READS_BY_ID.items():
        if operation in BY_ID:
            await go(Call(operation, {"id": made[name]}, ASKED_WITH.get(operation, {})))
    for operation, key in READS_BY_NAME.items():
        if operation in BY_ID:
            await go(Call(operation, {BY_ID[operation].path_parameters[0]: key}))
    for operation in ("getSubscriptionUsage", "getInvoicePreview", "getInternalInvoicePreview"):
        if operation in BY_ID:
            await go(Call(operation, body={"subscription_id": made["subscription"]}))
    await go(Call("getTaskResult", query={"workflow_id": made["task"]}))
    if "getDetailedCostAnalytics" in BY_ID:
        await go(Call("getDetailedCostAnalytics", body={"external_customer_id": ACME}))
    if "getCustomerUsageSummary" in BY_ID:
        await go(Call("getCustomerUsageSummary", query={"customer_id": made["customer"]}))
    await _read_figures(go, made)
    linked = {"entity_type": "customer", "entity_id": made["customer"]}
    await go(Call("getEntityIntegrationMappings", query=linked))
    for operation in ("getUserInfo", "listRbacRoles", "getIntegrationConfig", "getActiveCostsheet"):
        await go(Call(operation))
    for operation in ("getTenantBillingUsage", "getTenantBillingSummary", "getSelfBillingStatus"):
        await go(Call(operation))
    for operation in ("getWallet", "getWalletTransactions", "getWalletBalance", "getCachedWalletBalance"):
        await go(Call(operation, {"id": made["wallet"]}))
    period = {"start_time": "2020-01-01T00:00:00Z", "end_time": FAR}
    for operation in ("getWalletStatement", "getWalletStatementCsv", "getWalletStatementPdf"):
        await go(Call(operation, {"id": made["wallet"]}, query=period))
    await go(Call("previewWalletDebit", {"id": made["wallet"]}, body={"credits": "5"}))
    await go(Call("getWalletsByCustomerId", {"id": made["customer"]}))
    await go(Call("getCustomerWallets", query={"id": made["customer"], "include_real_time_balance": True}))
    for operation in ("getWebhookDashboard", "listWebhookEvents"):
        await go(Call(operation))
    for door in lists():
        await go(Call(door.id, body={} if door.method == "POST" else None))


async def _read_figures(go: Traveller, made: Made) -> None:
    """Reports, questions and revenue."""
    for operation in ("listAnalyticsReports", "listAnalyticsViews"):
        await go(Call(operation))
    for operation in ("queryAnalytics", "queryAnalyticsCsv"):
        await go(Call(operation, body={"definition": QUESTION}))
    for operation in ("queryAnalyticsView", "queryAnalyticsViewCsv"):
        await go(Call(operation, {"id": made["view"]}, body={"variables": {}}))
    for operation in ("runAnalyticsReport", "runAnalyticsReportCsv"):
        await go(Call(operation, {"key": "mrr"}, body={"range": "this_month", "shape": "scalar"}))
    about = {"start_time": "2026-01-01T00:00:00Z", "customer_ids": [made["customer"]], "group_by": ["meter_id"]}
    for operation in ("getRevenueAnalytics", "getRevenueAnalyticsCsv"):
        await go(Call(operation, body=about))


def lists() -> list[Door]:
    """Every list and search that is about nothing in particular."""
    return [
        door
        for door in BY_ID.values()
        if not door.path_parameters
        and door.operation
        and (door.path.endswith(("/search", "/forex/query")) if door.method == "POST" else "limit" in door.query)
        and door.id != "getEntityIntegrationMappings"
    ]


async def change(go: Traveller, made: Made) -> None:
    """Everything that can be edited, edited."""

    async def edit(operation: str, name: str, body: Any = None, **query: Any) -> None:
        if operation in BY_ID:
            await go(Call(operation, {"id": made[name]}, query, body))

    renamed = {"name": "Toured"}
    await edit("updateCustomerById", "customer", renamed)
    await edit("updateAnalyticsView", "view", {**renamed, "definition": QUESTION})
    await go(Call("updateCustomer", query={"id": made["customer"]}, body={"contact": "123"}))
    await go(Call("updateCustomer", query={"external_customer_id": ACME}, body={"contact": "1234"}))
    await edit("updateFeature", "feature", {**renamed, "group_id": made["group"]})
    await edit("cloneFeature", "feature", {**renamed, "lookup_key": "tour-feature-clone"})
    await edit("updateMeter", "lone meter", {"filters": [{"key": "region", "values": ["eu"]}]})
    for operation, name in (
        ("updatePriceUnit", "unit"),
        ("updatePlan", "plan"),
        ("updateAddon", "addon"),
        ("updateCoupon", "coupon"),
        ("updateTaxRate", "free tax"),
        ("updateCostsheet", "costs"),
        ("updateConnection", "connection"),
        ("updateServiceAccount", "service"),
        ("updateEnvironment", "environment"),
    ):
        await edit(operation, name, renamed)
    await edit("updateFXRate", "own rate", {"rate": "3"})
    await edit("updateWallet", "wallet", renamed)
    bought = {"transaction_reason": "PURCHASED_CREDIT_DIRECT", "credits_to_add": "10"}
    await edit("topUpWallet", "wallet", bought)
    await edit("topUpWallet", "wallet", {**bought, "transaction_reason": "PURCHASED_CREDIT_INVOICED"})
    taken = {"transaction_reason": "MANUAL_BALANCE_DEBIT", "credits": "5", "idempotency_key": "tour-debit"}
    await edit("debitWallet", "wallet", taken)
    automatic = {"enabled": True, "threshold": 5, "amount": 10, "invoicing": False}
    await edit("updateWallet", "wallet", {"auto_topup": automatic})
    await edit("voidWalletTransaction", "wallet transaction", {"force": True})
    await edit("modifyWallet", "converted wallet", {"modification_type": "prepaid_to_postpaid"})
    await edit("freezeWallet", "wallet")
    await edit("unfreezeWallet", "wallet")
    await edit("terminateWallet", "closing wallet")
    await edit("updateCreditGrant", "grant", {**renamed, "end_date": "2099-01-01T00:00:00Z"})
    await edit("clonePlan", "plan", {**renamed, "lookup_key": "tour-plan-clone"})
    await edit("syncPlanPrices", "larger plan")
    await edit("syncAddonPrices", "addon")
    await edit("updatePrice", "price", {"display_name": "Toured"})
    await edit("updateEntitlement", "entitlement", {"is_enabled": False})
    await edit("updateTaxAssociation", "levy", {"priority": 2})
    await edit("updateInvoice", "invoice", {"metadata": {"toured": "yes"}})
    line = {"display_name": "More", "amount": "5", "quantity": "1"}
    more = {"type": "line_item", "line_item_params": {"action": "add", "items": [line]}}
    await edit("executeInvoiceModify", "draft", more)
    await edit("computeInvoice", "second draft", {})
    await edit("finalizeInvoice", "draft")
    await edit("writeOffInvoice", "void", {"reason": "tour"})
    await edit("undoInvoiceWriteOff", "void")
    await edit("updateCustomerDunning", "customer", {"retry_days": [2, 4]})
    await edit("triggerInvoiceCommsWebhook", "invoice")
    await edit("triggerInvoiceWebhook", "invoice", event_name="invoice.update.finalized")
    await edit("updateInvoicePaymentStatus", "draft", {"payment_status": "SUCCEEDED", "amount": "105"})
    await edit("updatePayment", "waiting payment", {"metadata": {"toured": "yes"}})
    await edit("processPayment", "waiting payment")
    await edit("processCreditNote", "draft note", {})
    await edit("voidCreditNote", "second draft note")
    await edit("moveInvoiceOverpayment", "overpaid", {})
    await edit("allocateUnappliedMoney", "customer", {"currency": "usd", "amount": "5"})
    await edit("cancelCheckoutSession", "checkout")
    back = {"currency": "usd", "amount": "1", "refund_reason": "OTHER", "reference": "Toured"}
    await edit("refundUnappliedMoney", "customer", back)
    if "voidEvents" in BY_ID:
        wrong = made["event"] + "-2"
        await go(Call("voidEvents", body={"event_ids": [wrong], "reason": "tour"}))
        amended = {"id": wrong, "event_name": "tour", "external_customer_id": ACME}
        await go(Call("amendEvents", body={"events": [amended], "reason": "tour"}))
    await edit("createSetupIntent", "customer", {"provider": "stripe", "success_url": "https://example.com"})
    kept = {"proration_behavior": "none"}
    cancelled = {**kept, "cancellation_type": "end_of_period"}
    onto = {**kept, "target_plan_id": made["larger plan"]}
    monthly = {"billing_cadence": "RECURRING", "billing_period": "MONTHLY", "billing_cycle": "anniversary"}
    await edit("updateSubscriptionLineItem", "line", {"metadata": {"toured": "yes"}})
    await edit("previewSubscriptionLineItem", "subscription", {"price_id": made["price"]})
    await edit("previewSubscriptionLineItemUpdate", "line", {"metadata": {"toured": "no"}})
    await edit("previewSubscriptionLineItemEnd", "line")
    await edit("previewSubscriptionChange", "subscription", {**onto, **monthly})
    await edit("previewSubscriptionPlanChangeV2", "subscription", onto)
    more = {"subscription_id": made["subscription"], "addon_id": made["addon"], **kept}
    if "addSubscriptionAddon" in BY_ID:
        await go(Call("addSubscriptionAddon", body=more))
    await edit("previewSubscriptionCancellation", "subscription", cancelled)
    await edit("updateSubscription", "subscription", {"cancel_at": "2099-01-01T00:00:00Z"})
    await edit("uncancelSubscription", "subscription")
    await edit("activateSubscription", "draft subscription", {"start_date": "2026-01-01T00:00:00Z"})
    await edit("pauseSubscription", "second subscription", {"reason": "tour"})
    await edit("resumeSubscription", "second subscription", {})
    await edit("executeSubscriptionPlanChangeV2", "second subscription", onto)
    await go(Call("updateSetting", {"key": "subscription_config"}, body={"value": {"grace_period_days": 9}}))
    await go(Call("deleteSetting", {"key": "subscription_config"}))
    await go(Call("updateTenant", body={"name": "Toured"}))
    await go(Call("updateUser", body={"name": "Toured"}))
    await edit("updateUserRoles", "person", {"roles": ["all_writer"]})
    more = {"config": {"alert_enabled": True, "critical": {"threshold": "200", "condition": "above"}}}
    await edit("updateAlertSettings", "alert setting", more)
    await edit("updateWebhookEndpoint", "endpoint", {"description": "Toured", "rate_limit": 5})
    await edit("rotateWebhookEndpointSecret", "endpoint")
    await edit("testWebhookEndpoint", "endpoint", {"event_type": "invoice.update"})
    await edit("recoverWebhookEndpoint", "endpoint", {"since": "2026-01-01T00:00:00Z"})
    await edit("resendWebhookMessage", "message", {"endpoint_id": made["endpoint"]})
    await edit("triggerScheduledTaskRun", "schedule", {})
    await edit("updateScheduledTask", "schedule", {"enabled": False})
    await edit("cancelTask", "task")
    await edit("retryTask", "task")
    await edit("updateTaskStatus", "task", {"task_status": "FAILED"})
    await go(Call("scheduleUpdateBillingPeriod", body={}))
    await go(Call("scheduleDraftFinalization"))
    event_id = made["message"].replace("msg_", "sys_event_")
    await go(Call("retryWebhook", body={"system_event_id": event_id}))


ENDS = {
    "deleteCheckoutSession": "leaving checkout",
    "deleteAnalyticsView": "view",
    "deleteSubscriptionLineItem": "line",
    "deleteCreditGrant": "plan grant",
    "cancelSubscription": "subscription",
    "deletePrice": "price",
    "deleteEntitlement": "entitlement",
    "deleteTaxAssociation": "levy",
    "deleteCoupon": "coupon",
    "deleteTaxRate": "free tax",
    "deleteFXRate": "own rate",
    "deleteCostsheet": "costs",
    "deletePayment": "free payment",
    "voidInvoice": "void",
    "deleteCustomerDunning": "customer",
    "disableMeter": "lone meter",
    "deleteMeter": "free meter",
    "deleteFeature": "free feature",
    "deleteGroup": "group",
    "deletePriceUnit": "unit",
    "deletePlan": "second plan",
    "deleteAddon": "addon",
    "deleteCustomer": "leaving",
    "eraseCustomer": "forgotten",
    "deleteServiceAccount": "service",
    "removeUser": "person",
    "deleteApiKey": "key",
    "deleteEvent": "event",
    "deleteAlertSettings": "leaving alert setting",
    "deleteWebhookEndpoint": "leaving endpoint",
    "deleteScheduledTask": "leaving schedule",
}
"""Operation to what it takes down, in an order in which nothing is in the way."""


async def end(go: Traveller, made: Made) -> None:
    """Everything that can be taken down, taken down."""
    linked = {"entity_type": "customer", "entity_id": made["customer"], "provider_type": "stripe"}
    await go(Call("delinkIntegrationMapping", body=linked))
    said = {"cancelSubscription": {"cancellation_type": "immediate", "proration_behavior": "none"}}
    for operation, name in ENDS.items():
        if operation in BY_ID:
            await go(Call(operation, {"id": made[name]}, body=said.get(operation)))
    await go(Call("deleteConnection", {"id": made["connection"]}))


Step = Callable[[Traveller, Made], Awaitable[None]]
