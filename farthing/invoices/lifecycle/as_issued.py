"""What an invoice keeps when it becomes final, so that its document always comes out the same.

Rule: docs/rules/e-invoices.md#what-is-kept-at-finalization
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import inspect, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products.tables import Feature
from farthing.customers.buyer import buyer_terms
from farthing.identity.parties.versions import parties_at_issue
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.parts import InvoiceParts
from farthing.invoices.tables import Invoice
from farthing.storage.queries.bulk import update_all
from farthing.storage.queries.rows import in_array

UNIT_CODE = "unit_code"


async def keep_as_issued(session: AsyncSession, invoices: Sequence[Invoice], parts: Mapping[str, InvoiceParts]) -> None:
    """Note on invoices that become final which versions of their parties they name, and what their lines count.

    Nothing is flushed meanwhile: whoever finalizes many writes the invoices by one statement afterwards.
    """
    payers = {part.payer.id: part.payer for invoice in invoices if (part := parts[invoice.id]).payer is not None}
    with session.no_autoflush:
        kept = await parties_at_issue(session, {payer.id: buyer_terms(payer) for payer in payers.values()})
        for invoice in invoices:
            invoice.seller_version_id = kept.seller
            invoice.buyer_version_id = kept.buyers.get(invoice.customer_id)
        await _keep_units(session, [line for invoice in invoices for line in parts[invoice.id].lines])


async def _keep_units(session: AsyncSession, lines: Sequence[InvoiceLineItem]) -> None:
    """A price says what is counted, or else its feature does, which lines of usage know by its meter."""
    prices = {line.price_id for line in lines if line.price_id}
    features = {line.feature_id for line in lines if line.feature_id}
    meters = {line.meter_id for line in lines if line.meter_id}
    if not prices and not features and not meters:
        return
    of_prices, of_features = Price.meta[UNIT_CODE].astext, Feature.meta[UNIT_CODE].astext
    said = await session.execute(
        union_all(
            select(Price.id, of_prices).where(in_array(Price.id, prices), of_prices.is_not(None)),
            select(Feature.id, of_features).where(in_array(Feature.id, features), of_features.is_not(None)),
            select(Feature.meter_id, of_features).where(in_array(Feature.meter_id, meters), of_features.is_not(None)),
        )
    )
    units: dict[str | None, str] = dict(said.all())
    counted = []
    for line in lines:
        named = (line.price_id, line.feature_id, line.meter_id)
        unit = next((units[source] for source in named if source in units), None)
        if unit:
            line.unit_code = unit
            counted.append(line)
    # a line that was not written yet is written with its unit
    await update_all(session, [line for line in counted if inspect(line).persistent])
