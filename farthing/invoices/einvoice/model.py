"""An e-invoice as values, in the terms of EN 16931 (BT and BG numbers). Amounts are in the document's currency.

Amounts of a credit note are positive, as they are of an invoice. Texts are "" where nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from farthing.core.money import EXACT, ZERO, exact_sum
from farthing.core.standards.trade_codes import DIRECT_DEBITS, VatCategory
from farthing.invoices.pdf.document import Days


class Format(StrEnum):
    """The forms in which a document can be had."""

    XRECHNUNG_UBL = "xrechnung-ubl"
    XRECHNUNG_CII = "xrechnung-cii"
    PEPPOL_UBL = "peppol-ubl"
    FACTURX = "facturx"

    @property
    def is_xrechnung(self) -> bool:
        return self in {Format.XRECHNUNG_UBL, Format.XRECHNUNG_CII}


class TypeCode(StrEnum):
    """What a document is (BT-3)."""

    INVOICE = "380"
    CREDIT_NOTE = "381"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostalAddress:
    """BG-5 or BG-8; `country` is an ISO 3166 alpha-2 code."""

    line1: str = ""
    line2: str = ""
    city: str = ""
    state: str = ""
    postal_code: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeParty:
    """Seller (BG-4) or buyer (BG-7).

    `vat_id` begins with its country; `tax_number` is one that does not, and only the seller's; `registration` is the
    number in a register (BT-30, BT-47), `registration_scheme` the register's ICD code where the document names it.
    `trading_name` (BT-28, BT-45) stands only where a country demands it.
    """

    name: str = ""
    trading_name: str = ""
    registration: str = ""
    registration_scheme: str = ""
    vat_id: str = ""
    tax_number: str = ""
    address_scheme: str = ""
    address_id: str = ""
    contact_name: str = ""
    phone: str = ""
    email: str = ""
    postal: PostalAddress = PostalAddress()


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentInstructions:
    """BG-16: how and where to pay.

    `account_number` is an account without an IBAN, `bank_branch` what is said beside it instead of a BIC. `mandate`,
    `creditor_id` and `debited_account` (BT-89 to BT-91) are of a direct debit, `reference` (BT-83) of a giro payment.
    """

    means_code: str
    iban: str = ""
    bic: str = ""
    account_name: str = ""
    account_number: str = ""
    bank_branch: str = ""
    reference: str = ""
    mandate: str = ""
    creditor_id: str = ""
    debited_account: str = ""

    @property
    def account(self) -> str:
        """BT-84."""
        return self.iban or self.account_number

    @property
    def branch(self) -> str:
        """BT-86."""
        return self.bic or self.bank_branch

    @property
    def is_direct_debit(self) -> bool:
        return self.means_code in DIRECT_DEBITS

    @property
    def is_card(self) -> bool:
        return self.means_code in {"48", "54", "55"}


@dataclass(frozen=True, slots=True)
class Vat:
    """A VAT category with its rate, a percentage; outside the scope of VAT there is none."""

    category: VatCategory
    percentage: Decimal = ZERO
    reason: str = ""
    reason_code: str = ""

    @property
    def group(self) -> tuple[VatCategory, Decimal]:
        """What the breakdown of VAT is by."""
        return self.category, self.percentage


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeLine:
    """BG-25. The price for `quantity` of it is the line's gross `amount`, so that no price is ever rounded."""

    id: str
    name: str
    quantity: Decimal
    unit: str
    amount: Decimal
    vat: Vat
    description: str = ""
    discount: Decimal = ZERO
    discount_reason: str = ""
    days: Days | None = None

    @property
    def price(self) -> Decimal:
        """BT-146, for `quantity` (BT-149): never negative."""
        return abs(self.amount)

    @property
    def billed_quantity(self) -> Decimal:
        """BT-129: less than nothing on a line that gives something back."""
        return -self.quantity if self.amount < 0 else self.quantity

    @property
    def net(self) -> Decimal:
        """BT-131."""
        return EXACT.subtract(self.amount, self.discount)


@dataclass(frozen=True, slots=True)
class DocumentAllowance:
    """BG-20: a discount on the whole document, of one VAT category and rate."""

    amount: Decimal
    reason: str
    vat: Vat


@dataclass(frozen=True, slots=True)
class VatBreakdown:
    """BG-23: what is taxed in one category and at one rate, and the tax."""

    vat: Vat
    taxable: Decimal
    tax: Decimal


@dataclass(frozen=True, slots=True)
class PrecedingInvoice:
    """BG-3: the invoice that a note corrects."""

    number: str
    issued: date | None


@dataclass(frozen=True, slots=True)
class SupportingDocument:
    """BG-24: another document, by what it is and its number, and where it can be had."""

    description: str
    id: str
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeDocument:
    """A whole invoice or credit note. `prepaid` (BT-113) is what was paid before it was issued."""

    type: TypeCode
    number: str
    issued: date
    currency: str
    seller: TradeParty
    buyer: TradeParty
    lines: tuple[TradeLine, ...]
    allowances: tuple[DocumentAllowance, ...]
    breakdown: tuple[VatBreakdown, ...]
    prepaid: Decimal = ZERO
    due_on: date | None = None
    terms: str = ""
    note: str = ""
    buyer_reference: str = ""
    order_reference: str = ""
    payment: PaymentInstructions | None = None
    days: Days | None = None
    preceding: PrecedingInvoice | None = None
    supporting: tuple[SupportingDocument, ...] = ()
    mark: str = ""
    """What the Greek tax authority answered when the document was registered in myDATA, and where it can be seen."""
    mark_url: str = ""
    accounting_currency: str = ""
    """BT-6: the currency that the seller accounts for tax in, where it is another one."""
    accounting_tax: Decimal = ZERO
    """BT-111: the tax in that currency."""

    @property
    def line_total(self) -> Decimal:
        """BT-106."""
        return exact_sum([line.net for line in self.lines])

    @property
    def allowance_total(self) -> Decimal:
        """BT-107."""
        return exact_sum([allowance.amount for allowance in self.allowances])

    @property
    def net_total(self) -> Decimal:
        """BT-109."""
        return EXACT.subtract(self.line_total, self.allowance_total)

    @property
    def tax_total(self) -> Decimal:
        """BT-110."""
        return exact_sum([group.tax for group in self.breakdown])

    @property
    def gross_total(self) -> Decimal:
        """BT-112."""
        return EXACT.add(self.net_total, self.tax_total)

    @property
    def payable(self) -> Decimal:
        """BT-115."""
        return EXACT.subtract(self.gross_total, self.prepaid)

    @property
    def is_intra_community(self) -> bool:
        """Whether something is supplied to another country of the community without VAT."""
        return any(line.vat.category is VatCategory.INTRA_COMMUNITY for line in self.lines)

    def is_german(self, wanted: Format) -> bool:
        """Whether Germany's rules hold for the document in a format: in XRechnung, and in Peppol between Germans."""
        within = self.seller.postal.country == self.buyer.postal.country == "DE"
        return wanted.is_xrechnung or (wanted is Format.PEPPOL_UBL and within)
