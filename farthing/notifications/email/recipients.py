"""Who is written to, and where nobody is.

Rule: docs/rules/email.md#recipients
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.standards.email_address import deliverable_address
from farthing.customers.tables import Customer
from farthing.identity.tables import Environment, EnvironmentType
from farthing.storage.postgres import scope_of
from farthing.storage.queries.rows import find

NO_ADDRESS = "the customer has no address that mail can be sent to"
NOT_FROM_DEVELOPMENT = "no mail leaves a development environment unless FARTHING_MAIL_TEST_TO says where it goes"


def address_of(customer: Customer) -> str | None:
    """The customer's own address, else that of its primary contact person; None without one that servers take."""
    primary = [person.get("email") or "" for person in customer.contact_persons if person.get("is_primary")]
    candidates = (deliverable_address(address) for address in (customer.email, *primary))
    return next((address for address in candidates if address is not None), None)


async def is_development(session: AsyncSession) -> bool:
    """Whether the session's environment is one of type development."""
    environment = await find(session, Environment, scope_of(session).environment_id)
    return environment.type is EnvironmentType.DEVELOPMENT
