"""Every setting on pages: its title, its form, and its present value in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from farthing.identity.settings.catalogue import (
    ActivityConfig,
    BonusCreditsTopupConfig,
    Configuration,
    CustomAnalyticsConfig,
    CustomerOnboarding,
    CustomerPortalConfig,
    DraftInvoiceRecomputeConfig,
    DunningConfig,
    EinvoiceConfig,
    EmailConfig,
    ErasureConfig,
    EventIngestionFilter,
    FxConfig,
    InvoiceConfig,
    InvoicePdfConfig,
    MarketplaceConfig,
    PaymentMandateLimits,
    PrepareProcessedEventsConfig,
    RequestConfig,
    SubscriptionConfig,
    TenantConfig,
    WalletBalanceAlertConfig,
)
from farthing.invoices.pdf.figures import grouped
from farthing.web.administration.settings import invoicing_forms, operations_forms
from farthing.web.administration.settings.invoicing_forms import LANGUAGES, MAILS
from farthing.web.administration.settings.operations_forms import LEVELS
from farthing.web.forms.durations import duration_in_words
from farthing.web.forms.fields import Sections
from farthing.web.rendering.words.wording import counted, words

ELSEWHERE = "Nothing in Farthing acts on it: it is kept for programs that read it over the API."


class SettingGroup(StrEnum):
    """The headings of the overview, in their order."""

    INVOICING = "Invoices and payment"
    CUSTOMERS = "What customers get"
    CREDITS = "Credits"
    USAGE = "Usage and requests"
    KEEPING = "What is kept, and limits"
    OTHER_PROGRAMS = "Kept for other programs"


@dataclass(frozen=True, slots=True)
class SettingPage:
    """How people meet a setting. `about` says what it changes and where; `in_words` says a value of it.

    Without a form it is only shown, or changed on a page of its own, `elsewhere`.
    """

    kind: type[Configuration]
    title: str
    group: SettingGroup
    about: str
    in_words: Callable[[Any], str]
    form: Callable[[], Sections] | None = None
    elsewhere: str = ""

    @property
    def path(self) -> str:
        """The address of its page."""
        return self.elsewhere or f"/settings/{self.kind.key}"


def number_example(config: InvoiceConfig) -> str:
    """What the first number of the thirtieth of November 2026 looks like."""
    date = {"YYYYMM": "202611", "YYYYMMDD": "20261130", "YYMMDD": "261130", "YY": "26", "YYYY": "2026"}[config.format]
    return config.separator.join((config.prefix, date, str(config.start_sequence).rjust(config.suffix_length, "0")))


def _invoices(config: InvoiceConfig) -> str:
    due = f"due within {counted(config.due_date_days, 'day')}" if config.due_date_days else "due at once"
    opened = f"finalized {duration_in_words(config.finalization_delay_seconds)} after the draft"
    return f"Numbers such as {number_example(config)}; {due}; {opened}; days of {config.timezone}"


def _unpaid(config: SubscriptionConfig) -> str:
    if not config.auto_cancellation_enabled:
        return "Subscriptions go on, however long an invoice is unpaid"
    return f"Cancelled when an invoice is overdue for more than {counted(config.grace_period_days, 'day')}"


def _dunning(config: DunningConfig) -> str:
    if not config.enabled:
        return "Off: a charge that fails is not tried again"
    last = {
        "none": "nothing more is done",
        "mark_uncollectible": "the invoice is written off",
        "pause": "the subscription is paused",
        "cancel": "the subscription is cancelled",
    }[config.final_action]
    return f"Tried again {_listed(config.retry_days)} days after the first failure; then {last}"


def _listed(parts: Sequence[object]) -> str:
    texts = [str(part) for part in parts]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _e_invoices(config: EinvoiceConfig) -> str:
    if not config.legal_name:
        return "Not filled in: e-invoices need a legal name, an address and an id"
    parts = [
        config.legal_name,
        config.vat_id or config.tax_number,
        config.payment.is_paid_by_transfer and "with a bank account",
    ]
    return ", ".join(part for part in parts if part)


def _emails(config: EmailConfig) -> str:
    if not config.enabled:
        return "Off: customers get no mails"
    count = sum(getattr(config, kind) for kind, _, _ in MAILS)
    language = dict(LANGUAGES)[config.language]
    return f"{count} of {len(MAILS)} kinds of mails, in {language}"


def _portal(config: CustomerPortalConfig) -> str:
    return f"Main colour {config.theme.primary_color}" if config.theme.primary_color else "Farthing's own colours"


def _wallet_alerts(config: WalletBalanceAlertConfig) -> str:
    if not config.alert_enabled:
        return "Off: only wallets with thresholds of their own are watched"
    levels = [
        f"{title.lower()} {level.condition} {grouped(level.threshold)}"
        for name, title in LEVELS.items()
        if (level := getattr(config, name)) is not None
    ]
    return f"Raised at a balance that is {_listed(levels)}"


def _bonus(config: BonusCreditsTopupConfig) -> str:
    if not config.enabled:
        return "Off: a top-up gets what was bought"
    largest = config.slabs[0]
    bonus = f"{grouped(largest.bonus.value)}{' %' if largest.bonus.type == 'percentage' else ' credits'}"
    return f"Up to {bonus} on top, from {grouped(largest.threshold)} credits on"


def _requests(config: RequestConfig) -> str:
    fields = "refused" if config.refuse_unknown_fields else "ignored, and named in the answer"
    return f"Unknown fields are {fields}; events from {config.earliest_event_time:%-d %b %Y} on"


def _onboarding(config: CustomerOnboarding | PrepareProcessedEventsConfig) -> str:
    return counted(len(config.actions), "action") if config.actions else "No actions"


def _limits(config: TenantConfig) -> str:
    places = f"{config.production} production and {counted(config.development, 'development environment')}"
    return f"{counted(config.max_users, 'person', 'people')}, {places}"


PAGES: Mapping[str, SettingPage] = MappingProxyType(
    {
        page.kind.key: page
        for page in (
            SettingPage(
                InvoiceConfig,
                "Invoice numbers and terms",
                SettingGroup.INVOICING,
                "Number, due date and time of every invoice from the next one on.",
                _invoices,
                invoicing_forms.invoices,
            ),
            SettingPage(
                DunningConfig,
                "Dunning",
                SettingGroup.INVOICING,
                "When a failed charge is tried again, and what happens when none succeeds.",
                _dunning,
                invoicing_forms.dunning,
            ),
            SettingPage(
                SubscriptionConfig,
                "Unpaid subscriptions",
                SettingGroup.INVOICING,
                "What happens to a subscription whose invoices stay unpaid.",
                _unpaid,
                invoicing_forms.unpaid_subscriptions,
            ),
            SettingPage(
                EinvoiceConfig,
                "E-invoices",
                SettingGroup.INVOICING,
                "How electronic invoices name you, and where unpaid invoices ask to be paid.",
                _e_invoices,
                invoicing_forms.e_invoices,
            ),
            SettingPage(
                DraftInvoiceRecomputeConfig,
                "Nightly drafts",
                SettingGroup.INVOICING,
                "Whether open drafts take up usage that arrives late.",
                lambda config: "Computed again every night" if config.enabled else "Off: drafts stay as computed",
                operations_forms.draft_recompute,
            ),
            SettingPage(
                FxConfig,
                "Reference rates",
                SettingGroup.INVOICING,
                "How old an exchange rate may be that an invoice is converted at.",
                lambda config: f"At most {counted(config.market_rate_max_age_days, 'day')} old",
                operations_forms.exchange_rates,
            ),
            SettingPage(
                MarketplaceConfig,
                "Marketplaces",
                SettingGroup.INVOICING,
                "What the marketplaces that collect for subscriptions are told of beside usage.",
                lambda config: "Usage and fixed fees" if config.include_fixed else "Usage alone",
                operations_forms.marketplaces,
            ),
            SettingPage(
                EmailConfig,
                "Mails",
                SettingGroup.CUSTOMERS,
                "Which mails your customers get, in which language, and when they are reminded.",
                _emails,
                invoicing_forms.emails,
            ),
            SettingPage(
                CustomerPortalConfig,
                "Customer portal",
                SettingGroup.CUSTOMERS,
                "The colours of mails and of the portal, and what customers may do there.",
                _portal,
                elsewhere="/customer-portal",
            ),
            SettingPage(
                WalletBalanceAlertConfig,
                "Wallet alerts",
                SettingGroup.CREDITS,
                "When the balance of a wallet raises an alert, and webhooks tell of it.",
                _wallet_alerts,
                operations_forms.wallet_alerts,
            ),
            SettingPage(
                BonusCreditsTopupConfig,
                "Bonus credits",
                SettingGroup.CREDITS,
                "What a top-up gets on top, from the next one on.",
                _bonus,
                operations_forms.bonus_credits,
            ),
            SettingPage(
                RequestConfig,
                "Requests and events",
                SettingGroup.USAGE,
                "Which requests over the API and which times of events are refused.",
                _requests,
                operations_forms.requests,
            ),
            SettingPage(
                ActivityConfig,
                "Activity log",
                SettingGroup.KEEPING,
                "How long it can be looked up who changed what.",
                lambda config: f"{counted(config.retention_days, 'day')}" if config.retention_days else "For ever",
                operations_forms.activity,
            ),
            SettingPage(
                ErasureConfig,
                "Erasure",
                SettingGroup.KEEPING,
                "How long documents go on naming a customer that is erased.",
                lambda config: counted(config.document_retention_years, "whole year"),
                operations_forms.erasure,
            ),
            SettingPage(
                TenantConfig,
                "Limits",
                SettingGroup.KEEPING,
                "How many people, environments and meters there may be; whoever runs this deployment sets it.",
                _limits,
            ),
            SettingPage(
                InvoicePdfConfig,
                "Template of PDFs",
                SettingGroup.OTHER_PROGRAMS,
                "What clients of the API may ask of PDFs. The logo is on the letterhead.",
                lambda config: "Grouped by " + _listed(config.group_by) if config.group_by else "The usual template",
            ),
            SettingPage(
                CustomerOnboarding,
                "Customers from events",
                SettingGroup.OTHER_PROGRAMS,
                f"What shall be done when an event names a customer that is unknown. {ELSEWHERE}",
                _onboarding,
            ),
            SettingPage(
                PrepareProcessedEventsConfig,
                "Features from events",
                SettingGroup.OTHER_PROGRAMS,
                f"What shall be done when an event has a name that is unknown. {ELSEWHERE}",
                _onboarding,
            ),
            SettingPage(
                CustomAnalyticsConfig,
                "Figures of your own",
                SettingGroup.OTHER_PROGRAMS,
                f"Figures that are shown beside usage. {ELSEWHERE}",
                lambda config: counted(len(config.rules), "figure"),
            ),
            SettingPage(
                EventIngestionFilter,
                "Allowed customers",
                SettingGroup.OTHER_PROGRAMS,
                f"The customers whose events shall be taken. {ELSEWHERE}",
                lambda config: (
                    counted(len(config.allowed_external_customer_ids), "customer") if config.enabled else "Everybody"
                ),
            ),
            SettingPage(
                PaymentMandateLimits,
                "Limits of mandates",
                SettingGroup.OTHER_PROGRAMS,
                f"The largest amount that a mandate shall collect. {ELSEWHERE}",
                lambda config: (
                    ", ".join(
                        f"{method} up to {grouped(limit.max_amount)} {limit.currency or ''}".rstrip()
                        for method, limit in config.mandate_limits.items()
                    )
                    or "None"
                ),
            ),
        )
    }
)
"""Every setting by its key, in the order of the overview."""


@dataclass(frozen=True, slots=True)
class SpokenPart:
    """A part of a value as words: a label with a text, or with parts of its own."""

    label: str
    text: str = ""
    parts: Sequence[SpokenPart] = ()


def spoken_parts(value: Mapping[str, Any]) -> list[SpokenPart]:
    """A value as it travels, in words: no field is left out that says something."""
    return [_spoken_field(name, part) for name, part in value.items() if part not in ("", None, [], {})]


def _spoken_field(name: str, value: Any) -> SpokenPart:
    if name.endswith("_seconds"):
        return SpokenPart(words(name.removesuffix("_seconds")), duration_in_words(value))
    return _spoken(words(name), value)


def _spoken(label: str, value: Any) -> SpokenPart:
    match value:
        case dict():
            return SpokenPart(label, parts=spoken_parts(value))
        case list() if any(isinstance(each, dict) for each in value):
            return SpokenPart(
                label, parts=[_spoken(_name_of(each, number), each) for number, each in enumerate(value, 1)]
            )
        case list():
            return SpokenPart(label, ", ".join(map(str, value)))
        case bool():
            return SpokenPart(label, "Yes" if value else "No")
        case int() | Decimal():
            return SpokenPart(label, grouped(Decimal(value)))
    return SpokenPart(label, str(value))


def _name_of(value: Any, number: int) -> str:
    name = value.get("label") or value.get("action") if isinstance(value, dict) else ""
    return words(name) if name else str(number)
