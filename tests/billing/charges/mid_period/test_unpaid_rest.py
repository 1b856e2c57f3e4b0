"""A fee that was charged up to an end that holds no longer is charged for the rest when its period closes."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from farthing.billing.proof.invoices import prove
from farthing.invoices.figures.derivation import all_differences
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.tables import Invoice
from tests.billing.counter import Body, cancel, do, opened
from tests.billing.office import Office
from tests.subscriptions.shop import fixed

PRORATED = {"proration_behavior": "create_prorations"}


async def cut_in_may(office: Office, **more: Any) -> Body:
    """100 a month from April, to end on 16 May: May's fee is 15 of 31 days."""
    await office.on("2026-04-01")
    made = await opened(office, await office.plan(fixed("100")), **more)
    await office.on("2026-04-20")
    await cancel(office, made, "scheduled_date", cancel_at="2026-05-16T00:00:00Z", **PRORATED)
    await office.run("2026-05-01")
    assert (await lines(office))[-1] == "05-01 48.39"
    await office.on("2026-05-10")
    return made


async def lines(office: Office) -> list[str]:
    async with office.account.transaction(read_only=True) as session:
        rows = await session.scalars(select(InvoiceLineItem).where(InvoiceLineItem.status == "published"))
        return [
            f"{start:%m-%d} {amount:.2f}" for start, amount in sorted((row.period_start, row.amount) for row in rows)
        ]


async def test_what_is_taken_back_leaves_nothing(office: Office) -> None:
    made = await cut_in_may(office)
    await do(office, made, "uncancel")
    preview = await office.account.post("/invoices/preview", {"subscription_id": made["id"]}, 200)
    await office.run("2026-06-01")
    await office.run("2026-07-01")
    assert await lines(office) == ["04-01 100.00", "05-01 48.39", "05-16 51.61", "06-01 100.00", "07-01 100.00"]
    # a preview of the open period says what its next invoice adds
    assert {line["amount"] for line in preview["line_items"]} == {"51.61", "100"}
    async with office.account.transaction(read_only=True) as session:
        invoices = (await session.scalars(select(Invoice).where(Invoice.subscription_id == made["id"]))).all()
        assert await all_differences(session, invoices) == []
        assert (await prove(session, invoices, None)).differences == []


@pytest.mark.parametrize(
    ("terms", "rest"), [(PRORATED, "05-16 25.81"), ({"proration_behavior": "none"}, "05-16 51.61")]
)
async def test_a_later_end_is_charged_as_it_prorates(office: Office, terms: dict[str, str], rest: str) -> None:
    """To the 24th, 8 of 31 days more; without proration the fee is whole."""
    made = await cut_in_may(office)
    await do(office, made, "uncancel")
    await cancel(office, made, "scheduled_date", cancel_at="2026-05-24T00:00:00Z", **terms)
    await office.run("2026-06-01")
    assert await lines(office) == ["04-01 100.00", "05-01 48.39", rest]


async def test_an_end_that_holds_owes_nothing_more(office: Office) -> None:
    await cut_in_may(office)
    await office.run("2026-06-01")
    assert await lines(office) == ["04-01 100.00", "05-01 48.39"]


async def test_a_pause_owes_nothing_more(office: Office) -> None:
    await office.on("2026-04-01")
    made = await opened(office, await office.plan(fixed("100")))
    await office.on("2026-04-10")
    await do(office, made, "pause", {"pause_mode": "immediate", "resume_mode": "immediate"})
    await office.on("2026-04-20")
    await do(office, made, "resume", {"resume_mode": "immediate"})
    await office.run("2026-05-11")
    assert await lines(office) == ["04-01 100.00", "05-11 100.00"]
