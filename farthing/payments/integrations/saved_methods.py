"""Saved payment methods: a customer's account at a provider, what it keeps there, and how to add to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import FarthingError, InvalidOperation, ServiceUnavailable, ValidationFailed
from farthing.customers.mappings import remember
from farthing.customers.tables import Customer, IntegrationEntityType
from farthing.payments.integrations import mappings
from farthing.payments.integrations.gateways import COLLECTORS, Gateways, connection_to
from farthing.payments.providers.interface import (
    Account,
    Capability,
    Declined,
    Fatal,
    Method,
    Payer,
    Provider,
    Refusal,
    Retryable,
    Setup,
    Urls,
)
from farthing.payments.providers.registry import require_capability
from farthing.payments.schemas import (
    ProviderError,
    ProviderSavedPaymentMethods,
    SavedCardDetails,
    SavedPaymentMethod,
    SetupIntentRequest,
)
from farthing.payments.tables import Connection, Gateway, PaymentMethodType
from farthing.storage.midway import commit_midway, request_token
from farthing.storage.queries.rows import find


def raise_refusal(refusal: Refusal) -> FarthingError:
    """The error for a provider's refusal of something that is not a payment."""
    if isinstance(refusal, Retryable):
        return ServiceUnavailable(refusal.message)
    code = {"code": refusal.code} if isinstance(refusal, Declined) else {}
    return InvalidOperation(refusal.message, code)


async def account_at(
    session: AsyncSession, provider: Provider, connection: Connection, customer_id: str
) -> Account | None:
    """The customer's account at a provider, made there and mapped here on first use; None if it keeps none."""
    if Capability.CUSTOMERS not in provider.capabilities:
        return None
    known = await mapped_account(session, connection, customer_id)
    if known is not None:
        return known
    customer = await find(session, Customer, customer_id)
    await commit_midway(session)  # nothing was written; no connection waits for the provider
    made = await provider.ensure_customer(Payer(customer.id, customer.name, customer.email), key=customer.id)
    if isinstance(made, (Declined, Retryable, Fatal)):
        raise raise_refusal(made)
    await remember(
        session,
        IntegrationEntityType.CUSTOMER,
        customer.id,
        connection.provider_type.value,
        made.provider_customer_id,
        {"linked_via": "payment"},
    )
    await commit_midway(session)  # the account exists there from now on; a repeat finds the mapping
    return made


async def mapped_account(session: AsyncSession, connection: Connection, customer_id: str) -> Account | None:
    """The customer's account at a provider, if it was made or linked."""
    mapping = await mappings.image_of(
        session, IntegrationEntityType.CUSTOMER, customer_id, connection.provider_type.value
    )
    if mapping is None:
        return None
    return Account(provider_customer_id=mapping.provider_entity_id, customer_id=customer_id)


async def begin_setup(
    session: AsyncSession, gateways: Gateways, customer_id: str, given: SetupIntentRequest
) -> tuple[Setup, str]:
    """A page on which the customer saves a method; with the customer's id.

    Raises NotFound for an unknown customer, InvalidOperation without a connection to the provider asked for.
    """
    customer = await find(session, Customer, customer_id)
    connection = await connection_to(session, given.provider)
    if connection is None:
        raise InvalidOperation(f"'{given.provider}' is not connected", {"provider": given.provider})
    provider = gateways.behind(connection)
    require_capability(provider, Capability.SETUP, given.provider)
    account = await account_at(session, provider, connection, customer.id)
    if account is None:
        raise InvalidOperation(f"'{given.provider}' keeps no customers", {"provider": given.provider})
    await commit_midway(session)  # nothing was written; no connection waits for the provider
    made = await provider.register_method(
        account,
        Urls(given.success_url, given.cancel_url),
        kinds=list(given.payment_method_types or ["card"]),
        off_session=given.usage == "off_session",
        make_default=given.set_default,
        max_amount=None,
        key=f"setup/{request_token(session)}",  # a repeat of the request gets the same page
    )
    if isinstance(made, (Declined, Retryable, Fatal)):
        raise raise_refusal(made)
    return made, customer.id


async def saved_at(
    session: AsyncSession, gateways: Gateways, customer_id: str, gateway: str
) -> ProviderSavedPaymentMethods:
    """What one provider keeps for a customer; its failure fills `error`. Reads only."""
    connection = await connection_to(session, gateway)
    answer = ProviderSavedPaymentMethods(provider=Gateway(gateway), items=[])
    if connection is None:
        answer.error = ProviderError(message=f"'{gateway}' is not connected")
        return answer
    try:
        provider = gateways.behind(connection)
        require_capability(provider, Capability.SAVED_METHODS, gateway)
    except FarthingError as error:
        answer.error = ProviderError(message=error.message)
        return answer
    account = await mapped_account(session, connection, customer_id)
    await commit_midway(session)  # nothing was written; no connection waits for the provider
    found = await provider.list_methods(account) if account is not None else []
    if isinstance(found, (Declined, Retryable, Fatal)):
        answer.error = ProviderError(message=found.message)
    else:
        answer.items = [_as_saved(method, gateway) for method in found]
    return answer


async def connected_gateways(session: AsyncSession) -> Sequence[str]:
    """The providers that collect money and are connected, by name."""
    types = await session.scalars(
        select(Connection.provider_type).where(
            Connection.status == Status.PUBLISHED, Connection.provider_type.in_(COLLECTORS)
        )
    )
    return sorted(kind.value for kind in types)


def gateway_named(name: str, field: str = "provider") -> str:
    """`name` if it is a provider that collects money. Raises ValidationFailed."""
    if name not in COLLECTORS:
        raise ValidationFailed.of(field, f"must be one of {', '.join(COLLECTORS)}")
    return name


def _as_saved(method: Method, gateway: str) -> SavedPaymentMethod:
    card = SavedCardDetails(
        brand=method.brand, last4=method.last4, exp_month=method.exp_month, exp_year=method.exp_year
    )
    kind = PaymentMethodType(method.kind)
    return SavedPaymentMethod(
        id=method.id,
        provider=Gateway(gateway),
        type=kind,
        status="ACTIVE" if method.active else "INACTIVE",
        is_default=method.is_default,
        can_auto_charge=method.active and method.chargeable,
        instantly_chargeable=method.active and method.chargeable,
        card=card if kind is PaymentMethodType.CARD else None,
    )


def unix(moment: datetime) -> int:
    """Whole seconds since 1970."""
    return int(moment.timestamp())
