"""Factur-X: a PDF/A-3 with the CII in it, and with the metadata by which readers find it.

The typesetter makes the PDF and attaches the XML; the metadata's own vocabulary is written in a second step.
"""

from __future__ import annotations

import io

import pikepdf
from lxml import etree

from farthing.invoices.einvoice.formats.cii import cii
from farthing.invoices.einvoice.formats.paper import pages_of
from farthing.invoices.einvoice.model import Format, TradeDocument
from farthing.invoices.pdf.render import AttachedFile, render

FILE_NAME = "factur-x.xml"
CONFORMANCE_LEVEL = "EN 16931"
VERSION = "1.0"
_MIME = "text/xml"
_DESCRIPTION = "The same invoice for programs: Factur-X, EN 16931"

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_EXTENSION = "http://www.aiim.org/pdfa/ns/extension/"
_SCHEMA = "http://www.aiim.org/pdfa/ns/schema#"
_PROPERTY = "http://www.aiim.org/pdfa/ns/property#"
VOCABULARY = "urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#"
_PREFIX = "fx"
_PROPERTIES = {
    "DocumentFileName": ("The name of the embedded XML document", FILE_NAME),
    "DocumentType": ("The type of the hybrid document in capital letters", "INVOICE"),
    "Version": ("The actual version of the standard applying to the embedded XML document", VERSION),
    "ConformanceLevel": ("The conformance level of the embedded XML document", CONFORMANCE_LEVEL),
}
_HEAD = b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
_TAIL = b'<?xpacket end="r"?>'


def facturx(document: TradeDocument) -> bytes:
    """The document as a Factur-X file; the same document gives the same bytes."""
    content = cii(document, Format.FACTURX).decode()
    return _with_metadata(render(pages_of(document), AttachedFile(FILE_NAME, _MIME, _DESCRIPTION, content)))


def _with_metadata(archive: bytes) -> bytes:
    with pikepdf.open(io.BytesIO(archive)) as pdf:
        metadata = etree.fromstring(pdf.Root.Metadata.read_bytes())
        _extend(metadata)
        stream = pdf.make_stream(_HEAD + etree.tostring(metadata) + _TAIL)
        stream.Type, stream.Subtype = pikepdf.Name.Metadata, pikepdf.Name.XML
        pdf.Root.Metadata = stream
        out = io.BytesIO()
        # metadata stays readable without decompression, as archives want it
        pdf.save(out, deterministic_id=True, fix_metadata_version=False, compress_streams=False)
    return out.getvalue()


def _extend(metadata: etree._Element) -> None:
    """Declare the vocabulary where the archive's own extensions are declared, and say its four properties."""
    (declared,) = metadata.iter(f"{{{_EXTENSION}}}schemas")
    schema = etree.SubElement(declared[0], f"{{{_RDF}}}li", {f"{{{_RDF}}}parseType": "Resource"})
    for name, text in (
        ("schema", "Factur-X PDFA Extension Schema"),
        ("namespaceURI", VOCABULARY),
        ("prefix", _PREFIX),
    ):
        etree.SubElement(schema, f"{{{_SCHEMA}}}{name}").text = text
    properties = etree.SubElement(etree.SubElement(schema, f"{{{_SCHEMA}}}property"), f"{{{_RDF}}}Seq")
    (rdf,) = metadata.iter(f"{{{_RDF}}}RDF")
    said = etree.SubElement(rdf, f"{{{_RDF}}}Description", {f"{{{_RDF}}}about": ""}, nsmap={_PREFIX: VOCABULARY})
    for name, (description, value) in _PROPERTIES.items():
        declaration = etree.SubElement(properties, f"{{{_RDF}}}li", {f"{{{_RDF}}}parseType": "Resource"})
        for part, text in (
            ("name", name),
            ("valueType", "Text"),
            ("category", "external"),
            ("description", description),
        ):
            etree.SubElement(declaration, f"{{{_PROPERTY}}}{part}").text = text
        etree.SubElement(said, f"{{{VOCABULARY}}}{name}").text = value
