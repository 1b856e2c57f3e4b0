"""AWS Marketplace: `BatchMeterUsage` of its metering service, through the client library that exports to S3 use.

Rule: docs/rules/marketplaces.md#aws-marketplace
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from farthing.core.errors import NotImplementedHere, ValidationFailed
from farthing.marketplaces.ports import MarketplacePorts
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

KEY_NAMES = ("aws_access_key_id", "aws_secret_access_key")
_TOKEN = "aws_session_token"  # noqa: S105 (its name)
_ROLE, _EXTERNAL_ID = "aws_role_arn", "aws_external_id"
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}", re.ASCII)
_EXTERNAL = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_ROLE_SESSION = "farthing"
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]{2,12}){1,3}-\d{1,2}")
DEFAULT_REGION = "us-east-1"
CONNECT_SECONDS, READ_SECONDS = 10, 30
_OF_WHAT_WAS_SENT = frozenset(
    {
        "InvalidCustomerIdentifierException",
        "InvalidLicenseException",
        "InvalidProductCodeException",
        "InvalidTagException",
        "InvalidUsageAllocationsException",
        "InvalidUsageDimensionException",
        "SerializationException",
        "ValidationException",
    }
)
"""What is wrong with the records of a call; anything else is wrong with the call or the account."""
_TOO_OLD = "TimestampOutOfBoundsException"


def check_connection(draft: ConnectionDraft) -> None:
    """Raises ValidationFailed, naming the field, for a connection that could report nothing."""
    for name in KEY_NAMES:
        required(draft.secrets, name)
    _role(draft.secrets)
    _region(draft.sync_config)


def _role(secrets: Mapping[str, Any]) -> Mapping[str, str] | None:
    """The role that the key takes on to report, as AWS is asked for it; None where the key reports itself."""
    if not secrets.get(_ROLE):
        if secrets.get(_EXTERNAL_ID):
            raise ValidationFailed.of(f"{WHERE}.{_EXTERNAL_ID}", f"goes with {_ROLE}")
        return None
    role, external_id = required(secrets, _ROLE), secrets.get(_EXTERNAL_ID)
    if not _ROLE_ARN.fullmatch(role):
        raise ValidationFailed.of(f"{WHERE}.{_ROLE}", "must be the ARN of a role, arn:aws:iam::123456789012:role/name")
    if not external_id:
        return {"RoleArn": role}
    if not isinstance(external_id, str) or not _EXTERNAL.fullmatch(external_id):
        raise ValidationFailed.of(f"{WHERE}.{_EXTERNAL_ID}", "must be 2 to 1224 letters, digits and =,.@:/+-_")
    return {"RoleArn": role, "ExternalId": external_id}


def _region(config: SyncConfig | None) -> str:
    region = config.aws_marketplace.region if config is not None and config.aws_marketplace is not None else None
    if not region:
        return DEFAULT_REGION
    if not _REGION.fullmatch(region):
        raise ValidationFailed.of("sync_config.aws_marketplace.region", "must be a region such as us-east-1")
    return region


@dataclass(frozen=True, slots=True)
class AwsReporter:
    """An account at AWS Marketplace."""

    _session: Any
    _options: Mapping[str, Any]
    _role: Mapping[str, str] | None = None

    def call_of(self, terms: Mapping[str, Any]) -> str:
        """A call is for one product, or for licences, which say themselves which product they are of."""
        return "" if terms["concurrent_agreements"] else str(terms["product_code"])

    async def send(self, reports: Sequence[UsageToReport]) -> Sequence[ReportOutcome]:
        """As the interface says."""
        product = self.call_of(reports[0].terms)
        asked: dict[str, Any] = {"UsageRecords": [_record(report) for report in reports]}
        if product:
            asked["ProductCode"] = product
        async with self._client("meteringmarketplace") as client:
            answer = await client.batch_meter_usage(**asked)
        results = {_key(result["UsageRecord"]): result for result in answer.get("Results", ())}
        unprocessed = {_key(record) for record in answer.get("UnprocessedRecords", ())}
        return [_outcome(_key(record), results, unprocessed) for record in asked["UsageRecords"]]

    async def ask(self) -> str:
        """As the interface says; asks whose key it is. Whether it may meter shows with the first report."""
        async with self._client("sts") as client:
            account = (await client.get_caller_identity())["Account"]
        return f"AWS takes the key, which is of account {account}"

    @asynccontextmanager
    async def _client(self, service: str) -> AsyncIterator[Any]:
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            ConnectTimeoutError,
            EndpointConnectionError,
            ProxyConnectionError,
        )

        try:
            options = await self._assumed()
            async with self._session.create_client(service, **options) as client:
                yield client
        except ClientError as error:
            raise _refusal(error.response) from error
        except (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError) as error:
            words = "AWS cannot be reached"  # no record has left
            raise MarketplaceUnavailable(words, is_unknown=False) from error
        except (BotoCoreError, OSError, TimeoutError) as error:
            words = f"AWS did not answer: {type(error).__name__}"
            raise MarketplaceUnavailable(words, is_unknown=True) from error

    async def _assumed(self) -> Mapping[str, Any]:
        """What a client is made with: the keys of the connection, or those that its role has for the next hour."""
        if self._role is None:
            return self._options
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            async with self._session.create_client("sts", **self._options) as client:
                answer = await client.assume_role(RoleSessionName=_ROLE_SESSION, **self._role)
        except ClientError as error:
            words = f"AWS refused the role: {error.response.get('Error', {}).get('Code', '')}"
            raise MarketplaceUnavailable(words, is_unknown=False) from error  # no record has left
        except (BotoCoreError, OSError, TimeoutError) as error:
            words = f"AWS did not answer for the role: {type(error).__name__}"
            raise MarketplaceUnavailable(words, is_unknown=False) from error
        keys = answer["Credentials"]
        return {
            **self._options,
            "aws_access_key_id": keys["AccessKeyId"],
            "aws_secret_access_key": keys["SecretAccessKey"],
            "aws_session_token": keys["SessionToken"],
        }


def _record(report: UsageToReport) -> dict[str, Any]:
    record = {
        "Timestamp": report.usage_start,
        "Dimension": report.terms["dimension"],
        "Quantity": report.quantity,
        "CustomerAWSAccountId": report.terms["customer_aws_account_id"],
    }
    # a product's usage must not be reported under product and licence both
    return {**record, "LicenseArn": report.terms["license_arn"]} if report.terms["concurrent_agreements"] else record


def _key(record: Mapping[str, Any]) -> tuple[str, str, datetime]:
    """What AWS tells one record of a call from another by."""
    customer = record.get("LicenseArn") or record.get("CustomerAWSAccountId") or record.get("CustomerIdentifier") or ""
    return customer, record["Dimension"], record["Timestamp"].astimezone(UTC).replace(microsecond=0)


def _outcome(
    key: tuple[str, str, datetime],
    results: Mapping[tuple[str, str, datetime], Mapping[str, Any]],
    unprocessed: set[tuple[str, str, datetime]],
) -> ReportOutcome:
    if key in unprocessed:
        return ReportOutcome(Verdict.NOT_TAKEN, "AWS did not process it this time")
    result = results.get(key)
    if result is None:
        return ReportOutcome(Verdict.UNKNOWN, "AWS said nothing of it")
    status = result.get("Status")
    if status == "Success":
        return ReportOutcome(Verdict.TAKEN, reporting_id=result.get("MeteringRecordId"))
    if status == "DuplicateRecord":
        return ReportOutcome(Verdict.REFUSED, "AWS has another quantity for this hour")
    if status == "CustomerNotSubscribed":
        return ReportOutcome(Verdict.REFUSED, "AWS says that the customer is not subscribed to the product")
    return ReportOutcome(Verdict.UNKNOWN, f"AWS answered {status}")


def _refusal(response: Mapping[str, Any]) -> Exception:
    error, status = response.get("Error", {}), response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = str(error.get("Code", "")).rpartition("#")[2]
    words = f"AWS refused it: {code}"
    if code == _TOO_OLD:
        return CallRefused(words, is_too_old=True)
    if code in _OF_WHAT_WAS_SENT:
        return CallRefused(words)
    return MarketplaceUnavailable(words, is_unknown=status >= 500)


@asynccontextmanager
async def opened_aws(
    secrets: Mapping[str, Any], config: SyncConfig | None, api_url: str | None, ports: MarketplacePorts
) -> AsyncIterator[AwsReporter]:
    """The account of a connection. Raises ValidationFailed for keys that are not there, NotImplementedHere."""
    try:
        from aiobotocore.config import AioConfig
        from aiobotocore.session import get_session
    except ImportError as error:
        raise NotImplementedHere(
            "Reports to AWS Marketplace need the package aiobotocore: install farthing[s3]",
            {"provider_type": "aws_marketplace"},
        ) from error
    key_id, secret = (required(secrets, name) for name in KEY_NAMES)
    role, region = _role(secrets), _region(config)
    resolver = ports.make_resolver()
    try:
        yield AwsReporter(
            get_session(),
            {
                "region_name": region,
                "endpoint_url": api_url,
                "aws_access_key_id": key_id,
                "aws_secret_access_key": secret,
                "aws_session_token": secrets.get(_TOKEN) or None,
                "config": AioConfig(
                    connector_args={"resolver": resolver, "socket_factory": ports.make_sockets(api_url is not None)},
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=READ_SECONDS,
                    retries={"total_max_attempts": 1},  # when it is sent again is decided here
                ),
            },
            role,
        )
    finally:
        await resolver.close()
