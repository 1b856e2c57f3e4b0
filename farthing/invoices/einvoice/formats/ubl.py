"""A document in UBL 2.1, for XRechnung and for Peppol BIS Billing 3. Elements stand in the order of the schema."""

from __future__ import annotations

from farthing.core.money import plain
from farthing.core.standards.trade_codes import VatCategory
from farthing.invoices.einvoice.formats.xml import XmlElement, XmlWriter, written
from farthing.invoices.einvoice.model import (
    DocumentAllowance,
    Format,
    TradeDocument,
    TradeLine,
    TradeParty,
    TypeCode,
    Vat,
)
from farthing.invoices.pdf.document import Days

_NAMESPACES = {
    "cac": "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2",
    "cbc": "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2",
}
PROFILE = "urn:fdc:peppol.eu:2017:poacc:billing:01:1.0"
SPECIFICATION = {
    Format.XRECHNUNG_UBL: "urn:cen.eu:en16931:2017#compliant#urn:xeinkauf.de:kosit:xrechnung_3.0",
    Format.PEPPOL_UBL: "urn:cen.eu:en16931:2017#compliant#urn:fdc:peppol.eu:2017:poacc:billing:3.0",
}


def ubl(document: TradeDocument, wanted: Format) -> bytes:
    """The document as an Invoice or a CreditNote."""
    return written(_UblWriter(document, wanted).whole())


class _UblWriter(XmlWriter):
    """Writes one document."""

    def __init__(self, document: TradeDocument, wanted: Format) -> None:
        self._is_invoice = document.type is TypeCode.INVOICE
        self._kind = "Invoice" if self._is_invoice else "CreditNote"
        own = f"urn:oasis:names:specification:ubl:schema:xsd:{self._kind}-2"
        super().__init__({"": own, **_NAMESPACES}, document.currency)
        self._document, self._wanted = document, wanted

    def whole(self) -> XmlElement:
        document = self._document
        root = self.root(self._kind)
        self._head(root)
        creditor_id = document.payment.creditor_id if document.payment is not None else ""
        self._party(self.group(root, "cac:AccountingSupplierParty", "cac:Party"), document.seller, creditor_id)
        self._party(self.group(root, "cac:AccountingCustomerParty", "cac:Party"), document.buyer)
        self._delivery(root)
        self._payment(root)
        for allowance in document.allowances:
            self._document_allowance(root, allowance)
        self._taxes(root)
        self._totals(root)
        for line in document.lines:
            self._line(root, line)
        return root

    def _head(self, root: XmlElement) -> None:
        document = self._document
        self.say(root, "cbc:CustomizationID", SPECIFICATION[self._wanted])
        self.say(root, "cbc:ProfileID", PROFILE)
        self.say(root, "cbc:ID", document.number)
        self.say(root, "cbc:IssueDate", document.issued.isoformat())
        if self._is_invoice and document.due_on is not None:
            self.say(root, "cbc:DueDate", document.due_on.isoformat())
        self.say(root, f"cbc:{self._kind}TypeCode", document.type.value)
        self.say(root, "cbc:Note", document.note)
        self.say(root, "cbc:DocumentCurrencyCode", document.currency)
        self.say(root, "cbc:TaxCurrencyCode", document.accounting_currency)
        self.say(root, "cbc:BuyerReference", document.buyer_reference)
        self._period(root, document.days)
        if document.order_reference:
            self.say(self.group(root, "cac:OrderReference"), "cbc:ID", document.order_reference)
        if document.preceding is not None:
            reference = self.group(root, "cac:BillingReference", "cac:InvoiceDocumentReference")
            self.say(reference, "cbc:ID", document.preceding.number)
            if document.preceding.issued is not None:
                self.say(reference, "cbc:IssueDate", document.preceding.issued.isoformat())
        for supporting in document.supporting:
            reference = self.group(root, "cac:AdditionalDocumentReference")
            self.say(reference, "cbc:ID", supporting.id)
            self.say(reference, "cbc:DocumentDescription", supporting.description)
            if supporting.url:
                self.say(self.group(reference, "cac:Attachment", "cac:ExternalReference"), "cbc:URI", supporting.url)

    def _period(self, parent: XmlElement, days: Days | None) -> None:
        if days is not None:
            period = self.group(parent, "cac:InvoicePeriod")
            self.say(period, "cbc:StartDate", days.first.isoformat())
            self.say(period, "cbc:EndDate", days.last.isoformat())

    def _party(self, party: XmlElement, said: TradeParty, creditor_id: str = "") -> None:
        self.say(party, "cbc:EndpointID", said.address_id, schemeID=said.address_scheme)
        if creditor_id:
            self.say(self.group(party, "cac:PartyIdentification"), "cbc:ID", creditor_id, schemeID="SEPA")
        if said.trading_name:
            self.say(self.group(party, "cac:PartyName"), "cbc:Name", said.trading_name)
        postal = self.group(party, "cac:PostalAddress")
        self.say(postal, "cbc:StreetName", said.postal.line1)
        self.say(postal, "cbc:AdditionalStreetName", said.postal.line2)
        self.say(postal, "cbc:CityName", said.postal.city)
        self.say(postal, "cbc:PostalZone", said.postal.postal_code)
        self.say(postal, "cbc:CountrySubentity", said.postal.state)
        self.say(self.group(postal, "cac:Country"), "cbc:IdentificationCode", said.postal.country)
        # Norway looks for a tax registration under the name that Peppol's guide has for it
        other = "TAX" if self._wanted is Format.PEPPOL_UBL else "FC"
        for number, scheme in ((said.vat_id, "VAT"), (said.tax_number, other)):
            if number:
                registration = self.group(party, "cac:PartyTaxScheme")
                self.say(registration, "cbc:CompanyID", number)
                self.say(self.group(registration, "cac:TaxScheme"), "cbc:ID", scheme)
        entity = self.group(party, "cac:PartyLegalEntity")
        self.say(entity, "cbc:RegistrationName", said.name)
        scheme_id = {"schemeID": said.registration_scheme} if said.registration_scheme else {}
        self.say(entity, "cbc:CompanyID", said.registration, **scheme_id)
        if said.contact_name or said.phone or said.email:
            contact = self.group(party, "cac:Contact")
            self.say(contact, "cbc:Name", said.contact_name)
            self.say(contact, "cbc:Telephone", said.phone)
            self.say(contact, "cbc:ElectronicMail", said.email)

    def _delivery(self, root: XmlElement) -> None:
        """What is supplied to another country of the community says when it was, and to where."""
        document = self._document
        if document.is_intra_community and document.days is not None:
            delivery = self.group(root, "cac:Delivery")
            self.say(delivery, "cbc:ActualDeliveryDate", document.days.last.isoformat())
            address = self.group(delivery, "cac:DeliveryLocation", "cac:Address")
            self.say(address, "cbc:CityName", document.buyer.postal.city)
            self.say(address, "cbc:PostalZone", document.buyer.postal.postal_code)
            self.say(self.group(address, "cac:Country"), "cbc:IdentificationCode", document.buyer.postal.country)

    def _payment(self, root: XmlElement) -> None:
        payment = self._document.payment
        if payment is not None:
            means = self.group(root, "cac:PaymentMeans")
            self.say(means, "cbc:PaymentMeansCode", payment.means_code)
            self.say(means, "cbc:PaymentID", payment.reference)
            if payment.account:
                account = self.group(means, "cac:PayeeFinancialAccount")
                self.say(account, "cbc:ID", payment.account)
                self.say(account, "cbc:Name", payment.account_name)
                if payment.branch:
                    self.say(self.group(account, "cac:FinancialInstitutionBranch"), "cbc:ID", payment.branch)
            if payment.mandate:
                mandate = self.group(means, "cac:PaymentMandate")
                self.say(mandate, "cbc:ID", payment.mandate)
                if payment.debited_account:
                    self.say(self.group(mandate, "cac:PayerFinancialAccount"), "cbc:ID", payment.debited_account)
        if self._document.terms:
            self.say(self.group(root, "cac:PaymentTerms"), "cbc:Note", self._document.terms)

    def _document_allowance(self, root: XmlElement, allowance: DocumentAllowance) -> None:
        charge = self.group(root, "cac:AllowanceCharge")
        self.say(charge, "cbc:ChargeIndicator", "false")
        self.say(charge, "cbc:AllowanceChargeReason", allowance.reason)
        self.amount(charge, "cbc:Amount", allowance.amount)
        self._category(charge, "cac:TaxCategory", allowance.vat)

    def _category(self, parent: XmlElement, name: str, vat: Vat, *, in_breakdown: bool = False) -> None:
        category = self.group(parent, name)
        self.say(category, "cbc:ID", vat.category.value)
        # Germany demands a rate of every group of the breakdown, the standard forbids it outside the scope elsewhere
        if vat.category is not VatCategory.OUTSIDE_SCOPE or (in_breakdown and self._document.is_german(self._wanted)):
            self.say(category, "cbc:Percent", plain(vat.percentage))
        if in_breakdown:
            self.say(category, "cbc:TaxExemptionReasonCode", vat.reason_code)
            self.say(category, "cbc:TaxExemptionReason", vat.reason)
        self.say(self.group(category, "cac:TaxScheme"), "cbc:ID", "VAT")

    def _taxes(self, root: XmlElement) -> None:
        total = self.group(root, "cac:TaxTotal")
        self.amount(total, "cbc:TaxAmount", self._document.tax_total)
        for group in self._document.breakdown:
            subtotal = self.group(total, "cac:TaxSubtotal")
            self.amount(subtotal, "cbc:TaxableAmount", group.taxable)
            self.amount(subtotal, "cbc:TaxAmount", group.tax)
            self._category(subtotal, "cac:TaxCategory", group.vat, in_breakdown=True)
        if self._document.accounting_currency:
            accounted = self.group(root, "cac:TaxTotal")
            self.amount_in(
                accounted, "cbc:TaxAmount", self._document.accounting_tax, self._document.accounting_currency
            )

    def _totals(self, root: XmlElement) -> None:
        document = self._document
        totals = self.group(root, "cac:LegalMonetaryTotal")
        self.amount(totals, "cbc:LineExtensionAmount", document.line_total)
        self.amount(totals, "cbc:TaxExclusiveAmount", document.net_total)
        self.amount(totals, "cbc:TaxInclusiveAmount", document.gross_total)
        if document.allowances:
            self.amount(totals, "cbc:AllowanceTotalAmount", document.allowance_total)
        if document.prepaid:
            self.amount(totals, "cbc:PrepaidAmount", document.prepaid)
        self.amount(totals, "cbc:PayableAmount", document.payable)

    def _line(self, root: XmlElement, line: TradeLine) -> None:
        element = self.group(root, f"cac:{self._kind}Line")
        quantity = "Invoiced" if self._is_invoice else "Credited"
        self.say(element, "cbc:ID", line.id)
        self.say(element, f"cbc:{quantity}Quantity", plain(line.billed_quantity), unitCode=line.unit)
        self.amount(element, "cbc:LineExtensionAmount", line.net)
        self._period(element, line.days)
        if line.discount:
            charge = self.group(element, "cac:AllowanceCharge")
            self.say(charge, "cbc:ChargeIndicator", "false")
            self.say(charge, "cbc:AllowanceChargeReason", line.discount_reason)
            self.amount(charge, "cbc:Amount", line.discount)
        item = self.group(element, "cac:Item")
        self.say(item, "cbc:Description", line.description)
        self.say(item, "cbc:Name", line.name)
        self._category(item, "cac:ClassifiedTaxCategory", line.vat)
        price = self.group(element, "cac:Price")
        self.amount(price, "cbc:PriceAmount", line.price)
        self.say(price, "cbc:BaseQuantity", plain(line.quantity), unitCode=line.unit)
