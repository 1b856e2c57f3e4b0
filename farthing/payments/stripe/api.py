"""Asking Stripe: its library over our HTTP client, with limits, repeats under the same key, and answers as values.

Rule: docs/rules/integrations.md#requests-to-stripe
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import stripe
from stripe import RequestOptions

from farthing.payments.providers.interface import Declined, Fatal, Refusal, Retryable
from farthing.payments.stripe.objects import HARD_DECLINES

REQUEST_SECONDS = 20.0
CONNECT_SECONDS = 5.0
PAUSES_SECONDS = (0.2, 0.8)
"""How long it waits before it asks again, where nobody knows whether Stripe heard of it."""
PATIENCE_SECONDS = 25.0
"""After this long it does not ask again."""
LARGEST_ANSWER = 16 * 1024 * 1024
STRIPE_API = "https://api.stripe.com"

Operation = Callable[[stripe.StripeClient], Awaitable[stripe.StripeObject]]

_CREDENTIAL = re.compile(r"\b(?:sk|rk|pk|whsec)_[\w*]+")


def is_live(secret_key: str) -> bool:
    """Whether a key moves real money."""
    return secret_key.split("_")[1:2] == ["live"]


class StripeTransport(stripe.HTTPClient):
    """One request over one connection, within limits of time and size, without redirects."""

    name = "aiohttp"

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Raises stripe.APIConnectionError where there is no whole answer."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, connect=CONNECT_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
                session.request(method, url, headers=headers, data=post_data, allow_redirects=False) as answer,
            ):
                body = await answer.content.read(LARGEST_ANSWER + 1)
                while len(body) <= LARGEST_ANSWER and (more := await answer.content.read(LARGEST_ANSWER)):
                    body += more
                if len(body) > LARGEST_ANSWER:
                    raise aiohttp.ClientPayloadError("the answer is too large")
                return body, answer.status, answer.headers
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
            raise stripe.APIConnectionError(type(failure).__name__) from None  # type: ignore[no-untyped-call]


class StripeApi:
    """The API in the name of one account."""

    def __init__(self, secret_key: str, api_url: str | None) -> None:
        _keep_quiet()
        self._client = stripe.StripeClient(
            secret_key or "none",
            base_addresses={"api": api_url or STRIPE_API},
            max_network_retries=0,
            http_client=StripeTransport(),
        )

    async def ask(self, operation: Operation) -> dict[str, Any] | Refusal:
        """What Stripe answers, as plain values. Nothing is raised.

        Where nobody knows whether Stripe has heard of it, it is asked again, under the key that the operation carries.
        """
        began = time.monotonic()
        for pause_seconds in PAUSES_SECONDS:
            answer, may_repeat = await self._try(operation)
            if not may_repeat or time.monotonic() - began > PATIENCE_SECONDS:
                return answer
            await asyncio.sleep(pause_seconds)
        return (await self._try(operation))[0]

    async def _try(self, operation: Operation) -> tuple[dict[str, Any] | Refusal, bool]:
        """One answer, and whether asking again may bring another."""
        try:
            return (await operation(self._client)).to_dict(), False
        except stripe.StripeError as error:
            refusal = refusal_of(error)
            told_not_to = error.headers is not None and error.headers.get("stripe-should-retry") == "false"
            return refusal, isinstance(refusal, Retryable) and not told_not_to


def _keep_quiet() -> None:
    """Let the library send nothing about earlier requests, and log none: a log is no place for what customers pay."""
    stripe.enable_telemetry = False
    logging.getLogger("stripe").setLevel(logging.WARNING)


def keyed(key: str) -> RequestOptions:
    """The options of a request that must have its effect once, however often it is sent."""
    return {"idempotency_key": key}


def refusal_of(error: stripe.StripeError) -> Refusal:
    """What an error of Stripe's library says, in words that hold no credential."""
    if isinstance(error, stripe.AuthenticationError):
        return Fatal("Stripe does not accept the secret key of the connection")
    if isinstance(error, stripe.PermissionError):
        return Fatal("The key of the connection may not do this at Stripe; give a restricted key more permissions")
    if isinstance(error, stripe.IdempotencyError):
        # something was made with this key and other values: what became of it is asked for, never made a second time
        return Retryable("Stripe has had another request under the same key")
    if isinstance(error, stripe.CardError):
        body = error.error
        codes = {error.code, getattr(body, "decline_code", None)}
        code = getattr(body, "decline_code", None) or error.code or ""
        return Declined(code, without_credentials(error.user_message), is_hard=not HARD_DECLINES.isdisjoint(codes))
    if isinstance(error, stripe.InvalidRequestError) and error.http_status in {400, 404}:
        return Declined(error.code or "invalid_request", without_credentials(error.user_message))
    if isinstance(error, stripe.RateLimitError):
        return Retryable("Stripe is asked too often at the moment")
    return Retryable("Stripe did not answer")


def without_credentials(message: str | None) -> str:
    """A message of Stripe's without the keys that it may quote."""
    return _CREDENTIAL.sub("[key]", message or "Stripe refused the request")
