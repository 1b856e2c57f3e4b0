"""Documents that the law keeps: as they were issued, until they are old enough; then they name nobody either.

Rule: docs/rules/erasure.md#documents-that-are-kept
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.credits.notes.tables import CreditNote
from farthing.customers.tables import Customer
from farthing.erasure.belongings import Stage, owned_ids
from farthing.erasure.personal import PersonalData
from farthing.erasure.texts import erase_stage
from farthing.identity.parties.versions import PartyVersion
from farthing.identity.settings.catalogue import ErasureConfig
from farthing.identity.settings.current import read
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import real_clock_of
from farthing.storage.queries.rows import in_array

BATCH = 20


@dataclass(frozen=True, slots=True)
class KeptDocuments:
    """Documents that go on naming an erased customer, and until when."""

    count: int
    until: datetime


async def documents_to_keep(session: AsyncSession, customer_id: str, now: datetime) -> KeptDocuments | None:
    """The customer's issued documents that are not old enough at `now`; None if there is none.

    All are kept until the youngest is old enough: they name the same person.
    """
    issued = [
        (await session.execute(select(func.count(), func.max(table.finalized_at)).where(*conditions))).one()
        for table, conditions in (
            (Invoice, (Invoice.customer_id == customer_id, Invoice.finalized_at.is_not(None))),
            (CreditNote, (CreditNote.customer_id == customer_id, CreditNote.finalized_at.is_not(None))),
        )
    ]
    youngest = max((at for _, at in issued if at is not None), default=None)
    if youngest is None:
        return None
    years = (await read(session, ErasureConfig)).document_retention_years
    until = datetime(youngest.astimezone(UTC).year + 1 + years, 1, 1, tzinfo=UTC)
    return KeptDocuments(sum(count for count, _ in issued), until) if until > now else None


async def erase_unneeded_versions(session: AsyncSession, customer_id: str) -> None:
    """Delete what the customer was called when no document of it was issued.

    An invoice that names no version was issued as the first one says.
    """
    of_customer = (Invoice.customer_id == customer_id, Invoice.finalized_at.is_not(None))
    named = set(await session.scalars(select(Invoice.buyer_version_id).where(*of_customer).distinct()))
    if None in named:
        first = select(func.min(PartyVersion.id)).where(PartyVersion.party_id == customer_id)
        named.add(await session.scalar(first))
    needed = [version for version in named if version is not None]
    await session.execute(
        delete(PartyVersion).where(PartyVersion.party_id == customer_id, ~in_array(PartyVersion.id, needed))
    )


async def erase_documents(
    session: AsyncSession, customer_id: str, owned: Sequence[str], personal: PersonalData
) -> Counter[str]:
    """Erase the person from documents too: what they charge stays; how many rows named it, by table."""
    erased = await erase_stage(session, Stage.DOCUMENTS, owned, personal)
    versions = (await session.scalars(select(PartyVersion).where(PartyVersion.party_id == customer_id))).all()
    for version in versions:
        version.terms = {name: text for name, text in version.terms.items() if name == "timezone"}
    await session.flush()
    return erased


async def versions_of(session: AsyncSession, customer_id: str) -> Sequence[Mapping[str, Any]]:
    """What documents have called the customer."""
    return (await session.scalars(select(PartyVersion.terms).where(PartyVersion.party_id == customer_id))).all()


async def erase_old_documents(session: AsyncSession, now: datetime) -> int:
    """Erase the documents of a batch of erased customers that have been kept long enough; how many customers.

    In real time, as the law counts, whatever an environment's clock says.
    """
    due = await session.scalars(
        select(Customer)
        .where(Customer.documents_kept_until <= min(now, real_clock_of(session).now()))
        .order_by(Customer.documents_kept_until, Customer.id)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    customers = due.all()
    for customer in customers:
        personal = PersonalData.of(await versions_of(session, customer.id), {})
        await erase_documents(session, customer.id, await owned_ids(session, customer.id), personal)
    await session.execute(
        update(Customer)
        .where(in_array(Customer.id, [customer.id for customer in customers]))
        .values(documents_kept_until=None)
    )
    return len(customers)
