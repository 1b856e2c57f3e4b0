"""A sample of each mail, with values that could be real, for whoever wants to see what customers get."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from types import MappingProxyType

from farthing.notifications.email.content.letter import LetterFacts
from farthing.notifications.email.content.wording import CurrencyAmount, LetterValue
from farthing.notifications.email.tables import EmailKind

_INVOICE: Mapping[str, LetterValue] = MappingProxyType(
    {
        "customer": "Brightwater Analytics",
        "number": "INV-202603-00042",
        "total": CurrencyAmount(Decimal("1284.50"), "usd"),
        "remaining": CurrencyAmount(Decimal("1284.50"), "usd"),
        "due_date": date(2026, 3, 31),
        "amount": CurrencyAmount(Decimal("1284.50"), "usd"),
        "paid_on": date(2026, 3, 14),
        "note": "CN-202603-00007",
    }
)
_CREDITS: Mapping[str, LetterValue] = MappingProxyType(
    {
        "customer": "Brightwater Analytics",
        "wallet": "Prepaid credits",
        "credits": Decimal(250),
        "balance": CurrencyAmount(Decimal("250.00"), "usd"),
        "value": CurrencyAmount(Decimal("250.00"), "usd"),
        "expires_on": date(2026, 3, 31),
    }
)
_SPEND: Mapping[str, LetterValue] = MappingProxyType(
    {
        "customer": "Brightwater Analytics",
        "plan": "Growth",
        "threshold": CurrencyAmount(Decimal("500.00"), "usd"),
        "spend": CurrencyAmount(Decimal("512.40"), "usd"),
    }
)
_SUBSCRIPTION: Mapping[str, LetterValue] = MappingProxyType(
    {
        "customer": "Brightwater Analytics",
        "plan": "Growth",
        "ends_on": date(2026, 3, 31),
        "renews_on": date(2026, 4, 1),
    }
)


def _sample(kind: EmailKind, values: Mapping[str, LetterValue], *rows: str, variant: str = "") -> LetterFacts:
    return LetterFacts(kind=kind, values=values, rows=rows, variant=variant)


SAMPLES: Mapping[EmailKind, LetterFacts] = MappingProxyType(
    {
        facts.kind: facts
        for facts in (
            _sample(EmailKind.INVOICE_ISSUED, _INVOICE, "number", "total", "remaining", "due_date", variant="due"),
            _sample(EmailKind.PAYMENT_RECEIPT, _INVOICE, "number", "amount", "paid_on", variant="settled"),
            _sample(EmailKind.PAYMENT_FAILED, _INVOICE, "number", "amount", "remaining"),
            _sample(EmailKind.REMINDER, _INVOICE, "number", "remaining", "due_date", variant="after"),
            _sample(EmailKind.CREDIT_NOTE, _INVOICE, "note", "number", "amount"),
            _sample(EmailKind.LOW_BALANCE, _CREDITS, "wallet", "credits", "balance", variant="credit"),
            _sample(EmailKind.CREDITS_EXPIRING, _CREDITS, "wallet", "credits", "value", "expires_on"),
            _sample(EmailKind.TRIAL_ENDING, _SUBSCRIPTION, "plan", "ends_on", variant="continues"),
            _sample(EmailKind.RENEWAL_NOTICE, _SUBSCRIPTION, "plan", "renews_on"),
            _sample(EmailKind.SPEND_ALERT, _SPEND, "plan", "threshold", "spend"),
        )
    }
)
