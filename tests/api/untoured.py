"""What the tour leaves out: why, and calls that show at least that strangers are refused."""

from __future__ import annotations

from tests.api.tour.calls import Call, Made

UNTOURED: dict[str, str] = {
    "login": "ten a minute are allowed; driven in the tests of identity",
    "signUp": "ten a minute are allowed; driven in the tests of identity",
    "getCouponAssociation": "needs a coupon on a subscription; driven in the tests of the catalogue",
    "previewCreditNote": "previews what is toured; driven in the tests of credit notes",
    "getPortalCostAnalytics": "answers the session of a customer, not a key; driven in the tests of the portal",
    "getPortalUsageAnalytics": "answers the session of a customer, not a key; driven in the tests of the portal",
    "getPortalConfig": "answers the session of a customer, not a key; driven in the tests of the portal",
    "getPortalInfo": "answers the session of a customer, not a key; driven in the tests of the portal",
    "updatePortalInfo": "answers the session of a customer, not a key; driven in the tests of the portal",
    "listPortalInvoices": "answers the session of a customer, not a key; driven in the tests of the portal",
    "getPortalInvoiceSummary": "answers the session of a customer, not a key; driven in the tests of the portal",
    "getPortalInvoice": "answers the session of a customer, not a key; driven in the tests of the portal",
    "getPortalInvoicePdf": "answers the session of a customer, not a key; driven in the tests of the portal",
    "listPortalSubscriptions": "answers the session of a customer, not a key; driven in the tests of the portal",
    "getPortalSubscription": "answers the session of a customer, not a key; driven in the tests of the portal",
    "getPortalUsage": "answers the session of a customer, not a key; driven in the tests of the portal",
    "getCustomerUsageSummaryById": "needs usage that is measured; driven in the tests of events",
    "getUsageAnalytics": "needs usage that is measured; driven in the tests of events",
    "getUsageStatistics": "needs usage that is measured; driven in the tests of events",
    "getUsageByMeter": "needs usage that is measured; driven in the tests of events",
    "getHuggingfaceBillingData": "needs usage that is measured; driven in the tests of events",
    "getHuggingfaceInferenceData": "needs usage that is measured; driven in the tests of events",
    "listEvents": "needs an event that is stored; driven in the tests of events",
    "getEvent": "needs an event that is stored; driven in the tests of events",
    "getEventById": "needs an event that is stored; driven in the tests of events",
    "getEventMonitoring": "needs an event that is stored; driven in the tests of events",
    "listRawEvents": "needs an event that is stored; driven in the tests of events",
    "getEnvironmentClock": "moves time under the whole walk; driven in the tests of clocks",
    "setEnvironmentClock": "moves time under the whole walk; driven in the tests of clocks",
    "cloneEnvironment": "is worked on in the background; driven in the tests of environments",
    "syncIntegration": "asks a provider; driven in the tests of integrations",
    "receiveProviderWebhook": "asks a provider; driven in the tests of integrations",
    "correctInvoice": "needs an invoice of a subscription's period; driven in the tests of billing",
    "previewInvoiceCorrection": "needs an invoice of a subscription's period; driven in the tests of billing",
    "previewInvoiceConsumption": "needs an invoice of a subscription's period; driven in the tests of billing",
    "recalculateInvoice": "needs an invoice of a subscription's period; driven in the tests of billing",
    "recalculateInvoiceV2": "needs an invoice of a subscription's period; driven in the tests of billing",
    "getInvoiceDunning": "needs an invoice that could not be collected; driven in the tests of dunning",
    "retryInvoiceCharge": "needs an invoice that could not be collected; driven in the tests of dunning",
    "stopInvoiceDunning": "needs an invoice that could not be collected; driven in the tests of dunning",
    "attemptInvoicePayment": "collects by a saved method; driven in the tests of payments",
    "retryRefund": "needs a refund that failed; driven in the tests of refunds",
    "startSelfBillingCheckout": "needs a host that bills its tenants; driven in the tests of own billing",
    "pollSelfBillingCheckout": "needs a host that bills its tenants; driven in the tests of own billing",
    "cancelSelfBillingCheckout": "needs a host that bills its tenants; driven in the tests of own billing",
    "createSelfBillingPortalSession": "needs a host that bills its tenants; driven in the tests of own billing",
    "getSelfBillingSummary": "needs a host that bills its tenants; driven in the tests of own billing",
    "getSubscriptionSchedule": "needs a change that is scheduled; driven in the tests of subscriptions",
    "getSubscriptionScheduleAliased": "needs a change that is scheduled; driven in the tests of subscriptions",
    "cancelSubscriptionSchedule": "needs a change that is scheduled; driven in the tests of subscriptions",
    "cancelSubscriptionScheduleBy": "needs a change that is scheduled; driven in the tests of subscriptions",
    "removeSubscriptionAddon": "ends what others on the tour need; driven in the tests of subscriptions",
    "executeSubscriptionChange": "ends what others on the tour need; driven in the tests of subscriptions",
    "executeSubscriptionModify": "ends what others on the tour need; driven in the tests of subscriptions",
    "previewSubscriptionModify": "ends what others on the tour need; driven in the tests of subscriptions",
    "uploadTaskFile": "takes or gives a file; driven in the tests of imports and exports",
    "downloadTaskExport": "takes or gives a file; driven in the tests of imports and exports",
    "getTestSession": "needs a page of the test provider; driven in the tests of payments",
    "deliverTestWebhooks": "needs a page of the test provider; driven in the tests of payments",
    "actOnTestSession": "needs a page of the test provider; driven in the tests of payments",
}
"""Operations that the tour does not call, and why."""


def calls_of_untoured(made: Made) -> list[Call]:
    """Well-formed calls that the tour cannot bring to success, and that name what it built."""
    correction = {"resolution": "credit_note"}
    at_invoice = {"id": made["invoice"]}
    return [
        Call("previewInvoiceCorrection", at_invoice),
        Call("correctInvoice", at_invoice, body=correction),
        Call("correctInvoice", at_invoice, body={"resolution": "next_invoice"}),
        Call("getInvoiceDunning", at_invoice),
        Call("retryInvoiceCharge", at_invoice),
        Call("stopInvoiceDunning", at_invoice),
        Call("attemptInvoicePayment", at_invoice),
        Call("retryRefund", {"id": made["refund"]}),
        Call(
            "cancelSubscriptionScheduleBy",
            body={"subscription_id": made["subscription"], "schedule_type": "plan_change"},
        ),
    ]
