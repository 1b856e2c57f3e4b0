"""The run: every due subscription moves on, every period that ended gets its invoice, drafts become payable.

Owns the passes over an environment (`passes`), threshold invoices (`thresholds`), the daily second look at drafts
(`recompute`), what ends because it stays unpaid (`automatic_cancellation`) and the notice before a renewal
(`renewal_notice`). Does not own when it runs (`jobs`) or what one period costs (`periods`, `calculation`).

Invariants: running it again changes nothing; one that fails is named and does not stop the rest.
"""
