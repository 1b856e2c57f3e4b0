"""A small HTTP server that answers as AWS, Azure and Google document their marketplaces' metering, with a ledger each.

It is none of them, and nothing in it was recorded there. Accounts are told apart by their keys, so that every test has
its own. Quantities are taken once for a customer, dimension and hour; the same again is the same, another is refused.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import jwt
from aiohttp import web

from tests.ports import free_port

Body = dict[str, Any]
MOST_IN_A_CALL = 25
_TOO_OLD = {"aws": timedelta(hours=6), "azure": timedelta(hours=24), "gcp": timedelta(hours=24)}
_HOUR = timedelta(hours=1)
_IDS = count(1)


@dataclass
class Market:
    """One account at one marketplace. `now` is its clock; without it nothing is too old."""

    kind: str
    now: datetime | None = None
    taken: dict[tuple[str, str, datetime], tuple[int, str]] = field(default_factory=dict)
    """By customer, dimension and hour: the quantity, and what the marketplace calls it."""
    sent: list[list[Body]] = field(default_factory=list)
    """What each call held."""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    """Each call's name, and its body."""
    faults: list[str | int] = field(default_factory=list)
    """What the next calls that report meet: a status, `unanswered` (done), `lost` (never arrives), `done 500`,
    `held` (done, never answered), `ignored` (neither), `unprocessed`."""
    strangers: set[str] = field(default_factory=set)
    """Who is not subscribed."""
    tokens: int = 0
    """How many were given; only the newest is good."""
    held: asyncio.Event = field(default_factory=asyncio.Event)
    public_key: Any = None
    """Google's own of the service account."""

    @property
    def total(self) -> int:
        return sum(quantity for quantity, _ in self.taken.values())

    @property
    def by_hour(self) -> dict[str, int]:
        """What was taken in each hour."""
        return {f"{hour:%dT%H}": quantity for (_, _, hour), (quantity, _) in sorted(self.taken.items(), key=_hour)}

    def is_too_old(self, moment: datetime) -> bool:
        return self.now is not None and moment < self.now - _TOO_OLD[self.kind]

    def take(self, customer: str, dimension: str, moment: datetime, quantity: int) -> tuple[str, int, str]:
        """`taken`, `again` or `other`, with the quantity that stands and its id."""
        key = (customer, dimension, moment.replace(minute=0, second=0, microsecond=0))
        if key in self.taken:
            stands, reporting_id = self.taken[key]
            return ("again" if stands == quantity else "other"), stands, reporting_id
        self.taken[key] = (quantity, f"{self.kind}-{next(_IDS)}")
        return "taken", *self.taken[key]


def _hour(item: tuple[tuple[str, str, datetime], Any]) -> datetime:
    return item[0][2]


@dataclass
class DocumentedMarkets:
    """The three, at one address."""

    url: str
    markets: dict[tuple[str, str], Market] = field(default_factory=dict)

    def market(self, kind: str, account: str) -> Market:
        """The account with this key: an access key, a client's id, a service account's address."""
        return self.markets.setdefault((kind, account), Market(kind))

    async def aws(self, request: web.Request) -> web.StreamResponse:
        credential = re.search(r"Credential=([^/]+)/", request.headers["authorization"])
        assert credential is not None
        market = self.market("aws", credential[1])
        text = await request.text()
        if "GetCallerIdentity" in text:
            return web.Response(content_type="text/xml", text=_IDENTITY)
        assert request.headers["x-amz-target"] == "AWSMPMeteringService.BatchMeterUsage"
        body = json.loads(text)
        market.calls.append(("BatchMeterUsage", body))
        return await _with_fault(market, lambda fault: _batch_meter_usage(market, body, fault))

    async def azure_token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        assert form["grant_type"] == "client_credentials"
        assert form["resource"] == "20e940b3-4c77-4b0b-9a53-9e16a1b010a7"
        market = self.market("azure", form["client_id"])
        market.calls.append(("token", form))
        if form["client_secret"] != "hidden":
            return web.json_response({"error": "invalid_client", "error_description": "..."}, status=401)
        market.tokens += 1
        return web.json_response({"token_type": "Bearer", "access_token": f"{form['client_id']} {market.tokens}"})

    async def azure_batch(self, request: web.Request) -> web.StreamResponse:
        market, refused = self._bearer("azure", request)
        if refused is not None:
            return refused
        assert request.query["api-version"] == "2018-08-31"
        body = await request.json()
        market.calls.append(("batchUsageEvent", body))
        return await _with_fault(market, lambda fault: _batch_usage_event(market, body["request"], fault))

    async def gcp_token(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        assertion = str(form["assertion"])
        email = jwt.decode(assertion, options={"verify_signature": False})["iss"]
        market = self.market("gcp", email)
        market.calls.append(("token", None))
        try:
            claims = jwt.decode(
                assertion, market.public_key, algorithms=["RS256"], audience="https://oauth2.googleapis.com/token"
            )
        except jwt.InvalidSignatureError:
            return web.json_response({"error": "invalid_grant"}, status=400)
        assert claims["scope"] == "https://www.googleapis.com/auth/servicecontrol"
        market.tokens += 1
        return web.json_response({"access_token": f"{email} {market.tokens}", "expires_in": 3599})

    async def gcp_call(self, request: web.Request) -> web.StreamResponse:
        market, refused = self._bearer("gcp", request)
        if refused is not None:
            return refused
        _service, _, method = request.match_info["call"].partition(":")
        body = await request.json()
        market.calls.append((method, body))
        if method == "check":
            consumer = body["operation"]["consumerId"]
            errors = [{"code": "SERVICE_NOT_ACTIVATED"}] if consumer in market.strangers else []
            return web.json_response({"operationId": body["operation"]["operationId"], "checkErrors": errors})
        return await _with_fault(market, lambda fault: _report(market, body["operations"], fault))

    def _bearer(self, kind: str, request: web.Request) -> tuple[Market, web.Response | None]:
        token = request.headers["authorization"].removeprefix("Bearer ")
        account, _, number = token.rpartition(" ")
        market = self.market(kind, account)
        is_good = int(number) == market.tokens
        return market, None if is_good else web.json_response({"error": {"message": "expired"}}, status=401)


async def _with_fault(market: Market, answered: Any) -> web.StreamResponse:
    fault = market.faults.pop(0) if market.faults else None
    if fault == "lost":
        raise _HangUp
    if fault == "ignored":
        market.held.set()
        await asyncio.Event().wait()
    if isinstance(fault, int):
        code = {429: "ThrottlingException", 403: "AccessDeniedException"}.get(fault, "InternalServiceErrorException")
        return web.json_response({"__type": code, "message": "as asked for", "error": {"message": code}}, status=fault)
    answer: web.Response = answered(fault)
    if fault == "unanswered":
        raise _HangUp
    if fault == "done 500":
        return web.json_response({"__type": "InternalServiceErrorException"}, status=500)
    if fault == "held":
        market.held.set()
        await asyncio.Event().wait()
    return answer


class _HangUp(Exception):
    """The connection ends without an answer."""


@web.middleware
async def _hanging_up(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except _HangUp:
        assert request.transport is not None
        request.transport.close()
        return web.Response()
    return answer


def _batch_meter_usage(market: Market, body: Body, fault: Any) -> web.Response:
    records = body["UsageRecords"]
    assert len(records) <= MOST_IN_A_CALL
    market.sent.append(records)
    if fault == "unprocessed":
        return _aws({"Results": [], "UnprocessedRecords": records})
    results = []
    for record in records:
        assert 0 <= record["Quantity"] <= 2**31 - 1
        assert ("LicenseArn" in record) != ("ProductCode" in body), "never both"
        moment = datetime.fromtimestamp(record["Timestamp"], UTC)
        if market.is_too_old(moment):
            return _aws({"__type": "TimestampOutOfBoundsException", "message": "too old"}, 400)
        if record["Dimension"] == "unknown":
            return _aws({"__type": "InvalidUsageDimensionException", "message": "no such dimension"}, 400)
    for record in records:
        customer = record.get("LicenseArn") or record["CustomerAWSAccountId"]
        if customer in market.strangers:
            results.append({"UsageRecord": record, "Status": "CustomerNotSubscribed"})
            continue
        moment = datetime.fromtimestamp(record["Timestamp"], UTC)
        verdict, _, reporting_id = market.take(customer, record["Dimension"], moment, record["Quantity"])
        if verdict == "other":
            results.append({"UsageRecord": record, "Status": "DuplicateRecord"})
        else:
            results.append({"UsageRecord": record, "Status": "Success", "MeteringRecordId": reporting_id})
    # the order of an answer is nobody's promise
    return _aws({"Results": results[::-1], "UnprocessedRecords": []})


def _aws(body: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, text=json.dumps(body), content_type="application/x-amz-json-1.1")


def _batch_usage_event(market: Market, events: list[Body], fault: Any) -> web.Response:
    del fault
    assert len(events) <= MOST_IN_A_CALL
    market.sent.append(events)
    results = []
    for event in events:
        assert event["quantity"] > 0
        moment = datetime.fromisoformat(event["effectiveStartTime"])
        answer = {**event, "effectiveStartTime": f"{moment:%Y-%m-%dT%H:%M:%S}", "messageTime": "2026-01-01T00:00:00Z"}
        if event["resourceId"] in market.strangers:
            results.append({**answer, "status": "ResourceNotActive", "error": {"message": "not active"}})
            continue
        if market.is_too_old(moment):
            results.append({**answer, "status": "Expired"})
            continue
        key = (event["resourceId"], event["dimension"], moment)
        verdict, stands, event_id = market.take(*key, event["quantity"])
        if verdict == "taken":
            results.append({**answer, "status": "Accepted", "usageEventId": event_id})
            continue
        accepted = {**answer, "status": "Duplicate", "usageEventId": event_id, "quantity": float(stands)}
        error = {"code": "Conflict", "message": "exists", "additionalInfo": {"acceptedMessage": accepted}}
        results.append({**answer, "status": "Duplicate", "error": error})
    return web.json_response({"count": len(results), "result": results})


def _report(market: Market, operations: list[Body], fault: Any) -> web.Response:
    """Google counts an operation once, by its id; it knows no hours."""
    del fault
    market.sent.append(operations)
    errors = []
    for operation in operations:
        (values,) = operation["metricValueSets"]
        (value,) = values["metricValues"]
        begins = datetime.fromisoformat(operation["startTime"])
        assert begins < datetime.fromisoformat(operation["endTime"]) <= begins + _HOUR
        if market.is_too_old(begins):
            status = {"code": 3, "message": "operation is too old"}
            errors.append({"operationId": operation["operationId"], "status": status})
            continue
        market.take(operation["consumerId"], operation["operationId"], begins, int(value["int64Value"]))
    return web.json_response({"reportErrors": errors, "serviceConfigId": "2026-01-01r0"})


_IDENTITY = (
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    "<Arn>arn:aws:iam::123456789012:user/seller</Arn><UserId>AIDA</UserId><Account>123456789012</Account>"
    "</GetCallerIdentityResult></GetCallerIdentityResponse>"
)


@asynccontextmanager
async def serving_markets() -> AsyncIterator[DocumentedMarkets]:
    """The server, as long as the block lasts."""
    port = free_port()
    markets = DocumentedMarkets(f"http://127.0.0.1:{port}")
    application = web.Application(middlewares=[_hanging_up])
    application.router.add_post("/", markets.aws)
    application.router.add_post("/{directory}/oauth2/token", markets.azure_token)
    application.router.add_post("/api/batchUsageEvent", markets.azure_batch)
    application.router.add_post("/token", markets.gcp_token)
    application.router.add_post("/v1/services/{call}", markets.gcp_call)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield markets
    finally:
        await runner.cleanup()
