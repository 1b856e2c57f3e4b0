"""Erasing a customer: archived first, then written over wherever it is named, in one transaction.

Rule: docs/rules/erasure.md#what-happens
Rule: docs/rules/erasure.md#what-is-out-of-reach
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.ids import new_ulid
from farthing.customers import lifecycle
from farthing.customers.deletion import nothing_forbids
from farthing.customers.tables import Customer
from farthing.erasure.activity_log import erase_activities, former_selves
from farthing.erasure.answers import erase_answers
from farthing.erasure.belongings import Stage, owned_ids
from farthing.erasure.documents import (
    KeptDocuments,
    documents_to_keep,
    erase_documents,
    erase_unneeded_versions,
    versions_of,
)
from farthing.erasure.personal import PersonalData
from farthing.erasure.texts import erase_stage
from farthing.erasure.usage import erase_usage, own_external_ids, rename_records
from farthing.invoices.annotations.annotating import forget_attachments
from farthing.notifications.activity.actions import CUSTOMER_ERASED
from farthing.notifications.email.tables import Email
from farthing.storage.postgres import real_clock_of
from farthing.storage.queries.changes import RECORDED_BY_EVENT
from farthing.storage.queries.rows import lock_row
from farthing.storage.record.outbox import record_activity
from farthing.transfer.files import forget_imported_files

NAME = "Erased customer"


class DocumentsChoice(StrEnum):
    """What becomes of issued documents."""

    KEEP = "keep"
    """They go on naming the customer for as long as `erasure_config` says."""
    ERASE = "erase"


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased, and what is kept."""

    customer_id: str
    external_id: str
    erased_at: datetime
    rows: Mapping[str, int]
    """How many rows named the person, by table."""
    kept: KeptDocuments | None


async def erase(session: AsyncSession, customer_id: str, documents: DocumentsChoice) -> Erasure:
    """Write over everything that names a customer; the books stay whole. Archives it, if it is not yet.

    A customer that was erased before is looked through again, with what documents still call it. Raises NotFound, and
    InvalidOperation as archiving does, also for unpaid invoices: who owes money is not forgotten. What
    is to become of events is recorded; `finish_usage` must follow.
    """
    customer = await lock_row(session, Customer, customer_id)
    await nothing_forbids(session, customer.id, require_settled=True)
    now = real_clock_of(session).now()
    external_ids = await own_external_ids(session, customer.id)
    renamed = {external_id: f"erased-{new_ulid().lower()}" for external_id in _ids_to_rename(customer, external_ids)}
    personal = PersonalData.of([source async for source in _sources(session, customer)], renamed)
    owned = await owned_ids(session, customer.id)

    kept = await documents_to_keep(session, customer.id, now) if documents is DocumentsChoice.KEEP else None
    forgotten = await forget_imported_files(session)
    await forget_attachments(session, customer.id)
    rows = await erase_stage(session, Stage.BOOKS, owned, personal)
    rows["stored_files"] += forgotten
    rows += await erase_usage(session, external_ids, personal, renamed)
    await rename_records(session, customer.id, renamed)
    if kept is None:
        rows += await erase_documents(session, customer.id, owned, personal)
    else:
        await erase_unneeded_versions(session, customer.id)
    await _erase_customer(session, customer, renamed, now, kept)
    rows["system_events"] = await erase_activities(session, customer.id, owned, personal)
    rows["idempotent_responses"] = await erase_answers(session, personal)
    if customer.status is Status.PUBLISHED:
        await lifecycle.archive(session, customer.id, require_settled=True)
    await record_activity(session, CUSTOMER_ERASED, "customer", customer.id, label=NAME, customer_id=customer.id)
    return Erasure(customer.id, customer.external_id, now, +Counter(rows), kept)


def _ids_to_rename(customer: Customer, own: list[str]) -> list[str]:
    """External ids that have not been replaced already; the present one is even where others have had it."""
    named = dict.fromkeys([*own, customer.external_id])
    return list(named) if customer.erased_at is None else []


async def _sources(session: AsyncSession, customer: Customer) -> AsyncIterator[Mapping[str, Any]]:
    """What the customer is called, and has been: as it stands, in documents, in the log, and in its mails."""
    if customer.erased_at is None:
        yield {
            **{column.key: getattr(customer, column.key) for column in Customer.__mapper__.column_attrs},
            "metadata": customer.meta,
        }
        for former in customer.former_external_ids:
            yield {"external_id": former}
        async for source in former_selves(session, customer.id):
            yield source
    for terms in await versions_of(session, customer.id):
        yield terms
    recipients = select(Email.recipient).where(Email.customer_id == customer.id, Email.recipient.is_not(None))
    for recipient in await session.scalars(recipients.distinct()):
        yield {"recipient": recipient}


async def _erase_customer(
    session: AsyncSession, customer: Customer, renamed: Mapping[str, str], now: datetime, kept: KeptDocuments | None
) -> None:
    """Write the customer's own row over. The log does not hear of it as of a change: it would say what was before."""
    values: dict[str, Any] = {
        "external_id": renamed.get(customer.external_id, customer.external_id),
        "name": NAME,
        **dict.fromkeys(("email", "address_line1", "address_line2", "address_city"), ""),
        **dict.fromkeys(("address_state", "address_postal_code", "address_country"), ""),
        "contact": None,
        "tax_id": None,
        "contact_persons": [],
        "former_external_ids": [],
        "meta": {},
        "erased_at": customer.erased_at or now,
        "documents_kept_until": kept.until if kept else None,
    }
    await session.execute(
        update(Customer)
        .where(Customer.id == customer.id)
        .values(values)
        .execution_options(synchronize_session=False, **{RECORDED_BY_EVENT: True})
    )
    await session.refresh(customer)
