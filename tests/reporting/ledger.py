"""A billing office whose figures can be asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.billing.office import Office

YEAR = "2026-01-01..2027-01-01"


@dataclass
class Ledger(Office):
    """`figure` is one number, `table` the rows of an answer."""

    async def invoiced(
        self,
        customer: Mapping[str, Any],
        amount: str,
        *lines: Mapping[str, Any],
        paid: str | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """A final one-off invoice, made now; with lines their sum is the amount."""
        body: dict[str, Any] = {
            "customer_id": customer["id"],
            "currency": "usd",
            "subtotal": amount,
            "total": amount,
            "amount_due": amount,
            **more,
        }
        body["line_items"] = list(lines) or [{"display_name": "Work", "quantity": "1", "amount": amount}]
        made: dict[str, Any] = await self.account.post("/invoices", body)
        if paid is not None:
            await self.paid(made, paid)
        return made

    async def paid(self, invoice: Mapping[str, Any], amount: str) -> dict[str, Any]:
        """An offline payment of an invoice, made now."""
        body = {
            "amount": amount,
            "currency": invoice["currency"],
            "destination_id": invoice["id"],
            "destination_type": "INVOICE",
            "payment_method_type": "OFFLINE",
            "process_payment": True,
            "idempotency_key": f"{invoice['id'][-8:]}-{amount}-{self.now:%Y%m%dT%H%M}",
        }
        made: dict[str, Any] = await self.account.post("/payments", body)
        return made

    async def ask(self, *metrics: str, shape: str = "scalar", **more: Any) -> dict[str, Any]:
        """The answer to a question; `range` and `grain` are its time."""
        time = {name: more.pop(name) for name in ("range", "grain") if name in more}
        definition = {"metrics": list(metrics), "shape": shape, "time": {"range": YEAR, **time}, **more}
        found: dict[str, Any] = await self.account.post("/analytics/query", {"definition": definition}, expect=200)
        return found

    async def table(self, *metrics: str, shape: str = "scalar", **more: Any) -> list[list[str]]:
        """The rows of the answer."""
        rows: list[list[str]] = (await self.ask(*metrics, shape=shape, **more))["rows"]
        return rows

    async def figure(self, metric: str, currency: str = "usd", **more: Any) -> str:
        """One number in one currency."""
        ((figure,),) = await self.table(metric, currency=currency, **more)
        return figure

    async def by(self, metric: str, *dimensions: str, currency: str | None = "usd", **more: Any) -> dict[Any, str]:
        """A metric by dimensions, in one currency unless that is None."""
        given = {"currency": currency} if currency is not None else {}
        rows = await self.table(metric, shape="breakdown", dimensions=list(dimensions), **given, **more)
        return {row[0] if len(row) == 2 else tuple(row[:-1]): row[-1] for row in rows}

    async def over(self, metric: str, grain: str = "month", currency: str = "usd", **more: Any) -> dict[str, str]:
        """A metric over time in one currency, by the day on which each bucket begins."""
        rows = await self.table(metric, shape="timeseries", grain=grain, currency=currency, limit=1000, **more)
        return {start[:10]: figure for start, figure in rows}

    async def events(self, rows: Sequence[Any]) -> None:  # type: ignore[override]
        """Send events as they are."""
        await self.account.post("/events/bulk", {"events": list(rows)}, expect=202)
