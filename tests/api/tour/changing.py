"""Everything built, edited and then taken down."""

from __future__ import annotations

from typing import Any

from tests.api.tour.building import ACME, QUESTION
from tests.api.tour.calls import Call, Made, Traveller


async def change(go: Traveller, made: Made) -> None:
    """Everything that can be edited, edited."""

    async def edit(operation: str, name: str, body: Any = None, **query: Any) -> None:
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
        ("updateEnvironment", "own environment"),
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
    await edit("createCustomerNote", "customer", {"body": "Toured"})
    await edit("createInvoiceNote", "invoice", {"body": "Toured"})
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
        await go(Call(operation, {"id": made[name]}, body=said.get(operation)))
    await go(Call("deleteConnection", {"id": made["connection"]}))
