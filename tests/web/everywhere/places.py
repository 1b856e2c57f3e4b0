"""Every page of the dashboard and the portal, by name, on a stage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select

from farthing.billing.dunning.tables import OPEN_CASES, DunningCase, DunningStatus, FinalAction
from farthing.billing.run.passes import Run
from farthing.core.ids import Kind, new_id
from farthing.identity.sign_in.email_and_password import person_with_email
from farthing.identity.sign_in.password_change import make_link
from farthing.identity.users import invite
from farthing.marketplaces.tables import UsageRecord
from farthing.notifications.email.tables import Email, EmailKind, EmailState
from farthing.storage.scope import SYSTEM
from tests.transfer.office import TransferOffice
from tests.web.stage import Stage


@dataclass(frozen=True, slots=True)
class Place:
    """A page and where it is."""

    name: str
    path: str
    status: int = 200


async def _password_link(stage: Stage) -> str:
    """Where a colleague sets a password."""
    account = stage.account
    email = f"{account.tenant_id}.colleague@example.com".lower()
    async with account.database.transaction(SYSTEM) as session:
        person = await person_with_email(session, email)
        if person is None:
            person = await invite(
                session, account.tenant_id, email=email, name="Grace", roles=["all_reader"], password_hash=""
            )
        link = await make_link(session, person, "", timedelta(days=1), datetime.now(UTC))
    return link.url


async def _message(stage: Stage) -> str:
    """A message that an endpoint did not take."""
    account = stage.account
    listed = (await account.get("/webhooks/endpoints"))["items"]
    endpoint = listed[0] if listed else await account.post("/webhooks/endpoints", {"url": "https://stage.invalid/hook"})
    tested = await account.post(f"/webhooks/endpoints/{endpoint['id']}/test", {}, expect=200)
    return str(tested["message_id"])


async def _activity(stage: Stage, customer: dict[str, Any]) -> str:
    """A change of a customer, with what it was before."""
    await stage.account.put(f"/customers/{customer['id']}", {"contact": "+43 1 234567"})
    await stage.account.put(f"/customers/{customer['id']}", {"contact": "+43 1 234568"})
    asked = {"entity_id": customer["id"], "actions": ["customer.updated"], "limit": 1}
    return str((await stage.account.post("/activity", asked, expect=200))["items"][0]["id"])


async def _credit_note(stage: Stage, invoice: dict[str, Any], line: dict[str, Any]) -> str:
    """A draft of a credit note, which changes no figure; asked for again, it is the same."""
    lines = [{"invoice_line_item_id": line["id"], "amount": "0.01"}]
    body = {"invoice_id": invoice["id"], "reason": "BILLING_ERROR", "line_items": lines}
    return str((await stage.account.post("/creditnotes", body))["id"])


async def _waiting_payment(stage: Stage, customer: dict[str, Any]) -> dict[str, Any]:
    """A bank transfer of which no invoice has anything yet; asked for again, it is the same."""
    body = {
        "destination_type": "CUSTOMER",
        "destination_id": customer["id"],
        "payment_method_type": "OFFLINE",
        "amount": "75.50",
        "currency": "usd",
        "process_payment": True,
        "idempotency_key": "waiting-payment",
        "metadata": {"method": "bank_transfer", "reference": "RF18 5390 0754 7034"},
    }
    made: dict[str, Any] = await stage.account.post("/payments", body)
    return made


async def _task(stage: Stage) -> str:
    """An import with a bad row, and something that is exported on schedule."""
    account = stage.account
    listed = (await account.get("/tasks"))["items"]
    if listed:
        return str(listed[0]["id"])
    folder = await account.post("/connections", {"name": "Folder", "provider_type": "local"})
    schedule = {"connection_id": folder["id"], "entity_type": "invoice", "interval": "daily", "job_config": {}}
    await account.post("/tasks/scheduled", schedule)
    upload = await account.http.post("/tasks/uploads", content=b"external_id,email\nx,nonsense\n")
    body = {"task_type": "IMPORT", "entity_type": "CUSTOMERS", "file_type": "CSV", "file_provider": "farthing"}
    task = await account.post("/tasks", {**body, "upload_id": upload.json()["upload_id"], "dry_run": True}, expect=200)
    office = TransferOffice(account, account.database, account.settings)
    await office.work()
    return str(task["workflow_id"])


async def _correctable(stage: Stage) -> str:
    """An invoice of a subscription's period, in books that were billed once."""
    account = stage.account
    of_periods: dict[str, Any] = {"subscription_id": stage.subscription_id, "invoice_type": "SUBSCRIPTION"}
    listed = (await account.get("/invoices", **of_periods))["items"]
    if not listed:
        await Run(account.database, account.scope, stage.now).all()
        listed = (await account.get("/invoices", **of_periods))["items"]
    oldest = min(listed, key=lambda invoice: str(invoice["period_start"]))
    if oldest["invoice_status"] == "DRAFT":
        await account.post(f"/invoices/{oldest['id']}/finalize", {}, expect=200)
    return str(oldest["id"])


async def _emails(stage: Stage) -> str:
    """Mails in every state, to the first customer and about the first invoice."""
    customer, invoice = stage.customers[0], stage.invoices[0]
    said = {
        EmailState.SENT: ("invoice_issued", None),
        EmailState.QUEUED: ("reminder", "the mail server answered 450 4.7.1 Greylisted, try again later"),
        EmailState.FAILED: ("payment_failed", "the invoice was paid meanwhile"),
        EmailState.PARKED: ("payment_receipt", "the mail server answered 550 5.1.1 No such user"),
    }
    async with stage.account.transaction() as session:
        if await session.scalar(select(Email.id).limit(1)) is None:
            session.add_all(
                Email(
                    id=new_id(Kind.EMAIL),
                    kind=EmailKind(kind),
                    entity_id=invoice["id"],
                    occasion="shown",
                    customer_id=customer["id"],
                    invoice_id=invoice["id"],
                    details={},
                    state=state,
                    attempts=1,
                    queued_at=stage.now,
                    next_attempt_at=stage.now,
                    created_at=stage.now,
                    finished_at=None if state is EmailState.QUEUED else stage.now,
                    reason=reason,
                    recipient="ada@brightwater.example",
                    subject=f"About {invoice['invoice_number']}",
                    language="en",
                )
                for state, (kind, reason) in said.items()
            )
    return "/emails"


async def _checkout(stage: Stage) -> str:
    """The page of a checkout for an invoice; asked for again, it is the same."""
    account = stage.account
    listed = (await account.get("/checkout/sessions", checkout_status="pending"))["items"]
    if listed:
        return urlsplit(listed[0]["hosted_url"]).path
    amounts = dict.fromkeys(("amount_due", "subtotal", "total"), "450")
    lines = [
        {"display_name": "Onboarding, two days", "amount": "400", "quantity": "2"},
        {"display_name": "Travel", "amount": "50", "quantity": "1"},
    ]
    body = {"customer_id": stage.customers[0]["id"], "currency": "usd", **amounts, "line_items": lines}
    body |= {"checkout": {"payment_provider": "stripe", "success_url": "https://shop.example.com/thanks"}}
    return urlsplit((await account.post("/invoices", body))["checkout_session"]["hosted_url"]).path


async def _integrations(stage: Stage) -> list[Place]:
    """What is connected, and the forms around it; asked for again, it is the same."""
    account = stage.account
    listed = (await account.get("/connections"))["connections"]
    known = {each["provider_type"]: each for each in listed}
    for provider, secrets in (
        ("s3", {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "never shown"}),
        ("aws_marketplace", {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "never shown"}),
        ("stripe", {"secret_key": "sk_test_never_shown", "webhook_secret": "whsec_never_shown"}),
    ):
        if provider not in known:
            body = {"name": f"Our {provider.replace('_', ' ')}", "provider_type": provider}
            known[provider] = await account.post("/connections", {**body, "encrypted_secret_data": secrets})
    path = f"/integrations/{known['s3']['id']}"
    return [
        Place("integrations", "/integrations"),
        Place("integration-new", "/integrations/new"),
        Place("integration-edit", f"{path}/edit"),
        Place("integration-disconnect", f"{path}/disconnect"),
    ]


async def _usage_records(stage: Stage) -> str:
    """Records of a subscription that a marketplace collects for, taken, waiting and skipped."""
    customer = stage.customers[0]
    async with stage.account.transaction() as session:
        if await session.scalar(select(UsageRecord.id).limit(1)) is None:
            for hour, (amount, syncs) in enumerate(
                (
                    ("12.50", {"aws_marketplace": {"reporting_id": "rep-1", "synced_at": "2026-11-01T01:00:04Z"}}),
                    ("3.20", {}),
                    ("0", {"azure_marketplace": {"skipped": True, "skip_reason": "zero_amount_not_supported"}}),
                )
            ):
                start = stage.now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hour + 1)
                session.add(
                    UsageRecord(
                        id=new_id(Kind.USAGE_RECORD),
                        customer_id=customer["id"],
                        customer_external_id=customer["external_id"],
                        subscription_id=stage.subscription_id,
                        plan_id=stage.plan["id"],
                        currency="usd",
                        period_start=start,
                        period_end=start + timedelta(hours=1),
                        amount=Decimal(amount),
                        quantity=Decimal(amount) * 100,
                        synced=bool(syncs),
                        syncs=syncs,
                    )
                )
    return "/usage-records"


async def _portal(stage: Stage, token: str) -> list[Place]:
    """What customers see and do where the merchant has switched everything on, some of it in German and Japanese."""
    plans = (await stage.account.get("/plans"))["items"]
    items = {"alerts": True, "edit_tax_id": True, "change_plan": "immediate", "cancel": "immediate"}
    theme = {"primary_color": "#1f5fbf"}
    body = {"value": {"items": {**items, "plans": [plan["id"] for plan in plans]}, "theme": theme}}
    await stage.account.put("/settings/customer_portal_config", body)
    home, subscription = f"/portal/{token}", f"/subscriptions/{stage.subscription_id}"
    return [
        Place("portal-usage", f"{home}/usage"),
        Place("portal-usage-german", f"{home}/usage?lang=de"),
        Place("portal-japanese", f"{home}?lang=ja"),
        Place("portal-alerts", f"{home}/alerts?lang=en"),
        Place("portal-details", f"{home}/details?lang=de"),
        Place("portal-plan", f"{home}{subscription}/plan?lang=de"),
        Place("portal-cancel", f"{home}{subscription}/cancel?lang=en"),
        Place("portal-settings", "/customer-portal"),
        Place("portal-sample", "/customer-portal/preview?accent=%231f5fbf&background=dark"),
    ]


async def _dunning(stage: Stage) -> str:
    """Charges that failed, in every state."""
    async with stage.account.transaction() as session:
        if await session.scalar(select(DunningCase.id).limit(1)) is None:
            for number, (invoice, state) in enumerate(zip(stage.unpaid(), DunningStatus, strict=False)):
                is_open = state in OPEN_CASES
                session.add(
                    DunningCase(
                        id=new_id(Kind.DUNNING_CASE),
                        invoice_id=invoice["id"],
                        customer_id=invoice["customer_id"],
                        subscription_id=stage.subscription_id,
                        case_status=state,
                        first_failed_at=stage.now,
                        retry_days=[1, 3, 5, 7],
                        final_action=FinalAction.MARK_UNCOLLECTIBLE,
                        retries_made=number % 4,
                        next_at=stage.now + timedelta(days=3) if is_open else None,
                        closed_at=None if is_open else stage.now,
                        last_error="The card has insufficient funds",
                    )
                )
    return "/dunning?state=all"


async def _sold(stage: Stage) -> list[Place]:
    """The pages of the catalogue, and of what is made and changed there; asked for again, they are the same."""
    account, plan, feature = stage.account, stage.plan["id"], stage.feature["id"]
    addons = (await account.get("/addons"))["items"]
    addon = addons[0] if addons else await account.post("/addons", {"name": "Support", "lookup_key": "support"})
    included = (await account.get("/entitlements", entity_type="ADDON"))["items"]
    asked = {"entity_type": "ADDON", "entity_id": addon["id"], "feature_id": feature, "feature_type": "metered"}
    entitlement = included[0] if included else await account.post("/entitlements", {**asked, "usage_limit": 5000})
    coupons = (await account.get("/coupons"))["items"]
    off = {"name": "Launch", "type": "percentage", "percentage_off": "20", "cadence": "once", "coupon_code": "launch"}
    coupon = coupons[0] if coupons else await account.post("/coupons", off)
    rates = (await account.get("/taxes/rates"))["items"]
    vat = {"name": "VAT 21%", "code": "NL21", "percentage_value": "21"}
    rate = rates[0] if rates else await account.post("/taxes/rates", vat)
    applied = (await account.get("/taxes/associations", tax_rate_id=rate["id"]))["items"]
    taxed = {"tax_rate_code": "NL21", "entity_type": "customer", "entity_id": stage.customers[0]["id"]}
    # no invoice of the stage is in this currency, so that no figure changes
    taxed["currency"] = "jpy"
    association = applied[0] if applied else await account.post("/taxes/associations", taxed, expect=200)
    price = stage.plan["prices"][1]["id"]
    grouped = (await account.post("/groups/search", {}, expect=200))["items"]
    heading = {"name": "Models", "entity_type": "feature", "lookup_key": "models"}
    group = grouped[0] if grouped else await account.post("/groups", heading)
    return [
        Place("addons", "/catalogue/addons"),
        Place("features", "/catalogue/features"),
        Place("coupons", "/catalogue/coupons"),
        Place("taxes", "/catalogue/taxes"),
        Place("groups", "/catalogue/groups"),
        Place("group", f"/catalogue/groups/{group['id']}"),
        Place("group-new", "/catalogue/groups/new"),
        Place("group-archive", f"/catalogue/groups/{group['id']}/archive"),
        Place("catalogue-archived", "/catalogue?archived=yes"),
        Place("feature", f"/catalogue/features/{feature}"),
        Place("feature-new", "/catalogue/features/new"),
        Place("feature-edit", f"/catalogue/features/{feature}/edit"),
        Place("feature-archive", f"/catalogue/features/{feature}/archive"),
        Place("plan-new", "/catalogue/plans/new"),
        Place("plan-edit", f"/catalogue/plans/{plan}/edit"),
        Place("plan-archive", f"/catalogue/plans/{plan}/archive"),
        Place("addon", f"/catalogue/addons/{addon['id']}"),
        Place("addon-new", "/catalogue/addons/new"),
        Place("addon-edit", f"/catalogue/addons/{addon['id']}/edit"),
        Place("addon-archive", f"/catalogue/addons/{addon['id']}/archive"),
        Place("price", f"/catalogue/prices/{price}?quantity=2500"),
        Place("price-new", f"/catalogue/plans/{plan}/prices/new"),
        Place("price-edit", f"/catalogue/prices/{price}/edit"),
        Place("price-change", f"/catalogue/prices/{price}/change"),
        Place("price-end", f"/catalogue/prices/{price}/end"),
        Place("entitlement-new", f"/catalogue/plans/{plan}/entitlements/new"),
        Place("entitlement-edit", f"/catalogue/entitlements/{entitlement['id']}/edit"),
        Place("entitlement-archive", f"/catalogue/entitlements/{entitlement['id']}/archive"),
        Place("coupon", f"/catalogue/coupons/{coupon['id']}"),
        Place("coupon-new", "/catalogue/coupons/new"),
        Place("coupon-edit", f"/catalogue/coupons/{coupon['id']}/edit"),
        Place("coupon-archive", f"/catalogue/coupons/{coupon['id']}/archive"),
        Place("tax", f"/catalogue/taxes/{rate['id']}"),
        Place("tax-new", "/catalogue/taxes/new"),
        Place("tax-edit", f"/catalogue/taxes/{rate['id']}/edit"),
        Place("tax-archive", f"/catalogue/taxes/{rate['id']}/archive"),
        Place("tax-apply", f"/catalogue/taxes/{rate['id']}/associations/new"),
        Place("tax-applied", f"/catalogue/taxes/associations/{association['id']}/edit"),
        Place("tax-applied-end", f"/catalogue/taxes/associations/{association['id']}/end"),
        Place("customer-new", "/customers/new"),
        Place("customer-edit", f"/customers/{stage.customers[0]['id']}/edit"),
        Place("customer-archive", f"/customers/{stage.customers[0]['id']}/archive"),
    ]


SUBSCRIPTION_ACTIONS = (
    *(
        "plan",
        "charges",
        "commitment",
        "share",
        "invoice-together",
        "add-addon",
        "remove-addon",
        "add-coupon",
        "remove-coupon",
    ),
    *("pause", "resume", "cancel", "keep", "take-back", "trial", "activate"),
)


def _subscription_actions(stage: Stage) -> list[Place]:
    """The forms of what can be done to a subscription."""
    path = f"/subscriptions/{stage.subscription_id}/actions"
    return [Place(f"subscription-{name}", f"{path}/{name}") for name in SUBSCRIPTION_ACTIONS]


async def places(stage: Stage) -> list[Place]:
    """All pages, in the order in which somebody would open them."""
    customer, invoice = stage.customers[0], stage.invoices[0]
    line = (await stage.account.get(f"/invoices/{invoice['id']}"))["line_items"][0]
    external_id = customer["external_id"]
    token = (await stage.account.get(f"/customers/portal/{external_id}"))["token"]
    checkout = await _checkout(stage)
    unpaid = next(invoice for invoice in stage.unpaid() if invoice["customer_id"] == customer["id"])
    waiting = await _waiting_payment(stage, customer)
    draft = next(invoice for invoice in stage.invoices if invoice["invoice_status"] == "DRAFT")
    return [
        Place("overview", "/"),
        Place("search", "/search?q=a"),
        Place("search-empty", "/search"),
        Place("reports", "/reports"),
        Place("report-revenue", "/reports/revenue"),
        Place("report-tax", "/reports/tax"),
        Place("report-ageing", "/reports/ageing"),
        Place("report-recurring", "/reports/recurring"),
        Place("report-compared", "/reports/net_billing?by=customer_id&grain=none&compare=previous_period"),
        Place("report-refused", "/reports/net_billing?from=soon"),
        Place("customers", "/customers"),
        Place("customers-search", "/customers?q=ber&sort=owed-usd"),
        Place("customer", f"/customers/{customer['id']}"),
        Place("wallet", f"/wallets/{stage.wallet['id']}"),
        Place("invoices", "/invoices"),
        Place(
            "invoices-columns", "/invoices?columns=number,state,currency,subtotal,tax,total,unpaid&due-from=2026-01-01"
        ),
        Place("invoices-overdue", "/invoices?standing=overdue&sort=unpaid"),
        Place("invoice", f"/invoices/{invoice['id']}"),
        Place("e-invoice", f"/invoices/{invoice['id']}/e-invoice"),
        Place("billing-details", f"/customers/{customer['id']}/billing-details"),
        Place("erasure", f"/customers/{customer['id']}/erasure"),
        Place("line", f"/invoices/{invoice['id']}/lines/{line['id']}"),
        Place("corrections", f"/invoices/{await _correctable(stage)}/corrections"),
        Place("credit-note-new", f"/invoices/{invoice['id']}/credit-notes/new"),
        Place("credit-note", f"/credit-notes/{await _credit_note(stage, invoice, line)}"),
        Place("invoice-new-customer", "/invoices/new"),
        Place("invoice-new", f"/invoices/new?customer={customer['id']}"),
        Place("invoice-edit", f"/invoices/{draft['id']}/edit"),
        Place("payments", "/payments"),
        Place("payment", f"/payments/{waiting['id']}"),
        Place("payment-new-customer", "/payments/new"),
        Place("payment-new", f"/payments/new?customer={customer['id']}"),
        Place("unapplied", "/unapplied-money"),
        Place("customer-unapplied", f"/customers/{customer['id']}/unapplied-money?currency=usd"),
        Place("statement", f"/customers/{customer['id']}/statement?from=2026-06-01&until=2026-11-30"),
        Place("dunning", await _dunning(stage)),
        Place("subscriptions", "/subscriptions"),
        Place("subscription", f"/subscriptions/{stage.subscription_id}"),
        Place("subscribe", f"/subscriptions/new?customer={external_id}&plan_id={stage.plan['id']}"),
        *_subscription_actions(stage),
        Place("catalogue", "/catalogue"),
        *await _sold(stage),
        Place("exchange-rates", "/exchange-rates"),
        Place("plan", f"/catalogue/plans/{stage.plan['id']}"),
        Place("events", "/events"),
        Place("event", "/events/one?id=ev-0-4"),
        Place("event-new", "/events/new"),
        Place("api", "/docs"),
        Place("api-subject", "/docs/tenants"),
        Place("api-type", "/docs/types/ErrorResponse"),
        Place("alerts", "/alerts"),
        Place("keys", "/keys"),
        Place("emails", await _emails(stage)),
        Place("email-preview", "/emails/preview?kind=reminder&language=de"),
        Place("setting-email", "/settings/email_config"),
        Place("workflows", "/workflows"),
        Place("webhooks", "/webhooks"),
        *await _integrations(stage),
        Place("usage-records", await _usage_records(stage)),
        Place("webhook-message", f"/webhooks/messages/{await _message(stage)}"),
        Place("settings", "/settings"),
        Place("setting-invoices", "/settings/invoice_config"),
        Place("setting-pdf", "/settings/invoice_pdf_config"),
        Place("setting-bonus", "/settings/bonus_credits_topup_config"),
        Place("setting-alerts", "/settings/wallet_balance_alert_config"),
        Place("activity", "/activity"),
        Place("activity-entry", f"/activity/{await _activity(stage, customer)}"),
        Place("setting-e-invoices", "/settings/einvoice_config"),
        Place("company", "/company"),
        Place("team", "/team"),
        Place("account", "/account"),
        Place("forgotten", "/sign-in/forgotten"),
        Place("set-password", await _password_link(stage)),
        Place("clock", "/clock"),
        Place("duties", "/duties"),
        Place("tasks", "/tasks"),
        Place("task", f"/tasks/{await _task(stage)}"),
        Place("portal", f"/portal/{token}"),
        Place("portal-invoice", f"/portal/{token}/invoices/{unpaid['id']}"),
        Place("portal-methods", f"/portal/{token}/methods"),
        *await _portal(stage, token),
        Place("checkouts", "/checkouts"),
        Place("checkout", checkout),
        Place("checkout-german", f"{checkout}?lang=de"),
        Place("checkout-test-payment", f"{checkout}/test-payment"),
        Place("checkout-unknown", "/checkout/env_x.nothing", status=404),
        Place("portal-expired", "/portal/not-a-token", status=401),
        Place("not-found", "/nowhere", status=404),
    ]
