"""Requests that are killed at their commits: each is prepared in books of its own, always to the same effect.

A name with "refused" says that the undisturbed request is answered with an error.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg

from tests.api.interrupted.deployment import Deployment, Request
from tests.subscriptions.shop import fixed
from tests.web.stage import PASSWORD, Stage

Kind = Callable[[Deployment], Awaitable[Request]]

CARD = {"payment_method_type": "CARD", "payment_gateway": "stripe"}
LINK = {"payment_method_type": "PAYMENT_LINK", "payment_gateway": "stripe"}
CASH = {"payment_method_type": "OFFLINE"}
PRORATED = {"proration_behavior": "create_prorations"}
_FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]+)"')
_NOT_TWICE = re.compile(r'name="once" value="([^"]+)"')


def payment_of(invoice: str, **how: Any) -> Request:
    body = {"destination_type": "INVOICE", "destination_id": invoice, "amount": "100", "currency": "usd", **how}
    return Request("/v1/payments", {"process_payment": True, **body})


# subscriptions


async def a_subscription(deployment: Deployment) -> Request:
    return Request("/v1/subscriptions", await deployment.opening())


async def a_subscription_that_must_be_paid_refused(deployment: Deployment) -> Request:
    terms = {"payment_behavior": "error_if_incomplete"}
    return Request("/v1/subscriptions", await deployment.opening("pm_test_declined", **terms))


async def an_activation(deployment: Deployment) -> Request:
    draft = await deployment.subscription(subscription_status="draft")
    return Request(f"/v1/subscriptions/{draft['id']}/activate", {"start_date": draft["start_date"]})


async def a_plan_change_in_place(deployment: Deployment) -> Request:
    subscription = await deployment.subscription()
    wanted = {"target_plan_id": await deployment.plan("50"), **PRORATED}
    return Request(f"/v1/subscriptions/{subscription['id']}/change/v2/execute", wanted)


async def a_plan_change_by_a_new_subscription(deployment: Deployment) -> Request:
    subscription = await deployment.subscription()
    wanted = {
        "target_plan_id": await deployment.plan("50"),
        "billing_period": "MONTHLY",
        "billing_cadence": "RECURRING",
        "billing_cycle": "anniversary",
        **PRORATED,
    }
    return Request(f"/v1/subscriptions/{subscription['id']}/change/execute", wanted)


async def more_seats(deployment: Deployment) -> Request:
    subscription = await deployment.subscription()
    item = subscription["line_items"][0]
    wanted = {"line_items": [{"id": item["id"], "quantity": "3"}]}
    body = {"type": "quantity_change", "quantity_change_params": wanted}
    return Request(f"/v1/subscriptions/{subscription['id']}/modify/execute", body)


async def a_cancellation_with_a_final_invoice(deployment: Deployment) -> Request:
    plan = await deployment.plan("10", invoice_cadence="ARREAR")
    begun = datetime.now(UTC) - timedelta(days=10)
    subscription = await deployment.subscription(plan=plan, start_date=begun.isoformat())
    wanted = {"cancellation_type": "immediate", "cancel_immediately_invoice_policy": "generate_invoice", **PRORATED}
    return Request(f"/v1/subscriptions/{subscription['id']}/cancel", wanted)


async def a_pause(deployment: Deployment) -> Request:
    subscription = await deployment.subscription()
    return Request(f"/v1/subscriptions/{subscription['id']}/pause")


async def a_resumption(deployment: Deployment) -> Request:
    subscription = await deployment.subscription()
    await deployment.post(f"/subscriptions/{subscription['id']}/pause")
    return Request(f"/v1/subscriptions/{subscription['id']}/resume")


# line items and addons


async def another_line_item(deployment: Deployment) -> Request:
    subscription = await deployment.subscription()
    price = {name: value for name, value in fixed("20").items() if name != "start_date"}
    return Request(f"/v1/subscriptions/{subscription['id']}/lineitems", {"price": price, **PRORATED})


async def other_terms_of_a_line_item(deployment: Deployment) -> Request:
    subscription = await deployment.subscription()
    path = f"/v1/subscriptions/lineitems/{subscription['line_items'][0]['id']}"
    return Request(path, {"amount": "30", **PRORATED}, "PUT", keyed=False)


async def the_end_of_a_line_item(deployment: Deployment) -> Request:
    subscription = await deployment.subscription()
    path = f"/v1/subscriptions/lineitems/{subscription['line_items'][0]['id']}"
    return Request(path, PRORATED, "DELETE", keyed=False)


async def an_addon(deployment: Deployment) -> Request:
    subscription = await deployment.subscription()
    wanted = {"subscription_id": subscription["id"], "addon_id": await deployment.addon("5"), **PRORATED}
    return Request("/v1/subscriptions/addon", wanted)


async def the_removal_of_an_addon(deployment: Deployment) -> Request:
    wanted = await an_addon(deployment)
    attached = await deployment.post("/subscriptions/addon", wanted.body)
    body = {"addon_association_id": attached["id"], **PRORATED}
    return Request("/v1/subscriptions/addon", body, "DELETE", keyed=False)


async def a_price_synchronisation(deployment: Deployment) -> Request:
    subscription = await deployment.subscription()
    await deployment.usage_price(subscription["plan_id"])
    return Request(f"/v1/plans/{subscription['plan_id']}/sync/subscriptions")


# invoices


async def a_recalculation(deployment: Deployment) -> Request:
    subscription = await deployment.subscription(card=None)
    await deployment.save_card(subscription["customer_id"])
    return Request(f"/v1/invoices/{subscription['latest_invoice']['id']}/recalculate")


async def a_draft_that_is_recalculated(deployment: Deployment) -> Request:
    apart = await deployment.with_own_tenant()
    await apart.account.put("/settings/invoice_config", {"value": {"finalization_delay_seconds": 7200}})
    await apart.account.freeze(datetime(2026, 1, 1, tzinfo=UTC))
    subscription = await apart.subscription(start_date="2026-01-01T00:00:00Z")
    await apart.post(f"/environments/{apart.account.environment_id}/clock", {"frozen_time": "2026-02-01T00:10:00Z"})
    body = {"subscription_id": subscription["id"], "invoice_status": ["DRAFT"]}
    (draft,) = (await apart.post("/invoices/search", body))["items"]
    return Request(f"/v1/invoices/{draft['id']}/recalculate-v2", headers={"x-api-key": apart.account.key})


async def an_attempt_to_collect(deployment: Deployment) -> Request:
    return Request(f"/v1/invoices/{await deployment.invoice()}/payment/attempt")


async def _failed_charge(deployment: Deployment, method: str) -> Request:
    """The next retry of a charge that failed, with the payer's new method."""
    apart = await deployment.with_own_tenant()
    await apart.account.put("/settings/dunning_config", {"value": {"enabled": True, "retry_days": [1, 3]}})
    subscription = await apart.subscription(card="pm_test_declined")
    if method != "pm_test_declined":
        await apart.save_card(subscription["customer_id"], method)
    path = f"/v1/invoices/{subscription['latest_invoice']['id']}/dunning/retry"
    return Request(path, headers={"x-api-key": apart.account.key})


async def a_retry_of_a_failed_charge(deployment: Deployment) -> Request:
    return await _failed_charge(deployment, "pm_test_success")


async def a_retry_that_fails_again(deployment: Deployment) -> Request:
    return await _failed_charge(deployment, "pm_test_declined")


# payments


async def a_card_payment(deployment: Deployment) -> Request:
    return payment_of(await deployment.invoice(), **CARD)


async def a_card_payment_that_is_declined_refused(deployment: Deployment) -> Request:
    return payment_of(await deployment.invoice("pm_test_declined"), **CARD)


async def a_payment_link(deployment: Deployment) -> Request:
    return payment_of(await deployment.invoice(), **LINK)


async def an_offline_payment(deployment: Deployment) -> Request:
    return payment_of(await deployment.invoice(None), **CASH)


async def a_stored_payment_that_is_processed(deployment: Deployment) -> Request:
    wanted = payment_of(await deployment.invoice(), **CARD)
    payment = await deployment.post("/payments", {**wanted.body, "process_payment": False})
    return Request(f"/v1/payments/{payment['id']}/process")


async def a_page_to_save_a_card(deployment: Deployment) -> Request:
    return Request(f"/v1/payments/customers/{await deployment.customer(None)}/setup/intent", {"provider": "stripe"})


async def a_copy_at_a_provider(deployment: Deployment) -> Request:
    body = {"entity_type": "invoice", "entity_id": await deployment.invoice(None)}
    return Request("/v1/integrations/sync", body)


async def a_link_that_is_paid_at_the_provider(deployment: Deployment) -> Request:
    """The provider tells of it by webhook; nobody's request carries a key."""
    asked = payment_of(await deployment.invoice(None), **LINK)
    return await _paid_at_the_provider(deployment, asked)


async def _paid_at_the_provider(deployment: Deployment, asked: Request) -> Request:
    """The provider's report of a payment; a provider sends it until it is taken."""
    payment = await deployment.post("/payments", asked.body)
    path = f"/test/gateway/sessions/{payment['payment_url'].rsplit('/', 1)[1]}"
    await deployment.post(f"{path}/succeed", {"delivery": "late"})
    return Request(f"/v1{path}/deliver", keyed=False)


# credit notes and refunds


async def _credit_note_of(deployment: Deployment, invoice: str, **how: Any) -> dict[str, Any]:
    line = (await deployment.account.get(f"/invoices/{invoice}"))["line_items"][0]
    lines = [{"invoice_line_item_id": line["id"], "amount": "60"}]
    body = {"invoice_id": invoice, "reason": "BILLING_ERROR", "line_items": lines, "process_credit_note": True}
    return {**body, **how}


async def _invoice_paid_by_card(deployment: Deployment) -> str:
    invoice = await deployment.invoice()
    await deployment.post("/payments", payment_of(invoice, **CARD).body)
    return invoice


async def a_credit_note_on_what_is_unpaid(deployment: Deployment) -> Request:
    return Request("/v1/creditnotes", await _credit_note_of(deployment, await deployment.invoice(None)))


async def a_credit_note_into_a_wallet(deployment: Deployment) -> Request:
    invoice = await deployment.invoice(None)
    await deployment.post("/payments", payment_of(invoice, **CASH).body)
    return Request("/v1/creditnotes", await _credit_note_of(deployment, invoice))


async def a_credit_note_back_to_a_card(deployment: Deployment) -> Request:
    invoice = await _invoice_paid_by_card(deployment)
    return Request("/v1/creditnotes", await _credit_note_of(deployment, invoice, refund_target="BACK_TO_SOURCE"))


async def a_draft_credit_note_that_is_finalized(deployment: Deployment) -> Request:
    invoice = await deployment.invoice(None)
    draft = await deployment.post("/creditnotes", await _credit_note_of(deployment, invoice, process_credit_note=False))
    return Request(f"/v1/creditnotes/{draft['id']}/finalize")


async def a_draft_credit_note_that_goes_back_to_a_card(deployment: Deployment) -> Request:
    invoice = await _invoice_paid_by_card(deployment)
    draft = await deployment.post("/creditnotes", await _credit_note_of(deployment, invoice, process_credit_note=False))
    return Request(f"/v1/creditnotes/{draft['id']}/finalize", {"refund_target": "BACK_TO_SOURCE"})


async def a_refund_that_is_tried_again(deployment: Deployment) -> Request:
    invoice = await _invoice_paid_by_card(deployment)
    with psycopg.connect(deployment.administration) as connection:  # the provider knows of no such charge any more
        connection.execute(
            "UPDATE test_gateway_charges SET state = 'failed' WHERE id = "
            "(SELECT gateway_payment_id FROM payments WHERE destination_id = %s)",
            [invoice],
        )
    body = await _credit_note_of(deployment, invoice, refund_target="BACK_TO_SOURCE")
    note = await deployment.post("/creditnotes", body)
    (refund,) = (await deployment.account.get("/refunds", credit_note_ids=note["id"]))["items"]
    return Request(f"/v1/refunds/{refund['id']}/retry")


async def an_invoice_that_is_voided_and_paid_back(deployment: Deployment) -> Request:
    invoice = await _invoice_paid_by_card(deployment)
    return Request(f"/v1/invoices/{invoice}/void", {"refund_target": "BACK_TO_SOURCE"})


# credits


async def _wallet(deployment: Deployment, card: str | None = "pm_test_success") -> str:
    customer = await deployment.customer(card)
    wallet = await deployment.post("/wallets", {"customer_id": customer, "name": "Credits", "currency": "usd"})
    return str(wallet["id"])


async def a_top_up(deployment: Deployment) -> Request:
    body = {"transaction_reason": "FREE_CREDIT_GRANT", "credits_to_add": "50", "idempotency_key": uuid.uuid4().hex}
    return Request(f"/v1/wallets/{await _wallet(deployment)}/top-up", body)


async def a_purchase_of_credits(deployment: Deployment) -> Request:
    return Request(f"/v1/wallets/{await _wallet(deployment)}/top-up", _PURCHASE)


_PURCHASE = {"transaction_reason": "PURCHASED_CREDIT_INVOICED", "credits_to_add": "100"}


async def _invoice_of_credits(deployment: Deployment, card: str | None = "pm_test_success") -> str:
    """An invoice of 100 USD that sells credits and is not paid."""
    wallet = await _wallet(deployment, card)
    return str((await deployment.post(f"/wallets/{wallet}/top-up", _PURCHASE))["invoice_id"])


async def bought_credits_paid_by_card(deployment: Deployment) -> Request:
    return payment_of(await _invoice_of_credits(deployment), **CARD)


async def bought_credits_paid_offline(deployment: Deployment) -> Request:
    return payment_of(await _invoice_of_credits(deployment, None), **CASH)


async def bought_credits_that_are_collected(deployment: Deployment) -> Request:
    return Request(f"/v1/invoices/{await _invoice_of_credits(deployment)}/payment/attempt")


async def bought_credits_marked_as_paid(deployment: Deployment) -> Request:
    path = f"/v1/invoices/{await _invoice_of_credits(deployment, None)}/payment"
    return Request(path, {"payment_status": "SUCCEEDED"}, "PUT", keyed=False)


async def bought_credits_paid_at_the_provider(deployment: Deployment) -> Request:
    asked = payment_of(await _invoice_of_credits(deployment, None), **LINK)
    return await _paid_at_the_provider(deployment, asked)


# pages, whose forms carry no key


async def a_payment_in_the_portal(deployment: Deployment) -> Request:
    invoice = await deployment.account.get(f"/invoices/{await deployment.invoice(None)}")
    customer = await deployment.account.get(f"/customers/{invoice['customer_id']}")
    portal = await deployment.account.get(f"/customers/portal/{customer['external_id']}")
    path = f"/portal/{portal['token']}/invoices/{invoice['id']}/pay"
    return Request(path, form=True, keyed=False)


async def a_payment_on_the_dashboard(deployment: Deployment) -> Request:
    apart = await deployment.with_own_tenant()
    invoice = await apart.invoice(None)
    stage = await Stage(apart.account).admit()
    async with httpx.AsyncClient(base_url=apart.account.base_url, timeout=60) as browser:
        page = (await browser.get("/sign-in")).text
        form = {"email": stage.email, "password": PASSWORD, "form_token": _only(_FORM_TOKEN, page)}
        assert (await browser.post("/sign-in", data=form)).status_code == 303
        page = (await browser.get(f"/payments/new?invoice={invoice}")).text
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    customer = (await apart.account.get(f"/invoices/{invoice}"))["customer_id"]
    paid = {"customer": customer, "currency": "usd", "method": "other", "amount": "100", f"part:{invoice}": "100"}
    form = {**paid, "once": _only(_NOT_TWICE, page), "form_token": _only(_FORM_TOKEN, page)}
    return Request("/payments/new", form, headers={"cookie": cookies}, form=True, keyed=False)


def _only(pattern: re.Pattern[str], page: str) -> str:
    found = pattern.search(page)
    assert found is not None, page
    return found[1]


# the rest


async def an_event_without_an_id(deployment: Deployment) -> Request:
    return Request("/v1/events", {"event_name": "call", "external_customer_id": uuid.uuid4().hex})


async def a_move_of_a_clock(deployment: Deployment) -> Request:
    """A move over the end of a period, with what is due in the hours after it."""
    apart = await deployment.with_own_tenant()
    await apart.account.freeze(datetime(2026, 1, 31, 12, tzinfo=UTC))
    await apart.subscription(start_date="2026-01-01T00:00:00Z")
    return Request(
        f"/v1/environments/{apart.account.environment_id}/clock",
        {"frozen_time": "2026-02-01T12:00:00Z"},
        headers={"x-api-key": apart.account.key},
        runs_duties=True,
    )


async def a_copy_of_an_environment(deployment: Deployment) -> Request:
    apart = await deployment.with_own_tenant()
    await apart.plan()
    path = f"/v1/environments/{apart.account.environment_id}/clone"
    headers = {"x-api-key": apart.account.key}
    return Request(path, {"name": "Copy", "type": "development"}, headers=headers)


IN_EVERY_RUN: list[Kind] = [a_subscription, a_card_payment, a_credit_note_back_to_a_card, an_event_without_an_id]
"""What goes with every run; the walk over all kinds is asked for with FARTHING_TEST_EVERY_COMMIT=1."""
EVERY_KIND: list[Kind] = [
    a_subscription,
    a_subscription_that_must_be_paid_refused,
    an_activation,
    a_plan_change_in_place,
    a_plan_change_by_a_new_subscription,
    more_seats,
    a_cancellation_with_a_final_invoice,
    a_pause,
    a_resumption,
    another_line_item,
    other_terms_of_a_line_item,
    the_end_of_a_line_item,
    an_addon,
    the_removal_of_an_addon,
    a_price_synchronisation,
    a_recalculation,
    a_draft_that_is_recalculated,
    an_attempt_to_collect,
    a_retry_of_a_failed_charge,
    a_retry_that_fails_again,
    a_card_payment,
    a_card_payment_that_is_declined_refused,
    a_payment_link,
    an_offline_payment,
    a_stored_payment_that_is_processed,
    a_page_to_save_a_card,
    a_copy_at_a_provider,
    a_link_that_is_paid_at_the_provider,
    a_credit_note_on_what_is_unpaid,
    a_credit_note_into_a_wallet,
    a_credit_note_back_to_a_card,
    a_draft_credit_note_that_is_finalized,
    a_draft_credit_note_that_goes_back_to_a_card,
    a_refund_that_is_tried_again,
    an_invoice_that_is_voided_and_paid_back,
    a_top_up,
    a_purchase_of_credits,
    bought_credits_paid_by_card,
    bought_credits_paid_offline,
    bought_credits_that_are_collected,
    bought_credits_marked_as_paid,
    bought_credits_paid_at_the_provider,
    a_payment_in_the_portal,
    a_payment_on_the_dashboard,
    an_event_without_an_id,
    a_move_of_a_clock,
    a_copy_of_an_environment,
]
