"""What changes in mid-period give back: into the payer's prepaid wallet, with the tax on it, once."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from farthing.billing.proof.credits import credit_differences
from tests.billing.counter import Body, cancel, drop, open_items, opened, seats
from tests.billing.office import Office
from tests.credits.ledger_desk import LedgerDesk
from tests.subscriptions.shop import fixed


async def taxed(office: Office, percentage: str | None, price: str, **more: Any) -> tuple[Body, Body]:
    """A subscription from the first of June whose payer is charged a tax."""
    await office.on("2026-06-01")
    customer = await office.customer()
    if percentage is not None:
        rate = await LedgerDesk(office.account).tax(f"{percentage}%")
        code = (await office.account.get(f"/taxes/rates/{rate}"))["code"]
        await office.account.post(
            "/taxes/associations",
            {"tax_rate_code": code, "entity_type": "customer", "entity_id": customer["id"], "auto_apply": True},
            200,
        )
    plan = await office.plan(fixed(price))
    return customer, await opened(office, plan, customer, **more)


async def wallets(office: Office, customer: Body) -> list[str]:
    found: list[Body] = await office.account.get(f"/customers/{customer['id']}/wallets")
    return [wallet["balance"] for wallet in found]


@pytest.mark.parametrize(
    ("percentage", "given"),
    [(None, "50"), ("19", "59.5"), ("8.25", "54.13"), ("100", "100")],
)
async def test_a_cancellation_half_way_gives_half_back(office: Office, percentage: str | None, given: str) -> None:
    customer, made = await taxed(office, percentage, "100")
    await office.on("2026-06-16")
    await cancel(office, made, proration_behavior="create_prorations")
    assert await wallets(office, customer) == [given]
    (wallet,) = await office.account.get(f"/customers/{customer['id']}/wallets")
    rows = (await office.account.get(f"/wallets/{wallet['id']}/transactions"))["items"]
    assert [(row["transaction_reason"], row["amount"]) for row in rows] == [("SUBSCRIPTION_CREDIT_GRANT", given)]
    await LedgerDesk(office.account).require_sound()


async def test_what_is_given_back_in_parts_is_never_more_than_was_taxed(office: Office) -> None:
    """0.05 with 19 %, all of it at once: the tax was 0.01."""
    customer, made = await taxed(office, "19", "0.05")
    (item,) = made["line_items"]
    await drop(office, item)
    assert await wallets(office, customer) == ["0.06"]


async def test_fewer_seats_give_back_and_more_seats_are_paid(office: Office) -> None:
    customer, made = await taxed(office, "10", "30")
    (item,) = made["line_items"]
    await seats(office, made, item, 3)
    assert await wallets(office, customer) == []
    await office.on("2026-06-16")
    (item,) = await open_items(office, made)
    changed = await seats(office, made, item, 1)
    told = [one for one in changed["changed_resources"]["invoices"] if one["action"] == "wallet_credit"]
    assert [(one["status"], one["amount"]) for one in told] == [("issued", "33")]
    assert await wallets(office, customer) == ["33"]
    await LedgerDesk(office.account).require_sound()


async def test_a_wallet_of_another_rate_has_as_much_value(office: Office) -> None:
    customer, made = await taxed(office, None, "100")
    await LedgerDesk(office.account).wallet(customer["id"], "10", conversion_rate="4")
    await office.on("2026-06-16")
    await cancel(office, made, proration_behavior="create_prorations")
    assert await wallets(office, customer) == ["90"]


async def test_a_preview_gives_nothing(office: Office) -> None:
    customer, made = await taxed(office, None, "100")
    await office.on("2026-06-16")
    (item,) = made["line_items"]
    body = {"type": "quantity_change", "quantity_change_params": {"line_items": [{"id": item["id"], "quantity": "0"}]}}
    await office.account.http.post(f"/subscriptions/{made['id']}/modify/preview", json=body)
    assert await wallets(office, customer) == []


@pytest.mark.parametrize(
    ("statement", "figure"),
    [
        ("UPDATE proration_settlements SET tax_credited = tax_credited + 1", "credited for unused time"),
        ("UPDATE proration_settlements SET credited_to_payer = 1", "credited for unused time"),
    ],
)
async def test_the_doctor_sees_a_credit_that_is_not_its_settlement(office: Office, statement: str, figure: str) -> None:
    _, made = await taxed(office, "19", "100")
    await office.on("2026-06-16")
    await cancel(office, made, proration_behavior="create_prorations")
    async with office.account.transaction() as session:
        await session.execute(text(statement))
        assert [one.figure for one in await credit_differences(session)] == [figure]
        await session.rollback()
