"""The activity log without a person: what it says of the customer, and who the customer was when it did something.

Rule: docs/rules/erasure.md#the-activity-log
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.origin import ActorType
from farthing.erasure.belongings import PersonalTable
from farthing.erasure.personal import PersonalData
from farthing.erasure.texts import erase_rows, rewrite_rows
from farthing.storage.record.outbox import SystemEvent

_LOG = PersonalTable(
    name="system_events",
    links=("customer_id", "entity_id", "owner_id", "actor_id"),
    texts=("entity_label", "actor_label", "ip", "user_agent"),
    documents=("payload", "state", "changes"),
)
_BODIES = PersonalTable("webhook_attempts", ("event_id",), ("error", "response_body"), ())
_OF_CUSTOMER = (
    "(customer_id = :customer_id OR entity_id = ANY(:owned) OR owner_id = ANY(:owned) OR actor_id = :customer_id)"
)
_OF_EVERYBODY = "entity_type IN ('analytics_view', 'fx_rate', 'scheduled_task', 'task')"
"""Activities of what may name any customer, such as the file of an import."""


async def former_selves(session: AsyncSession, customer_id: str) -> AsyncIterator[Mapping[str, Any]]:
    """What the customer has been called, as its own activities have it: each a customer as documents have it."""
    query = select(SystemEvent.payload, SystemEvent.state, SystemEvent.changes).where(
        or_(
            and_(SystemEvent.entity_id == customer_id, SystemEvent.entity_type == "customer"),
            and_(SystemEvent.actor_id == customer_id, SystemEvent.actor_type == ActorType.PORTAL.value),
        )
    )
    async for payload, state, changes in await session.stream(query):
        for document in ((payload or {}).get("customer"), state):
            if isinstance(document, dict):
                yield document
        for change in changes or ():
            for moment in ("before", "after"):
                yield {change["field"]: change.get(moment)}


async def erase_activities(
    session: AsyncSession, customer_id: str, owned: Sequence[str], personal: PersonalData
) -> int:
    """Erase the person from the log, and from what endpoints answered when they were told; how many activities."""

    def without_person(row: Mapping[str, Any]) -> dict[str, Any]:
        is_own = row["actor_id"] == customer_id
        label, actor = row["entity_label"], row["actor_label"]
        return {
            "entity_label": label and personal.erased_label(label),
            "actor_label": actor and personal.erased_label(actor),
            "ip": None if is_own else row["ip"],
            "user_agent": None if is_own else row["user_agent"],
            **{name: personal.erased_document(row[name], name) for name in _LOG.documents},
        }

    parameters = {"customer_id": customer_id, "owned": list(owned)}
    count = await rewrite_rows(session, _LOG, _OF_CUSTOMER, parameters, without_person, read_too=("actor_id",))
    count += await erase_rows(session, _LOG, _OF_EVERYBODY, {}, personal.unmistakably())
    about = f"environment_id = :environment_id AND ({_OF_CUSTOMER} OR {_OF_EVERYBODY})"
    await erase_rows(
        session, _BODIES, f"event_id IN (SELECT id FROM system_events WHERE {about})", parameters, personal
    )
    return count
