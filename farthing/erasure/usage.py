"""A customer's events without the person: their own texts, and the external ids under which they came.

What an event counts stays as it is: texts that were told apart are told apart.
Rule: docs/rules/erasure.md#events
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from farthing.customers.tables import ExternalIdTenure
from farthing.erasure.belongings import PersonalTable
from farthing.erasure.personal import PersonalData
from farthing.erasure.texts import erase_rows, text_patterns
from farthing.events.usage.event_store import EventRewriting, store_of
from farthing.storage.postgres import scope_of

_EVENTS = PersonalTable("events", ("external_customer_id",), ("customer_id", "source"), ("properties",))
_VERSIONS = PersonalTable(
    name="event_versions",
    links=("external_customer_id",),
    texts=("customer_id", "source", "reason", "actor_label"),
    documents=("properties",),
    keys=("event_id", "sequence"),
)
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
        ("event_versions", "external_customer_id"),
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
_RENAME_RECORDS = text(
    "UPDATE usage_records SET customer_external_id = CAST(:renamed AS jsonb) ->> customer_external_id "
    "WHERE environment_id = :environment_id AND customer_id = :customer_id "
    "AND customer_external_id = ANY(:former)"
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
) -> Counter[str]:
    """Erase the person from the events under its external ids, and give those other names; how many rows named it.

    An external id that somebody else has had as well keeps its name here: its events may be theirs.
    """
    if not external_ids:
        return Counter()
    condition, parameters = "external_customer_id = ANY(:external_ids)", {"external_ids": list(external_ids)}
    own = {external_id: name for external_id, name in renamed.items() if external_id in external_ids}
    counts = Counter({"event_versions": await erase_rows(session, _VERSIONS, condition, parameters, personal)})
    erasure = store_of(session).erasure
    if erasure is None:
        counts["events"] = await erase_rows(session, _EVENTS, condition, parameters, personal)
        await _erase_keys(session, external_ids, personal)
    else:
        rewriting = EventRewriting(external_ids, own, personal.erased_text, personal.erased_document)
        counts["events"] = await erasure.rewrite(session, rewriting)
    for statement in (*_RENAMINGS, _RENAME_NOTICES):
        await session.execute(statement, _renaming(session, own))
    return counts


async def finish_usage(session: AsyncSession) -> None:
    """Let no event name the person any more; commits where events are no tables of the database. The last thing that
    an erasure does. Raises ServiceUnavailable where it is recorded, and has to wait."""
    erasure = store_of(session).erasure
    if erasure is not None:
        await erasure.finish(session)


async def rename_records(session: AsyncSession, customer_id: str, renamed: Mapping[str, str]) -> None:
    """Give the customer's external ids other names in its records for marketplaces, whoever else has had them."""
    await session.execute(_RENAME_RECORDS, {**_renaming(session, renamed), "customer_id": customer_id})


async def _erase_keys(session: AsyncSession, external_ids: Sequence[str], personal: PersonalData) -> None:
    """What unique counts tell apart, and groups of meters, are texts of events too."""
    parameters = {"environment_id": scope_of(session).environment_id, "external_ids": list(external_ids)}
    keys = await session.scalars(_KEYS, {**parameters, "patterns": text_patterns(personal)})
    replaced = {key: personal.erased_text(key) for key in keys.all()}
    if replaced:
        await session.execute(_REPLACE_KEYS, {**parameters, "replaced": msgspec.json.encode(replaced).decode()})


def _renaming(session: AsyncSession, renamed: Mapping[str, str]) -> dict[str, Any]:
    return {
        "environment_id": scope_of(session).environment_id,
        "renamed": msgspec.json.encode(renamed).decode(),
        "former": list(renamed),
    }
