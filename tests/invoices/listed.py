"""What lists show, held against the single reads of the same rows: they are shaped by different code."""

from __future__ import annotations

from typing import Any

from tests.account import Account

PAGE = 7
ONLY_READ = {
    "plans": {"prices", "entitlements", "credit_grants"},
    "features": {"meter", "group"},
    "prices": {"meter", "group", "pricing_unit"},
    "entitlements": {"feature", "plan"},
    "wallets": set[str](),
    "subscriptions": {
        "line_items",
        "pauses",
        "phases",
        "coupon_associations",
        "credit_grants",
        "customer",
        "entitlements",
    },
}
"""Lists, and what only a single read has unless it is asked for."""


async def require_lists_as_reads(account: Account) -> int:
    """Hold every row that is listed against its own answer; how many invoices there were."""
    invoices = await _all_of(account, "invoices")
    for invoice in invoices:
        read = await account.get(f"/invoices/{invoice['id']}")
        read.pop("subscription", None)
        assert invoice == read
    for path in ("customers", "payments"):
        for listed in await _all_of(account, path):
            assert listed == await account.get(f"/{path}/{listed['id']}")
    for path in ONLY_READ:
        await require_listed_as_read(account, path)
    await _require_totals(account, invoices)
    return len(invoices)


async def require_listed_as_read(account: Account, path: str, **narrowed: str) -> int:
    """Hold every row of a list against its own answer; how many there were."""
    rows = await _all_of(account, path, **narrowed)
    for listed in rows:
        read = await account.get(f"/{path}/{listed['id']}")
        shown = {name: value for name, value in read.items() if name not in ONLY_READ[path]}
        if path == "subscriptions":
            shown["plan"] = {name: value for name, value in read["plan"].items() if name not in ONLY_READ["plans"]}
        assert listed == shown
    return len(rows)


async def _all_of(account: Account, path: str, **narrowed: Any) -> list[dict[str, Any]]:
    """All rows of a list, page by page; its total stays the same and is theirs."""
    rows: list[dict[str, Any]] = []
    totals = set()
    while True:
        page = await account.get(f"/{path}", limit=PAGE, offset=len(rows), **narrowed)
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
