"""How money arrives outside of any provider, and what payments say of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from farthing.payments.tables import Payment, PaymentMethodType
from farthing.web.rendering.wording import words

RECORDED_METHODS: Mapping[str, str] = MappingProxyType(
    {
        "bank_transfer": "Bank transfer",
        "cheque": "Cheque",
        "cash": "Cash",
        "direct_debit": "Direct debit",
        "card_terminal": "Card terminal",
        "other": "Other",
    }
)
"""Methods of recorded money, which a payment keeps in its metadata."""

PROVIDER_METHODS: Mapping[PaymentMethodType, str] = MappingProxyType(
    {
        PaymentMethodType.CARD: "Card",
        PaymentMethodType.ACH: "ACH debit",
        PaymentMethodType.OFFLINE: "Recorded by hand",
        PaymentMethodType.CREDITS: "Wallet",
        PaymentMethodType.PAYMENT_LINK: "Payment link",
        PaymentMethodType.UPI: "UPI",
    }
)


def method_of(payment: Payment) -> str:
    """How a payment came, in words."""
    recorded = RECORDED_METHODS.get(payment.meta.get("method", ""))
    if payment.payment_method_type is PaymentMethodType.OFFLINE and recorded:
        return recorded
    method = PROVIDER_METHODS[payment.payment_method_type]
    return f"{method}, {words(payment.payment_gateway)}" if payment.payment_gateway else method


def reference_of(payment: Payment) -> str:
    """What a payment can be found by on a bank's statement or at its provider."""
    return payment.meta.get("reference") or payment.meta.get("note") or payment.gateway_payment_id or ""
