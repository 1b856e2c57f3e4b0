"""Which tax rates apply: by id or code for a one-off invoice, by association for everything else.

Rule: docs/rules/discounts-and-taxes.md#which-taxes-apply
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from sqlalchemy import Select, bindparam, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.taxes.enums import TaxEntityType, TaxRateStatus
from farthing.catalogue.taxes.tables import TaxAssociation, TaxRateRow
from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation, NotFound
from farthing.rating.totals import taxes as rating
from farthing.storage.queries.kept import KeptRows, KeptValues, answer_to, kept_rows, kept_values
from farthing.storage.queries.rows import in_given_array, not_found


@dataclass(frozen=True, slots=True)
class ApplicableTax:
    """A rate that applies, and the association that says so."""

    association: TaxAssociation
    rate: TaxRateRow


async def rates_by_id(session: AsyncSession, ids: Sequence[str], *, lock: bool = False) -> list[TaxRateRow]:
    """The rates with these ids, each once, in the order asked for.

    Raises NotFound for an unknown id and InvalidOperation for a rate that is archived or not ACTIVE. With `lock` they
    are kept from being archived until the transaction ends.
    """
    wanted = list(dict.fromkeys(ids))
    query = (
        select(TaxRateRow).where(TaxRateRow.id.in_(wanted), TaxRateRow.status != Status.DELETED).order_by(TaxRateRow.id)
    )
    found = {rate.id: rate for rate in await session.scalars(_shared(query) if lock else query)}
    for rate_id in wanted:
        if rate_id not in found:
            raise not_found(TaxRateRow, rate_id)
    return [_usable(found[rate_id]) for rate_id in wanted]


async def rates_by_code(session: AsyncSession, codes: Sequence[str], *, lock: bool = False) -> list[TaxRateRow]:
    """The published rates with these codes, each once, in the order asked for. Codes are case-sensitive.

    Raises NotFound for an unknown code and InvalidOperation for a rate that is not ACTIVE. With `lock` they are kept
    from being archived until the transaction ends.
    """
    wanted = list(dict.fromkeys(codes))
    query = (
        select(TaxRateRow)
        .where(TaxRateRow.code.in_(wanted), TaxRateRow.status == Status.PUBLISHED)
        .order_by(TaxRateRow.id)
    )
    found = {rate.code: rate for rate in await session.scalars(_shared(query) if lock else query)}
    for code in wanted:
        if code not in found:
            raise NotFound(f"Tax rate with code {code} was not found", {"tax_rate_code": code})
    return [_usable(found[code]) for code in wanted]


def _shared(query: Select[TaxRateRow]) -> Select[TaxRateRow]:
    return query.with_for_update(read=True).execution_options(populate_existing=True)


def _usable(rate: TaxRateRow) -> TaxRateRow:
    if rate.status != Status.PUBLISHED:
        details = {"tax_rate_id": rate.id, "status": rate.status.value}
        raise InvalidOperation(f"Tax rate {rate.code} is {rate.status} and cannot be used", details)
    if rate.tax_rate_status is not TaxRateStatus.ACTIVE:
        details = {"tax_rate_id": rate.id, "tax_rate_status": rate.tax_rate_status.value}
        raise InvalidOperation(f"Tax rate {rate.code} is {rate.tax_rate_status} and cannot be used", details)
    return rate


async def auto_apply_associations(
    session: AsyncSession, entity_type: TaxEntityType, entity_id: str, currency: str
) -> list[ApplicableTax]:
    """The entity's taxes for an invoice in `currency`, by priority and then id, whatever their windows.

    Which lines of the invoice an association reaches is decided line by line, by the tax point of the line.
    """
    return (await auto_apply_associations_of(session, entity_type, {entity_id: currency}))[entity_id]


async def auto_apply_associations_of(
    session: AsyncSession, entity_type: TaxEntityType, currencies: Mapping[str, str]
) -> dict[str, list[ApplicableTax]]:
    """`auto_apply_associations` for many entities in one query: the id of each entity to its invoice's currency."""
    asked = _associations().asked(of_type=entity_type, ids=list(currencies))
    associations = [
        association
        for association in await answer_to(session, asked)
        if association.currency in {None, currencies[association.entity_id]}
    ]
    chosen: dict[str, list[ApplicableTax]] = {entity_id: [] for entity_id in currencies}
    if not associations:
        return chosen
    # many entities share a rate: each rate travels once
    ids = list({association.tax_rate_id for association in associations})
    rates = {rate.id: rate for rate in await answer_to(session, _active_rates().asked(ids=ids))}
    for association in associations:
        if association.tax_rate_id in rates:
            chosen[association.entity_id].append(ApplicableTax(association, rates[association.tax_rate_id]))
    return chosen


@cache
def _associations() -> KeptValues[TaxAssociation]:
    association = TaxAssociation
    return kept_values(
        association,
        association.entity_type == bindparam("of_type"),
        in_given_array(association.entity_id, "ids"),
        association.status == Status.PUBLISHED,
        association.auto_apply.is_(True),
        order=[association.priority, association.id],
    )


@cache
def _active_rates() -> KeptRows[TaxRateRow]:
    return kept_rows(
        TaxRateRow,
        in_given_array(TaxRateRow.id, "ids"),
        TaxRateRow.status == Status.PUBLISHED,
        TaxRateRow.tax_rate_status == TaxRateStatus.ACTIVE,
    )


def tax_of(rate: TaxRateRow) -> rating.TaxRate:
    """The rate as rating computes with it."""
    value = rate.percentage_value if rate.tax_rate_type is rating.TaxRateType.PERCENTAGE else rate.fixed_value
    assert value is not None, "the table's check gives every rate a figure of its type"
    return rating.TaxRate(rate.id, rate.tax_rate_type, value)


async def live_associations(
    session: AsyncSession, entity_type: TaxEntityType, entity_id: str, now: datetime
) -> list[TaxAssociation]:
    """An entity's auto-apply associations that have not ended by `now`, by priority and then id."""
    return await answer_to(session, _kept_live().asked(of_type=entity_type, of_entity=entity_id, moment=now))


@cache
def _kept_live() -> KeptRows[TaxAssociation]:
    association = TaxAssociation
    return kept_rows(
        association,
        association.entity_type == bindparam("of_type"),
        association.entity_id == bindparam("of_entity"),
        association.status == Status.PUBLISHED,
        association.auto_apply.is_(True),
        or_(association.end_date.is_(None), association.end_date > bindparam("moment")),
        order=[association.priority, association.id],
    )
