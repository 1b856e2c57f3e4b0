"""Numbers of credit notes: random, or without gaps in each bucket of dates, as the environment is configured.

Rule: docs/rules/credit-notes.md#numbers
"""

from __future__ import annotations

import secrets
import string
from datetime import datetime

from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value

from farthing.calendar.due import NumberDate, number_date
from farthing.calendar.zones import zone_or_abbreviation
from farthing.core.errors import AlreadyExists, InvalidOperation
from farthing.credits.notes.tables import CreditNote
from farthing.identity.settings.catalogue import InvoiceConfig
from farthing.identity.settings.current import read
from farthing.storage.postgres import scope_of
from farthing.storage.queries.changes import RECORDED_BY_EVENT
from farthing.storage.queries.rows import violated

MOST_CLASHES = 100
_LETTERS = string.ascii_uppercase + string.digits
_NEXT = text(
    """
    INSERT INTO credit_note_sequences AS sequence (tenant_id, environment_id, id, last_value)
    VALUES (:tenant, :environment, :bucket, :first)
    ON CONFLICT (environment_id, id) DO UPDATE SET last_value = sequence.last_value + 1
    RETURNING last_value
    """
)


async def number_note(session: AsyncSession, note: CreditNote, given: str | None, now: datetime) -> None:
    """Give a stored note its number: the caller's own, which takes no sequence value, or the next free one.

    The last thing to be done in a transaction, because it holds the sequence until the end. Raises AlreadyExists.
    """
    await session.flush()
    if given is not None:
        if not await _write(session, note, given):
            raise AlreadyExists(f"A credit note with number {given} already exists", {"credit_note_number": given})
        return
    for _ in range(MOST_CLASHES):
        if await _write(session, note, await _candidate(session, now)):
            return
    raise InvalidOperation(f"No free credit note number was found in {MOST_CLASHES} attempts", {"id": note.id})


async def _candidate(session: AsyncSession, now: datetime) -> str:
    config = await read(session, InvoiceConfig)
    if config.credit_note_numbers == "random":
        return "CN-" + "".join(secrets.choice(_LETTERS) for _ in range(9))
    bucket = number_date(now, NumberDate(config.format), zone_or_abbreviation(config.timezone))
    scope = scope_of(session)
    place = {"tenant": scope.tenant_id, "environment": scope.environment_id, "bucket": bucket, "first": 1}
    value = str(await session.scalar(_NEXT, place))
    return config.separator.join((config.credit_note_prefix, bucket, value.rjust(config.suffix_length, "0")))


async def _write(session: AsyncSession, note: CreditNote, candidate: str) -> bool:
    """Whether the number could be written; another note may have it."""
    statement = (
        update(CreditNote)
        .where(CreditNote.id == note.id)
        .values(credit_note_number=candidate)
        .execution_options(synchronize_session=False, **{RECORDED_BY_EVENT: True})
    )
    try:
        async with session.begin_nested():
            await session.execute(statement)
    except IntegrityError as error:
        if violated(error) != "uq_credit_notes_number":
            raise
        return False
    set_committed_value(note, "credit_note_number", candidate)
    return True
