"""The letterhead: name, address, VAT id, bank account and logo of the company, beside a picture of an invoice."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from litestar.response import Redirect
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import to_local, zone_or_abbreviation
from farthing.core.caller import WRITE
from farthing.core.clock import Clock
from farthing.core.encoding.decoding import convert
from farthing.core.errors import PermissionDenied, ValidationFailed
from farthing.identity import tenants
from farthing.identity.schemas import TenantResponse, UpdateTenantRequest
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import EinvoiceConfig, InvoiceConfig, InvoicePdfConfig
from farthing.identity.settings.logo import MAX_BYTES, Logo
from farthing.identity.settings.seller import SellerPayment
from farthing.identity.tables import Tenant
from farthing.invoices.pdf.document import Days, InvoiceDocument, Line, LineGroup, Party, Totals
from farthing.invoices.pdf.render import first_page
from farthing.invoices.pdf.turns import typeset
from farthing.invoices.reads.letterhead import address_lines, payment_request
from farthing.storage.queries.rows import find
from farthing.web.access.upload_form import UploadForm
from farthing.web.access.visitors import Visitor, changes, shows, uploads, visitor_of
from farthing.web.dashboard.overview.first_steps import DISMISSED, first_steps
from farthing.web.forms.fields import FieldKind, FormField, FormSection, Sections
from farthing.web.forms.filled import FilledForm
from farthing.web.forms.pages import FormPage, answer_form, form_page, typed
from farthing.web.forms.places import address_fields, zones
from farthing.web.forms.reading import change_of, reshaped, shown_values
from farthing.web.rendering.answers import HEADERS, HttpRequest, done, render

PAGE = "/company"
_DETAILS = "billing_details"
_SAMPLE_NUMBER = "INV-202611-00042"
_SAMPLE_DAYS = Days(date(2026, 11, 1), date(2026, 11, 30))


def letterhead_form(*, leads: bool) -> Sections:
    """What invoices say of the company; the bank account and time zone are for a person in charge."""
    of_everybody = (_company(), _address())
    return (*of_everybody, _bank_account(), _days()) if leads else of_everybody


def _company() -> FormSection:
    return FormSection(
        "Company",
        (
            FormField("name", "Name", required=True, hint="At the head of every invoice, and the sender of mails"),
            FormField(f"{_DETAILS}.tax_id", "VAT or tax id", longest=50, hint="Under your address on every invoice"),
            FormField(f"{_DETAILS}.email", "E-mail", FieldKind.EMAIL, hint="Under your address on every invoice"),
            FormField(f"{_DETAILS}.phone", "Telephone", longest=50, hint="Under your address on every invoice"),
            FormField(
                f"{_DETAILS}.help_email",
                "E-mail for questions",
                FieldKind.EMAIL,
                hint="In the foot of every page of an invoice",
            ),
        ),
    )


def _address() -> FormSection:
    return FormSection(
        "Address",
        address_fields(f"{_DETAILS}.address.address_", "Your first price is in its currency"),
        "Stands on the left at the head of every invoice.",
    )


def _bank_account() -> FormSection:
    return FormSection(
        "Bank account",
        (
            FormField("payment.account_name", "Account holder", longest=200),
            FormField("payment.iban", "IBAN", longest=200),
            FormField("payment.bic", "BIC", longest=200),
            FormField("payment_terms_text", "Terms in words", longest=200, placeholder="Payable within 30 days"),
        ),
        "Unpaid invoices ask under their sum for a transfer to it.",
    )


def _days() -> FormSection:
    return FormSection(
        "Days",
        (
            FormField(
                "timezone",
                "Your time zone",
                FieldKind.CHOICE,
                required=True,
                options=zones(),
                hint="Decides the issue date of invoices; new customers are given it",
            ),
        ),
    )


class LetterheadPages(Controller):
    """The company as its invoices show it."""

    path = PAGE
    include_in_schema = False

    @get("/", guards=[shows("tenant")])
    async def page(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form, or what stands for who may not change it."""
        visitor = visitor_of(request)
        stands = await _stands(session, visitor.caller.tenant_id)
        sections = letterhead_form(leads=visitor.leads)
        shown = shown_values(sections, stands)
        if not visitor.may(WRITE, "tenant"):
            facts = [(part.label, shown.get(part.name, "")) for section in sections for part in section.parts]
            return render(request, "letterhead/shown.html", facts=facts, preview=_preview(shown))
        return form_page(
            request, _PAGE, FilledForm(sections, shown, is_filled=True), **await _beside(session, request, shown)
        )

    @post("/", guards=[changes("tenant")])
    async def write(self, request: HttpRequest, session: AsyncSession) -> Response[Any]:
        """Change what invoices say of the company."""
        visitor, given = visitor_of(request), typed(request)
        sections = letterhead_form(leads=visitor.leads)

        async def save() -> Redirect:
            await _write(session, visitor, sections, given)
            if given.get("logo"):  # a file comes with the button beneath it, and here only its name
                return done(request, PAGE, "Saved, but for the logo: choose its file again, then press Use this logo.")
            # whoever came from the first steps goes on with them
            steps = await first_steps(session, visitor, request.cookies.get(DISMISSED))
            return done(request, "/" if steps else PAGE, "Saved. Invoices show it from the next one on.")

        return await answer_form(request, _PAGE, sections, given, save, values=await _beside(session, request, given))

    @post("/logo", guards=[uploads("setting")])
    async def upload(self, request: HttpRequest, session: AsyncSession) -> Response[Any]:
        """Put a picture at the head of documents, with what was typed beside it, or take it away."""
        visitor, form = visitor_of(request), UploadForm(request)
        await form.read_fields()
        given, sections = reshaped(form.fields), letterhead_form(leads=visitor.leads)

        async def save() -> Redirect:
            if not visitor.leads:
                raise PermissionDenied("A person with Super Admin access can change the logo")
            content = b"".join([part async for part in _at_most(form, MAX_BYTES)])
            if not content and given.get("action") != "remove":
                raise ValidationFailed.of("logo", "choose a PNG or JPEG first")
            text = base64.b64encode(_logo(content).content).decode() if content else ""
            if content:
                await _write(session, visitor, sections, given)
            await current.write(session, InvoicePdfConfig, {"logo": msgspec.Raw(msgspec.json.encode(text))})
            said = "Saved. The logo stands at the head of invoices from the next one on."
            return done(request, PAGE, said if text else "The logo is taken away.")

        return await answer_form(request, _PAGE, sections, given, save, values=await _beside(session, request, given))

    @get("/letterhead.png", guards=[shows("tenant")])
    async def picture(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[bytes]:
        """The first page of an invoice with this letterhead, as it would be printed."""
        given = {name: text.replace("\x00", "")[:255] for name, text in request.query_params.items()}
        details = {name.rpartition(".")[2]: text for name, text in given.items() if name.startswith(_DETAILS)}
        stored = await current.read(session, EinvoiceConfig)
        account = SellerPayment()
        account.iban, account.bic = given.get("payment.iban", ""), given.get("payment.bic", "")
        account.account_name = given.get("payment.account_name", "")
        terms = given.get("payment_terms_text", "")
        if not visitor_of(request).leads:
            account, terms = stored.payment, stored.payment_terms_text
        zone = zone_or_abbreviation((await current.read(session, InvoiceConfig)).timezone)
        logo = (await current.read(session, InvoicePdfConfig)).logo
        country = details.get("address_country", "")
        seller = Party(
            name=given.get("name", ""),
            address=tuple(address_lines(details)),
            country=country if len(country) == 2 else "",
            tax_id=details.get("tax_id", ""),
            email=details.get("email", ""),
            help_email=details.get("help_email", ""),
            phone=details.get("phone", ""),
        )
        asked = tuple(payment_request(account, terms, Decimal("1249.50"), "eur", _SAMPLE_NUMBER))
        document = _sample(seller, asked, to_local(clock.now(), zone).date(), Logo.of_base64(logo) if logo else None)
        png = await typeset(visitor_of(request).caller.tenant_id, first_page, document)
        return Response(png, media_type="image/png", headers=HEADERS)


_PAGE = FormPage(
    "Letterhead",
    (("/settings", "Settings"),),
    "Save",
    "What every invoice says of you, from the next one on.",
    aside="letterhead/preview.html",
    below="letterhead/logo.html",
    address=PAGE,
)


def picture_address(base64_text: str) -> str:
    """What an image element shows such a picture by; empty for none."""
    if not base64_text:
        return ""
    return f"data:image/{'png' if Logo.of_base64(base64_text).format == 'png' else 'jpeg'};base64,{base64_text}"


async def _stands(session: AsyncSession, tenant_id: str) -> dict[str, Any]:
    tenant = TenantResponse.of(await find(session, Tenant, tenant_id))
    einvoice = await current.read(session, EinvoiceConfig)
    return {
        "name": tenant.name,
        _DETAILS: msgspec.to_builtins(tenant.billing_details),
        "payment": msgspec.to_builtins(einvoice.payment),
        "payment_terms_text": einvoice.payment_terms_text,
        "timezone": (await current.read(session, InvoiceConfig)).timezone,
    }


async def _write(session: AsyncSession, visitor: Visitor, sections: Sections, given: dict[str, str]) -> None:
    """Write what was typed of the company, and of its settings for who may change them."""
    body = change_of(sections, given)
    asked = convert({"name": body["name"], _DETAILS: body.get(_DETAILS, {})}, UpdateTenantRequest)
    await tenants.update(
        session,
        visitor.caller.tenant_id,
        name=asked.name,
        billing_details=msgspec.to_builtins(asked.billing_details),
        metadata=None,
    )
    if visitor.leads:
        await _write_settings(session, body)


async def _write_settings(session: AsyncSession, body: Mapping[str, Any]) -> None:
    """Write those settings that are said otherwise than they stand."""
    einvoice = await current.effective(session, EinvoiceConfig)
    account = {**einvoice.value["payment"], "iban": "", "bic": "", "account_name": "", **body.get("payment", {})}
    said = {"payment": account, "payment_terms_text": body["payment_terms_text"]}
    if any(einvoice.value[name] != value for name, value in said.items()):
        raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in said.items()}
        await current.write(session, EinvoiceConfig, raw)
    if (await current.read(session, InvoiceConfig)).timezone != body["timezone"]:
        await current.write(session, InvoiceConfig, {"timezone": msgspec.Raw(msgspec.json.encode(body["timezone"]))})


async def _beside(session: AsyncSession, request: HttpRequest, shown: Mapping[str, str]) -> dict[str, Any]:
    logo = (await current.read(session, InvoicePdfConfig)).logo
    return {"preview": _preview(shown), "logo": picture_address(logo)}


def _preview(shown: Mapping[str, str]) -> dict[str, str]:
    """The query of the picture."""
    spoken = ("name", _DETAILS, "payment.", "payment_terms_text")
    return {name: text[:255] for name, text in shown.items() if text and name.startswith(spoken)}


async def _at_most(form: UploadForm, most: int) -> Any:
    size = 0
    async for part in form.content():
        size += len(part)
        if size > most:
            raise ValidationFailed.of("logo", f"must have at most {most // 1024} KiB")
        yield part


def _logo(content: bytes) -> Logo:
    try:
        return Logo(content)
    except ValueError as error:
        raise ValidationFailed.of("logo", str(error)) from error


def _sample(seller: Party, asked: tuple[str, ...], today: date, logo: Logo | None) -> InvoiceDocument:
    """An invoice that nobody gets, to show the letterhead on."""
    return InvoiceDocument(
        seller=seller,
        customer=Party(name="A customer of yours", address=("1 Example Street", "1000 Anywhere")),
        currency="eur",
        status="FINALIZED",
        number=_SAMPLE_NUMBER,
        issued=today,
        due_on=today,
        days=_SAMPLE_DAYS,
        groups=(
            LineGroup(
                title="",
                lines=(
                    Line(
                        name="Platform fee",
                        amount=Decimal(49),
                        quantity=Decimal(1),
                        unit_price=Decimal(49),
                        days=_SAMPLE_DAYS,
                    ),
                    Line(
                        name="API calls",
                        amount=Decimal("1200.50"),
                        quantity=Decimal(240100),
                        unit_price=Decimal("0.005"),
                        days=_SAMPLE_DAYS,
                    ),
                ),
            ),
        ),
        totals=Totals(subtotal=Decimal("1249.50"), total=Decimal("1249.50"), due=Decimal("1249.50")),
        statements=asked,
        logo=logo,
    )
