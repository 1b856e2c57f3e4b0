"""Azure Marketplace: batches of usage events of its metering service.

Rule: docs/rules/marketplaces.md#azure-marketplace
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

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
from farthing.marketplaces.reporting.markets.secrets import WHERE, required
from farthing.payments.integration_schemas import SyncConfig
from farthing.payments.providers.registry import ConnectionDraft

LOGIN, API = "https://login.microsoftonline.com", "https://marketplaceapi.microsoft.com"
_RESOURCE = "20e940b3-4c77-4b0b-9a53-9e16a1b010a7"
"""What Microsoft's directory calls the metering service."""
_VERSION = "2018-08-31"
_DIRECTORY = re.compile(r"[A-Za-z0-9.-]{1,255}")
_NAMES = ("tenant_id", "client_id", "client_secret")


def check_connection(draft: ConnectionDraft) -> None:
    """Raises ValidationFailed, naming the field, for a connection that could report nothing."""
    for name in _NAMES:
        required(draft.secrets, name)
    _directory(draft.secrets)


def _directory(secrets: Mapping[str, Any]) -> str:
    directory = required(secrets, "tenant_id")
    if not _DIRECTORY.fullmatch(directory):
        raise ValidationFailed.of(f"{WHERE}.tenant_id", "must be the id of a directory, or its domain")
    return directory


@dataclass(slots=True)
class AzureReporter:
    """An account at Azure Marketplace."""

    _http: MarketplaceHttp
    _login_url: str
    _api_url: str
    _client_id: str
    _client_secret: str = field(repr=False)
    _token: str | None = field(default=None, repr=False)

    def call_of(self, terms: Mapping[str, Any]) -> str:
        """Any events go in one call."""
        del terms
        return ""

    async def send(self, reports: Sequence[UsageToReport]) -> Sequence[ReportOutcome]:
        """As the interface says."""
        answer = await self._batch(reports)
        if answer.status == 401:  # the token has run out, or was withdrawn
            self._token = None
            answer = await self._batch(reports)
        if answer.status == 400:
            raise CallRefused(f"Azure refused it: {_words(answer)}")
        if answer.status != 200:
            words = f"Azure answered {answer.status}: {_words(answer)}"
            raise MarketplaceUnavailable(words, is_unknown=answer.status >= 500)
        results = answer.body.get("result")
        found = {_key(result): result for result in results or () if isinstance(result, dict)}
        return [_outcome(report, found.get(_key_of(report))) for report in reports]

    async def ask(self) -> str:
        """As the interface says; asks for a token for the metering service, and tells it nothing."""
        await self._authorization()
        return "Microsoft gives a token for the metering service"

    async def _batch(self, reports: Sequence[UsageToReport]) -> Answer:
        events = [
            {
                "resourceId": report.terms["resource_id"],
                "planId": report.terms["plan_id"],
                "dimension": report.terms["dimension"],
                "effectiveStartTime": instant(report.usage_start),
                "quantity": report.quantity,
            }
            for report in reports
        ]
        headers = {"authorization": await self._authorization()}
        url = f"{self._api_url}/api/batchUsageEvent?api-version={_VERSION}"
        return await self._http.post_json(url, {"request": events}, headers)

    async def _authorization(self) -> str:
        if self._token is None:
            fields = {
                "grant_type": "client_credentials",
                "client_id": self._client_id,
                "client_secret": self._client_secret,
                "resource": _RESOURCE,
            }
            self._token = await fetch_token(self._http, self._login_url, fields, "Microsoft")
        return f"Bearer {self._token}"


def _words(answer: Answer) -> str:
    return f"{answer.body.get('code', '')} {answer.body.get('message', '')}".strip()[:500]


def _key_of(report: UsageToReport) -> tuple[str, str, datetime]:
    return report.terms["resource_id"].lower(), report.terms["dimension"], report.usage_start


def _key(result: Mapping[str, Any]) -> tuple[str, str, datetime | None]:
    """What one event of a call is told from another by."""
    resource = result.get("resourceId") or result.get("resourceUri") or ""
    return str(resource).lower(), str(result.get("dimension", "")), _moment(result.get("effectiveStartTime"))


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _outcome(report: UsageToReport, result: Mapping[str, Any] | None) -> ReportOutcome:
    if result is None:
        return ReportOutcome(Verdict.UNKNOWN, "Azure said nothing of it")
    status = str(result.get("status", ""))
    error = result.get("error")
    details = error if isinstance(error, dict) else {}
    words = f"Azure answered {status} {details.get('message', '')}".strip()[:500]
    if status == "Accepted":
        return ReportOutcome(Verdict.TAKEN, reporting_id=_text(result.get("usageEventId")))
    if status == "Duplicate":
        return _duplicate(report, details)
    if status == "Expired":
        return ReportOutcome(Verdict.TOO_OLD, words)
    if status in {"Error", ""}:
        return ReportOutcome(Verdict.UNKNOWN, words)
    return ReportOutcome(Verdict.REFUSED, words)


def _duplicate(report: UsageToReport, details: Mapping[str, Any]) -> ReportOutcome:
    """Taken before: by us, if the quantity is ours."""
    more = details.get("additionalInfo")
    accepted = more.get("acceptedMessage") if isinstance(more, dict) else None
    if isinstance(accepted, dict) and accepted.get("quantity") == report.quantity:
        return ReportOutcome(Verdict.TAKEN, reporting_id=_text(accepted.get("usageEventId")))
    has = accepted.get("quantity") if isinstance(accepted, dict) else None
    return ReportOutcome(Verdict.REFUSED, f"Azure has another quantity for this hour: {has}")


def _text(value: Any) -> str | None:
    return None if value is None else str(value)[:255]


@asynccontextmanager
async def opened_azure(
    secrets: Mapping[str, Any], config: SyncConfig | None, api_url: str | None, ports: MarketplacePorts
) -> AsyncIterator[AzureReporter]:
    """The account of a connection. Raises ValidationFailed for secrets that are not there."""
    del config
    directory = _directory(secrets)
    client_id, client_secret = required(secrets, "client_id"), required(secrets, "client_secret")
    async with opened_http("Azure", ports, allow_private=api_url is not None) as http:
        login_url = f"{api_url or LOGIN}/{directory}/oauth2/token"
        yield AzureReporter(http, login_url, api_url or API, client_id, client_secret)
