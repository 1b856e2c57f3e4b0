"""The states of a payment and the moves between them.

Rule: docs/rules/invoices-and-payments.md#states-of-a-payment
"""

from __future__ import annotations

from farthing.core.states import StateMachine
from farthing.invoices.receivable import PaymentStatus

_INITIATED, _PENDING, _PROCESSING = PaymentStatus.INITIATED, PaymentStatus.PENDING, PaymentStatus.PROCESSING
_SUCCEEDED, _OVERPAID, _FAILED = PaymentStatus.SUCCEEDED, PaymentStatus.OVERPAID, PaymentStatus.FAILED
_PARTIALLY, _REFUNDED, _VOIDED = PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED, PaymentStatus.VOIDED

PAYMENT = StateMachine(
    "payment",
    {
        _INITIATED: (_INITIATED, _PENDING, _PROCESSING, _SUCCEEDED, _OVERPAID, _FAILED),
        _PENDING: (_PENDING, _PROCESSING, _SUCCEEDED, _OVERPAID, _FAILED),
        _PROCESSING: (_PROCESSING, _SUCCEEDED, _OVERPAID, _FAILED),
        _SUCCEEDED: (_SUCCEEDED, _OVERPAID, _REFUNDED, _PARTIALLY, _VOIDED),
        _OVERPAID: (_OVERPAID, _REFUNDED, _PARTIALLY),
        _PARTIALLY: (_PARTIALLY, _REFUNDED),
        _FAILED: (_FAILED,),
        _REFUNDED: (_REFUNDED,),
        _VOIDED: (_VOIDED,),
    },
)
"""What a caller may ask for; staying is always allowed and changes nothing."""

BY_SYSTEM = StateMachine(
    "payment",
    {
        # the invoice was voided, or its link withdrawn
        _INITIATED: (_VOIDED,),
        _PENDING: (_VOIDED,),
        # a charge waits for its payer, as a link does
        _PROCESSING: (_PENDING,),
        # a provider took the money after all; it is never left out of the books
        _FAILED: (_SUCCEEDED,),
        _VOIDED: (_SUCCEEDED,),
    },
)
"""What only the system does, on top of `PAYMENT`."""

SETTLING = frozenset({_SUCCEEDED, _OVERPAID, _PARTIALLY, _REFUNDED})
"""States in which a payment counts as paid on its invoice, in full.

Rule: docs/rules/invoices-and-payments.md#which-payments-count
"""

OPEN = frozenset({_INITIATED, _PENDING})
"""States in which nothing has been asked of a provider that could still take the money by itself."""

DELETABLE = frozenset({_INITIATED, _FAILED})


def may_move_by_system(at: PaymentStatus, to: PaymentStatus) -> bool:
    """Whether the system, which may do all that callers may, can take a payment from one state to another."""
    return PAYMENT.allows(at, to) or BY_SYSTEM.allows(at, to)
