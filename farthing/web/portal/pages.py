"""The customer portal: what one customer owes, used and was invoiced, and a way to pay.

Rule: docs/rules/customers.md#portal
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from litestar import Controller, Response, get, post
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.work import unit_of_work
from farthing.checkout.tables import CheckoutSession
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, Unauthorized
from farthing.core.ids import new_ulid
from farthing.customers import portal
from farthing.customers.lookup import by_external_id
from farthing.customers.tables import Customer
from farthing.invoices.einvoice.files import Availability, availabilities, file_answer, requested_format
from farthing.invoices.einvoice.issued import issued_invoice
from farthing.invoices.figures.computation import published_lines
from farthing.invoices.reads import documents
from farthing.invoices.reads.reading_zones import reading_zone, reading_zones
from farthing.invoices.receivable import InvoiceStatus, is_unpaid
from farthing.invoices.receivables.summary import CustomerInvoiceSummary, SummaryScope, summarise
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.marketplaces import collector_of
from farthing.payments.shared_by_routes import provide_gateways
from farthing.payments.states import OPEN
from farthing.payments.tables import Payment
from farthing.payments.testing_provider import pages as test_pages
from farthing.payments.testing_provider.pages import Delivery
from farthing.payments.testing_provider.tables import HostedPageState, TestSession
from farthing.settings import Settings
from farthing.storage.midway import commit_midway
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import find
from farthing.subscriptions.tables import Subscription
from farthing.web.access.visitors import changes, form_of
from farthing.web.dashboard.receivables.invoices import pdf_of, zone_of
from farthing.web.portal.credits import credits_of
from farthing.web.portal.paying import WAY_BACK, can_be_paid, checkout_path, lead_to_payment, payment_page, way_back
from farthing.web.portal.subscriptions import is_own, rhythm, waiting
from farthing.web.portal.usage import live_subscriptions, plan_names
from farthing.web.portal.visit.session import VISIBLE, customer_of, in_path, payable_invoice, visit_of
from farthing.web.portal.visit.showing import go_on, portal_page, refused_here
from farthing.web.rendering.answers import HttpRequest, go, refused
from farthing.web.rendering.charts import StripPart
from farthing.web.rendering.listing import listing


class Portal(Controller):
    """The pages of one customer; the address is the credential."""

    path = "/portal"
    include_in_schema = False

    @get("/")
    async def entrance(self, request: HttpRequest) -> Response[str]:
        """Links that carry the session in their query lead on to its page; a provider leads back without telling it."""
        token = request.query_params.get("token") or request.cookies.get(WAY_BACK, "")
        if not token or "/" in token:
            raise Unauthorized("This link is not complete")
        return go_on(f"/portal/{token}" + ("/methods" if request.query_params.get("to") == "methods" else ""))

    @get("/{token:str}", guards=[in_path(None)])
    async def home(self, token: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """What the customer owes, what is overdue, what was used this period, and the invoices."""
        now, visit, work = clock.now(), visit_of(request), unit_of_work(request)
        customer = await customer_of(session, visit)
        summary = await summarise(work.database, work.scope, customer.id, now, SummaryScope.BILLED)
        shows_invoices = visit.offers("invoices")
        at = listing(request, ("created",), "created")
        invoices = await _invoices(session, customer, at.offset, at.per_page + 1) if shows_invoices else []
        at.total = at.offset + len(invoices)
        subscriptions = await live_subscriptions(session, visit)
        return portal_page(
            request,
            "portal/home.html",
            customer=customer,
            zones=await reading_zones(session, invoices),
            now=now,
            summary=summary,
            split=_split,
            invoices=invoices[: at.per_page],
            listing=at,
            subscriptions=subscriptions,
            own_ids=set(await session.scalars(select(Subscription.id).where(*is_own(visit)))),
            plans=await plan_names(session, subscriptions),
            rhythm=lambda row: rhythm(visit.words, row.billing_period, row.billing_period_count),
            waiting=await waiting(session, [row.id for row in subscriptions]),
            wallets=await credits_of(session, customer.id),
            can_buy=visit.offers("buy_credits") and await can_be_paid(session),
            once=new_ulid(),
        )

    @get("/{token:str}/invoices/{invoice_id:str}", guards=[in_path("invoices")])
    async def invoice(
        self,
        token: str,
        invoice_id: str,
        request: HttpRequest,
        session: AsyncSession,
        clock: Clock,
        services: Composition,
    ) -> Response[str]:
        """One invoice, and the way to pay it."""
        visit = visit_of(request)
        invoice = await payable_invoice(session, visit, invoice_id)
        customer = await customer_of(session, visit)
        payments = (
            await session.scalars(
                select(Payment)
                .where(Payment.destination_id == invoice.id, Payment.status == Status.PUBLISHED)
                .order_by(Payment.created_at)
            )
        ).all()
        open_payments = [
            payment
            for payment in payments
            if payment.payment_url and payment.payment_status in OPEN and payment.amount <= invoice.amount_remaining
        ]
        collector = await collector_of(session, invoice.subscription_id)
        pays = visit.offers("pay") and not collector
        page = portal_page(
            request,
            "portal/invoice.html",
            customer=customer,
            zone=await zone_of(session),
            cut_in=await reading_zone(session, invoice),
            now=clock.now(),
            invoice=invoice,
            lines=await published_lines(session, invoice.id),
            payments=[payment for payment in payments if payment.payment_status not in OPEN],
            can_pay=pays and is_unpaid(invoice) and await can_be_paid(session),
            pay_url=await _pay_url(session, token, invoice, open_payments[-1] if open_payments and pays else None),
            einvoices=await _einvoices(session, invoice),
            collector=collector,
        )
        page.set_cookie(way_back(services, token))  # the way to pay may be a checkout that is open already
        return page

    @get("/{token:str}/invoices/{invoice_id:str}/pdf", guards=[in_path("invoices")])
    async def pdf(self, invoice_id: str, request: HttpRequest, session: AsyncSession) -> Response[bytes]:
        """The invoice as a PDF."""
        invoice = await payable_invoice(session, visit_of(request), invoice_id)
        return pdf_of(invoice, await documents.pdf(session, invoice))

    @get("/{token:str}/invoices/{invoice_id:str}/e-invoice/{wanted:str}", guards=[in_path("invoices")])
    async def einvoice(
        self, invoice_id: str, wanted: str, request: HttpRequest, session: AsyncSession
    ) -> Response[bytes]:
        """The invoice as an e-invoice."""
        invoice = await payable_invoice(session, visit_of(request), invoice_id)
        return await file_answer(invoice.tenant_id, await issued_invoice(session, invoice), requested_format(wanted))

    @post("/{token:str}/invoices/{invoice_id:str}/pay", guards=[in_path("pay", read_only=False)])
    async def pay(
        self,
        token: str,
        invoice_id: str,
        request: HttpRequest,
        session: AsyncSession,
        clock: Clock,
        services: Composition,
    ) -> Response[str]:
        """Ask the connected provider for a page to pay on; the invoice then leads there."""
        try:
            invoice = await payable_invoice(session, visit_of(request), invoice_id)
            return await lead_to_payment(session, services, token, invoice, clock)
        except FarthingError as error:
            return await refused_here(request, f"/invoices/{invoice_id}", error)

    @get("/{token:str}/test-payment/{page_id:str}", guards=[in_path("pay")])
    async def test_page(
        self, token: str, page_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """The built-in provider's page, as a person sees it."""
        invoice, page = await _own_page(session, request, services, page_id)
        is_open = page.state is HostedPageState.OPEN
        return portal_page(request, "portal/test_payment.html", invoice=invoice, page=page, is_open=is_open)

    @post("/{token:str}/test-payment/{page_id:str}", guards=[in_path("pay", read_only=False)])
    async def act_on_test_page(
        self, token: str, page_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """Pay, or be declined."""
        invoice, _ = await _own_page(session, request, services, page_id)
        invoice_id = invoice.id
        await commit_midway(session)  # nothing was written; the provider's page has transactions of its own
        action = "succeed" if form_of(request).get("action") == "pay" else "fail"
        gateways = provide_gateways(services)
        try:
            await test_pages.act(gateways, await test_pages.open_page(gateways, page_id), action, Delivery.NOW)
        except FarthingError as error:
            return await refused_here(request, f"/invoices/{invoice_id}", error)
        if action == "fail":
            return go_on(f"/portal/{token}/test-payment/{page_id}?declined=yes")
        return go_on(f"/portal/{token}/invoices/{invoice_id}")


class PortalLinks(Controller):
    """From the dashboard into a customer's portal."""

    include_in_schema = False

    @post("/customers/{customer_id:str}/portal", guards=[changes("customer")])
    async def open(
        self, customer_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """See what the customer sees."""
        try:
            row = await find(session, Customer, customer_id)
            customer = await by_external_id(session, row.external_id)
        except FarthingError as error:
            return await refused(request, f"/customers/{customer_id}", error)
        settings = services.part(Settings)
        opened = portal.open_session(
            customer, settings.master_key(), services.part(Database).clock.now(), settings.portal_session_seconds
        )
        return go(f"/portal/{opened.token}")


def _split(summary: CustomerInvoiceSummary, used: str, fixed: str) -> list[StripPart]:
    """Usage against fixed charges of what is unpaid, each with its amount as the reader writes it."""
    parts = ((summary.unpaid_usage_charges, used, "usage"), (summary.unpaid_fixed_charges, fixed, "fixed"))
    return [StripPart("", Decimal(amount), words, tone) for amount, words, tone in parts]


async def _pay_url(session: AsyncSession, token: str, invoice: Invoice, waiting: Payment | None) -> str:
    """Where a payment that waits is made: on the page of its checkout, or of its provider; "" where none waits."""
    if waiting is None or not is_unpaid(invoice):
        return ""
    if waiting.checkout_session_id is None:
        return payment_page(waiting, token)
    return checkout_path(await find(session, CheckoutSession, waiting.checkout_session_id))


async def _einvoices(session: AsyncSession, invoice: Invoice) -> list[Availability]:
    """The formats in which the invoice can be had; what is missing for others is no concern of the customer's."""
    if invoice.invoice_status is not InvoiceStatus.FINALIZED:
        return []
    return [each for each in availabilities(await issued_invoice(session, invoice)) if not each.obstacles]


async def _invoices(session: AsyncSession, customer: Customer, offset: int, limit: int) -> Sequence[Invoice]:
    found = await session.scalars(
        select(Invoice)
        .where(
            Invoice.customer_id == customer.id,
            Invoice.status == Status.PUBLISHED,
            Invoice.invoice_status.in_(VISIBLE),
        )
        .order_by(Invoice.created_at.desc(), Invoice.id.desc())
        .offset(offset)
        .limit(limit)
    )
    return found.all()


async def _own_page(
    session: AsyncSession, request: HttpRequest, services: Composition, page_id: str
) -> tuple[Invoice, TestSession]:
    """A simulated page of the customer's own payment, with its invoice. Raises NotFound for anybody else's."""
    page = (await test_pages.open_page(provide_gateways(services), page_id)).page
    payment = await find(session, Payment, page.payment_id or "")
    return await payable_invoice(session, visit_of(request), payment.destination_id), page
