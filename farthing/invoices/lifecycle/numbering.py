"""Invoice numbers: unique in an environment, without gaps in each bucket of dates.

Rule: docs/rules/invoices-and-payments.md#numbering
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value

from farthing.calendar.due import NumberDate, number_date
from farthing.calendar.zones import zone_or_abbreviation
from farthing.core.errors import AlreadyExists, InvalidOperation
from farthing.identity.settings.catalogue import InvoiceConfig
from farthing.identity.settings.current import read
from farthing.invoices.tables import Invoice
from farthing.storage.connections.messages import Statement
from farthing.storage.postgres import ask_together, scope_of
from farthing.storage.queries.changes import RECORDED_BY_EVENT
from farthing.storage.queries.rows import violated
from farthing.storage.queries.writing import write_pending

MOST_CLASHES = 100
_NUMBERED = "SELECT number_invoice($1, $2, $3, $4, $5, $6, $7, $8)"
"""Takes a value and writes the number in one round trip, for whoever finalizes next waits; see its migration."""
_NUMBERED_ALL = text(
    """
    WITH block AS (
        INSERT INTO invoice_sequences AS s (tenant_id, environment_id, id, last_value)
        VALUES (:tenant, :environment, :bucket, CAST(:first AS int) + cardinality(CAST(:ids AS text[])) - 1)
        ON CONFLICT (environment_id, id) DO UPDATE SET last_value = s.last_value + cardinality(CAST(:ids AS text[]))
        RETURNING last_value - cardinality(CAST(:ids AS text[])) AS before
    ), given AS (
        SELECT asked.id, (block.before + asked.place)::text AS value
        FROM block, unnest(CAST(:ids AS text[])) WITH ORDINALITY AS asked (id, place)
    )
    UPDATE invoices
    SET invoice_number = CAST(:stem AS text) || lpad(value, greatest(CAST(:digits AS int), length(value)), '0')
    FROM given WHERE invoices.id = given.id
    RETURNING invoices.id, invoice_number
    """
)
"""Takes a block of values and writes it to many."""
_CONTINUED = text(
    """
    INSERT INTO invoice_sequences AS s (tenant_id, environment_id, id, last_value)
    VALUES (:tenant, :environment, :bucket, :value)
    ON CONFLICT (environment_id, id) DO UPDATE SET last_value = greatest(s.last_value, excluded.last_value)
    """
)


async def number(session: AsyncSession, invoice: Invoice, now: datetime) -> None:
    """Give an invoice the next free number of the bucket that `now` falls into.

    The last thing to be done in a transaction: it holds the bucket's row until the end, and a rollback leaves no gap.
    A number in use, the caller's own or of an earlier format, is passed over, up to 100 times. More digits than the
    suffix has room for are all printed.
    """
    asked = await _sequence(session, now)
    await write_pending(session)
    scope = (asked["tenant"], asked["environment"], invoice.id, asked["bucket"])
    values = (*scope, asked["first"], asked["stem"], asked["digits"], MOST_CLASHES)
    (((found,),),) = await ask_together(session, [Statement(_NUMBERED, values)])
    if found is None:
        raise InvalidOperation(
            f"No free invoice number was found in {MOST_CLASHES} attempts; change the format of invoice numbers",
            {"invoice_id": invoice.id, "bucket": asked["bucket"]},
        )
    set_committed_value(invoice, "invoice_number", found)


async def number_all(session: AsyncSession, invoices: Sequence[Invoice], now: datetime) -> None:
    """Give invoices the next free numbers in their order, as `number` does: a block, taken and written at once.

    If one of the block is in use, all of it is given back, and they are numbered one by one.
    """
    if len(invoices) > 1:
        asked = await _sequence(session, now)
        await session.flush()
        try:
            async with session.begin_nested():
                written = await session.execute(_NUMBERED_ALL, {**asked, "ids": [invoice.id for invoice in invoices]})
        except IntegrityError as error:
            if violated(error) != "uq_invoices_number":
                raise
        else:
            found: dict[str, str] = dict(written.all())
            for invoice in invoices:
                set_committed_value(invoice, "invoice_number", found[invoice.id])
            return
    for invoice in invoices:
        await number(session, invoice, now)


async def _sequence(session: AsyncSession, now: datetime) -> dict[str, Any]:
    """The bucket that `now` falls into, and how its numbers are written."""
    config = await read(session, InvoiceConfig)
    bucket = number_date(now, NumberDate(config.format), zone_or_abbreviation(config.timezone))
    scope = scope_of(session)
    return {
        "tenant": scope.tenant_id,
        "environment": scope.environment_id,
        "bucket": bucket,
        "first": config.start_sequence,
        "stem": config.separator.join((config.prefix, bucket, "")),
        "digits": config.suffix_length,
    }


async def continue_after(session: AsyncSession, number: str, now: datetime) -> None:
    """Let the bucket of a number that somebody else has given out go on after it; one of another format is left alone.

    Rule: docs/rules/invoices-and-payments.md#taken-over
    """
    config = await read(session, InvoiceConfig)
    length = len(number_date(now, NumberDate(config.format), zone_or_abbreviation(config.timezone)))
    separator = re.escape(config.separator)
    parts = re.fullmatch(rf"{re.escape(config.prefix)}{separator}(\d{{{length}}}){separator}(\d{{1,9}})", number)
    if parts is None:
        return
    scope = scope_of(session)
    bucket, value = parts[1], int(parts[2])
    await session.execute(
        _CONTINUED,
        {"tenant": scope.tenant_id, "environment": scope.environment_id, "bucket": bucket, "value": value},
    )


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
        .execution_options(synchronize_session=False, **{RECORDED_BY_EVENT: True})
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
