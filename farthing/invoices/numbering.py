"""Invoice numbers: unique in an environment, without gaps in each bucket of dates. Rule: invoices, "numbering"."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value

from farthing.calendar.due import NumberDate, number_date
from farthing.calendar.zones import zone_or_abbreviation
from farthing.core.errors import AlreadyExists, InvalidOperation
from farthing.identity.configuration import read
from farthing.identity.setting_values import InvoiceConfig
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import scope_of
from farthing.storage.rows import violated

MOST_CLASHES = 100
_NUMBERED = text("SELECT number_invoice(:tenant, :environment, :invoice, :bucket, :first, :stem, :digits, :attempts)")
"""Takes a value and writes the number in one round trip, for whoever finalizes next waits; see its migration."""


async def number(session: AsyncSession, invoice: Invoice, now: datetime) -> None:
    """Give an invoice the next free number of the bucket that `now` falls into.

    The last thing to be done in a transaction: it holds the bucket's row until the end, and a rollback leaves no gap.
    A number in use, the caller's own or of an earlier format, is passed over, up to 100 times. More digits than the
    suffix has room for are all printed.
    """
    config = await read(session, InvoiceConfig)
    bucket = number_date(now, NumberDate(config.format), zone_or_abbreviation(config.timezone))
    stem = config.separator.join((config.prefix, bucket, ""))
    scope = scope_of(session)
    await session.flush()
    found = await session.scalar(
        _NUMBERED,
        {
            "tenant": scope.tenant_id,
            "environment": scope.environment_id,
            "invoice": invoice.id,
            "bucket": bucket,
            "first": config.start_sequence,
            "stem": stem,
            "digits": config.suffix_length,
            "attempts": MOST_CLASHES,
        },
    )
    if found is None:
        raise InvalidOperation(
            f"No free invoice number was found in {MOST_CLASHES} attempts; change the format of invoice numbers",
            {"invoice_id": invoice.id, "bucket": bucket},
        )
    set_committed_value(invoice, "invoice_number", found)


async def number_as_given(session: AsyncSession, invoice: Invoice, given: str) -> None:
    """Give an invoice the caller's own number, which takes no sequence value. Raises AlreadyExists."""
    await session.flush()
    if not await _claimed(session, invoice, given):
        raise AlreadyExists(f"An invoice with number {given} already exists", {"invoice_number": given})


async def _claimed(session: AsyncSession, invoice: Invoice, candidate: str) -> bool:
    """Whether the number could be written; another invoice may have it."""
    statement = (
        update(Invoice)
        .where(Invoice.id == invoice.id)
        .values(invoice_number=candidate)
        .execution_options(synchronize_session=False)
    )
    try:
        async with session.begin_nested():
            await session.execute(statement)
    except IntegrityError as error:
        if violated(error) != "uq_invoices_number":
            raise
        return False
    set_committed_value(invoice, "invoice_number", candidate)
    return True
