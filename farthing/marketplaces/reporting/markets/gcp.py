"""Google Cloud Marketplace: operations of the Service Control API.

Rule: docs/rules/marketplaces.md#google-cloud-marketplace
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from farthing.core.clock import instant
from farthing.core.errors import ValidationFailed
from farthing.marketplaces.ports import MarketplacePorts
from farthing.marketplaces.reporting.markets.http import Answer, MarketplaceHttp, fetch_token, opened_http
from farthing.marketplaces.reporting.markets.interface import (
    CallRefused,
    MarketplaceUnavailable,
    ReportOutcome,
    UsageToReport,
    Verdict,
)
from farthing.marketplaces.reporting.markets.secrets import WHERE
from farthing.payments.integration_schemas import SyncConfig
from farthing.payments.providers.registry import ConnectionDraft

TOKENS, API = "https://oauth2.googleapis.com", "https://servicecontrol.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/servicecontrol"
_KEY_NAME = "service_account_key"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_SECONDS = 600
_OPERATIONS = uuid.UUID("6a6c2c4e-1b1f-4f0e-9d55-3d5a0f7f1c55")
"""The namespace of operation ids, so that a report that is sent again has the same one."""
_TRANSIENT_CHECKS = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "ERROR_CODE_UNSPECIFIED", "BUDGET_EXCEEDED", "LOAD_SHEDDING")
_TRANSIENT_CODES = frozenset({1, 2, 4, 8, 10, 13, 14})
"""Codes of google.rpc: cancelled, unknown, deadline, exhausted, aborted, internal, unavailable."""


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Who reports."""

    email: str
    key_id: str
    private_key: RSAPrivateKey = field(repr=False)


def check_connection(draft: ConnectionDraft) -> None:
    """Raises ValidationFailed, naming the field, for a connection that could report nothing."""
    read_service_account(draft.secrets)


def read_service_account(secrets: Mapping[str, Any]) -> ServiceAccount:
    """The key file of a service account, as text or as the object it holds. Raises ValidationFailed."""
    name, given = f"{WHERE}.{_KEY_NAME}", secrets.get(_KEY_NAME)
    if not given:
        raise ValidationFailed.of(name, "is required: the JSON key of a service account")
    try:
        content = msgspec.json.decode(given) if isinstance(given, str) else given
    except msgspec.DecodeError as error:
        raise ValidationFailed.of(name, "must be JSON, as Google's key file is") from error
    if not isinstance(content, dict) or not isinstance(content.get("client_email"), str):
        raise ValidationFailed.of(name, "must have client_email, as Google's key file has")
    try:
        key = load_pem_private_key(str(content.get("private_key", "")).encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValidationFailed.of(name, "must have private_key, an RSA key in PEM") from error
    if not isinstance(key, RSAPrivateKey):
        raise ValidationFailed.of(name, "must have private_key, an RSA key in PEM")
    return ServiceAccount(content["client_email"], str(content.get("private_key_id", "")), key)


@dataclass(slots=True)
class GcpReporter:
    """A service account at Google Cloud."""

    _http: MarketplaceHttp
    _tokens_url: str
    _api_url: str
    _account: ServiceAccount
    _token: str | None = field(default=None, repr=False)

    def call_of(self, terms: Mapping[str, Any]) -> str:
        """A call is for one service."""
        return str(terms["service_name"])

    async def send(self, reports: Sequence[UsageToReport]) -> Sequence[ReportOutcome]:
        """As the interface says: each operation is checked, and those that may be reported are, in one call."""
        service = self.call_of(reports[0].terms)
        outcomes: dict[str, ReportOutcome] = {}
        for report in reports:
            if (refused := await self._check(service, report)) is not None:
                outcomes[report.id] = refused
        checked = [report for report in reports if report.id not in outcomes]
        if checked:
            outcomes.update(await self._report(service, checked))
        return [outcomes[report.id] for report in reports]

    async def ask(self) -> str:
        """As the interface says; asks for a token, and reports nothing."""
        await self._authorization()
        return f"Google gives a token to {self._account.email}"

    async def _check(self, service: str, report: UsageToReport) -> ReportOutcome | None:
        """Why an operation cannot be reported; None if it can. Nothing is taken by this."""
        try:
            answer = await self._call(service, "check", {"operation": _operation(report)})
        except MarketplaceUnavailable as error:
            raise MarketplaceUnavailable(str(error), is_unknown=False) from error
        errors = answer.body.get("checkErrors")
        if not errors:
            return None
        codes = sorted({str(error.get("code", "")) for error in errors if isinstance(error, dict)})
        passes = all(any(word in code for word in _TRANSIENT_CHECKS) for code in codes)
        words = f"Google's check refused it: {', '.join(codes)}"
        return ReportOutcome(Verdict.NOT_TAKEN if passes else Verdict.REFUSED, words)

    async def _report(self, service: str, reports: Sequence[UsageToReport]) -> dict[str, ReportOutcome]:
        by_operation = {operation_id(report): report.id for report in reports}
        operations = {"operations": [_operation(report) for report in reports]}
        answer = await self._call(service, "report", operations)
        outcomes = {
            report_id: ReportOutcome(Verdict.TAKEN, reporting_id=operation)
            for operation, report_id in by_operation.items()
        }
        for error in answer.body.get("reportErrors") or ():
            report_id = by_operation.get(str(error.get("operationId", "")))
            status = error.get("status") or {}
            if report_id is not None:
                words = f"Google refused it: {status.get('code')} {status.get('message', '')}".strip()[:500]
                is_transient = status.get("code") in _TRANSIENT_CODES
                outcomes[report_id] = ReportOutcome(Verdict.NOT_TAKEN if is_transient else Verdict.REFUSED, words)
        return outcomes

    async def _call(self, service: str, method: str, body: Mapping[str, Any]) -> Answer:
        """The answer of a call that worked. Raises MarketplaceUnavailable, CallRefused."""
        url = f"{self._api_url}/v1/services/{quote(service, safe='')}:{method}"
        answer = await self._http.post_json(url, body, {"authorization": await self._authorization()})
        if answer.status == 401:  # the token has run out, or was withdrawn
            self._token = None
            answer = await self._http.post_json(url, body, {"authorization": await self._authorization()})
        if answer.status == 200:
            return answer
        error = answer.body.get("error")
        words = error.get("message", "") if isinstance(error, dict) else ""
        if answer.status in {400, 404}:
            raise CallRefused(f"Google refused it: {words}"[:500])
        raise MarketplaceUnavailable(f"Google answered {answer.status}: {words}"[:500], is_unknown=answer.status >= 500)

    async def _authorization(self) -> str:
        if self._token is None:
            fields = {"grant_type": _GRANT, "assertion": self._assertion()}
            self._token = await fetch_token(self._http, self._tokens_url, fields, "Google")
        return f"Bearer {self._token}"

    def _assertion(self) -> str:
        """Who asks for a token, signed; by the clock on the wall, because Google looks at its own."""
        now = int(time.time())
        claims = {
            "iss": self._account.email,
            "scope": _SCOPE,
            "aud": f"{TOKENS}/token",
            "iat": now,
            "exp": now + _ASSERTION_SECONDS,
        }
        headers = {"kid": self._account.key_id} if self._account.key_id else None
        return jwt.encode(claims, self._account.private_key, algorithm="RS256", headers=headers)


def operation_id(report: UsageToReport) -> str:
    """What Google calls a report: the same whenever it is sent."""
    return str(uuid.uuid5(_OPERATIONS, report.id))


def _operation(report: UsageToReport) -> dict[str, Any]:
    value = {"int64Value": str(report.quantity)}
    return {
        "operationId": operation_id(report),
        "operationName": "Hourly Usage Report",
        "consumerId": report.terms["usage_reporting_id"],
        "startTime": instant(report.usage_start),
        "endTime": instant(report.usage_end),
        "metricValueSets": [{"metricName": report.terms["metric_name"], "metricValues": [value]}],
    }


@asynccontextmanager
async def opened_gcp(
    secrets: Mapping[str, Any], config: SyncConfig | None, api_url: str | None, ports: MarketplacePorts
) -> AsyncIterator[GcpReporter]:
    """The account of a connection. Raises ValidationFailed for a key that is not there or cannot be used."""
    del config
    account = read_service_account(secrets)
    async with opened_http("Google", ports, allow_private=api_url is not None) as http:
        yield GcpReporter(http, f"{api_url or TOKENS}/token", api_url or API, account)
