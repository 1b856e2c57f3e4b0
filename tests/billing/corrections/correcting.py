"""What corrections are asked for with, and what is read of them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from farthing.billing.proof.credit_notes import note_differences
from farthing.invoices.figures.derivation import all_differences
from farthing.invoices.tables import Invoice
from farthing.subscriptions.tables import Subscription
from tests.billing.late_usage.lateness import send, settled
from tests.billing.office import Office


async def sell(office: Office, price: str = "1", count: int = 10, **more: Any) -> tuple[Subscription, dict[str, Any]]:
    """A subscription whose January has `count` events e0, e1, ... and an invoice that is final."""
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, price, **more))
    await settled(office)
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    for number in range(count):
        await send(office, customer, f"e{number}", "2026-01-15")
    await office.run("2026-02-01")
    return subscription, customer


async def january(office: Office, subscription: Subscription) -> Invoice:
    return next(
        invoice
        for invoice in await office.invoices(subscription)
        if invoice.period_start is not None and invoice.period_start.month == 1
    )


async def void(office: Office, *ids: str) -> None:
    await office.account.post("/events/void", {"event_ids": list(ids), "reason": "counted twice"}, 200)


async def preview(office: Office, invoice: Invoice) -> dict[str, Any]:
    answer: dict[str, Any] = await office.account.post(f"/invoices/{invoice.id}/corrections/preview", None, 200)
    return answer


async def correct(
    office: Office, invoice: Invoice, resolution: str = "credit_note", expect: int = 200
) -> dict[str, Any]:
    path = f"/invoices/{invoice.id}/corrections"
    answer: dict[str, Any] = await office.account.post(path, {"resolution": resolution}, expect)
    return answer


async def pay(office: Office, invoice: Invoice, amount: str) -> None:
    body = {"destination_type": "INVOICE", "destination_id": invoice.id, "payment_method_type": "OFFLINE"}
    await office.account.post("/payments", {**body, "amount": amount, "currency": "usd", "process_payment": True})


async def pay_what_is_owed(office: Office, invoice: Invoice) -> None:
    owed = (await office.account.get(f"/invoices/{invoice.id}"))["amount_remaining"]
    if Decimal(owed) > 0:
        await pay(office, invoice, owed)


async def try_to_correct(office: Office, invoice: Invoice, resolution: str) -> None:
    """Correct an invoice, which is refused where there is nothing to correct."""
    await office.account.http.post(f"/invoices/{invoice.id}/corrections", json={"resolution": resolution})


async def correct_what_is_left(office: Office, invoice: Invoice, month: int) -> None:
    """End a story in 2026: correct an invoice either way, each before the run of a month, from `month` on."""
    for later, resolution in enumerate(("credit_note", "next_invoice")):
        await try_to_correct(office, invoice, resolution)
        await office.run(f"2026-{month + later:02}-01")


async def notes(office: Office, invoice: Invoice) -> list[tuple[str, str]]:
    rows = (await office.account.get("/creditnotes", invoice_id=invoice.id))["items"]
    return sorted((note["credit_note_type"], note["total_amount"]) for note in rows)


async def faults(office: Office, invoices: Sequence[Invoice]) -> list[Any]:
    async with office.account.transaction(read_only=True) as session:
        fresh = [await session.get_one(Invoice, invoice.id) for invoice in invoices]
        return [
            *await all_differences(session, fresh),
            *await note_differences(session),
        ]


async def billed(office: Office, subscription: Subscription) -> Decimal:
    """What was charged for January, less what was taken back of it."""
    total = Decimal(0)
    for invoice in await office.invoices(subscription):
        total += sum(row.amount for row in await office.rows(invoice))
        total -= sum(Decimal(amount) for _, amount in await notes(office, invoice))
    return total
