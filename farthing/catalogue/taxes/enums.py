"""Enums of taxes: what a column, a field on the wire or a rule may say."""

from __future__ import annotations

from enum import StrEnum


class TaxRateStatus(StrEnum):
    """Whether a rate may be charged. Archiving is something else: it ends the rate's life."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"


class TaxRateScope(StrEnum):
    """Where a rate comes from; a word for the reader that no rule looks at."""

    INTERNAL = "INTERNAL"
    EXTERNAL = "EXTERNAL"
    ONETIME = "ONETIME"


class TaxEntityType(StrEnum):
    """What a rate can be associated with."""

    TENANT = "tenant"
    CUSTOMER = "customer"
    SUBSCRIPTION = "subscription"
    INVOICE = "invoice"
