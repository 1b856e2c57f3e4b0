"""The settings catalogue: for each key its fields, their defaults and their checks.

The only list of keys, fields and defaults. Every struct can be made from nothing, and then holds the defaults; a
value is checked whole, after it was merged, so a legal partial update never fails for a field it does not mention.
Rule: docs/rules/identity.md#settings
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType, field

from farthing.calendar.zones import zone_or_abbreviation
from farthing.core.encoding.wire import BadField, Moment, Request, currency_code
from farthing.core.standards import trade_codes
from farthing.core.standards.email_address import deliverable_address
from farthing.core.standards.languages import Language
from farthing.identity.settings.logo import MAX_BASE64, Logo
from farthing.identity.settings.onboarding import (
    Actions,
    ExpiryUnit,
)
from farthing.identity.settings.portal_sections import SECTIONS, PortalItems, Section, Theme
from farthing.identity.settings.seller import (
    ElectronicAddress,
    Entry,
    SellerAddress,
    SellerContact,
    SellerPayment,
    check_entries,
)

Text = Annotated[str, Meta(min_length=1, max_length=255)]
Seconds = Annotated[int, Meta(ge=0, le=366 * 24 * 3600)]
Days = Annotated[int, Meta(ge=0, le=36500)]
RetryDays = Annotated[list[Annotated[int, Meta(ge=1, le=365)]], Meta(min_length=1, max_length=20)]
Base64Picture = Annotated[str, Meta(max_length=MAX_BASE64)]
SHORTEST_ACTIVITY_RETENTION = 365
"""Days: a shorter log would not outlast the year that it is asked about."""


class Configuration(Request):
    """The value of one key: of an environment, or of the whole tenant when `tenant_level`."""

    key: ClassVar[str]
    tenant_level: ClassVar[bool] = False


class InvoiceConfig(Configuration):
    """How invoices are numbered, when they fall due, and when they are computed and finalized."""

    key = "invoice_config"

    prefix: Annotated[str, Meta(min_length=1, max_length=50)] = "INV"
    format: Literal["YYYYMM", "YYYYMMDD", "YYMMDD", "YY", "YYYY"] = "YYYYMM"
    start_sequence: Annotated[int, Meta(ge=1, lt=2**31)] = 1
    timezone: Text = "UTC"
    separator: Annotated[str, Meta(max_length=10)] = "-"
    suffix_length: Annotated[int, Meta(ge=1, le=10)] = 5
    due_date_days: Days = 1
    auto_complete_purchased_credit_transaction: bool = False
    credit_purchase_tax: Literal["consumption", "purchase"] = "consumption"
    """Whether credits are taxed when they pay for usage, or when they are bought."""
    finalization_delay_seconds: Seconds = 7200
    compute_delay_seconds: Seconds = 900
    """Wait after a period's end for late usage, before the renewal draft is computed."""
    late_usage_policy: Literal["report", "next_invoice", "ignore"] = "report"
    credit_note_numbers: Literal["random", "sequential"] = "random"
    """Whether credit notes are numbered without gaps in each bucket of dates, as invoices are."""
    credit_note_prefix: Annotated[str, Meta(min_length=1, max_length=50)] = "CN"

    def __post_init__(self) -> None:
        super().__post_init__()
        zone_or_abbreviation(self.timezone)


class SubscriptionConfig(Configuration):
    """What happens to a subscription whose invoices stay unpaid."""

    key = "subscription_config"

    grace_period_days: Annotated[int, Meta(ge=1, le=36500)] = 3
    auto_cancellation_enabled: bool = False


class DunningConfig(Configuration):
    """When charges that failed are tried again, and what is done when none succeeds.

    Rule: docs/rules/dunning.md#settings
    """

    key = "dunning_config"

    enabled: bool = False
    retry_days: RetryDays = field(default_factory=lambda: [1, 3, 5, 7])
    """Days after the first failure, ascending."""
    final_action: Literal["none", "mark_uncollectible", "pause", "cancel"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_retry_days(self.retry_days)


def check_retry_days(days: Sequence[int]) -> None:
    """Raise BadField unless the days ascend, each later than the one before."""
    if any(later <= earlier for earlier, later in pairwise(days)):
        raise BadField("retry_days", "must ascend, and name no day twice")


class InvoicePdfConfig(Configuration):
    """Which template an invoice is printed with, what its lines are grouped by, and the logo at its head."""

    key = "invoice_pdf_config"

    template_name: Literal["invoice.typ"] = "invoice.typ"
    group_by: list[Text] = field(default_factory=list)
    logo: Base64Picture = ""
    """A PNG or JPEG of at most 128 KiB; without one, the company's name stands at the head."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.logo:
            try:
                Logo.of_base64(self.logo)
            except ValueError as error:
                raise BadField("logo", str(error)) from error


class EinvoiceConfig(Configuration):
    """The seller as electronic invoices name it, and how it is paid; what is empty is not said.

    Rule: docs/rules/e-invoices.md#where-things-are-said
    """

    key = "einvoice_config"

    legal_name: Entry = ""
    vat_id: Entry = ""
    tax_number: Entry = ""
    registration_number: Entry = ""
    address: SellerAddress = field(default_factory=SellerAddress)
    electronic_address: ElectronicAddress = field(default_factory=ElectronicAddress)
    contact: SellerContact = field(default_factory=SellerContact)
    payment: SellerPayment = field(default_factory=SellerPayment)
    payment_terms_text: Entry = ""
    accounting_currency: Entry = ""
    default_vat_category: Literal["", "Z", "E", "AE", "K", "G", "O"] = ""
    """The category of what is charged without any tax; S is for what is taxed."""
    default_vat_exemption_reason: Entry = ""
    default_vat_exemption_code: Entry = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_entries(self)
        if self.vat_id:
            vat_id = trade_codes.vat_id_of(self.vat_id)
            if vat_id is None:
                raise BadField("vat_id", "must be a VAT identifier that begins with its country, such as DE123456789")
            self.vat_id = vat_id
        if self.accounting_currency:
            self.accounting_currency = currency_code("accounting_currency", self.accounting_currency)
        if not self.default_vat_category:
            if self.default_vat_exemption_reason or self.default_vat_exemption_code:
                raise BadField("default_vat_category", "is required with a reason for charging no VAT")
            return
        problem = trade_codes.exemption_problem(
            trade_codes.VatCategory(self.default_vat_category),
            self.default_vat_exemption_reason,
            self.default_vat_exemption_code,
        )
        if problem:
            raise BadField(f"default_{problem[0]}", problem[1].replace("vat_", "default_vat_"))

    def terms(self, timezone: str) -> dict[str, str]:
        """What documents say of the seller by field, parts as `address.city`; `timezone` is that of issue dates."""
        terms = {"timezone": timezone}
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, str):
                terms[name] = value
            else:
                terms |= {f"{name}.{part}": getattr(value, part) for part in value.__struct_fields__}
        return {name: text for name, text in terms.items() if text}


class TenantConfig(Configuration):
    """What a tenant may have: environments of each type, people, meters of one event name; the operator's to change."""

    key = "tenant_config"
    tenant_level = True

    production: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    development: Annotated[int, Meta(ge=0, lt=2**31)] = 2
    max_users: Annotated[int, Meta(ge=1, lt=2**31)] = 10
    max_meters_per_event_name: Annotated[int, Meta(ge=1, le=1000)] = 100


class CustomerOnboarding(Configuration):
    """What is done when an event names a customer nobody knows."""

    key = "customer_onboarding"

    workflow_type: Text = "customer_onboarding"
    actions: Actions = field(default_factory=list)
    custom_workflows: dict[str, Actions] | UnsetType = UNSET


class PrepareProcessedEventsConfig(Configuration):
    """What is done when an event has a name nobody knows."""

    key = "prepare_processed_events_config"

    workflow_type: Text = "prepare_processed_events"
    actions: Actions = field(default_factory=list)


class BalanceAlertThreshold(Request):
    """A balance, and the side of it that raises the alert."""

    threshold: Decimal = Decimal(0)
    condition: Literal["above", "below"] = "below"


class WalletBalanceAlertConfig(Configuration):
    """When a wallet's balance raises an alert."""

    key = "wallet_balance_alert_config"

    alert_enabled: bool = False
    critical: BalanceAlertThreshold | None = field(default_factory=BalanceAlertThreshold)
    warning: BalanceAlertThreshold | None = None
    info: BalanceAlertThreshold | None = None
    notify_all_levels: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        # from the level reached last to the one reached first
        levels = [
            (name, level)
            for name, level in (("critical", self.critical), ("warning", self.warning), ("info", self.info))
            if level is not None
        ]
        if self.alert_enabled and not levels:
            raise BadField("alert_enabled", "needs at least one threshold")
        if self.warning is not None and self.critical is None:
            raise BadField("warning", "needs critical")
        for (graver_name, graver), (name, milder) in pairwise(levels):
            if graver.condition != milder.condition:
                raise BadField(name, f"must have the condition of {graver_name}, '{graver.condition}'")
            below = graver.condition == "below"
            if milder.threshold < graver.threshold if below else milder.threshold > graver.threshold:
                raise BadField(name, f"must not be {'lower' if below else 'higher'} than {graver_name}")


class AnalyticsRule(Request):
    """One custom figure over one target."""

    id: Literal["revenue-per-minute"]
    target_type: Literal["feature", "meter", "event_name"]
    target_id: Text


class CustomAnalyticsConfig(Configuration):
    """Custom figures shown with usage analytics."""

    key = "custom_analytics_config"

    rules: Annotated[list[AnalyticsRule], Meta(max_length=100)] = field(default_factory=list)


class CustomerPortalConfig(Configuration):
    """What the customer portal shows, in which colours, and what customers may do there."""

    key = "customer_portal_config"

    version: Text = "1.0"
    theme: Theme = field(default_factory=Theme)
    items: PortalItems = field(default_factory=PortalItems)
    sections: Annotated[list[Section], Meta(max_length=50)] = field(default_factory=lambda: list(SECTIONS))


class EventIngestionFilter(Configuration):
    """An allow-list of customers whose events are taken."""

    key = "event_ingestion_filter"

    enabled: bool = False
    allowed_external_customer_ids: list[Text] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.enabled and not self.allowed_external_customer_ids:
            raise BadField("allowed_external_customer_ids", "must not be empty when the filter is enabled")


class Bonus(Request):
    """Credits on top: an amount, or a percentage of what is bought."""

    type: Literal["flat", "percentage"]
    value: Decimal

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.value < 0:
            raise BadField("value", "must not be negative")


class BonusSlab(Request):
    """The bonus for top-ups from `threshold` credits on."""

    threshold: Decimal
    bonus: Bonus
    operator: Literal["gte"] = "gte"
    expiration_duration: Annotated[int, Meta(ge=1)] | None = None
    expiration_duration_unit: ExpiryUnit | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold < 0:
            raise BadField("threshold", "must not be negative")
        if (self.expiration_duration is None) != (self.expiration_duration_unit is None):
            raise BadField("expiration_duration_unit", "goes with expiration_duration, and that with it")


class BonusCreditsTopupConfig(Configuration):
    """Bonus credits by the size of a top-up, largest first."""

    key = "bonus_credits_topup_config"

    enabled: bool = False
    slabs: Annotated[list[BonusSlab], Meta(max_length=100)] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.enabled and not self.slabs:
            raise BadField("slabs", "must not be empty when bonuses are enabled")
        if any(lower.threshold >= higher.threshold for higher, lower in pairwise(self.slabs)):
            raise BadField("slabs", "must have strictly descending thresholds")


class MandateLimit(Request):
    """The largest amount one kind of mandate may collect."""

    max_amount: Decimal
    currency: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_amount < 0:
            raise BadField("max_amount", "must not be negative")
        if self.currency is not None:
            currency_code("currency", self.currency)


class PaymentMandateLimits(Configuration):
    """Limits of payment mandates by method."""

    key = "payment_mandate_limits"

    mandate_limits: dict[str, MandateLimit] = field(
        default_factory=lambda: {"UPI": MandateLimit(max_amount=Decimal(100000), currency="INR")}
    )


class RequestConfig(Configuration):
    """What is done with fields of a request that its endpoint does not know, and which times events may have."""

    key = "request_config"

    refuse_unknown_fields: bool = False
    """Refuse them, where they are otherwise ignored and named in the answer."""
    earliest_event_time: Moment = datetime(2000, 1, 1, tzinfo=UTC)
    event_years_ahead: Annotated[int, Meta(ge=0, le=8000)] = 5
    """How many years after its arrival an event may have its time."""


class DraftInvoiceRecomputeConfig(Configuration):
    """Whether drafts are computed again as usage arrives."""

    key = "draft_invoice_recompute_config"

    enabled: bool = False


class FxConfig(Configuration):
    """How old the reference rates may be that invoices are converted at."""

    key = "fx_config"

    market_rate_max_age_days: Annotated[int, Meta(ge=0, le=366)] = 7


class MarketplaceConfig(Configuration):
    """What a cloud marketplace is told of beside usage."""

    key = "marketplace_config"

    include_fixed: bool = False
    """Also the fixed fees whose service begins in the hour; else they are the marketplace contract's own."""


class ActivityConfig(Configuration):
    """How long the activity log is kept."""

    key = "activity_config"

    retention_days: Annotated[int, Meta(ge=0, le=36500)] = 0
    """0 keeps it for ever; whole months are forgotten once they are older than this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.retention_days < SHORTEST_ACTIVITY_RETENTION:
            raise BadField("retention_days", f"must be 0 (for ever) or at least {SHORTEST_ACTIVITY_RETENTION}")


class ErasureConfig(Configuration):
    """What stays of a customer that is erased."""

    key = "erasure_config"

    document_retention_years: Annotated[int, Meta(ge=0, le=50)] = 10
    """Whole years, from the end of the one in which the last was issued, for which documents go on naming it."""


class EmailConfig(Configuration):
    """Which mails customers get, in which language, and when they are reminded of what they owe."""

    key = "email_config"

    enabled: bool = False
    from_name: Annotated[str, Meta(max_length=100)] = ""
    """The name beside the sender's address; empty for the company's."""
    reply_to: Annotated[str, Meta(max_length=254)] = ""
    bcc: Annotated[str, Meta(max_length=254)] = ""
    """An address that gets a copy of every mail."""
    language: Language = "en"
    """That of customers who have none of their own."""
    reminder_days: Annotated[list[Annotated[int, Meta(ge=-365, le=365)]], Meta(max_length=20)] = field(
        default_factory=lambda: [-3, 1, 7, 14]
    )
    """Days after the due date, negative for days before it, on which an unpaid invoice is brought to mind."""
    attach_einvoice: Literal["none", "facturx", "peppol-ubl", "xrechnung-ubl", "xrechnung-cii"] = "none"
    """The format in which invoices and credit notes are attached as e-invoices; Factur-X takes the place of the PDF."""
    invoice_issued: bool = True
    payment_receipt: bool = True
    payment_failed: bool = True
    reminder: bool = True
    credit_note: bool = True
    low_balance: bool = True
    credits_expiring: bool = True
    trial_ending: bool = True
    renewal_notice: bool = True
    spend_alert: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(not character.isprintable() for character in self.from_name):
            raise BadField("from_name", "must not contain line breaks or control characters")
        for name in ("reply_to", "bcc"):
            address = getattr(self, name)
            if address and deliverable_address(address) is None:
                raise BadField(name, "must be one email address such as billing@example.com")
        if len(set(self.reminder_days)) < len(self.reminder_days):
            raise BadField("reminder_days", "must not name a day twice")


CATALOGUE: Mapping[str, type[Configuration]] = {
    configuration.key: configuration
    for configuration in (
        InvoiceConfig,
        SubscriptionConfig,
        InvoicePdfConfig,
        EinvoiceConfig,
        TenantConfig,
        CustomerOnboarding,
        WalletBalanceAlertConfig,
        PrepareProcessedEventsConfig,
        CustomAnalyticsConfig,
        CustomerPortalConfig,
        EventIngestionFilter,
        BonusCreditsTopupConfig,
        PaymentMandateLimits,
        DraftInvoiceRecomputeConfig,
        RequestConfig,
        ActivityConfig,
        FxConfig,
        MarketplaceConfig,
        EmailConfig,
        DunningConfig,
        ErasureConfig,
    )
}
SAML = "saml_config"
"""A key that exists only where single sign-on does, and this deployment has none."""
