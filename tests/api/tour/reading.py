"""Everything built, looked at."""

from __future__ import annotations

from typing import Any

from tests.api.endpoints import BY_ID, Endpoint
from tests.api.tour.building import ACME, COUPON_CODE, FAR, QUESTION
from tests.api.tour.calls import Call, Made, Traveller

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
    "listCustomerNotes": "customer",
    "listInvoiceNotes": "invoice",
    "getCustomerStatement": "customer",
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
    "getCustomerStatement": {"currency": "usd", "start_time": "2020-01-01T00:00:00Z", "end_time": FAR},
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
        await go(Call(operation, {"id": made[name]}, ASKED_WITH.get(operation, {})))
    for operation, key in READS_BY_NAME.items():
        await go(Call(operation, {BY_ID[operation].path_parameters[0]: key}))
    for operation in ("getSubscriptionUsage", "getInvoicePreview", "getInternalInvoicePreview"):
        await go(Call(operation, body={"subscription_id": made["subscription"]}))
    await go(Call("getInvoiceLineExplanation", {"id": made["invoice"], "line_id": made["invoice line"]}))
    await go(Call("getTaskResult", query={"workflow_id": made["task"]}))
    await go(Call("getDetailedCostAnalytics", body={"external_customer_id": ACME}))
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
    for endpoint in lists():
        await go(Call(endpoint.id, body={} if endpoint.method == "POST" else None))


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


def lists() -> list[Endpoint]:
    """Every list and search that is about nothing in particular."""
    return [
        endpoint
        for endpoint in BY_ID.values()
        if not endpoint.path_parameters
        and endpoint.operation
        and (
            endpoint.path.endswith(("/search", "/forex/query"))
            if endpoint.method == "POST"
            else "limit" in endpoint.query
        )
        and endpoint.id != "getEntityIntegrationMappings"
    ]
