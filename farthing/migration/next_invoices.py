"""The next invoice of every running subscription, as both sides would make it now.

Rule: docs/rules/migration.md#comparing
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import msgspec

from farthing.billing.reads.previews import preview
from farthing.billing.schemas import GetPreviewInvoiceRequest
from farthing.core.clock import FixedClock
from farthing.core.errors import FarthingError
from farthing.core.money import EXACT
from farthing.migration.comparison import SideComparison, SideDifference
from farthing.migration.copying.catalogue import SUBSCRIPTIONS
from farthing.migration.copying.subscriptions import CHILDREN
from farthing.migration.copying.target import MigrationTarget
from farthing.migration.source.api import NotOffered, SourceApi
from farthing.migration.source.fields import SourceRecord, decimal_of, tidied
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope

_RUNNING = ["active", "trialing"]
_DISCOUNTS = ("line_item_discount", "invoice_level_discount")


@dataclass(frozen=True, slots=True)
class BothSides:
    """Where the next invoices are compared: the source, and the environment at `now`; `known` are ids as in a run."""

    database: Database
    scope: Scope
    source: SourceApi
    now: datetime
    known: dict[tuple[str, str], str]


async def compare_next_invoices(sides: BothSides, found: SideComparison, *, with_usage: bool) -> None:
    """Note in `found` where fees of a next invoice differ, and discounts and usage where that is here.

    Raises SourceFailed.
    """
    try:
        async for page in sides.source.search("/subscriptions/search", subscription_status=_RUNNING):
            for record in page:
                if record.get("subscription_type") not in CHILDREN and not record.get("parent_subscription_id"):
                    await _compare(sides, found, str(record["id"]), with_usage=with_usage)
    except NotOffered:
        return


async def _compare(sides: BothSides, found: SideComparison, source_id: str, *, with_usage: bool) -> None:
    name = f"subscription {source_id}"
    async with sides.database.session(sides.scope, clock=FixedClock(sides.now)) as session:
        try:
            subscription_id = await MigrationTarget(session, sides.now, sides.known).find(SUBSCRIPTIONS, source_id)
            if subscription_id is None:
                return  # the report names it
            theirs = _figures(await sides.source.post("/invoices/preview", {"subscription_id": source_id}))
            answer = await preview(session, GetPreviewInvoiceRequest(subscription_id=subscription_id), sides.now)
            ours = _figures(tidied(msgspec.to_builtins(answer)))
        except (FarthingError, AttributeError, TypeError) as error:
            reason = error.message if isinstance(error, FarthingError) else "it is not written as the API writes it"
            found.differences.append(SideDifference(name, "next invoice", "", reason))
            return
        finally:
            await session.rollback()
    found.next_invoices += 1
    for figure in theirs:
        if figure == "fees" or with_usage:
            found.compare(name, f"{figure} of the next invoice", theirs[figure], ours[figure])


def _figures(invoice: SourceRecord) -> Mapping[str, Decimal]:
    """What an invoice comes to in fees, usage and discounts. Raises ValidationFailed."""
    sums = dict.fromkeys(("fees", "usage", "discounts"), Decimal(0))
    for line in invoice.get("line_items") or ():
        is_fee = line.get("price_type") == "FIXED" and line.get("price_id")
        kind = "fees" if is_fee else "usage"  # what tops up to a commitment has no price, and depends on usage
        sums[kind] = EXACT.add(sums[kind], decimal_of(line, "amount"))
        for name in _DISCOUNTS:
            sums["discounts"] = EXACT.add(sums["discounts"], decimal_of(line, name))
    return sums
