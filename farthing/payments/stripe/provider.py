"""Stripe's side of the provider interface.

Rule: docs/rules/integrations.md#confirmation-by-the-payer
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from farthing.core.money import exact_sum
from farthing.payments.providers.interface import (
    Account,
    Capability,
    ChargeLookup,
    ChargeState,
    Declined,
    Fatal,
    Link,
    Method,
    Payer,
    ProviderCharge,
    ProviderInvoice,
    Refusal,
    Report,
    ReportKind,
    Retryable,
    SentBack,
    Setup,
    Urls,
    report_of,
)
from farthing.payments.providers.registry import ProviderSupport
from farthing.payments.stripe.amounts import InexactAmount, from_stripe_amount, to_stripe_amount
from farthing.payments.stripe.api import StripeApi, is_live, keyed
from farthing.payments.stripe.objects import (
    CHARGE,
    CUSTOMER,
    ENVIRONMENT,
    FLOW,
    LINK,
    MAKE_DEFAULT,
    PAYMENT,
    REFUND,
    PaymentIntent,
    StripeCustomer,
    StripeMethod,
    StripeObject,
    StripeRefund,
    StripeSetup,
    charge_of,
)
from farthing.payments.stripe.reading import StripeReader
from farthing.payments.stripe.webhooks import (
    HEADER,
    INTENT,
    METHOD_CUSTOMER,
    SETUP,
    EventOwner,
    fail_page,
    read_event,
    read_page,
    verify_signature,
)

_KINDS = {"card": "CARD", "link": "CARD", "us_bank_account": "ACH", "sepa_debit": "ACH"}
"""Kinds of methods that can be charged with nobody present, and what we call them: cards, and debits of accounts."""
_ABOUT_A_CHARGE = {ReportKind.REFUND_UPDATED, ReportKind.REFUND_FAILED, ReportKind.DISPUTE_UPDATED}

_refusals = (Declined, Retryable, Fatal)


class StripeProvider:
    """An account at Stripe."""

    capabilities = frozenset(
        {Capability.CUSTOMERS, Capability.LINKS, Capability.SAVED_METHODS, Capability.SETUP, Capability.REFUNDS}
    )

    def __init__(self, support: ProviderSupport) -> None:
        secret_key = str(support.secrets.get("secret_key") or "")
        self._webhook_secret = str(support.secrets.get("webhook_secret") or "")
        self._base_url = support.base_url
        self._environment_id = support.scope.environment_id
        account_id = support.secrets.get("account_id")
        self._owner = EventOwner(
            support.scope.environment_id, str(account_id) if account_id else None, is_live(secret_key)
        )
        self._api = StripeApi(secret_key, support.api_url)
        self._stripe = StripeReader(self._api)

    async def ask_account(self) -> str | Refusal:
        """The newest customer is asked for: a restricted key that we can work with may read customers."""
        answer = await self._api.ask(lambda client: client.v1.customers.list_async({"limit": 1}))
        if isinstance(answer, _refusals):
            return answer
        return f"Stripe takes the key, which is of {'live' if self._owner.is_live else 'test'} mode"

    async def ensure_customer(self, payer: Payer, *, key: str) -> Account | Refusal:
        """A customer there; the key covers what we say of it, so that a new name never clashes with an earlier try."""
        values: Any = {"name": payer.name, "metadata": self._metadata(**{CUSTOMER: payer.customer_id})}
        if payer.email:
            values["email"] = payer.email
        options = keyed(_key_of_values(key, values))
        made = await self._stripe.read(StripeObject, lambda client: client.v1.customers.create_async(values, options))
        if isinstance(made, _refusals):
            return made
        return Account(provider_customer_id=made.id, customer_id=payer.customer_id)

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
        """A Checkout page; it closes after a day.

        The key covers what the page says: an invoice may get another number after a try without an answer. A page whose
        answer was lost has been shown to nobody, so that a second one beside it cannot be paid twice.
        """
        try:
            units = to_stripe_amount(amount, currency)
        except InexactAmount as error:
            return Declined("inexact_amount", str(error))
        metadata = self._metadata(**{PAYMENT: payment_id, FLOW: LINK})
        intent: dict[str, Any] = {"metadata": metadata}
        if save_method:
            metadata = {**metadata, MAKE_DEFAULT: "true"}
            intent["setup_future_usage"] = "off_session"
        price = {"currency": currency, "unit_amount": units, "product_data": {"name": title}}
        values: Any = {
            "mode": "payment",
            "client_reference_id": payment_id,
            "line_items": [{"quantity": 1, "price_data": price}],
            "metadata": metadata,
            "payment_intent_data": intent,
            "success_url": urls.success or self._base_url,
        }
        if urls.cancel:
            values["cancel_url"] = urls.cancel
        values |= _payer_values(account, options)
        page = await self._stripe.make_page(values, _key_of_values(key, values))
        if isinstance(page, _refusals):
            return page
        expires_at = datetime.fromtimestamp(page.expires_at, UTC) if page.expires_at else None
        return Link(tracking_id=page.id, url=page.url or "", expires_at=expires_at)

    async def cancel_link(self, tracking_id: str, *, key: str) -> Refusal | None:
        """Expire a page, or cancel a charge that waits for its payer."""
        if tracking_id.startswith("pi_"):
            cancelled = await self._api.ask(
                lambda client: client.v1.payment_intents.cancel_async(tracking_id, {}, keyed(key))
            )
            return cancelled if isinstance(cancelled, (Retryable, Fatal)) else None
        closed = await self._api.ask(
            lambda client: client.v1.checkout.sessions.expire_async(tracking_id, {}, keyed(key))
        )
        return closed if isinstance(closed, (Retryable, Fatal)) else None

    async def ask_page(self, lookup: ChargeLookup) -> Report | Refusal | None:
        """How a page stands, or a charge that waits for its payer; what went back of its money is asked for too."""
        if lookup.tracking_id is None or not lookup.tracking_id.startswith("cs_"):
            charge = await self.get_payment(lookup)
            return report_of(charge) if isinstance(charge, ProviderCharge) else charge
        page = await self._stripe.read_page(lookup.tracking_id)
        if isinstance(page, _refusals):
            return page
        report = read_page(page)
        if page.payment_intent is None or page.status != "complete":
            return report
        charge = await self.get_payment(replace(lookup, gateway_payment_id=page.payment_intent))
        if not isinstance(charge, ProviderCharge):
            return charge
        if report is None:
            return fail_page(page) if charge.state is ChargeState.FAILED else None
        return replace(report, charge=replace(charge, tracking_id=page.id))

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
        try:
            units = to_stripe_amount(amount, currency)
        except InexactAmount as error:
            return Declined("inexact_amount", str(error))
        method = await self._stripe.read(
            StripeMethod, lambda client: client.v1.payment_methods.retrieve_async(method_id)
        )
        if isinstance(method, _refusals):
            return method
        values: Any = {
            "amount": units,
            "currency": currency,
            "confirm": True,
            "metadata": self._metadata(**{PAYMENT: payment_id, FLOW: CHARGE}),
            "off_session": True,
            "payment_method": method_id,
            "payment_method_types": [method.type],
        }
        if account is not None:
            values["customer"] = account.provider_customer_id
        intent = await self._stripe.read_intent(
            lambda client: client.v1.payment_intents.create_async(values, keyed(key))
        )
        return await self._settled(intent, return_url, key)

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
        """A Checkout page that saves a method. What it saves may always be charged with nobody present."""
        metadata = self._metadata(**{CUSTOMER: account.customer_id})
        if make_default:
            metadata[MAKE_DEFAULT] = "true"
        values: Any = {
            "mode": "setup",
            "customer": account.provider_customer_id,
            "payment_method_types": list(kinds),
            "metadata": metadata,
            "setup_intent_data": {"metadata": metadata},
            "success_url": urls.success or self._base_url,
            "expand": ["setup_intent"],
        }
        if urls.cancel:
            values["cancel_url"] = urls.cancel
        page = await self._stripe.make_page(values, key)
        if isinstance(page, _refusals):
            return page
        setup = page.setup_intent if isinstance(page.setup_intent, StripeSetup) else None
        return Setup(
            setup_id=setup.id if setup is not None else str(page.setup_intent or ""),
            session_id=page.id,
            url=page.url or "",
            client_secret=(setup.client_secret if setup is not None else None) or "",
            expires_at=datetime.fromtimestamp(page.expires_at or 0, UTC),
        )

    async def list_methods(self, account: Account) -> Sequence[Method] | Refusal:
        """Those that can be charged with nobody present; without a default, the newest first."""
        customer_id = account.provider_customer_id
        customer = await self._stripe.read(
            StripeCustomer, lambda client: client.v1.customers.retrieve_async(customer_id)
        )
        if isinstance(customer, _refusals):
            return customer
        if customer.deleted:
            return []
        rows = await self._stripe.read_rows(
            StripeMethod,
            lambda client: client.v1.customers.payment_methods.list_async(customer_id, {"limit": 100}),
        )
        if isinstance(rows, _refusals):
            return rows
        default = customer.invoice_settings.default_payment_method if customer.invoice_settings else None
        methods = [_method(row, is_default=row.id == default) for row in rows if row.type in _KINDS]
        return sorted(methods, key=lambda method: not method.is_default)

    async def get_payment(self, lookup: ChargeLookup) -> ProviderCharge | Refusal | None:
        """The charge as it stands now, with what went back of it.

        Without its id there it is looked for on its page, else among the customer's intents: a list tells at once of
        what was just made, which a search does not.
        """
        intent = await self._stripe.find_intent(lookup)
        if intent is None or isinstance(intent, _refusals):
            return intent
        settled = await self._settled(intent, lookup.return_url, lookup.payment_id)
        if isinstance(settled, _refusals):
            return settled
        refunds = await self._stripe.read_refunds(intent.id)
        if isinstance(refunds, _refusals):
            return refunds
        returned = [row for row in refunds if row.status == "succeeded"]
        amounts = [from_stripe_amount(row.amount, row.currency) for row in returned]
        keys = frozenset(key for row in returned if (key := row.note(REFUND)) is not None)
        return replace(settled, refunded=exact_sum(amounts), refund_keys=keys)

    async def refund(self, gateway_payment_id: str, amount: Decimal, *, key: str) -> SentBack | Refusal:
        """Send money back. What was asked for with this key before is found, however long ago that was."""
        refunds = await self._stripe.read_refunds(gateway_payment_id)
        if isinstance(refunds, _refusals):
            return refunds
        made: StripeRefund | Refusal | None = next((row for row in refunds if row.note(REFUND) == key), None)
        if made is None:
            intent = await self._stripe.read_intent(
                lambda client: client.v1.payment_intents.retrieve_async(gateway_payment_id)
            )
            if isinstance(intent, _refusals):
                return intent
            try:
                units = to_stripe_amount(amount, intent.currency)
            except InexactAmount as error:
                return Declined("inexact_amount", str(error))
            values: Any = {
                "payment_intent": gateway_payment_id,
                "amount": units,
                "metadata": self._metadata(**{REFUND: key}),
            }
            made = await self._stripe.read(
                StripeRefund, lambda client: client.v1.refunds.create_async(values, keyed(f"refund/{key}"))
            )
        if isinstance(made, _refusals):
            return made
        if made.status in {"failed", "canceled"}:
            return Declined(made.failure_reason or "refund_failed", "Stripe could not send the money back")
        sent = from_stripe_amount(made.amount, made.currency)
        return SentBack(gateway_refund_id=made.id, amount=sent, settled=made.status == "succeeded")

    async def push_invoice(self, bill: ProviderInvoice, *, key: str) -> str | Refusal:
        return Fatal("No invoices are copied to Stripe")

    async def mark_invoice_paid(self, provider_invoice_id: str, *, key: str) -> Refusal | None:
        return Fatal("No invoices are copied to Stripe")

    async def void_invoice(self, provider_invoice_id: str, *, key: str) -> Refusal | None:
        return Fatal("No invoices are copied to Stripe")

    def verify_webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Sequence[Report]:
        verify_signature(self._webhook_secret, headers.get(HEADER), body, now)
        return [read_event(body, self._owner)]

    async def follow_up(self, report: Report) -> Report | Refusal:
        """Ask how a charge stands that money went back of, whichever event of it comes first; set a new default."""
        if report.kind in _ABOUT_A_CHARGE:
            intent_id = report.context.get(INTENT, "")
            intent = await self._stripe.read_intent(lambda client: client.v1.payment_intents.retrieve_async(intent_id))
            if isinstance(intent, _refusals):
                return intent
            payment_id = intent.note(PAYMENT)
            charge = await self.get_payment(ChargeLookup(payment_id or "", gateway_payment_id=intent_id))
            if isinstance(charge, _refusals):
                return charge
            return replace(report, payment_id=payment_id, charge=charge)
        if METHOD_CUSTOMER in report.context:
            refusal = await self._make_default(report.context)
            if refusal is not None:
                return refusal
        return report

    async def _make_default(self, context: Mapping[str, str]) -> Refusal | None:
        """Let the method that was just saved be the one that its customer is charged by."""
        if SETUP in context:
            source = await self._stripe.read(
                StripeSetup, lambda client: client.v1.setup_intents.retrieve_async(context[SETUP])
            )
        else:
            source = await self._stripe.read_intent(
                lambda client: client.v1.payment_intents.retrieve_async(context[INTENT])
            )
        if isinstance(source, _refusals):
            return source
        if source.payment_method is None:
            return None
        values: Any = {"invoice_settings": {"default_payment_method": source.payment_method}}
        changed = await self._api.ask(lambda client: client.v1.customers.update_async(context[METHOD_CUSTOMER], values))
        return changed if isinstance(changed, _refusals) else None

    async def _settled(
        self, intent: PaymentIntent | Refusal, return_url: str | None, key: str
    ) -> ProviderCharge | Refusal:
        """What an intent has come to. One that was refused because its payer was not there gets a page to confirm on.

        The page has a key of its own, so that a repeat leads to the same one.
        """
        if isinstance(intent, _refusals):
            return intent
        error = intent.last_payment_error
        is_ours = intent.note(FLOW) == CHARGE
        if not (is_ours and intent.waits_for_authentication) or error is None or error.payment_method is None:
            return charge_of(intent)
        method = error.payment_method
        values: Any = {
            "payment_method": method if isinstance(method, str) else method.id,
            "return_url": return_url or self._base_url,
        }
        confirmed = await self._stripe.read_intent(
            lambda client: client.v1.payment_intents.confirm_async(intent.id, values, keyed(f"{key}/confirm"))
        )
        return confirmed if isinstance(confirmed, _refusals) else charge_of(confirmed)

    def _metadata(self, **notes: str) -> dict[str, str]:
        """What we write on Stripe's objects to know them again."""
        return {ENVIRONMENT: self._environment_id, **notes}


def _key_of_values(key: str, values: Any) -> str:
    """A key for what is asked in these words alone; in others it is another request."""
    return f"{key}/{hashlib.sha256(msgspec.json.encode(values, order='sorted')).hexdigest()[:16]}"


def _payer_values(account: Account | None, options: Mapping[str, str]) -> dict[str, Any]:
    """Who pays on a page, and whether a tax number is asked for."""
    values: dict[str, Any] = {} if account is None else {"customer": account.provider_customer_id}
    if options.get("tax_id_collection_enabled") == "true":
        values["tax_id_collection"] = {"enabled": True}
        if account is not None:
            values["customer_update"] = {"name": "auto", "address": "auto"}
    return values


def _method(row: StripeMethod, *, is_default: bool) -> Method:
    card = row.card
    return Method(
        id=row.id,
        kind=_KINDS[row.type],
        is_default=is_default,
        brand=card.brand if card is not None else None,
        last4=card.last4 if card is not None else None,
        exp_month=card.exp_month if card is not None else None,
        exp_year=card.exp_year if card is not None else None,
    )
