"""What the tour leaves out, why, and where it is driven; with calls that show that strangers are refused there too."""

from __future__ import annotations

from dataclasses import dataclass

from tests.api.tour.calls import Call, Made


@dataclass(frozen=True)
class LeftOut:
    """Operations that the tour does not call, why, and the tests that do; a test sees that these name their paths."""

    why: str
    driven_in: str
    operations: tuple[str, ...]


LEFT_OUT = (
    LeftOut("ten a minute are allowed", "tests/identity/sign_in/test_sign_in.py", ("login", "signUp")),
    LeftOut(
        "needs a coupon on a subscription", "tests/catalogue/discounts/test_redeeming.py", ("getCouponAssociation",)
    ),
    LeftOut("previews what is toured", "tests/credits/notes/test_notes.py", ("previewCreditNote",)),
    LeftOut(
        "answers the session of a customer, not a key",
        "tests/web/portal/test_programs.py",
        (
            "getPortalCostAnalytics",
            "getPortalUsageAnalytics",
            "getPortalConfig",
            "getPortalInfo",
            "updatePortalInfo",
            "listPortalInvoices",
            "getPortalInvoiceSummary",
            "getPortalInvoice",
            "getPortalInvoicePdf",
            "listPortalSubscriptions",
            "getPortalSubscription",
        ),
    ),
    LeftOut("answers the session of a customer, not a key", "tests/web/portal/test_usage.py", ("getPortalUsage",)),
    LeftOut(
        "needs usage that is measured",
        "tests/subscriptions/reads/test_feature_usage.py",
        ("getCustomerUsageSummaryById",),
    ),
    LeftOut("needs usage that is measured", "tests/events/usage/test_worked_examples.py", ("getUsageStatistics",)),
    LeftOut(
        "needs events that are stored, and usage that is measured",
        "tests/events/usage/test_queries.py",
        (
            "getUsageAnalytics",
            "getUsageByMeter",
            "getHuggingfaceBillingData",
            "getHuggingfaceInferenceData",
            "listEvents",
            "getEvent",
            "getEventMonitoring",
            "listRawEvents",
        ),
    ),
    LeftOut("needs an event that is stored", "tests/events/test_corrections.py", ("getEventById",)),
    LeftOut(
        "moves time under the whole walk",
        "tests/billing/run/test_clock.py",
        ("getEnvironmentClock", "setEnvironmentClock"),
    ),
    LeftOut("is worked on in the background", "tests/jobs/test_cloning.py", ("cloneEnvironment",)),
    LeftOut("asks a provider", "tests/payments/connections/test_connections.py", ("syncIntegration",)),
    LeftOut("needs what a provider signed", "tests/payments/processing/test_links.py", ("receiveProviderWebhook",)),
    LeftOut(
        "needs an invoice of a subscription's period",
        "tests/billing/corrections/test_corrections.py",
        ("correctInvoice", "previewInvoiceCorrection"),
    ),
    LeftOut(
        "needs an invoice of a subscription's period",
        "tests/billing/life/test_flows.py",
        ("recalculateInvoice", "recalculateInvoiceV2"),
    ),
    LeftOut(
        "previews what is toured", "tests/credits/invoicing/test_invoice_consumption.py", ("previewInvoiceConsumption",)
    ),
    LeftOut(
        "needs an invoice that could not be collected",
        "tests/billing/collection/test_dunning.py",
        ("getInvoiceDunning", "retryInvoiceCharge", "stopInvoiceDunning"),
    ),
    LeftOut("collects by a saved method", "tests/payments/processing/test_methods.py", ("attemptInvoicePayment",)),
    LeftOut("needs a refund that failed", "tests/credits/notes/test_notes.py", ("retryRefund",)),
    LeftOut(
        "needs a host that bills its tenants",
        "tests/own_billing/test_own_billing.py",
        (
            "startSelfBillingCheckout",
            "pollSelfBillingCheckout",
            "cancelSelfBillingCheckout",
            "createSelfBillingPortalSession",
            "getSelfBillingSummary",
        ),
    ),
    LeftOut(
        "needs a change that is scheduled",
        "tests/billing/life/test_published_client.py",
        (
            "getSubscriptionSchedule",
            "getSubscriptionScheduleAliased",
            "cancelSubscriptionSchedule",
            "cancelSubscriptionScheduleBy",
        ),
    ),
    LeftOut("ends what others on the tour need", "tests/subscriptions/test_parts.py", ("removeSubscriptionAddon",)),
    LeftOut("ends what others on the tour need", "tests/billing/life/test_flows.py", ("executeSubscriptionChange",)),
    LeftOut(
        "ends what others on the tour need",
        "tests/billing/life/previews/test_foretold.py",
        ("executeSubscriptionModify",),
    ),
    LeftOut(
        "previews what would end what others need",
        "tests/billing/charges/mid_period/test_unused_time.py",
        ("previewSubscriptionModify",),
    ),
    LeftOut("takes a file", "tests/transfer/office.py", ("uploadTaskFile",)),
    LeftOut("gives a file", "tests/transfer/test_exports.py", ("downloadTaskExport",)),
    LeftOut("needs a page of the test provider", "tests/payments/processing/test_links.py", ("getTestSession",)),
    LeftOut("needs a page of the test provider", "tests/checkout/test_races.py", ("deliverTestWebhooks",)),
    LeftOut("needs a page of the test provider", "tests/payments/till.py", ("actOnTestSession",)),
)
UNTOURED = frozenset(operation for group in LEFT_OUT for operation in group.operations)
"""Operations that the tour does not call."""


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
