"""The statement of account as a table: words for what happened, and CSV."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from farthing.core.clock import instant
from farthing.core.encoding.csv_table import csv_bytes, inert
from farthing.core.money import plain
from farthing.reporting.statement.account import AccountStatement, StatementEntry
from farthing.reporting.statement.entries import EntryKind

HEADS = ("time", "entry", "document", "detail", "charged", "credited", "balance", "currency")
WORDS: Mapping[EntryKind, str] = MappingProxyType(
    {
        EntryKind.INVOICE: "Invoice",
        EntryKind.CREDIT_NOTE: "Credit note",
        EntryKind.CREDIT_NOTE_VOIDED: "Credit note voided",
        EntryKind.PAYMENT: "Payment",
        EntryKind.WALLET_PAYMENT: "Paid from the wallet",
        EntryKind.MARKED_PAID: "Marked as paid",
        EntryKind.CREDIT: "Credit",
        EntryKind.APPLIED_ELSEWHERE: "Used for credits",
        EntryKind.REFUND: "Refund",
        EntryKind.REFUND_FAILED: "Refund that did not arrive",
        EntryKind.WRITE_OFF: "Written off",
        EntryKind.WRITE_OFF_UNDONE: "Write-off undone",
        EntryKind.INVOICE_VOIDED: "Invoice voided",
        EntryKind.HIDDEN: "",
    }
)
"""What an entry is called."""

_DETAILS: Mapping[str, str] = MappingProxyType(
    {
        "ADJUSTMENT": "lowers the invoice",
        "REFUND": "gives money back",
        "wallet": "into the wallet",
        "source": "the way it was paid",
        "void": "what was paid on the voided invoice",
        "returned": "arrived after the invoice was voided",
        "provider": "by the payment provider",
    }
)


def detail_of(entry: StatementEntry) -> str:
    """What distinguishes an entry from others of its kind, as people read it."""
    if entry.kind in {EntryKind.CREDIT_NOTE, EntryKind.CREDIT_NOTE_VOIDED, EntryKind.REFUND}:
        return _DETAILS.get(entry.detail, entry.detail)
    return entry.detail


def as_csv(statement: AccountStatement) -> bytes:
    """A row for each entry between one for the opening and one for the closing balance; decimals as they are."""
    code = statement.currency
    opening = [instant(statement.period.start), "Opening balance", "", "", "", "", plain(statement.opening), code]
    closing = [instant(statement.period.end), "Closing balance", "", "", "", "", plain(statement.closing), code]
    return csv_bytes(HEADS, [opening, *(_row(entry, code) for entry in statement.entries), closing])


def _row(entry: StatementEntry, code: str) -> list[str]:
    charged = plain(entry.amount) if entry.amount > 0 else ""
    credited = plain(entry.amount.copy_negate()) if entry.amount < 0 else ""
    described = (WORDS[entry.kind], inert(entry.document), inert(detail_of(entry)))
    return [instant(entry.at), *described, charged, credited, plain(entry.balance), code]
