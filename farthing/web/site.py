"""All pages under one roof: what the application registers."""

from __future__ import annotations

from litestar import Router
from litestar.types import ControllerRouterHandler

from farthing.web.administration.clock import TestClock
from farthing.web.administration.duties import Duties
from farthing.web.administration.emails import EmailPages
from farthing.web.administration.erasure import ErasurePages
from farthing.web.administration.integrations import IntegrationPages
from farthing.web.administration.keys import Keys
from farthing.web.administration.letterhead import LetterheadPages
from farthing.web.administration.portal_settings import PortalSettingsPages
from farthing.web.administration.settings.pages import SettingsPages
from farthing.web.administration.transfers import TransferPages
from farthing.web.administration.webhooks import WebhookPages
from farthing.web.administration.workflows import WorkflowPages
from farthing.web.api_reference.pages import ApiReference
from farthing.web.checkout.pages import CheckoutPages
from farthing.web.dashboard.accounts.billing_details import BillingDetails
from farthing.web.dashboard.accounts.customer_changes import CustomerChanges
from farthing.web.dashboard.accounts.customers import CustomerPages
from farthing.web.dashboard.accounts.grants import GrantForms
from farthing.web.dashboard.accounts.wallets import WalletPages
from farthing.web.dashboard.activity import ActivityPages
from farthing.web.dashboard.alerts import AlertPages
from farthing.web.dashboard.annotations import AnnotationPages
from farthing.web.dashboard.catalogue.coupons import CouponPages
from farthing.web.dashboard.catalogue.features.groups import GroupPages
from farthing.web.dashboard.catalogue.features.pages import FeaturePages
from farthing.web.dashboard.catalogue.lists import CatalogueLists
from farthing.web.dashboard.catalogue.plans.entitlements import EntitlementPages
from farthing.web.dashboard.catalogue.plans.pages import AddonPages, PlanPages
from farthing.web.dashboard.catalogue.plans.prices import PricePages
from farthing.web.dashboard.catalogue.tax_associations import TaxAssociationPages
from farthing.web.dashboard.catalogue.taxes import TaxPages
from farthing.web.dashboard.events.pages import Events
from farthing.web.dashboard.events.test_event import TestEventPages
from farthing.web.dashboard.finding.pages import SearchPages
from farthing.web.dashboard.lists.customer_list import CustomerList
from farthing.web.dashboard.lists.invoice_list import InvoiceList
from farthing.web.dashboard.lists.subscription_list import SubscriptionList
from farthing.web.dashboard.lists.view_forms import SavedViewForms
from farthing.web.dashboard.overview.first_steps import FirstSteps
from farthing.web.dashboard.overview.pages import Overview
from farthing.web.dashboard.receivables.checkouts import CheckoutList
from farthing.web.dashboard.receivables.corrections import CorrectionPages
from farthing.web.dashboard.receivables.credit_notes import CreditNotePages
from farthing.web.dashboard.receivables.drafts.editing import DraftPages
from farthing.web.dashboard.receivables.drafts.one_off import OneOffPages
from farthing.web.dashboard.receivables.drafts.voiding import VoidingPages
from farthing.web.dashboard.receivables.dunning import DunningPages
from farthing.web.dashboard.receivables.einvoices import EinvoicePages
from farthing.web.dashboard.receivables.exchange_rates import ExchangeRatePages
from farthing.web.dashboard.receivables.invoice_mails import InvoiceMailPages
from farthing.web.dashboard.receivables.invoices import InvoicePages
from farthing.web.dashboard.receivables.payments.listing import PaymentPages
from farthing.web.dashboard.receivables.payments.recording import RecordingPages
from farthing.web.dashboard.receivables.payments.unapplied import UnappliedMoneyPages
from farthing.web.dashboard.receivables.statements import StatementPages
from farthing.web.dashboard.reports.pages import ReportPages
from farthing.web.dashboard.subscriptions.action_pages import SubscriptionActionPages
from farthing.web.dashboard.subscriptions.detail import SubscriptionPage
from farthing.web.dashboard.subscriptions.subscribe import SubscribePages
from farthing.web.dashboard.usage_records import UsageRecordPages
from farthing.web.people.account import OwnAccount
from farthing.web.people.passwords import SettingPasswords
from farthing.web.people.sign_in import SigningIn
from farthing.web.people.team import Team
from farthing.web.portal.alerts import PortalAlerts
from farthing.web.portal.credits import PortalCredits
from farthing.web.portal.details import PortalDetails
from farthing.web.portal.look import PortalLook
from farthing.web.portal.methods import PortalMethods
from farthing.web.portal.pages import Portal, PortalLinks
from farthing.web.portal.subscriptions import PortalSubscriptionPages
from farthing.web.portal.usage import PortalUsage
from farthing.web.rendering.answers import error_page
from farthing.web.rendering.assets import asset, favicon

DASHBOARD: tuple[ControllerRouterHandler, ...] = (
    SigningIn,
    SettingPasswords,
    OwnAccount,
    Team,
    Overview,
    FirstSteps,
    SearchPages,
    ReportPages,
    CustomerList,
    InvoiceList,
    SubscriptionList,
    SavedViewForms,
    CustomerPages,
    CustomerChanges,
    BillingDetails,
    InvoicePages,
    InvoiceMailPages,
    PaymentPages,
    RecordingPages,
    UnappliedMoneyPages,
    StatementPages,
    AnnotationPages,
    OneOffPages,
    DraftPages,
    VoidingPages,
    DunningPages,
    CreditNotePages,
    CorrectionPages,
    EinvoicePages,
    CheckoutList,
    ErasurePages,
    SubscribePages,
    SubscriptionPage,
    SubscriptionActionPages,
    WalletPages,
    CatalogueLists,
    GroupPages,
    FeaturePages,
    PlanPages,
    AddonPages,
    PricePages,
    EntitlementPages,
    CouponPages,
    TaxPages,
    TaxAssociationPages,
    GrantForms,
    Events,
    TestEventPages,
    AlertPages,
    ExchangeRatePages,
    Keys,
    WebhookPages,
    IntegrationPages,
    UsageRecordPages,
    ActivityPages,
    EmailPages,
    TransferPages,
    LetterheadPages,
    SettingsPages,
    PortalSettingsPages,
    TestClock,
    WorkflowPages,
    Duties,
    PortalLinks,
)

PORTAL: tuple[ControllerRouterHandler, ...] = (
    Portal,
    PortalLook,
    PortalUsage,
    PortalAlerts,
    PortalDetails,
    PortalSubscriptionPages,
    PortalCredits,
    PortalMethods,
)

site = Router(
    "/",
    route_handlers=[*DASHBOARD, ApiReference, *PORTAL, CheckoutPages, asset, favicon],
    exception_handlers={Exception: error_page},
)
"""The pages, whose errors are pages."""
