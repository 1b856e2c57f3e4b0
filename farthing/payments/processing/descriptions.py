"""How payments are described to people: by what method money came, and what it can be found by."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.invoices.ports import PaymentDescription
from farthing.invoices.settlement_tables import PaymentSettlement
from farthing.payments.tables import Payment, PaymentMethodType
from farthing.payments.unapplied.tables import UnappliedMoney

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
    return f"{method}, {payment.payment_gateway.capitalize()}" if payment.payment_gateway else method


def reference_of(payment: Payment) -> str:
    """What a payment can be found by on a bank's statement or at its provider."""
    return payment.meta.get("reference") or payment.meta.get("note") or payment.gateway_payment_id or ""


async def payments_behind(session: AsyncSession, invoice_id: str) -> dict[str, Payment]:
    """The payments whose money counts on an invoice, by settlement; what was marked by hand is left out."""
    rows = await session.execute(
        select(PaymentSettlement.id, Payment)
        .outerjoin(UnappliedMoney, UnappliedMoney.id == PaymentSettlement.unapplied_money_id)
        .join(Payment, Payment.id == func.coalesce(PaymentSettlement.payment_id, UnappliedMoney.payment_id))
        .where(PaymentSettlement.invoice_id == invoice_id)
    )
    return {settlement_id: payment for settlement_id, payment in rows}  # noqa: C416


async def describe_settlements(session: AsyncSession, invoice_id: str) -> dict[str, PaymentDescription]:
    """How the money that counts on an invoice came, by settlement."""
    behind = await payments_behind(session, invoice_id)
    return {
        settlement_id: PaymentDescription(method_of(payment), reference_of(payment))
        for settlement_id, payment in behind.items()
    }
