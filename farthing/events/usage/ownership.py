"""Whose an event is: the customer's that held its external id when it arrived.

An external id belongs to the customer that takes it until another customer takes it, so a customer owns what came
under each of its ids, present and former, within the bounds of its tenure in the order of arrival.
Rule: docs/rules/metering.md#whose-an-event-is
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Select, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.customers.tables import ExternalIdTenure
from farthing.storage.postgres import scope_of
from farthing.storage.queries.rows import in_array, in_given_array

END_OF_ARRIVALS = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class OwnedEvents:
    """What arrived under an external id with a number in `[since, until)`; until None is open."""

    external_id: str
    since: int = 0
    until: int | None = None

    def holds(self, external_id: str, arrival: int) -> bool:
        """Whether an event under this external id with this number of arrival is among them."""
        return (
            self.external_id == external_id and self.since <= arrival and (self.until is None or arrival < self.until)
        )

    @property
    def until_or_end(self) -> int:
        """The number before which they arrived; beyond all numbers where it is open."""
        return END_OF_ARRIVALS if self.until is None else self.until

    @property
    def is_bounded(self) -> bool:
        """Whether the id changed hands, so that not all that came under it is meant."""
        return self.since > 0 or self.until is not None


Ownership = dict[str, frozenset[OwnedEvents]]
"""What belongs to each customer asked for."""


async def owned_by_ids(session: AsyncSession, customer_ids: Collection[str]) -> Ownership:
    """The events of these customers, by their ids."""
    owned: dict[str, set[OwnedEvents]] = {customer_id: set() for customer_id in customer_ids}
    parameters = {"environment": scope_of(session).environment_id, "ids": list(customer_ids)}
    for customer_id, external_id, since, until in await session.execute(_tenures(), parameters):
        owned[customer_id].add(OwnedEvents(external_id, since, until))
    return {customer_id: frozenset(events) for customer_id, events in owned.items()}


@cache
def _tenures() -> Select[str, str, int, int | None]:
    table = ExternalIdTenure
    return select(table.customer_id, table.external_id, table.since_sequence, table.until_sequence).where(
        table.environment_id == bindparam("environment"), in_given_array(table.customer_id, "ids")
    )


async def owners_of(session: AsyncSession, external_ids: Collection[str]) -> dict[str, str]:
    """The id of the customer that owns what arrives under each of these external ids now; nobody's id is left out."""
    owners = await session.execute(
        select(ExternalIdTenure.external_id, ExternalIdTenure.customer_id).where(
            ExternalIdTenure.environment_id == scope_of(session).environment_id,
            in_array(ExternalIdTenure.external_id, external_ids),
            ExternalIdTenure.until_sequence.is_(None),
        )
    )
    return dict(owners.all())


async def holders_of(session: AsyncSession, external_ids: Collection[str]) -> Ownership:
    """The events under these external ids alone, by the id of the customer that they belong to."""
    tenures = await session.scalars(
        select(ExternalIdTenure).where(
            ExternalIdTenure.environment_id == scope_of(session).environment_id,
            in_array(ExternalIdTenure.external_id, external_ids),
        )
    )
    owned: dict[str, frozenset[OwnedEvents]] = {}
    for tenure in tenures:
        owned[tenure.customer_id] = owned.get(tenure.customer_id, frozenset()) | {_events_of(tenure)}
    return owned


async def owned_by_external_ids(session: AsyncSession, external_ids: Collection[str]) -> Ownership:
    """The events of the customers that own these external ids, under all their ids; nobody's id stands for itself."""
    owner_of = await owners_of(session, external_ids)
    owned = await owned_by_ids(session, set(owner_of.values())) if owner_of else {}
    return {
        external_id: owned[owner_of[external_id]] if external_id in owner_of else frozenset({OwnedEvents(external_id)})
        for external_id in external_ids
    }


def _events_of(tenure: ExternalIdTenure) -> OwnedEvents:
    return OwnedEvents(tenure.external_id, tenure.since_sequence, tenure.until_sequence)
