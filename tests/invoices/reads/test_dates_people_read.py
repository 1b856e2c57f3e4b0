"""The days on an invoice are those of the zone in which its periods were cut; its issue is the seller's day."""

from __future__ import annotations

from datetime import date

import pytest

from farthing.invoices.pdf.document import InvoiceDocument
from farthing.invoices.reads.documents import document
from tests.account import Account
from tests.billing.office import Office
from tests.subscriptions.shop import fixed


async def _documents(office: Office) -> list[InvoiceDocument]:
    invoices = await office.invoices()
    async with office.account.transaction(read_only=True) as session:
        return [await document(session, invoice) for invoice in invoices]


@pytest.mark.parametrize(
    ("zone", "start", "end", "due"),
    [
        pytest.param("America/New_York", "2026-10-01T04:00", "2026-11-01T04:00", date(2026, 10, 2), id="west"),
        pytest.param("Asia/Tokyo", "2026-09-30T15:00", "2026-10-31T15:00", date(2026, 10, 2), id="east"),
        pytest.param("UTC", "2026-10-01", "2026-11-01", date(2026, 10, 2), id="at the seller's"),
    ],
)
async def test_a_month_is_its_first_and_last_day(account: Account, zone: str, start: str, end: str, due: date) -> None:
    office = Office(account)
    await office.on(start)
    await office.settings(compute_delay_seconds=0, finalization_delay_seconds=0)
    await office.subscribed(await office.plan(fixed("100")), await office.customer(timezone=zone))
    await office.run(end)
    opening, renewal = await _documents(office)
    line, following = opening.groups[0].lines[0], renewal.groups[0].lines[0]
    assert line.days is not None
    assert (line.days.first, line.days.last) == (date(2026, 10, 1), date(2026, 10, 31))
    assert following.days is not None
    assert following.days.first == date(2026, 11, 1)
    assert opening.due_on == due
    assert opening.issued == date.fromisoformat(start[:10])
