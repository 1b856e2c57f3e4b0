"""Invoice numbers: unique in an environment, without gaps in each bucket of dates. Rule: invoices, "numbering"."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value

from farthing.calendar.due import NumberDate, number_date
from farthing.calendar.zones import zone_or_abbreviation
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, InvalidOperation
from farthing.identity.configuration import read
from farthing.identity.setting_values import InvoiceConfig
from farthing.invoices.tables import Invoice, InvoiceSequence
from farthing.storage.postgres import scope_of
from farthing.storage.rows import violated

MOST_CLASHES = 100


def formatted(config: InvoiceConfig, date_part: str, value: int) -> str:
    """The number of the `value`-th invoice of a bucket: more digits than the suffix has room for are all printed."""
    return config.separator.join((config.prefix, date_part, f"{value:0{config.suffix_length}d}"))


async def number(session: AsyncSession, invoice: Invoice, now: datetime) -> None:
    """Give an invoice the next free number of the bucket that `now` falls into.

    The last thing to be done in a transaction: it holds the bucket's row until the end, and a rollback leaves no gap.
    A number in use, the caller's own or of an earlier format, is passed over, up to 100 times.
    """
    config = await read(session, InvoiceConfig)
    bucket = number_date(now, NumberDate(config.format), zone_or_abbreviation(config.timezone))
    await session.flush()
    for _ in range(MOST_CLASHES):
        candidate = formatted(config, bucket, await _advanced(session, bucket, config.start_sequence))
        if not await _in_use(session, candidate) and await _claimed(session, invoice, candidate):
            return
    raise InvalidOperation(
        f"No free invoice number was found in {MOST_CLASHES} attempts; change the format of invoice numbers",
        {"invoice_id": invoice.id, "bucket": bucket},
    )


async def number_as_given(session: AsyncSession, invoice: Invoice, given: str) -> None:
    """Give an invoice the caller's own number, which takes no sequence value. Raises AlreadyExists."""
    await session.flush()
    if not await _claimed(session, invoice, given):
        raise AlreadyExists(f"An invoice with number {given} already exists", {"invoice_number": given})


async def _advanced(session: AsyncSession, bucket: str, start: int) -> int:
    scope = scope_of(session)
    statement = insert(InvoiceSequence).values(
        tenant_id=scope.tenant_id, environment_id=scope.environment_id, id=bucket, last_value=start
    )
    value: int = (
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=["environment_id", "id"], set_={"last_value": InvoiceSequence.last_value + 1}
            ).returning(InvoiceSequence.last_value)
        )
    ).scalar_one()
    return value


async def _in_use(session: AsyncSession, candidate: str) -> bool:
    query = select(Invoice.id).where(Invoice.invoice_number == candidate, Invoice.status == Status.PUBLISHED).limit(1)
    return (await session.scalar(query)) is not None


async def _claimed(session: AsyncSession, invoice: Invoice, candidate: str) -> bool:
    """Whether the number could be written; another transaction may have taken it since it was looked up."""
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
