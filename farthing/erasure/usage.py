"""A customer's events without the person: their own texts, and the external ids under which they came.

What an event counts stays as it is: texts that were told apart are told apart.
Rule: docs/rules/erasure.md#events
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from farthing.customers.tables import ExternalIdTenure
from farthing.erasure.belongings import PersonalTable
from farthing.erasure.personal import PersonalData
from farthing.erasure.texts import erase_rows, text_patterns
from farthing.storage.postgres import scope_of

_EVENTS = PersonalTable("events", ("external_customer_id",), ("customer_id", "source"), ("properties",))
_KEYS = text(
    "SELECT DISTINCT key FROM meter_usage WHERE environment_id = :environment_id "
    "AND external_customer_id = ANY(:external_ids) AND key ILIKE ANY(:patterns)"
)
_REPLACE_KEYS = text(
    "UPDATE meter_usage AS counted SET key = replaced.now "
    "FROM jsonb_each_text(CAST(:replaced AS jsonb)) AS replaced (former, now) "
    "WHERE counted.environment_id = :environment_id AND counted.external_customer_id = ANY(:external_ids) "
    "AND counted.key = replaced.former"
)
_RENAMINGS = tuple(
    text(
        f"UPDATE {table} AS stored SET {column} = renamed.now "
        "FROM jsonb_each_text(CAST(:renamed AS jsonb)) AS renamed (former, now) "
        f"WHERE stored.environment_id = :environment_id AND stored.{column} = renamed.former"
    )
    for table, column in (
        ("events", "external_customer_id"),
        ("meter_usage", "external_customer_id"),
        ("events_withdrawn", "external_customer_id"),
        ("external_id_tenures", "external_id"),
    )
)
_RENAME_NOTICES = text(
    "UPDATE usage_notices SET external_customer_ids = ARRAY("
    "SELECT coalesce(CAST(:renamed AS jsonb) ->> id, id) FROM unnest(external_customer_ids) AS id) "
    "WHERE environment_id = :environment_id AND external_customer_ids && CAST(:former AS text[])"
)


async def own_external_ids(session: AsyncSession, customer_id: str) -> list[str]:
    """External ids that the customer has had and nobody else."""
    other = aliased(ExternalIdTenure)
    is_shared = select(other.external_id).where(
        other.external_id == ExternalIdTenure.external_id, other.customer_id != customer_id
    )
    query = select(ExternalIdTenure.external_id).where(
        ExternalIdTenure.customer_id == customer_id, ~is_shared.correlate(ExternalIdTenure).exists()
    )
    return sorted(set(await session.scalars(query)))


async def erase_usage(
    session: AsyncSession, external_ids: Sequence[str], personal: PersonalData, renamed: Mapping[str, str]
) -> int:
    """Erase the person from the events under its external ids, and give those other names; how many events named it."""
    if not external_ids:
        return 0
    condition, parameters = "external_customer_id = ANY(:external_ids)", {"external_ids": list(external_ids)}
    count = await erase_rows(session, _EVENTS, condition, parameters, personal)
    await _erase_keys(session, external_ids, personal)
    await _rename(session, renamed)
    return count


async def _erase_keys(session: AsyncSession, external_ids: Sequence[str], personal: PersonalData) -> None:
    """What unique counts tell apart, and groups of meters, are texts of events too."""
    parameters = {"environment_id": scope_of(session).environment_id, "external_ids": list(external_ids)}
    keys = await session.scalars(_KEYS, {**parameters, "patterns": text_patterns(personal)})
    replaced = {key: personal.erased_text(key) for key in keys.all()}
    if replaced:
        await session.execute(_REPLACE_KEYS, {**parameters, "replaced": msgspec.json.encode(replaced).decode()})


async def _rename(session: AsyncSession, renamed: Mapping[str, str]) -> None:
    """Give external ids other names wherever usage is kept under them, and in whose they were."""
    parameters = {
        "environment_id": scope_of(session).environment_id,
        "renamed": msgspec.json.encode(renamed).decode(),
        "former": list(renamed),
    }
    for statement in (*_RENAMINGS, _RENAME_NOTICES):
        await session.execute(statement, parameters)
