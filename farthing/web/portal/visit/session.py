"""Who a portal session belongs to. The token alone says it; nothing in a request can name another customer.

Rule: docs/rules/customers.md#portal
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import AccessControl
from farthing.api.services import services_of
from farthing.api.work import takes_long, unit_of_work
from farthing.core.caller import Caller
from farthing.core.enums import Status
from farthing.core.errors import PermissionDenied, Unauthorized
from farthing.core.origin import Actor, ActorType, ChangeSource
from farthing.customers import portal
from farthing.customers.tables import Customer
from farthing.identity.credentials.master_key import MasterKeys, signed_claims
from farthing.identity.settings.catalogue import CustomerPortalConfig, InvoicePdfConfig
from farthing.identity.settings.current import read
from farthing.identity.settings.portal_sections import PortalItems, Theme
from farthing.identity.tables import Environment, InternalStatus, Tenant
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import find, not_found
from farthing.storage.scope import SYSTEM
from farthing.web.rendering.languages import LANGUAGE_COOKIE, PORTAL, LocalWords, choose_language, page_texts

Connection = ASGIConnection[Any, Any, Any, Any]
Guard = Callable[[Connection, BaseRouteHandler], Awaitable[None]]

HEADER = "x-session-token"
SESSION = "farthing.portal"
OUT_OF_DATE = "Invalid or expired session token"
VISIBLE = (InvoiceStatus.FINALIZED, InvoiceStatus.VOIDED)
"""What a customer is shown; drafts are not yet anybody's business."""


@dataclass(frozen=True, slots=True)
class PortalVisit:
    """A customer in the portal."""

    customer_id: str
    tenant_id: str
    environment_id: str
    tenant_name: str
    expires_at: datetime
    customer_name: str
    words: LocalWords
    items: PortalItems
    theme: Theme
    has_logo: bool

    def offers(self, item: str) -> bool:
        """Whether the merchant has switched an item on."""
        return getattr(self.items, item) not in {False, "none"}


def visit_of(connection: Connection) -> PortalVisit:
    """The customer a guard admitted."""
    visit: PortalVisit = connection.scope[SESSION]  # type: ignore[literal-required]  # put there by the guard
    return visit


async def enter(connection: Connection, token: str, item: str | None, *, read_only: bool) -> None:
    """Begin the request as the customer of `token`.

    Raises Unauthorized; PermissionDenied where `item` is switched off, and for a change in a suspended tenant.
    """
    services = services_of(connection)
    now = services.part(Database).clock.now()
    claims = _claims(token, services.part(MasterKeys).accepted(now), now)
    async with services.part(Database).transaction(SYSTEM, read_only=True) as rows:
        tenant = await rows.get(Tenant, claims["tenant_id"])
        environment = await rows.get(Environment, claims["environment_id"])
    if (
        tenant is None
        or environment is None
        or environment.tenant_id != tenant.id
        or environment.status is not Status.PUBLISHED
    ):
        raise Unauthorized(OUT_OF_DATE)
    if not read_only and tenant.internal_status is InternalStatus.SUSPENDED:
        raise PermissionDenied("tenant account is suspended")
    caller = Caller(
        tenant_id=tenant.id,
        environment_id=environment.id,
        user_id=claims["customer_id"],
        credential_id=claims["customer_id"],
        actor=Actor(ActorType.PORTAL, claims["customer_id"], claims["customer_id"]),
        tenant_suspended=tenant.internal_status is InternalStatus.SUSPENDED,
        frozen_time=environment.frozen_time,
    )
    services.part(AccessControl).limiter.take(f"{caller.tenant_id}/{caller.credential_id}")
    expires_at = datetime.fromtimestamp(claims["exp"], services.part(Database).clock.now().tzinfo)
    work = unit_of_work(connection)
    work.begin(caller, read_only=read_only, source=ChangeSource.PORTAL, is_long=takes_long(connection))
    await work.admit()
    customer = await work.session.get(Customer, claims["customer_id"])
    if customer is None or customer.status is not Status.PUBLISHED:
        raise Unauthorized(OUT_OF_DATE)
    work.act_as(Actor(ActorType.PORTAL, customer.id, customer.name or customer.external_id), ChangeSource.PORTAL)
    config = await read(work.session, CustomerPortalConfig)
    language = choose_language(
        connection.query_params.get("lang"),
        connection.cookies.get(LANGUAGE_COOKIE),
        customer.language,
        accepted=connection.headers.get("accept-language", ""),
    )
    visit = PortalVisit(
        customer_id=customer.id,
        tenant_id=tenant.id,
        environment_id=environment.id,
        tenant_name=tenant.name,
        expires_at=expires_at,
        customer_name=customer.name,
        words=LocalWords(language, page_texts(PORTAL, language)),
        items=config.items,
        theme=config.theme,
        has_logo=bool((await read(work.session, InvoicePdfConfig)).logo),
    )
    connection.scope[SESSION] = visit  # type: ignore[literal-required]  # read by `visit_of`
    if item is not None and not visit.offers(item):
        raise PermissionDenied("The seller does not offer this here")


def is_session_of(connection: Connection, token: str, customer: Customer) -> bool:
    """Whether a token is a session of this customer in the portal, and not over."""
    services = services_of(connection)
    now = services.part(Database).clock.now()
    try:
        claims = _claims(token, services.part(MasterKeys).accepted(now), now)
    except Unauthorized:
        return False
    return (claims["environment_id"], claims["customer_id"]) == (customer.environment_id, customer.id)


def _claims(token: str, master_keys: Sequence[str], now: datetime) -> dict[str, Any]:
    """What a valid token says. Raises Unauthorized."""
    if not token:
        raise Unauthorized("Session token required")
    try:
        claims = signed_claims(
            token,
            master_keys,
            portal.KEY_PURPOSE,
            algorithms=[portal.ALGORITHM],
            options={"require": ["exp"], "verify_exp": False, "verify_iat": False},
        )
        valid = claims.get("typ") == portal.KIND and float(claims["exp"]) > now.timestamp()
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise Unauthorized(OUT_OF_DATE) from error
    named = all(isinstance(claims.get(name), str) for name in ("customer_id", "tenant_id", "environment_id"))
    if not valid or not named:
        raise Unauthorized(OUT_OF_DATE)
    return claims


def in_header(item: str | None, *, read_only: bool = True) -> Guard:
    """The JSON routes: the token travels in a header. `item` is the switch they hang on, None for none."""

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        await enter(connection, connection.headers.get(HEADER, ""), item, read_only=read_only)

    guard.needs = None  # type: ignore[attr-defined]  # read by the route tests
    guard.item = item  # type: ignore[attr-defined]  # the same
    return guard


def in_path(item: str | None, *, read_only: bool = True) -> Guard:
    """The pages: the token is part of the address, which nobody else can guess and no page gives away."""

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        await enter(connection, str(connection.path_params.get("token", "")), item, read_only=read_only)

    guard.needs = None  # type: ignore[attr-defined]  # read by the tests that walk every page
    guard.item = item  # type: ignore[attr-defined]  # the same
    return guard


async def customer_of(session: AsyncSession, visit: PortalVisit) -> Customer:
    """The customer in the portal."""
    return await find(session, Customer, visit.customer_id)


async def payable_invoice(session: AsyncSession, visit: PortalVisit, invoice_id: str) -> Invoice:
    """An invoice that the customer is asked to pay; a foreign one answers exactly like a missing one."""
    invoice = await session.get(Invoice, invoice_id)
    if (
        invoice is None
        or invoice.customer_id != visit.customer_id
        or invoice.status is not Status.PUBLISHED
        or invoice.invoice_status not in VISIBLE
    ):
        raise not_found(Invoice, invoice_id)
    return invoice
