"""What Stripe answers, read into our structs or refusals."""

from __future__ import annotations

from typing import Any

import stripe

from farthing.payments.providers.interface import ChargeLookup, Declined, Fatal, Refusal, Retryable
from farthing.payments.stripe.api import Operation, StripeApi, keyed
from farthing.payments.stripe.objects import PAYMENT, PaymentIntent, StripeCheckout, StripeRefund, read_object

_MOST_INTENTS = 1000
"""How many of a customer's newest intents are looked through for one that we lost sight of."""
_UNREADABLE = Retryable("Stripe answered something else than it documents")

_refusals = (Declined, Retryable, Fatal)


class StripeReader:
    """Objects of one account, asked for and read; what cannot be read is a refusal."""

    def __init__(self, api: StripeApi) -> None:
        self._api = api

    async def find_intent(self, lookup: ChargeLookup) -> PaymentIntent | Refusal | None:
        """A charge's intent, by its id, by its page's, or among its customer's; None where there is none."""
        intent_id = lookup.gateway_payment_id
        if intent_id is None and lookup.tracking_id is not None and lookup.tracking_id.startswith("cs_"):
            page = await self.read_page(lookup.tracking_id)
            if isinstance(page, _refusals):
                return page
            intent_id = page.payment_intent
        if intent_id is None:
            return await self._find_among(lookup)
        known_id = intent_id
        return await self.read_intent(lambda client: client.v1.payment_intents.retrieve_async(known_id))

    async def _find_among(self, lookup: ChargeLookup) -> PaymentIntent | Refusal | None:
        """The intent with our payment's id on it, among the newest of its customer."""
        if lookup.account is None:
            return Retryable("The payer is not linked to a customer at Stripe, whose payments could be looked through")
        customer_id = lookup.account.provider_customer_id
        rows = await self.read_rows(
            PaymentIntent,
            lambda client: client.v1.payment_intents.list_async({"customer": customer_id, "limit": 100}),
        )
        if isinstance(rows, _refusals):
            return rows
        mine = next((row for row in rows if row.note(PAYMENT) == lookup.payment_id), None)
        if mine is None and len(rows) >= _MOST_INTENTS:
            return Retryable("The customer has too many payments at Stripe to find this one")
        return mine

    async def read_refunds(self, intent_id: str) -> list[StripeRefund] | Refusal:
        """What was sent back of an intent, and what is on its way."""
        refunds: list[StripeRefund] | Refusal = await self.read_rows(
            StripeRefund,
            lambda client: client.v1.refunds.list_async({"payment_intent": intent_id, "limit": 100}),
        )
        return refunds

    async def read_page(self, page_id: str) -> StripeCheckout | Refusal:
        """A page that was made before."""
        page: StripeCheckout | Refusal = await self.read(
            StripeCheckout, lambda client: client.v1.checkout.sessions.retrieve_async(page_id)
        )
        return page

    async def make_page(self, values: Any, key: str) -> StripeCheckout | Refusal:
        """A page of these values; the same one for a repeat under `key`."""
        page: StripeCheckout | Refusal = await self.read(
            StripeCheckout, lambda client: client.v1.checkout.sessions.create_async(values, keyed(key))
        )
        return page

    async def read_intent(self, operation: Operation) -> PaymentIntent | Refusal:
        """An intent, also one whose charge the bank refused: Stripe answers that with an error that holds it."""

        async def ask(client: stripe.StripeClient) -> stripe.StripeObject:
            try:
                return await operation(client)
            except stripe.CardError as error:
                intent = getattr(error.error, "payment_intent", None)
                if isinstance(intent, stripe.StripeObject):
                    return intent
                raise

        answer: PaymentIntent | Refusal = await self.read(PaymentIntent, ask)
        return answer

    async def read(self, kind: type[Any], operation: Operation) -> Any:
        """What Stripe answers as one of our structs, or a refusal."""
        answer = await self._api.ask(operation)
        if isinstance(answer, _refusals):
            return answer
        try:
            return read_object(answer, kind)
        except ValueError:
            return _UNREADABLE

    async def read_rows(self, kind: type[Any], operation: Operation) -> Any:
        """All rows of a list, or a refusal; at most the newest thousand."""

        async def ask(client: stripe.StripeClient) -> stripe.StripeObject:
            page: Any = await operation(client)
            rows = list(page.data)
            while page.has_more and len(rows) < _MOST_INTENTS:
                page = await page.next_page_async()
                rows.extend(page.data)
            return stripe.StripeObject.construct_from({"data": [row.to_dict() for row in rows]}, None)

        answer = await self._api.ask(ask)
        if isinstance(answer, _refusals):
            return answer
        try:
            return [read_object(row, kind) for row in answer["data"]]
        except ValueError:
            return _UNREADABLE
