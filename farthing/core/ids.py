"""Ids: a prefix per kind of entity and a ULID, drawn from the operating system's secure random source.

The table of prefixes is the only one. Ids are opaque to clients, time-ordered for the database.
"""

from __future__ import annotations

import hashlib
import os
import time
from enum import StrEnum
from threading import Lock


class Kind(StrEnum):
    """What an id names; the value is its prefix."""

    TENANT = "tenant"
    ENVIRONMENT = "env"
    USER = "user"
    SECRET = "secret"  # noqa: S105 (a prefix)
    SETTING = "setting"
    SIGN_IN_SESSION = "session"
    PASSWORD_LINK = "pwlink"  # noqa: S105 (a prefix)
    SECOND_FACTOR = "factor"
    CUSTOMER = "cust"
    CONNECTION = "conn"
    INTEGRATION_MAPPING = "eim"
    METER = "meter"
    FEATURE = "feat"
    EVENT = "event"
    PLAN = "plan"
    PRICE = "price"
    PRICE_UNIT = "price_unit"
    COMMITMENT_BUCKET = "bucket"
    ADDON = "addon"
    ADDON_ASSOCIATION = "addon_assoc"
    GROUP = "group"
    SUBSCRIPTION = "subs"
    SUBSCRIPTION_LINE_ITEM = "subs_line"
    SUBSCRIPTION_PAUSE = "pause"
    SUBSCRIPTION_CHANGE = "subsc"
    SUBSCRIPTION_SCHEDULE = "sched"
    SUBSCRIPTION_PHASE = "phase"
    INVOICE = "inv"
    INVOICE_LINE_ITEM = "inv_line"
    INVOICE_SETTLEMENT = "settle"
    INTERNAL_NOTE = "note"
    ATTACHMENT = "file"
    WRITE_OFF = "woff"
    WALLET = "wallet"
    WALLET_TRANSACTION = "wtxn"
    WALLET_ALERT = "walert"
    PAYMENT = "pay"
    PAYMENT_METHOD = "pm"
    PAYMENT_ATTEMPT = "attempt"
    CHECKOUT_SESSION = "cs"
    REFUND = "refund"
    DUNNING_CASE = "dun"
    UNAPPLIED_MONEY = "unapplied"
    CREDIT_NOTE = "cn"
    CREDIT_NOTE_LINE = "cn_line"
    TAX_RATE = "taxrate"
    TAX_ASSOCIATION = "ta"
    TAX_APPLIED = "taxapp"
    COUPON = "coupon"
    COUPON_ASSOCIATION = "coupon_assoc"
    COUPON_APPLICATION = "coupon_app"
    CREDIT_GRANT = "cg"
    CREDIT_GRANT_APPLICATION = "cga"
    ENTITLEMENT = "ent"
    ENTITLEMENT_GRANT = "eg"
    SUBSCRIPTION_ENTITLEMENT = "sub_ent"
    ALERT_LOG = "alert"
    ALERT_SETTINGS = "alert_set"
    COST_SHEET = "cost"
    USAGE_RECORD = "usg_rec"
    MARKETPLACE_AGREEMENT = "mpa"
    USAGE_REPORT = "usg_rep"
    USAGE_REPORT_PART = "usg_part"
    TASK = "task"
    SCHEDULED_TASK = "schtask"
    UPLOAD = "upload"
    SYSTEM_EVENT = "sys_event"
    INCOMING_WEBHOOK = "fp_webhook"
    WORKFLOW = "wf"
    RUN = "run"
    ANALYTICS_VIEW = "view"
    SAVED_LIST_VIEW = "list_view"
    WEBHOOK_ENDPOINT = "whep"
    WEBHOOK_DELIVERY = "whdel"
    PARTY_VERSION = "party"
    WEBHOOK_ATTEMPT = "whatt"
    EMAIL = "mail"
    FX_RATE = "fx"
    CORRECTION = "corr"
    CORRECTION_LINE = "corr_line"


_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TIME_SHIFTS = range(45, -1, -5)
"""Where each letter of the time of a ULID stands among its bits."""
_LETTER_OF_BYTE = _LETTERS.encode() * (256 // len(_LETTERS))
"""For each byte a letter of a ULID, each letter for as many bytes."""
_CHANCE_LENGTH = 16
"""The letters of a ULID that are drawn; those before them are the time."""


def new_id(kind: Kind) -> str:
    """A fresh id such as `inv_01JF0Z...`; later ids sort after earlier ones to the millisecond."""
    return f"{kind.value}_{new_ulid()}"


def new_ids(kind: Kind, count: int) -> list[str]:
    """As many fresh ids, ascending: of a thousand each costs a tenth of what one alone does."""
    milliseconds = time.time_ns() // 1_000_000
    moment = "".join([_LETTERS[milliseconds >> shift & 31] for shift in _TIME_SHIFTS])
    chances = os.urandom(count * _CHANCE_LENGTH).translate(_LETTER_OF_BYTE).decode()
    prefix = f"{kind.value}_{moment}"
    return sorted(prefix + chances[at : at + _CHANCE_LENGTH] for at in range(0, len(chances), _CHANCE_LENGTH))


def stable_id(kind: Kind, *parts: str) -> str:
    """The same id for the same parts, such as `event_7M3K...`; for what a repeated request must not make twice.

    `parts` have to hold what nobody else can repeat. The id says nothing of time.
    """
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return f"{kind.value}_{_text(int.from_bytes(digest[:16]))}"


_RANDOM_BITS = 80
_PAIRS = [first + second for first in _LETTERS for second in _LETTERS]
"""The text of each ten bits."""


class _Ulids:
    """Those of this process, as numbers: 48 bits of the time in milliseconds, then 80 random ones.

    Those of one millisecond count up from the first one, so that they sort as they were made.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._latest = 0

    def make(self) -> int:
        millisecond = time.time_ns() // 1_000_000
        with self._lock:
            if self._latest >> _RANDOM_BITS == millisecond:
                self._latest += 1
            else:
                self._latest = millisecond << _RANDOM_BITS | int.from_bytes(os.urandom(_RANDOM_BITS // 8))
            return self._latest


_ULIDS = _Ulids()


def new_ulid() -> str:
    """A bare ULID, as request ids use."""
    return _text(_ULIDS.make())


def _text(number: int) -> str:
    """128 bits as the 26 characters of a ULID. Every event and request has one, which a library makes more slowly."""
    pairs = _PAIRS
    high, low = number >> 60, number & (1 << 60) - 1
    return (
        f"{pairs[high >> 60]}{pairs[high >> 50 & 1023]}{pairs[high >> 40 & 1023]}{pairs[high >> 30 & 1023]}"
        f"{pairs[high >> 20 & 1023]}{pairs[high >> 10 & 1023]}{pairs[high & 1023]}"
        f"{pairs[low >> 50]}{pairs[low >> 40 & 1023]}{pairs[low >> 30 & 1023]}"
        f"{pairs[low >> 20 & 1023]}{pairs[low >> 10 & 1023]}{pairs[low & 1023]}"
    )
