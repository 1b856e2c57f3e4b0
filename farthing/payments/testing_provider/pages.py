"""What somebody does on a simulated hosted page, and the webhooks that tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import FarthingError, InvalidOperation, NotFound, ValidationFailed
from farthing.core.ids import new_ulid
from farthing.core.money import EXACT
from farthing.payments.integrations.connections import WEBHOOK_SECRET
from farthing.payments.integrations.gateways import Gateways, sealed_for
from farthing.payments.processing import inbound
from farthing.payments.providers.interface import ChargeState
from farthing.payments.providers.registry import is_test
from farthing.payments.tables import Connection
from farthing.payments.testing_provider import signing
from farthing.payments.testing_provider.provider import SUCCESS
from farthing.payments.testing_provider.tables import (
    HostedPageKind,
    HostedPageState,
    TestCharge,
    TestEvent,
    TestMethod,
    TestSession,
)
from farthing.storage.scope import SYSTEM, Scope


class Delivery(StrEnum):
    """How webhooks travel: LATE keeps them until the next delivery, REVERSED sends the newest first."""

    NOW = "now"
    TWICE = "twice"
    LATE = "late"
    REVERSED = "reversed"


@dataclass(frozen=True, slots=True)
class Delivered:
    """One webhook that was sent, and the status it was answered with."""

    event_id: str
    type: str
    status_code: int


@dataclass(frozen=True, slots=True)
class Visit:
    """A hosted page, opened by its unguessable id."""

    page: TestSession
    scope: Scope
    secret: str


async def open_page(gateways: Gateways, page_id: str) -> Visit:
    """The page with this id, whosever it is. Raises NotFound, also when its test connection is gone."""
    async with gateways.database.transaction(SYSTEM, read_only=True) as session:
        page = await session.get(TestSession, page_id)
    if page is None:
        raise NotFound("No such payment page")
    scope = Scope(page.tenant_id, page.environment_id)
    async with gateways.database.transaction(scope, read_only=True) as session:
        connection = await session.get(Connection, page.connection_id)
    if connection is None or connection.status is not Status.PUBLISHED or not is_test(connection.meta):
        raise NotFound("No such payment page")
    owner = sealed_for(connection.environment_id, connection.id)
    secrets = gateways.safe.open(connection.credentials, connection.credentials_key_id, owner)
    return Visit(page, scope, str(secrets[WEBHOOK_SECRET]))


async def act(
    gateways: Gateways,
    visit: Visit,
    action: str,
    delivery: Delivery,
    *,
    amount: Decimal | None = None,
    method: str = SUCCESS,
) -> tuple[TestSession, list[Delivered]]:
    """Do what the visitor asked for and send the webhooks. Raises InvalidOperation when the page does not allow it."""
    now = gateways.database.clock.now()
    async with gateways.database.transaction(visit.scope) as session:
        page = await session.get_one(TestSession, visit.page.id, with_for_update=True)
        if action == "succeed":
            await _succeed(session, page, method, now)
        elif action == "fail":
            await _fail(session, page)
        elif action == "expire":
            await _expire(session, page)
        elif action == "refund":
            await _refund(session, page, amount)
    sent = [] if delivery is Delivery.LATE else await deliver(gateways, visit, delivery)
    return page, sent


async def deliver(gateways: Gateways, visit: Visit, delivery: Delivery) -> list[Delivered]:
    """Send what waits, signed now, to where providers report; TWICE sends each a second time."""
    waiting = select(TestEvent).where(TestEvent.session_id == visit.page.id, TestEvent.delivered_at.is_(None))
    newest_first = delivery is Delivery.REVERSED
    order = TestEvent.sequence.desc() if newest_first else TestEvent.sequence.asc()
    async with gateways.database.transaction(visit.scope, read_only=True) as session:
        events = (await session.scalars(waiting.order_by(order))).all()
    times = 2 if delivery is Delivery.TWICE else 1
    return [await _send(gateways, visit, event) for event in events for _ in range(times)]


async def _send(gateways: Gateways, visit: Visit, event: TestEvent) -> Delivered:
    body = event.body.encode()
    now = gateways.database.clock.now()
    headers = {signing.HEADER: signing.sign(visit.secret, body, now)}
    status = 200
    try:
        await inbound.receive(gateways, visit.page.provider_type, visit.scope, headers, body)
    except FarthingError as error:
        # as over the network: a refusal is the receiver's answer, and the event stays to be sent again
        status = error.status
    if status == 200:
        async with gateways.database.transaction(visit.scope) as session:
            await session.execute(update(TestEvent).where(TestEvent.id == event.id).values(delivered_at=now))
    return Delivered(event.id, event.type, status)


def _demand_open(page: TestSession) -> None:
    if page.state is not HostedPageState.OPEN:
        raise InvalidOperation(f"the page is {page.state}", {"session_id": page.id, "state": page.state.value})


async def _succeed(session: AsyncSession, page: TestSession, method: str, now: datetime) -> None:
    _demand_open(page)
    page.attempts += 1
    page.state = HostedPageState.COMPLETE
    if page.kind is HostedPageKind.SETUP:
        await _save(session, page, method, make_default=page.make_default, now=now)
        _event(session, page, signing.SETUP_SUCCEEDED)
        return
    if page.kind is HostedPageKind.CHARGE:
        charge = await session.get_one(TestCharge, page.charge_id, with_for_update=True)
        charge.state = ChargeState.SUCCEEDED
    else:
        assert page.payment_id is not None
        assert page.amount is not None
        assert page.currency is not None
        charge = TestCharge(
            id=f"ch_test_{new_ulid()}",
            connection_id=page.connection_id,
            key=f"page/{page.id}",
            payment_id=page.payment_id,
            session_id=page.id,
            state=ChargeState.SUCCEEDED,
            amount=page.amount,
            currency=page.currency,
            refunded=Decimal(0),
            created_at=now,
        )
        session.add(charge)
        page.charge_id = charge.id
        if page.save_method and page.customer_id is not None:
            await _save(session, page, SUCCESS, make_default=True, now=now)
    _event(session, page, signing.PAYMENT_SUCCEEDED, charge)


async def _fail(session: AsyncSession, page: TestSession) -> None:
    _demand_open(page)
    page.attempts += 1
    reason = "The card was declined"
    if page.kind is HostedPageKind.LINK:
        # another try may succeed: the page stays open
        _event(session, page, signing.PAYMENT_DECLINED, reason=reason)
        return
    page.state = HostedPageState.FAILED
    if page.kind is HostedPageKind.SETUP:
        _event(session, page, signing.SETUP_FAILED, reason=reason)
        return
    charge = await session.get_one(TestCharge, page.charge_id, with_for_update=True)
    charge.state, charge.reason = ChargeState.FAILED, reason
    _event(session, page, signing.PAYMENT_FAILED, charge, reason)


async def _expire(session: AsyncSession, page: TestSession) -> None:
    _demand_open(page)
    page.state = HostedPageState.EXPIRED
    if page.kind is not HostedPageKind.CHARGE:
        _event(session, page, signing.LINK_EXPIRED, reason="The page expired")
        return
    charge = await session.get_one(TestCharge, page.charge_id, with_for_update=True)
    charge.state, charge.reason = ChargeState.FAILED, "The payer did not confirm in time"
    _event(session, page, signing.PAYMENT_FAILED, charge, charge.reason)


async def _refund(session: AsyncSession, page: TestSession, amount: Decimal | None) -> None:
    charge = await session.get(TestCharge, page.charge_id, with_for_update=True) if page.charge_id else None
    if charge is None or charge.state is not ChargeState.SUCCEEDED:
        raise InvalidOperation("nothing was captured on the page", {"session_id": page.id, "state": page.state.value})
    left = EXACT.subtract(charge.amount, charge.refunded)
    asked = left if amount is None else amount
    if not 0 < asked <= left:
        raise ValidationFailed.of("amount", "must be above 0 and at most what is left of the charge")
    charge.refunded = EXACT.add(charge.refunded, asked)
    _event(session, page, signing.REFUND_UPDATED, charge)


async def _save(session: AsyncSession, page: TestSession, behaviour: str, *, make_default: bool, now: datetime) -> None:
    assert page.customer_id is not None
    mine = (TestMethod.connection_id == page.connection_id, TestMethod.customer_id == page.customer_id)
    first = await session.scalar(select(TestMethod.id).where(*mine).limit(1)) is None
    if make_default:
        await session.execute(update(TestMethod).where(*mine).values(is_default=False))
    session.add(
        TestMethod(
            id=f"pm_test_{new_ulid()}",
            connection_id=page.connection_id,
            customer_id=page.customer_id,
            behaviour=behaviour,
            is_default=make_default or first,
            created_at=now,
        )
    )


def _event(
    session: AsyncSession, page: TestSession, type: str, charge: TestCharge | None = None, reason: str = ""
) -> None:
    body = None
    if charge is not None:
        body = signing.ChargeBody(
            id=charge.id,
            state=charge.state,
            amount=charge.amount,
            currency=charge.currency,
            refunded=charge.refunded,
            reason=charge.reason or "",
        )
    event = signing.EventBody(
        id=f"evt_test_{new_ulid()}",
        type=type,
        session_id=page.id,
        payment_id=page.payment_id,
        reason=reason,
        charge=body,
        customer_id=page.customer_id if page.make_default else None,
    )
    session.add(TestEvent(id=event.id, session_id=page.id, type=type, body=msgspec.json.encode(event).decode()))
