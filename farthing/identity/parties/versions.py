"""Versions of parties: kept when they change, read as they stood.

Rule: docs/rules/e-invoices.md#what-is-kept-at-finalization
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Index, String, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from farthing.core.ids import Kind, new_id
from farthing.storage.queries.bulk import insert_all
from farthing.storage.queries.kept import KeptRows, answer_to, kept_rows
from farthing.storage.queries.rows import in_given_array
from farthing.storage.tables import Base, Scoped

SELLER = "seller"
"""The party of an environment that sells; every other party is a customer, named by its id."""
MOST_VERSIONS = 1000

PartyTerms = Mapping[str, str]
"""What a document says of a party: texts by field, without those that are empty."""


class PartyVersion(Scoped, Base):
    """What documents say of a party from some moment on."""

    __tablename__ = "party_versions"
    label = "Party version"

    party_id: Mapped[str] = mapped_column(String(50))
    terms: Mapped[dict[str, str]]

    __table_args__ = (
        # the versions of a party, newest first
        Index("ix_party_versions_party", "environment_id", "party_id", "id"),
    )


@dataclass(frozen=True, slots=True)
class PartiesAtIssue:
    """The versions of the parties to documents that become final: of the seller, if it has one, and of each buyer."""

    seller: str | None
    buyers: Mapping[str, str]


async def keep_versions(session: AsyncSession, parties: Mapping[str, PartyTerms]) -> dict[str, str]:
    """The id of the version that says what each party says now; what no newest version says becomes one.

    Two transactions may keep equal versions of a party at once, which changes no document.
    """
    return await _kept(session, parties, await _newest(session, list(parties)))


async def parties_at_issue(session: AsyncSession, buyers: Mapping[str, PartyTerms]) -> PartiesAtIssue:
    """The seller's newest version, and those of `buyers` that say what they say now."""
    newest = await _newest(session, [SELLER, *buyers])
    seller = newest.pop(SELLER, None)
    return PartiesAtIssue(seller.id if seller else None, await _kept(session, buyers, newest))


async def _newest(session: AsyncSession, party_ids: Sequence[str]) -> dict[str, PartyVersion]:
    rows = await answer_to(session, _kept_newest().asked(parties=list(party_ids)))
    return {version.party_id: version for version in rows}


@cache
def _kept_newest() -> KeptRows[PartyVersion]:
    version = PartyVersion
    return kept_rows(
        version,
        in_given_array(version.party_id, "parties"),
        order=[version.party_id, version.id.desc()],
        distinct=[version.party_id],
    )


async def _kept(
    session: AsyncSession, parties: Mapping[str, PartyTerms], newest: Mapping[str, PartyVersion]
) -> dict[str, str]:
    known = {party_id: row.id for party_id, row in newest.items() if row.terms == dict(parties[party_id])}
    changed = [
        PartyVersion(id=new_id(Kind.PARTY_VERSION), party_id=party_id, terms=dict(terms))
        for party_id, terms in parties.items()
        if party_id not in known
    ]
    await insert_all(session, changed)
    return known | {version.party_id: version.id for version in changed}


async def terms_since(session: AsyncSession, party_id: str, version_id: str | None) -> Sequence[PartyTerms]:
    """What a party said from a version on, oldest first; from its first version without one, nothing if it has none."""
    query = select(PartyVersion.terms).where(PartyVersion.party_id == party_id)
    if version_id is not None:
        query = query.where(PartyVersion.id >= version_id)
    rows = await session.scalars(query.order_by(PartyVersion.id).limit(MOST_VERSIONS))
    return list(rows)
