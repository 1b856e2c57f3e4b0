"""How values read on a page: money with its currency, times on the reader's wall, states in plain words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import msgspec
from markupsafe import Markup, escape

from farthing.calendar.zones import to_local, zone_or_abbreviation
from farthing.core.clock import instant
from farthing.core.errors import FarthingError
from farthing.core.money import decimals, plain
from farthing.invoices.pdf import figures
from farthing.invoices.pdf.document import Days
from farthing.invoices.receivable import InvoiceStatus, PaymentStatus, is_overdue
from farthing.web.rendering.words.differences import differences
from farthing.web.rendering.words.field_names import named_field

_LONGEST_QUANTITY = 6  # decimals shown of a quantity; all of them stand in its title
AGE_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "not_due": "Not yet due",
        "1_30": "1–30 days",
        "31_60": "31–60 days",
        "61_90": "61–90 days",
        "over_90": "Over 90 days",
    }
)
"""How long something is past due: the keys of reports, the least first."""


def how_late(invoice: Any, now: datetime) -> str:
    """ "12 days late", and before a whole day has passed "since today"."""
    days = days_late(invoice, now)
    return f"{counted(days, 'day')} late" if days else "less than a day late"


def money(amount: Decimal | str | None, code: str) -> str:
    """ "$1,234.50": with the currency's own digits, and more if the amount has more."""
    return "" if amount is None else figures.money(_decimal(amount), code)


def quantity(amount: Decimal | str | None) -> Markup | str:
    """ "1,234.5": as many decimals as it has; a long fraction is cut for the eye and whole in the title."""
    if amount is None:
        return ""
    exact = _decimal(amount)
    whole = figures.grouped(exact)
    if decimals(exact) <= _LONGEST_QUANTITY:
        return whole
    cut = figures.grouped(round(exact, _LONGEST_QUANTITY))
    return Markup('<span title="{}">≈{}</span>').format(whole, cut)


def _decimal(amount: Decimal | str) -> Decimal:
    return amount if isinstance(amount, Decimal) else Decimal(amount)


def moment(at: datetime | None, zone: str = "UTC") -> Markup | str:
    """ "14 Nov 2026, 09:30" on the wall of `zone`; the title has UTC."""
    return _time(at, zone, "%-d %b %Y, %H:%M")


def exact_moment(at: datetime | str | None) -> Markup | str:
    """ "14 Nov 2026, 09:30:05" in UTC, for what happens many times a minute; also of a time as it travels."""
    if not at:
        return ""
    return _time(datetime.fromisoformat(at) if isinstance(at, str) else at, "UTC", "%-d %b %Y, %H:%M:%S")


def zoned_moment(at: datetime | None, zone: str = "UTC") -> Markup | str:
    """ "14 Nov 2026, 09:30 (UTC)": for where nothing around it says on whose wall."""
    return "" if at is None else Markup("{} ({})").format(moment(at, zone), zone)


def day(at: datetime | None, zone: str = "UTC") -> Markup | str:
    """ "14 Nov 2026" on the wall of `zone`; the title has UTC, to the second."""
    return _time(at, zone, "%-d %b %Y")


def _time(at: datetime | None, zone: str, shape: str) -> Markup | str:
    if at is None:
        return ""
    local = to_local(at, zone_or_abbreviation(zone))
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        instant(at), at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"), local.strftime(shape)
    )


def period(start: datetime | None, end: datetime | None, zone: str = "UTC") -> Markup | str:
    """Days from `start` to `end`, which is exclusive, on the wall of `zone`: "1 to 30 Nov 2026"; the title has UTC."""
    if start is None or end is None or end <= start:
        return day(start, zone)
    place = zone_or_abbreviation(zone)
    days = Days.of(start, end, place)
    first, last = days.first, days.last
    if first == last:
        return day(start, zone)
    shape = "%-d" if (first.year, first.month) == (last.year, last.month) else "%-d %b"
    shape = shape if first.year == last.year else "%-d %b %Y"
    return Markup('<span title="{} to {} UTC">{} to {}</span>').format(
        start.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
        end.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
        first.strftime(shape),
        last.strftime("%-d %b %Y"),
    )


def short_money(amount: Decimal, code: str) -> str:
    """An amount for a grid line: no more decimals than it has."""
    return f"{figures.symbol(code)}{figures.grouped(amount)}"


_IN_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "SUBSCRIPTION_CREATE": "Start of a subscription",
        "SUBSCRIPTION_CYCLE": "Billing period",
        "SUBSCRIPTION_UPDATE": "Change of a subscription",
        "SUBSCRIPTION_TRIAL_START": "Start of a trial",
        "SUBSCRIPTION_TRIAL_END": "End of a trial",
        "SUBSCRIPTION_PAUSED": "Pause of a subscription",
        "SUBSCRIPTION_RESUME": "End of a pause",
        "AUTO_INVOICE_THRESHOLD": "Usage came to a threshold",
        "WALLET_AUTO_TOPUP": "Automatic top-up",
    }
)
"""Why there is an invoice, where the wire's word alone says it to nobody."""


def words(value: object) -> str:
    """A wire word as people write it: "PARTIALLY_REFUNDED" is "Partially refunded"."""
    text = str(getattr(value, "value", value) or "")
    return _IN_WORDS.get(text) or sentence(text.replace("_", " ").strip().lower())


def sentence(text: str) -> str:
    """A reason as a program says it, beginning as people write."""
    return text[:1].upper() + text[1:]


def counted(number: int, singular: str, many: str | None = None) -> str:
    """ "1 invoice", "1,204 invoices"."""
    return f"{number:,} {singular if number == 1 else many or singular + 's'}"


TONES = MappingProxyType(
    {
        "paid": "good",
        "active": "good",
        "applied": "good",
        "published": "good",
        "succeeded": "good",
        "delivered": "good",
        "trialing": "calm",
        "overdue": "bad",
        "failed": "bad",
        "failing": "bad",
        "in alarm": "bad",
        "warning": "warn",
        "ok": "good",
        "completed": "good",
        "running": "warn",
        "retrying": "warn",
        "waiting for method": "bad",
        "exhausted": "bad",
        "keys lost": "bad",
        "reported": "good",
        "recovered": "good",
        "parked": "bad",
        "sent": "good",
        "unpaid": "warn",
        "pending": "warn",
        "paused": "warn",
        "processing": "warn",
        "incomplete": "warn",
    }
)


def chip(value: object) -> Markup:
    """A state with a dot whose colour only repeats what the word says."""
    return Markup('<span class="chip {}">{}</span>').format(state_tone(value), words(value))


def state_tone(value: object) -> str:
    """The class of a state's colour."""
    return TONES.get(words(value).lower(), "calm")


def standing(invoice: Any, now: datetime) -> str:
    """One word for where an invoice is: Draft, Void, Overdue, Unpaid, Paid..."""
    if invoice.invoice_status is not InvoiceStatus.FINALIZED:
        return "Void" if invoice.invoice_status is InvoiceStatus.VOIDED else words(invoice.invoice_status)
    if invoice.written_off_at is not None and invoice.amount_remaining > 0:
        return "Written off"
    if is_overdue(invoice, now):
        return "Overdue"
    if invoice.payment_status is PaymentStatus.SUCCEEDED:
        return "Paid"
    if invoice.payment_status is PaymentStatus.PENDING:
        return "Part paid" if invoice.amount_paid > 0 else "Unpaid"
    return words(invoice.payment_status)


def invoice_name(invoice: Any) -> str:
    """The number of an invoice; a draft is called that, and one that was voided as a draft never got any."""
    return invoice.invoice_number or ("Draft" if invoice.invoice_status is InvoiceStatus.DRAFT else "No number")


def days_late(invoice: Any, now: datetime) -> int:
    """Whole days since the due date; 0 when there is none or it lies ahead."""
    return max((now - invoice.due_date).days, 0) if invoice.due_date else 0


_PLAINLY: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"invalid decimal string"), "must be a number such as 1,000.50"),
    (re.compile(r"must be a string of length <= (\d+)"), r"must have at most \1 characters"),
    (re.compile(r"must be a string of length >= 1"), "is required"),
    (re.compile(r"must be an integer, not a number"), "must be a whole number"),
    (re.compile(r"must be an integer >= (-?\d+)"), r"must be a whole number, \1 or more"),
    (re.compile(r"must be an integer <= (-?\d+)"), r"must be a whole number, \1 or less"),
)


def plainly(why: str) -> str:
    """What is wrong with a value, where the API says it in words of JSON."""
    for said, plain_words in _PLAINLY:
        if (found := said.fullmatch(why)) is not None:
            return found.expand(plain_words)
    return why


def reason(error: FarthingError) -> str:
    """What a person reads of a refusal: the message, and which field is wrong and why; for a page that is rendered."""
    if error.status == 400 and error.details and error.message.startswith(("Request validation", "Invalid request")):
        return "; ".join(f"{named_field(field)}: {plainly(str(why))}" for field, why in error.details.items())
    field = next(iter(error.details), "")
    if field and error.message.startswith(f"{field}: "):
        return f"{named_field(field)}: {plainly(error.message.removeprefix(f'{field}: '))}"
    return sentence(error.message)


def with_query(query: Mapping[str, str], **changes: Any) -> str:
    """The page's query string with some parameters changed; None and "" drop one."""
    merged = {**dict(query), **{name: "" if value is None else str(value) for name, value in changes.items()}}
    kept = {name: value for name, value in merged.items() if value not in {"", None}}
    return "?" + urlencode(kept)


def readable(value: object) -> str:
    """A structure as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def with_code(text: str) -> Markup:
    """Text in which what stands between backquotes is code."""
    parts = text.split("`")
    return Markup().join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )


def date_value(text: str) -> str:
    """What a field of a day can hold of what was typed: browsers complain about anything else."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        return ""


def side_by_side(first: Sequence[Any], second: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Each of the first with what stands at its place in the second."""
    return list(zip(first, second, strict=True))


FILTERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "money": money,
        "quantity": quantity,
        "side_by_side": side_by_side,
        "date_value": date_value,
        "moment": moment,
        "exact_moment": exact_moment,
        "zoned_moment": zoned_moment,
        "invoice_name": invoice_name,
        "day": day,
        "words": words,
        "sentence": sentence,
        "chip": chip,
        "decimal": Decimal,
        "plain": plain,
        "tojson_text": readable,
        "with_code": with_code,
        "reason": reason,
        "differences": differences,
    }
)
GLOBALS: Mapping[str, Any] = MappingProxyType(
    {
        "standing": standing,
        "state_tone": state_tone,
        "how_late": how_late,
        "counted": counted,
        "with_query": with_query,
        "period": period,
        "short_money": short_money,
        "grouped": figures.grouped,
    }
)
