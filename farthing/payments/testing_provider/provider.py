"""The test provider's side of the provider interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.ids import new_ulid
from farthing.core.money import EXACT
from farthing.payments.providers.interface import (
    Account,
    Capability,
    ChargeLookup,
    ChargeState,
    Declined,
    Fatal,
    Link,
    Method,
    PageClosed,
    Payer,
    ProviderCharge,
    ProviderInvoice,
    Refusal,
    Report,
    Retryable,
    SentBack,
    Setup,
    Urls,
)
from farthing.payments.providers.registry import Adapter, ConnectionDraft, ProviderSupport
from farthing.payments.testing_provider import signing
from farthing.payments.testing_provider.tables import (
    HostedPageKind,
    HostedPageState,
    TestCharge,
    TestMethod,
    TestRefund,
)
from farthing.payments.testing_provider.tables import TestSession as Session

PATH = "/v1/test/gateway/sessions"
PAGE_LIFE = timedelta(minutes=30)

SUCCESS = "pm_test_success"
DECLINED = "pm_test_declined"
INSUFFICIENT_FUNDS = "pm_test_insufficient_funds"
TIMEOUT = "pm_test_timeout"
PROCESSING = "pm_test_processing"
REQUIRES_ACTION = "pm_test_requires_action"
STOLEN = "pm_test_stolen"

_STATES = MappingProxyType(
    {
        SUCCESS: (ChargeState.SUCCEEDED, "", ""),
        DECLINED: (ChargeState.FAILED, "card_declined", "The card was declined"),
        INSUFFICIENT_FUNDS: (ChargeState.FAILED, "insufficient_funds", "The card has insufficient funds"),
        STOLEN: (ChargeState.FAILED, "stolen_card", "The card was reported stolen"),
        TIMEOUT: (ChargeState.SUCCEEDED, "", ""),
        PROCESSING: (ChargeState.PROCESSING, "", ""),
        REQUIRES_ACTION: (ChargeState.REQUIRES_ACTION, "", ""),
    }
)
"""What a charge of each well-known method comes to: its state, code and message."""

BEHAVIOURS = frozenset(_STATES)
HARD_DECLINES = frozenset({"stolen_card"})
"""Codes of refusals after which a method never works again."""
_KEY = ("environment_id", "connection_id", "key")
"""What is unique of charges and pages. One statement makes or finds the row and locks it: none can vanish between."""
_WAITS = {ChargeState.PROCESSING, ChargeState.REQUIRES_ACTION}


class TestProvider:
    """A simulated account. Its clock is the deployment's, for a provider lives in real time."""

    capabilities = frozenset(Capability)

    def __init__(self, standing: ProviderSupport) -> None:
        self._standing = standing
        self._database = standing.database
        self._scope = standing.scope

    async def ensure_customer(self, payer: Payer, *, key: str) -> Account | Refusal:
        """The simulator's ids of customers say whose they are."""
        return Account(provider_customer_id=f"cus_test_{payer.customer_id}", customer_id=payer.customer_id)

    async def create_payment_link(
        self,
        amount: Decimal,
        currency: str,
        payment_id: str,
        account: Account | None,
        urls: Urls,
        *,
        title: str,
        options: Mapping[str, str],
        save_method: bool,
        key: str,
    ) -> Link | Refusal:
        async with self._database.transaction(self._scope) as session:
            page = await self._page(
                session,
                HostedPageKind.LINK,
                key,
                payment_id=payment_id,
                customer_id=account.customer_id if account else None,
                amount=amount,
                currency=currency,
                save_method=save_method,
                make_default=save_method,
                success_url=urls.success,
                cancel_url=urls.cancel,
            )
        return Link(tracking_id=page.id, url=self._url(page.id), expires_at=page.expires_at)

    async def cancel_link(self, tracking_id: str, *, key: str) -> Refusal | None:
        async with self._database.transaction(self._scope) as session:
            page = await session.get(Session, tracking_id, with_for_update=True)
            if page is None or page.environment_id != self._scope.environment_id:
                return Declined("no_such_session", "No such payment page")
            if page.state is HostedPageState.OPEN:
                page.state = HostedPageState.CANCELLED
        return None

    async def charge_saved_method(
        self,
        method_id: str,
        amount: Decimal,
        currency: str,
        payment_id: str,
        account: Account | None,
        *,
        return_url: str | None,
        key: str,
    ) -> ProviderCharge | Refusal:
        async with self._database.transaction(self._scope) as session:
            behaviour = await self._behaviour(session, method_id, account)
            if behaviour is None:
                return Declined("no_such_method", f"No such payment method: '{method_id}'")
            charge = await self._charge(session, behaviour, amount, currency, payment_id, key)
            if charge.state in _WAITS:
                page = await self._page(
                    session,
                    HostedPageKind.CHARGE,
                    f"charge/{charge.id}",
                    payment_id=payment_id,
                    amount=amount,
                    currency=currency,
                    charge_id=charge.id,
                )
                charge.session_id = page.id
        if behaviour == TIMEOUT:
            return Retryable("The provider did not answer in time")
        if charge.state is ChargeState.FAILED:
            return Declined(charge.code, charge.reason, is_hard=charge.code in HARD_DECLINES)
        return self.charge_of(charge)

    async def register_method(
        self,
        account: Account,
        urls: Urls,
        *,
        kinds: Sequence[str],
        off_session: bool,
        make_default: bool,
        max_amount: Decimal | None,
        key: str,
    ) -> Setup | Refusal:
        async with self._database.transaction(self._scope) as session:
            page = await self._page(
                session,
                HostedPageKind.SETUP,
                key,
                customer_id=account.customer_id,
                make_default=make_default,
                success_url=urls.success,
                cancel_url=urls.cancel,
            )
        return Setup(
            setup_id=f"seti_{page.id}",
            session_id=page.id,
            url=self._url(page.id),
            client_secret=f"seti_{page.id}_secret",
            expires_at=page.expires_at,
        )

    async def list_methods(self, account: Account) -> Sequence[Method] | Refusal:
        async with self._database.transaction(self._scope, read_only=True) as session:
            saved = await session.scalars(
                select(TestMethod)
                .where(
                    TestMethod.connection_id == self._standing.connection_id,
                    TestMethod.customer_id == account.customer_id,
                )
                .order_by(TestMethod.is_default.desc(), TestMethod.created_at.desc(), TestMethod.id.desc())
            )
            return [
                Method(
                    id=row.id,
                    kind="CARD",
                    is_default=row.is_default,
                    brand="test",
                    last4="4242",
                    exp_month=12,
                    exp_year=2099,
                )
                for row in saved
            ]

    async def get_payment(self, lookup: ChargeLookup) -> ProviderCharge | PageClosed | Refusal | None:
        async with self._database.transaction(self._scope, read_only=True) as session:
            query = select(TestCharge).where(TestCharge.payment_id == lookup.payment_id)
            if lookup.gateway_payment_id is not None:
                query = select(TestCharge).where(TestCharge.id == lookup.gateway_payment_id)
            charge = (await session.scalars(query.order_by(TestCharge.id.desc()).limit(1))).first()
            if charge is not None:
                return self.charge_of(charge)
            page = None if lookup.tracking_id is None else await session.get(Session, lookup.tracking_id)
            is_closed = page is not None and page.state in {HostedPageState.EXPIRED, HostedPageState.CANCELLED}
            return PageClosed() if is_closed else None

    async def refund(self, gateway_payment_id: str, amount: Decimal, *, key: str) -> SentBack | Refusal:
        async with self._database.transaction(self._scope) as session:
            charge = await session.get(TestCharge, gateway_payment_id, with_for_update=True)
            if charge is None or charge.state is not ChargeState.SUCCEEDED:
                return Declined("not_refundable", "There is no such captured charge")
            known = (await session.scalars(select(TestRefund).where(TestRefund.key == key))).one_or_none()
            if known is None:
                total = EXACT.add(charge.refunded, amount)
                if total > charge.amount:
                    return Declined("amount_too_large", "A refund cannot exceed what was captured")
                charge.refunded = total
                known = TestRefund(id=f"re_test_{new_ulid()}", charge_id=charge.id, key=key, amount=amount)
                session.add(known)
            return SentBack(gateway_refund_id=known.id, amount=known.amount, settled=True)

    async def push_invoice(self, bill: ProviderInvoice, *, key: str) -> str | Refusal:
        """The simulator keeps no books; the copy's id is made of ours, so that the same invoice is the same copy."""
        if not bill.lines:
            return Fatal("An invoice without lines cannot be copied")
        return f"in_test_{bill.invoice_id}"

    async def mark_invoice_paid(self, provider_invoice_id: str, *, key: str) -> Refusal | None:
        return None

    async def void_invoice(self, provider_invoice_id: str, *, key: str) -> Refusal | None:
        return None

    def verify_webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Sequence[Report]:
        secret = str(self._standing.secrets.get("webhook_secret", ""))
        signing.verify(secret, headers.get(signing.HEADER), body, now)
        return [signing.read(body)]

    async def follow_up(self, report: Report) -> Report | Refusal:
        """The simulator's reports say all there is to know."""
        return report

    def charge_of(self, charge: TestCharge) -> ProviderCharge:
        """A simulated charge in the interface's words."""
        details = {"test_session": charge.session_id} if charge.session_id else {}
        waits = charge.state is ChargeState.REQUIRES_ACTION and charge.session_id is not None
        return ProviderCharge(
            gateway_payment_id=charge.id,
            state=charge.state,
            amount=charge.amount,
            currency=charge.currency,
            tracking_id=charge.session_id,
            refunded=charge.refunded,
            reason=charge.reason,
            code=charge.code,
            is_hard=charge.code in HARD_DECLINES,
            confirmation_url=self._url(charge.session_id or "") if waits else None,
            details=details,
        )

    async def _behaviour(self, session: AsyncSession, method_id: str, account: Account | None) -> str | None:
        if method_id in BEHAVIOURS:
            return method_id
        saved = await session.get(TestMethod, method_id)
        if saved is None or account is None or saved.customer_id != account.customer_id:
            return None
        return saved.behaviour

    async def _charge(
        self, session: AsyncSession, behaviour: str, amount: Decimal, currency: str, payment_id: str, key: str
    ) -> TestCharge:
        state, code, reason = _STATES[behaviour]
        made = insert(TestCharge).values(
            id=f"ch_test_{new_ulid()}",
            tenant_id=self._scope.tenant_id,
            environment_id=self._scope.environment_id,
            connection_id=self._standing.connection_id,
            key=key,
            payment_id=payment_id,
            state=state,
            amount=amount,
            currency=currency,
            refunded=Decimal(0),
            code=code,
            reason=reason,
            created_at=self._database.clock.now(),
        )
        kept = made.on_conflict_do_update(index_elements=_KEY, set_={"key": made.excluded.key}).returning(TestCharge)
        return (await session.scalars(kept, execution_options={"populate_existing": True})).one()

    async def _page(self, session: AsyncSession, kind: HostedPageKind, key: str, **given: object) -> Session:
        now = self._database.clock.now()
        values: dict[str, object] = {
            "id": f"tgs_{new_ulid()}",
            "tenant_id": self._scope.tenant_id,
            "environment_id": self._scope.environment_id,
            "connection_id": self._standing.connection_id,
            "provider_type": self._standing.provider_type,
            "key": key,
            "kind": kind,
            "state": HostedPageState.OPEN,
            "save_method": False,
            "make_default": False,
            "attempts": 0,
            "created_at": now,
            "expires_at": now + PAGE_LIFE,
        }
        made = insert(Session).values(**{**values, **given})
        kept = made.on_conflict_do_update(index_elements=_KEY, set_={"key": made.excluded.key}).returning(Session)
        return (await session.scalars(kept, execution_options={"populate_existing": True})).one()

    def _url(self, page_id: str) -> str:
        return f"{self._standing.base_url}{PATH}/{page_id}"


def accept_connection(draft: ConnectionDraft) -> None:
    """A simulation works with whatever the provider that it stands for needs, and without it."""


TEST_ADAPTER = Adapter(open=TestProvider, check_connection=accept_connection)
"""Serves every connection in test mode."""
