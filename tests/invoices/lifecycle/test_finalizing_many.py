"""Finalizing many drafts in one transaction comes to the same as finalizing each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from farthing.invoices.figures.derivation import all_differences, total_differences
from farthing.invoices.lifecycle import transitions
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.storage.record.outbox import SystemEvent
from tests.account import Account
from tests.invoices.desk import Desk, fixed, usage
from tests.invoices.lifecycle.test_lifecycle import WalletHooks
from tests.invoices.lifecycle.test_numbering import configure

NOW = datetime(2025, 3, 1, tzinfo=UTC)


async def drafts_of(desk: Desk) -> list[str]:
    """Drafts of every kind: plain, with a discount and a tax, worth nothing, and of one customer twice."""
    often = await desk.customer()
    reduced = {"coupons": [await desk.coupon("10")], "tax_rates": [await desk.tax("10%")]}
    bodies: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
        ([fixed("100")], {"customer": often}),
        ([usage("30"), fixed("70")], reduced),
        ([fixed("0")], {}),
        ([usage("8")], {"customer": often}),
    ]
    return [(await desk.invoice(lines, invoice_status="DRAFT", **more))["id"] for lines, more in bodies]


async def finalized(account: Account, ids: list[str], hooks: WalletHooks, *, at_once: bool) -> None:
    async with account.transaction() as session:
        query = select(Invoice).where(Invoice.id.in_(ids)).order_by(Invoice.id).with_for_update()
        by_id = {invoice.id: invoice for invoice in await session.scalars(query)}
        drafts = [by_id[invoice_id] for invoice_id in ids]
        if at_once:
            await transitions.finalize_all(session, drafts, NOW, effects=hooks)
        else:
            for draft in drafts:
                await transitions.finalize(session, draft, NOW, effects=hooks)


def bare(value: Any) -> Any:
    """A body without what names its rows."""
    if isinstance(value, list):
        return [bare(part) for part in value]
    if isinstance(value, dict):
        differs = ("_id", "_at", "_by", "_key")
        names = {"id", "name", "code", "email"}
        return {key: bare(part) for key, part in value.items() if key not in names and not key.endswith(differs)}
    return value


@pytest.mark.parametrize(
    "wallet",
    [
        pytest.param("0", id="nothing prepaid"),
        pytest.param("33", id="the wallet pays the first usage and a part of the next"),
    ],
)
async def test_many_at_once_are_what_each_would_be(account: Account, stranger: Account, wallet: str) -> None:
    told, shown, outcomes = [], [], []
    for tenant, at_once in ((account, False), (stranger, True)):
        desk = Desk(tenant)
        await tenant.freeze(NOW)
        ids = await drafts_of(desk)
        hooks = WalletHooks(wallet)
        await finalized(tenant, ids, hooks, at_once=at_once)
        shown.append([bare(await tenant.get(f"/invoices/{id_}")) for id_ in ids])
        outcomes.append((hooks.debited, hooks.became_paid))
        async with tenant.transaction(read_only=True) as session:
            events = await session.scalars(
                select(SystemEvent)
                .where(SystemEvent.event_name == "invoice.update.finalized")
                .order_by(SystemEvent.payload["invoice"]["invoice_number"].astext)
            )
            told.append([bare(event.payload) for event in events])
            invoices = (await session.scalars(select(Invoice))).all()
            assert {invoice.invoice_status for invoice in invoices} == {InvoiceStatus.FINALIZED}
            assert await all_differences(session, invoices) == []
            assert await total_differences(session) == []
    assert shown[0] == shown[1]
    assert told[0] == told[1]
    assert outcomes[0] == outcomes[1]
    assert [invoice["invoice_number"] for invoice in shown[1]] == [f"INV-202503-{n:05d}" for n in range(1, 5)]


async def test_a_block_of_numbers_continues_and_passes_over_one_in_use(account: Account) -> None:
    desk = Desk(account)
    await account.freeze(NOW)
    await configure(account, start_sequence=7, suffix_length=1)
    await finalized(account, first := await drafts_of(desk), WalletHooks(), at_once=True)
    await desk.invoice([fixed("1")], invoice_number="INV-202503-12")
    await finalized(account, second := await drafts_of(desk), WalletHooks(), at_once=True)
    numbers = [(await account.get(f"/invoices/{invoice_id}"))["invoice_number"] for invoice_id in first + second]
    assert numbers == [f"INV-202503-{n}" for n in (7, 8, 9, 10, 11, 13, 14, 15)]
    following = await desk.invoice([fixed("1")])
    assert following["invoice_number"] == "INV-202503-16"
