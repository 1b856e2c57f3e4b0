"""What an invoice would take of wallets is seen before it does, lot by lot, and nothing stays done."""

from __future__ import annotations

from typing import Any

import pytest

from tests.account import Account
from tests.credits.ledger_desk import LedgerDesk
from tests.invoices.desk import fixed, usage


async def previewed(account: Account, invoice: dict[str, Any], expect: int = 200) -> dict[str, Any]:
    shown: dict[str, Any] = await account.post(f"/invoices/{invoice['id']}/consumption/preview", {}, expect)
    return shown


def amounts(parts: list[dict[str, Any]]) -> list[str]:
    """`amount: credits of each lot` of each wallet."""
    return [
        f"{part['amount']}: {' '.join(taken['credits'] for taken in part['consumption_breakdown'])}" for part in parts
    ]


async def draft(desk: LedgerDesk, customer: str, *lines: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = await desk.account.post("/invoices", desk.order(customer, lines, invoice_status="DRAFT"))
    assert made["invoice_status"] == "DRAFT"
    return made


@pytest.mark.parametrize(
    ("prepaid", "postpaid", "lines", "applied", "paid", "left"),
    [
        pytest.param((), None, [usage("50")], [], [], "50", id="no wallet"),
        pytest.param(("20", "40"), None, [usage("50")], ["50: 40 10"], [], "0", id="two lots, the larger first"),
        pytest.param(("20",), None, [fixed("50")], [], [], "50", id="fixed charges take no prepaid credits"),
        pytest.param(("20",), "100", [usage("50"), fixed("5")], ["20: 20"], ["35: 35"], "0", id="one after the other"),
        pytest.param((), "30", [usage("50")], [], ["30: 30"], "20", id="not enough"),
        pytest.param(("0.001",), None, [usage("50")], [], [], "50", id="dust takes nothing"),
    ],
)
async def test_a_draft(
    account: Account,
    prepaid: tuple[str, ...],
    postpaid: str | None,
    lines: list[dict[str, Any]],
    applied: list[str],
    paid: list[str],
    left: str,
) -> None:
    desk = LedgerDesk(account)
    customer = await desk.customer()
    if prepaid:
        wallet = await desk.wallet(customer, prepaid[0])
        for credits in prepaid[1:]:
            await desk.top_up(wallet, credits)
    if postpaid is not None:
        await desk.wallet(customer, postpaid, wallet_type="POST_PAID")
    made = await draft(desk, customer, *lines)
    before = await account.get(f"/customers/{customer}/wallets")
    shown = await previewed(account, made)
    assert (amounts(shown["applied"]), amounts(shown["paid"]), shown["amount_left"]) == (applied, paid, left)
    assert await account.get(f"/customers/{customer}/wallets") == before
    assert (await desk.get(made))["invoice_status"] == "DRAFT"
    await account.post(f"/invoices/{made['id']}/finalize", {}, 200)
    final = await desk.get(made)
    assert final["total_prepaid_credits_applied"] == (applied[0].split(":")[0] if applied else "0")
    assert amounts((await previewed(account, made))["applied"]) == applied


async def test_a_void_invoice_takes_nothing(account: Account) -> None:
    desk = LedgerDesk(account)
    made = await desk.billed(await desk.customer(), [usage("50")])
    await account.post(f"/invoices/{made['id']}/void", {}, 200)
    await previewed(account, made, 400)
