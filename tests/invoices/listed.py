"""What lists show, held against the single reads of the same rows: they are shaped by different code."""

from __future__ import annotations

from typing import Any

from tests.account import Account

PAGE = 7


async def require_lists_as_reads(account: Account) -> int:
    """Hold every invoice, customer and payment that is listed against its own answer; how many invoices there were."""
    invoices = await _all_of(account, "invoices")
    for invoice in invoices:
        read = await account.get(f"/invoices/{invoice['id']}")
        read.pop("subscription", None)
        assert invoice == read
    for path in ("customers", "payments"):
        for listed in await _all_of(account, path):
            assert listed == await account.get(f"/{path}/{listed['id']}")
    await _require_totals(account, invoices)
    return len(invoices)


async def _all_of(account: Account, path: str) -> list[dict[str, Any]]:
    """All rows of a list, page by page; its total stays the same and is theirs."""
    rows: list[dict[str, Any]] = []
    totals = set()
    while True:
        page = await account.get(f"/{path}", limit=PAGE, offset=len(rows))
        rows += page["items"]
        totals.add(page["pagination"]["total"])
        if len(page["items"]) < PAGE:
            break
    assert totals == {len(rows)}
    return rows


async def _require_totals(account: Account, invoices: list[dict[str, Any]]) -> None:
    """Totals that are kept are those that are counted: of everything, and of each payer."""
    counted = {"filters": [{"field": "id", "operator": "not_in", "data_type": "array", "value": {"array": ["none"]}}]}
    for payer in (None, *sorted({invoice["customer_id"] for invoice in invoices})):
        of_payer = {} if payer is None else {"customer_id": payer}
        kept = await account.get("/invoices", limit=1, **of_payer)
        plain = await account.post("/invoices/search", {**of_payer, **counted, "limit": 1}, 200)
        assert kept["pagination"]["total"] == plain["pagination"]["total"]
