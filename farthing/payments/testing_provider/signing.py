"""How the test provider signs its webhooks, and how they are read once the signature holds."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

import msgspec

from farthing.payments.providers.interface import BadSignature, ChargeState, ProviderCharge, Report, ReportKind

HEADER = "x-test-gateway-signature"
TOLERANCE = timedelta(minutes=5)

PAYMENT_SUCCEEDED = "payment.succeeded"
PAYMENT_FAILED = "payment.failed"
PAYMENT_DECLINED = "payment.declined"
LINK_EXPIRED = "link.expired"
REFUND_UPDATED = "refund.updated"
SETUP_SUCCEEDED = "setup.succeeded"
SETUP_FAILED = "setup.failed"

_KINDS = MappingProxyType(
    {
        PAYMENT_SUCCEEDED: ReportKind.PAYMENT_SUCCEEDED,
        PAYMENT_FAILED: ReportKind.PAYMENT_FAILED,
        PAYMENT_DECLINED: ReportKind.PAYMENT_FAILED,
        LINK_EXPIRED: ReportKind.LINK_EXPIRED,
        REFUND_UPDATED: ReportKind.REFUND_UPDATED,
        SETUP_SUCCEEDED: ReportKind.SETUP_SUCCEEDED,
    }
)


class ChargeBody(msgspec.Struct):
    """A charge as the simulator writes it."""

    id: str
    state: ChargeState
    amount: Decimal
    currency: str
    refunded: Decimal
    reason: str = ""


class EventBody(msgspec.Struct):
    """A webhook of the simulator."""

    id: str
    type: str
    session_id: str | None = None
    payment_id: str | None = None
    reason: str = ""
    charge: ChargeBody | None = None
    customer_id: str | None = None


def sign(secret: str, body: bytes, at: datetime) -> str:
    """The signature header's value: `t=<unix seconds>,v1=<hex HMAC-SHA-256 of "t.body">`."""
    moment = str(int(at.timestamp()))
    return f"t={moment},v1={_mac(secret, moment, body)}"


def verify(secret: str, header: str | None, body: bytes, now: datetime) -> None:
    """Raises BadSignature unless `header` signs `body` with `secret` and is at most five minutes from `now`."""
    if not secret:
        raise BadSignature("the connection has no webhook secret")
    if header is None:
        raise BadSignature(f"the {HEADER} header is missing")
    parts = dict(part.partition("=")[::2] for part in header.split(","))
    moment = parts.get("t", "")
    # digits of other scripts are digits to Python, and 20 of them overflow a time
    if not (moment.isascii() and moment.isdigit() and len(moment) <= 11):
        raise BadSignature(f"the {HEADER} header is malformed")
    if not hmac.compare_digest(_mac(secret, moment, body).encode(), parts.get("v1", "").encode()):
        raise BadSignature("the signature does not match")
    if abs(now - datetime.fromtimestamp(int(moment), UTC)) > TOLERANCE:
        raise BadSignature("the signature is too old, or from the future")


def read(body: bytes) -> Report:
    """A signed body in the interface's words. Raises ValueError when it is not one of ours."""
    event = msgspec.json.decode(body, type=EventBody)
    charge = None
    if event.charge is not None:
        charge = ProviderCharge(
            gateway_payment_id=event.charge.id,
            state=event.charge.state,
            amount=event.charge.amount,
            currency=event.charge.currency,
            tracking_id=event.session_id,
            refunded=event.charge.refunded,
            reason=event.charge.reason,
        )
    return Report(
        event_id=event.id,
        kind=_KINDS.get(event.type, ReportKind.OTHER),
        payment_id=event.payment_id,
        tracking_id=event.session_id,
        charge=charge,
        reason=event.reason,
        final=event.type != PAYMENT_DECLINED,
        customer_id=event.customer_id,
    )


def _mac(secret: str, moment: str, body: bytes) -> str:
    return hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()
