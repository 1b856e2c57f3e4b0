"""A document as the file that somebody takes away."""

from __future__ import annotations

from dataclasses import dataclass

from litestar import Response

from farthing.core.encoding.file_names import content_disposition, file_name
from farthing.core.errors import ValidationFailed
from farthing.invoices.einvoice.assembly import IssuedDocument, assemble, document_for
from farthing.invoices.einvoice.model import Format, TradeDocument
from farthing.invoices.pdf.turns import typeset

_TITLES = {
    Format.XRECHNUNG_UBL: "XRechnung (UBL)",
    Format.XRECHNUNG_CII: "XRechnung (CII)",
    Format.PEPPOL_UBL: "Peppol BIS Billing",
    Format.FACTURX: "Factur-X (PDF)",
}


@dataclass(frozen=True, slots=True)
class Availability:
    """A format, what people call it, and what stands against the document in it: a reason by field."""

    format: Format
    title: str
    obstacles: dict[str, str]


def requested_format(said: str) -> Format:
    """The format that a request names. Raises ValidationFailed."""
    if said not in set(Format):
        raise ValidationFailed.of("format", f"must be one of {', '.join(Format)}")
    return Format(said)


def availabilities(issued: IssuedDocument) -> list[Availability]:
    """In which formats the document can be had, and why it cannot in the others."""
    return [Availability(each, _TITLES[each], assemble(issued, each).obstacles) for each in Format]


@dataclass(frozen=True, slots=True)
class EinvoiceFile:
    """A document in a format, under its number."""

    name: str
    subtype: str
    """`pdf` or `xml`; its type is `application/` and this."""
    content: bytes


async def make_file(tenant_id: str, issued: IssuedDocument, wanted: Format) -> EinvoiceFile:
    """The tenant's document as a file. Raises ValidationFailed naming what is missing."""
    document = document_for(issued, wanted)
    content = await typeset(tenant_id, written_file, document, wanted)
    ending = "pdf" if wanted is Format.FACTURX else "xml"
    return EinvoiceFile(file_name(f"{document.number}-{wanted}.{ending}"), ending, content)


async def file_answer(tenant_id: str, issued: IssuedDocument, wanted: Format) -> Response[bytes]:
    """The tenant's document as a download under its number. Raises ValidationFailed naming what is missing."""
    file = await make_file(tenant_id, issued, wanted)
    headers = {
        "content-disposition": content_disposition("attachment", file.name),
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    }
    return Response(file.content, media_type=f"application/{file.subtype}", headers=headers)


def written_file(document: TradeDocument, wanted: Format) -> bytes:
    """The bytes of the document in a format. The libraries for XML and PDF are large, and loaded when they are used."""
    if wanted is Format.FACTURX:
        from farthing.invoices.einvoice.formats.facturx import facturx

        return facturx(document)
    if wanted is Format.XRECHNUNG_CII:
        from farthing.invoices.einvoice.formats.cii import cii

        return cii(document, wanted)
    from farthing.invoices.einvoice.formats.ubl import ubl

    return ubl(document, wanted)
