"""A document in UN/CEFACT CII, for XRechnung and inside Factur-X. Elements stand in the order of the schema."""

from __future__ import annotations

from datetime import date

from farthing.core.money import plain
from farthing.core.standards.trade_codes import VatCategory
from farthing.invoices.einvoice.formats.ubl import PROFILE
from farthing.invoices.einvoice.formats.xml import XmlElement, XmlWriter, basic_date, written
from farthing.invoices.einvoice.model import Format, TradeDocument, TradeLine, TradeParty, Vat, VatBreakdown
from farthing.invoices.pdf.document import Days

_NAMESPACES = {
    "rsm": "urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100",
    "ram": "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100",
    "qdt": "urn:un:unece:uncefact:data:standard:QualifiedDataType:100",
    "udt": "urn:un:unece:uncefact:data:standard:UnqualifiedDataType:100",
}
SPECIFICATION = {
    Format.XRECHNUNG_CII: "urn:cen.eu:en16931:2017#compliant#urn:xeinkauf.de:kosit:xrechnung_3.0",
    Format.FACTURX: "urn:cen.eu:en16931:2017",
}
_DATE_FORMAT = "102"


def cii(document: TradeDocument, wanted: Format) -> bytes:
    """The document as a CrossIndustryInvoice."""
    return written(_CiiWriter(document, wanted).whole())


class _CiiWriter(XmlWriter):
    """Writes one document."""

    def __init__(self, document: TradeDocument, wanted: Format) -> None:
        super().__init__(_NAMESPACES, document.currency)
        self._document, self._wanted = document, wanted

    def whole(self) -> XmlElement:
        document = self._document
        root = self.root("rsm:CrossIndustryInvoice")
        specification = SPECIFICATION[self._wanted]
        context = self.group(root, "rsm:ExchangedDocumentContext")
        self.say(self.group(context, "ram:BusinessProcessSpecifiedDocumentContextParameter"), "ram:ID", PROFILE)
        self.say(self.group(context, "ram:GuidelineSpecifiedDocumentContextParameter"), "ram:ID", specification)
        head = self.group(root, "rsm:ExchangedDocument")
        self.say(head, "ram:ID", document.number)
        self.say(head, "ram:TypeCode", document.type.value)
        self._day(head, "ram:IssueDateTime", document.issued)
        if document.note:
            self.say(self.group(head, "ram:IncludedNote"), "ram:Content", document.note)
        transaction = self.group(root, "rsm:SupplyChainTradeTransaction")
        for line in document.lines:
            self._line(transaction, line)
        self._agreement(self.group(transaction, "ram:ApplicableHeaderTradeAgreement"))
        self._delivery(self.group(transaction, "ram:ApplicableHeaderTradeDelivery"))
        self._settlement(self.group(transaction, "ram:ApplicableHeaderTradeSettlement"))
        return root

    def _day(self, parent: XmlElement, name: str, day: date) -> None:
        self.say(self.group(parent, name), "udt:DateTimeString", basic_date(day), format=_DATE_FORMAT)

    def _line(self, transaction: XmlElement, line: TradeLine) -> None:
        element = self.group(transaction, "ram:IncludedSupplyChainTradeLineItem")
        self.say(self.group(element, "ram:AssociatedDocumentLineDocument"), "ram:LineID", line.id)
        product = self.group(element, "ram:SpecifiedTradeProduct")
        self.say(product, "ram:Name", line.name)
        self.say(product, "ram:Description", line.description)
        price = self.group(element, "ram:SpecifiedLineTradeAgreement", "ram:NetPriceProductTradePrice")
        self.amount(price, "ram:ChargeAmount", line.price, with_currency=False)
        self.say(price, "ram:BasisQuantity", plain(line.quantity), unitCode=line.unit)
        delivery = self.group(element, "ram:SpecifiedLineTradeDelivery")
        self.say(delivery, "ram:BilledQuantity", plain(line.billed_quantity), unitCode=line.unit)
        settlement = self.group(element, "ram:SpecifiedLineTradeSettlement")
        self._category(self.group(settlement, "ram:ApplicableTradeTax"), line.vat)
        self._period(settlement, line.days)
        if line.discount:
            charge = self._allowance(settlement)
            self.amount(charge, "ram:ActualAmount", line.discount, with_currency=False)
            self.say(charge, "ram:Reason", line.discount_reason)
        summation = self.group(settlement, "ram:SpecifiedTradeSettlementLineMonetarySummation")
        self.amount(summation, "ram:LineTotalAmount", line.net, with_currency=False)

    def _category(self, tax: XmlElement, vat: Vat) -> None:
        self.say(tax, "ram:TypeCode", "VAT")
        self.say(tax, "ram:CategoryCode", vat.category.value)
        self._percentage(tax, vat)

    def _percentage(self, tax: XmlElement, vat: Vat, *, in_breakdown: bool = False) -> None:
        """XRechnung demands one of every group of the breakdown; outside the scope of VAT there is none elsewhere."""
        if vat.category is not VatCategory.OUTSIDE_SCOPE or (in_breakdown and self._wanted.is_xrechnung):
            self.say(tax, "ram:RateApplicablePercent", plain(vat.percentage))

    def _period(self, parent: XmlElement, days: Days | None) -> None:
        if days is not None:
            period = self.group(parent, "ram:BillingSpecifiedPeriod")
            self._day(period, "ram:StartDateTime", days.first)
            self._day(period, "ram:EndDateTime", days.last)

    def _allowance(self, parent: XmlElement) -> XmlElement:
        charge = self.group(parent, "ram:SpecifiedTradeAllowanceCharge")
        self.say(self.group(charge, "ram:ChargeIndicator"), "udt:Indicator", "false")
        return charge

    def _agreement(self, agreement: XmlElement) -> None:
        document = self._document
        self.say(agreement, "ram:BuyerReference", document.buyer_reference)
        self._party(self.group(agreement, "ram:SellerTradeParty"), document.seller)
        self._party(self.group(agreement, "ram:BuyerTradeParty"), document.buyer)
        if document.order_reference:
            order = self.group(agreement, "ram:BuyerOrderReferencedDocument")
            self.say(order, "ram:IssuerAssignedID", document.order_reference)

    def _party(self, party: XmlElement, said: TradeParty) -> None:
        self.say(party, "ram:Name", said.name)
        if said.registration:
            self.say(self.group(party, "ram:SpecifiedLegalOrganization"), "ram:ID", said.registration)
        if said.contact_name or said.phone or said.email:
            contact = self.group(party, "ram:DefinedTradeContact")
            self.say(contact, "ram:PersonName", said.contact_name)
            if said.phone:
                self.say(self.group(contact, "ram:TelephoneUniversalCommunication"), "ram:CompleteNumber", said.phone)
            if said.email:
                self.say(self.group(contact, "ram:EmailURIUniversalCommunication"), "ram:URIID", said.email)
        postal = self.group(party, "ram:PostalTradeAddress")
        self.say(postal, "ram:PostcodeCode", said.postal.postal_code)
        self.say(postal, "ram:LineOne", said.postal.line1)
        self.say(postal, "ram:LineTwo", said.postal.line2)
        self.say(postal, "ram:CityName", said.postal.city)
        self.say(postal, "ram:CountryID", said.postal.country)
        self.say(postal, "ram:CountrySubDivisionName", said.postal.state)
        if said.address_id:
            address = self.group(party, "ram:URIUniversalCommunication")
            self.say(address, "ram:URIID", said.address_id, schemeID=said.address_scheme)
        for number, scheme in ((said.vat_id, "VA"), (said.tax_number, "FC")):
            if number:
                self.say(self.group(party, "ram:SpecifiedTaxRegistration"), "ram:ID", number, schemeID=scheme)

    def _delivery(self, delivery: XmlElement) -> None:
        """What is supplied to another country of the community says when it was, and to where."""
        document = self._document
        if document.is_intra_community and document.days is not None:
            place = self.group(delivery, "ram:ShipToTradeParty", "ram:PostalTradeAddress")
            self.say(place, "ram:PostcodeCode", document.buyer.postal.postal_code)
            self.say(place, "ram:CityName", document.buyer.postal.city)
            self.say(place, "ram:CountryID", document.buyer.postal.country)
            event = self.group(delivery, "ram:ActualDeliverySupplyChainEvent")
            self._day(event, "ram:OccurrenceDateTime", document.days.last)

    def _settlement(self, settlement: XmlElement) -> None:
        document = self._document
        if document.payment is not None:
            self.say(settlement, "ram:CreditorReferenceID", document.payment.creditor_id)
        self.say(settlement, "ram:TaxCurrencyCode", document.accounting_currency)
        self.say(settlement, "ram:InvoiceCurrencyCode", document.currency)
        self._payment(settlement)
        for group in document.breakdown:
            self._tax(settlement, group)
        self._period(settlement, document.days)
        for allowance in document.allowances:
            charge = self._allowance(settlement)
            self.amount(charge, "ram:ActualAmount", allowance.amount, with_currency=False)
            self.say(charge, "ram:Reason", allowance.reason)
            self._category(self.group(charge, "ram:CategoryTradeTax"), allowance.vat)
        mandate = document.payment.mandate if document.payment is not None else ""
        if document.terms or document.due_on is not None or mandate:
            terms = self.group(settlement, "ram:SpecifiedTradePaymentTerms")
            self.say(terms, "ram:Description", document.terms)
            if document.due_on is not None:
                self._day(terms, "ram:DueDateDateTime", document.due_on)
            self.say(terms, "ram:DirectDebitMandateID", mandate)
        self._totals(self.group(settlement, "ram:SpecifiedTradeSettlementHeaderMonetarySummation"))
        if document.preceding is not None:
            reference = self.group(settlement, "ram:InvoiceReferencedDocument")
            self.say(reference, "ram:IssuerAssignedID", document.preceding.number)
            if document.preceding.issued is not None:
                day = self.group(reference, "ram:FormattedIssueDateTime")
                self.say(day, "qdt:DateTimeString", basic_date(document.preceding.issued), format=_DATE_FORMAT)

    def _payment(self, settlement: XmlElement) -> None:
        payment = self._document.payment
        if payment is None:
            return
        means = self.group(settlement, "ram:SpecifiedTradeSettlementPaymentMeans")
        self.say(means, "ram:TypeCode", payment.means_code)
        if payment.debited_account:
            self.say(self.group(means, "ram:PayerPartyDebtorFinancialAccount"), "ram:IBANID", payment.debited_account)
        if payment.account:
            account = self.group(means, "ram:PayeePartyCreditorFinancialAccount")
            self.say(account, "ram:IBANID", payment.iban)
            self.say(account, "ram:AccountName", payment.account_name)
            self.say(account, "ram:ProprietaryID", payment.account_number)
            if payment.bic:
                self.say(self.group(means, "ram:PayeeSpecifiedCreditorFinancialInstitution"), "ram:BICID", payment.bic)

    def _tax(self, settlement: XmlElement, group: VatBreakdown) -> None:
        tax = self.group(settlement, "ram:ApplicableTradeTax")
        self.amount(tax, "ram:CalculatedAmount", group.tax, with_currency=False)
        self.say(tax, "ram:TypeCode", "VAT")
        self.say(tax, "ram:ExemptionReason", group.vat.reason)
        self.amount(tax, "ram:BasisAmount", group.taxable, with_currency=False)
        self.say(tax, "ram:CategoryCode", group.vat.category.value)
        self.say(tax, "ram:ExemptionReasonCode", group.vat.reason_code)
        self._percentage(tax, group.vat, in_breakdown=True)

    def _totals(self, totals: XmlElement) -> None:
        document = self._document
        self.amount(totals, "ram:LineTotalAmount", document.line_total, with_currency=False)
        if document.allowances:
            self.amount(totals, "ram:AllowanceTotalAmount", document.allowance_total, with_currency=False)
        self.amount(totals, "ram:TaxBasisTotalAmount", document.net_total, with_currency=False)
        self.amount(totals, "ram:TaxTotalAmount", document.tax_total)
        if document.accounting_currency:
            self.amount_in(totals, "ram:TaxTotalAmount", document.accounting_tax, document.accounting_currency)
        self.amount(totals, "ram:GrandTotalAmount", document.gross_total, with_currency=False)
        if document.prepaid:
            self.amount(totals, "ram:TotalPrepaidAmount", document.prepaid, with_currency=False)
        self.amount(totals, "ram:DuePayableAmount", document.payable, with_currency=False)
