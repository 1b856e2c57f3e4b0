"""Ids: a prefix per kind of entity and a ULID, drawn from the operating system's secure random source.

The table of prefixes is the only one. Ids are opaque to clients, time-ordered for the database.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from enum import StrEnum

from ulid import ULID


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


def new_id(kind: Kind) -> str:
    """A fresh id such as `inv_01JF0Z...`; later ids sort after earlier ones to the millisecond."""
    return f"{kind.value}_{new_ulid()}"


def stable_id(kind: Kind, *parts: str) -> str:
    """The same id for the same parts, such as `event_7M3K...`; for what a repeated request must not make twice.

    `parts` have to hold what nobody else can repeat. The id says nothing of time.
    """
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return f"{kind.value}_{ULID(digest[:16])}"


def new_ulid() -> str:
    """A bare ULID, as request ids use: a millisecond and 80 random bits, five bits to a character.

    Those of a process sort in the order in which they were made.
    """
    number = _numbers.next()
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_SHIFTS = range(120, -1, -10)
"""26 characters are 13 pairs of ten bits, the two highest bits of which are none of the 128."""


class _Numbers:
    """ULIDs as numbers: within a millisecond each is one more than that before."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Go on from nothing, as a process that was just forked must: the other goes on from where both were."""
        self.latest = 0
        self._process = os.getpid()
        self._lock = threading.Lock()

    def next(self) -> int:
        if os.getpid() != self._process:
            self.begin_anew()
        millisecond = time.time_ns() // 1_000_000
        with self._lock:
            same = millisecond == self.latest >> 80
            self.latest = number = self.latest + 1 if same else millisecond << 80 | int.from_bytes(os.urandom(10))
        return number


_numbers = _Numbers()
