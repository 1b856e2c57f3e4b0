"""The forms of the settings about invoices, their payment, and the mails around them."""

from __future__ import annotations

from farthing.web.administration.settings.setting_form import choice, days, tick
from farthing.web.forms.durations import EXAMPLE
from farthing.web.forms.fields import FieldKind, FormField, FormSection, Sections
from farthing.web.forms.places import address_fields, zones

LANGUAGES = (
    ("en", "English"),
    ("de", "German"),
    ("fr", "French"),
    ("es", "Spanish"),
    ("hi", "Hindi"),
    ("ja", "Japanese"),
)


def invoices() -> Sections:
    """How invoices are numbered, when they fall due, and when they are computed and finalized."""
    return (_invoice_numbers(), _terms(), _dates(), _making(), _credit_purchases())


def _invoice_numbers() -> FormSection:
    return FormSection(
        "Numbers",
        (
            FormField("prefix", "Prefix", required=True, longest=50, hint="Begins every invoice number"),
            FormField("separator", "Between the parts", longest=10, hint="Stands between prefix, date and count"),
            choice(
                "format",
                "Date in the number",
                "Counting begins again whenever this part changes",
                ("YYYYMM", "Year and month: 202611"),
                ("YYYYMMDD", "Year, month and day: 20261130"),
                ("YYMMDD", "Short year, month and day: 261130"),
                ("YYYY", "Year: 2026"),
                ("YY", "Short year: 26"),
            ),
            FormField(
                "start_sequence",
                "First count",
                FieldKind.WHOLE,
                required=True,
                hint="Where a date that has no number yet begins",
            ),
            FormField(
                "suffix_length",
                "Digits of the count",
                FieldKind.WHOLE,
                required=True,
                hint="Shorter counts get zeros in front",
            ),
            choice(
                "credit_note_numbers",
                "Credit notes are numbered",
                "From the next credit note on",
                ("random", "At random"),
                ("sequential", "Without gaps, as invoices are"),
            ),
            FormField(
                "credit_note_prefix",
                "Prefix of credit notes",
                required=True,
                longest=50,
                hint="Begins the number of every credit note",
            ),
        ),
        "From the next invoice that is finalized on; numbers that were given never change.",
    )


def _terms() -> FormSection:
    return FormSection(
        "Payment terms",
        (
            days(
                "due_date_days",
                "Due after days",
                "Stands as the due date on every invoice whose subscription has no terms of its own",
            ),
        ),
    )


def _dates() -> FormSection:
    return FormSection(
        "Dates",
        (
            FormField(
                "timezone",
                "Your time zone",
                FieldKind.CHOICE,
                required=True,
                options=zones(),
                hint="Decides the issue date and number of invoices, and the days and months of reports",
            ),
        ),
    )


def _making() -> FormSection:
    return FormSection(
        "When invoices are made",
        (
            FormField(
                "compute_delay_seconds",
                "Wait for late usage",
                FieldKind.DURATION,
                required=True,
                hint=f"After a period ends, before its draft is computed. {EXAMPLE}",
            ),
            FormField(
                "finalization_delay_seconds",
                "Time for corrections",
                FieldKind.DURATION,
                required=True,
                hint=f"A draft stays open so long, then it is finalized, numbered and sent. {EXAMPLE}",
            ),
            choice(
                "late_usage_policy",
                "Usage that comes later still",
                "What is done about events of a period that was invoiced already",
                ("report", "Is shown in the report of late usage"),
                ("next_invoice", "Is charged on the next invoice"),
                ("ignore", "Is not looked for"),
            ),
        ),
    )


def _credit_purchases() -> FormSection:
    return FormSection(
        "Credits that are bought",
        (
            choice(
                "credit_purchase_tax",
                "Tax on credits",
                "Decided when credits are bought, and kept with them",
                ("consumption", "Is charged when they pay for usage"),
                ("purchase", "Is charged when they are bought"),
            ),
            tick(
                "auto_complete_purchased_credit_transaction",
                "Give credits before they are paid for",
                "A wallet gets credits bought by invoice at once, not when the invoice is paid",
            ),
        ),
    )


def unpaid_subscriptions() -> Sections:
    """What happens to a subscription whose invoices stay unpaid."""
    return (
        FormSection(
            "Unpaid subscriptions",
            (
                tick(
                    "auto_cancellation_enabled",
                    "Cancel subscriptions that stay unpaid",
                    "A subscription ends at once when one of its invoices is overdue for longer than the days of grace",
                ),
                days("grace_period_days", "Days of grace", "Count from the due date of the oldest unpaid invoice"),
            ),
        ),
    )


def dunning() -> Sections:
    """When charges that failed are tried again, and what is done when none succeeds."""
    return (
        FormSection(
            "Dunning",
            (
                tick(
                    "enabled",
                    "Try failed charges again",
                    "Every automatic charge that fails is tried again on the days below",
                ),
                FormField(
                    "retry_days",
                    "Try again after days",
                    FieldKind.NUMBERS,
                    required=True,
                    hint="Days after the first failure, ascending: 1, 3, 5, 7",
                ),
                choice(
                    "final_action",
                    "When the last attempt fails",
                    "Is done to the invoice or its subscription, of failures from now on",
                    ("none", "Nothing more is done"),
                    ("mark_uncollectible", "The invoice is written off"),
                    ("pause", "The subscription is paused"),
                    ("cancel", "The subscription is cancelled"),
                ),
            ),
        ),
    )


def e_invoices() -> Sections:
    """The seller as electronic invoices name it, and how it is paid."""
    return (_seller(), _seller_address(), _seller_contact(), _payment(), _untaxed())


def _seller() -> FormSection:
    return FormSection(
        "Seller",
        (
            FormField("legal_name", "Legal name", longest=200, hint="Names the seller in e-invoices"),
            FormField(
                "vat_id",
                "VAT id",
                longest=200,
                placeholder="DE123456789",
                hint="In e-invoices; on PDFs too if the letterhead has none",
            ),
            FormField("tax_number", "Tax number", longest=200, hint="National number, where there is no VAT id"),
            FormField("registration_number", "Registration number", longest=200, hint="In the register of companies"),
        ),
    )


def _seller_address() -> FormSection:
    return FormSection(
        "Registered address",
        address_fields("address."),
        "Stands in e-invoices, and at the head of PDFs if the letterhead has no address.",
    )


def _seller_contact() -> FormSection:
    return FormSection(
        "Reached at",
        (
            FormField(
                "electronic_address.scheme",
                "Scheme of the electronic address",
                longest=200,
                placeholder="0204",
                hint="A code of the EAS list: EM is e-mail, which Peppol does not know",
            ),
            FormField(
                "electronic_address.id",
                "Electronic address",
                longest=200,
                hint="Where the network of e-invoices finds you",
            ),
            FormField("contact.name", "Contact", longest=200, hint="Whom buyers ask about an e-invoice"),
            FormField("contact.phone", "Telephone", longest=200),
            FormField("contact.email", "E-mail", FieldKind.EMAIL, longest=200),
        ),
    )


def _payment() -> FormSection:
    return FormSection(
        "Bank account and terms",
        (
            FormField("payment.account_name", "Account holder", longest=200),
            FormField("payment.iban", "IBAN", longest=200),
            FormField("payment.bic", "BIC", longest=200),
            FormField(
                "payment.account_number",
                "Account without an IBAN",
                longest=200,
                hint="Such as a bankgiro, giro or FIK number",
            ),
            FormField(
                "payment.bank_branch",
                "Bank without a BIC",
                longest=200,
                hint="SE:BANKGIRO, SE:PLUSGIRO, or a Danish registration number",
            ),
            FormField("payment.creditor_id", "Creditor identifier", longest=200, hint="For direct debits"),
            FormField(
                "payment.means_code",
                "Means of payment",
                required=True,
                longest=200,
                initial="30",
                hint="A code of UNTDID 4461: 30 is a credit transfer, 58 one within SEPA, 59 a direct debit",
            ),
            FormField(
                "payment_terms_text",
                "Terms in words",
                longest=200,
                hint="Stands under unpaid invoices, on PDFs and in e-invoices: Payable within 30 days",
            ),
        ),
        "Unpaid invoices ask for a transfer to this account.",
    )


def _untaxed() -> FormSection:
    return FormSection(
        "What is charged without tax",
        (
            choice(
                "default_vat_category",
                "Why there is no VAT",
                "Said on every invoice without tax",
                ("", "Is not said"),
                ("Z", "Zero rate"),
                ("E", "Exempt"),
                ("AE", "Reverse charge"),
                ("K", "Supply within the European Union"),
                ("G", "Export"),
                ("O", "Not subject to VAT"),
            ),
            FormField(
                "default_vat_exemption_reason",
                "In words of your own",
                longest=200,
                hint="Instead of the usual sentence",
            ),
            FormField(
                "default_vat_exemption_code",
                "Code of the reason",
                longest=200,
                placeholder="VATEX-EU-AE",
                hint="Of the VATEX list, in e-invoices",
            ),
            FormField(
                "accounting_currency",
                "Currency of your accounts",
                FieldKind.CURRENCY,
                longest=3,
                placeholder="EUR",
                hint="E-invoices in another currency say the tax in this one too",
            ),
        ),
    )


MAILS = (
    ("invoice_issued", "Invoice issued", "When an invoice is finalized, with its PDF"),
    ("payment_receipt", "Receipt", "When a payment arrives"),
    ("payment_failed", "Payment failed", "When a charge fails"),
    ("reminder", "Reminder", "Around the due date of an unpaid invoice, on the days above"),
    ("credit_note", "Credit note", "When a credit note is issued"),
    ("low_balance", "Low balance", "When the balance of a wallet falls below its threshold"),
    ("credits_expiring", "Credits expire", "Before credits of a wallet expire"),
    ("trial_ending", "Trial ends", "Before a trial ends"),
    ("renewal_notice", "Renewal", "Before a long period begins anew"),
    ("spend_alert", "Spend alert", "When usage comes to a threshold that the customer has set in the portal"),
)


def emails() -> Sections:
    """Which mails customers get, in which language, and when they are reminded of what they owe."""
    return (
        FormSection(
            "Sending",
            (
                tick("enabled", "Send mails to customers", "Nothing is sent to any customer while this is off"),
                FormField(
                    "from_name",
                    "Sender's name",
                    longest=100,
                    hint="Beside the sender's address. Blank: your company's name",
                ),
                FormField(
                    "reply_to",
                    "Replies go to",
                    FieldKind.EMAIL,
                    longest=254,
                    hint="Where an answer to any mail arrives",
                ),
                FormField(
                    "bcc",
                    "Copy of every mail",
                    FieldKind.EMAIL,
                    longest=254,
                    hint="Gets a copy that the customer does not see",
                ),
                choice(
                    "language",
                    "Language",
                    "Of every mail from now on",
                    *LANGUAGES,
                ),
                choice(
                    "attach_einvoice",
                    "E-invoice in the mail",
                    "Attached to mails of invoices and credit notes",
                    ("none", "Only the PDF"),
                    ("facturx", "Factur-X, in place of the PDF"),
                    ("peppol-ubl", "Peppol BIS (UBL)"),
                    ("xrechnung-ubl", "XRechnung (UBL)"),
                    ("xrechnung-cii", "XRechnung (CII)"),
                ),
                FormField(
                    "reminder_days",
                    "Remind on days",
                    FieldKind.NUMBERS,
                    hint="Days after the due date of an unpaid invoice, negative before it: -3, 1, 7, 14",
                ),
            ),
        ),
        FormSection("Which mails", [tick(*mail) for mail in MAILS]),
    )
